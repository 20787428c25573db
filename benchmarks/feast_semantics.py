"""What Feast's own offline stores get wrong of a training set: run by `scripts/bench feast_semantics`.

Every statement of `tests/feast/lines.py`, and some about what is materialized, is put to Feast's stores ``file`` (dask) and
``duckdb`` (ibis), in a virtual environment with ``feast[duckdb]`` and nothing of this project, and to ours on Parquet. Prints
a table of the statements that one of them fails, with what came instead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if TYPE_CHECKING:
    from tests.feast.worlds import Kind, World

ROOT = Path(__file__).resolve().parent.parent
KINDS: tuple[Kind, ...] = ("file", "duckdb", "parquet")
Wrong = Callable[[], str | None]
LONGEST = 110
OTHER_ORDER = "the rows, in another order"


def statements(kind: Kind, folder: Path) -> Iterator[tuple[str, Wrong]]:
    """Each statement, and what tells whether the store of ``kind`` is wrong about it."""
    from tests.feast.lines import LINES, TABLES, Line, definitions
    from tests.feast.worlds import made

    world = made(folder / "lines", kind, TABLES, definitions)

    def of_line(line: Line) -> Wrong:
        return lambda: line.wrong(line.ask(world))

    for line in LINES:
        yield line.name, of_line(line)
    for clock, name in (("us", "microseconds"), ("ns", "nanoseconds")):
        yield from materialized(kind, folder / f"materialized-{clock}", clock, name)


def materialized(kind: Kind, folder: Path, clock: str, name: str) -> Iterator[tuple[str, Wrong]]:
    """What comes online from a table with zoned times in a unit: rows of the bounds, and the row created last."""
    import pyarrow as pa
    from feast import FeatureView

    from tests.feast.lines import DRIVER, TEN, at, number
    from tests.feast.worlds import made

    kind_of_time = pa.timestamp(clock, "UTC")
    table = pa.table(
        {
            "driver": pa.array([1, 2, 3, 3, 4], pa.int64()),
            "event_timestamp": pa.array([at("08:00"), TEN, at("09:00"), at("09:00"), at("10:01")], kind_of_time),
            "created": pa.array([TEN, TEN, at("09:30"), at("09:20"), at("10:02")], kind_of_time),
            "conv": [0.1, 0.2, 0.31, 0.3, 0.4],
        }
    )
    world: list[World] = []

    def served(driver: int, want: float | None) -> str | None:
        if not world:
            view = lambda source: [  # noqa: E731
                DRIVER,
                FeatureView(
                    name="stats",
                    entities=[DRIVER],
                    schema=[number("conv")],
                    source=source("t", created_timestamp_column="created"),
                ),
            ]
            made_world = made(folder, kind, {"t": table}, view)
            made_world.store.materialize(at("08:00"), TEN)
            world.append(made_world)
        got = world[0].store.get_online_features(["stats:conv"], [{"driver": driver}]).to_dict()["conv"]
        return None if got == [want] else f"{got} and not {[want]}"

    for what, driver, want in (
        ("a row at the start of the range comes online", 1, 0.1),
        ("a row at its end does", 2, 0.2),
        ("of rows of one time the one created last comes online", 3, 0.31),
        ("a row after the range does not", 4, None),
    ):
        yield f"materialize, zoned {name}: {what}", lambda driver=driver, want=want: served(driver, want)  # type: ignore[misc]


def verdicts(kind: Kind) -> dict[str, str | None]:
    """What the store of ``kind`` is wrong about, by the statement; None where it is right."""
    warnings.simplefilter("ignore")
    found: dict[str, str | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, wrong in statements(kind, Path(folder)):
            try:
                found[name] = wrong()
            except Exception as error:  # noqa: BLE001 (stores raise anything, and each is a verdict)
                found[name] = f"{type(error).__name__}: {error}".partition("\n")[0]
    return found


def asked(kind: Kind) -> dict[str, str | None]:
    """`verdicts` in a process of its own, of the interpreter that has the store."""
    from benchmarks.feast_training_sets import peer

    python = sys.executable if kind == "parquet" else str(peer())
    done = subprocess.run([python, "-W", "ignore", __file__, "--of", kind], capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise SystemExit(f"{kind}: {done.stderr[-2000:]}")
    answer: dict[str, str | None] = json.loads(done.stdout.splitlines()[-1])
    return answer


def cell(verdict: str | None) -> str:
    """A verdict as a table shows it."""
    if verdict is None:
        return "right"
    text = verdict.replace("|", "\\|")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="statements that every store is right about, too")
    parser.add_argument("--of", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.of:
        print(json.dumps(verdicts(options.of)), flush=True)
        os._exit(0)
    found: dict[str, dict[str, Any]] = {kind: asked(kind) for kind in KINDS}
    names = list(found[KINDS[0]])
    print("| statement | `file` | `duckdb` | ours |\n|---|---|---|---|")
    for name in names:
        row = [found[kind][name] for kind in KINDS]
        if options.all or any(row):
            print(f"| {name} | {' | '.join(cell(each) for each in row)} |")
    print()
    for kind in KINDS:
        of_kind = list(found[kind].values())
        print(f"{kind}: {of_kind.count(None)} of {len(names)} right, {of_kind.count(OTHER_ORDER)} in another order")


if __name__ == "__main__":
    main()
