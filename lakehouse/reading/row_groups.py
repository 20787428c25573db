"""Which row groups of a file may hold rows that satisfy a filter, as the statistics in its footer tell.

Only where statistics mean the same as values: signed integers, dates, times, text, booleans and floating-point numbers (of these,
`prune` knows when NaN matters). No statistics are believed of INT96, decimals and unsigned integers.
Source: Parquet, "Statistics", "Column order".
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from lakehouse.errors import NotFound, Unsupported
from lakehouse.reading.conversion import conversion
from lakehouse.reading.data_file import DataFile, ParquetDataFile
from lakehouse.reading.projection import Projection
from lakehouse.reading.task import ColumnBounds, MayMatch

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["groups_that_may_match"]


def groups_that_may_match(file: DataFile, projection: Projection, may_match: MayMatch) -> list[int] | None:
    """The row groups to be read, ascending; None: all of them."""
    if not isinstance(file, ParquetDataFile):
        return None
    return [
        group
        for group, rows in enumerate(file.group_rows)
        if may_match(functools.partial(_bounds, file, group, projection), rows)
    ]


def _bounds(file: ParquetDataFile, group: int, projection: Projection, name: str) -> ColumnBounds | None:
    source = projection.sources.get(name)
    if source is None or source.children:
        return None
    chunk = file.chunk(group, source.leaves.start)
    if chunk.statistics is None:
        return None
    lower, upper, nulls = chunk.statistics
    if lower is None or upper is None or not _is_plain(source.type, chunk.physical):
        return ColumnBounds(nulls=nulls)
    limits = _scalars(lower, upper, source.type, projection.schema.field(name).type)
    return ColumnBounds(*limits, nulls=nulls)


def _is_plain(kind: pa.DataType, physical: str) -> bool:
    import pyarrow.types as types

    if types.is_signed_integer(kind) or types.is_date32(kind) or types.is_time(kind) or types.is_timestamp(kind):
        return physical in ("INT32", "INT64")
    if types.is_string(kind):
        return physical == "BYTE_ARRAY"
    return physical == {"bool": "BOOLEAN", "float": "FLOAT", "double": "DOUBLE"}.get(str(kind))


def _scalars(lower: bytes, upper: bytes, kind: pa.DataType, target: pa.DataType) -> tuple[pa.Scalar | None, pa.Scalar | None]:
    """Both limits as the scan gives such values: they are converted as these are. Source: Parquet, "Plain encoding"."""
    import pyarrow as pa
    import pyarrow.types as types

    try:
        if types.is_string(kind):
            array = pa.array([lower.decode(), upper.decode()], kind)
        elif types.is_boolean(kind):
            array = pa.array([lower != b"\0", upper != b"\0"])
        else:
            stored = {1: pa.int32(), 2: pa.int32(), 4: pa.int32(), 8: pa.int64()}[kind.bit_width // 8]
            if not len(lower) == len(upper) == stored.bit_width // 8:
                return None, None
            array = pa.Array.from_buffers(stored, 2, [None, pa.py_buffer(lower + upper)])
            array = array.cast(kind) if types.is_integer(kind) else array.view(kind)
            if types.is_floating(kind) and any(each != each for each in array.to_pylist()):
                return None, None
        convert = conversion(kind, target, "statistics")
        array = array if convert is None else convert(array)
    except (pa.ArrowException, UnicodeDecodeError, TypeError, NotFound, Unsupported):
        return None, None
    return array[0], array[1]
