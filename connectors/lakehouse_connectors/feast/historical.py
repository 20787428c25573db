"""Training sets: for each row that is asked about, the features as they were known at its time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache, partial

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast.errors import FeastEntityDFMissingColumnsError, RequestDataNotFoundInEntityDfException
from feast.feature_view import FeatureView
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from feast.utils import compute_non_entity_date_range

from lakehouse.errors import Config
from lakehouse_connectors.feast.asof import Asked, AsOf
from lakehouse_connectors.feast.entity_rows import EntityRows, dated_rows, entity_rows
from lakehouse_connectors.feast.feature_reads import FeatureRead, feature_reads
from lakehouse_connectors.feast.job import LakeRetrievalJob
from lakehouse_connectors.feast.key_codes import KeyCodes, common_type
from lakehouse_connectors.feast.lake import block_bytes, lake_of
from lakehouse_connectors.feast.newest import NEVER, Ticks, blocks, ticks
from lakehouse_connectors.feast.times import python_time

__all__ = ["historical_features"]


def historical_features(
    config: RepoConfig,
    feature_views: Sequence[FeatureView],
    feature_refs: Sequence[str],
    entity_df: pd.DataFrame | pa.Table | str | None,
    registry: BaseRegistry,
    project: str,
    *,
    full_feature_names: bool,
    dates: tuple[datetime | None, datetime | None],
    known_then: bool,
) -> RetrievalJob:
    """The rows of ``entity_df`` in their order, each once, with the features that `feature_reads` finds in ``feature_refs``.

    ``entity_df``: see `entity_rows`; None: the rows that the views themselves have within ``dates`` (Feast's defaults where one
    is not given). ``known_then``: values count only when they were created by a row's time. Datasets are opened when rows are
    asked for, and what they lack is said then. Raises as `feature_reads` and `entity_rows`, `FeastEntityDFMissingColumnsError`
    and `RequestDataNotFoundInEntityDfException` for columns that the rows lack, `Config` for a feature that would replace one.
    """
    on_demand = OnDemandFeatureView.get_requested_odfvs(list(feature_refs), project, registry)
    reads = feature_reads(feature_refs, feature_views, on_demand, full_feature_names=full_feature_names)
    if entity_df is None:
        rows = dated_rows(reads, config, *compute_non_entity_date_range(list(feature_views), *dates))
    else:
        rows = entity_rows(entity_df, lake_of(config))
    _refuse(rows, reads, on_demand)
    return LakeRetrievalJob(
        config,
        partial(_joined, config, rows, reads, known_then),
        full_feature_names=full_feature_names,
        on_demand_feature_views=on_demand,
        metadata=cache(lambda: _metadata(rows, feature_refs)),
    )


def _refuse(rows: EntityRows, reads: Sequence[FeatureRead], on_demand: Sequence[OnDemandFeatureView]) -> None:
    needed = {key.name for read in reads for key in read.keys}
    if missing := needed - set(rows.columns):
        raise FeastEntityDFMissingColumnsError(needed | {rows.timestamp}, missing)
    for view in on_demand:
        for name in view.get_request_data_schema():
            if name not in rows.columns:
                raise RequestDataNotFoundInEntityDfException(feature_name=name, feature_view_name=view.name)
    for read in reads:
        for feature in read.features:
            if feature.name in rows.columns:
                raise Config(
                    f"entity_df has a column {feature.name!r}, which feature view {read.view} would give too; rename it, or ask "
                    "with full_feature_names=True"
                )


def _metadata(rows: EntityRows, feature_refs: Sequence[str]) -> RetrievalMetadata:
    found = pc.call_function("min_max", [rows.read().column(rows.timestamp)])
    return RetrievalMetadata(list(feature_refs), rows.keys, python_time(found["min"]), python_time(found["max"]))


def _joined(config: RepoConfig, rows: EntityRows, reads: Sequence[FeatureRead], known_then: bool) -> pa.Table:
    table = rows.read()
    times = ticks(table, rows.timestamp)
    joined = table
    for read in reads:
        found = _features(config, table, times, read, known_then)
        for feature in read.features:
            joined = joined.append_column(feature.name, found.column(feature.column))
    return joined


def _features(config: RepoConfig, table: pa.Table, times: Ticks, read: FeatureRead, known_then: bool) -> pa.Table:
    """The features of one view for each row of ``table``.

    Where rows of features are equal in key and times, all features of the view decide which one counts, not just those that are
    asked for: whatever is asked for is then of the same row, and the one that is materialized.
    """
    asked_for = list(dict.fromkeys(feature.column for feature in read.features))
    found, ambiguous = _join(config, table, times, read, asked_for, known_then)
    if ambiguous and set(read.held) - set(asked_for):
        found, _ = _join(config, table, times, read, list(dict.fromkeys([*asked_for, *read.held])), known_then)
    return found


def _join(
    config: RepoConfig, table: pa.Table, times: Ticks, read: FeatureRead, features: list[str], known_then: bool
) -> tuple[pa.Table, bool]:
    scan = read.scan(config, read.columns(features), *_range(times, read))
    keys = [table.column(key.name) for key in read.keys]
    types = {
        key.name: common_type(column.type, scan.schema.field(key.column).type, f"feature view {read.view}: key {key.name!r}")
        for column, key in zip(keys, read.keys, strict=True)
    }
    asked = Asked(KeyCodes(keys, types, table.num_rows), times, read.ttl)
    schema = pa.schema([scan.schema.field(name) for name in features])
    join = AsOf(asked, [key.column for key in read.keys], read.timestamp, read.created, schema, known_then=known_then)
    for block in blocks(scan, block_bytes(config)):
        join.add(block)
    return join.result(), join.ambiguous


def _range(times: Ticks, read: FeatureRead) -> tuple[int, int]:
    """The times of features that can count, in microseconds; an empty range where nothing is asked."""
    asked = times.values[times.valid]
    if not len(asked):
        return 1, 0
    size = 1000 if times.unit == "ns" else 1
    least, most = int(asked.min()) // size, -(-int(asked.max()) // size)
    return (NEVER if read.ttl is None else least - read.ttl // timedelta(microseconds=1)), most
