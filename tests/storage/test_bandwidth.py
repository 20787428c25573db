"""Limits on bytes a second, in a time that passes only by sleeping."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.bandwidth import BUCKET_SECONDS, Bandwidth, TokenBucket, parse
from lakehouse.connect import open_store
from lakehouse.errors import Config
from lakehouse.retry import RetryingStore
from lakehouse.store import Store
from lakehouse.testing.faulty_store import Faults, FaultyStore
from tests.storage.clock import Clock

KIB, MIB = 1 << 10, 1 << 20
PATIENCE_SECONDS = 30.0


class SharedClock:
    """Time for ``threads`` threads, which passes when all of them sleep, up to the first who wakes."""

    def __init__(self, threads: int) -> None:
        self.now, self._awake = 100.0, threads
        self._wakes: list[float] = []
        self._changed = threading.Condition()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._changed:
            wake = self.now + seconds
            self._wakes.append(wake)
            self._awake -= 1
            self._pass()
            assert self._changed.wait_for(lambda: self.now >= wake, PATIENCE_SECONDS)

    def ended(self) -> None:
        """One of the threads will not sleep any more."""
        with self._changed:
            self._awake -= 1
            self._pass()

    def _pass(self) -> None:
        """Move on to the first who wakes, once nobody is awake; who wakes is awake from then on. The lock is held."""
        if self._awake == 0 and self._wakes:
            self.now = min(self._wakes)
            self._awake = self._wakes.count(self.now)
            self._wakes = [wake for wake in self._wakes if wake > self.now]
            self._changed.notify_all()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(request: pytest.FixtureRequest) -> Store:
    store = open_store(f"memory://bandwidth/{request.node.name}")
    assert isinstance(store, RetryingStore)
    return store.inner


def limited(
    store: Store, clock: Callable[[], float], sleep: Callable[[float], None], upload: float | None, download: float | None
) -> RetryingStore:
    bandwidth = Bandwidth(upload, download, clock=clock, sleep=sleep)
    return RetryingStore(store, bandwidth=bandwidth, clock=clock, sleep=sleep, jitter=lambda: 1.0)


@pytest.mark.parametrize(
    ("text", "upload", "download"),
    [
        ("10M", 10 * MIB, 10 * MIB),
        ("512k", 512 * KIB, 512 * KIB),
        ("512K", 512 * KIB, 512 * KIB),
        ("666", 666 * KIB, 666 * KIB),
        ("666:333", 666 * KIB, 333 * KIB),
        ("10M:100k", 10 * MIB, 100 * KIB),
        ("10M:off", 10 * MIB, None),
        ("off:1M", None, MIB),
        ("0:1M", None, MIB),
        ("0", None, None),
        ("off", None, None),
        ("OFF", None, None),
        ("100B", 100, 100),
        ("100b", 100, 100),
        ("1B:2B", 1, 2),
        ("0.625M", 655_360, 655_360),
        (".5M", 512 * KIB, 512 * KIB),
        ("5.", 5 * KIB, 5 * KIB),
        ("1Ki", KIB, KIB),
        ("1kib", KIB, KIB),
        ("1MiB", MIB, MIB),
        ("1G", 1 << 30, 1 << 30),
        ("1TiB", 1 << 40, 1 << 40),
        ("1P", 1 << 50, 1 << 50),
        ("10:20", 10 * KIB, 20 * KIB),
    ],
)
def test_limits_are_spelled_as_in_rclone(text: str, upload: float | None, download: float | None) -> None:
    """The values are those that rclone 1.75 shows for the same text (``rclone rc --loopback core/bwlimit``)."""
    assert parse(text) == (upload, download)


REFUSED_TEXTS = (
    "", ":", "1M:", ":1M", "1M:1M:1M", "M", "B", ".", "1MB", "1KB", "1KIB", "1iB", "1i", "iB", "-1", "-1M", "inf", "nan", "0x10",
    "1 M", " 1M", "1M\n", "1X", "0.5B", "9" * 400, "10M/s", "１M",
)  # fmt: skip


@pytest.mark.parametrize("text", REFUSED_TEXTS)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(Config, match="bandwidth limit"):
        parse(text)


@pytest.mark.parametrize("text", ["08:00,512k", "08:00,512k 12:00,10M", "Mon-00:00,512;Sun-20:00,off"])
def test_timetables_are_refused_by_name(text: str) -> None:
    with pytest.raises(Config, match="timetables are not supported"):
        parse(text)


RATES = st.tuples(st.integers(1, 10**6), st.sampled_from([("B", 1), ("", KIB), ("k", KIB), ("Mi", MIB), ("GiB", 1 << 30)]))


@given(RATES, RATES)
def test_each_side_is_read_on_its_own(up: tuple[int, tuple[str, int]], down: tuple[int, tuple[str, int]]) -> None:
    (upload, (up_suffix, up_factor)), (download, (down_suffix, down_factor)) = up, down
    assert parse(f"{upload}{up_suffix}:{download}{down_suffix}") == (upload * up_factor, download * down_factor)
    assert parse(f"{upload}{up_suffix}") == (upload * up_factor, upload * up_factor)


@given(st.text(alphabet="0123456789.kMGBib:of-, ", max_size=12))
def test_any_text_gives_limits_or_an_error_that_says_what_to_write(text: str) -> None:
    try:
        limits = parse(text)
    except Config as error:
        assert repr(text) in str(error)
    else:
        assert all(limit is None or limit >= 1 for limit in limits)


@pytest.mark.parametrize("rate", [0, -1.0, float("inf"), float("nan")])
def test_a_rate_that_is_no_positive_number_is_refused(rate: float) -> None:
    for limits in ((rate, None), (None, rate)):
        with pytest.raises(Config, match="positive"):
            Bandwidth(*limits)


@given(
    st.floats(1.0, 1e9),
    st.lists(st.tuples(st.floats(0, 3) | st.just(0.0), st.floats(0, 5)), min_size=1, max_size=40),
)
def test_in_any_span_there_flow_at_most_the_rate_one_bucket_and_one_take(rate: float, takes: list[tuple[float, float]]) -> None:
    """``takes``: seconds that pass before, and the size in seconds' worth of bytes."""
    clock = Clock()
    bucket = TokenBucket(rate, clock=clock, sleep=clock.sleep)
    flowed: list[tuple[float, float]] = []
    for passes, worth in takes:
        clock.now += passes
        bucket.take(worth * rate)
        flowed.append((clock.now, worth * rate))
    largest = max(size for _, size in flowed)
    for first in range(len(flowed)):
        total = 0.0
        for at, size in flowed[first:]:
            total += size
            allowed = rate * (at - flowed[first][0]) + rate * BUCKET_SECONDS + largest
            assert total <= allowed * (1 + 1e-9)


