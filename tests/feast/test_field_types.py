"""Which columns hold what a field of a view promises."""

from __future__ import annotations

import pyarrow as pa
import pytest
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    FeastType,
    Float32,
    Float64,
    Int32,
    Int64,
    Invalid,
    Json,
    Map,
    Set,
    String,
    Struct,
    UnixTimestamp,
    Uuid,
)
from hypothesis import given
from hypothesis import strategies as st

from lakehouse_connectors.feast.field_types import misfit

PLAIN: list[tuple[FeastType, pa.DataType]] = [
    (Bool, pa.bool_()),
    (Bytes, pa.binary()),
    (String, pa.string()),
    (Int32, pa.int32()),
    (Int64, pa.int64()),
    (Float32, pa.float32()),
    (Float64, pa.float64()),
    (UnixTimestamp, pa.timestamp("us", tz="UTC")),
]
WIDENED = {(Int64, pa.int32()), (Float64, pa.float32()), (Float64, pa.int32())}


@given(promised=st.sampled_from(PLAIN), held=st.sampled_from(PLAIN), lists=st.integers(0, 1), sets=st.booleans())
def test_a_column_of_a_type_holds_that_type_and_narrower_numbers_hold_wider_ones(
    promised: tuple[FeastType, pa.DataType], held: tuple[FeastType, pa.DataType], lists: int, sets: bool
) -> None:
    dtype, column = promised[0], held[1]
    fits = promised == held or (dtype, column) in WIDENED
    if lists:
        dtype, column = Set(dtype) if sets else Array(dtype), pa.list_(column)
    reason = misfit(dtype, column)
    assert (reason is None) == fits
    assert reason is None or (f"is {column} in the dataset" in reason and f"the view says {dtype}" in reason)


@pytest.mark.parametrize(
    ("dtype", "column"),
    [
        (String, pa.large_string()),
        (String, pa.dictionary(pa.int32(), pa.string())),
        (Bytes, pa.large_binary()),
        (Int32, pa.int8()),
        (Int32, pa.uint16()),
        (Int64, pa.uint32()),
        (UnixTimestamp, pa.timestamp("ns")),
        (UnixTimestamp, pa.date32()),
        (Array(Float32), pa.list_(pa.float32(), 3)),
        (Array(Float32), pa.list_(pa.field("element", pa.float32(), nullable=False))),
        (Array(Array(Int64)), pa.list_(pa.list_(pa.int64()))),
        (Json, pa.string()),
        (Uuid, pa.string()),
        (Decimal, pa.decimal128(10, 2)),
        (Decimal, pa.string()),
        (Map, pa.map_(pa.string(), pa.string())),
        (Struct({"a": Int64}), pa.struct([("a", pa.int64())])),
        (Float32, pa.null()),
        (Invalid, pa.string()),
    ],
)
def test_other_layouts_narrower_widths_and_text_for_what_feast_keeps_as_text_are_held(
    dtype: FeastType, column: pa.DataType
) -> None:
    assert misfit(dtype, column) is None


@pytest.mark.parametrize(
    ("dtype", "column", "said"),
    [
        (Int32, pa.int64(), "INT64; the view says Int32"),
        (Float32, pa.float64(), "DOUBLE; the view says Float32"),
        (Array(Int32), pa.list_(pa.int64()), "INT64_LIST"),
        (Array(Int32), pa.int32(), "INT32; the view says Array"),
        (Int32, pa.list_(pa.int32()), "INT32_LIST"),
        (Uuid, pa.binary(), "BYTES"),
        (String, pa.time64("us"), "Feast has no type for a column of time64"),
    ],
)
def test_wider_numbers_and_other_types_are_not(dtype: FeastType, column: pa.DataType, said: str) -> None:
    assert said in str(misfit(dtype, column))
