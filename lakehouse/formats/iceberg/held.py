"""What the target of an Iceberg replica holds already.

Objects are written bottom up (data, delete files, manifests, lists, metadata), so a manifest that a list at the target names
is there with its whole subtree. So only what is new since then is read at the source, whatever the length of the history.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Never

from lakehouse.errors import Conflict
from lakehouse.formats.iceberg.manifest import DELETED, read_entries
from lakehouse.formats.iceberg.manifest_list import ManifestFile, read_list
from lakehouse.formats.iceberg.metadata import Snapshot, snapshots_of
from lakehouse.formats.iceberg.root import FOLDER, first_of_catalogs, number_of, read_root
from lakehouse.formats.iceberg.version import IcebergVersion, is_there
from lakehouse.locations import Locations
from lakehouse.parallel import every
from lakehouse.store import ObjectInfo, Store
from lakehouse.table import Base, Held, Remark

__all__ = ["IcebergHeld", "held_at", "roots_at"]

_WORKERS = 16
_SKEW_MS = 60_000
_SAME = ("table-uuid", "last-sequence-number", "last-updated-ms", "current-snapshot-id")
_ROOT = re.compile(rf"{FOLDER}/v(\d+)(\.gz)?\.metadata\.json(\.gz)?")


@dataclass(frozen=True)
class IcebergHeld(Held):
    """A version that was published at the target. ``number`` is that of its root, ``base`` what its receipt says of it."""

    base: Base
    number: int
    target: Store
    metadata: dict[str, Any]
    locations: Locations
    snapshots: dict[int, Snapshot]
    _dropped: set[str] = field(default_factory=set, compare=False)

    def is_level(self, version: IcebergVersion) -> bool:
        """Whether the target has just that version, and no other choice of its snapshots."""
        same = (self.base.id, self.base.source_root_sha256) == (version.id, version.root_sha256)
        return same and self.snapshots.keys() == {snapshot.id for snapshot in version.snapshots}

    def has(self, snapshot: Snapshot, locations: Locations) -> bool:
        """Whether the target retains that snapshot of the source."""
        there = self.snapshots.get(snapshot.id)
        if there is None:
            return False
        stated = (snapshot.manifest_list,) if snapshot.manifest_list is not None else snapshot.manifests
        names = (there.manifest_list,) if there.manifest_list is not None else there.manifests
        return [locations.address(path) for path in stated if path is not None] == [path for path in names if path is not None]

    def manifests(self, new: Iterable[Snapshot]) -> dict[str, ManifestFile]:
        """By address, the manifests that the snapshots before ``new`` and the heads of branches name."""
        refs = (self.metadata.get("refs") or {}).values()
        heads = {ref.get("snapshot-id") for ref in refs if ref.get("type") == "branch"}
        heads |= {self.metadata.get("current-snapshot-id")} | {snapshot.parent for snapshot in new}
        headed = [there for snapshot, there in self.snapshots.items() if snapshot in heads]
        lists = [there.manifest_list for there in headed if there.manifest_list is not None]
        found: dict[str, ManifestFile] = {}
        for _, named in every(self._list, lists, workers=_WORKERS):
            found.update((manifest.path, manifest) for manifest in named)
        for path in (path for there in headed for path in there.manifests):
            found[path] = ManifestFile(path, 0, 0, None, False)
        return found

    def _list(self, address: str) -> list[ManifestFile]:
        return read_list(self.target.get(self.locations.read(address)), f"{self.target.url}: {address}")

    def files(self, manifests: Iterable[str]) -> set[str]:
        """The paths, below the target, of the live files that ``manifests`` (addresses) name."""
        found: set[str] = set()
        for _, paths in every(self._paths, manifests, workers=_WORKERS):
            found |= paths
        return found

    def _paths(self, address: str) -> set[str]:
        path = self.locations.read(address)
        entries = read_entries(self.target.get(path), f"{self.target.url}/{path}")
        return {self.locations.read(entry.path) for entry in entries if entry.status != DELETED}


def roots_at(target: Store) -> dict[int, ObjectInfo]:
    """The roots of a table found by path, by number. One listing that begins behind the manifests.

    Of two spellings of one number the packed one is given: no sync writes it, so somebody else did.
    """
    listed = target.list(FOLDER, after=f"{FOLDER}/v", recursive=False)
    found = [(match, info) for info in listed if (match := _ROOT.fullmatch(info.path)) is not None]
    return {int(match[1]): info for match, info in sorted(found, key=lambda one: ".gz" in one[1].path)}


def held_at(target: Store, version: IcebergVersion, base: Base | None, unfinished: Sequence[Base]) -> IcebergHeld | None:
    """What the target holds of the source's history; None where nothing of ours stands there.

    Raises `Conflict` where others committed, for another table, for a source that is older than the replica, and for a replica
    that states another location than is asked for.
    """
    path = _newest_root(target, version, base)
    if path is None:
        return None
    metadata, digest = read_root(target, path)
    published = (*unfinished[::-1], *((base,) if base is not None else ()))
    ours = next((known for known in published if (known.target_root, known.target_root_sha256) == (path, digest)), None)
    _refuse_another(target, path, metadata, version)
    if ours is None and base is not None:
        _refuse_foreign_root(target, path, base)
    if ours is None:
        _refuse_unknown_snapshots(target, path, metadata, version)
        version.remarks.append(Remark("history", f"no receipt was found at the target; {path} was taken for ours", path))
        return None
    if version.terms.by_path:
        _refuse_commits_of_catalogs(target, metadata)
    _refuse_fork(target, path, metadata, version, ours)
    locations = Locations(target.url, version.locations.target, table=str(metadata.get("location")))
    snapshots = {snapshot.id: snapshot for snapshot in snapshots_of(metadata, f"{target.url}/{path}")}
    number = number_of(path.rpartition("/")[2]) or 0
    return IcebergHeld(ours.id, ours, number, target, metadata, locations, snapshots)


def _refuse_foreign_root(target: Store, path: str, base: Base) -> Never:
    if not is_there(target, base.target_root):
        gone = f"{base.target_root}, which the last sync published, is gone"
        raise Conflict(f"{target.url}: {gone}; put it back, or remove the replica and sync again")
    raise Conflict(
        f"{target.url}: its metadata moved on by itself: {path} is not what a sync published (the receipts say "
        f"{base.target_root}); nothing was overwritten"
    )


def _refuse_commits_of_catalogs(target: Store, ours: dict[str, Any]) -> None:
    """Commits through a catalog leave ``<N>-<uuid>.metadata.json``: they must know no snapshot but ours (a catalog that the
    replica was entered in may write such a file itself).
    """
    known = {raw.get("snapshot-id") for raw in ours.get("snapshots") or ()}
    for name in first_of_catalogs(target):
        theirs, _ = read_root(target, f"{FOLDER}/{name}")
        if any(raw.get("snapshot-id") not in known for raw in theirs.get("snapshots") or ()):
            raise Conflict(f"{target.url}: somebody committed through a catalog (metadata/{name}); nothing was overwritten")


def _newest_root(target: Store, version: IcebergVersion, base: Base | None) -> str | None:
    """The root that readers of the target find: by path the highest number, in a catalog the version that it stands at."""
    if not version.terms.by_path:
        return base.target_root if base is not None else None
    roots = roots_at(target)
    return roots[max(roots)].path if roots else None


def _refuse_another(target: Store, path: str, metadata: dict[str, Any], version: IcebergVersion) -> None:
    ids = metadata.get("table-uuid"), version.table_id
    if None not in ids and ids[0] != ids[1]:
        raise Conflict(f"{target.url}: holds another table ({path} has table-uuid {ids[0]}, {version.where} has {ids[1]})")
    stated = str(metadata.get("location"))
    if stated != version.locations.target:
        raise Conflict(
            f"{target.url}: {path} states the location {stated}, asked for is {version.locations.target}; "
            f"a replica keeps its location: give --location {stated}, or another target"
        )


def _refuse_fork(target: Store, path: str, metadata: dict[str, Any], version: IcebergVersion, base: Base) -> None:
    """The source must descend from the version that the replica has: restored from a backup, it may not, under the same names.

    The metadata-log tells, by name and time. Where it no longer reaches back so far, sequence numbers and times do; clocks of
    writers may differ by a minute (as Iceberg's own check allows).
    """
    ours, theirs = metadata, version.metadata
    if (version.id, version.root_sha256) == (base.id, base.source_root_sha256):
        return
    at = ours.get("last-updated-ms") or 0
    log = [(entry.get("timestamp-ms") or 0, _name(entry.get("metadata-file"))) for entry in theirs.get("metadata-log") or ()]
    times = [time for time, name in log if name == base.id]
    if times and (at in times or not base.id.startswith("v")):
        return
    if all(theirs.get(key) == ours.get(key) for key in _SAME) and _ids(theirs) == _ids(ours):
        return  # the same version, written elsewhere with other addresses
    behind = (theirs.get("last-updated-ms") or 0) + _SKEW_MS < at
    behind |= (theirs.get("last-sequence-number") or 0) < (ours.get("last-sequence-number") or 0)
    if behind or times or any(time + _SKEW_MS < at for time, _ in log) or _name(version.root) == base.id:
        raise Conflict(
            f"{target.url}: {path} holds {base.id}, from which {version.where} does not descend; the source was restored to an "
            "older version, or made anew, and a replica is never rolled back: use another target"
        )


def _ids(metadata: dict[str, Any]) -> set[object]:
    return {raw.get("snapshot-id") for raw in metadata.get("snapshots") or ()}


def _name(address: object) -> str:
    return str(address).rpartition("/")[2]


def _refuse_unknown_snapshots(target: Store, path: str, metadata: dict[str, Any], version: IcebergVersion) -> None:
    """Without receipts, a table at the target is taken over only when its snapshots are the source's, expired ones too."""
    there = {snapshot.id: snapshot for snapshot in snapshots_of(metadata, f"{target.url}/{path}")}
    proven = {snapshot.id for snapshot in version.snapshots}
    parents = [snapshot.parent for snapshot in version.snapshots]
    while parents:  # an expired snapshot is still named as the parent of one that is retained, or of one so proven
        parent = parents.pop()
        if parent is not None and parent not in proven:
            proven.add(parent)
            parents += [there[parent].parent] if parent in there else []
    others = [snapshot for snapshot in there if snapshot not in proven]
    if others:
        raise Conflict(
            f"{target.url}: {path} has no receipt, and nothing shows that its snapshot {others[0]} was the source's: somebody "
            "else may have committed it, so nothing was overwritten; use another target"
        )
