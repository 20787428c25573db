"""What training sets through Feast cost: run by `scripts/bench feast_training_sets`.

Daily tables of a year, ``--views`` of them, each of ``--rows`` rows of ``--features`` doubles in files of a tenth. Two questions:

* ``year``: ``--entities`` rows anywhere in that year, features of all views, no ttl. Beside our store on Parquet, Delta and
  Iceberg stand an ASOF join written by hand (one statement a view over the Parquet files, in DuckDB: no order of rows, no
  created time, no ttl) and ``feast[duckdb]`` in a virtual environment of its own below ``.tools``.
* ``day``: a tenth as many rows of the last day, one view with a ttl of two days.

Every answer is made in a process of its own, which first answers a question about a tiny world, so that imports do not count;
CPU is user and system time, of the medians of ``--rounds``. All answers must have the same checksum.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
PEER = "feast[duckdb]==0.67.0"
PEER_MEMORY = "8GB"
"""What DuckDB may take below Feast, where it would take 80 % of the machine's; beyond this it spills."""

FILES, ROW_GROUP, DAYS = 10, 128 << 10, 365
DAY = 86_400_000_000
START = 1_700_006_400_000_000
INSTANT = pa.timestamp("us", tz="UTC")
KINDS = ("parquet", "delta", "iceberg")
SIDES = {"year": ("asof", *KINDS, "duckdb"), "day": (*KINDS, "duckdb")}
TTL = {"year": timedelta(0), "day": timedelta(days=2)}


def features(view: int, count: int) -> list[str]:
    return [f"v{view}_f{number}" for number in range(count)]


