"""Puts a version's metadata at the target, bottom up: delete files, manifests, manifest lists; then names its root.

Each object is read, rewritten and put on its own, so memory does not grow with the table. Lengths of what is already at the
target are taken from there: compressed sizes depend on the library that compressed.
"""

from __future__ import annotations

import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from lakehouse.checksum import sha256_hex
from lakehouse.errors import NotFound, Transfer, Unsupported
from lakehouse.formats.iceberg.held import IcebergHeld, roots_at
from lakehouse.formats.iceberg.manifest import DELETED, EXISTING, Entry, rewrite_manifest
from lakehouse.formats.iceberg.manifest_list import ManifestFile, rewrite_list, same_content
from lakehouse.formats.iceberg.metadata import relocated, to_bytes
from lakehouse.formats.iceberg.position_deletes import rewrite_position_deletes, same_deletes
from lakehouse.formats.iceberg.puffin import rewrite_puffin
from lakehouse.formats.iceberg.root import FOLDER, HINT, read_root
from lakehouse.formats.iceberg.tree import POSITION_DELETES, Growth, growth, live_entries
from lakehouse.formats.iceberg.version import IcebergVersion, spellings_of
from lakehouse.locations import Locations
from lakehouse.parallel import every
from lakehouse.stage import put_staged
from lakehouse.store import Store
from lakehouse.table import Publication, Staged, Written

__all__ = ["differences_of", "stage_version"]

_WORKERS = 8


def stage_version(source: Store, target: Store, version: IcebergVersion, held: IcebergHeld | None) -> Staged:
    """Put everything below the root. The publications that are left are the root and, for a table found by path, the hint."""
    below = held if held is not None and held.believed else None
    written: tuple[Written, ...] = ()
    if below is None or not below.is_level(version):
        put = partial(put_staged, target, origin="rewritten")
        rewriter = _Rewriter(source, target, version, below, growth(source, version, below), put, _apart(version))
        written = (*rewriter.deletes(), *rewriter.manifests(), *rewriter.lists())
    if held is not None and held.is_level(version):
        root = held.base.target_root
        return Staged(written, _publications(root, target.get(root), held.number, version), root)
    metadata, remarks = relocated(
        version.metadata, version.locations, _published(version, held), version.lost_statistics, by_path=version.terms.by_path
    )
    remarks += spellings_of(version)
    version.remarks[:] = [*(remark for remark in version.remarks if remark not in remarks), *remarks]
    data = to_bytes(metadata)
    if version.terms.by_path:
        number = held.number + 1 if held is not None else max(roots_at(target), default=0) + 1
        root = f"{FOLDER}/v{number}.metadata.json"
    else:
        number = held.number + 1 if held is not None else 0
        root = f"{FOLDER}/{number:05d}-{uuid.UUID(sha256_hex(data)[:32])}.metadata.json"
    return Staged(tuple(written), _publications(root, data, number, version), root)


def differences_of(source: Store, target: Store, version: IcebergVersion, root: str) -> Iterator[tuple[str, str]]:
    """Rewrite the version once more and hold it against what lies at the target below the metadata file ``root``.

    Gives the path of each object there that is missing or says something else, and what is wrong. The metadata-log is left out:
    it is the target's own.
    """
    theirs, _ = read_root(target, root)
    located = replace(version, locations=replace(version.locations, target=str(theirs.get("location")), heads=set()))
    found: list[tuple[str, str]] = []

    def compare(path: str, data: bytes, *, same: Callable[[bytes, bytes], bool] = bytes.__eq__) -> Written:
        there = None
        with suppress(NotFound):
            there = target.get(path)
        if there is None or not same(there, data):
            found.append((path, "is missing" if there is None else "does not say what the source says"))
        return Written(path, len(data if there is None else there), sha256_hex(data), "adopted")

    rewriter = _Rewriter(source, target, located, None, growth(source, located, None), compare, _apart(located))
    for written in (rewriter.deletes(), rewriter.manifests(), rewriter.lists()):
        deque(written, maxlen=0)
    yield from found
    by_path = root.startswith(f"{FOLDER}/v")
    ours, _ = relocated(located.metadata, located.locations, {}, version.lost_statistics, by_path=by_path)
    if {**ours, "metadata-log": None} != {**theirs, "metadata-log": None}:
        yield root, "does not say what the source's metadata says"


def _publications(root: str, data: bytes, number: int, version: IcebergVersion) -> tuple[Publication, ...]:
    made = [Publication(root, len(data), sha256_hex(data), lambda: data)]
    if version.terms.by_path:
        hint = str(number).encode()
        made.append(Publication(HINT, len(hint), sha256_hex(hint), lambda: hint, replace=True))
    return tuple(made)


