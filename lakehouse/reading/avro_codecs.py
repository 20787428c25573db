"""Unpacking the blocks of Avro files (Avro 1.12, "Required Codecs", "Optional Codecs")."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import cast

__all__ = ["UNPACKED"]

MAX_BLOCK_BYTES = 256 << 20
"""The largest block, unpacked, that is read: many times what writers make (64 KB), and nothing that fills the memory."""


def _same(data: bytes) -> bytes:
    return data


def _inflate(data: bytes) -> bytes:
    """Bytes behind the end of the compressed data are passed over: DuckDB leaves a checksum there."""
    from isal import isal_zlib

    stream = isal_zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = stream.decompress(data, MAX_BLOCK_BYTES + 1)
    except cast("type[Exception]", isal_zlib.error) as error:
        raise ValueError(f"a block cannot be decompressed: {error}") from error
    return _whole(plain, stream.eof)


def _unsnap(data: bytes) -> bytes:
    """Snappy's raw format, then the CRC-32 of the records, big-endian."""
    import pyarrow as pa

    packed, checksum = data[:-4], data[-4:]
    size = shift = 0
    for byte in packed[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > 64 * len(packed) + 64:
        raise ValueError("a compressed block states an impossible size")
    try:
        plain = bytes(pa.Codec("snappy").decompress(packed, size, asbytes=True))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"a block cannot be decompressed: {error}") from error
    if len(plain) != size or zlib.crc32(plain).to_bytes(4, "big") != checksum:
        raise ValueError("the checksum of a block is wrong")
    return plain


def _unzstd(data: bytes) -> bytes:
    import zstandard

    try:
        if zstandard.frame_content_size(data) > MAX_BLOCK_BYTES:
            raise ValueError("a block is larger than any writer makes it")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_BLOCK_BYTES)
    except zstandard.ZstdError as error:
        raise ValueError(f"a block cannot be decompressed: {error}") from error


def _unbzip2(data: bytes) -> bytes:
    stream = bz2.BZ2Decompressor()
    try:
        plain = stream.decompress(data, MAX_BLOCK_BYTES + 1)
    except OSError as error:
        raise ValueError(f"a block cannot be decompressed: {error}") from error
    return _whole(plain, stream.eof)


def _unxz(data: bytes) -> bytes:
    stream = lzma.LZMADecompressor()
    try:
        plain = stream.decompress(data, MAX_BLOCK_BYTES + 1)
    except lzma.LZMAError as error:
        raise ValueError(f"a block cannot be decompressed: {error}") from error
    return _whole(plain, stream.eof)


def _whole(plain: bytes, ended: bool) -> bytes:
    if len(plain) > MAX_BLOCK_BYTES:
        raise ValueError("a block is larger than any writer makes it")
    if not ended:
        raise ValueError("a compressed block is cut off")
    return plain


UNPACKED: dict[str, Callable[[bytes], bytes]] = {
    "null": _same,
    "deflate": _inflate,
    "snappy": _unsnap,
    "zstandard": _unzstd,
    "bzip2": _unbzip2,
    "xz": _unxz,
}
"""What unpacks a block, by the name of the codec. Each raises `ValueError` for a damaged block."""
