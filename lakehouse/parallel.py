"""A bounded parallel map: the one place where threads are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from lakehouse.errors import LakeError

__all__ = ["WINDOW_PER_WORKER", "each", "every"]

Item = TypeVar("Item")
Result = TypeVar("Result")

WINDOW_PER_WORKER = 4


def each(work: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[tuple[Item, Result | LakeError]]:
    """Run ``work`` on every item and yield (item, result) as they finish, in no order; a `LakeError` is a result too.

    At most ``4 * workers`` items are taken from ``items`` ahead of what has been yielded, so millions stream. When the
    consumer stops (Ctrl-C, an error of its own), nothing more is started and what runs is waited for: an object in flight
    ends whole or is aborted, never left half. Anything but a `LakeError` is a defect and is raised.
    """
    waiting = iter(items)
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="lake") as pool:
        running: dict[Future[Result], Item] = {}
        try:
            while True:
                for item in islice(waiting, workers * WINDOW_PER_WORKER - len(running)):
                    running[pool.submit(work, item)] = item
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    item = running.pop(future)
                    try:
                        outcome: Result | LakeError = future.result()
                    except LakeError as error:
                        outcome = error
                    yield item, outcome
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def every(work: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[tuple[Item, Result]]:
    """As `each`, for work that is worth nothing unless all of it is done: the first `LakeError` is raised."""
    for item, outcome in each(work, items, workers=workers):
        if isinstance(outcome, LakeError):
            raise outcome
        yield item, outcome
