"""Store over obstore (Rust object_store): S3, Google Cloud Storage and Azure Blob Storage.

Threads, not asyncio; obstore releases the GIL. Its own retries are off (`RETRIES_OFF`): `lakehouse.retry` is the only loop, but
for the requests of one multipart upload (`PARTS_AGAIN`): outside they can only be tried again all together.

Multipart uploads go through ``put_async`` with an async iterator, since of obstore's three ways it is the only one that
aborts the upload when the source fails: a writer publishes when it is closed and leaves its parts behind when it is dropped,
and a plain iterator may not call obstore itself ("cannot start a runtime from within a runtime").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import obstore
from obstore.exceptions import NotSupportedError

from lakehouse.errors import Conflict, NotFound, Transfer, Unsupported
from lakehouse.multipart import upload
from lakehouse.obstore_errors import FOREIGN, is_beyond_end, status_of, translated
from lakehouse.sized import PART_BYTES, PARTS_IN_FLIGHT, exactly, part_size
from lakehouse.store import Buffer, ObjectInfo, Traits
from lakehouse.url import Url

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta, PutMode, UpdateVersion
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

__all__ = ["PARTS_AGAIN", "RETRIES_OFF", "ObstoreStore", "client_options"]

UPLOAD_PATIENCE = 10
RETRIES_OFF: RetryConfig = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}
PARTS_AGAIN: RetryConfig = {"max_retries": 7, "retry_timeout": timedelta(minutes=5)}
"""Each part, the completion and the abort of a multipart upload by itself."""


def client_options(timeout_seconds: float, *, allow_http: bool = False, upload: bool = False) -> ClientConfig:
    """obstore's client settings: a read that makes no progress for ``timeout_seconds`` ends in an error.

    For uploads the clock runs while the body is being sent, so they get `UPLOAD_PATIENCE` times as long. The limit on a whole
    request, which would cut long bodies, is far away.
    """
    patience = timeout_seconds * (UPLOAD_PATIENCE if upload else 1)
    return {
        "allow_http": allow_http,
        "connect_timeout": timedelta(seconds=min(10.0, timeout_seconds)),
        "read_timeout": timedelta(seconds=patience),
        "timeout": timedelta(hours=2),
    }


class Opened(Protocol):
    """Makes an obstore store with the time limits of reading, or of an ``upload``, and obstore's own ``retries``."""

    def __call__(self, *, upload: bool, retries: RetryConfig) -> ObjectStore: ...


