"""Whether the lake has what the feature views of a repository name, before a training job or a server finds out.

What is checked is the registry, since that is what serves: definitions that were not applied yet do not count. One view that is
wrong does not keep the others from being looked at.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow.compute as pc
import yaml
from feast import FeatureStore, FeatureView, StreamFeatureView
from feast.errors import FeastError
from feast.infra.registry.registry import get_registry_store_class_from_scheme, get_registry_store_class_from_type
from feast.labeling.label_view import LabelView
from feast.repo_config import FeastConfigError
from feast.utils import get_default_yaml_file_path
from google.protobuf.message import DecodeError

from lakehouse.errors import Config, LakeError, NotFound
from lakehouse.feature_report import FeatureFinding, FeatureReport, ReplicaRows, ViewReport
from lakehouse.lake import Lake
from lakehouse.progress import Progress, ProgressEvent, silent
from lakehouse.tables import fingerprint
from lakehouse_connectors.feast.feature_reads import FeatureRead, feature_reads, partition_of
from lakehouse_connectors.feast.field_types import misfit
from lakehouse_connectors.feast.lake import lake_of
from lakehouse_connectors.feast.offline_store import LakeOfflineStoreConfig
from lakehouse_connectors.feast.times import instants, is_day, is_time, microseconds, python_time, within

if TYPE_CHECKING:
    from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
    from feast.repo_config import RegistryConfig
    from feast.types import FeastType

    from lakehouse.lrh1 import Fingerprint
    from lakehouse.scan import Scan
    from lakehouse.settings import Settings

__all__ = ["check_repository"]

compute: Any = pc

_UNREADABLE = (FeastError, FeastConfigError, LakeError, OSError, ValueError, KeyError, ImportError, DecodeError, yaml.YAMLError)
"""What Feast raises for a file or an entry of the registry that it cannot make sense of."""


def check_repository(
    repository: str | Path,
    *,
    replicas: bool = True,
    at: datetime | None = None,
    settings: Settings | None = None,
    progress: Progress = silent,
) -> FeatureReport:
    """Look at every feature view that was applied from the repository in a folder. See `lakehouse.feature_report.FeatureCheck`.

    Of a dataset only the column of its times is read, and of it only what may be within the ttl where there is any; ``replicas``
    reads each dataset that has some, and them, whole, once. On-demand views have no dataset and are left out.
    """
    folder = Path(repository)
    store = _opened(folder)
    lake = lake_of(store.config) if settings is None else Lake(settings)
    at = datetime.now(UTC) if at is None else at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    agreement = _Agreement(lake, progress) if replicas else None
    reports = []
    for entry in _entries(_applied(store, folder), store.project):
        report = _looked_at(entry, lake, at, agreement)
        sign = report.findings[0].sign if report.findings else "="
        progress(ProgressEvent("verify", objects=1, message=f"{sign} {report.view}"))
        reports.append(report)
    if not reports:
        raise Config(f"{folder}: the registry has no feature view of project {store.project}; run feast apply there first")
    config = lake.settings.path
    return FeatureReport(str(folder), store.project, None if config is None else str(config), at, tuple(reports))


def _opened(folder: Path) -> FeatureStore:
    """The repository. Raises `Config` where there is none that can be read."""
    file = get_default_yaml_file_path(folder)
    if not file.is_file():
        raise Config(f"{folder}: no Feast repository is here (there is no {file.name}); give the folder that holds it")
    try:
        store = FeatureStore(repo_path=str(folder))
        offline_store = store.config.offline_store
    except _UNREADABLE as error:
        raise Config(f"{file}: Feast cannot read it: {error}") from error
    if not isinstance(offline_store, LakeOfflineStoreConfig):
        raise Config(
            f"{file}: its offline store is not the lake's, so there is nothing to check; see docs/feast.md for "
            "offline_store.type: lakehouse_connectors.feast.LakeOfflineStore"
        )
    return store


def _applied(store: FeatureStore, folder: Path) -> RegistryProto:
    """What the registry holds. Raises `Config` where nothing was applied yet; looking does not make a registry's file."""
    registry = cast("RegistryConfig", store.config.registry)  # optional in its type only
    try:
        if registry.registry_type != "file":
            return store.registry.proto()
        named = registry.registry_store_type
        kind = get_registry_store_class_from_type(named) if named else get_registry_store_class_from_scheme(registry.path)
        found: RegistryProto = kind(registry, folder).get_registry_proto()
        return found
    except FileNotFoundError:
        raise Config(f"{folder}: there is no registry at {registry.path}: run feast apply there first") from None
    except _UNREADABLE as error:
        raise Config(f"{folder}: the registry at {registry.path} cannot be read: {error}") from error


