"""A folder of a store, seen as a store of its own: the receipts of a table lie below the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from lakehouse.store import Buffer, ObjectInfo, Replace, ServerCopy, Store, Traits

__all__ = ["Below"]


class Below:
    """The objects of ``store`` below ``folder``, over the same connections."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder

    def __repr__(self) -> str:
        return f"Below({self._store!r}, {self._folder!r})"

    @property
    def url(self) -> str:
        return f"{self._store.url}/{self._folder}"

    @property
    def traits(self) -> Traits:
        traits = self._store.traits
        return replace(
            traits,
            set_modified=None,
            replace=self._replaced_by(traits.replace) if traits.replace else None,
            copy=self._copied_by(traits.copy) if traits.copy else None,
            stated_sha256=self._stated_by(traits.stated_sha256) if traits.stated_sha256 else None,
        )

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        start = None if after is None else self._path(after)
        for info in self._store.list(self._path(prefix) if prefix else self._folder, after=start, recursive=recursive):
            yield self._seen(info)

    def head(self, path: str) -> ObjectInfo:
        return self._seen(self._store.head(self._path(path)))

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        return self._store.get(self._path(path), start=start, end=end, if_match=if_match)

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        return self._store.view(self._path(path), start=start, end=end, if_match=if_match)

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        return self._seen(self._store.put(self._path(path), data, size=size, if_absent=if_absent))

    def delete(self, path: str) -> None:
        self._store.delete(self._path(path))

    def _replaced_by(self, overwrite: Replace) -> Replace:
        def replaced(path: str, data: bytes, /, *, etag: str) -> ObjectInfo:
            return self._seen(overwrite(self._path(path), data, etag=etag))

        return replaced

    def _copied_by(self, copy: ServerCopy) -> ServerCopy:
        def copied(source_url: str, info: ObjectInfo, path: str, /, *, if_absent: bool = True) -> ObjectInfo:
            return self._seen(copy(source_url, info, self._path(path), if_absent=if_absent))

        return copied

    def _stated_by(self, stated: Callable[[ObjectInfo], str | None]) -> Callable[[ObjectInfo], str | None]:
        return lambda info: stated(replace(info, path=self._path(info.path)))

    def _path(self, path: str) -> str:
        return f"{self._folder}/{path}"

    def _seen(self, info: ObjectInfo) -> ObjectInfo:
        return replace(info, path=info.path.removeprefix(f"{self._folder}/"))
