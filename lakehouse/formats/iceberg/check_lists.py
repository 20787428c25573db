"""Whether the manifest list of each retained snapshot is the one that was written for it.

Iceberg table spec, "Snapshots" and "Manifest Lists". A list may be of an older format version than the table (tables are upgraded
in place), and its key-values are the writer's own addition: they are compared where they stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lakehouse.errors import LakeError, NotFound
from lakehouse.formats.iceberg.avro import Block, Header, read_container, write_container
from lakehouse.formats.iceberg.check_places import Places
from lakehouse.formats.iceberg.manifest import manifest_walker
from lakehouse.formats.iceberg.manifest_list import ManifestFile, read_list
from lakehouse.formats.iceberg.metadata import Snapshot
from lakehouse.formats.iceberg.version import IcebergVersion
from lakehouse.parallel import each
from lakehouse.reading.examine import Examination, Flaw
from lakehouse.store import Store

__all__ = ["Counts", "Listed", "Lists", "Statement", "differences", "raises", "read_lists"]

_WORKERS = 16
_PATH = 500
_COUNTS = {
    _PATH: "manifest_path",
    504: "added_files_count",
    505: "existing_files_count",
    506: "deleted_files_count",
    512: "added_rows_count",
    513: "existing_rows_count",
    514: "deleted_rows_count",
}
_FACTS = ("sequence_number", "added_snapshot_id", "partition_spec_id", "content", "manifest_length", *list(_COUNTS.values())[1:])
_KEY_VALUES = {"snapshot-id": "snapshot-id", "sequence-number": "sequence-number", "parent-snapshot-id": "parent-snapshot-id"}
_CONTENTS = (0, 1)

Counts = tuple[int | None, ...]
"""Added, existing and deleted files, then rows: as a list states them (None: it does not)."""


@dataclass(slots=True)
class Statement:
    """What some lists say alike of a manifest. ``by``: where the first of them lies ("" : the metadata names it itself)."""

    manifest: ManifestFile
    counts: Counts
    by: str
    lists: int = 1


@dataclass(slots=True)
class Listed:
    """A manifest, and what is said of it; first what most lists say.

    ``snapshots``: one bit for each snapshot that reads it, by its place in `IcebergVersion.snapshots`.
    """

    statements: list[Statement] = field(default_factory=list)
    snapshots: int = 0

    @property
    def manifest(self) -> ManifestFile:
        return self.statements[0].manifest

    @property
    def by(self) -> str:
        return self.statements[0].by

    def add(self, manifest: ManifestFile, counts: Counts, by: str) -> None:
        for known in self.statements:
            if known.manifest is manifest or not differences(known, manifest, counts):
                known.lists, known.by = known.lists + 1, min(known.by, by)
                break
        else:
            self.statements.append(Statement(manifest, counts, by))
        if len(self.statements) > 1:
            self.statements.sort(key=lambda one: (-one.lists, one.by))


@dataclass(slots=True)
class Lists:
    """``manifests``: by stated path. ``whole``: the numbers of the snapshots whose lists could be read. ``records``: what encoded
    records say, by the schema of their lists: most stand in list after list.
    """

    manifests: dict[str, Listed] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)
    records: dict[bytes, dict[bytes, tuple[ManifestFile, Counts]]] = field(default_factory=dict)


def differences(one: Statement, manifest: ManifestFile, counts: Counts) -> list[str]:
    """What two lists say differently of one manifest, where both say something."""
    pairs = zip(_facts(one.manifest, one.counts), _facts(manifest, counts), _FACTS, strict=True)
    return [f"{name} {mine} and not {other}" for mine, other, name in pairs if mine != other and None not in (mine, other)]


def _facts(manifest: ManifestFile, counts: Counts) -> tuple[int | None, ...]:
    return (
        manifest.sequence_number,
        manifest.added_snapshot_id,
        manifest.partition_spec_id,
        manifest.content,
        manifest.length,
        *counts,
    )


def raises(path: str, error: LakeError) -> Examination:
    """The examination of an object that could not be looked at."""

    def run(_deep: bool) -> list[Flaw]:
        raise error

    return Examination(path, run)


def read_lists(
    store: Store, version: IcebergVersion, specs: Mapping[int, object], places: Places, found: Lists
) -> Iterator[Flaw | Examination]:
    """Reads the lists of all snapshots of ``version`` into ``found``, and gives what is wrong with them.

    Kinds: ``external``, ``missing``, ``unreadable``, ``header``, ``sequence``, ``duplicate``, ``counts``, ``content``,
    ``partition``, ``length``.
    """
    placed = list[tuple[int, str]]()
    for number, snapshot in enumerate(version.snapshots):
        if snapshot.manifest_list is None:
            _named_by_metadata(snapshot, number, found)
            continue
        path, flaws = places.metadata(snapshot.manifest_list, version.root)
        yield from flaws
        placed += [(number, path)] if path is not None else []
    for (number, path), outcome in each(lambda one: store.get(one[1]), placed, workers=_WORKERS):
        if isinstance(outcome, NotFound):
            yield Flaw("missing", path, f"the manifest list of snapshot {version.snapshots[number].id} is not there")
        elif isinstance(outcome, LakeError):
            yield raises(path, outcome)
        else:
            yield from _list(path, number, outcome, version, specs, found)


def _list(
    path: str, number: int, data: bytes, version: IcebergVersion, specs: Mapping[int, object], found: Lists
) -> Iterator[Flaw | Examination]:
    raw = version.metadata["snapshots"][number]
    try:
        header, records = _read(path, data, found)
    except NotFound as error:
        yield Flaw("unreadable", path, str(error))
        return
    except LakeError as error:
        yield raises(path, error)
        return
    found.whole.add(number)
    yield from _header(path, header, raw, version)
    yield from _records(path, [manifest for manifest, _ in records], raw, specs)
    for manifest, counts in records:
        listed = found.manifests.setdefault(manifest.path, Listed())
        listed.snapshots |= 1 << number
        listed.add(manifest, counts, path)


def _named_by_metadata(snapshot: Snapshot, number: int, found: Lists) -> None:
    """Version 1 only: the snapshot names its manifests itself."""
    found.whole.add(number)
    for path in snapshot.manifests:
        listed = found.manifests.setdefault(path, Listed())
        listed.snapshots |= 1 << number
        listed.add(ManifestFile(path, 0, 0, None, False), (None,) * 6, "")


def _read(path: str, data: bytes, found: Lists) -> tuple[Header, list[tuple[ManifestFile, Counts]]]:
    """The records of a list; those that an earlier one had, as it had them, are not decoded again."""
    header, blocks = read_container(data, path)
    walker = manifest_walker(header, {_PATH: _COUNTS[_PATH]}, path, _PATH)
    raws = [block.data[spans[0][0] : spans[0][1]] for block in blocks for spans in walker.records(block, path)]
    known = found.records.setdefault(header.metadata["avro.schema"], {})
    new = [raw for raw in dict.fromkeys(raws) if raw not in known]
    if new:
        part = write_container(header, [Block(len(new), b"".join(new))])
        read = zip(read_list(part, path, in_full=True), _counts(part, path), strict=True)
        known.update(zip(new, read, strict=True))
    return header, [known[raw] for raw in raws]


def _counts(data: bytes, path: str) -> Iterator[Counts]:
    header, blocks = read_container(data, path)
    walker = manifest_walker(header, _COUNTS, path, _PATH)
    places = [(field_id, walker.at(field_id)) for field_id in _COUNTS if field_id != _PATH]
    for block in blocks:
        for spans in walker.records(block, path):
            yield tuple(walker.decode(field_id, block.data, spans[at]) if at is not None else None for field_id, at in places)


def _header(path: str, header: Header, raw: Mapping[str, Any], version: IcebergVersion) -> Iterator[Flaw]:
    """The key-values name the snapshot that the list was written for."""
    for key, name in _KEY_VALUES.items():
        stated, wanted = header.metadata.get(key), raw.get(name)
        text = stated.decode(errors="replace") if stated is not None else None
        if text not in (None, "null", "None", "") and wanted is not None and text != str(wanted):
            yield Flaw("header", path, f"was written for {key} {text}, snapshot {raw['snapshot-id']} has {wanted}")
    stated = header.metadata.get("format-version")
    if stated is not None and not (stated.isdigit() and int(stated) <= version.metadata["format-version"]):
        yield Flaw(
            "header",
            path,
            f"has format-version {stated.decode(errors='replace')}, the table {version.metadata['format-version']}",
        )


def _records(path: str, manifests: list[ManifestFile], raw: Mapping[str, Any], specs: Mapping[int, object]) -> Iterator[Flaw]:
    """Each manifest stands once, is of a partition spec of the table, and no newer than the snapshot."""
    last, seen = raw.get("sequence-number") or 0, set[str]()
    for manifest in manifests:
        if manifest.path in seen:
            yield Flaw("duplicate", path, f"names the manifest {manifest.path} twice: its rows are read twice")
        seen.add(manifest.path)
        if manifest.sequence_number > last or manifest.min_sequence_number > manifest.sequence_number:
            numbers = f"{manifest.min_sequence_number} to {manifest.sequence_number}"
            yield Flaw("sequence", path, f"states the sequence numbers {numbers} of {manifest.path}, its snapshot has {last}")
        if manifest.content not in _CONTENTS:
            yield Flaw(
                "content", path, f"states the content {manifest.content} of {manifest.path}: neither data (0) nor deletes (1)"
            )
        if manifest.partition_spec_id is not None and manifest.partition_spec_id not in specs:
            yield Flaw(
                "partition",
                path,
                f"states the partition spec {manifest.partition_spec_id} of {manifest.path}: the table has none",
            )
        if manifest.length < 0:
            yield Flaw("length", path, f"states {manifest.length} bytes of {manifest.path}")
