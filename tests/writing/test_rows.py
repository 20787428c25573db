"""What may go into a table, what is cast on the way, and what is refused."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.errors import Config
from lakehouse.writing.rows import fitting, in_portions, stream_of

SCHEMA = pa.schema([pa.field("a", pa.int64()), pa.field("b", pa.string())])


def column(values: Any, kind: pa.DataType, wanted: pa.DataType, *, nullable: bool = True) -> pa.Array:
    """The values as they arrive in a column of the type wanted."""
    found = fitting(pa.table({"c": pa.array(values, kind)}), pa.schema([pa.field("c", wanted, nullable)]), "t").read_all()
    found.validate(full=True)
    assert found.schema.field("c").type == wanted
    return found.column("c").combine_chunks()


@pytest.mark.parametrize(
    "data",
    [
        pa.table({"b": ["x", None], "a": [1, 2]}),
        pa.record_batch({"b": ["x", None], "a": [1, 2]}),
        pa.table({"b": ["x", None], "a": [1, 2]}).to_reader(),
        pa.table({"b": ["x", None], "a": [1, 2]}).to_batches(max_chunksize=1),
        [pa.table({"a": [1], "b": ["x"]}), pa.table({"a": [2], "b": pa.array([None], pa.string())})],
        pd.DataFrame({"b": ["x", None], "a": [1, 2]}),
        pl.DataFrame({"b": ["x", None], "a": [1, 2]}),
        pl.DataFrame({"b": ["x", None], "a": [1, 2]}).with_columns(pl.col("b").cast(pl.Categorical)),
    ],
    ids=lambda data: type(data).__module__.partition(".")[0] + "." + type(data).__name__,
)
def test_whatever_holds_rows_becomes_the_tables_columns_in_their_order(data: Any) -> None:
    found = fitting(data, SCHEMA, "t").read_all()
    assert found.schema == SCHEMA
    assert found.to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]


@pytest.mark.parametrize("data", [3, "text", {"a": [1]}, [], [1], iter(())])
def test_what_holds_no_rows_is_an_error_of_the_call(data: Any) -> None:
    with pytest.raises(Config):
        stream_of(data)


def test_batches_that_differ_in_their_columns_are_refused() -> None:
    with pytest.raises(Config, match="the schema of the first"):
        stream_of(iter([pa.table({"a": [1]}), pa.table({"a": ["x"]})])).read_all()


def test_an_index_of_pandas_that_is_more_than_a_number_is_a_column() -> None:
    with pytest.raises(Config, match="no column 'when'"):
        fitting(pd.DataFrame({"a": [1], "b": ["x"]}, index=pd.Index([7], name="when")), SCHEMA, "t")


class _Untouched:
    """A stream that must not be read: its schema alone decides."""

    def __init__(self, schema: pa.Schema) -> None:
        def rows() -> Iterator[pa.RecordBatch]:
            raise AssertionError("a row was read")
            yield

        self.reader = pa.RecordBatchReader.from_batches(schema, rows())


@pytest.mark.parametrize(
    ("given_schema", "message"),
    [
        ({"a": pa.int64()}, "column 'b' is missing"),
        ({"a": pa.int64(), "b": pa.string(), "c": pa.int64()}, "no column 'c'"),
        ({"a": pa.int64(), "B": pa.string()}, "no column 'B'; did you mean 'b'"),
        ({"a": pa.float64(), "b": pa.string()}, "column 'a': double does not go into int64"),
        ({"a": pa.uint64(), "b": pa.string()}, "column 'a': uint64 does not go into int64"),
        ({"a": pa.int64(), "b": pa.int64()}, "column 'b': int64 does not go into string"),
        ({"a": pa.string(), "b": pa.string()}, "column 'a': string does not go into int64"),
    ],
)
def test_a_schema_that_does_not_fit_is_refused_before_a_row_is_read(given_schema: Any, message: str) -> None:
    with pytest.raises(Config, match=message):
        fitting(_Untouched(pa.schema(list(given_schema.items()))).reader, SCHEMA, "t")


def test_a_column_that_is_given_twice_is_refused() -> None:
    with pytest.raises(Config, match="more than once"):
        fitting(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), SCHEMA, "t")


@pytest.mark.parametrize(
    ("given_type", "wanted"),
    [
        (pa.int64(), pa.int32()), (pa.uint32(), pa.int32()), (pa.int64(), pa.float64()), (pa.int32(), pa.float32()),
        (pa.float64(), pa.float32()), (pa.decimal128(10, 2), pa.decimal128(9, 2)), (pa.decimal128(10, 2), pa.decimal128(11, 4)),
        (pa.int64(), pa.decimal128(18, 0)), (pa.timestamp("us"), pa.timestamp("ms")), (pa.timestamp("us"), pa.date32()),
        (pa.bool_(), pa.int64()), (pa.date32(), pa.timestamp("us")), (pa.string(), pa.binary()),
        (pa.list_(pa.int64()), pa.list_(pa.int32())), (pa.struct([("x", pa.int64())]), pa.struct([("y", pa.int64())])),
        (pa.struct([("x", pa.int64()), ("y", pa.int64())]), pa.struct([("x", pa.int64())])),
        (pa.map_(pa.string(), pa.int64()), pa.map_(pa.string(), pa.int32())),
    ],
)  # fmt: skip
def test_what_might_lose_something_is_refused_by_its_type(given_type: pa.DataType, wanted: pa.DataType) -> None:
    with pytest.raises(Config, match="column 'c'"):
        fitting(_Untouched(pa.schema([("c", given_type)])).reader, pa.schema([("c", wanted)]), "t")


@pytest.mark.parametrize(
    ("values", "given_type", "wanted"),
    [
        ([-128, 127, None], pa.int8(), pa.int64()),
        ([0, 255, None], pa.uint8(), pa.int16()),
        ([-(2**31), 2**31 - 1], pa.int32(), pa.float64()),
        ([1.5, None], pa.float32(), pa.float64()),
        ([7, None], pa.int32(), pa.decimal128(12, 2)),
        ([decimal.Decimal("1.50"), None], pa.decimal128(4, 2), pa.decimal128(10, 3)),
        ([dt.date(1, 1, 1), dt.date(9999, 12, 31)], pa.date64(), pa.date32()),
        ([dt.time(1, 2, 3), None], pa.time32("s"), pa.time64("us")),
        (["x", "y", "x", None], pa.dictionary(pa.int8(), pa.string()), pa.string()),
        (["x", None], pa.large_string(), pa.string()),
        (["x", None], pa.string_view(), pa.large_string()),
        ([b"x", None], pa.large_binary(), pa.binary()),
        ([b"xy", None], pa.binary(2), pa.binary()),
        ([None, None], pa.null(), pa.list_(pa.int64())),
        ([[1, None], [], None], pa.large_list(pa.int16()), pa.list_(pa.field("element", pa.int64()))),
        ([[1, 2], None], pa.list_(pa.int16(), 2), pa.list_(pa.int64())),
        ([[1, 2], [], None], pa.list_view(pa.int16()), pa.list_(pa.int64())),
        ([[("k", 1)], [], None], pa.map_(pa.string(), pa.int8()), pa.map_(pa.large_string(), pa.int64())),
        ([{"y": [1], "x": "a"}, None, {"y": None, "x": None}],
         pa.struct([("y", pa.list_(pa.int8())), ("x", pa.string())]),
         pa.struct([("x", pa.large_string()), ("y", pa.list_(pa.int64()))])),
    ],
)  # fmt: skip
def test_what_loses_nothing_is_cast(values: Any, given_type: pa.DataType, wanted: pa.DataType) -> None:
    whole = column(values, given_type, wanted)
    assert whole.to_pylist() == values
    padded = pa.array([*values[:1], *values, *values[:1]], given_type).slice(1, len(values))
    sliced = fitting(pa.table({"c": padded}), pa.schema([("c", wanted)]), "t").read_all()
    sliced.validate(full=True)
    assert sliced.column("c").to_pylist() == values


def test_the_values_of_a_run_end_encoding_are_taken() -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([5, None], pa.int16()))
    found = fitting(pa.table({"c": runs}), pa.schema([("c", pa.int64())]), "t").read_all()
    assert found.column("c").to_pylist() == [5, 5, None]


def test_nanoseconds_that_are_whole_microseconds_are_cast_and_others_are_never_truncated() -> None:
    assert column([1_000, -2_000, None], pa.timestamp("ns"), pa.timestamp("us")).cast(pa.int64()).to_pylist() == [1, -2, None]
    assert column([1_000], pa.time64("ns"), pa.time64("us")).cast(pa.int64()).to_pylist() == [1]
    for kind, wanted in ((pa.timestamp("ns"), pa.timestamp("us")), (pa.time64("ns"), pa.time64("us"))):
        with pytest.raises(Config, match="nothing is truncated"):
            column([1_000, 1_001], kind, wanted)


def test_coarser_times_beyond_the_range_of_the_column_are_refused() -> None:
    with pytest.raises(Config, match="column 'c'"):
        column([2**62], pa.timestamp("s"), pa.timestamp("us"))


def test_a_zone_is_converted_but_neither_added_nor_dropped() -> None:
    instant = dt.datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    assert column([instant], pa.timestamp("ns", "Europe/Berlin"), pa.timestamp("us", "UTC")).to_pylist() == [instant]
    with pytest.raises(Config, match="has no zone, and the column holds instants"):
        column([0], pa.timestamp("us"), pa.timestamp("us", "UTC"))
    with pytest.raises(Config, match="has a zone, and the column holds none"):
        column([0], pa.timestamp("us", "UTC"), pa.timestamp("us"))


def test_a_null_where_none_may_be_is_refused_at_every_depth() -> None:
    with pytest.raises(Config, match=r"column 'c': 1 value\(s\) are null"):
        column([1, None], pa.int64(), pa.int64(), nullable=False)
    inner = pa.struct([pa.field("x", pa.int64(), nullable=False)])
    loose = pa.struct([("x", pa.int64())])
    assert column([{"x": 1}, None], loose, inner).to_pylist() == [{"x": 1}, None]
    with pytest.raises(Config, match=r"column 'c\.x'"):
        column([{"x": None}], loose, inner)
    with pytest.raises(Config, match=r"column 'c\.element'"):
        column([[1, None]], pa.list_(pa.int64()), pa.list_(pa.field("element", pa.int64(), nullable=False)))


VALUES = st.recursive(
    st.tuples(st.just(pa.int16()), st.just(pa.int64()), st.integers(-100, 100) | st.none())
    | st.tuples(st.just(pa.string()), st.just(pa.large_string()), st.text(max_size=3) | st.none()),
    lambda inner: inner.map(lambda it: (pa.list_(it[0]), pa.list_(it[1]), [it[2]] * 2))
    | inner.map(lambda it: (pa.map_(pa.string(), it[0]), pa.map_(pa.string(), it[1]), [("k", it[2])]))
    | st.tuples(inner, inner).map(
        lambda two: (
            pa.struct([("x", two[0][0]), ("y", two[1][0])]), pa.struct([("y", two[1][1]), ("x", two[0][1])]),
            {"x": two[0][2], "y": two[1][2]},
        )
    ),
    max_leaves=5,
)  # fmt: skip


@given(VALUES, st.lists(st.booleans(), max_size=6))
def test_nested_values_arrive_as_they_were(case: tuple[pa.DataType, pa.DataType, Any], present: list[bool]) -> None:
    given_type, wanted, value = case
    values = [value if there else None for there in present]
    assert column(values, given_type, wanted).to_pylist() == values


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(1, 2000))
def test_portions_hold_every_row_once_in_order_and_are_bounded(sizes: list[int], size: int) -> None:
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    batches = [pa.record_batch({"n": pa.array(range(at, at + rows), pa.int64())}) for at, rows in zip(starts, sizes, strict=True)]
    portions = list(in_portions(batches, size))
    assert [row for portion in portions for row in portion.column("n").to_pylist()] == list(range(sum(sizes)))
    assert all(portion.nbytes <= size + max(size, 8) for portion in portions)
