"""Reading objects whole or in ranges: some ahead of the others, hashed in order, within one limit on memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from types import TracebackType

from lakehouse.checksum import Hash, hasher
from lakehouse.errors import Transfer
from lakehouse.memory import DEFAULT_BYTES, Memory
from lakehouse.parallel import threads
from lakehouse.sized import PARTS_IN_FLIGHT, part_size
from lakehouse.store import ObjectInfo, Store

__all__ = ["RANGE_SIZE", "SMALL_SIZE", "Limits", "RangePool", "Ranges", "digests_of"]

SMALL_SIZE = 8 * 1024 * 1024
"""Objects up to this many bytes travel as one get and one put."""

RANGE_SIZE = 8 * 1024 * 1024
LEAST_AHEAD = 2
MOST_AHEAD = 8
"""Ranges of one object that are asked for before they are needed: the first two always, more while memory is free."""

SLACK = 2
"""Memory that a buffer costs, in its own size: allocators keep about as much again in the arenas of many threads."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may have in flight: ``workers`` objects, which hold at most ``memory`` bytes."""

    workers: int = 16
    memory: int = DEFAULT_BYTES


class RangePool:
    """The threads that read ranges and the memory that all objects of a run share. A context manager.

    ``stop`` is set when the run is given up.
    """

    def __init__(self, limits: Limits) -> None:
        self.memory, self.stop = Memory(limits.memory), Event()
        self.threads = threads(max(limits.workers, LEAST_AHEAD), self.stop, "lake-ranges")

    def __enter__(self) -> RangePool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self.stop.set()
        self.threads.shutdown()

    def go_on(self) -> None:
        """Raise `Transfer` once the run is given up: the rest of a large object might take hours."""
        if self.stop.is_set():
            raise Transfer("interrupted while a large object was on its way; run again to complete")

    @contextmanager
    def small(self, size: int) -> Iterator[None]:
        """Hold the memory of one object of ``size`` bytes that is read whole."""
        with self.memory.taking(SLACK * size):
            yield

    @contextmanager
    def large(self, size: int, *, sent: bool) -> Iterator[None]:
        """Hold the memory of one object that is read in ranges (some ahead, one hashed, one handed on) and ``sent`` in parts."""
        buffers = (LEAST_AHEAD + 2) * RANGE_SIZE + (PARTS_IN_FLIGHT * part_size(size) if sent else 0)
        with self.memory.taking(SLACK * buffers):
            yield

    def digests(self, store: Store, info: ObjectInfo, algorithms: Iterable[str] = ("sha256",)) -> dict[str, str]:
        """Read a whole object and give its digests by algorithm (hexadecimal)."""
        if info.size <= SMALL_SIZE:
            with self.small(info.size):
                data = store.view(info.path, if_match=info.etag)
                if len(data) != info.size:
                    raise Transfer(f"{store.url}/{info.path}: {len(data)} of {info.size} bytes were read; it changed meanwhile")
                return digests_of(data, algorithms)
        ranges = Ranges(store, info, self, algorithms)
        with self.large(info.size, sent=False):
            for _ in ranges:
                pass
        return ranges.hexdigests


class Ranges:
    """The bytes of one object as an iterable of ranges, each conditional on the etag that ``info`` has.

    Whoever iterates holds `RangePool.large`. Iterating again reads again (a put that is tried again), and starts the hashes
    anew. ``hexdigests`` is complete after a whole iteration. Raises `Transfer` when the object changed.
    """

    def __init__(self, store: Store, info: ObjectInfo, pool: RangePool, algorithms: Iterable[str] = ("sha256",)) -> None:
        self._store, self._info, self._pool = store, info, pool
        self._algorithms = tuple(algorithms)
        self.hexdigests: dict[str, str] = {}

    def __iter__(self) -> Iterator[memoryview]:
        hashes = _hashes(self._algorithms)
        starts = iter(range(0, self._info.size, RANGE_SIZE))
        ahead: deque[_Range] = deque()
        try:
            while True:
                self._read_ahead(starts, ahead)
                if not ahead:
                    break
                data = ahead[0].result()
                self._pool.go_on()
                ahead.popleft().done()
                self._read_ahead(starts, ahead)
                for made in hashes.values():
                    made.update(data)
                yield data
        finally:
            for late in ahead:
                late.cancel()
        self.hexdigests = {name: made.hexdigest() for name, made in hashes.items()}

    def _read_ahead(self, starts: Iterator[int], ahead: deque[_Range]) -> None:
        """Ask for ranges up to the window: the first ones are paid for, further ones take memory that nobody needs."""
        while len(ahead) < MOST_AHEAD:
            extra = SLACK * RANGE_SIZE if len(ahead) >= LEAST_AHEAD else 0
            if extra and not self._pool.memory.take_now(extra):
                return
            start = next(starts, None)
            if start is None:
                self._pool.memory.give(extra)
                return
            ahead.append(_Range(self._pool.threads.submit(self._range, start), self._pool.memory, extra))

    def _range(self, start: int) -> memoryview:
        self._pool.go_on()
        end = min(start + RANGE_SIZE, self._info.size)
        data = self._store.view(self._info.path, start=start, end=end, if_match=self._info.etag)
        if len(data) != end - start:
            raise Transfer(f"{self._store.url}/{self._info.path}: the object became shorter while it was read")
        return data


class _Range:
    """A range on its way, and the memory that it holds beyond what its object has."""

    def __init__(self, future: Future[memoryview], memory: Memory, extra: int) -> None:
        self._future, self._memory, self._extra = future, memory, extra

    def result(self) -> memoryview:
        return self._future.result()

    def done(self) -> None:
        self._memory.give(self._extra)

    def cancel(self) -> None:
        """Give it up: what has begun is waited for."""
        if not self._future.cancel():
            self._future.exception()
        self.done()


def digests_of(data: bytes | memoryview, algorithms: Iterable[str]) -> dict[str, str]:
    """The digests of ``data`` by algorithm; what cannot be computed here is left out, and then counts as not checked."""
    hashes = _hashes(algorithms)
    for made in hashes.values():
        made.update(data)
    return {name: made.hexdigest() for name, made in hashes.items()}


def _hashes(algorithms: Iterable[str]) -> dict[str, Hash]:
    return {name: made for name in algorithms if (made := hasher(name)) is not None}
