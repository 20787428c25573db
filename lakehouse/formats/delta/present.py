"""Which of some files exist: asked one by one while they are few, else by one flat listing of the table.

Files elsewhere (whole addresses) are in no listing of the table, so they are always asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lakehouse.errors import NotFound
from lakehouse.locations import is_address
from lakehouse.parallel import each
from lakehouse.store import ObjectInfo, Store

__all__ = ["present"]

_FEW = 32
_WORKERS = 8


def present(store: Store, paths: Collection[str]) -> Iterator[ObjectInfo]:
    """The objects among ``paths`` that ``store`` has. ``paths`` may shrink meanwhile."""
    if not paths:
        return
    asked = list(paths)
    if len(paths) > _FEW:
        asked = [path for path in paths if is_address(path)]
        yield from (info for info in store.list() if info.path in paths)
    for _, outcome in each(store.head, asked, workers=_WORKERS):
        if isinstance(outcome, ObjectInfo):
            yield outcome
        elif not isinstance(outcome, NotFound):
            raise outcome
