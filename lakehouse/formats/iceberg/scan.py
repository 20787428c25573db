"""Scans of Iceberg tables: which data files hold the rows of a snapshot, and what is deleted of them (spec, "Scan Planning")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.iceberg.delete_files import DeleteFiles, format_of
from lakehouse.formats.iceberg.delete_index import DeleteIndex
from lakehouse.formats.iceberg.entries import DataFile, read_data_files
from lakehouse.formats.iceberg.manifest import DATA, DELETED
from lakehouse.formats.iceberg.manifest_list import ManifestFile
from lakehouse.formats.iceberg.metadata import Snapshot
from lakehouse.formats.iceberg.partitioning import specs_of
from lakehouse.formats.iceberg.pruning import Pruning
from lakehouse.formats.iceberg.schema import ReadSchema, historical_fields, read_schema
from lakehouse.formats.iceberg.snapshot import points_of, snapshot_at
from lakehouse.formats.iceberg.tree import manifests_of, read_manifest, readers
from lakehouse.formats.iceberg.version import IcebergVersion, pin_version
from lakehouse.parallel import every
from lakehouse.reading.task import MayMatch, Point, ReadField, ScanPlan, ScanTask
from lakehouse.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["plan_scan", "points_of"]


def plan_scan(store: Store, version: IcebergVersion, point: Point) -> ScanPlan:
    """How to read ``version`` at ``point``. Raises as `TableFormat.scan` says."""
    if point.version is not None and point.version != version.id:
        version = pin_version(store, point.version, version.terms)
    snapshot, stated = snapshot_at(version, point)
    schema = read_schema(version.metadata, stated, version.where)
    if snapshot is None:
        return ScanPlan(store, schema.fields, lambda _: (), schema.refused)
    return ScanPlan(store, schema.fields, _Planning(store, version, snapshot, schema).tasks, schema.refused)


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
