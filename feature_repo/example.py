"""Will the flight arrive late? Features from a lake, and a lake that moves: `python -m feature_repo.example` tells the story."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from feature_repo import datasets, flights
from feature_repo.figure import draw
from feature_repo.move import replicate_to_s3, write_anew
from feature_repo.places import DISK, GOOGLE, S3, Place, Stores, lake_toml, local_servers
from feature_repo.repository import checked_out, feast
from feature_repo.seen import Seen, refuse_differences, see
from lakehouse import Lake
from lakehouse.errors import Config, LakeError

__all__ = ["main"]

FOLDER = Path("build/flights")


def main(arguments: list[str] | None = None) -> int:
    """Run the example; the exit code is that of `LakeError` where something is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m feature_repo.example", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help=f"an empty or new folder (default: {FOLDER}, which is made anew)")
    folder = parser.parse_args(arguments).folder
    try:
        _tell(_empty(folder))
    except LakeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _empty(folder: Path | None) -> Path:
    if folder is None:
        shutil.rmtree(FOLDER, ignore_errors=True)
    elif folder.exists() and any(folder.iterdir()):
        raise Config(f"{folder}: is not empty; name a folder that is, or one that does not exist")
    chosen = folder or FOLDER
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen.absolute()


def _tell(folder: Path) -> None:
    story = _Story()
    repository = checked_out(folder / "repository")
    with local_servers(folder) as stores:
        story.step("The flights of 2013 become six datasets: Parquet files on this disk, each row at the time when it was known.")
        (repository / "lake.toml").write_text(lake_toml(stores, DISK))
        rows = datasets.tables(flights.connect())
        datasets.build(Lake.from_config(repository / "lake.toml"), rows)
        for name, table in rows.items():
            story.line(f"{name:<20} {table.num_rows:>8,} rows")

        story.step("feast apply; a training set of every fourth flight; a random forest, as ONNX; features online, and scores.")
        story.command(repository, "apply")
        seen = {DISK: _quietly(repository)}
        _say_seen(story, seen[DISK])

        story.step("The move, to S3: written as Delta, synced, and proven to the rows. Then lake.toml names the new place.")
        for result in replicate_to_s3(repository, stores):
            story.line(
                f"{result.target}: version {result.version}, proven to {result.proof}, receipt {result.receipt_sha256[:16]}…"
            )
        seen[S3] = _moved(story, folder, stores, S3, seen[DISK])

        story.step("The move, to Google Cloud: the same rows, written anew as Iceberg. Then lake.toml names the new place.")
        for name, count in write_anew(repository, stores, GOOGLE).items():
            story.line(f"{GOOGLE.table(name)}: {count:,} rows, fingerprint equal")
        seen[GOOGLE] = _moved(story, folder, stores, GOOGLE, seen[DISK])

        (repository / "lake.toml").write_text(lake_toml({}, DISK))
    draw(folder / "flights.png", {place.title: found.model for place, found in seen.items()})
    (folder / "late.onnx").write_bytes(seen[DISK].model.onnx)
    story.step("One repository, three places:")
    _say_facts(story, seen)
    there = os.path.relpath(folder)
    story.step(
        f"{story.seconds():.0f} seconds. In {there}: flights.png, late.onnx, and the repository with the datasets on disk."
    )


def _moved(story: _Story, folder: Path, stores: Stores, place: Place, before: Seen) -> Seen:
    """Ask the repository what has changed, then check it out anew beside the data, and hold what it gives against ``before``."""
    story.command(folder / "repository", "plan")
    anew = checked_out(folder / place.format)
    (anew / "lake.toml").write_text(lake_toml(stores, place))
    found = _quietly(anew)
    refuse_differences(before, found)
    story.line("checked out anew and applied there: same definitions, training set, AUC and predictions")
    return found


def _quietly(repository: Path) -> Seen:
    """`see`, without what Feast says of its progress."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        return see(repository)


def _say_seen(story: _Story, seen: Seen) -> None:
    model = seen.model
    story.line(f"training set         {seen.rows:,} rows, {len(model.features)} features, fingerprint {seen.training_set[:16]}…")
    story.line(f"AUC, last quarter    {model.auc:.3f}; with hour and distance alone {model.baseline_auc:.3f}")
    story.line(f"ONNX                 {len(model.onnx) / 1e6:.1f} MB, within {model.onnx_difference:.0e} of scikit-learn")
    story.line(f"online               {len(seen.scored.scores)} flights scored, their features equal to the offline ones:")
    flights = seen.scored.flights
    for row in sorted(range(flights.num_rows), key=lambda row: -seen.scored.scores[row])[:3]:
        flight = flights.slice(row, 1).to_pylist()[0]
        clock = f"{flight['hour']:02}:{flight['minute_of_week'] % 60:02}"
        came = "it was late" if flight["late"] else "it was not"
        story.line(
            f"  {clock} {flight['carrier']} {flight['tailnum']} from {flight['origin']}: {seen.scored.scores[row]:.0%}; {came}"
        )


def _say_facts(story: _Story, seen: dict[Place, Seen]) -> None:
    facts = {place: found.facts() for place, found in seen.items()}
    story.line(f"{'':<44}" + "".join(f"{place.title:<26}" for place in facts))
    for name in facts[DISK]:
        story.line(f"{name:<44}" + "".join(f"{found[name][:16]:<26}" for found in facts.values()))


class _Story:
    """Prints the steps with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._started

    def step(self, text: str) -> None:
        self.line("")
        self.line(f"[{self.seconds():3.0f} s] {text}", indent="")

    def command(self, repository: Path, name: str) -> None:
        """Run ``feast NAME`` and show what it says."""
        self.line(f"$ feast {name}")
        for line in feast(repository, name):
            self.line(f"  {line}")

    def line(self, text: str, *, indent: str = "  ") -> None:
        sys.stdout.write(f"{indent}{text}".rstrip() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
