"""The rows of a dataset within a range of times: all of them, or of each key the newest, which is what is materialized."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import partial, reduce
from operator import and_

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.repo_config import RepoConfig

from lakehouse.errors import Config
from lakehouse.memory import memory_of
from lakehouse.scan import Scan
from lakehouse_connectors.feast.feature_reads import scan_within
from lakehouse_connectors.feast.job import LakeRetrievalJob
from lakehouse_connectors.feast.key_codes import KeyCodes, common_type
from lakehouse_connectors.feast.newest import blocks, by_key_and_time, common_unit, ticks
from lakehouse_connectors.feast.saved_dataset import SavedRows
from lakehouse_connectors.feast.source import LakeSource
from lakehouse_connectors.feast.times import instants, microseconds

__all__ = ["all_rows", "latest_rows"]

Dates = tuple[datetime | None, datetime | None]


def all_rows(
    config: RepoConfig,
    data_source: DataSource,
    join_keys: Sequence[str],
    features: Sequence[str],
    timestamp: str,
    created: str | None,
    dates: Dates,
) -> RetrievalJob:
    """All rows with a time within ``dates``, both included: the columns that are named, or all of them where no feature is.

    Rows without a key are of nobody and left out, and Feast's dummy key is given where there are no keys; what was saved (see
    `SavedRows`) comes back as it is. Times are given as instants; a row that does
    not say when it was created was so at its event time, for Feast has no word for not knowing. Raises `Config` where the source
    is no `LakeSource`; what the dataset lacks is said when rows are asked for.
    """
    read = partial(_all, config, _source(data_source), list(join_keys), list(features), timestamp, created or None, dates)
    return LakeRetrievalJob(config, read)


def latest_rows(
    config: RepoConfig,
    data_source: DataSource,
    join_keys: Sequence[str],
    features: Sequence[str],
    timestamp: str,
    created: str | None,
    dates: Dates,
) -> RetrievalJob:
    """Of each key the newest row with a time within ``dates``, both included (see `newest`), in a memory bounded by the keys.

    Rows without a key are left out. Where there are no keys the newest of all is given, under Feast's dummy key. Columns, times
    and errors as in `all_rows`.
    """
    source = _source(data_source)
    read = partial(_latest, config, source, list(join_keys), list(features), timestamp, created or None, dates)
    return LakeRetrievalJob(config, read)


def _source(source: DataSource) -> LakeSource:
    if not isinstance(source, LakeSource):
        raise Config(f"source {source.name} is {type(source).__name__}; this offline store reads LakeSource")
    return source


def _all(
    config: RepoConfig,
    source: LakeSource,
    join_keys: list[str],
    features: list[str],
    timestamp: str,
    created: str | None,
    dates: Dates,
) -> pa.Table:
    if isinstance(source, SavedRows):
        timestamp = source.timestamp_field  # Feast asks for a saved dataset by a name of its own
    wanted = list(dict.fromkeys([*join_keys, *features, timestamp, *([created] if created else [])])) if features else None
    scan = _scan(config, source, wanted, timestamp, dates)
    if join_keys and not isinstance(source, SavedRows):
        scan = scan.narrowed(None, reduce(and_, (~pc.field(name).is_null() for name in join_keys)))
    found = _with_instants(scan.to_arrow(), timestamp, created)
    return found if isinstance(source, SavedRows) else _as_materialized(found, join_keys)


def _latest(
    config: RepoConfig,
    source: LakeSource,
    join_keys: list[str],
    features: list[str],
    timestamp: str,
    created: str | None,
    dates: Dates,
) -> pa.Table:
    times = [timestamp, *([created] if created else [])]
    wanted = list(dict.fromkeys([*join_keys, *features, *times])) if features else None
    scan = _scan(config, source, wanted, timestamp, dates)
    held = features or [name for name in scan.schema.names if name not in (*join_keys, *times)]
    newest = scan.schema.empty_table()
    for block in blocks(scan, memory_of(config.offline_store.memory) // 4):
        newest = _newest(pa.concat_tables([newest, block]), join_keys, held, timestamp, created)
    return _as_materialized(_with_instants(newest, timestamp, created), join_keys)


def _newest(table: pa.Table, join_keys: list[str], features: list[str], timestamp: str, created: str | None) -> pa.Table:
    keys = [table.column(name) for name in join_keys]
    types = {name: common_type(key.type, key.type, f"key {name!r}") for name, key in zip(join_keys, keys, strict=True)}
    codes = KeyCodes(keys, types, table.num_rows).codes
    unit = common_unit(table.schema.field(name) for name in (timestamp, created) if name)
    event, known = ticks(table, timestamp, unit), ticks(table, created, unit)
    rows = np.flatnonzero((codes >= 0) & event.valid)
    found = by_key_and_time(table, rows, codes[rows], event.values[rows], known.values[rows], features)
    last = np.append(found.code[1:] != found.code[:-1], True) if len(rows) else np.zeros(0, np.bool_)
    return table.take(pa.array(np.sort(found.rows[last])))


def _scan(config: RepoConfig, source: LakeSource, columns: list[str] | None, timestamp: str, dates: Dates) -> Scan:
    start, end = (None if date is None else microseconds(date) for date in dates)
    return scan_within(source, config, columns, timestamp, start, end)


def _as_materialized(table: pa.Table, join_keys: Sequence[str]) -> pa.Table:
    """As Feast's compute engine takes it: with the key under which Feast holds a view that has none, and with integers marked
    to stay integers in pandas, which else makes floats of those with missing values and loses those beyond 2**53.
    """
    if not join_keys:
        table = table.append_column(DUMMY_ENTITY_ID, pa.array([DUMMY_ENTITY_VAL] * table.num_rows, pa.string()))
    columns = [
        {
            "name": field.name,
            "field_name": field.name,
            "pandas_type": str(field.type),
            "numpy_type": _nullable(field.type),
            "metadata": None,
        }
        for field in table.schema
        if t.is_integer(field.type)
    ]
    pandas = {"columns": columns, "index_columns": [], "column_indexes": [], "pandas_version": pd.__version__}
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _nullable(type: pa.DataType) -> str:
    """pandas' name of the integers that can be missing."""
    return str(type).replace("int", "Int").replace("uI", "UI")


def _with_instants(table: pa.Table, timestamp: str, created: str | None) -> pa.Table:
    times = instants(table.column(timestamp), timestamp)
    table = table.set_column(table.schema.get_field_index(timestamp), timestamp, times)
    if not created:
        return table
    known = instants(table.column(created), created)
    return table.set_column(
        table.schema.get_field_index(created), created, pc.coalesce(known, times.cast(known.type, safe=False))
    )
