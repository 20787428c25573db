"""The bounded parallel map: a window, errors as results, and an end that waits for what runs and starts nothing more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.errors import NotFound, Transfer
from lakehouse.parallel import WINDOW_PER_WORKER, each, every, pause, threads, wait_for

PATIENCE_SECONDS = 30.0


def no_thread_left() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("lake_")]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 8))
def test_each_item_comes_back_once_with_its_result_or_its_error(items: list[int], workers: int) -> None:
    def work(item: int) -> int:
        if item == 7:
            raise NotFound("seven")
        return item * item

    found = list(each(work, items, workers=workers))
    assert sorted(item for item, _ in found) == sorted(items)
    assert all(isinstance(outcome, NotFound) if item == 7 else outcome == item * item for item, outcome in found)
    assert no_thread_left()


def test_no_more_is_taken_than_the_window_and_no_more_runs_than_workers() -> None:
    taken, running, most, lock = 0, 0, 0, threading.Lock()

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(500):
            taken += 1
            yield number

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        Event().wait(0.001)
        with lock:
            running -= 1
        return number

    workers, yielded = 3, 0
    for _ in each(work, items(), workers=workers):
        yielded += 1
        assert taken - yielded < workers * WINDOW_PER_WORKER
    assert (yielded, most) == (500, workers)


@pytest.mark.parametrize("end", ["the consumer stops", "the consumer fails", "a defect in the work", "the items fail"])
def test_an_end_before_the_last_waits_for_what_runs_and_starts_nothing_more(end: str) -> None:
    """Trap Operations: Ctrl-C. ``stop`` is set, so whoever waits in `pause` or `wait_for` is woken."""
    stop, begun, ended, lock = Event(), 0, 0, threading.Lock()

    def items() -> Iterator[int]:
        for number in range(10_000):
            if end == "the items fail" and number == 100:
                raise KeyboardInterrupt
            yield number

    def work(number: int) -> int:
        nonlocal begun, ended
        with lock:
            begun += 1
        if end == "a defect in the work" and number == 50:
            raise ZeroDivisionError
        with lock:
            ended += 1
        return number

    def consume() -> None:
        results = each(work, items(), workers=4, stop=stop)
        for number, _ in enumerate(results):
            if number == 50 and end == "the consumer fails":
                raise KeyboardInterrupt
            if number == 50 and end == "the consumer stops":
                results.close()
                return

    if end == "the consumer stops":
        consume()
    else:
        with pytest.raises(ZeroDivisionError if "defect" in end else KeyboardInterrupt):
            consume()
    assert stop.is_set()
    assert no_thread_left()
    assert begun < 300
    assert begun - ended == (1 if "defect" in end else 0)


def test_an_error_of_the_contract_ends_work_that_is_worth_nothing_in_part() -> None:
    begun = 0

    def work(number: int) -> int:
        nonlocal begun
        begun += 1
        if number == 5:
            raise Transfer("five")
        return number

    with pytest.raises(Transfer, match="five"):
        list(every(work, range(1000), workers=2))
    assert begun < 50
    assert no_thread_left()


@pytest.mark.parametrize("wait", [lambda: pause(PATIENCE_SECONDS), lambda: wait_for(Event())], ids=["pause", "wait_for"])
def test_a_wait_in_a_thread_of_the_run_ends_when_the_run_is_given_up(wait: Callable[[], None]) -> None:
    stop = Event()
    with threads(2, stop, "test") as pool:
        waiting = [pool.submit(wait) for _ in range(2)]
        assert not any(future.done() for future in waiting)
        stop.set()
        for future in waiting:
            with pytest.raises(Transfer, match="interrupted") as caught:
                future.result(PATIENCE_SECONDS / 2)
            assert not caught.value.transient


def test_a_wait_elsewhere_is_not_touched_by_a_run_that_was_given_up() -> None:
    """Also in a thread that belonged to another pool, and in this one."""
    stop, event = Event(), Event()
    stop.set()
    event.set()
    pause(0.0)
    wait_for(event)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(pause, 0.001).exception() is None
