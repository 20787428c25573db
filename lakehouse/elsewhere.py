"""A store whose paths may also be whole addresses: a table may state files that lie outside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from lakehouse.locations import is_address
from lakehouse.store import Buffer, ObjectInfo, Store, Traits

__all__ = ["Elsewhere"]


class Elsewhere:
    """``store``, and for each whole address the store and path that ``find`` gives. Listings are of ``store`` alone.

    So are its `Traits`: ``service`` and ``stated_sha256`` say nothing of an object at a whole address.

    ``find`` raises `Unsupported` for an address that nothing permits.
    """

    def __init__(self, store: Store, find: Callable[[str], tuple[Store, str]]) -> None:
        self._store, self._find = store, find

    def __repr__(self) -> str:
        return f"Elsewhere({self._store!r})"

    @property
    def url(self) -> str:
        return self._store.url

    @property
    def traits(self) -> Traits:
        return self._store.traits

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        return self._store.list(prefix, after=after, recursive=recursive)

    def head(self, path: str) -> ObjectInfo:
        store, below = self._at(path)
        return replace(store.head(below), path=path)

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        store, below = self._at(path)
        return store.get(below, start=start, end=end, if_match=if_match)

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        store, below = self._at(path)
        return store.view(below, start=start, end=end, if_match=if_match)

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        return self._store.put(path, data, size=size, if_absent=if_absent)

    def delete(self, path: str) -> None:
        self._store.delete(path)

    def _at(self, path: str) -> tuple[Store, str]:
        return self._find(path) if is_address(path) else (self._store, path)
