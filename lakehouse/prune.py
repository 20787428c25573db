"""``lake prune``: removes from a replica what nothing needs any more, top down, with a receipt of its own.

1. The receipts and the root of the target must agree, and no sync may be unfinished.
2. What is needed is read from the target itself: the version that the last sync left, with its retained history, and every root
   that was the newest one until less than ``older_than`` ago.
3. The receipt of the prune is put, and named in `latest.json`: from then on nobody vouches for what is going to go.
4. Objects are removed, roots first, data files last; then receipts and notes that nothing needs.

A run that was killed after step 3 has left objects of ours that no receipt vouches for; the next one finds and removes them.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice

from lakehouse import receipt as receipts_of
from lakehouse.checksum import sha256_hex
from lakehouse.config import Settings, load
from lakehouse.connect import Access
from lakehouse.errors import Config, Conflict, LakeError, NotFound, Transfer, Verification
from lakehouse.inventory import from_line, put_inventory, read_inventory
from lakehouse.parallel import each
from lakehouse.plan import Counts
from lakehouse.progress import Progress, ProgressEvent, silent
from lakehouse.receipt import PRUNE, Receipt, receipt_path
from lakehouse.registration import Registration
from lakehouse.replica import open_target
from lakehouse.spool import Spool, listing, records
from lakehouse.store import Store
from lakehouse.table import TableFormat, TableVersion, Written
from lakehouse.unneeded import Unneeded, needed_by, unneeded
from lakehouse.version import __version__

__all__ = ["PruneResult", "prune", "prune_replica"]

_BATCH = 100
"""So many objects are removed before it is looked again whether a sync has begun."""

_AGE = re.compile(r"(\d{1,6})(s|m|h|d|w)|0")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_RECEIPT = re.compile(r"receipts/(\d{20})(?:\.json|-[0-9a-f]{64}\.jsonl\.zst)")
_NOTE = re.compile(r"pending/(\d{20})/[^/]+\.jsonl")


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What a prune removed, or (``dry_run``) would remove. ``objects`` of the table; ``receipts`` and ``notes`` of ours.

    ``paths`` are those of the objects, in the order in which they go. ``kept_for_readers``: older versions that readers
    may still have open.
    ``changed``: objects that nothing needs and that somebody else changed; they stay. ``receipt``: the one that tells of it,
    None where no receipt had to change.
    """

    target: str
    format: str
    version: str
    dry_run: bool
    objects: Counts
    receipts: int
    notes: int
    kept_for_readers: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    receipt: str | None = None
    receipt_sha256: str | None = None
    paths: Spool[Written] = field(default_factory=records, compare=False)


def prune(
    target: str,
    *,
    older_than: str = "7d",
    yes: bool = False,
    format: str | None = None,
    workers: int = 16,
    retries: int | None = None,
    settings: Settings | None = None,
    progress: Progress = silent,
) -> PruneResult:
    """Remove from the replica at ``target`` what no version of it needs; without ``yes`` only say what that is.

    What was the newest version less than ``older_than`` ago (a number and s, m, h, d or w) is kept whole, for readers that have
    it open. Only what a sync wrote, and nobody changed, is removed.

    Raises `Config`, `NotFound` (no receipts, or the replica lacks what it needs), `Conflict` (a sync is unfinished or under way,
    or the target is not as the last one left it), `Verification` (receipts that cannot be believed), `Transfer` (some objects
    could not be removed: run again), `Unsupported` (what is needed cannot be told).
    """
    store, receipts, table_format, registration = open_target(target, format, settings or load(), Access(retries))
    return prune_replica(
        store, receipts, table_format, registration, older_than=age_of(older_than), yes=yes, workers=workers, progress=progress
    )


