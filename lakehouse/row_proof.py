"""Proof at level rows: two places of one table hold the same rows, each read from its own data files.

A difference names the point of the history, the columns, and the data files where it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.errors import NotFound
from lakehouse.progress import Progress, silent
from lakehouse.reading.task import Point
from lakehouse.report import Finding
from lakehouse.row_record import RowRecord, differences, different_files, row_records
from lakehouse.store import Store
from lakehouse.table import TableFormat, TableVersion

__all__ = ["Place", "compare_rows", "refuse_unreadable", "row_findings"]

Place = tuple[Store, TableVersion]
"""A store and the version that was pinned in it."""

_FILES_NAMED = 20


def refuse_unreadable(table_format: TableFormat, source: Place) -> None:
    """Raise `Unsupported` for a table of which the rows cannot be proven, as far as its metadata tells."""
    from lakehouse.reading.rows import schema_of

    schema_of(table_format.scan(*source, Point()))


def compare_rows(
    table_format: TableFormat,
    source: Place,
    target: Place,
    versions: str,
    *,
    workers: int,
    progress: Progress = silent,
) -> tuple[list[RowRecord], list[RowRecord], list[Finding]]:
    """The records of the source and of the target, and where they differ.

    Raises `NotFound` where the newest version cannot be read at the source, `Unsupported` where rows cannot be read rightly.
    """
    expected = row_records(table_format, *source, versions, workers=workers, progress=progress)
    found, findings = row_findings(table_format, target, expected, versions, workers=workers, progress=progress)
    if findings:
        try:
            named = different_files(*(table_format.scan(*place, Point()) for place in (source, target)), workers=workers)
            files = [Finding("rows", path, what) for path, what in named]
        except NotFound:  # of metadata: what is missing or damaged is a finding already
            files = []
        findings += files[:_FILES_NAMED]
        if len(files) > _FILES_NAMED:
            findings.append(Finding("rows", "", f"and {len(files) - _FILES_NAMED} more data files"))
    return expected, found, findings


def row_findings(
    table_format: TableFormat,
    target: Place,
    expected: Sequence[RowRecord],
    versions: str,
    *,
    workers: int,
    progress: Progress = silent,
) -> tuple[list[RowRecord], list[Finding]]:
    """The records of the target, and where they are not those ``expected``. Raises `Unsupported` as a scan does."""
    try:
        found = row_records(table_format, *target, versions, workers=workers, progress=progress)
    except NotFound as error:
        return [], [Finding("rows", "", f"cannot be read at the target: {error}")]
    return found, [Finding("rows", "", f"{point}: {what}") for point, what in differences(expected, found)]
