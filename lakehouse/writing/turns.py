"""Turns to commit: writers of one process go to the same table one after the other, so none of them loses to another.

Writers of other processes are met at the conditional put alone. What the writer before knew of the table when it committed is
left to the next one, which looks whether it still holds before it builds on it.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar, cast
from weakref import WeakValueDictionary

from lakehouse.locations import canonical

__all__ = ["Turn", "turn_at"]

Left = TypeVar("Left")

_LOCK = threading.Lock()


class Turn(Generic[Left]):
    """The right to commit to one table: ``with turn:`` waits for it. ``left``: what the writer before knew; None where unknown.

    A thread that has the turn may take it again.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.left: Left | None = None

    def __enter__(self) -> Turn[Left]:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()


_TURNS: WeakValueDictionary[tuple[type, str], Turn[object]] = WeakValueDictionary()
"""One a table that is being written to: each lives as long as a writer holds on to it."""


def turn_at(place: str, left: type[Left]) -> Turn[Left]:
    """The turn of the table at the address ``place``, the same for all writers that leave a ``left``."""
    key = (left, canonical(place))
    with _LOCK:
        found = _TURNS.get(key)
        if found is None:
            found = _TURNS[key] = Turn()
        return cast("Turn[Left]", found)
