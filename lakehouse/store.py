"""The contract of object storage: what the library asks of a place where objects lie.

Object storage is not a file system: there are no folders, no append and no open files. Paths are relative to the URL that
the store was opened at, are compared byte for byte, and are never URL-decoded: ``p=a%20b/x+y.parquet`` is just a name.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from lakehouse.checksum import Checksum

__all__ = ["Buffer", "ObjectFile", "ObjectInfo", "Replace", "ServerCopy", "Store", "Traits"]

Buffer = bytes | memoryview
"""Bytes that need not be copied to be passed on."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object. ``size`` in bytes; ``etag`` opaque, equal only while the object is the same.

    ``checksum`` is what the provider states of the whole content, never an ETag. A listing that is not recursive also
    yields common prefixes: their ``path`` ends in ``/``.
    """

    path: str
    size: int
    etag: str | None = None
    checksum: Checksum | None = None
    modified: datetime | None = None


class ServerCopy(Protocol):
    """Copies an object within a service: no byte of it passes through this process. `Traits.copy` of a store is one."""

    def __call__(self, source_url: str, info: ObjectInfo, path: str, /, *, if_absent: bool = True) -> ObjectInfo:
        """Copy the object that ``info`` tells of, in a store at ``source_url``, to ``path`` of this store; gives the new object.

        ``info.etag`` (as this kind of store spells etags) pins the object: one that has changed is a `Transfer` error, before
        or after the copy. With ``if_absent`` an existing object is a `Conflict`, atomically where `Traits.conditional_put` holds.
        ``checksum`` of the answer is the SHA-256 that the service computed of the whole content at ``path``, else None.
        Raises `NotFound` for a source that is not there; `Config` and `Transfer` as the methods of a `Store` do.
        """
        ...


class Replace(Protocol):
    """Overwrites one version of an object and no other. `Traits.replace` of a store is one."""

    def __call__(self, path: str, data: bytes, /, *, etag: str) -> ObjectInfo:
        """Write the object whole if it is the version that has ``etag`` (as `Store.head` gives it); gives the new object.

        The place itself compares, also among writers on other machines. Another version there, or none, is a `Conflict`, and it
        stays. Raises `Config` and `Transfer` as `Store.put` does.
        """
        ...


@dataclass(frozen=True, slots=True)
class Traits:
    """What one Store instance (provider, transport and options) promises. Nothing is promised unless a row of data says so.

    ``confirms_put``: the server compared a checksum that was sent with the body to what arrived, before it answered a put.
    ``conditional_put``: ``put(if_absent=True)`` is atomic, also among writers on other machines.
    ``conditional_get``: ``get(if_match=…)`` fails when the object has changed.
    ``replace``: overwrites one version of an object (`Replace`). None: the place cannot, or is not known to. Of services that
    speak S3 with ``conditional_put`` some ignore If-Match on a put all the same: whoever relies on it asks first.
    ``set_modified``: sets the modification time of the object at a path, where a place lets anyone choose it (folders do).
    ``batching``: while one of its contexts is open, names that are put need not survive a power cut; after it all of them do.
    ``service``: names the service and the credentials by which the store reaches it, without a secret; ``copy`` takes objects of
    any store of that same service. None: no copies.
    ``copy``: the service copies by itself (`ServerCopy`).
    ``stated_sha256``: what the service states as the SHA-256 (hexadecimal) of an object's whole content, where it computed or
    checked it when the object was written; None where it states none. Raises as `Store.head` does, and `Transfer` when the
    object no longer has ``info.etag``.
    """

    confirms_put: bool = False
    conditional_put: bool = False
    conditional_get: bool = False
    replace: Replace | None = field(default=None, compare=False, repr=False)
    set_modified: Callable[[str, datetime], None] | None = field(default=None, compare=False, repr=False)
    batching: Callable[[], AbstractContextManager[None]] | None = field(default=None, compare=False, repr=False)
    service: str | None = field(default=None, compare=False, repr=False)
    copy: ServerCopy | None = field(default=None, compare=False, repr=False)
    stated_sha256: Callable[[ObjectInfo], str | None] | None = field(default=None, compare=False, repr=False)


class Store(Protocol):
    """Objects below one URL. Safe to use from many threads.

    Every method raises `NotFound` for an object that is not there, `Config` for credentials that are refused or a bucket that
    does not exist, `Transfer` for anything that failed on the way (``transient=True`` where trying again can help). Each
    message names the store's URL and the object.
    """

    @property
    def url(self) -> str:
        """Canonical address of the root, without secrets and without a slash at its end."""
        ...

    @property
    def traits(self) -> Traits:
        """What this store promises."""
        ...

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        """The objects below the folder ``prefix`` ("" or ``a/b``, on a segment boundary), in no promised order.

        Never from a cache. Only paths greater than ``after`` (by code point). Directory markers (empty objects whose key
        ends in ``/``, and Hadoop's ``_$folder$``) are left out. Nothing there is an empty listing, not an error.
        """
        ...

    def head(self, path: str) -> ObjectInfo:
        """The object's size, etag and so on."""
        ...

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        """Bytes ``start`` to ``end`` (exclusive; None: to the end; beyond the end: to the end).

        An empty range is b"". With ``if_match`` (an etag of this store) and `Traits.conditional_get`, a changed object is a
        `Transfer` error. Fewer bytes than the server announced are a transient `Transfer` error, never a short answer.
        """
        ...

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        """As `get`, read-only and without a copy where the client library has the bytes in memory of its own.

        For bytes that only pass through; what keeps or parses them wants `get`.
        """
        ...

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        """Write the object whole or not at all; a reader sees the old object or the new one.

        ``data`` must hold exactly ``size`` bytes, else `Transfer` is raised and nothing is written. An iterable is sent in
        parts without being held; what it raises is passed on, and nothing is written. With ``if_absent`` an existing object is
        a `Conflict` and stays as it is (a store without `Traits.conditional_put` looks first: safe for one writer only).
        ``if_absent`` takes bytes only: multipart uploads have no portable condition.
        """
        ...

    def delete(self, path: str) -> None:
        """Remove the object. Removing what is not there is no error."""
        ...


class ObjectFile(io.RawIOBase):
    """A seekable read-only file over `Store.get`, for readers that want files (PyArrow's Parquet footers and columns)."""

    def __init__(self, store: Store, path: str, size: int) -> None:
        self._store, self._path, self._size, self._position = store, path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._size if size is None or size < 0 else self._position + size
        end = max(self._position, min(self._size, wanted))
        data = self._store.get(self._path, start=self._position, end=end) if end > self._position else b""
        self._position += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
