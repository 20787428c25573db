"""Batches of one file on their way from the thread that reads it to the consumer: at most so many bytes of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Ahead"]


class Ahead:
    """A queue of batches of at most ``size`` bytes, or of one. ``result``: of the thread that fills it, with its error."""

    def __init__(self, size: int) -> None:
        self._size, self._held = size, 0
        self._given: deque[tuple[pa.RecordBatch, int]] = deque()
        self._changed = threading.Condition()
        self._finished = self._abandoned = False
        self.result: Future[None] | None = None
        _OPEN.add(self)

    def fill(self, batches: Iterator[pa.RecordBatch]) -> None:
        """Put ``batches`` in, waiting for room, until they end or nobody wants more."""
        try:
            for batch in batches:
                size = batch.nbytes
                with self._changed:
                    while not self._abandoned and self._held and self._held + size > self._size:
                        self._changed.wait()
                    if self._abandoned:
                        return
                    self._given.append((batch, size))
                    self._held += size
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._finished = True
                self._changed.notify_all()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The batches as they come; at their end the error of what filled the queue, if there was one."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._given or self._finished)
                if not self._given:
                    break
                batch, size = self._given.popleft()
                self._held -= size
                self._changed.notify_all()
            yield batch
        if self.result is not None:
            self.result.result()

    def abandon(self) -> None:
        """Let the thread that fills it end at once."""
        with self._changed:
            self._abandoned = True
            self._given.clear()
            self._changed.notify_all()


_OPEN: WeakSet[Ahead] = WeakSet()


def _abandon_all() -> None:
    for ahead in list(_OPEN):
        ahead.abandon()


# A traceback may hold a consumer that stopped until the interpreter ends, which joins the threads of pools first: this is called
# before. The standard library's pools end theirs by it too.
threading._register_atexit(_abandon_all)  # type: ignore[attr-defined]
