"""Walking the blocks of an Avro object container file, without its records.

Source: Avro specification 1.11, "Object Container Files": magic, metadata, a marker of 16 bytes; then blocks, each with its
number of records, its size in bytes, and the marker after it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

__all__ = ["AvroHeader", "avro_blocks", "avro_header", "avro_rows"]

_MAGIC, _MARKER_BYTES = b"Obj\x01", 16


@dataclass(frozen=True, slots=True)
class AvroHeader:
    """``schema``: the writer's, parsed JSON. ``codec``: of the blocks. ``marker``: what stands behind each of them."""

    schema: Any
    codec: str
    marker: bytes


def avro_header(file: IO[bytes]) -> AvroHeader:
    """The header of the file, which is then at its first block. Raises `ValueError` where it has none."""
    if (magic := file.read(4)) != _MAGIC:
        raise ValueError(f"its first bytes are {magic!r}, not {_MAGIC!r}")
    metadata = _metadata(file)
    if b"avro.schema" not in metadata:
        raise ValueError("its header has no avro.schema")
    codec = metadata.get(b"avro.codec", b"null").decode()
    return AvroHeader(json.loads(metadata[b"avro.schema"]), codec, _exactly(file, _MARKER_BYTES))


def avro_blocks(file: IO[bytes], header: AvroHeader) -> Iterator[tuple[int, bytes]]:
    """The number of records of each block, and these as they are packed, from where the file is on.

    A file that is cut off exactly behind a block is a whole file to Avro: who knows its length compares that. Raises
    `ValueError` for a damaged one.
    """
    rows = 0
    while (count := _long(file, at_end=True)) is not None:
        size = _long(file)
        if count < 0 or size is None or size < 0:
            raise ValueError(f"a block after {rows} records has {count} records and {size} bytes")
        block = _exactly(file, size)
        if _exactly(file, _MARKER_BYTES) != header.marker:
            raise ValueError(f"the marker is not where the block after {rows} records ends")
        yield count, block
        rows += count


def avro_rows(file: IO[bytes]) -> int:
    """How many records the blocks of ``file`` say that they have. Raises `ValueError` for a damaged file."""
    return sum(count for count, _ in avro_blocks(file, avro_header(file)))


def _metadata(file: IO[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    while count := _long(file) or 0:
        if count < 0:
            _long(file)
        for _ in range(abs(count)):
            key = _exactly(file, _long(file) or 0)
            found[key] = _exactly(file, _long(file) or 0)
    return found


def _long(file: IO[bytes], *, at_end: bool = False) -> int | None:
    """A zigzag varint; None where the file is ``at_end``, as it may be between blocks."""
    value = shift = 0
    while True:
        read = file.read(1)
        if not read:
            if at_end and shift == 0:
                return None
            raise ValueError("it ends in the middle of a number")
        value |= (read[0] & 0x7F) << shift
        shift += 7
        if read[0] < 0x80:
            return (value >> 1) ^ -(value & 1)
        if shift > 63:
            raise ValueError("a number has more than 64 bits")


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size) if size > 0 else b""
    if size < 0 or len(data) != size:
        raise ValueError(f"it ends where {size} more bytes should be")
    return data
