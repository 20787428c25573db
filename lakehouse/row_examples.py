"""Rows that are not the same in two places, found by a key: what a user looks at when fingerprints differ."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from lakehouse.errors import Config
from lakehouse.reading.task import ScanPlan
from lakehouse.row_record import RowExample

__all__ = ["row_examples"]


def row_examples(source: ScanPlan, target: ScanPlan, point: str, key: Sequence[str], most: int) -> list[RowExample]:
    """At most ``most`` rows, by their ``key`` columns, that one side lacks or has with other values; in the key's order.

    DuckDB joins the two scans, on disk where memory does not suffice. Raises `Config` for a column that is not there, or without
    DuckDB (extra ``query``).
    """
    from lakehouse.reading.rows import batches, schema_of

    try:
        import duckdb
    except ImportError as error:
        raise Config("--show needs DuckDB: pip install 'lakehouse-portability[query]'") from error
    import pyarrow as pa

    plans = {"source": source, "target": target}
    schemas = {name: schema_of(plan) for name, plan in plans.items()}
    for name, schema in schemas.items():
        missing = [column for column in key if column not in schema.names]
        if missing:
            raise Config(f"--key {missing[0]}: the {name} has no such column; it has {', '.join(schema.names)}")
    with tempfile.TemporaryDirectory(prefix="lake-rows-") as folder, duckdb.connect() as connection:
        connection.execute(f"SET temp_directory = {_literal(folder)}; SET TimeZone = 'UTC'; SET enable_external_access = false")
        for name, plan in plans.items():
            connection.register(name, pa.RecordBatchReader.from_batches(schemas[name], batches(plan)))
        found: list[dict[str, Any]] = connection.sql(_query(schemas, key, most)).to_arrow_table().to_pylist()
    return [RowExample(point, _key(row, key), row["source"], row["target"]) for row in found]


def _query(schemas: dict[str, Any], key: Sequence[str], most: int) -> str:
    sides = {}
    for name, schema in schemas.items():
        row = ", ".join(f"{_quoted(column)} := {_quoted(column)}" for column in schema.names)
        keys = ", ".join(f"{_quoted(column)} AS k{number}" for number, column in enumerate(key))
        sides[name] = f"(SELECT {keys}, struct_pack({row}) AS r FROM {name})"
    same = " AND ".join(f"s.k{number} IS NOT DISTINCT FROM t.k{number}" for number in range(len(key)))
    keys = ", ".join(f"coalesce(s.k{number}, t.k{number}) AS k{number}" for number in range(len(key)))
    return (
        f"SELECT {keys}, s.r AS source, t.r AS target FROM {sides['source']} s FULL JOIN {sides['target']} t ON {same} "
        f"WHERE s.r IS DISTINCT FROM t.r ORDER BY ALL LIMIT {most:d}"
    )


def _key(row: dict[str, Any], key: Sequence[str]) -> dict[str, object]:
    return {column: row[f"k{number}"] for number, column in enumerate(key)}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
