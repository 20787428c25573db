"""The fingerprint of ten mixed columns against DuckDB's `sum(hash(...))` of the same Parquet file, with reading on both sides.

Writes ``--rows`` rows of integers, floats, decimals, dates, timestamps, booleans, short, long and repeating strings. Each round
is a process of its own with one thread; before it is measured it does the same with a few rows, so that imports do not count.
Prints CPU seconds of the medians and their ratio; reading alone, which the fingerprint's figures hold, is beside it.
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

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.lrh1 import fingerprint
from lakehouse.tables import open_table

FEW = 1_000
LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", np.uint8)


def texts(chance: np.random.Generator, rows: int, shortest: int, longest: int) -> pa.Array:
    """Random lower-case strings."""
    offsets = np.concatenate([[0], np.cumsum(chance.integers(shortest, longest + 1, rows))]).astype(np.int32)
    data = LETTERS[chance.integers(0, len(LETTERS), offsets[-1])]
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(data))


def table(rows: int) -> pa.Table:
    chance = np.random.default_rng(7)
    numbers = chance.normal(size=rows)
    categories = pa.array([f"category-{number:03}" for number in range(200)])
    cents = np.stack([chance.integers(0, 10**9, rows), np.zeros(rows, np.int64)], axis=1)
    moments = chance.integers(16 * 10**14, 17 * 10**14, rows)
    columns = {
        "id": pa.array(chance.integers(0, 2**60, rows)),
        "quantity": pa.array(chance.integers(0, 1000, rows).astype(np.int32), mask=chance.random(rows) < 0.05),
        "score": pa.array(numbers, mask=chance.random(rows) < 0.02),
        "price": pa.Array.from_buffers(pa.decimal128(12, 2), rows, [None, pa.py_buffer(cents)]),
        "day": pa.array(chance.integers(18_000, 20_000, rows).astype(np.int32)).cast(pa.date32()),
        "moment": pa.array(moments).cast(pa.timestamp("us", tz="UTC")),
        "open": pa.array(chance.random(rows) < 0.3),
        "code": texts(chance, rows, 4, 12),
        "text": texts(chance, rows, 30, 90),
        "category": categories.take(pa.array(chance.integers(0, 200, rows))),
    }
    return pa.table(columns)


def ours(path: Path) -> str:
    scan = open_table(str(path)).scan(workers=1)
    return fingerprint(scan.to_batches(), scan.schema).digest


def reading(path: Path) -> str:
    return str(sum(batch.num_rows for batch in open_table(str(path)).scan(workers=1).to_batches()))


def theirs(path: Path) -> str:
    names = ", ".join(pq.ParquetFile(path).schema_arrow.names)
    with duckdb.connect(config={"threads": 1}) as connection:
        (found,) = connection.execute(f"SELECT sum(hash({names})) FROM read_parquet('{path}')").fetchall()
    return str(found[0])


STEPS: dict[str, Callable[[Path], str]] = {"fingerprint": ours, "reading alone": reading, "DuckDB": theirs}


def measured(step: str, folder: Path) -> tuple[float, str]:
    """CPU seconds of one round in a process of its own, and what it found."""
    code = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    seconds, found = json.loads(subprocess.run(code, check=True, capture_output=True, text=True).stdout)
    return seconds, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        pa.set_cpu_count(1)
        STEPS[options.step](options.folder / "few.parquet")
        started = time.process_time()
        found = STEPS[options.step](options.folder / "many.parquet")
        print(json.dumps([time.process_time() - started, found]))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name, rows in (("few", FEW), ("many", options.rows)):
            pq.write_table(table(rows), folder / f"{name}.parquet", row_group_size=250_000)
        size = (folder / "many.parquet").stat().st_size
        print(f"{options.rows:,} rows of 10 columns, {size / 1e6:,.0f} MB of Parquet; medians of {options.rounds}, one thread")
        rounds = [{step: measured(step, folder) for step in STEPS} for _ in range(options.rounds)]
    medians = {step: statistics.median(one[step][0] for one in rounds) for step in STEPS}
    for step, seconds in medians.items():
        if len({one[step][1] for one in rounds}) > 1:
            raise SystemExit(f"{step}: rounds over one file found different things")
        print(f"{step:14} {seconds:6.2f} s CPU  {options.rows / seconds / 1e6:6.2f} million rows/s")
    print(f"fingerprint / DuckDB: {medians['fingerprint'] / medians['DuckDB']:.2f} (at most 3)")


if __name__ == "__main__":
    main()
