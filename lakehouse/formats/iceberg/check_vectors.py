"""Whether the vectors of a Puffin file are those that manifests state.

Iceberg table spec, "Deletion Vectors"; Puffin spec, "deletion-vector-v1": length of magic and bitmap (4 bytes, big-endian),
magic, a Roaring bitmap of 64 bits, CRC-32 of both (4 bytes, big-endian). Manifests say where a vector lies, so that no reader
needs the footer; what it says is held against them where there is one (some writers leave bare vectors).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.entries import DataFile
from lakehouse.formats.iceberg.puffin import COMPRESSED, FOOTER_LIMIT, MAGIC, REFERENCED_DATA_FILE, TRAILER_BYTES, VECTOR_MAGIC
from lakehouse.reading.examine import Flaw
from lakehouse.store import Store

__all__ = ["puffin_flaws", "vector_flaws"]

_TAIL_BYTES = 64 * 2**10
_BLOB = "deletion-vector-v1"


def puffin_flaws(store: Store, path: str, size: int) -> list[Flaw]:
    """What is wrong with a Puffin file of ``size`` bytes, its blobs left alone. Kinds: ``missing``, ``size``, ``unreadable``."""
    try:
        found = store.head(path).size
        if size and found != size:
            return [Flaw("size", path, f"has {found} bytes, the metadata says {size}")]
        _footer(store, path, found)
    except NotFound:
        return [Flaw("missing", path, "is not there")]
    except (ValueError, TypeError, KeyError, OSError) as error:
        return [Flaw("unreadable", path, f"as a Puffin file it cannot be read ({error})")]
    return []


def vector_flaws(store: Store, path: str, entries: Sequence[DataFile], rows_of: Callable[[str], int | None]) -> list[Flaw]:
    """What is wrong with the vectors of one file, and with its footer. ``rows_of``: the rows of a data file (None: not known).

    Kinds: those of `puffin_flaws`, and ``vector``.
    """
    size = entries[0].size
    try:
        bare = store.get(path, end=len(MAGIC)) != MAGIC
    except NotFound:
        return [Flaw("missing", path, "is not there")]
    flaws = _bare_flaws(store, path, size) if bare else puffin_flaws(store, path, size)
    if flaws:
        return flaws
    blobs = {} if bare else {(blob["offset"], blob["length"]): blob for blob in _footer(store, path, size)["blobs"]}
    for entry in entries:
        offset, length = entry.content_offset, entry.content_size
        if offset is None or length is None or offset + length > size:
            continue  # the manifest's flaw
        stated = blobs.get((offset, length))
        if stated is None and not bare:
            flaws.append(Flaw("vector", path, f"has no blob at {offset} with {length} bytes, where its manifest says so"))
        problem = _problem(store.get(path, start=offset, end=offset + length), entry, stated, rows_of)
        if problem:
            flaws.append(Flaw("vector", path, f"the vector at {offset} {problem}"))
    return flaws


def _bare_flaws(store: Store, path: str, size: int) -> list[Flaw]:
    found = store.head(path).size
    if found != size:
        return [Flaw("size", path, f"has {found} bytes, the metadata says {size}")]
    if store.get(path, start=4, end=8) != VECTOR_MAGIC:
        return [
            Flaw("unreadable", path, f"begins neither as a Puffin file nor as a deletion vector ({store.get(path, end=8)!r})")
        ]
    return []


def _problem(data: bytes, entry: DataFile, blob: dict[str, Any] | None, rows_of: Callable[[str], int | None]) -> str:
    """What is wrong with one vector; "" when nothing is."""
    import pyroaring

    body, checksum = data[4:-4], data[-4:]
    if int.from_bytes(data[:4], "big") != len(body) or not body.startswith(VECTOR_MAGIC):
        return "is no deletion vector of that length"
    if zlib.crc32(body).to_bytes(4, "big") != checksum:
        return "does not have its checksum"
    try:
        bitmap = pyroaring.BitMap64.deserialize(body[len(VECTOR_MAGIC) :])
    except (ValueError, RuntimeError) as error:
        return f"cannot be read ({error})"
    if len(bitmap) != entry.rows:
        return f"deletes {len(bitmap)} rows, its manifest says {entry.rows}"
    named = entry.referenced_data_file
    rows = rows_of(named) if named is not None else None
    if rows is not None and len(bitmap) and bitmap.max() >= rows:
        return f"deletes row {bitmap.max()} of {named}, which has {rows} rows"
    properties = (blob or {}).get("properties") or {}
    if properties.get(REFERENCED_DATA_FILE, named) != named:
        return f"is for {properties[REFERENCED_DATA_FILE]}, its manifest says {named}"
    if int(properties.get("cardinality", len(bitmap))) != len(bitmap):
        return f"deletes {len(bitmap)} rows, its footer says {properties['cardinality']}"
    if blob is not None and blob.get("type") != _BLOB:
        return f"is a blob of the type {blob.get('type')!r}"
    return ""


def _footer(store: Store, path: str, size: int) -> dict[str, Any]:
    """The footer of a Puffin file. Raises ValueError where it is none, KeyError where it says nothing of blobs."""
    tail = store.get(path, start=max(0, size - _TAIL_BYTES), end=size)
    length = int.from_bytes(tail[-TRAILER_BYTES : -TRAILER_BYTES + 4], "little", signed=True)
    begin = size - TRAILER_BYTES - length - len(MAGIC)
    if len(tail) < TRAILER_BYTES or not tail.endswith(MAGIC) or length < 0 or begin < len(MAGIC):
        raise ValueError("it does not end as one")
    if size - begin > len(tail):
        tail = store.get(path, start=begin, end=size)
    footer = tail[len(tail) - (size - begin) :]
    if not footer.startswith(MAGIC) or store.get(path, end=len(MAGIC)) != MAGIC:
        raise ValueError("it, or its footer, does not begin as one")
    payload = footer[len(MAGIC) : -TRAILER_BYTES]
    content: dict[str, Any] = json.loads(_unpacked(payload) if footer[-8] & COMPRESSED else payload)
    for blob in content["blobs"]:
        if blob["offset"] < len(MAGIC) or blob["length"] < 0 or blob["offset"] + blob["length"] > begin:
            raise ValueError(f"a blob at {blob['offset']} with {blob['length']} bytes does not lie inside it")
    return content


def _unpacked(frame: bytes) -> bytes:
    import pyarrow as pa

    with pa.CompressedInputStream(pa.BufferReader(frame), "lz4") as stream:
        content = bytes(stream.read(FOOTER_LIMIT))
    return content
