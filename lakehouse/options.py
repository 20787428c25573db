"""How a sync is to be done."""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse.receipt import Level

__all__ = ["Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a sync is to be done.

    ``version``: pin this one instead of the newest. ``level``: how much must be proven before anything is published.
    ``checksum``: hash what is kept, too. ``delete`` and ``in_place`` (plain files only): remove what the source no longer
    has, overwrite what it changed under the same name. ``workers``: objects in flight.
    """

    version: str | None = None
    level: Level = "bytes"
    checksum: bool = False
    delete: bool = False
    in_place: bool = False
    workers: int = 16
