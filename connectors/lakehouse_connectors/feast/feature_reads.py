"""What each requested feature view needs of its dataset. Pure: decided from the definitions alone, before anything is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from feast.batch_feature_view import BatchFeatureView
from feast.errors import FeatureNameCollisionError
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_NAME, FeatureView
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from feast.utils import _get_requested_feature_views_to_features_dict

from lakehouse.errors import Config, Unsupported
from lakehouse.scan import Scan
from lakehouse_connectors.feast.source import LakeSource, lake_source
from lakehouse_connectors.feast.times import within, within_days

__all__ = ["FeatureRead", "feature_reads", "partition_of", "scan_within"]


@dataclass(frozen=True, slots=True)
class Renamed:
    """A column of the dataset, and what it is called outside of it."""

    column: str
    name: str


@dataclass(frozen=True, slots=True)
class FeatureRead:
    """One view, under the name that it goes by in this request.

    ``keys``: the dataset's key columns, by the names that the rows asked about have them; none for a view without entities.
    ``features``: by their names in the result. ``ttl``: None where values never expire.
    """

    view: str
    source: LakeSource
    keys: tuple[Renamed, ...]
    timestamp: str
    created: str | None
    features: tuple[Renamed, ...]
    ttl: timedelta | None

    held: tuple[str, ...]
    """The columns of all features of the view, whichever are asked for."""

    def columns(self, features: Sequence[str]) -> list[str]:
        """The columns to read for those ``features`` (columns too), each once."""
        named = [*(key.column for key in self.keys), self.timestamp, *([self.created] if self.created else [])]
        return list(dict.fromkeys([*named, *features]))

    def scan(self, config: RepoConfig, columns: Sequence[str], start: int | None, end: int | None) -> Scan:
        """``columns`` of the rows from ``start`` to ``end``, both included (microseconds since 1970; None: no bound).

        Raises as `LakeSource.scan`, and `Config` for a time that is none.
        """
        return scan_within(self.source, config, columns, self.timestamp, start, end)


def feature_reads(
    feature_refs: Sequence[str],
    feature_views: Sequence[FeatureView],
    on_demand_feature_views: Sequence[OnDemandFeatureView],
    *,
    full_feature_names: bool,
) -> list[FeatureRead]:
    """What the views of ``feature_refs`` need, in the order of the references.

    Raises `Config` for a view whose source is no `LakeSource`, or that has entities but no entity columns (Feast would give every
    row the newest value of all); `Unsupported` for one that Feast computes by a transformation of its own;
    `FeatureNameCollisionError` for two features of one name.
    """
    requested, _ = _get_requested_feature_views_to_features_dict(
        list(feature_refs), list(feature_views), list(on_demand_feature_views)
    )
    reads = [_read(view, list(dict.fromkeys(features)), full_feature_names) for view, features in requested.items()]
    counts = Counter(feature.name for read in reads for feature in read.features)
    twice = [f"{read.view}:{feature.name}" for read in reads for feature in read.features if counts[feature.name] > 1]
    if twice:
        raise FeatureNameCollisionError(twice, full_feature_names)
    return reads


def partition_of(source: LakeSource) -> list[str]:
    """The dataset's column of days by which its files are kept apart, if the source names one."""
    mapped = {new: column for column, new in source.field_mapping.items()}
    return [mapped.get(name, name) for name in [source.date_partition_column] if name]


def scan_within(
    source: LakeSource, config: RepoConfig, columns: Sequence[str] | None, timestamp: str, start: int | None, end: int | None
) -> Scan:
    """``columns`` (None: all) of the rows of ``source`` with a ``timestamp`` from ``start`` to ``end``, both included.

    Bounds are in microseconds since 1970; None is no bound. They are laid on ``date_partition_column`` too, by its days. Raises
    as `LakeSource.scan`, and `Config` for a time that is none.
    """
    partition = partition_of(source)
    columns = None if columns is None else list(dict.fromkeys(columns))
    scan = source.scan(config, None if columns is None else list(dict.fromkeys([*columns, *partition])))
    bounds = within(scan.schema.field(timestamp), start, end)
    for name in partition:
        days = within_days(scan.schema.field(name), start, end)
        bounds = days if bounds is None else bounds if days is None else bounds & days
    return scan.narrowed(columns, bounds)


def _read(view: FeatureView, features: list[str], full_feature_names: bool) -> FeatureRead:
    source, name = lake_source(view.batch_source, f"feature view {view.name}"), view.projection.name_to_use()
    if isinstance(view, BatchFeatureView) and view.feature_transformation is not None:
        raise Unsupported(
            f"feature view {view.name}: its transformation is run by Feast's compute engines, not when training sets are made; "
            "materialize it to a dataset and name that as the source"
        )
    entities = [column for column in view.entity_columns if column.name != DUMMY_ENTITY_ID]
    if len(entities) < len([entity for entity in view.entities if entity != DUMMY_ENTITY_NAME]):
        raise Config(
            f"feature view {view.name}: has the entities {', '.join(view.entities)} but not a column for each, so every row "
            "would be given the newest value of all; add a Field for each join key to its schema"
        )
    columns = {new: column for column, new in source.field_mapping.items()}
    return FeatureRead(
        view=name,
        source=source,
        keys=tuple(
            Renamed(columns.get(each.name, each.name), view.projection.join_key_map.get(each.name, each.name))
            for each in entities
        ),
        timestamp=columns.get(source.timestamp_field, source.timestamp_field),
        created=columns.get(source.created_timestamp_column, source.created_timestamp_column) or None,
        features=tuple(Renamed(columns.get(each, each), f"{name}__{each}" if full_feature_names else each) for each in features),
        ttl=view.ttl or None,
        held=tuple(columns.get(each.name, each.name) for each in view.features),
    )
