"""The contract of table formats: what a table is made of, and how a version of it is put together somewhere else.

A format reads metadata, names files, and says in which order metadata must appear. It never moves a data file
(`lakehouse.transfer` does), and nothing outside it knows what a commit or a manifest is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from lakehouse.checksum import Checksum, sha256_hex
from lakehouse.locations import Locations
from lakehouse.reading.examine import Examination, Flaw
from lakehouse.reading.task import Point, ScanPlan
from lakehouse.store import Store

__all__ = [
    "Base",
    "Column",
    "Commit",
    "Description",
    "Held",
    "NotCarried",
    "Origin",
    "Publication",
    "Remark",
    "Staged",
    "TableFile",
    "TableFormat",
    "TableVersion",
    "Terms",
    "Written",
]

Origin = Literal["copied", "adopted", "staged", "rewritten", "published", "deleted", "damaged"]


@dataclass(slots=True)
class NotCarried:
    """What of a table's history the source no longer has. Filled while `TableFormat.files` is exhausted.

    ``files`` counts those that only older versions name; ``versions`` says which versions the target will never have ("" : none).
    """

    files: int = 0
    versions: str = ""


@dataclass(frozen=True, slots=True)
class Remark:
    """What is not wrong but must be known: kept in the receipt and shown. ``path`` is what it is about ("" : the table)."""

    kind: Literal["history", "location", "properties"]
    message: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms under which a version is pinned.

    ``locations``: where the files that it states lie, and where they go. ``history`` (Delta): ``all``, ``none`` or ``since:V``.
    ``skip_broken_history`` (Iceberg): leave out older snapshots whose metadata is gone, not refuse the table. ``root`` (Iceberg):
    asks the source's catalog for the address of its current metadata file. ``by_path``: readers find the target by path, not by
    a catalog.
    """

    locations: Locations
    history: str = "all"
    skip_broken_history: bool = False
    root: Callable[[], str] | None = None
    by_path: bool = True

    def digest(self) -> str:
        """The SHA-256 of what makes two replicas of one version differ: where they say they are, and what is left out."""
        said = (self.locations.target, self.locations.digest(), self.history, self.skip_broken_history)
        return sha256_hex(json.dumps(said).encode())


@dataclass(frozen=True)
class Held:
    """The newest version of the source's history that the target holds whole: its id. Formats subclass it.

    ``believed``: what earlier runs brought is taken to be there; else all of it is looked at again.
    """

    id: str
    believed: bool = field(default=True, kw_only=True)


@dataclass(frozen=True)
class TableVersion:
    """A table as of one root, with its whole retained history, and without its files (there may be millions).

    ``id`` is what ``--version`` takes, always text (a Delta log version, an Iceberg metadata file). ``root`` is the path, in
    the store it was pinned in, of the one object whose appearance made the version visible, and ``root_sha256`` the hash of
    its bytes; both are "" for formats without a root (plain files). ``not_carried`` is filled by `TableFormat.files`. Formats
    subclass it to carry what they found.
    """

    format: str
    id: str
    table_id: str | None
    committed_at: datetime | None
    root: str
    root_sha256: str
    root_etag: str = field(default="", compare=False, kw_only=True)
    not_carried: NotCarried = field(default_factory=NotCarried, compare=False, kw_only=True)
    remarks: list[Remark] = field(default_factory=list, compare=False, kw_only=True)

    def as_replicated(self, store: Store) -> Store:
        """``store``, which this version was pinned in, with its metadata as a replica has it (paths that it states changed)."""
        return store


@dataclass(frozen=True, slots=True)
class TableFile:
    """One immutable data, delete or side file of a version. ``size`` in bytes as the metadata (or a listing) states it.

    ``path`` is its name at the target, below the table. ``origin``: where it is read, when that is not the same path below the
    source (another path, or a whole address). ``rewritten``: its bytes name other files, so `TableFormat.stage` brings it.

    ``last``: it describes the others (`_SUCCESS`, `_metadata`), so it comes after them.

    ``required`` is False for files that only older versions need: they are carried where they still exist.
    ``etag`` and ``checksum`` are known where a listing told them.
    """

    path: str
    size: int
    required: bool = True
    etag: str | None = None
    checksum: Checksum | None = None
    last: bool = False
    origin: str | None = None
    rewritten: bool = False

    @property
    def source(self) -> str:
        """The path, or whole address, at which the source's store reads it."""
        return self.path if self.origin is None else self.origin


