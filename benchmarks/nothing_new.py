"""Syncs that find nothing new, against rclone: run by `scripts/bench nothing_new`.

One folder of ``--files`` data files of one byte on an S3 server, which a Delta log and Iceberg metadata both describe. It is
replicated once to a second server: as a Delta table, as an Iceberg table, its data folder as plain files, and by `rclone copy`.
Then each is run again, cold, in ``--rounds`` rounds: CPU seconds of the whole process. `rclone copy` asks both servers for the
time of every object; `rclone copy --checksum` compares what the listings say, so both are run. The requests of `lake` are those
that a proxy in front of each server counts, in a run of its own. Making all of it takes much longer than the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from benchmarks import big_tables, stores
from benchmarks.clients import Cost, lake, median, rclone, run
from benchmarks.stores import BUCKET, Side, both, fill, s3_side, write_settings
from lakehouse.config import load
from lakehouse.connect import open_store
from lakehouse.testing.servers import FaultProxy

TABLE, DATA = "table", "data/"
KINDS = {"Delta table": (TABLE, "delta"), "Iceberg table": (TABLE, "iceberg"), "plain files": (f"{TABLE}/data", "files")}
RCLONE = {"copy": ["copy"], "copy --checksum": ["copy", "--checksum"]}


def make(folder: Path, files: int, config: str) -> None:
    """The folder at the source: metadata made here, data files put by many threads."""
    big_tables.delta(folder, files, DATA)
    big_tables.iceberg(folder, big_tables.names(folder))
    fill(f"one:{TABLE}", config, ((name, big_tables.FILE_SIZE) for name in big_tables.names(folder)))
    store = open_store(f"one:{TABLE}", load(Path(config)))
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        store.put(path.relative_to(folder).as_posix(), data, size=len(data))


def sync(kind: str) -> list[str]:
    source, name = KINDS[kind]
    return [*lake(), "sync", f"one:{source}", f"two:replica-{name}", "--format", name]


def copy(step: str) -> list[str]:
    return [*rclone(), *RCLONE[step], f"one:{BUCKET}/{TABLE}", f"two:{BUCKET}/rclone"]


def requests(folder: Path, sides: tuple[Side, Side], kind: str) -> str:
    """How many requests of which kind a sync makes at each server."""
    proxies = [FaultProxy(side.options["endpoint_url"]) for side in sides]
    with proxies[0] as one, proxies[1] as two:
        through = [
            s3_side(side.name, proxy.endpoint_url, side.options["key"], side.options["secret"])
            for side, proxy in zip(sides, (one, two), strict=True)
        ]
        run(sync(kind), write_settings(folder, through))
        seen = [Counter(request.method for request in proxy.requests) for proxy in (one, two)]
    said = (f"{sum(each.values())} ({', '.join(f'{count} {name}' for name, count in sorted(each.items()))})" for each in seen)
    return " + ".join(said)


def again(environment: Mapping[str, str]) -> dict[str, Cost]:
    """One round: every program once more."""
    ours = {kind: run(sync(kind), environment) for kind in KINDS}
    return ours | {step: run(copy(step), environment) for step in RCLONE}


def show(rounds: list[dict[str, Cost]], counted: Mapping[str, str]) -> None:
    def middle(name: str, other: str, figure: str) -> float:
        return float(statistics.median(getattr(each[name], figure) / getattr(each[other], figure) for each in rounds))

    print("| again | CPU / copy | CPU / copy --checksum | wall / copy | CPU | wall | peak memory | requests: source + target |")
    print("|---|---|---|---|---|---|---|---|")
    for name in rounds[0]:
        cost = median(each[name] for each in rounds)
        ratios = (middle(name, "copy", "cpu"), middle(name, "copy --checksum", "cpu"), middle(name, "copy", "wall"))
        said = " | ".join(f"{ratio:.3f}" for ratio in ratios)
        title = f"`lake sync`, {name}" if name in KINDS else f"`rclone {name}`"
        print(
            f"| {title} | {said} | {cost.cpu:.2f} s | {cost.wall:.2f} s | {cost.peak:.0f} MB | {counted.get(name, '')} |",
            flush=True,
        )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--files", type=int, default=100_000)
    arguments.add_argument("--rounds", type=int, default=3)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as text, both(stores.s3, stores.s3, Path(text)) as (one, two, environment):
        folder = Path(text).resolve()
        print(f"making {chosen.files:,} files, and replicating them four times", file=sys.stderr, flush=True)
        make(folder / "made", chosen.files, environment["LAKE_CONFIG"])
        first = again(environment)
        del first["copy --checksum"]
        said = (f"{name} CPU {cost.cpu:.1f} s, {cost.wall:.1f} s, {cost.peak:.0f} MB" for name, cost in first.items())
        print(f"the first time, once: {'; '.join(said)}\n", flush=True)
        rounds = [again(environment) for _ in range(chosen.rounds)]
        counted = {kind: requests(folder / "counted", (one, two), kind) for kind in KINDS}
    show(rounds, counted)


if __name__ == "__main__":
    main()
