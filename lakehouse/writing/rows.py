"""Rows on their way into a table: whatever holds them becomes a stream of Arrow batches of exactly the table's types.

A schema that does not fit is refused before a row is read. What is cast, and loses nothing: integers and floats to wider ones,
integers to floats that hold them all, decimals to wider ones, coarser times to finer ones, zoned timestamps to the zone of the
column (the same instants), dictionaries to their values, and the several Arrow layouts of text, bytes and lists to each other.
Nanoseconds go into a column of microseconds where each value is a whole number of them; one that is not is an error, since
nothing is ever truncated. A timestamp without a zone does not go into a column of instants, nor one with a zone into a column
without: only the caller knows which zone was meant.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from lakehouse.errors import Config
from lakehouse.scan import Rows

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["fitting", "in_portions", "stream_of"]

_INTEGER_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}
_FLOAT_EXACT_BITS = {16: 11, 32: 24, 64: 53}


def stream_of(data: Any) -> pa.RecordBatchReader:
    """``data`` as a stream: an Arrow table, batch or reader, a scan, an iterable of batches, a pandas or polars frame, or
    anything else that speaks Arrow's stream interface.

    An index of a pandas frame that is more than a row number becomes a column. Raises `Config` for anything else.
    """
    import pyarrow as pa

    if isinstance(data, pa.RecordBatchReader):
        return data
    if isinstance(data, pa.Table | Rows):
        return data.to_reader()
    if isinstance(data, pa.RecordBatch):
        return pa.RecordBatchReader.from_batches(data.schema, [data])
    if type(data).__module__.partition(".")[0] == "pandas":
        try:
            return pa.Table.from_pandas(data).replace_schema_metadata(None).to_reader()
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise Config(f"the pandas frame has a column that is of no one type: {error}") from error
    if hasattr(data, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(data)
    if isinstance(data, Iterable) and not isinstance(data, str | bytes | dict):
        return _of_batches(iter(data))
    raise Config(
        f"data of type {type(data).__name__} cannot be written; give an Arrow table, reader or batches, or a frame of pandas "
        "or polars"
    )


def _of_batches(batches: Iterator[Any]) -> pa.RecordBatchReader:
    import pyarrow as pa

    first = next(batches, None)
    if first is None:
        raise Config("an iterable without any batch states no schema; give an empty Arrow table")
    if not isinstance(first, pa.RecordBatch | pa.Table):
        raise Config(f"an iterable of {type(first).__name__} cannot be written; give Arrow batches")

    def each() -> Iterator[pa.RecordBatch]:
        yield from first.to_batches() if isinstance(first, pa.Table) else [first]
        for one in batches:
            if not isinstance(one, pa.RecordBatch | pa.Table) or not one.schema.equals(first.schema):
                raise Config("the batches do not all have the schema of the first")
            yield from one.to_batches() if isinstance(one, pa.Table) else [one]

    return pa.RecordBatchReader.from_batches(first.schema, each())


def fitting(data: Any, schema: pa.Schema, where: str) -> pa.RecordBatchReader:
    """``data`` as a stream of batches of just ``schema``, its columns in that order whatever order they came in.

    Raises `Config` at once, naming the column, for one that is missing, is not the table's, or has a type that might lose
    something; while it is read, for a null where none may be and for a value that the column cannot hold.
    """
    import pyarrow as pa

    given = stream_of(data)
    _check_columns(given.schema, schema, where)
    places = [given.schema.get_field_index(field.name) for field in schema]
    for place, field in zip(places, schema, strict=True):
        reason = _misfit(given.schema.field(place).type, field.type)
        if reason is not None:
            raise Config(f"{where}: column {field.name!r}: {reason}")

    def each() -> Iterator[pa.RecordBatch]:
        for batch in given:
            columns = [_cast(batch.column(place), field, where, field.name) for place, field in zip(places, schema, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, each())


def in_portions(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """The rows in tables of about ``size`` bytes in memory, so that no stream is held whole; a batch that is larger is cut."""
    import pyarrow as pa

    held, weight = list[pa.RecordBatch](), 0
    for batch in batches:
        for piece in _cut(batch, size):
            held.append(piece)
            weight += piece.nbytes
            if weight >= size:
                yield pa.Table.from_batches(held)
                held, weight = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _cut(batch: pa.RecordBatch, size: int) -> Iterator[pa.RecordBatch]:
    rows = batch.num_rows
    if rows == 0:
        return
    step = max(1, rows * size // max(size, batch.nbytes))
    for start in range(0, rows, step):
        yield batch.slice(start, step)


def _check_columns(given: pa.Schema, schema: pa.Schema, where: str) -> None:
    twice = sorted({name for name in given.names if given.names.count(name) > 1})
    if twice:
        raise Config(f"{where}: column {twice[0]!r} is given more than once")
    for name in given.names:
        if name not in schema.names:
            lower = {other.lower(): other for other in schema.names}
            near = difflib.get_close_matches(name.lower(), lower, n=1)
            raise Config(f"{where}: the table has no column {name!r}" + (f"; did you mean {lower[near[0]]!r}?" if near else ""))
    for name in schema.names:
        if name not in given.names:
            raise Config(f"{where}: column {name!r} is missing from the data; give nulls where there is no value")


def _misfit(given: pa.DataType, wanted: pa.DataType) -> str | None:
    """Why values of one type may not all go into a column of the other; None where they do."""
    import pyarrow as pa

    given, wanted = _plain(given), _plain(wanted)
    if given.equals(wanted) or pa.types.is_null(given):
        return None
    if pa.types.is_struct(given) and pa.types.is_struct(wanted):
        return _struct_misfit(given, wanted)
    if _is_list(given) and _is_list(wanted):
        if pa.types.is_fixed_size_list(wanted) and given != wanted:
            return f"{given} does not go into {wanted}: give lists of that one length"
        return _misfit(given.value_type, wanted.value_type)
    if pa.types.is_map(given) and pa.types.is_map(wanted):
        return _misfit(given.key_type, wanted.key_type) or _misfit(given.item_type, wanted.item_type)
    if _widens(given, wanted):
        return None
    return _hint(given, wanted)


def _struct_misfit(given: pa.DataType, wanted: pa.DataType) -> str | None:
    names = [field.name for field in given]
    for field in wanted:
        if names.count(field.name) != 1:
            return f"its field {field.name!r} is {'missing' if field.name not in names else 'given twice'}"
        reason = _misfit(given.field(field.name).type, field.type)
        if reason is not None:
            return f"its field {field.name!r}: {reason}"
    extra = [name for name in names if name not in {field.name for field in wanted}]
    return f"it has no field {extra[0]!r}" if extra else None


def _hint(given: pa.DataType, wanted: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_timestamp(given) and pa.types.is_timestamp(wanted) and (given.tz is None) != (wanted.tz is None):
        if given.tz is None:
            return f"{given} has no zone, and the column holds instants ({wanted}); say which zone is meant before you write"
        return f"{given} has a zone, and the column holds none ({wanted}); convert to local time before you write"
    return f"{given} does not go into {wanted} without loss; cast it yourself where you know better"


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values: without dictionary, run lengths or extension, text and bytes in their one layout."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return kind


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _widens(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether every value of the one is a value of the other (ns to us: where it is a whole number of them, see `_cast`)."""
    import pyarrow as pa

    kinds = pa.types
    if kinds.is_integer(given):
        return _integer_widens(given, wanted)
    if kinds.is_floating(given) and kinds.is_floating(wanted):
        return bool(given.bit_width <= wanted.bit_width)
    if kinds.is_decimal(given) and kinds.is_decimal(wanted):
        return bool(given.scale <= wanted.scale and given.precision - given.scale <= wanted.precision - wanted.scale)
    if kinds.is_timestamp(given) and kinds.is_timestamp(wanted):
        return (given.tz is None) == (wanted.tz is None) and _unit_fits(given.unit, wanted.unit)
    if kinds.is_time(given) and kinds.is_time(wanted):
        return _unit_fits(given.unit, wanted.unit)
    if kinds.is_duration(given) and kinds.is_duration(wanted):
        return _unit_fits(given.unit, wanted.unit)
    if kinds.is_date(given) and kinds.is_date(wanted):
        return True
    return bool(kinds.is_fixed_size_binary(given) and kinds.is_binary(wanted))


