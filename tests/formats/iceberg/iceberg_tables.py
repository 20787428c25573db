"""Iceberg tables that change, made by pyiceberg on a catalog of their own (SQLite): small sources for tests of a sync."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType, NestedField, StringType

__all__ = ["ChangingTable", "changing_table", "rows"]

_NAME = "source.table"
_SCHEMA = Schema(NestedField(1, "id", LongType()), NestedField(2, "p", StringType()))
_SPEC = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "p"))


def rows(first: int, count: int = 10) -> pa.Table:
    """Rows whose ids count up from ``first``, in two partitions with a space and a sign in their names."""
    ids = range(first, first + count)
    return pa.table({"id": pa.array(ids, pa.int64()), "p": [f"p {number % 2}+ä" for number in ids]})


class ChangingTable:
    """The table ``source.table`` of a catalog, in ``folder``. Each method is one change, committed."""

    def __init__(self, catalog: SqlCatalog, folder: Path) -> None:
        self.catalog, self.folder = catalog, folder

    @property
    def table(self) -> Table:
        return self.catalog.load_table(_NAME)

    @property
    def root(self) -> Path:
        """The current metadata file."""
        return Path(self.table.metadata_location.removeprefix("file://"))

    @property
    def current(self) -> int:
        """The id of the current snapshot."""
        snapshot = self.table.current_snapshot()
        if snapshot is None:
            raise LookupError("the table has no snapshot")
        return snapshot.snapshot_id

    def create(self, **properties: str) -> None:
        self.catalog.create_table(_NAME, _SCHEMA, f"file://{self.folder}", _SPEC, properties=properties)

    def recreate(self) -> None:
        """Another table in the same folder, the old one's files gone."""
        self.catalog.drop_table(_NAME)
        shutil.rmtree(self.folder)
        self.create()

    def append(self, first: int, count: int = 10, *, branch: str = "main") -> None:
        self.table.append(rows(first, count), branch=branch)

    def delete(self, where: str) -> None:
        """Delete rows, copy on write."""
        self.table.delete(where)

    def compact(self) -> None:
        """Write all rows anew, into one file a partition."""
        self.table.overwrite(self.table.scan().to_arrow())

    def merge_manifests(self, first: int) -> None:
        """An append that writes one manifest in place of all there were."""
        with self.table.transaction() as change:
            change.set_properties({"commit.manifest-merge.enabled": "true", "commit.manifest.min-count-to-merge": "2"})
        self.append(first)

    def expire(self, *, keep: int = 1) -> None:
        """Forget all snapshots but the newest, and remove the files that nothing needs any more."""
        table = self.table
        old = sorted(table.snapshots(), key=lambda one: one.sequence_number or 0)[:-keep]
        held = {ref.snapshot_id for ref in table.refs().values()}
        table.maintenance.expire_snapshots().by_ids([one.snapshot_id for one in old if one.snapshot_id not in held]).commit()
        self.remove_orphans()

    def remove_orphans(self) -> None:
        """Remove every file below the folder that the current metadata file does not lead to."""
        needed = {self.root, *map(_local, _needed(json.loads(self.root.read_text())))}
        for path in self.folder.rglob("*"):
            if path.is_file() and path not in needed and not path.name.endswith(".metadata.json"):
                path.unlink()

    def rollback(self, snapshot: int) -> None:
        with self.table.manage_snapshots() as change:
            change.rollback_to_snapshot(snapshot)

    def tag(self, name: str, snapshot: int) -> None:
        with self.table.manage_snapshots() as change:
            change.create_tag(snapshot, name)

    def branch(self, name: str, snapshot: int) -> None:
        with self.table.manage_snapshots() as change:
            change.create_branch(snapshot, name)

    def forget_branch(self, name: str) -> None:
        with self.table.manage_snapshots() as change:
            change.remove_branch(name)

    def evolve(self) -> None:
        """Rename a column, add one, and stop partitioning."""
        with self.table.update_schema() as change:
            change.rename_column("id", "number")
            change.add_column("note", StringType())
        with self.table.update_spec() as spec:
            spec.remove_field("p")

    def append_evolved(self, first: int) -> None:
        made = rows(first).rename_columns(["number", "p"])
        self.table.append(made.append_column("note", pa.array(["new"] * len(made))))

    def set_hint(self, root: Path | None = None) -> None:
        """Write a version hint, as engines without a catalog keep one, for the current metadata file or for ``root``."""
        name = (root or self.root).name
        (self.folder / "metadata" / "version-hint.text").write_text(name.removesuffix(".metadata.json"))


def _local(address: str) -> Path:
    return Path(address.removeprefix("file://"))


def _needed(metadata: dict[str, Any]) -> Iterator[str]:
    """The addresses of all files that the retained snapshots need."""
    for snapshot in metadata["snapshots"]:
        yield snapshot["manifest-list"]
        for manifest in _records(snapshot["manifest-list"]):
            yield manifest["manifest_path"]
            yield from (one["data_file"]["file_path"] for one in _records(manifest["manifest_path"]) if one["status"] != 2)


def _records(address: str) -> list[dict[str, Any]]:
    with _local(address).open("rb") as file:
        return [record for record in fastavro.reader(file) if isinstance(record, dict)]


@contextmanager
def changing_table(folder: Path, **properties: str) -> Iterator[ChangingTable]:
    """A new table in ``folder``/table, its catalog beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    catalog = SqlCatalog("source", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    try:
        catalog.create_namespace("source")
        made = ChangingTable(catalog, folder / "table")
        made.create(**properties)
        yield made
    finally:
        catalog.engine.dispose()
