"""Sequences of records too long for memory: what a plan, a transfer or an inventory hands on, a million objects and more.

A `Spool` holds its newest records, and beyond `BATCH_RECORDS` writes them to a temporary file that has no name, so nothing is
left behind however the process ends. Records are kept as rows (plain tuples), encoded by `marshal`: they are read back by the
process that wrote them, and by nobody else.
"""

from __future__ import annotations

import marshal
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Generic, TypeVar
from zlib import crc32

from lakehouse.checksum import Checksum
from lakehouse.errors import Transfer
from lakehouse.store import ObjectInfo
from lakehouse.table import Origin, TableFile, Written

__all__ = [
    "BATCH_RECORDS",
    "SHELF_RECORDS",
    "Row",
    "Spool",
    "file_row",
    "files",
    "latest",
    "listed_file",
    "listing",
    "records",
    "row_file",
    "row_written",
    "shelves",
    "written_row",
]

BATCH_RECORDS = 2048
"""Records held in memory, and written at once."""

SHELF_RECORDS = 100_000
"""Records that are held against each other in memory (`shelves`): some 60 MB."""

_MARSHAL = 2
"""The version of marshal's format that looks for no references among the values: half the time."""

Record = TypeVar("Record")
Row = tuple[Any, ...]
"""A record as text, numbers, truth values, None and tuples of them. The first value is its path."""


class Spool(Generic[Record]):
    """Records in the order in which they were appended, to be iterated any number of times.

    ``pack`` makes a row of a record, ``unpack`` a record of a row. Appending while an iteration goes on is an error of the
    caller (`RuntimeError`). Raises `Transfer` when the temporary file cannot be written.
    """

    def __init__(self, pack: Callable[[Record], Row], unpack: Callable[[Row], Record], scratch: _Scratch | None = None) -> None:
        self._pack, self._unpack = pack, unpack
        self._scratch = scratch or _Scratch()
        self._batches: list[tuple[int, int]] = []
        self._recent: list[Row] = []
        self._stored = 0

    def __len__(self) -> int:
        return self._stored + len(self._recent)

    def __iter__(self) -> Iterator[Record]:
        return map(self._unpack, self.rows())

    def append(self, record: Record) -> None:
        """Add a record at the end."""
        self.append_row(self._pack(record))

    def append_row(self, row: Row) -> None:
        """Add the record that ``row`` is."""
        self._recent.append(row)
        if len(self._recent) >= BATCH_RECORDS:
            self._batches.append(self._scratch.write(marshal.dumps(self._recent, _MARSHAL)))
            self._stored += len(self._recent)
            self._recent = []

    def extend(self, found: Iterable[Record]) -> None:
        """Add records at the end."""
        for record in found:
            self.append_row(self._pack(record))

    def shelves(self, count: int) -> list[Spool[Record]]:
        """The records spread over ``count`` spools by their paths: all records of a path are on one shelf, in their order."""
        if count == 1:
            return [self]
        scratch = _Scratch()
        made = [Spool(self._pack, self._unpack, scratch) for _ in range(count)]
        for row in self.rows():
            made[crc32(row[0].encode("utf-8", "surrogatepass")) % count].append_row(row)
        return made

    def rows(self) -> Iterator[Row]:
        """The records as rows."""
        length = len(self)
        for place in self._batches:
            yield from marshal.loads(self._scratch.read(place))  # noqa: S302 - written by this process
            self._refuse_change(length)
        for row in self._recent:
            yield row
            self._refuse_change(length)

    def _refuse_change(self, length: int) -> None:
        if len(self) != length:
            raise RuntimeError("a spool was appended to while it was read")


class _Scratch:
    """A temporary file without a name, made when it is first written to, and closed with its owner."""

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._size = 0

    def write(self, data: bytes) -> tuple[int, int]:
        """Add ``data``; gives the place where it can be read."""
        import tempfile

        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the finalizer
                weakref.finalize(self, self._file.close)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise Transfer(
                f"{tempfile.gettempdir()}: a temporary file cannot be written ({error}); make room there, or set TMPDIR to a "
                "folder that has some, and run again"
            ) from error
        self._size += len(data)
        return self._size - len(data), len(data)

    def read(self, place: tuple[int, int]) -> bytes:
        """What was written at ``place``."""
        if self._file is None:
            raise RuntimeError("nothing was written yet")
        start, length = place
        return os.pread(self._file.fileno(), length, start)


def shelves(*sizes: int) -> int:
    """Over how many shelves spools of these sizes must be spread (`Spool.shelves`), so that one shelf of each fits in memory."""
    return max(1, -(-sum(sizes) // SHELF_RECORDS))


def latest(events: Iterable[Written]) -> dict[str, Written]:
    """The last record of each path in ``events``, without those that say that it was deleted."""
    known: dict[str, Written] = {}
    for written in events:
        if written.origin == "deleted":
            known.pop(written.path, None)
        else:
            known[written.path] = written
    return known


def listing() -> Spool[ObjectInfo]:
    """A spool of objects as a listing tells of them; their times are left out."""
    return Spool(_object_row, _row_object)


def records() -> Spool[Written]:
    """A spool of what an inventory records."""
    return Spool(written_row, row_written)


def files() -> Spool[TableFile]:
    """A spool of a version's files."""
    return Spool(file_row, row_file)


def _object_row(info: ObjectInfo) -> Row:
    return (info.path, info.size, info.etag, _checksum_row(info.checksum))


def _row_object(row: Row) -> ObjectInfo:
    path, size, etag, checksum = row
    return ObjectInfo(path, size, etag, _row_checksum(checksum))


def file_row(file: TableFile) -> Row:
    """``file`` as a row."""
    checksum = file.checksum
    return (
        file.path,
        file.size,
        file.required,
        file.etag,
        None if checksum is None else (checksum.algorithm, checksum.hex),
        file.last,
        file.origin,
        file.rewritten,
    )


def row_file(row: Row) -> TableFile:
    """The opposite of `file_row`."""
    path, size, required, etag, checksum, last, origin, rewritten = row
    return TableFile(path, size, required, etag, _row_checksum(checksum), last, origin, rewritten)


def written_row(written: Written) -> Row:
    """``written`` as a row."""
    return (
        written.path,
        written.size,
        written.sha256,
        written.origin,
        written.source_etag,
        written.target_etag,
        _checksum_row(written.checksum),
        written.confirmed,
        written.source_checked,
        written.modified,
    )


def row_written(row: Row) -> Written:
    """The opposite of `written_row`."""
    path, size, sha256, name, source_etag, target_etag, checksum, confirmed, source_checked, modified = row
    origin: Origin = name
    return Written(
        path, size, sha256, origin, source_etag, target_etag, _row_checksum(checksum), confirmed, source_checked, modified
    )


def listed_file(row: Row, *, last: bool) -> TableFile:
    """The file that a row of `listing` tells of."""
    path, size, etag, checksum = row
    return TableFile(path, size, True, etag, _row_checksum(checksum), last)


def _checksum_row(checksum: Checksum | None) -> Row | None:
    return None if checksum is None else (checksum.algorithm, checksum.hex)


def _row_checksum(row: Row | None) -> Checksum | None:
    return None if row is None else Checksum(*row)
