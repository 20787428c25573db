"""Absolute paths in the Parquet objects of a log: checkpoints of either kind and sidecars.

Rewritten row group by row group with the same schema, field metadata and key-values; every other column keeps its values.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Protocol

from lakehouse.errors import Unsupported
from lakehouse.formats.delta.actions import ABSOLUTE_PATTERN
from lakehouse.reading.chunks import ColumnChunks, footer_bytes

__all__ = ["localised_parquet"]

_FILE_KINDS = ("add", "remove", "cdc")


class Names(Protocol):
    """What gives absolute paths their new names."""

    def path(self, where: str, stated: str) -> str: ...

    def vector(self, where: str, stated: object) -> str: ...


def localised_parquet(where: str, data: bytes, names: Names, sidecar_size: Callable[[str], int | None]) -> bytes | None:
    """The checkpoint or sidecar ``data`` with relative paths; None where it states no absolute one.

    None also for what is no Parquet file: no reader can use it, so it is carried as it is. ``sidecar_size`` gives the new size of
    a sidecar that was rewritten. Raises `Unsupported` for one that PyArrow cannot write with what it holds.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    sizes: dict[str, int] = {}
    try:
        file = pq.ParquetFile(io.BytesIO(data), coerce_int96_timestamp_unit="us")  # ns would wrap 9999-12-31
        _ = file.schema_arrow
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return None
    try:
        sizes = _new_sizes(file, sidecar_size)
        if not sizes and not _states_absolute(file):
            return None
        return _rewritten(where, file, names, sizes, _codec(data) if file.num_row_groups else "SNAPPY")
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        raise Unsupported(f"{where}: the checkpoint cannot be written with relative paths ({error})") from error


def _codec(data: bytes) -> str:
    """What the first column of ``data`` is compressed by. Raises `ValueError` where its footer is damaged."""
    stated = ColumnChunks(footer_bytes(data))[0, 0].codec
    return "NONE" if stated == "UNCOMPRESSED" else stated


def _rewritten(where: str, file: Any, names: Names, sizes: dict[str, int], codec: str) -> bytes:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    arrow = b"ARROW:schema" in (file.metadata.metadata or {})
    with pq.ParquetWriter(sink, file.schema_arrow, compression=codec, store_schema=arrow) as writer:
        for group in range(file.num_row_groups):
            table = _changed(where, file.read_row_group(group), names, sizes)
            writer.write_table(table, row_group_size=max(1, table.num_rows))
    return sink.getvalue()


def _states_absolute(file: Any) -> bool:
    import pyarrow as pa
    import pyarrow.compute

    pc: Any = pyarrow.compute

    for kind in _FILE_KINDS:
        if kind not in file.schema_arrow.names:
            continue
        for batch in file.iter_batches(columns=[f"{kind}.path", f"{kind}.deletionVector.storageType"]):
            fields = batch.column(0)
            inner = {field.name: pc.struct_field(fields, field.name) for field in fields.type}
            if "path" in inner:
                paths = pc.cast(inner["path"], pa.string())
                if pc.any(pc.match_substring_regex(paths, ABSOLUTE_PATTERN)).as_py():
                    return True
            if "deletionVector" in inner:
                kinds = pc.cast(pc.struct_field(inner["deletionVector"], "storageType"), pa.string())
                if pc.any(pc.equal(kinds, "p")).as_py():
                    return True
    return False


def _new_sizes(file: Any, sidecar_size: Callable[[str], int | None]) -> dict[str, int]:
    """By the path that the checkpoint states, the sizes of those of its sidecars that were rewritten."""
    if "sidecar" not in file.schema_arrow.names:
        return {}
    rows = [row for row in file.read(columns=["sidecar.path"])["sidecar"].to_pylist() if row is not None]
    sizes = ((row["path"], sidecar_size(str(row["path"]).rpartition("/")[2])) for row in rows)
    return {path: size for path, size in sizes if size is not None}


def _changed(where: str, table: Any, names: Names, sizes: dict[str, int]) -> Any:
    for index, field in enumerate(table.schema):
        if field.name in _FILE_KINDS:
            new = _file_column(where, table.column(index).combine_chunks(), names)
        elif field.name == "sidecar" and sizes:
            new = _sidecar_column(table.column(index).combine_chunks(), sizes)
        else:
            continue
        table = table.set_column(index, field, new)
    return table


def _file_column(where: str, column: Any, names: Names) -> Any:
    import re

    absolute = re.compile(ABSOLUTE_PATTERN)

    def path(stated: str | None) -> str | None:
        return names.path(where, stated) if stated is not None and absolute.match(stated) else stated

    def vector(column: Any) -> Any:
        kinds, stated = (
            column.field(column.type.get_field_index(name)).to_pylist() for name in ("storageType", "pathOrInlineDv")
        )
        pairs = [(k, s) if k != "p" else ("u", names.vector(where, s)) for k, s in zip(kinds, stated, strict=True)]
        return _with(column, {"storageType": [kind for kind, _ in pairs], "pathOrInlineDv": [text for _, text in pairs]})

    fresh: dict[str, Any] = {}
    for index, field in enumerate(column.type):
        if field.name == "path":
            fresh["path"] = [path(stated) for stated in column.field(index).to_pylist()]
        elif field.name == "deletionVector":
            fresh["deletionVector"] = vector(column.field(index))
    return _with(column, fresh)


def _sidecar_column(column: Any, sizes: dict[str, int]) -> Any:
    paths, old = (column.field(column.type.get_field_index(name)).to_pylist() for name in ("path", "sizeInBytes"))
    return _with(column, {"sizeInBytes": [sizes.get(path, size) for path, size in zip(paths, old, strict=True)]})


def _with(column: Any, fresh: dict[str, Any]) -> Any:
    """A struct column with some of its children replaced (lists are turned into arrays of the child's type)."""
    import pyarrow as pa

    children = []
    for index, field in enumerate(column.type):
        child = fresh.get(field.name, column.field(index))
        children.append(pa.array(child, type=field.type) if isinstance(child, list) else child)
    return pa.StructArray.from_arrays(children, fields=list(column.type), mask=column.is_null())
