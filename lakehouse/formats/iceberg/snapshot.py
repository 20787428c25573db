"""Which snapshot of a table a scan reads, and by which schema (Iceberg table spec, "Snapshots", "Snapshot References").

As the reference implementation: a branch is read by the table's current schema, a tag and a snapshot by the snapshot's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from lakehouse.errors import Config, NotFound
from lakehouse.formats.iceberg.metadata import Snapshot
from lakehouse.formats.iceberg.schema import schema_stated
from lakehouse.formats.iceberg.version import IcebergVersion
from lakehouse.reading.task import Point

__all__ = ["points_of", "snapshot_at"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NONE = (None, -1)


def points_of(version: IcebergVersion) -> Iterator[Point]:
    """The retained snapshots, newest first."""
    by_time = sorted(version.snapshots, key=lambda snapshot: snapshot.at)  # of the same time the last one listed is the newest
    yield from (Point(snapshot=snapshot.id) for snapshot in reversed(by_time))


def snapshot_at(version: IcebergVersion, point: Point) -> tuple[Snapshot | None, Mapping[str, Any]]:
    """The snapshot (None: the table has none yet) and the schema as the metadata states it.

    Raises `NotFound` where the history has no such point, `Config` for an instant without a zone.
    """
    current = version.metadata.get("current-snapshot-id")
    if point.snapshot is not None:
        return _by_its_own_schema(version, point.snapshot)
    if point.as_of is not None:
        return _by_its_own_schema(version, _at(version, point.as_of))
    if point.ref is not None and point.ref != "main":
        refs = version.metadata.get("refs") or {}
        if point.ref not in refs:
            known = ", ".join(sorted(refs)) or "none"
            raise NotFound(f"{version.where}: has no branch or tag {point.ref!r}; it has: {known}")
        if refs[point.ref].get("type") == "tag":
            return _by_its_own_schema(version, refs[point.ref].get("snapshot-id"))
        current = refs[point.ref].get("snapshot-id")
    snapshot = None if current in _NONE else _retained(version, current)
    return snapshot, schema_stated(version.metadata, None, version.where)


def _by_its_own_schema(version: IcebergVersion, number: Any) -> tuple[Snapshot, Mapping[str, Any]]:
    """A snapshot and its schema; the current one where (in version 1) it names none."""
    snapshot = _retained(version, number)
    raw = next(raw for raw in version.metadata["snapshots"] if raw.get("snapshot-id") == number)
    return snapshot, schema_stated(version.metadata, raw.get("schema-id"), version.where)


def _retained(version: IcebergVersion, number: Any) -> Snapshot:
    for snapshot in version.snapshots:
        if snapshot.id == number:
            return snapshot
    raise NotFound(f"{version.where}: retains no snapshot {number}; it was expired, or never was one of this table")


def _at(version: IcebergVersion, instant: datetime) -> int:
    """The snapshot that the table stood at, as its log says; without a log, as the current snapshot's ancestors do."""
    if instant.tzinfo is None:
        raise Config(f"{instant.isoformat()}: an instant without a zone; add one (2026-01-01T00:00:00Z)")
    at = (instant - _EPOCH) // timedelta(milliseconds=1)
    log = [(raw.get("timestamp-ms") or 0, raw.get("snapshot-id")) for raw in version.metadata.get("snapshot-log") or ()]
    reached = [number for moment, number in log or _ancestry(version) if moment <= at]
    if not reached:
        raise NotFound(f"{version.where}: its history begins after {instant.isoformat()}; choose a later instant")
    return int(reached[-1])


def _ancestry(version: IcebergVersion) -> list[tuple[int, int]]:
    """Time and id of the current snapshot and those before it, oldest first."""
    known = {snapshot.id: snapshot for snapshot in version.snapshots}
    found: list[tuple[int, int]] = []
    number = version.metadata.get("current-snapshot-id")
    while number in known:
        snapshot = known.pop(number)
        found.append((snapshot.at, snapshot.id))
        number = snapshot.parent
    return found[::-1]
