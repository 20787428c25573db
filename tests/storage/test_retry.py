"""The retry loop, with a clock that stands still until somebody sleeps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

import pytest

from lakehouse.connect import open_store
from lakehouse.errors import Config, Conflict, NotFound, Transfer
from lakehouse.retry import RetryingStore
from lakehouse.store import ObjectInfo, Store
from lakehouse.testing.faulty_store import Faults, FaultyStore


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Failing(FaultyStore):
    """Fails every call with ``error`` until ``times`` failures were made."""

    def __init__(self, store: Store, error: Exception, times: int) -> None:
        super().__init__(store, Faults())
        self._error, self.left = error, times

    def _arrive(self, method: str, path: str):  # type: ignore[no-untyped-def]
        if self.left > 0:
            self.left -= 1
            raise self._error
        return super()._arrive(method, path)


class Resurfacing(FaultyStore):
    """Lists three names and fails once after the second."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, Faults())
        self.asked: list[str | None] = []

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        self.asked.append(after)
        for number, info in enumerate(
            sorted(super().list(prefix, after=after, recursive=recursive), key=lambda found: found.path)
        ):
            if len(self.asked) == 1 and number == 2:
                raise Transfer("cut", transient=True)
            yield info


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(request: pytest.FixtureRequest) -> Store:
    store = open_store(f"memory://retry/{request.node.name}")
    assert isinstance(store, RetryingStore)
    return store.inner


def retrying(store: Store, clock: Clock, **options: float) -> RetryingStore:
    return RetryingStore(
        store,
        attempts=int(options.get("attempts", 5)),
        deadline_seconds=options.get("deadline_seconds", 60.0),
        clock=clock,
        sleep=clock.sleep,
        jitter=lambda: 1.0,
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.head("x"),
        lambda store: store.get("x"),
        lambda store: list(store.list()),
        lambda store: store.put("x", b"2", size=1),
        lambda store: store.put("x", [b"2"], size=1),
        lambda store: store.put("y", b"2", size=1, if_absent=True),
        lambda store: store.delete("x"),
    ],
    ids=["head", "get", "list", "put", "put list", "put if absent", "delete"],
)
def test_every_call_is_tried_again_after_a_transient_failure(
    memory: Store, clock: Clock, call: Callable[[Store], object]
) -> None:
    memory.put("x", b"1", size=1)
    failing = Failing(memory, Transfer("time-out", transient=True), 2)
    call(retrying(failing, clock))
    assert failing.left == 0
    assert len(clock.slept) == 2


def test_pauses_double_up_to_a_limit(memory: Store, clock: Clock) -> None:
    failing = Failing(memory, Transfer("time-out", transient=True), 99)
    with pytest.raises(Transfer):
        retrying(failing, clock, attempts=11, deadline_seconds=10_000).get("x")
    assert clock.slept[:4] == pytest.approx([0.2, 0.4, 0.8, 1.6])
    assert clock.slept[-1] == 20.0
    assert len(clock.slept) == 10


def test_jitter_takes_away_up_to_half_of_a_pause(memory: Store, clock: Clock) -> None:
    failing = Failing(memory, Transfer("time-out", transient=True), 1)
    store = RetryingStore(failing, clock=clock, sleep=clock.sleep, jitter=lambda: 0.0)
    assert list(store.list()) == []
    assert clock.slept == pytest.approx([0.1])


@pytest.mark.parametrize("error", [Transfer("final"), NotFound("gone"), Config("keys"), Conflict("theirs")])
def test_what_is_not_transient_is_not_tried_again(memory: Store, clock: Clock, error: Exception) -> None:
    failing = Failing(memory, error, 1)
    with pytest.raises(type(error)):
        retrying(failing, clock).get("x")
    assert clock.slept == []


def test_the_deadline_ends_the_tries(memory: Store, clock: Clock) -> None:
    failing = Failing(memory, Transfer("time-out", transient=True), 99)
    with pytest.raises(Transfer, match="time-out"):
        retrying(failing, clock, attempts=99, deadline_seconds=5).get("x")
    assert clock.now - 100 <= 5


def test_retry_after_is_honoured(memory: Store, clock: Clock) -> None:
    memory.put("x", b"1", size=1)
    failing = Failing(memory, Transfer("slow down", transient=True, retry_after=7.0), 1)
    assert retrying(failing, clock).get("x") == b"1"
    assert clock.now == 107.0


