"""Tables for the tests of a sync: made by deltalake, held in memory stores, wrapped in faults."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from lakehouse import formats
from lakehouse.connect import open_at
from lakehouse.receipt import read_latest
from lakehouse.replica import Replica
from lakehouse.store import Store
from lakehouse.testing.faulty_store import Faults, FaultyStore
from lakehouse.url import parse


def append(folder: Path, first: int, *, rows: int = 10, commits: int = 1) -> None:
    """Commits of ``rows`` rows each, partitioned, ids counting up from ``first``."""
    for commit in range(commits):
        ids = list(range(first + commit * rows, first + (commit + 1) * rows))
        table = pa.table({"id": pa.array(ids, pa.int64()), "p": [f"p {number % 2}+ä" for number in ids]})
        write_deltalake(str(folder), table, mode="append", partition_by=["p"])


def contents(store: Store) -> dict[str, bytes]:
    """Every object of a store, receipts apart (they hold times)."""
    return {info.path: store.get(info.path) for info in store.list() if not info.path.startswith("_lake/")}


def dump(store: Store, folder: Path) -> Path:
    """The store's objects as files, for readers that know only those."""
    for path, data in contents(store).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def ids(folder: Path, version: int | None = None) -> list[int]:
    """The ids that deltalake reads."""
    return sorted(pa.table(DeltaTable(str(folder), version=version).scan())["id"].to_pylist())


@dataclass
class Places:
    """A source, a target and its receipts in one process's memory, under a name of their own."""

    format: str = "delta"
    root: str = field(default_factory=lambda: f"memory://{uuid.uuid4().hex}")

    def store(self, name: str) -> Store:
        return open_at(parse(f"{self.root}/{name}"), None)

    @property
    def source(self) -> Store:
        return self.store("source")

    @property
    def target(self) -> Store:
        return self.store("target")

    @property
    def receipts(self) -> Store:
        return self.store("target/_lake" if self.format != "parquet" else "_lake/target")

    def load(self, folder: Path) -> None:
        """Make the source hold what the folder holds."""
        wanted = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        source = self.source
        for path in contents(source).keys() - wanted.keys():
            source.delete(path)
        for path, data in wanted.items():
            source.put(path, data, size=len(data))

    def replica(self, faults: Faults | None = None) -> Replica:
        """The three stores opened for a sync; with ``faults``, one count of calls over all of them."""
        stores: list[Store] = [self.source, self.target, self.receipts]
        if faults is not None:
            stores = [FaultyStore(store, faults) for store in stores]
        source, target, receipts = stores
        table_format = formats.find(self.format)
        latest = read_latest(receipts) if table_format.receipts_inside else None
        return Replica(source, target, receipts, table_format, latest)
