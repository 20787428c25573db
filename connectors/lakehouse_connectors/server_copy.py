"""What server-side copies of all providers have in common: the name of a service, and what went wrong in whose words."""

from __future__ import annotations

import hashlib
import json

from lakehouse.errors import Conflict, LakeError, NotFound, Transfer, Unsupported
from lakehouse.fsspec_errors import translated
from lakehouse.store import ObjectInfo
from lakehouse.url import Url, parse

__all__ = ["PATIENCE", "Names", "service_of"]

PATIENCE = 10
"""A server answers a copy when it is done: reads of its answer get so many times the usual time."""


def service_of(*parts: object) -> str:
    """A name for a service and the credentials that reach it, of which none can be read off it. ``parts`` are JSON's values."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Names:
    """One copy's two ends, for requests and for messages. ``url`` is the address of the target's store.

    Raises `Unsupported` for paths that clients change on their way, as stores do: those with an empty, ``.`` or ``..``
    segment, and with one of ``refused_characters``.
    """

    def __init__(self, source_url: str, info: ObjectInfo, url: Url, path: str, *, refused_characters: str = "") -> None:
        for name in (info.path, path):
            odd = any(segment in ("", ".", "..") for segment in name.split("/"))
            if odd or any(character in name for character in refused_characters):
                raise Unsupported(f"{url}: {name!r} has an empty, '.' or '..' segment or a character that this service changes")
        self.source, self.target = parse(source_url).child(info.path), url.child(path)
        self._url, self._path = url, path

    def changed(self) -> Transfer:
        """The source is no longer the object that was asked for."""
        return Transfer(f"{self.source}: changed since it was looked at; run again")

    def exists(self) -> Conflict:
        """Something is at the target's path already."""
        return Conflict(f"{self._url}/{self._path}: exists already; it has not been overwritten")

    def missing(self) -> NotFound:
        """The source is not there."""
        return NotFound(f"{self.source}: not found")

    def translated(self, error: BaseException) -> LakeError:
        """What ``error`` means. An answer of 404 that does not speak of a bucket means the source: a target need not be there."""
        where = f"{self._url}/{self._path} (copied from {self.source} by the service)"
        failure = translated(error, where, str(self._url), listing=False, writing=True)
        return self.missing() if isinstance(failure, NotFound) else failure
