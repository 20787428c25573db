"""Puffin files for the target: the data files that their deletion vectors name are given their address there.

Source: Iceberg's Puffin spec. A file is ``PFA1``, the blobs, then the footer: ``PFA1``, the payload (JSON, as an LZ4 frame when
bit 0 of the flags is set), its size in bytes (int32, little-endian), four bytes of flags, ``PFA1``. Only the footer holds paths
(``referenced-data-file``), so every blob keeps its bytes and its offset, and manifests their ``content_offset``.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from lakehouse.errors import NotFound, Unsupported

__all__ = ["rewrite_puffin"]

MAGIC = b"PFA1"
TRAILER_BYTES = 12  # payload size, flags, magic
COMPRESSED = 1  # the flag: the footer's payload is an LZ4 frame
REFERENCED_DATA_FILE = "referenced-data-file"
VECTOR_MAGIC = b"\xd1\xd3\x39\x64"
FOOTER_LIMIT = 1 << 30  # bytes of a decompressed footer


class _Footer(NamedTuple):
    """``start``: of the footer's first magic, behind the last blob. ``flags``: as they stand in the file."""

    start: int
    flags: bytes
    content: dict[str, Any]

    @property
    def compressed(self) -> bool:
        return bool(self.flags[0] & COMPRESSED)


def rewrite_puffin(data: bytes, where: str, address: Callable[[str], str]) -> bytes:
    """The file ``data`` with each ``referenced-data-file`` of its footer mapped by ``address``; ``where`` is for messages.

    Blobs, flags, and unknown keys of the footer and their order are kept. A file in which nothing changes comes back byte for
    byte, and so does a file that is no Puffin but bare deletion vectors, one after the other, since those name no file.
    Raises `NotFound` for a damaged file, `Unsupported` for flags that the spec does not define, and what ``address`` raises.
    """
    if not data.startswith(MAGIC) and _is_bare_vectors(data):
        return data
    try:
        footer = _read_footer(data, where)
        properties = _vector_properties(footer)
    except (ValueError, TypeError, KeyError, OSError) as error:
        what = f"its footer has no {error}" if isinstance(error, KeyError) else str(error)
        raise NotFound(f"{where} is damaged: as a Puffin file it cannot be read ({what}); restore the file") from error
    changed = False
    for each in properties:
        stated = each[REFERENCED_DATA_FILE]
        each[REFERENCED_DATA_FILE] = address(stated)
        changed = changed or each[REFERENCED_DATA_FILE] != stated
    return data[: footer.start] + _footer_bytes(footer) if changed else data


def _read_footer(data: bytes, where: str) -> _Footer:
    if not data.startswith(MAGIC):
        raise ValueError("it does not begin as one")
    if len(data) < 2 * len(MAGIC) + TRAILER_BYTES or not data.endswith(MAGIC):
        raise ValueError("it is cut off")
    end = len(data) - TRAILER_BYTES
    size = int.from_bytes(data[end : end + 4], "little", signed=True)
    flags = data[end + 4 : end + 8]
    start = end - size - len(MAGIC)
    if size < 0 or start < len(MAGIC) or data[start : start + len(MAGIC)] != MAGIC:
        raise ValueError("its footer is not where its size says")
    if flags[0] & ~COMPRESSED or any(flags[1:]):
        raise Unsupported(f"{where}: has the Puffin flags {flags.hex()}, which are not supported; rewrite the table's deletes")
    payload = data[start + len(MAGIC) : end]
    content = json.loads(_lz4_decompress(payload) if flags[0] & COMPRESSED else payload)
    if not isinstance(content, dict):
        raise ValueError("its footer is no JSON object")
    return _Footer(start, flags, content)


def _vector_properties(footer: _Footer) -> list[dict[str, str]]:
    """The properties of each blob that names a data file; ValueError for a blob that does not lie before the footer."""
    found: list[dict[str, str]] = []
    for blob in footer.content["blobs"]:
        offset, length = blob["offset"], blob["length"]
        if offset < len(MAGIC) or length < 0 or offset + length > footer.start:
            raise ValueError("a blob does not lie inside it")
        properties = blob.get("properties") or {}
        if REFERENCED_DATA_FILE in properties:
            if not isinstance(properties[REFERENCED_DATA_FILE], str):
                raise ValueError(f"a blob's {REFERENCED_DATA_FILE} is no text")
            found.append(properties)
    return found


def _footer_bytes(footer: _Footer) -> bytes:
    payload = json.dumps(footer.content, separators=(",", ":")).encode()
    if footer.compressed:
        payload = _lz4_compress(payload)
    return MAGIC + payload + len(payload).to_bytes(4, "little", signed=True) + footer.flags + MAGIC


def _is_bare_vectors(data: bytes) -> bool:
    """Whether ``data`` is whole deletion vectors: length of magic and bitmap (big-endian), magic, bitmap, CRC-32 of both."""
    pos = 0
    while pos < len(data):
        end = pos + 4 + int.from_bytes(data[pos : pos + 4], "big")
        body = data[pos + 4 : end]
        if not body.startswith(VECTOR_MAGIC) or data[end : end + 4] != zlib.crc32(body).to_bytes(4, "big"):
            return False
        pos = end + 4
    return bool(data)


def _lz4_decompress(frame: bytes) -> bytes:
    """One LZ4 frame, which need not state the size of its content."""
    import pyarrow as pa

    with pa.CompressedInputStream(pa.BufferReader(frame), "lz4") as stream:
        content = bytes(stream.read(FOOTER_LIMIT + 1))
    if len(content) > FOOTER_LIMIT:
        raise ValueError(f"its footer holds more than {FOOTER_LIMIT} bytes")
    return content


def _lz4_compress(content: bytes) -> bytes:
    """One LZ4 frame which states the size of its content, as the Puffin spec demands; Arrow's frames do not state it.

    LZ4 frame format 1.6: magic (4 bytes), FLG, BD, content size (int64, little-endian, when bit 3 of FLG is set), checksum.
    """
    import pyarrow as pa

    frame = bytes(pa.Codec("lz4").compress(content, asbytes=True))
    if frame[4] & 0x08:
        return frame
    descriptor = bytes([frame[4] | 0x08, frame[5]]) + len(content).to_bytes(8, "little")
    return frame[:4] + descriptor + bytes([_xxh32_short(descriptor) >> 8 & 0xFF]) + frame[7:]


def _xxh32_short(data: bytes) -> int:
    """The xxHash32, seed 0, of fewer than 16 bytes."""
    prime1, prime2, prime3, prime4, prime5 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1
    mask = 0xFFFFFFFF
    words = len(data) // 4 * 4
    value = prime5 + len(data)
    for pos in range(0, words, 4):
        value = value + int.from_bytes(data[pos : pos + 4], "little") * prime3 & mask
        value = (value << 17 | value >> 15) * prime4 & mask
    for byte in data[words:]:
        value = value + byte * prime5 & mask
        value = (value << 11 | value >> 21) * prime1 & mask
    value = (value ^ value >> 15) * prime2 & mask
    value = (value ^ value >> 13) * prime3 & mask
    return value ^ value >> 16
