"""Whether a data file, or a file of equality deletes, is the one that its manifest entry was written for.

Iceberg table spec, "Data File Fields" and "Column Projection". What the footer says of each column is held against the counts and
bounds of the entry: another file under that name, even of the same size, hardly ever has the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, cast

from lakehouse.formats.iceberg.check_entries import statistics_flaws
from lakehouse.formats.iceberg.check_values import Column, Value, exceeds, partition_value
from lakehouse.formats.iceberg.entries import DataFile
from lakehouse.formats.iceberg.manifest import EQUALITY_DELETES
from lakehouse.formats.iceberg.partitioning import PartitionSpec
from lakehouse.reading.examine import Examination, Flaw
from lakehouse.reading.examined import data_file, object_size
from lakehouse.reading.footer import Footer, LeafFacts
from lakehouse.reading.held_types import can_hold
from lakehouse.reading.task import FileFormat
from lakehouse.store import Store

__all__ = ["FORMATS", "Files", "Said", "compared", "with_manifest"]

FORMATS = ("parquet", "orc", "avro")
_KINDS = {
    "boolean": ("boolean",),
    "integer": ("int", "long"),
    "date": ("date",),
    "time": ("time",),
    "timestamp": ("timestamp", "timestamptz", "timestamp_ns", "timestamptz_ns"),
    "float": ("float", "double"),
    "text": ("string",),
    "binary": ("binary", "uuid"),
}
"""Kinds of columns in files, and the types of columns of which bounds compare with theirs as they are."""
Said = tuple[str, str]
Pairs = Sequence[tuple[LeafFacts, Column]]
_MICROS, _NANOS = 10**6, 10**9
_CUT_FROM, _CHARACTER_BYTES = 16, 4
"""No writer cuts bounds of text and bytes in footers shorter than that; the last character of an upper one is raised then."""


@dataclass(frozen=True, slots=True)
class Files:
    """How files of the table are looked at. ``mapped``: the table says by which names files without ids are read."""

    store: Store
    columns: Mapping[int, Column]
    specs: Mapping[int, PartitionSpec]
    mapped: bool

    def examination(self, entry: DataFile, path: str, by: str) -> Examination:
        """To look at the file of ``entry`` at ``path``; ``by``: the manifest that names it.

        Kinds: ``missing``, ``size``, ``unreadable``, ``rows``, ``schema``, ``counts``, ``stats``, ``bounds``, ``partition``.
        """
        return Examination(path, partial(self._look, entry, path, by))

    def _look(self, entry: DataFile, path: str, by: str, deep: bool) -> list[Flaw]:
        if entry.file_format not in FORMATS:
            return object_size(self.store, path, entry.size)
        file_format = cast("FileFormat", entry.file_format)
        agrees = partial(self._agrees, entry, path, by)  # what it says of the file gets its manifest's name with the rest
        flaws = data_file(self.store, path, entry.size, file_format, entry.rows, deep=deep, agrees=agrees)
        return with_manifest(flaws, path, by)

    def _agrees(self, entry: DataFile, path: str, by: str, footer: Footer) -> Iterator[Flaw]:
        leaves = {leaf.field_id: leaf for leaf in footer.leaves if leaf.field_id is not None}
        pairs = [(leaf, column) for number, leaf in leaves.items() if (column := self.columns.get(number)) is not None]
        differences, odd = compared(entry, pairs)
        for kind, text in (*self._differences(entry, footer, leaves), *differences):
            yield Flaw(kind, path, text)
        if odd or differences or not pairs:
            for kind, text in statistics_flaws(entry, self.columns):
                yield Flaw(kind, by, f"its entry of {entry.path} {text}")

    def _differences(self, entry: DataFile, footer: Footer, leaves: Mapping[int, LeafFacts]) -> Iterator[Said]:
        yield from self._ids(entry, footer)
        for number, leaf in leaves.items():
            column = self.columns.get(number)
            if column is not None and not can_hold(leaf.kind, column.type):
                yield "schema", f"holds {column.name} as {leaf.kind}, which cannot be read as the table's {column.type}"
        starts = footer.row_groups
        strange = [offset for offset in entry.split_offsets if offset not in starts] if starts else []
        if strange:
            yield "counts", f"has row groups at {list(starts[:8])}, its manifest has split offsets {strange[:8]}"
        yield from self._partition(entry, leaves, footer)

    def _ids(self, entry: DataFile, footer: Footer) -> Iterator[Said]:
        """Columns are found by their ids; in files that have none by the names that the table maps."""
        if not footer.ids:
            return
        ids = {number for number in footer.ids.values() if number is not None}
        inner = ids | {leaf.field_id for leaf in footer.leaves}
        if inner <= {None}:
            if not self.mapped:
                yield "schema", "has no field ids, and the table maps no names: readers cannot tell its columns"
            return
        if ids and ids.isdisjoint(self.columns):
            yield "schema", f"has the field ids {sorted(ids)[:8]}: no column of the table is among them"
        lacking = [number for number in entry.equality_ids if number not in inner]
        if entry.content == EQUALITY_DELETES and lacking:
            yield "schema", f"deletes by the fields {lacking}, which it does not hold"

    def _partition(self, entry: DataFile, leaves: Mapping[Any, LeafFacts], footer: Footer) -> Iterator[Said]:
        """All rows have the identity partition's value, where the file holds the column."""
        for field, stated in zip(self.specs[entry.spec_id].fields, entry.partition, strict=False):
            leaf, column = leaves.get(field.source_ids[0]), self.columns.get(field.source_ids[0])
            if field.transform != "identity" or leaf is None or column is None or not column.plain or not footer.rows:
                continue
            if (stated is None) != (leaf.nulls == leaf.values) and leaf.nulls is not None:
                yield "partition", f"has {leaf.nulls} nulls of {column.name} in {leaf.values} rows, its partition is {stated!r}"
            if stated is None or leaf.lower is None or leaf.upper is None or not _comparable(leaf.kind, leaf.scale, column.type):
                continue
            try:
                value = partition_value(column.type, stated)
            except ValueError:
                continue  # the manifest's flaw
            if _below(leaf.lower, value, leaf, column) or _below(value, leaf.upper, leaf, column, swapped=True):
                yield "partition", f"has {column.name} from {leaf.lower!r} to {leaf.upper!r}, its partition is {stated!r}"


