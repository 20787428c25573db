"""What it costs to read a table: run by `scripts/bench scan`.

The CPU time (user and system) of our scan over that of the library which readers use otherwise, on the same local files in the
same run: plain Parquet against pyarrow.dataset, Delta against deltalake's ``to_pyarrow_dataset``, Iceberg against pyiceberg's
``to_arrow_batch_reader``. Each reads all columns, three of ten, and all columns under a filter that excludes half of the row
groups. Every side of every round is a process of its own, whose cost of importing libraries is left out; medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

FILES, ROW_GROUP = 8, 128 << 10
THREE = ["i1", "f1", "s1"]
KINDS = ("parquet", "delta", "iceberg")
READS = ("all", "three", "half")


def rows_of(file: int, rows: int) -> pa.Table:
    """Ten columns of numbers, texts, times and keys; the key rises, so that row groups can be told apart."""
    random = np.random.default_rng(file)
    data: dict[str, Any] = {"key": np.arange(file * rows, (file + 1) * rows)}
    for at in range(3):
        data[f"i{at}"] = random.integers(0, 10 ** (3 * at + 2), rows)
        data[f"f{at}"] = random.random(rows)
    data["s0"] = pa.array(random.integers(0, 1000, rows)).cast(pa.string())
    data["s1"] = pa.array(random.integers(0, 10**9, rows)).cast(pa.string())
    data["at"] = pa.array(random.integers(0, 10**15, rows)).cast(pa.timestamp("us"))
    return pa.table(data)


def make(folder: Path, kind: str, rows: int) -> None:
    """A table of ``rows`` rows, written by the library of its format."""
    tables = [rows_of(file, rows // FILES) for file in range(FILES)]
    if kind == "parquet":
        folder.mkdir()
        for at, table in enumerate(tables):
            pq.write_table(table, folder / f"{at}.parquet", row_group_size=ROW_GROUP)
    elif kind == "delta":
        import deltalake

        for table in tables:
            deltalake.write_deltalake(
                str(folder), table, mode="append", writer_properties=deltalake.WriterProperties(max_row_group_size=ROW_GROUP)
            )
    else:
        from pyiceberg.catalog.sql import SqlCatalog

        folder.mkdir()
        catalog = SqlCatalog("bench", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
        catalog.create_namespace("n")
        properties = {"write.parquet.row-group-limit": str(ROW_GROUP)}
        made = catalog.create_table("n.t", tables[0].schema, location=f"file://{folder}/t", properties=properties)
        for table in tables:
            made.append(table)
        (folder / "root").write_text(made.metadata_location)


def read_by_peer(folder: Path, kind: str, columns: list[str] | None, least: int | None) -> Iterator[pa.RecordBatch]:
    condition = None if least is None else pc.field("key") >= least
    if kind == "parquet":
        return iter(ds.dataset(str(folder)).to_batches(columns=columns, filter=condition))
    if kind == "delta":
        import deltalake

        return iter(deltalake.DeltaTable(str(folder)).to_pyarrow_dataset().to_batches(columns=columns, filter=condition))
    from pyiceberg.table import StaticTable

    table = StaticTable.from_metadata((folder / "root").read_text())
    text = "true" if least is None else f"key >= {least}"
    return iter(table.scan(row_filter=text, selected_fields=tuple(columns or "*")).to_arrow_batch_reader())


def read_by_us(folder: Path, kind: str, columns: list[str] | None, least: int | None) -> Iterator[pa.RecordBatch]:
    from lakehouse.tables import open_table

    place = folder / "t" if kind == "iceberg" else folder
    version = Path((folder / "root").read_text()).name if kind == "iceberg" else None
    table = open_table(str(place))
    condition = None if least is None else pc.field("key") >= least
    return table.scan(columns=columns, where=condition, version=version).to_batches()


def measure(side: str, folder: Path, kind: str, read: str, rows: int) -> None:
    """Print what this process, of which the read is all, has cost since its libraries were imported."""
    by: Callable[..., Iterator[pa.RecordBatch]] = read_by_us if side == "us" else read_by_peer
    columns, least = THREE if read == "three" else None, rows // 2 if read == "half" else None
    next(iter(by(folder, kind, ["key"], rows)), None)
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    found = sum(batch.num_rows for batch in by(folder, kind, columns, least))
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    if found != (rows - rows // 2 if read == "half" else rows):
        raise SystemExit(f"{side} read {found} rows of {kind} ({read}), which has {rows}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"cpu": cpu, "seconds": seconds, "peak": peak()}), flush=True)
    os._exit(0)  # threads of deltalake may crash the interpreter while it ends


def peak() -> float:
    """The most memory that this process has held, in MB (what getrusage tells is its parent's at first)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measured(side: str, folder: Path, kind: str, read: str, rows: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", side, str(folder), kind, read, "--rows", str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def compare(folder: Path, kind: str, rows: int, rounds: int) -> None:
    make(folder, kind, rows)
    for read in READS:
        sides: dict[str, list[dict[str, float]]] = {"us": [], "peer": []}
        for _ in range(rounds):
            for side, found in sides.items():
                found.append(measured(side, folder, kind, read, rows))
        ours, theirs = ({key: statistics.median(each[key] for each in found) for key in found[0]} for found in sides.values())
        print(
            f"| {kind} | {read} | {ours['cpu']:.2f} s | {theirs['cpu']:.2f} s | {ours['cpu'] / theirs['cpu']:.2f} "
            f"| {ours['seconds'] / theirs['seconds']:.2f} | {ours['peak']:.0f} MB | {theirs['peak']:.0f} MB |",
            flush=True,
        )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=8_000_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--kind", choices=KINDS, action="append", help="only this format (may be repeated)")
    arguments.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    rows = given.rows // FILES * FILES
    if given.measure:
        side, folder, kind, read = given.measure
        measure(side, Path(folder), kind, read, rows)
        return
    print("| table | read | our CPU | theirs | CPU ratio | time ratio | our peak | theirs |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as text:
        for kind in given.kind or KINDS:
            compare(Path(text).resolve() / kind, kind, rows, given.rounds)


if __name__ == "__main__":
    main()
