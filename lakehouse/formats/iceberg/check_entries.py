"""Whether one entry of a manifest agrees with itself and with the table.

Iceberg table spec, "Manifests": "Data File Fields", and "Sequence Number Inheritance".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lakehouse.formats.iceberg.check_values import Column, exceeds
from lakehouse.formats.iceberg.entries import DataFile
from lakehouse.formats.iceberg.manifest import DATA, EQUALITY_DELETES
from lakehouse.formats.iceberg.manifest_list import ManifestFile

__all__ = ["entry_flaws", "is_vector", "statistics_flaws"]

_PUFFIN = "puffin"
_FORMATS = ("parquet", "orc", "avro")
_ROW_ID_COLUMNS = 2147480000
"""Ids from here on are of metadata columns, such as those of position deletes."""

Said = tuple[str, str]


def is_vector(entry: DataFile) -> bool:
    """Whether the entry is a deletion vector."""
    return entry.file_format == _PUFFIN


def entry_flaws(entry: DataFile, manifest: ManifestFile, columns: Mapping[int, Column], format_version: int) -> Iterator[Said]:
    """Kind and text of each contradiction in a live entry of ``manifest``.

    What it says of columns is left to `statistics_flaws`. Kinds: ``content``, ``sequence``, ``schema``, ``vector``, ``counts``.
    """
    yield from _content(entry, manifest.content, columns)
    if format_version > 1:
        yield from _sequence(entry, manifest)
    splits = entry.split_offsets
    if splits and (list(splits) != sorted(splits) or splits[0] < 0 or splits[-1] >= entry.size):
        yield "counts", f"has the split offsets {list(splits[:8])}, which do not ascend within its {entry.size} bytes"


def statistics_flaws(entry: DataFile, columns: Mapping[int, Column]) -> Iterator[Said]:
    """Kind and text of each contradiction in the counts and bounds of an entry. Kinds: ``counts``, ``bounds``."""
    yield from _counts(entry, columns)
    yield from _bounds(entry, columns)


def _content(entry: DataFile, content: int, columns: Mapping[int, Column]) -> Iterator[Said]:
    if (entry.content == DATA) != (content == DATA):
        kinds = "data" if content == DATA else "delete"
        yield "content", f"has the content {entry.content}, in a manifest of {kinds} files"
    if entry.content == EQUALITY_DELETES:
        unknown = [number for number in entry.equality_ids if number not in columns]
        if unknown or not entry.equality_ids:
            which = f"by the fields {unknown}, which no schema of the table has" if unknown else "by no field"
            yield "schema", f"deletes {which}"
    if is_vector(entry):
        offset, size = entry.content_offset, entry.content_size
        if offset is None or size is None or offset < 0 or size < 0 or offset + size > entry.size:
            yield "vector", f"has its vector at {offset} with {size} bytes, the file has {entry.size}"
        if entry.referenced_data_file is None:
            yield "vector", "references no data file"
    elif entry.file_format not in _FORMATS:
        yield "content", f"has the format {entry.file_format!r}, which no table has"


def _sequence(entry: DataFile, manifest: ManifestFile) -> Iterator[Said]:
    """Numbers of data and of files; both are no greater than the manifest's, and data is no newer than its file."""
    data, file, last = entry.sequence_number, entry.file_sequence_number, manifest.sequence_number
    if data is None:
        yield "sequence", "has no sequence number and inherits none"
    elif data < 0 or data > last or (file is not None and (file > last or data > file)):
        yield "sequence", f"has the sequence numbers {data} (data) and {file} (file), its manifest has {last}"


def _counts(entry: DataFile, columns: Mapping[int, Column]) -> Iterator[Said]:
    """Of a column with one value a row, none of its counts is more than the rows."""
    rows, values, nulls = entry.rows, entry.value_counts, entry.null_counts
    for name, counts in (("values", values), ("nulls", nulls), ("NaNs", entry.nan_counts)):
        for number, count in counts.items():
            if 0 <= count <= rows:
                continue
            column = columns.get(number)
            if column is not None and column.plain:
                yield "counts", f"has {count} {name} of {column.name} in {rows} rows"


def _bounds(entry: DataFile, columns: Mapping[int, Column]) -> Iterator[Said]:
    """A lower bound is no greater than the upper one."""
    uppers = entry.upper_bounds
    for number, lower in entry.lower_bounds.items():
        upper, column = uppers.get(number), columns.get(number)
        if column is None or upper is None or lower == upper or number >= _ROW_ID_COLUMNS:
            continue
        try:
            low, high = column.read(lower), column.read(upper)
        except ValueError as error:
            yield "bounds", f"has a bound of {column.name} that cannot be read ({error})"
            continue
        if low is not None and high is not None and exceeds(low, high):
            yield "bounds", f"has the lower bound {low!r} of {column.name} above the upper bound {high!r}"
