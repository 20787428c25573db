"""Makes a staged version visible: one put after the other, in the order that its format chose.

Everything before has been verified. Each object is put if-absent; where one lies there already, or the reply was lost, it
is read back: equal bytes are what we wanted, other bytes are a `Conflict` and stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from lakehouse.checksum import sha256_hex
from lakehouse.errors import Conflict, NotFound, Transfer, Verification
from lakehouse.progress import Progress, ProgressEvent
from lakehouse.store import Store
from lakehouse.table import Publication, Written

__all__ = ["intended", "keep_times", "publish"]


def intended(publications: Iterable[Publication]) -> list[Written]:
    """What `publish` is going to put, as an inventory records it beforehand."""
    return [Written(p.path, p.size, p.sha256, "published", confirmed=True, modified=p.modified) for p in publications]


def keep_times(target: Store, objects: Iterable[Written]) -> None:
    """Give ``objects`` the modification times that they have at the source, where the target can: engines read them."""
    set_modified = target.traits.set_modified
    if set_modified is None:
        return
    for written in objects:
        if written.modified is not None:
            set_modified(written.path, datetime.fromisoformat(written.modified))


def publish(target: Store, publications: Iterable[Publication], progress: Progress) -> None:
    """Put ``publications`` in their order.

    Raises `Conflict` when another writer's bytes lie under one of the names, `Transfer` when the source's metadata is no
    longer what was pinned, `Verification` when the target does not hold what was sent.
    """
    for publication in publications:
        data = publication.load()
        if sha256_hex(data) != publication.sha256:
            raise Transfer(f"{publication.path}: the source's metadata changed since it was pinned; run again")
        if publication.replace:
            _put_hint(target, publication.path, data)
        else:
            _put(target, publication.path, data)
        progress(ProgressEvent("publish", objects=1, size=publication.size, message=publication.path))


def _put(target: Store, path: str, data: bytes) -> None:
    try:
        target.put(path, data, size=len(data), if_absent=True)
    except Conflict:
        if target.get(path) != data:
            raise Conflict(f"{target.url}/{path}: another writer put it first; nothing was overwritten") from None
        return
    _read_back(target, path, data)


def _read_back(target: Store, path: str, data: bytes) -> None:
    """See that ``data`` arrived. It is ours and nobody else's, so once it is put again where the store damaged it."""
    if target.traits.confirms_put or target.get(path) == data:
        return
    target.put(path, data, size=len(data))
    if target.get(path) != data:
        raise Verification(f"{target.url}/{path}: does not hold the bytes that were put, twice; the store damages them")


def _put_hint(target: Store, path: str, data: bytes) -> None:
    try:
        if target.get(path) == data:
            return
    except NotFound:
        pass
    target.put(path, data, size=len(data))
    _read_back(target, path, data)