def daily(view: int, file: int, options: argparse.Namespace) -> pa.Table:
    """The rows of one file: every key once a day, in the hour of the view; sorted by day, keys in no order."""
    rows = options.rows // FILES
    keys = max(1, options.rows // DAYS)
    chance = np.random.default_rng(view * FILES + file)
    number = np.arange(file * rows, (file + 1) * rows)
    event = START + number // keys * DAY + view * 3_600_000_000
    columns: dict[str, Any] = {
        "key": number % keys * 7919 % keys if keys % 7919 else number % keys,
        "event_timestamp": pa.array(event).cast(INSTANT),
        "created": pa.array(event + chance.integers(0, 3_600_000_000, rows)).cast(INSTANT),
    }
    return pa.table(columns | {name: chance.random(rows) for name in features(view, options.features)})


def asked(question: str, options: argparse.Namespace) -> pa.Table:
    """The rows that are asked about, numbered."""
    chance = np.random.default_rng(99)
    rows = options.entities if question == "year" else max(1, options.entities // 10)
    first = 0 if question == "year" else DAYS - 1
    times = START + chance.integers(first * DAY, DAYS * DAY, rows)
    keys = chance.integers(0, max(1, options.rows // DAYS), rows)
    return pa.table({"number": np.arange(rows), "key": keys, "event_timestamp": pa.array(times).cast(INSTANT)})


def make(folder: Path, options: argparse.Namespace) -> None:
    """The tables in every format, and a Feast repository for each side."""
    for question in SIDES:
        pq.write_table(asked(question, options), folder / f"{question}.parquet")
    names = [f"v{view}" for view in range(options.views)]
    for view, name in enumerate(names):
        (folder / "parquet" / name).mkdir(parents=True)
        for file in range(FILES):
            path = folder / "parquet" / name / f"{file:02}.parquet"
            pq.write_table(daily(view, file, options), path, row_group_size=ROW_GROUP)
    for kind in (*KINDS, "duckdb"):
        repository = folder / f"repository-{kind}"
        repository.mkdir()
        store = {"type": "lakehouse_connectors.feast.LakeOfflineStore", "lake_config": "lake.toml"}
        settings = {
            "project": "bench",
            "provider": "local",
            "registry": {"path": str(repository / "registry.db")},
            "offline_store": {"type": "duckdb"} if kind == "duckdb" else store,
            "online_store": {"type": "sqlite", "path": str(repository / "online.db")},
            "entity_key_serialization_version": 3,
        }
        (repository / "feature_store.yaml").write_text(json.dumps(settings))
        if kind != "duckdb":
            sections = [f'[dataset.{name}]\ntable = "{folder / kind / name}"\nformat = "{kind}"\n' for name in names]
            (repository / "lake.toml").write_text("\n".join(sections))
    for kind in ("delta", "iceberg"):
        written(folder, kind, names)


def written(folder: Path, kind: str, names: Sequence[str]) -> None:
    """The tables of Parquet in another format, a commit for each file."""
    from lakehouse import Lake

    lake = Lake.from_config(folder / f"repository-{kind}" / "lake.toml")
    for name in names:
        files = sorted((folder / "parquet" / name).iterdir())
        dataset = lake.create_dataset(name, pq.read_schema(files[0]))
        for file in files:
            dataset.append(pq.read_table(file))


def through_feast(folder: Path, side: str, question: str) -> Callable[[], list[pa.Table]]:
    """What makes the training set of ``question`` with the store of ``side``. Definitions are applied here."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource
    from feast.data_format import ParquetFormat
    from feast.types import Float64
    from feast.value_type import ValueType

    if side == "duckdb":
        ibis: Any = importlib.import_module("ibis")
        ibis.set_backend(ibis.duckdb.connect(memory_limit=PEER_MEMORY, temp_directory=str(folder / "spilled")))
    key = Entity(name="key", join_keys=["key"], value_type=ValueType.INT64)
    times: dict[str, Any] = {"timestamp_field": "event_timestamp", "created_timestamp_column": "created"}
    views = []
    for place in sorted((folder / "parquet").iterdir())[: 1 if question == "day" else None]:
        if side == "duckdb":
            source: Any = FileSource(name=place.name, path=str(place), file_format=ParquetFormat(), **times)
        else:
            from lakehouse_connectors.feast import LakeSource

            source = LakeSource(dataset=place.name, **times)
        names = [name for name in pq.read_schema(place / "00.parquet").names if name.startswith("v")]
        schema = [Field(name=name, dtype=Float64) for name in names]
        views.append(FeatureView(name=place.name, entities=[key], ttl=TTL[question], schema=schema, source=source))
    store = FeatureStore(repo_path=str(folder / f"repository-{side}"))
    store.apply([key, *views])
    wanted = [f"{view.name}:{feature.name}" for view in views for feature in view.features]
    frame = pq.read_table(folder / f"{question}.parquet").to_pandas()
    return lambda: [store.get_historical_features(entity_df=frame, features=wanted).to_arrow()]


def by_hand(folder: Path, question: str) -> Callable[[], list[pa.Table]]:
    """One ASOF join for each view, as one writes it who knows that there are no ties and no ttl."""
    import duckdb

    def joined() -> list[pa.Table]:
        rows, found = pq.read_table(folder / f"{question}.parquet"), list[pa.Table]()
        with duckdb.connect() as connection:
            connection.register("asked", rows)
            for place in sorted((folder / "parquet").iterdir()):
                names = [name for name in pq.read_schema(place / "00.parquet").names if name.startswith("v")]
                query = connection.sql(
                    f"SELECT number, {', '.join(names)} FROM asked ASOF LEFT JOIN read_parquet('{place}/*.parquet') AS held "
                    "ON asked.key = held.key AND asked.event_timestamp >= held.event_timestamp"
                )
                found.append(query.to_arrow_table())
        return found

    return joined


def checksum(answer: list[pa.Table]) -> str:
    """What all sides must agree upon, whatever the order of rows: values weighted by the numbers of their rows."""
    total, values = 0.0, 0
    for table in answer:
        weight = table.column("number").to_numpy() % 1009 + 1
        for name in (name for name in table.column_names if name.startswith("v")):
            total += float(np.nansum(np.asarray(table.column(name).to_numpy(), np.float64) * weight))
            values += table.num_rows - table.column(name).null_count
    return f"{answer[0].num_rows} rows, {values} values, {total:.6g}"


def measure(side: str, few: Path, folder: Path, question: str) -> None:
    """Print what this process, of which the answer is all, has cost since it answered a question about a tiny world."""
    made = [by_hand(each, question) if side == "asof" else through_feast(each, side, question) for each in (few, folder)]
    made[0]()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    answer = made[1]()
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps({"cpu": cpu, "seconds": seconds, "peak": peak, "checksum": checksum(answer)}), flush=True)
    os._exit(0)


def peer() -> Path:
    """The interpreter of a virtual environment with `PEER`, made where there is none yet."""
    place = ROOT / ".tools" / "feast-duckdb-0.67.0"
    if not (place / "made").exists():
        venv.create(place, with_pip=True)
        subprocess.run([place / "bin" / "python", "-m", "pip", "install", "--quiet", PEER], check=True)
        (place / "made").touch()
    return place / "bin" / "python"


def measured(side: str, few: Path, folder: Path, question: str) -> dict[str, Any]:
    python = peer() if side == "duckdb" else sys.executable
    command = [str(python), "-W", "ignore", __file__, "--measure", side, str(few), str(folder), question]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side}, {question}: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def compare(few: Path, folder: Path, question: str, options: argparse.Namespace) -> None:
    sides = [side for side in SIDES[question] if side in options.side]
    rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for number in range(options.rounds):
        for side in sides:
            if side != "duckdb" or number < options.peer_rounds:
                rounds[side].append(measured(side, few, folder, question))
    checksums = {side: found[0]["checksum"] for side, found in rounds.items()}
    if len(set(checksums.values())) > 1:
        raise SystemExit(f"{question}: answers differ: {checksums}")
    medians = {
        side: {key: statistics.median(each[key] for each in found) for key in ("cpu", "seconds", "peak")}
        for side, found in rounds.items()
    }
    print(f"\n{question}: {next(iter(checksums.values()))}\n")
    print("| side | CPU | of `asof` | of `feast[duckdb]` | wall | peak memory |\n|---|---|---|---|---|---|")
    for side, found in medians.items():
        ratios = [f"{found['cpu'] / medians[other]['cpu']:.3g}" if other in medians else "–" for other in ("asof", "duckdb")]
        print(f"| {side} | {found['cpu']:.2f} s | {' | '.join(ratios)} | {found['seconds']:.2f} s | {found['peak']:,.0f} MB |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of each table; for a quick look: 500000")
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--features", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-rounds", type=int, default=1, help="of feast[duckdb], which takes minutes")
    parser.add_argument("--question", choices=SIDES, action="append", help="only this one (may be repeated)")
    parser.add_argument("--side", choices=SIDES["year"], action="append", help="only this one (may be repeated)")
    parser.add_argument("--folder", type=Path, help="where tables are kept for another run with the same sizes")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        side, few, folder, question = options.measure
        measure(side, Path(few), Path(folder), question)
        return
    options.side = options.side or SIDES["year"]
    with tempfile.TemporaryDirectory() as made:
        folder = (options.folder or Path(made)).resolve()
        for name, sizes in (("few", {"rows": 3650, "entities": 100}), ("many", {})):
            if not (folder / name / "made").exists():
                (folder / name).mkdir(parents=True)
                make(folder / name, argparse.Namespace(**{**vars(options), **sizes}))
                (folder / name / "made").touch()
        for question in options.question or SIDES:
            compare(folder / "few", folder / "many", question, options)


if __name__ == "__main__":
    main()
