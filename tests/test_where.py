"""Conditions: the same rows as DuckDB's WHERE, and a clear answer to what is none."""

from __future__ import annotations

import string
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lakehouse.errors import Config, LakeError, Unsupported
from lakehouse.where import expression

duckdb = pytest.importorskip("duckdb", reason="needs duckdb")

NAN = float("nan")
TYPES: dict[str, pa.DataType] = {
    "i8": pa.int8(), "i64": pa.int64(), "u64": pa.uint64(), "n": pa.decimal128(5, 2), "f64": pa.float64(), "f32": pa.float32(),
    "s": pa.string(), "b": pa.bool_(), "d": pa.date32(), "ts": pa.timestamp("us"), "tz": pa.timestamp("us", "UTC"),
    "t": pa.time64("us"), "bin": pa.binary(), "odd name": pa.int32(), "st": pa.struct({"x": pa.int16(), "y": pa.string()}),
}  # fmt: skip
DAYS = [date(1969, 12, 31), date(2024, 2, 29), date(2024, 3, 1)]
MOMENTS = [datetime(2024, 2, 29), datetime(2024, 2, 29, 12, 30, 0, 123456), datetime(1969, 12, 31, 23, 59, 59, 999999)]
TEXTS = ["", "a", "ab", "b", "A", "a%", "a_c", "abc", "é", "a\nb", "'"]
VALUES: dict[str, list[Any]] = {
    "i8": [-128, -1, 0, 1, 2, 127],
    "i64": [-(2**63), -2, 0, 1, 2, 1000, 2**63 - 1],
    "u64": [0, 1, 2, 2**64 - 1],
    "n": [Decimal("-999.99"), Decimal("0.00"), Decimal("1.50"), Decimal("2.00"), Decimal("999.99")],
    "f64": [NAN, -0.0, 0.0, 1.5, 0.1, -1e300, float("inf"), float("-inf")],
    "f32": [NAN, -0.0, 0.0, 1.5, 0.25, float("inf")],
    "s": TEXTS,
    "b": [True, False],
    "d": DAYS,
    "ts": MOMENTS,
    "tz": [moment.replace(tzinfo=UTC) for moment in MOMENTS],
    "t": [(datetime(2024, 1, 1) + timedelta(hours=12, microseconds=n)).time() for n in (0, 1)],
    "bin": [b"", b"a", b"\x00\xff"],
    "odd name": [1, 2, 3],
    "st": [{"x": 1, "y": "a"}, {"x": None, "y": "b"}],
}
NUMBERS = [
    "0",
    "1",
    "-1",
    "1.5",
    "-0.5",
    "127",
    "128",
    "300",
    "2.00",
    "1.505",
    "999.99",
    "1000",
    "0.1",
    "-999.999",
    "99999999999",
]
QUOTED = [f"'{text}'" for text in ("", "a", "ab", "A", "a%", "é")]
DATES = ["DATE '2024-02-29'", "TIMESTAMP '2024-02-29 12:30:00.123456'", "TIMESTAMP '2024-02-29 00:00:00'", "'1969-12-31'"]
ZONED = ["TIMESTAMPTZ '2024-02-29 14:30:00.123456+02'", "TIMESTAMPTZ '2024-02-29 00:00:00Z'"]
CONSTANTS: dict[str, list[str]] = {
    **dict.fromkeys(("i8", "i64", "u64", "n", "odd name"), NUMBERS),
    "f64": [*NUMBERS, "'nan'::DOUBLE", "'inf'::DOUBLE", "'-inf'::DOUBLE", "1e300"],
    "f32": ["0", "1.5", "-1", "0.25", "'nan'::FLOAT"],
    "s": QUOTED,
    "b": ["TRUE", "FALSE"],
    "d": DATES,
    "ts": DATES,
    "tz": [*DATES, *ZONED],
    "t": ["TIME '12:00:00'", "'12:00:00.000001'"],
    "bin": ["'a'::BLOB", "'\\x00\\xFF'::BLOB"],
    "st.x": ["1", "2"],
    "st.y": QUOTED,
}
ALIKE = [
    ["i8", "i64", "u64", "n", "odd name", "f64", "f32"],
    ["s", "st.y"],
    ["d", "ts", "tz"],
    ["b"],
    ["bin"],
    ["t"],
    ["i8", "st.x"],
]
PATTERNS = ["", "%", "a%", "_", "%b", "a_c", "%\n%", "a\\%", "A%", "é", "a%b%", "'"]


def _name(column: str) -> str:
    return '"odd name"' if column == "odd name" else column


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    column = draw(st.sampled_from(sorted(CONSTANTS)))
    name, constants = _name(column), st.sampled_from([*CONSTANTS[column], "NULL"])
    operator = st.sampled_from(["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"])
    match draw(st.integers(0, 7)):
        case 0:
            return f"{name} IS {draw(st.sampled_from(['', 'NOT ']))}NULL"
        case 1:
            return f"{name} {draw(st.sampled_from(['', 'NOT ']))}BETWEEN {draw(constants)} AND {draw(constants)}"
        case 2:
            values = ", ".join(draw(st.lists(constants, min_size=1, max_size=4)))
            return f"{name} {draw(st.sampled_from(['', 'NOT ']))}IN ({values})"
        case 3:
            words = draw(st.sampled_from(["LIKE", "NOT LIKE", "ILIKE"]))
            pattern = draw(st.sampled_from(PATTERNS)).replace("'", "''")
            return f"s {words} '{pattern}'{draw(st.sampled_from(['', ' ESCAPE ' + repr(chr(33))]))}"
        case 4:
            return draw(st.sampled_from(["b", "b IS TRUE", "b IS NOT FALSE", "b = TRUE", "TRUE", "NULL", "1 = 1", "'a' < 'b'"]))
        case 5:
            group = draw(st.sampled_from(ALIKE))
            plain = draw(st.sampled_from(["=", "<>", "<", "<=", ">", ">="]))
            return f"{_name(draw(st.sampled_from(group)))} {plain} {_name(draw(st.sampled_from(group)))}"
        case 6:
            return f"{draw(constants)} {draw(operator)} {name}"
    return f"{name} {draw(operator)} {draw(constants)}"


conditions = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=6,
)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(0, 12))
    columns = {
        name: pa.array(draw(st.lists(st.sampled_from([*VALUES[name], None]), min_size=rows, max_size=rows)), kind)
        for name, kind in TYPES.items()
    }
    return pa.table({"row": pa.array(range(rows), pa.int64()), **columns})


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
