"""Bounds and partition values as numbers and bytes that can be compared, without the cost of Arrow scalars.

Iceberg table spec, Appendix D, "Binary single-value serialization". A column may have been promoted since a bound was written
(``int`` → ``long``, ``float`` → ``double``, a decimal with more digits), so a bound is as wide as its bytes say.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

__all__ = ["Column", "Value", "columns_of", "exceeds", "partition_type", "partition_value", "reader_of"]

Value = bool | int | float | bytes

_INTEGERS = ("int", "long", "date", "time", "timestamp", "timestamptz", "timestamp_ns", "timestamptz_ns")
_BYTES = ("string", "binary", "uuid")
_OF_TRANSFORM = {"year": "int", "month": "int", "day": "date", "hour": "int"}


@dataclass(frozen=True, slots=True)
class Column:
    """A field of any of the table's schemas. ``type``: of primitives as the spec names it, else ``struct``, ``list``, ``map``.

    ``plain``: every row has one value of it: it lies in no list and no map, and no struct around it. ``read``: see `reader_of`.
    """

    id: int
    name: str
    type: str
    plain: bool
    read: Callable[[bytes], Value | None] = field(compare=False, repr=False)


def columns_of(schemas: Iterable[Mapping[str, Any]]) -> dict[int, Column]:
    """The fields of all schemas by their ids, of one id the last; those of structs, lists and maps too."""
    found: dict[int, Column] = {}
    for schema in schemas:
        _collect(schema, "", True, found)
    return found


def _collect(kind: Mapping[str, Any], prefix: str, plain: bool, found: dict[int, Column]) -> None:
    parts = [(each["id"], each["name"], each["type"]) for each in kind.get("fields") or ()]
    parts += [(kind[f"{part}-id"], part, kind[part]) for part in ("element", "key", "value") if f"{part}-id" in kind]
    for number, name, inner in parts:
        text = inner if isinstance(inner, str) else str(inner.get("type"))
        found[number] = Column(number, f"{prefix}{name}", text, plain and "fields" in kind, reader_of(text))
        if isinstance(inner, Mapping):
            _collect(inner, f"{prefix}{name}.", False, found)


@cache
def reader_of(kind: str) -> Callable[[bytes], Value | None]:
    """What reads bounds of columns of that type: None for types whose bounds are not ordered so. It raises ValueError for bytes
    that cannot be a value of the type.
    """
    if kind in _BYTES or kind.startswith("fixed"):
        return _same
    if kind.startswith("decimal"):
        return _decimal
    return _READERS.get(kind, _nothing)


def _same(raw: bytes) -> bytes:
    return raw


def _nothing(_raw: bytes) -> None:
    return None


def _decimal(raw: bytes) -> int:
    return int.from_bytes(raw, "big", signed=True)


def _integer(raw: bytes) -> int:
    if len(raw) != 8 and len(raw) != 4:
        raise ValueError(f"{len(raw)} bytes are no number")
    return int.from_bytes(raw, "little", signed=True)


def _floating(raw: bytes) -> float:
    if len(raw) != 8 and len(raw) != 4:
        raise ValueError(f"{len(raw)} bytes are no number")
    value: float = struct.unpack("<d" if len(raw) == 8 else "<f", raw)[0]
    return value


def _boolean(raw: bytes) -> bool:
    if len(raw) != 1:
        raise ValueError(f"{len(raw)} bytes are no boolean")
    return raw != b"\0"


_READERS: Mapping[str, Callable[[bytes], Value]] = {
    **dict.fromkeys(_INTEGERS, _integer),
    **dict.fromkeys(("float", "double"), _floating),
    "boolean": _boolean,
}


def exceeds(one: Value, other: Value) -> bool:
    """Whether ``one`` is greater than ``other``; False for what does not compare."""
    if isinstance(one, bytes) or isinstance(other, bytes):
        return isinstance(one, bytes) and isinstance(other, bytes) and one > other
    return one > other


def partition_type(transform: str, source: str) -> str | None:
    """The type of a partition value; None where it is not known. Iceberg table spec, "Partition Transforms"."""
    name = transform.partition("[")[0]
    if name in ("identity", "truncate"):
        return source
    return "int" if name == "bucket" else _OF_TRANSFORM.get(name)


def partition_value(kind: str, stated: Any) -> Value:
    """A value of a partition tuple, as Avro has it, as `reader_of` gives bounds. Raises ValueError for one of another type."""
    if isinstance(stated, str) and kind == "string":
        return stated.encode()
    if isinstance(stated, bytes):
        if kind.startswith("decimal"):
            return int.from_bytes(stated, "big", signed=True)
        if kind in ("binary", "uuid") or kind.startswith("fixed"):
            return stated
    if isinstance(stated, bool) == (kind == "boolean") and isinstance(stated, int) and kind in (*_INTEGERS, "boolean"):
        return stated
    if isinstance(stated, float) and kind in ("float", "double"):
        return stated
    raise ValueError(f"{stated!r} is no {kind}")
