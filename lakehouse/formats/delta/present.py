"""Which of some files exist: asked one by one while they are few, else by one flat listing of the table."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lakehouse.errors import NotFound
from lakehouse.parallel import each
from lakehouse.store import ObjectInfo, Store

__all__ = ["present"]

_FEW = 32
_WORKERS = 8


def present(store: Store, paths: Collection[str]) -> Iterator[ObjectInfo]:
    """The objects among ``paths`` that ``store`` has. ``paths`` may shrink meanwhile."""
    if len(paths) > _FEW:
        yield from (info for info in store.list() if info.path in paths)
        return
    for _, outcome in each(store.head, list(paths), workers=_WORKERS):
        if isinstance(outcome, ObjectInfo):
            yield outcome
        elif not isinstance(outcome, NotFound):
            raise outcome
