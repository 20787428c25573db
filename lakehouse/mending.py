"""A target in which what an unfinished run of ours left damaged counts as not there, so that it is put again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from lakehouse.errors import Conflict, NotFound
from lakehouse.store import Buffer, ObjectInfo, ServerCopy, Store, Traits
from lakehouse.table import Written
from lakehouse.wrapped import Wrapped

__all__ = ["Mending"]


class Mending(Wrapped):
    """``store`` without the objects ``damaged`` (by path).

    Putting one, or copying to it, overwrites it, while it is still what was noted.
    """

    def __init__(self, store: Store, damaged: Mapping[str, Written]) -> None:
        super().__init__(store)
        self._damaged = dict(damaged)

    def __repr__(self) -> str:
        return f"Mending({self._store!r}, {sorted(self._damaged)})"

    @property
    def traits(self) -> Traits:
        traits = self._store.traits
        return replace(traits, copy=self._copied_by(traits.copy)) if traits.copy else traits

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        found = self._store.list(prefix, after=after, recursive=recursive)
        return (info for info in found if info.path not in self._damaged)

    def head(self, path: str) -> ObjectInfo:
        self._refuse(path)
        return super().head(path)

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        self._refuse(path)
        return super().get(path, start=start, end=end, if_match=if_match)

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        self._refuse(path)
        return super().view(path, start=start, end=end, if_match=if_match)

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        return self._mended(path, lambda damaged: self._store.put(path, data, size=size, if_absent=if_absent and not damaged))

    def _copied_by(self, copy: ServerCopy) -> ServerCopy:
        def copied(source_url: str, info: ObjectInfo, path: str, /, *, if_absent: bool = True) -> ObjectInfo:
            return self._mended(path, lambda damaged: copy(source_url, info, path, if_absent=if_absent and not damaged))

        return copied

    def _mended(self, path: str, write: Callable[[bool], ObjectInfo]) -> ObjectInfo:
        """What ``write`` returns, told whether a damaged object is to be overwritten.

        Raises `Conflict` when that one is no longer what was noted.
        """
        noted = self._damaged.get(path)
        if noted is None:
            return write(False)
        there = self._store.head(path)
        if (there.size, there.etag) != (noted.size, noted.target_etag):
            raise Conflict(f"{self.url}/{path}: was changed by somebody else since we found it damaged; nothing was overwritten")
        written = write(True)
        del self._damaged[path]
        return written

    def _refuse(self, path: str) -> None:
        if path in self._damaged:
            raise NotFound(f"{self.url}/{path}: is damaged and counts as not there")
