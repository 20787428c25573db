"""Objects in ranges: hashed in order, a few ahead, and whatever happens all memory comes back."""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections.abc import Callable

import pytest

from lakehouse.checksum import sha256_hex
from lakehouse.connect import open_at
from lakehouse.errors import Transfer
from lakehouse.memory import LEAST_BYTES
from lakehouse.ranges import MOST_AHEAD, RANGE_SIZE, SMALL_SIZE, Limits, RangePool, Ranges, digests_of
from lakehouse.store import Store
from lakehouse.testing.faulty_store import Faults, FaultyStore, InjectedFault
from lakehouse.url import parse

BLOCK = os.urandom(4096)
PATIENCE_SECONDS = 30.0


def object_of(size: int) -> bytes:
    return (BLOCK * (size // len(BLOCK) + 1))[:size]


LARGE = object_of(12 * RANGE_SIZE + 7)


@pytest.fixture
def store() -> Store:
    return open_at(parse(f"memory://{uuid.uuid4().hex}"), None)


def put(store: Store, data: bytes) -> None:
    store.put("x", data, size=len(data))


def assert_all_is_free(pool: RangePool) -> None:
    assert pool.memory.take_now(pool.memory._size), f"{pool.memory._size - pool.memory._free} bytes are missing"
    pool.memory.give(pool.memory._size)


class Watched(FaultyStore):
    """Counts the ranges that are being read, and waits where it is told to."""

    def __init__(self, store: Store, faults: Faults | None = None, wait: Callable[[int], None] = lambda start: None) -> None:
        super().__init__(store, faults or Faults())
        self._wait, self._lock = wait, threading.Lock()
        self.starts: list[int] = []

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        with self._lock:
            self.starts.append(start)
        self._wait(start)
        return super().get(path, start=start, end=end, if_match=if_match)


@pytest.mark.parametrize("size", [0, 1, RANGE_SIZE - 1, RANGE_SIZE, RANGE_SIZE + 1, 2 * RANGE_SIZE, 3 * RANGE_SIZE + 5])
def test_the_ranges_are_the_object_in_order_and_the_digests_its_own(store: Store, size: int) -> None:
    data = object_of(size)
    put(store, data)
    with RangePool(Limits(4)) as pool:
        ranges = Ranges(store, store.head("x"), pool, ("sha256", "md5"))
        parts = [bytes(part) for part in ranges]
        assert b"".join(parts) == data
        assert [len(part) for part in parts[:-1]] == [RANGE_SIZE] * (len(parts) - 1)
        assert ranges.hexdigests == {"sha256": sha256_hex(data), "md5": hashlib.md5(data).hexdigest()}
        assert pool.digests(store, store.head("x")) == {"sha256": sha256_hex(data)}
        assert_all_is_free(pool)


def test_iterating_again_reads_again_and_hashes_anew(store: Store) -> None:
    put(store, LARGE)
    with RangePool(Limits(4)) as pool:
        ranges = Ranges(store, store.head("x"), pool)
        next(iter(ranges))
        assert sum(len(part) for part in ranges) == len(LARGE)
        assert ranges.hexdigests == {"sha256": sha256_hex(LARGE)}
        assert_all_is_free(pool)


@pytest.mark.parametrize("taken", [1, 2, 5, 12])
def test_all_memory_comes_back_when_an_iteration_ends_early(store: Store, taken: int) -> None:
    put(store, LARGE)
    with RangePool(Limits(4)) as pool:
        parts = iter(Ranges(store, store.head("x"), pool))
        for _ in range(taken):
            next(parts)
        parts.close()  # type: ignore[attr-defined]
        assert_all_is_free(pool)


@pytest.mark.parametrize("fail_at", range(2, 15))
def test_all_memory_comes_back_when_a_range_cannot_be_read(store: Store, fail_at: int) -> None:
    put(store, LARGE)
    faulty = FaultyStore(store, Faults(fail_at=fail_at))
    with RangePool(Limits(4)) as pool:
        ranges = Ranges(faulty, faulty.head("x"), pool)
        with pytest.raises(InjectedFault), pool.large(len(LARGE), sent=True):
            list(ranges)
        assert ranges.hexdigests == {}
        assert_all_is_free(pool)


def test_all_memory_comes_back_when_whoever_takes_the_ranges_fails(store: Store) -> None:
    put(store, LARGE)
    with RangePool(Limits(4)) as pool:
        with pytest.raises(ZeroDivisionError), pool.large(len(LARGE), sent=True):
            for number, _ in enumerate(Ranges(store, store.head("x"), pool)):
                if number == 3:
                    raise ZeroDivisionError
        assert_all_is_free(pool)


def test_ranges_are_read_ahead_as_far_as_memory_is_free(store: Store) -> None:
    """With much of it `MOST_AHEAD` before the first is asked for; with little, two."""
    put(store, LARGE)
    for memory, ahead in ((1 << 30, MOST_AHEAD), (LEAST_BYTES, 4)):
        reached, go = threading.Semaphore(0), threading.Event()

        def wait(start: int, reached: threading.Semaphore = reached, go: threading.Event = go) -> None:
            reached.release()
            go.wait(PATIENCE_SECONDS)

        watched = Watched(store, wait=wait)
        with RangePool(Limits(16, memory)) as pool, pool.large(len(LARGE), sent=True):
            parts = iter(Ranges(watched, watched.head("x"), pool))
            first = threading.Thread(target=next, args=(parts,))
            first.start()
            for _ in range(ahead):
                assert reached.acquire(timeout=PATIENCE_SECONDS)
            assert not reached.acquire(timeout=0.1)
            assert sorted(watched.starts) == [number * RANGE_SIZE for number in range(ahead)]
            go.set()
            first.join()
            parts.close()  # type: ignore[attr-defined]


def test_an_object_that_became_shorter_is_an_error(store: Store) -> None:
    """Trap Object stores 9, on a store whose etags say nothing."""
    put(store, LARGE)
    info = store.head("x")
    put(store, LARGE[:-10])
    with RangePool(Limits(4)) as pool:
        with pytest.raises(Transfer):
            list(Ranges(store, info, pool))
        with pytest.raises(Transfer):
            pool.digests(store, info)
        assert_all_is_free(pool)


def test_a_small_object_that_became_shorter_is_an_error(store: Store) -> None:
    put(store, b"12345")
    info = store.head("x")
    put(store, b"1234")
    with RangePool(Limits(4)) as pool:
        with pytest.raises(Transfer):
            pool.digests(store, info)
        assert_all_is_free(pool)


def test_a_small_object_is_one_get(store: Store) -> None:
    put(store, object_of(SMALL_SIZE))
    watched = Watched(store)
    with RangePool(Limits(4)) as pool:
        pool.digests(watched, watched.head("x"))
    assert watched.starts == [0]


def test_a_digest_that_cannot_be_computed_is_left_out() -> None:
    assert digests_of(b"abc", ("sha256", "no-such-algorithm")) == {"sha256": sha256_hex(b"abc")}
