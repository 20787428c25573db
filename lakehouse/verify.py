"""What is proven about a replica: ``lake verify`` holds all of it against its receipts, and against the source when asked.

Unknown is never proven: what could not be read is a finding of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lakehouse import bandwidth
from lakehouse import receipt as receipts_of
from lakehouse.config import Settings, load
from lakehouse.confirm import Checker
from lakehouse.connect import Access
from lakehouse.errors import Config, LakeError, NotFound, Unsupported, Verification
from lakehouse.memory import memory_of
from lakehouse.options import Options
from lakehouse.parallel import each
from lakehouse.progress import Progress, ProgressEvent, silent
from lakehouse.ranges import Limits, RangePool
from lakehouse.reading.task import Point
from lakehouse.receipt import Level, Receipt
from lakehouse.registration import Registration
from lakehouse.replica import open_source, open_target
from lakehouse.report import Finding, Report
from lakehouse.row_examples import row_examples
from lakehouse.row_proof import Place, compare_rows, row_findings
from lakehouse.row_record import check_versions, covers, newest_of
from lakehouse.spool import Spool, files, records, shelves
from lakehouse.store import Store
from lakehouse.table import TableFile, TableFormat, TableVersion, Terms, Written

__all__ = ["Rows", "audit", "verify"]


@dataclass(frozen=True, slots=True)
class Rows:
    """What is asked at level rows: of which ``versions``, and how many differing rows to ``show``, found by their ``key``."""

    versions: str = "latest"
    key: tuple[str, ...] = ()
    show: int = 0


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
    versions: str = "latest",
    key: Sequence[str] = (),
    show: int = 0,
    settings: Settings | None = None,
    progress: Progress = silent,
) -> Report:
    """Prove the replica at ``target``: against its receipts alone, or against the source ``against`` too.

    ``maps`` and ``allow_external`` say where files of ``against`` lie, as in `lakehouse.sync`. ``expect_receipt`` is the SHA-256
    that an earlier sync printed: the receipt there must be that one. Differences are findings of the report
    (`Report.raise_for_findings`), not exceptions. At level rows the rows of ``versions`` (``all``, ``latest``, or how many of the
    newest) are read at the target and compared with the source's, or with those of the receipt; ``show``: how many rows that
    differ from the source's are put into the report, found by the columns ``key``.
    Raises `NotFound` where no table, or neither a receipt nor a source is there, `Unsupported` where rows cannot be read
    rightly, and `Config`.
    """
    rows = Rows(check_versions(versions), tuple(key), show)
    if show and not (key and against and level == "rows"):
        raise Config("--show needs --level rows, --against, and --key with the columns that tell rows apart")
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
        rows=rows,
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
    rows: Rows | None = None,
) -> Report:
    """Hold a replica against its receipts alone, and against the source ``against`` too when given.

    ``rows``: what is asked at level rows. ``registration``: the entry of a catalog's table, which says where its readers find it.
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
    source = None
    if against is not None:
        root = vouching[0].root.path if vouching else table_format.pin(target, _current(registration)).root
        if vouching and against[1] is not None:
            terms = replace(against[1], skip_broken_history=vouching[0].skip_broken_history)
            against = (against[0], terms, against[2])
        source = against[0], _pinned(report, against, table_format)
        expected.extend(_held_against(report, expected, target, root, source, table_format, limits=limits))
    _check_objects(report, target, expected, limits=limits, progress=progress)
    if report.ok:
        root = vouching[0].root.path if vouching else ""
        _check_whole(report, target, table_format, expected, root, registration, essential=vouching is None)
    if level == "rows":
        _check_rows(
            report,
            target,
            table_format,
            vouching[0] if vouching else None,
            source,
            registration,
            rows or Rows(),
            limits=limits,
            progress=progress,
        )
    report.level = level if report.ok else "none"
    return report


