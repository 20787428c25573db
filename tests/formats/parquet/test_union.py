"""The type that holds the values of two files unchanged."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.formats.parquet.union import unified_fields, unified_type

INT, LONG, FLOAT, DOUBLE, TEXT = pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string()
KINDS = [
    pa.int8(), pa.int16(), INT, LONG, pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), FLOAT, DOUBLE, pa.decimal128(5, 2),
    pa.decimal128(38, 10), TEXT, pa.large_string(), pa.binary(), pa.binary(4), pa.bool_(), pa.date32(), pa.timestamp("us"),
    pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.timestamp("ms", "Europe/Oslo"), pa.null(), pa.list_(INT), pa.list_(LONG),
    pa.struct({"x": INT}), pa.struct({"x": LONG, "y": TEXT}), pa.map_(TEXT, INT), pa.map_(TEXT, DOUBLE),
]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (INT, LONG, LONG), (pa.uint32(), INT, LONG), (pa.uint8(), pa.int16(), pa.int16()), (pa.uint64(), LONG, None),
        (FLOAT, DOUBLE, DOUBLE), (INT, DOUBLE, DOUBLE), (INT, FLOAT, DOUBLE), (LONG, DOUBLE, None),
        (pa.decimal128(5, 2), DOUBLE, None),
        (pa.decimal128(5, 2), pa.decimal128(6, 4), pa.decimal128(7, 4)), (pa.decimal128(5, 2), INT, pa.decimal128(12, 2)),
        (pa.decimal128(38, 10), pa.decimal128(38, 0), None), (INT, TEXT, None), (TEXT, pa.large_string(), pa.large_string()),
        (TEXT, pa.binary(), None), (pa.binary(4), pa.binary(), pa.binary()), (pa.date32(), pa.timestamp("us"), None),
        (pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("us")), (pa.timestamp("us"), pa.timestamp("us", "UTC"), None),
        (pa.timestamp("us", "UTC"), pa.timestamp("ms", "Europe/Oslo"), pa.timestamp("us", "UTC")), (pa.null(), TEXT, TEXT),
        (pa.bool_(), INT, None), (pa.list_(INT), pa.list_(LONG), pa.list_(LONG)), (pa.list_(INT), pa.list_(TEXT), None),
        (pa.struct({"x": INT}), pa.struct({"y": TEXT, "x": LONG}), pa.struct({"x": LONG, "y": TEXT})),
        (pa.struct({"x": INT}), pa.struct({"x": TEXT}), None), (pa.map_(TEXT, INT), pa.map_(TEXT, DOUBLE), pa.map_(TEXT, DOUBLE)),
    ],
)  # fmt: skip
def test_types_are_widened_only_where_no_value_changes(one: pa.DataType, other: pa.DataType, both: pa.DataType | None) -> None:
    assert unified_type(one, other) == both


@given(st.sampled_from(KINDS), st.sampled_from(KINDS))
def test_which_file_comes_first_does_not_decide_the_type(one: pa.DataType, other: pa.DataType) -> None:
    both = unified_type(one, other)
    if not (pa.types.is_struct(one) and pa.types.is_struct(other)):  # their order of fields is the first file's
        assert unified_type(other, one) == both
    assert unified_type(one, one) == one
    if both is not None:
        assert unified_type(both, one) == unified_type(both, other) == both


def test_the_first_file_decides_the_order_and_what_only_one_has_may_be_null() -> None:
    known = [pa.field("b", INT, nullable=False), pa.field("a", TEXT, nullable=False)]
    other = [pa.field("c", TEXT, nullable=False), pa.field("b", LONG, nullable=False)]
    assert unified_fields(known, other) == [pa.field("b", LONG, nullable=False), pa.field("a", TEXT), pa.field("c", TEXT)]
    assert unified_fields(known, [pa.field("a", INT)]) == "a"
