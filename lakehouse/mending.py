"""A target in which what an unfinished run of ours left damaged counts as not there, so that it is put again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from lakehouse.errors import Conflict, NotFound
from lakehouse.store import ObjectInfo, Store, Traits
from lakehouse.table import Written

__all__ = ["Mending"]


class Mending:
    """``store`` without the objects ``damaged`` (by path). Putting one overwrites it, while it is still what was noted."""

    def __init__(self, store: Store, damaged: Mapping[str, Written]) -> None:
        self._store, self._damaged = store, dict(damaged)

    def __repr__(self) -> str:
        return f"Mending({self._store!r}, {sorted(self._damaged)})"

    @property
    def url(self) -> str:
        return self._store.url

    @property
    def traits(self) -> Traits:
        return self._store.traits

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        found = self._store.list(prefix, after=after, recursive=recursive)
        return (info for info in found if info.path not in self._damaged)

    def head(self, path: str) -> ObjectInfo:
        self._refuse(path)
        return self._store.head(path)

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        self._refuse(path)
        return self._store.get(path, start=start, end=end, if_match=if_match)

    def put(self, path: str, data: bytes | Iterable[bytes], *, size: int, if_absent: bool = False) -> ObjectInfo:
        noted = self._damaged.get(path)
        if noted is None:
            return self._store.put(path, data, size=size, if_absent=if_absent)
        there = self._store.head(path)
        if (there.size, there.etag) != (noted.size, noted.target_etag):
            raise Conflict(f"{self.url}/{path}: was changed by somebody else since we found it damaged; nothing was overwritten")
        put = self._store.put(path, data, size=size)
        del self._damaged[path]
        return put

    def delete(self, path: str) -> None:
        self._store.delete(path)

    def _refuse(self, path: str) -> None:
        if path in self._damaged:
            raise NotFound(f"{self.url}/{path}: is damaged and counts as not there")
