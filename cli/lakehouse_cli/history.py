"""``lake history``: the versions of a table."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

import lakehouse
from lakehouse_cli import output
from lakehouse_cli.options import FormatOption, Session, VersionOption, command

__all__ = ["register"]


def history(
    session: Session,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A URL, a path, NAME:path or a dataset of lake.toml.")],
    table_format: FormatOption = None,
    version: VersionOption = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only so many, the newest.")] = None,
) -> int:
    """List the commits that a table still remembers, newest first."""
    commits = islice(lakehouse.history(table, format=table_format, version=version, settings=session.settings), limit)
    if session.json:
        from lakehouse_cli.schemas import HistoryDocument

        output.document(HistoryDocument.of(None, commits=list(commits)))
        return 0
    output.table(
        ("VERSION", "COMMITTED AT", "OPERATION", "DETAILS"),
        (
            (
                commit.version,
                commit.committed_at,
                commit.operation,
                ", ".join(f"{key}={value}" for key, value in commit.details.items()),
            )
            for commit in commits
        ),
    )
    return 0


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "history", example="lake history s3://acme/orders --limit 10")(history)
