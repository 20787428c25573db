"""One way to open a data file of a store, or a delete file: its fields, with their ids, and its rows in batches.

Columns are asked for by *leaves*: what remains when structs, lists and maps are taken apart, numbered in the file's order from 0.
Parquet stores each leaf on its own, so a nested field is read without its siblings; other formats give whole top-level columns.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lakehouse.errors import NotFound, Transfer, Unsupported
from lakehouse.reading.chunks import Chunk, ColumnChunks, footer_bytes, footer_length
from lakehouse.reading.task import FileFormat
from lakehouse.store import ObjectFile, Store

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BATCH_ROWS", "DataFile", "FileField", "ParquetDataFile", "fields_of", "open_data_file", "unreadable"]

BATCH_ROWS = 1 << 16
"""The most rows of one batch; fewer where they are wide."""

WHOLE_BYTES = 1 << 20
"""An object up to this size is read by one request."""

AHEAD_BYTES = 32 << 20
"""What is read of neighbouring row groups before the first batch of them; a larger row group is read piece by piece."""

PIECE_BYTES = 1 << 20
_TAIL_BYTES = 64 << 10
_LEAST_ROWS = 64
_SUMMED_LEAVES = 64
_MOST_CHUNKS = 10_000
_ID_KEYS = (b"PARQUET:field_id", b"iceberg.id")


@dataclass(frozen=True, slots=True)
class FileField:
    """A field of a file's schema: a column, or what is inside of one. ``leaves``: the numbers of those that make it up.

    ``children`` are the fields of a struct, the element of a list, key and value of a map.
    """

    name: str
    type: pa.DataType
    field_id: int | None
    leaves: range
    children: tuple[FileField, ...] = ()

    def has_ids(self) -> bool:
        """Whether it, or anything inside, has a field id."""
        return self.field_id is not None or any(child.has_ids() for child in self.children)


class DataFile(Protocol):
    """An open file. Not safe to use from several threads at once.

    ``where`` is its address, for messages; ``fields`` its columns; ``group_rows`` the rows of each row group (ORC and Avro: of
    the whole file, as one).
    """

    @property
    def where(self) -> str: ...

    @property
    def fields(self) -> tuple[FileField, ...]: ...

    @property
    def group_rows(self) -> tuple[int, ...]: ...

    def given(self, leaves: Collection[int]) -> frozenset[int]:
        """The leaves that batches hold when ``leaves`` are asked for: at least these."""
        ...

    def batches(
        self,
        leaves: Collection[int],
        groups: Sequence[int] | None = None,
        *,
        memory: int = AHEAD_BYTES,
        use_threads: bool = False,
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The rows of the row groups ``groups`` (ascending; None: all), in order, each batch with the position in
        the file of its first row.

        A batch has the columns of which a leaf was asked for, in the file's order, and of each only the leaves of `given`; no
        column at all when ``leaves`` is empty, yet the right number of rows. It has at most `BATCH_ROWS` rows, fewer where
        these might take more than ``memory`` bytes. ``use_threads``: columns are decoded in parallel.
        Raises `NotFound` for a damaged file, and what the store raises.
        """
        ...


def open_data_file(store: Store, path: str, size: int, file_format: FileFormat = "parquet") -> DataFile:
    """Open the object ``path``; ``size``: in bytes, as the table states it.

    Tables may state sizes that their files do not have (`lakehouse.check` finds those); an object of another size is opened by
    its own, but for Avro. Raises `NotFound` where it is missing or damaged; `Unsupported` where it uses what cannot be read
    (encryption, a codec); what the store raises.
    """
    where = path if "://" in path else f"{store.url}/{path}"
    if file_format == "avro":
        return _open_avro(store, path, size, where)
    try:
        return _open(store, path, size, file_format, where)
    except (NotFound, Transfer):  # a range beyond the end is either, as stores go
        actual = store.head(path).size
        if actual == size:
            raise
    return _open(store, path, actual, file_format, where)


def _open(store: Store, path: str, size: int, file_format: FileFormat, where: str) -> DataFile:
    with unreadable(where, file_format):
        if file_format == "parquet":
            return ParquetDataFile(where, *_parquet(store, path, size, where))
        if file_format == "orc":
            return _OrcFile(where, _opened(store, path, size, where))
    raise Unsupported(f"{where}: data files of format {file_format!r} cannot be read; rewrite the table's data as Parquet")


def _open_avro(store: Store, path: str, size: int, where: str) -> DataFile:
    """Of Avro the size has to be as stated: nothing else tells whether a file is cut off behind a block."""
    from lakehouse.reading.avro_file import AvroFile

    if size <= WHOLE_BYTES:
        data = store.get(path)
        if len(data) != size:
            raise _other_size(where, len(data), size)
        return AvroFile(where, io.BytesIO(data))
    if (found := store.head(path).size) != size:
        raise _other_size(where, found, size)
    return AvroFile(where, io.BufferedReader(ObjectFile(store, path, size), PIECE_BYTES))


def _other_size(where: str, found: int, stated: int) -> NotFound:
    return NotFound(f"{where} is damaged: it has {found} bytes where the table states {stated}; restore it, then run again")


