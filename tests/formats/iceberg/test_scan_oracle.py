"""Tables made at random, with appends, compactions and deletes of every kind: a scan gives the rows that a plain list has left.

The list knows nothing of sequence numbers, delete files or partitions: a delete takes from it what is there at that moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.formats.iceberg.format import IcebergFormat
from lakehouse.local_store import LocalStore
from lakehouse.reading.rows import batches, schema_of
from lakehouse.reading.task import Point
from lakehouse.url import parse
from tests.formats.iceberg.handmade import HandmadeTable
from tests.formats.iceberg.handmade import field as column

FIELDS = [column(1, "id", "long"), column(2, "p", "string"), column(3, "k", "int")]
BY_P = [{"name": "p", "transform": "identity", "source-id": 2, "field-id": 1000}]
KINDS = {"id": pa.int64(), "p": pa.string(), "k": pa.int32()}
ROW = st.tuples(st.none() | st.integers(0, 5), st.sampled_from(["a", "b", None]), st.none() | st.integers(0, 3))
KEYS = st.sampled_from([("id",), ("k",), ("id", "k"), ("p", "id")])

Row = tuple[Any, ...]


@dataclass
class Model:
    """The live rows, by the data file that holds them and their position there; what deletion vectors are in force."""

    rows: dict[tuple[str, int], Row] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    vectors: dict[str, dict[str, Any]] = field(default_factory=dict)
    gone: dict[str, set[int]] = field(default_factory=dict)


def _table(rows: Iterable[Row], names: Iterable[str] = KINDS) -> pa.Table:
    chosen = list(names)
    columns = [pa.array(values, KINDS[name]) for name, values in zip(chosen, zip(*rows, strict=True), strict=True)]
    return pa.table(columns, chosen)


class Writer:
    """Commits to a table by hand and to a model at once."""

    def __init__(self, table: HandmadeTable, draw: Any, *, partitioned: bool, vectors: bool) -> None:
        self.table, self.draw, self.model = table, draw, Model()
        self.partitioned, self.vectors = partitioned, vectors

    def commit(self) -> int:
        """Rows are appended; rows that were there are deleted by value, then any by position."""
        before = dict(self.model.rows)
        specs: dict[int, list[dict[str, Any]]] = {0: [], 1: []}
        for rows in self._by_partition(self.draw(st.lists(ROW, max_size=6))):
            specs[0].append(self._append(rows))
        if self.draw(st.booleans()):
            spec, made = self._by_value(before)
            specs[spec].append(made)
        removed, by_position = self._by_position()
        specs[0] += by_position
        if specs[1] and not specs[0] and not removed:
            return self.table.commit(*specs[1], spec=1)
        number = self.table.commit(*specs[0], removed=removed)
        if specs[1]:  # of the same moment: a manifest is of one spec
            self.table.sequence -= 1
            number = self.table.commit(*specs[1], spec=1)
        return number

    def _by_partition(self, rows: list[Row]) -> list[list[Row]]:
        if not self.partitioned:
            return [rows] if rows else []
        return [each for p in ("a", "b", None) if (each := [row for row in rows if row[1] == p])]

    def _append(self, rows: list[Row]) -> dict[str, Any]:
        names = [name for name in KINDS if name != "p"] if self.partitioned and self.draw(st.booleans()) else list(KINDS)
        held = [tuple(row[list(KINDS).index(name)] for name in names) for row in rows]
        entry = self.table.data(_table(held, names), partition=[rows[0][1]] if self.partitioned else ())
        self.model.files[entry["file_path"]] = entry
        self.model.rows |= {(entry["file_path"], at): row for at, row in enumerate(rows)}
        return entry

    def _by_value(self, before: dict[tuple[str, int], Row]) -> tuple[int, dict[str, Any]]:
        names = self.draw(KEYS)
        places = [list(KINDS).index(name) for name in names]
        values = self.draw(st.lists(ROW.map(lambda row: tuple(row[at] for at in places)), min_size=1, max_size=3))
        everywhere = not self.partitioned or self.draw(st.booleans())
        partition = None if everywhere else self.draw(st.sampled_from(["a", "b", None]))
        for key, row in before.items():
            if (everywhere or row[1] == partition) and tuple(row[at] for at in places) in values:
                self.model.rows.pop(key, None)
        made = self.table.equal(_table(values, names), partition=() if everywhere else [partition])
        return (1 if self.partitioned and everywhere else 0), made

    def _by_position(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        live = sorted(self.model.rows)
        chosen = self.draw(st.lists(st.sampled_from(live), max_size=4, unique=True)) if live else []
        removed, made = [], []
        for path in dict.fromkeys(path for path, _ in chosen):
            positions = {at for each, at in chosen if each == path}
            entry = self.model.files[path]
            partition = entry["partition"]
            for at in positions:
                del self.model.rows[path, at]
            self.model.gone.setdefault(path, set()).update(positions)
            if self.vectors and (path in self.model.vectors or self.draw(st.booleans())):
                if path in self.model.vectors:
                    removed.append(self.model.vectors[path])
                self.model.vectors[path] = self.table.vector(entry, self.model.gone[path], partition=partition)
                made.append(self.model.vectors[path])
            else:
                made.append(self.table.positions([(entry, at) for at in positions], partition=partition))
        return removed, made


def read(table: HandmadeTable, point: Point) -> list[Row]:
    store, chosen = LocalStore(parse(str(table.folder))), IcebergFormat()
    plan = chosen.scan(store, chosen.pin(store), point)
    found = pa.Table.from_batches(batches(plan), schema_of(plan))
    return sorted((tuple(row.values()) for row in found.to_pylist()), key=repr)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_scan_of_every_snapshot_gives_the_rows_that_were_left_at_that_moment(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    partitioned, vectors = data.draw(st.booleans()), data.draw(st.booleans())
    spec = BY_P if partitioned else []
    table = HandmadeTable(
        tmp_path_factory.mktemp("t") / "t", FIELDS, spec, version=3 if vectors else 2, avro_types={1000: "string"}
    )
    table.add_spec([])
    writer = Writer(table, data.draw, partitioned=partitioned, vectors=vectors)
    expected: dict[int, list[Row]] = {}
    for _ in range(data.draw(st.integers(1, 5))):
        number = writer.commit()
        expected[number] = sorted(writer.model.rows.values(), key=repr)
    assert {number: read(table, Point(snapshot=number)) for number in expected} == expected
    assert read(table, Point()) == sorted(writer.model.rows.values(), key=repr)
