"""Replaying a log: which files a version needs, which only its history needs, and whether all of it can be carried.

PROTOCOL.md, "Action Reconciliation". Streams; what is held is one size a path, and one entry for each live deletion vector.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lakehouse.errors import Unsupported
from lakehouse.formats.delta.actions import actions_of, object_key, size_of
from lakehouse.formats.delta.checkpoint import FILE_COLUMNS, checkpoint_actions
from lakehouse.formats.delta.features import check_protocol
from lakehouse.formats.delta.vectors import NO_VECTOR, Vector, vector_of
from lakehouse.formats.delta.version import DeltaVersion, commits_in_order
from lakehouse.store import Store

__all__ = ["Replay", "replay"]


@dataclass(slots=True)
class Replay:
    """Object key → size in bytes. A logical file is a data file and its deletion vector, so the key of ``masked`` is both.

    ``live``: data files at the version; until `settle`, those without a vector only, and ``masked`` has the others: their size
    and the vector's file. ``vectors``: files of live vectors, with the size that the vectors seen in them make. ``older`` are
    all others that adds and removes of the retained log name, ``changes`` those that cdc actions name; what only versions
    below ``floor`` need is in ``left_out`` instead. ``needed_below``: of each of the three, the version below which it is needed.

    ``continues``: an earlier version is at the target already, with the files that were live at it, so a remove of a file that
    was not added since needs nothing. Where the same commit adds that file again with another vector (DELETE, UPDATE, RESTORE),
    the file is one of ``there``.
    """

    live: dict[str, int] = field(default_factory=dict)
    masked: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    vectors: dict[str, int] = field(default_factory=dict)
    older: dict[str, int] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    there: set[str] = field(default_factory=set)
    needed_below: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    continues: bool = False
    floor: int = -1
    number: int = 0
    _ends: dict[str, int] = field(default_factory=dict)

    def commit(self, number: int, data: bytes, url: str) -> None:
        """All actions of commit ``number``."""
        self.number, where = number, f"{url}: commit {number}"
        added: dict[str, str] = {}
        taken: dict[str, str] = {}
        for kind, fields in actions_of(where, data):
            if kind in ("add", "remove"):
                key, vector = object_key(where, fields.get("path")), self._vector(where, fields)
                if kind == "add":
                    if self.continues:
                        added[key] = vector.id
                    self._add(key, vector, size_of(fields))
                elif not self._remove(key, vector, size_of(fields)):
                    taken[key] = vector.id
            else:
                self.apply(where, kind, fields, url)
        self.there.update(key for key, unique in taken.items() if added.get(key, unique) != unique)

    def apply(self, where: str, kind: str, fields: dict[str, Any], url: str) -> None:
        """One action of a checkpoint, or one of a commit that is no file action."""
        if kind == "add":
            self._add(object_key(where, fields.get("path")), self._vector(where, fields), size_of(fields))
        elif kind == "remove":
            self._remove(object_key(where, fields.get("path")), self._vector(where, fields), size_of(fields))
        elif kind == "cdc":
            self._past(self.changes, object_key(where, fields.get("path")), size_of(fields), self.number + 1)
        elif kind == "protocol":
            check_protocol(url, fields)
        elif kind == "metaData" and (fields.get("format") or {}).get("provider", "parquet") != "parquet":
            raise Unsupported(f"{where}: its data files are {fields['format']['provider']}, not parquet")

    def _vector(self, where: str, fields: dict[str, Any]) -> Vector:
        if not fields.get("deletionVector"):
            return NO_VECTOR
        vector = vector_of(where, fields)
        if vector.file:
            self._ends[vector.file] = max(vector.end, self._ends.get(vector.file, 0))
        return vector

    def _add(self, key: str, vector: Vector, size: int) -> None:
        if vector.id:
            self.masked[key, vector.id] = (size, vector.file)
        else:
            self.live[key] = size

    def _remove(self, key: str, vector: Vector, size: int) -> bool:
        """False when the file was not added since the version that this continues."""
        known = (key, vector.id) in self.masked if vector.id else key in self.live
        if not known and self.continues:
            return False
        kept, _ = self.masked.pop((key, vector.id), (size, "")) if vector.id else (self.live.pop(key, size), "")
        self._past(self.older, key, kept, self.number)
        if vector.file:
            self._past(self.older, vector.file, vector.end, self.number)
        return True

    def _past(self, names: dict[str, int], key: str, size: int, below: int) -> None:
        """A file that only versions below ``below`` need."""
        (self.left_out if below <= self.floor else names)[key] = size
        self.needed_below[key] = max(below, self.needed_below.get(key, 0))

    def restart(self) -> None:
        """A checkpoint of the version that was replayed last states the whole live set anew."""
        self._fold()
        for key, size in (self.live | self.vectors).items():
            self._past(self.older, key, size, self.number + 1)
        self.live, self.vectors = {}, {}

    def _fold(self) -> None:
        for (key, _), (size, file) in self.masked.items():
            self.live[key] = size
            if file:
                self.vectors[file] = self._ends[file]
        self.masked = {}

    def settle(self) -> None:
        """At the end of the log: files that are live under any vector are live, and then they are nothing else."""
        self._fold()
        for key in self.there:
            self.live.pop(key, None)
            self.older.pop(key, None)
        for names in (self.live, self.vectors):
            for past in (self.older, self.changes):
                _drop(past, names)
        for names in (self.live, self.vectors, self.older, self.changes):
            _drop(self.left_out, names)


def _drop(names: dict[str, int], others: dict[str, int]) -> None:
    """Takes from ``names`` what is one of ``others``."""
    for key in names.keys() & others.keys():
        del names[key]


def replay(store: Store, version: DeltaVersion, since: int | None = None) -> Replay:
    """What ``version`` and its retained history need; with ``since`` only what the commits after it name.

    The live set is the one that readers see: the newest checkpoint's, then the commits after it. Where a log's checkpoint and
    its commits disagree, the files of both are named. Raises `Unsupported` (absolute paths, features) and `NotFound` (a commit
    or checkpoint that cannot be read).
    """
    log, span, url = version.log, version.span, store.url
    found = Replay(floor=version.history_floor)
    start, newest = span.first + span.checkpoint, log.newest_checkpoint(span)
    if since is not None and since >= span.first:
        found.continues, start, newest = True, since + 1, None
    elif span.checkpoint:
        _apply_checkpoint(store, version, span.first, found)
    for number, data in commits_in_order(store, range(start, span.last + 1)):
        found.commit(number, data, url)
        if number == newest:
            _apply_checkpoint(store, version, number, found)
    found.settle()
    return found


def _apply_checkpoint(store: Store, version: DeltaVersion, number: int, found: Replay) -> None:
    found.restart()
    url = store.url
    where = f"{url}: checkpoint {number}"
    for kind, fields in checkpoint_actions(store, version.log, number, FILE_COLUMNS):
        if kind != "remove" or fields.get("path") is not None:
            found.apply(where, kind, fields, url)
