"""What planning a table of a million files costs: run by `scripts/bench plan`.

`lakehouse.plan` of a Delta table (one checkpoint), an Iceberg table (manifests of 2,000 files with metrics of ten columns), both
on local disk, and of plain files, listed from an S3 server that has nothing but the listing. The files are not there: a plan does
not ask for them. Each is a process of its own; CPU seconds are of the whole process, interpreter and imports included.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import big_tables, listing
from benchmarks.clients import Cost, compiled, median, run
from benchmarks.stores import Side, write_settings

_PLAN = """
import sys, lakehouse
source, target, format, files = sys.argv[1:]
plan = lakehouse.plan(source, target, format=format)
if plan.copy.files != int(files):
    raise SystemExit(f"{plan.copy.files} files were planned, not {files}")
"""


def planned(source: str, folder: Path, format: str, files: int, rounds: int, side: Side | None = None) -> Cost:
    """The cost of planning ``source`` into a place where nothing is yet."""
    environment = write_settings(folder, [side] if side is not None else [])
    command = [compiled(), "-c", _PLAN, source, str(folder / "target"), format, str(files)]
    return median(run(command, environment) for _ in range(rounds))


def delta(folder: Path, files: int, rounds: int) -> Cost:
    big_tables.delta(folder / "table", files)
    return planned(str(folder / "table"), folder, "delta", files, rounds)


def iceberg(folder: Path, files: int, rounds: int) -> Cost:
    big_tables.iceberg(folder / "table", (f"data/part-{number:07d}.parquet" for number in range(files)))
    return planned(str(folder / "table"), folder, "iceberg", files, rounds)


def plain(folder: Path, files: int, rounds: int) -> Cost:
    with listing.serve(files) as endpoint_url:
        options = {"url": f"s3://{listing.BUCKET}", "endpoint_url": endpoint_url, "key": "nobody", "secret": "nothing"}
        return planned(f"one:{listing.FOLDER}", folder, "files", files, rounds, Side("one", "one:", "", options=options))


KINDS = {"Delta": delta, "Iceberg": iceberg, "plain files on S3": plain}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--files", type=int, default=1_000_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--only", choices=KINDS, action="append", help="this kind; repeatable")
    chosen = arguments.parse_args()
    print("| table | files | files a CPU second | CPU | wall | peak memory | of that a file |")
    print("|---|---|---|---|---|---|---|")
    idle = median(run([compiled(), "-c", "import lakehouse"], {}) for _ in range(3))
    for name in chosen.only or KINDS:
        with tempfile.TemporaryDirectory() as text:
            cost = KINDS[name](Path(text).resolve(), chosen.files, chosen.rounds)
        each = (cost.peak - idle.peak) * 1e6 / chosen.files
        print(
            f"| {name} | {chosen.files:,} | {chosen.files / cost.cpu:,.0f} | {cost.cpu:.1f} s | {cost.wall:.1f} s "
            f"| {cost.peak:.0f} MB | {each:.0f} bytes |",
            flush=True,
        )


if __name__ == "__main__":
    main()
