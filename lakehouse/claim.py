"""Step 8 of a sync: the inventory of what the run did, then its receipt under its number, before any reader sees the version."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from lakehouse import receipt as receipts_of
from lakehouse.errors import Conflict, Transfer
from lakehouse.plan import Counts, Plan
from lakehouse.publish import intended
from lakehouse.receipt import Chain, Level, Receipt, Root, lowest, utc
from lakehouse.replica import Replica
from lakehouse.table import Staged, Written
from lakehouse.version import __version__

__all__ = ["Run", "claim"]


@dataclass(frozen=True, slots=True)
class Run:
    """The run that claims: its stores, the receipts before it, the level it proved, and what unfinished runs had noted."""

    replica: Replica
    chain: Chain
    level: Level
    id: str
    started: datetime
    noted: frozenset[str]


def claim(run: Run, plan: Plan, staged: Staged, proven: list[Written], missing: int) -> tuple[Receipt, str]:
    """The receipt that stands for this run, and its SHA-256.

    An unfinished receipt of an earlier run that names the same root is taken over. Another run that claimed the number
    for the same root has done the same work, so its receipt stands; for another root it is ahead of us, and `Transfer` is raised.
    """
    chain, receipts = run.chain, run.replica.receipts
    root, publications = _root(run, staged), intended(staged.publications)
    for earlier in reversed(chain.later):
        if _does_the_same(run, earlier, plan, root, publications):
            return earlier, chain.sha256[earlier.number]
    receipt = _receipt(run, plan, root, [*proven, *publications], missing)
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
    if (other.root, other.version) != (root, plan.version.id) or lowest(other.proof, run.level) != run.level:
        return False
    named = {(w.path, w.sha256) for w in receipts_of.read_inventory(run.replica.receipts, other.inventory)}
    return all((written.path, written.sha256) in named for written in publications)


def _root(run: Run, staged: Staged) -> Root:
    for publication in staged.publications:
        if publication.path == staged.root:
            return Root(publication.path, publication.sha256, size=publication.size)
    return run.chain.finished.root if run.chain.finished else Root()


def _receipt(run: Run, plan: Plan, root: Root, objects: list[Written], missing: int) -> Receipt:
    replica, chain = run.replica, run.chain
    number, finished = chain.next_number, chain.finished
    copied, kept, rewritten = _counts(run, plan, objects)
    objects += [Written(path, 0, "", "deleted") for path in plan.deletions]
    inventory = objects
    full = chain.newest is None or number % receipts_of.FULL_EVERY == 0
    if full and chain.newest is not None:
        known = receipts_of.known_objects(replica.receipts, number - 1, finished.number if finished else 0)
        inventory = list((known | {written.path: written for written in objects}).values())
    version = plan.version
    copies = [written for written in objects if written.origin == "copied"]
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
        copied=copied,
        kept=kept,
        rewritten=rewritten,
        not_carried=missing + version.not_carried.files,
        lost_versions=version.not_carried.versions,
        level=run.level,
        proof=run.level,
        proof_copied=run.level,
        proof_kept_oldest_at=(finished.proof_kept_oldest_at or finished.ended_at) if finished and kept.files else None,
        source_checked=bool(copies) and all(written.source_checked for written in copies),
        inventory=receipts_of.put_inventory(replica.receipts, number, inventory),
        previous_sha256=chain.sha256.get(number - 1),
        supersedes=chain.later[-1].number if chain.later else None,
        full=full,
        remarks=[asdict(remark) for remark in version.remarks],
        read_map=replica.terms.locations.digest() if replica.terms else "",
        terms=replica.terms.digest() if replica.terms else "",
        skip_broken_history=bool(replica.terms and replica.terms.skip_broken_history),
    )


def _counts(run: Run, plan: Plan, objects: list[Written]) -> tuple[Counts, Counts, Counts]:
    """What was copied, kept and rewritten; what earlier receipts vouch for counts as kept."""
    finished = run.chain.finished
    copied, kept, rewritten = Counts(), Counts(plan.keep.files, plan.keep.bytes), Counts()
    for written in objects:
        if written.origin == "rewritten":
            rewritten.add(written.size)
        elif written.origin != "adopted":
            copied.add(written.size)
        elif finished is None and written.path not in run.noted:  # else counted as kept already
            kept.add(written.size)
    if finished is not None and run.replica.format.receipts_inside:
        kept.files += finished.copied.files + finished.rewritten.files + finished.kept.files
        kept.bytes += finished.copied.bytes + finished.rewritten.bytes + finished.kept.bytes
    return copied, kept, rewritten
