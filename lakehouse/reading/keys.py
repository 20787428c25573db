"""Keys of several columns as 64-bit hashes, and their exact comparison: null equals null. Vectorised; a hash decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Words = np.ndarray[Any, np.dtype[np.uint64]]

__all__ = ["hashes_of", "null_safe_equal"]

_NULL = 0x9E3779B97F4A7C15
_WORD_BYTES = 8


def hashes_of(columns: Sequence[pa.Array], rows: int) -> Words:
    """One hash a row, of the values of ``columns``, which are not nested and of no extension type.

    Equal rows of columns of equal types have equal hashes.
    """
    import numpy as np

    total = np.zeros(rows, dtype=np.uint64)
    for column in columns:
        total = _mixed(total * np.uint64(31) + _column(column))
    return total


def null_safe_equal(one: pa.Array, other: pa.Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether the values at each place are equal, or both null."""
    import pyarrow.compute

    pc: Any = pyarrow.compute
    equal = pc.equal(one, other)
    if equal.null_count:
        equal = pc.fill_null(equal, pc.and_(one.is_null(), other.is_null()))
    return equal.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _column(column: pa.Array) -> Words:
    import numpy as np
    import pyarrow.types as types

    kind = column.type
    if types.is_boolean(kind):
        hashes = column.cast("uint8").fill_null(0).to_numpy(zero_copy_only=False).astype(np.uint64)
    elif types.is_null(kind):
        hashes = np.zeros(len(column), dtype=np.uint64)
    elif types.is_primitive(kind) or types.is_decimal(kind):
        hashes = _fixed(column, kind.bit_width // 8)
    else:
        hashes = _bytes(column)
    hashes = _mixed(hashes)
    if column.null_count:
        hashes[column.is_null().to_numpy(zero_copy_only=False)] = np.uint64(_NULL)
    return hashes


def _fixed(column: pa.Array, width: int) -> Words:
    """Values of a fixed width, as they lie in memory."""
    import numpy as np

    buffer = column.buffers()[1]
    if buffer is None:
        return np.zeros(len(column), dtype=np.uint64)
    if width <= _WORD_BYTES:
        values = np.frombuffer(buffer, dtype=f"u{width}", count=len(column), offset=column.offset * width)
        return values.astype(np.uint64)
    words = np.frombuffer(
        buffer, dtype=np.uint64, count=len(column) * width // _WORD_BYTES, offset=column.offset * width
    ).reshape(len(column), width // _WORD_BYTES)
    hashes = words[:, 0].copy()
    for place in range(1, words.shape[1]):
        hashes = _mixed(hashes) ^ words[:, place]
    return hashes


def _bytes(column: pa.Array) -> Words:
    """Values of any length, word by word: each pass over those that have so many words."""
    import numpy as np
    import pyarrow as pa

    array = column.cast(pa.large_binary())
    buffers = array.buffers()
    offsets = np.frombuffer(buffers[1], dtype=np.int64, count=len(array) + 1, offset=array.offset * 8)
    size = int(offsets[-1]) if len(offsets) else 0
    padded = np.zeros(size + _WORD_BYTES, dtype=np.uint8)
    if buffers[2] is not None and size:
        padded[:size] = np.frombuffer(buffers[2], dtype=np.uint8, count=size)
    lengths = offsets[1:] - offsets[:-1]
    hashes = lengths.astype(np.uint64)
    live, place = np.flatnonzero(lengths > 0), 0
    while len(live):
        start = offsets[live] + place
        words = _words(padded, start)
        left = np.minimum(lengths[live] - place, _WORD_BYTES).astype(np.uint64)
        words &= np.uint64(0xFFFFFFFFFFFFFFFF) >> ((np.uint64(_WORD_BYTES) - left) * np.uint64(8))
        hashes[live] = _mixed(hashes[live] ^ words)
        place += _WORD_BYTES
        live = live[lengths[live] > place]
    return hashes


def _words(data: np.ndarray[Any, np.dtype[np.uint8]], starts: np.ndarray[Any, np.dtype[np.int64]]) -> Words:
    """The eight bytes from each of ``starts``, little-endian."""
    import numpy as np

    every = np.ndarray((len(data) - _WORD_BYTES + 1,), dtype="<u8", buffer=data.data, strides=(1,))
    words: Words = every[starts].astype(np.uint64)
    return words


def _mixed(values: Words) -> Words:
    """The finaliser of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)."""
    import numpy as np

    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