@given(st.floats(1.0, 1e9), st.lists(st.floats(0.01, 5), min_size=1, max_size=30))
def test_who_always_has_more_to_move_gets_the_whole_rate(rate: float, worths: list[float]) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, clock=clock, sleep=clock.sleep)
    for worth in worths:
        bucket.take(worth * rate)
    assert clock.now - 100 == pytest.approx(max(0.0, sum(worths[:-1]) - BUCKET_SECONDS), abs=1e-6)


def test_more_than_the_bucket_holds_goes_at_once_and_those_who_come_later_wait(clock: Clock) -> None:
    bucket = TokenBucket(MIB, clock=clock, sleep=clock.sleep)
    bucket.take(8 * MIB)
    assert clock.now == 100.0
    bucket.take(1)
    assert clock.now == pytest.approx(107.0)


def test_nobody_sleeps_long_at_a_time_and_an_interrupted_wait_hurts_nobody_else(clock: Clock) -> None:
    interrupt = [False]

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if interrupt[0]:
            raise KeyboardInterrupt

    bucket = TokenBucket(MIB, clock=clock, sleep=sleep)
    bucket.take(61 * MIB)
    interrupt[0] = True
    with pytest.raises(KeyboardInterrupt):
        bucket.take(MIB)
    interrupt[0] = False
    bucket.take(1)
    assert clock.now == pytest.approx(160.0)


def test_upload_and_download_are_limited_apart(memory: Store, clock: Clock) -> None:
    store = limited(memory, clock, clock.sleep, 1000.0, None)
    store.put("x", bytes(5000), size=5000)
    for _ in range(9):
        store.get("x")
    assert clock.slept == []
    store.put("y", b"", size=0)
    assert clock.now == pytest.approx(104.0)


