"""All commands of ``lake`` in one typer application."""

from __future__ import annotations

from typing import Annotated

import typer

from lakehouse.version import __version__
from lakehouse_cli import (
    check,
    config,
    demo,
    describe,
    doctor,
    feast,
    files,
    fingerprint,
    history,
    ls,
    options,
    output,
    prune,
    query,
    status,
    sync,
    verify,
)

__all__ = ["app"]

app = typer.Typer(
    name="lake",
    help="Replicate Parquet, Delta and Iceberg tables between clouds, and prove that they arrived.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not found, 4 differences, 5 conflict, 6 unsupported, "
    "7 incomplete (run again), 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        output.line(f"lake {__version__}")
        raise typer.Exit()


@app.callback()
def lake(
    context: typer.Context,
    json: options.JsonOption = False,
    config: options.ConfigOption = None,
    verbose: options.VerboseOption = 0,
    log_format: options.LogFormatOption = None,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version.")
    ] = False,
) -> None:
    """Note the options that stand before the command's name."""
    context.obj.take(json=json, config=config, verbose=verbose, log_format=log_format)


for module in (sync, verify, check, fingerprint, prune, query, status, describe, history, files, ls, doctor, config, feast, demo):
    module.register(app)
