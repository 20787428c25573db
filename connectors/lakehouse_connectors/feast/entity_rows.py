"""The rows that a training set is asked for: keys and the times at which features must have been known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.types as t
from feast.errors import EntityTimestampInferenceException
from feast.repo_config import RepoConfig

from lakehouse.errors import Config
from lakehouse.lake import Lake
from lakehouse_connectors.feast.feature_reads import FeatureRead
from lakehouse_connectors.feast.key_codes import as_key, common_type
from lakehouse_connectors.feast.lake import block_bytes
from lakehouse_connectors.feast.newest import blocks
from lakehouse_connectors.feast.times import instants, microseconds
from lakehouse_connectors.feast.value_types import laid_out, roomy, without_views

__all__ = ["EntityRows", "dated_rows", "entity_rows"]

EVENT_TIMESTAMP = "event_timestamp"
"""The column of the times where an entity frame does not leave just one to choose (Feast's name)."""


@dataclass(frozen=True, slots=True)
class EntityRows:
    """``columns`` are known before ``read`` gives the rows, in their order, the times in ``timestamp`` as instants."""

    columns: list[str]
    timestamp: str
    read: Callable[[], pa.Table]

    @property
    def keys(self) -> list[str]:
        """All columns but the times: the join keys, and what on-demand views are given."""
        return [name for name in self.columns if name != self.timestamp]


def entity_rows(entity_df: pd.DataFrame | pa.Table | str, lake: Lake) -> EntityRows:
    """The rows of a pandas frame, an Arrow table, or a SELECT over the datasets of ``lake`` (run when rows are read).

    The times are in ``event_timestamp``, else in the only column that holds times. Raises `Config` for what is no such thing, has
    a column twice, or times that are none; Feast's `EntityTimestampInferenceException` where the times cannot be told.
    """
    if isinstance(entity_df, str):
        query = lake.sql(entity_df)
        _refuse_twice(query.schema.names)
        timestamp = _timestamp(query.schema)
        return EntityRows(query.schema.names, timestamp, cache(lambda: _normal(query.to_arrow(), timestamp)))
    given: Any = _of_pandas(entity_df) if isinstance(entity_df, pd.DataFrame) else entity_df
    if not isinstance(given, pa.Table):
        raise Config(f"entity_df is {type(given).__name__}; give a pandas DataFrame, an Arrow table or the text of a SELECT")
    _refuse_twice(given.column_names)
    timestamp = _timestamp(given.schema)
    table = _normal(given, timestamp)
    return EntityRows(table.column_names, timestamp, lambda: table)


def dated_rows(reads: Sequence[FeatureRead], config: RepoConfig, start: datetime, end: datetime) -> EntityRows:
    """The rows that the views of ``reads`` themselves have from ``start`` to ``end``, both included: each pair of keys and event
    time once, by time and then by key. Keys that a view has not are NULL in its rows; rows without a key of theirs are left out.
    """
    keys = list(dict.fromkeys(key.name for read in reads for key in read.keys))

    @cache
    def read() -> pa.Table:
        bounds = microseconds(start), microseconds(end)
        found = [_keys_and_times(each, config, *bounds) for each in reads]
        types = _types(reads, found)
        cast = [pa.table({name: _cast(table.column(name), name, types[name]) for name in table.column_names}) for table in found]
        names = [EVENT_TIMESTAMP, *keys]
        return _distinct(cast).select(names).sort_by([(name, "ascending") for name in names])

    return EntityRows([EVENT_TIMESTAMP, *keys], EVENT_TIMESTAMP, read)


def _types(reads: Sequence[FeatureRead], found: Sequence[pa.Table]) -> dict[str, pa.DataType]:
    """The type of each column in all of the tables. Raises `Config` where the keys of two views are not of one class."""
    types: dict[str, pa.DataType] = {}
    for read, table in zip(reads, found, strict=True):
        for field in table.schema:
            known = types.setdefault(field.name, field.type)
            if known == field.type:
                continue
            if field.name == EVENT_TIMESTAMP:
                types[field.name] = pa.timestamp("ns", tz="UTC")
            else:
                types[field.name] = common_type(known, field.type, f"feature view {read.view}: key {field.name!r} of other views")
    return types


def _cast(column: pa.ChunkedArray, name: str, type: pa.DataType) -> pa.ChunkedArray:
    return column if column.type == type else as_key(column, name, type)


def _keys_and_times(read: FeatureRead, config: RepoConfig, start: int, end: int) -> pa.Table:
    scan = read.scan(config, [read.timestamp, *(key.column for key in read.keys)], start, end)
    for key in read.keys:
        kind = scan.schema.field(key.column).type
        common_type(kind, kind, f"feature view {read.view}: key {key.name!r}")  # says what is no key
    given = _named(read, without_views(scan.schema).empty_table()).schema
    held, waiting, size = _named(read, roomy(scan.schema).empty_table()), list[pa.Table](), 0
    for block in blocks(scan, block_bytes(config)):
        waiting.append(_named(read, block))
        size += block.num_rows
        if size > held.num_rows:  # so that each row is looked at a few times, however many blocks there are
            held, waiting, size = _distinct([held, *waiting]), [], 0
    return laid_out(_distinct([held, *waiting]), given)


def _named(read: FeatureRead, rows: pa.Table) -> pa.Table:
    """The keys, of the rows that have all of them, and the times, by the names of the rows that are asked for."""
    times = instants(rows.column(read.timestamp), f"feature view {read.view}: {read.timestamp}")
    found = pa.table({EVENT_TIMESTAMP: times, **{key.name: rows.column(key.column) for key in read.keys}})
    for key in read.keys:
        found = found.filter(found.column(key.name).is_valid())
    return found


def _distinct(tables: Sequence[pa.Table]) -> pa.Table:
    both = pa.concat_tables(tables, promote_options="default")
    return both.group_by(both.column_names, use_threads=False).aggregate([])


def _of_pandas(frame: pd.DataFrame) -> pa.Table:
    try:
        return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise Config(f"entity_df: {error}") from None


def _refuse_twice(names: Sequence[str]) -> None:
    if twice := {name for name in names if list(names).count(name) > 1}:
        raise Config(f"entity_df has the column {', '.join(sorted(twice))} twice")


def _timestamp(schema: pa.Schema) -> str:
    if EVENT_TIMESTAMP in schema.names:
        return EVENT_TIMESTAMP
    times = [field.name for field in schema if t.is_timestamp(field.type)]
    if len(times) != 1:
        raise EntityTimestampInferenceException(EVENT_TIMESTAMP)
    return str(times[0])


def _normal(table: pa.Table, timestamp: str) -> pa.Table:
    position = table.schema.get_field_index(timestamp)
    times = instants(table.column(position), f"entity_df: {timestamp}")
    return table.set_column(position, timestamp, times)
