"""Reading large objects in ranges: some ahead of the others, hashed in order, within one limit on memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Semaphore
from types import TracebackType

from lakehouse.checksum import Hash, hasher
from lakehouse.errors import Transfer
from lakehouse.store import ObjectInfo, Store

__all__ = ["RANGE_SIZE", "SMALL_SIZE", "RangePool", "Ranges", "digests_of"]

SMALL_SIZE = 8 * 1024 * 1024
"""Objects up to this many bytes travel as one get and one put."""

RANGE_SIZE = 8 * 1024 * 1024
READ_AHEAD = 2
LARGE_AT_ONCE = 4
"""Large objects on their way at the same time; each is read, and sent, in parallel parts of its own."""


class RangePool:
    """The threads that read ranges and the limits that all large objects of a run share. A context manager."""

    def __init__(self, workers: int) -> None:
        self.threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="lake-ranges")
        self.budget = Semaphore(LARGE_AT_ONCE * READ_AHEAD)
        self.large = Semaphore(LARGE_AT_ONCE)

    def __enter__(self) -> RangePool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.threads.shutdown()

    def digests(self, store: Store, info: ObjectInfo, algorithms: Iterable[str] = ("sha256",)) -> dict[str, str]:
        """Read a whole object and give its digests by algorithm (hexadecimal)."""
        if info.size <= SMALL_SIZE:
            data = store.get(info.path, if_match=info.etag)
            if len(data) != info.size:
                raise Transfer(f"{store.url}/{info.path}: {len(data)} of {info.size} bytes were read; it changed meanwhile")
            return digests_of(data, algorithms)
        ranges = Ranges(store, info, self, algorithms)
        with self.large:
            for _ in ranges:
                pass
        return ranges.hexdigests


class Ranges:
    """The bytes of one object as an iterable of ranges, each conditional on the etag that ``info`` has.

    Iterating again reads again (a put that is tried again), and starts the hashes anew. ``hexdigests`` is complete after a
    whole iteration. Raises `Transfer` when the object changed.
    """

    def __init__(self, store: Store, info: ObjectInfo, pool: RangePool, algorithms: Iterable[str] = ("sha256",)) -> None:
        self._store, self._info, self._pool = store, info, pool
        self._algorithms = tuple(algorithms)
        self.hexdigests: dict[str, str] = {}

    def __iter__(self) -> Iterator[bytes]:
        hashes = _hashes(self._algorithms)
        starts = iter(range(0, self._info.size, RANGE_SIZE))
        ahead: deque[Future[bytes]] = deque()
        try:
            self._read_ahead(starts, ahead)
            while ahead:
                try:
                    data = ahead.popleft().result()
                finally:
                    self._pool.budget.release()
                self._read_ahead(starts, ahead)
                for made in hashes.values():
                    made.update(data)
                yield data
        finally:
            for future in ahead:
                future.cancel()
            for future in ahead:
                if not future.cancelled():
                    future.exception()
                self._pool.budget.release()
        self.hexdigests = {name: made.hexdigest() for name, made in hashes.items()}

    def _read_ahead(self, starts: Iterator[int], ahead: deque[Future[bytes]]) -> None:
        """Ask for ranges up to the window. The first waits for room in the budget, further ones only take what is free."""
        while len(ahead) < READ_AHEAD:
            if not self._pool.budget.acquire(blocking=not ahead):
                return
            start = next(starts, None)
            if start is None:
                self._pool.budget.release()
                return
            ahead.append(self._pool.threads.submit(self._range, start))

    def _range(self, start: int) -> bytes:
        end = min(start + RANGE_SIZE, self._info.size)
        data = self._store.get(self._info.path, start=start, end=end, if_match=self._info.etag)
        if len(data) != end - start:
            raise Transfer(f"{self._store.url}/{self._info.path}: the object became shorter while it was read")
        return data


def digests_of(data: bytes, algorithms: Iterable[str]) -> dict[str, str]:
    """The digests of ``data`` by algorithm; what cannot be computed here is left out, and then counts as not checked."""
    hashes = _hashes(algorithms)
    for made in hashes.values():
        made.update(data)
    return {name: made.hexdigest() for name, made in hashes.items()}


def _hashes(algorithms: Iterable[str]) -> dict[str, Hash]:
    return {name: made for name in algorithms if (made := hasher(name)) is not None}
