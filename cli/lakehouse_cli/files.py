"""``lake files``: the files of a table."""

from __future__ import annotations

from typing import Annotated

import typer

import lakehouse
from lakehouse_cli import output
from lakehouse_cli.options import ExternalOption, FormatOption, MapOption, Session, VersionOption, command, maps

__all__ = ["register"]


def files(
    session: Session,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A URL, a path, NAME:path or a dataset of lake.toml.")],
    table_format: FormatOption = None,
    version: VersionOption = None,
    map_: MapOption = None,
    allow_external: ExternalOption = None,
) -> int:
    """List the data and delete files that a version needs; those that only its history needs are marked."""
    found = lakehouse.files(
        table,
        format=table_format,
        version=version,
        maps=maps(map_),
        allow_external=allow_external or (),
        settings=session.settings,
    )
    if session.json:
        from lakehouse_cli.schemas import FilesDocument

        output.document(FilesDocument.of(None, files=list(found)))
        return 0
    output.table(("SIZE", "LIVE", "PATH"), ((output.Size(file.size), file.required, file.path) for file in found))
    return 0


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "files", example="lake files s3://acme/orders --version 41")(files)