@contextlib.contextmanager
def unreadable(where: str, file_format: str = "parquet") -> Iterator[None]:
    """Say what Arrow says of a file as an error of ours, with its address."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowMemoryError, pa.ArrowCancelled):
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        what = f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        if isinstance(error, pa.ArrowNotImplementedError) or "crypt" in what or "out of range" in what:
            raise Unsupported(f"{where}: uses something of {file_format} that cannot be read ({what})") from error
        raise damaged(where, file_format, what) from error


def damaged(where: str, file_format: str, what: str) -> NotFound:
    """The error for a file that is there and no file of its format; ``what`` is wrong with it."""
    return NotFound(f"{where} is damaged: it cannot be read as {file_format} ({what}); restore it, then run again")


def fields_of(schema: pa.Schema) -> tuple[FileField, ...]:
    """The fields of a file's Arrow schema."""
    numbers = itertools.count()
    return tuple(_field(schema.field(index), numbers) for index in range(len(schema)))


def _field(field: pa.Field, numbers: Iterator[int]) -> FileField:
    import pyarrow.types as types

    kind = field.type.storage_type if hasattr(field.type, "storage_type") else field.type
    if types.is_map(kind):
        inner = [kind.key_field, kind.item_field]
    elif types.is_struct(kind):
        inner = [kind.field(index) for index in range(kind.num_fields)]
    elif hasattr(kind, "value_field"):
        inner = [kind.value_field]
    else:
        number = next(numbers)
        return FileField(field.name, field.type, _field_id(field), range(number, number + 1))
    children = tuple(_field(each, numbers) for each in inner)
    leaves = range(children[0].leaves.start, children[-1].leaves.stop) if children else range(0)
    return FileField(field.name, field.type, _field_id(field), leaves, children)


def _field_id(field: pa.Field) -> int | None:
    metadata = field.metadata or {}
    found = next((metadata[key] for key in _ID_KEYS if key in metadata), None)
    try:
        return None if found is None or int(found) < 0 else int(found)
    except ValueError:
        return None


def _opened(store: Store, path: str, size: int, where: str) -> Any:
    """What Arrow reads the object by."""
    import pyarrow as pa

    if size > WHOLE_BYTES:
        return pa.PythonFile(ObjectFile(store, path, size), mode="r")
    return pa.BufferReader(_end(store, path, size, size, where))


def _parquet(store: Store, path: str, size: int, where: str) -> tuple[Any, bytes]:
    """What Arrow reads the object by, and the end of it with all of its footer."""
    import pyarrow as pa

    if size <= WHOLE_BYTES:
        data = _end(store, path, size, size, where)
        return pa.BufferReader(data), data
    tail = _end(store, path, size, _TAIL_BYTES, where)
    if len(tail) < (length := footer_length(tail)) <= size:
        tail = _end(store, path, size, length, where)
    return pa.PythonFile(ObjectFile(store, path, size), mode="r"), tail


def _end(store: Store, path: str, size: int, length: int, where: str) -> bytes:
    found = store.get(path, start=size - length, end=size) if length < size else store.get(path)
    if len(found) != length:
        raise _other_size(where, size - length + len(found), size)
    return found


