"""What a sync of an Iceberg table costs: run by `scripts/bench iceberg`.

* ``commits``: 60 fast appends of 11 small files each, made by pyiceberg (1,830 manifest-list entries, 660 files), local → local.
  A first sync, one with nothing new, one of one new snapshot, each a cold process; beside it the same data files as plain files.
* ``entries``: 200 manifests of 2,000 entries with metrics of ten columns in 60 snapshots. The 400,000 data files are not there:
  a store answers for each with a few bytes, and swallows what is put. A first sync, then one of one new snapshot.
* ``requests``: the requests of a sync of one new snapshot, by how many manifests and snapshots there were before.

Each sync is a process of its own. CPU is that of the whole process, interpreter and imports included; the *metadata part* is what
the process spends from pinning to the plan, and on staging (manifests, lists, delete files). The rest is starting, moving data
files, reading back, and receipts.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.manifests import OLD, entry, optional, schema
from lakehouse.below import Below
from lakehouse.connect import open_store
from lakehouse.formats.iceberg import IcebergFormat
from lakehouse.locations import Locations
from lakehouse.options import Options
from lakehouse.receipt import read_latest
from lakehouse.replica import Replica
from lakehouse.store import Buffer, ObjectInfo, Store, Traits
from lakehouse.sync import replicate
from lakehouse.table import Held, Staged, TableFile, TableVersion, Terms

APPENDS, FILES = 60, 11
CONTENT = b"not a Parquet file, but of its own name and size"
NEW_ENTRIES = 11


class Counting:
    """A store that counts the calls it gets. With ``synthetic`` it answers for every object of ``data/`` itself."""

    def __init__(self, store: Store, *, synthetic: bool) -> None:
        self.store, self.synthetic = store, synthetic
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return self.store.url

    @property
    def traits(self) -> Traits:
        return self.store.traits

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        self._count("list")
        return self.store.list(prefix, after=after, recursive=recursive)

    def head(self, path: str) -> ObjectInfo:
        self._count("head")
        return ObjectInfo(path, len(CONTENT)) if self._invents(path) else self.store.head(path)

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        self._count("get")
        return CONTENT[start:end] if self._invents(path) else self.store.get(path, start=start, end=end, if_match=if_match)

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        return memoryview(self.get(path, start=start, end=end, if_match=if_match))

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        self._count("put")
        if self._invents(path):
            return ObjectInfo(path, size)
        return self.store.put(path, data, size=size, if_absent=if_absent)

    def delete(self, path: str) -> None:
        self._count("delete")
        self.store.delete(path)

    def _count(self, call: str) -> None:
        with self._lock:
            self.calls[call] += 1

    def _invents(self, path: str) -> bool:
        return self.synthetic and path.startswith("data/")


class Timed(IcebergFormat):
    """The format, with the process's CPU seconds noted where its steps begin and end."""

    def __init__(self) -> None:
        self.marks: dict[str, float] = {}

    def pin(self, store: Store, version: str | None = None, terms: Terms | None = None) -> Any:
        self.marks["pin"] = time.process_time()
        return super().pin(store, version, terms)

    def files(self, store: Store, version: TableVersion, held: Held | None = None) -> Iterator[TableFile]:
        yield from super().files(store, version, held)
        self.marks["planned"] = time.process_time()

    def stage(self, source: Store, target: Store, version: TableVersion, held: Held | None) -> Staged:
        self.marks["stage"] = time.process_time()
        staged = super().stage(source, target, version, held)
        self.marks["staged"] = time.process_time()
        return staged


def sync_here(source: str, target: str, *, synthetic: bool) -> dict[str, Any]:
    """Sync in this process; gives its CPU seconds by step, its peak memory in MB, and the requests."""
    stores = [Counting(open_store(place), synthetic=synthetic) for place in (source, target)]
    receipts, timed = Below(stores[1], "_lake"), Timed()
    terms = Terms(Locations(stores[0].url, stores[1].url))
    replica = Replica(stores[0], stores[1], receipts, timed, read_latest(receipts), terms)
    result = replicate(replica, Options())
    end, at = time.process_time(), timed.marks
    done = "stage" in at
    steps = {
        "start": at.get("pin", end),
        "plan": at["planned"] - at["pin"] if done else 0.0,
        "data": at["stage"] - at["planned"] if done else 0.0,
        "stage": at["staged"] - at["stage"] if done else 0.0,
        "prove": end - at["staged"] if done else 0.0,
    }
    calls = {name: dict(store.calls) for name, store in zip(("source", "target"), stores, strict=True)}
    return {"cpu": end, "steps": steps, "peak": peak_memory(), "requests": calls, "unchanged": result.unchanged}