def test_a_throttling_answer_makes_the_next_caller_wait_too(memory: Store, clock: Clock) -> None:
    memory.put("x", b"1", size=1)
    failing = Failing(memory, Transfer("slow down", transient=True, retry_after=7.0), 1)
    store = RetryingStore(failing, attempts=1, clock=clock, sleep=clock.sleep, jitter=lambda: 1.0)
    with pytest.raises(Transfer):
        store.get("x")
    assert store.get("x") == b"1"
    assert clock.now == 107.0


def test_threads_share_one_slow_down(memory: Store) -> None:
    memory.put("x", b"1", size=1)
    failing = Failing(memory, Transfer("slow down", transient=True, retry_after=9.0), 1)
    clock, waits = Clock(), []
    lock = threading.Lock()

    def sleep(seconds: float) -> None:
        with lock:
            waits.append(seconds)
            clock.now = max(clock.now, 109.0)

    store = RetryingStore(failing, clock=clock, sleep=sleep, jitter=lambda: 1.0)
    threads = [threading.Thread(target=store.get, args=("x",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now == 109.0
    assert all(wait <= 9.0 for wait in waits)


def test_a_one_shot_iterator_is_not_tried_again(memory: Store, clock: Clock) -> None:
    failing = Failing(memory, Transfer("cut", transient=True), 1)
    with pytest.raises(Transfer):
        retrying(failing, clock).put("x", iter([b"1"]), size=1)
    assert clock.slept == []


def test_data_that_can_be_read_again_is_tried_again(memory: Store, clock: Clock) -> None:
    class Twice(Iterable[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            yield b"12"
            yield b"34"

    faulty = FaultyStore(memory, Faults(fail_at=1, mode="cut", transient=True))
    assert retrying(faulty, clock).put("x", Twice(), size=4).size == 4
    assert memory.get("x") == b"1234"


def test_a_listing_goes_on_where_it_was_cut(memory: Store, clock: Clock) -> None:
    for name in ("a", "b", "c"):
        memory.put(name, b"1", size=1)
    cut = Resurfacing(memory)
    assert [info.path for info in retrying(cut, clock).list()] == ["a", "b", "c"]
    assert cut.asked == [None, "b"]


def test_a_lost_reply_to_a_conditional_put_is_settled_by_reading_back(memory: Store, clock: Clock) -> None:
    faulty = FaultyStore(memory, Faults(fail_at=1, mode="after", transient=True))
    assert retrying(faulty, clock).put("root", b"mine", size=4, if_absent=True).size == 4
    assert memory.get("root") == b"mine"


def test_a_lost_reply_does_not_hide_another_writer(memory: Store, clock: Clock) -> None:
    memory.put("root", b"theirs", size=6)
    failing = Failing(memory, Transfer("time-out", transient=True), 1)
    with pytest.raises(Conflict, match="root"):
        retrying(failing, clock).put("root", b"mine", size=4, if_absent=True)
    assert memory.get("root") == b"theirs"


def test_a_clear_conflict_is_not_questioned(memory: Store, clock: Clock) -> None:
    memory.put("root", b"mine", size=4)
    with pytest.raises(Conflict):
        retrying(memory, clock).put("root", b"mine", size=4, if_absent=True)


def test_a_lost_reply_to_the_last_try_is_settled_too(memory: Store, clock: Clock) -> None:
    faulty = FaultyStore(memory, Faults(fail_at=1, mode="after", transient=True))
    assert retrying(faulty, clock, attempts=1).put("root", b"mine", size=4, if_absent=True).size == 4


def test_a_last_try_that_did_not_arrive_stays_an_error(memory: Store, clock: Clock) -> None:
    faulty = FaultyStore(memory, Faults(fail_at=1, mode="before", transient=True))
    with pytest.raises(Transfer):
        retrying(faulty, clock, attempts=1).put("root", b"mine", size=4, if_absent=True)
    with pytest.raises(NotFound):
        memory.head("root")


def test_a_dead_store_stays_dead(memory: Store) -> None:
    faults = Faults(fail_at=2, dead=True)
    one, two = FaultyStore(memory, faults), FaultyStore(memory, faults)
    one.put("a", b"1", size=1)
    for store in (one, two):
        with pytest.raises(Transfer, match="injected"):
            store.put("b", b"1", size=1)
    assert faults.counted == 3
    assert [(call.method, call.path) for call in faults.calls] == [("put", "a"), ("put", "b"), ("put", "b")]
