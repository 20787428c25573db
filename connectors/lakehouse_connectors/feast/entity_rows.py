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
from lakehouse_connectors.feast.times import instants, microseconds

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
        timestamp = _timestamp(query.schema)
        return EntityRows(query.schema.names, timestamp, cache(lambda: _normal(query.to_arrow(), timestamp)))
    given: Any = _of_pandas(entity_df) if isinstance(entity_df, pd.DataFrame) else entity_df
    if not isinstance(given, pa.Table):
        raise Config(f"entity_df is {type(given).__name__}; give a pandas DataFrame, an Arrow table or the text of a SELECT")
    twice = {name for name in given.column_names if given.column_names.count(name) > 1}
    if twice:
        raise Config(f"entity_df has the column {', '.join(sorted(twice))} twice")
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
        found = pa.concat_tables([_keys_and_times(each, config, *bounds) for each in reads], promote_options="permissive")
        names = [EVENT_TIMESTAMP, *keys]
        return found.group_by(names, use_threads=False).aggregate([]).sort_by([(name, "ascending") for name in names])

    return EntityRows([EVENT_TIMESTAMP, *keys], EVENT_TIMESTAMP, read)


def _keys_and_times(read: FeatureRead, config: RepoConfig, start: int, end: int) -> pa.Table:
    scan = read.scan(config, [read.timestamp, *(key.column for key in read.keys)], start, end)
    held = scan.schema.empty_table()
    for batch in scan:
        held = (
            pa.concat_tables([held, pa.Table.from_batches([batch])]).group_by(held.column_names, use_threads=False).aggregate([])
        )
    times = instants(held.column(read.timestamp), f"feature view {read.view}: {read.timestamp}")
    found = pa.table({EVENT_TIMESTAMP: times, **{key.name: held.column(key.column) for key in read.keys}})
    for key in read.keys:
        found = found.filter(found.column(key.name).is_valid())
    return found


def _of_pandas(frame: pd.DataFrame) -> pa.Table:
    try:
        return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        raise Config(f"entity_df: {error}") from None


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
