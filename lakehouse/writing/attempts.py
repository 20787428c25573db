"""Trying a commit again after another process was faster, and the random pauses that keep many out of each other's way."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from lakehouse.parallel import pause

__all__ = ["attempts"]

_TRIES = 200
_AT_LEAST_SECONDS = 600.0
_FIRST_SECONDS = 0.005
_LONGEST_SECONDS = 0.3
_MOST_DOUBLINGS = 10


def attempts() -> Iterator[bool]:
    """Turns for ten minutes and at least two hundred, a longer random pause before each but the first; True where it is the last.

    Each turn is lost only because another writer has won, so a fair race ends long before.
    """
    number, began, last = 0, time.monotonic(), False
    while not last:
        if number:
            longest = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2 ** min(number, _MOST_DOUBLINGS))
            pause(random.uniform(0, longest))  # noqa: S311 - no secret
        number += 1
        last = number >= _TRIES and time.monotonic() - began > _AT_LEAST_SECONDS
        yield last
