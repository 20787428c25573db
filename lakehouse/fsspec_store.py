"""Store over any fsspec file system, with a remedy for each thing that fsspec does and a Store must not.

A file opened for writing is published when it is closed, even by an error: large objects are sent so that they can be
discarded (`Remedies.large`), small ones in one piece. Listings never come from fsspec's caches.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from lakehouse.checksum import Checksum
from lakehouse.errors import Config, Conflict, LakeError, NotFound, Transfer, Unsupported
from lakehouse.fsspec_errors import translated
from lakehouse.sized import PART_BYTES, counted, exactly, part_size
from lakehouse.store import Buffer, ObjectInfo, Traits
from lakehouse.url import Url

__all__ = ["Details", "FsspecStore", "Remedies"]

_PARTIAL = ".lake-partial-"
_ETAGS = ("ETag", "etag", "e_tag", "mtime", "modified", "created")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")


@dataclass(frozen=True, slots=True)
class Details:
    """What a provider's ``info()`` says of one object beside name and size."""

    etag: str | None = None
    checksum: Checksum | None = None


def _plain_details(info: Mapping[str, Any]) -> Details:
    """For file systems that nothing is known of: a time or an ETag, joined with the size, tells two contents apart at best."""
    for name in _ETAGS:
        if info.get(name) is not None:
            return Details(f"{info[name]}-{info.get('size')}")
    return Details()


@dataclass(frozen=True, slots=True)
class Remedies:
    """How one provider's file system is made to keep the contract.

    ``large``: ``commit`` (open with autocommit off, then commit or discard), ``close`` (what was sent is published by closing
    only; forgetting the file publishes nothing), ``rename`` (write beside and move), ``whole`` (collect and write at once,
    under one lock of the process). ``creates``: ``pipe_file(mode="create")`` is a conditional put of the provider.
    ``foreign``: what the file system raises. ``details``: reads its ``info()``. ``buckets``: the authority is a bucket.
    ``refused_characters``: those that the service would change in a key without a word.
    """

    large: Literal["commit", "close", "rename", "whole"] = "rename"
    creates: bool = False
    foreign: tuple[type[BaseException], ...] = (OSError, ValueError, RuntimeError, NotImplementedError)
    details: Callable[[Mapping[str, Any]], Details] = _plain_details
    buckets: bool = False
    in_memory: bool = False
    refused_characters: str = ""


_MEMORY = threading.RLock()