def age_of(text: str) -> timedelta:
    """``7d``, ``12h``, ``0`` … as a time span. Raises `Config` for anything else."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise Config(f"--older-than {text}: write a number and its unit, as in 7d, 12h or 30m (s, m, h, d, w), or 0")
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match[2] else timedelta()


def prune_replica(
    target: Store,
    receipts: Store,
    table_format: TableFormat,
    registration: Registration | None = None,
    *,
    older_than: timedelta,
    yes: bool,
    workers: int = 16,
    progress: Progress = silent,
    now: datetime | None = None,
) -> PruneResult:
    """`prune` on stores that are open already. ``now``: what ``older_than`` is counted back from."""
    run = _Prune(target, receipts, table_format, registration, (now or datetime.now(UTC)) - older_than, workers, progress)
    return run.run(yes=yes)


@dataclass(frozen=True, slots=True)
class _History:
    """``kept``: the receipts, newest first, down to the one that was the newest at the cutoff. ``full``: the number of the newest
    one that lists everything (0: there is none). ``numbers`` of all receipts that are there, ascending.
    """

    kept: list[Receipt]
    full: int
    numbers: list[int]


@dataclass
class _Prune:
    """One prune. Its steps are the methods, and ``run`` calls them in their order."""

    target: Store
    receipts: Store
    format: TableFormat
    registration: Registration | None
    cutoff: datetime
    workers: int
    progress: Progress
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def run(self, *, yes: bool) -> PruneResult:
        finished, sha256 = self._settled(yes=yes)
        history = self._history(finished)
        newest = self._standing(finished)
        versions = [newest, *self._recent(history)] if newest is not None else []
        going = self._unneeded(finished, versions) if versions else Unneeded()
        last: Receipt | None = None
        if tells := self._must_tell(going, history):
            full = finished.number + 1
            if yes:
                last = self._receipt(finished, sha256, going)
                sha256 = receipts_of.claim(self.receipts, last)
                receipts_of.finish(self.receipts, last, anew=False)
        else:
            full = history.full
        paths = records()
        paths.extend(going)
        if yes:
            self._remove(going, full if tells else finished.number)
        swept, notes = self._sweep(finished, min(history.kept[-1].number, full), yes=yes)
        return PruneResult(
            self.target.url, self.format.name, finished.version, not yes, going.counts, swept, notes,
            tuple(version.id for version in versions[1:]), tuple(going.changed),
            f"_lake/{last.path}" if last else None, sha256 if last else None, paths,
        )  # fmt: skip

    def _settled(self, *, yes: bool) -> tuple[Receipt, str]:
        """Step 1: the last finished receipt and its SHA-256. A prune that was killed before its receipt was named is ended.

        Raises `Conflict` for whatever a sync must clear up first.
        """
        chain, where = receipts_of.read_chain(self.receipts), self.target.url
        if chain.broken:
            raise Conflict(f"{where}: its receipts contradict each other or some are gone; lake sync makes a new one, then prune")
        if chain.newest is None:
            raise NotFound(f"{where}: no receipt of a sync is there, so nothing is known to be ours; nothing was removed")
        unended = any(not receipt.run.startswith(PRUNE) for receipt in chain.later)
        if unended or chain.finished is None or self._is_noted(chain.next_number):
            raise Conflict(f"{where}: a sync is under way or was not finished; run lake sync to its end, then prune")
        if yes and chain.later:
            receipts_of.finish(self.receipts, chain.later[-1], anew=False)
        return chain.newest, chain.sha256[chain.newest.number]

    def _history(self, finished: Receipt) -> _History:
        """The receipts that still matter. Raises `Verification` where one does not follow the one before it."""
        numbers = sorted(number for info in self.receipts.list("receipts") if (number := _receipt_number(info.path)) is not None)
        kept, last, full, shown = [finished], finished, finished.number if finished.full else 0, self._published(finished)
        for number in range(finished.number - 1, numbers[0] - 1, -1):
            if full and shown <= self.cutoff:
                break
            where = f"{self.receipts.url}/{receipt_path(number)}"
            try:
                data = self.receipts.get(receipt_path(number))
            except NotFound as error:
                raise Verification(f"{where}: a receipt of the chain is gone; lake verify says more") from error
            if last.previous_sha256 != sha256_hex(data):
                raise Verification(
                    f"{where}: receipt {number + 1} does not follow it (its SHA-256 differs): one of them was edited"
                )
            last = Receipt.from_bytes(data, where)
            if shown > self.cutoff:
                kept.append(last)
                shown = self._published(last)
            full = full or (number if last.full else 0)
        return _History(kept, full, numbers)

    def _published(self, receipt: Receipt) -> datetime:
        """When readers first saw it: the end of its run, or the time of its root where that is later (after a kill)."""
        ended = datetime.fromisoformat(receipt.ended_at)
        try:
            shown = self.target.head(receipt.root.path).modified if receipt.root.path else None
        except NotFound:
            shown = None
        return ended if shown is None else max(ended, shown)

    def _standing(self, finished: Receipt) -> TableVersion | None:
        """The version that the last sync left, read at the target; None for plain files, which have no metadata.

        Raises `Conflict` where the target stands elsewhere.
        """
        if not finished.root.path:
            return None
        named = None
        if self.registration is not None:
            if not self.registration.is_at(finished.root.path):
                raise Conflict(f"{self.target.url}: its catalog entry is not at {finished.root.path}, which the last sync left")
            named = self._name(finished)
        version = self.format.pin(self.target, named)
        is_ours = version.root == finished.root.path if self.format.renumbers else version.id == finished.version
        if not is_ours or not receipts_of.counts(self.target, finished):
            raise Conflict(
                f"{self.target.url}: stands at {version.root} as somebody else wrote it, where the last sync left "
                f"{finished.root.path}; nothing was removed"
            )
        return version

    def _name(self, receipt: Receipt) -> str:
        """What `TableFormat.pin` takes for the version that a receipt left at the target."""
        return receipt.root.path.rpartition("/")[2] if self.format.renumbers else receipt.version

    def _recent(self, history: _History) -> Iterator[TableVersion]:
        """Older versions that were the newest until after the cutoff, newest first.

        One whose root is gone has no readers. Nor has a version of a log that an earlier prune has begun to take away.
        """
        seen = {self._name(history.kept[0])}
        for receipt in history.kept[1:]:
            name = self._name(receipt)
            if name in seen or not self._is_there(receipt.root.path):
                continue
            seen.add(name)
            try:
                yield self.format.pin(self.target, name)
            except NotFound:
                if self.format.renumbers:
                    raise

    def _is_there(self, path: str) -> bool:
        try:
            self.target.head(path)
        except NotFound:
            return False
        return True

    def _unneeded(self, finished: Receipt, versions: list[TableVersion]) -> Unneeded:
        """Step 2."""
        self.progress(ProgressEvent("plan", message=f"version {finished.version}"))
        needed = needed_by(self.target, self.format, versions)
        events, noted, present = records(), records(), listing()
        for receipt, _ in receipts_of.read_back(self.receipts, finished.number):
            events.extend(read_inventory(self.receipts, receipt.inventory))
        for path in self._stale_notes(finished.number):
            noted.extend(_lines_of(self.receipts.get(path)))
        present.extend(self.target.list())
        return unneeded(self.target.url, events, noted, needed, present, unchanged=partial(_has_bytes, self.target))

    def _stale_notes(self, number: int) -> list[str]:
        """Notes of unfinished runs for receipts up to ``number``, which is finished."""
        found = (info.path for info in self.receipts.list("pending"))
        return sorted(path for path in found if (match := _NOTE.fullmatch(path)) and int(match[1]) <= number)

    def _must_tell(self, going: Unneeded, history: _History) -> bool:
        """Whether a receipt is to say what goes, or to stand for at least two that are old (one for one would be no gain)."""
        if len(going.unvouched):
            return True
        old = [number for number in history.numbers if number < history.kept[-1].number]
        return len(old) >= 2 and history.full <= old[1]

    def _receipt(self, finished: Receipt, sha256: str, going: Unneeded) -> Receipt:
        """Step 3: it stands for the same version, says what is deleted and lists all that stays, so no older one is needed."""
        number, kept = finished.number + 1, Counts()
        inventory = put_inventory(self.receipts, number, self._lines(finished, going, kept))
        return replace(
            finished,
            number=number,
            run=f"{PRUNE}{uuid.uuid4().hex}",
            tool=f"lake {__version__}",
            started_at=receipts_of.utc(self.started),
            ended_at=receipts_of.utc(datetime.now(UTC)),
            copied=Counts(),
            kept=kept,
            rewritten=Counts(),
            proof_kept_oldest_at=finished.proof_kept_oldest_at or finished.ended_at,
            inventory=inventory,
            previous_sha256=sha256,
            supersedes=None,
            full=True,
        )

    def _lines(self, finished: Receipt, going: Unneeded, kept: Counts) -> Iterator[Written]:
        """The lines of its inventory; what stays is counted in ``kept``."""
        events = records()
        events.extend(receipts_of.known_events(self.receipts, finished.number, finished.number))
        events.extend(replace(written, origin="deleted") for written in going.unvouched)
        for written in receipts_of.newest(events):
            kept.add(written.size)
            yield written
        for written in going.unvouched:
            yield replace(written, origin="deleted")

    def _remove(self, going: Unneeded, number: int) -> None:
        """Step 4, the table's objects; ``number`` is the newest receipt.

        Raises `Conflict` when a sync has begun meanwhile, and `Transfer` where some could not be removed.
        """
        self.progress(ProgressEvent("prune", total_objects=going.counts.files, total_bytes=going.counts.bytes))
        for rank in range(len(going.ranks)):
            waiting, failed = going.rank(rank), list[LakeError]()
            while batch := list(islice(waiting, _BATCH)):
                if self._is_noted(number + 1) or self._is_claimed(number + 1):
                    raise Conflict(f"{self.target.url}: a sync has begun meanwhile; what is left stays until the next prune")
                for written, outcome in each(self._delete, batch, workers=self.workers if rank else 1):
                    if isinstance(outcome, LakeError):
                        failed.append(outcome)
                    else:
                        self.progress(ProgressEvent("prune", objects=1, size=written.size, message=f"- {written.path}"))
            if failed:
                raise Transfer(f"{len(failed)} object(s) could not be removed, first: {failed[0]}; run again")

    def _delete(self, written: Written) -> None:
        """Remove one object. Raises `Conflict` when it is not what it was when it was looked at."""
        try:
            info = self.target.head(written.path)
        except NotFound:
            return
        if (info.size, info.etag) != (written.size, written.target_etag):
            raise Conflict(f"{self.target.url}/{written.path}: somebody else changed it meanwhile; it stays")
        self.target.delete(written.path)

    def _is_noted(self, number: int) -> bool:
        """Whether a run for receipt ``number`` has begun to bring objects."""
        return next(iter(self.receipts.list(f"pending/{number:020d}")), None) is not None

    def _is_claimed(self, number: int) -> bool:
        try:
            self.receipts.head(receipt_path(number))
        except NotFound:
            return False
        return True

    def _sweep(self, finished: Receipt, first: int, *, yes: bool) -> tuple[int, int]:
        """Step 4, our own: stale notes, and receipts below number ``first`` with their inventories, from the oldest up."""
        notes = self._stale_notes(finished.number)
        old = [info.path for info in self.receipts.list("receipts") if (_number(info.path) or first) < first]
        if yes:
            for path in (*notes, *sorted(old, key=lambda path: (_number(path), not path.endswith(".json")))):
                self.receipts.delete(path)
        return sum(path.endswith(".json") for path in old), len(notes)


def _number(path: str) -> int | None:
    """The number of the receipt that an object is, or is the inventory of; None for what is none of ours."""
    match = _RECEIPT.fullmatch(path)
    return int(match[1]) if match else None


def _receipt_number(path: str) -> int | None:
    return _number(path) if path.endswith(".json") else None


def _lines_of(note: bytes) -> Iterator[Written]:
    """What a note says; a line that nobody can read says nothing."""
    for line in note.splitlines():
        with suppress(ValueError, TypeError):
            yield from_line(line)


def _has_bytes(target: Store, written: Written) -> bool:
    """Whether the object has the bytes that were recorded."""
    try:
        return sha256_hex(target.get(written.path)) == written.sha256
    except NotFound:
        return False