def peak_memory() -> float:
    """The peak of this process in MB. On Linux from /proc, since `getrusage` also counts what the process was forked from."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6


def child(*arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def measured(source: Path, target: Path, *, synthetic: bool = False) -> dict[str, Any]:
    """One sync in a process of its own."""
    return child("--sync", str(source), str(target), *(["--synthetic"] if synthetic else []))


def command(source: Path, target: Path, *options: str) -> float:
    """CPU seconds of one `lake sync`, seen from outside."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    lake = [sys.executable, "-m", "lakehouse_cli.main", "sync", str(source), str(target), *options]
    subprocess.run(lake, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def show(name: str, result: dict[str, Any]) -> None:
    steps = ", ".join(f"{step} {seconds:.2f}" for step, seconds in result["steps"].items())
    metadata = result["steps"]["plan"] + result["steps"]["stage"]
    requests = ", ".join(f"{side} {sum(calls.values())} {calls}" for side, calls in result["requests"].items())
    print(f"{name}: CPU {result['cpu']:.2f} s ({steps}), metadata part {metadata:.2f} s, peak {result['peak']:.0f} MB")
    print(f"    requests: {requests}")


# ---- commits ----


def append(folder: Path, times: int) -> None:
    """Append ``times`` times, 11 partitions each, to the table in ``folder``/table."""
    import pyarrow as pa
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.transforms import IdentityTransform
    from pyiceberg.types import LongType, NestedField, StringType

    catalog = SqlCatalog("bench", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    if not catalog.list_namespaces():
        fields = NestedField(1, "id", LongType()), NestedField(2, "part", StringType())
        partitions = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "part"))
        catalog.create_namespace("bench")
        catalog.create_table("bench.table", Schema(*fields), f"file://{folder}/table", partitions)
    table = catalog.load_table("bench.table")
    rows = pa.table({"id": pa.array(range(FILES), pa.int64()), "part": [f"p{number}" for number in range(FILES)]})
    for _ in range(times):
        table.append(rows)
    catalog.engine.dispose()


def commits(folder: Path) -> None:
    append(folder, APPENDS)
    source, target = folder / "table", folder / "target"
    plain = command(source / "data", folder / "plain", "--format", "files")
    print(f"{APPENDS} appends of {FILES} files; `lake sync` of its data folder as plain files: CPU {plain:.2f} s")
    print(f"`lake sync`, first: CPU {command(source, folder / 'by-command'):.2f} s")
    show("first sync", measured(source, target))
    print(f"`lake sync`, nothing new: CPU {command(source, folder / 'by-command'):.2f} s")
    show("nothing new", measured(source, target))
    append(folder, 1)
    print(f"`lake sync`, one new snapshot: CPU {command(source, folder / 'by-command'):.2f} s")
    show("one new snapshot", measured(source, target))


# ---- entries ----


def list_schema() -> dict[str, Any]:
    """The schema of a manifest list of format version 2."""
    numbers = [
        (501, "manifest_length", "long"), (502, "partition_spec_id", "int"), (517, "content", "int"),
        (515, "sequence_number", "long"), (516, "min_sequence_number", "long"), (503, "added_snapshot_id", "long"),
        (504, "added_files_count", "int"), (505, "existing_files_count", "int"), (506, "deleted_files_count", "int"),
        (512, "added_rows_count", "long"), (513, "existing_rows_count", "long"), (514, "deleted_rows_count", "long"),
    ]  # fmt: skip
    fields = [{"name": "manifest_path", "type": "string", "field-id": 500}]
    fields += [{"name": name, "type": kind, "field-id": number} for number, name, kind in numbers]
    return {"type": "record", "name": "manifest_file", "fields": [*fields, optional(519, "key_metadata", "bytes")]}


