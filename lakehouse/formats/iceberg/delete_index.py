"""Which deletes apply to which data file (Iceberg table spec, "Scan Planning").

* A deletion vector applies to the data file that it names; position deletes of that file then do not.
* Position deletes apply to data files that are not newer, of the same partition, or to the one file that they are stated to
  be of; which rows of which file, says the path in their rows, compared as text.
* Equality deletes apply to older data files of the same partition; those without a partition to older data files everywhere.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.entries import DataFile
from lakehouse.formats.iceberg.manifest import DELETED_FILE_PATH, EQUALITY_DELETES
from lakehouse.formats.iceberg.partitioning import PartitionSpec

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Applicable", "DeleteIndex", "OfPartition", "sequence_of"]

Partition = tuple[int, tuple[Any, ...]]


class OfPartition(NamedTuple):
    """The equality-delete files of one partition (None: of all)."""

    partition: Partition | None
    files: Sequence[DataFile]


class Applicable(NamedTuple):
    """The delete files of one data file. With a ``vector`` there are no ``positions``.

    ``equality``: all files of the partitions of which some apply; those that do are newer than the data file.
    """

    vector: DataFile | None
    positions: tuple[DataFile, ...]
    equality: tuple[OfPartition, ...]


class _BySequence:
    """Delete files in the order of their sequence numbers."""

    def __init__(self, files: Iterable[DataFile], where: str) -> None:
        self.files = sorted(files, key=lambda file: sequence_of(file, where))
        self._numbers = [sequence_of(file, where) for file in self.files]

    def from_(self, sequence: int) -> int:
        """The number of the first file that is not older."""
        return bisect_left(self._numbers, sequence)


class DeleteIndex:
    """The live delete files of a snapshot. ``types``: those of the columns that partitions may be made of, by their ids."""

    def __init__(
        self,
        deletes: Iterable[DataFile],
        specs: Mapping[int, PartitionSpec],
        types: Mapping[int, pa.DataType],
        where: str,
    ) -> None:
        self._where = where
        self._decimals = {spec.id: _decimals(spec, types) for spec in specs.values()}
        self._vectors: dict[str, DataFile] = {}
        by_path: dict[bytes, list[DataFile]] = defaultdict(list)
        by_bound: dict[bytes, list[DataFile]] = defaultdict(list)
        positions: dict[Partition, list[DataFile]] = defaultdict(list)
        equality: dict[Partition | None, list[DataFile]] = defaultdict(list)
        for delete in deletes:
            if delete.content == EQUALITY_DELETES:
                everywhere = specs[delete.spec_id].is_unpartitioned
                equality[None if everywhere else self._partition(delete)].append(delete)
            elif delete.file_format == "puffin":
                self._add_vector(delete)
            elif delete.referenced_data_file is not None:
                by_path[delete.referenced_data_file.encode()].append(delete)
            elif (bound := _only_bound(delete)) is not None:
                by_bound[bound].append(delete)
            else:
                positions[self._partition(delete)].append(delete)
        self._by_path = {path: _BySequence(files, where) for path, files in by_path.items()}
        self._by_bound = {bound: _BySequence(files, where) for bound, files in by_bound.items()}
        self._bound_sizes = sorted({len(bound) for bound in by_bound})
        self._positions = {partition: _BySequence(files, where) for partition, files in positions.items()}
        self._equality = {partition: _BySequence(files, where) for partition, files in equality.items()}

    def _add_vector(self, delete: DataFile) -> None:
        data_file = delete.referenced_data_file
        if data_file is None or delete.content_offset is None or delete.content_size is None:
            raise NotFound(
                f"{self._where} is damaged: the entry of the deletion vector in {delete.path} lacks its referenced_data_file, "
                "content_offset or content_size_in_bytes"
            )
        if data_file in self._vectors:
            raise NotFound(
                f"{self._where} is damaged: {data_file} has two deletion vectors, in {self._vectors[data_file].path} and in "
                f"{delete.path}; which rows are deleted is not known"
            )
        self._vectors[data_file] = delete

    def of(self, file: DataFile) -> Applicable | None:
        """The deletes that apply to the data file; None where there are none.

        Raises `NotFound` for an entry without a sequence number, and for a vector that is older than its data file.
        """
        sequence, partition = sequence_of(file, self._where), self._partition(file)
        equality = tuple(
            OfPartition(key, known.files)
            for key in (None, partition)
            if (known := self._equality.get(key)) is not None and known.from_(sequence + 1) < len(known.files)
        )
        vector = self._vectors.get(file.path)
        positions: tuple[DataFile, ...] = ()
        if vector is None:
            positions = self._position_files(file, sequence, partition)
        elif sequence_of(vector, self._where) < sequence:
            raise NotFound(
                f"{self._where} is damaged: the deletion vector of {file.path} in {vector.path} is older than that file"
            )
        return Applicable(vector, positions, equality) if vector or positions or equality else None

    def _position_files(self, file: DataFile, sequence: int, partition: Partition) -> tuple[DataFile, ...]:
        name = file.path.encode()
        found = [*_not_older(self._by_path.get(name), sequence), *_not_older(self._by_bound.get(name), sequence)]
        for size in self._bound_sizes[: bisect_left(self._bound_sizes, len(name))]:
            cut = _not_older(self._by_bound.get(name[:size]), sequence)
            found += (delete for delete in cut if self._partition(delete) == partition)
        found += (delete for delete in _not_older(self._positions.get(partition), sequence) if _may_name(delete, name))
        return tuple(found)

    def _partition(self, file: DataFile) -> Partition:
        """The partition as a key: equal where the values are, however they were written."""
        decimals = self._decimals[file.spec_id]
        if not decimals and not any(isinstance(value, float) for value in file.partition):
            return file.spec_id, file.partition
        return file.spec_id, tuple(_key(value, is_decimal=place in decimals) for place, value in enumerate(file.partition))


def sequence_of(file: DataFile, where: str) -> int:
    """The data sequence number of an entry. Raises `NotFound` where there is none."""
    if file.sequence_number is None:
        raise NotFound(
            f"{where} is damaged: the entry of {file.path} has no sequence number and may inherit none, so it is not known "
            "which deletes apply; restore the manifest"
        )
    return file.sequence_number


def _decimals(spec: PartitionSpec, types: Mapping[int, pa.DataType]) -> frozenset[int]:
    """The places of a partition tuple that hold decimals, whose bytes may be of several lengths for one value."""
    import pyarrow.types

    return frozenset(
        place
        for place, field in enumerate(spec.fields)
        if (kind := types.get(field.source_ids[0])) is not None and pyarrow.types.is_decimal(kind)
    )


def _key(value: Any, *, is_decimal: bool) -> Any:
    if is_decimal and isinstance(value, bytes):
        return int.from_bytes(value, "big", signed=True)
    if isinstance(value, float):  # NaN is one partition, and zero with a sign another than zero
        return "NaN" if math.isnan(value) else value.hex()
    return value


def _not_older(known: _BySequence | None, sequence: int) -> Sequence[DataFile]:
    return () if known is None else known.files[known.from_(sequence) :]


def _only_bound(delete: DataFile) -> bytes | None:
    """Both bounds of the paths that position deletes name, where they are the same: the one path, or what it was cut off to."""
    lower, upper = delete.lower_bounds.get(DELETED_FILE_PATH), delete.upper_bounds.get(DELETED_FILE_PATH)
    return lower if lower == upper else None


def _may_name(delete: DataFile, path: bytes) -> bool:
    """Whether the bounds of the paths that position deletes name hold ``path``; an upper one may have been cut off."""
    lower, upper = delete.lower_bounds.get(DELETED_FILE_PATH), delete.upper_bounds.get(DELETED_FILE_PATH)
    return (lower is None or lower <= path) and (upper is None or path <= upper or path.startswith(upper))
