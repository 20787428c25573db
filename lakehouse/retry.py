"""The only retry loop: a Store that tries again, wrapped around one that does not.

Answers that ask for patience (a `Transfer` with ``retry_after``) slow all threads of one store down, not only the one that
heard them.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from lakehouse.errors import Conflict, NotFound, Transfer
from lakehouse.store import ObjectInfo, Store, Traits

__all__ = ["RetryingStore"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 20.0


class RetryingStore:
    """``store`` with transient failures tried again, up to ``attempts`` times and ``deadline_seconds`` for one call.

    A listing that fails in the middle goes on after the last name that it gave, as long as names came in order.
    A put of a one-shot iterator is not tried again. When the answer to ``put(if_absent=True)`` was lost, the object is read back:
    equal bytes are success, other bytes a `Conflict`.

    ``clock``, ``sleep`` and ``jitter`` (a number in [0, 1)) stand in for time and chance in tests.
    """

    def __init__(
        self,
        store: Store,
        *,
        attempts: int = 8,
        deadline_seconds: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._attempts, self._deadline = store, attempts, deadline_seconds
        self._clock, self._sleep, self._jitter = clock, sleep, jitter
        self._lock = threading.Lock()
        self._quiet_until = 0.0

    def __repr__(self) -> str:
        return f"RetryingStore({self._store!r})"

    @property
    def inner(self) -> Store:
        """The store that is wrapped."""
        return self._store

    @property
    def url(self) -> str:
        return self._store.url

    @property
    def traits(self) -> Traits:
        return self._store.traits

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        last, in_order = after, True
        patience = _Patience(self)
        while True:
            self._wait_until_quiet()
            try:
                for info in self._store.list(prefix, after=last, recursive=recursive):
                    in_order = in_order and (last is None or info.path > last)
                    last = info.path
                    patience.tried = 0
                    yield info
                return
            except Transfer as error:
                if not in_order:
                    raise
                patience.pause(error)

    def head(self, path: str) -> ObjectInfo:
        return self._again(lambda: self._store.head(path))

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        return self._again(lambda: self._store.get(path, start=start, end=end, if_match=if_match))

    def put(self, path: str, data: bytes | Iterable[bytes], *, size: int, if_absent: bool = False) -> ObjectInfo:
        if isinstance(data, Iterator):
            self._wait_until_quiet()
            return self._store.put(path, data, size=size, if_absent=if_absent)
        if if_absent:
            return self._put_if_absent(path, data, size)
        return self._again(lambda: self._store.put(path, data, size=size))

    def delete(self, path: str) -> None:
        self._again(lambda: self._store.delete(path))

    def _put_if_absent(self, path: str, data: bytes | Iterable[bytes], size: int) -> ObjectInfo:
        patience = _Patience(self)
        while True:
            self._wait_until_quiet()
            try:
                return self._store.put(path, data, size=size, if_absent=True)
            except Conflict:
                if not patience.tried:
                    raise
                return self._settled(path, data)
            except Transfer as error:
                try:
                    patience.pause(error)
                except Transfer:
                    if not error.transient:
                        raise
                    return self._settled_at_last(path, data, error)

    def _settled(self, path: str, data: bytes | Iterable[bytes]) -> ObjectInfo:
        """The object is there and an earlier try may have written it: equal bytes mean that it did (or might as well have)."""
        info = self.head(path)
        if self.get(path, if_match=info.etag if self.traits.conditional_get else None) == _joined(data):
            return info
        raise Conflict(f"{self.url}/{path}: exists already with other bytes; it has not been overwritten")

    def _settled_at_last(self, path: str, data: bytes | Iterable[bytes], error: Transfer) -> ObjectInfo:
        """The last try failed without a clear answer: one look whether it arrived all the same."""
        try:
            info = self._store.head(path)
            if self._store.get(path) == _joined(data):
                return info
        except (NotFound, Transfer):
            raise error from None
        raise Conflict(f"{self.url}/{path}: exists already with other bytes; it has not been overwritten")

    def _again(self, call: Callable[[], T]) -> T:
        patience = _Patience(self)
        while True:
            self._wait_until_quiet()
            try:
                return call()
            except Transfer as error:
                patience.pause(error)

    def _wait_until_quiet(self) -> None:
        """Wait while the store has asked all of us for patience."""
        while True:
            with self._lock:
                left = self._quiet_until - self._clock()
            if left <= 0:
                return
            self._sleep(left)

    def _slow_down(self, seconds: float) -> None:
        with self._lock:
            self._quiet_until = max(self._quiet_until, self._clock() + seconds)


class _Patience:
    """How often and how long one call has been tried."""

    def __init__(self, store: RetryingStore) -> None:
        self._store = store
        self._began = store._clock()
        self.tried = 0

    def pause(self, error: Transfer) -> None:
        """Wait before the next try, or raise ``error`` when there is none."""
        self.tried += 1
        store = self._store
        if not error.transient:
            raise error
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (self.tried - 1))
        pause = longest * (0.5 + store._jitter() / 2)
        if error.retry_after is not None:
            pause = max(pause, error.retry_after)
            store._slow_down(pause)
        if self.tried >= store._attempts or store._clock() + pause - self._began > store._deadline:
            raise error
        logger.debug("%s; trying again in %.1f s (try %d)", error, pause, self.tried + 1)
        if error.retry_after is None:
            store._sleep(pause)
        else:
            store._wait_until_quiet()


def _joined(data: bytes | Iterable[bytes]) -> bytes:
    return bytes(data) if isinstance(data, bytes | bytearray | memoryview) else b"".join(data)
