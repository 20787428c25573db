"""Pruning never leaves out a file that has a row for the filter."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.errors import Config
from lakehouse.reading.prune import checked_filter, columns_named, may_match
from lakehouse.reading.task import Bounds, ColumnBounds

SCHEMA = pa.schema(
    [("i", pa.int32()), ("f", pa.float64()), ("s", pa.string()), ("t", pa.timestamp("us", "UTC")), ("d", pa.date32())]
)


def bounds_of(table: pa.Table) -> Bounds:
    """What a writer that states everything would state of ``table``: NaN is left out, as the formats say."""

    def bounds(name: str) -> ColumnBounds | None:
        column = table.column(name)
        values = column.drop_null()
        if pa.types.is_floating(column.type):
            values = values.filter(pc.invert(pc.is_nan(values)))
        if not len(values):
            return ColumnBounds(nulls=column.null_count)
        limits = pc.min_max(values)
        return ColumnBounds(limits["min"], limits["max"], column.null_count)

    return bounds


numbers = st.integers(-3, 3)
floats = st.sampled_from([-1.5, -0.0, 0.0, 1.0, 2.5, math.nan, math.inf])
texts = st.sampled_from(["", "a", "ab", "b", "nan", "invert(x)"])
moments = st.sampled_from([datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2, 3)])
days = st.sampled_from([date(2020, 1, day) for day in (1, 2, 3)])
BY_COLUMN: dict[str, st.SearchStrategy[Any]] = {"i": numbers, "f": floats, "s": texts, "t": moments, "d": days}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(1, 4))
    data = {name: draw(st.lists(st.none() | values, min_size=rows, max_size=rows)) for name, values in BY_COLUMN.items()}
    return pa.table(data, schema=SCHEMA)


@st.composite
def comparisons(draw: st.DrawFn) -> pc.Expression:
    name = draw(st.sampled_from(sorted(BY_COLUMN)))
    column, kind = pc.field(name), SCHEMA.field(name).type
    value = pa.scalar(draw(BY_COLUMN[name]), kind)
    form = draw(st.integers(0, 10))
    simple = [column == value, column != value, column < value, column <= value, column > value, column >= value]
    if form < len(simple):
        return simple[form]
    if form == 6:
        return column.is_null(nan_is_null=draw(st.booleans()))
    if form == 7:
        return column.is_valid()
    if form == 8 and name == "f":
        return pc.is_nan(column)
    if form == 9 and name == "i":
        return pc.equal(pc.add(column, 1), value)
    return column.isin(pa.array(draw(st.lists(st.none() | BY_COLUMN[name], min_size=1, max_size=3)), kind))


filters = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: two[0] & two[1]),
        st.tuples(inner, inner).map(lambda two: two[0] | two[1]),
        inner.map(lambda one: ~one),
    ),
    max_leaves=5,
)


@settings(max_examples=600, deadline=None)
@given(tables(), filters)
def test_a_file_with_a_row_for_the_filter_is_never_left_out(table: pa.Table, filter: pc.Expression) -> None:
    """Trap: NaN lies outside of all bounds, and satisfies ``x != 5`` and ``not x < 5``."""
    if table.filter(filter).num_rows:
        assert may_match(filter, SCHEMA)(bounds_of(table), table.num_rows)
        assert may_match(filter, SCHEMA)(bounds_of(table), None)


@pytest.mark.parametrize(
    "filter",
    [
        pc.field("i") > 5,
        pc.field("i") == 0,
        pc.field("i").isin([7, 8]),
        ~(pc.field("i") <= 3),
        (pc.field("s") < "b") | (pc.field("i") > 3),
        (pc.field("i") > 3) & (pc.field("f") > 0.0),
        pc.field("i").is_null(),
        pc.field("f") > 2.0,
        pc.field("t") < pa.scalar(datetime(2020, 1, 1), pa.timestamp("us", "UTC")),
        pc.field("i") == 0.5,
    ],
)
def test_what_bounds_exclude_is_left_out(filter: pc.Expression) -> None:
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    table = pa.table(
        {"i": [1, 2, 3], "f": [0.5, math.nan, 2.0], "s": ["b", "c", "d"], "t": [moment] * 3, "d": [None] * 3}, SCHEMA
    )
    assert not may_match(filter, SCHEMA)(bounds_of(table), 3)


@pytest.mark.parametrize(
    "filter",
    [
        pc.field("f") != 1.0,
        ~(pc.field("f") < 5.0),
        pc.is_nan(pc.field("f")),
        ~(pc.field("f") == 1.0),
        pc.field("f").is_null(nan_is_null=True),
        (pc.field("f") < 0.0) | pc.field("f").is_null(nan_is_null=True),
    ],
)
def test_bounds_say_nothing_where_nan_satisfies_the_filter(filter: pc.Expression) -> None:
    known = ColumnBounds(pa.scalar(1.0), pa.scalar(1.0), 0)
    assert may_match(filter, SCHEMA)(lambda _: known, 2)


def test_a_test_for_null_alone_is_held_against_the_number_of_nulls() -> None:
    known = ColumnBounds(pa.scalar(1.0), pa.scalar(1.0), 0)
    assert not may_match(pc.field("f").is_null(nan_is_null=False), SCHEMA)(lambda _: known, 2)


def test_bounds_of_another_type_than_the_columns_are_not_used() -> None:
    known = ColumnBounds(pa.scalar(1, pa.int64()), pa.scalar(2, pa.int64()), 0)
    assert may_match(pc.field("i") > 5, SCHEMA)(lambda _: known, 2)


def test_a_column_of_which_all_values_are_null_matches_no_comparison() -> None:
    assert not may_match(pc.field("i") > 5, SCHEMA)(lambda _: ColumnBounds(nulls=2), 2)
    assert may_match(pc.field("i").is_null(), SCHEMA)(lambda _: ColumnBounds(nulls=2), 2)


def test_decimals_are_compared_as_numbers() -> None:
    schema = pa.schema([("x", pa.decimal128(10, 2))])
    known = ColumnBounds(pa.scalar(Decimal("9.50"), pa.decimal128(10, 2)), pa.scalar(Decimal("10.25"), pa.decimal128(10, 2)), 0)
    ten, nine = pa.scalar(Decimal("10.00"), pa.decimal128(10, 2)), pa.scalar(Decimal("9.00"), pa.decimal128(10, 2))
    assert may_match(pc.field("x") == ten, schema)(lambda _: known, 2)
    assert not may_match(pc.field("x") < nine, schema)(lambda _: known, 2)


def test_only_columns_that_the_filter_names_are_asked_for() -> None:
    schema = pa.schema([(name, pa.int64()) for name in ("a", "b", "ab", "a b", "s.x", "is_in", "value_set")])
    asked: list[str] = []
    matches = may_match((pc.field("a b") > 1) & pc.field("b").isin([1]), schema)
    assert matches(lambda name: asked.append(name), 1)
    assert sorted(asked) == ["a b", "b"]


def test_the_columns_of_a_filter_are_told_from_words_of_its_text() -> None:
    schema = pa.schema([("a", pa.int64()), ("x y", pa.string()), ("is_in", pa.int64()), ("st", pa.struct([("in", pa.int32())]))])
    assert columns_named((pc.field("x y") == "a") | (pc.field("st", "in") == 1), schema) == ("x y", "st")


def test_a_filter_that_cannot_be_evaluated_is_refused_by_name() -> None:
    with pytest.raises(Config, match="nowhere"):
        checked_filter(pc.field("nowhere") > 1, SCHEMA)
    with pytest.raises(Config, match="cannot be evaluated"):
        checked_filter(pc.field("i") + 1, SCHEMA)
    with pytest.raises(Config, match="name columns"):
        checked_filter(pc.field(0) > 1, SCHEMA)
