"""What deletion vectors hold: the positions of the rows of a data file that are deleted.

PROTOCOL.md, "Deletion Vectors", "Deletion Vector Format" and "Deletion Vector File Storage Format". A vector that cannot be read
is an error and never "nothing is deleted", which would bring rows back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zlib import crc32

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.delta.vectors import z85_decode
from lakehouse.store import Store

if TYPE_CHECKING:
    import numpy as np

__all__ = ["DeletionVector", "deleted_positions"]

_MAGIC = (1681511377).to_bytes(4, "little")
"""Of a "RoaringBitmapArray" in its portable form, the only one that the specification has."""

_VERSION = b"\x01"
_FIRST = 1
"""Where the first vector of a file begins: behind the byte that states the file's version."""
_LENGTH_BYTES = _CHECKSUM_BYTES = 4


@dataclass(frozen=True, slots=True)
class DeletionVector:
    """Where the vector of a live file is to be read, and what the log says of it.

    ``id``: the specification's uniqueId. ``path``: the object that holds it, as the table's store reads it; "" for one that the
    log holds itself, in ``inline``. ``offset``: of its frame in that object; ``size`` of its bitmap, in bytes. ``cardinality``:
    how many rows it deletes. ``stated``: how an error names it.
    """

    id: str
    path: str
    inline: str
    offset: int
    size: int
    cardinality: int
    stated: str

    @property
    def end(self) -> int:
        """How many bytes the object has at least, this vector's frame included."""
        return self.offset + _LENGTH_BYTES + self.size + _CHECKSUM_BYTES if self.path else 0


def deleted_positions(store: Store, vector: DeletionVector) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The positions that ``vector`` deletes: from 0, ascending, each once.

    Raises `NotFound`, naming the object, for a vector that is missing or damaged (the lengths, the checksum, the bitmap and the
    number of rows that the log states must agree), `Unsupported` for one written in a form that the specification does not know.
    """
    where = f"{store.url}: {vector.stated}"
    bitmap = _framed(store, where, vector) if vector.path else _inline(where, vector)
    if bitmap[:4] != _MAGIC:
        number = int.from_bytes(bitmap[:4], "little")
        raise Unsupported(f"{where} has the form {number}; the one that can be read is {int.from_bytes(_MAGIC, 'little')}")
    return _positions(where, bitmap[4:], vector.cardinality)


def _framed(store: Store, where: str, vector: DeletionVector) -> bytes:
    start = 0 if vector.offset == _FIRST else vector.offset
    try:
        data = store.get(vector.path, start=start, end=vector.end)
    except NotFound as error:
        raise NotFound(f"{where} is missing, so it is not known which rows are deleted ({error})") from error
    if len(data) != vector.end - start:
        raise _damaged(where, f"the object ends after {start + len(data)} bytes, not after {vector.end} or more")
    if start == 0 and data[:_FIRST] != _VERSION:
        raise Unsupported(f"{where} lies in a file of version {data[0]}; the one that can be read is 1")
    frame = data[vector.offset - start :]
    length, bitmap, stated = frame[:_LENGTH_BYTES], frame[_LENGTH_BYTES:-_CHECKSUM_BYTES], frame[-_CHECKSUM_BYTES:]
    if int.from_bytes(length, "big") != vector.size:
        raise _damaged(where, f"the object states {int.from_bytes(length, 'big')} bytes, the log {vector.size}")
    if int.from_bytes(stated, "big") != crc32(bitmap):
        raise _damaged(where, "its checksum does not agree with its bytes")
    return bitmap


def _inline(where: str, vector: DeletionVector) -> bytes:
    try:
        data = z85_decode(vector.inline)
    except ValueError as error:
        raise _damaged(where, str(error)) from error
    if not 0 <= len(data) - vector.size < _LENGTH_BYTES:
        raise _damaged(where, f"it has {len(data)} bytes, the log states {vector.size}")
    return data[: vector.size]


def _positions(where: str, bitmap: bytes, cardinality: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    import numpy as np
    from pyroaring import BitMap64

    try:
        found = np.array(BitMap64.deserialize(bitmap).to_array(), dtype=np.uint64)
    except (ValueError, IndexError) as error:
        raise _damaged(where, "it is no bitmap") from error
    if len(found) != cardinality:
        raise _damaged(where, f"it deletes {len(found)} rows, the log states {cardinality}")
    if len(found) > 1 and not bool(np.all(found[1:] > found[:-1])):
        raise _damaged(where, "its positions are not in order")
    return found


def _damaged(where: str, why: str) -> NotFound:
    return NotFound(f"{where} is damaged: {why}; so it is not known which rows are deleted")
