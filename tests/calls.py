"""Which calls of a sync fail in a test of faults: all of them with `scripts/test --all`, a spread of them otherwise."""

from __future__ import annotations

import os

__all__ = ["ALL", "some_of"]

ALL = "LAKE_TEST_ALL" in os.environ
_STEP, _LAST = 17, 5


def some_of(count: int) -> list[int]:
    """Numbers of calls from 1 to ``count``: each seventeenth, and the last few, which publish."""
    if ALL:
        return list(range(1, count + 1))
    return sorted({*range(1, count + 1, _STEP), *range(max(1, count - _LAST), count + 1)})
