"""`IcebergFormat`: what the library knows of Iceberg tables, method by method in the order in which a sync calls them."""

# ruff: noqa: ARG002  (the contract names more than each format needs)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from lakehouse.errors import NotFound, Transfer
from lakehouse.formats.iceberg.held import IcebergHeld, held_at, roots_at
from lakehouse.formats.iceberg.look import description, history_of
from lakehouse.formats.iceberg.manifest import DATA, EXISTING, Entry
from lakehouse.formats.iceberg.metadata import statistics_of
from lakehouse.formats.iceberg.relocate import differences_of, stage_version
from lakehouse.formats.iceberg.root import (
    FOLDER,
    HINT,
    find_root,
    is_metadata_name,
    mark,
    mark_of,
    metadata_listing,
    number_of,
    read_root,
)
from lakehouse.formats.iceberg.tree import POSITION_DELETES, growth, live_entries_in, read_manifest, readers
from lakehouse.formats.iceberg.version import IcebergVersion, iceberg, pin_version
from lakehouse.parallel import every
from lakehouse.reading.examine import Examination, Flaw
from lakehouse.reading.task import Point, ScanPlan
from lakehouse.store import Store
from lakehouse.table import Base, Commit, Description, Held, Staged, TableFile, TableVersion, Terms

__all__ = ["IcebergFormat"]


def _held(held: Held | None) -> IcebergHeld | None:
    if held is not None and not isinstance(held, IcebergHeld):
        raise TypeError(f"not what `IcebergFormat.since` gave: {held!r}")
    return held


class IcebergFormat:
    """Iceberg tables of format versions 1 to 3, found by path or by a catalog."""

    name = "iceberg"
    receipts_inside = True
    renumbers = True

    def detect(self, store: Store) -> bool:
        """Whether ``metadata/`` holds a table metadata file (spec, "File System Tables") or a hint."""
        return any(
            found.path == HINT or is_metadata_name(found.path.rpartition("/")[2]) for found in store.list(FOLDER, recursive=False)
        )

    def is_unchanged(self, source: Store, target: Store, base: Base, terms: Terms | None = None) -> bool:
        """The source's metadata file and hint are those of ``base`` and none is newer (or its catalog still names it), and the
        target's root is the newest there and the one that its hint names. Three requests, however long the history.
        """
        if terms is not None and terms.root is not None:
            level = _is_named(source, base, terms.locations.read(terms.root()))
        else:
            level = _stands_at(source, base)
        return level and (self._is_catalogs(terms) or _is_published(target, base))

    def _is_catalogs(self, terms: Terms | None) -> bool:
        """Whether the target is a catalog's table: what it stands at was asked when it was opened."""
        return terms is not None and not terms.by_path

    def pin(self, store: Store, version: str | None = None, terms: Terms | None = None) -> IcebergVersion:
        """See `version.pin_version`."""
        return pin_version(store, version, terms)

    def since(
        self, source: Store, target: Store, version: TableVersion, base: Base | None, unfinished: Sequence[Base] = ()
    ) -> IcebergHeld | None:
        """See `held.held_at`."""
        return held_at(target, iceberg(version), base, unfinished)

    def files(self, store: Store, version: TableVersion, held: Held | None = None) -> Iterator[TableFile]:
        """The files of the live entries of every retained snapshot, whoever added them, and statistics.

        Position deletes and deletion vectors name data files, so `stage` rewrites them.
        """
        pinned, there = iceberg(version), _held(held)
        there = there if there is not None and there.believed else None
        new = growth(store, pinned, there)
        seen: set[str] = set()
        doubtful: dict[str, Entry] = {}
        manifests = new.manifests.values()
        for manifest, data in every(partial(read_manifest, store, pinned), manifests, workers=readers(manifests)):
            for entry in live_entries_in(data, pinned, manifest):
                if entry.path in seen:
                    continue
                seen.add(entry.path)
                if there is not None and entry.status == EXISTING:
                    doubtful[entry.path] = entry
                else:
                    yield _table_file(pinned, entry.path, entry.size, entry.content)
        if there is not None and doubtful:
            held_files = there.files(new.replaced)
            missing = (entry for entry in doubtful.values() if pinned.entries.write(entry.path) not in held_files)
            yield from (_table_file(pinned, entry.path, entry.size, entry.content) for entry in missing)
        yield from _statistics(store, pinned, there)

    def stage(self, source: Store, target: Store, version: TableVersion, held: Held | None) -> Staged:
        """See `relocate.stage_version`."""
        return stage_version(source, target, iceberg(version), _held(held))

    def recheck(self, source: Store, version: TableVersion) -> None:
        """The pinned metadata file is there, and where a newer one is current, that still retains every pinned snapshot.

        A version that the user named may be any older one; then only its own file is looked for.
        """
        pinned = iceberg(version)
        try:
            source.head(pinned.root)
        except NotFound:
            raise Transfer(f"{source.url}: {pinned.root} was cleaned up during the copy; run again") from None
        if pinned.is_named:
            return
        try:
            named = pinned.terms.root
            newest = find_root(source)[0] if named is None else pinned.locations.read(named())
        except NotFound:  # a commit is under way; the pinned version stands on its own
            return
        if newest == pinned.root:
            return
        metadata, _ = read_root(source, newest)
        retained = {raw.get("snapshot-id") for raw in metadata.get("snapshots") or ()}
        gone = [snapshot.id for snapshot in pinned.snapshots if snapshot.id not in retained]
        if gone:
            raise Transfer(f"{source.url}: snapshot {gone[0]} was expired during the copy ({newest}); run again")

    def metadata_files(self, store: Store, version: TableVersion, *, essential: bool = False) -> Iterator[str]:
        """The root, lists and manifests, at the place where the version was pinned.

        Two places have none of them byte for byte in common; `stage` reports what it finds elsewhere.
        """
        pinned = iceberg(version)
        if essential or store.url != pinned.url:
            return
        yield pinned.root
        new = growth(store, pinned, None)
        yield from (pinned.locations.read(path) for path in (*new.lists, *new.manifests))

    def differences(self, source: Store, target: Store, version: TableVersion, root: str) -> Iterator[tuple[str, str]]:
        """See `relocate.differences_of`."""
        return differences_of(source, target, iceberg(version), root)

    def describe(self, store: Store, version: TableVersion) -> Description:
        """See `look.description`."""
        return description(store, iceberg(version))

    def history(self, store: Store, version: TableVersion) -> Iterator[Commit]:
        """See `look.history_of`."""
        return history_of(iceberg(version))

    def points(self, store: Store, version: TableVersion) -> Iterator[Point]:
        """See `scan.points_of`."""
        from lakehouse.formats.iceberg.scan import points_of

        return points_of(iceberg(version))

    def newest_point(self, version: TableVersion) -> Point:
        """The current snapshot, which the version itself may read with a newer schema."""
        current = iceberg(version).metadata.get("current-snapshot-id")
        return Point(snapshot=current) if isinstance(current, int) and current >= 0 else Point()

    def scan(self, store: Store, version: TableVersion, point: Point) -> ScanPlan:
        """See `scan.plan_scan`."""
        from lakehouse.formats.iceberg.scan import plan_scan

        return plan_scan(store, iceberg(version), point)

    def check(self, store: Store, version: TableVersion) -> Iterator[Flaw | Examination]:
        """See `check.flaws_of`."""
        from lakehouse.formats.iceberg.check import flaws_of

        return flaws_of(store, iceberg(version))

    def damaged(self, store: Store) -> Iterator[Flaw]:
        """What the hint says, and metadata files that cannot be read; see `check_root.root_flaws`."""
        from lakehouse.formats.iceberg.check_root import root_flaws

        yield from root_flaws(store)
        for name in metadata_listing(store):
            path = f"{FOLDER}/{name}"
            if path != HINT:
                try:
                    read_root(store, path)
                except NotFound as error:
                    yield Flaw("unreadable", path, str(error))


