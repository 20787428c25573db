"""Tables of the corpus that tests may edit: other places stated, other codecs, unknown fields; and what to look at afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

import lakehouse
from lakehouse.config import Settings
from tests.corpus.conftest import CORPUS
from tests.corpus.iceberg_readers import by_pyiceberg, root_of
from tests.corpus.test_corpus import as_spark_writes
from tests.formats.iceberg.audit import Table, audit
from tests.formats.iceberg.test_audit import rewrite

__all__ = ["STATED", "Odd", "add_field", "swap_everywhere", "widen_bounds", "without_compression"]

STATED = "file:/warehouse/wild"
"""Where the tables of the corpus say that they are."""


@dataclass
class Odd:
    """A copy of a table of the corpus that may be edited, and what its readers saw."""

    name: str
    folder: Path
    target: Path

    @property
    def root(self) -> Path:
        return root_of(self.folder)

    @property
    def places(self) -> dict[str, Path]:
        return {f"{STATED}/{self.name}": self.folder}

    def edit(self, change: Callable[[dict[str, Any]], Any]) -> None:
        metadata = json.loads(self.root.read_text())
        change(metadata)
        self.root.write_text(json.dumps(metadata))

    def newest(self) -> dict[str, Any]:
        snapshots: list[dict[str, Any]] = json.loads(self.root.read_text())["snapshots"]
        return snapshots[-1]

    def at(self, stated: str) -> Path:
        return self.folder / stated.removeprefix(f"{STATED}/{self.name}/")

    def listed(self, stated: str) -> list[dict[str, Any]]:
        with self.at(stated).open("rb") as file:
            return [one for one in fastavro.reader(file) if isinstance(one, dict)]

    def every_avro(self, change: Callable[[list[dict[str, Any]]], Any]) -> None:
        """Edit the records of every manifest list and manifest, and state the manifests' new lengths."""
        files = sorted((self.folder / "metadata").glob("*.avro"), key=lambda path: path.name.startswith("snap-"))
        for path in files:
            rewrite(path, change)
            if path.name.startswith("snap-"):
                rewrite(path, self._lengths)

    def _lengths(self, records: list[dict[str, Any]]) -> None:
        for record in records:
            record["manifest_length"] = (self.folder / "metadata" / Path(record["manifest_path"]).name).stat().st_size

    def sync(self, **options: Any) -> lakehouse.SyncResult:
        return lakehouse.sync(str(self.folder), str(self.target), format="iceberg", settings=Settings(), **options)

    def findings(self, *forbidden: str, places: dict[str, Path] | None = None) -> list[str]:
        source = Table(self.root, self.places | (places or {}))
        target = Table(root_of(self.target), {f"file://{self.target}": self.target})
        return audit(target, source, forbidden=[STATED, str(self.folder), *forbidden])

    def assert_rows(self, version: str = "main") -> None:
        known = json.loads((CORPUS / "wild" / "_expected" / f"{self.name}.json").read_text())["versions"][version]["rows"]
        found = by_pyiceberg(root_of(self.target))[version]
        assert not isinstance(found, str), found
        assert as_spark_writes(found) == known


def swap_everywhere(table: Odd, old: str, new: str) -> None:
    """State another place in the metadata file, every manifest list, manifest, and Parquet position-delete file."""
    table.root.write_text(table.root.read_text().replace(old, new))

    def swap(value: Any) -> Any:
        match value:
            case str():
                return value.replace(old, new)
            case bytes():
                return value.replace(old.encode(), new.encode())
            case dict():
                return {key: swap(item) for key, item in value.items()}
            case list():
                return [swap(item) for item in value]
        return value

    sizes: dict[str, int] = {}
    for path in table.folder.rglob("*-deletes.parquet"):
        found = pq.ParquetFile(path).read()
        texts = pa.array([swap(text) for text in found["file_path"].to_pylist()], found.schema.field(0).type)
        pq.write_table(
            found.set_column(0, found.schema.field(0), texts).sort_by([("file_path", "ascending"), ("pos", "ascending")]), path
        )
        sizes[path.name] = path.stat().st_size

    def change(records: list[dict[str, Any]]) -> None:
        records[:] = [swap(record) for record in records]
        for data_file in (record["data_file"] for record in records if "data_file" in record):
            name = Path(data_file["file_path"]).name
            data_file["file_size_in_bytes"] = sizes.get(name, data_file["file_size_in_bytes"])

    table.every_avro(change)


def widen_bounds(table: Odd) -> None:
    """State bounds of ``file_path`` that agree with what the position-delete files hold now."""

    def change(records: list[dict[str, Any]]) -> None:
        for data_file in (record["data_file"] for record in records if "data_file" in record):
            if data_file["content"] == 1 and table.at(data_file["file_path"]).exists():
                paths = sorted(pq.ParquetFile(table.at(data_file["file_path"])).read()["file_path"].to_pylist())
                for bound, path in (("lower_bounds", paths[0]), ("upper_bounds", paths[-1])):
                    for item in data_file[bound]:
                        item["value"] = path.encode() if item["key"] == 2147483546 else item["value"]

    table.every_avro(change)


def add_field(path: Path) -> None:
    """An unknown field, last, in the records of an Avro file."""
    with path.open("rb") as file:
        reader = fastavro.reader(file)
        metadata, records = dict(reader.metadata), [dict(one) for one in reader if isinstance(one, dict)]
    schema, codec = json.loads(str(metadata.pop("avro.schema"))), str(metadata.pop("avro.codec", "null"))
    schema["fields"].append({"name": "x_unknown", "type": ["null", "string"], "default": None, "field-id": 9999})
    for record in records:
        record["x_unknown"] = f"{STATED[5:]}x is user text"
    with path.open("wb") as out:
        fastavro.writer(out, schema, records, codec=codec, metadata={name: str(value) for name, value in metadata.items()})


def without_compression(path: Path) -> None:
    with path.open("rb") as file:
        reader = fastavro.reader(file)
        metadata, records = dict(reader.metadata), [dict(one) for one in reader if isinstance(one, dict)]
    schema = json.loads(str(metadata.pop("avro.schema")))
    metadata.pop("avro.codec", None)
    with path.open("wb") as out:
        fastavro.writer(out, schema, records, codec="null", metadata={name: str(value) for name, value in metadata.items()})
