"""The Avro object container file: a header, then blocks of records, each ended by the sync marker.

Source: Avro 1.12, "Object container files".

What is read is written again as it was: the header byte for byte, the same blocks with the same counts, the same codec and
sync marker. Only the compressed form of a block may differ, since it depends on the compressor.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.iceberg.avro.varint import long_bytes, read_long
from lakehouse.reading.avro_codecs import UNPACKED

__all__ = ["Block", "Header", "read_container", "same_content", "write_container"]

MAGIC = b"Obj\x01"
SYNC_BYTES = 16


@dataclass(frozen=True, slots=True)
class Header:
    """The header of one file.

    ``metadata``: the key-values in the file's order. ``raw``: the whole header as it stands in the file, magic and sync marker
    included. ``codec``: ``null``, ``deflate``, ``snappy`` or ``zstandard``. ``schema``: the writer's schema, parsed JSON.
    """

    metadata: dict[str, bytes]
    raw: bytes
    sync: bytes
    codec: str
    schema: Any


@dataclass(frozen=True, slots=True)
class Block:
    """``count`` encoded records, one after the other, in ``data`` (not compressed)."""

    count: int
    data: bytes


def read_container(data: bytes, where: str) -> tuple[Header, Iterator[Block]]:
    """The header and the blocks of the file ``data``; blocks are decompressed as they are asked for. ``where`` is for messages.

    A file that is cut off exactly behind a block is a whole file to Avro: who knows the length of the file compares it.
    Raises `NotFound` for a damaged file (blocks: while they are iterated) and `Unsupported` for another codec.
    """
    try:
        header = _read_header(data)
    except (IndexError, ValueError, KeyError) as error:
        raise _damaged(where, error) from error
    if header.codec not in _CODECS:
        raise Unsupported(
            f"{where}: is compressed with the Avro codec {header.codec!r}, which is not supported (supported: "
            f"{', '.join(_CODECS)}); rewrite the table's manifests with one of these"
        )
    return header, _read_blocks(data, header, where)


def write_container(header: Header, blocks: Iterable[Block]) -> bytes:
    """The bytes of a file with that header and those blocks."""
    compress = _CODECS[header.codec][0]
    out = bytearray(header.raw)
    for block in blocks:
        packed = compress(block.data)
        out += long_bytes(block.count)
        out += long_bytes(len(packed))
        out += packed
        out += header.sync
    return bytes(out)


def same_content(one: bytes, other: bytes) -> bool:
    """Whether two files hold the same key-values and the same encoded records, however they are compressed or cut into blocks.

    False when either cannot be read.
    """
    try:
        return _content(one) == _content(other)
    except (NotFound, Unsupported):
        return False


def _content(data: bytes) -> tuple[dict[str, bytes], int, bytes]:
    header, blocks = read_container(data, "the file")
    kept = list(blocks)
    return header.metadata, sum(block.count for block in kept), b"".join(block.data for block in kept)


def _damaged(where: str, error: Exception) -> NotFound:
    what = str(error) if isinstance(error, ValueError) else "it is cut off"
    return NotFound(f"{where} is damaged: as an Avro file it cannot be read ({what}); restore the file, then run again")


def _read_header(data: bytes) -> Header:
    if data[:4] != MAGIC:
        raise ValueError("it does not begin as one" if len(data) >= len(MAGIC) else "it is cut off")
    metadata, pos = _read_metadata(data, len(MAGIC))
    end = pos + SYNC_BYTES
    if end > len(data):
        raise ValueError("it is cut off in its header")
    if "avro.schema" not in metadata:
        raise ValueError("its header has no schema")
    schema = json.loads(metadata["avro.schema"])
    codec = metadata.get("avro.codec", b"null").decode()
    return Header(metadata, data[:end], data[pos:end], codec, schema)


def _read_metadata(data: bytes, pos: int) -> tuple[dict[str, bytes], int]:
    """The map of the header: blocks of key-values, a negative count being followed by the size of its block in bytes."""
    metadata: dict[str, bytes] = {}
    while True:
        count, pos = read_long(data, pos)
        if count == 0:
            return metadata, pos
        if count < 0:
            _, pos = read_long(data, pos)
        for _ in range(abs(count)):
            key, pos = _read_bytes(data, pos)
            metadata[key.decode()], pos = _read_bytes(data, pos)


def _read_bytes(data: bytes, pos: int) -> tuple[bytes, int]:
    size, pos = read_long(data, pos)
    end = pos + size
    if not pos <= end <= len(data):
        raise ValueError("a length leads out of it")
    return data[pos:end], end


def _read_blocks(data: bytes, header: Header, where: str) -> Iterator[Block]:
    decompress = _CODECS[header.codec][1]
    pos = len(header.raw)
    while pos < len(data):
        try:
            count, pos = read_long(data, pos)
            packed, pos = _read_bytes(data, pos)
            if count < 0:
                raise ValueError("a block has a negative number of records")
            if data[pos : pos + SYNC_BYTES] != header.sync:
                raise ValueError("a block does not end with the sync marker")
            block = Block(count, decompress(packed))
        except (IndexError, ValueError) as error:
            raise _damaged(where, error) from error
        pos += SYNC_BYTES
        yield block


def _same(data: bytes) -> bytes:
    return data


def _deflate(data: bytes) -> bytes:
    from isal import isal_zlib

    return isal_zlib.compress(data, isal_zlib.ISAL_DEFAULT_COMPRESSION, -zlib.MAX_WBITS)


def _snap(data: bytes) -> bytes:
    """Snappy's raw format, then the CRC-32 of the records, big-endian."""
    import pyarrow as pa

    return bytes(pa.Codec("snappy").compress(data, asbytes=True)) + zlib.crc32(data).to_bytes(4, "big")


def _zstd(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(data)


_CODECS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "null": (_same, UNPACKED["null"]),
    "deflate": (_deflate, UNPACKED["deflate"]),
    "snappy": (_snap, UNPACKED["snappy"]),
    "zstandard": (_zstd, UNPACKED["zstandard"]),
}
