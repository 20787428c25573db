"""Replaying a log: which files a version needs, which only its history needs, and whether all of it can be carried.

PROTOCOL.md, "Action Reconciliation". Streams; what is held is one size a path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lakehouse.errors import Unsupported
from lakehouse.formats.delta.actions import actions_of, object_key, refuse_vector, size_of
from lakehouse.formats.delta.checkpoint import FILE_COLUMNS, checkpoint_actions
from lakehouse.formats.delta.features import check_protocol
from lakehouse.formats.delta.version import DeltaVersion, commits_in_order, refuse_v2_rows
from lakehouse.store import Store

__all__ = ["Replay", "replay"]


@dataclass(slots=True)
class Replay:
    """Object key → size in bytes. ``live`` at the version; ``older`` are all others that the retained log names.

    ``continues``: an earlier version is at the target already, with the files that were live at it, so a remove of a file that
    was not added since needs nothing.
    """

    live: dict[str, int] = field(default_factory=dict)
    older: dict[str, int] = field(default_factory=dict)
    continues: bool = False

    def apply(self, where: str, kind: str, fields: dict[str, Any], url: str) -> None:
        """One action. ``where`` names its commit or checkpoint in the errors of `replay`."""
        if kind == "add":
            refuse_vector(where, fields)
            key = object_key(where, fields.get("path"))
            self.older.pop(key, None)
            self.live[key] = size_of(fields)
        elif kind == "remove":
            refuse_vector(where, fields)
            key = object_key(where, fields.get("path"))
            if key in self.live or not self.continues:
                self.older[key] = self.live.pop(key, size_of(fields))
        elif kind == "cdc":
            self.older[object_key(where, fields.get("path"))] = size_of(fields)
        elif kind == "protocol":
            check_protocol(url, fields)
        elif kind == "metaData" and (fields.get("format") or {}).get("provider", "parquet") != "parquet":
            raise Unsupported(f"{where}: its data files are {fields['format']['provider']}, not parquet")

    def restart(self) -> None:
        """A checkpoint states the whole live set anew."""
        self.older.update(self.live)
        self.live = {}


def replay(store: Store, version: DeltaVersion, since: int | None = None) -> Replay:
    """What ``version`` and its retained history need; with ``since`` only what the commits after it name.

    The live set is the one that readers see: the newest checkpoint's, then the commits after it. Where a log's checkpoint and
    its commits disagree, the files of both are named. Raises `Unsupported` (absolute paths, deletion vectors, features) and
    `NotFound` (a commit or checkpoint that cannot be read).
    """
    found, log, span, url = Replay(), version.log, version.span, store.url
    if since is not None and since >= span.first:
        found.continues = True
        for number, data in commits_in_order(store, range(since + 1, span.last + 1)):
            for kind, fields in actions_of(where := f"{url}: commit {number}", data):
                found.apply(where, kind, fields, url)
        return found
    newest = log.newest_checkpoint(span)
    if span.checkpoint:
        _apply_checkpoint(store, version, span.first, found)
    for number, data in commits_in_order(store, range(span.first + span.checkpoint, span.last + 1)):
        for kind, fields in actions_of(where := f"{url}: commit {number}", data):
            found.apply(where, kind, fields, url)
        if number == newest:
            _apply_checkpoint(store, version, number, found)
    return found


def _apply_checkpoint(store: Store, version: DeltaVersion, number: int, found: Replay) -> None:
    found.restart()
    where = f"{store.url}: checkpoint {number}"
    for kind, fields in checkpoint_actions(store, version.log.checkpoints[number][0], FILE_COLUMNS):
        refuse_v2_rows(store.url, number, kind)
        if kind != "remove" or fields.get("path") is not None:
            found.apply(where, kind, fields, store.url)
