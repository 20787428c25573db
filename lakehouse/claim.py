"""Step 8 of a sync: the inventory of what the run did, then its receipt under its number, before any reader sees the version."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from lakehouse import receipt as receipts_of
from lakehouse.errors import Conflict, Transfer
from lakehouse.plan import Counts, Plan
from lakehouse.publish import intended
from lakehouse.receipt import Chain, Level, Receipt, Root, proves, utc
from lakehouse.replica import Replica
from lakehouse.row_record import RowRecord
from lakehouse.spool import records
from lakehouse.table import Staged, Written
from lakehouse.version import __version__

__all__ = ["Done", "Run", "claim", "root_of"]


@dataclass(frozen=True, slots=True)
class Run:
    """The run that claims: its stores, the receipts before it, the level it proved and of which versions the rows."""

    replica: Replica
    chain: Chain
    level: Level
    versions: str
    id: str
    started: datetime


@dataclass(frozen=True, slots=True)
class Done:
    """What a run did before it claims. ``proven``: the objects it brought, or found and compared. ``again``: objects that earlier
    runs brought, which it looked at again. ``missing``: how many files of older versions were gone at the source. ``rows``: the
    source's, which the target's were shown to be.
    """

    staged: Staged
    proven: Iterable[Written]
    again: Iterable[Written]
    missing: int
    rows: list[RowRecord] = field(default_factory=list)


def claim(run: Run, plan: Plan, done: Done) -> tuple[Receipt, str]:
    """The receipt that stands for this run, and its SHA-256.

    An unfinished receipt of an earlier run that names the same root is taken over. Another run that claimed the number
    for the same root has done the same work, so its receipt stands; for another root it is ahead of us, and `Transfer` is raised.
    """
    chain, receipts = run.chain, run.replica.receipts
    root, publications = root_of(run.chain, done.staged), intended(done.staged.publications)
    for earlier in reversed(chain.later):
        if _does_the_same(run, earlier, plan, root, publications):
            return earlier, chain.sha256[earlier.number]
    receipt = _receipt(run, plan, root, publications, done)
    try:
        return receipt, receipts_of.claim(receipts, receipt)
    except Conflict:
        theirs = receipts_of.read_chain(receipts)
        newest = theirs.newest
        if newest is None or not _does_the_same(run, newest, plan, root, publications):
            raise Transfer(f"{run.replica.target.url}: another sync is at work there; run again") from None
        return newest, theirs.sha256[newest.number]


def _does_the_same(run: Run, other: Receipt, plan: Plan, root: Root, publications: list[Written]) -> bool:
    """Whether another run's receipt stands for all that this run is going to publish, proven as far."""
    if (other.root, other.version) != (root, plan.version.id) or not proves(other, run.level, run.versions):
        return False
    unnamed = {(written.path, written.sha256) for written in publications}
    for written in receipts_of.read_inventory(run.replica.receipts, other.inventory):
        unnamed.discard((written.path, written.sha256))
    return not unnamed


def root_of(chain: Chain, staged: Staged) -> Root:
    """What makes the version visible: the root that is to be published, or the one of the last finished run."""
    for publication in staged.publications:
        if publication.path == staged.root:
            return Root(publication.path, publication.sha256, size=publication.size)
    return chain.finished.root if chain.finished else Root()


