"""Looking at one table or place: what it is, its history, its files. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from lakehouse import receipt as receipts_of
from lakehouse.below import Below
from lakehouse.config import Settings, load
from lakehouse.connect import open_store
from lakehouse.errors import Verification
from lakehouse.options import Options
from lakehouse.replica import open_version
from lakehouse.store import ObjectInfo, Store
from lakehouse.table import Commit, Description, TableFile

__all__ = ["describe", "files", "history", "ls"]


def describe(
    place: str, *, format: str | None = None, version: str | None = None, settings: Settings | None = None
) -> Description:
    """Format, version, columns, partitions, files, sizes and features of the table at ``place``.

    Raises `NotFound` where there is no table or no such version, `Unsupported` for a table that cannot be read.
    """
    store, table_format, pinned = open_version(place, format, settings or load(), version=version)
    return table_format.describe(store, pinned)


def history(
    place: str, *, format: str | None = None, version: str | None = None, settings: Settings | None = None
) -> Iterator[Commit]:
    """The retained history of the table at ``place``, newest first.

    The times at a replica are those that its receipts noted at the source, where commits do not state them.
    """
    store, table_format, pinned = open_version(place, format, settings or load(), version=version)
    times = _source_times(Below(store, "_lake")) if table_format.receipts_inside else {}
    commits = table_format.history(store, pinned)
    return (replace(commit, committed_at=times.get(commit.path, commit.committed_at)) for commit in commits)


def _source_times(receipts: Store) -> dict[str, datetime]:
    """By path, when the objects that finished receipts name were made at the source. Receipts that are damaged tell nothing."""
    finished = receipts_of.read_chain(receipts).finished
    if finished is None:
        return {}
    try:
        known = receipts_of.known_objects(receipts, finished.number, finished.number)
    except Verification:
        return {}
    return {path: datetime.fromisoformat(w.modified) for path, w in known.items() if w.modified is not None}


def files(
    place: str,
    *,
    format: str | None = None,
    version: str | None = None,
    maps: Mapping[str, str] | None = None,
    allow_external: Sequence[str] = (),
    settings: Settings | None = None,
) -> Iterator[TableFile]:
    """The files that the table at ``place`` and its retained history refer to.

    ``maps`` and ``allow_external`` as in `lakehouse.sync`. Raises `Unsupported` for files elsewhere that neither permits.
    """
    options = Options(maps=tuple((maps or {}).items()), external=tuple(allow_external))
    store, table_format, pinned = open_version(place, format, settings or load(), version=version, options=options)
    return table_format.files(store, pinned)


def ls(place: str, *, settings: Settings | None = None) -> Iterator[ObjectInfo]:
    """The objects and folders (their paths end in ``/``) right below ``place``."""
    return open_store(place, settings or load()).list(recursive=False)
