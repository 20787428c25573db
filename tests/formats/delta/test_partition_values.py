"""Partition values, as text in the log and as values of a scan (traps: Delta 8; Conversion: timestamps become the epoch)."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.delta.partition_values import partition_scalar

UTC_MICROS, MICROS = pa.timestamp("us", "UTC"), pa.timestamp("us")


def value(text: str | None, kind: pa.DataType) -> Any:
    found = partition_scalar("here", "p", text, kind)
    assert found.type == kind
    return found.as_py()


def micros(text: str, kind: pa.DataType) -> Any:
    return partition_scalar("here", "p", text, kind).cast(pa.int64()).as_py()


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("-128", pa.int8(), -128),
        ("32767", pa.int16(), 32767),
        ("-5", pa.int32(), -5),
        ("9223372036854775807", pa.int64(), 2**63 - 1),
        ("1.5", pa.float32(), 1.5),
        ("1.0E-10", pa.float64(), 1e-10),
        ("-Infinity", pa.float64(), float("-inf")),
        ("12.30", pa.decimal128(10, 2), Decimal("12.30")),
        ("12.3", pa.decimal128(10, 2), Decimal("12.30")),
        ("-99999999999999999999999999999999999999", pa.decimal128(38, 0), Decimal(-(10**38 - 1))),
        ("true", pa.bool_(), True),
        ("False", pa.bool_(), False),
        (" a/b=c%20é\u0001", pa.string(), " a/b=c%20é\u0001"),
        ("null", pa.string(), "null"),
        ("__HIVE_DEFAULT_PARTITION__", pa.string(), "__HIVE_DEFAULT_PARTITION__"),
        ("\u0001\u0002", pa.binary(), b"\x01\x02"),
        ("1970-01-02", pa.date32(), dt.date(1970, 1, 2)),
    ],
)
def test_each_type_is_read_as_the_specification_writes_it(text: str, kind: pa.DataType, expected: Any) -> None:
    assert value(text, kind) == expected


@pytest.mark.parametrize("kind", [pa.string(), pa.int32(), pa.binary(), pa.date32(), UTC_MICROS, pa.decimal128(5, 1), pa.bool_()])
def test_null_and_the_empty_text_are_null_for_every_type(kind: pa.DataType) -> None:
    """PROTOCOL.md, "Partition Value Serialization": an empty string for any type translates to a null partition value."""
    assert value(None, kind) is None and value("", kind) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01 00:00:00", 0),
        ("1970-01-01 00:00:01.5", 1_500_000),
        ("1969-12-31 23:59:59.999999", -1),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1970-01-01 00:00:00-07:52:58", 28_378_000_000),
        ("10000-01-01 00:00:00", 253_402_300_800_000_000),
        ("0001-01-01 00:00:00", -62_135_596_800_000_000),
        ("1970-01-02", 86_400_000_000),
    ],
)
def test_timestamps_are_read_in_both_forms_and_with_any_zone(text: str, expected: int) -> None:
    assert micros(text, UTC_MICROS) == expected
    assert micros(text, MICROS) == expected


@given(st.datetimes())
def test_every_timestamp_comes_back(moment: dt.datetime) -> None:
    expected = (moment - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
    assert micros(f"{moment:%H:%M:%S}".join((f"{moment.date().isoformat()} ", f".{moment:%f}")), UTC_MICROS) == expected
    assert micros(moment.isoformat() + "Z", UTC_MICROS) == expected


@given(st.dates())
def test_every_date_comes_back(day: dt.date) -> None:
    assert value(day.isoformat(), pa.date32()) == day


@given(st.floats(allow_nan=False))
def test_every_double_comes_back(number: float) -> None:
    assert value(repr(number).replace("inf", "Infinity"), pa.float64()) == number


def test_a_year_beyond_pythons_is_read() -> None:
    expected = (dt.date(1945, 6, 7) - dt.date(1970, 1, 1)).days + 26 * 146_097  # the calendar repeats after 400 years
    assert partition_scalar("here", "p", "+12345-06-07", pa.date32()).cast(pa.int32()).as_py() == expected


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("128", pa.int8()),
        ("1.0", pa.int32()),
        ("1_000", pa.int32()),
        ("yes", pa.bool_()),
        ("1.234", pa.decimal128(5, 2)),
        ("12345678", pa.decimal128(5, 2)),
        ("x", pa.float64()),
        ("2020-02-30", pa.date32()),
        ("2020-01-01 25:00:00", UTC_MICROS),
        ("1577836800", UTC_MICROS),
        ("a", pa.list_(pa.int32())),
    ],
)
def test_what_is_no_value_of_the_type_is_an_error_and_not_null(text: str, kind: pa.DataType) -> None:
    with pytest.raises(NotFound, match=r"here: the partition value .* of the column 'p' is no "):
        value(text, kind)


def test_escapes_that_two_writers_mean_differently_are_refused() -> None:
    with pytest.raises(Unsupported, match="not known which bytes it means"):
        value(r"\u0001\u00FF", pa.binary())