def _pinned(report: Report, against: tuple[Store, Terms | None, str | None], table_format: TableFormat) -> TableVersion:
    """The same version at the source."""
    source, terms, named = against
    version = table_format.pin(source, (report.version or named) if table_format.receipts_inside else None, terms)
    report.version = report.version or version.id
    return version


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
    place: Place,
    table_format: TableFormat,
    *,
    limits: Limits,
) -> Spool[Written]:
    """Read the same version at the source: what receipts say must be equal; what they do not name is given, to be expected too.

    Of the metadata only what any two places of one version have in common is compared: checkpoints and hints come and go.
    """
    source, version = place
    wanted, added = files(), records()
    wanted.extend(file for file in table_format.files(source, version) if file.required and not file.rewritten)
    wanted.extend(TableFile(path, 0) for path in table_format.metadata_files(source, version, essential=True))
    count = shelves(len(expected), len(wanted))
    with RangePool(limits) as pool:
        checker = Checker(version.as_replicated(source), "bytes", pool)
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


def _source_record(checker: Checker, sources: Mapping[str, str], path: str) -> Written:
    info = checker.store.head(sources[path])
    return Written(path, info.size, checker.digest(info), "copied", source_etag=info.etag)


def _check_objects(report: Report, target: Store, objects: Spool[Written], *, limits: Limits, progress: Progress) -> None:
    progress(ProgressEvent("verify", total_objects=len(objects), total_bytes=sum(written.size for written in objects)))
    with RangePool(limits) as pool:
        checker = Checker(target, report.level_asked, pool)
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


def _check_rows(
    report: Report,
    target: Store,
    table_format: TableFormat,
    vouching: Receipt | None,
    source: Place | None,
    registration: Registration | None,
    rows: Rows,
    *,
    limits: Limits,
    progress: Progress,
) -> None:
    """Read the rows at the target, and hold them against the source's, or against those that the receipt states."""
    if source is None and (vouching is None or not covers(vouching.row_versions, rows.versions)):
        stated = f"of versions {vouching.row_versions} only" if vouching and vouching.row_versions else "of no rows"
        why = f"the receipt holds a fingerprint {stated}; name the source with --against, or sync with --level rows"
        report.findings.append(Finding("unchecked", "", why))
        return
    findings: list[Finding] = []
    try:
        place = target, table_format.pin(target, _named(vouching.root.path if vouching else "", registration))
        if source is not None:
            _, report.rows, findings = compare_rows(
                table_format, source, place, rows.versions, workers=limits.workers, progress=progress
            )
            if findings and report.rows and rows.show:
                _show_rows(report, table_format, source, place, rows, limits)
        elif vouching is not None:
            report.rows, findings = row_findings(
                table_format,
                place,
                newest_of(vouching.rows, rows.versions),
                rows.versions,
                workers=limits.workers,
                progress=progress,
            )
    except (Config, Unsupported):
        raise
    except LakeError as error:
        findings = [Finding("unchecked", "", f"the rows could not be read: {error}")]
    report.findings += findings


def _show_rows(report: Report, table_format: TableFormat, source: Place, target: Place, rows: Rows, limits: Limits) -> None:
    """Put rows that differ into the report. Where they cannot be shown it says why, and what was found stays."""
    try:
        plans = [table_format.scan(*place, Point()) for place in (source, target)]
        report.examples = row_examples(plans[0], plans[1], "newest version", rows.key, rows.show, memory=limits.memory)
    except LakeError as error:
        report.findings.append(Finding("unchecked", "", str(error)))


def _named(root: str, registration: Registration | None) -> str | None:
    """The version that the target's readers see, as `TableFormat.pin` takes it. A catalog's metadata file of the same content as
    the root is the root.
    """
    if registration is None:
        return None
    return root.rpartition("/")[2] if registration.is_at(root) else _current(registration)


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
    """Read the table's own metadata at the target: all that it refers to must be vouched for, and nothing else be visible."""
    try:
        version = table_format.pin(target, _named(root, registration))
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
