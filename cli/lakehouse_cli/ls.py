"""``lake ls``: what lies at a place."""

from __future__ import annotations

from typing import Annotated

import typer

import lakehouse
from lakehouse_cli import output
from lakehouse_cli.options import Session, command

__all__ = ["register"]


def ls(session: Session, place: Annotated[str, typer.Argument(metavar="PLACE", help="A URL, a path or NAME:path.")]) -> int:
    """List one level of a place: objects with their sizes, and folders, which end in a slash."""
    found = lakehouse.ls(place, settings=session.settings)
    if session.json:
        from lakehouse_cli.schemas import LsDocument

        output.document(LsDocument.of(None, objects=list(found)))
        return 0
    output.table(
        ("SIZE", "MODIFIED", "PATH"),
        ((None if item.path.endswith("/") else output.Size(item.size), item.modified, item.path) for item in found),
    )
    return 0


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "ls", example="lake ls minio:features")(ls)
