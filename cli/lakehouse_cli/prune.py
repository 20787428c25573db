"""``lake prune``: remove from a replica what nothing needs."""

from __future__ import annotations

from typing import Annotated

import typer

import lakehouse
from lakehouse_cli import output
from lakehouse_cli.options import FormatOption, Session, WorkersOption, command

__all__ = ["register"]


def prune(
    session: Session,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The replica: a URL, a path or NAME:path.")],
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Keep whole what was the newest version since: 7d, 12h, 0.")
    ] = "7d",
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only say what would go.")] = False,
    table_format: FormatOption = None,
    workers: WorkersOption = 16,
) -> int:
    """Remove from a replica what no version of it needs any more, and the receipts and notes that nothing needs.

    Only what a sync wrote, and nobody changed since, is removed: roots first, data files last, with a receipt of its own. One
    line for each object: - goes, ! was changed by somebody else and stays.
    """
    with output.progress(json=session.json, log_format=session.log_format, verbose=session.verbose) as progress:
        result = lakehouse.prune(
            target,
            older_than=older_than,
            yes=yes,
            format=table_format,
            workers=workers,
            settings=session.settings,
            progress=progress,
        )
    if session.json:
        from lakehouse_cli.schemas import PruneDocument

        output.document(PruneDocument.of(result))
        return 0
    for written in result.paths:
        output.line(f"- {written.path}")
    for path in result.changed:
        output.line(f"! {path}: somebody changed it; it stays")
    ours = f"{result.receipts} receipts and {result.notes} notes of ours"
    what = f"{result.objects.files} objects, {output.size_text(result.objects.bytes)}; {ours}"
    if result.dry_run:
        output.line(f"{result.target}: would remove {what}; --yes does it")
    else:
        output.line(f"{result.target}: removed {what}")
    if result.kept_for_readers:
        output.line(f"  older versions kept for readers: {', '.join(result.kept_for_readers)}")
    if result.receipt:
        output.line(f"  receipt {result.receipt}")
        output.line(f"  sha256  {result.receipt_sha256}")
    return 0


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "prune", example="lake prune gs://acme-eu/orders --older-than 30d --yes")(prune)
