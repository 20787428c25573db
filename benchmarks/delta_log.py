"""What a large Delta log costs: run by `scripts/bench delta_log`.

*Memory*: the plan of a table whose checkpoint holds a million adds, with relative paths and as a shallow clone (absolute paths),
in a process of its own: its peak resident memory. *Requests*: the calls to both stores and the receipts that a sync of one new
version makes, for logs of several lengths; a listing counts as one call and as so many pages of 1,000 names.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from lakehouse import formats
from lakehouse.below import Below
from lakehouse.local_store import LocalStore
from lakehouse.receipt import read_latest
from lakehouse.replica import Replica
from lakehouse.store import ObjectInfo
from lakehouse.sync import Options, replicate
from lakehouse.testing.faulty_store import Faults, FaultyStore
from lakehouse.url import parse

ADDS = 1_000_000
COMMITS = (1_000, 10_000, 100_000)
BATCH = 100_000
CHECKPOINT = 10
SCHEMA = '{"type":"struct","fields":[{"name":"id","type":"long","nullable":true,"metadata":{}}]}'
PROTOCOL = {"minReaderVersion": 1, "minWriterVersion": 2}
METADATA: dict[str, Any] = {
    "id": "bench", "format": {"provider": "parquet", "options": {}}, "schemaString": SCHEMA, "partitionColumns": [],
    "configuration": {}, "createdTime": 0,
}  # fmt: skip


def add(path: str) -> dict[str, Any]:
    stats = '{"numRecords":100000,"minValues":{"id":1},"maxValues":{"id":100000},"nullCount":{"id":0}}'
    return {"path": path, "partitionValues": {}, "size": 1, "modificationTime": 0, "dataChange": True, "stats": stats}


def write_checkpoint(path: Path, adds: int, prefix: str) -> None:
    """A classic checkpoint, written batch by batch; its file names are as long as Spark's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, number = pa.string(), pa.int64()
    texts = pa.map_(text, text)
    file = [
        ("path", text), ("partitionValues", texts), ("size", number), ("modificationTime", number), ("dataChange", pa.bool_()),
        ("stats", text),
    ]  # fmt: skip
    schema = pa.schema(
        {
            "protocol": pa.struct([("minReaderVersion", pa.int32()), ("minWriterVersion", pa.int32())]),
            "metaData": pa.struct([("id", text), ("schemaString", text), ("configuration", texts)]),
            "add": pa.struct(file),
        }
    )
    kept = {key: METADATA[key] for key in ("id", "schemaString", "configuration")}
    with pq.ParquetWriter(path, schema) as writer:
        writer.write_table(pa.Table.from_pylist([{"protocol": PROTOCOL}, {"metaData": kept}], schema=schema))
        for start in range(0, adds, BATCH):
            names = (
                f"{prefix}p={n % 100}/part-{n:05d}-{uuid.UUID(int=n)}.c000.snappy.parquet"
                for n in range(start, min(start + BATCH, adds))
            )
            writer.write_table(pa.Table.from_pylist([{"add": add(name)} for name in names], schema=schema))


def peak_of_plan(adds: int, *, absolute: bool) -> tuple[float, float]:
    """Peak resident memory (MB) and seconds of `lakehouse.plan` over a checkpoint of so many adds."""
    code = (
        "import lakehouse, resource, sys, time; t = time.monotonic();"
        "plan = lakehouse.plan(sys.argv[1], sys.argv[2]); assert plan.copy.files == int(sys.argv[3]), plan.copy;"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic() - t)"
    )
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text).resolve()
        log = folder / "table" / "_delta_log"
        log.mkdir(parents=True)
        prefix = f"file:{folder}/base/" if absolute else ""
        write_checkpoint(log / f"{CHECKPOINT:020d}.checkpoint.parquet", adds, prefix)
        (log / f"{CHECKPOINT + 1:020d}.json").write_text(json.dumps({"commitInfo": {"operation": "BENCH"}}) + "\n")
        command = [sys.executable, "-c", code, str(folder / "table"), str(folder / "target"), str(adds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, seconds = done.stdout.split()
    return int(peak) * (1 if sys.platform == "darwin" else 1024) / 1e6, float(seconds)


class Paged(FaultyStore):
    """A store whose listings are counted in pages of 1,000 names."""

    pages: ClassVar[Counter[str]] = Counter()

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        for count, info in enumerate(super().list(prefix, after=after, recursive=recursive)):
            if count % 1000 == 0:
                Paged.pages["list"] += 1
            yield info


def requests_of_one_version(commits: int, folder: Path) -> tuple[int, int]:
    """The calls of a sync of one new version into a log of so many commits, and the pages that its listings took."""
    log = folder / "source" / "_delta_log"
    log.mkdir(parents=True)

    def commit(number: int, *more: dict[str, Any]) -> None:
        first = [{"protocol": PROTOCOL}, {"metaData": METADATA}] if number == 0 else []
        actions = [{"commitInfo": {"operation": "WRITE"}}, *first, *more]
        (log / f"{number:020d}.json").write_text("".join(json.dumps(action) + "\n" for action in actions))

    for number in range(commits):
        commit(number)
    write_checkpoint(log / f"{commits - 1:020d}.checkpoint.parquet", 0, "")
    source, target = (LocalStore(parse(str(folder / name))) for name in ("source", "target"))
    replicate(Replica(source, target, Below(target, "_lake"), formats.find("delta")), Options())
    (folder / "source" / "new.parquet").write_bytes(b"x")
    commit(commits, {"add": add("new.parquet")})
    faults = Faults()
    Paged.pages.clear()
    here, there, receipts = (Paged(store, faults) for store in (source, target, Below(target, "_lake")))
    result = replicate(Replica(here, there, receipts, formats.find("delta"), read_latest(receipts)), Options())
    if result.version != str(commits) or result.copied.files != 2:
        raise SystemExit(f"the sync of one version did something else: {result}")
    return len(faults.calls), Paged.pages["list"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--divide", type=int, default=1, help="so many times fewer adds and commits, for a quick look")
    divide = arguments.parse_args().divide
    print("| plan | adds | peak memory | seconds |")
    print("|---|---|---|---|")
    for absolute in (False, True):
        peak, seconds = peak_of_plan(ADDS // divide, absolute=absolute)
        kind = "absolute paths" if absolute else "relative paths"
        print(f"| {kind} | {ADDS // divide:,} | {peak:.0f} MB | {seconds:.1f} |", flush=True)
    print("\n| commits in the log | calls of a one-version sync | pages of its listings |")
    print("|---|---|---|")
    for commits in COMMITS:
        with tempfile.TemporaryDirectory() as text:
            calls, pages = requests_of_one_version(commits // divide, Path(text).resolve())
        print(f"| {commits // divide:,} | {calls} | {pages} |", flush=True)


if __name__ == "__main__":
    main()
