"""The only module that prints: documents, tables and signs on stdout; progress, logs and errors on stderr."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Literal

from lakehouse.progress import Progress, ProgressEvent
from lakehouse.settings import masked

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn, TaskID

    from lakehouse_cli.schemas import Document

__all__ = [
    "Size",
    "configure_logging",
    "document",
    "failure",
    "hide",
    "interrupting",
    "line",
    "note",
    "progress",
    "redacted",
    "shown",
    "size_text",
    "stdout_bytes",
    "table",
]

LogFormat = Literal["text", "json"]
Cell = str | int | bool | datetime | None
EVENT_SECONDS = 1.0
"""With ``--log-format json``, at most one event in so many seconds says how far a step is."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\t")
_stdout_lock = threading.Lock()
_hidden: set[str] = set()


class Size(int):
    """A number of bytes: shown as 1.5 MB on a terminal, as it is in a pipe."""


def _printable(text: str) -> str:
    """Names come from elsewhere: control characters could do things to a terminal."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def hide(secrets: Iterable[str]) -> None:
    """Never show these texts from now on, not even in a message of somebody else's library."""
    _hidden.update(secrets)


def redacted(text: str) -> str:
    """``text`` without the secrets that are known or can be told by their form."""
    for secret in _hidden:
        text = text.replace(secret, "***")
    return str(masked("", text))


def line(text: str) -> None:
    """One line on stdout. Safe to call from worker threads."""
    with _stdout_lock:
        print(_printable(text))


def note(text: str) -> None:
    """One line for people on stderr."""
    print(_printable(redacted(text)), file=sys.stderr)


def document(value: Document) -> None:
    """The JSON document of a command. ASCII only, so that no encoding of stdout can damage it."""
    print(json.dumps(value.model_dump(mode="json"), indent=2))


def stdout_bytes() -> BinaryIO:
    """Stdout for what is already encoded (CSV). It is the writer's to flush, not to close."""
    sys.stdout.flush()
    return sys.stdout.buffer


def failure(command: str, kind: str, message: str, log_format: LogFormat, error: BaseException | None = None) -> None:
    """What went wrong, on stderr; with ``error``, its traceback before it."""
    message = redacted(message)
    if log_format == "json":
        event: dict[str, object] = {"level": "error", "event": "error", "command": command, "kind": kind, "message": message}
        if error is not None:
            event["traceback"] = redacted("".join(traceback.format_exception(error)))
        _event(event)
        return
    if error is not None:
        print(redacted("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    name = "lake" if command == "lake" else f"lake {command}"
    print("\n".join(_printable(part) for part in f"{name}: {message}".splitlines()), file=sys.stderr)


def interrupting() -> None:
    """Tell a person who pressed Ctrl-C what happens now. Called in a signal handler: nothing is buffered, no lock is taken."""
    if sys.stderr.isatty():
        os.write(2, b"\r\nfinishing what is in flight; Ctrl-C again stops at once\r\n")


def _event(values: dict[str, object]) -> None:
    print(json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **values}), file=sys.stderr)


def shown(value: object) -> str:
    """One value of a row as text: bytes in hexadecimal, what is missing as ``NULL``."""
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    return "NULL" if value is None else str(value)


def size_text(size: int) -> str:
    """A number of bytes as people say it (powers of 1000)."""
    value = float(size)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000:
            return f"{size} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} PB"


def _cell(value: Cell, *, people: bool) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Size):
        return size_text(value) if people else str(int(value))
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return _printable(str(value))


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Aligned columns on a terminal; in a pipe one line a row with tabs between, as rows come."""
    if not sys.stdout.isatty():
        rows = iter(rows)
        first = next(rows, None)  # what fails, fails before anything is printed
        print("\t".join(columns))
        for row in chain([first] if first is not None else [], rows):
            print("\t".join(_cell(value, people=False) for value in row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(_cell(value, people=True)) for value in row))
    Console(highlight=False).print(shown)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": "log",
            "logger": record.name,
            "message": redacted(record.getMessage()),
        }
        return json.dumps(event)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _printable(redacted(f"{record.levelname.lower()}: {record.getMessage()}"))


class _Handler(logging.Handler):
    """Writes to what stderr is now: while bars are shown, rich puts the line above them."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def configure_logging(verbose: int, log_format: LogFormat) -> None:
    """Show what the library logs, and nobody else: the SDKs' debug logs hold signed requests."""
    handler = _Handler()
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    for name in ("lakehouse", "lakehouse_connectors", "lakehouse_cli"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])


