"""Conditions: the same rows as DuckDB's WHERE, and a clear answer to what is none."""

from __future__ import annotations

import string
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lakehouse.errors import Config, LakeError, Unsupported
from lakehouse.where import expression
from tests.conditions import NAN, conditions, tables

duckdb = pytest.importorskip("duckdb", reason="needs duckdb")


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def _rows(table: pa.Table, condition: str) -> list[int]:
    found: list[int] = table.filter(expression(condition, table.schema))["row"].to_pylist()
    return found


@settings(max_examples=400, deadline=None)
@given(table=tables(), condition=conditions)
@example(table=pa.table({"row": [0, 1, 2], "f64": [NAN, 1.0, None]}), condition="NOT (f64 < 2)")
@example(table=pa.table({"row": [0, 1], "i8": pa.array([1, None], pa.int8())}), condition="i8 NOT IN (2, NULL)")
def test_a_condition_holds_for_the_rows_for_which_it_holds_in_duckdb(engine: Any, table: pa.Table, condition: str) -> None:
    engine.register("given", table)
    engine.execute("CREATE OR REPLACE TEMP TABLE held AS SELECT * FROM given")
    expected = [row for (row,) in engine.execute(f"SELECT row FROM held WHERE {condition} ORDER BY row").fetchall()]
    assert _rows(table, condition) == expected


def _numbers() -> pa.Table:
    columns = {
        "i8": pa.array([-128, 5, 127, None], pa.int8()),
        "n": pa.array([Decimal("1.00"), None, None, None], pa.decimal128(3, 2)),
    }
    return pa.table({"row": [0, 1, 2, 3], **columns, "S": ["a", "b", None, "c"], "s2": ["x"] * 4, "l": [[1]] * 4})


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("i8 = 1000", []), ("i8 <> 1000", [0, 1, 2]), ("i8 < 1000", [0, 1, 2]), ("i8 > 1000", []), ("i8 >= -1000", [0, 1, 2]),
        ("i8 > 4.5", [1, 2]), ("i8 < 5.5", [0, 1]), ("i8 = 5.0", [1]), ("i8 = 5.5", []), ("i8 IN (5, 5.5, 1000)", [1]),
        ("i8 NOT IN (5, 1000)", [0, 2]), ("i8 NOT IN (5, NULL)", []), ("n = 1.001", []), ("n > 1e400", []), ("n < 1e99999", [0]),
        ("n = 1e-99999", []), ("i8 = '5'", [1]), ("s = 'a'", [0]), ("S = 'a'", [0]), ("- 5 = -i8", None), ("i8 = -(-5)", [1]),
    ],
)  # fmt: skip
def test_a_constant_that_the_type_cannot_hold_gets_the_right_answer(condition: str, rows: list[int] | None) -> None:
    if rows is None:
        with pytest.raises(Unsupported):
            _rows(_numbers(), condition)
    else:
        assert _rows(_numbers(), condition) == rows


@pytest.mark.parametrize(
    ("condition", "error", "says"),
    [
        ("", Config, "no SQL condition"), ("i8 =", Config, "no SQL condition"), ("i8 = 1 2", Config, "no SQL condition"),
        ("rov = 1", Config, "did you mean row"), ("i9 = 1", Config, "there are row, i8"), ('S = "a"', Config, "single quotes"),
        ("S = 5", Config, "column S is string"), ("i8 = 'five'", Config, "'five' is no number"), ("l = 1", Config, "list"),
        ("S > DATE '2024-01-01'", Config, "column S"), ("i8 = DATE '2024-02-30'", Config, "date"),
        ("i8.x = 1", Config, "no fields"),
        ("i8 LIKE 'a'", Config, "LIKE is for texts"), ("S LIKE 'a!' ESCAPE '!'", Config, "escape"),
        ("1 = 'a'", Config, "compare"),
        ("S", Config, "column S is string"), ("i8 = S", Config, "do not compare"), ("i8", Config, "int8"),
        ("i8 = X'0'", Config, "X'0'"),
        ("lower(S) = 'a'", Unsupported, "LOWER(S)"), ("i8 + 1 = 2", Unsupported, "i8 + 1"),
        ("i8 IN (SELECT 1)", Unsupported, "SELECT 1"),
        ("(i8 > 1) IS NULL", Unsupported, "lakehouse.sql"), ("S ~ 'a'", Unsupported, "S"), ("l[1] = 1", Unsupported, "l"),
        ("i8 = 1; DROP TABLE t", Config, "condition"), ("i8 > INTERVAL 1 DAY", Unsupported, "INTERVAL"),
        ("S::INT = 1", Unsupported, "CAST"),
        ("EXISTS (SELECT 1)", Unsupported, "EXISTS"), ("i8 = ?", Unsupported, "?"),
        ("CASE WHEN TRUE THEN TRUE END", Unsupported, "CASE"),
    ],
)  # fmt: skip
def test_what_is_no_condition_of_a_scan_is_refused_in_its_own_words(condition: str, error: type[LakeError], says: str) -> None:
    with pytest.raises(error) as raised:
        expression(condition, _numbers().schema)
    assert says.lower() in str(raised.value).lower()


