"""The text of partition values, as typed scalars.

PROTOCOL.md, "Partition Value Serialization": the empty text is null for every type. A timestamp is written as UTC with a zone, or
without one; then it is an instant in the writer's own zone, which the log does not tell: it is read as UTC, as other readers do.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from lakehouse.errors import NotFound, Unsupported

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["date_days", "partition_scalar", "timestamp_micros"]

_DATE = r"([+-]?\d{4,6})-(\d{1,2})-(\d{1,2})"
_IS_DATE = re.compile(_DATE)
_TIMESTAMP = re.compile(
    rf"{_DATE}(?:[T ](\d{{1,2}}):(\d{{1,2}})(?::(\d{{1,2}})(?:\.(\d{{1,9}}))?)?)?\s*(Z|UTC|[+-]\d{{2}}:?\d{{2}}(?::?\d{{2}})?)?"
)
_INTEGER = re.compile(r"[+-]?\d{1,19}")
_ESCAPED = re.compile(r"(?:\\u00[0-9A-Fa-f]{2})+")


def partition_scalar(where: str, column: str, text: str | None, kind: pa.DataType) -> pa.Scalar:
    """The value that ``text`` stands for, a scalar of type ``kind``.

    Raises `NotFound`, naming ``where`` and ``column``, for a text that is no such value, `Unsupported` for one that means
    different values to different writers.
    """
    import pyarrow as pa

    if text is None or text == "":
        return pa.scalar(None, kind)
    if pa.types.is_binary(kind) and _ESCAPED.fullmatch(text):
        raise Unsupported(
            f"{where}: the partition value {text!r} of the binary column {column!r} is written as escapes by some writers and is "
            "plain text to others, so it is not known which bytes it means"
        )
    try:
        return _scalar(text, kind)
    except (ValueError, OverflowError, InvalidOperation, pa.ArrowException) as error:
        raise NotFound(f"{where}: the partition value {text!r} of the column {column!r} is no {kind} ({error})") from error


def _scalar(text: str, kind: pa.DataType) -> pa.Scalar:
    import pyarrow as pa

    if pa.types.is_string(kind):
        return pa.scalar(text, kind)
    if pa.types.is_binary(kind):
        return pa.scalar(text.encode(), kind)
    if pa.types.is_boolean(kind):
        return pa.scalar(text.lower() == "true", kind) if text.lower() in ("true", "false") else _refuse(text)
    if pa.types.is_integer(kind):
        return pa.scalar(int(text), kind) if _INTEGER.fullmatch(text) else _refuse(text)
    if pa.types.is_floating(kind):
        return pa.scalar(float(text), kind)
    if pa.types.is_decimal(kind):
        return pa.scalar(Decimal(text), kind)
    if pa.types.is_date(kind):
        return pa.scalar(date_days(text), pa.int32()).cast(kind)
    if pa.types.is_timestamp(kind):
        return pa.scalar(timestamp_micros(text), pa.int64()).cast(kind)
    return _refuse(text)


def _refuse(text: str) -> pa.Scalar:
    raise ValueError(f"{text!r} is not written as such a value is")


def date_days(text: str) -> int:
    """Days since 1970-01-01 of a date ``year-month-day``, in years of any length. Raises `ValueError`."""
    match = _IS_DATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no date")
    return _days(*match.groups())


def _days(year: str, month: str, day: str) -> int:
    import numpy as np

    days = np.datetime64(f"{int(year):+05d}-{int(month):02d}-{int(day):02d}".removeprefix("+"), "D")
    return int(days.astype(np.int64))


def timestamp_micros(text: str) -> int:
    """Microseconds since 1970-01-01 of ``date time zone``, of which time and zone may be left out (midnight, UTC).

    Digits below the microsecond are dropped. Raises `ValueError`.
    """
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no timestamp")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    if int(hour or 0) > 23 or int(minute or 0) > 59 or int(second or 0) > 59:
        raise ValueError(f"{text!r} is no time of a day")
    seconds = int(hour or 0) * 3600 + int(minute or 0) * 60 + int(second or 0) - _offset(zone)
    return (_days(year, month, day) * 86_400 + seconds) * 1_000_000 + int((fraction or "0")[:6].ljust(6, "0"))


def _offset(zone: str | None) -> int:
    """Seconds east of UTC."""
    if zone in (None, "Z", "UTC"):
        return 0
    digits = (zone or "")[1:].replace(":", "").ljust(6, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:6])
    return -seconds if (zone or "")[0] == "-" else seconds
