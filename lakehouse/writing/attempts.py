"""Trying a commit again after another writer was faster, and the random pauses that keep many writers out of each other's way."""

from __future__ import annotations

import random
from collections.abc import Iterator

from lakehouse.parallel import pause

__all__ = ["TRIES", "attempts"]

TRIES = 200
_FIRST_SECONDS = 0.02
_LONGEST_SECONDS = 0.5


def attempts() -> Iterator[bool]:
    """`TRIES` turns, with a longer random pause before each but the first; True where it is the last."""
    for number in range(TRIES):
        if number:
            pause(random.uniform(0, min(_LONGEST_SECONDS, _FIRST_SECONDS * 2 ** min(number, 10))))  # noqa: S311 - no secret
        yield number == TRIES - 1
