"""Reads tables as users do, and compares what they get with the rows that the model has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from lakehouse import sql
from lakehouse.tables import Table
from tests.oracle.kinds import KINDS, Row, shown
from tests.oracle.where import random_condition

__all__ = ["assert_query", "assert_scans"]


def assert_scans(table: Table, point: Mapping[str, Any], columns: Mapping[str, str], rows: list[Row], chance: Random) -> None:
    """That a scan of ``point`` gives ``rows`` of ``columns`` (name to kind), and those of them that satisfy conditions.

    Columns are asked for in any order, and conditions may be on such as are not asked for.
    """
    whole = table.scan(**point, workers=chance.choice([1, None]))
    types = [(field.name, field.type) for field in whole.schema]
    assert types == [(name, KINDS[kind].arrow) for name, kind in columns.items()], f"{point}: columns"
    assert shown(whole.to_arrow().to_pylist()) == shown(rows), f"{point}: rows"
    for _ in range(4):
        condition = random_condition(chance, columns, rows)
        asked = chance.sample(list(columns), chance.randint(1, len(columns)))
        scan = table.scan(asked, condition.sql, **point, workers=1)
        wanted = [{name: row[name] for name in asked} for row in condition.of(rows)]
        assert shown(scan.to_arrow().to_pylist()) == shown(wanted), f"{point}: {asked} where {condition.sql}"
    condition = random_condition(chance, columns, rows)
    assert table.scan(where=condition.sql, **point).count_rows() == len(condition.of(rows)), f"{point}: {condition.sql}"


def assert_query(folder: Path, columns: Mapping[str, str], rows: list[Row], chance: Random) -> None:
    """That DuckDB, which pushes what it can down into the scan, gives the same."""
    condition = random_condition(chance, columns, rows)
    asked = chance.sample(list(columns), chance.randint(1, len(columns)))
    names = ", ".join(f'"{name}"' for name in asked)
    found = sql(f"SELECT {names} FROM '{folder}' WHERE {condition.sql}").to_arrow().to_pylist()
    wanted = [{name: row[name] for name in asked} for row in condition.of(rows)]
    assert shown(found) == shown(wanted), f"{names} where {condition.sql}"
