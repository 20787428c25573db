"""What a training set is to be, as a plain loop over rows: slow, obvious, and of no code that the store has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Keys = tuple[Any, ...]
Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """A row of a feature table. Times are numbers of any one unit, None for NULL."""

    keys: Keys
    event: int | None
    created: int | None
    values: Values


def known(
    rows: Iterable[FeatureRow], keys: Keys, when: int | None, *, ttl: int = 0, created_by_then: bool = False
) -> set[Values]:
    """The values that a row of ``keys`` at ``when`` may be given: more than one where rows tie in all that decides.

    The newest row at or before ``when`` that matches, created last of those of one event time, unless it is older than ``ttl``
    (0: no matter). NULL matches nothing; a NULL created time is the earliest. ``()`` is what is known where no row is.
    """
    best: tuple[int, int, int] | None = None
    found: set[Values] = set()
    for row in rows:
        if when is None or row.event is None or row.event > when:
            continue
        if any(left is None or right is None or left != right for left, right in zip(row.keys, keys, strict=True)):
            continue
        if created_by_then and (row.created is None or row.created > when):
            continue
        if best is None or rank(row) > best:
            best, found = rank(row), set()
        if rank(row) == best:
            found.add(row.values)
    if best is None or when is None or (ttl and best[0] < when - ttl):
        return {()}
    return found


def latest(rows: Sequence[FeatureRow], start: int, end: int) -> dict[Keys, set[tuple[int, Values]]]:
    """What materializing from ``start`` to ``end``, both included, brings online: each key's newest row, with its event time."""
    within = [row for row in rows if row.event is not None and start <= row.event <= end and None not in row.keys]
    answers: dict[Keys, set[tuple[int, Values]]] = {}
    for keys in {row.keys for row in within}:
        own = [row for row in within if row.keys == keys]
        newest = max(rank(row) for row in own)
        answers[keys] = {(newest[0], row.values) for row in own if rank(row) == newest}
    return answers


def rank(row: FeatureRow) -> tuple[int, int, int]:
    """By what rows of a key are newer than others."""
    assert row.event is not None
    return (row.event, 0, 0) if row.created is None else (row.event, 1, row.created)
