"""``lake verify``: prove a replica."""

from __future__ import annotations

from typing import Annotated

import typer

import lakehouse
from lakehouse_cli import output
from lakehouse_cli.options import (
    LEVEL_HELP,
    BandwidthOption,
    ExternalOption,
    FormatOption,
    Level,
    MapOption,
    MemoryOption,
    Session,
    VersionsOption,
    WorkersOption,
    command,
    exit_code_of,
    maps,
)

__all__ = ["register"]


def verify(
    session: Session,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The replica: a URL, a path or NAME:path.")],
    against: Annotated[str | None, typer.Option("--against", metavar="SOURCE", help="Read the source too and compare.")] = None,
    level: Annotated[Level, typer.Option("--level", help=LEVEL_HELP)] = "bytes",
    table_format: FormatOption = None,
    expect_receipt: Annotated[
        str | None, typer.Option("--expect-receipt", metavar="SHA256", help="The SHA-256 that the newest receipt must have.")
    ] = None,
    map_: MapOption = None,
    allow_external: ExternalOption = None,
    versions: VersionsOption = "latest",
    key: Annotated[
        str | None, typer.Option("--key", metavar="COLUMNS", help="The columns that tell rows apart, with commas between.")
    ] = None,
    show: Annotated[
        int, typer.Option("--show", min=0, max=1000, metavar="N", help="Level rows: print up to N rows that differ, by --key.")
    ] = 0,
    workers: WorkersOption = 16,
    memory: MemoryOption = "256M",
    bwlimit: BandwidthOption = "off",
) -> int:
    """Hold a replica against its receipts, object by object; no source is needed.

    At level rows all rows are read, and held against the source's or those that the receipt states.

    One line for each object that is not right: - missing, + extra, * differs, ! could not be checked; with -v also = for each
    that is. Exit 4 for differences, 1 where something could not be checked.
    """
    with output.progress(
        json=session.json,
        log_format=session.log_format,
        verbose=session.verbose,
        signs=lambda sign: session.verbose > 0 and sign == "=",
    ) as progress:
        report = lakehouse.verify(
            target,
            against=against,
            level=level,
            format=table_format,
            expect_receipt=expect_receipt,
            maps=maps(map_),
            allow_external=allow_external or (),
            workers=workers,
            memory=memory,
            bwlimit=bwlimit,
            versions=versions,
            key=[name.strip() for name in (key or "").split(",") if name.strip()],
            show=show,
            settings=session.settings,
            progress=progress,
        )
    return _told(session, report)


def _told(session: Session, report: lakehouse.Report) -> int:
    """Print what was found, and give the exit code."""
    exit_code = exit_code_of(finding.kind for finding in report.findings)
    if session.json:
        from lakehouse_cli.schemas import VerifyDocument

        output.document(VerifyDocument.of(report, exit_code=exit_code))
        return exit_code
    for finding in report.findings:
        output.line(f"{finding.sign} {finding.path}: {finding.message}" if finding.path else f"{finding.sign} {finding.message}")
    for example in report.examples:
        _show_example(example)
    checked = f"{report.checked.files} objects, {output.size_text(report.checked.bytes)} checked"
    if report.ok:
        output.line(f"{report.target}: {report.format} version {report.version} is proven to {report.level}; {checked}")
        if report.receipt:
            output.line(f"  receipt {report.receipt}")
            output.line(f"  sha256  {report.receipt_sha256}")
    else:
        output.line(f"{report.target}: NOT proven, {len(report.findings)} object(s) are not as they must be; {checked}")
    return exit_code


def _show_example(example: lakehouse.RowExample) -> None:
    """A row that differs: only what is not the same, where both sides have it."""
    named = ", ".join(f"{name}={output.shown(value)}" for name, value in example.key.items())
    if example.source is None or example.target is None:
        output.line(f"  {named}: only at the {'target' if example.source is None else 'source'}")
        return
    target = example.target
    changed = (
        f"{name}: {output.shown(value)} -> {output.shown(target[name])}"
        for name, value in example.source.items()
        if value != target[name]
    )
    output.line(f"  {named}: {', '.join(changed)}")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "verify", example="lake verify gs://acme-eu/orders")(verify)
