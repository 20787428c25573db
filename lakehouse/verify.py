"""What is proven about a target.

Two callers: a sync asks whether what it just wrote is really there (`confirm`, before anything is published), and
``lake verify`` holds a whole replica against its receipts, and against the source when asked (`audit`). Unknown is never
proven: what could not be read is a finding of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from lakehouse import bandwidth
from lakehouse import receipt as receipts_of
from lakehouse.config import Settings, load
from lakehouse.connect import Access
from lakehouse.errors import Conflict, LakeError, NotFound, Unsupported, Verification
from lakehouse.memory import memory_of
from lakehouse.options import Options
from lakehouse.parallel import each
from lakehouse.plan import Counts
from lakehouse.progress import Progress, ProgressEvent, silent
from lakehouse.ranges import Limits, RangePool
from lakehouse.receipt import Level, Receipt, lowest
from lakehouse.registration import Registration
from lakehouse.replica import open_source, open_target
from lakehouse.spool import Spool, files, records, shelves
from lakehouse.store import ObjectInfo, Store
from lakehouse.table import TableFile, TableFormat, Terms, Written

__all__ = ["SIGNS", "Finding", "Report", "audit", "confirm", "refuse_changed", "verify"]

SIGNS = {
    "missing": "-",
    "extra": "+",
    "differs": "*",
    "receipt": "*",
    "unchecked": "!",
    "history": "-",
    "target": "!",
    "location": "!",
    "properties": "!",
}
"""rclone's sign for each kind of finding; an object that is right is ``=``."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or could not be checked (kind ``unchecked``). ``path`` is relative to the target.

    A sync also tells with them what its user must know though nothing is wrong: ``history`` (files of older versions were
    gone at the source), ``location`` and ``properties`` (what of places could not be said the same way there), ``target`` (what
    the target's store cannot promise).
    """

    kind: str
    path: str
    message: str

    @property
    def sign(self) -> str:
        return SIGNS[self.kind]


@dataclass(slots=True)
class Report:
    """What was asked, what was looked at, and what is proven. ``level`` is ``none`` as soon as there is a finding."""

    target: str
    format: str
    version: str
    level_asked: Level
    level: Level = "none"
    source_checked: bool = False
    checked: Counts = field(default_factory=Counts)
    findings: list[Finding] = field(default_factory=list)
    receipt: str | None = None
    receipt_sha256: str | None = None

    @property
    def ok(self) -> bool:
        return not self.findings

    def raise_for_findings(self) -> None:
        """Raise `Verification` for differences, `LakeError` where something could not be checked; nothing when all is right."""
        wrong = [finding for finding in self.findings if finding.kind != "unchecked"]
        if wrong:
            raise Verification(f"{self.target}: {len(wrong)} finding(s), first: {wrong[0].path}: {wrong[0].message}", report=self)
        if self.findings:
            raise LakeError(f"{self.target}: could not check {len(self.findings)} object(s): {self.findings[0].message}")


def verify(
    target: str,
    *,
    against: str | None = None,
    level: Level = "bytes",
    format: str | None = None,
    expect_receipt: str | None = None,
    maps: Mapping[str, str] | None = None,
    allow_external: Sequence[str] = (),
    workers: int = 16,
    memory: str = "256M",
    bwlimit: str = "off",
    settings: Settings | None = None,
    progress: Progress = silent,
) -> Report:
    """Prove the replica at ``target``: against its receipts alone, or against the source ``against`` too.

    ``maps`` and ``allow_external`` say where files of ``against`` lie, as in `lakehouse.sync`. ``expect_receipt`` is the SHA-256
    that an earlier sync printed: the receipt there must be that one. Differences are findings of the report
    (`Report.raise_for_findings`), not exceptions.
    Raises `NotFound` where no table, or neither a receipt nor a source is there, and `Unsupported` for level rows.
    """
    if level == "rows":
        raise Unsupported("--level rows is not offered yet: bytes is the strongest proof of this version")
    settings = settings or load()
    access = Access(bandwidth=bandwidth.limits(bwlimit))
    options = Options(access=access, maps=tuple((maps or {}).items()), external=tuple(allow_external))
    store, receipts, table_format, registration = open_target(target, format, settings, access)
    return audit(
        store,
        receipts,
        table_format,
        level=level,
        limits=Limits(workers, memory_of(memory)),
        progress=progress,
        against=open_source(against, settings, options) if against is not None else None,
        expect_receipt=expect_receipt,
        registration=registration,
    )


class _Checker:
    """Holds single objects of one store against their records."""

    def __init__(self, store: Store, level: Level, pool: RangePool) -> None:
        self.store, self.level, self.pool = store, level, pool

    def digest(self, info: ObjectInfo) -> str:
        return self.pool.digests(self.store, info)["sha256"]

    def check(self, written: Written) -> Finding | None:
        """None when the object is there with the recorded size and, at level bytes, the recorded SHA-256."""
        try:
            info = self.store.head(written.path)
        except NotFound:
            return Finding("missing", written.path, "is not at the target")
        if info.size != written.size:
            return Finding("differs", written.path, f"has {info.size} bytes, recorded are {written.size}")
        if self.level != "files" and self.digest(info) != written.sha256:
            return Finding("differs", written.path, "its bytes do not have the recorded SHA-256")
        return None


def confirm(
    target: Store, objects: Spool[Written], *, level: Level, limits: Limits, progress: Progress
) -> tuple[Spool[Written], list[Finding]]:
    """Check ``objects`` at the target to ``level``; gives those that are right (marked) and what is wrong.

    Objects whose upload the provider confirmed are not read again. What cannot be checked raises.
    """
    doubtful = Counts()
    for written in objects:
        if not (written.confirmed or level == "none"):
            doubtful.add(written.size)
    progress(ProgressEvent("verify", total_objects=doubtful.files, total_bytes=doubtful.bytes))
    if not doubtful.files:
        return objects, []
    right, findings = records(), list[Finding]()
    with RangePool(limits) as pool:
        checker = _Checker(target, level, pool)
        waiting = _in_doubt(objects, level, right)
        for written, outcome in each(checker.check, waiting, workers=limits.workers, stop=pool.stop):
            if isinstance(outcome, LakeError):
                raise outcome
            if outcome is None:
                right.append(replace(written, confirmed=level != "files"))
            else:
                findings.append(outcome)
            progress(
                ProgressEvent(
                    "verify", objects=1, size=written.size, message=f"{outcome.sign if outcome else '='} {written.path}"
                )
            )
    return right, findings


def _in_doubt(objects: Iterable[Written], level: Level, right: Spool[Written]) -> Iterator[Written]:
    """The objects that must be looked at; the others are ``right``."""
    for written in objects:
        if written.confirmed or level == "none":
            right.append(written)
        else:
            yield written


def refuse_changed(target: Store, events: Iterable[Written], *, limits: Limits, progress: Progress) -> None:
    """Raise `Conflict` for a rewritten object that has other bytes than its last record in ``events``.

    Such objects are adopted by what they say, which damage may not change.
    """
    rewritten: dict[str, Written] = {}
    for written in events:
        rewritten.pop(written.path, None)
        if written.origin == "rewritten":
            rewritten[written.path] = replace(written, confirmed=False)
    objects = records()
    objects.extend(rewritten.values())
    _, findings = confirm(target, objects, level="bytes", limits=limits, progress=progress)
    for finding in findings:
        if finding.kind == "differs":
            raise Conflict(
                f"{target.url}/{finding.path}: {finding.message}: it was damaged, or changed by somebody; "
                "remove it and run --checksum again"
            )


def audit(
    target: Store,
    receipts: Store,
    table_format: TableFormat,
    *,
    level: Level,
    limits: Limits,
    progress: Progress,
    against: tuple[Store, Terms | None, str | None] | None = None,
    expect_receipt: str | None = None,
    registration: Registration | None = None,
) -> Report:
    """Hold a replica against its receipts alone, and against the source ``against`` too when given.

    ``registration``: the entry of a catalog's table, which says where its readers find it.
    Raises `NotFound` where there is neither a receipt nor a source to compare with.
    """
    report = Report(target.url, table_format.name, "", level)
    try:
        vouching = _vouching(target, receipts, registration)
        expected = _vouched_for(receipts, vouching[0].number) if vouching else records()
    except Verification as error:
        report.findings.append(Finding("receipt", "_lake", str(error)))
        return report
    if vouching:
        report.version = vouching[0].version
        report.receipt, report.receipt_sha256 = f"_lake/{vouching[0].path}", vouching[1]
    elif against is None:
        raise NotFound(f"{target.url}: no receipt of a sync is there; name the source with --against to compare the two")
    if expect_receipt is not None and report.receipt_sha256 != expect_receipt:
        report.findings.append(
            Finding("receipt", report.receipt or "_lake", f"has SHA-256 {report.receipt_sha256}, expected was {expect_receipt}")
        )
    if against is not None:
        root = vouching[0].root.path if vouching else table_format.pin(target, _current(registration)).root
        if vouching and against[1] is not None:
            terms = replace(against[1], skip_broken_history=vouching[0].skip_broken_history)
            against = (against[0], terms, against[2])
        expected.extend(_held_against(report, expected, target, root, against, table_format, limits=limits))
    _check_objects(report, target, expected, limits=limits, progress=progress)
    if report.ok:
        root = vouching[0].root.path if vouching else ""
        _check_whole(report, target, table_format, expected, root, registration, essential=vouching is None)
    proven = level if vouching is None or against is not None else lowest(level, "bytes")
    report.level = proven if report.ok else "none"
    return report


def _vouching(target: Store, receipts: Store, registration: Registration | None) -> tuple[Receipt, str] | None:
    """The newest receipt whose root is there, in a catalog: at whose root it stands; else the finished one (its root was damaged,
    and the check will say so).

    Raises `Verification` where the receipts contradict each other.
    """
    chain = receipts_of.read_chain(receipts)
    if chain.broken:
        raise Verification(f"{receipts.url}: the receipts contradict each other or some are gone; lake sync makes a new one")
    for receipt in reversed(chain.later):
        published = registration is None or registration.is_at(receipt.root.path)
        if published and receipts_of.counts(target, receipt):
            return receipt, chain.sha256[receipt.number]
    newest = chain.finished or (chain.later[-1] if chain.later else None)
    return (newest, chain.sha256[newest.number]) if newest else None


def _vouched_for(receipts: Store, number: int) -> Spool[Written]:
    """The objects that receipts up to ``number`` vouch for."""
    events, expected = records(), records()
    events.extend(receipts_of.known_events(receipts, number, number))
    expected.extend(receipts_of.newest(events))
    return expected


def _held_against(
    report: Report,
    expected: Spool[Written],
    target: Store,
    root: str,
    against: tuple[Store, Terms | None, str | None],
    table_format: TableFormat,
    *,
    limits: Limits,
) -> Spool[Written]:
    """Read the same version at the source: what receipts say must be equal; what they do not name is given, to be expected too.

    Of the metadata only what any two places of one version have in common is compared: checkpoints and hints come and go.
    """
    source, terms, named = against
    version = table_format.pin(source, (report.version or named) if table_format.receipts_inside else None, terms)
    report.version = report.version or version.id
    wanted, added = files(), records()
    wanted.extend(file for file in table_format.files(source, version) if file.required and not file.rewritten)
    wanted.extend(TableFile(path, 0) for path in table_format.metadata_files(source, version, essential=True))
    count = shelves(len(expected), len(wanted))
    with RangePool(limits) as pool:
        checker = _Checker(version.as_replicated(source), "bytes", pool)
        for known_part, wanted_part in zip(expected.shelves(count), wanted.shelves(count), strict=True):
            known = {written.path: written.sha256 for written in known_part}
            paths = {file.path: file.source for file in wanted_part}
            if not table_format.receipts_inside:
                gone = sorted(known.keys() - paths.keys())
                report.findings += [Finding("extra", path, "is in the replica and no longer at the source") for path in gone]
            reading = partial(_source_record, checker, paths)
            for path, outcome in each(reading, sorted(paths), workers=limits.workers, stop=pool.stop):
                if isinstance(outcome, LakeError):
                    report.findings.append(Finding("unchecked", path, f"could not read the source: {outcome}"))
                elif path not in known:
                    added.append(outcome)
                elif known[path] != outcome.sha256:
                    report.findings.append(Finding("differs", path, "the source holds other bytes than the receipts record"))
    different = table_format.differences(source, target, version, root) if root else ()
    report.findings += [Finding("differs", path, what) for path, what in different]
    report.source_checked = report.ok
    return added


def _source_record(checker: _Checker, sources: Mapping[str, str], path: str) -> Written:
    info = checker.store.head(sources[path])
    return Written(path, info.size, checker.digest(info), "copied", source_etag=info.etag)


def _check_objects(report: Report, target: Store, objects: Spool[Written], *, limits: Limits, progress: Progress) -> None:
    progress(ProgressEvent("verify", total_objects=len(objects), total_bytes=sum(written.size for written in objects)))
    with RangePool(limits) as pool:
        checker = _Checker(target, report.level_asked, pool)
        for written, outcome in each(checker.check, objects, workers=limits.workers, stop=pool.stop):
            if isinstance(outcome, LakeError):
                outcome = Finding("unchecked", written.path, str(outcome))
            if outcome is not None:
                report.findings.append(outcome)
            report.checked.add(written.size)
            progress(
                ProgressEvent(
                    "verify", objects=1, size=written.size, message=f"{outcome.sign if outcome else '='} {written.path}"
                )
            )
    report.findings.sort(key=lambda finding: finding.path)


def _current(registration: Registration | None) -> str | None:
    """The version at which a catalog's table stands; None: the newest that is found by path."""
    record = registration.entry.record if registration is not None else None
    return record.metadata_location.rpartition("/")[2] if record is not None else None


def _check_whole(
    report: Report,
    target: Store,
    table_format: TableFormat,
    expected: Spool[Written],
    root: str,
    registration: Registration | None,
    *,
    essential: bool,
) -> None:
    """Read the table's own metadata at the target: all that it refers to must be vouched for, and nothing else be visible.

    A catalog's metadata file of the same content as the root is the root.
    """
    named = root.rpartition("/")[2] if registration is not None and registration.is_at(root) else _current(registration)
    try:
        version = table_format.pin(target, named)
        refers = files()
        refers.extend(table_format.files(target, version))
        refers.extend(TableFile(path, 0) for path in table_format.metadata_files(target, version, essential=essential))
    except LakeError as error:
        report.findings.append(Finding("differs", "", f"the replica cannot be read as a table: {error}"))
        return
    level = version.root == root if table_format.renumbers else version.id == report.version
    if root and not level:
        report.findings.append(
            Finding("extra", version.root, f"the table stands at version {version.id}, the receipts vouch for {report.version}")
        )
    for file in refers:
        if file.origin is not None:
            report.findings.append(Finding("differs", file.path, f"the table states it outside itself, at {file.origin}"))
    count = shelves(len(expected), len(refers))
    for known, named_there in zip(expected.shelves(count), refers.shelves(count), strict=True):
        vouched = {written.path for written in known}
        for file in named_there:
            if file.required and file.path not in vouched:
                report.findings.append(Finding("extra", file.path, "the table refers to it, no receipt names it"))
