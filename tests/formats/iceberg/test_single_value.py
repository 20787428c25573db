"""Single values and partition transforms, against pyiceberg's."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg import types as t
from pyiceberg.conversions import to_bytes
from pyiceberg.transforms import parse_transform
from pyiceberg.utils.datetime import micros_to_timestamp

from lakehouse.formats.iceberg.single_value import from_avro, from_binary, from_json
from lakehouse.formats.iceberg.transforms import range_of, value_of_bound

INT, LONG = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
MICROS = st.integers(-(2**55), 2**55)
MONEY = st.decimals(-9_999_999, 9_999_999, places=2, allow_nan=False)
VALUES: dict[str, tuple[t.PrimitiveType, pa.DataType, st.SearchStrategy[Any]]] = {
    "boolean": (t.BooleanType(), pa.bool_(), st.booleans()),
    "int": (t.IntegerType(), pa.int32(), INT),
    "long": (t.LongType(), pa.int64(), LONG),
    "float": (t.FloatType(), pa.float32(), st.floats(width=32, allow_nan=False)),
    "double": (t.DoubleType(), pa.float64(), st.floats(allow_nan=False)),
    "decimal": (t.DecimalType(9, 2), pa.decimal128(9, 2), MONEY),
    "date": (t.DateType(), pa.date32(), INT),
    "time": (t.TimeType(), pa.time64("us"), st.integers(0, 86_400 * 10**6 - 1)),
    "timestamp": (t.TimestampType(), pa.timestamp("us"), LONG),
    "timestamptz": (t.TimestamptzType(), pa.timestamp("us", "UTC"), LONG),
    "string": (t.StringType(), pa.string(), st.text()),
    "binary": (t.BinaryType(), pa.binary(), st.binary()),
    "fixed": (t.FixedType(3), pa.binary(3), st.binary(min_size=3, max_size=3)),
}


@given(st.sampled_from(sorted(VALUES)).flatmap(lambda name: st.tuples(st.just(name), VALUES[name][2])))
def test_bounds_are_read_as_pyiceberg_writes_them(case: tuple[str, Any]) -> None:
    name, value = case
    stated, kind, _ = VALUES[name]
    assert from_binary(to_bytes(stated, value), kind) == value


@pytest.mark.parametrize(
    ("written", "value", "kind", "expected"),
    [
        (t.IntegerType(), -5, pa.int64(), -5),
        (t.FloatType(), 0.5, pa.float64(), 0.5),
        (t.DateType(), -1, pa.timestamp("us"), -86_400 * 10**6),
        (t.DateType(), 1, pa.timestamp("ns"), 86_400 * 10**9),
        (t.DecimalType(4, 2), Decimal("1.25"), pa.decimal128(30, 2), Decimal("1.25")),
    ],
)
def test_bounds_that_were_written_before_a_column_was_widened_are_read(
    written: Any, value: Any, kind: pa.DataType, expected: Any
) -> None:
    """Spec, "Schema Evolution": the length tells what the type was."""
    assert from_binary(to_bytes(written, value), kind) == expected


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"\xff\xfe", pa.string()),
        (b"abc", pa.int64()),
        (b"", pa.decimal128(9, 2)),
        (b"\0\0\xc0\x7f", pa.float32()),
        (b"", pa.bool_()),
        (b"\0" * 4, pa.timestamp("us", "UTC")),
        (b"\0" * 16, pa.uuid()),
        (b"\0" * 8, pa.int32()),
    ],
)
def test_a_bound_that_is_none_says_nothing(raw: bytes, kind: pa.DataType) -> None:
    assert from_binary(raw, kind) is None


@pytest.mark.parametrize(
    ("stated", "kind", "expected"),
    [
        (True, pa.bool_(), True),
        (34, pa.int32(), 34),
        (1.5, pa.float32(), 1.5),
        (1, pa.float64(), 1.0),
        ("14.20", pa.decimal128(9, 2), Decimal("14.20")),
        ("2017-11-16", pa.date32(), 17_486),
        ("1969-12-31", pa.date32(), -1),
        ("22:31:08.123456", pa.time64("us"), 81_068_123_456),
        ("2017-11-16T22:31:08.123456", pa.timestamp("us"), 1_510_871_468_123_456),
        ("2017-11-16T22:31:08.123456+00:00", pa.timestamp("us", "UTC"), 1_510_871_468_123_456),
        ("2017-11-16T22:31:08", pa.timestamp("us"), 1_510_871_468_000_000),
        ("2017-11-16T22:31:08.123456789", pa.timestamp("ns"), 1_510_871_468_123_456_789),
        ("1969-12-31T23:59:59.9", pa.timestamp("us"), -100_000),
        ("iceberg", pa.string(), "iceberg"),
        ("f79c3e09-677c-4bbd-a479-3f349cb785e7", pa.uuid(), uuid.UUID("f79c3e09-677c-4bbd-a479-3f349cb785e7").bytes),
        ("000102ff", pa.binary(4), b"\0\1\2\xff"),
        ("ff", pa.binary(), b"\xff"),
    ],
)
def test_defaults_are_read_as_appendix_d_writes_them(stated: Any, kind: pa.DataType, expected: Any) -> None:
    assert from_json(stated, kind) == expected
    assert pa.array([from_json(stated, kind)], getattr(kind, "storage_type", kind)).null_count == 0


@pytest.mark.parametrize(
    ("stated", "kind"),
    [
        ("x", pa.int32()),
        (1, pa.string()),
        (True, pa.int64()),
        ("1.x", pa.decimal128(9, 2)),
        ("zz", pa.binary()),
        ([], pa.date32()),
        (1, pa.null()),
    ],
)
def test_a_default_that_is_none_of_its_type_is_an_error(stated: Any, kind: pa.DataType) -> None:
    with pytest.raises(ValueError, match=r"no value of|isoformat|hex"):
        from_json(stated, kind)


@pytest.mark.parametrize(("value", "kind"), [("x", pa.int32()), (1, pa.string()), (True, pa.int64()), (1.5, pa.date32())])
def test_a_partition_value_that_is_none_of_its_type_is_an_error(value: Any, kind: pa.DataType) -> None:
    with pytest.raises(ValueError, match="no value of"):
        from_avro(value, kind)


TRANSFORMS: list[tuple[str, str, st.SearchStrategy[Any]]] = [
    *((unit, "timestamp", MICROS) for unit in ("year", "month", "day", "hour")),
    *((unit, "timestamptz", MICROS) for unit in ("year", "month", "day", "hour")),
    *((unit, "date", st.integers(-800_000, 800_000)) for unit in ("year", "month", "day")),
    ("truncate[10]", "int", INT),
    ("truncate[7]", "long", LONG),
    ("truncate[3]", "string", st.text()),
    ("truncate[1]", "string", st.text(st.sampled_from("a\ud7ff\ue000\U0010ffff"), max_size=3)),
    ("truncate[2]", "binary", st.binary(max_size=5)),
    ("truncate[50]", "decimal", MONEY),
    *(("identity", name, VALUES[name][2]) for name in VALUES),
]


@given(st.sampled_from(TRANSFORMS).flatmap(lambda case: st.tuples(st.just(case[0]), st.just(case[1]), case[2])))
def test_every_value_lies_in_the_range_of_what_the_transform_makes_of_it(case: tuple[str, str, Any]) -> None:
    transform, name, value = case
    stated, kind, _ = VALUES[name]
    made = parse_transform(transform).transform(stated)(value)
    if made is None:
        return
    lower, upper = range_of(transform, _raw(made, kind), kind)
    assert lower is None or lower <= value
    assert upper is None or value <= upper


def _raw(value: Any, kind: pa.DataType) -> Any:
    """The value as Avro has it in a manifest."""
    if isinstance(value, Decimal):
        number = int(value.scaleb(kind.scale))
        return number.to_bytes(16, "big", signed=True)
    return value


def test_ranges_of_times_end_where_the_next_unit_begins() -> None:
    micros, date = pa.timestamp("us"), pa.date32()
    lower, upper = range_of("month", 12 * 50 + 1, micros)
    assert (micros_to_timestamp(lower), micros_to_timestamp(upper + 1)) == (dt.datetime(2020, 2, 1), dt.datetime(2020, 3, 1))
    assert range_of("year", 54, date) == (19_723, 20_088)
    assert range_of("day", -3, date) == (-3, -3)
    assert range_of("hour", 5, pa.timestamp("ns", "UTC")) == (5 * 3600 * 10**9, 6 * 3600 * 10**9 - 1)


def test_times_before_1970_may_have_been_rounded_towards_it() -> None:
    """As the reference implementation allows for: -1 microsecond was written as day 0."""
    lower, _ = range_of("day", 0, pa.timestamp("us"))
    assert lower <= -1


@pytest.mark.parametrize(("greatest", "kind"), [(2**31 - 1, pa.int32()), (2**31 - 1, pa.int64()), (2**63 - 1, pa.int64())])
def test_nothing_is_known_of_integers_truncated_at_the_end_of_their_range(greatest: int, kind: pa.DataType) -> None:
    """The reference implementation truncates the lowest integers to the highest, as its integers wrap."""
    least = -greatest - 1
    wrapped = least - least % 10 + 2 * (greatest + 1)
    assert wrapped <= greatest
    assert range_of("truncate[10]", wrapped, kind) == (None, None)
    assert range_of("truncate[10]", wrapped - 10, kind) == (wrapped - 10, wrapped - 1)


def test_nothing_is_known_of_buckets_void_and_transforms_to_come() -> None:
    for transform in ("bucket[16]", "void", "zorder[2]"):
        assert range_of(transform, 3, pa.int64()) == (None, None)
        assert value_of_bound(transform, b"\3\0\0\0", pa.int64()) is None
    assert range_of("identity", math.nan, pa.float64()) == (None, None)
