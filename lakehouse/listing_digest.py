"""A digest of a listing, made while it streams by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from lakehouse.store import ObjectInfo

__all__ = ["ListingDigest", "digest_of"]

_MODULUS = 2**256


class ListingDigest:
    """A digest of paths, sizes and etags that does not depend on their order: the sum of their SHA-256 modulo 2^256, 32 digits.

    Equal digests mean the same objects as far as a listing can tell. ``is_telling``: every object had an etag, so that a listing
    would show one that was overwritten with as many bytes.
    """

    def __init__(self) -> None:
        self._total = 0
        self.is_telling = True

    def add(self, path: str, size: int, etag: str | None) -> None:
        """Count one object in."""
        if etag is None:
            self.is_telling = False
        line = f"{path}\0{size}\0{etag or ''}".encode("utf-8", "surrogateescape")
        self._total += int.from_bytes(hashlib.sha256(line).digest(), "big")

    def copy(self) -> ListingDigest:
        """The digest so far, to be added to apart from this one."""
        made = ListingDigest()
        made._total, made.is_telling = self._total, self.is_telling
        return made

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        return f"{self._total % _MODULUS:064x}"[:32]


def digest_of(objects: Iterable[ObjectInfo]) -> str:
    """The `ListingDigest` of some objects."""
    digest = ListingDigest()
    for info in objects:
        digest.add(info.path, info.size, info.etag)
    return digest.hexdigest()
