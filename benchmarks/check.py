"""What `lake check` costs a data file: tables of many small Parquet files, local, each checked in a process of its own.

Iceberg by pyiceberg and Delta by deltalake: ten appends of 500 files each, 20 rows of eleven columns, partitioned by one, with
metrics of all; and the same files as a plain folder. CPU is that of the process without its start (interpreter and imports);
the files are in the page cache. Prints the median of rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lakehouse.check import check
from lakehouse.config import Settings

APPENDS, ROWS = 10, 20


def table(files: int, first: int) -> pa.Table:
    """Rows for so many partitions."""
    chance = np.random.default_rng(first)
    rows = files * ROWS
    texts = pa.array([f"text number {number}" for number in range(rows)])
    return pa.table(
        {
            "part": pa.array(np.repeat(np.arange(first, first + files), ROWS)),
            "id": pa.array(chance.integers(0, 2**60, rows)),
            "quantity": pa.array(chance.integers(0, 1000, rows).astype(np.int32), mask=chance.random(rows) < 0.05),
            "score": pa.array(chance.normal(size=rows)),
            "ratio": pa.array(chance.normal(size=rows).astype(np.float32)),
            "price": pa.array(chance.integers(0, 10**6, rows)).cast(pa.decimal128(21, 2)),
            "day": pa.array(chance.integers(18_000, 20_000, rows).astype(np.int32)).cast(pa.date32()),
            "moment": pa.array(chance.integers(16 * 10**14, 17 * 10**14, rows)).cast(pa.timestamp("us", tz="UTC")),
            "open": pa.array(chance.random(rows) < 0.3),
            "code": texts.take(pa.array(chance.integers(0, 50, rows))),
            "text": texts,
        }
    )


def iceberg(folder: Path, files: int) -> None:
    """Write the Iceberg table into ``folder``."""
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.transforms import IdentityTransform

    catalog = SqlCatalog("bench", uri=f"sqlite:///{folder.parent}/catalog.db", warehouse=f"file://{folder.parent}")
    catalog.create_namespace("bench")
    each = files // APPENDS
    made = catalog.create_table("bench.table", table(each, 0).schema, location=f"file://{folder}")
    with made.update_spec() as change:
        change.add_field("part", IdentityTransform(), "part")
    for number in range(APPENDS):
        made.append(table(each, number * each))
    name = made.metadata_location.rpartition("/")[2]
    (folder / "metadata" / "version-hint.text").write_text(name.removesuffix(".metadata.json"))
    catalog.engine.dispose()


def delta(folder: Path, files: int) -> None:
    """Write the Delta table into ``folder``, with a checkpoint in the middle of its log."""
    from deltalake import DeltaTable, write_deltalake

    each = files // APPENDS
    for number in range(APPENDS):
        write_deltalake(folder, table(each, number * each), mode="append", partition_by=["part"])
        if number == APPENDS // 2:
            DeltaTable(folder).create_checkpoint()


def parquet(folder: Path, files: int) -> None:
    """Write the same files as a plain folder."""
    import pyarrow.parquet as pq

    rows = table(files, 0).drop_columns(["part"])
    for number in range(files):
        path = folder / f"part={number}" / "0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(rows.slice(number * ROWS, ROWS), path)


TABLES: dict[str, Callable[[Path, int], None]] = {"iceberg": iceberg, "delta": delta, "parquet": parquet}


def measured(place: str) -> dict[str, Any]:
    """CPU and wall seconds of one check in this process, and how many objects were looked at."""
    settings = Settings()
    begun, clock = time.process_time(), time.perf_counter()
    report = check(place, settings=settings)
    report.raise_for_findings()
    return {"cpu": time.process_time() - begun, "wall": time.perf_counter() - clock, "objects": report.objects}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--format", choices=sorted(TABLES), action="append")
    parser.add_argument("--place", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.place:
        print(json.dumps(measured(options.place)))
        return
    for name in options.format or sorted(TABLES):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / name
            TABLES[name](folder, options.files)
            command = [sys.executable, __file__, "--place", str(folder)]
            rounds = [json.loads(subprocess.check_output(command)) for _ in range(options.rounds)]
        cpu, wall = (statistics.median(each[key] for each in rounds) for key in ("cpu", "wall"))
        each = f"{options.files / cpu:,.0f} files a CPU-second"
        print(f"{name}: {options.files} data files, {rounds[0]['objects']} objects: {cpu:.2f} CPU s, {wall:.2f} s, {each}")


if __name__ == "__main__":
    main()
