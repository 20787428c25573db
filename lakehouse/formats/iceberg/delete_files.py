"""What delete files hold (Iceberg table spec, "Delete Formats"), each read once for all the data files that it applies to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.iceberg.delete_index import Applicable, OfPartition, sequence_of
from lakehouse.formats.iceberg.deletion_vector import positions_of
from lakehouse.formats.iceberg.entries import DataFile
from lakehouse.formats.iceberg.kept import Kept
from lakehouse.formats.iceberg.key_fields import KeyFields
from lakehouse.formats.iceberg.manifest import DELETED_FILE_PATH, POSITION_DELETES
from lakehouse.formats.iceberg.partitioning import PartitionSpec
from lakehouse.formats.iceberg.pruning import identity_value
from lakehouse.formats.iceberg.schema import ReadSchema
from lakehouse.formats.iceberg.version import IcebergVersion
from lakehouse.parallel import every
from lakehouse.reading.data_file import FileField, open_data_file
from lakehouse.reading.deleted import DeletedRows, key_of
from lakehouse.reading.projection import project
from lakehouse.reading.task import Deletes, EqualityDeletes, FileFormat, ReadField
from lakehouse.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Positions = np.ndarray[Any, np.dtype[np.uint64]]

__all__ = ["DeleteFiles", "format_of"]

DELETED_POSITION = 2147483545  # column `pos` of position-delete files
_KEPT_BYTES = 128 * 2**20
_WORKERS = 8


class DeleteFiles:
    """Reads the deletes of data files. ``schema``: that of the scan. May be shared by threads.

    Memory is that of the distinct keys, or positions, of the delete files of one partition; those of several partitions are kept
    while they are small. Raises `NotFound` for a delete file that is missing or damaged and `Unsupported` for one that cannot be
    read: without it rows that were deleted would come back.
    """

    def __init__(self, store: Store, version: IcebergVersion, schema: ReadSchema, specs: Mapping[int, PartitionSpec]) -> None:
        self._store, self._version, self._schema, self._specs = store, version, schema, specs
        self._positions = Kept["dict[str, Positions]"](_KEPT_BYTES)
        self._equality = Kept[tuple[DeletedRows, ...]](_KEPT_BYTES)

    def of(self, file: DataFile, applicable: Applicable) -> Deletes:
        """What is deleted of the data file."""
        vector = applicable.vector
        positions = self._vector(vector) if vector is not None else self._merged(file.path, applicable.positions)
        rows = [each for of_partition in applicable.equality for each in self._deleted_rows(of_partition)]
        sequence = sequence_of(file, self._version.where)
        return Deletes(positions, tuple(EqualityDeletes(each, sequence) for each in rows), self._constants(file, rows))

    def _constants(self, file: DataFile, rows: Iterable[DeletedRows]) -> dict[int, pa.Scalar]:
        """The values of identity partitions by columns that rows are deleted by."""
        keys = {key.field_id: key for each in rows for key in map(key_of, each.fields)}
        return {
            number: identity_value(file, place, field, keys[number].type, self._version.where)
            for place, field in enumerate(self._specs[file.spec_id].fields)
            if field.transform == "identity" and (number := field.source_ids[0]) in keys
        }

    @cached_property
    def _keys(self) -> KeyFields:
        return KeyFields(self._version.metadata, self._schema, self._version.where)

    def _deleted_rows(self, files: OfPartition) -> tuple[DeletedRows, ...]:
        """The rows that those files delete, one object for each set of columns: the same ones for all who ask."""
        return self._equality.get(files.partition, partial(self._read_rows, files.files))

    def _read_rows(self, files: Sequence[DataFile]) -> tuple[tuple[DeletedRows, ...], int]:
        alike: dict[tuple[int, ...], list[DataFile]] = defaultdict(list)
        for file in files:
            if not file.equality_ids:
                where = self._version.where
                raise NotFound(f"{where} is damaged: the entry of the equality deletes {file.path} names no equality_ids")
            alike[tuple(sorted(file.equality_ids))].append(file)
        made = tuple(
            DeletedRows(self._keys.of(ids, each[0].path), self._tables(each), f"{self._version.where}: {each[0].path}")
            for ids, each in sorted(alike.items())
        )
        return made, sum(each.size for each in made)

    def _tables(self, files: Sequence[DataFile]) -> Iterator[tuple[pa.Table, int]]:
        for file, table in every(self._table, files, workers=min(_WORKERS, len(files))):
            yield table, sequence_of(file, self._version.where)

    def _table(self, file: DataFile) -> pa.Table:
        import pyarrow as pa

        schema, batches = self._rows(file, self._keys.of(sorted(file.equality_ids), file.path))
        return pa.Table.from_batches(batches, schema)

    def _merged(self, path: str, files: tuple[DataFile, ...]) -> Positions | None:
        """The positions of all those files that are of the data file of that stated path."""
        import numpy as np

        if not files:
            return None
        none = np.empty(0, np.uint64)
        read = every(self._by_path, files, workers=min(_WORKERS, len(files)))
        found = [positions.get(path, none) for _, positions in read]
        return found[0] if len(found) == 1 else np.unique(np.concatenate(found))

    def _by_path(self, file: DataFile) -> dict[str, Positions]:
        return self._positions.get(file.path, partial(self._read_positions, file))

    def _read_positions(self, file: DataFile) -> tuple[dict[str, Positions], int]:
        """The positions in a position-delete file by the stated paths of data files, ascending, each once."""
        import numpy as np

        parts: dict[str, list[Positions]] = {}
        for batch in self._rows(file, _position_fields())[1]:
            paths, numbers = batch.column(0).dictionary_encode(), batch.column(1).to_numpy().astype(np.uint64)
            codes = paths.indices.to_numpy()
            order = np.argsort(codes, kind="stable")
            starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
            for part in np.split(order, starts[1:]) if len(order) else ():
                parts.setdefault(paths.dictionary[int(codes[part[0]])].as_py(), []).append(numbers[part])
        found = {path: np.unique(np.concatenate(each)) for path, each in parts.items()}
        return found, sum(len(path) + 200 + each.nbytes for path, each in found.items())

    def _rows(self, file: DataFile, fields: tuple[ReadField, ...]) -> tuple[pa.Schema, list[pa.RecordBatch]]:
        """The rows of a delete file, which must be as many as its entry says."""
        read = self._version.entries.read(file.path)
        what = "position" if file.content == POSITION_DELETES else "equality"
        opened = open_data_file(self._store, read, file.size, format_of(file, self._version.where))
        projection = project(opened, fields, by="id")
        missing = [field for field in fields if not _is_held(field, projection.sources.get(field.name))]
        if missing:
            name = key_of(missing[0]).name
            raise NotFound(f"{opened.where} is damaged: as {what} deletes it must have the column {name}; restore the file")
        batches = [projection.apply(batch) for _, batch in opened.batches(projection.leaves)]
        rows = sum(batch.num_rows for batch in batches)
        if rows != file.rows:
            raise NotFound(f"{opened.where} is damaged: it holds {rows} deletes, its entry says {file.rows}; restore the file")
        return projection.schema, batches

    def _vector(self, file: DataFile) -> Positions:
        read = self._version.entries.read(file.path)
        start, size = file.content_offset or 0, file.content_size or 0
        where = f"{self._store.url}: the deletion vector at {start} in {read}"
        if start < 0 or size < 0:
            raise NotFound(f"{where} is damaged: it has {size} bytes; restore the manifest")
        return positions_of(self._store.get(read, start=start, end=start + size), where, file.rows)


def format_of(file: DataFile, where: str) -> FileFormat:
    """The format of a file of rows. Raises `Unsupported` for one that cannot be read."""
    if file.file_format not in ("parquet", "orc", "avro"):
        raise Unsupported(f"{where}: {file.path} is of the format {file.file_format!r}; parquet, orc and avro can be read")
    return file.file_format  # type: ignore[return-value]


def _is_held(field: ReadField, source: FileField | None) -> bool:
    """Whether a file that holds ``field`` as ``source`` holds all of the way that it is."""
    if source is None or key_of(field) is field:
        return source is not None
    inner = field.children[0]
    return any(
        _is_held(inner, each)
        for each in source.children
        if (each.field_id == inner.field_id if source.has_ids() else each.name in (inner.names or ()))
    )


def _position_fields() -> tuple[ReadField, ...]:
    import pyarrow as pa

    return (
        ReadField("file_path", pa.string(), nullable=False, field_id=DELETED_FILE_PATH, names=("file_path",)),
        ReadField("pos", pa.int64(), nullable=False, field_id=DELETED_POSITION, names=("pos",)),
    )
