"""``lake feast check``: whether the lake has what the feature views of a Feast repository name."""

from __future__ import annotations

import importlib.metadata
from datetime import datetime, timedelta
from typing import Annotated

import typer

from lakehouse.errors import Config
from lakehouse.feature_report import GROUP, FeatureCheck, ViewReport
from lakehouse_cli import output
from lakehouse_cli.options import Session, command, exit_code_of

__all__ = ["register"]


def check(
    session: Session,
    repository: Annotated[str, typer.Argument(metavar="REPO", help="The folder of feature_store.yaml.")] = ".",
    skip_replicas: Annotated[
        bool, typer.Option("--skip-replicas", help="Do not read datasets and their replicas whole to compare them.")
    ] = False,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Count each ttl from this time (ISO 8601) instead of now.")
    ] = None,
) -> int:
    """Look, for every feature view that was applied, whether its dataset has the columns and types that the view names, rows
    within its ttl, and replicas that hold the same rows.

    One line for each thing that is wrong: - missing, * not what it must be, ! could not be checked. Exit 4 for what is wrong, 1
    where something could not be checked.
    """
    moment = None if at is None else _time(at)
    settings = session.settings if session.config is not None else None
    found = _feature_check()
    with output.progress(json=session.json, log_format=session.log_format, verbose=session.verbose) as progress:
        report = found(repository, replicas=not skip_replicas, at=moment, settings=settings, progress=progress)
    exit_code = exit_code_of(finding.kind for finding in report.findings)
    if session.json:
        from lakehouse_cli.schemas import FeastCheckDocument

        output.document(FeastCheckDocument.of(report, exit_code=exit_code, replicas_compared=not skip_replicas))
        return exit_code
    output.table(
        ("VIEW", "DATASET", "NEWEST EVENT", "TTL", "ROWS WITHIN TTL", "REPLICAS", "RESULT"),
        [
            (
                *(view.view, view.dataset, view.newest_event_at),
                None if view.ttl_seconds is None else str(timedelta(seconds=view.ttl_seconds)),
                *(view.rows, _replicas(view), _result(view)),
            )
            for view in report.views
        ],
    )
    for finding in report.findings:
        output.line(f"{finding.sign} {finding.path}: {finding.kind}: {finding.message}")
    return exit_code


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Config(f"--at {text}: is no time; write ISO 8601, such as 2024-02-29T12:00:00Z") from None


def _feature_check() -> FeatureCheck:
    """What looks at a Feast repository. Raises `Config` where Feast is not installed."""
    entries = importlib.metadata.entry_points(group=GROUP, name="check")
    try:
        for entry in entries:
            found: FeatureCheck = entry.load()
            return found
    except ImportError as error:
        raise Config(f"Feast cannot be imported ({error}); pip install 'lakehouse-portability[feast]'") from error
    raise Config(f"no installed package brings the entry point check of the group {GROUP}; install lakehouse-portability anew")


def _replicas(view: ViewReport) -> str | None:
    if not view.replicas:
        return None
    return f"{sum(replica.agrees is True for replica in view.replicas)} of {len(view.replicas)} agree"


def _result(view: ViewReport) -> str:
    return ", ".join(dict.fromkeys(finding.kind for finding in view.findings)) or "ok"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    group = typer.Typer(help="Feature stores over the lake.", no_args_is_help=True)
    command(group, "check", example="lake feast check feature_repo")(check)
    app.add_typer(group, name="feast")
