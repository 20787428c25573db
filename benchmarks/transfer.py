"""Client CPU of `lake sync` against rclone, S3 → S3, both on this machine: run by `scripts/bench transfer`.

Two SeaweedFS servers with credentials of their own, so that no tool can copy on the server's side. For each size of object, in
three rounds: `rclone copy`, `rclone copy` and `rclone check --download` (the same proof as ours), and `lake sync --format files`
with SHA-256 of every byte, receipts and read-back included. What is counted is the CPU time of the whole client process
and its peak memory; medians are printed as ratios, since machines are noisy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lakehouse.config import load
from lakehouse.connect import open_store
from lakehouse.testing.servers import SeaweedServer
from lakehouse.testing.servers.process import script

SIZES = {"16 KiB": (5000, 16 << 10), "1 MiB": (500, 1 << 20), "128 MiB": (8, 128 << 20)}
ROUNDS = 3


@dataclass(frozen=True)
class Cost:
    """CPU seconds, wall seconds and peak memory (MB) of one or more client processes."""

    cpu: float
    wall: float
    peak: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu + other.cpu, self.wall + other.wall, max(self.peak, other.peak))


def run(command: list[str], folder: Path) -> Cost:
    """Run a client and measure it from outside."""
    code = (
        "import resource, subprocess, sys, time; t = time.monotonic();"
        "r = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL);"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(r.returncode, u.ru_utime + u.ru_stime, time.monotonic() - t, u.ru_maxrss)"
    )
    environment = {**os.environ, "LAKE_CONFIG": str(folder / "lake.toml"), "RCLONE_CONFIG": str(folder / "rclone.conf")}
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, env=environment, check=True)
    returncode, cpu, wall, peak = done.stdout.split()[-4:]
    if returncode != "0":
        raise SystemExit(f"{' '.join(command)} ended with {returncode}: {done.stderr[-2000:]}")
    return Cost(float(cpu), float(wall), int(peak) * (1 if sys.platform == "darwin" else 1024) / 1e6)


def settings(folder: Path, servers: Iterable[tuple[str, SeaweedServer]]) -> None:
    """Both tools reach both servers by the same names."""
    lake, rclone = [], []
    for name, server in servers:
        lake += [
            f"[store.{name}]", "url = 's3://bench'", f"endpoint_url = '{server.endpoint_url}'", f"key = '{server.key}'",
            f"secret = '{server.secret}'", "provider = 'seaweedfs'", "",
        ]  # fmt: skip
        rclone += [
            f"[{name}]", "type = s3", "provider = SeaweedFS", f"endpoint = {server.endpoint_url}",
            f"access_key_id = {server.key}", f"secret_access_key = {server.secret}", "region = us-east-1", "",
        ]  # fmt: skip
    (folder / "lake.toml").write_text("\n".join(lake))
    (folder / "rclone.conf").write_text("\n".join(rclone))


def fill(folder: Path, place: str, count: int, size: int) -> None:
    store, block = open_store(place, load(folder / "lake.toml")), os.urandom(min(size, 1 << 20))
    for number in range(count):
        head = number.to_bytes(8, "big")
        chunks = [head + block[8:], *([block] * (size // len(block) - 1))]
        store.put(f"part-{number:06d}", b"".join(chunks) if size <= 8 << 20 else chunks, size=size)


def measure(folder: Path, source: str) -> dict[str, Cost]:
    """One round: each tool into a place of its own."""
    rclone, lake = script("rclone"), [sys.executable, "-m", "lakehouse_cli.main"]
    many = ["--transfers", "16", "--checkers", "16"]
    theirs, ours = uuid.uuid4().hex, uuid.uuid4().hex
    copy = run([rclone, "copy", f"one:bench/{source}", f"two:bench/{theirs}", *many], folder)
    check = run([rclone, "check", "--download", f"one:bench/{source}", f"two:bench/{theirs}", *many], folder)
    again = run([rclone, "copy", f"one:bench/{source}", f"two:bench/{theirs}", *many], folder)
    sync = run([*lake, "sync", f"one:{source}", f"two:{ours}", "--format", "files"], folder)
    nothing = run([*lake, "sync", f"one:{source}", f"two:{ours}", "--format", "files"], folder)
    return {"copy": copy, "proof": copy + check, "again": again, "lake": sync, "nothing new": nothing}


def median(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(getattr(cost, name) for cost in costs) for name in ("cpu", "wall", "peak")))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--divide", type=int, default=1, help="so many times fewer objects, for a quick look")
    divide = arguments.parse_args().divide
    print("| objects | CPU: lake / copy | CPU: lake / (copy + check --download) | wall: lake / copy | CPU: again | peak |")
    print("|---|---|---|---|---|---|")
    for name, (count, size) in SIZES.items():
        with tempfile.TemporaryDirectory() as text, SeaweedServer() as one, SeaweedServer() as two:
            folder = Path(text)
            settings(folder, (("one", one), ("two", two)))
            for server in (one, two):
                server.make_bucket("bench")
            count = max(1, count // divide)
            fill(folder, "one:source", count, size)
            rounds = [measure(folder, "source") for _ in range(ROUNDS)]
        costs = {tool: median([each[tool] for each in rounds]) for tool in rounds[0]}
        lake = costs["lake"]
        print(
            f"| {count:,} × {name} | {lake.cpu / costs['copy'].cpu:.2f} | {lake.cpu / costs['proof'].cpu:.2f} "
            f"| {lake.wall / costs['copy'].wall:.2f} | {costs['nothing new'].cpu / costs['again'].cpu:.2f} "
            f"| {lake.peak:.0f} MB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