def _integer_widens(given: pa.DataType, wanted: pa.DataType) -> bool:
    import pyarrow as pa

    kinds, unsigned = pa.types, pa.types.is_unsigned_integer(given)
    if kinds.is_integer(wanted):
        if unsigned == kinds.is_unsigned_integer(wanted):
            return bool(given.bit_width <= wanted.bit_width)
        return bool(unsigned and given.bit_width < wanted.bit_width)
    if kinds.is_floating(wanted):
        return bool(given.bit_width - (0 if unsigned else 1) <= _FLOAT_EXACT_BITS[wanted.bit_width])
    if kinds.is_decimal(wanted):
        return bool(wanted.precision - wanted.scale >= _INTEGER_DIGITS[given.bit_width])
    return False


def _unit_fits(given: str, wanted: str) -> bool:
    order = ("s", "ms", "us", "ns")
    return order.index(given) <= order.index(wanted) or (given, wanted) == ("ns", "us")


def _cast(array: pa.Array, field: pa.Field, where: str, name: str) -> pa.Array:
    """``array`` as the type of ``field``, which `_misfit` found to be possible. Raises `Config` for a value that is not."""
    import pyarrow as pa

    found = _decoded(array)
    try:
        found = _shaped(found, field.type, where, name)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise Config(
            f"{where}: column {name!r}: a value does not go into {field.type} ({error}); nothing is truncated"
        ) from error
    if not field.nullable and found.null_count:
        raise Config(f"{where}: column {name!r}: {found.null_count} value(s) are null, and the column may hold none")
    return found


