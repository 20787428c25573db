"""A pinned version of an Iceberg table: its metadata file, parsed and checked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.manifest_list import read_list
from lakehouse.formats.iceberg.metadata import Snapshot, check_metadata, moment, snapshots_of, without_snapshots
from lakehouse.formats.iceberg.root import find_root, mark, read_root
from lakehouse.locations import Locations
from lakehouse.parallel import every
from lakehouse.store import Store
from lakehouse.table import Remark, TableVersion, Terms

__all__ = ["IcebergVersion", "iceberg", "is_there", "pin_version", "spellings_of"]

_WORKERS = 16


@dataclass(frozen=True, kw_only=True)
class IcebergVersion(TableVersion):
    """One metadata file with all the snapshots that it retains. ``locations`` knows the location that it states.

    ``terms`` are those it was pinned under, ``is_named``: by the user. ``entries``: the same locations for the
    files that manifests name, so that their spellings are known apart. ``lost_statistics``: stated paths of statistics files
    that are gone at the source, filled by `IcebergFormat.files`.
    """

    url: str
    metadata: dict[str, Any]
    snapshots: tuple[Snapshot, ...]
    locations: Locations
    terms: Terms
    entries: Locations
    is_named: bool = False
    lost_statistics: set[str] = field(default_factory=set, compare=False)

    @property
    def where(self) -> str:
        """What messages call it."""
        return f"{self.url}: {self.id}"


def iceberg(version: TableVersion) -> IcebergVersion:
    """``version`` as what `pin_version` made it."""
    if not isinstance(version, IcebergVersion):
        raise TypeError(f"not an Iceberg version: {version!r}")
    return version


def pin_version(store: Store, version: str | None, terms: Terms | None) -> IcebergVersion:
    """Read and check the current metadata file, the one named, or the one that the table's catalog points to.

    Raises `NotFound` (no table, no such file, doubt which is current, an older snapshot that can no longer be read) and
    `Unsupported` (encrypted, a format version that is not carried).
    """
    terms = terms or Terms(Locations(store.url))
    if terms.root is None or version is not None:
        root, seen = find_root(store, version)
    else:
        root = terms.locations.read(terms.root())
        seen = mark(store, root)
    metadata, digest = read_root(store, root)
    where = f"{store.url}/{root}"
    check_metadata(metadata, where)
    locations = terms.locations.stated_at(str(metadata["location"]))
    remarks: list[Remark] = []
    if terms.skip_broken_history:
        broken = _broken(store, metadata, locations, where)
        metadata, remarks = without_snapshots(metadata, broken), _left_out(metadata, broken)
    return IcebergVersion(
        format="iceberg",
        id=root.rpartition("/")[2],
        table_id=metadata.get("table-uuid"),
        committed_at=moment(metadata.get("last-updated-ms")),
        root=root,
        root_sha256=digest,
        root_etag=seen,
        is_named=version is not None,
        url=store.url,
        metadata=metadata,
        snapshots=tuple(snapshots_of(metadata, where)),
        locations=locations,
        entries=locations.stated_at(locations.table),
        terms=replace(terms, locations=locations),
        remarks=remarks,
    )


def spellings_of(version: IcebergVersion) -> list[Remark]:
    """Java matches position deletes to data files by text: two spellings of one place become one at the target."""
    heads = sorted(version.locations.heads | version.entries.heads)
    if len(heads) < 2:
        return []
    text = f"the source spells its own location in several ways ({', '.join(heads)}), the replica in one"
    return [Remark("location", f"{text}: deletes that name a file otherwise than its manifest apply there")]


def _left_out(metadata: dict[str, Any], broken: set[int]) -> list[Remark]:
    """What must be said of the snapshots that are left out, and of the tags that go with them."""
    found = [Remark("history", f"snapshot {number} can no longer be read and was left out") for number in sorted(broken)]
    gone = {
        name: ref.get("snapshot-id") for name, ref in (metadata.get("refs") or {}).items() if ref.get("snapshot-id") in broken
    }
    return found + [Remark("history", f"tag {name} of snapshot {number} was left out with it") for name, number in gone.items()]


def _broken(store: Store, metadata: dict[str, Any], locations: Locations, where: str) -> set[int]:
    """The older snapshots whose manifest list or manifests are gone. Raises `NotFound` when a branch or tag needs one."""
    found = snapshots_of(metadata, where)
    listed = {snapshot.id: names for snapshot, names in every(partial(_named, store, locations), found, workers=_WORKERS)}
    wanted = dict.fromkeys(path for names in listed.values() for path in names or ())
    lost = {
        path for path, there in every(lambda path: is_there(store, locations.read(path)), wanted, workers=_WORKERS) if not there
    }
    gone = {number for number, names in listed.items() if names is None or not lost.isdisjoint(names)}
    heads = {ref.get("snapshot-id"): name for name, ref in (metadata.get("refs") or {}).items() if ref.get("type") == "branch"}
    heads.setdefault(metadata.get("current-snapshot-id"), "main")
    needed = sorted(name for head, name in heads.items() if head in gone)
    if needed:
        raise NotFound(f"{where}: the head of branch {needed[0]} can no longer be read; only older snapshots can be left out")
    return gone


def _named(store: Store, locations: Locations, snapshot: Snapshot) -> tuple[str, ...] | None:
    """The stated paths of a snapshot's manifests; None where its manifest list is gone."""
    if snapshot.manifest_list is None:
        return snapshot.manifests
    place = locations.read(snapshot.manifest_list)
    try:
        return tuple(manifest.path for manifest in read_list(store.get(place), f"{store.url}: {place}"))
    except NotFound:
        return None


def is_there(store: Store, path: str) -> bool:
    """Whether the object is there."""
    try:
        store.head(path)
    except NotFound:
        return False
    return True
