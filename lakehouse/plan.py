"""The difference between a version of the source and what the target has. Pure: no store is touched here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lakehouse.errors import Conflict
from lakehouse.store import ObjectInfo
from lakehouse.table import Held, TableFile, TableVersion, Written

__all__ = ["Action", "Copy", "Counts", "Plan", "decide", "is_same", "make_plan"]

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


@dataclass(slots=True)
class Plan:
    """What a sync is going to do. Kept objects are a count; ``copies()`` yields the rest.

    ``history``: the part of ``copy`` that only older versions need. ``rewrite``: files that the format brings itself, since they
    name other files. ``deletions`` are paths that earlier runs wrote and the source no longer has (plain files only).
    ``read_back_bytes``: how much will be read from the target for proof.
    """

    version: TableVersion
    held: Held | None
    copy: Counts = field(default_factory=Counts)
    history: Counts = field(default_factory=Counts)
    keep: Counts = field(default_factory=Counts)
    rewrite: Counts = field(default_factory=Counts)
    deletions: tuple[str, ...] = ()
    read_back_bytes: int = 0
    _copies: list[Copy] = field(default_factory=list)

    @property
    def format(self) -> str:
        return self.version.format

    def copies(self) -> Iterator[Copy]:
        """The objects to bring over."""
        return iter(self._copies)


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
    known: Mapping[str, Written],
    present: Mapping[str, ObjectInfo] | None,
    *,
    listing_is_table: bool,
    in_place: bool = False,
    delete: bool = False,
    checksum: bool = False,
) -> Plan:
    """Compare ``files`` with what is ``known`` of the target (earlier inventories) and ``present`` there (None: not listed).

    Raises `Conflict` when a plain directory lost files at the source and ``delete`` was not given, and whatever ``files``
    raises.
    """
    plan = Plan(version, held)
    seen: set[str] = set()
    for file in files:
        if file.rewritten:
            plan.rewrite.add(file.size)
            continue
        if listing_is_table:
            seen.add(file.path)
        record = known.get(file.path)
        found = present.get(file.path) if present is not None else None
        action = decide(file, record, found, listed=present is not None, mutable=listing_is_table, checksum=checksum)
        if action is None:
            plan.keep.add(file.size)
            continue
        if action == "compare" and in_place and record is not None and is_same(record, found):
            action = "replace"
        plan.copy.add(file.size)
        if not file.required:
            plan.history.add(file.size)
        plan._copies.append(Copy(file, action, record))
    if listing_is_table:
        plan.deletions = tuple(sorted(path for path in known if path not in seen))
        if plan.deletions and not delete:
            raise Conflict(
                f"{len(plan.deletions)} file(s) of the replica are gone at the source, first {plan.deletions[0]}: "
                "nothing was changed; --delete removes them from the replica"
            )
        there = present or {}
        changed = [path for path in plan.deletions if path in there and not is_same(known[path], there[path])]
        if changed:
            raise Conflict(
                f"{changed[0]}: was changed at the target by somebody else; it is not deleted, and nothing was changed"
            )
    return plan
