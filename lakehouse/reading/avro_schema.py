"""Avro schemas as Arrow types: what the records of a file are read by, and what is made of their values.

Source: Avro 1.12, "Schema Declaration", "Logical Types"; Iceberg table spec, Appendix A, "Avro" (field ids, maps whose keys are
no text as arrays of records, ``adjust-to-utc``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lakehouse.errors import Unsupported

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["AvroType", "meant_of", "record_type"]

Meant = Callable[["pa.Array"], "pa.Array"]

_MOST_DEPTH = 100
_DECIMAL_BYTES, _DECIMAL_DIGITS = 16, 38
_NAMED = ("record", "error", "enum", "fixed")


@dataclass(frozen=True, slots=True)
class AvroType:
    """``written``: the schema by which values are taken from bytes, without logical types. ``raw``: the Arrow type of arrays made
    of such values. ``type``: what they mean. ``meant``: makes the latter of the former (None: they are the same). ``fields``: of
    a record.
    """

    written: Any
    raw: pa.DataType
    type: pa.DataType
    meant: Meant | None = None
    fields: tuple[AvroType, ...] = ()


@dataclass(slots=True)
class _Names:
    """The named types met so far, by their full names; each use of one becomes a definition of its own."""

    where: str
    known: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    made: int = 0

    def fresh(self) -> str:
        self.made += 1
        return f"t{self.made}"


def record_type(schema: Any, where: str) -> AvroType:
    """What the records of a file with that schema are: a struct; ``where`` names the file.

    A field with an id has it in its metadata. Raises `ValueError` for what is no schema of records, `Unsupported` for unions of
    several types, recursive types and decimals of more than 38 digits.
    """
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise ValueError("its Avro schema is not a record")
    try:
        return _made(schema, _Names(where), "", 0)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"its Avro schema cannot be read ({error!r})") from error


def meant_of(made: AvroType, array: pa.Array) -> pa.Array:
    """What an array of ``made.raw`` means. Raises `ValueError` for values that mean nothing."""
    return array if made.meant is None else made.meant(array)


def _made(schema: Any, names: _Names, space: str, depth: int) -> AvroType:
    if depth > _MOST_DEPTH:
        raise Unsupported(f"{names.where}: its Avro schema is recursive or too deep to be a table's; rewrite the table's data")
    depth += 1
    if isinstance(schema, list):
        return _union(schema, names, space, depth)
    if isinstance(schema, str):
        return _reference(schema, names, space, depth)
    kind = schema["type"]
    if kind in _NAMED:
        full = _full_name(schema, space)
        names.known[full] = schema
        space = full.rpartition(".")[0]
    if kind in ("record", "error"):
        return _record(schema, names, space, depth)
    if kind == "array":
        made = _map_of_records if schema.get("logicalType") == "map" else _array
        return made(schema, names, space, depth)
    if kind == "map":
        return _map(schema, names, space, depth)
    if not isinstance(kind, str):
        return _made(kind, names, space, depth)
    return _plain(schema, names) if kind in _NAMED or kind in _PRIMITIVE else _reference(kind, names, space, depth)


def _full_name(schema: Mapping[str, Any], space: str) -> str:
    name, stated = str(schema["name"]), schema.get("namespace", space)
    return name if "." in name or not stated else f"{stated}.{name}"


def _reference(name: str, names: _Names, space: str, depth: int) -> AvroType:
    if name in _PRIMITIVE:
        return _plain({"type": name}, names)
    full = f"{space}.{name}"
    found = full if full in names.known else name
    if found not in names.known:
        raise ValueError(f"its Avro schema names the type {name!r} and does not define it")
    return _made(names.known[found], names, found.rpartition(".")[0], depth)


def _union(branches: list[Any], names: _Names, space: str, depth: int) -> AvroType:
    import pyarrow as pa

    others = [branch for branch in branches if branch != "null" and branch != {"type": "null"}]
    if len(others) > 1:
        raise Unsupported(f"{names.where}: has a union of {len(others)} types, which is no column of a table; rewrite the file")
    if not others:
        return AvroType(["null"], pa.null(), pa.null())
    made = _made(others[0], names, space, depth)
    return AvroType([made.written if branch is others[0] else "null" for branch in branches], made.raw, made.type, made.meant)


def _record(schema: Mapping[str, Any], names: _Names, space: str, depth: int) -> AvroType:
    import pyarrow as pa

    stated = schema["fields"]
    names_of, made = [str(each["name"]) for each in stated], [_made(each["type"], names, space, depth) for each in stated]
    raw = pa.struct([pa.field(name, each.raw) for name, each in zip(names_of, made, strict=True)])
    target = pa.struct(
        [_field(name, each.type, field.get("field-id")) for name, each, field in zip(names_of, made, stated, strict=True)]
    )
    written = [{"name": name, "type": each.written} for name, each in zip(names_of, made, strict=True)]
    meant = _struct_meant(target, [each.meant for each in made]) if made else None
    return AvroType({"type": "record", "name": names.fresh(), "fields": written}, raw, target, meant, tuple(made))


def _array(schema: Mapping[str, Any], names: _Names, space: str, depth: int) -> AvroType:
    import pyarrow as pa

    item = _made(schema["items"], names, space, depth)
    target = pa.list_(_field("element", item.type, schema.get("element-id")))
    return AvroType({"type": "array", "items": item.written}, pa.list_(item.raw), target, _list_meant(target, item.meant))


def _map(schema: Mapping[str, Any], names: _Names, space: str, depth: int) -> AvroType:
    import pyarrow as pa

    value = _made(schema["values"], names, space, depth)
    key = _field("key", pa.string(), schema.get("key-id")).with_nullable(False)
    target = pa.map_(key, _field("value", value.type, schema.get("value-id")))

    def entries(array: pa.Array) -> tuple[pa.Array, pa.Array]:
        return array.keys, meant_of(value, array.items)

    return AvroType(
        {"type": "map", "values": value.written}, pa.map_(pa.string(), value.raw), target, _map_meant(target, entries)
    )


def _map_of_records(schema: Mapping[str, Any], names: _Names, space: str, depth: int) -> AvroType:
    """An array of pairs of a key, which may be of any type, and a value."""
    import pyarrow as pa

    pair = _made(schema["items"], names, space, depth)
    if not isinstance(pair.type, pa.StructType) or [each.name for each in pair.type] != ["key", "value"]:
        raise ValueError("a map of its Avro schema is not made of a key and a value")
    target = pa.map_(pair.type.field(0).with_nullable(False), pair.type.field(1))

    def entries(array: pa.Array) -> tuple[pa.Array, pa.Array]:
        made = meant_of(pair, array.values)
        return made.field(0), made.field(1)

    return AvroType({"type": "array", "items": pair.written}, pa.list_(pair.raw), target, _map_meant(target, entries))


def _plain(schema: Mapping[str, Any], names: _Names) -> AvroType:
    import pyarrow as pa

    kind, logical = schema["type"], schema.get("logicalType")
    if kind == "enum":
        return AvroType({"type": "enum", "name": names.fresh(), "symbols": schema["symbols"]}, pa.string(), pa.string())
    if kind == "fixed":
        written: Any = {"type": "fixed", "name": names.fresh(), "size": int(schema["size"])}
        raw = pa.binary(int(schema["size"]))
    else:
        written, raw = kind, _PRIMITIVE[kind](pa)
    if logical == "decimal" and kind in ("bytes", "fixed"):
        precision, scale = int(schema["precision"]), int(schema.get("scale", 0))
        if precision > _DECIMAL_DIGITS:
            raise Unsupported(f"{names.where}: has decimals of {precision} digits, more than {_DECIMAL_DIGITS}; rewrite the file")
        target = pa.decimal128(precision, scale)
        return AvroType(written, raw, target, lambda array: _decimals(array, target))
    zone = "UTC" if schema.get("adjust-to-utc") is True else None
    meaning = _LOGICAL.get((kind, logical))
    kept = raw if meaning is None else meaning(pa, zone)
    return AvroType(written, kept, kept)


_PRIMITIVE: dict[str, Callable[[Any], Any]] = {
    "null": lambda pa: pa.null(),
    "boolean": lambda pa: pa.bool_(),
    "int": lambda pa: pa.int32(),
    "long": lambda pa: pa.int64(),
    "float": lambda pa: pa.float32(),
    "double": lambda pa: pa.float64(),
    "bytes": lambda pa: pa.binary(),
    "string": lambda pa: pa.string(),
}
_LOGICAL: dict[tuple[str, Any], Callable[[Any, str | None], Any]] = {
    ("int", "date"): lambda pa, _: pa.date32(),
    ("int", "time-millis"): lambda pa, _: pa.time32("ms"),
    ("long", "time-micros"): lambda pa, _: pa.time64("us"),
    ("long", "timestamp-millis"): lambda pa, zone: pa.timestamp("ms", zone),
    ("long", "timestamp-micros"): lambda pa, zone: pa.timestamp("us", zone),
    ("long", "timestamp-nanos"): lambda pa, zone: pa.timestamp("ns", zone),
    ("long", "local-timestamp-millis"): lambda pa, _: pa.timestamp("ms"),
    ("long", "local-timestamp-micros"): lambda pa, _: pa.timestamp("us"),
    ("long", "local-timestamp-nanos"): lambda pa, _: pa.timestamp("ns"),
}
"""Not all writers say ``adjust-to-utc``: without it a timestamp has no zone, and may be read as one that has."""


def _field(name: str, kind: pa.DataType, field_id: Any) -> pa.Field:
    import pyarrow as pa

    return pa.field(name, kind, metadata=None if field_id is None else {"PARQUET:field_id": str(field_id)})


def _struct_meant(target: pa.StructType, parts: list[Meant | None]) -> Meant:
    fields = [target.field(index) for index in range(target.num_fields)]

    def meant(array: pa.Array) -> pa.Array:
        import pyarrow as pa

        inner = array.flatten()  # null wherever the record is
        made = [each if part is None else part(each) for part, each in zip(parts, inner, strict=True)]
        return pa.StructArray.from_arrays(made, fields=fields, mask=array.is_null() if array.null_count else None)

    return meant


def _list_meant(target: pa.DataType, part: Meant | None) -> Meant:
    def meant(array: pa.Array) -> pa.Array:
        import pyarrow as pa

        inner = array.values if part is None else part(array.values)
        return pa.Array.from_buffers(target, len(array), array.buffers()[:2], array.null_count, array.offset, [inner])

    return meant


def _map_meant(target: pa.MapType, entries: Callable[[pa.Array], tuple[pa.Array, pa.Array]]) -> Meant:
    def meant(array: pa.Array) -> pa.Array:
        import pyarrow as pa

        keys, items = entries(array)
        if keys.null_count:
            raise ValueError("a key of a map is null")
        inner = pa.StructArray.from_arrays([keys, items], fields=[target.key_field, target.item_field])
        return pa.Array.from_buffers(target, len(array), array.buffers()[:2], array.null_count, array.offset, [inner])

    return meant


def _decimals(array: pa.Array, target: pa.Decimal128Type) -> pa.Array:
    """Of bytes, the most significant first, in two's complement, as Arrow has them: 16 bytes, the least significant first."""
    import numpy as np
    import pyarrow as pa

    rows, buffers = len(array), array.buffers()
    if pa.types.is_fixed_size_binary(array.type):
        sizes = np.full(rows, array.type.byte_width, np.int64)
        ends = np.cumsum(sizes) + array.offset * array.type.byte_width
    else:
        offsets = np.frombuffer(buffers[1], np.int32)[array.offset : array.offset + rows + 1].astype(np.int64)
        sizes, ends = np.diff(offsets), offsets[1:]
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    wrong = valid & ((sizes < 1) | (sizes > _DECIMAL_BYTES))
    if wrong.any():
        raise ValueError(f"a decimal has {sizes[wrong][0]} bytes")
    data = np.frombuffer(buffers[-1] or b"\0", np.uint8)
    data = data if len(data) else np.zeros(1, np.uint8)
    made = np.empty((rows, _DECIMAL_BYTES), np.uint8)
    sign = np.where(data[np.clip(ends - sizes, 0, len(data) - 1)] >= 128, 255, 0)
    for at in range(_DECIMAL_BYTES):
        made[:, at] = np.where(sizes > at, data[np.clip(ends - 1 - at, 0, len(data) - 1)], sign)
    found = pa.Array.from_buffers(target, rows, [pa.array(valid).buffers()[1], pa.py_buffer(made)])
    found.validate(full=True)
    return found
