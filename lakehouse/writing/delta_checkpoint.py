"""A checkpoint after every so many commits of ours: without them a table that is only appended to gets slower to open.

PROTOCOL.md, "Checkpoints". It only helps readers, so whatever keeps it from being written is no failure of the commit.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lakehouse.errors import Conflict, LakeError, NotFound
from lakehouse.formats.delta import DeltaFormat
from lakehouse.formats.delta.log import LOG
from lakehouse.formats.delta.snapshot import checkpoint_publication
from lakehouse.store import Store

__all__ = ["write_checkpoint"]

logger = logging.getLogger(__name__)
_INTERVAL = 10
_HINT = f"{LOG}/_last_checkpoint"
_LARGEST_BYTES = 32 << 20
"""Of a checkpoint before, above which writing one would take too much memory here."""


def write_checkpoint(store: Store, number: int, properties: Mapping[str, Any]) -> None:
    """Put the checkpoint of the version ``number``, and the hint, where its turn has come (``delta.checkpointInterval``).

    A table that asks for checkpoints of another kind, and one whose state is large, leave that to their maintenance.
    """
    stated = str(properties.get("delta.checkpointInterval", ""))
    interval = max(1, int(stated)) if stated.isdecimal() else _INTERVAL
    if number == 0 or number % interval or str(properties.get("delta.checkpointPolicy", "classic")).lower() != "classic":
        return
    try:
        _write(store, number)
    except LakeError as error:
        logger.info("%s: no checkpoint of version %d was written (%s)", store.url, number, error)


def _write(store: Store, number: int) -> None:
    version = DeltaFormat().pin(store, str(number))
    newest = version.log.newest_checkpoint(version.span)
    before = [info.size for info in store.list(LOG) if newest is not None and f"/{newest:020d}.checkpoint" in info.path]
    if newest == number or sum(before) > _LARGEST_BYTES:
        return
    made = checkpoint_publication(store, store, version)
    with suppress(Conflict):  # another reader of the commit was faster
        store.put(made.path, made.load(), size=made.size, if_absent=True)
    if _hinted(store) < number:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = pq.read_metadata(pa.BufferReader(made.load())).num_rows
        hint = json.dumps({"version": number, "size": rows, "sizeInBytes": made.size}).encode()
        store.put(_HINT, hint, size=len(hint))


def _hinted(store: Store) -> int:
    try:
        found = json.loads(store.get(_HINT))
    except (NotFound, ValueError):
        return -1
    version = found.get("version") if isinstance(found, dict) else None
    return version if isinstance(version, int) else -1
