"""Checksums of objects, and hashing of what streams by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Checksum", "hasher", "sha256_hex"]


@dataclass(frozen=True, slots=True)
class Checksum:
    """A digest and how it was made. Two checksums match only when the algorithm is the same.

    ``algorithm`` is ``sha256``, ``md5`` or ``crc32c`` (the names of hashlib and of the clouds' APIs), ``hex`` the
    lower-case hexadecimal digest.
    """

    algorithm: str
    hex: str


class Hash(Protocol):
    """The part of hashlib's objects that is used here."""

    def update(self, data: bytes | memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


def hasher(algorithm: str) -> Hash | None:
    """A fresh hash object for ``algorithm``, or None where this installation cannot compute it.

    None means "not checked", never "equal". crc32c needs the package google-crc32c (it comes with gcsfs).
    """
    if algorithm in ("sha256", "md5"):
        return hashlib.new(algorithm, usedforsecurity=False)
    if algorithm == "crc32c":
        try:
            from google_crc32c import Checksum as Crc32c
        except ImportError:
            return None
        make: Any = Crc32c
        return _HexCrc(make())
    return None


class _HexCrc:
    """google_crc32c gives its hexdigest as bytes; hashlib gives text."""

    def __init__(self, crc: Hash) -> None:
        self._crc = crc

    def update(self, data: bytes | memoryview, /) -> None:
        self._crc.update(bytes(data))

    def hexdigest(self) -> str:
        digest: str | bytes = self._crc.hexdigest()
        return digest.decode() if isinstance(digest, bytes) else digest


def sha256_hex(data: bytes) -> str:
    """SHA-256 of ``data`` (FIPS 180-4) as lower-case hexadecimal text."""
    return hashlib.sha256(data).hexdigest()
