"""``lake config show``: the settings in force."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lakehouse_cli import output
from lakehouse_cli.options import Session, command

__all__ = ["register"]


def show(
    session: Session,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
) -> int:
    """Show the settings in force: lake.toml with the environment's overrides. Secrets are masked."""
    settings = session.settings
    entries = list(settings.entries())
    if session.json:
        from lakehouse_cli.schemas import ConfigDocument, SettingModel

        rows = [SettingModel(key=key, value=value, origin=where) for key, value, where in entries]
        output.document(ConfigDocument.of(None, path=str(settings.path) if settings.path else None, settings=rows))
        return 0
    if settings.path is None:
        output.note("no lake.toml was found")
    columns = ("KEY", "VALUE", "ORIGIN") if origin else ("KEY", "VALUE")
    output.table(
        columns,
        [
            (key, value if isinstance(value, str) else json.dumps(value, default=str), where)[: len(columns)]
            for key, value, where in entries
        ],
    )
    for warning in settings.warnings():
        output.note(f"warning: {warning}")
    return 0


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    group = typer.Typer(help="Look at the configuration.", no_args_is_help=True)
    command(group, "show", example="lake config show --origin")(show)
    app.add_typer(group, name="config")
