"""The rows of position-delete files in Avro (Iceberg table spec, "Position Delete Files")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.avro import compile_walker, read_container

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["avro_positions"]

_COLUMNS = {2147483546: "file_path", 2147483545: "pos"}


def avro_positions(data: bytes, where: str) -> pa.RecordBatch:
    """The columns ``file_path`` and ``pos`` of the file ``data``, found by their ids, or by name in a file without ids.

    Raises `NotFound` for a damaged file and `Unsupported` for another codec.
    """
    import pyarrow as pa

    header, blocks = read_container(data, where)
    try:
        walker = compile_walker(header.schema, _COLUMNS)
        places = [walker.at(number) for number in _COLUMNS]
        if None in places:
            raise ValueError(f"it lacks the column {list(_COLUMNS.values())[places.index(None)]}")
        values: list[list[object]] = [[], []]
        readers = [walker.reader(number) for number in _COLUMNS]
        for block in blocks:
            for record in walker.encodings(block, where):
                for column, place, read in zip(values, places, readers, strict=True):
                    raw = record[(place or 1) - 1]
                    column.append(None if raw is None else read(raw, 0)[0])
        arrays = [pa.array(values[0], pa.string()), pa.array(values[1], pa.int64())]
        if any(array.null_count for array in arrays):
            raise ValueError("a file_path or a pos is null")
    except (ValueError, IndexError, TypeError, pa.ArrowException) as error:
        raise NotFound(f"{where} is damaged: as a position-delete file it cannot be read ({error}); restore the file") from error
    return pa.record_batch(arrays, list(_COLUMNS.values()))
