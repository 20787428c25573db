"""Bounds and partition values as numbers and bytes that can be compared, without the cost of Arrow scalars.

Iceberg table spec, Appendix D, "Binary single-value serialization". A column may have been promoted since a bound was written
(``int`` → ``long``, ``float`` → ``double``, a decimal with more digits), so a bound is as wide as its bytes say.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Column", "Value", "bound_value", "columns_of", "exceeds", "partition_type", "partition_value"]

Value = bool | int | float | bytes

_INTEGERS = ("int", "long", "date", "time", "timestamp", "timestamptz", "timestamp_ns", "timestamptz_ns")
_BYTES = ("string", "binary", "uuid")
_WIDTHS = {4: "<f", 8: "<d"}
_OF_TRANSFORM = {"year": "int", "month": "int", "day": "date", "hour": "int"}


@dataclass(frozen=True, slots=True)
class Column:
    """A field of any of the table's schemas. ``type``: of primitives as the spec names it, else ``struct``, ``list``, ``map``.

    ``plain``: every row has one value of it: it lies in no list and no map, and no struct around it.
    """

    id: int
    name: str
    type: str
    plain: bool


def columns_of(schemas: Iterable[Mapping[str, Any]]) -> dict[int, Column]:
    """The fields of all schemas by their ids, of one id the last; those of structs, lists and maps too."""
    found: dict[int, Column] = {}
    for schema in schemas:
        _collect(schema, "", True, found)
    return found


def _collect(kind: Mapping[str, Any], prefix: str, plain: bool, found: dict[int, Column]) -> None:
    parts = [(field["id"], field["name"], field["type"]) for field in kind.get("fields") or ()]
    parts += [(kind[f"{part}-id"], part, kind[part]) for part in ("element", "key", "value") if f"{part}-id" in kind]
    for number, name, inner in parts:
        text = inner if isinstance(inner, str) else str(inner.get("type"))
        found[number] = Column(number, f"{prefix}{name}", text, plain and "fields" in kind)
        if isinstance(inner, Mapping):
            _collect(inner, f"{prefix}{name}.", False, found)


def bound_value(kind: str, raw: bytes) -> Value | None:
    """The bound ``raw`` of a column of that type; None for types whose bounds are not ordered so.

    Raises ValueError where it cannot be a value of that type.
    """
    if kind in _BYTES or kind.startswith("fixed"):
        return raw
    if kind in _INTEGERS:
        if len(raw) not in _WIDTHS:
            raise ValueError(f"{len(raw)} bytes are no {kind}")
        return int.from_bytes(raw, "little", signed=True)
    if kind in ("float", "double"):
        if len(raw) not in _WIDTHS:
            raise ValueError(f"{len(raw)} bytes are no {kind}")
        value: float = struct.unpack(_WIDTHS[len(raw)], raw)[0]
        return value
    if kind.startswith("decimal"):
        return int.from_bytes(raw, "big", signed=True)
    if kind == "boolean":
        if len(raw) != 1:
            raise ValueError(f"{len(raw)} bytes are no boolean")
        return raw != b"\0"
    return None


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
    """A value of a partition tuple, as Avro has it, as `bound_value` gives them. Raises ValueError for one of another type."""
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
