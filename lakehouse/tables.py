"""Tables as Python objects: open one wherever it lies, and read any point of its history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from lakehouse.config import Settings, load
from lakehouse.errors import Config
from lakehouse.memory import memory_of
from lakehouse.options import Options
from lakehouse.progress import Progress, silent
from lakehouse.reading import rows
from lakehouse.reading.task import Point, ScanPlan
from lakehouse.replica import open_version
from lakehouse.row_record import row_record
from lakehouse.scan import Scan
from lakehouse.store import Store
from lakehouse.table import Commit, Description, TableFile, TableFormat, TableVersion
from lakehouse.where import expression

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

    from lakehouse.lrh1 import Fingerprint

__all__ = ["Table", "fingerprint", "open_table", "point_of"]

PLANS_HELD = 4
WORKERS = 4


def open_table(
    place: str,
    *,
    format: str | None = None,
    settings: Settings | None = None,
    maps: Mapping[str, str] | None = None,
    allow_external: Sequence[str] = (),
) -> Table:
    """The table at ``place`` as it stands now: a URL, a path, ``NAME:path`` or a dataset of lake.toml.

    ``maps`` and ``allow_external`` say where files lie that the metadata states elsewhere, as in `lakehouse.sync`. What is
    written to the table later does not show; open it again for that. Raises `NotFound` where there is no table, `Unsupported` for
    one that cannot be read.
    """
    options = Options(maps=tuple((maps or {}).items()), external=tuple(allow_external))
    return Table(*open_version(place, format, settings or load(), options=options))


class Table:
    """One table, pinned as it stood when it was opened, with its retained history. Made by `open_table`."""

    def __init__(self, store: Store, format: TableFormat, version: TableVersion) -> None:
        self._store, self._format, self._version = store, format, version
        self._plan = lru_cache(maxsize=PLANS_HELD)(partial(format.scan, store, version))

    @property
    def format(self) -> str:
        """``parquet``, ``delta``, ``iceberg`` or ``files``."""
        return self._format.name

    @property
    def url(self) -> str:
        """Its address."""
        return self._store.url

    @property
    def version(self) -> str:
        """The version that was the newest when the table was opened: a Delta log version, an Iceberg metadata file."""
        return self._version.id

    def schema(self) -> pa.Schema:
        """The columns and the Arrow types in which they are read. Raises `Unsupported` where one cannot be."""
        return rows.schema_of(self.plan(Point()))

    def describe(self) -> Description:
        """What ``lake describe`` shows."""
        return self._format.describe(self._store, self._version)

    def history(self) -> Iterator[Commit]:
        """The retained history, newest first."""
        return self._format.history(self._store, self._version)

    def points(self) -> Iterator[Point]:
        """The points of the retained history that can be scanned, newest first."""
        return self._format.points(self._store, self._version)

    def files(self) -> Iterator[TableFile]:
        """The files that the table and its retained history refer to."""
        return self._format.files(self._store, self._version)

    def scan(
        self,
        columns: Sequence[str] | None = None,
        where: str | pc.Expression | None = None,
        *,
        version: str | int | None = None,
        snapshot: int | None = None,
        ref: str | None = None,
        as_of: datetime | str | None = None,
        point: Point | None = None,
        workers: int | None = None,
        memory: str = "256M",
    ) -> Scan:
        """The rows for which ``where`` holds, of ``columns`` (None: all), with deletes applied. Nothing is read yet but metadata.

        ``where``: a SQL condition (``"id > 3 AND name LIKE 'a%'"``, `lakehouse.where`) or an Arrow expression. At most one says
        which point of the history, else it is as it stood when the table was opened: ``version`` (a Delta log version, an Iceberg
        metadata file or snapshot id), ``snapshot`` (Iceberg), ``ref`` (a branch, a tag, or the text of a version), ``as_of`` (the
        last state not later than this instant, a datetime or ISO 8601 text; without a zone it is UTC), or ``point``, one of
        `points`. In a table that was made from versions of another (`lakehouse.origin`) all but ``point`` mean that one's
        versions, refs and times. ``workers``: files that are read at once (None: as the processors are). ``memory``: what rows
        may take before they are given, as rclone writes sizes.

        Raises `Config` for a column or condition that cannot be, `NotFound` where there is no such point or no such file,
        `Unsupported` for what cannot be read rightly; a file that is missing or damaged shows when its rows are read.
        """
        named = _by_name(point_of(version=version, snapshot=snapshot, ref=ref, as_of=as_of))
        if point is not None and named.named:
            raise Config(f"{named} and the point {point} each name a point of the table's history; give one")
        plan = self.plan(named if point is None else point)
        if isinstance(where, str):
            where = expression(where, _readable(plan))
        return Scan(plan, columns=columns, filter=where, workers=workers, memory=memory_of(memory))

    def plan(self, point: Point) -> ScanPlan:
        """What is read at ``point``: the columns and the data files. Raises as `scan`."""
        return self._plan(point)

    def __repr__(self) -> str:
        return f"<Table {self.url} ({self.format}, version {self.version})>"


def _readable(plan: ScanPlan) -> pa.Schema:
    return rows.schema_of(plan, [field.name for field in plan.fields if field.name not in plan.refused])


def point_of(
    *,
    version: str | int | None = None,
    snapshot: int | None = None,
    ref: str | None = None,
    as_of: datetime | str | None = None,
) -> Point:
    """The point of history that a user names. Raises `Config` where more than one is, or ``as_of`` is no time."""
    given = [
        name
        for name, value in (("version", version), ("snapshot", snapshot), ("ref", ref), ("as_of", as_of))
        if value is not None
    ]
    if len(given) > 1:
        raise Config(f"{' and '.join(given)} each name a point of the table's history; give one")
    if isinstance(as_of, str):
        try:
            as_of = datetime.fromisoformat(as_of)
        except ValueError:
            raise Config(f"as_of {as_of!r} is no time; write ISO 8601, such as 2024-02-29T12:00:00Z") from None
    if as_of is not None and as_of.tzinfo is None:
        as_of = as_of.replace(tzinfo=UTC)
    return Point(str(version) if version is not None else None, snapshot, ref, as_of)


def _by_name(point: Point) -> Point:
    """``point`` as a user names it: names of the table that this one was made from count first."""
    return point if point == Point() else replace(point, named=True)


def fingerprint(
    place: str,
    *,
    format: str | None = None,
    version: str | int | None = None,
    snapshot: int | None = None,
    ref: str | None = None,
    as_of: datetime | str | None = None,
    maps: Mapping[str, str] | None = None,
    allow_external: Sequence[str] = (),
    workers: int = WORKERS,
    settings: Settings | None = None,
    progress: Progress = silent,
) -> Fingerprint:
    """The fingerprint of all rows of the table at ``place`` (docs/fingerprint.md): equal for equal rows, whatever holds them.

    ``workers``: files that are read at once; the other parameters are those of `open_table` and `Table.scan`. Raises as they do,
    and `Unsupported` for a column of a type that has no fingerprint.
    """
    from lakehouse.lrh1 import Fingerprint

    table = open_table(place, format=format, settings=settings, maps=maps, allow_external=allow_external)
    point = _by_name(point_of(version=version, snapshot=snapshot, ref=ref, as_of=as_of))
    record = row_record(table.plan(point), str(point), workers=workers, progress=progress)
    return Fingerprint(record.rows, record.fingerprint, record.columns)
