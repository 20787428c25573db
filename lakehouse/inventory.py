"""Inventories: one line for each object that a run put at its target, compressed. `lakehouse.receipt` says where they lie.

They are written and read as they stream: of a million objects, no more than a few lines are in memory.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import IO, Any, cast

from lakehouse.checksum import Checksum
from lakehouse.errors import Conflict, NotFound, Verification
from lakehouse.ranges import RANGE_SIZE, SMALL_SIZE
from lakehouse.spool import Spool, latest, shelves
from lakehouse.store import Store
from lakehouse.table import Written

__all__ = ["from_line", "newest", "put_inventory", "read_inventory", "to_line"]

_LINES = 1000
"""Lines that are compressed at once."""

_encoded = json.JSONEncoder(ensure_ascii=False).encode


def to_line(written: Written) -> str:
    """One line of an inventory: JSON without empty fields."""
    row: dict[str, Any] = {"path": written.path, "size": written.size, "sha256": written.sha256, "origin": written.origin}
    if written.source_etag is not None:
        row["source_etag"] = written.source_etag
    if written.target_etag is not None:
        row["target_etag"] = written.target_etag
    if written.checksum is not None:
        row["checksum"] = {"algorithm": written.checksum.algorithm, "hex": written.checksum.hex}
    if written.confirmed:
        row["confirmed"] = True
    if written.source_checked:
        row["source_checked"] = True
    if written.modified is not None:
        row["modified"] = written.modified
    return _encoded(row)


def from_line(line: str | bytes) -> Written:
    """The opposite of `to_line`. Raises `ValueError` or `TypeError` for anything else."""
    raw: Any = json.loads(line)
    if not isinstance(raw, dict) or not isinstance(raw.get("path"), str) or not isinstance(raw.get("size"), int):
        raise ValueError(f"not a line of an inventory: {line[:100]!r}")
    checksum = raw.pop("checksum", None)
    return Written(**raw, checksum=Checksum(**checksum) if checksum else None)


def put_inventory(store: Store, number: int, objects: Iterable[Written]) -> str:
    """Compress and put an inventory; its name holds the SHA-256 of its bytes. Gives the path.

    A short one is put if-absent. A long one goes in parts, for which there is no condition; whoever else puts one under this
    name puts the same bytes, since the name holds their hash. Raises `Conflict` where other bytes lie under it, and
    `Verification` when the store does not hold what was sent.
    """
    import tempfile

    import zstandard

    with tempfile.TemporaryFile() as file:
        digest, compressor, lines = hashlib.sha256(), zstandard.ZstdCompressor().compressobj(), iter(objects)
        while batch := "".join(f"{to_line(written)}\n" for written in islice(lines, _LINES)):
            digest.update(data := compressor.compress(batch.encode()))
            file.write(data)
        digest.update(data := compressor.flush())
        file.write(data)
        size = file.tell()
        path = f"receipts/{number:020d}-{digest.hexdigest()}.jsonl.zst"
        if size > SMALL_SIZE:
            _put_long(store, path, _Chunks(file, size), digest.hexdigest())
            return path
        file.seek(0)
        data = file.read()
    try:
        store.put(path, data, size=size, if_absent=True)
    except Conflict:
        if store.get(path) != data:
            raise
    return path


def _put_long(store: Store, path: str, chunks: _Chunks, sha256: str) -> None:
    there = _sha256_of(store, path)
    if there not in (None, sha256):
        raise Conflict(f"{store.url}/{path}: holds other bytes than the SHA-256 in its name; not overwritten")
    if there is None:
        store.put(path, chunks, size=chunks.size)
        if not store.traits.confirms_put and _sha256_of(store, path) != sha256:
            raise Verification(f"{store.url}/{path}: does not hold the bytes that were put; run again")


class _Chunks:
    """The bytes of a file, to be sent in parts; iterating again begins anew (a put that is tried again)."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.size, self._file = size, file

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, self.size, RANGE_SIZE):
            self._file.seek(start)
            yield self._file.read(RANGE_SIZE)


def _sha256_of(store: Store, path: str) -> str | None:
    """The SHA-256 of an object, by reading it; None where there is none."""
    digest = hashlib.sha256()
    try:
        for data in _parts(store, path):
            digest.update(data)
    except NotFound:
        return None
    return digest.hexdigest()


def _parts(store: Store, path: str) -> Iterator[bytes]:
    """The bytes of an object, range by range. A short object takes one request."""
    data, start = store.get(path, start=0, end=RANGE_SIZE), 0
    yield data
    if len(data) == RANGE_SIZE:
        size = store.head(path).size
        for start in range(RANGE_SIZE, size, RANGE_SIZE):
            yield store.get(path, start=start, end=min(start + RANGE_SIZE, size))


def read_inventory(store: Store, path: str) -> Iterator[Written]:
    """The lines of one inventory.

    Raises `Verification` before the first line when its bytes are not those that its name states.
    """
    import tempfile

    import zstandard

    with tempfile.SpooledTemporaryFile(RANGE_SIZE) as file:
        digest = hashlib.sha256()
        try:
            for data in _parts(store, path):
                digest.update(data)
                file.write(data)
        except NotFound as error:
            raise Verification(f"{store.url}/{path}: an inventory is gone") from error
        if digest.hexdigest() not in path:
            raise Verification(f"{store.url}/{path}: its bytes do not have the SHA-256 in its name: it was damaged or edited")
        file.seek(0)
        with zstandard.ZstdDecompressor().stream_reader(cast(IO[bytes], file), closefd=False) as stream:
            for line in io.BufferedReader(cast(io.RawIOBase, stream), RANGE_SIZE // 64):
                yield from_line(line)


def newest(events: Spool[Written]) -> Iterator[Written]:
    """The newest record of each path in ``events``, without those whose newest says that it was deleted."""
    for shelf in events.shelves(shelves(len(events))):
        yield from latest(shelf).values()
