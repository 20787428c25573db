"""The point-in-time join of one feature view: for each row that is asked about the newest row of features known then.

Feature rows come in blocks, in any order. Each is sorted by key and time (`newest`) and searched for all rows at once; what was
found in earlier blocks stays unless the new is newer. So memory is bounded by the rows that are asked about and one block,
whatever the length of the history, and the features come out in the order of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakehouse_connectors.feast.key_codes import KeyCodes
from lakehouse_connectors.feast.newest import FAR, NEVER, Sorted, Ticks, by_key_and_time, ticks, words_of
from lakehouse_connectors.feast.value_types import laid_out, roomy, without_views

__all__ = ["AsOf", "Asked"]

I64 = NDArray[np.int64]


class Asked:
    """The rows that are asked about: their keys and times, and how long what is found holds (``ttl``; None: for ever)."""

    def __init__(self, keys: KeyCodes, times: Ticks, ttl: timedelta | None) -> None:
        self.keys, self._times, self._ttl = keys, times, ttl

    def __len__(self) -> int:
        return len(self._times.values)

    def not_after(self, unit: str) -> I64:
        """For each row the last time that counts, in ``unit``. A row without a time finds nothing: its is `NEVER`."""
        return self._times.rescaled(unit, up=False)

    def not_before(self, unit: str) -> I64:
        """For each row the first time that counts, in ``unit``."""
        if self._ttl is None:
            return np.full(len(self), NEVER, np.int64)
        finest = "us" if "us" in (self._times.unit, unit) else "ns"  # what both reach to
        times = self._times.rescaled(finest, up=True)
        span = min(self._ttl // timedelta(microseconds=1) * (1000 if finest == "ns" else 1), FAR)
        least = np.where(times < NEVER + span, NEVER, times - span)
        return Ticks(least, least > NEVER, finest).rescaled(unit, up=True)


class AsOf:
    """The join of ``asked`` with the rows that `add` is given.

    ``key_columns``, ``timestamp``, ``created`` and ``features`` are columns of those rows. ``known_then``: a row counts only when
    it was created by the time too (one that does not say when it was, does not). ``ambiguous``: whether rows with the same key
    and times, but other features, were met, so that their features alone decided.
    """

    def __init__(
        self,
        asked: Asked,
        key_columns: Sequence[str],
        timestamp: str,
        created: str | None,
        features: pa.Schema,
        *,
        known_then: bool = False,
    ) -> None:
        self._asked, self._key_columns, self._timestamp, self._created = asked, list(key_columns), timestamp, created
        self._given, self._known_then = without_views(features), known_then and created is not None
        self._features = features.names
        self._kept = [roomy(features).empty_table()]
        self._kept_rows = 0
        self._where: I64 = np.full(len(asked), -1, np.int64)
        self._event: I64 = np.full(len(asked), NEVER, np.int64)
        self._created_at: I64 = np.full(len(asked), NEVER, np.int64)
        self._unit = "us"
        self.ambiguous = False

    def add(self, block: pa.Table) -> None:
        """Look among the rows of ``block``, whose layout is `roomy`. Raises `Config` for times that are none."""
        codes = self._asked.keys.of([block.column(name) for name in self._key_columns], block.num_rows)
        event, created = ticks(block, self._timestamp), ticks(block, self._created)
        self._unit = event.unit
        counts = (codes >= 0) & event.valid
        if self._known_then:
            counts &= created.valid
        rows = np.flatnonzero(counts)
        if not len(rows):
            return
        found = by_key_and_time(block, rows, codes[rows], event.values[rows], created.values[rows], self._features)
        self.ambiguous |= found.ambiguous
        if self._known_then:
            finer = "ns" if "ns" in (event.unit, created.unit) else "us"
            known = np.maximum(event.rescaled(finer, up=True), created.rescaled(finer, up=True))[found.rows]
            self._keep(block, found, self._known_by_then(found, known, self._asked.not_after(finer)))
        else:
            upto = self._asked.not_after(event.unit)
            self._keep(block, found, _last_not_later(found.event, self._starts(found), self._asked.keys.codes, upto))

    def result(self) -> pa.Table:
        """The features, one row for each that was asked about, in their order; NULL where there were none in time."""
        missing = (self._where < 0) | (self._event < self._asked.not_before(self._unit))
        return laid_out(pa.concat_tables(self._kept).take(pa.array(self._where, mask=missing)), self._given)

    def _starts(self, found: Sorted) -> I64:
        """Where the rows of each code begin in ``found``, and behind them where the last ends."""
        starts: I64 = np.zeros(self._asked.keys.count + 1, np.int64)
        np.cumsum(np.bincount(found.code, minlength=self._asked.keys.count), out=starts[1:])
        return starts

    def _known_by_then(self, found: Sorted, known: I64, upto: I64) -> I64:
        """For each row that is asked about, the place in ``found`` of the newest row that was ``known`` by then; else -1."""
        by_known = np.lexsort((known, found.code))
        newest_by_then: I64 = np.maximum.accumulate(by_known)  # places are by code first, so none is of another key
        place = _last_not_later(known[by_known], self._starts(found), self._asked.keys.codes, upto)
        return np.where(place < 0, -1, newest_by_then[place])

    def _keep(self, block: pa.Table, found: Sorted, positions: I64) -> None:
        asked = np.flatnonzero(positions >= 0)
        places = positions[asked]
        asked, places = self._newer(block, found, asked, places)
        if not len(asked):
            return
        used, numbers = _distinct(places, len(found.rows))
        self._kept.append(block.select(self._features).take(pa.array(found.rows[used])))
        self._where[asked] = self._kept_rows + numbers
        self._kept_rows += len(used)
        self._event[asked], self._created_at[asked] = found.event[places], found.created[places]
        if self._kept_rows > 2 * len(self._asked):
            self._forget()

    def _newer(self, block: pa.Table, found: Sorted, asked: I64, places: I64) -> tuple[I64, I64]:
        """Those of ``asked`` for which what is at ``places`` is newer than what was kept."""
        event, created = found.event[places], found.created[places]
        held_event, held_created = self._event[asked], self._created_at[asked]
        held = self._where[asked] >= 0
        newer = ~held | (event > held_event) | ((event == held_event) & (created > held_created))
        level = np.flatnonzero(held & (event == held_event) & (created == held_created))
        if len(level):
            mine = words_of(block, found.rows[places[level]], self._features)
            its = words_of(pa.concat_tables(self._kept), self._where[asked[level]], self._features)
            newer[level] = mine > its
            self.ambiguous |= bool((mine != its).any())
        return asked[newer], places[newer]

    def _forget(self) -> None:
        """Let go of rows that newer ones have replaced."""
        held = self._where >= 0
        used, numbers = _distinct(self._where[held], self._kept_rows)
        self._kept = [pa.concat_tables(self._kept).take(pa.array(used))]
        self._where[held], self._kept_rows = numbers, len(used)


def _distinct(places: I64, count: int) -> tuple[I64, I64]:
    """The distinct ones of some places below ``count``, in order, and for each of ``places`` its number among them."""
    used = np.zeros(count, np.bool_)
    used[places] = True
    return np.flatnonzero(used), (np.cumsum(used) - 1)[places]


def _last_not_later(times: I64, starts: I64, codes: I64, upto: I64) -> I64:
    """The last place of each code (they begin at ``starts``) with a time not after ``upto``, else -1: a binary search for all."""
    first = starts[codes]
    low, high = first.copy(), np.where(codes < 0, first, starts[codes + 1])
    open_ = np.flatnonzero(low < high)
    while len(open_):
        middle = (low[open_] + high[open_]) >> 1
        in_time = times[middle] <= upto[open_]
        low[open_[in_time]] = middle[in_time] + 1
        high[open_[~in_time]] = middle[~in_time]
        open_ = open_[low[open_] < high[open_]]
    return np.where(low > first, low - 1, -1)
