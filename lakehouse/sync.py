"""The whole service, top down. READ THIS FIRST.

`sync` makes the table at SOURCE also stand at TARGET, in nine steps, with no step going back:

1. open both stores, detect the format            `lakehouse.connect`, `lakehouse.formats`
2. pin one version of the source                  the format
3. read the target's receipts and its root        `lakehouse.receipt`, the format
4. plan: the pure difference                      `lakehouse.plan`
5. transfer data objects, hashed on the way       `lakehouse.transfer`
6. stage everything but the root                  the format
7. verify what is there, before a reader sees it  `lakehouse.verify`
8. claim the receipt                              `lakehouse.receipt`
9. publish the root                               `lakehouse.publish`

Whatever fails and whenever: the target's readers see the old version or the new one, and running again completes the work.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from lakehouse import receipt as receipts_of
from lakehouse.checksum import sha256_hex
from lakehouse.config import Settings, load
from lakehouse.errors import Conflict, NotFound, Transfer, Unsupported, Verification
from lakehouse.pending import Pending, read_pending
from lakehouse.plan import Counts, Plan, is_same, make_plan
from lakehouse.progress import Progress, ProgressEvent, silent
from lakehouse.publish import intended, publish
from lakehouse.receipt import Chain, Level, Receipt, Root, lowest, utc
from lakehouse.replica import Replica, open_replica
from lakehouse.result import SyncResult, result_of
from lakehouse.store import ObjectInfo
from lakehouse.table import Staged, Written
from lakehouse.transfer import transfer
from lakehouse.verify import Report, confirm
from lakehouse.version import __version__

__all__ = ["Options", "SyncResult", "plan", "replicate", "sync"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a sync is to be done.

    ``version``: pin this one instead of the newest. ``level``: how much must be proven before anything is published.
    ``checksum``: hash what is kept, too. ``delete`` and ``in_place`` (plain files only): remove what the source no longer
    has, overwrite what it changed under the same name. ``workers``: objects in flight.
    """

    version: str | None = None
    level: Level = "bytes"
    checksum: bool = False
    delete: bool = False
    in_place: bool = False
    workers: int = 16


def sync(
    source: str,
    target: str,
    *,
    format: str | None = None,
    version: str | None = None,
    level: Level = "bytes",
    checksum: bool = False,
    delete: bool = False,
    in_place: bool = False,
    workers: int = 16,
    retries: int | None = None,
    settings: Settings | None = None,
    progress: Progress = silent,
) -> SyncResult:
    """Replicate the table at ``source`` to ``target`` (places as in ``lake sync``) and prove it to ``level``.

    Raises `NotFound` (no table, or a live file is missing), `Unsupported` (nothing was written), `Conflict` (the target has
    its own commits), `Transfer` (incomplete: run again), `Verification` (differences; nothing was published), `Config`.
    """
    started = datetime.now(UTC)
    replica = open_replica(source, target, format, settings or load(), retries=retries)
    return _Run(replica, Options(version, level, checksum, delete, in_place, workers), progress, started=started).run()


def plan(
    source: str,
    target: str,
    *,
    format: str | None = None,
    version: str | None = None,
    level: Level = "bytes",
    checksum: bool = False,
    delete: bool = False,
    in_place: bool = False,
    settings: Settings | None = None,
    progress: Progress = silent,
) -> Plan:
    """What `sync` with the same arguments would do. Nothing is written anywhere."""
    options = Options(version, level, checksum, delete, in_place)
    return _Run(open_replica(source, target, format, settings or load()), options, progress).plan()


def replicate(replica: Replica, options: Options, progress: Progress = silent) -> SyncResult:
    """`sync` on stores that are open already."""
    return _Run(replica, options, progress).run()


