"""A bounded parallel map: the one place where threads are made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from threading import Event
from typing import TypeVar

from lakehouse.errors import LakeError, Transfer

__all__ = ["WINDOW_PER_WORKER", "each", "every", "pause", "threads", "wait_for"]

Item = TypeVar("Item")
Result = TypeVar("Result")

WINDOW_PER_WORKER = 4
LONGEST_WAIT_SECONDS = 0.5
_INTERRUPTED = "interrupted while waiting; run again to complete"
_HERE = threading.local()


def threads(workers: int, stop: Event, name: str) -> ThreadPoolExecutor:
    """A pool of threads whose `pause` and `wait_for` end with ``stop``."""
    return ThreadPoolExecutor(workers, thread_name_prefix=name, initializer=setattr, initargs=(_HERE, "stop", stop))


def pause(seconds: float) -> None:
    """Sleep. In a thread of `threads` whose run is given up meanwhile (Ctrl-C), `Transfer` is raised at once."""
    stop = _stop()
    if stop is None:
        time.sleep(seconds)
    elif stop.wait(seconds):
        raise Transfer(_INTERRUPTED)


def wait_for(event: Event) -> None:
    """Wait until ``event`` is set; as `pause`, within half a second."""
    stop = _stop()
    while not event.wait(LONGEST_WAIT_SECONDS):
        if stop is not None and stop.is_set():
            raise Transfer(_INTERRUPTED)


def _stop() -> Event | None:
    found: Event | None = getattr(_HERE, "stop", None)
    return found


def each(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int, stop: Event | None = None
) -> Generator[tuple[Item, Result | LakeError], None, None]:
    """Run ``work`` on every item and yield (item, result) as they finish, in no order; a `LakeError` is a result too.

    At most ``4 * workers`` items are taken from ``items`` ahead of what has been yielded, so millions stream. When the
    consumer stops (Ctrl-C, an error of its own), nothing more is started, ``stop`` is set, and what runs is waited for: an object
    in flight ends whole or is aborted, never left half. Anything but a `LakeError` is a defect and is raised.
    """
    waiting = iter(items)
    stop = stop or Event()
    with threads(workers, stop, "lake") as pool:
        running: dict[Future[Result], Item] = {}
        finished: SimpleQueue[Future[Result]] = SimpleQueue()
        try:
            while True:
                for item in islice(waiting, workers * WINDOW_PER_WORKER - len(running)):
                    future = pool.submit(work, item)
                    running[future] = item
                    future.add_done_callback(finished.put)
                if not running:
                    return
                future = finished.get()
                try:
                    outcome: Result | LakeError = future.result()
                except LakeError as error:
                    outcome = _alone(error)
                yield running.pop(future), outcome
        except BaseException:
            stop.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _alone(error: LakeError) -> LakeError:
    """``error`` without the frames that it came through: they hold the bytes of the object that it tells of."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def every(work: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[tuple[Item, Result]]:
    """As `each`, for work that is worth nothing unless all of it is done: the first `LakeError` is raised."""
    for item, outcome in each(work, items, workers=workers):
        if isinstance(outcome, LakeError):
            raise outcome
        yield item, outcome
