"""Which objects of a replica nothing needs any more: pure decisions over receipts, a listing, and what roots refer to.

An object goes only when a receipt or a note of ours names it, its bytes are still those, and no root that is kept needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from lakehouse.errors import NotFound, Unsupported, Verification
from lakehouse.plan import Counts, is_same
from lakehouse.spool import Spool, files, records, shelves
from lakehouse.store import ObjectInfo, Store
from lakehouse.table import TableFile, TableFormat, TableVersion, Written

__all__ = ["Unneeded", "needed_by", "unneeded"]

_HINTS = ("_delta_log/_last_checkpoint", "metadata/version-hint.text")
"""What only says which version is the newest, and is overwritten by every sync."""

_RANKS = 5


@dataclass(slots=True)
class Unneeded:
    """What may go, in the order in which it goes: top down, so that nothing that remains refers to what is gone.

    ``ranks``: roots, checkpoints and commits; manifest lists and sidecars; manifests; delete files; data files. ``unvouched``:
    what the next receipt must call deleted, since no receipt does so yet. ``changed``: objects that would go if somebody else
    had not changed them; they stay.
    """

    ranks: list[Spool[Written]] = field(default_factory=lambda: [records() for _ in range(_RANKS)])
    unvouched: Spool[Written] = field(default_factory=records)
    counts: Counts = field(default_factory=Counts)
    changed: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Written]:
        for rank in range(_RANKS):
            yield from self.rank(rank)

    def rank(self, number: int) -> Iterator[Written]:
        """Those that go before any of the next rank. Of a log the newest goes first: what is left can be read to its end."""
        if number == 0:
            return iter(sorted(self.ranks[0], key=lambda written: written.path, reverse=True))
        return iter(self.ranks[number])

    def add(self, written: Written) -> None:
        """Let an object go."""
        self.ranks[_rank(written)].append(written)
        self.counts.add(written.size)


def needed_by(target: Store, table_format: TableFormat, versions: Iterable[TableVersion]) -> Spool[TableFile]:
    """Every object that ``versions``, pinned at ``target``, and their retained histories refer to there; the newest is the first.

    Raises `Unsupported` where a version states a file outside the replica, so that its name here is not known.
    """
    found = files()
    for version in _each_once(versions):
        for reading in _readings(version):
            found.extend(table_format.files(target, reading))
        found.extend(TableFile(path, 0) for path in table_format.metadata_files(target, version))
        found.extend([TableFile(version.root, 0)] if version.root else [])
    for file in found:
        if file.origin is not None or "://" in file.path:
            raise Unsupported(
                f"{target.url}: its metadata states {file.source}, which lies elsewhere: what the replica needs cannot be "
                "told, so nothing is removed; lake verify says more"
            )
    return found


def _each_once(versions: Iterable[TableVersion]) -> Iterator[TableVersion]:
    """The versions without what those before them hold already: a root shares most of its history with the next."""
    from lakehouse.formats.delta.version import DeltaVersion
    from lakehouse.formats.iceberg.version import IcebergVersion

    snapshots: set[tuple[int, str | None]] = set()
    spans: list[tuple[int, int]] = []
    for version in versions:
        if isinstance(version, IcebergVersion):
            yield replace(
                version, snapshots=tuple(one for one in version.snapshots if (one.id, one.manifest_list) not in snapshots)
            )
            snapshots.update((one.id, one.manifest_list) for one in version.snapshots)
        elif not isinstance(version, DeltaVersion):
            yield version
        elif not any(first <= version.span.first and version.number <= last for first, last in spans):
            spans.append((version.span.first, version.span.last))
            yield version


def _readings(version: TableVersion) -> Iterator[TableVersion]:
    """The version as it is asked for files. A Delta checkpoint also names what was removed before it, which no version that can
    be read needs: the files of older versions are those of the oldest checkpoint and of the commits after it.
    """
    from lakehouse.formats.delta.version import DeltaVersion

    if not isinstance(version, DeltaVersion):
        yield version
        return
    yield replace(version, history_floor=version.number + 1)
    base = {at: ways for at, ways in version.log.checkpoints.items() if version.span.checkpoint and at == version.span.first}
    yield replace(version, history_floor=version.span.first, log=replace(version.log, checkpoints=base))


def unneeded(
    target: str, events: Spool[Written], noted: Spool[Written], needed: Spool[TableFile], present: Spool[ObjectInfo],
    *, unchanged: Callable[[Written], bool],
) -> Unneeded:  # fmt: skip
    """Hold what receipts (``events``, oldest first) and notes of unfinished runs say against what is ``needed`` and ``present``.

    ``unchanged`` compares the bytes of an object whose etag does not tell. Raises `Verification` for a path that leaves the
    target, and `NotFound` when an object that is needed is not there: then what is needed is not known well enough.
    """
    found = Unneeded()
    count = shelves(len(events), len(noted), len(needed), len(present))
    parts = events.shelves(count), noted.shelves(count), needed.shelves(count), present.shelves(count)
    for said, notes, wanted, lies in zip(*parts, strict=True):
        there = {info.path: info for info in lies}
        keep: set[str] = set(_HINTS)
        for file in wanted:
            if file.required and file.path not in there:
                raise NotFound(
                    f"{target}/{file.path}: the replica needs it and it is not there; lake verify, then lake sync again"
                )
            keep.add(file.path)
        vouched, ours = _records(said, notes)
        for path, written in ours.items():
            _refuse_outside(target, path)
            if path in keep or path.startswith("_lake/"):
                continue
            info = there.get(path)
            if info is not None and not _is_still(written, info, unchanged):
                found.changed.append(path)
                continue
            if info is not None:
                written = replace(written, size=info.size, target_etag=info.etag)
                found.add(written)
            if path in vouched or (info is not None and written.origin != "deleted"):
                found.unvouched.append(written)
    found.changed.sort()
    return found


def _records(said: Iterable[Written], notes: Iterable[Written]) -> tuple[set[str], dict[str, Written]]:
    """The paths that receipts vouch for, and the last that is known of every object that we wrote and may still be there."""
    vouched: set[str] = set()
    ours: dict[str, Written] = {}
    for written in said:
        if written.origin == "deleted":
            vouched.discard(written.path)
            if not written.sha256:
                ours.pop(written.path, None)
                continue
        else:
            vouched.add(written.path)
        ours[written.path] = written
    for written in notes:
        if written.path not in vouched:
            ours[written.path] = written
    return vouched, ours


def _is_still(written: Written, info: ObjectInfo, unchanged: Callable[[Written], bool]) -> bool:
    """Whether the object is what was written: by its etag, else by its bytes."""
    if written.target_etag is not None and is_same(written, info):
        return True
    return info.size == written.size and written.origin != "damaged" and unchanged(written)


def _refuse_outside(target: str, path: str) -> None:
    if not path or path.startswith("/") or "://" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise Verification(
            f"{target}: a receipt names {path!r}, which is no object of the replica; somebody edited it, nothing is removed"
        )


def _rank(written: Written) -> int:
    path, name = written.path, written.path.rpartition("/")[2]
    made = written.origin in ("staged", "rewritten") or path.startswith("metadata/")
    if written.origin == "published" or name.endswith(".metadata.json"):
        return 0
    if path.startswith("_delta_log/"):
        return 1 if path.startswith("_delta_log/_sidecars/") else 0
    if made and name.endswith(".avro"):
        return 1 if name.startswith("snap-") else 2
    return 3 if made or name.endswith(".puffin") or "-deletes." in name else 4