def test_a_name_counts_as_it_is_written_before_it_counts_in_another_case() -> None:
    table = pa.table({"row": [0, 1], "A": [1, 2], "a": [2, 1]})
    assert _rows(table, "a = 1") == [1]
    assert _rows(table, "A = 1") == [0]
    with pytest.raises(Config, match="several columns"):
        _rows(pa.table({"row": [0], "AB": [1], "Ab": [2]}), "ab = 1")


def test_dots_lead_into_structs_and_belong_to_quoted_names() -> None:
    inner = pa.array([{"y": {"z": 1}}, {"y": None}, None])
    table = pa.table({"row": [0, 1, 2], "x": inner, "x.y": [3, 4, 5]})
    assert _rows(table, "x.y.z = 1") == [0]
    assert _rows(table, "x.y.z IS NULL") == [1, 2]
    assert _rows(table, '"x.y" > 3') == [1, 2]


def test_times_in_every_unit_compare_exactly() -> None:
    moment = datetime(2024, 2, 29, 12, 0)
    for unit in ("s", "ms", "us", "ns"):
        for zone in (None, "UTC", "Europe/Berlin"):
            table = pa.table({"row": [0], "t": pa.array([moment], pa.timestamp(unit, zone))})
            assert _rows(table, "t = TIMESTAMP '2024-02-29 12:00:00'") == [0]
            assert _rows(table, "t = '2024-02-29T13:00:00+01:00'") == [0]
            assert _rows(table, "t < TIMESTAMP '2024-02-29 12:00:00.000000001'") == [0]
            assert _rows(table, "t >= TIMESTAMP '2024-02-29 12:00:00.000000001'") == []
            assert _rows(table, "t > DATE '2024-02-29' AND t < DATE '9999-12-31'") == [0]  # beyond what nanoseconds can say
    for kind in (pa.date32(), pa.date64()):
        table = pa.table({"row": [0], "d": pa.array([moment.date()], kind)})
        assert _rows(table, "d > TIMESTAMP '2024-02-28 23:59:59' AND d < TIMESTAMP '2024-02-29 00:00:01'") == [0]
        assert _rows(table, "d = TIMESTAMP '2024-02-29 12:00:00'") == []


@pytest.mark.parametrize(
    ("kind", "value", "condition"),
    [
        (pa.dictionary(pa.int32(), pa.string()), "a", "x = 'a' AND x IN ('a', 'b') AND x LIKE 'a%'"),
        (pa.large_string(), "a", "x = 'a' AND x IN ('a', 'b') AND x LIKE 'a%'"),
        (pa.binary(2), b"ab", "x = X'6162' AND x > X'61' AND x IN (X'6162', X'61') AND x <> 'a'"),
        (pa.uuid(), b"\0" * 15 + b"\1", f"x = '{UUID(int=1)}' AND x > UUID '{UUID(int=0)}'"),
        (pa.json_(), "a", "x = 'a' AND x LIKE 'a%'"),
        (pa.decimal32(5, 2), Decimal("1.25"), "x = 1.25 AND x IN (1.25, 7) AND x < 1.251"),
        (pa.decimal256(60, 2), Decimal("1.25"), "x = 1.25 AND x IN (1.25, 7) AND x < 1e70"),
        (pa.float16(), 1.5, "x = 1.5 AND x IN (1.5, 7) AND x < 2"),
        (pa.time32("s"), 43200, "x = TIME '12:00:00' AND x < TIME '12:00:00.5'"),
    ],
    ids=str,
)  # fmt: skip
def test_types_that_arrow_does_not_compare_by_itself_do(kind: pa.DataType, value: object, condition: str) -> None:
    table = pa.table({"row": [0, 1], "x": pa.array([value, None], kind)})
    assert _rows(table, condition) == [0]
    assert _rows(table, f"NOT ({condition})") == []


def test_an_unsigned_and_a_signed_column_compare_beyond_either_range() -> None:
    table = pa.table({"row": [0, 1], "i": [-1, 2**53 + 1], "u": pa.array([2**64 - 1, 2**53], pa.uint64())})
    assert _rows(table, "i < u") == [0]
    assert _rows(table, "i > u") == [1]


def test_columns_that_count_time_in_two_units_are_refused_by_name() -> None:
    table = pa.table({"row": [0], "a": pa.array([0], pa.timestamp("us")), "b": pa.array([0], pa.timestamp("ns"))})
    with pytest.raises(Unsupported, match="two units"):
        _rows(table, "a = b")


def test_ten_thousand_alternatives_are_one_set_and_other_parts_have_a_limit() -> None:
    table = pa.table({"row": [0, 1, 2], "x": [1, 9_999, 10_001]})
    assert _rows(table, " AND ".join(f"x <> {n}" for n in range(1000))) == [1, 2]
    with pytest.raises(Unsupported, match="1000 parts"):
        _rows(table, " AND ".join(f"x <> {n}" for n in range(1001)))
    assert _rows(table, " OR ".join(f"x = {n}" for n in range(10_000))) == [0, 1]
    assert _rows(table, f"x IN ({', '.join(map(str, range(10_000)))})") == [0, 1]


@given(st.text(string.printable, max_size=30))
@settings(deadline=None)
def test_any_text_is_a_condition_or_refused_as_none(text: str) -> None:
    try:
        expression(text, _numbers().schema)
    except (Config, Unsupported) as error:
        assert "where" in str(error)