@contextmanager
def progress(
    *, json: bool, log_format: LogFormat, signs: Callable[[str], bool] | None = None, verbose: int = 0
) -> Iterator[Progress]:
    """A callback that shows progress on stderr: bars on a terminal, events with ``--log-format json``, else nothing.

    ``signs`` says which of the lines "<sign> <path>" of the verify step are printed on stdout.
    """
    shows: list[Progress] = []
    if signs is not None and not json:
        shows.append(_signs(signs))
    if log_format == "json":
        shows.append(_Events(verbose))
    elif verbose:
        shows.append(_say_step)
    with _bars() if _wants_bars(json, log_format) else nullcontext() as bars:
        if bars is not None:
            shows.append(bars)

        def show_all(event: ProgressEvent) -> None:
            for show in shows:
                show(event)

        yield show_all


def _wants_bars(json: bool, log_format: LogFormat) -> bool:
    quiet = json or log_format == "json" or os.environ.get("CI", "").lower() == "true" or os.environ.get("NO_COLOR")
    return sys.stderr.isatty() and not quiet


def _say_step(event: ProgressEvent) -> None:
    """What a step is about to do, for ``-v``."""
    if event.total_objects is not None:
        note(f"info: {event.step}: {event.total_objects} objects, {size_text(event.total_bytes or 0)}")
    elif event.message and event.step != "verify":
        note(f"info: {event.step}: {event.message}")


def _signs(wanted: Callable[[str], bool]) -> Progress:
    def show(event: ProgressEvent) -> None:
        if event.step == "verify" and event.message and wanted(event.message[:1]):
            line(event.message)

    return show


class _Events:
    """Progress as one JSON object a line: each step's beginning, and how far it is once in a while."""

    def __init__(self, verbose: int) -> None:
        self._verbose = verbose
        self._lock = threading.Lock()
        self._done: dict[str, tuple[int, int]] = {}
        self._last = time.monotonic()

    def __call__(self, event: ProgressEvent) -> None:
        with self._lock:
            objects, size = self._done.get(event.step, (0, 0))
            self._done[event.step] = (objects + event.objects, size + event.size)
            opens = event.total_objects is not None or event.step not in ("transfer", "verify")
            if not opens and not self._verbose and time.monotonic() - self._last < EVENT_SECONDS:
                return
            self._last = time.monotonic()
            values: dict[str, object] = {"level": "info", "event": "progress", "step": event.step}
            if event.total_objects is not None:
                values |= {"total_objects": event.total_objects, "total_bytes": event.total_bytes}
            values["objects"], values["bytes"] = self._done[event.step]
            if event.message:
                values["message"] = redacted(event.message)
            _event(values)


@contextmanager
def _bars() -> Iterator[Progress]:
    """One bar a step: bytes, objects, rate and time left."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as RichProgress

    columns: list[ProgressColumn] = [
        TextColumn("{task.description:<9}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[objects]}/{task.fields[total_objects]} objects"),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    ]
    # Lines on stdout go through rich while a bar is shown, but only where both are the same terminal.
    with RichProgress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty(), redirect_stderr=True
    ) as shown:
        yield _Bars(shown)


class _Bars:
    def __init__(self, shown: RichProgress) -> None:
        self._shown = shown
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._objects: dict[str, int] = {}

    def __call__(self, event: ProgressEvent) -> None:
        with self._lock:
            if event.step not in self._tasks:
                for earlier in self._shown.tasks:  # a step without a known amount of work is over when the next begins
                    self._shown.update(earlier.id, visible=earlier.total is not None)
                self._tasks[event.step] = self._shown.add_task(event.step, total=None, objects=0, total_objects="?")
            task = self._tasks[event.step]
            if event.total_objects is not None:
                self._shown.update(task, total=event.total_bytes, total_objects=event.total_objects)
            self._objects[event.step] = self._objects.get(event.step, 0) + event.objects
            self._shown.update(task, advance=event.size, objects=self._objects[event.step])
