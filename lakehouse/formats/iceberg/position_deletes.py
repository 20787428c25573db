"""Position-delete files for the target: the data files whose rows they delete are given their address there.

Source: Iceberg table spec, "Position Delete Files": columns ``file_path`` and ``pos``, optionally ``row``, sorted by (file_path,
pos). The order of paths is that of their UTF-8 bytes, which is that of code points, and Java's order (UTF-16) but for characters
beyond U+FFFF. Columns are found by field id, and by name where a file has no ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.iceberg.avro import Block, Walker, compile_walker, read_container, same_content, write_container
from lakehouse.formats.iceberg.orc_metadata import with_user_metadata
from lakehouse.reading.chunks import ColumnChunks, footer_bytes

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["rewrite_position_deletes", "same_deletes"]

FILE_PATH, POS = 2147483546, 2147483545
_NAMES = {FILE_PATH: "file_path", POS: "pos"}
_ID_KEYS = (b"PARQUET:field_id", b"iceberg.id")
ARROW_SCHEMA = b"ARROW:schema"

Address = Callable[[str], str]


def rewrite_position_deletes(data: bytes, file_format: str, where: str, address: Address) -> bytes:
    """The file ``data`` with each ``file_path`` mapped by ``address``; ``where`` is for messages.

    ``file_format``: parquet, orc or avro, in any case. Rows are sorted again by (file_path, pos), stable, if the mapping changes
    the order of paths or makes two of them one; else they keep their order. Schema, field ids, a ``row`` column, the codec and
    the key-values are kept. Statistics are computed anew. A file in which nothing changes comes back byte for byte.
    Raises `NotFound` for a damaged file, `Unsupported` for another format and for columns or codecs that cannot be written as
    they were, and what ``address`` raises.
    """
    kind = file_format.lower()
    if kind == "avro":
        return _rewrite_avro(data, where, address)
    if kind not in ("parquet", "orc"):
        raise Unsupported(
            f"{where}: is a position-delete file of the format {file_format!r}, which is not supported (supported: parquet, orc, "
            "avro); compact the table's deletes with the engine that writes it"
        )
    import pyarrow as pa

    try:
        table = _read(data, kind)
        column, pos = _column(table.schema, FILE_PATH), _column(table.schema, POS)
        paths = _distinct(table.column(column))
    except pa.ArrowNotImplementedError as error:
        raise Unsupported(f"{where}: cannot be read ({error}); compact the table's deletes") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(where, error) from error
    mapping = {path: address(path) for path in paths}
    if all(path == mapped for path, mapped in mapping.items()):
        return data
    table = table.set_column(column, table.schema.field(column), _mapped(table.column(column), mapping))
    if _order_changes(mapping):
        table = _sorted(table, column, pos)
    try:
        made = _parquet_bytes(table, data, where) if kind == "parquet" else _orc_bytes(table, data)
        kept = _form(made, kind) == _form(data, kind)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Unsupported(f"{where}: cannot be written again as {kind} ({error}); compact the table's deletes") from error
    if not kept:
        raise Unsupported(f"{where}: has columns that cannot be written again as they are; compact the table's deletes")
    return made


def same_deletes(one: bytes, other: bytes, file_format: str) -> bool:
    """Whether two position-delete files have the same schema, key-values and rows in the same order; False if one is damaged."""
    import pyarrow as pa

    kind = file_format.lower()
    if kind == "avro":
        return same_content(one, other)
    try:
        return bool(_read(one, kind).equals(_read(other, kind), check_metadata=True))
    except (pa.ArrowException, OSError, ValueError):
        return False


def _order_changes(mapping: dict[str, str]) -> bool:
    """Whether paths in ascending order are no longer strictly ascending when they are mapped."""
    mapped = [mapping[path] for path in sorted(mapping)]
    return any(one >= other for one, other in pairwise(mapped))


def _damaged(where: str, error: Exception) -> NotFound:
    return NotFound(f"{where} is damaged: as a position-delete file it cannot be read ({error}); restore the file")


def _read(data: bytes, kind: str) -> pa.Table:
    import pyarrow as pa
    from pyarrow import orc
    from pyarrow import parquet as pq

    source = pa.BufferReader(data)
    return pq.ParquetFile(source).read() if kind == "parquet" else orc.ORCFile(source).read()


def _column(schema: pa.Schema, field_id: int) -> int:
    """The number of the column with that id, or else of that name; ValueError where there is none."""
    stated = str(field_id).encode()
    for number, field in enumerate(schema):
        metadata = field.metadata or {}
        if any(metadata.get(key) == stated for key in _ID_KEYS):
            return number
    number = schema.get_field_index(_NAMES[field_id])
    if number < 0:
        raise ValueError(f"it has no column {_NAMES[field_id]}")
    return int(number)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _distinct(column: pa.ChunkedArray) -> list[str]:
    """The paths that occur; ValueError for null, for what is no text, and for text that is not UTF-8."""
    import pyarrow.types as types

    kind = column.type
    if not any(is_kind(kind) for is_kind in (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)):
        raise ValueError(f"its column file_path is of type {kind}")
    if column.null_count:
        raise ValueError("a file_path is null")
    return [_text(value) for value in column.unique().to_pylist()]


def _mapped(column: pa.ChunkedArray, mapping: dict[str, str]) -> pa.ChunkedArray:
    import pyarrow as pa

    chunks = []
    for chunk in column.chunks:
        encoded = chunk.dictionary_encode()
        values = [mapping[_text(value)].encode() for value in encoded.dictionary.to_pylist()]
        chunks.append(pa.array(values, pa.large_binary()).cast(column.type).take(encoded.indices))
    return pa.chunked_array(chunks, column.type)


def _sorted(table: pa.Table, column: int, pos: int) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = pa.table([table.column(column), table.column(pos)], ["file_path", "pos"])
    options = pc.SortOptions(sort_keys=[("file_path", "ascending"), ("pos", "ascending")])
    return table.take(pc.call_function("sort_indices", [keys], options))


def _parquet_bytes(table: pa.Table, data: bytes, where: str) -> bytes:
    """``table`` as Parquet with the format version, codecs, row groups' size and kinds of footer entries of the file ``data``."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    metadata = pq.ParquetFile(pa.BufferReader(data)).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    try:
        chunks = ColumnChunks(footer_bytes(data))
        columns = [chunks[0, number] for number in range(metadata.num_columns)] if groups else []
    except ValueError as error:
        raise _damaged(where, error) from error
    codecs = {each.path: each.codec.lower().replace("uncompressed", "none") for each in columns}
    key_values = dict(metadata.metadata or {})
    store_schema = key_values.pop(ARROW_SCHEMA, None) is not None
    rows = max((group.num_rows for group in groups), default=0) or None
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        version="1.0" if metadata.format_version == "1.0" else "2.6",
        compression=codecs or "none",  # pyright: ignore[reportArgumentType]
        write_page_index=any(each.has_column_index for each in columns),
        store_schema=store_schema,
        use_deprecated_int96_timestamps=any(each.physical == "INT96" for each in columns),
    ) as writer:
        writer.write_table(table, rows)
        if not store_schema:  # else Arrow writes those of the schema
            writer.add_key_value_metadata(key_values)
    return bytes(sink.getvalue())