def with_manifest(flaws: list[Flaw], path: str, by: str) -> list[Flaw]:
    """What is wrong with the file at ``path``, each with the manifest that says what it should be."""
    return [replace(flaw, message=f"{flaw.message} ({by})") if flaw.path == path else flaw for flaw in flaws]


def compared(entry: DataFile, pairs: Pairs) -> tuple[list[Said], bool]:
    """How the counts and bounds of the entry differ from what the footer says, and whether the entry contradicts itself.

    Readers skip a file wrongly when its values are not within the bounds. Of all that is done for a file this takes most time, so
    what is equal is passed over first.
    """
    values, nulls, lowers, uppers = entry.value_counts, entry.null_counts, entry.lower_bounds, entry.upper_bounds
    found, odd = list[Said](), False
    for leaf, column in pairs:
        number = column.id
        if column.plain:
            stated, missing = values.get(number), nulls.get(number)
            if stated is not None and stated != leaf.values:
                found.append(("stats", f"has {leaf.values} values of {column.name}, its manifest says {stated}"))
            if missing is not None and leaf.nulls is not None and missing != leaf.nulls:
                found.append(("stats", f"has {leaf.nulls} nulls of {column.name}, its manifest says {missing}"))
        lower, upper = lowers.get(number), uppers.get(number)
        if (lower is None and upper is None) or not _comparable(leaf.kind, leaf.scale, column.type):
            continue
        try:
            low = column.read(lower) if lower is not None else None
            high = column.read(upper) if upper is not None else None
        except ValueError:
            odd = True
            continue
        if low == leaf.lower and high == leaf.upper:
            continue
        if low is not None and high is not None and exceeds(low, high):
            odd = True
            continue
        if low is not None and leaf.lower is not None and _below(leaf.lower, low, leaf, column):
            found.append(("stats", f"has {leaf.lower!r} as {column.name}, below the lower bound {low!r} of its manifest"))
        if high is not None and leaf.upper is not None and _below(high, leaf.upper, leaf, column, swapped=True):
            found.append(("stats", f"has {leaf.upper!r} as {column.name}, above the upper bound {high!r} of its manifest"))
    return found, odd


@cache
def _comparable(kind: str, scale: int, column_type: str) -> bool:
    """Whether bounds of a column of a file compare with those of manifests, both as they are."""
    if kind == "decimal":
        return column_type.startswith("decimal") and column_type.rstrip(")").rpartition(",")[2].strip() == str(scale)
    if kind == "binary" and column_type.startswith("fixed"):
        return True
    return column_type in _KINDS.get(kind, ())


def _below(one: Value, other: Value, leaf: LeafFacts, column: Column, *, swapped: bool = False) -> bool:
    """Whether ``one`` is truly less than ``other``: the file's value and the manifest's, or ``swapped`` the other way round.

    Times are compared in the coarser unit of both. Text and bytes may have been cut.
    """
    if isinstance(one, bytes) or isinstance(other, bytes):
        if not (isinstance(one, bytes) and isinstance(other, bytes) and one < other):
            return False
        return not (_may_be_cut(other, one) if swapped else _may_be_cut(one, other))
    unit = _NANOS if column.type.endswith("_ns") else _MICROS
    if leaf.kind in ("time", "timestamp") and leaf.scale and leaf.scale != unit:
        finest = max(unit, leaf.scale)
        scales = (finest // unit, finest // leaf.scale) if swapped else (finest // leaf.scale, finest // unit)
        coarse = max(scales)
        return int(one) * scales[0] // coarse < int(other) * scales[1] // coarse
    return one < other


def _may_be_cut(of_file: bytes, other: bytes) -> bool:
    """Whether the file's bound may be a longer one that its writer cut: the two differ but in its last character."""
    shared = 0
    for left, right in zip(of_file, other, strict=False):
        if left != right:
            break
        shared += 1
    return len(of_file) >= _CUT_FROM and shared >= len(of_file) - _CHARACTER_BYTES