def _published(version: IcebergVersion, held: IcebergHeld | None) -> dict[str, str]:
    """By the name of the source's metadata file, the address of the version that it became at the target.

    Entries of the metadata-log keep their time on the way, which joins the two logs where it names one entry.
    """
    if held is None:
        return {}
    ours, log = ((made.get("metadata-log") or ()) for made in (held.metadata, version.metadata))
    times = Counter(entry.get("timestamp-ms") for entry in log)
    at = {entry.get("timestamp-ms"): entry["metadata-file"] for entry in ours if times[entry.get("timestamp-ms")] == 1}
    named = {str(entry.get("metadata-file")).rpartition("/")[2]: at.get(entry.get("timestamp-ms")) for entry in log}
    found = {name: address for name, address in named.items() if address is not None}
    return found | {held.base.id: f"{held.locations.target}/{held.base.target_root}"}


@dataclass
class _Rewriter:
    """One run's rewriting. ``sizes``: by stated path, the new size of delete files; ``lengths``: of manifests."""

    source: Store
    target: Store
    version: IcebergVersion
    held: IcebergHeld | None
    new: Growth
    put: Callable[..., Written]
    named: Locations
    sizes: dict[str, int] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)

    @cached_property
    def _held_files(self) -> set[str]:
        """The files that the target's own manifests name where new ones took their place: those are there, proven."""
        return self.held.files(self.new.replaced) if self.held is not None else set()

    def deletes(self) -> Iterator[Written]:
        """Position-delete files and deletion vectors, which name data files."""
        yield from self._rewritten_deletes()
        strange = sorted(self.named.heads - self.version.entries.heads)
        if self.held is None and strange and self.version.entries.heads:
            raise Unsupported(
                f"{self.version.where}: its position deletes name files as {strange[0]}…, its manifests as "
                f"{min(self.version.entries.heads)}…: engines compare them as text, so they delete nothing at the source and "
                "would delete rows in a replica, which spells them one way; compact the table's deletes first"
            )
        self.version.locations.heads.update(self.named.heads)

    def _rewritten_deletes(self) -> Iterator[Written]:
        for entry, written in every(self._delete_file, self._delete_entries(), workers=_WORKERS):
            self.sizes[entry.path] = written.size
            if written.sha256:
                yield written

    def _delete_entries(self) -> Iterator[Entry]:
        seen = set()
        for manifest in self.new.manifests.values():
            if manifest.content == 0 and manifest.length:
                continue  # a list says that it names data files only
            for entry in live_entries(self.source, self.version, manifest):
                if entry.content == POSITION_DELETES and entry.path not in seen:
                    seen.add(entry.path)
                    yield entry

    def _delete_file(self, entry: Entry) -> Written:
        """Rewrite one; of one that an earlier run brought only the size is looked up (its record has no hash)."""
        place = self.version.locations.place(entry.path)
        if entry.status == EXISTING and place.write in self._held_files:
            try:
                info = self.target.head(place.write)
            except NotFound:
                pass
            else:
                return Written(place.write, info.size, "", "adopted", target_etag=info.etag)
        where = f"{self.source.url}: {place.read}"
        try:
            data = self.source.get(place.read)
        except NotFound as error:
            raise NotFound(
                f"{self.version.where}: the delete file {entry.path} is missing, nothing was published ({error})"
            ) from error
        kind, address = entry.file_format.lower(), self.named.address
        if kind == "puffin":
            made = rewrite_puffin(data, where, address)
            return self.put(place.write, made)
        made = rewrite_position_deletes(data, kind, where, address)
        return self.put(place.write, made, same=lambda there, ours: there == ours or same_deletes(there, ours, kind))

    def manifests(self) -> Iterator[Written]:
        """Manifests, each with the new sizes of the delete files that it names."""
        for manifest, written in every(self._manifest, self.new.manifests.values(), workers=_WORKERS):
            self.lengths[manifest.path] = written.size
            yield written

    def _manifest(self, manifest: ManifestFile) -> Written:
        place = self.version.locations.place(manifest.path)
        data = rewrite_manifest(
            _get(self.source, place.read),
            f"{self.source.url}: {place.read}",
            self.version.locations.address,
            lambda entry: None if entry.status == DELETED else self.sizes.get(entry.path),
        )
        return self.put(place.write, data, same=same_content)

    def lists(self) -> Iterator[Written]:
        """Manifest lists, each with the new lengths of its manifests."""
        for _, written in every(self._list, self.new.lists, workers=_WORKERS):
            yield written

    def _list(self, stated: str) -> Written:
        place = self.version.locations.place(stated)
        lengths = self.lengths | self.new.kept
        data = rewrite_list(
            _get(self.source, place.read), f"{self.source.url}: {place.read}", self.version.locations.address, lengths.__getitem__
        )
        return self.put(place.write, data, same=same_content)


def _apart(version: IcebergVersion) -> Locations:
    """The locations of what delete files name, with spellings of their own."""
    return version.locations.stated_at(version.locations.table)


def _get(store: Store, path: str) -> bytes:
    try:
        return store.get(path)
    except NotFound as error:
        raise Transfer(f"{store.url}: {path} was cleaned up meanwhile; run again") from error
