"""Deletion vectors: which file one lies in, and what tells two of the same data file apart.

PROTOCOL.md, "Deletion Vector Descriptor Schema" and "Derived Fields". A vector is never opened here: it is carried as it is.
"""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import Any, NamedTuple

from lakehouse.errors import Unsupported
from lakehouse.formats.delta.actions import is_reserved

__all__ = ["NO_VECTOR", "Vector", "vector_id", "vector_of", "z85_decode", "z85_encode"]

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_DIGITS = {character: digit for digit, character in enumerate(_ALPHABET)}
_UUID_LENGTH = 20
_FRAME_BYTES = 8
"""Around each vector in a file: its size before, a checksum after (PROTOCOL.md, "Deletion Vector File Storage Format")."""


class Vector(NamedTuple):
    """``id`` is the specification's uniqueId; ``file`` the object key ("" for an inline vector, which has no file).

    ``end``: the file has at least this many bytes; exactly so many where this is the last vector in it.
    """

    id: str
    file: str
    end: int


NO_VECTOR = Vector("", "", 0)


def z85_decode(text: str) -> bytes:
    """Base85 as ZeroMQ's RFC 32 defines it: 5 characters are 4 bytes, big-endian. Raises `ValueError`."""
    if len(text) % 5:
        raise ValueError(f"{text!r} is not Z85: its length is not a multiple of 5")
    decoded = bytearray()
    for start in range(0, len(text), 5):
        number = 0
        for character in text[start : start + 5]:
            if character not in _DIGITS:
                raise ValueError(f"{text!r} is not Z85: {character!r} is not in its alphabet")
            number = number * 85 + _DIGITS[character]
        if number >= 2**32:
            raise ValueError(f"{text!r} is not Z85: a group exceeds 32 bits")
        decoded += number.to_bytes(4, "big")
    return bytes(decoded)


def z85_encode(data: bytes) -> str:
    """The inverse of `z85_decode`, for bytes whose number is a multiple of 4."""
    numbers = (int.from_bytes(data[start : start + 4], "big") for start in range(0, len(data), 4))
    return "".join(_ALPHABET[number // 85**power % 85] for number in numbers for power in (4, 3, 2, 1, 0))


def vector_id(fields: dict[str, Any]) -> str:
    """The uniqueId of the vector of an add or remove; "" without one."""
    found = fields.get("deletionVector") or {}
    kind, stated, offset = found.get("storageType"), found.get("pathOrInlineDv"), found.get("offset")
    if kind is None and stated is None:
        return ""
    return f"{kind}{stated}" if offset is None else f"{kind}{stated}@{offset}"


def vector_of(where: str, fields: dict[str, Any]) -> Vector:
    """The vector of an add or remove; `NO_VECTOR` without one.

    Raises `Unsupported` for a vector at an absolute path (storage type ``p``) and for what the specification does not know.
    """
    if not (unique := vector_id(fields)):
        return NO_VECTOR
    found = fields["deletionVector"]
    kind, stated = found.get("storageType"), found.get("pathOrInlineDv")
    if kind == "i":
        return Vector(unique, "", 0)
    if kind == "p":
        raise Unsupported(f"{where}: a deletion vector at the absolute path {stated!r} stands where only a relative one can")
    if kind != "u" or not isinstance(stated, str):
        raise Unsupported(f"{where}: a deletion vector of storage type {kind!r} with the path {stated!r} is not known")
    try:
        file = _file(stated)
    except ValueError as error:
        raise Unsupported(f"{where}: a deletion vector's path cannot be decoded ({error})") from error
    return Vector(unique, file, int(found.get("offset") or 0) + int(found.get("sizeInBytes") or 0) + _FRAME_BYTES)


@lru_cache(maxsize=4096)
def _file(stated: str) -> str:
    """Where a vector named by an optional prefix and a UUID lies; many vectors share a file, so the text is kept once."""
    prefix, encoded = stated[:-_UUID_LENGTH], stated[-_UUID_LENGTH:]
    if len(encoded) != _UUID_LENGTH:
        raise ValueError(f"{stated!r} is shorter than a UUID")
    if prefix.startswith("/") or ".." in prefix.split("/"):
        raise ValueError(f"the prefix {prefix!r} leaves the table")
    if is_reserved(prefix):
        raise ValueError(f"the prefix {prefix!r} lies among the table's log or receipts")
    name = f"deletion_vector_{uuid.UUID(bytes=z85_decode(encoded))}.bin"
    return f"{prefix}/{name}" if prefix else name
