"""Which row groups of a file may hold rows that satisfy a filter, as the statistics in its footer tell.

Only where statistics mean the same as values: signed integers, dates, times, text, booleans and floating-point numbers (of these,
`prune` knows when NaN matters). No statistics are believed of INT96, decimals and unsigned integers.
Source: Parquet, "Statistics", "Column order".
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

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
        if may_match(functools.partial(_bounds, file.metadata.row_group(group), projection), rows)
    ]


def _bounds(row_group: Any, projection: Projection, name: str) -> ColumnBounds | None:
    source = projection.sources.get(name)
    if source is None or source.children:
        return None
    column = row_group.column(source.leaves.start)
    statistics = column.statistics
    if statistics is None:
        return None
    nulls = statistics.null_count if statistics.has_null_count else None
    if not statistics.has_min_max or not _is_plain(source.type, column.physical_type):
        return ColumnBounds(nulls=nulls)
    limits = _scalars(statistics, source.type, projection.schema.field(name).type)
    return ColumnBounds(*limits, nulls=nulls)


def _is_plain(kind: pa.DataType, physical: str) -> bool:
    import pyarrow.types as types

    if types.is_signed_integer(kind) or types.is_date32(kind) or types.is_time(kind) or types.is_timestamp(kind):
        return physical in ("INT32", "INT64")
    return bool(types.is_boolean(kind) or types.is_float32(kind) or types.is_float64(kind) or types.is_string(kind))


def _scalars(statistics: Any, kind: pa.DataType, target: pa.DataType) -> tuple[pa.Scalar | None, pa.Scalar | None]:
    """Both limits as the scan gives such values: they are converted as these are."""
    import pyarrow as pa
    import pyarrow.types as types

    try:
        raw = [statistics.min_raw, statistics.max_raw]
        if types.is_string(kind):
            array = pa.array([each.decode() if isinstance(each, bytes) else each for each in raw], kind)
        elif types.is_boolean(kind) or types.is_floating(kind):
            array = pa.array(raw, kind)
            if any(each != each for each in raw):
                return None, None
        else:
            stored = pa.array(raw, pa.int64() if kind.bit_width == 64 else pa.int32())
            array = stored.cast(kind) if types.is_integer(kind) else stored.view(kind)
        convert = conversion(kind, target, "statistics")
        array = array if convert is None else convert(array)
    except (pa.ArrowException, UnicodeDecodeError, TypeError, NotFound, Unsupported):
        return None, None
    return array[0], array[1]
