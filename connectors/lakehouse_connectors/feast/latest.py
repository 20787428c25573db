"""The rows of a dataset within a range of times: all of them, or of each key the newest, which is what is materialized."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial

import numpy as np
import pyarrow as pa
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

    Times are given as instants. Raises `Config` where the source is no `LakeSource`; what the dataset lacks is said when rows are
    asked for.
    """
    source = _source(data_source)
    return LakeRetrievalJob(
        config, partial(_all, config, source, [*join_keys, *features], bool(features), timestamp, created, dates)
    )


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
    return LakeRetrievalJob(config, partial(_latest, config, source, list(join_keys), list(features), timestamp, created, dates))


def _source(source: DataSource) -> LakeSource:
    if not isinstance(source, LakeSource):
        raise Config(f"source {source.name} is {type(source).__name__}; this offline store reads LakeSource")
    return source


def _all(
    config: RepoConfig,
    source: LakeSource,
    columns: Sequence[str],
    named: bool,
    timestamp: str,
    created: str | None,
    dates: Dates,
) -> pa.Table:
    # Feast reads saved datasets by a name of its own for the times; the source knows the real one
    timestamp = timestamp if timestamp in source.scan(config).schema.names else source.timestamp_field
    wanted = list(dict.fromkeys([*columns, timestamp, *([created] if created else [])])) if named else None
    scan = _scan(config, source, wanted, timestamp, dates)
    return _with_instants(scan.to_arrow(), [timestamp, *([created] if created else [])])


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
    found = _with_instants(newest, times)
    if not join_keys:
        found = found.append_column(DUMMY_ENTITY_ID, pa.array([DUMMY_ENTITY_VAL] * found.num_rows, pa.string()))
    return found


def _newest(table: pa.Table, join_keys: list[str], features: list[str], timestamp: str, created: str | None) -> pa.Table:
    keys = [table.column(name) for name in join_keys]
    types = [common_type(key.type, key.type, f"key {name!r}") for key, name in zip(keys, join_keys, strict=True)]
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


def _with_instants(table: pa.Table, names: Iterable[str]) -> pa.Table:
    for name in names:
        position = table.schema.get_field_index(name)
        table = table.set_column(position, name, instants(table.column(position), name))
    return table
