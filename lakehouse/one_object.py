"""One object of a store, seen as a store of its own: for a SOURCE that is a single file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from lakehouse.errors import NotFound, Unsupported
from lakehouse.store import Buffer, ObjectInfo, Store, Traits
from lakehouse.wrapped import Wrapped

__all__ = ["OneObject"]


class OneObject(Wrapped):
    """The object ``name`` of ``store`` and nothing else. It can be read only."""

    def __init__(self, store: Store, name: str) -> None:
        super().__init__(store)
        self._name = name

    def __repr__(self) -> str:
        return f"OneObject({self._store!r}, {self._name!r})"

    @property
    def traits(self) -> Traits:
        return replace(self._store.traits, set_modified=None, replace=None, copy=None)

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        if prefix and not self._name.startswith(f"{prefix}/"):
            return
        if after is not None and self._name <= after:
            return
        inside, slash, _ = self._name[len(prefix) + 1 if prefix else 0 :].partition("/")
        if slash and not recursive:
            yield ObjectInfo(f"{prefix}/{inside}/" if prefix else f"{inside}/", 0)
            return
        try:
            yield self._store.head(self._name)
        except NotFound:
            return

    def head(self, path: str) -> ObjectInfo:
        self._check(path)
        return super().head(path)

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        self._check(path)
        return super().get(path, start=start, end=end, if_match=if_match)

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        self._check(path)
        return super().view(path, start=start, end=end, if_match=if_match)

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:  # noqa: ARG002
        raise Unsupported(f"{self.url}/{path}: a single file is a source; it cannot be written to")

    def delete(self, path: str) -> None:
        raise Unsupported(f"{self.url}/{path}: a single file is a source; it cannot be deleted from")

    def _check(self, path: str) -> None:
        if path != self._name:
            raise NotFound(f"{self.url}/{path}: not found; the source is the single file {self._name}")
