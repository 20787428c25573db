"""Scans of Iceberg tables: which data files hold the rows of a snapshot, and what is deleted of them (spec, "Scan Planning")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.iceberg.delete_files import DeleteFiles, format_of
from lakehouse.formats.iceberg.delete_index import DeleteIndex
from lakehouse.formats.iceberg.entries import DataFile, read_data_files
from lakehouse.formats.iceberg.manifest import DATA, DELETED
from lakehouse.formats.iceberg.manifest_list import ManifestFile
from lakehouse.formats.iceberg.metadata import Snapshot, moment
from lakehouse.formats.iceberg.partitioning import specs_of
from lakehouse.formats.iceberg.pruning import Pruning
from lakehouse.formats.iceberg.schema import ReadSchema, historical_fields, read_schema
from lakehouse.formats.iceberg.snapshot import points_of, snapshot_at
from lakehouse.formats.iceberg.tree import manifests_of, read_manifest, readers
from lakehouse.formats.iceberg.version import IcebergVersion, pin_version
from lakehouse.origin import Made, SourceVersion, known_names, made_at, ref_named, stated_source, version_named
from lakehouse.parallel import every
from lakehouse.reading.task import MayMatch, Point, ReadField, ScanPlan, ScanTask
from lakehouse.settings import masked
from lakehouse.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["plan_scan", "points_of"]


def plan_scan(store: Store, version: IcebergVersion, point: Point) -> ScanPlan:
    """How to read ``version`` at ``point``. Raises as `TableFormat.scan` says.

    A name means that of the source's version in a table that was made from others, after branches, tags and snapshots of its own.
    """
    point = _resolved(version, point)
    if point.version is not None and point.version != version.id:
        version = pin_version(store, point.version, version.terms)
    snapshot, stated = snapshot_at(version, point)
    schema = read_schema(version.metadata, stated, version.where)
    if snapshot is None:
        return ScanPlan(store, schema.fields, lambda _: (), schema.refused)
    tasks = _Planning(store, version, snapshot, schema).tasks
    return ScanPlan(store, schema.fields, tasks, schema.refused, partial(_source_of, version, snapshot, point))


def _resolved(version: IcebergVersion, point: Point) -> Point:
    """The table's own point that a user's name means. Raises `NotFound`, saying what there is, where it means none.

    ``v<N>.metadata.json`` may have been another version at the source, so in a table that was made from others it is no name.
    """
    if not point.named or (point.ref is not None and point.ref in ("main", *(version.metadata.get("refs") or ()))):
        return point
    name = point.ref or point.version or ("" if point.snapshot is None else str(point.snapshot))
    own = name.isdecimal() and any(snapshot.id == int(name) for snapshot in version.snapshots)
    made = _made(version)
    if not any(each.source for each in made) or (own and point.snapshot is not None):
        return Point(snapshot=int(name)) if own else replace(point, named=False)
    if point.as_of is not None:
        found = made_at(point.as_of, _in_log(version, made))
    else:
        found = ref_named(name, made) if point.ref else version_named(name, made)
    if found is not None:
        return Point(snapshot=found.id)
    if own:
        return Point(snapshot=int(name))
    if point.version is not None and name.endswith(".json") and not name.startswith("v"):  # its name has a UUID
        return point
    raise NotFound(
        f"{version.where}: was made from versions of another table, and none that is retained is its {point}; there are: "
        f"{known_names(made)}. A snapshot of this table's own is read by its id, or as one of its points (point=)"
    )


def _made(version: IcebergVersion) -> list[Made]:
    """The retained snapshots, newest first, with what each was made from."""
    stated: dict[Any, Mapping[str, Any]] = {
        raw.get("snapshot-id"): raw.get("summary") or {} for raw in version.metadata.get("snapshots") or ()
    }
    by_time = sorted(version.snapshots, key=lambda snapshot: snapshot.at)  # of the same time the last one listed is the newest
    return [Made(each.id, moment(each.at), stated_source(stated[each.id])) for each in reversed(by_time)]


def _in_log(version: IcebergVersion, made: Iterable[Made]) -> list[Made]:
    """The snapshots that the table stood at, newest first, each with the time since when; all where there is no log.

    What lies before one that was expired is left out: what the table held then is not known.
    """
    known, found = {each.id: each for each in made}, list[Made]()
    for raw in reversed(version.metadata.get("snapshot-log") or ()):
        if raw.get("snapshot-id") not in known:
            break
        found.append(replace(known[raw["snapshot-id"]], at=moment(raw.get("timestamp-ms"))))
    return found or list(known.values())


def _source_of(version: IcebergVersion, snapshot: Snapshot, point: Point) -> SourceVersion:
    """What is made from ``snapshot`` is made from: what this was made from, else this.

    A state that the table was rolled back to counts from then on.
    """
    stated = next((each.source for each in _made(version) if each.id == snapshot.id), None)
    if stated is not None:
        return replace(stated, ref=stated.ref or point.ref)
    log = version.metadata.get("snapshot-log") or [{}]
    is_head = point.snapshot is None and point.as_of is None and log[-1].get("snapshot-id") == snapshot.id
    at = log[-1].get("timestamp-ms") if is_head else snapshot.at
    return SourceVersion(str(masked("url", version.url)), str(snapshot.id), moment(at), point.ref)


class _Planning:
    """One snapshot of a table. What its delete files hold is kept for all its scans."""

    def __init__(self, store: Store, version: IcebergVersion, snapshot: Snapshot, schema: ReadSchema) -> None:
        self._store, self._version, self._snapshot = store, version, snapshot
        self._specs = specs_of(version.metadata, version.where)
        self._columns = historical_fields(version.metadata, schema, version.where)
        self._pruning = Pruning((each for each in schema.fields if each.name not in schema.refused), self._specs, version.where)
        self._delete_files = DeleteFiles(store, version, schema, self._specs)

    @cached_property
    def _manifests(self) -> list[ManifestFile]:
        return manifests_of(self._store, self._version, self._snapshot, in_full=True)

    @cached_property
    def _deletes(self) -> DeleteIndex:
        """All live delete files, whatever a filter rules out: another scan may need them."""
        manifests = [manifest for manifest in self._manifests if manifest.content != DATA]
        return DeleteIndex(self._live(manifests), self._specs, _types(self._columns.values()), self._version.where)

    def tasks(self, may_match: MayMatch) -> Iterator[ScanTask]:
        """The data files whose rows may satisfy the filter, as their manifests arrive."""
        manifests = [
            manifest
            for manifest in self._manifests
            if manifest.content == DATA and may_match(self._pruning.of_manifest(manifest), None)
        ]
        for file in self._live(manifests):
            if may_match(self._pruning.of_file(file), file.rows):
                yield self._task(file)

    def _task(self, file: DataFile) -> ScanTask:
        applicable = self._deletes.of(file)
        return ScanTask(
            path=self._version.entries.read(file.path),
            size=file.size,
            file_format=format_of(file, self._version.where),
            rows=file.rows,
            by="id",
            constants=self._pruning.constants(file),
            deletes=None if applicable is None else partial(self._delete_files.of, file, applicable),
            bounds=self._pruning.of_file(file),
            inner_constants=self._pruning.inner_constants(file),
        )

    def _live(self, manifests: list[ManifestFile]) -> Iterator[DataFile]:
        """The entries of those manifests whose files the snapshot reads.

        Raises `NotFound` for a manifest that is missing or damaged, `Unsupported` for encrypted files.
        """
        version = self._version
        for manifest, data in every(partial(read_manifest, self._store, version), manifests, workers=readers(manifests)):
            count = 0
            where = f"{version.url}: {version.locations.read(manifest.path)}"
            for file in read_data_files(data, where, manifest, self._specs):
                count += 1
                if file.status == DELETED:
                    continue
                if file.encrypted:
                    raise Unsupported(f"{version.where}: the file {file.path} is encrypted; nothing here has its key")
                if (file.content == DATA) != (manifest.content == DATA):
                    raise NotFound(f"{where} is damaged: it lists {file.path}, whose content is {file.content}")
                yield file
            if manifest.entries is not None and count < manifest.entries and len(data) < manifest.length:
                raise NotFound(
                    f"{where} was cut: {count} of {manifest.entries} entries, {len(data)} of {manifest.length} bytes are there"
                )


def _types(fields: Iterable[ReadField]) -> dict[int, pa.DataType]:
    """The types of those fields and all inside of them, by their ids."""
    found: dict[int, pa.DataType] = {}
    for field in fields:
        if field.field_id is not None:
            found[field.field_id] = field.type
        found |= _types(field.children)
    return found
