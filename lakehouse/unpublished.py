"""A target as its readers will see it once a staged version is published: what rows are proven on, before anyone can see them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain

from lakehouse.errors import NotFound
from lakehouse.store import Buffer, ObjectInfo, Store
from lakehouse.table import Publication
from lakehouse.wrapped import Wrapped

__all__ = ["Unpublished"]


class Unpublished(Wrapped):
    """``store`` with ``publications`` in it, and without the objects ``deleted`` (paths). To be read only."""

    def __init__(self, store: Store, publications: Iterable[Publication], deleted: Collection[str] = ()) -> None:
        super().__init__(store)
        self._new, self._deleted = {each.path: each for each in publications}, frozenset(deleted)

    def __repr__(self) -> str:
        return f"Unpublished({self._store!r}, {len(self._new)} publications)"

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        folder = f"{prefix}/" if prefix else ""
        hidden = self._deleted | self._new.keys()
        there = (info for info in self._store.list(prefix, after=after, recursive=recursive) if info.path not in hidden)
        names = (path for path in self._new if path.startswith(folder) and (after is None or path > after))
        if recursive:
            return chain(there, (ObjectInfo(path, self._new[path].size) for path in names))
        known = {info.path: info for info in there}
        for path in names:
            name, slash, _ = path[len(folder) :].partition("/")
            shown = f"{folder}{name}{slash}"
            known.setdefault(shown, ObjectInfo(shown, 0 if slash else self._new[path].size))
        return iter(known.values())

    def head(self, path: str) -> ObjectInfo:
        new = self._publication(path)
        return super().head(path) if new is None else ObjectInfo(path, new.size)

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        new = self._publication(path)
        return super().get(path, start=start, end=end, if_match=if_match) if new is None else new.load()[start:end]

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        if self._publication(path) is None:
            return super().view(path, start=start, end=end, if_match=if_match)
        return memoryview(self.get(path, start=start, end=end)).toreadonly()

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        raise TypeError(f"{self!r} is to be read only")

    def delete(self, path: str) -> None:
        raise TypeError(f"{self!r} is to be read only")

    def _publication(self, path: str) -> Publication | None:
        if path in self._deleted:
            raise NotFound(f"{self.url}/{path}: is not there")
        return self._new.get(path)
