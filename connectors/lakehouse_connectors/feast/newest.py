"""Rows of features by key and time: which of them was the newest one known.

Newer is the row with the later event time; of equal ones that with the later created time, where none is the earliest; of rows
that are equal in both, the one whose features have the largest `lakehouse.lrh1.row_words`: a choice that no order of files or
rows shows in, so that it stays the same in every format and place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakehouse.lrh1 import row_words
from lakehouse_connectors.feast.key_codes import KeyCodes, common_type
from lakehouse_connectors.feast.times import instants
from lakehouse_connectors.feast.value_types import roomy

__all__ = [
    "FAR",
    "NEVER",
    "Sorted",
    "Ticks",
    "blocks",
    "by_key_and_time",
    "newest_of_each_key",
    "ticks",
    "words_of",
]

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

NEVER = -(2**63)
"""The created time of a row that has none."""

FAR = 2**63 - 1
"""The latest time that there is."""


@dataclass(frozen=True, slots=True)
class Ticks:
    """Times as integers since 1970 in ``unit``, ``us`` or ``ns``. ``valid``: where there is one; the others are `NEVER`."""

    values: I64
    valid: NDArray[np.bool_]
    unit: str

    def rescaled(self, unit: str, *, up: bool) -> I64:
        """The times in another unit, rounded up or down; those that it cannot hold become the farthest that it can."""
        if unit == self.unit:
            return self.values
        if unit == "us":
            values = -(-self.values // 1000) if up else self.values // 1000
        else:
            values = np.clip(self.values, NEVER // 1000 + 1, FAR // 1000) * 1000
            values = np.where(self.values > FAR // 1000, FAR, values) if up else values
        return np.where(self.valid, values, NEVER)


def ticks(table: pa.Table, name: str | None) -> Ticks:
    """The column ``name`` of times; none at all where there is no such column. Raises `Config` for what is no time."""
    if name is None:
        return Ticks(np.full(table.num_rows, NEVER, np.int64), np.zeros(table.num_rows, np.bool_), "us")
    times = instants(table.column(name), name)
    valid = np.asarray(times.is_valid().to_numpy(), np.bool_)
    values = np.asarray(times.cast(pa.int64()).fill_null(NEVER).to_numpy(), np.int64)
    return Ticks(values, valid, times.type.unit)


@dataclass(frozen=True, slots=True)
class Sorted:
    """Rows in order: ``rows`` are their positions; ``code``, ``event`` and ``created`` are of the rows in that order.

    ``ambiguous``: whether rows that are equal in all three have unlike features.
    """

    rows: I64
    code: I64
    event: I64
    created: I64
    ambiguous: bool


def by_key_and_time(table: pa.Table, rows: I64, code: I64, event: I64, created: I64, features: Sequence[str]) -> Sorted:
    """``rows`` (positions in ``table``, with their keys' codes and their times) by code, then from the oldest to the newest."""
    order = _order(code, event, created)
    rows, code, event, created = rows[order], code[order], event[order], created[order]
    equal = (code[1:] == code[:-1]) & (event[1:] == event[:-1]) & (created[1:] == created[:-1])
    if not equal.any():
        return Sorted(rows, code, event, created, ambiguous=False)
    tied = np.flatnonzero(np.append(equal, False) | np.insert(equal, 0, False))
    words = np.zeros(len(rows), np.uint64)
    words[tied] = words_of(table, rows[tied], features)
    again = tied[np.lexsort((words[tied], created[tied], event[tied], code[tied]))]
    rows[tied], words[tied] = rows[again], words[again]
    return Sorted(rows, code, event, created, ambiguous=bool((words[1:] != words[:-1])[equal].any()))


def _order(code: I64, event: I64, created: I64) -> I64:
    """Positions in the order of code, event and created; of equal rows in any order.

    One sort of code and event packed into 64 bits, of the event as many as there is room for; only what is equal in them is
    sorted by all three. That takes less than half of the time of `numpy.lexsort`.
    """
    if not len(code):
        return np.zeros(0, np.int64)
    least = int(event.min())
    room = 62 - int(code.max()).bit_length()
    shift = max(0, (int(event.max()) - least).bit_length() - room)
    since_least = event.view(np.uint64) - np.uint64(least % 2**64)  # wraps around, as it must
    packed = (code << room) | (since_least >> np.uint64(shift)).astype(np.int64)
    order = np.argsort(packed)
    packed = packed[order]
    same = packed[1:] == packed[:-1]
    if same.any():
        tied = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
        among = order[tied]
        order[tied] = among[np.lexsort((created[among], event[among], code[among]))]
    return order


def newest_of_each_key(
    table: pa.Table, join_keys: Sequence[str], features: Sequence[str], timestamp: str, created: str | None
) -> pa.Table:
    """Of each key the newest row, in the order of ``table``; rows with a NULL among their keys, or without a time, are of nobody.

    No ``join_keys``: the newest row of all. Raises `Config` for times that are none, `Unsupported` for a type that is no key's.
    """
    keys = [table.column(name) for name in join_keys]
    types = {name: common_type(key.type, key.type, f"key {name!r}") for name, key in zip(join_keys, keys, strict=True)}
    codes = KeyCodes(keys, types, table.num_rows).codes
    event, known = ticks(table, timestamp), ticks(table, created)
    rows = np.flatnonzero((codes >= 0) & event.valid)
    found = by_key_and_time(table, rows, codes[rows], event.values[rows], known.values[rows], features)
    last = np.append(found.code[1:] != found.code[:-1], True)[: len(rows)]
    return table.take(pa.array(np.sort(found.rows[last])))


def words_of(table: pa.Table, rows: I64, features: Sequence[str]) -> U64:
    """The words of some rows of ``table``, made of ``features``."""
    taken = table.select(list(features)).take(pa.array(rows))
    found = [row_words(batch) for batch in taken.to_batches()]
    return np.concatenate(found) if found else np.zeros(0, np.uint64)


def blocks(batches: Iterable[pa.RecordBatch], size_bytes: int) -> Iterator[pa.Table]:
    """The batches as tables of about ``size_bytes`` each, so that sorting and searching are done a few times and not for each.

    Their layout is `roomy`.
    """
    held: list[Any] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= size_bytes:
            yield _table(held)
            held, size = [], 0
    if held:
        yield _table(held)


def _table(batches: list[Any]) -> pa.Table:
    table = pa.Table.from_batches(batches)
    return table.cast(roomy(table.schema))
