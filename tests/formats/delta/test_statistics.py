"""Statistics of files as bounds: never too narrow, whatever a writer left out of them."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lakehouse.formats.delta.live import AddFile
from lakehouse.formats.delta.schema import DeltaColumn
from lakehouse.formats.delta.statistics import FileStatistics, parsed_columns
from lakehouse.formats.delta.vector_bits import DeletionVector
from lakehouse.reading.task import ColumnBounds

VECTOR = DeletionVector("i", "", "", 1, 0, 1, "a vector")


def statistics(
    stats: Any, kind: pa.DataType, *, vector: DeletionVector | None = None, widened: bool = False, **constants: pa.Scalar
) -> FileStatistics:
    """Of a file with one column ``c``, which the log calls ``col-1``."""
    text = stats if stats is None or isinstance(stats, str) else json.dumps(stats)
    add = AddFile("f", 1, {}, text, vector, None, None, None, "here")
    return FileStatistics(add, {"c": DeltaColumn("c", "col-1", kind, False, widened)}, constants)


def bounds(low: Any, high: Any, kind: pa.DataType, **more: Any) -> ColumnBounds:
    stats = {"numRecords": 9, "minValues": {"col-1": low}, "maxValues": {"col-1": high}, "nullCount": {"col-1": 2}}
    found = statistics(stats, kind, **more)("c")
    assert found is not None
    return found


def pair(low: Any, high: Any, kind: pa.DataType, **more: Any) -> tuple[Any, Any]:
    found = bounds(low, high, kind, **more)
    for bound in (found.lower, found.upper):
        assert bound is None or bound.type == kind
    return tuple(None if bound is None else bound.as_py() for bound in (found.lower, found.upper))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("low", "high", "kind", "expected"),
    [
        (-3, 2**62 + 1, pa.int64(), (-3, 2**62 + 1)),
        (1, 300, pa.int8(), (1, None)),
        ("1", True, pa.int32(), (None, None)),
        ("2020-01-01", "2020-12-31", pa.date32(), (dt.date(2020, 1, 1), dt.date(2020, 12, 31))),
        ("2020-13-01", 7, pa.date32(), (None, None)),
        (False, True, pa.bool_(), (False, True)),
        ({"inner": 1}, {"inner": 2}, pa.struct([("inner", pa.int32())]), (None, None)),
        ("a", None, pa.string(), ("a", None)),
        ("\ud800", "b", pa.string(), (None, "b")),
        ("AA==", "BB==", pa.binary(), (None, None)),
    ],
)
def test_bounds_are_in_the_columns_type_or_none(low: Any, high: Any, kind: pa.DataType, expected: tuple[Any, Any]) -> None:
    assert pair(low, high, kind) == expected


def test_decimals_keep_all_their_digits() -> None:
    text = '{"minValues": {"col-1": 12345678901234567890.12}, "maxValues": {"col-1": 99999999999999999999.99}}'
    found = statistics(text, pa.decimal128(22, 2))("c")
    assert found is not None and found.lower is not None and found.upper is not None
    assert (found.lower.as_py(), found.upper.as_py()) == (Decimal("12345678901234567890.12"), Decimal("99999999999999999999.99"))


def test_a_nan_bounds_nothing() -> None:
    """Verification 6: NaN. Spark writes it as text, other writers as a bare word."""
    assert pair(1.5, "NaN", pa.float64()) == (1.5, None)
    found = statistics('{"minValues": {"col-1": NaN}, "maxValues": {"col-1": Infinity}}', pa.float64())("c")
    assert found is not None and found.lower is None and found.upper is not None and found.upper.as_py() == float("inf")


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
@example([7.038530691851209e-26])  # its text, 7.038531e-26, rounded twice is the next float above
def test_floats_bound_their_column_and_no_column_of_doubles(values: list[float]) -> None:
    """The shortest text of a float is that float again, but as a double it is another number: type widening's trap."""
    import numpy as np

    low, high = (float(str(np.float32(each))) for each in (min(values), max(values)))
    below, above = pair(low, high, pa.float32())
    assert below <= min(values) and max(values) <= above
    assert pair(min(values), max(values), pa.float64()) == (min(values), max(values))
    assert pair(low, high, pa.float64(), widened=True) == (None, None)


