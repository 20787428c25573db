"""The whole service, top down. READ THIS FIRST.

`sync` makes the table at SOURCE also stand at TARGET, in nine steps, with no step going back:

1. open both stores, detect the format            `lakehouse.connect`, `lakehouse.formats`
2. pin one version of the source                  the format
3. read the target's receipts and its root        `lakehouse.receipt`, the format
4. plan: the pure difference                      `lakehouse.plan`
5. transfer data objects, hashed on the way       `lakehouse.transfer`
6. stage everything but the root                  the format
7. verify what is there, before a reader sees it  `lakehouse.confirm`, `lakehouse.row_proof`
8. claim the receipt                              `lakehouse.receipt`
9. publish the root                               `lakehouse.publish`

Whatever fails and whenever: the target's readers see the old version or the new one, and running again completes the work.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from lakehouse import bandwidth
from lakehouse import receipt as receipts_of
from lakehouse.claim import Done, Run, claim, root_of
from lakehouse.config import Settings, load
from lakehouse.confirm import confirm, refuse_changed
from lakehouse.connect import Access
from lakehouse.errors import Config, Conflict, NotFound, Verification
from lakehouse.memory import memory_of
from lakehouse.options import Options
from lakehouse.pending import Pending
from lakehouse.plan import Counts, Plan, make_plan
from lakehouse.progress import Progress, ProgressEvent, silent
from lakehouse.publish import intended, keep_times, publish
from lakehouse.receipt import Chain, Level, Receipt, lowest
from lakehouse.replica import Replica, open_replica
from lakehouse.report import Finding, Report
from lakehouse.result import SyncResult, result_of
from lakehouse.row_proof import compare_rows, refuse_unreadable
from lakehouse.row_record import RowRecord, check_versions
from lakehouse.spool import Spool, records
from lakehouse.table import Held, Staged, TableVersion, Written
from lakehouse.target_state import TargetState, holds
from lakehouse.transfer import transfer
from lakehouse.unpublished import Unpublished

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
    maps: Mapping[str, str] | None = None,
    allow_external: Sequence[str] = (),
    location: str | None = None,
    history: str = "all",
    skip_broken_history: bool = False,
    register: str | None = None,
    versions: str = "latest",
    workers: int = 16,
    memory: str = "256M",
    bwlimit: str = "off",
    retries: int | None = None,
    settings: Settings | None = None,
    progress: Progress = silent,
) -> SyncResult:
    """Replicate the table at ``source`` to ``target`` (places as in ``lake sync``) and prove it to ``level``.

    Raises `NotFound` (no table, or a live file is missing), `Unsupported` (nothing was written), `Conflict` (the target has
    its own commits), `Transfer` (incomplete: run again), `Verification` (differences; nothing was published), `Config`.
    See `Options` for what the arguments mean.
    """
    started = datetime.now(UTC)
    options = Options(
        version, level, checksum, delete, in_place, workers, memory_of(memory), Access(retries, bandwidth.limits(bwlimit)),
        tuple((maps or {}).items()), tuple(allow_external), location, history, skip_broken_history, register,
        check_versions(versions),
    )  # fmt: skip
    replica = open_replica(source, target, format, settings or load(), options=options)
    return _Run(replica, options, progress, started=started).run()


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
    maps: Mapping[str, str] | None = None,
    allow_external: Sequence[str] = (),
    location: str | None = None,
    history: str = "all",
    skip_broken_history: bool = False,
    register: str | None = None,
    versions: str = "latest",
    settings: Settings | None = None,
    progress: Progress = silent,
) -> Plan:
    """What `sync` with the same arguments would do. Nothing is written anywhere."""
    options = Options(
        version, level, checksum, delete, in_place, maps=tuple((maps or {}).items()), external=tuple(allow_external),
        location=location, history=history, skip_broken_history=skip_broken_history, register=register,
        versions=check_versions(versions),
    )  # fmt: skip
    return _Run(open_replica(source, target, format, settings or load(), options=options), options, progress).planned()[0]


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

    def run(self) -> SyncResult:
        if self._nothing_new():
            return self._unchanged()
        plan, state = self.planned()
        if self._is_done(plan):
            return self._unchanged()
        with self._source_may_move(plan.version):
            return self._carry(plan, state)

    @contextmanager
    def _source_may_move(self, version: TableVersion) -> Iterator[None]:
        """What is missing because the source was cleaned up meanwhile is no loss: `Transfer` is raised then, run again."""
        try:
            yield
        except NotFound:
            self.replica.format.recheck(self.replica.source, version)
            raise

    def _carry(self, plan: Plan, state: TargetState) -> SyncResult:
        """Steps 5 to 9."""
        target = self.replica.target
        if self.options.checksum and self.chain.newest is not None:
            refuse_changed(target, state.there.events, limits=self.options.limits, progress=self.progress)
        written, missing = self._transfer(plan)
        staged = self.replica.format.stage(self.replica.source, target, plan.version, plan.held)
        brought = any(done.origin != "adopted" for done in itertools.chain(written, staged.written))
        brought = brought or not all(holds(target, publication) for publication in staged.publications)
        if self.options.checksum and not plan.deletions and self._is_level(plan.version) and not brought:
            return self._unchanged()
        metadata = [*staged.written, *state.published_before(itertools.chain(written, staged.written))]
        if not self._is_level(plan.version):
            metadata += state.metadata_found(plan.version, staged, [written, metadata])
        written.extend(metadata)
        proven, again = self._verify(plan, state, written)
        rows = self._verify_rows(plan, staged)
        self.replica.format.recheck(self.replica.source, plan.version)
        receipt, sha256 = self._claim(plan, Done(staged, proven, again, missing, rows))
        publish(target, staged.publications, self.progress)
        keep_times(target, itertools.chain(metadata, again, intended(staged.publications)))
        self._register(receipt.root.path)
        self._delete(plan)
        receipts_of.finish(self.replica.receipts, receipt, anew=self.chain.broken)
        return self._result(receipt, sha256, unchanged=False)

    def _nothing_new(self) -> bool:
        """Whether a few requests show that source and target stand where the last finished run left them."""
        if self.replica.latest is None:
            return False
        receipt, sha256 = self.replica.latest
        asked = self._version_asked in (None, receipt.version) and not self.options.checksum
        if not asked or not receipts_of.proves(receipt, self.options.level, self.options.versions):
            return False
        if self.replica.terms is not None and receipt.terms != self.replica.terms.digest():
            return False
        if receipt.source != self.replica.source.url:
            return False
        self.chain = Chain(receipt, sha256={receipt.number: sha256})
        entry = self.replica.registration
        if entry is not None and not entry.is_at(receipt.root.path):
            return False
        return self.replica.format.is_unchanged(self.replica.source, self.replica.target, receipt.base, self.replica.terms)

    @property
    def _version_asked(self) -> str | None:
        return self.replica.version or self.options.version

    def planned(self) -> tuple[Plan, TargetState]:
        """Steps 2 to 4: pin, read what the target has, compare. Raises before anything is written."""
        replica, options = self.replica, self.options
        if replica.format.receipts_inside and (options.in_place or options.delete):
            raise Config(f"--in-place and --delete are for plain files; {replica.source.url} is a {replica.format.name} table")
        self.progress(ProgressEvent("pin", message=replica.source.url))
        version = replica.format.pin(replica.source, self._version_asked, replica.terms)
        if options.level == "rows":
            refuse_unreadable(replica.format, (replica.source, version))
        self.chain = receipts_of.read_chain(replica.receipts)
        hashed, anew = self._looks_again()
        state = TargetState.of(replica, self.chain)
        unchanged = state.listed_as(version) if self._is_level(version) and not anew else None
        if unchanged is not None:
            return Plan(version, None, keep=unchanged), state
        if anew or not state.settled or not replica.format.receipts_inside:
            state.read()
            replica = self.replica = state.replica
            self.chain = state.chain
        held = self._held(version)
        finished = self.chain.finished
        ahead = held is not None and held.id == version.id and replica.format.receipts_inside and not replica.format.renumbers
        if finished is not None and ahead and version.id != finished.version:
            raise Conflict(
                f"{replica.target.url}: stands at version {finished.version} already, ahead of {version.id}; "
                "a replica is never rolled back"
            )
        self.progress(ProgressEvent("plan", message=f"version {version.id}"))
        held = replace(held, believed=not anew) if held is not None else None
        with self._source_may_move(version):
            plan = make_plan(
                version,
                held,
                replica.format.files(replica.source, version, held),
                state.there,
                listing_is_table=not replica.format.receipts_inside,
                in_place=options.in_place,
                delete=options.delete,
                checksum=hashed,
            )
        if options.object_level == "bytes" and not replica.target.traits.confirms_put:
            plan.read_back_bytes = plan.copy.bytes
        return plan, state

    def _looks_again(self) -> tuple[bool, bool]:
        """Whether everything is hashed again (asked for, or read elsewhere than last time), and whether all files are looked at
        (the terms are others: more of the history may be wanted).
        """
        finished, terms = self.chain.finished, self.replica.terms
        if finished is None or terms is None:
            return self.options.checksum, self.options.checksum
        hashed = self.options.checksum or finished.read_map != terms.locations.digest()
        return hashed, hashed or finished.terms != terms.digest()

    def _held(self, version: TableVersion) -> Held | None:
        """Step 3: what the target holds whole. Raises `Conflict` where somebody else committed, in a catalog too."""
        replica, finished = self.replica, self.chain.finished
        base, unfinished = finished.base if finished else None, [receipt.base for receipt in self.chain.later]
        if replica.registration is not None:
            standing = replica.registration.standing([*unfinished[::-1], *([base] if base else [])])
            if replica.registration.is_root:
                base, unfinished = standing, []
        return replica.format.since(replica.source, replica.target, version, base, unfinished)

    def _is_level(self, version: TableVersion) -> bool:
        """Whether the last run finished, left just the pinned version, and proved it to the level asked."""
        finished = self.chain.finished
        return (
            finished is not None
            and not self.chain.later
            and (version.id, version.root_sha256) == (finished.version, finished.source_root.sha256)
            and (self.replica.terms is None or finished.terms == self.replica.terms.digest())
            and receipts_of.proves(finished, self.options.level, self.options.versions)
        )

    def _is_done(self, plan: Plan) -> bool:
        return self._is_level(plan.version) and not plan.copy.files and not plan.deletions

    def _transfer(self, plan: Plan) -> tuple[Spool[Written], int]:
        """Step 5: the objects that are whole at the target, and how many of older versions were gone at the source.

        What describes the others comes after them.
        """
        written, missing = records(), 0
        if not plan.copy.files:
            return written, missing
        self.progress(ProgressEvent("transfer", total_objects=plan.copy.files, total_bytes=plan.copy.bytes))
        source, target, limits = self.replica.source, self.replica.target, self.options.limits
        with Pending(self.replica.receipts, self.chain.next_number, self.id) as pending:
            for part in plan.parts():
                for outcome in transfer(source, target, part, limits=limits, progress=self.progress, note=pending.add):
                    if isinstance(outcome, Written):
                        written.append(outcome)
                    else:
                        missing += 1
        return written, missing

    def _verify(self, plan: Plan, state: TargetState, objects: Spool[Written]) -> tuple[Spool[Written], Spool[Written]]:
        """Step 7: the ``objects`` of this run, checked at the target; then, of earlier ones, what unfinished runs brought, and
        what was proven less than is asked now.

        Raises `Verification` with a report; nothing has been published then.
        """
        target, level = self.replica.target, self.options.object_level
        again = records()
        earlier = [*([self.chain.finished] if self.chain.finished else []), *self.chain.later]
        if any(lowest(receipt.proof, level) != level for receipt in earlier):
            again.extend(state.kept(earlier[-1].number, objects))
        again.extend(plan.left)
        proven, findings = confirm(target, objects, level=level, limits=self.options.limits, progress=self.progress)
        proven_again, wrong = again, list[Finding]()
        if len(again):
            proven_again, wrong = confirm(target, again, level=level, limits=self.options.limits, progress=self.progress)
        findings += wrong
        if findings:
            self._note_damage(findings, itertools.chain(objects, again))
            report = Report(target.url, plan.format, plan.version.id, level, findings=findings)
            raise Verification(
                f"{target.url}: {len(findings)} object(s) are not what was sent, first {findings[0].path}: "
                f"{findings[0].message}; nothing was published",
                report=report,
            )
        return proven, proven_again

    def _verify_rows(self, plan: Plan, staged: Staged) -> list[RowRecord]:
        """The last part of step 7, at level rows: the target's rows, as its readers are going to see them, are the source's.

        Both are read from data files, each side on its own. Raises `Verification`; nothing has been published then.
        """
        if self.options.level != "rows":
            return []
        replica = self.replica
        target = Unpublished(replica.target, staged.publications, plan.deletions)
        root = root_of(self.chain, staged).path.rpartition("/")[2]
        named = root if replica.format.renumbers else plan.version.id if replica.format.receipts_inside else None
        expected, _, findings = compare_rows(
            replica.format, (replica.source, plan.version), (target, replica.format.pin(target, named)),
            self.options.versions, workers=self.options.workers, progress=self.progress,
        )  # fmt: skip
        if findings:
            report = Report(replica.target.url, plan.format, plan.version.id, "rows", findings=findings)
            raise Verification(
                f"{replica.target.url}: its rows are not those of the source: {findings[0].message}; nothing was published",
                report=report,
            )
        return expected

    def _note_damage(self, findings: list[Finding], objects: Iterable[Written]) -> None:
        """Write down which objects of ours are not what was sent, so that the next run may put them again."""
        wrong = {finding.path for finding in findings if finding.kind == "differs"}
        with Pending(self.replica.receipts, self.chain.next_number, f"{self.id}-damaged") as pending:
            for written in objects:
                if written.path in wrong and written.origin in ("copied", "staged", "rewritten"):
                    there = self.replica.target.head(written.path)
                    pending.add(replace(written, size=there.size, target_etag=there.etag, origin="damaged"))

    def _claim(self, plan: Plan, done: Done) -> tuple[Receipt, str]:
        """Step 8: see `lakehouse.claim`."""
        return claim(Run(self.replica, self.chain, self.options.level, self.options.versions, self.id, self.started), plan, done)

    def _register(self, root: str) -> None:
        """The last part of step 9: the catalog's entry."""
        if self.replica.registration is not None:
            self.replica.registration.enter(root)

    def _delete(self, plan: Plan) -> None:
        """Remove from a plain directory what the source no longer has; the plan saw that it is still what we wrote."""
        for path in plan.deletions:
            self.replica.target.delete(path)

    def _unchanged(self) -> SyncResult:
        finished = self.chain.finished
        if finished is None:
            raise Conflict(f"{self.replica.target.url}: its receipts vanished while we looked; run again")
        self._register(finished.root.path)
        parts = (finished.copied, finished.rewritten, finished.kept)
        kept = Counts(sum(part.files for part in parts), sum(part.bytes for part in parts))
        nothing = replace(finished, copied=Counts(), kept=kept, rewritten=Counts())
        return self._result(nothing, self.chain.sha256[finished.number], unchanged=True)

    def _result(self, receipt: Receipt, sha256: str, *, unchanged: bool) -> SyncResult:
        return result_of(self.replica, receipt, sha256, started=self.started, unchanged=unchanged)
