"""What is read once for many that need it, as long as there is memory for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["Kept"]

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Values by their keys, those used last, of ``limit`` bytes together. Threads that want one value wait for the first.

    A value that is larger than all that may be kept is read anew for each.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._total = limit, 0
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._locks: dict[Hashable, Lock] = {}
        self._lock = Lock()

    def get(self, key: Hashable, read: Callable[[], tuple[Value, int]]) -> Value:
        """The value of ``key``: the one that is kept, or what ``read`` gives, with its size in bytes."""
        with self._lock:
            alone = self._locks.setdefault(key, Lock())
        with alone:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key][0]
            value, size = read()
            with self._lock:
                self._values[key] = value, size
                self._total += size
                while self._total > self._limit:
                    _, (_, gone) = self._values.popitem(last=False)
                    self._total -= gone
            return value