class ParquetDataFile:
    """Row groups are read in runs of neighbours, so that batches are full and requests few where row groups are small."""

    def __init__(self, where: str, source: Any, tail: bytes) -> None:
        """``source``: what Arrow reads the file by; ``tail``: the end of it, with all of its footer."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._where, self._source, self._tail = where, source, tail
        self._options = {"coerce_int96_timestamp_unit": "us", "page_checksum_verification": True}
        known = pq.read_metadata(pa.BufferReader(tail)) if len(tail) < source.size() else None
        file = pq.ParquetFile(source, metadata=known, pre_buffer=True, **self._options)
        self._reader, self._metadata = file.reader, file.metadata
        self._fields = fields_of(file.schema_arrow)
        groups = [self._metadata.row_group(group) for group in range(self._metadata.num_row_groups)]
        self._group_rows = tuple(group.num_rows for group in groups)
        self._group_bytes = tuple(group.total_byte_size for group in groups)
        if min(self._group_rows, default=0) < 0 or sum(self._group_rows) != self._metadata.num_rows:
            raise pa.ArrowInvalid(f"its row groups do not have the {self._metadata.num_rows} rows that it states")
        self._chunks: ColumnChunks | None = None
        self._size = source.size() if min(self._group_bytes, default=0) > 0 else 1 << 63
        self._starts = (0, *itertools.accumulate(self._group_rows))
        if (self._fields[-1].leaves.stop if self._fields else 0) != self._metadata.num_columns:
            raise Unsupported(f"{where}: has a column of a kind that cannot be read (its Parquet and Arrow schemas differ)")

    @property
    def where(self) -> str:
        return self._where

    @property
    def fields(self) -> tuple[FileField, ...]:
        return self._fields

    @property
    def group_rows(self) -> tuple[int, ...]:
        return self._group_rows

    def given(self, leaves: Collection[int]) -> frozenset[int]:
        return frozenset(leaves)

    def batches(
        self,
        leaves: Collection[int],
        groups: Sequence[int] | None = None,
        *,
        memory: int = AHEAD_BYTES,
        use_threads: bool = False,
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        chosen = sorted(leaves)
        wanted = [group for group in (range(len(self._group_rows)) if groups is None else groups) if self._group_rows[group]]
        ahead = min(AHEAD_BYTES, memory)
        for run, packed, plain in self._runs(wanted, chosen, ahead):
            reader = self._reader if packed <= ahead else self._piecewise()
            rows = self._starts[run[-1] + 1] - self._starts[run[0]]
            width = max(plain // rows, 8 * len(chosen), 1)
            batch_rows = max(_LEAST_ROWS, min(BATCH_ROWS, memory // width))
            position = self._starts[run[0]]
            with unreadable(self._where):
                given = iter(reader.iter_batches(batch_rows, row_groups=run, column_indices=chosen, use_threads=use_threads))
            while True:
                with unreadable(self._where):
                    batch = next(given, None)
                if batch is None:
                    break
                yield position, batch
                position += batch.num_rows
            if position != self._starts[run[-1] + 1]:
                raise NotFound(
                    f"{self._where} is damaged: its columns have fewer rows than its footer states; restore it, then run again"
                )

    def _piecewise(self) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetFile(
            self._source, metadata=self._metadata, pre_buffer=False, buffer_size=PIECE_BYTES, **self._options
        ).reader

    def _runs(self, groups: Sequence[int], leaves: Sequence[int], limit: int) -> Iterator[tuple[list[int], int, int]]:
        """Neighbours of at most ``limit`` bytes in the file (or one row group), with their bytes there and decompressed."""
        run: list[int] = []
        packed = plain = 0
        for group in groups:
            here, decompressed = self._bytes(group, leaves, limit)
            if run and (group != run[-1] + 1 or packed + here > limit):
                yield run, packed, plain
                run, packed, plain = [], 0, 0
            run.append(group)
            packed += here
            plain += decompressed
        if run:
            yield run, packed, plain

    def _bytes(self, group: int, leaves: Sequence[int], limit: int) -> tuple[int, int]:
        """Those of the row group, where the leaves make no difference to ``limit``, or too many would have to be looked at."""
        whole = self._group_bytes[group]
        if max(self._size, sum(self._group_bytes)) <= limit:
            return whole, whole
        if len(leaves) > _SUMMED_LEAVES or len(self._group_rows) * self._metadata.num_columns > _MOST_CHUNKS:
            return whole, whole
        chunks = [self.chunk(group, leaf) for leaf in leaves]
        return sum(each.packed for each in chunks), sum(each.plain for each in chunks)

    def chunk(self, group: int, leaf: int) -> Chunk:
        """What the footer tells of a leaf in a row group. Raises `NotFound` where it is damaged."""
        try:
            if self._chunks is None:
                self._chunks = ColumnChunks(footer_bytes(self._tail))
            return self._chunks[group, leaf]
        except ValueError as error:
            raise damaged(self._where, "parquet", str(error)) from error


class _OrcFile:
    """Read a stripe at a time; of a column whose name cannot be told from a path in others, with all columns."""

    def __init__(self, where: str, source: Any) -> None:
        from pyarrow import orc

        self._where, self._file = where, orc.ORCFile(source)
        self._fields = fields_of(self._file.schema)
        self._group_rows = (self._file.nrows,)

    @property
    def where(self) -> str:
        return self._where

    @property
    def fields(self) -> tuple[FileField, ...]:
        return self._fields

    @property
    def group_rows(self) -> tuple[int, ...]:
        return self._group_rows

    def given(self, leaves: Collection[int]) -> frozenset[int]:
        asked = self._asked(leaves)
        return frozenset(leaf for index in asked for leaf in self._fields[index].leaves)

    def batches(
        self,
        leaves: Collection[int],
        groups: Sequence[int] | None = None,
        *,
        memory: int = AHEAD_BYTES,
        use_threads: bool = False,  # noqa: ARG002
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        if groups is not None and not groups:
            return
        asked = self._asked(leaves)
        names = [self._fields[index].name for index in asked]
        selected = None if any("." in field.name for field in self._fields) else names
        position = 0
        for stripe in range(self._file.nstripes):
            with unreadable(self._where, "orc"):
                whole = self._file.read_stripe(stripe, columns=selected or None)
            kept = whole.select(asked if selected is None or not selected else names)
            rows = max(_LEAST_ROWS, min(BATCH_ROWS, memory // max(1, kept.nbytes // max(1, kept.num_rows))))
            for start in range(0, kept.num_rows, rows):
                yield position + start, kept.slice(start, rows)
            position += kept.num_rows
        if position != self._file.nrows:
            raise NotFound(
                f"{self._where} is damaged: its stripes have {position} rows where its footer states {self._file.nrows}"
            )

    def _asked(self, leaves: Collection[int]) -> list[int]:
        chosen = set(leaves)
        return [index for index, field in enumerate(self._fields) if chosen.intersection(field.leaves)]
