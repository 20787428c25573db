"""Instants in Arrow. A time without a zone is UTC, whatever the host's zone is; a date is its midnight in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t

from lakehouse.errors import Config

__all__ = ["aware", "instants", "is_day", "is_time", "microseconds", "python_time", "within", "within_days"]


def is_time(type: pa.DataType) -> bool:
    """Whether columns of ``type`` hold instants or days."""
    return bool(t.is_timestamp(type) or t.is_date(type))


def is_day(type: pa.DataType) -> bool:
    """Whether a column of ``type`` may hold the days of rows, as `within_days` takes them."""
    return is_time(type) or _is_text(type)


def aware(moment: datetime) -> datetime:
    """``moment`` in UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def instants(column: pa.ChunkedArray | pa.Array, name: str) -> pa.ChunkedArray | pa.Array:
    """``column`` as instants: ``timestamp[us, UTC]``, or ``ns`` where it has nanoseconds. Text is read as ISO 8601.

    Raises `Config` for what is no time.
    """
    try:
        return _instants(column, name)
    except pa.ArrowInvalid as error:
        raise Config(f"{name}: {error}") from None


def _instants(column: pa.ChunkedArray | pa.Array, name: str) -> pa.ChunkedArray | pa.Array:
    kind = column.type
    if t.is_timestamp(kind):
        return column.cast(pa.timestamp("ns" if kind.unit == "ns" else "us", tz="UTC"))
    if t.is_date(kind):
        return column.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
    if _is_text(kind):
        return _parsed(column, name)
    if t.is_null(kind):
        return column.cast(pa.timestamp("us", tz="UTC"))
    raise Config(f"{name}: {kind} is no time")


def _parsed(column: pa.ChunkedArray | pa.Array, name: str) -> pa.ChunkedArray | pa.Array:
    try:
        found = pd.to_datetime(column.to_pandas(), utc=True, format="ISO8601")
    except pd.errors.OutOfBoundsDatetime:
        return pa.array(
            [aware(datetime.fromisoformat(text)) if text else None for text in column.to_pylist()], pa.timestamp("us", tz="UTC")
        )
    except ValueError as error:
        raise Config(f"{name}: {error}; write times as ISO 8601, such as 2024-02-29T12:00:00+01:00") from None
    return pa.array(found, pa.timestamp("ns" if found.dt.unit == "ns" else "us", tz="UTC"), from_pandas=True)


def microseconds(moment: datetime) -> int:
    """``moment`` as microseconds since 1970, UTC."""
    return (aware(moment) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def python_time(instant: pa.Scalar) -> datetime | None:
    """An instant of `instants` as Python has it, to the microsecond; those that it has not become the farthest that it has."""
    if not instant.is_valid:
        return None
    ticks = instant.cast(pa.int64()).as_py() // (1000 if instant.type.unit == "ns" else 1)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=max(_FIRST, min(ticks, _LAST)))


def within(field: pa.Field, start: int | None, end: int | None) -> pc.Expression | None:
    """The filter for the rows whose time is from ``start`` to ``end``, both included (microseconds since 1970), in the column's
    own type, so that files and row groups are pruned by it; exact whatever the column's unit. None where there is no bound.

    Raises `Config` for a column that is no time.
    """
    if not is_time(field.type):
        raise Config(f"column {field.name!r} is {field.type}, not a time")
    unit = _UNITS[field.type.unit] if t.is_timestamp(field.type) else _DAY
    bounds = []
    if start is not None and start > _FIRST:
        bounds.append(pc.field(field.name) >= _scalar(-(-start * 1000 // unit), field.type))
    if end is not None and end < _LAST:
        bounds.append(pc.field(field.name) <= _scalar(end * 1000 // unit, field.type))
    return bounds[0] & bounds[1] if len(bounds) == 2 else bounds[0] if bounds else None


def within_days(field: pa.Field, start: int | None, end: int | None) -> pc.Expression | None:
    """As `within`, for a column of the days of rows, or of text that begins with their days as ISO 8601 has them.

    Days may be of any time zone, so a day more counts on either side. Rows without a day, and text of another form, are all in.
    """
    day = _DAY // 1000
    first = None if start is None else (start // day - 1) * day
    last = None if end is None else (end // day + 2) * day - 1
    column = pc.field(field.name)
    if not _is_text(field.type):
        bounds = within(field, first, last)
        return None if bounds is None else bounds | column.is_null()
    lower = column >= _day(first) if first is not None and first > _FIRST else None
    upper = column < _day(last + 1) if last is not None and last < _LAST - day else None
    if lower is None and upper is None:
        return None
    bounds = upper if lower is None else lower if upper is None else lower & upper
    return bounds | column.is_null() | ~pc.match_substring_regex(column, r"^\d{4}-\d\d-\d\d")  # pyright: ignore[reportAttributeAccessIssue]


def _day(microseconds: int) -> str:
    return (datetime(1970, 1, 1) + timedelta(microseconds=microseconds)).date().isoformat()


def _is_text(type: pa.DataType) -> bool:
    return bool(t.is_string(type) or t.is_large_string(type) or t.is_string_view(type))


_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_DAY = 86_400 * 1_000_000_000
_FIRST, _LAST = microseconds(datetime.min), microseconds(datetime.max)


def _scalar(units: int, type: pa.DataType) -> pa.Scalar:
    if t.is_date64(type):
        units *= 86_400_000
    return pa.scalar(max(-(2**63) + 1, min(units, 2**63 - 1)), type)
