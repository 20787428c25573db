"""A store that notes which objects were not there: what tells a file that is gone from one that is damaged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lakehouse.errors import NotFound
from lakehouse.store import Buffer, ObjectInfo, Store, Traits

__all__ = ["Absences"]


class Absences:
    """``store``, to be read only, with a note of every path that was not found."""

    def __init__(self, store: Store) -> None:
        self._store, self._paths = store, set[str]()

    def __repr__(self) -> str:
        return f"Absences({self._store!r})"

    def explain(self, error: NotFound) -> bool:
        """Whether ``error`` names an object that was not there."""
        return any(path in str(error) for path in self._paths)

    @property
    def url(self) -> str:
        return self._store.url

    @property
    def traits(self) -> Traits:
        return self._store.traits

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        return self._store.list(prefix, after=after, recursive=recursive)

    def head(self, path: str) -> ObjectInfo:
        try:
            return self._store.head(path)
        except NotFound:
            self._paths.add(path)
            raise

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        try:
            return self._store.get(path, start=start, end=end, if_match=if_match)
        except NotFound:
            self._paths.add(path)
            raise

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        try:
            return self._store.view(path, start=start, end=end, if_match=if_match)
        except NotFound:
            self._paths.add(path)
            raise

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        raise TypeError(f"{self!r} is to be read only")

    def delete(self, path: str) -> None:
        raise TypeError(f"{self!r} is to be read only")