def _table_file(version: IcebergVersion, stated: str, size: int, content: int = DATA) -> TableFile:
    read, write = version.entries.place(stated)
    return TableFile(write, size, origin=None if read == write else read, rewritten=content == POSITION_DELETES)


def _statistics(store: Store, version: IcebergVersion, held: IcebergHeld | None) -> Iterator[TableFile]:
    """Statistics files that the target does not hold. One that is gone is no loss of rows: its entry is left out."""
    there = {path for path, _ in statistics_of(held.metadata)} if held is not None else set()
    for stated, size in statistics_of(version.metadata):
        if version.locations.address(stated) in there:
            continue
        try:
            store.head(version.locations.read(stated))
        except NotFound:
            version.lost_statistics.add(stated)
        else:
            yield _table_file(version, stated, size)


def _is_named(source: Store, base: Base, root: str) -> bool:
    """Whether the metadata file that the catalog names is that of ``base``, by more than a name that may come again."""
    return root == base.source_root and mark(source, root) == base.source_root_etag


def _stands_at(source: Store, base: Base) -> bool:
    """Whether the source's current metadata file is still that of ``base``, and none is newer.

    A name like ``v4.metadata.json`` may come again after a restore, so what the listing shows of it must be the same.
    """
    name = base.source_root.rpartition("/")[2]
    number, listing = number_of(name), metadata_listing(source, numbered=name.startswith("v"))
    newer = number is None or any((number_of(other) or 0) >= number for other in listing if other != name)
    return name in listing and not newer and mark_of(listing, name) == base.source_root_etag


def _is_published(target: Store, base: Base) -> bool:
    """Whether readers by path find the root of ``base``: no root is newer, it has its size, and the hint names it."""
    roots = roots_at(target)
    number = max(roots, default=0)
    if number not in roots or (roots[number].path, roots[number].size) != (base.target_root, base.target_root_size):
        return False
    try:
        return target.get(HINT) == str(number).encode()
    except NotFound:
        return False
