"""What the statistics of a data file tell of its columns, in a scan's own types.

PROTOCOL.md, "Per-file Statistics". A bound is only ever used to leave a file out, so one that may be too narrow is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lakehouse.formats.delta.live import AddFile
from lakehouse.formats.delta.partition_values import date_days, timestamp_micros
from lakehouse.formats.delta.schema import DeltaColumn
from lakehouse.reading.task import ColumnBounds

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FileStatistics", "parsed_columns"]

_MILLISECOND = 1000
"""In microseconds: timestamps are written without what is below it, so a value may be as much above the maximum."""

_TIE_BREAKER, _GREATEST = "\ufffd", "\U0010ffff"
"""What older writers put behind the characters of a maximum that they cut off, and what is above every character."""


class FileStatistics:
    """`lakehouse.reading.task.Bounds` of one file. ``constants``: its partition values, by column.

    The statistics are parsed when they are first asked for. What cannot be understood of them is not known.
    """

    __slots__ = ("_add", "_columns", "_constants", "_found")

    def __init__(self, add: AddFile, columns: Mapping[str, DeltaColumn], constants: Mapping[str, pa.Scalar]) -> None:
        self._add, self._columns, self._constants = add, columns, constants
        self._found: Mapping[str, Any] | None = None

    @property
    def rows(self) -> int | None:
        """How many rows the file holds, those that are deleted included; None where it is not known."""
        return self._add.rows

    def __call__(self, name: str) -> ColumnBounds | None:
        if (constant := self._constants.get(name)) is not None:
            return _exact(constant, self.rows)
        column = self._columns.get(name)
        if column is None:
            return None
        nulls = self._nulls(column.key)
        if _was_float(column):
            return ColumnBounds(nulls=nulls)
        return ColumnBounds(self._bound("minValues", column, upper=False), self._bound("maxValues", column, upper=True), nulls)

    def _statistics(self) -> Mapping[str, Any]:
        if self._found is None:
            self._found = _parsed(self._add.stats)
        return self._found

    def _bound(self, which: str, column: DeltaColumn, *, upper: bool) -> pa.Scalar | None:
        import pyarrow as pa

        values = self._statistics().get(which)
        value = values.get(column.key) if isinstance(values, Mapping) else None
        if value is None:
            return None
        try:
            return _scalar(value, column.type, upper=upper)
        except (ValueError, TypeError, ArithmeticError, pa.ArrowException):
            return None

    def _nulls(self, key: str) -> int | None:
        """PROTOCOL.md, "Per-file Statistics": with wide bounds only "none" and "all" say anything of the rows that are left."""
        counts = self._statistics().get("nullCount")
        found = _count(counts.get(key)) if isinstance(counts, Mapping) else None
        wide = self._add.vector is not None or self._statistics().get("tightBounds") is False
        return found if not wide or found in (0, self.rows) else None


def parsed_columns(columns: tuple[DeltaColumn, ...]) -> tuple[str, ...]:
    """Which columns of ``stats_parsed`` (dotted names) a scan can use.

    Dates and timestamps are left out: checkpoints may hold instants in a form that wraps around, and years that Python has not.
    """
    import pyarrow as pa

    names = ["numRecords", "tightBounds"]
    for column in columns:
        kind = column.type
        if not column.partition and not pa.types.is_nested(kind) and not pa.types.is_temporal(kind):
            names += [f"{which}.{column.key}" for which in ("minValues", "maxValues", "nullCount")]
    return tuple(names)


def _was_float(column: DeltaColumn) -> bool:
    """Whether older files may hold floats in a column of doubles: the text of a float's bound is another number as a double."""
    import pyarrow as pa

    return column.widened and pa.types.is_float64(column.type)


def _parsed(stats: str | Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Decimals keep all their digits."""
    if not isinstance(stats, str):
        return stats or {}
    try:
        found = json.loads(stats, parse_float=Decimal)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _exact(constant: pa.Scalar, rows: int | None) -> ColumnBounds:
    import pyarrow as pa

    if not constant.is_valid:
        return ColumnBounds(nulls=rows)
    if pa.types.is_floating(constant.type) and constant.as_py() != constant.as_py():
        return ColumnBounds(nulls=0)
    return ColumnBounds(constant, constant, 0)


def _scalar(value: Any, kind: pa.DataType, *, upper: bool) -> pa.Scalar | None:
    """A minimum or maximum as the log states it, as a bound of the type ``kind``; None where it bounds nothing."""
    import pyarrow as pa

    if pa.types.is_string(kind):
        return pa.scalar(_greatest(value) if upper else value, kind) if isinstance(value, str) else None
    if pa.types.is_floating(kind):
        number = _next(float(value), upper=upper) if pa.types.is_float32(kind) else float(value)
        return pa.scalar(number, kind) if number == number else None
    if pa.types.is_boolean(kind):
        return pa.scalar(value, kind) if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if pa.types.is_integer(kind):
        return pa.scalar(value, kind) if isinstance(value, int) else None
    if pa.types.is_decimal(kind):
        return pa.scalar(Decimal(value), kind) if isinstance(value, int | str | Decimal) else None
    if pa.types.is_date(kind):
        days = (value - date(1970, 1, 1)).days if isinstance(value, date) else date_days(value)
        return pa.scalar(days, pa.int32()).cast(kind)
    if pa.types.is_timestamp(kind) and isinstance(value, str):
        return pa.scalar(timestamp_micros(value) + (_MILLISECOND if upper else 0), pa.int64()).cast(kind)
    return None


def _next(number: float, *, upper: bool) -> float:
    """The float beside ``number``, further out: a text that is read as a double and then rounded may become the wrong float."""
    import numpy as np

    with np.errstate(over="ignore"):  # what no float can be is infinite
        return float(np.nextafter(np.float32(number), np.float32("inf" if upper else "-inf")))


def _greatest(text: str) -> str:
    """A maximum that was cut off, above whatever followed: what older writers append is below characters of four bytes."""
    return text[:-1] + _GREATEST if text.endswith(_TIE_BREAKER) else text
