"""Objects of a log that only help readers, and whether a replica may have them: compacted logs and ``_last_checkpoint``."""

from __future__ import annotations

import json

from lakehouse.formats.delta.actions import actions_of
from lakehouse.formats.delta.log import HINT
from lakehouse.formats.delta.version import DeltaVersion, commits_in_order
from lakehouse.store import Store

__all__ = ["compacted_agrees", "hint_for"]


def compacted_agrees(store: Store, version: DeltaVersion, low: int, high: int) -> bool:
    """Whether the compacted log ``low``…``high`` says what its commits say (PROTOCOL.md, "Log Compaction Files").

    Some do not, and then readers that use it see other rows, perhaps of files that were not carried. Such a file is left out.
    """
    path = version.log.compacted[low, high].path
    stated: dict[str, str] = {}
    for kind, fields in actions_of(f"{store.url}: {path}", store.get(path)):
        if kind in ("add", "remove"):
            stated[str(fields.get("path"))] = kind
    if any(number not in version.log.commits for number in range(low, high + 1)):
        return False
    replayed: dict[str, str] = {}
    for number, data in commits_in_order(store, range(low, high + 1)):
        for kind, fields in actions_of(f"{store.url}: commit {number}", data):
            if kind in ("add", "remove"):
                replayed[str(fields.get("path"))] = kind
    return stated == replayed


def hint_for(store: Store, version: DeltaVersion) -> bool:
    """Whether the source's ``_last_checkpoint`` holds for a replica of ``version`` (PROTOCOL.md, "Last Checkpoint File").

    It must name a complete checkpoint that is carried; it may be stale or damaged, and then the replica has none.
    """
    try:
        hint = json.loads(store.get(HINT))
        number, parts = int(hint["version"]), int(hint.get("parts") or 1)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    ways = version.log.checkpoints.get(number, [])
    return version.span.first <= number <= version.span.last and any(len(way) == parts for way in ways)
