"""What a version needs that the target does not hold: the lists, manifests and files below its snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.iceberg.held import IcebergHeld
from lakehouse.formats.iceberg.manifest import DELETED, Entry, read_entries
from lakehouse.formats.iceberg.manifest_list import ManifestFile, read_list
from lakehouse.formats.iceberg.metadata import Snapshot
from lakehouse.formats.iceberg.version import IcebergVersion
from lakehouse.parallel import WINDOW_PER_WORKER, every
from lakehouse.store import Store

__all__ = ["POSITION_DELETES", "Growth", "growth", "live_entries", "live_entries_in", "manifests_of", "read_manifest", "readers"]

POSITION_DELETES = 1
_HELD_BYTES = 64 * 2**20
"""Of manifests that are read ahead."""
_REWRITABLE = ("parquet", "orc", "avro", "puffin")
_WORKERS = 16


@dataclass(slots=True)
class Growth:
    """What is new: ``lists`` (stated paths) and ``manifests`` by stated path.

    ``kept``: the lengths at the target, in bytes, of manifests that new lists name and that are there. ``replaced``: addresses of
    manifests that the target's newest lists name and the new ones do not.
    """

    lists: list[str] = field(default_factory=list)
    manifests: dict[str, ManifestFile] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)


def growth(
    store: Store, version: IcebergVersion, held: IcebergHeld | None, snapshots: tuple[Snapshot, ...] | None = None
) -> Growth:
    """Read the lists of the snapshots (those of the version, or the ones given) that the target does not retain.

    Raises `NotFound` for a list that is gone, `Unsupported` for encrypted manifests.
    """
    wanted = version.snapshots if snapshots is None else snapshots
    new = [snapshot for snapshot in wanted if held is None or not held.has(snapshot, version.locations)]
    known = held.manifests(new) if held is not None and new else {}
    found = Growth(lists=[snapshot.manifest_list for snapshot in new if snapshot.manifest_list is not None])
    found.replaced = set(known)
    named = every(lambda snapshot: manifests_of(store, version, snapshot), new, workers=_WORKERS)
    for _, manifests in named:
        for manifest in manifests:
            address = version.locations.address(manifest.path)
            found.replaced.discard(address)
            if manifest.path in found.manifests or manifest.path in found.kept:
                continue
            length = _length(held, known, manifest, address)
            if length is None:
                found.manifests[manifest.path] = manifest
            else:
                found.kept[manifest.path] = length
    return found


def manifests_of(store: Store, version: IcebergVersion, snapshot: Snapshot, *, in_full: bool = False) -> list[ManifestFile]:
    """The manifests of one snapshot; ``in_full``: as `read_list` has it.

    Raises `NotFound` for a list that is gone, cut or damaged, `Unsupported` for encrypted manifests.
    """
    if snapshot.manifest_list is None:
        return [ManifestFile(path, 0, 0, None, False) for path in snapshot.manifests]
    place = version.locations.read(snapshot.manifest_list)
    try:
        data = store.get(place)
    except NotFound as error:
        raise NotFound(
            f"{version.where}: the manifest list of snapshot {snapshot.id} is missing ({error}); "
            "an older snapshot can be left out with --skip-broken-history"
        ) from error
    found = read_list(data, f"{store.url}: {place}", in_full=in_full)
    if snapshot.has_files and not found:
        raise NotFound(
            f"{version.where}: the manifest list of snapshot {snapshot.id} names no manifest, its summary says that it "
            "reads files: it was cut"
        )
    for manifest in found:
        if manifest.encrypted:
            raise Unsupported(f"{version.where}: the manifest {manifest.path} is encrypted; nothing here has its key")
    return found


def _length(held: IcebergHeld | None, known: dict[str, ManifestFile], manifest: ManifestFile, address: str) -> int | None:
    """The manifest's length at the target when it is there with all below it, else None."""
    if held is None:
        return None
    if address in known:
        return known[address].length
    if manifest.added_snapshot_id not in held.snapshots:
        return None
    try:
        return held.target.head(held.locations.read(address)).size
    except NotFound:
        return None


def live_entries(store: Store, version: IcebergVersion, manifest: ManifestFile) -> Iterator[Entry]:
    """The entries of one manifest whose files its snapshots read. Raises as `read_manifest` and `live_entries_in`."""
    return live_entries_in(read_manifest(store, version, manifest), version, manifest)


def read_manifest(store: Store, version: IcebergVersion, manifest: ManifestFile) -> bytes:
    """The bytes of one manifest. Raises `NotFound` when it is gone."""
    try:
        return store.get(version.locations.read(manifest.path))
    except NotFound as error:
        raise NotFound(f"{version.where}: the manifest {manifest.path} is missing ({error})") from error


def live_entries_in(data: bytes, version: IcebergVersion, manifest: ManifestFile) -> Iterator[Entry]:
    """The entries of the manifest ``data`` whose files its snapshots read.

    Raises `NotFound` when it is damaged, `Unsupported` for encrypted files and for delete files of a format that is not known.
    """
    count = 0
    for entry in read_entries(data, f"{version.url}: {version.locations.read(manifest.path)}"):
        count += 1
        if entry.status == DELETED:
            continue
        if entry.encrypted:
            raise Unsupported(f"{version.where}: the file {entry.path} is encrypted; its key metadata cannot be carried")
        if entry.content == POSITION_DELETES and entry.file_format.lower() not in _REWRITABLE:
            raise Unsupported(
                f"{version.where}: {entry.path} holds position deletes as {entry.file_format}: it cannot be rewritten"
            )
        yield entry
    if manifest.entries is not None and count < manifest.entries and len(data) < manifest.length:
        raise NotFound(
            f"{version.where}: the manifest {manifest.path} was cut: {count} of {manifest.entries} entries, {len(data)} of "
            f"{manifest.length} bytes are there"
        )


def readers(manifests: Iterable[ManifestFile]) -> int:
    """How many threads may read these manifests, so that what they read ahead is held within `_HELD_BYTES`."""
    largest = max((manifest.length for manifest in manifests), default=0)
    return max(1, min(_WORKERS, _HELD_BYTES // (WINDOW_PER_WORKER * max(1, largest))))
