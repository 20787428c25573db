"""`DeltaFormat`: what the library knows of Delta tables, method by method in the order in which a sync calls them."""

# ruff: noqa: ARG002  (the contract names more than each format needs)

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lakehouse.checksum import sha256_hex
from lakehouse.errors import Conflict, NotFound, Transfer
from lakehouse.formats.delta.actions import actions_of, committed_at
from lakehouse.formats.delta.checkpoint import whole_ways
from lakehouse.formats.delta.localise import Localised, Localiser
from lakehouse.formats.delta.log import HINT, LOG, commit_path, read_log, version_of
from lakehouse.formats.delta.order import stage_log
from lakehouse.formats.delta.present import present
from lakehouse.formats.delta.replay import replay
from lakehouse.formats.delta.target import newest_common
from lakehouse.formats.delta.travel import travel
from lakehouse.formats.delta.version import DeltaVersion, commits_in_order, pin_version, schema_fields
from lakehouse.reading.examine import Examination, Flaw
from lakehouse.reading.task import Point, ScanPlan
from lakehouse.store import Store
from lakehouse.table import Base, Column, Commit, Description, Held, Remark, Staged, TableFile, TableVersion, Terms

__all__ = ["DeltaFormat"]


def _delta(version: TableVersion) -> DeltaVersion:
    if not isinstance(version, DeltaVersion):
        raise TypeError(f"not a Delta version: {version!r}")
    return version


COPY_TIMES = Remark(
    "history",
    "an object store sets the times of objects itself, so engines that travel to a TIMESTAMP there go by the time of the copy; "
    "travel to a VERSION is exact, and lake history shows the source's times",
)


@dataclass(frozen=True)
class DeltaHeld(Held):
    """``moved``: the last sync read the source at another address."""

    moved: bool = field(default=False, kw_only=True)


