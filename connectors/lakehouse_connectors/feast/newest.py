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
import pyarrow.types as t
from numpy.typing import NDArray

from lakehouse.lrh1 import row_words
from lakehouse_connectors.feast.key_codes import KeyCodes, common_type
from lakehouse_connectors.feast.times import instants

__all__ = [
    "FAR",
    "NEVER",
    "Sorted",
    "Ticks",
    "blocks",
    "by_key_and_time",
    "common_unit",
    "newest_of_each_key",
    "rescaled",
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
    """Times as integers since 1970, of microseconds or nanoseconds. ``valid``: where there is one; the others are `NEVER`."""

    values: I64
    valid: NDArray[np.bool_]


def ticks(table: pa.Table, name: str | None, unit: str) -> Ticks:
    """The column ``name`` of times in ``unit``, ``us`` or ``ns``; none at all where there is no such column.

    Raises `Config` for what is no time.
    """
    if name is None:
        return Ticks(np.full(table.num_rows, NEVER, np.int64), np.zeros(table.num_rows, np.bool_))
    times = instants(table.column(name), name)
    found = times.cast(pa.int64())
    valid = np.asarray(found.is_valid().to_numpy(), np.bool_)
    values = rescaled(np.asarray(found.fill_null(0).to_numpy(), np.int64), times.type.unit, unit, up=False)
    return Ticks(np.where(valid, values, NEVER), valid)


def rescaled(values: I64, have: str, want: str, *, up: bool) -> I64:
    """Times in another unit, rounded up or down; those that it cannot hold become the farthest that it can."""
    if have == want:
        return values
    if want == "us":
        return -(-values // 1000) if up else values // 1000
    return np.clip(values, NEVER // 1000 + 1, FAR // 1000) * 1000


def common_unit(fields: Iterable[pa.Field]) -> str:
    """The unit in which times of these columns are compared: ``ns`` where one of them has nanoseconds, else ``us``."""
    return "ns" if any(t.is_timestamp(field.type) and field.type.unit == "ns" for field in fields) else "us"


@dataclass(frozen=True, slots=True)
class Sorted:
    """Rows in order: ``rows`` are their positions; ``code``, ``event``, ``created`` and ``words`` are of the rows in that order.

    ``words`` tell rows apart that are equal in all else, and are 0 elsewhere. ``ambiguous``: whether such rows have unlike
    features.
    """

    rows: I64
    code: I64
    event: I64
    created: I64
    words: U64
    ambiguous: bool


def by_key_and_time(table: pa.Table, rows: I64, code: I64, event: I64, created: I64, features: Sequence[str]) -> Sorted:
    """``rows`` (positions in ``table``, with their keys' codes and their times) by code, then from the oldest to the newest."""
    order = np.lexsort((created, event, code))
    rows, code, event, created = rows[order], code[order], event[order], created[order]
    words = np.zeros(len(rows), np.uint64)
    equal = (code[1:] == code[:-1]) & (event[1:] == event[:-1]) & (created[1:] == created[:-1])
    if not equal.any():
        return Sorted(rows, code, event, created, words, ambiguous=False)
    tied = np.flatnonzero(np.append(equal, False) | np.insert(equal, 0, False))
    own = words_of(table, rows[tied], features)
    again = np.lexsort((own, created[tied], event[tied], code[tied]))
    rows[tied], words[tied] = rows[tied][again], own[again]
    return Sorted(rows, code, event, created, words, ambiguous=bool((words[1:] != words[:-1])[equal].any()))


def newest_of_each_key(
    table: pa.Table, join_keys: Sequence[str], features: Sequence[str], timestamp: str, created: str | None
) -> pa.Table:
    """Of each key the newest row, in the order of ``table``; rows with a NULL among their keys, or without a time, are of nobody.

    No ``join_keys``: the newest row of all. Raises `Config` for times that are none, `Unsupported` for a type that is no key's.
    """
    keys = [table.column(name) for name in join_keys]
    types = {name: common_type(key.type, key.type, f"key {name!r}") for name, key in zip(join_keys, keys, strict=True)}
    codes = KeyCodes(keys, types, table.num_rows).codes
    unit = common_unit(table.schema.field(name) for name in (timestamp, created) if name)
    event, known = ticks(table, timestamp, unit), ticks(table, created, unit)
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
    """The batches as tables of about ``size_bytes`` each, so that sorting and searching are done a few times and not for each."""
    held: list[Any] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= size_bytes:
            yield pa.Table.from_batches(held)
            held, size = [], 0
    if held:
        yield pa.Table.from_batches(held)