class ObstoreStore:
    """Objects of one bucket or container below ``url``.

    ``opened`` makes obstore stores at the bucket's root, without a prefix of their own: one that reads, and, once something is
    written, one with the time limits of an ``upload``. ``refused_characters`` are those that the service would change in a key
    without a word. ``attributes`` are obstore's (``Storage-Class``), sent with every object that is written.
    """

    def __init__(
        self,
        url: Url,
        opened: Opened,
        traits: Traits,
        *,
        refused_characters: str = "",
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self._refused, self._attributes = refused_characters, dict(attributes or {})
        self._url, self._text = url, str(url)
        self._traits = replace(traits, replace=self.replace) if traits.conditional_put else traits
        self._opened, self._store = opened, opened(upload=False, retries=RETRIES_OFF)
        self._root = f"{url.key}/" if url.key else ""
        self._reached = False
        if any(segment in ("", ".", "..") for segment in url.key.split("/")) and url.key:
            raise Unsupported(
                f"{url}: obstore cannot address a key with an empty, '.' or '..' segment; use transport = \"fsspec\""
            )

    def __repr__(self) -> str:
        return f"ObstoreStore({self._text!r})"

    @cached_property
    def _uploads(self) -> ObjectStore:
        return self._opened(upload=True, retries=RETRIES_OFF)

    @cached_property
    def _multipart_uploads(self) -> ObjectStore:
        return self._opened(upload=True, retries=PARTS_AGAIN)

    @property
    def url(self) -> str:
        return self._text

    @property
    def traits(self) -> Traits:
        return self._traits

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        folder = self._key(prefix) if prefix else self._url.key
        found = self._walk(folder, after) if recursive else self._level(folder)
        for info in found:
            if (after is None or info.path > after) and (
                info.size > 0 or info.path.endswith("/") or not self._is_marker(info.path)
            ):
                yield info

    def head(self, path: str) -> ObjectInfo:
        key = self._key(path)
        try:
            meta = obstore.head(self._store, key)
        except FOREIGN as error:
            raise self._translated(error, path) from None
        self._reached = True
        return self._info(meta)

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        return self.view(path, start=start, end=end, if_match=if_match).tobytes()

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        key = self._key(path)
        if end is not None and end <= start:
            return memoryview(b"")
        options: GetOptions = {}
        if end is not None:
            options["range"] = (start, end)
        elif start:
            options["range"] = {"offset": start}
        if if_match is not None:
            options["if_match"] = if_match
        try:
            result = obstore.get(self._store, key, options=options)
            first, last = result.range
            data = memoryview(result.buffer())
        except FOREIGN as error:
            if is_beyond_end(error):
                return self._beyond_end(path, start, if_match)
            raise self._translated(error, path) from None
        self._reached = True
        if len(data) != last - first or first != start:
            raise Transfer(f"{self._text}/{path}: {len(data)} bytes arrived of {last - first} announced", transient=True)
        return data

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        key = self._key(path)
        if if_absent and not isinstance(data, bytes | memoryview):
            raise TypeError("put(if_absent=True) takes bytes: multipart uploads have no portable condition")
        if isinstance(data, bytes | memoryview) or size <= PART_BYTES:
            return self._put_whole(path, key, exactly(data, size, f"{self._text}/{path}"), if_absent)
        try:
            etag = upload(
                self._multipart_uploads,
                key,
                data,
                size=size,
                part_bytes=part_size(size),
                in_flight=PARTS_IN_FLIGHT,
                where=f"{self._text}/{path}",
                attributes=self._attributes,
            )
        except FOREIGN as error:
            raise self._translated(error, path, writing=True) from None
        return ObjectInfo(path, size, _quoted(etag))

    def replace(self, path: str, data: bytes, /, *, etag: str) -> ObjectInfo:
        """`Traits.replace`, where the service has conditional puts."""
        key = self._key(path)
        try:
            mode = self._version(key, etag)
            attributes = self._attributes or None
            result = obstore.put(self._uploads, key, data, mode=mode, attributes=attributes, use_multipart=False)
        except FOREIGN as error:
            failure = self._translated(error, path, writing=True)
            if isinstance(failure, Conflict | NotFound):
                failure = self._other_version(path)
            raise failure from None
        self._reached = True
        return ObjectInfo(path, len(data), _quoted(result["e_tag"]))

    def delete(self, path: str) -> None:
        try:
            obstore.delete(self._store, self._key(path))
        except FOREIGN as error:
            failure = self._translated(error, path)
            if not isinstance(failure, NotFound):
                raise failure from None

    def _put_whole(self, path: str, key: str, data: Buffer, if_absent: bool) -> ObjectInfo:
        if if_absent and not self._traits.conditional_put:
            self._refuse_existing(path)
        attributes = self._attributes or None
        try:
            try:
                mode: PutMode = "create" if if_absent else "overwrite"
                result = obstore.put(self._uploads, key, data, mode=mode, attributes=attributes, use_multipart=False)
            except FOREIGN as error:
                unable = isinstance(error, NotSupportedError) or status_of(error) == 501
                if not (if_absent and unable and not self._traits.conditional_put):
                    raise
                result = obstore.put(self._uploads, key, data, attributes=attributes, use_multipart=False)
        except FOREIGN as error:
            raise self._translated(error, path, writing=True) from None
        self._reached = True
        return ObjectInfo(path, len(data), _quoted(result["e_tag"]))

    def _version(self, key: str, etag: str) -> UpdateVersion:
        """What the service compares. Google Cloud Storage has no If-Match for writes, only generations."""
        if self._url.scheme != "gs":
            return {"e_tag": etag}
        meta = obstore.head(self._store, key)
        if _quoted(meta["e_tag"]) != etag:
            raise self._other_version(key.removeprefix(self._root))
        return {"e_tag": etag, "version": meta["version"] or ""}

    def _other_version(self, path: str) -> Conflict:
        return Conflict(f"{self._text}/{path}: is no longer the version that was to be replaced; it has not been overwritten")

    def _refuse_existing(self, path: str) -> None:
        """Look before writing, where the server is not known to compare: safe for one writer only."""
        try:
            self.head(path)
        except NotFound:
            return
        raise Conflict(f"{self._text}/{path}: exists already; it has not been overwritten")

    def _beyond_end(self, path: str, start: int, if_match: str | None) -> memoryview:
        """The server refused a range: it begins beyond the end, which is an empty answer, or the object has shrunk."""
        info = self.head(path)
        if info.size > start or (if_match is not None and info.etag != if_match):
            raise Transfer(f"{self._text}/{path}: changed while it was read")
        return memoryview(b"")

    def _walk(self, folder: str, after: str | None) -> Iterator[ObjectInfo]:
        offset = f"{self._root}{after}" if after else None
        try:
            for batch in obstore.list(self._store, folder or None, offset=offset, chunk_size=1000):
                yield from self._infos(batch, folder)
        except FOREIGN as error:
            raise self._translated(error, "", listing=True) from None
        self._reached = True

    def _level(self, folder: str) -> Iterator[ObjectInfo]:
        try:
            level = obstore.list_with_delimiter(self._store, folder or None)
        except FOREIGN as error:
            raise self._translated(error, "", listing=True) from None
        self._reached = True
        for common in level["common_prefixes"]:
            yield ObjectInfo(common[len(self._root) :] + "/", 0)
        yield from self._infos(level["objects"], folder)

    def _infos(self, batch: Sequence[ObjectMeta], folder: str) -> Iterator[ObjectInfo]:
        inside = f"{folder}/" if folder else ""
        for meta in batch:
            if meta["path"].startswith(inside):
                yield self._info(meta)

    def _info(self, meta: ObjectMeta) -> ObjectInfo:
        return ObjectInfo(meta["path"][len(self._root) :], meta["size"], _quoted(meta["e_tag"]), modified=meta["last_modified"])

    def _is_marker(self, path: str) -> bool:
        """Whether an empty object only marks a folder. obstore cuts the slash off ``a/``, so ask whether ``a`` exists."""
        if path.endswith("_$folder$"):
            return True
        try:
            result = obstore.get(self._store, self._root + path, options={"head": True})
        except FileNotFoundError:
            return True
        except FOREIGN as error:
            raise self._translated(error, path) from None
        return any(str(name).lower() == "hdi_isfolder" for name in result.attributes)

    def _key(self, path: str) -> str:
        if not path or any(segment in ("", ".", "..") for segment in path.split("/")) or _CONTROL.search(path):
            raise Unsupported(
                f"{self._text}: obstore cannot address {path!r} (an empty, '.' or '..' segment, or a control character); "
                'use transport = "fsspec" for this store'
            )
        if any(character in path for character in self._refused):
            raise Unsupported(f"{self._text}: {path!r} holds a character that this service changes (one of {self._refused})")
        return self._root + path

    def _translated(self, error: BaseException, path: str, *, listing: bool = False, writing: bool = False) -> Exception:
        where = f"{self._text}/{path}" if path else self._text
        failure = translated(error, where, self._text, listing=listing, writing=writing)
        if isinstance(failure, NotFound) and not self._reached and not listing:
            self._check_bucket()
        return failure

    def _check_bucket(self) -> None:
        """Tell a missing bucket from a missing object, once a store: the answer to HEAD has no body that would say so."""
        try:
            next(iter(obstore.list(self._store, self._url.key or None, chunk_size=1)), None)
        except FOREIGN as error:
            if status_of(error) == 404:
                raise translated(error, self._text, self._text, listing=True, writing=False) from None
        self._reached = True


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _quoted(etag: str | None) -> str | None:
    """An etag as HTTP spells it: Azure's listings leave the quotes out."""
    return f'"{etag}"' if etag and not etag.startswith(('"', "W/")) else etag
