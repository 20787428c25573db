"""The constants of a SQL condition: exact values, and how a column of an Arrow type compares to one.

A constant is kept exactly as it is written, never as a machine number. Integers, decimals, dates, times and timestamps are whole
numbers of some step, so each comparison becomes one with a value that the column's type can hold: for an integer, ``a > 1.5`` is
``a >= 2``, and ``a < 300`` holds for all of an int8. Zones: what is written without one is UTC.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from datetime import time as time_of_day
from decimal import Context, Decimal, InvalidOperation
from fractions import Fraction
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from lakehouse.errors import Config

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Constant", "Grid", "Kind", "adapted", "grid_of", "kind_of", "parsed"]

Kind = Literal["number", "instant", "time", "text", "binary", "boolean", "uuid", "null"]

NANOSECONDS = 1_000_000_000
DAY = 86_400 * NANOSECONDS
MOST_DIGITS = 400
"""No number that a column can hold has more, and one with a larger exponent would not fit in memory."""
_STEPS = {"s": NANOSECONDS, "ms": 1_000_000, "us": 1000, "ns": 1}
_CLOCK = r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?"
_TIME = re.compile(_CLOCK)
_INSTANT = re.compile(rf"(\d{{4}}-\d{{2}}-\d{{2}})(?:[ T]{_CLOCK}\s*(Z|UTC|[+-]\d{{2}}(?::?\d{{2}})?)?)?", re.IGNORECASE)
_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant as it is meant. ``value``: Fraction or float (NaN, infinity) for a number; nanoseconds since 1970 or midnight
    for an instant (a date is its midnight) or time; str, bytes (a uuid's too), bool or None. ``shown``: as it was written.
    """

    kind: Kind
    value: Fraction | float | int | str | bytes | bool | None
    shown: str


@dataclass(frozen=True, slots=True)
class Grid:
    """A type whose values are whole numbers of ``step`` from ``low`` to ``high``; ``scalar`` makes an Arrow scalar of one."""

    kind: Kind
    step: Fraction
    low: int
    high: int
    scalar: Callable[[int], pa.Scalar]


def kind_of(kind: pa.DataType) -> Kind | None:
    """What constants a column of type ``kind`` compares to; None for nested types and intervals."""
    import pyarrow.types as t

    if t.is_dictionary(kind):
        return kind_of(kind.value_type)
    if getattr(kind, "extension_name", "") == "arrow.json":
        return "text"
    if t.is_integer(kind) or t.is_decimal(kind) or t.is_floating(kind):
        return "number"
    if t.is_date(kind) or t.is_timestamp(kind):
        return "instant"
    if t.is_time(kind):
        return "time"
    if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind):
        return "text"
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind) or t.is_fixed_size_binary(kind):
        return "binary"
    if t.is_boolean(kind):
        return "boolean"
    if t.is_null(kind):
        return "null"
    return "uuid" if getattr(kind, "extension_name", "") == "arrow.uuid" else None


