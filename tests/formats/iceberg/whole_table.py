"""An Iceberg table with nothing wrong with it, in which one thing after the other can be damaged, and what a check then finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from lakehouse.check import check
from lakehouse.config import Settings
from tests.formats.iceberg.handmade import STATED, HandmadeTable, field
from tests.formats.iceberg.test_audit import rewrite

Record = dict[str, Any]
Found = set[tuple[str, str]]
FIELDS = [field(1, "id", "long"), field(2, "p", "string")]
SPEC = [{"name": "p", "transform": "identity", "source-id": 2, "field-id": 1000}]


def findings(folder: Path, **options: Any) -> Found:
    """Kind and path of each finding; without what could not be checked, which is a failure."""
    report = check(str(folder), settings=Settings(), format="iceberg", **options)
    assert [one for one in report.findings if one.kind == "unchecked"] == []
    return {(one.kind, one.path) for one in report.findings}


def rows(first: int, p: str = "a", count: int = 10) -> pa.Table:
    return pa.table({"id": pa.array(range(first, first + count), pa.int64()), "p": [p] * count})


class Whole:
    """A table with deletes of every kind that format version 2 (3: vectors) has, nothing wrong with it, and what is in it.

    Snapshots: data; deletes; more data. The list of each is ``lists[n]``, ``manifests`` are by what they hold.
    """

    def __init__(self, folder: Path, version: int = 2) -> None:
        made = HandmadeTable(folder, FIELDS, SPEC, version=version, avro_types={1000: "string"})
        self.folder, self.table = folder, made
        self.a, self.b = self.data(rows(1), "a"), self.data(rows(11, "b"), "b")
        snapshots = [made.commit(self.a, self.b)]
        if version == 2:
            self.positions = made.positions([(self.a, 3), (self.a, 5)], partition=("a",))
            self.equal = made.equal(pa.table({"id": pa.array([15], pa.int64())}), partition=("b",))
            snapshots.append(made.commit(self.positions, self.equal))
        else:
            self.vector = made.vector(self.a, [3, 5], partition=("a",))
            snapshots.append(made.commit(self.vector))
        self.c = self.data(rows(21), "a")
        snapshots.append(made.commit(self.c))
        self.lists = [f"metadata/snap-{number}.avro" for number in snapshots]
        stated = [each["manifest_path"].removeprefix(f"{STATED}/") for each in self.listed(2)]
        self.first, self.deletes, self.last = stated
        self.root = "metadata/v1.metadata.json"
        self.state_totals()

    def data(self, table: pa.Table, partition: str) -> Record:
        counts: Record = {key: [{"key": 1, "value": count}] for key, count in (("value_counts", 10), ("null_value_counts", 0))}
        return self.table.data(table, partition=(partition,)) | counts

    def state_totals(self) -> None:
        """Summaries as writers make them."""
        deletes = {"total-delete-files": "2", "total-position-deletes": "2", "total-equality-deletes": "1"}
        if self.table.metadata["format-version"] > 2:
            deletes = {"total-delete-files": "1", "total-position-deletes": "2", "total-equality-deletes": "0"}
            self.table.metadata["next-row-id"] = 30
        none = dict.fromkeys(deletes, "0")
        for raw, files, more in zip(self.table.metadata["snapshots"], (2, 2, 3), (none, deletes, deletes), strict=True):
            raw["summary"] |= {"total-data-files": str(files), "total-records": str(files * 10)} | more
        self.table.publish()

    def path(self, entry: Record) -> str:
        return str(entry["file_path"]).removeprefix(f"{STATED}/")

    def listed(self, number: int) -> list[Record]:
        with (self.folder / self.lists[number]).open("rb") as file:
            return [one for one in fastavro.reader(file) if isinstance(one, dict)]

    def metadata(self, change: Callable[[Record], Any]) -> None:
        change(self.table.metadata)
        self.table.publish()

    def edit_list(self, number: int, change: Callable[[list[Record]], Any]) -> None:
        rewrite(self.folder / self.lists[number], change)

    def edit_lists(self, change: Callable[[Record], Any]) -> None:
        """Edit every record of every list."""
        for number in range(len(self.lists)):
            self.edit_list(number, lambda records: [change(record) for record in records])

    def manifest(
        self, path: str, change: Callable[[list[Record]], Any], header: Callable[[Record], Any] = lambda _: None
    ) -> None:
        """Edit a manifest, and state its new length in every list."""
        rewrite(self.folder / path, change, header)
        self.settle(path)

    def settle(self, path: str) -> None:
        size = (self.folder / path).stat().st_size
        self.edit_lists(lambda one: one.update(manifest_length=size) if one["manifest_path"].endswith(path) else None)

    def file(self, manifest: str, number: int = 0, **changes: Any) -> None:
        """Edit what a manifest says of one file."""
        self.manifest(manifest, lambda records: records[number]["data_file"].update(changes))

    def resize(self, manifest: str, entry: Record, number: int = 0) -> None:
        """State the size that a file has now."""
        self.file(manifest, number, file_size_in_bytes=self.table.at(entry).stat().st_size)


@pytest.fixture
def whole(tmp_path: Path) -> Whole:
    made = Whole(tmp_path / "table")
    assert findings(made.folder) == set()
    return made


@pytest.fixture
def with_vector(tmp_path: Path) -> Whole:
    made = Whole(tmp_path / "table", 3)
    assert findings(made.folder) == set()
    return made


def assign(**values: Any) -> Callable[[Record], Any]:
    """Sets keys of a record."""
    return lambda record: record.update(values)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def cut(path: Path, count: int = 1) -> None:
    path.write_bytes(path.read_bytes()[:-count])


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
