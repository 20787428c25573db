"""A limit on memory that all transfers of a run share, whatever the sizes of their objects."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from lakehouse import size_suffix
from lakehouse.errors import Config
from lakehouse.parallel import wait_for

__all__ = ["DEFAULT_BYTES", "LEAST_BYTES", "Memory", "memory_of"]

DEFAULT_BYTES = 256 << 20
LEAST_BYTES = 128 << 20
"""One large object on its way takes nearly as much, see `lakehouse.ranges`."""


def memory_of(text: str) -> int:
    """The limit in bytes that ``text`` states as rclone writes sizes (``256M``). Raises `Config` for what is none, or too low."""
    size = size_suffix.parse(text)
    if size is None or math.isinf(size):
        raise Config(f"memory limit {text!r}: write e.g. 256M or 1G")
    Memory(int(size))
    return int(size)


class Memory:
    """``size`` bytes, taken before something is read and given back when it has been sent, in the order of asking.

    What is larger than the whole is let in alone. Waiting ends as `lakehouse.parallel.wait_for` says. Raises `Config` for less
    than `LEAST_BYTES`.
    """

    def __init__(self, size: int = DEFAULT_BYTES) -> None:
        if size < LEAST_BYTES:
            raise Config(f"a limit of {size} bytes on memory is too low: at least {LEAST_BYTES >> 20}M are needed")
        self._size = self._free = size
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, threading.Event]] = deque()

    @contextmanager
    def taking(self, size: int) -> Iterator[None]:
        """Hold ``size`` bytes, waiting for them if need be."""
        self.take(size)
        try:
            yield
        finally:
            self.give(size)

    def take(self, size: int) -> None:
        """Wait until ``size`` bytes are free, and take them. To be given back by `give`."""
        size = min(size, self._size)
        with self._lock:
            if not self._waiting and size <= self._free:
                self._free -= size
                return
            admitted = threading.Event()
            self._waiting.append((size, admitted))
        try:
            wait_for(admitted)
        except BaseException:
            with self._lock:
                if admitted.is_set():
                    self._free += size
                else:
                    self._waiting.remove((size, admitted))
                self._admit()
            raise

    def take_now(self, size: int) -> bool:
        """Take ``size`` bytes if they are free and nobody waits for some; else False."""
        with self._lock:
            if self._waiting or size > self._free:
                return False
            self._free -= size
            return True

    def give(self, size: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._free += min(size, self._size)
            self._admit()

    def _admit(self) -> None:
        """Let those in who wait, in order. The lock is held."""
        while self._waiting and self._waiting[0][0] <= self._free:
            size, admitted = self._waiting.popleft()
            self._free -= size
            admitted.set()