def _receipt(run: Run, plan: Plan, root: Root, publications: list[Written], done: Done) -> Receipt:
    replica, chain, version = run.replica, run.chain, plan.version
    number, finished = chain.next_number, chain.finished
    tally = _Tally(plan, counts_found=finished is None, listed=not replica.format.receipts_inside)
    full = chain.newest is None or number % receipts_of.FULL_EVERY == 0
    objects = _lines(run, plan, tally.counted(done.proven, publications), done.again, full=full and chain.newest is not None)
    inventory = receipts_of.put_inventory(replica.receipts, number, objects)
    kept = tally.kept
    if finished is not None and replica.format.receipts_inside:
        kept.files += finished.copied.files + finished.rewritten.files + finished.kept.files
        kept.bytes += finished.copied.bytes + finished.rewritten.bytes + finished.kept.bytes
    return Receipt(
        number=number,
        run=run.id,
        tool=f"lake {__version__}",
        started_at=utc(run.started),
        ended_at=utc(datetime.now(UTC)),
        source=replica.source.url,
        target=replica.target.url,
        format=version.format,
        version=version.id,
        table_id=version.table_id,
        source_version_at=utc(version.committed_at) if version.committed_at else None,
        source_root=Root(version.root, version.root_sha256, version.root_etag),
        root=root,
        copied=tally.copied,
        kept=kept,
        rewritten=tally.rewritten,
        not_carried=done.missing + version.not_carried.files,
        lost_versions=version.not_carried.versions,
        level=run.level,
        proof=run.level,
        proof_copied=run.level,
        proof_kept_oldest_at=(finished.proof_kept_oldest_at or finished.ended_at) if finished and kept.files else None,
        source_checked=tally.source_checked,
        inventory=inventory,
        previous_sha256=chain.sha256.get(number - 1),
        supersedes=chain.later[-1].number if chain.later else None,
        full=full,
        remarks=[asdict(remark) for remark in version.remarks],
        read_map=replica.terms.locations.digest() if replica.terms else "",
        terms=replica.terms.digest() if replica.terms else "",
        skip_broken_history=bool(replica.terms and replica.terms.skip_broken_history),
        target_listing=tally.target_listing,
        row_versions=run.versions if done.rows else "",
        rows=done.rows,
    )


def _lines(run: Run, plan: Plan, ours: Iterable[Written], again: Iterable[Written], *, full: bool) -> Iterator[Written]:
    """What the inventory says; where it is to be ``full``, of everything that earlier receipts vouch for too."""
    objects: Iterator[Written] = itertools.chain(again, ours)
    if full:
        finished = run.chain.finished.number if run.chain.finished else 0
        events = records()
        events.extend(receipts_of.known_events(run.replica.receipts, run.chain.next_number - 1, finished))
        events.extend(objects)
        objects = receipts_of.newest(events)
    yield from objects
    yield from (Written(path, 0, "", "deleted") for path in plan.deletions)


class _Tally:
    """Counts what a run did, as its objects pass by on their way into the inventory.

    What lay at the target counts as kept in a first receipt (``counts_found``); in a later one it is counted so already.
    ``listed``: the table is its listing.
    ``source_checked``: all that was copied had a checksum at the source that was equal.
    """

    def __init__(self, plan: Plan, *, counts_found: bool, listed: bool) -> None:
        self.copied, self.kept, self.rewritten = Counts(), Counts(plan.keep.files, plan.keep.bytes), Counts()
        self._counts_found, self._listing = counts_found, plan.kept_listing.copy() if listed else None
        self._copies, self._unchecked = 0, 0

    def counted(self, objects: Iterable[Written], publications: Iterable[Written]) -> Iterator[Written]:
        """The same objects, counted as they are taken; ``publications`` come last."""
        for written in itertools.chain(objects, publications):
            if written.origin == "rewritten":
                self.rewritten.add(written.size)
            elif written.origin != "adopted":
                self.copied.add(written.size)
            elif self._counts_found:
                self.kept.add(written.size)
            if written.origin == "copied":
                self._copies += 1
                self._unchecked += not written.source_checked
            if self._listing is not None:
                self._listing.add(written.path, written.size, written.target_etag)
            yield written

    @property
    def source_checked(self) -> bool:
        return self._copies > 0 and not self._unchecked

    @property
    def target_listing(self) -> str:
        """The `ListingDigest` of plain files as they now stand at the target; "" where a listing would not show every change."""
        return self._listing.hexdigest() if self._listing is not None and self._listing.is_telling else ""