@dataclass(frozen=True, slots=True)
class Written:
    """One object that a run put (or found already right) at the target, as the inventory records it.

    ``origin``: ``copied`` from the source, ``adopted`` (it was there, with equal content), ``staged`` (metadata no reader can
    see yet, byte for byte the source's), ``rewritten`` (the same with places of the target in it), ``published`` (metadata that
    makes the version visible), ``deleted`` (removed from a plain directory; no bytes), ``damaged`` (in notes of an unfinished
    run only: ours, and not what was sent).
    ``modified``: when the object was made at the source (ISO 8601, UTC), where the table's own times are those of its objects.
    ``sha256`` was computed from the source's bytes on their way. ``confirmed`` says that the target was shown to hold them:
    by the provider's check of the upload or by reading back. ``source_checked``: the source's own checksum was equal too.
    """

    path: str
    size: int
    sha256: str
    origin: Origin
    source_etag: str | None = None
    target_etag: str | None = None
    checksum: Checksum | None = None
    confirmed: bool = False
    source_checked: bool = False
    modified: str | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """One object that `lakehouse.publish` puts, with the bytes that it must have.

    ``load`` reads the bytes anew (they are not held), and they must have ``sha256``. ``replace``: a hint that may be
    overwritten (`_last_checkpoint`, `version-hint.text`); all others are put if-absent. ``modified``: as in `Written`.
    """

    path: str
    size: int
    sha256: str
    load: Callable[[], bytes] = field(compare=False)
    replace: bool = False
    modified: str | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """Everything but the root has been put; ``written`` lists it. ``publications`` are what is left, in the order to put them.

    ``root`` is the path of the one publication whose appearance makes the version visible ("" for formats without one).
    What comes after it in the order only helps readers; a crash in between is healed by the next run.
    """

    written: tuple[Written, ...]
    publications: tuple[Publication, ...]
    root: str


@dataclass(frozen=True, slots=True)
class Base:
    """The version that the last finished sync left at the target, as its receipt records it.

    ``source_root`` and ``target_root`` are paths in the two stores, with the SHA-256 that their bytes had. ``source_root_etag``
    marks the source's root (and hint) where a listing shows it; ``target_root_size`` is in bytes. ``source``: the address that
    the source had.
    """

    id: str
    table_id: str | None
    source_root: str
    source_root_sha256: str
    target_root: str
    target_root_sha256: str
    source_root_etag: str = ""
    source: str = ""
    target_root_size: int = 0


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the table's own metadata describes it; ``type`` in the format's own words."""

    name: str
    type: str
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Description:
    """What ``lake describe`` shows. Sizes in bytes; ``history_*`` count files that only older versions need."""

    format: str
    version: str
    table_id: str | None
    committed_at: datetime | None
    columns: tuple[Column, ...]
    partition_columns: tuple[str, ...]
    files: int
    size: int
    history_files: int
    history_size: int
    features: tuple[str, ...]
    properties: dict[str, str]


@dataclass(frozen=True, slots=True)
class Commit:
    """One line of a table's history. ``path``: the object that made it, where the format has one for each."""

    version: str
    committed_at: datetime | None
    operation: str
    details: dict[str, str]
    path: str = ""


