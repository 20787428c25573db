"""Random tables and random SQL conditions on their columns."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

__all__ = ["NAN", "conditions", "tables"]

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
