"""A store whose paths may also be whole addresses: a table may state files that lie outside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lakehouse.locations import is_address
from lakehouse.store import ObjectInfo, Store
from lakehouse.wrapped import Wrapped

__all__ = ["Elsewhere"]


class Elsewhere(Wrapped):
    """``store``, and for each whole address the store and path that ``find`` gives. Listings are of ``store`` alone.

    So are its `Traits`: ``service`` and ``stated_sha256`` say nothing of an object at a whole address.

    ``find`` raises `Unsupported` for an address that nothing permits.
    """

    def __init__(self, store: Store, find: Callable[[str], tuple[Store, str]]) -> None:
        super().__init__(store)
        self._find = find

    def head(self, path: str) -> ObjectInfo:
        store, below = self._at(path)
        return replace(store.head(below), path=path)

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        store, below = self._at(path)
        return store.get(below, start=start, end=end, if_match=if_match)

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        store, below = self._at(path)
        return store.view(below, start=start, end=end, if_match=if_match)

    def _at(self, path: str) -> tuple[Store, str]:
        return self._find(path) if is_address(path) else (self._store, path)
