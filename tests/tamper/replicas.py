"""The tables that are damaged: replicas in every format, made by two syncs each, with their sources beside them.

Rows, and how a file is written anew in its place, are here as well.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import lakehouse
from lakehouse.config import Settings
from lakehouse.formats.delta.snapshot import state_at, write_checkpoint
from tests.formats.delta import whole_table
from tests.formats.delta.handmade import commit, mapped, start, vector
from tests.formats.iceberg.handmade import STATED, Entry, HandmadeTable, field
from tests.formats.replicas import DELTA, local

__all__ = ["FIELDS", "MAKERS", "REGION", "SPEC", "Edit", "Place", "Row", "make_replica", "people", "rewritten", "write"]

Row = dict[str, Any]
Edit = Callable[[list[Row]], list[Row] | None]
REGION = "p"
COUNT = 20


@dataclass(frozen=True, slots=True)
class Place:
    """A replica that may be damaged, and the source that stays as it is. ``name``: of its maker in `MAKERS`."""

    name: str
    folder: Path
    source: Path

    @property
    def table(self) -> Path:
        return self.folder / "table"

    @property
    def receipts(self) -> Path:
        """Beside plain files, whose listing is the table."""
        return self.folder / "_lake" / "table" if self.name == "parquet" else self.table / "_lake"


def people(first: int, count: int = COUNT) -> pa.Table:
    """Rows with null and empty texts, and with both zeros. Every text has one length, so files have one size."""
    numbers = range(first, first + count)
    notes = [None if number % 5 == 0 else "" if number % 5 == 1 else f"note {number:04d}" for number in numbers]
    prices = [0.0 if number % 4 == 0 else -0.0 if number % 4 == 1 else number / 2 for number in numbers]
    names = [f"name {number:04d}" for number in numbers]
    return pa.table({"id": pa.array(numbers, pa.int64()), "name": names, "note": notes, "price": prices})


def write(path: Path, table: pa.Table) -> None:
    """A data file without compression, so that a bit that flips in it is one of a value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="none")


def rewritten(path: Path, edit: Edit) -> None:
    """Write a Parquet file anew with other rows: valid, encoded otherwise, and of the size that it had.

    What is missing to that size is made up by a key-value of its footer, which no reader looks at.
    """
    size, table = path.stat().st_size, pq.ParquetFile(path).read()
    rows = table.to_pylist()
    rows = edit(rows) or rows
    made = pa.Table.from_pylist(rows, schema=table.schema)
    gap = 0
    for _ in range(4):
        with pq.ParquetWriter(path, made.schema, compression="zstd", store_schema=False) as writer:
            writer.write_table(made)
            writer.add_key_value_metadata({"padding": "." * gap})
        if path.stat().st_size == size:
            return
        gap += size - path.stat().st_size
    raise ValueError(f"{path} cannot have {size} bytes")


def _whole(folder: Path, sync: Callable[[str | None], None]) -> None:
    """Delta: two kinds of checkpoints, a checksum file, a compacted log, deletion vectors and change data."""
    whole_table.make(folder)
    sync("4")
    sync(None)


def _mapped(folder: Path, sync: Callable[[str | None], None]) -> None:
    """Delta: column mapping, a checkpoint in parts, files of different partitions, two with a deletion vector."""
    columns = [
        mapped("id", "long", "c1", 1), mapped("name", "string", "c2", 2), mapped("note", "string", "c3", 3),
        mapped("price", "double", "c4", 4), mapped(REGION, "string", "c5", 5),
    ]  # fmt: skip
    adds = [_mapped_file(folder, number) for number in range(4)]
    features = ["columnMapping", "deletionVectors"]
    named = [{"add": add} for add in adds]
    start(folder, columns, *named, partition_by=[REGION], features=features, delta__columnMapping__mode="name")
    commit(folder, 1, {"txn": {"appId": "job", "version": 1}})
    _in_parts(folder, 1)
    sync(None)
    for version, add, positions in ((2, adds[0], (3, 7)), (3, adds[1], (4, 8))):
        gone = {**{key: add[key] for key in ("path", "partitionValues", "size")}, "deletionTimestamp": 0, "dataChange": True}
        commit(folder, version, {"remove": gone}, {"add": {**add, "deletionVector": vector(folder, *positions)}})
    sync(None)


def _mapped_file(folder: Path, number: int) -> dict[str, Any]:
    rows = people(1 + 100 * number).rename_columns(["c1", "c2", "c3", "c4"])
    path = folder / f"part-{number}.parquet"
    write(path, rows)
    ids = rows["c1"].to_pylist()
    stats = {"numRecords": COUNT, "minValues": {"c1": min(ids)}, "maxValues": {"c1": max(ids)}, "nullCount": {"c1": 0}}
    return {
        "path": path.name, "partitionValues": {"c5": f"p{number % 2}"}, "size": path.stat().st_size, "modificationTime": 0,
        "dataChange": True, "stats": json.dumps(stats),
    }  # fmt: skip


