"""The retry loop and the pace of calls, with a clock that stands still until somebody sleeps."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.connect import open_store
from lakehouse.errors import Config, Conflict, NotFound, Transfer
from lakehouse.pace import NO_LIMIT_FROM, Pace, Turn
from lakehouse.retry import RetryingStore
from lakehouse.store import Buffer, ObjectInfo, Store
from lakehouse.testing.faulty_store import Faults, FaultyStore
from tests.storage.clock import Clock


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


BUSY = Transfer("slow down", transient=True, retry_after=0.0)
PATIENCE_SECONDS = 30.0


def a_pace(clock: Clock, *, most: int | None = None) -> Pace:
    return Pace("s3://bucket", most=most, clock=clock, sleep=clock.sleep)


def taken(pace: Pace, count: int) -> list[Turn]:
    return [pace.turn().__enter__() for _ in range(count)]


def ends(turns: Iterable[Turn], error: Exception | None = None) -> None:
    for turn in turns:
        turn.__exit__(type(error) if error else None, error, None)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for other threads to come so far."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < until, "the other threads did not come so far"
        threading.Event().wait(0.001)


def has_waiting(pace: Pace, count: int) -> bool:
    return pace.waiting == count


def in_a_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def finished(*threads: threading.Thread) -> bool:
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    return not any(thread.is_alive() for thread in threads)


def shared(store: Store, clock: Clock, pace: Pace, **options: float) -> RetryingStore:
    deadline = options.get("deadline_seconds", 60.0)
    return RetryingStore(
        store, pace=pace, clock=clock, sleep=clock.sleep, jitter=lambda: 1.0, attempts=5, deadline_seconds=deadline
    )


def test_sixteen_answers_of_one_storm_halve_the_calls_in_flight_once(clock: Clock) -> None:
    """Trap Object stores 4."""
    pace = a_pace(clock)
    ends(taken(pace, 16), BUSY)
    assert (pace.limit, pace.in_flight) == (8, 0)


def test_calls_that_began_after_a_storm_halve_again_down_to_one(clock: Clock) -> None:
    """Trap Object stores 4."""
    pace = a_pace(clock)
    ends(taken(pace, 16), BUSY)
    limits = []
    for count in (8, 4, 2, 1, 1):
        ends(taken(pace, count), BUSY)
        limits.append(pace.limit)
    assert limits == [4, 2, 1, 1, 1]


def test_the_halving_counts_what_is_in_flight_and_not_what_was_allowed(clock: Clock) -> None:
    pace = a_pace(clock)
    ends(taken(pace, 16), BUSY)
    ends(taken(pace, 4), BUSY)
    assert pace.limit == 2


def test_one_more_is_let_in_after_as_many_answers_as_the_limit_until_there_is_none(clock: Clock) -> None:
    pace = a_pace(clock)
    ends(taken(pace, 4), BUSY)
    limits = []
    while pace.limit is not None:
        limits.append(pace.limit)
        ends(taken(pace, 1))
    assert limits == [limit for limit in range(2, NO_LIMIT_FROM) for _ in range(limit)]
    assert len(taken(pace, 200)) == 200


def test_a_limit_that_was_set_high_ends_only_above_what_was_in_flight(clock: Clock) -> None:
    pace = a_pace(clock)
    ends(taken(pace, 300), BUSY)
    for _ in range(150 + 151):
        ends(taken(pace, 1))
    assert pace.limit == 152


def test_answers_to_calls_from_before_the_storm_do_not_let_more_in(clock: Clock) -> None:
    pace = a_pace(clock)
    first, *others = taken(pace, 16)
    ends([first], BUSY)
    ends(others)
    assert pace.limit == 8


@pytest.mark.parametrize(
    ("error", "grows"),
    [(None, True), (NotFound("gone"), True), (Conflict("theirs"), True), (Transfer("cut", transient=True), False)],
)
def test_only_answers_let_more_in(clock: Clock, error: Exception | None, grows: bool) -> None:
    pace = a_pace(clock)
    ends(taken(pace, 2), BUSY)
    ends(taken(pace, 1), error)
    assert pace.limit == (2 if grows else 1)


def test_an_upper_bound_holds_from_the_start_and_after_a_storm(clock: Clock) -> None:
    pace = a_pace(clock, most=4)
    assert pace.limit == 4
    ends(taken(pace, 4), BUSY)
    assert pace.limit == 2
    for _ in range(50):
        ends(taken(pace, 1))
    assert pace.limit == 4
    with pytest.raises(Config, match="allow 1 or more"):
        a_pace(clock, most=0)


@given(st.lists(st.sampled_from(["enter", "answer", "busy", "cut"]), max_size=200), st.none() | st.integers(1, 9))
def test_there_is_always_room_for_one_and_never_for_more_than_the_limit(events: list[str], most: int | None) -> None:
    pace = a_pace(Clock(), most=most)
    flying: list[Turn] = []
    for event in events:
        before = pace.limit
        if event == "enter":
            if before is None or len(flying) < before:
                flying += taken(pace, 1)
        elif flying:
            ends([flying.pop(0)], {"busy": BUSY, "cut": Transfer("cut", transient=True)}.get(event))
        assert pace.in_flight == len(flying)
        assert pace.limit is None or 1 <= pace.limit <= (most or NO_LIMIT_FROM + len(events))
        assert event == "busy" or before is None or pace.limit in (None, before, before + 1)
    ends(flying)
    assert pace.in_flight == 0


def test_calls_beyond_the_limit_get_their_turn_in_the_order_in_which_they_came(clock: Clock) -> None:
    pace = a_pace(clock, most=1)
    (first,) = taken(pace, 1)
    came: list[int] = []
    threads = []

    def call(number: int) -> None:
        with pace.turn():
            came.append(number)

    for number in range(8):
        threads.append(in_a_thread(partial(call, number)))
        wait_for(partial(has_waiting, pace, number + 1))
    assert came == []
    ends([first])
    assert finished(*threads)
    assert came == list(range(8))
    assert clock.slept == []


def test_stores_on_one_service_slow_down_together(memory: Store, clock: Clock) -> None:
    """Trap Object stores 4."""
    memory.put("x", b"1", size=1)
    pace = a_pace(clock)
    failing = Failing(memory, Transfer("slow down", transient=True, retry_after=7.0), 1)
    with pytest.raises(Transfer):
        RetryingStore(failing, attempts=1, pace=pace).get("x")
    assert pace.limit == 1
    assert shared(memory, clock, pace).get("x") == b"1"
    assert clock.now == 107.0


def test_stores_on_other_services_are_not_slowed_down(memory: Store, clock: Clock) -> None:
    memory.put("x", b"1", size=1)
    failing = Failing(memory, Transfer("slow down", transient=True, retry_after=7.0), 1)
    with pytest.raises(Transfer):
        shared(failing, clock, a_pace(clock), deadline_seconds=1).get("x")
    assert shared(memory, clock, a_pace(clock)).get("x") == b"1"
    assert clock.slept == []


def test_waiting_for_a_turn_is_no_try_and_takes_no_time_from_the_deadline(memory: Store, clock: Clock) -> None:
    memory.put("x", b"1", size=1)
    pace = a_pace(clock)
    failing = Failing(memory, Transfer("time-out", transient=True), 4)
    pace.throttled(0, 100.0)
    assert shared(failing, clock, pace, deadline_seconds=5).get("x") == b"1"
    assert clock.slept == pytest.approx([100.0, 0.2, 0.4, 0.8, 1.6])


def test_waiting_for_room_takes_no_time_from_the_deadline(memory: Store, clock: Clock) -> None:
    memory.put("x", b"1", size=1)
    pace = a_pace(clock, most=1)
    failing = Failing(memory, Transfer("time-out", transient=True), 1)
    (other,) = taken(pace, 1)
    got: list[bytes] = []
    thread = in_a_thread(lambda: got.append(shared(failing, clock, pace, deadline_seconds=5).get("x")))
    wait_for(partial(has_waiting, pace, 1))
    clock.now += 1000
    ends([other])
    assert finished(thread)
    assert got == [b"1"]


def test_the_time_of_the_tries_counts(memory: Store, clock: Clock) -> None:
    class Slow(Failing):
        def _arrive(self, method: str, path: str):  # type: ignore[no-untyped-def]
            clock.now += 40
            return super()._arrive(method, path)

    slow = Slow(memory, Transfer("time-out", transient=True), 99)
    with pytest.raises(Transfer):
        retrying(slow, clock).head("x")
    assert slow.left == 99 - 2


def test_a_service_that_asks_for_more_time_than_the_deadline_ends_the_call_at_once(memory: Store, clock: Clock) -> None:
    failing = Failing(memory, Transfer("slow down", transient=True, retry_after=3600.0), 1)
    with pytest.raises(Transfer, match="slow down"):
        retrying(failing, clock).get("x")
    assert clock.slept == []
    retrying(failing, clock).put("x", b"1", size=1)
    assert clock.slept == []


def test_nobody_waits_longer_for_the_others_than_five_minutes(clock: Clock) -> None:
    pace = a_pace(clock)
    pace.throttled(0, 3600.0)
    ends(taken(pace, 1))
    assert clock.slept == [300.0]


@pytest.mark.parametrize("once", [False, True], ids=["iterable", "one-shot iterator"])
def test_data_that_comes_through_the_same_service_is_no_deadlock(memory: Store, clock: Clock, once: bool) -> None:
    memory.put("x", b"1234", size=4)
    pace = a_pace(clock, most=1)
    store = shared(memory, clock, pace)

    class Read(Iterable[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            for start in range(4):
                yield store.get("x", start=start, end=start + 1)

    thread = in_a_thread(lambda: store.put("y", iter(Read()) if once else Read(), size=4))
    assert finished(thread)
    assert memory.get("y") == b"1234"
    assert pace.in_flight == 0


def test_every_kind_of_put_takes_its_turn(memory: Store, clock: Clock) -> None:
    pace = a_pace(clock)
    seen: list[int] = []

    class Watched(FaultyStore):
        def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
            seen.append(pace.in_flight)
            return super().put(path, data, size=size, if_absent=if_absent)

    store = shared(Watched(memory, Faults()), clock, pace)
    store.put("a", b"1", size=1)
    store.put("b", [b"1"], size=1)
    store.put("c", iter([b"1"]), size=1)
    store.put("d", b"1", size=1, if_absent=True)
    assert seen == [1, 1, 1, 1]
    assert pace.in_flight == 0


def test_what_goes_wrong_with_the_data_does_not_slow_down_the_target(memory: Store, clock: Clock) -> None:
    pace = a_pace(clock)

    def data() -> Iterator[bytes]:
        yield b"1"
        raise BUSY

    with pytest.raises(Transfer, match="slow down"):
        shared(memory, clock, pace).put("x", data(), size=2)
    assert (pace.limit, pace.in_flight) == (None, 0)


def test_a_listing_takes_no_turn_but_what_it_is_told_counts(memory: Store, clock: Clock) -> None:
    memory.put("x", b"1", size=1)
    pace = a_pace(clock)
    failing = Failing(memory, Transfer("slow down", transient=True, retry_after=7.0), 1)
    turns = taken(pace, 6)
    listing = shared(failing, clock, pace).list()
    assert next(listing).path == "x"
    assert (pace.limit, pace.in_flight, clock.now) == (3, 6, 107.0)
    ends(turns)
    assert list(listing) == []


def test_the_time_that_a_reader_of_a_listing_takes_does_not_count(memory: Store, clock: Clock) -> None:
    for name in ("a", "b", "c"):
        memory.put(name, b"1", size=1)
    found = []
    for info in retrying(Resurfacing(memory), clock, deadline_seconds=5).list():
        found.append(info.path)
        clock.now += 1000
    assert found == ["a", "b", "c"]


def test_a_wait_that_is_interrupted_gives_its_room_back(clock: Clock) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    pace = Pace("s3://bucket", clock=clock, sleep=interrupted)
    pace.throttled(0, 5.0)
    with pytest.raises(KeyboardInterrupt):
        taken(pace, 1)
    assert (pace.in_flight, pace.waiting) == (0, 0)


@pytest.mark.parametrize("most", [None, 3])
def test_a_storm_on_a_fifth_of_all_calls_ends_no_call_and_leaves_nobody_waiting(memory: Store, most: int | None) -> None:
    """Trap Object stores 4. Eight tries fail together once in 390,000 calls; the chance here has a fixed seed."""
    memory.put("x", b"1", size=1)
    chance, lock, inside, peaks = random.Random(4), threading.Lock(), [0], [0]

    class Stormy(FaultyStore):
        def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
            with lock:
                inside[0] += 1
                peaks[0] = max(peaks[0], inside[0])
                refused = chance.random() < 0.2
            threading.Event().wait(0)
            with lock:
                inside[0] -= 1
            if refused:
                raise BUSY
            return super().get(path, start=start, end=end, if_match=if_match)

    pace = Pace("s3://bucket", most=most, sleep=lambda seconds: None)
    store = RetryingStore(Stormy(memory, Faults()), pace=pace, sleep=lambda seconds: None)
    got: list[bytes] = []
    threads = [in_a_thread(lambda: got.extend(store.get("x") for _ in range(50))) for _ in range(16)]
    assert finished(*threads)
    assert got == [b"1"] * 800
    assert (pace.in_flight, pace.waiting) == (0, 0)
    assert peaks[0] <= (most or 16)
