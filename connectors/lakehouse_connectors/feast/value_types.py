"""Arrow's types in Feast's words."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as t
from feast.type_map import pa_to_feast_value_type
from feast.value_type import ValueType

from lakehouse.errors import Unsupported

__all__ = ["laid_out", "plain_type", "roomy", "type_name", "value_type", "without_views"]


def plain_type(type: pa.DataType) -> pa.DataType:
    """``type`` as its values are, not as they are laid out: text is ``string``, a list ``list``, a dictionary what it holds."""
    if t.is_dictionary(type):
        return plain_type(type.value_type)
    if t.is_large_string(type) or t.is_string_view(type):
        return pa.string()
    if t.is_large_binary(type) or t.is_binary_view(type) or t.is_fixed_size_binary(type):
        return pa.binary()
    if (
        t.is_list(type)
        or t.is_large_list(type)
        or t.is_fixed_size_list(type)
        or t.is_list_view(type)
        or t.is_large_list_view(type)
    ):
        return pa.list_(pa.field("item", plain_type(type.value_type)))
    return type


def without_views(schema: pa.Schema) -> pa.Schema:
    """``schema`` with text, bytes and lists laid out as Feast and pandas take them; itself where they are."""
    made = schema
    for at, field in enumerate(schema):
        kind = field.type
        if t.is_string_view(kind) or t.is_binary_view(kind) or t.is_list_view(kind) or t.is_large_list_view(kind):
            made = made.set(at, field.with_type(plain_type(kind)))
    return made


def roomy(schema: pa.Schema) -> pa.Schema:
    """``schema`` with text, bytes and lists laid out so that a column may hold more than 2 GiB of them."""
    return pa.schema([field.with_type(_roomy(field.type)) for field in schema])


def _roomy(type: pa.DataType) -> pa.DataType:
    plain = plain_type(type)
    if t.is_dictionary(type) or t.is_fixed_size_binary(type) or t.is_fixed_size_list(type):
        return type
    if t.is_string(plain):
        return pa.large_string()
    if t.is_binary(plain):
        return pa.large_binary()
    return pa.large_list(_roomy(plain.value_type)) if t.is_list(plain) else type


def laid_out(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """``table`` with the layout of ``schema``, in chunks that it can hold."""
    if table.schema.equals(schema):
        return table
    if table.nbytes <= _CHUNK_BYTES:
        return table.cast(schema)
    rows = max(1, table.num_rows * _CHUNK_BYTES // table.nbytes)
    parts = [table.take(pa.array(range(at, min(at + rows, table.num_rows)))) for at in range(0, table.num_rows, rows)]
    return pa.concat_tables(
        [part.cast(schema) for part in parts]
    )  # a slice would not do: its offsets are still those of the whole


_CHUNK_BYTES = 256 << 20


def type_name(type: pa.DataType) -> str:
    """How `value_type` is told of a column: Arrow's name of its plain type."""
    return str(plain_type(type))


def value_type(name: str) -> ValueType:
    """Feast's type of a column whose plain Arrow type has that name. Raises `Unsupported` where Feast has none."""
    if name.startswith("date"):
        return ValueType.UNIX_TIMESTAMP
    if name.startswith("decimal"):
        return ValueType.DECIMAL
    try:
        return pa_to_feast_value_type(name)
    except KeyError:
        raise Unsupported(
            f"Feast has no type for a column of {name}; name the features in the view's schema and leave it out"
        ) from None
