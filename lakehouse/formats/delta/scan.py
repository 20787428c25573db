"""How the rows of a Delta table are read at a version, and which versions there are.

PROTOCOL.md, "Reader Requirements" of each feature. A scan is the live files (`live`), with their partition values from the log
and without the rows that their deletion vectors name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from lakehouse.errors import Config, NotFound, Unsupported
from lakehouse.formats.delta.actions import actions_of, committed_at
from lakehouse.formats.delta.live import AddFile, live_files
from lakehouse.formats.delta.log import commit_path
from lakehouse.formats.delta.partition_values import partition_scalar
from lakehouse.formats.delta.schema import DeltaColumn, DeltaSchema, read_schema
from lakehouse.formats.delta.statistics import FileStatistics, parsed_columns
from lakehouse.formats.delta.vector_bits import DeletionVector, deleted_positions
from lakehouse.formats.delta.version import DeltaVersion, commits_in_order, pin_version
from lakehouse.origin import (
    PLACE,
    Made,
    SourceVersion,
    known_names,
    made_at,
    ref_named,
    stated_source,
    version_named,
)
from lakehouse.reading.task import Deletes, MayMatch, Point, ScanPlan, ScanTask
from lakehouse.settings import masked
from lakehouse.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import pyarrow as pa

__all__ = ["plan_scan", "points_of", "version_at"]

_READ = frozenset({
    "columnMapping", "deletionVectors", "timestampNtz", "typeWidening", "typeWidening-preview", "v2Checkpoint",
    "vacuumProtocolCheck", "variantType", "variantType-preview", "variantShredding", "variantShredding-preview",
    "geospatial", "geospatial-preview", "collations", "collations-preview",
})  # fmt: skip
"""Features of readers that a scan gives their due; columns of the last three kinds of type are refused one by one."""

_KEPT_VALUES = 65_536


def points_of(store: Store, version: DeltaVersion) -> Iterator[Point]:  # noqa: ARG001  (the contract of formats)
    """The versions of the retained log, newest first. Files of older ones may have been vacuumed meanwhile."""
    return (Point(version=str(number)) for number in range(version.span.last, version.span.first - 1, -1))


def plan_scan(store: Store, version: DeltaVersion, point: Point) -> ScanPlan:
    """How to read ``version``, or the state that ``point`` names of its retained history.

    A name means that of the source's version in a table that was made from others; its own numbers never do, since the source may
    have had other rows under them. Raises `NotFound` where the history has no such point, `Unsupported` for a reader feature that
    is not known, `Config` for a snapshot, a branch or a tag, which Delta tables do not have.
    """
    pinned = _at(store, version, point)
    where = f"{store.url}: version {pinned.number}"
    if unknown := sorted(set(pinned.protocol.get("readerFeatures") or ()) - _READ):
        raise Unsupported(
            f"{where}: its rows cannot be read without the Delta features {', '.join(unknown)}, which are not known"
        )
    schema = read_schema(where, pinned.metadata, pinned.protocol)
    tasks = partial(_tasks, store, pinned, schema)
    return ScanPlan(store, schema.fields, tasks, schema.refused, partial(_source_of, store, pinned))


def _tasks(store: Store, version: DeltaVersion, schema: DeltaSchema, may_match: MayMatch) -> Iterator[ScanTask]:
    columns = {column.name: column for column in schema.columns if not column.partition}
    partitions = tuple(column for column in schema.columns if column.partition and column.name not in schema.refused)
    scalar = lru_cache(_KEPT_VALUES)(partial(partition_scalar, f"{store.url}: version {version.number}"))
    for add in live_files(store, version, parsed=parsed_columns(schema.columns)):
        constants = _constants(add, partitions, scalar)
        found, count = FileStatistics(add, columns, constants), add.rows
        if may_match(found, count):
            deletes = None if add.vector is None else partial(_deletes, store, add.vector)
            yield ScanTask(add.path, add.size, rows=count, by=schema.by, constants=constants, deletes=deletes, bounds=found)


def _constants(
    add: AddFile, partitions: tuple[DeltaColumn, ...], scalar: Callable[[str, str | None, pa.DataType], pa.Scalar]
) -> dict[str, pa.Scalar]:
    """The partition values of a file. The log has one for every partition column (PROTOCOL.md, "Add File and Remove File")."""
    values, constants = add.partition_values, {}
    for column in partitions:
        if column.key not in values:
            raise NotFound(f"{add.stated}: states no value of the partition column {column.name!r}")
        constants[column.name] = scalar(column.name, values[column.key], column.type)
    return constants


def _deletes(store: Store, vector: DeletionVector) -> Deletes:
    return Deletes(positions=deleted_positions(store, vector))


def version_at(store: Store, version: DeltaVersion, as_of: datetime) -> int:
    """The last version of the retained log that was not committed after ``as_of``.

    The times are those that `lake history` shows: the in-commit timestamp, else the writer's clock in commitInfo, else when the
    object was made. Unlike the object's own time, which engines go by, the first two are the same at every replica. As in the
    reference implementation a commit that is not later than the one before it counts as a millisecond after that. Raises
    `NotFound` for an instant before the first commit, `Config` for one without a zone.
    """
    if as_of.tzinfo is None:
        raise Config(f"as of {as_of.isoformat()}: say in which zone, as in 2026-01-31T12:00:00+00:00")
    span, commits = version.span, version.log.commits
    numbers = [number for number in range(span.first, span.last + 1) if number in commits]
    found: int | None = None
    before: datetime | None = None
    for number, data in commits_in_order(store, numbers):
        actions = actions_of(f"{store.url}: commit {number}", data)
        at = committed_at(next((fields for kind, fields in actions if kind == "commitInfo"), None)) or commits[number].modified
        if at is None:
            raise NotFound(f"{store.url}: commit {number} does not state its time, so no version can be chosen by one")
        at = at if before is None or at > before else before + timedelta(milliseconds=1)
        if at > as_of:
            break
        before, found = at, number
    if found is None:
        raise NotFound(f"{store.url}: no version of the retained log is as old as {as_of.isoformat()}")
    return found


def _at(store: Store, version: DeltaVersion, point: Point) -> DeltaVersion:
    if point == Point():
        return version
    converted = PLACE in (version.metadata.get("configuration") or {})
    number = _made_from(store, version, point) if point.named and converted else _own(store, version, point)
    if number == version.number:
        return version
    if not version.span.first <= number <= version.span.last:
        span = version.span
        raise NotFound(f"{store.url}: version {number} is not in the retained log; versions {span.first} to {span.last} are")
    return pin_version(store, str(number), replace(version.terms, history="all"))


def _own(store: Store, version: DeltaVersion, point: Point) -> int:
    """The version that ``point`` is in this log. A name of a ref may be the text of a version, as in every format."""
    if point.as_of is not None:
        return version_at(store, version, point.as_of)
    name = point.ref if point.named and point.ref is not None and point.ref.isdecimal() else point.version
    if name is None:
        raise Config(f"{store.url}: a Delta table has versions, but no {point}; say version or as_of")
    if not name.isdecimal():
        raise Config(f"{name}: a Delta version is a number")
    return int(name)


def _made_from(store: Store, version: DeltaVersion, point: Point) -> int:
    """The version that was made from the source's ``point``. Raises `NotFound`, saying what there is, where none was."""
    if point.as_of is not None:
        found = made_at(point.as_of, list(_made(store, version)))
    elif point.ref is not None:
        found = ref_named(point.ref, _made(store, version))
    else:
        found = version_named(point.version or str(point.snapshot), _made(store, version))
    if found is None:
        raise NotFound(
            f"{store.url}: was made from versions of another table, and none that is retained is its {point}; there are: "
            f"{known_names(_made(store, version))}. A version of this table's own log is read as one of its points (point=)"
        )
    return found.id


def _made(store: Store, version: DeltaVersion) -> Iterator[Made]:
    """The commits of the retained log, newest first, with what each was made from."""
    span, commits = version.span, version.log.commits
    for number, data in commits_in_order(store, (n for n in range(span.last, span.first - 1, -1) if n in commits)):
        info = _commit_info(store, number, data)
        yield Made(number, committed_at(info) or commits[number].modified, _stated(info))


def _commit_info(store: Store, number: int, data: bytes) -> dict[str, Any]:
    return next((fields for kind, fields in actions_of(f"{store.url}: commit {number}", data) if kind == "commitInfo"), {})


def _stated(info: Mapping[str, Any]) -> SourceVersion | None:
    parameters = info.get("operationParameters")
    return stated_source(parameters) if isinstance(parameters, Mapping) else None


def _source_of(store: Store, pinned: DeltaVersion) -> SourceVersion:
    """What is made from ``pinned`` is made from: what this was made from, else this."""
    if pinned.number in pinned.log.commits:
        stated = _stated(_commit_info(store, pinned.number, store.get(commit_path(pinned.number))))
        if stated is not None:
            return stated
    return SourceVersion(str(masked("url", store.url)), pinned.id, pinned.committed_at)