def _decoded(array: pa.Array) -> pa.Array:
    import pyarrow as pa

    if isinstance(array, pa.DictionaryArray):
        values = _decoded(array.dictionary)
        return pa.DictionaryArray.from_arrays(array.indices, values.cast(_plain(values.type))).dictionary_decode()
    if pa.types.is_run_end_encoded(array.type):
        import pyarrow.compute

        pc: Any = pyarrow.compute
        return _decoded(pc.run_end_decode(array))
    return _decoded(array.storage) if isinstance(array, pa.ExtensionArray) else array


def _shaped(array: pa.Array, wanted: pa.DataType, where: str, name: str) -> pa.Array:
    import pyarrow as pa

    if isinstance(wanted, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(wanted, _shaped(array, wanted.storage_type, where, name))
    if array.type.equals(wanted) and not pa.types.is_nested(wanted):
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), wanted)
    if pa.types.is_struct(wanted):
        return _shaped_struct(array, wanted, where, name)
    if pa.types.is_map(wanted):
        return _shaped_map(array, wanted, where, name)
    if _is_list(wanted) and not pa.types.is_fixed_size_list(wanted):
        return _shaped_list(array, wanted, where, name)
    if pa.types.is_timestamp(wanted) and array.type.unit == "ns" and wanted.unit == "us":
        return array.cast(pa.timestamp("us", array.type.tz)).cast(wanted)
    return array.cast(wanted)


def _shaped_struct(array: pa.Array, wanted: pa.DataType, where: str, name: str) -> pa.Array:
    import pyarrow as pa

    children = array.flatten()  # with the struct's own nulls in each
    valid = array.is_valid()
    made = []
    for field in wanted:
        child = children[array.type.get_field_index(field.name)]
        if not field.nullable and child.filter(valid).null_count:
            raise Config(f"{where}: column {name + '.' + field.name!r}: a value is null, and the field may hold none")
        made.append(_cast(child, field.with_nullable(True), where, f"{name}.{field.name}"))
    return pa.StructArray.from_arrays(made, fields=list(wanted), mask=array.is_null())


def _shaped_map(array: pa.Array, wanted: pa.DataType, where: str, name: str) -> pa.Array:
    import pyarrow as pa

    array = pa.concat_arrays([array])
    keys = _cast(array.keys, wanted.key_field, where, f"{name}.key")
    items = _cast(array.items, wanted.item_field, where, f"{name}.value")
    offsets = _offsets(array, array.offsets)
    return pa.MapArray.from_arrays(offsets, keys, items, type=wanted)


def _shaped_list(array: pa.Array, wanted: pa.DataType, where: str, name: str) -> pa.Array:
    import pyarrow as pa

    if not (pa.types.is_list(array.type) or pa.types.is_large_list(array.type)):
        array = array.cast(pa.large_list(array.type.value_field))
    values = _cast(array.flatten(), wanted.value_field, where, f"{name}.element")  # without what nulls and slices hide
    import pyarrow.compute

    pc: Any = pyarrow.compute
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    kind, build = (pa.int64(), pa.LargeListArray) if pa.types.is_large_list(wanted) else (pa.int32(), pa.ListArray)
    ends = pc.cumulative_sum(lengths.cast(pa.int64())).cast(kind)
    offsets = pa.concat_arrays([pa.array([0], kind), ends])
    return build.from_arrays(offsets, values, type=wanted, mask=array.is_null())


def _offsets(array: pa.Array, offsets: pa.Array) -> pa.Array:
    """The offsets of a map, null where an entry is: so `MapArray.from_arrays` is told."""
    import pyarrow as pa
    import pyarrow.compute

    pc: Any = pyarrow.compute
    if not array.null_count:
        return offsets
    null = pa.concat_arrays([array.is_null(), pa.array([False])])
    return pc.if_else(null, pa.scalar(None, offsets.type), offsets)
