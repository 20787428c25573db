"""The types of random tables: how each format states them, the values they have, and how a value looks when it is compared."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import pyarrow as pa

__all__ = [
    "DELTA_WIDER",
    "ICEBERG_WIDER",
    "KINDS",
    "Kind",
    "Row",
    "as_kind",
    "few_of",
    "how_many",
    "in_order",
    "literal",
    "parquet_layout",
    "random_kind",
    "same",
    "shown",
]

Row = Mapping[str, Any]
NAN = float("nan")
EPOCH = dt.datetime(1970, 1, 1)


class Kind(NamedTuple):
    """``values``: of few, so that rows meet each other; ``literals``: how SQL writes some more."""

    arrow: pa.DataType
    iceberg: str
    delta: str
    values: Sequence[Any]
    literals: Sequence[tuple[str, Any]]


def _plain(values: Iterable[Any]) -> list[tuple[str, Any]]:
    return [(str(value), value) for value in values]


_DIFFICULT = ("int", "long", "float", "double", "string", "timestamp")
_BYTES, _SHORTS, _INTS = [-128, -1, 0, 1, 127], [-300, 0, 1, 300], [-(2**31), -7, -1, 0, 1, 5, 2**31 - 1]
_LONGS = [-(2**63), -(2**31), -7, -1, 0, 1, 5, 2**40, 2**63 - 1]
_SINGLES = [NAN, -0.0, 0.0, 1.5, -2.25, float("inf"), float("-inf"), float.fromhex("0x1.99999ap-4")]
_DOUBLES = [*_SINGLES, 0.1, 1e300]
_FLOATS = [("0", 0.0), ("1.5", 1.5), ("-1", -1.0), ("'nan'::DOUBLE", NAN), ("'inf'::DOUBLE", float("inf"))]
_TEXTS = ["", "a", "ab", "abc", "b", "é", "\U0001f600", "z" * 20, "\ufffd", "a\U0001f600"]
_DAYS = [dt.date(1969, 12, 31), dt.date(1970, 1, 1), dt.date(2024, 2, 29), dt.date(2024, 3, 1)]
_MOMENTS = [EPOCH, dt.datetime(2024, 2, 29, 12, 30, 0, 123456), dt.datetime(1969, 12, 31, 23, 59, 59, 999999)]
_MOMENTS += [dt.datetime(2024, 2, 29), dt.datetime(2024, 2, 29, 12, 30, 0, 123000)]
_SMALL = [Decimal("-999.99"), Decimal("0.00"), Decimal("1.50"), Decimal("999.99")]
_BLOBS = [b"", b"a", b"\x00\xff", b"zz"]
_MIDDLE = [*_plain([-8, -1, 0, 1, 2, 5, 1000]), ("1.5", Decimal("1.5"))]
_TEXT_LITERALS = [(f"'{text}'", text) for text in [*_TEXTS, "aa", "zz"]]
_MOMENT_LITERALS = [(f"TIMESTAMP '{moment}'", moment) for moment in [*_MOMENTS, dt.datetime(2000, 1, 1)]]
_ZONED = [moment.replace(tzinfo=dt.UTC) for moment in _MOMENTS]
_DECIMAL_LITERALS = [(text, Decimal(text)) for text in ("0", "1.5", "1.505", "-1000", "999.99")]

KINDS: dict[str, Kind] = {
    "byte": Kind(pa.int8(), "", "byte", _BYTES, _MIDDLE),
    "short": Kind(pa.int16(), "", "short", _SHORTS, _MIDDLE),
    "int": Kind(pa.int32(), "int", "integer", _INTS, _MIDDLE),
    "long": Kind(pa.int64(), "long", "long", _LONGS, [*_MIDDLE, *_plain([2**40, 2**62])]),
    "float": Kind(pa.float32(), "float", "float", _SINGLES, _FLOATS),
    "double": Kind(pa.float64(), "double", "double", _DOUBLES, [*_FLOATS, ("0.1", 0.1)]),
    "string": Kind(pa.string(), "string", "string", _TEXTS, _TEXT_LITERALS),
    "boolean": Kind(pa.bool_(), "boolean", "boolean", [True, False], [("TRUE", True), ("FALSE", False)]),
    "date": Kind(pa.date32(), "date", "date", _DAYS, [(f"DATE '{day}'", day) for day in [*_DAYS, dt.date(2000, 1, 1)]]),
    "timestamp": Kind(pa.timestamp("us"), "timestamp", "timestamp_ntz", _MOMENTS, _MOMENT_LITERALS),
    "instant": Kind(
        pa.timestamp("us", "UTC"), "timestamptz", "timestamp", _ZONED, [(f"TIMESTAMPTZ '{each}'", each) for each in _ZONED]
    ),
    "money": Kind(pa.decimal128(5, 2), "decimal(5, 2)", "decimal(5,2)", _SMALL, _DECIMAL_LITERALS),
    "more money": Kind(
        pa.decimal128(9, 2), "decimal(9, 2)", "decimal(9,2)", [*_SMALL, Decimal("-1234567.89")], _DECIMAL_LITERALS
    ),
    "exact": Kind(
        pa.decimal128(12, 4), "decimal(12, 4)", "decimal(12,4)", [Decimal("0.0001"), Decimal("1.5000")], _DECIMAL_LITERALS
    ),
    "binary": Kind(pa.binary(), "binary", "binary", _BLOBS, [("'a'::BLOB", b"a"), ("'\\x00\\xFF'::BLOB", b"\x00\xff")]),
}
ICEBERG_WIDER = {"int": ["long"], "float": ["double"], "money": ["more money"]}
DELTA_WIDER = {
    "byte": ["short", "int"], "short": ["int", "long"], "int": ["long", "double"], "float": ["double"],
    "money": ["more money", "exact"], "date": ["timestamp"],
}  # fmt: skip


def as_kind(value: Any, name: str) -> Any:
    """``value`` of a narrower type in the type ``name``."""
    if value is None:
        return None
    if name == "double":
        return float(value)
    if name == "exact":
        return value.quantize(Decimal("0.0001"))
    if name == "timestamp" and not isinstance(value, dt.datetime):
        return dt.datetime(value.year, value.month, value.day)
    return value


def literal(value: Any) -> str:
    """How SQL writes a value of a row."""
    if isinstance(value, float):
        return f"'{value}'::DOUBLE" if math.isnan(value) or math.isinf(value) else repr(value)
    if isinstance(value, bytes):
        return "'" + "".join(f"\\x{byte:02X}" for byte in value) + "'::BLOB"
    if isinstance(value, dt.datetime):
        return f"{'TIMESTAMP' if value.tzinfo is None else 'TIMESTAMPTZ'} '{value}'"
    if isinstance(value, dt.date):
        return f"DATE '{value}'"
    return f"'{value}'" if isinstance(value, str) else str(value).upper()


def random_kind(chance: Random, among: Sequence[str]) -> str:
    """One of ``among``, more often such as bounds and partitions have their difficulties with."""
    return chance.choice([kind for kind in _DIFFICULT if kind in among] if chance.random() < 0.6 else among)


def few_of(chance: Random, values: Sequence[Any]) -> list[Any]:
    """One to four of ``values``, and null often."""
    chosen = chance.sample(values, min(len(values), chance.randint(1, 4)))
    return [*chosen, None] if chance.random() < 0.6 else chosen


def how_many(chance: Random) -> int:
    """Rows of one commit."""
    return chance.choice([1, 2, 3, 5, 9])


def same(one: Any, other: Any) -> bool:
    """Whether two values that are not null are equal, as SQL has it: NaN is."""
    return bool(one == other) or (one != one and other != other)


def _looks(value: Any) -> str:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else repr(value)
    return value.isoformat() if isinstance(value, dt.datetime) else repr(value)


def shown(rows: Iterable[Row]) -> list[str]:
    """Rows in an order of their own, each as text that tells any two values apart (0.0 from -0.0 too)."""
    return sorted(in_order(rows))


def in_order(rows: Iterable[Row]) -> list[str]:
    """Rows as `shown` has them, in the order in which they come."""
    return [", ".join(f"{name}={_looks(value)}" for name, value in row.items()) for row in rows]


def parquet_layout(chance: Random) -> dict[str, Any]:
    """How a Parquet file is laid out: sizes of row groups and pages, encodings, codecs, with statistics or without."""
    return {
        "row_group_size": chance.choice([1, 2, 3, 5, 1000]),
        "use_dictionary": chance.random() < 0.5,
        "data_page_version": chance.choice(["1.0", "2.0"]),
        "data_page_size": chance.choice([1, 64, 1 << 20]),
        "compression": chance.choice(["snappy", "zstd", "none"]),
        "write_statistics": chance.random() < 0.8,
        "write_page_index": chance.random() < 0.5,
        "store_schema": chance.random() < 0.5,
    }
