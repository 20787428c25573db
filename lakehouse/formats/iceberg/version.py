"""A pinned version of an Iceberg table: its metadata file, parsed and checked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.manifest_list import read_list
from lakehouse.formats.iceberg.metadata import Snapshot, check_metadata, snapshots_of, without_snapshots
from lakehouse.formats.iceberg.root import find_root, read_root
from lakehouse.locations import Locations
from lakehouse.parallel import every
from lakehouse.store import Store
from lakehouse.table import Remark, TableVersion, Terms

__all__ = ["IcebergVersion", "iceberg", "pin_version"]

_WORKERS = 16


@dataclass(frozen=True, kw_only=True)
class IcebergVersion(TableVersion):
    """One metadata file with all the snapshots that it retains. ``locations`` knows the location that it states.

    ``terms`` are those it was pinned under. ``lost_statistics``: stated paths of statistics files that are gone at the source,
    filled by `IcebergFormat.files`.
    """

    url: str
    metadata: dict[str, Any]
    snapshots: tuple[Snapshot, ...]
    locations: Locations
    terms: Terms
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
    named = terms.root is None or version is not None
    root = find_root(store, version) if named or terms.root is None else terms.locations.place(terms.root()).read
    metadata, digest = read_root(store, root)
    where = f"{store.url}/{root}"
    check_metadata(metadata, where)
    locations = terms.locations.stated_at(str(metadata["location"]))
    remarks: list[Remark] = []
    if terms.skip_broken_history:
        broken = _broken(store, metadata, locations, where)
        metadata = without_snapshots(metadata, broken)
        remarks += [Remark("history", f"snapshot {number} can no longer be read and was left out") for number in sorted(broken)]
    updated = metadata.get("last-updated-ms")
    return IcebergVersion(
        format="iceberg",
        id=root.rpartition("/")[2],
        table_id=metadata.get("table-uuid"),
        committed_at=datetime.fromtimestamp(updated / 1000, UTC) if isinstance(updated, int) else None,
        root=root,
        root_sha256=digest,
        url=store.url,
        metadata=metadata,
        snapshots=tuple(snapshots_of(metadata, where)),
        locations=locations,
        terms=replace(terms, locations=locations),
        remarks=remarks,
    )


def _broken(store: Store, metadata: dict[str, Any], locations: Locations, where: str) -> set[int]:
    """The older snapshots whose manifest list or manifests are gone. Raises `NotFound` when a branch or tag needs one."""
    found = snapshots_of(metadata, where)
    looked = every(lambda snapshot: _is_readable(store, snapshot, locations), found, workers=_WORKERS)
    gone = {snapshot.id for snapshot, readable in looked if not readable}
    heads = {ref.get("snapshot-id"): name for name, ref in (metadata.get("refs") or {}).items() if ref.get("type") == "branch"}
    heads.setdefault(metadata.get("current-snapshot-id"), "main")
    needed = sorted(name for head, name in heads.items() if head in gone)
    if needed:
        raise NotFound(f"{where}: the head of branch {needed[0]} can no longer be read; only older snapshots can be left out")
    return gone


def _is_readable(store: Store, snapshot: Snapshot, locations: Locations) -> bool:
    """Whether the snapshot's manifest list and manifests are there. Raises what else goes wrong."""
    try:
        manifests = snapshot.manifests
        if snapshot.manifest_list is not None:
            place = locations.place(snapshot.manifest_list).read
            manifests = tuple(manifest.path for manifest in read_list(store.get(place), f"{store.url}: {place}"))
        for manifest in manifests:
            store.head(locations.place(manifest).read)
    except NotFound:
        return False
    return True