class FsspecStore:
    """Objects below ``root`` (a path in ``fs``'s own spelling, without a slash at its end) of the fsspec file system ``fs``."""

    def __init__(self, url: Url, fs: Any, root: str, traits: Traits, remedies: Remedies | None = None) -> None:
        self._url, self._fs, self._traits = str(url), fs, traits
        self._bucket = root.strip("/").partition("/")[0] if url.authority else ""
        self._root = root.rstrip("/")
        self._remedies = remedies or Remedies()
        self._reached = not (self._remedies.buckets and self._bucket)
        self._lock: contextlib.AbstractContextManager[object] = _MEMORY if self._remedies.in_memory else contextlib.nullcontext()

    def __repr__(self) -> str:
        return f"FsspecStore({self._url!r})"

    @property
    def url(self) -> str:
        return self._url

    @property
    def traits(self) -> Traits:
        return self._traits

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        folder = self._file(prefix) if prefix else self._root
        with self._lock, self._translating(prefix, listing=True):
            self._fs.invalidate_cache()
            entries = self._entries(folder, recursive)
        inside = f"{folder}/".lstrip("/")
        for name, info in entries:
            if not name.startswith(inside) or name == inside or name.rpartition("/")[2].startswith(_PARTIAL):
                continue
            path = name[len(f"{self._root}/".lstrip("/")) :]
            if info.get("type") == "directory":
                path = f"{path.rstrip('/')}/"
            elif _is_marker(path, info):
                continue
            if after is None or path > after:
                yield ObjectInfo(path, 0) if path.endswith("/") else self._info(path, info)

    def head(self, path: str) -> ObjectInfo:
        with self._lock, self._translating(path):
            self._fs.invalidate_cache()
            info = self._fs.info(self._file(path))
        if info.get("type") == "directory" or str(info.get("name", "")).endswith("/"):
            raise NotFound(f"{self._url}/{path}: not found (only a folder has this name)")
        return self._info(path, info)

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        file = self._file(path)
        if end is not None and end <= start:
            return b""
        with self._lock:
            if if_match is None and start == 0 and end is None:
                with self._translating(path):
                    return bytes(self._fs.cat_file(file))
            return self._range(path, file, start, end, if_match)

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        return memoryview(self.get(path, start=start, end=end, if_match=if_match))

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        file = self._file(path)
        where = f"{self._url}/{path}"
        small = size <= PART_BYTES and self._remedies.large != "rename"
        if if_absent and not isinstance(data, bytes | memoryview):
            raise TypeError("put(if_absent=True) takes bytes: multipart uploads have no portable condition")
        if isinstance(data, bytes | memoryview) or small or self._remedies.large == "whole":
            self._put_whole(path, file, bytes(exactly(data, size, where)), if_absent)
        else:
            self._put_parts(path, file, data, size)
        info = self.head(path)
        if info.size != size:
            raise Transfer(f"{where}: {info.size} bytes are there where {size} were written; somebody else wrote too")
        return info

    def delete(self, path: str) -> None:
        with contextlib.suppress(NotFound), self._lock, self._translating(path):
            self._fs.rm_file(self._file(path))

    def _entries(self, folder: str, recursive: bool) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """(name without outer slashes, info) of what lies below ``folder``; nothing there is an empty list."""
        try:
            if recursive:
                found = self._fs.find(folder, detail=True)
                infos = list(found.values()) if isinstance(found, dict) else []
            else:
                infos = self._fs.ls(folder, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            infos = []
        if not infos:
            self._check_bucket()
        return [(str(info["name"]).lstrip("/"), info) for info in infos]

    def _range(self, path: str, file: str, start: int, end: int | None, if_match: str | None) -> bytes:
        """A range, between two looks at the object: fsspec's ``cat_file`` has no condition and providers differ at the end."""
        before = self.head(path)
        if if_match is not None and before.etag != if_match:
            raise Transfer(f"{self._url}/{path}: changed while it was read; run again")
        stop = before.size if end is None else min(end, before.size)
        if stop <= start:
            return b""
        with self._translating(path):
            data = bytes(self._fs.cat_file(file, start=start, end=stop))
        if if_match is not None and self.head(path).etag != if_match:
            raise Transfer(f"{self._url}/{path}: changed while it was read; run again")
        if len(data) != stop - start:
            raise Transfer(f"{self._url}/{path}: {len(data)} bytes arrived of {stop - start}", transient=True)
        return data

    def _put_whole(self, path: str, file: str, data: bytes, if_absent: bool) -> None:
        with self._lock:
            if if_absent and not self._remedies.creates:
                self._refuse_existing(path)
            if self._remedies.large == "rename":
                self._put_beside(path, file, (data,), len(data))
                return
            with self._translating(path, writing=True):
                if if_absent and self._remedies.creates:
                    self._fs.pipe_file(file, data, mode="create")
                else:
                    self._fs.pipe_file(file, data)

    def _put_parts(self, path: str, file: str, data: Iterable[Buffer], size: int) -> None:
        if self._remedies.large == "rename":
            self._put_beside(path, file, data, size)
            return
        with self._translating(path, writing=True):
            target = self._fs.open(file, "wb", autocommit=self._remedies.large != "commit", block_size=part_size(size))
        try:
            self._copy(path, target, data, size)
            with self._translating(path, writing=True):
                target.close()
                if self._remedies.large == "commit":
                    target.commit()
        except BaseException:
            self._discard(target)
            raise

    def _discard(self, target: Any) -> None:
        """Drop an unfinished file. Marked as closed, lest its finalizer close, and so publish, it."""
        target.closed = True
        if self._remedies.large == "commit":
            with contextlib.suppress(*self._remedies.foreign):
                target.discard()
        target.buffer = None

    def _put_beside(self, path: str, file: str, data: Iterable[Buffer], size: int) -> None:
        """Write a file of another name in the same folder, then move it: as whole as the file system's rename is."""
        folder, _, _ = file.rpartition("/")
        beside = f"{folder}/{_PARTIAL}{secrets.token_hex(8)}"
        with self._translating(path, writing=True):
            self._fs.makedirs(folder, exist_ok=True)
            target = self._fs.open(beside, "wb")
        try:
            try:
                self._copy(path, target, data, size)
            finally:
                with self._translating(path, writing=True):
                    target.close()
            with self._translating(path, writing=True):
                self._fs.mv(beside, file)
        except BaseException:
            with contextlib.suppress(*self._remedies.foreign):
                self._fs.rm_file(beside)
            raise

    def _copy(self, path: str, target: Any, data: Iterable[Buffer], size: int) -> None:
        for chunk in counted(data, size, f"{self._url}/{path}"):
            with self._translating(path, writing=True):
                target.write(chunk)

    def _refuse_existing(self, path: str) -> None:
        try:
            self.head(path)
        except NotFound:
            return
        raise Conflict(f"{self._url}/{path}: exists already; it has not been overwritten")

    def _info(self, path: str, info: Mapping[str, Any]) -> ObjectInfo:
        details = self._remedies.details(info)
        return ObjectInfo(path, int(info.get("size") or 0), details.etag, details.checksum, _modified(info))

    def _file(self, path: str) -> str:
        if not path or any(segment in ("", ".", "..") for segment in path.split("/")):
            raise Unsupported(f"{self._url}: {path!r} has an empty, '.' or '..' segment, which fsspec cannot address reliably")
        if any(character in path for character in self._remedies.refused_characters):
            raise Unsupported(f"{self._url}: {path!r} holds a character that this service changes")
        return f"{self._root}/{path}"

    @contextlib.contextmanager
    def _translating(self, path: str, *, listing: bool = False, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except LakeError:
            raise
        except self._remedies.foreign as error:
            where = f"{self._url}/{path}" if path else self._url
            failure = translated(error, where, self._url, listing=listing, writing=writing)
            if isinstance(failure, NotFound):
                self._check_bucket()
            raise failure from None

    def _check_bucket(self) -> None:
        """Tell a missing bucket from a missing object, once a store: a provider's "not found" says which only at times."""
        if self._reached:
            return
        try:
            self._fs.ls(self._bucket, detail=True)
        except self._remedies.foreign as error:
            failure = translated(error, self._url, self._url, listing=True, writing=False)
            if isinstance(failure, Config) and isinstance(error, FileNotFoundError):
                raise failure from None
        self._reached = True


def _is_marker(path: str, info: Mapping[str, Any]) -> bool:
    if path.endswith("/"):
        return True
    return not info.get("size") and (path.endswith("_$folder$") or (info.get("metadata") or {}).get("hdi_isfolder") == "true")


def _modified(info: Mapping[str, Any]) -> datetime | None:
    for name in _TIMES:
        value = info.get(name)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                return datetime.fromisoformat(value)
    return None
