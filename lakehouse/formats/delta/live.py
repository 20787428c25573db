"""Which data files are live at a version, and what the log says of each.

PROTOCOL.md, "Action Reconciliation": the newest action for a file and its deletion vector wins. The log is read newest first, so
an add is known to be live when it is met: the commits after the newest checkpoint, then that checkpoint, which streams. What is
held is one key for each file action of those commits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.delta.actions import actions_of, object_key
from lakehouse.formats.delta.checkpoint import checkpoint_actions
from lakehouse.formats.delta.vector_bits import DeletionVector
from lakehouse.formats.delta.vectors import vector_of
from lakehouse.formats.delta.version import DeltaVersion, commits_in_order
from lakehouse.store import Store

__all__ = ["AddFile", "live_files"]

_COLUMNS = (
    "add.path", "add.partitionValues", "add.size", "add.modificationTime", "add.stats", "add.deletionVector", "add.baseRowId",
    "add.defaultRowCommitVersion", "sidecar",
)  # fmt: skip
_PARSED = "add.stats_parsed"
_ROWS_FIRST = re.compile(r'\s*\{\s*"numRecords"\s*:\s*(\d{1,18})\s*[,}]')
"""How nearly all writers begin the statistics, which need not be parsed then."""


class AddFile(NamedTuple):
    """One live data file (PROTOCOL.md, "Add File and Remove File").

    ``path``: as the table's store reads it, below the table or a whole address; ``size`` in bytes. ``partition_values``: by the
    physical name of the column, the text of "Partition Value Serialization". ``stats``: the JSON text of "Per-file Statistics",
    or the struct that a checkpoint has in its place (only the columns that were asked for); None where there are none.
    ``modified``: milliseconds since 1970. ``stated``: how an error names the action.
    """

    path: str
    size: int
    partition_values: Mapping[str, str | None]
    stats: str | Mapping[str, Any] | None
    vector: DeletionVector | None
    modified: int | None
    base_row_id: int | None
    row_commit_version: int | None
    stated: str

    def statistics(self) -> Mapping[str, Any]:
        """The statistics; empty where there are none, or none that can be read."""
        if not isinstance(self.stats, str):
            return self.stats or {}
        try:
            found = json.loads(self.stats)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def rows(self) -> int | None:
        """How many rows the file holds, those that the vector deletes included, as the statistics state it."""
        if isinstance(self.stats, str) and (match := _ROWS_FIRST.match(self.stats)):
            return int(match[1])
        found = self.statistics().get("numRecords")
        return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def live_files(store: Store, version: DeltaVersion, *, parsed: tuple[str, ...] = ("numRecords",)) -> Iterator[AddFile]:
    """The files that are live at exactly ``version``, each once, in no promised order.

    ``parsed``: which columns of ``stats_parsed`` (dotted names) are read where a table's checkpoints have no ``stats``. Raises
    `NotFound` for a commit or checkpoint that is damaged or gone and for an add without what the specification requires,
    `Unsupported` for paths that nothing permits to read, and for a commit that contradicts itself.
    """
    log, span = version.log, version.span
    replicated, origins = version.as_replicated(store), version.localiser.origins
    newest = log.newest_checkpoint(span)
    start = span.first if newest is None else newest + 1
    seen: set[str] = set()
    for number, data in commits_in_order(replicated, range(span.last, start - 1, -1)):
        where = f"{store.url}: commit {number}"
        for fields in _newest_adds(where, data, seen):
            yield _file(where, fields, origins)
    if newest is None:
        return
    where = f"{store.url}: checkpoint {newest}"
    for kind, fields in checkpoint_actions(replicated, log, newest, _checkpoint_columns(version, parsed)):
        if kind == "add" and (not seen or _key(where, fields) not in seen):
            yield _file(where, fields, origins)


def _newest_adds(where: str, data: bytes, seen: set[str]) -> Iterator[dict[str, Any]]:
    """The adds of a commit that no newer commit speaks of; ``seen``: what those speak of, and then this one too.

    PROTOCOL.md, "Add File and Remove File": a version has at most one action for a file and its vector; the order of its actions
    means nothing. One that is only repeated does no harm.
    """
    here: dict[str, str] = {}
    for kind, fields in actions_of(where, data):
        if kind not in ("add", "remove") or (key := _key(where, fields)) in seen:
            continue
        known = here.get(key)
        if known is None:
            here[key] = kind
            if kind == "add":
                yield fields
        elif known != kind:
            raise Unsupported(f"{where}: adds and removes {fields.get('path')!r}, so it is not known whether that file is live")
    seen.update(here)


def _key(where: str, fields: dict[str, Any]) -> str:
    key = object_key(where, fields.get("path"))
    return f"{key}\0{vector_of(where, fields).id}" if fields.get("deletionVector") else key


def _checkpoint_columns(version: DeltaVersion, parsed: tuple[str, ...]) -> tuple[str, ...]:
    """PROTOCOL.md, "Checkpoint Schema": there is no ``stats`` but ``stats_parsed`` where the table says so."""
    written = (version.metadata.get("configuration") or {}).get("delta.checkpoint.writeStatsAsJson")
    return (*_COLUMNS, *(f"{_PARSED}.{name}" for name in parsed)) if str(written).lower() == "false" else _COLUMNS


def _file(where: str, fields: dict[str, Any], origins: Mapping[str, str]) -> AddFile:
    path, size = object_key(where, fields.get("path")), fields.get("size")
    if not isinstance(size, int):
        raise NotFound(f"{where}: the add of {fields['path']!r} states no size")
    stats = fields.get("stats")
    return AddFile(
        origins.get(path, path), size, fields.get("partitionValues") or {},
        fields.get("stats_parsed") if stats is None else stats,
        _vector(where, fields, origins), fields.get("modificationTime"), fields.get("baseRowId"),
        fields.get("defaultRowCommitVersion"), f"{where}: add of {fields['path']}",
    )  # fmt: skip


def _vector(where: str, fields: dict[str, Any], origins: Mapping[str, str]) -> DeletionVector | None:
    found = fields.get("deletionVector")
    if not found or not (vector := vector_of(where, fields)).id:
        return None
    size, cardinality, offset = found.get("sizeInBytes"), found.get("cardinality"), found.get("offset")
    if not isinstance(size, int) or not isinstance(cardinality, int) or size < 0 or cardinality < 0:
        raise NotFound(f"{where}: the deletion vector of {fields['path']!r} states no size or no cardinality")
    path = origins.get(vector.file, vector.file)
    stated = f"the deletion vector {f'in {path}' if path else '(inline)'} of {fields['path']}"
    inline = "" if path else str(found.get("pathOrInlineDv") or "")
    return DeletionVector(vector.id, path, inline, 1 if offset is None else int(offset), size, cardinality, stated)