class TableFormat(Protocol):
    """What each package below `lakehouse.formats` provides. The methods are named in the order in which a sync calls them."""

    @property
    def name(self) -> str:
        """``parquet``, ``delta``, ``iceberg`` or ``files``."""
        ...

    @property
    def receipts_inside(self) -> bool:
        """True when receipts lie below the table (``_lake/``); False where the listing is the table (beside it)."""
        ...

    @property
    def renumbers(self) -> bool:
        """True when a version has another id at the target (Iceberg's roots are numbered there); False when it keeps its own."""
        ...

    def detect(self, store: Store) -> bool:
        """Whether a table of this format lies at the root of ``store``. A few requests, whatever the table's size."""
        ...

    def is_unchanged(self, source: Store, target: Store, base: Base, terms: Terms | None = None) -> bool:
        """True when at most three requests prove that both sides still stand at ``base``; False when in doubt."""
        ...

    def pin(self, store: Store, version: str | None = None, terms: Terms | None = None) -> TableVersion:
        """Choose the version to work from (the newest, or the one named), under the user's terms (None: there are none).

        Raises `NotFound` (no table, no such version, or a history that cannot be read) and `Unsupported`.
        """
        ...

    def since(
        self, source: Store, target: Store, version: TableVersion, base: Base | None, unfinished: Sequence[Base] = ()
    ) -> Held | None:
        """The newest version of ``version``'s history that the target holds whole, or None.

        ``base`` is what the last finished run left, ``unfinished`` what later ones may have published before they were killed.
        Raises `Conflict` when the target has commits of its own, is ahead, or is another table.
        """
        ...

    def files(self, store: Store, version: TableVersion, held: Held | None = None) -> Iterator[TableFile]:
        """The files that ``version`` and its retained history need; with ``held``, only those that came after it.

        Raises `Unsupported` for whatever in the metadata cannot be carried, at the latest when the iterator ends:
        nothing may be written before.
        """
        ...

    def stage(self, source: Store, target: Store, version: TableVersion, held: Held | None) -> Staged:
        """Put everything that no reader can see yet, and say what is left to publish. Doing it again changes nothing."""
        ...

    def recheck(self, source: Store, version: TableVersion) -> None:
        """Raise `Transfer` when the source can no longer answer ``version`` (cleaned up, changed during the copy)."""
        ...

    def metadata_files(self, store: Store, version: TableVersion, *, essential: bool = False) -> Iterator[str]:
        """The paths of the metadata objects that make up ``version`` in ``store`` (log, checkpoints, manifests).

        ``essential``: only those that two places of one version must have in common; not what merely helps readers.
        """
        ...

    def differences(self, source: Store, target: Store, version: TableVersion, root: str) -> Iterator[tuple[str, str]]:
        """The metadata that `stage` writes anew, made once more from the source and held against what lies at the target.

        Gives the path at the target and what is wrong, for each object that does not say what the source says. ``root`` is the
        root there.
        """
        ...

    def describe(self, store: Store, version: TableVersion) -> Description:
        """What ``lake describe`` shows."""
        ...

    def history(self, store: Store, version: TableVersion) -> Iterator[Commit]:
        """The retained history, newest first."""
        ...

    def points(self, store: Store, version: TableVersion) -> Iterator[Point]:
        """The points of ``version``'s retained history that can be scanned on their own, newest first: Delta's log versions,
        Iceberg's snapshots (whichever branch or tag holds them); plain files have one.
        """
        ...

    def newest_point(self, version: TableVersion) -> Point:
        """The one of its `points` at which ``version`` stands; `Point()` where none of them is."""
        ...

    def scan(self, store: Store, version: TableVersion, point: Point) -> ScanPlan:
        """How to read the rows of ``version`` at ``point`` of its retained history (`Point()`: as it stands).

        Raises `NotFound` where the history has no such point, `Unsupported` for what cannot be read rightly (at the latest
        while the tasks are iterated), `Config` for a kind of point that the format does not have.
        """
        ...

    def check(self, store: Store, version: TableVersion) -> Iterator[Flaw | Examination]:
        """What is wrong with ``version`` and its retained history as its metadata tells, and what is to be looked at: every
        object that it needs, once. See `lakehouse.check`.
        """
        ...

    def damaged(self, store: Store) -> Iterator[Flaw]:
        """What is wrong with the metadata of a table that `pin` refuses with `NotFound`: the objects that are the reason, as far
        as each shows it on its own.
        """
        ...