def _orc_bytes(table: pa.Table, data: bytes) -> bytes:
    """``table`` as ORC with the codec, index stride and user metadata of the file ``data``.

    Arrow writes field metadata as type attributes.
    """
    import pyarrow as pa
    from pyarrow import orc

    file = orc.ORCFile(pa.BufferReader(data))
    sink = pa.BufferOutputStream()
    orc.write_table(table, sink, compression=file.compression, row_index_stride=file.row_index_stride)
    return with_user_metadata(bytes(sink.getvalue()), {name.decode(): value for name, value in (file.metadata or {}).items()})


def _form(data: bytes, kind: str) -> list[Any]:
    """The columns of a file: names, ids, types, and how they are stored; the key-values."""
    import pyarrow as pa
    from pyarrow import orc
    from pyarrow import parquet as pq

    if kind == "orc":
        read = orc.ORCFile(pa.BufferReader(data))
        return [dict(read.metadata or {}), *((field, _attributes(field)) for field in read.schema)]
    file = pq.ParquetFile(pa.BufferReader(data))
    leaves = [file.schema.column(number) for number in range(len(file.schema))]
    stored = [
        (leaf.path, leaf.physical_type, str(leaf.logical_type), leaf.max_definition_level, leaf.max_repetition_level)
        for leaf in leaves
    ]
    key_values = {key: value for key, value in (file.metadata.metadata or {}).items() if key != ARROW_SCHEMA}
    return [key_values, *((field, _attributes(field)) for field in file.schema_arrow), *stored]


def _attributes(field: pa.Field) -> list[Any]:
    """The metadata of a field and of the fields inside it, which Arrow's equality passes over."""
    kind = field.type
    inner = [kind.field(number) for number in range(kind.num_fields)]
    return [field.metadata, *(_attributes(each) for each in inner)]


class _AvroRow(NamedTuple):
    """``path``: the encoded field, its union's branch included. ``before``, ``behind``: the record's bytes around it."""

    path: bytes
    pos: int
    before: bytes
    behind: bytes


def _rewrite_avro(data: bytes, where: str, address: Address) -> bytes:
    """As `rewrite_position_deletes`. Blocks keep their number of records, also when records are sorted."""
    header, kept = read_container(data, where)
    blocks = list(kept)
    stated: dict[bytes, str] = {}
    try:
        walker = compile_walker(header.schema, _NAMES)
        for field_id, name in _NAMES.items():
            if walker.at(field_id) is None:
                raise ValueError(f"it has no column {name}")
        rows = [row for block in blocks for row in _avro_rows(walker, block, where, stated)]
    except ValueError as error:
        raise _damaged(where, error) from error
    mapping = {path: address(path) for path in stated.values()}
    if all(path == mapped for path, mapped in mapping.items()):
        return data
    if _order_changes(mapping):
        rows.sort(key=lambda row: (mapping[stated[row.path]], row.pos))
    encoded = {raw: walker.encode(FILE_PATH, mapping[path]) for raw, path in stated.items()}
    records = (row.before + encoded[row.path] + row.behind for row in rows)
    made = [Block(block.count, b"".join(islice(records, block.count))) for block in blocks]
    return write_container(header, made)


def _avro_rows(walker: Walker, block: Block, where: str, stated: dict[bytes, str]) -> Iterator[_AvroRow]:
    """The records of a block; the path of each encoded ``file_path`` is added to ``stated``."""
    at_path, at_pos, data = walker.at(FILE_PATH) or 0, walker.at(POS) or 0, block.data
    for spans in walker.records(block, where):
        (start, end), (first, last) = spans[0], spans[at_path]
        raw = data[first:last]
        if raw not in stated:
            path = walker.decode(FILE_PATH, data, spans[at_path])
            if not isinstance(path, str):
                raise ValueError("a file_path is null")
            stated[raw] = path
        pos = walker.decode(POS, data, spans[at_pos])
        if not isinstance(pos, int):
            raise ValueError("a pos is null")
        yield _AvroRow(raw, pos, data[start:first], data[last:end])
