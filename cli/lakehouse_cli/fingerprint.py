"""``lake fingerprint``: what the rows of a table amount to."""

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
    maps,
)

__all__ = ["register"]


def fingerprint(
    session: Session,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A URL, a path, NAME:path or a dataset of lake.toml.")],
    table_format: FormatOption = None,
    version: VersionOption = None,
    snapshot: Annotated[int | None, typer.Option("--snapshot", metavar="ID", help="Iceberg: this snapshot.")] = None,
    ref: Annotated[str | None, typer.Option("--ref", metavar="NAME", help="Iceberg: this branch or tag.")] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="TIME", help="The last state not later, ISO 8601; without a zone it is UTC.")
    ] = None,
    map_: MapOption = None,
    allow_external: ExternalOption = None,
    workers: WorkersOption = 4,
) -> int:
    """Read all rows of a table; print their number and fingerprint: equal for equal rows, whatever format or files they have."""
    with output.progress(json=session.json, log_format=session.log_format, verbose=session.verbose) as progress:
        found = lakehouse.fingerprint(
            table,
            format=table_format,
            version=version,
            snapshot=snapshot,
            ref=ref,
            as_of=as_of,
            maps=maps(map_),
            allow_external=allow_external or (),
            workers=workers,
            settings=session.settings,
            progress=progress,
        )
    if session.json:
        from lakehouse_cli.schemas import FingerprintDocument

        output.document(FingerprintDocument.of(found, columns=dict(found.columns)))
        return 0
    output.line(f"{found.algorithm} {found.digest} {found.rows} rows")
    output.table(("COLUMN", "FINGERPRINT"), found.columns.items())
    return 0


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "fingerprint", example="lake fingerprint s3://acme/orders --version 41")(fingerprint)
