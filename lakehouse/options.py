"""How a sync is to be done."""

from __future__ import annotations

from dataclasses import dataclass, field

from lakehouse.connect import Access
from lakehouse.memory import DEFAULT_BYTES
from lakehouse.ranges import Limits
from lakehouse.receipt import Level, lowest

__all__ = ["Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a sync is to be done.

    ``version``: pin this one instead of the newest. ``level``: how much must be proven before anything is published.
    ``checksum``: hash what is kept, too. ``delete`` and ``in_place`` (plain files only): remove what the source no longer
    has, overwrite what it changed under the same name. ``workers``: objects in flight. ``memory``: what they may take, in bytes.
    ``access``: tries and bandwidth. ``versions`` (level rows): of which versions the rows are proven.

    ``maps``: (stated, actual) places of files that the metadata states elsewhere. ``external``: prefixes of stated files that
    may be read though they lie outside the source's bucket. ``location`` (Iceberg): the address by which readers know the target.
    ``history`` (Delta): ``all``, ``none`` or ``since:V``. ``skip_broken_history`` (Iceberg): leave out older snapshots that
    can no longer be read. ``register`` (Iceberg): ``CATALOG:namespace.table`` that is to stand at what is published.
    """

    version: str | None = None
    level: Level = "bytes"
    checksum: bool = False
    delete: bool = False
    in_place: bool = False
    workers: int = 16
    memory: int = DEFAULT_BYTES
    access: Access = field(default_factory=Access)
    maps: tuple[tuple[str, str], ...] = ()
    external: tuple[str, ...] = ()
    location: str | None = None
    history: str = "all"
    skip_broken_history: bool = False
    register: str | None = None
    versions: str = "latest"

    @property
    def limits(self) -> Limits:
        """What may be in flight."""
        return Limits(self.workers, self.memory)

    @property
    def object_level(self) -> Level:
        """How much must be proven of each object."""
        return lowest(self.level, "bytes")
