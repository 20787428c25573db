"""Walking the blocks of an Avro object container file, without its records.

Source: Avro specification 1.11, "Object Container Files": magic, metadata, a marker of 16 bytes; then blocks, each with its
number of records, its size in bytes, and the marker after it.
"""

from __future__ import annotations

import zlib
from typing import IO

__all__ = ["avro_rows"]

_MAGIC, _MARKER_BYTES = b"Obj\x01", 16


def avro_rows(file: IO[bytes], *, decoded: bool) -> int:
    """How many records the blocks of ``file`` say that they have.

    ``decoded``: blocks of the codecs deflate and snappy are decompressed too. Raises `ValueError` for a damaged file.
    """
    if (magic := file.read(4)) != _MAGIC:
        raise ValueError(f"its first bytes are {magic!r}, not {_MAGIC!r}")
    metadata = _metadata(file)
    if b"avro.schema" not in metadata:
        raise ValueError("its header has no avro.schema")
    codec = metadata.get(b"avro.codec", b"null").decode()
    marker = _exactly(file, _MARKER_BYTES)
    rows = 0
    while (count := _long(file, at_end=True)) is not None:
        size = _long(file)
        if count < 0 or size is None or size < 0:
            raise ValueError(f"a block after {rows} records has {count} records and {size} bytes")
        block = _exactly(file, size)
        if _exactly(file, _MARKER_BYTES) != marker:
            raise ValueError(f"the marker is not where the block after {rows} records ends")
        if decoded:
            _decompress(codec, block)
        rows += count
    return rows


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


def _decompress(codec: str, block: bytes) -> None:
    if codec == "deflate":
        try:
            zlib.decompress(block, -zlib.MAX_WBITS)
        except zlib.error as error:
            raise ValueError(f"a block cannot be decompressed ({error})") from error
    elif codec == "snappy" and len(block) > 4:
        import pyarrow as pa

        content, size, shift = block[:-4], 0, 0
        for byte in content[:5]:
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        try:
            data = pa.decompress(content, size, "snappy", asbytes=True)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"a block cannot be decompressed ({error})") from error
        if zlib.crc32(data) != int.from_bytes(block[-4:], "big"):
            raise ValueError("a block does not have its checksum")
