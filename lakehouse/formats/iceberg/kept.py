"""What is read once for many that need it, as long as there is memory for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["Kept"]

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Values by their keys, those used last, of ``limit`` bytes together. Threads that want one value wait for the first.

    The value used last stays, however large it is: what many need one after the other is never read for each.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._total = limit, 0
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._reading: dict[Hashable, tuple[Lock, int]] = {}
        self._lock = Lock()

    def get(self, key: Hashable, read: Callable[[], tuple[Value, int]]) -> Value:
        """The value of ``key``: the one that is kept, or what ``read`` gives, with its size in bytes."""
        with self._alone(key):
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key][0]
            value, size = read()
            with self._lock:
                self._values[key] = value, size
                self._total += size
                while self._total > self._limit and len(self._values) > 1:
                    _, (_, gone) = self._values.popitem(last=False)
                    self._total -= gone
            return value

    @contextmanager
    def _alone(self, key: Hashable) -> Iterator[None]:
        """One thread at a time for each key; a lock is there as long as somebody holds it or waits for it."""
        with self._lock:
            lock, wanted = self._reading.get(key, (Lock(), 0))
            self._reading[key] = lock, wanted + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, wanted = self._reading.pop(key)
                if wanted > 1:
                    self._reading[key] = lock, wanted - 1
