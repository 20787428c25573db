"""The random oracle: scans of tables with appends, deletes, updates, overwrites and checkpoints equal brute force."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.reading import rows
from tests.formats.delta.handmade import checkpoint, column, commit, mapped, plan, start, vector, write_file
from tests.formats.replicas import remove

Row = dict[str, Any]


def read(folder: Path, version: int, **more: Any) -> list[Row]:
    found = (batch.to_pylist() for batch in rows.batches(plan(folder, version), workers=1, **more))
    return sorted((row for batch in found for row in batch), key=repr)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(("none", "name", "id")))
def test_a_random_history_reads_as_it_was_made(tmp_path_factory: pytest.TempPathFactory, seed: int, mode: str) -> None:
    made = _History(tmp_path_factory.mktemp("history"), random.Random(seed), mode)
    for _ in range(made.random.randint(1, 7)):
        made.step()
    for version, expected in enumerate(made.versions):
        assert read(made.folder, version) == sorted(expected, key=repr), f"seed {seed}, version {version}"
        for condition, holds in made.filters():
            wanted = sorted((row for row in expected if holds(row)), key=repr)
            assert read(made.folder, version, filter=condition) == wanted, f"seed {seed}, version {version}, {condition}"


class _History:
    """A table of (id, v, p), partitioned by p, and the rows that each version must have."""

    def __init__(self, folder: Path, random: random.Random, mode: str) -> None:
        self.folder, self.random, self.mode = folder, random, mode
        self.files: dict[str, tuple[dict[str, Any], list[dict[str, Any]], set[int]]] = {}
        self.versions: list[list[Row]] = [[]]
        self.count = 0
        columns = [
            self._column(name, kind, n) for n, (name, kind) in enumerate({"id": "long", "v": "string", "p": "integer"}.items(), 1)
        ]
        mapping = {} if mode == "none" else {"delta__columnMapping__mode": mode}
        features = ["deletionVectors", "v2Checkpoint", *(["columnMapping"] if mapping else [])]
        start(folder, columns, partition_by=["p"], features=features, **mapping)  # type: ignore[arg-type]

    def _column(self, name: str, kind: str, number: int) -> dict[str, Any]:
        return column(name, kind) if self.mode == "none" else mapped(name, kind, self._key(name), number)

    def _key(self, name: str) -> str:
        return name if self.mode == "none" else f"col-{name}"

    def step(self) -> None:
        change = self.random.choice([self.append, self.append, self.delete, self.delete, self.update, self.overwrite])
        commit(self.folder, len(self.versions), *change())
        live = (row for _, held, gone in self.files.values() for at, row in enumerate(held) if at not in gone)
        self.versions.append(list(live))
        if self.random.random() < 0.3:
            checkpoint(self.folder, self.random.choice(["classic", "json", "parquet"]))

    def append(self, held: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
        actions = []
        by_partition: dict[int | None, list[Row]] = {}
        for row in self._rows() if held is None else held:
            by_partition.setdefault(row["p"], []).append(row)
        for part, chosen in by_partition.items():
            name, self.count = f"f{self.count}.parquet", self.count + 1
            added = self._write(name, part, chosen)
            self.files[name] = (added, chosen, set())
            actions.append(added)
        return actions

    def _rows(self) -> list[dict[str, Any]]:
        draw = self.random
        return [
            {
                "id": draw.choice([None, draw.randint(-5, 5)]),
                "v": draw.choice([None, "", "a", "b"]),
                "p": draw.choice([None, 1, 2]),
            }
            for _ in range(draw.randint(1, 12))
        ]

    def _write(self, name: str, part: int | None, held: list[dict[str, Any]]) -> dict[str, Any]:
        fields = [
            pa.field(self._key(each), kind, metadata={"PARQUET:field_id": str(n)} if self.mode == "id" else None)
            for n, (each, kind) in enumerate((("id", pa.int64()), ("v", pa.string())), 1)
        ]
        data = pa.table([[row["id"] for row in held], [row["v"] for row in held]], schema=pa.schema(fields))
        stats: dict[str, Any] = {"numRecords": len(held), "minValues": {}, "maxValues": {}, "nullCount": {}}
        for each in ("id", "v"):
            there = [row[each] for row in held if row[each] is not None]
            stats["nullCount"][self._key(each)] = len(held) - len(there)
            if there:
                stats["minValues"][self._key(each)], stats["maxValues"][self._key(each)] = min(there), max(there)
        partition = {self._key("p"): None if part is None else str(part)}
        return write_file(self.folder, name, data, partition=partition, stats=stats)

    def delete(self) -> list[dict[str, Any]]:
        actions = []
        for name, (added, held, gone) in list(self.files.items()):
            more = {at for at in range(len(held)) if at not in gone and self.random.random() < 0.3}
            if not more or self.random.random() < 0.3:
                continue
            before = {key: added["add"][key] for key in ("deletionVector",) if key in added["add"]}
            actions.append(remove(name, **before))
            if len(gone | more) == len(held):
                del self.files[name]
                continue
            descriptor = vector(self.folder, *(gone | more), inline=self.random.random() < 0.5)
            masked = {"add": {**added["add"], "deletionVector": descriptor}}
            self.files[name] = (masked, held, gone | more)
            actions.append(masked)
        return actions

    def update(self) -> list[dict[str, Any]]:
        before = self.versions[-1]
        actions = self.delete()
        kept = sum(len(held) - len(gone) for _, held, gone in self.files.values())
        return [*actions, *self.append([{**row, "v": "new"} for row in before[: len(before) - kept]])]

    def overwrite(self) -> list[dict[str, Any]]:
        gone = [
            remove(name, **{key: added["add"][key] for key in ("deletionVector",) if key in added["add"]})
            for name, (added, _, _) in self.files.items()
        ]
        self.files.clear()
        return [*gone, *self.append()]

    def filters(self) -> list[tuple[Any, Any]]:
        number = self.random.randint(-5, 5)
        return [
            (pc.field("id") > number, lambda row: row["id"] is not None and row["id"] > number),
            (
                (pc.field("p") == 1) & (pc.field("v") <= "a"),
                lambda row: row["p"] == 1 and row["v"] is not None and row["v"] <= "a",
            ),
            (pc.field("p").is_null() | pc.field("id").is_null(), lambda row: row["p"] is None or row["id"] is None),
        ]
