"""The difference between a version of the source and what the target has. Pure: no store is touched here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

from lakehouse import spool
from lakehouse.errors import Conflict
from lakehouse.listing_digest import ListingDigest
from lakehouse.spool import Row, Spool, file_row, latest, listing, records, row_file, row_written, shelves, written_row
from lakehouse.store import ObjectInfo
from lakehouse.table import Held, TableFile, TableVersion, Written

__all__ = ["Action", "AtTarget", "Copy", "Counts", "Plan", "decide", "is_same", "make_plan"]

Action = Literal["copy", "compare", "replace"]


@dataclass(slots=True)
class Counts:
    """How many objects, and their bytes."""

    files: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.files += 1
        self.bytes += size


@dataclass(frozen=True, slots=True)
class Copy:
    """One object to bring over. ``action``:

    * ``copy``: nothing is known at the target; put if-absent;
    * ``compare``: the target has (or had) an object of this name; hash both, keep it when equal;
    * ``replace``: as compare, and a different object is overwritten: with ``in_place``, while it is still the object that we
      recorded.

    ``known`` is what an earlier run recorded of it.
    """

    file: TableFile
    action: Action
    known: Written | None = None

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def size(self) -> int:
        return self.file.size


def _copies() -> Spool[Copy]:
    """A spool of copies."""
    return Spool(_copy_row, _row_copy)


def _copy_row(copy: Copy) -> Row:
    return (*file_row(copy.file), copy.action, None if copy.known is None else written_row(copy.known))


def _row_copy(row: Row) -> Copy:
    known = row[-1]
    return Copy(row_file(row[:-2]), row[-2], None if known is None else row_written(known))


@dataclass(slots=True)
class Plan:
    """What a sync is going to do. Kept objects are a count; ``copies()`` yields the rest.

    ``history``: the part of ``copy`` that only older versions need. ``rewrite``: files that the format brings itself, since they
    name other files. ``deletions`` are paths that earlier runs wrote and the source no longer has (plain files only).
    ``read_back_bytes``: how much will be read from the target for proof. ``left``: what unfinished runs brought that is not
    brought again. ``kept_listing`` (plain files): the kept objects as the target lists them.
    """

    version: TableVersion
    held: Held | None
    copy: Counts = field(default_factory=Counts)
    history: Counts = field(default_factory=Counts)
    keep: Counts = field(default_factory=Counts)
    rewrite: Counts = field(default_factory=Counts)
    deletions: tuple[str, ...] = ()
    read_back_bytes: int = 0
    left: Spool[Written] = field(default_factory=records)
    kept_listing: ListingDigest = field(default_factory=ListingDigest)
    _first: Spool[Copy] = field(default_factory=_copies)
    _last: Spool[Copy] = field(default_factory=_copies)

    @property
    def format(self) -> str:
        return self.version.format

    def copies(self) -> Iterator[Copy]:
        """The objects to bring over."""
        return chain(self._first, self._last)

    def parts(self) -> tuple[Spool[Copy], Spool[Copy]]:
        """The objects to bring over: first those of the one part, then those of the other, which describe them."""
        return self._first, self._last

    def bring(self, file: TableFile, action: Action, known: Written | None) -> None:
        """Add an object to bring over."""
        size, counts = file.size, self.copy
        counts.files += 1
        counts.bytes += size
        if not file.required:
            self.history.add(size)
        part = self._last if file.last else self._first
        part.append_row((*file_row(file), action, None if known is None else written_row(known)))


@dataclass(slots=True)
class AtTarget:
    """What stands at a target as far as anybody tells.

    ``events``: what receipts say, oldest first (`lakehouse.receipt.known_events`). ``noted``: what unfinished runs wrote down.
    ``present``: the listing; None where none was taken, and then there are neither events nor notes.
    """

    events: Spool[Written] = field(default_factory=records)
    noted: Spool[Written] = field(default_factory=records)
    present: Spool[ObjectInfo] | None = None


def decide(
    file: TableFile, known: Written | None, present: ObjectInfo | None, *, listed: bool, mutable: bool, checksum: bool
) -> Action | None:
    """What to do with one file; None keeps it.

    ``known`` is the last record of it, ``present`` the object in the target's listing if that was taken (``listed``).
    An object is kept without a look only when a record of ours names it, it is still the same at the target as far as a
    listing tells, and the source cannot have changed since: tables name a new object for new bytes, plain files
    (``mutable``) must show the same etag. Sizes and times alone never decide that.
    """
    if listed and present is None:
        return "copy"
    if known is None:
        return "compare" if present is not None else "copy"
    if listed and not is_same(known, present):
        return "compare"
    if checksum or (mutable and (file.etag is None or file.etag != known.source_etag)):
        return "compare"
    return None


def is_same(known: Written, present: ObjectInfo | None) -> bool:
    """Whether the target's listing still shows the object that was recorded."""
    return present is not None and present.size == known.size and known.target_etag in (None, present.etag)


