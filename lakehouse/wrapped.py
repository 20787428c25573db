"""A store on top of another one: what a wrapper does not change goes on to the store below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lakehouse.store import Buffer, ObjectInfo, Store, Traits

__all__ = ["Wrapped"]


class Wrapped:
    """``store`` as it is. Subclasses see it in another way, and change only that."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._store!r})"

    @property
    def url(self) -> str:
        return self._store.url

    @property
    def traits(self) -> Traits:
        return self._store.traits

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        return self._store.list(prefix, after=after, recursive=recursive)

    def head(self, path: str) -> ObjectInfo:
        return self._store.head(path)

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        return self._store.get(path, start=start, end=end, if_match=if_match)

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        return self._store.view(path, start=start, end=end, if_match=if_match)

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        return self._store.put(path, data, size=size, if_absent=if_absent)

    def delete(self, path: str) -> None:
        self._store.delete(path)
