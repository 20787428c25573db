"""What delete files hold (Iceberg table spec, "Delete Formats"), each read once for all the data files that it applies to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.iceberg.delete_index import Applicable, Newer
from lakehouse.formats.iceberg.deletion_vector import positions_of
from lakehouse.formats.iceberg.entries import DataFile
from lakehouse.formats.iceberg.kept import Kept
from lakehouse.formats.iceberg.manifest import DELETED_FILE_PATH, POSITION_DELETES
from lakehouse.formats.iceberg.version import IcebergVersion
from lakehouse.parallel import every
from lakehouse.reading.data_file import open_data_file
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
    """Reads the deletes of data files. ``columns``: those that the table has or has had, by their ids. May be shared by threads.

    Raises `NotFound` for a delete file that is missing or damaged and `Unsupported` for one that cannot be read: without it rows
    that were deleted would come back.
    """

    def __init__(self, store: Store, version: IcebergVersion, columns: Mapping[int, ReadField]) -> None:
        self._store, self._version, self._columns = store, version, columns
        self._positions = Kept["dict[str, Positions]"](_KEPT_BYTES)
        self._tables = Kept["pa.Table"](_KEPT_BYTES)
        self._equality = Kept[tuple[EqualityDeletes, ...]](_KEPT_BYTES)

    def of(self, path: str, applicable: Applicable) -> Deletes:
        """What is deleted of the data file of that stated path."""
        vector = applicable.vector
        positions = self._vector(vector) if vector is not None else self._merged(path, applicable.positions)
        return Deletes(positions, tuple(each for newer in applicable.equality for each in self._sets(newer)))

    def _sets(self, newer: Newer) -> tuple[EqualityDeletes, ...]:
        """The equality deletes of those files, one for each set of columns: the same ones for all who ask."""
        return self._equality.get((newer.partition, newer.start), partial(self._grouped, newer.all[newer.start :]))

    def _grouped(self, files: Sequence[DataFile]) -> tuple[tuple[EqualityDeletes, ...], int]:
        import pyarrow as pa

        tables: dict[tuple[int, ...], list[pa.Table]] = {}
        for file, table in every(self._table, files, workers=min(_WORKERS, len(files))):
            tables.setdefault(tuple(sorted(file.equality_ids)), []).append(table)
        made = tuple(EqualityDeletes(self._fields(ids, ""), pa.concat_tables(each)) for ids, each in sorted(tables.items()))
        return made, sum(each.rows.nbytes for each in made)

    def _table(self, file: DataFile) -> pa.Table:
        return self._tables.get(file.path, partial(self._read_table, file))

    def _read_table(self, file: DataFile) -> tuple[pa.Table, int]:
        import pyarrow as pa

        fields = self._fields(tuple(sorted(file.equality_ids)), file.path)
        schema, batches = self._rows(file, fields)
        table = pa.Table.from_batches(batches, schema)
        return table, table.nbytes

    def _fields(self, ids: tuple[int, ...], path: str) -> tuple[ReadField, ...]:
        """The columns of those ids, whether or not the table still has them."""
        if not ids:
            raise NotFound(f"{self._version.where} is damaged: the entry of the equality deletes {path} names no equality_ids")
        unknown = [number for number in ids if number not in self._columns]
        if unknown:
            raise Unsupported(
                f"{self._version.where}: the equality deletes {path} are by the field {unknown[0]}, which is no column of the "
                "table that can be read; compact the table's deletes"
            )
        return tuple(replace(self._columns[number], nullable=True) for number in ids)

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
        missing = [field.name for field in fields if field.name not in projection.sources]
        if missing:
            raise NotFound(f"{opened.where} is damaged: as {what} deletes it must have the column {missing[0]}; restore the file")
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


def _position_fields() -> tuple[ReadField, ...]:
    import pyarrow as pa

    return (
        ReadField("file_path", pa.string(), nullable=False, field_id=DELETED_FILE_PATH, names=("file_path",)),
        ReadField("pos", pa.int64(), nullable=False, field_id=DELETED_POSITION, names=("pos",)),
    )
