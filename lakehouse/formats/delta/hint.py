"""``_last_checkpoint`` for a replica: the source's, with the sizes of checkpoints that were rewritten, and its checksum anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from lakehouse.checksum import sha256_hex
from lakehouse.errors import NotFound, Transfer
from lakehouse.formats.delta.localise import size_at_replica
from lakehouse.formats.delta.log import HINT, Log
from lakehouse.store import ObjectInfo, Store
from lakehouse.table import Publication

__all__ = ["hint_checksum", "hint_publication"]


def hint_publication(source: Store, named: Iterable[ObjectInfo], theirs: Log) -> Publication:
    """The hint, to be put last. ``named``: the objects of the checkpoint that it names; ``theirs``: the target's log.

    What lies at the target already is not read again to know its size.
    """
    there = {part.path: part.size for ways in theirs.checkpoints.values() for way in ways for part in way}
    there |= {path: info.size for path, info in theirs.sidecars.items()}
    sizes = {info: there.get(info.path) or size_at_replica(source, info) for info in named}
    grown = {info.path.rpartition("/")[2]: size for info, size in sizes.items() if size != info.size}
    try:
        data = source.get(HINT)
    except NotFound as error:
        raise Transfer(f"{source.url}: {HINT} was cleaned up meanwhile; run again") from error
    if grown:
        data = _resized(json.loads(data), grown, sum(size - info.size for info, size in sizes.items()))
    return Publication(HINT, len(data), sha256_hex(data), lambda: data, replace=True)


def _resized(hint: dict[str, Any], sizes: dict[str, int], more: int) -> bytes:
    if isinstance(hint.get("sizeInBytes"), int):
        hint["sizeInBytes"] += more
    top = hint.get("v2Checkpoint") or {}
    for named in (top, *(top.get("sidecarFiles") or ())):
        name = str(named.get("path")).rpartition("/")[2]
        if name in sizes and "sizeInBytes" in named:
            named["sizeInBytes"] = sizes[name]
    if "checksum" in hint:
        hint["checksum"] = hint_checksum(hint)
    return json.dumps(hint, ensure_ascii=False, separators=(",", ":")).encode()


def hint_checksum(hint: dict[str, Any]) -> str:
    """The MD5 of the canonical form of ``hint`` without its checksum (PROTOCOL.md, "JSON checksum")."""
    pairs = _pairs("", {key: value for key, value in hint.items() if key != "checksum"})
    return hashlib.md5(",".join(sorted(pairs)).encode(), usedforsecurity=False).hexdigest()


def _pairs(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _pairs(f"{path}+{_quoted(key)}" if path else _quoted(key), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _pairs(f"{path}+{index}", inner)
    else:
        yield f"{path}={_quoted(value) if isinstance(value, str) else json.dumps(value)}"


def _quoted(text: str) -> str:
    return f'"{quote(text, safe="-._~")}"'