@dataclass
class _Run:
    """One sync. Its steps are the methods, and ``run`` calls them in their order."""

    replica: Replica
    options: Options
    progress: Progress
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    chain: Chain = field(default_factory=Chain)
    resumed: dict[str, Written] = field(default_factory=dict)

    def run(self) -> SyncResult:
        if self.options.level == "rows":
            raise Unsupported("--level rows is not offered yet: bytes is the strongest proof of this version")
        if self._nothing_new():
            return self._unchanged()
        plan = self.plan()
        if self._is_done(plan):
            return self._unchanged()
        written, missing = self._transfer(plan)
        staged = self.replica.format.stage(self.replica.source, self.replica.target, plan.version, plan.since)
        proven = self._verify(plan, [*written, *staged.written])
        self.replica.format.recheck(self.replica.source, plan.version)
        receipt, sha256 = self._claim(plan, staged, proven, missing)
        publish(self.replica.target, staged.publications, self.progress)
        self._delete(plan)
        receipts_of.finish(self.replica.receipts, receipt)
        return self._result(receipt, sha256, unchanged=False)

    def _nothing_new(self) -> bool:
        """Whether a few requests show that source and target stand where the last finished run left them."""
        if self.replica.latest is None:
            return False
        receipt, sha256 = self.replica.latest
        asked = self.options.version in (None, receipt.version) and not self.options.checksum
        if not asked or lowest(receipt.proof, self.options.level) != self.options.level:
            return False
        self.chain = Chain(receipt, sha256={receipt.number: sha256})
        return self.replica.format.is_unchanged(self.replica.source, self.replica.target, receipt.base)

    def plan(self) -> Plan:
        """Steps 2 to 4: pin, read what the target has, compare. Raises before anything is written."""
        replica, options = self.replica, self.options
        self.progress(ProgressEvent("pin", message=replica.source.url))
        version = replica.format.pin(replica.source, options.version)
        self.chain = receipts_of.read_chain(replica.receipts)
        finished = self.chain.finished
        since = replica.format.since(replica.source, replica.target, version, finished.base if finished else None)
        self.progress(ProgressEvent("plan", message=f"version {version.id}"))
        known, present = self._target_state()
        plan = make_plan(
            version,
            since,
            replica.format.files(replica.source, version, since),
            known,
            present,
            listing_is_table=not replica.format.receipts_inside,
            in_place=options.in_place,
            delete=options.delete,
            checksum=options.checksum,
        )
        if options.level == "bytes" and not replica.target.traits.confirms_put:
            plan.read_back_bytes = plan.copy.bytes
        return plan

    def _target_state(self) -> tuple[Mapping[str, Written], Mapping[str, ObjectInfo] | None]:
        """What earlier runs recorded of the target, and its listing where an unfinished run or a stranger may have written.

        A table whose last run finished needs neither: its new files have new names. A plain folder is its listing.
        """
        replica, chain = self.replica, self.chain
        pending = read_pending(replica.receipts, chain.next_number)
        settled = chain.finished is not None and not chain.later and pending is None
        if settled and replica.format.receipts_inside and not self.options.checksum:
            return {}, None
        known = self._known(chain.newest.number) if chain.newest else {}
        if settled and replica.format.receipts_inside:
            return known, None
        present = {info.path: info for info in replica.target.list()}
        self.resumed = {path: noted for path, noted in (pending or {}).items() if is_same(noted, present.get(path))}
        return known | self.resumed, present

    def _known(self, upto: int) -> dict[str, Written]:
        return receipts_of.known_objects(self.replica.receipts, upto, self.chain.finished.number if self.chain.finished else 0)

    def _is_done(self, plan: Plan) -> bool:
        """Whether the target holds the pinned version already, published, recorded and proven to the level asked."""
        finished = self.chain.finished
        return (
            finished is not None
            and not self.chain.later
            and plan.version.id in (finished.version, plan.since)
            and not plan.copy.files
            and not plan.deletions
            and lowest(finished.proof, self.options.level) == self.options.level
        )

    def _transfer(self, plan: Plan) -> tuple[list[Written], int]:
        """Step 5: the objects that are whole at the target, and how many of older versions were gone at the source."""
        replica = self.replica
        if not plan.copy.files:
            return [], 0
        with Pending(replica.receipts, self.chain.next_number, self.id) as pending:
            outcomes = list(
                transfer(
                    replica.source,
                    replica.target,
                    plan.copies(),
                    workers=self.options.workers,
                    total=(plan.copy.files, plan.copy.bytes),
                    progress=self.progress,
                    note=pending.add,
                )
            )
        written = [outcome for outcome in outcomes if isinstance(outcome, Written)]
        return written, len(outcomes) - len(written)

    def _verify(self, plan: Plan, objects: list[Written]) -> list[Written]:
        """Step 7: what was written, and what earlier runs proved less of than is asked now, checked at the target.

        Raises `Verification` with a report; nothing has been published then.
        """
        replica, level = self.replica, self.options.level
        earlier = [*([self.chain.finished] if self.chain.finished else []), *self.chain.later]
        if any(lowest(receipt.proof, level) != level for receipt in earlier):
            fresh = {written.path for written in objects}
            objects = [*objects, *(kept for path, kept in self._known(earlier[-1].number).items() if path not in fresh)]
        objects = [*objects, *self._left_behind({written.path for written in objects})]
        right, findings = confirm(replica.target, objects, level=level, workers=self.options.workers, progress=self.progress)
        if findings:
            report = Report(replica.target.url, plan.format, plan.version.id, level, findings=findings)
            raise Verification(
                f"{replica.target.url}: {len(findings)} object(s) are not what was sent, first {findings[0].path}: "
                f"{findings[0].message}; nothing was published",
                report=report,
            )
        return right

    def _left_behind(self, fresh: set[str]) -> list[Written]:
        """What unfinished runs brought over or published: ours, and from now on recorded as found there."""
        left = {path: replace(noted, origin="adopted") for path, noted in self.resumed.items() if path not in fresh}
        for unfinished in self.chain.later:
            for written in receipts_of.read_inventory(self.replica.receipts, unfinished.inventory):
                if written.origin == "published" and written.path not in fresh and self._holds(written):
                    left[written.path] = replace(written, origin="adopted")
        return list(left.values())

    def _holds(self, written: Written) -> bool:
        try:
            return sha256_hex(self.replica.target.get(written.path)) == written.sha256
        except NotFound:
            return False

    def _claim(self, plan: Plan, staged: Staged, proven: list[Written], missing: int) -> tuple[Receipt, str]:
        """Step 8: the inventory, then the receipt under its number.

        An unfinished receipt of an earlier run that names the same root is taken over. Another run that claimed the number
        for the same root has done the same work, so its receipt stands; for another root it is ahead of us.
        """
        root = self._root(staged)
        for earlier in reversed(self.chain.later):
            if earlier.root == root and earlier.version == plan.version.id and earlier.proof == self.options.level:
                return earlier, self.chain.sha256[earlier.number]
        receipt = self._receipt(plan, root, [*proven, *intended(staged.publications)], missing)
        try:
            return receipt, receipts_of.claim(self.replica.receipts, receipt)
        except Conflict:
            theirs = receipts_of.read_chain(self.replica.receipts)
            newest = theirs.newest
            if newest is None or (newest.root, newest.version) != (root, plan.version.id):
                raise Transfer(f"{self.replica.target.url}: another sync is at work there; run again") from None
            return newest, theirs.sha256[newest.number]

    def _root(self, staged: Staged) -> Root:
        for publication in staged.publications:
            if publication.path == staged.root:
                return Root(publication.path, publication.sha256)
        return self.chain.finished.root if self.chain.finished else Root()

    def _receipt(self, plan: Plan, root: Root, objects: list[Written], missing: int) -> Receipt:
        replica, chain = self.replica, self.chain
        number, finished = chain.next_number, chain.finished
        copied, kept = Counts(), Counts(plan.keep.files, plan.keep.bytes)
        for written in objects:
            if written.path not in self.resumed:  # the plan counts these as kept
                (kept if written.origin == "adopted" else copied).add(written.size)
        if finished is not None and replica.format.receipts_inside:
            kept.files += finished.copied.files + finished.kept.files
            kept.bytes += finished.copied.bytes + finished.kept.bytes
        objects += [Written(path, 0, "", "deleted") for path in plan.deletions]
        inventory = objects
        if number % receipts_of.FULL_EVERY == 0:
            everything = self._known(number - 1) | {written.path: written for written in objects}
            inventory = [written for written in everything.values() if written.origin != "deleted"]
        version = plan.version
        copies = [written for written in objects if written.origin == "copied"]
        return Receipt(
            number=number,
            run=self.id,
            tool=f"lake {__version__}",
            started_at=utc(self.started),
            ended_at=utc(datetime.now(UTC)),
            source=replica.source.url,
            target=replica.target.url,
            format=version.format,
            version=version.id,
            table_id=version.table_id,
            source_version_at=utc(version.committed_at) if version.committed_at else None,
            source_root=Root(version.root, version.root_sha256),
            root=root,
            copied=copied,
            kept=kept,
            rewritten=Counts(),
            not_carried=missing + version.not_carried.files,
            lost_versions=version.not_carried.versions,
            level=self.options.level,
            proof=self.options.level,
            proof_copied=self.options.level,
            proof_kept_oldest_at=(finished.proof_kept_oldest_at or finished.ended_at) if finished and kept.files else None,
            source_checked=bool(copies) and all(written.source_checked for written in copies),
            inventory=receipts_of.put_inventory(replica.receipts, number, inventory),
            previous_sha256=chain.sha256.get(number - 1),
            supersedes=chain.later[-1].number if chain.later else None,
        )

    def _delete(self, plan: Plan) -> None:
        """Remove from a plain directory what the source no longer has: only objects that are still what we wrote."""
        known = self._known(self.chain.newest.number) if plan.deletions and self.chain.newest else {}
        for path in plan.deletions:
            try:
                there = self.replica.target.head(path)
            except NotFound:
                continue
            if known[path].target_etag not in (None, there.etag) or known[path].size != there.size:
                raise Conflict(f"{self.replica.target.url}/{path}: was changed by somebody else; it was not deleted")
            self.replica.target.delete(path)

    def _unchanged(self) -> SyncResult:
        finished = self.chain.finished
        if finished is None:
            raise Conflict(f"{self.replica.target.url}: its receipts vanished while we looked; run again")
        kept = Counts(finished.copied.files + finished.kept.files, finished.copied.bytes + finished.kept.bytes)
        nothing = replace(finished, copied=Counts(), kept=kept, rewritten=Counts())
        return self._result(nothing, self.chain.sha256[finished.number], unchanged=True)

    def _result(self, receipt: Receipt, sha256: str, *, unchanged: bool) -> SyncResult:
        return result_of(self.replica, receipt, sha256, started=self.started, unchanged=unchanged)
