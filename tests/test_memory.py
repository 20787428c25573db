"""The budget of memory: never more out than there is, in the order of asking, nothing lost and nobody forgotten."""

from __future__ import annotations

import random
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.errors import Config, Transfer
from lakehouse.memory import DEFAULT_BYTES, LEAST_BYTES, Memory, memory_of
from lakehouse.parallel import threads

WHOLE = LEAST_BYTES
PATIENCE_SECONDS = 30.0


def free_of(memory: Memory) -> int:
    """What can be taken at once."""
    low, high = 0, memory._size
    while low < high:
        middle = (low + high + 1) // 2
        if memory.take_now(middle):
            memory.give(middle)
            low = middle
        else:
            high = middle - 1
    return low


def until_waiting(memory: Memory, count: int) -> None:
    while len(memory._waiting) < count:
        threading.Event().wait(0.001)


class Takers:
    """Threads that take memory one after the other, each known to wait before the next one begins."""

    def __init__(self, memory: Memory) -> None:
        self.memory, self.admitted = memory, deque[int]()
        self.threads: list[threading.Thread] = []

    def add(self, size: int) -> None:
        number, before = len(self.threads), len(self.memory._waiting)

        def take() -> None:
            self.memory.take(size)
            self.admitted.append(number)

        thread = threading.Thread(target=take)
        thread.start()
        self.threads.append(thread)
        while thread.is_alive() and len(self.memory._waiting) == before:
            threading.Event().wait(0.001)

    def settle(self, count: int) -> None:
        """Wait until ``count`` of them were let in."""
        for _ in range(int(PATIENCE_SECONDS * 1000)):
            if len(self.admitted) >= count:
                return
            threading.Event().wait(0.001)
        raise TimeoutError(f"{len(self.admitted)} of {count} were let in")


sizes = st.integers(0, WHOLE * 2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(sizes, st.booleans()), max_size=12))
def test_what_is_out_is_what_a_simple_model_says(steps: list[tuple[int, bool]]) -> None:
    """A model of one thread: a list of who waits and of what is out, first come, first served, the oversize alone."""
    memory = Memory(WHOLE)
    takers = Takers(memory)
    free, waiting, out = WHOLE, deque[int](), deque[int]()

    def admit() -> None:
        nonlocal free
        while waiting and min(waiting[0], WHOLE) <= free:
            size = waiting.popleft()
            free -= min(size, WHOLE)
            out.append(size)

    asked = 0
    for size, give in steps:
        if give and out:
            back = out.popleft()
            free += min(back, WHOLE)
            memory.give(back)
        else:
            waiting.append(size)
            asked += 1
            takers.add(size)
        admit()
        takers.settle(asked - len(waiting))
        assert len(takers.admitted) == asked - len(waiting)
        assert (memory._free, len(memory._waiting)) == (free, len(waiting))
        assert 0 <= memory._free <= WHOLE
    while out or waiting:
        back = out.popleft()
        free += min(back, WHOLE)
        memory.give(back)
        admit()
    takers.settle(asked)
    for thread in takers.threads:
        thread.join(PATIENCE_SECONDS)
    assert free_of(memory) == WHOLE


def test_many_threads_never_hold_more_than_there_is_and_all_come_to_their_turn() -> None:
    memory, lock = Memory(WHOLE), threading.Lock()
    held, most, overdrawn = 0, 0, False

    def work(seed: int) -> None:
        nonlocal held, most, overdrawn
        chance = random.Random(seed)
        for _ in range(200):
            size = chance.choice([0, 1, WHOLE // 7, WHOLE // 3, WHOLE // 2 + 1, WHOLE, WHOLE * 3])
            if chance.random() < 0.3:
                if not memory.take_now(size):
                    continue
            else:
                memory.take(size)
            with lock:
                held += min(size, WHOLE)
                most = max(most, held)
                overdrawn = overdrawn or held > WHOLE
            with lock:
                held -= min(size, WHOLE)
            memory.give(size)

    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(work, seed) for seed in range(16)]:
            done.result(PATIENCE_SECONDS)
    assert not overdrawn
    assert most == WHOLE
    assert free_of(memory) == WHOLE


def test_who_asks_later_for_less_does_not_overtake() -> None:
    memory = Memory(WHOLE)
    takers = Takers(memory)
    memory.take(1)
    takers.add(WHOLE)
    takers.add(1)
    assert not memory.take_now(1), "not even at once, while somebody waits"
    assert not takers.admitted
    memory.give(1)
    takers.settle(1)
    assert list(takers.admitted) == [0]
    memory.give(WHOLE)
    takers.settle(2)
    memory.give(1)
    assert free_of(memory) == WHOLE


def test_what_is_larger_than_the_whole_is_let_in_alone() -> None:
    memory = Memory(WHOLE)
    takers = Takers(memory)
    memory.take(1)
    takers.add(10 * WHOLE)
    assert not takers.admitted
    memory.give(1)
    takers.settle(1)
    assert free_of(memory) == 0
    assert not memory.take_now(10 * WHOLE)
    memory.give(10 * WHOLE)
    assert free_of(memory) == WHOLE


def test_an_error_gives_back_what_was_held() -> None:
    memory = Memory(WHOLE)
    with pytest.raises(ZeroDivisionError), memory.taking(WHOLE):
        raise ZeroDivisionError
    assert free_of(memory) == WHOLE


@pytest.mark.parametrize("admitted", [False, True])
def test_a_wait_that_is_given_up_holds_nothing_and_holds_nobody_up(admitted: bool) -> None:
    """Also when it was let in at the moment when it gave up; who waits behind it is let in."""
    memory, stop = Memory(WHOLE), Event()
    memory.take(WHOLE)
    with threads(1, stop, "test") as pool:
        waits = pool.submit(memory.take, WHOLE)
        until_waiting(memory, 1)
        behind = Takers(memory)
        behind.add(5)
        stop.set()
        if admitted:
            memory.give(WHOLE)
        try:
            waits.result(PATIENCE_SECONDS)
            memory.give(WHOLE)
        except Transfer as error:
            assert "interrupted" in str(error)
            assert not error.transient
        if not admitted:
            memory.give(WHOLE)
    behind.settle(1)
    memory.give(5)
    assert free_of(memory) == WHOLE


@pytest.mark.parametrize(
    ("text", "size"),
    [("256M", DEFAULT_BYTES), ("128M", LEAST_BYTES), ("1G", 1 << 30), ("131072", LEAST_BYTES), ("0.5Gi", 1 << 29)],
)
def test_sizes_are_written_as_rclone_writes_them(text: str, size: int) -> None:
    assert memory_of(text) == size


@pytest.mark.parametrize("text", ["", "lots", "-1M", "127M", "0", "off", "nan", "inf", "1e3M", "10M:20M"])
def test_a_size_that_is_none_or_too_low_is_a_configuration_error(text: str) -> None:
    with pytest.raises(Config, match="memory"):
        memory_of(text)
