"""What rows a table has at a point of its history, read from its data files with every delete applied.

A proof at level ``rows`` compares such records: one side is read at the source, or was when a receipt was written, the other at
the target. They are computed from data alone, by `lakehouse.reading`, never from what a copy had in its hands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from lakehouse.absences import Absences
from lakehouse.errors import Config, LakeError, NotFound
from lakehouse.parallel import each, every
from lakehouse.progress import Progress, ProgressEvent, silent
from lakehouse.reading.task import Point, ScanPlan, ScanTask
from lakehouse.store import Store
from lakehouse.table import TableFormat, TableVersion

if TYPE_CHECKING:
    from lakehouse.lrh1 import Fingerprinter

__all__ = [
    "RowExample",
    "RowRecord",
    "check_versions",
    "covers",
    "differences",
    "different_files",
    "newest_of",
    "row_record",
    "row_records",
]

READER = "lake"
_VERSIONS = re.compile(r"all|latest|[1-9][0-9]{0,8}")
_WORKERS = 4


@dataclass(frozen=True, slots=True)
class RowRecord:
    """The rows of a table at one point: how many, their fingerprint (docs/fingerprint.md), and the columns with theirs.

    ``point``: ``newest version``, ``version 3`` (Delta), ``snapshot 42`` (Iceberg). ``schema``: name, Arrow type and whether null
    is allowed, in the table's order. ``gone``: which file is missing, so that this older point can no longer be read at all (the
    table's owner cleaned it up); the rest is empty then.
    """

    point: str
    rows: int = 0
    fingerprint: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    schema: tuple[tuple[str, str, bool], ...] = ()
    algorithm: str = "lrh1"
    reader: str = READER
    gone: str = ""

    @property
    def content(self) -> tuple[object, ...]:
        """What two places must have in common, whoever read them."""
        return self.rows, self.algorithm, self.fingerprint, dict(self.columns), self.schema

    def to_json(self) -> dict[str, Any]:
        """As receipts write it; `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> RowRecord:
        """A record of a receipt. Raises `TypeError` and `ValueError` for anything else."""
        return cls(**{**raw, "schema": tuple((name, kind, null) for name, kind, null in raw.get("schema", ()))})


@dataclass(frozen=True, slots=True)
class RowExample:
    """A row that is not the same on both sides, found by its ``key``. None: that side has no such row."""

    point: str
    key: Mapping[str, object]
    source: Mapping[str, object] | None
    target: Mapping[str, object] | None


def check_versions(versions: str) -> str:
    """``versions`` as the options have it: ``all``, ``latest`` or how many of the newest. Raises `Config`."""
    if not _VERSIONS.fullmatch(versions):
        raise Config(f"--versions {versions}: write all, latest, or how many of the newest versions")
    return "latest" if versions == "1" else versions


def covers(done: str, asked: str) -> bool:
    """Whether records of the versions ``done`` are enough where ``asked`` are wanted ("": none were made)."""
    return bool(done) and _how_many(done) >= _how_many(asked)


def _how_many(versions: str) -> float:
    return {"latest": 1, "all": float("inf")}.get(versions) or int(versions)


def row_records(
    table_format: TableFormat,
    store: Store,
    version: TableVersion,
    versions: str = "latest",
    *,
    workers: int = _WORKERS,
    progress: Progress = silent,
) -> list[RowRecord]:
    """The records of ``version`` and of as many earlier points of its retained history as ``versions`` says, newest first.

    An older point of which a file is missing says so in its record. Raises `NotFound` where the newest cannot be read, or an
    older one is damaged, and `Unsupported`, for any point, where the table uses what cannot be read rightly.
    """
    found = [row_record(table_format.scan(store, version, Point()), "newest version", workers=workers, progress=progress)]
    older = () if versions == "latest" else _earlier(table_format, store, version)
    for point in older:
        if len(found) >= _how_many(versions):
            break
        noting = Absences(store)
        try:
            found.append(row_record(table_format.scan(noting, version, point), str(point), workers=workers, progress=progress))
        except NotFound as error:
            if not noting.explain(error):
                raise
            found.append(RowRecord(str(point), gone=str(error)))
    return found


def newest_of(records: Sequence[RowRecord], versions: str) -> Sequence[RowRecord]:
    """Those of ``records``, which are the newest first, that ``versions`` asks for."""
    return records if versions == "all" else records[: int(_how_many(versions))]


def _earlier(table_format: TableFormat, store: Store, version: TableVersion) -> Iterator[Point]:
    """The points that are not ``version`` itself."""
    newest = table_format.newest_point(version)
    return (point for point in table_format.points(store, version) if point not in (newest, Point()))


def row_record(plan: ScanPlan, point: str, *, workers: int = _WORKERS, progress: Progress = silent) -> RowRecord:
    """Read all rows of ``plan``, some files at a time. Raises `NotFound` and `Unsupported` as a scan does."""
    from lakehouse.lrh1 import Fingerprinter
    from lakehouse.reading.rows import schema_of

    progress(ProgressEvent("rows", message=point))
    schema = schema_of(plan)
    whole = Fingerprinter(schema)
    for task, part in every(partial(_read, plan), plan.all_tasks(), workers=min(workers, _WORKERS)):
        whole.merge(part)
        progress(ProgressEvent("rows", objects=1, size=task.size))
    result = whole.result()
    columns = tuple((column.name, str(column.type), column.nullable) for column in schema)
    return RowRecord(point, result.rows, result.digest, dict(result.columns), columns)


def _read(plan: ScanPlan, task: ScanTask) -> Fingerprinter:
    from lakehouse.lrh1 import Fingerprinter
    from lakehouse.reading.rows import schema_of, task_batches

    counted = Fingerprinter(schema_of(plan))
    for batch in task_batches(plan, task):
        counted.update(batch)
    return counted


def differences(expected: Sequence[RowRecord], found: Sequence[RowRecord]) -> Iterator[tuple[str, str]]:
    """The points at which ``found`` does not have the rows that are ``expected``, each with what is different."""
    there = {record.point: record for record in found}
    for want in expected:
        have = there.get(want.point)
        if want.gone:
            continue
        if have is None:
            yield want.point, "the target's history does not have it"
        elif have.gone:
            yield want.point, f"cannot be read at the target: {have.gone}"
        elif have.content == want.content:
            continue
        elif have.schema != want.schema:
            yield want.point, f"the columns differ: {_schema_difference(want, have)}"
        elif have.algorithm != want.algorithm:
            yield want.point, f"was fingerprinted by {want.algorithm}, which this lake does not compute"
        else:
            columns = [name for name, digest in want.columns.items() if have.columns.get(name) != digest]
            which = f"values differ in {', '.join(columns)}" if columns else "values stand in other rows"
            yield want.point, f"{want.rows} rows at the source, {have.rows} at the target; {which}"


def _schema_difference(want: RowRecord, have: RowRecord) -> str:
    said, shown = dict.fromkeys(want.schema), dict.fromkeys(have.schema)
    lost, new = (
        [column for column in want.schema if column not in shown],
        [column for column in have.schema if column not in said],
    )
    if not lost and not new:
        return "their order is another"
    return " and ".join(
        f"{where} has {', '.join(f'{name} {kind}' + ('' if null else ' not null') for name, kind, null in columns)}"
        for where, columns in (("the source", lost), ("the target", new))
        if columns
    )


def different_files(source: ScanPlan, target: ScanPlan, *, workers: int = _WORKERS) -> Iterator[tuple[str, str]]:
    """The data files whose rows, deletes applied, are not the same on both sides, by their paths below the tables."""
    there, here = _by_file(target, workers), _by_file(source, workers)
    for path in sorted(here.keys() | there.keys()):
        want, have = here.get(path), there.get(path)
        if have is None:
            yield path, "the target's table does not have this data file"
        elif want is None:
            yield path, "the source's table does not have this data file"
        elif isinstance(want, str) or isinstance(have, str):
            yield path, f"cannot be read: {have if isinstance(have, str) else want}"
        elif sorted(want) != sorted(have):
            here_rows, there_rows = (sum(rows for rows, _ in read) for read in (want, have))
            yield path, f"its rows differ: {here_rows} at the source, {there_rows} at the target"


def _by_file(plan: ScanPlan, workers: int) -> dict[str, list[tuple[int, str]] | str]:
    """Each data file's number of rows and fingerprint, once for each time that the table reads it; or why it cannot be read."""
    found: dict[str, list[tuple[int, str]] | str] = {}
    for task, outcome in each(partial(_read, plan), plan.all_tasks(), workers=min(workers, _WORKERS)):
        if isinstance(outcome, LakeError):
            if not isinstance(outcome, NotFound):
                raise outcome
            found[task.path] = str(outcome)
        elif not isinstance(known := found.setdefault(task.path, []), str):
            result = outcome.result()
            known.append((result.rows, result.digest))
    return found
