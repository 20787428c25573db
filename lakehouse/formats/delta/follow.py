"""Objects of a log that only help readers, and whether a replica may have them: compacted logs and ``_last_checkpoint``."""

from __future__ import annotations

import json
from collections.abc import Iterator

from lakehouse.formats.delta.actions import actions_of
from lakehouse.formats.delta.checkpoint import whole_ways
from lakehouse.formats.delta.log import HINT, LOG
from lakehouse.formats.delta.vectors import vector_id
from lakehouse.formats.delta.version import DeltaVersion, commits_in_order
from lakehouse.store import ObjectInfo, Store

__all__ = ["compacted_agrees", "hint_for", "read_hint"]


def compacted_agrees(store: Store, version: DeltaVersion, low: int, high: int) -> bool:
    """Whether the compacted log ``low``…``high`` says what its commits say (PROTOCOL.md, "Log Compaction Files").

    Some do not, and then readers that use it see other rows, perhaps of files that were not carried. Such a file is left out.
    """
    path = version.log.compacted[low, high].path
    stated = set(_file_actions(f"{store.url}: {path}", store.get(path)))
    if any(number not in version.log.commits for number in range(low, high + 1)):
        return False
    replayed: set[tuple[str, str, str]] = set()
    for number, data in commits_in_order(store, range(low, high + 1)):
        for kind, key, vector in _file_actions(f"{store.url}: commit {number}", data):
            replayed -= {("add", key, vector), ("remove", key, vector)}
            replayed.add((kind, key, vector))
    return stated == replayed


def _file_actions(where: str, data: bytes) -> Iterator[tuple[str, str, str]]:
    """The adds and removes of one object: kind, path, deletion vector."""
    for kind, fields in actions_of(where, data):
        if kind in ("add", "remove"):
            yield kind, str(fields.get("path")), vector_id(fields)


def read_hint(store: Store) -> tuple[int, int, str | None] | None:
    """What ``_last_checkpoint`` names: the version, how many parts, the path of a UUID-named one. None where it is damaged."""
    try:
        hint = json.loads(store.get(HINT))
        number, parts = int(hint["version"]), int(hint.get("parts") or 1)
        named = f"{LOG}/{hint['v2Checkpoint']['path']}" if hint.get("v2Checkpoint") else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return number, parts, named


def hint_for(store: Store, version: DeltaVersion) -> tuple[ObjectInfo, ...] | None:
    """What the checkpoint consists of that the source's ``_last_checkpoint`` names, sidecars included.

    PROTOCOL.md, "Last Checkpoint File". None where the hint does not hold for a replica of ``version``: it must name a complete
    checkpoint that is carried; it may be stale or damaged, and then the replica has none.
    """
    hint = read_hint(store)
    if hint is None:
        return None
    number, parts, named = hint
    log, span = version.log, version.span
    if not span.first <= number <= span.last:
        return None
    ways = log.checkpoints.get(number, [])
    wanted = [way for way in ways if len(way) == parts and (way[0].path == named if named else not log.has_v2_name(way))]
    whole = whole_ways(store, log, wanted, v2=version.has_v2)
    return (*whole[0][0], *whole[0][1]) if whole else None
