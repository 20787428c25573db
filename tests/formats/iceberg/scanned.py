"""Tables written by hand, opened and read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lakehouse.formats.iceberg.format import IcebergFormat
from lakehouse.local_store import LocalStore
from lakehouse.reading.rows import batches, schema_of
from lakehouse.reading.task import Point, ScanPlan
from lakehouse.url import parse
from tests.formats.iceberg.handmade import HandmadeTable, field

__all__ = ["BY_P", "FIELDS", "STRINGS", "Make", "ids", "keys", "make", "plan_of", "read", "rows"]

FIELDS = [field(1, "id", "long"), field(2, "p", "string")]
BY_P = [{"name": "p", "transform": "identity", "source-id": 2, "field-id": 1000}]
STRINGS = {1000: "string"}


def plan_of(table: HandmadeTable, point: Point | None = None) -> ScanPlan:
    store, chosen = LocalStore(parse(str(table.folder))), IcebergFormat()
    return chosen.scan(store, chosen.pin(store), point or Point())


def read(table: HandmadeTable, point: Point | None = None, where: pc.Expression | None = None) -> list[dict[str, Any]]:
    """The rows, in the order of their first columns."""
    plan = plan_of(table, point)
    rows: list[dict[str, Any]] = pa.Table.from_batches(batches(plan, filter=where), schema_of(plan)).to_pylist()
    return sorted(rows, key=repr)


def ids(table: HandmadeTable, point: Point | None = None, where: pc.Expression | None = None) -> list[int]:
    return sorted(row["id"] for row in read(table, point, where))


def rows(*numbers: int, p: str = "a") -> pa.Table:
    return pa.table({"id": pa.array(numbers, pa.int64()), "p": pa.array([p] * len(numbers), pa.string())})


def keys(*numbers: int) -> pa.Table:
    return pa.table({"id": pa.array(numbers, pa.int64())})


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., HandmadeTable]:
    def table(fields: Any = FIELDS, spec: Any = (), **options: Any) -> HandmadeTable:
        return HandmadeTable(tmp_path / "table", fields, spec, **options)

    return table


Make = Callable[..., HandmadeTable]