class BigTable:
    """A table of format version 2 in ``folder``, whose data files are nowhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.named: list[dict[str, Any]] = []
        self.snapshots: list[dict[str, Any]] = []
        self.chance = random.Random(3)
        (folder / "metadata").mkdir(parents=True)

    def commit(self, manifests: int, entries: int) -> None:
        """One fast append."""
        number = len(self.snapshots) + 1
        for _ in range(manifests):
            self.named.append(self._manifest(number, entries))
        header = {"snapshot-id": str(number), "sequence-number": str(number), "format-version": "2"}
        name = f"snap-{number}.avro"
        self._write(name, list_schema(), self.named, header)
        listed = {"manifest-list": f"{OLD}/metadata/{name}", "summary": {"operation": "append"}, "schema-id": 0}
        self.snapshots.append({"snapshot-id": number, "sequence-number": number, "timestamp-ms": number, **listed})
        if number > 1:
            self.snapshots[-1]["parent-snapshot-id"] = number - 1

    def publish(self) -> None:
        number = len(self.snapshots)
        metadata = {
            "format-version": 2, "table-uuid": "6f1c9a52-6c0f-4b6e-9d5e-1d2f3a4b5c6d", "location": OLD,
            "last-sequence-number": number, "last-updated-ms": number, "last-column-id": 10, "current-schema-id": 0,
            "schemas": [{"type": "struct", "schema-id": 0, "fields": []}], "default-spec-id": 0,
            "partition-specs": [{"spec-id": 0, "fields": []}], "last-partition-id": 1000, "default-sort-order-id": 0,
            "sort-orders": [{"order-id": 0, "fields": []}], "properties": {}, "current-snapshot-id": number,
            "snapshots": self.snapshots, "refs": {"main": {"snapshot-id": number, "type": "branch"}},
        }  # fmt: skip
        (self.folder / "metadata" / f"v{number}.metadata.json").write_text(json.dumps(metadata))
        (self.folder / "metadata" / "version-hint.text").write_text(str(number))

    def _manifest(self, snapshot: int, entries: int) -> dict[str, Any]:
        name = f"m-{len(self.named):05d}.avro"
        made = []
        for _ in range(entries):
            made.append(entry(self.chance))
            made[-1]["data_file"]["file_size_in_bytes"] = len(CONTENT)
        keys = {"schema": "{}", "partition-spec": "[]", "partition-spec-id": "0", "format-version": "2", "content": "data"}
        size = self._write(name, schema(), made, keys)
        counts = {"added_files_count": entries, "existing_files_count": 0, "deleted_files_count": 0}
        rows = {"added_rows_count": 1, "existing_rows_count": 0, "deleted_rows_count": 0}
        numbers = {"sequence_number": snapshot, "min_sequence_number": snapshot, "added_snapshot_id": snapshot}
        path = {"manifest_path": f"{OLD}/metadata/{name}", "manifest_length": size, "partition_spec_id": 0, "content": 0}
        return path | numbers | counts | rows

    def _write(self, name: str, made_as: dict[str, Any], records: list[dict[str, Any]], header: dict[str, str]) -> int:
        import fastavro

        path = self.folder / "metadata" / name
        with path.open("wb") as file:
            parsed = fastavro.parse_schema(made_as)
            fastavro.writer(file, parsed, records, codec="deflate", metadata=header, sync_interval=64_000)
        return path.stat().st_size


def big_table(folder: Path, manifests: int, count: int, snapshots: int) -> BigTable:
    """``manifests`` manifests of ``count`` entries, spread evenly over the snapshots."""
    table = BigTable(folder)
    for number in range(snapshots):
        table.commit(manifests * (number + 1) // snapshots - manifests * number // snapshots, count)
    table.publish()
    return table


def entries(folder: Path, manifests: int, count: int) -> None:
    table = big_table(folder / "source", manifests, count, APPENDS)
    print(f"{manifests} manifests of {count} entries in {APPENDS} snapshots")
    show("first sync", measured(table.folder, folder / "target", synthetic=True))
    table.commit(1, NEW_ENTRIES)
    table.publish()
    show("one new snapshot", measured(table.folder, folder / "target", synthetic=True))
    show("nothing new", measured(table.folder, folder / "target", synthetic=True))


def requests(folder: Path) -> None:
    print("requests of a sync of one new snapshot, one manifest of 11 entries, by what there was before:")
    print("| manifests | snapshots | source | target |")
    print("|---|---|---|---|")
    for manifests, snapshots in ((20, 5), (200, 5), (60, 60), (200, 60)):
        place = folder / f"{manifests}-{snapshots}"
        table = big_table(place / "source", manifests, 20, snapshots)
        measured(table.folder, place / "target", synthetic=True)
        table.commit(1, NEW_ENTRIES)
        table.publish()
        calls = measured(table.folder, place / "target", synthetic=True)["requests"]
        said = [
            f"{sum(made.values())} ({', '.join(f'{count} {name}' for name, count in sorted(made.items()))})"
            for made in calls.values()
        ]
        print(f"| {manifests} | {snapshots} | {' | '.join(said)} |")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("parts", nargs="*", help="commits, entries, requests (default: all)")
    arguments.add_argument("--manifests", type=int, default=200)
    arguments.add_argument("--entries", type=int, default=2000, help="in each manifest")
    arguments.add_argument("--sync", nargs=2, help=argparse.SUPPRESS)
    arguments.add_argument("--synthetic", action="store_true", help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.sync:
        json.dump(sync_here(*chosen.sync, synthetic=chosen.synthetic), sys.stdout)
        return
    parts = {
        "commits": commits,
        "entries": lambda folder: entries(folder, chosen.manifests, chosen.entries),
        "requests": requests,
    }
    for name in chosen.parts or parts:
        with tempfile.TemporaryDirectory() as text:
            parts[name](Path(text))


if __name__ == "__main__":
    main()
