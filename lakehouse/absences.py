"""A store that notes which objects were not there: what tells a file that is gone from one that is damaged."""

from __future__ import annotations

from lakehouse.errors import NotFound
from lakehouse.store import ObjectInfo, Store
from lakehouse.wrapped import Wrapped

__all__ = ["Absences"]


class Absences(Wrapped):
    """``store``, with a note of every path that was not found."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._paths = set[str]()

    def explain(self, error: NotFound) -> bool:
        """Whether ``error`` names an object that was not there."""
        return any(path in str(error) for path in self._paths)

    def head(self, path: str) -> ObjectInfo:
        try:
            return super().head(path)
        except NotFound:
            self._paths.add(path)
            raise

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        try:
            return super().get(path, start=start, end=end, if_match=if_match)
        except NotFound:
            self._paths.add(path)
            raise

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        try:
            return super().view(path, start=start, end=end, if_match=if_match)
        except NotFound:
            self._paths.add(path)
            raise