def _entries(registry: RegistryProto, project: str) -> Iterator[tuple[str, Callable[[], FeatureView | LabelView]]]:
    """The names of the project's views, and what makes each, without the code that it may carry."""
    for view in registry.feature_views:
        if view.spec.project == project:
            yield view.spec.name, partial(FeatureView.from_proto, view, skip_udf=True)
    for stream in registry.stream_feature_views:
        if stream.spec.project == project:
            yield stream.spec.name, partial(StreamFeatureView.from_proto, stream, skip_udf=True)
    for label in registry.label_views:
        if label.spec.project == project:
            yield label.spec.name, partial(LabelView.from_proto, label)


def _looked_at(
    entry: tuple[str, Callable[[], FeatureView | LabelView]], lake: Lake, at: datetime, agreement: _Agreement | None
) -> ViewReport:
    """What was found of one view, whatever is wrong with it."""
    name, make = entry
    try:
        with warnings.catch_warnings(action="ignore"):  # what Feast warns of here is found below
            view = cast("FeatureView", make())  # a label view is read in the same way
        [read] = feature_reads([f"{name}:{each.name}" for each in view.features], [view], [], full_feature_names=False)
    except Config as error:
        return ViewReport(name, None, None, findings=(FeatureFinding("differs", "", str(error)),))
    except _UNREADABLE as error:
        return ViewReport(name, None, None, findings=(FeatureFinding("unchecked", "", f"Feast cannot read it: {error}"),))
    source, ttl = read.source, None if read.ttl is None else read.ttl.total_seconds()
    report = ViewReport(name, source.dataset, ttl)
    if source.dataset not in lake:
        message = f"there is no dataset {source.dataset!r} in {lake.settings.path or 'lake.toml'}"
        return replace(report, findings=(FeatureFinding("missing", "", message),))
    wrong = list[FeatureFinding]()
    newest, rows = None, None
    try:
        scan = lake[source.dataset].read([], ref=source.ref, as_of=source.as_of)
        wrong += _columns(read, _promised(view), scan)
        if read.timestamp not in {found.path for found in wrong}:
            newest, rows = _times(read, scan, at)
    except NotFound as error:
        wrong.append(FeatureFinding("missing", "", str(error)))
    except LakeError as error:
        wrong.append(FeatureFinding("unchecked", "", str(error)))
    if rows == 0:
        wrong.append(_stale(read, newest, at))
    agree, differ = agreement.of(source.dataset) if agreement is not None else ((), ())
    return replace(report, newest_event_at=newest, rows=rows, replicas=agree, findings=(*wrong, *differ))


def _promised(view: FeatureView) -> dict[str, FeastType]:
    return {each.name: each.dtype for each in (*view.entity_columns, *view.features)}


def _columns(read: FeatureRead, promised: dict[str, FeastType], scan: Scan) -> Iterator[FeatureFinding]:
    """What is wrong with the columns that a view reads."""
    held = {each.name: each.type for each in scan.plan.fields}
    named = {each.column: promised.get(each.name) for each in (*read.keys, *read.features)}
    partition = partition_of(read.source)
    for column in [*read.columns([each.column for each in read.features]), *partition]:
        if column not in held:
            yield FeatureFinding("missing", column, f"dataset {read.source.dataset} has no such column")
        elif column in scan.plan.refused:
            yield FeatureFinding("differs", column, f"cannot be read: {scan.plan.refused[column]}")
        elif column in (read.timestamp, read.created) and not is_time(held[column]):
            yield FeatureFinding("differs", column, f"is {held[column]} in the dataset; the source says it holds times")
        elif column in partition and not is_day(held[column]):
            yield FeatureFinding("differs", column, f"is {held[column]} in the dataset; the source says it holds days")
        elif (dtype := named.get(column)) is not None and (reason := misfit(dtype, held[column])) is not None:
            yield FeatureFinding("differs", column, reason)


