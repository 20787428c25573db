"""One random history each, made from a seed and read in every way."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse import fingerprint, open_table
from lakehouse.lrh1 import fingerprint as of_rows
from tests.oracle.delta_history import DeltaHistory
from tests.oracle.iceberg_history import IcebergHistory
from tests.oracle.kinds import KINDS, Row, in_order
from tests.oracle.parquet_folder import ParquetFolder
from tests.oracle.reading import assert_query, assert_scans

__all__ = ["delta", "fingerprints", "iceberg", "parquet"]


def iceberg(folder: Path, seed: int, steps: int) -> None:
    """Every snapshot, branch, tag and moment."""
    chance = Random(seed)
    made = IcebergHistory(folder / "t", chance)
    for _ in range(steps):
        made.step()
    table = open_table(str(made.table.folder))
    for state in made.every_state():
        columns = {each.name: each.kind for each in state.fields}
        assert_scans(table, state.point, columns, state.expected(), chance)
        if not state.point and chance.random() < 0.3:
            assert_query(made.table.folder, columns, state.expected(), chance)


def delta(folder: Path, seed: int, steps: int) -> None:
    """Every version that the log retains."""
    chance = Random(seed)
    made = DeltaHistory(folder / "t", chance)
    for _ in range(steps):
        made.step()
    table = open_table(str(made.folder))
    newest = len(made.versions) - 1
    for number in range(made.first, newest + 1):
        state = made.versions[number]
        columns = {each.name: each.kind for each in state.fields}
        points: list[dict[str, Any]] = [{"version": number}, {"as_of": made.moment(number)}, *([{}] if number == newest else [])]
        assert_scans(table, chance.choice(points), columns, state.expected(), chance)
        if number == newest and chance.random() < 0.3:
            assert_query(made.folder, columns, state.expected(), chance)


def parquet(folder: Path, seed: int, steps: int) -> None:
    """A folder of at most ``steps`` files, whose rows come in the order of their paths."""
    chance = Random(seed)
    made = ParquetFolder(folder / "t", chance, steps)
    table = open_table(str(made.folder))
    assert in_order(table.scan().to_arrow().to_pylist()) == in_order(made.rows)
    assert_scans(table, {}, made.columns, made.rows, chance)
    if chance.random() < 0.3:
        assert_query(made.folder, made.columns, made.rows, chance)


def fingerprints(folder: Path, seed: int, steps: int) -> None:
    """The same rows in each format: written in ``steps`` parts, with others among them that are deleted in several ways."""
    chance = Random(seed)
    kinds = sorted(kind for kind, each in KINDS.items() if each.iceberg)
    columns = {name: chance.choice(kinds) for name in chance.sample(["a", "b", "odd name", "né"], chance.randint(1, 4))}
    rows: list[Row] = [
        {name: None if chance.random() < 0.2 else chance.choice(KINDS[kind].values) for name, kind in columns.items()}
        for _ in range(chance.randint(0, 20))
    ]
    delta, iceberg = DeltaHistory(folder / "d", chance, columns), IcebergHistory(folder / "i", chance, columns)
    for part in range(steps):
        own = rows[part::steps]
        delta.write_among(own)
        iceberg.write_among(own)
    schema = pa.schema([(name, KINDS[kind].arrow) for name, kind in columns.items()])
    plain = pa.Table.from_pylist(chance.sample(rows, len(rows)), schema)
    (folder / "p").mkdir()
    for at in range(steps):
        pq.write_table(plain.take(pa.array(range(at, len(rows), steps), pa.int64())), folder / "p" / f"{at}.parquet")
    found = {name: fingerprint(str(folder / name)) for name in ("d", "i", "p")}
    assert found["p"] == of_rows(plain.to_batches(), schema)
    assert found["d"] == found["i"] == found["p"]