def test_ranges_and_whole_objects_are_charged_with_what_comes(memory: Store, clock: Clock) -> None:
    memory.put("x", bytes(4000), size=4000)
    store = limited(memory, clock, clock.sleep, None, 1000.0)
    store.get("x", start=0, end=1000)
    assert clock.now == 100.0
    store.get("x", start=1000, end=10_000)
    assert clock.now == 100.0
    store.get("x", start=0, end=0)
    assert clock.now == pytest.approx(103.0)
    store.get("x")
    assert clock.now == pytest.approx(103.0)
    store.get("x", start=0, end=0)
    assert clock.now == pytest.approx(107.0)


def test_objects_of_unknown_size_are_spread_over_time_and_not_fetched_all_at_once(memory: Store) -> None:
    """Eight threads fetch whole objects of a second's worth each: after the first ones, a second lies between two of them."""
    size, threads = 1_000_000, 8
    memory.put("x", bytes(size), size=size)
    clock = SharedClock(threads)
    store = limited(memory, clock, clock.sleep, None, float(size))
    at: list[float] = []

    def fetch() -> None:
        for _ in range(8):
            store.get("x")
            at.append(clock.now)
        clock.ended()

    run(fetch, threads)
    assert at[-1] - at[0] == pytest.approx(threads * 8 - 1, rel=0.1)
    late = at[len(at) // 2 :]
    assert max(late.count(moment) for moment in late) <= 2


def test_chunks_are_charged_as_they_are_pulled(memory: Store, clock: Clock) -> None:
    store = limited(memory, clock, clock.sleep, 1000.0, None)
    at: list[float] = []

    def data() -> Iterator[bytes]:
        for _ in range(4):
            at.append(clock.now)
            yield bytes(2000)

    store.put("x", data(), size=8000)
    assert at == pytest.approx([100.0, 100.0, 101.0, 103.0])
    assert clock.now == pytest.approx(105.0)


def test_each_try_is_charged(memory: Store, clock: Clock) -> None:
    faulty = FaultyStore(memory, Faults(fail_at=1, transient=True))
    store = limited(faulty, clock, clock.sleep, 1000.0, None)
    store.put("x", bytes(5000), size=5000, if_absent=True)
    store.put("y", b"", size=0)
    assert clock.now == pytest.approx(109.0)


def test_waiting_for_bandwidth_takes_no_time_from_the_deadline(memory: Store, clock: Clock) -> None:
    class FailingTwice(FaultyStore):
        def _arrive(self, method: str, path: str):  # type: ignore[no-untyped-def]
            call, _ = super()._arrive(method, path)
            return call, len(faults.calls) <= 2

    faults = Faults(transient=True)
    store = limited(FailingTwice(memory, faults), clock, clock.sleep, 1.0, None)
    store.put("x", bytes(5000), size=5000)
    assert len(faults.calls) == 3
    assert clock.now == pytest.approx(100.0 + 2 * 5000 - BUCKET_SECONDS)


def test_threads_share_one_limit_and_none_of_them_starves(memory: Store) -> None:
    threads, each, size = 8, 10, 4000
    clock = SharedClock(threads)
    store = limited(memory, clock, clock.sleep, 1000.0, None)
    sent: dict[str, list[float]] = {}

    def send() -> None:
        mine = sent.setdefault(threading.current_thread().name, [])
        for number in range(each):
            store.put(f"{threading.get_ident()}-{number}", bytes(size), size=size)
            mine.append(clock.now)
        clock.ended()

    run(send, threads)
    flowed = sorted(moment for mine in sent.values() for moment in mine)
    assert flowed[-1] - 100 == pytest.approx((threads * each - 1) * size / 1000 - BUCKET_SECONDS)
    for first in range(len(flowed)):
        for last in range(first, len(flowed)):
            assert (last - first + 1) * size <= 1000 * (flowed[last] - flowed[first]) + 1000 * BUCKET_SECONDS + size + 1e-6
    for mine in sent.values():
        assert max(after - before for before, after in pairwise(mine)) <= threads * size / 1000 + 1e-6


def run(work: Callable[[], None], threads: int) -> None:
    """Run ``work`` in that many threads, to their end."""
    failures: list[BaseException] = []

    def noted() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
            raise

    running = [threading.Thread(target=noted, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(PATIENCE_SECONDS)
    assert not failures
    assert not any(thread.is_alive() for thread in running)