def _times(read: FeatureRead, scan: Scan, at: datetime) -> tuple[datetime | None, int]:
    """The latest time in the dataset, and how many rows are within the ttl at ``at``, both bounds included."""
    everything = scan.narrowed([read.timestamp], None)
    column, end = everything.schema.field(0), microseconds(at)
    known = within(column, None, end)
    if read.ttl is None:
        return _newest_and_count(everything, known)
    recent = everything.narrowed(None, within(column, end - read.ttl // timedelta(microseconds=1), None))
    newest, rows = _newest_and_count(recent, known)
    if newest is None:
        newest, _ = _newest_and_count(everything, known)
    return newest, rows


def _newest_and_count(scan: Scan, known: pc.Expression | None) -> tuple[datetime | None, int]:
    """The latest time, and for how many ``known`` holds."""
    newest: datetime | None = None
    rows = 0
    for batch in scan:
        times = instants(batch.column(0), scan.schema.names[0])
        rows += batch.num_rows - times.null_count if known is None else batch.filter(known).num_rows
        latest = python_time(compute.max(times))
        newest = max((time for time in (newest, latest) if time is not None), default=None)
    return newest, rows


def _stale(read: FeatureRead, newest: datetime | None, at: datetime) -> FeatureFinding:
    if newest is None:
        return FeatureFinding("stale", "", f"dataset {read.source.dataset} has no rows")
    within_ttl = "at or" if read.ttl is None else f"within the ttl of {read.ttl}"
    return FeatureFinding(
        "stale", "", f"no row is {within_ttl} before {at:%Y-%m-%dT%H:%M:%SZ}; the newest is of {newest:%Y-%m-%dT%H:%M:%SZ}"
    )


class _Agreement:
    """Whether the replicas of datasets have the same rows; each dataset is read once, however many views it has."""

    def __init__(self, lake: Lake, progress: Progress) -> None:
        self._lake, self._progress = lake, progress
        self._found: dict[str, tuple[tuple[ReplicaRows, ...], tuple[FeatureFinding, ...]]] = {}

    def of(self, dataset: str) -> tuple[tuple[ReplicaRows, ...], tuple[FeatureFinding, ...]]:
        """Each replica of ``dataset``, and what is wrong."""
        if dataset not in self._found:
            self._found[dataset] = self._compared(dataset)
        return self._found[dataset]

    def _compared(self, dataset: str) -> tuple[tuple[ReplicaRows, ...], tuple[FeatureFinding, ...]]:
        settings = self._lake.settings
        stated = settings.datasets[dataset]
        if not stated.replicas:
            return (), ()
        try:
            here = fingerprint(dataset, format=stated.format, settings=settings, progress=self._progress)
        except LakeError as error:
            unknown = tuple(ReplicaRows(replica.to, None) for replica in stated.replicas)
            message = f"no replica was compared, since the dataset has no fingerprint: {error}"
            return unknown, (FeatureFinding("unchecked", "", message),)
        found = [self._one(dataset, replica.to, here) for replica in stated.replicas]
        return tuple(rows for rows, _ in found), tuple(finding for _, finding in found if finding is not None)

    def _one(self, dataset: str, to: str, here: Fingerprint) -> tuple[ReplicaRows, FeatureFinding | None]:
        hint = f"lake sync {dataset} {to} brings it to the newest version"
        try:
            there = fingerprint(to, settings=self._lake.settings, progress=self._progress)
        except NotFound as error:
            return ReplicaRows(to, False), FeatureFinding("rows", to, f"{error}; {hint}")
        except LakeError as error:
            return ReplicaRows(to, None), FeatureFinding("unchecked", to, str(error))
        if there == here:
            return ReplicaRows(to, True), None
        columns = [name for name, digest in here.columns.items() if there.columns.get(name) != digest]
        which = f"values differ in {', '.join(columns)}" if columns else "values stand in other rows"
        message = f"{here.rows} rows in the dataset, {there.rows} in the replica; {which}; {hint}"
        return ReplicaRows(to, False), FeatureFinding("rows", to, message)
