"""Whether position deletes and deletion vectors delete rows that are there.

Iceberg table spec, "Position Delete Files" and "Deletion Vectors". A delete may outlive the file whose rows it deletes, so a path
that no retained snapshot knows is a flaw only where nothing can have been forgotten: where the snapshot that wrote the delete is
retained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.iceberg.check_entries import is_vector
from lakehouse.formats.iceberg.check_files import FORMATS, Files, with_manifest
from lakehouse.formats.iceberg.check_manifests import Delete, Found
from lakehouse.formats.iceberg.check_places import Places
from lakehouse.formats.iceberg.check_vectors import vector_flaws
from lakehouse.formats.iceberg.manifest import EQUALITY_DELETES
from lakehouse.formats.iceberg.position_deletes import FILE_PATH, POS
from lakehouse.reading.data_file import open_data_file
from lakehouse.reading.examine import Examination, Flaw
from lakehouse.reading.examined import data_file
from lakehouse.reading.task import FileFormat
from lakehouse.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Deletes"]

_NAMES = {FILE_PATH: "file_path", POS: "pos"}


@dataclass(frozen=True, slots=True)
class Deletes:
    """How delete files are looked at. ``found``: all that the manifests hold. ``retained``: the ids of retained snapshots; none
    where ``found`` is not complete.
    """

    store: Store
    files: Files
    places: Places
    found: Found
    retained: frozenset[int]

    def examinations(self) -> Iterator[Flaw | Examination]:
        """To look at each delete file, and at each file of vectors with all of its vectors.

        Kinds, besides those of `Files.examination`: ``delete``, ``bounds``, ``vector``, ``duplicate``, ``external``.
        """
        vectors: dict[str, list[Delete]] = {}
        for delete in self.found.deletes:
            if delete.path is None:
                continue
            if is_vector(delete.entry):
                vectors.setdefault(delete.path, []).append(delete)
            elif delete.entry.content == EQUALITY_DELETES:
                yield self.files.examination(delete.entry, delete.path, delete.by)
            else:
                yield Examination(delete.path, partial(self._positions, delete))
        yield from self._two_vectors()
        for path, those in vectors.items():
            yield Examination(path, partial(self._vectors, path, those))

    def _two_vectors(self) -> Iterator[Flaw]:
        """A snapshot has one vector for a data file at most."""
        seen: dict[str, tuple[int, str]] = {}
        for delete in self.found.deletes:
            named = delete.entry.referenced_data_file
            if not is_vector(delete.entry) or named is None:
                continue
            snapshots, by = seen.get(named, (0, delete.by))
            if snapshots & delete.snapshots:
                yield Flaw("duplicate", delete.by, f"has a second vector for {named}, besides one of {by}")
            seen[named] = snapshots | delete.snapshots, by

    def _vectors(self, path: str, deletes: Sequence[Delete], _deep: bool) -> list[Flaw]:
        flaws = vector_flaws(self.store, path, [delete.entry for delete in deletes], self._rows_of)
        flaws = with_manifest(flaws, path, ", ".join(sorted({delete.by for delete in deletes})))
        for delete in deletes:
            named = delete.entry.referenced_data_file
            if named is not None:
                flaws += self._target(path, delete, named)
        return flaws

    def _rows_of(self, stated: str) -> int | None:
        known = self.found.files.get(stated)
        return known.rows if known is not None else None

    def _target(self, path: str, delete: Delete, stated: str) -> list[Flaw]:
        """What is wrong with a path of which rows are deleted."""
        if stated in self.found.files or stated in self.found.gone:
            return []
        _, flaws = self.places.file(stated, path)
        if not flaws and delete.entry.snapshot_id in self.retained:
            text = f"deletes rows of {stated}, which no snapshot reads: if it is spelled otherwise, they come back"
            flaws = [Flaw("delete", path, text)]
        return flaws

    def _positions(self, delete: Delete, deep: bool) -> list[Flaw]:
        path, entry = str(delete.path), delete.entry
        if entry.file_format not in FORMATS:
            raise Unsupported(f"{path}: holds position deletes as {entry.file_format}, which are not known")
        kind = cast("FileFormat", entry.file_format)
        flaws = with_manifest(data_file(self.store, path, entry.size, kind, entry.rows, deep=deep), path, delete.by)
        if any(flaw.kind in ("missing", "size", "unreadable") for flaw in flaws):
            return flaws
        try:
            columns = _columns(self.store, path, entry.size, kind)
        except (NotFound, ValueError) as error:
            return [*flaws, Flaw("unreadable", path, str(error))]
        return flaws + self._deleted(path, delete, *columns)

    def _deleted(self, path: str, delete: Delete, paths: pa.Array, positions: pa.Array) -> list[Flaw]:
        import pyarrow as pa

        if paths.null_count or positions.null_count:
            return [Flaw("delete", path, "has a null among its paths or positions")]
        encoded = paths.dictionary_encode()
        named, flaws = encoded.dictionary.to_pylist(), list[Flaw]()
        flaws += _order(path, encoded, named, positions)
        spans = pa.table({"file": encoded.indices, "pos": positions}).group_by("file").aggregate([("pos", "min"), ("pos", "max")])
        columns = [spans.column(name).to_pylist() for name in ("file", "pos_min", "pos_max")]
        flaws += _as_stated(path, delete, sorted(named, key=str.encode), columns[1], columns[2])
        for number, least, most in zip(*columns, strict=True):
            stated = named[number]
            flaws += self._target(path, delete, stated)
            rows = self._rows_of(stated)
            if least < 0 or (rows is not None and most >= rows):
                there = f"which has {rows} rows" if rows is not None else "of which rows are counted from 0"
                flaws.append(Flaw("delete", path, f"deletes the rows {least} to {most} of {stated}, {there}"))
        return flaws


def _columns(store: Store, path: str, size: int, kind: FileFormat) -> tuple[pa.Array, pa.Array]:
    """Paths, as text, and positions."""
    import pyarrow as pa

    file = open_data_file(store, path, size, kind)
    by_id = any(f.has_ids() for f in file.fields)  # as in scans: names count only where there are no ids
    fields = [
        next((f for f in file.fields if (f.field_id == key if by_id else f.name == name)), None) for key, name in _NAMES.items()
    ]
    if None in fields:
        raise ValueError(f"has no columns {' and '.join(_NAMES.values())}: it is no file of position deletes")
    there = [f for f in fields if f is not None]
    batches = [batch for _, batch in file.batches([leaf for f in there for leaf in f.leaves])]
    found = [
        pa.chunked_array([batch.column(f.name) for batch in batches], f.type).cast(kind).combine_chunks()
        for f, kind in zip(there, (pa.large_string(), pa.int64()), strict=True)
    ]
    return found[0], found[1]


def _order(path: str, encoded: Any, named: list[str], positions: pa.Array) -> list[Flaw]:
    """Rows are sorted by path and position."""
    import numpy as np

    ranks = np.empty(len(named), np.int64)
    ranks[sorted(range(len(named)), key=lambda number: named[number].encode())] = np.arange(len(named))
    rank, pos = ranks[encoded.indices.to_numpy()], positions.to_numpy()
    falls = (rank[1:] < rank[:-1]) | ((rank[1:] == rank[:-1]) & (pos[1:] < pos[:-1]))
    if not falls.any():
        return []
    return [Flaw("delete", path, f"is not sorted by file_path and pos from row {int(falls.argmax()) + 1} on")]


def _as_stated(path: str, delete: Delete, named: list[str], least: list[int], most: list[int]) -> list[Flaw]:
    """The manifest says of which data files the rows are, by referenced_data_file and by the bounds of file_path, and which."""
    entry, flaws = delete.entry, list[Flaw]()
    referenced = entry.referenced_data_file
    if not named:
        return flaws
    if referenced is not None and named != [referenced]:
        flaws.append(Flaw("delete", path, f"deletes rows of {named[0]}, {delete.by} says that all are of {referenced}"))
    lower, upper = entry.lower_bounds.get(FILE_PATH), entry.upper_bounds.get(FILE_PATH)
    if lower is not None and named[0].encode() < lower:
        flaws.append(Flaw("bounds", path, f"deletes rows of {named[0]}, below the bound {lower!r} that {delete.by} states"))
    if upper is not None and named[-1].encode() > upper:
        flaws.append(Flaw("bounds", path, f"deletes rows of {named[-1]}, above the bound {upper!r} that {delete.by} states"))
    bounds = [int.from_bytes(raw, "little", signed=True) for b in (entry.lower_bounds, entry.upper_bounds) if (raw := b.get(POS))]
    if len(bounds) == 2 and bounds != [min(least), max(most)]:
        stated = f"{bounds[0]} to {bounds[1]}"
        flaws.append(Flaw("stats", path, f"deletes rows {min(least)} to {max(most)}, {delete.by} says {stated}"))
    return flaws
