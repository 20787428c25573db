"""What an unfinished run had already brought over, noted in batches at the target, so that a killed run is resumed.

``pending/<n>/<run>-<k>.jsonl`` holds inventory lines of objects that were whole; ``n`` is the receipt that the run worked for.
The first note is empty and put before the first object: its presence alone says that something may lie at the target.
Notes for a receipt that has been finished are stale, and left to ``lake prune``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from lakehouse.inventory import from_line, to_line
from lakehouse.spool import Spool, records
from lakehouse.store import Store
from lakehouse.table import Written

__all__ = ["BATCH_OBJECTS", "BATCH_SECONDS", "Pending", "read_pending"]

BATCH_OBJECTS = 1000
BATCH_SECONDS = 10.0


class Pending:
    """The notes of one run, for receipt ``number``. A context manager: leaving it writes down what is left."""

    def __init__(self, store: Store, number: int, run: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._prefix, self._clock = store, f"pending/{number:020d}/{run}", clock
        self._lines: list[str] = []
        self._batches = 0
        self._since = clock()

    def __enter__(self) -> Pending:
        self._flush()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lines:
            self._flush()

    def add(self, written: Written) -> None:
        """Note an object that is whole at the target."""
        self._lines.append(to_line(written))
        if len(self._lines) >= BATCH_OBJECTS or self._clock() - self._since >= BATCH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        data = "".join(line + "\n" for line in self._lines).encode()
        self._store.put(f"{self._prefix}-{self._batches:06d}.jsonl", data, size=len(data))
        self._lines, self._batches, self._since = [], self._batches + 1, self._clock()


def read_pending(store: Store, number: int) -> Spool[Written] | None:
    """What unfinished runs for receipt ``number`` noted: the last note of a path counts. None where there was no such run."""
    noted: Spool[Written] | None = None
    for info in store.list(f"pending/{number:020d}"):
        noted = records() if noted is None else noted
        for line in store.get(info.path).split(b"\n"):
            with suppress(ValueError, TypeError):  # a line that nobody can read notes nothing
                noted.append(from_line(line))
    return noted
