"""What metadata tells of the values in a manifest's files, or in one file, so that those that a filter rules out are not read.

Nothing is known where a value says nothing or cannot be told for sure: then the file is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.entries import DataFile
from lakehouse.formats.iceberg.manifest_list import ManifestFile, PartitionSummary
from lakehouse.formats.iceberg.partitioning import PartitionField, PartitionSpec
from lakehouse.formats.iceberg.single_value import from_avro, from_binary
from lakehouse.formats.iceberg.transforms import Range, range_of, tells_nulls, value_of_bound
from lakehouse.reading.task import Bounds, ColumnBounds, ReadField

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Pruning", "identity_value"]

_KEPT_PARTITIONS = 10_000


@dataclass(frozen=True, slots=True)
class _Part:
    """A field of a partition tuple: its place there, and the one column that it is made of."""

    place: int
    field: PartitionField
    column: ReadField


class Pruning:
    """Bounds of the columns ``fields`` of a scan. ``where``: for messages on partition values that are none."""

    def __init__(self, fields: Iterable[ReadField], specs: Mapping[int, PartitionSpec], where: str) -> None:
        self._where = where
        columns = tuple(fields)
        self._columns = {field.name: field for field in columns if not field.children}
        by_id = {field.field_id: field for field in self._columns.values()}
        self._parts = {
            spec.id: tuple(
                _Part(place, field, by_id[field.source_ids[0]])
                for place, field in enumerate(spec.fields)
                if len(field.source_ids) == 1 and field.source_ids[0] in by_id and tells_nulls(field.transform)
            )
            for spec in specs.values()
        }
        inner = {field.field_id: field for field in _inside(columns)}
        self._inner_parts = {
            spec.id: tuple(
                _Part(place, field, inner[field.source_ids[0]])
                for place, field in enumerate(spec.fields)
                if field.transform == "identity" and field.source_ids[0] in inner
            )
            for spec in specs.values()
        }
        self._constants: dict[tuple[int, tuple[Any, ...]], dict[str, pa.Scalar]] = {}

    def constants(self, file: DataFile) -> Mapping[str, pa.Scalar]:
        """The values of identity partitions by the names of their columns (spec, "Column Projection").

        Raises `NotFound` for a value that is none of its column's type.
        """
        known = self._constants.get((file.spec_id, file.partition))
        if known is not None:
            return known
        made = {
            part.column.name: self._constant(file, part)
            for part in self._parts[file.spec_id]
            if part.field.transform == "identity"
        }
        if len(self._constants) < _KEPT_PARTITIONS:
            self._constants[file.spec_id, file.partition] = made
        return made

    def inner_constants(self, file: DataFile) -> Mapping[int, pa.Scalar] | None:
        """Those of fields inside of structs, by their ids. Raises `NotFound` as `constants` does."""
        parts = self._inner_parts[file.spec_id]
        return {part.field.source_ids[0]: self._constant(file, part) for part in parts} if parts else None

    def _constant(self, file: DataFile, part: _Part) -> pa.Scalar:
        return identity_value(file, part.place, part.field, part.column.type, self._where)

    def of_manifest(self, manifest: ManifestFile) -> Bounds:
        """What the list says of the files of a manifest."""
        return partial(self._of_manifest, manifest)

    def of_file(self, file: DataFile) -> Bounds:
        """What a manifest says of a file."""
        return partial(self._of_file, file)

    def _of_manifest(self, manifest: ManifestFile, name: str) -> ColumnBounds | None:
        column, summaries = self._columns.get(name), manifest.partitions or ()
        if column is None or manifest.partition_spec_id is None:
            return None
        ranges: list[Range] = []
        nulls: int | None = None
        for part in self._parts.get(manifest.partition_spec_id, ()):
            if part.column is column and part.place < len(summaries):
                ranges.append(self._summarised(summaries[part.place], part, manifest.path))
                nulls = nulls if summaries[part.place].contains_null else 0
        return _bounds(ranges, nulls, column.type)

    def _summarised(self, summary: PartitionSummary, part: _Part, path: str) -> Range:
        transform, kind = part.field.transform, part.column.type
        ends = [None if raw is None else value_of_bound(transform, raw, kind) for raw in (summary.lower, summary.upper)]
        try:
            lower, upper = (None if end is None else range_of(transform, end, kind) for end in ends)
        except (ValueError, OverflowError) as error:
            raise _damaged(self._where, path, part.field, error) from error
        if (None, None) in (lower, upper):  # integers that wrapped lie between the ends
            return None, None
        return None if lower is None else lower[0], None if upper is None else upper[1]

    def _of_file(self, file: DataFile, name: str) -> ColumnBounds | None:
        column = self._columns.get(name)
        if column is None or column.field_id is None:
            return None
        stated = [each.get(column.field_id) for each in (file.lower_bounds, file.upper_bounds)]
        lower, upper = (None if raw is None else from_binary(raw, column.type) for raw in stated)
        ranges: list[Range] = [(lower, upper)]
        nulls = file.null_counts.get(column.field_id)
        for part in self._parts[file.spec_id]:
            if part.column is not column:
                continue
            value = file.partition[part.place]
            nulls = file.rows if value is None else 0
            if value is not None:
                try:
                    ranges.append(range_of(part.field.transform, value, column.type))
                except (ValueError, OverflowError) as error:
                    raise _damaged(self._where, file.path, part.field, error) from error
        return _bounds(ranges, nulls, column.type)


def identity_value(file: DataFile, place: int, field: PartitionField, kind: pa.DataType, where: str) -> pa.Scalar:
    """The value of the column of the type ``kind`` by whose values ``field``, at that place, partitions.

    Raises `NotFound` for a value that is none of that type.
    """
    import pyarrow as pa

    try:
        return pa.scalar(from_avro(file.partition[place], kind), kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise _damaged(where, file.path, field, error) from error


def _damaged(where: str, path: str, field: PartitionField, error: Exception) -> NotFound:
    return NotFound(f"{where} is damaged: the partition value {field.name} of {path} is none ({error})")


def _inside(fields: Iterable[ReadField]) -> Iterator[ReadField]:
    """The fields inside of structs."""
    import pyarrow.types as types

    for field in fields:
        if types.is_struct(field.type):
            yield from field.children
            yield from _inside(field.children)


def _bounds(ranges: Iterable[Range], nulls: int | None, kind: pa.DataType) -> ColumnBounds:
    """What all those ranges leave."""
    lowers = [lower for lower, _ in ranges if lower is not None]
    uppers = [upper for _, upper in ranges if upper is not None]
    return ColumnBounds(_scalar(max(lowers, default=None), kind), _scalar(min(uppers, default=None), kind), nulls)


def _scalar(value: Any, kind: pa.DataType) -> pa.Scalar | None:
    """The bound as a scalar; None where none of the type is so low or so high."""
    import pyarrow as pa

    try:
        return None if value is None else pa.scalar(value, kind)
    except (pa.ArrowException, OverflowError, ValueError):
        return None
