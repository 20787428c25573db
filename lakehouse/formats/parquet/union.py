"""The schema of files together: by name, with types that hold the values of all.

The first file decides the order; columns, and fields of structs, that only later ones have follow. A type is widened only where
no value can change (int to long, float to double, a decimal with more digits).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["unified_fields", "unified_type"]

MOST_DIGITS = 38


def unified_fields(known: Sequence[pa.Field], other: Sequence[pa.Field]) -> list[pa.Field] | str:
    """``known`` with what ``other`` has besides, or the name of the first field of which the types do not go together.

    What only one of them has may be null.
    """
    others = {field.name: field for field in other}
    found: list[pa.Field] = []
    for field in known:
        added = others.pop(field.name, None)
        kind = field.type if added is None else unified_type(field.type, added.type)
        if kind is None:
            return str(field.name)
        found.append(field.with_type(kind).with_nullable(added is None or field.nullable or added.nullable))
    return [*found, *(field.with_nullable(True) for field in others.values())]


def unified_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of both unchanged; None where there is none."""
    import pyarrow as pa
    import pyarrow.types as t

    if one == other:
        return one
    if t.is_null(one) or t.is_null(other):
        return other if t.is_null(one) else one
    if t.is_integer(one) and t.is_integer(other):
        return _integers(one, other)
    if t.is_floating(one) and t.is_floating(other):
        return one if one.bit_width > other.bit_width else other
    if t.is_floating(one) or t.is_floating(other):
        exact = other if t.is_floating(one) else one
        return pa.float64() if t.is_integer(exact) and exact.bit_width <= 32 else None
    if _is_number(one) and _is_number(other):
        return _decimals(_digits(one), _digits(other))
    if _is_text(one) and _is_text(other):
        return pa.large_string()
    if _is_bytes(one) and _is_bytes(other):
        return pa.large_binary() if t.is_large_binary(one) or t.is_large_binary(other) else pa.binary()
    if t.is_timestamp(one) and t.is_timestamp(other) and (one.tz is None) == (other.tz is None):
        unit = max((one.unit, other.unit), key=["s", "ms", "us", "ns"].index)
        return pa.timestamp(unit, one.tz if one.tz == other.tz else "UTC")
    return _nested(one, other)


def _integers(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    import pyarrow as pa
    import pyarrow.types as t

    wide, narrow = (one, other) if one.bit_width >= other.bit_width else (other, one)
    if t.is_signed_integer(one) == t.is_signed_integer(other) or (
        t.is_signed_integer(wide) and wide.bit_width > narrow.bit_width
    ):
        return wide
    return {8: pa.int16(), 16: pa.int32(), 32: pa.int64()}.get(max(one.bit_width, other.bit_width))


def _digits(kind: pa.DataType) -> tuple[int, int]:
    """Digits before and after the point."""
    import pyarrow.types as t

    if t.is_decimal(kind):
        return kind.precision - kind.scale, kind.scale
    return {8: 3, 16: 5, 32: 10, 64: 20}[kind.bit_width], 0


def _decimals(one: tuple[int, int], other: tuple[int, int]) -> pa.DataType | None:
    import pyarrow as pa

    whole, scale = max(one[0], other[0]), max(one[1], other[1])
    return pa.decimal128(whole + scale, scale) if whole + scale <= MOST_DIGITS else None


def _nested(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    import pyarrow as pa
    import pyarrow.types as t

    if t.is_struct(one) and t.is_struct(other):
        fields = unified_fields(list(one), list(other))
        return None if isinstance(fields, str) else pa.struct(fields)
    if t.is_map(one) and t.is_map(other):
        key, item = unified_type(one.key_type, other.key_type), unified_type(one.item_type, other.item_type)
        return pa.map_(key, item) if key is not None and item is not None else None
    if _is_list(one) and _is_list(other):
        element = unified_type(one.value_type, other.value_type)
        if element is None:
            return None
        field = pa.field(one.value_field.name, element, one.value_field.nullable or other.value_field.nullable)
        return pa.large_list(field) if t.is_large_list(one) or t.is_large_list(other) else pa.list_(field)
    return None


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow.types as t

    return bool(t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as t

    return bool(t.is_string(kind) or t.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow.types as t

    return bool(t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind))


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow.types as t

    return bool(t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind))