def _in_parts(folder: Path, version: int) -> None:
    store = local(folder)
    whole = pq.read_table(pa.BufferReader(write_checkpoint("here", state_at(store, DELTA.pin(store)))))
    half = -(-whole.num_rows // 2)
    for part in range(2):
        name = f"{version:020d}.checkpoint.{part + 1:010d}.{2:010d}.parquet"
        pq.write_table(whole.slice(part * half, half), folder / "_delta_log" / name)
    hint = {"version": version, "size": whole.num_rows, "parts": 2}
    (folder / "_delta_log" / "_last_checkpoint").write_text(json.dumps(hint))


class Numbered(HandmadeTable):
    """A table whose metadata files count up with its snapshots, as they do when engines write them."""

    published_ms = 0

    def publish(self) -> None:
        number, log = len(self.metadata["snapshots"]) + 1, self.metadata["metadata-log"]
        if len(log) < number - 1:
            log.append({"timestamp-ms": self.published_ms, "metadata-file": f"{STATED}/metadata/v{number - 1}.metadata.json"})
        self.published_ms = self.metadata["last-updated-ms"]
        (self.folder / "metadata" / f"v{number}.metadata.json").write_text(json.dumps(self.metadata))
        (self.folder / "metadata" / "version-hint.text").write_text(str(number))


FIELDS = [
    field(1, "id", "long"), field(2, "name", "string"), field(3, "note", "string"), field(4, "price", "double"),
    field(5, REGION, "string"),
]  # fmt: skip
SPEC = [{"name": REGION, "transform": "identity", "source-id": 5, "field-id": 1000}]


def _iceberg(folder: Path, version: int) -> tuple[Numbered, list[Entry]]:
    shutil.rmtree(folder)
    table = Numbered(folder, FIELDS, SPEC, version=version, avro_types={1000: "string"})
    entries = []
    for number in range(4):
        rows = people(1 + 100 * number).append_column(REGION, pa.array([f"p{number % 2}"] * COUNT))
        entry = table.data(rows, partition=(f"p{number % 2}",))
        write(table.at(entry), pq.ParquetFile(table.at(entry)).read())
        counted = {"value_counts": [{"key": 1, "value": COUNT}], "null_value_counts": [{"key": 1, "value": 0}]}
        entries.append({**entry, **counted, "file_size_in_bytes": table.at(entry).stat().st_size})
    return table, entries


def _totals(table: Numbered, **totals: int) -> None:
    """The summary of the newest snapshot, as writers make it; only what it names is in there."""
    stated = {f"total-{name.replace('_', '-')}": str(number) for name, number in totals.items()}
    table.metadata["snapshots"][-1]["summary"].update(stated)
    table.publish()


def _v2(folder: Path, sync: Callable[[str | None], None]) -> None:
    """Iceberg 2: position deletes, equality deletes, three snapshots."""
    table, data = _iceberg(folder, 2)
    table.commit(data[0], data[1])
    _totals(table, data_files=2, records=2 * COUNT, delete_files=0)
    sync(None)
    positions = table.positions([(data[0], 3), (data[0], 7)], partition=("p0",))
    equal = table.equal(pa.table({"id": pa.array([105], pa.int64()), "name": ["name 0999"]}), partition=("p1",), equality_ids=[1])
    table.commit(positions, equal)
    _totals(table, data_files=2, records=2 * COUNT, delete_files=2, position_deletes=2, equality_deletes=1)
    table.commit(data[2], data[3])
    _totals(table, data_files=4, records=4 * COUNT, delete_files=2, position_deletes=2, equality_deletes=1)
    sync(None)


def _v3(folder: Path, sync: Callable[[str | None], None]) -> None:
    """Iceberg 3: deletion vectors in Puffin, a column with a default that older files lack, statistics."""
    table, data = _iceberg(folder, 3)
    table.metadata["next-row-id"] = 4 * COUNT
    table.commit(*data)
    sync(None)
    vectors = [table.vector(data[at], at_rows, partition=(f"p{at}",)) for at, at_rows in ((0, [3, 7]), (1, [4, 8]))]
    table.commit(*vectors)
    table.add_schema([*FIELDS, field(6, "rank", "long") | {"initial-default": 7, "write-default": 7}])
    puffin = b"PFA1PFA1" + b'{"blobs":[]}' + struct.pack("<i", 12) + b"\0\0\0\0PFA1"
    (folder / "metadata" / "numbers.stats").write_bytes(puffin)
    stated = {"statistics-path": f"{STATED}/metadata/numbers.stats", "file-size-in-bytes": len(puffin)}
    more = {"snapshot-id": table.metadata["current-snapshot-id"], "file-footer-size-in-bytes": 32, "blob-metadata": []}
    table.metadata["statistics"] = [{**stated, **more}]
    table.publish()
    sync(None)


def _parquet(folder: Path, sync: Callable[[str | None], None]) -> None:
    """Hive partitions and a summary that names every file."""
    written: list[pq.FileMetaData] = []
    for number in range(4):
        path = f"{REGION}=p{number % 2}/part-{number}.parquet"
        write(folder / path, people(1 + 100 * number))
        if number == 1:
            sync(None)
        written.append(pq.read_metadata(folder / path))
        written[-1].set_file_path(path)
    pq.write_metadata(people(0).schema, folder / "_metadata", metadata_collector=written)
    sync(None)


MAKERS: dict[str, Callable[[Path, Callable[[str | None], None]], None]] = {
    "delta": _whole,
    "delta with column mapping": _mapped,
    "iceberg 2": _v2,
    "iceberg 3": _v3,
    "parquet": _parquet,
}


def make_replica(name: str, folder: Path) -> Place:
    """Make the source, and its replica by two syncs."""
    source = folder / "source" / "table"
    source.mkdir(parents=True)
    place = Place(name, folder / "replica", source)

    def sync(version: str | None) -> None:
        lakehouse.sync(str(source), str(place.table), version=version, settings=Settings())

    MAKERS[name](source, sync)
    return place