@given(st.lists(st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30)), min_size=1))
def test_timestamps_that_lost_their_microseconds_still_bound(values: list[dt.datetime]) -> None:
    low, high = (each.replace(microsecond=each.microsecond // 1000 * 1000) for each in (min(values), max(values)))
    for zone, kind in (("Z", pa.timestamp("us", "UTC")), ("", pa.timestamp("us"))):
        found = bounds(
            f"{low.isoformat(timespec='milliseconds')}{zone}", f"{high.isoformat(timespec='milliseconds')}{zone}", kind
        )
        micros = pa.array(values, pa.timestamp("us")).cast(pa.int64()).to_pylist()
        assert found.lower is not None and found.upper is not None
        assert found.lower.cast(pa.int64()).as_py() <= min(micros) and max(micros) <= found.upper.cast(pa.int64()).as_py()


def test_a_timestamp_in_another_zone_is_the_same_instant() -> None:
    kind = pa.timestamp("us", "UTC")
    low, high = pair("2020-01-01T00:00:00.000-08:00", "2020-01-01T00:00:00.000-08:00", kind)
    assert low == dt.datetime(2020, 1, 1, 8, tzinfo=dt.UTC) and high - low == dt.timedelta(milliseconds=1)


def test_a_maximum_that_was_cut_off_is_above_what_followed() -> None:
    """Older writers append U+FFFD, which is below an emoji."""
    value = "x" * 32 + "😀"
    _, high = pair("x" * 32, "x" * 32 + "\ufffd", pa.string())
    assert value.encode() < high.encode()


def test_nulls_are_counted_unless_rows_may_be_deleted() -> None:
    """PROTOCOL.md, "Per-file Statistics": with wide bounds only none and all mean something."""

    def nulls(count: int, *, wide: bool = False, vector: DeletionVector | None = None) -> int | None:
        stats = {"numRecords": 9, "nullCount": {"col-1": count}, "tightBounds": not wide}
        found = statistics(stats, pa.int32(), vector=vector)("c")
        return found.nulls if found is not None else -1

    assert [nulls(count) for count in (0, 2, 9)] == [0, 2, 9]
    assert [nulls(count, wide=True) for count in (0, 2, 9)] == [0, None, 9]
    assert [nulls(count, vector=VECTOR) for count in (0, 2, 9)] == [0, None, 9]


def test_partition_values_bound_exactly() -> None:
    value, null, nan = pa.scalar(7, pa.int32()), pa.scalar(None, pa.int32()), pa.scalar(float("nan"))
    found = statistics({"numRecords": 4}, pa.int32(), p=value, q=null, r=nan)
    assert found("p") == ColumnBounds(value, value, 0)
    assert found("q") == ColumnBounds(None, None, 4)
    assert found("r") == ColumnBounds(None, None, 0)
    assert found("unknown") is None and found.rows == 4


def test_a_partition_value_beyond_pythons_years_bounds_too() -> None:
    day = pa.scalar(3_789_548, pa.int32()).cast(pa.date32())
    assert statistics({"numRecords": 4}, pa.int32(), p=day)("p") == ColumnBounds(day, day, 0)


@pytest.mark.parametrize("stats", [None, "", "{", "[1]", '{"numRecords": "9", "minValues": 3, "nullCount": {"col-1": -1}}'])
def test_statistics_that_cannot_be_understood_tell_nothing(stats: str | None) -> None:
    found = statistics(stats, pa.int32())
    assert found.rows is None and found("c") == ColumnBounds()


def test_of_parsed_statistics_only_what_can_be_used_is_read() -> None:
    columns = (
        DeltaColumn("a", "col-a", pa.int64(), False, False),
        DeltaColumn("t", "col-t", pa.timestamp("us", "UTC"), False, False),
        DeltaColumn("s", "col-s", pa.struct([("x", pa.int64())]), False, False),
        DeltaColumn("p", "col-p", pa.int64(), True, False),
    )
    assert parsed_columns(columns) == ("numRecords", "tightBounds", "minValues.col-a", "maxValues.col-a", "nullCount.col-a")