def make_plan(
    version: TableVersion,
    held: Held | None,
    files: Iterable[TableFile],
    there: AtTarget,
    *,
    listing_is_table: bool,
    in_place: bool = False,
    delete: bool = False,
    checksum: bool = False,
) -> Plan:
    """Compare ``files`` with what is ``there`` at the target. All of them are seen before the plan is returned.

    Raises `Conflict` when a plain directory lost files at the source and ``delete`` was not given, and whatever ``files``
    raises.
    """
    plan = Plan(version, held)
    if not len(there.events) and not len(there.noted) and not there.present:
        for file in files:
            if file.rewritten:
                plan.rewrite.add(file.size)
            else:
                plan.bring(file, "copy", None)
        return plan
    decision = _Decision(plan, listing_is_table, in_place, checksum, there.present is not None)
    for shelf in _shelves(files, there):
        decision.take(*shelf)
    plan.deletions = tuple(sorted(decision.gone))
    if plan.deletions and not delete:
        raise Conflict(
            f"{len(plan.deletions)} file(s) of the replica are gone at the source, first {plan.deletions[0]}: "
            "nothing was changed; --delete removes them from the replica"
        )
    if decision.changed:
        raise Conflict(
            f"{min(decision.changed)}: was changed at the target by somebody else; it is not deleted, and nothing was changed"
        )
    return plan


def _shelves(files: Iterable[TableFile], there: AtTarget) -> Iterator[tuple[Iterable[TableFile], AtTarget]]:
    """``files`` and what is known of them, in parts that fit in memory; the files in their order where one part is enough."""
    present = there.present if there.present is not None else listing()
    count = shelves(len(there.events), len(there.noted), len(present))
    if count == 1:
        yield files, there
        return
    spooled = spool.files()
    spooled.extend(files)
    parts = spooled.shelves(count), there.events.shelves(count), there.noted.shelves(count), present.shelves(count)
    for part, events, noted, lies in zip(*parts, strict=True):
        yield part, AtTarget(events, noted, lies)


class _Decision:
    """Takes the files of a version, shelf by shelf, and decides each into ``plan``.

    ``gone``: paths that were brought and that no file has (plain files only); ``changed``: those that are not what was brought.
    """

    def __init__(self, plan: Plan, listing_is_table: bool, in_place: bool, checksum: bool, listed: bool) -> None:
        self.plan, self.mutable, self.in_place, self.checksum, self.listed = plan, listing_is_table, in_place, checksum, listed
        self.gone: list[str] = []
        self.changed: list[str] = []

    def take(self, files: Iterable[TableFile], there: AtTarget) -> None:
        """Decide the files of one shelf."""
        present = {info.path: info for info in there.present or ()}
        known = latest(there.events)
        left = latest(there.noted)
        left = {path: noted for path, noted in left.items() if noted.origin != "damaged" and is_same(noted, present.get(path))}
        known |= left
        for file in files:
            self._take(file, known.get(file.path), present.get(file.path), left)
            if self.mutable:
                known.pop(file.path, None)
        if self.mutable:
            self.gone += known
            self.changed += [path for path, record in known.items() if path in present and not is_same(record, present[path])]
        self.plan.left.extend(replace(noted, origin="adopted") for noted in left.values())

    def _take(self, file: TableFile, record: Written | None, found: ObjectInfo | None, left: dict[str, Written]) -> None:
        plan = self.plan
        if file.rewritten:
            plan.rewrite.add(file.size)
            left.pop(file.path, None)
            return
        action = decide(file, record, found, listed=self.listed, mutable=self.mutable, checksum=self.checksum)
        if action is None:
            plan.keep.add(file.size)
            if found is not None and self.mutable:
                plan.kept_listing.add(found.path, found.size, found.etag)
            return
        if action == "compare" and self.in_place and record is not None and is_same(record, found):
            action = "replace"
        left.pop(file.path, None)
        plan.bring(file, action, record)
