"""The schema of a new table: each Arrow type as a format stores it, or a refusal that names the column.

Delta and Iceberg (format version 2) hold microseconds and one zone, UTC: timestamps of any unit become microseconds, zoned ones
instants in UTC. What a format has no type for is never stored as something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lakehouse.errors import Config, Unsupported

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["delta_schema", "iceberg_schema", "parquet_schema"]


def delta_schema(schema: pa.Schema, where: str) -> pa.Schema:
    """``schema`` in Delta's types (PROTOCOL.md, "Primitive Types").

    Raises `Unsupported` for a column of another type, `Config` for two columns whose names differ in case alone.
    """
    return _stored(schema, where, "Delta", keeps_small=True, has_time=False)


def iceberg_schema(schema: pa.Schema, where: str) -> pa.Schema:
    """``schema`` in the types of Iceberg's format version 2 (spec, "Primitive Types"). Raises as `delta_schema`."""
    return _stored(schema, where, "Iceberg", keeps_small=False, has_time=True)


def parquet_schema(schema: pa.Schema, where: str, partition_by: Sequence[str] = ()) -> pa.Schema:
    """``schema`` as files give it back: Parquet keeps Arrow's own types, but for times of whole seconds (milliseconds then) and
    date64 (date32). Partition columns, which are text in names of folders, are int64, date32 or text.

    Raises `Unsupported` for a type that Parquet lacks and for partition columns of other types, `Config` as `delta_schema`.
    """
    import pyarrow as pa

    _check_names(schema, where)
    fields = []
    for field in schema:
        kind = field.type
        if pa.types.is_null(kind):
            raise Unsupported(f"{where}: column {field.name!r} has no type (null); give it one")
        if field.name in partition_by:
            if pa.types.is_integer(kind) and kind != pa.uint64():
                kind = pa.int64()
            elif pa.types.is_date(kind):
                kind = pa.date32()
            elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
                kind = pa.string()
            else:
                raise Unsupported(f"{where}: column {field.name!r} of type {kind} cannot be the name of a folder")
        fields.append(field.with_type(kind).remove_metadata())
    return _as_read(pa.schema(fields), where)


def _as_read(schema: pa.Schema, where: str) -> pa.Schema:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pa.BufferOutputStream()
    try:
        pq.write_metadata(schema, file)
    except pa.ArrowNotImplementedError as error:
        raise Unsupported(f"{where}: a column has a type that Parquet lacks ({error}); store it as another type") from error
    found = pq.read_schema(pa.BufferReader(file.getvalue()))
    return pa.schema([given.with_type(read.type) for given, read in zip(schema, found, strict=True)])


def _check_names(schema: pa.Schema, where: str) -> None:
    if not len(schema):
        raise Config(f"{where}: a table needs a column")
    seen: dict[str, str] = {}
    for name in schema.names:
        other = seen.get(name.lower())
        if other is not None:
            raise Config(f"{where}: the columns {other!r} and {name!r} differ at most in case; engines take them for one")
        seen[name.lower()] = name
        if not name:
            raise Config(f"{where}: a column has no name")


def _stored(schema: pa.Schema, where: str, format: str, *, keeps_small: bool, has_time: bool) -> pa.Schema:
    import pyarrow as pa

    _check_names(schema, where)

    def refused(name: str, kind: pa.DataType, instead: str) -> Unsupported:
        return Unsupported(f"{where}: column {name!r}: {format} has no type for {kind}; {instead}")

    def stored(name: str, kind: pa.DataType) -> pa.DataType:
        types = pa.types
        if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
            return stored(name, kind.value_type)
        if types.is_struct(kind):
            return pa.struct([field.with_type(stored(f"{name}.{field.name}", field.type)) for field in kind])
        if types.is_map(kind):
            return pa.map_(
                stored(f"{name}.key", kind.key_type), kind.item_field.with_type(stored(f"{name}.value", kind.item_type))
            )
        if types.is_list(kind) or types.is_large_list(kind) or types.is_list_view(kind) or types.is_large_list_view(kind):
            return pa.list_(kind.value_field.with_name("element").with_type(stored(f"{name}.element", kind.value_type)))
        return plain(name, kind)

    def plain(name: str, kind: pa.DataType) -> pa.DataType:
        types = pa.types
        if types.is_unsigned_integer(kind):
            raise refused(name, kind, "choose a signed type that is wide enough")
        if types.is_integer(kind):
            return kind if keeps_small or kind.bit_width >= 32 else pa.int32()
        if types.is_float16(kind):
            raise refused(name, kind, "choose float32")
        if types.is_decimal(kind):
            if kind.precision > 38:
                raise refused(name, kind, "its decimals have at most 38 digits")
            return pa.decimal128(kind.precision, kind.scale)
        if types.is_timestamp(kind):
            return pa.timestamp("us", None if kind.tz is None else "UTC")
        if types.is_date(kind):
            return pa.date32()
        if types.is_time(kind) and has_time:
            return pa.time64("us")
        if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
            return pa.string()
        if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
            return pa.binary()
        if types.is_fixed_size_binary(kind):
            return kind if has_time else pa.binary()
        if types.is_boolean(kind) or types.is_floating(kind):
            return kind
        raise refused(name, kind, "leave the column out, or store it as another type")

    return pa.schema([field.with_type(stored(field.name, field.type)).remove_metadata() for field in schema])
