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
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from lakehouse import receipt as receipts_of
from lakehouse.checksum import sha256_hex
from lakehouse.config import Settings, load
from lakehouse.errors import Config, Conflict, NotFound, Transfer, Unsupported, Verification
from lakehouse.options import Options
from lakehouse.pending import Pending, read_pending
from lakehouse.plan import Copy, Counts, Plan, is_same, make_plan
from lakehouse.progress import Progress, ProgressEvent, silent
from lakehouse.publish import intended, publish
from lakehouse.receipt import Chain, Level, Receipt, Root, lowest, utc
from lakehouse.replica import Replica, open_replica
from lakehouse.result import SyncResult, result_of
from lakehouse.store import ObjectInfo
from lakehouse.table import Staged, TableFile, Written
from lakehouse.transfer import Outcome, transfer
from lakehouse.verify import Finding, Report, confirm
from lakehouse.version import __version__

__all__ = ["Options", "SyncResult", "plan", "replicate", "sync"]


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
    noted: dict[str, Written] = field(default_factory=dict)
    present: dict[str, ObjectInfo] | None = None

    def run(self) -> SyncResult:
        if self._nothing_new():
            return self._unchanged()
        plan = self.plan(mend=True)
        if self._is_done(plan):
            return self._unchanged()
        written, missing = self._transfer(plan)
        if self.options.checksum and not plan.deletions and self._is_level(plan) and all(w.origin == "adopted" for w in written):
            return self._unchanged()
        staged = self.replica.format.stage(self.replica.source, self.replica.target, plan.version, plan.since)
        objects = [*written, *staged.written]
        proven = self._verify(plan, [*objects, *self._metadata_found_there(plan, staged, objects)])
        self.replica.format.recheck(self.replica.source, plan.version)
        receipt, sha256 = self._claim(plan, staged, proven, missing)
        publish(self.replica.target, staged.publications, self.progress)
        self._delete(plan)
        receipts_of.finish(self.replica.receipts, receipt, anew=self.chain.broken)
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

    def plan(self, *, mend: bool = False) -> Plan:
        """Steps 2 to 4: pin, read what the target has, compare. Raises before anything is written.

        ``mend``: first put again what an unfinished run of ours found damaged.
        """
        replica, options = self.replica, self.options
        if options.level == "rows":
            raise Unsupported("--level rows is not offered yet: bytes is the strongest proof of this version")
        if replica.format.receipts_inside and (options.in_place or options.delete):
            raise Config(f"--in-place and --delete are for plain files; {replica.source.url} is a {replica.format.name} table")
        self.progress(ProgressEvent("pin", message=replica.source.url))
        version = replica.format.pin(replica.source, options.version)
        self.chain = receipts_of.read_chain(replica.receipts)
        known = self._target_state()
        if mend:
            self._mend()
            known |= self.noted
        finished = self.chain.finished
        since = replica.format.since(replica.source, replica.target, version, finished.base if finished else None)
        if finished is not None and replica.format.receipts_inside and since == version.id != finished.version:
            raise Conflict(
                f"{replica.target.url}: stands at version {finished.version} already, ahead of {version.id}; "
                "a replica is never rolled back"
            )
        self.progress(ProgressEvent("plan", message=f"version {version.id}"))
        plan = make_plan(
            version,
            since,
            replica.format.files(replica.source, version, None if options.checksum else since),
            known,
            self.present,
            listing_is_table=not replica.format.receipts_inside,
            in_place=options.in_place,
            delete=options.delete,
            checksum=options.checksum,
        )
        if options.level == "bytes" and not replica.target.traits.confirms_put:
            plan.read_back_bytes = plan.copy.bytes
        return plan

    def _target_state(self) -> dict[str, Written]:
        """What earlier runs recorded of the target; takes its listing where an unfinished run or a stranger may have written.

        A table whose last run finished needs neither: its new files have new names. A plain folder is its listing. Receipts that
        cannot be believed are as good as none: what lies there is hashed again, and the next receipt stands on its own.
        """
        replica, chain = self.replica, self.chain
        pending = read_pending(replica.receipts, chain.next_number)
        settled = chain.finished is not None and not chain.later and pending is None
        if settled and replica.format.receipts_inside and not self.options.checksum:
            return {}
        try:
            known = self._known(chain.newest.number) if chain.newest else {}
        except Verification:
            self.chain, known = receipts_of.broken_chain(replica.receipts), {}
        self.present = {info.path: info for info in replica.target.list()}
        self.noted = {path: noted for path, noted in (pending or {}).items() if is_same(noted, self.present.get(path))}
        return known | self.noted

    def _mend(self) -> None:
        """Put again what an unfinished run of ours found damaged at the target, while it is still that object."""
        damaged = [noted for noted in self.noted.values() if noted.origin == "damaged"]
        copies = [Copy(TableFile(noted.path, noted.size, required=False), "replace", noted) for noted in damaged]
        for outcome in transfer(
            self.replica.source, self.replica.target, copies, workers=self.options.workers, progress=self.progress
        ):
            self.noted[outcome.path] = outcome if isinstance(outcome, Written) else self.noted[outcome.path]
            if self.present is not None:
                self.present[outcome.path] = self.replica.target.head(outcome.path)

    def _known(self, upto: int) -> dict[str, Written]:
        return receipts_of.known_objects(self.replica.receipts, upto, self.chain.finished.number if self.chain.finished else 0)

    def _is_level(self, plan: Plan) -> bool:
        """Whether the last run finished, left just the pinned version, and proved it to the level asked."""
        finished = self.chain.finished
        return (
            finished is not None
            and not self.chain.later
            and plan.version.id == finished.version
            and lowest(finished.proof, self.options.level) == self.options.level
        )

    def _is_done(self, plan: Plan) -> bool:
        return self._is_level(plan) and not plan.copy.files and not plan.deletions

    def _transfer(self, plan: Plan) -> tuple[list[Written], int]:
        """Step 5: the objects that are whole at the target, and how many of older versions were gone at the source.

        What describes the others comes after them.
        """
        copies = list(plan.copies())
        if not copies:
            return [], 0
        outcomes: list[Outcome] = []
        self.progress(ProgressEvent("transfer", total_objects=len(copies), total_bytes=sum(copy.size for copy in copies)))
        with Pending(self.replica.receipts, self.chain.next_number, self.id) as pending:
            for last in (False, True):
                part = [copy for copy in copies if copy.file.last is last]
                outcomes += transfer(
                    self.replica.source,
                    self.replica.target,
                    part,
                    workers=self.options.workers,
                    progress=self.progress,
                    note=pending.add,
                )
        written = [outcome for outcome in outcomes if isinstance(outcome, Written)]
        return written, len(outcomes) - len(written)

    def _metadata_found_there(self, plan: Plan, staged: Staged, objects: list[Written]) -> list[Written]:
        """Metadata that this run did not put because it lay there: brought by other means, or vouched for by lost receipts.

        Raises `Conflict` where it is not what the source must have in common with it; what merely helps readers may be another
        (a checkpoint that was written here), and the format has judged it.
        """
        if self.present is None or self._is_level(plan):
            return []
        source, target = self.replica.source, self.replica.target
        common = set(self.replica.format.metadata_files(source, plan.version, essential=True))
        named = {written.path for written in objects} | {publication.path for publication in staged.publications}
        named |= set(self._known(self.chain.finished.number)) if self.chain.finished else set()
        found = []
        for path in self.replica.format.metadata_files(target, plan.version):
            if path in self.present and path not in named:
                data = target.get(path)
                if path in common and source.get(path) != data:
                    raise Conflict(f"{target.url}/{path}: is not what the source has; somebody else wrote it")
                etag = self.present[path].etag
                found.append(Written(path, len(data), sha256_hex(data), "adopted", target_etag=etag, confirmed=True))
        return found

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
            self._note_damage(findings, objects)
            report = Report(replica.target.url, plan.format, plan.version.id, level, findings=findings)
            raise Verification(
                f"{replica.target.url}: {len(findings)} object(s) are not what was sent, first {findings[0].path}: "
                f"{findings[0].message}; nothing was published",
                report=report,
            )
        return right

    def _note_damage(self, findings: list[Finding], objects: list[Written]) -> None:
        """Write down which objects of ours are not what was sent, so that the next run may put them again."""
        wrong = {finding.path for finding in findings if finding.kind == "differs"}
        with Pending(self.replica.receipts, self.chain.next_number, f"{self.id}-damaged") as pending:
            for written in objects:
                if written.path in wrong and written.origin in ("copied", "staged"):
                    there = self.replica.target.head(written.path)
                    pending.add(replace(written, size=there.size, target_etag=there.etag, origin="damaged"))

    def _left_behind(self, fresh: set[str]) -> list[Written]:
        """What unfinished runs brought over or published: ours, and from now on recorded as found there."""
        left = {path: replace(noted, origin="adopted") for path, noted in self.noted.items() if path not in fresh}
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
        root, publications = self._root(staged), intended(staged.publications)
        for earlier in reversed(self.chain.later):
            if self._does_the_same(earlier, plan, root, publications):
                return earlier, self.chain.sha256[earlier.number]
        receipt = self._receipt(plan, root, [*proven, *publications], missing)
        try:
            return receipt, receipts_of.claim(self.replica.receipts, receipt)
        except Conflict:
            theirs = receipts_of.read_chain(self.replica.receipts)
            newest = theirs.newest
            if newest is None or not self._does_the_same(newest, plan, root, publications):
                raise Transfer(f"{self.replica.target.url}: another sync is at work there; run again") from None
            return newest, theirs.sha256[newest.number]

    def _does_the_same(self, other: Receipt, plan: Plan, root: Root, publications: list[Written]) -> bool:
        """Whether another run's receipt stands for all that this run is going to publish, proven as far."""
        if (other.root, other.version) != (root, plan.version.id) or lowest(
            other.proof, self.options.level
        ) != self.options.level:
            return False
        named = {(w.path, w.sha256) for w in receipts_of.read_inventory(self.replica.receipts, other.inventory)}
        return all((written.path, written.sha256) in named for written in publications)

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
            if written.origin != "adopted":
                copied.add(written.size)
            elif finished is None and written.path not in self.noted:  # else counted as kept already
                kept.add(written.size)
        if finished is not None and replica.format.receipts_inside:
            kept.files += finished.copied.files + finished.kept.files
            kept.bytes += finished.copied.bytes + finished.kept.bytes
        objects += [Written(path, 0, "", "deleted") for path in plan.deletions]
        inventory = objects
        full = chain.newest is None or number % receipts_of.FULL_EVERY == 0
        if full and chain.newest is not None:
            inventory = list((self._known(number - 1) | {written.path: written for written in objects}).values())
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
            full=full,
        )

    def _delete(self, plan: Plan) -> None:
        """Remove from a plain directory what the source no longer has; the plan saw that it is still what we wrote."""
        for path in plan.deletions:
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
