"""Whether each manifest is the one that lists name, and its entries agree with each other, with the lists and with the table.

Iceberg table spec, "Manifests", "Manifest Lists" and "Snapshots" (summaries: Appendix F). Files come out as they are met, each
once, to be looked at on their own; delete files, which are held against data files, are kept until all manifests are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lakehouse.errors import LakeError, NotFound, Unsupported
from lakehouse.formats.iceberg.avro import Header, read_container
from lakehouse.formats.iceberg.check_entries import entry_flaws, is_vector
from lakehouse.formats.iceberg.check_lists import Listed, Lists, Statement, differences, raises
from lakehouse.formats.iceberg.check_partitions import summary_flaws, tuple_flaws, types_of
from lakehouse.formats.iceberg.check_places import Places
from lakehouse.formats.iceberg.check_values import Column
from lakehouse.formats.iceberg.entries import DataFile, read_data_files
from lakehouse.formats.iceberg.manifest import DATA, DELETED, POSITION_DELETES
from lakehouse.formats.iceberg.partitioning import PartitionSpec
from lakehouse.formats.iceberg.tree import readers
from lakehouse.formats.iceberg.version import IcebergVersion
from lakehouse.parallel import each
from lakehouse.reading.examine import Examination, Flaw
from lakehouse.store import Store

__all__ = ["Delete", "Found", "Known", "Manifests", "Totals"]

_CONTENTS = {b"data": 0, b"deletes": 1}
_COUNTED = ("added_files", "existing_files", "deleted_files", "added_rows", "existing_rows", "deleted_rows")
_TOLD_BY_LISTS = {
    "sequence_number": "sequence",
    "added_snapshot_id": "sequence",
    "partition_spec_id": "partition",
    "content": "content",
}
"""What lists say of a manifest that its entries do not show, and the kind of flaw where one says it otherwise than most."""
_PLACE_OF_STATUS = (1, 0, 2)  # EXISTING, ADDED, DELETED among the counts of a list


class Totals(NamedTuple):
    """What the live entries of one manifest add up to; files and rows by their kind, ``size`` in bytes."""

    data_files: int
    delete_files: int
    records: int
    position_deletes: int
    equality_deletes: int
    size: int


class Known(NamedTuple):
    """A live file. ``snapshots``: one bit for each that reads it. ``by``: where the manifest lies that named it first."""

    size: int
    rows: int
    snapshots: int
    by: str


class Delete(NamedTuple):
    """A live delete file, where it lies (None: it may not be read), and the manifest that names it."""

    entry: DataFile
    path: str | None
    by: str
    snapshots: int


@dataclass(slots=True)
class Found:
    """What the manifests hold. ``files``: live ones by stated path (vectors: with their offset). ``gone``: stated paths of
    DELETED entries. ``totals``: by the stated path of each manifest that could be read.
    """

    files: dict[str, Known] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    deletes: list[Delete] = field(default_factory=list)
    totals: dict[str, Totals] = field(default_factory=dict)


class Manifests:
    """All manifests of the retained snapshots. ``lists``: what names them; ``found`` is filled while `look` is iterated."""

    def __init__(
        self,
        store: Store,
        version: IcebergVersion,
        lists: Lists,
        specs: Mapping[int, PartitionSpec],
        columns: Mapping[int, Column],
    ) -> None:
        self._store, self._lists, self._specs, self._columns = store, lists, specs, columns
        self._format_version = int(version.metadata["format-version"])
        self._places = Places(version)
        self._keeps_gone = any(listed.manifest.content != DATA for listed in lists.manifests.values())
        self.found = Found()

    def look(self) -> Iterator[Flaw | Examination | tuple[DataFile, str, str]]:
        """Reads every manifest, and gives what is wrong with it, and each data file with its place and its manifest's.

        Kinds: ``missing``, ``size``, ``length``, ``unreadable``, ``header``, ``counts``, ``partition``, ``external``,
        ``duplicate``, ``sequence``, ``content``, ``schema``, ``bounds``, ``vector``.
        """
        placed = list[tuple[str, Listed]]()
        for listed in self._lists.manifests.values():
            path, flaws = self._places.metadata(listed.manifest.path, listed.by or "the table's metadata")
            yield from flaws
            yield from _minorities(listed)
            if path is not None and listed.manifest.encrypted:
                yield raises(path, Unsupported(f"{path}: the manifest is encrypted; nothing here has the key"))
            elif path is not None:
                placed.append((path, listed))
        manifests = [listed.manifest for _, listed in placed]
        for (path, listed), outcome in each(lambda one: self._store.get(one[0]), placed, workers=readers(manifests)):
            if isinstance(outcome, NotFound):
                yield Flaw("missing", path, f"the manifest is not there; {listed.by or 'the metadata'} names it")
            elif isinstance(outcome, LakeError):
                yield raises(path, outcome)
            else:
                try:
                    yield from self._manifest(path, listed, outcome)
                except NotFound as error:
                    yield Flaw("unreadable", path, str(error))
                except LakeError as error:
                    yield raises(path, error)

    def _manifest(self, path: str, listed: Listed, data: bytes) -> Iterator[Flaw | Examination | tuple[DataFile, str, str]]:
        header, _ = read_container(data, path)
        yield from self._header(path, listed, header)
        files, rows, partitions = [0, 0, 0], [0, 0, 0], set[tuple[Any, ...]]()
        totals = [0, 0, 0, 0, 0, 0]
        least: int | None = None
        for entry in read_data_files(data, path, listed.manifest, self._specs):
            place = _PLACE_OF_STATUS[entry.status]
            files[place] += 1
            rows[place] += entry.rows
            if entry.status == DELETED:
                if self._keeps_gone:
                    self.found.gone.add(entry.path)
                continue
            partitions.add(entry.partition)
            _add(totals, entry)
            if entry.sequence_number is not None and (least is None or entry.sequence_number < least):
                least = entry.sequence_number
            yield from self._entry(path, listed, entry)
        self.found.totals[listed.manifest.path] = Totals(*totals)
        for statement in listed.statements if listed.by else ():
            yield from _as_stated(path, statement, len(data), (*files, *rows), least)
        yield from self._partitions(path, listed, partitions, header)

    def _header(self, path: str, listed: Listed, header: Header) -> Iterator[Flaw]:
        """The key-values that the spec demands are there, and agree with the list and with the table."""
        stated, version = header.metadata, self._format_version
        missing = [key for key in ("schema", "partition-spec") if key not in stated]
        if missing:
            yield Flaw("header", path, f"has no {' and no '.join(missing)} among its key-values")
        try:
            spec_id = int(stated.get("partition-spec-id", b"0"))
            file_version = int(stated.get("format-version", b"1"))
            fields = json.loads(stated["partition-spec"]) if "partition-spec" in stated else None
            json.loads(stated.get("schema", b"{}"))
            transforms = [_transform(raw) for raw in fields] if fields is not None else None
        except (ValueError, KeyError, TypeError) as error:
            yield Flaw("header", path, f"has key-values that cannot be read ({error!r})")
            return
        wanted = listed.manifest.partition_spec_id
        if wanted is not None and "partition-spec-id" in stated and spec_id != wanted:
            yield Flaw("header", path, f"has the partition-spec-id {spec_id}, {listed.by} says {wanted}")
        if file_version > version:
            yield Flaw("header", path, f"has the format-version {file_version}, the table {version}")
        content = _CONTENTS.get(stated.get("content", b"data"))
        if content is None or (content != listed.manifest.content and listed.by):
            yield Flaw(
                "header", path, f"has the content {stated.get('content', b'data')!r}, {listed.by} says {listed.manifest.content}"
            )
        spec = self._specs.get(spec_id if wanted is None else wanted)
        if spec is not None and transforms is not None and transforms != [(one.source_ids, one.transform) for one in spec.fields]:
            yield Flaw("header", path, f"has another partition-spec than the table's spec {spec.id}")

    def _entry(self, path: str, listed: Listed, entry: DataFile) -> Iterator[Flaw | Examination | tuple[DataFile, str, str]]:
        for kind, text in entry_flaws(entry, listed.manifest, self._columns, self._format_version):
            yield Flaw(kind, path, f"its entry of {entry.path} {text}")
        key = f"{entry.path}#{entry.content_offset}" if is_vector(entry) else entry.path
        known = self.found.files.get(key)
        if known is not None and known.snapshots & listed.snapshots:
            yield Flaw("duplicate", path, f"names {entry.path}, which a snapshot reads already by {known.by}")
        if known is not None:
            if (known.size, known.rows) != (entry.size, entry.rows):
                said = f"{entry.size} bytes and {entry.rows} rows of {entry.path}, {known.by} {known.size} and {known.rows}"
                yield Flaw("counts", path, f"states {said}")
            self.found.files[key] = known._replace(snapshots=known.snapshots | listed.snapshots)
            return
        self.found.files[key] = Known(entry.size, entry.rows, listed.snapshots, path)
        place, flaws = self._places.file(entry.path, path)
        yield from flaws
        if entry.encrypted:
            yield raises(place or entry.path, Unsupported(f"{entry.path}: is encrypted; nothing here has the key"))
        elif entry.content != DATA:
            self.found.deletes.append(Delete(entry, place, path, listed.snapshots))
        elif place is not None:
            yield entry, place, path

    def _partitions(self, path: str, listed: Listed, partitions: set[tuple[Any, ...]], header: Header) -> Iterator[Flaw]:
        number = listed.manifest.partition_spec_id
        if number is None:
            number = int(header.metadata.get("partition-spec-id", b"0"))
        spec = self._specs[number]
        types = types_of(spec, self._columns)
        yield from (Flaw("partition", path, text) for text in tuple_flaws(partitions, spec, types))
        for statement in listed.statements:
            summaries = statement.manifest.partitions
            for text in summary_flaws(partitions, summaries, spec, types) if summaries is not None else ():
                yield Flaw("partition", path, f"{text} in {statement.by}")


def _minorities(listed: Listed) -> Iterator[Flaw]:
    """What single lists say otherwise than most."""
    most = listed.statements[0]
    for other in listed.statements[1:]:
        for text in differences(other, most.manifest, most.counts):
            kind = _TOLD_BY_LISTS.get(text.partition(" ")[0])
            if kind is not None:
                yield Flaw(kind, other.by, f"states of {listed.manifest.path} {text}, as {most.by} does")


def _as_stated(path: str, said: Statement, size: int, counted: tuple[int, ...], least: int | None) -> Iterator[Flaw]:
    """The manifest has the length and the entries that lists state. Where it differs in both, the manifest is named."""
    stated = said.manifest
    differ = [
        f"{real} {name.replace('_', ' ')} where it states {other}"
        for name, real, other in zip(_COUNTED, counted, said.counts, strict=True)
        if other is not None and other != real
    ]
    if size != stated.length:
        if differ:
            yield Flaw("size", path, f"has {size} bytes, {said.by} states {stated.length}")
        else:
            yield Flaw("length", said.by, f"states {stated.length} bytes of {path}, which has {size} and all its entries")
    if differ:
        named, other = (path, said.by) if size != stated.length else (said.by, path)
        yield Flaw("counts", named, f"does not agree with {other}: there are {', '.join(differ)}")
    if least is not None and stated.min_sequence_number > least:
        yield Flaw("sequence", said.by, f"states {stated.min_sequence_number} as the least of {path}, which has {least}")


def _transform(raw: Mapping[str, Any]) -> tuple[tuple[int, ...], str]:
    sources = raw["source-ids"] if "source-ids" in raw else [raw["source-id"]]
    return tuple(map(int, sources)), str(raw["transform"])


def _add(totals: list[int], entry: DataFile) -> None:
    """Adds a live entry to what becomes a `Totals`."""
    if entry.content == DATA:
        totals[0] += 1
        totals[2] += entry.rows
    else:
        totals[1] += 1
        totals[3 if entry.content == POSITION_DELETES else 4] += entry.rows
    totals[5] += entry.size if entry.content_size is None else entry.content_size
