"""What a partition value says of the column that it was made of (Iceberg table spec, "Partition Transforms")."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lakehouse.formats.iceberg.single_value import from_avro, from_binary
from lakehouse.reading.prefix import text_after

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Range", "range_of", "tells_nulls", "value_of_bound"]

Range = tuple[Any, Any]
"""The lowest and the highest value that the column can have; None: not known."""

_TRUNCATE = re.compile(r"truncate\[\s*(\d+)\s*\]")
_BUCKET = re.compile(r"bucket\[\s*\d+\s*\]")
_UNITS = ("year", "month", "day", "hour")
_PER_DAY = {"us": 86_400 * 10**6, "ns": 86_400 * 10**9}
_UNKNOWN: Range = (None, None)
_GREATEST = (2**31 - 1, 2**63 - 1)
"""Of an int and of a long, which the column may have been when the value was made."""


def range_of(transform: str, value: Any, kind: pa.DataType) -> Range:
    """The values of a column of the type ``kind`` that ``transform`` makes ``value`` of, as `single_value` has them.

    ``value``: as a manifest holds it, not null. Nothing is known for buckets and transforms that nobody knows, nor for integers
    truncated at the end of their range. Raises ValueError for a value that the transform cannot make.
    """
    if transform == "identity":
        exact = from_avro(value, kind)
        return (exact, exact) if exact == exact else _UNKNOWN  # NaN lies outside of bounds
    if transform in _UNITS:
        return _of_unit(transform, value, kind)
    width = _TRUNCATE.fullmatch(transform)
    return _UNKNOWN if width is None else _of_truncated(int(width[1]), from_avro(value, kind), kind)


def tells_nulls(transform: str) -> bool:
    """Whether it gives null for null and for nothing else, as all of the specification but void; of others nothing is known."""
    return transform in ("identity", *_UNITS) or any(form.fullmatch(transform) is not None for form in (_TRUNCATE, _BUCKET))


def value_of_bound(transform: str, raw: bytes, kind: pa.DataType) -> Any:
    """A bound of a manifest's partition summary as a value for `range_of`; None where it says nothing of the column."""
    if transform in _UNITS:
        return int.from_bytes(raw, "little", signed=True) if len(raw) == 4 else None
    if transform != "identity" and _TRUNCATE.fullmatch(transform) is None:
        return None
    value = from_binary(raw, kind)
    if isinstance(value, Decimal):
        return raw
    return value


def _of_unit(unit: str, value: Any, kind: pa.DataType) -> Range:
    """Writers of old rounded times before 1970 towards it, so a value that is not positive may be that of the unit before."""
    import pyarrow.types as types

    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no number of {unit}s")
    before = 1 if value <= 0 and not (unit == "day" and types.is_date(kind)) else 0
    per_day = 1 if types.is_date(kind) else _PER_DAY[kind.unit]
    if unit == "hour":
        hour = per_day // 24
        return (value - before) * hour, (value + 1) * hour - 1
    start, end = (_first_day(unit, each) for each in (value - before, value + 1))
    return start * per_day, end * per_day - 1


def _first_day(unit: str, value: int) -> int:
    """The first day of a year, month or day counted from 1970, in days from 1970, in the Gregorian calendar without end."""
    if unit == "day":
        return value
    month = value if unit == "month" else 12 * value
    year, number = 1970 + month // 12, month % 12
    year_before, shifted = (year - 1, number + 10) if number < 2 else (year, number - 2)  # years from March on
    leaps = year_before // 4 - year_before // 100 + year_before // 400
    return 365 * year_before + leaps + (153 * shifted + 2) // 5 - 719_468


def _of_truncated(width: int, value: Any, kind: pa.DataType) -> Range:
    if isinstance(value, str):
        return value, value if len(value) < width else text_after(value)
    if isinstance(value, bytes):
        return value, value if len(value) < width else None
    if isinstance(value, Decimal):
        return value, value + Decimal(width - 1).scaleb(-kind.scale)
    last = value + width - 1
    if any(value <= greatest < last for greatest in _GREATEST):  # the lowest ones wrap: they are truncated to the highest
        return _UNKNOWN
    return value, last