class DeltaFormat:
    """Delta Lake tables; `features` says which table features are carried, `localise` what becomes of absolute paths."""

    name = "delta"
    receipts_inside = True
    renumbers = False

    def detect(self, store: Store) -> bool:
        """Whether ``_delta_log/`` holds anything. One request."""
        return next(iter(store.list(LOG, recursive=False)), None) is not None

    def is_unchanged(self, source: Store, target: Store, base: Base, terms: Terms | None = None) -> bool:
        """Both stores still have the root of ``base`` and no later commit. Three requests.

        The target's part is one listing from that version on: a log that was wiped while its receipts stayed is noticed.
        """
        number = int(base.id)
        try:
            if sha256_hex(source.get(base.source_root)) != base.source_root_sha256:
                return False
        except NotFound:
            return False
        return not _there(source, commit_path(number + 1)) and _ends_at(target, number, base.source_root)

    def pin(self, store: Store, version: str | None = None, terms: Terms | None = None) -> DeltaVersion:
        """See `version.pin_version`."""
        return pin_version(store, version, terms)

    def since(
        self, source: Store, target: Store, version: TableVersion, base: Base | None, unfinished: Sequence[Base] = ()
    ) -> Held | None:
        """See `target.newest_common`."""
        delta = _delta(version)
        found = newest_common(delta.as_replicated(source), target, delta, base)
        moved = base is not None and base.source not in ("", source.url)
        return DeltaHeld(found, moved=moved) if found is not None else None

    def files(self, store: Store, version: TableVersion, held: Held | None = None) -> Iterator[TableFile]:
        """Live files first (required), then those of the history that still exist (see `present.present`).

        What is gone is counted in ``version.not_carried``; what that means for time travel is a remark. Raises `Unsupported`
        before the first file.
        """
        delta = _delta(version)
        gone, first = delta.not_carried, delta.span.first
        gone.files = 0
        moved = isinstance(held, DeltaHeld) and held.moved
        since = int(held.id) if held is not None and held.believed and not moved else None
        gone.versions = f"{since + 1} to {first - 1}" if since is not None and since + 1 < first else ""
        found, origins = replay(delta.as_replicated(store), delta, since), delta.localiser.origins
        if moved and delta.localiser.rewritten:
            raise Conflict(
                f"{store.url}: its log states absolute paths, and the replica was made from another address, on which their "
                "names depend; sync from the address of before, or into another target"
            )
        for names in (found.live, found.vectors):
            for path, size in names.items():
                yield TableFile(path, size, origin=origins.get(path))
        wanted: dict[str, list[str]] = {}
        for path in found.older | found.changes:
            wanted.setdefault(origins.get(path, path), []).append(path)
        for info in present(store, wanted):
            for path in wanted.pop(info.path, ()):
                yield TableFile(path, info.size, False, info.etag, info.checksum, origin=origins.get(path))
        missing = [path for paths in wanted.values() for path in paths]
        gone.files = len(missing)
        delta.remarks[:] = travel(delta, found, missing, since)

    def stage(self, source: Store, target: Store, version: TableVersion, held: Held | None) -> Staged:
        """See `order.stage_log`."""
        delta = _delta(version)
        if target.traits.set_modified is None and not _states_times(delta):
            delta.remarks.append(COPY_TIMES)
        return stage_log(delta.as_replicated(source), target, delta, None if held is None else int(held.id))

    def recheck(self, source: Store, version: TableVersion) -> None:
        """The pinned commit and the base of the history are still there."""
        delta = _delta(version)
        log, span = delta.log, delta.span
        base = (
            [info.path for info in (*delta.base_sidecars, *log.checkpoints[span.first][0])]
            if span.checkpoint
            else [commit_path(0)]
        )
        for path in {delta.root: None, **dict.fromkeys(base)}:
            if not _there(source, path):
                raise Transfer(f"{source.url}: {path} was cleaned up during the copy; run again")

    def metadata_files(self, store: Store, version: TableVersion, *, essential: bool = False) -> Iterator[str]:
        """Every object of the log that belongs to the version and its history, and the hint where there is one.

        ``essential``: the commits.

        V2 checkpoints are opened, since only they name their sidecars.
        """
        delta = _delta(version)
        log = delta.log if delta.log.url == store.url else read_log(store)
        if essential:
            yield from (commit_path(number) for number in sorted(log.commits) if delta.span.first <= number <= delta.span.last)
            return
        whole = whole_ways(store, log, log.ways(delta.span), v2=delta.has_v2)
        checkpoints = {info.path for way, sidecars in whole for info in (*sidecars, *way)}
        yield from sorted({info.path for info in log.carried(delta.span)} | checkpoints)
        if log.hint is not None:
            yield HINT

    def differences(self, source: Store, target: Store, version: TableVersion, root: str) -> Iterator[tuple[str, str]]:
        """None: what two places have in common is the same byte for byte (`metadata_files`)."""
        return iter(())

    def describe(self, store: Store, version: TableVersion) -> Description:
        """Columns and properties from the newest metaData, counts from the replayed log."""
        delta = _delta(version)
        found = replay(Localised(store, Localiser(delta.terms.locations, names_only=True)), delta)
        fields = schema_fields(delta.metadata)
        features = {*(delta.protocol.get("readerFeatures") or ()), *(delta.protocol.get("writerFeatures") or ())}
        properties = {key: str(value) for key, value in (delta.metadata.get("configuration") or {}).items()}
        return Description(
            self.name, delta.id, delta.table_id, delta.committed_at,
            tuple(Column(str(f.get("name")), type_text(f.get("type")), bool(f.get("nullable", True))) for f in fields),
            tuple(delta.metadata.get("partitionColumns") or ()),
            len(found.live), sum(found.live.values()) + sum(found.vectors.values()),
            len(older := found.older | found.changes), sum(older.values()),
            tuple(sorted(features)), properties,
        )  # fmt: skip

    def history(self, store: Store, version: TableVersion) -> Iterator[Commit]:
        """One line a commit, from its commitInfo (PROTOCOL.md, "Commit Provenance Information"); all of it is optional."""
        delta = _delta(version)
        numbers = [n for n in range(delta.span.last, delta.span.first - 1, -1) if n in delta.log.commits]
        for number, data in commits_in_order(store, numbers):
            actions = actions_of(f"{store.url}: commit {number}", data)
            info: dict[str, Any] = next((fields for kind, fields in actions if kind == "commitInfo"), {})
            at = committed_at(info) or delta.log.commits[number].modified
            details = {**(info.get("operationParameters") or {}), **(info.get("operationMetrics") or {})}
            texts = {key: _text(value) for key, value in details.items()}
            yield Commit(str(number), at, str(info.get("operation", "")), texts, commit_path(number))

    def points(self, store: Store, version: TableVersion) -> Iterator[Point]:
        """See `scan.points_of`."""
        from lakehouse.formats.delta.scan import points_of

        return points_of(store, _delta(version))

    def newest_point(self, version: TableVersion) -> Point:
        """The version by its number."""
        return Point(version=version.id)

    def scan(self, store: Store, version: TableVersion, point: Point) -> ScanPlan:
        """See `scan.plan_scan`."""
        from lakehouse.formats.delta.scan import plan_scan

        return plan_scan(store, _delta(version), point)

    def check(self, store: Store, version: TableVersion) -> Iterator[Flaw | Examination]:
        """See `check.flaws_of`."""
        from lakehouse.formats.delta.check import flaws_of

        return flaws_of(store, _delta(version))

    def damaged(self, store: Store) -> Iterator[Flaw]:
        """See `check_log.damaged_log`."""
        from lakehouse.formats.delta.check_log import damaged_log

        return damaged_log(store)


def _states_times(version: DeltaVersion) -> bool:
    """PROTOCOL.md, "In-Commit Timestamps": whether commits state the times by which engines travel."""
    return (version.metadata.get("configuration") or {}).get("delta.enableInCommitTimestamps") == "true"


def _ends_at(target: Store, number: int, root: str) -> bool:
    """Whether ``root`` of version ``number`` is there, and neither a commit nor a checkpoint of a later version."""
    there = False
    for info in target.list(LOG, after=commit_path(number - 1) if number else None):
        if (found := version_of(info.path)) is not None and found > number:
            return False
        there = there or info.path == root
    return there


def _there(store: Store, path: str) -> bool:
    try:
        store.head(path)
    except NotFound:
        return False
    return True


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def type_text(kind: Any) -> str:
    """A Delta type as SQL-like text: ``array<long>``, ``struct<a: string>`` (PROTOCOL.md, "Schema Serialization Format")."""
    if not isinstance(kind, dict):
        return str(kind)
    if kind.get("type") == "array":
        return f"array<{type_text(kind.get('elementType'))}>"
    if kind.get("type") == "map":
        return f"map<{type_text(kind.get('keyType'))}, {type_text(kind.get('valueType'))}>"
    if kind.get("type") == "struct":
        return "struct<" + ", ".join(f"{f.get('name')}: {type_text(f.get('type'))}" for f in kind.get("fields", ())) + ">"
    return json.dumps(kind)
