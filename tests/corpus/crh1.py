"""The row hash `crh1` of the corpus, as its README defines it."""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import json
import uuid
from typing import Any

import pyarrow as pa

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def crh1(table: pa.Table) -> str:
    """Hash of the rows of ``table``, whatever their order."""
    names = sorted(table.column_names)
    columns = [[_plain(value, table.schema.field(name).type) for value in _values(table.column(name))] for name in names]
    lines = sorted(json.dumps(list(row), ensure_ascii=False, separators=(",", ":")) for row in zip(*columns, strict=True))
    text = json.dumps(names, ensure_ascii=False, separators=(",", ":")) + "\n" + "".join(line + "\n" for line in lines)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Python values; timestamps and times as integers of their unit, so that no nanosecond and no year is lost."""
    if pa.types.is_timestamp(column.type) or pa.types.is_time64(column.type):
        return list(column.cast(pa.int64()).to_pylist())
    if pa.types.is_date32(column.type):
        return list(column.cast(pa.int32()).to_pylist())
    return list(column.to_pylist())


def _plain(value: Any, kind: pa.DataType) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if pa.types.is_timestamp(kind) and isinstance(value, int):
        return _timestamp(value, kind.unit)
    if pa.types.is_date32(kind) and isinstance(value, int):
        return f"D{value}"
    return _nested(value)


def _timestamp(value: int, unit: str) -> str:
    micros, rest = {"s": (value * 10**6, 0), "ms": (value * 1000, 0), "us": (value, 0), "ns": divmod(value, 1000)}[unit]
    return f"T{micros}" + (f".{rest:03d}" if rest else "")


def _nested(value: Any) -> Any:
    """Values inside lists, structs and maps, and scalars of which the type does not matter."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return "NaN" if value != value else value if abs(value) != float("inf") else repr(value)
        case decimal.Decimal():
            return f"{value:f}"
        case dt.datetime():
            moment = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
            return f"T{(moment - EPOCH) // dt.timedelta(microseconds=1)}"
        case dt.date():
            return f"D{(value - EPOCH.date()).days}"
        case bytes():
            return "0x" + value.hex()
        case uuid.UUID():
            return str(value)
        case dict():
            return {key: _nested(value[key]) for key in sorted(value)}
        case list() if value and all(isinstance(item, tuple) for item in value):
            pairs = [[_nested(key), _nested(item)] for key, item in value]
            return sorted(pairs, key=lambda pair: json.dumps(pair, ensure_ascii=False, separators=(",", ":")))
        case list():
            return [_nested(item) for item in value]
    raise TypeError(f"crh1 does not say how to write {type(value).__name__}")
