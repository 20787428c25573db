"""Filters that are taken apart: only what was understood wholly, and decided as their rows are."""

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

from lakehouse.reading.conjunction import MOST, conjunction
from lakehouse.reading.prune import may_match
from lakehouse.reading.task import ColumnBounds

MONEY = pa.decimal128(9, 2)
SCHEMA = pa.schema(
    [
        ("long", pa.int64()),
        ("int", pa.int32()),
        ("s", pa.string()),
        ("t", pa.timestamp("us")),
        ("z", pa.timestamp("ns", "UTC")),
        ("d", pa.date32()),
        ("f", pa.float64()),
        ("g", pa.float32()),
        ("money", MONEY),
        ("a b", pa.int64()),
        ("flag", pa.bool_()),
    ]
)
long, number, text = pc.field("long"), pc.field("int"), pc.field("s")


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (long == 5, {"long": [("==", 5)]}),
        (number < 5, {"int": [("<", 5)]}),
        (number <= pa.scalar(-5, pa.int32()), {"int": [("<=", -5)]}),
        ((long > 1) & (long < 9), {"long": [(">", 1), ("<", 9)]}),
        (((text == "x) and (long > 1") & (pc.field("a b") > 1)) & (number >= 3), {"s": 1, "a b": [(">", 1)], "int": [(">=", 3)]}),
        (pc.field("t") >= datetime(2020, 1, 1, 5, 6, 7, 89), {"t": [(">=", 1577855167000089)]}),
        (pc.field("z") > pa.scalar(5, pa.timestamp("ns", "UTC")), {"z": [(">", 5)]}),
        (pc.field("d") == date(1970, 1, 2), {"d": [("==", 1)]}),
        (pc.field("g") > 0.1, {"g": [(">", 0.1)]}),
        (pc.field("money") < pa.scalar(Decimal("1.20"), MONEY), {"money": [("<", Decimal("1.20"))]}),
    ],
)
def test_comparisons_with_constants_are_taken_apart(filter: pc.Expression, expected: dict[str, Any]) -> None:
    found = conjunction(filter, SCHEMA)
    assert found is not None
    assert found.keys() == expected.keys()
    for name, each in found.items():
        assert expected[name] in (len(each), [(one.operator, one.value) for one in each])


@pytest.mark.parametrize(
    "filter",
    [
        long == 5.5,
        pc.field("f") == math.nan,
        (long == 1) | (number == 1),
        ~(long == 1),
        long != 1,
        long.isin([1]),
        long.is_null(),
        (long == 1) & number.is_valid(),
        pc.field("flag"),
        pc.scalar(3) < long,
        long < number,
        long.cast(pa.int32()) > 3,
        text == 'a"b',
        text == "a\\b",
        text == pa.scalar(None, pa.string()),
        text == pa.scalar("a", pa.large_string()),
        long == pa.scalar(1, pa.uint64()),
        pc.field("long", "inner") == 1,
    ],
)
def test_what_is_more_than_that_is_left_to_arrow(filter: pc.Expression) -> None:
    assert conjunction(filter, SCHEMA) is None


def test_a_filter_of_any_depth_is_no_error() -> None:
    deep = long == 1
    for value in range(600):
        deep = deep | (long == value)
    assert conjunction(deep, SCHEMA) is None
    many = long < MOST
    for value in range(MOST - 1):
        many = many & (long < value)
    assert conjunction(many, SCHEMA) is not None
    assert conjunction(many & (number < 1), SCHEMA) is None


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "long": st.integers(-2, 2) | st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63 - 1]),
    "int": st.integers(-2, 2),
    "s": st.text('ab"\\\ue000\U00010000', max_size=2),
    "t": st.sampled_from([datetime(1, 1, 1), datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(9999, 12, 31)]),
    "z": st.sampled_from([datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, 0, 0, 0, 1, tzinfo=UTC)]),
    "d": st.sampled_from([date(1, 1, 1), date(1970, 1, 1), date(9999, 12, 31)]),
    "f": st.floats(allow_nan=False),
    "g": st.floats(width=32, allow_nan=False),
    "money": st.decimals(-2, 2, places=2),
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[pc.Expression, pa.Table]:
    """A conjunction, and the only row of a file."""
    row = {name: draw(st.none() | values) for name, values in VALUES.items()}
    table = pa.table({name: pa.array([value], SCHEMA.field(name).type) for name, value in row.items()})
    parts = []
    for name in draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3)):
        column, written = pc.field(name), draw(VALUES[name])
        value = written if draw(st.booleans()) and name not in ("money", "z") else pa.scalar(written, SCHEMA.field(name).type)
        parts.append(draw(st.sampled_from([column == value, column < value, column <= value, column > value, column >= value])))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole & part
    return whole, table


@settings(deadline=None, max_examples=500)
@given(cases())
def test_a_file_of_one_row_is_read_just_when_the_row_satisfies_the_filter(case: tuple[pc.Expression, pa.Table]) -> None:
    """Trap: text is ordered by its bytes, and long numbers are not what doubles make of them."""
    condition, table = case

    def bounds(name: str) -> ColumnBounds:
        value = table.column(name)[0]
        return ColumnBounds(value, value, 0) if value.is_valid else ColumnBounds(nulls=1)

    assert may_match(condition, SCHEMA)(bounds, 1) == bool(table.filter(condition).num_rows)