def grid_of(kind: pa.DataType) -> Grid | None:
    """The grid of ``kind``; None where its values are no whole numbers of anything (floats, texts)."""
    import pyarrow as pa
    import pyarrow.types as t

    if t.is_integer(kind):
        low, high = (0, 2**kind.bit_width - 1) if t.is_unsigned_integer(kind) else _signed(kind.bit_width)
        return Grid("number", Fraction(1), low, high, lambda value: pa.scalar(value, kind))
    if t.is_decimal(kind):
        digits = Context(prec=100)
        step, high = Fraction(10) ** -kind.scale, 10**kind.precision - 1
        return Grid("number", step, -high, high, lambda value: pa.scalar(Decimal(value).scaleb(-kind.scale, digits), kind))
    if t.is_date32(kind):
        return Grid("instant", Fraction(DAY), *_signed(32), lambda value: pa.scalar(value, pa.int32()).cast(kind))
    if t.is_date64(kind):
        return Grid("instant", Fraction(DAY), *_signed(32), lambda value: pa.scalar(value * 86_400_000, pa.int64()).cast(kind))
    if t.is_timestamp(kind):
        return Grid("instant", Fraction(_STEPS[kind.unit]), *_signed(64), lambda value: pa.scalar(value, pa.int64()).cast(kind))
    if t.is_time(kind):
        step, width = _STEPS[kind.unit], pa.int32() if t.is_time32(kind) else pa.int64()
        return Grid("time", Fraction(step), 0, DAY // step - 1, lambda value: pa.scalar(value, width).cast(kind))
    return None


def adapted(constant: Constant, column: str, kind: pa.DataType) -> Constant:
    """``constant`` as a column of type ``kind`` takes it: a text becomes what it spells, as SQL does with untyped constants.

    Raises `Config` where the two do not compare (a number with a text column).
    """
    wanted = kind_of(kind)
    if wanted in (constant.kind, "null") or constant.kind == "null":
        return constant
    if constant.kind == "text" and wanted is not None:
        return parsed(str(constant.value), wanted)
    if constant.kind == "uuid" and wanted == "binary":
        return Constant("binary", constant.value, constant.shown)
    raise Config(f"where: column {column} is {kind}; it does not compare to {constant.shown} (a {constant.kind})")


def parsed(text: str, kind: Kind) -> Constant:
    """What ``text`` spells as a constant of ``kind``. Raises `Config` where it spells none."""
    shown = f"'{text}'"
    try:
        return Constant(kind, _READ[kind](text), shown)
    except (ValueError, ArithmeticError, InvalidOperation) as error:
        why = f" ({error})" if isinstance(error, ValueError) else ""
        raise Config(f"where: {shown} is no {_WORDS.get(kind, kind)}{why}") from None


def _number(text: str) -> Fraction | float:
    value = Decimal(text.strip())
    if not value.is_finite():
        return float(value)
    if value and abs(value.adjusted()) > MOST_DIGITS:
        return float(value) if value.adjusted() > 0 else Fraction(0)
    return Fraction(value)


def _instant(text: str) -> int:
    """Nanoseconds since 1970 in UTC."""
    found = _INSTANT.fullmatch(text.strip())
    if found is None:
        raise ValueError("write YYYY-MM-DD, or YYYY-MM-DD HH:MM:SS with +HH:MM or Z where it has a zone")
    days = (date.fromisoformat(found[1]) - date(1970, 1, 1)) // timedelta(days=1)
    clock = _clock(found[2], found[3], found[4], found[5]) if found[2] else 0
    zone = (found[6] or "Z").upper()
    if zone in ("Z", "UTC"):
        return days * DAY + clock
    ahead = int(zone[1:3]) * 60 + int(zone[3:].lstrip(":") or 0)
    return days * DAY + clock - (-1 if zone[0] == "-" else 1) * ahead * 60 * NANOSECONDS


def _time(text: str) -> int:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError("write HH:MM:SS")
    return _clock(*found.groups())


def _clock(hours: str, minutes: str, seconds: str | None, fraction: str | None) -> int:
    whole = time_of_day(int(hours), int(minutes), int(seconds or 0))
    return (whole.hour * 3600 + whole.minute * 60 + whole.second) * NANOSECONDS + int((fraction or "0").ljust(9, "0"))


def _binary(text: str) -> bytes:
    r"""As BLOB texts are written: ASCII, and other bytes as ``\xNN``."""
    return _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), text.encode("ascii"))


def _truth(text: str) -> bool:
    known = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    if text.strip().lower() not in known:
        raise ValueError("write true or false")
    return known[text.strip().lower()]


def _signed(bits: int) -> tuple[int, int]:
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


_READ: dict[Kind, Callable[[str], Fraction | float | int | str | bytes | bool]] = {
    "number": _number,
    "instant": _instant,
    "time": _time,
    "text": str,
    "binary": _binary,
    "boolean": _truth,
    "uuid": lambda text: UUID(text.strip()).bytes,
}
_WORDS: dict[Kind, str] = {"instant": "date or timestamp", "binary": "binary (ASCII and \\xNN)"}
