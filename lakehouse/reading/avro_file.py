"""Avro files of rows: data files and delete files."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

from lakehouse.errors import NotFound, Unsupported
from lakehouse.reading.avro_blocks import avro_blocks, avro_header, avro_rows
from lakehouse.reading.avro_codecs import UNPACKED
from lakehouse.reading.avro_schema import meant_of, record_type
from lakehouse.reading.data_file import AHEAD_BYTES, BATCH_ROWS, FileField, fields_of
from lakehouse.reading.projection import of_rows

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["AvroFile"]

_OBJECT_BYTES = 16
"""How many times the bytes of a record its values take before they are in Arrow."""


class AvroFile:
    """A `DataFile` of one row group. Records are decoded whole, whichever columns are asked for.

    Raises `NotFound` for a damaged file; `Unsupported` for a codec or a type that cannot be read. Avro has no footer: that a file
    is not cut off behind a block is for the opener to see to.
    """

    def __init__(self, where: str, file: IO[bytes]) -> None:
        self._where, self._file = where, file
        with self._told():
            self._header = avro_header(file)
            self._start = file.tell()
            self._type = record_type(self._header.schema, where)
        if self._header.codec not in UNPACKED:
            raise Unsupported(f"{where}: is compressed with the Avro codec {self._header.codec!r}, which cannot be read")
        self._fields = fields_of(self.schema)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns as the batches have them, with their ids at every level."""
        import pyarrow as pa

        return pa.schema(list(self._type.type))

    @property
    def where(self) -> str:
        return self._where

    @property
    def fields(self) -> tuple[FileField, ...]:
        return self._fields

    @property
    def group_rows(self) -> tuple[int, ...]:
        return (self._rows,)

    @cached_property
    def _rows(self) -> int:
        """What the blocks say; they are walked for it."""
        with self._told():
            self._file.seek(0)
            return avro_rows(self._file)

    def given(self, leaves: Collection[int]) -> frozenset[int]:
        return frozenset(leaf for index in self._asked(leaves) for leaf in self._fields[index].leaves)

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
        position = 0
        with self._told():
            self._file.seek(self._start)
        made = self._decoded(asked, max(1, memory // _OBJECT_BYTES)) if asked else self._counted()
        while True:
            with self._told():
                batch = next(made, None)
            if batch is None:
                return
            yield position, batch
            position += batch.num_rows

    def _asked(self, leaves: Collection[int]) -> list[int]:
        chosen = set(leaves)
        return [index for index, field in enumerate(self._fields) if chosen.intersection(field.leaves)]

    def _counted(self) -> Iterator[pa.RecordBatch]:
        for count, _ in avro_blocks(self._file, self._header):
            for start in range(0, count, BATCH_ROWS):
                yield of_rows(min(BATCH_ROWS, count - start))

    def _decoded(self, asked: list[int], limit: int) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        raw = pa.struct([self._type.raw.field(index) for index in asked])
        target = pa.schema([self.schema.field(index) for index in asked])
        for records in self._records(limit):
            array = pa.array(records, raw)
            columns = [meant_of(self._type.fields[index], array.field(at)) for at, index in enumerate(asked)]
            yield pa.RecordBatch.from_arrays(columns, schema=target)

    def _records(self, limit: int) -> Iterator[list[Any]]:
        """Records by as many as one batch may hold, or as there are in ``limit`` bytes."""
        import fastavro

        read, written = fastavro.schemaless_reader, fastavro.parse_schema(self._type.written)
        unpacked = UNPACKED[self._header.codec]
        records: list[Any] = []
        taken = 0
        for count, block in avro_blocks(self._file, self._header):
            data = unpacked(block)
            stream, start = io.BytesIO(data), 0
            for _ in range(count):
                records.append(read(stream, written, None))
                if len(records) >= BATCH_ROWS or taken + stream.tell() - start >= limit:
                    yield records
                    records, taken, start = [], 0, stream.tell()
            if stream.tell() != len(data):
                raise ValueError(f"a block of {count} records has {len(data)} bytes, they end at {stream.tell()}")
            taken += len(data) - start
        if records:
            yield records

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say what is wrong with the file as an error of ours, with its address."""
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowMemoryError, pa.ArrowCancelled):
            raise
        except (ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, OSError, pa.ArrowException) as error:
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise NotFound(f"{self._where} is damaged: it cannot be read as avro ({what}); restore it, then run again") from error
