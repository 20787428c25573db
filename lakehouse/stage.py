"""Puts one object of a version's metadata that no reader can see yet. The same call made twice changes nothing."""

from __future__ import annotations

from collections.abc import Callable

from lakehouse.checksum import sha256_hex
from lakehouse.errors import Conflict
from lakehouse.store import Store
from lakehouse.table import Origin, Written

__all__ = ["put_staged"]


def put_staged(
    target: Store,
    path: str,
    data: bytes,
    *,
    origin: Origin = "staged",
    source_etag: str | None = None,
    same: Callable[[bytes, bytes], bool] = bytes.__eq__,
) -> Written:
    """Put ``data`` if-absent; what lies there already is adopted when it is the ``same``.

    Raises `Conflict` for other content under that name; it stays.
    """
    try:
        put = target.put(path, data, size=len(data), if_absent=True)
    except Conflict:
        there = target.get(path)
        if same(there, data):
            info = target.head(path)
            return Written(path, len(there), sha256_hex(there), "adopted", source_etag, info.etag, info.checksum, True)
        raise Conflict(
            f"{target.url}/{path}: lies there with other content than the source has under that name; nothing was overwritten"
        ) from None
    return Written(path, len(data), sha256_hex(data), origin, source_etag, put.etag, put.checksum, target.traits.confirms_put)
