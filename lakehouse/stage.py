"""Puts one object of a version's metadata that no reader can see yet. The same call made twice changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

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
    modified: str | None = None,
) -> Written:
    """Put ``data`` if-absent; what lies there already is adopted when it is the ``same``. ``modified`` is only recorded.

    Raises `Conflict` for other content under that name; it stays.
    """
    try:
        put = target.put(path, data, size=len(data), if_absent=True)
    except Conflict:
        there = target.get(path)
        if same(there, data):
            info = target.head(path)
            found = Written(path, len(there), sha256_hex(there), "adopted", source_etag, info.etag, info.checksum, True)
            return replace(found, modified=modified)
        raise Conflict(
            f"{target.url}/{path}: lies there with other content than the source has under that name; nothing was overwritten "
            "(if lake verify calls it damaged: remove it, then sync --checksum puts it again)"
        ) from None
    confirmed = target.traits.confirms_put
    written = Written(path, len(data), sha256_hex(data), origin, source_etag, put.etag, put.checksum, confirmed)
    return replace(written, modified=modified)
