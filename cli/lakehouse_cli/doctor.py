"""``lake doctor``: does everything that a sync needs work here?"""

from __future__ import annotations

from typing import Annotated

import typer

import lakehouse
from lakehouse_cli import output
from lakehouse_cli.options import Session, command

__all__ = ["register"]

_WORDS = {True: "ok", False: "FAILED", None: "unknown"}


def doctor(
    session: Session,
    store: Annotated[
        str | None, typer.Argument(metavar="[STORE]", help="A store of lake.toml or a place; all stores when left out.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Also write below _lake-doctor/ (and remove it): puts, conditions, clock.")
    ] = False,
) -> int:
    """Check versions, configuration and, for every store, credentials, listing and reading.

    With --write also puts and their conditions. Exit 1 unless every check is known to be right.
    """
    diagnosis = lakehouse.doctor(store, write=write, settings=session.settings)
    exit_code = 0 if diagnosis.ok else 1
    if session.json:
        from lakehouse_cli.schemas import DoctorDocument

        output.document(DoctorDocument.of(diagnosis, exit_code=exit_code))
        return exit_code
    output.table(("SOFTWARE", "VERSION"), [(name, version or "not installed") for name, version in diagnosis.versions.items()])
    output.line(f"configuration: {diagnosis.config or 'no lake.toml was found'}")
    for warning in diagnosis.warnings:
        output.line(f"warning: {warning}")
    if diagnosis.checks:
        output.table(
            ("STORE", "CHECK", "RESULT", "DETAIL"),
            [(check.store, check.name, _WORDS[check.ok], check.detail or None) for check in diagnosis.checks],
        )
    return exit_code


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "doctor", example="lake doctor minio --write")(doctor)
