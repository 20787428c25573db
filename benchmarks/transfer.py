"""Moving bytes: `lake sync` against rclone and s5cmd, all on this machine. Run by `scripts/bench transfer`.

Parts: ``s3-s3`` (two SeaweedFS servers with credentials of their own, so that no program can copy on the servers' side),
``s3-local``, ``local-s3``, ``azure`` (two Azurites) and ``gcs`` (two fake-gcs-servers); the last two with fewer and smaller
objects, since these doubles are slow. In each round every program moves the same objects into a place of its own, and every round
begins with another program:

* ``lake sync --format files``: planning, SHA-256 of every byte, reading back, an inventory and a receipt included;
* ``rclone copy``, which hashes no content by itself; ``rclone check --download`` after it makes the same proof as ours;
* ``s5cmd cp``, where one side is S3 and the other is the disk (it knows one endpoint only);
* with ``--bare``, obstore's threads alone (`benchmarks.bare`): what `lake` would cost if it did nothing but move and hash.

What is counted is the CPU time and the peak resident memory of the whole client process. A ratio is the median of the rounds'
ratios: machines are noisy, and what slows one program slows its neighbour in the same round.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import stores
from benchmarks.clients import IN_FLIGHT, Cost, compiled, lake, median, rclone, run, s5cmd, starting
from benchmarks.stores import Opener, Side, both, fill

SIZES = {"16 KiB": (5000, 16 << 10), "1 MiB": (500, 1 << 20), "128 MiB": (8, 128 << 20)}
FEWER = {"16 KiB": (1000, 16 << 10), "1 MiB": (100, 1 << 20), "64 MiB": (4, 64 << 20)}
SOURCE = "source"
ROOM = 4 << 30
BARE = str(Path(__file__).with_name("bare.py"))


@dataclass(frozen=True)
class Part:
    """What is moved from where to where: ``sizes`` are numbers of objects and bytes of each."""

    title: str
    source: Opener
    target: Opener
    sizes: Mapping[str, tuple[int, int]]


PARTS = {
    "s3-s3": Part("S3 → S3 (SeaweedFS → SeaweedFS)", stores.s3, stores.s3, SIZES),
    "s3-local": Part("S3 → local (SeaweedFS → disk)", stores.s3, stores.local, SIZES),
    "local-s3": Part("local → S3 (disk → SeaweedFS)", stores.local, stores.s3, SIZES),
    "azure": Part("Azure → Azure (Azurite → Azurite)", stores.azure, stores.azure, FEWER),
    "gcs": Part("GCS → GCS (fake-gcs-server → fake-gcs-server)", stores.gcs, stores.gcs, FEWER),
}

HEADER = (
    "objects", "lake / copy", "lake / (copy + check)", "lake / s5cmd", "again: lake / copy", "wall: lake / copy",
    "CPU s: lake, copy, check, s5cmd, bare", "wall s: lake, copy, s5cmd, bare", "peak MB: lake, copy, s5cmd, bare",
)  # fmt: skip


class Move:
    """One source, one target, and the programs that move between them, each into a place of its own."""

    def __init__(self, source: Side, target: Side, environment: Mapping[str, str], *, bare: bool) -> None:
        self.source, self.target, self.environment = source, target, environment
        self.programs: dict[str, Callable[[str], dict[str, Cost]]] = {"lake": self._lake, "rclone": self._rclone}
        if source.s5cmd and target.s5cmd and not (source.environment and target.environment):
            self.programs["s5cmd"] = self._s5cmd
        if bare:
            self.programs["bare"] = self._bare

    def round(self, number: int) -> dict[str, Cost]:
        """Every program once; which one begins goes by ``number``."""
        names = list(self.programs)
        costs: dict[str, Cost] = {}
        for name in names[number % len(names) :] + names[: number % len(names)]:
            place = f"{name}-{number}"
            costs |= self.programs[name](place)
            if not self.target.remote:
                shutil.rmtree(self.target.rclone + place)
        return costs

    def _lake(self, place: str) -> dict[str, Cost]:
        command = [*lake(), "sync", self.source.lake + SOURCE, self.target.lake + place, "--format", "files"]
        return {name: run(command, self.environment) for name in ("lake", "lake again")}

    def _rclone(self, place: str) -> dict[str, Cost]:
        places = self.source.rclone + SOURCE, self.target.rclone + place
        steps = {"copy": ["copy"], "check": ["check", "--download"], "copy again": ["copy"]}
        return {name: run([*rclone(), *step, *places], self.environment) for name, step in steps.items()}

    def _s5cmd(self, place: str) -> dict[str, Cost]:
        command = [*s5cmd(), "cp", f"{self.source.s5cmd}{SOURCE}/*", f"{self.target.s5cmd}{place}/"]
        return {"s5cmd": run(command, {**self.environment, **self.source.environment, **self.target.environment})}

    def _bare(self, place: str) -> dict[str, Cost]:
        command = [compiled(), BARE, self.source.lake + SOURCE, self.target.lake + place]
        return {"bare": run(command, self.environment)}


def row(objects: str, rounds: list[dict[str, Cost]]) -> str:
    """A line of the table."""
    middle = {name: median(each[name] for each in rounds) for name in rounds[0]}

    def ratio(mine: str, *theirs: str, figure: str = "cpu") -> str:
        if theirs[0] not in middle:
            return "–"
        seen = (getattr(each[mine], figure) / sum(getattr(each[name], figure) for name in theirs) for each in rounds)
        return f"{statistics.median(seen):.2f}"

    def figures(figure: str, form: str, *names: str) -> str:
        return ", ".join(format(getattr(middle[name], figure), form) if name in middle else "–" for name in names)

    cells = (
        objects,
        ratio("lake", "copy"),
        ratio("lake", "copy", "check"),
        ratio("lake", "s5cmd"),
        ratio("lake again", "copy again"),
        ratio("lake", "copy", figure="wall"),
        figures("cpu", ".2f", "lake", "copy", "check", "s5cmd", "bare"),
        figures("wall", ".1f", "lake", "copy", "s5cmd", "bare"),
        figures("peak", ".0f", "lake", "copy", "s5cmd", "bare"),
    )
    return f"| {' | '.join(cells)} |"


def check_room(folder: Path, needed: int) -> None:
    """Raises `SystemExit` unless the disk has room for so many bytes and some: a full one shows as errors of the servers."""
    free = shutil.disk_usage(folder).free
    if free < needed + ROOM:
        raise SystemExit(
            f"{folder}: {(needed + ROOM) / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; set TMPDIR, or --divide"
        )


def measure(part: Part, size: str, divide: int, rounds: int, *, bare: bool) -> str:
    """The line of one size of object, on servers of its own. A server takes a second over the first objects that it ever gets,
    so the target has some before it is measured."""
    count, size_bytes = part.sizes[size]
    count = max(1, count // divide)
    with tempfile.TemporaryDirectory() as text, both(part.source, part.target, Path(text)) as (source, target, environment):
        objects = ((f"part-{number:06d}", size_bytes) for number in range(count))
        move = Move(source, target, environment, bare=bare)
        check_room(Path(text), count * size_bytes * (1 + rounds * len(move.programs)))
        fill(source.lake + SOURCE, environment["LAKE_CONFIG"], objects)
        fill(target.lake + "first", environment["LAKE_CONFIG"], ((str(number), 16 << 10) for number in range(IN_FLIGHT)))
        return row(f"{count:,} × {size}", [move.round(number) for number in range(rounds)])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--divide", type=int, default=1, help="so many times fewer objects, for a quick look")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--only", choices=PARTS, action="append", help="this part; repeatable")
    arguments.add_argument("--bare", action="store_true", help="also move by obstore alone")
    chosen = arguments.parse_args()
    print(f"What starting alone costs (CPU, peak): {starting()}")
    for name in chosen.only or PARTS:
        part = PARTS[name]
        print(f"\n{part.title}; ratios are of CPU where nothing else is said\n")
        print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}", flush=True)
        for size in part.sizes:
            print(measure(part, size, chosen.divide, chosen.rounds, bare=chosen.bare), flush=True)


if __name__ == "__main__":
    main()
