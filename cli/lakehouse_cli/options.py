"""The options that every command has, and the decorator that gives them to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, get_type_hints

import typer

from lakehouse.config import Settings, load
from lakehouse.errors import Config
from lakehouse.report import UNCHECKED

__all__ = [
    "LEVEL_HELP",
    "BandwidthOption",
    "ExternalOption",
    "FormatName",
    "FormatOption",
    "Level",
    "MapOption",
    "MemoryOption",
    "Session",
    "VersionOption",
    "VersionsOption",
    "WorkersOption",
    "command",
    "exit_code_of",
    "maps",
]

Level = Literal["files", "bytes", "rows"]
FormatName = Literal["parquet", "delta", "iceberg", "files"]
LogFormat = Literal["text", "json"]

LEVEL_HELP = "How much must be proven: files (all there, right size), bytes (SHA-256 of each) or rows (read on both sides)."
VersionsOption = Annotated[
    str, typer.Option("--versions", metavar="all|latest|N", help="Level rows: of which versions of the history, newest first.")
]
FormatOption = Annotated[FormatName | None, typer.Option("--format", help="The table's format; detected when left out.")]
VersionOption = Annotated[
    str | None, typer.Option("--version", metavar="ID", help="The version: a Delta log version, an Iceberg metadata file.")
]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, max=1024, help="Objects in flight at a time.")]
MemoryOption = Annotated[
    str, typer.Option("--memory", metavar="SIZE", help="What objects in flight may take of memory, e.g. 512M; at least 128M.")
]
BandwidthOption = Annotated[
    str, typer.Option("--bwlimit", metavar="RATE", help="Bytes a second, e.g. 10M, or 10M:512k for upload:download; or off.")
]

MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="STATED=ACTUAL",
        help="Where files lie now that the metadata states elsewhere, outside the table. Repeatable.",
    ),
]
ExternalOption = Annotated[
    list[str] | None,
    typer.Option("--allow-external", metavar="PREFIX", help="Read files that the metadata states below PREFIX. Repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
ConfigOption = Annotated[str | None, typer.Option("--config", metavar="FILE", help="The lake.toml to use.")]
VerboseOption = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv: debug messages and tracebacks.")]
LogFormatOption = Annotated[LogFormat | None, typer.Option("--log-format", help="Events on stderr: text, or one JSON a line.")]
_GLOBAL = (
    inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption),
    inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=ConfigOption),
    inspect.Parameter("verbose", inspect.Parameter.KEYWORD_ONLY, default=0, annotation=VerboseOption),
    inspect.Parameter("log_format", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=LogFormatOption),
)


@dataclass
class Session:
    """One run of the command: its name and the options that every command has."""

    command: str = "lake"
    json: bool = False
    config: str | None = None
    verbose: int = 0
    log_format: LogFormat = "text"

    @cached_property
    def settings(self) -> Settings:
        """lake.toml and the environment. Raises `lakehouse.errors.Config`."""
        from lakehouse_cli import output

        settings = load(self.config)
        output.hide(settings.secrets())
        return settings

    def take(self, *, json: bool, config: str | None, verbose: int, log_format: LogFormat | None) -> None:
        """Note global options; those written after the command's name come later and win."""
        self.json = self.json or json
        self.config = config if config is not None else self.config
        self.verbose = max(self.verbose, verbose)
        self.log_format = log_format or self.log_format


def exit_code_of(kinds: Iterable[str]) -> int:
    """4 where a finding says that something is wrong, 1 where there is only what could not be checked, 0 for no findings."""
    found = set(kinds)
    return 4 if found - {UNCHECKED} else 1 if found else 0


def maps(given: list[str] | None) -> dict[str, str]:
    """The values of ``--map``. Raises `lakehouse.errors.Config` for one that is no pair."""
    pairs = [text.partition("=") for text in given or ()]
    for stated, equals, actual in pairs:
        if not (stated and equals and actual):
            raise Config(
                f"--map {stated}{equals}{actual}: write STATED=ACTUAL, the place as the metadata states it and where it is now"
            )
    return {stated: actual for stated, _, actual in pairs}


def command(app: typer.Typer, name: str, *, example: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Make a function a command of ``app``.

    Its first parameter is the `Session`, the others are the command's own; it returns the exit code. Its docstring is the help,
    below which ``example`` is shown.
    """

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        from lakehouse_cli import output

        hints = get_type_hints(function, include_extras=True)
        own = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in list(inspect.signature(function).parameters.values())[1:]
        ]

        def run(context: typer.Context, **values: Any) -> int:
            session: Session = context.obj
            session.command = context.command_path.partition(" ")[2]
            session.take(**{parameter.name: values.pop(parameter.name) for parameter in _GLOBAL})
            output.configure_logging(session.verbose, session.log_format)
            return function(session, **values)

        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        parameters = [context, *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own), *_GLOBAL]
        run.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        app.command(name, help=inspect.getdoc(function), epilog=f"Example: {example}", no_args_is_help=False)(run)
        return function

    return decorate
