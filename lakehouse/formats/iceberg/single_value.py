"""Single values as Iceberg writes them, each as a Python value that `pyarrow.scalar` takes (table spec, Appendix D).

Python values here are those that compare as the column's values do: numbers (of days, micro- or nanoseconds for dates and
times), text, bytes, `decimal.Decimal`.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import struct
import uuid
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["from_avro", "from_binary", "from_json"]

_EXACT = Context(prec=38)
_DAY = {"us": 86_400_000_000, "ns": 86_400_000_000_000}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FRACTION = re.compile(r"\.(\d{1,9})")
_SECOND = {"us": 10**6, "ns": 10**9}


def from_binary(raw: bytes, kind: pa.DataType) -> Any:
    """The value of a bound in the binary form; None where it says nothing (NaN), or is none of that type.

    ``kind``: the Arrow type that the column has now. The length tells what it was when the bound was written (spec, "Schema
    Evolution").
    """
    import pyarrow.types as types

    if types.is_string(kind):
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return None
    if types.is_decimal(kind):
        return _decimal(raw, kind.scale) if raw else None
    if types.is_binary(kind) or types.is_fixed_size_binary(kind):
        return raw
    if types.is_boolean(kind):
        return raw != b"\0" if len(raw) == 1 else None
    if types.is_floating(kind):
        value = struct.unpack("<f" if len(raw) == 4 else "<d", raw)[0] if len(raw) in _lengths(kind) else math.nan
        return None if math.isnan(value) else value
    if types.is_integer(kind) or types.is_temporal(kind):
        if len(raw) not in _lengths(kind):
            return None
        number = int.from_bytes(raw, "little", signed=True)
        return number * _DAY[kind.unit] if types.is_timestamp(kind) and len(raw) == 4 else number
    return None


def _lengths(kind: pa.DataType) -> tuple[int, ...]:
    """How long bounds of the column may be, in bytes: that of its type, and those of types that can be promoted to it."""
    import pyarrow.types as types

    if kind.bit_width == 32:
        return (4,)
    return (8,) if types.is_time(kind) or (types.is_timestamp(kind) and kind.tz is not None) else (4, 8)


def from_avro(value: Any, kind: pa.DataType) -> Any:
    """The value of a partition field as a manifest holds it. Raises ValueError where it is none of that type."""
    import pyarrow.types as types

    if value is None:
        return None
    if types.is_decimal(kind) and isinstance(value, bytes) and value:
        return _decimal(value, kind.scale)
    if types.is_string(kind):
        expected: type[Any] | tuple[type[Any], ...] = str
    elif types.is_binary(kind) or types.is_fixed_size_binary(kind) or _is_uuid(kind):
        expected = bytes
    elif types.is_boolean(kind):
        expected = bool
    else:
        expected = (int, float) if types.is_floating(kind) else int
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ValueError(f"{value!r} is no value of the type {kind}")
    return value


def from_json(value: Any, kind: pa.DataType) -> Any:
    """The value of a default of a primitive type in the JSON form. Raises ValueError where it is none."""
    import pyarrow.types as types

    if value is None:
        return None
    try:
        if types.is_decimal(kind):
            return Decimal(value)
        if types.is_date(kind):
            return (dt.date.fromisoformat(value) - _EPOCH.date()).days
        if types.is_time(kind) or types.is_timestamp(kind):
            return _instant(value, kind)
        if _is_uuid(kind):
            return uuid.UUID(value).bytes
        if types.is_binary(kind) or types.is_fixed_size_binary(kind):
            return bytes.fromhex(value)
        if types.is_floating(kind):
            return float(value)
    except (TypeError, ArithmeticError, AttributeError) as error:
        raise ValueError(f"{value!r} is no value of the type {kind}") from error
    expected = str if types.is_string(kind) else bool if types.is_boolean(kind) else int
    if types.is_null(kind) or not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ValueError(f"{value!r} is no value of the type {kind}")
    return value


def _instant(value: str, kind: Any) -> int:
    """The time or timestamp ``value`` in units of ``kind``; nanoseconds, which Python's do not hold, apart."""
    found = _FRACTION.search(value)
    fraction = int((found[1] if found else "0").ljust(9, "0")) // (10**9 // _SECOND[kind.unit])
    whole = _FRACTION.sub("", value)
    if "T" not in whole:
        time = dt.time.fromisoformat(whole)
        return (time.hour * 3600 + time.minute * 60 + time.second) * _SECOND[kind.unit] + fraction
    moment = dt.datetime.fromisoformat(whole)
    moment = moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment
    return (moment - _EPOCH) // dt.timedelta(seconds=1) * _SECOND[kind.unit] + fraction


def _decimal(raw: bytes, scale: int) -> Decimal:
    return Decimal(int.from_bytes(raw, "big", signed=True)).scaleb(-scale, _EXACT)


def _is_uuid(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return isinstance(kind, pa.UuidType)
