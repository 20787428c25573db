"""What a repository serves, and what it would bring online."""

from __future__ import annotations

import datetime as dt
from typing import Any

from feast import FeatureStore, FeatureView
from feast.data_source import DataSource

from lakehouse_connectors.feast.source import lake_source
from tests.feast.lines import DRIVER, number, plain
from tests.feast.worlds import SourceOf, World


def conv_view(ttl: dt.timedelta | None = None, **source_options: Any) -> Any:
    """The definitions of one view, ``stats``, of the feature ``conv`` of each driver in the table ``stats``."""

    def definitions(source: SourceOf) -> list[Any]:
        stats = source("stats", **source_options)
        return [DRIVER, FeatureView(name="stats", entities=[DRIVER], ttl=ttl, schema=[number("conv")], source=stats)]

    return definitions


def online(world: World, features: list[str], **keys: list[Any]) -> dict[str, list[Any]]:
    """What is served for rows of ``keys``."""
    entity_rows = [dict(zip(keys, row, strict=True)) for row in zip(*keys.values(), strict=True)]
    store = FeatureStore(repo_path=str(world.folder))  # afresh: asking for history makes Feast forget keyless views' dummy key
    answer: dict[str, list[Any]] = store.get_online_features(features, entity_rows).to_dict()
    return answer


def source_of_view(world: World, view: str) -> DataSource:
    """Where a view's rows lie."""
    source = world.store.get_feature_view(view).batch_source
    assert source is not None
    return source


def newest(world: World, view: str, columns: list[str], start: dt.datetime, end: dt.datetime) -> dict[Any, tuple[Any, ...]]:
    """What a materialization of ``view`` reads: for each driver the values of ``columns``."""
    source = lake_source(world.store.get_feature_view(view).batch_source, "a view")
    read = world.store._get_provider().offline_store.pull_latest_from_table_or_query
    job = read(
        world.store.config, source, ["driver"], columns, source.timestamp_field, source.created_timestamp_column, start, end
    )
    table = job.to_arrow()
    return dict(zip(table["driver"].to_pylist(), zip(*(plain(table[name]) for name in columns), strict=True), strict=True))
