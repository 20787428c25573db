"""Deletion vectors: the deleted positions of one data file, as a blob of a Puffin file.

Source: Iceberg's Puffin spec, "deletion-vector-v1". The blob is the length of magic and vector (int32, big-endian), the magic,
the vector (64-bit positions as a portable Roaring bitmap), and the CRC-32 of magic and vector (big-endian).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.puffin import VECTOR_MAGIC

if TYPE_CHECKING:
    import numpy as np

__all__ = ["positions_of"]

_AROUND = 8  # bytes of length and checksum


def positions_of(blob: bytes, where: str, rows: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The positions in ``blob``, ascending; ``rows``: how many there must be.

    Raises `NotFound` when its length, its magic, its checksum or the number of positions is not what it must be.
    """
    import numpy as np
    from pyroaring import BitMap64

    body, checksum = blob[4:-4], blob[-4:]
    if len(blob) < _AROUND + len(VECTOR_MAGIC) or int.from_bytes(blob[:4], "big") != len(body):
        raise _damaged(where, "it is cut off, or lies elsewhere in its file")
    if not body.startswith(VECTOR_MAGIC):
        raise _damaged(where, "it does not begin as one")
    if zlib.crc32(body).to_bytes(4, "big") != checksum:
        raise _damaged(where, "its checksum is wrong")
    try:
        found = np.array(BitMap64.deserialize(body[len(VECTOR_MAGIC) :]).to_array(), dtype=np.uint64)
    except ValueError as error:
        raise _damaged(where, f"it is no Roaring bitmap: {error}") from error
    if len(found) != rows:
        raise _damaged(where, f"it holds {len(found)} positions, its entry says {rows}")
    return found


def _damaged(where: str, why: str) -> NotFound:
    return NotFound(f"{where} is damaged: as a deletion vector it cannot be read ({why}); restore the file")
