"""``lake check``: whether one table is whole."""

from __future__ import annotations

from typing import Annotated

import typer

import lakehouse
from lakehouse_cli import output
from lakehouse_cli.options import (
    ExternalOption,
    FormatOption,
    MapOption,
    Session,
    VersionOption,
    WorkersOption,
    command,
    exit_code_of,
    maps,
)

__all__ = ["register"]


def check(
    session: Session,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="The table: a URL, a path or NAME:path.")],
    deep: Annotated[bool, typer.Option("--deep", help="Read every page of every data file, not only the footers.")] = False,
    version: VersionOption = None,
    table_format: FormatOption = None,
    map_: MapOption = None,
    allow_external: ExternalOption = None,
    workers: WorkersOption = 16,
) -> int:
    """Look whether a table is whole: every file that its versions need is there and opens, and its metadata agrees.

    Nothing but the table is needed. One line for each thing that is wrong: - missing, + twice, * not what it must be, ! could not
    be checked; with -v also = for each object that is right. Exit 4 for what is wrong, 1 where something could not be checked.
    """
    with output.progress(
        json=session.json,
        log_format=session.log_format,
        verbose=session.verbose,
        signs=lambda sign: session.verbose > 0 and sign == "=",
    ) as progress:
        report = lakehouse.check(
            table,
            deep=deep,
            format=table_format,
            version=version,
            allow_external=allow_external or (),
            maps=maps(map_),
            workers=workers,
            settings=session.settings,
            progress=progress,
        )
    exit_code = exit_code_of(finding.kind for finding in report.findings)
    if session.json:
        from lakehouse_cli.schemas import CheckDocument

        output.document(CheckDocument.of(report, exit_code=exit_code))
        return exit_code
    for finding in report.findings:
        output.line(f"{finding.sign} {finding.path or report.place}: {finding.kind}: {finding.message}")
    looked = f"{report.objects} objects looked at" + (", every page read" if deep else "")
    if report.ok:
        output.line(f"{report.place}: {report.format} version {report.version} is whole; {looked}")
    else:
        output.line(f"{report.place}: NOT whole, {len(report.findings)} finding(s); {looked}")
    return exit_code


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "check", example="lake check s3://acme/orders")(check)
