"""Keys as small integers, so that rows are joined by numbers whatever the keys' types are and however many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t
from numpy.typing import NDArray

from lakehouse.errors import Config, Unsupported
from lakehouse_connectors.feast.times import instants
from lakehouse_connectors.feast.value_types import plain_type

__all__ = ["NO_CODE", "KeyCodes", "as_key", "common_type"]

I64 = NDArray[np.int64]

NO_CODE = -1
"""The code of a row with a NULL among its keys, or with keys that were not asked for: it matches nothing."""


class KeyCodes:
    """The distinct keys of the rows that are asked about. ``codes``: one number a row; equal keys have equal numbers."""

    def __init__(self, columns: Sequence[pa.ChunkedArray], types: Mapping[str, pa.DataType], rows: int) -> None:
        """``columns``: the keys of ``rows`` rows (none: all rows are alike), by name compared as ``types`` (`common_type`).

        Raises `Config` for a value that its type cannot hold.
        """
        self._types = list(types.items())
        as_compared = [as_key(column, *key) for column, key in zip(columns, self._types, strict=True)]
        self._values = [column.unique().drop_null() for column in as_compared]
        self._pairs: list[I64] = []
        codes: I64 = np.zeros(rows, np.int64)
        for position, column in enumerate(as_compared):
            own = _index(column, self._values[position])
            if position == 0:
                codes = own
                continue
            pairs = self._paired(codes, own, position)
            ordered = np.sort(pairs[pairs >= 0])
            self._pairs.append(ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered)
            codes = _found(pairs, self._pairs[-1])
        self.codes = codes
        self.count = int(codes.max(initial=NO_CODE)) + 1

    def of(self, columns: Sequence[pa.ChunkedArray], rows: int) -> I64:
        """The codes of ``rows`` other rows, by their key columns; `NO_CODE` where nobody asks."""
        codes: I64 = np.zeros(rows, np.int64)
        for position, (column, key) in enumerate(zip(columns, self._types, strict=True)):
            own = _index(as_key(column, *key), self._values[position])
            codes = own if position == 0 else _found(self._paired(codes, own, position), self._pairs[position - 1])
        return codes

    def _paired(self, left: I64, right: I64, position: int) -> I64:
        return np.where((left < 0) | (right < 0), NO_CODE, left * len(self._values[position]) + right)


def common_type(asked: pa.DataType, held: pa.DataType, what: str) -> pa.DataType:
    """The type as which keys of two types are compared: the wider of one class. Whole numbers that were made floats of, as pandas
    does to columns with missing values, are integers again where the others are.

    Raises `Config`, which begins with ``what``, for types of different classes, `Unsupported` for those that are no keys.
    """
    asked, held = plain_type(asked), plain_type(held)
    if t.is_null(asked):
        asked = held
    kinds = {_kind(asked), _kind(held)}
    if kinds == {"integer", "float"}:
        kinds = {"integer"}
    if kinds == {"integer", "decimal"}:
        return pa.decimal128(38, max(each.scale for each in (asked, held) if t.is_decimal(each)))
    if len(kinds) > 1:
        raise Config(f"{what} is {asked}, while the dataset has {held}; cast one of them")
    match kinds.pop():
        case "integer":
            return pa.decimal128(20, 0) if pa.uint64() in (asked, held) else pa.int64()
        case "float":
            return pa.float64()
        case "text":
            return pa.large_string()
        case "bytes":
            return pa.large_binary()
        case "instant":
            return pa.timestamp("ns" if "ns" in (asked.unit, held.unit) else "us", tz="UTC")
        case "date":
            return pa.date32()
        case "boolean":
            return pa.bool_()
        case "decimal":
            if asked == held:
                return asked
            large = t.is_decimal256(asked) or t.is_decimal256(held)
            return (pa.decimal256 if large else pa.decimal128)(76 if large else 38, max(asked.scale, held.scale))
    raise Unsupported(f"{what} is {asked}, which is no type for a key")


def _kind(type: pa.DataType) -> str:
    kinds = [
        (t.is_integer, "integer"), (t.is_floating, "float"), (t.is_string, "text"), (t.is_binary, "bytes"),
        (t.is_boolean, "boolean"), (t.is_timestamp, "instant"), (t.is_date, "date"), (t.is_decimal, "decimal"),
    ]  # fmt: skip
    return next((name for holds, name in kinds if holds(type)), str(type))


def as_key(column: pa.ChunkedArray, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    """The key ``name`` as ``kind``, in which it is compared. Raises `Config` for values that are none of it."""
    try:
        if t.is_timestamp(kind):
            return instants(column, name).cast(kind)
        if t.is_floating(column.type) and not t.is_floating(kind):
            column = _whole(column, name)
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise Config(f"key {name!r} cannot be compared as {kind}: {error}") from None


def _whole(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Floats as the integers that they are. Raises `Config` for those so large that another integer is the same float."""
    largest = pc.call_function("max", [pc.call_function("abs", [column])]).as_py()
    if largest is not None and largest >= 2**53:
        raise Config(
            f"key {name!r} is {column.type} and has values of 2**53 or more, where floats skip integers; give it as Int64"
        )
    return column.cast(pa.int64())


def _index(column: pa.ChunkedArray, values: pa.Array) -> I64:
    found: Any = pc.call_function("index_in", [column], pc.SetLookupOptions(values, skip_nulls=True)).fill_null(NO_CODE)
    return np.asarray(found.to_numpy(), np.int64)


def _found(pairs: I64, known: I64) -> I64:
    if not len(known):
        return np.full(len(pairs), NO_CODE, np.int64)
    positions = np.minimum(np.searchsorted(known, pairs), len(known) - 1)
    return np.where(known[positions] == pairs, positions, NO_CODE)
