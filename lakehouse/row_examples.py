"""Rows that are not the same in two places, found by a key: what a user looks at when fingerprints differ."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lakehouse.errors import Config, Unsupported
from lakehouse.reading.task import ScanPlan
from lakehouse.row_record import RowExample

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["row_examples"]


def row_examples(
    source: ScanPlan, target: ScanPlan, point: str, key: Sequence[str], most: int, *, memory: int
) -> list[RowExample]:
    """At most ``most`` rows, by their ``key`` columns, that one side lacks or has with other values; in the key's order.

    Columns that only one side has are left out. DuckDB joins the two scans in ``memory`` bytes, and on disk beyond. Raises
    `Config` for a column that is not there, or without DuckDB (extra ``query``); `Unsupported` where it cannot compare them.
    """
    from lakehouse.reading.rows import schema_of

    try:
        import duckdb
    except ImportError as error:
        raise Config("--show needs DuckDB: pip install 'lakehouse-portability[query]'") from error
    there = set(schema_of(target).names)
    names = [name for name in schema_of(source).names if name in there]
    missing = [column for column in key if column not in names]
    if missing:
        raise Config(f"--key {missing[0]}: is no column of both sides; these are: {', '.join(names)}")
    with tempfile.TemporaryDirectory(prefix="lake-rows-") as folder:
        allowed: dict[str, Any] = {
            "enable_external_access": "false",
            "temp_directory": folder,
            "memory_limit": f"{memory // 1024}KiB",
        }
        try:
            with duckdb.connect(":memory:", config=allowed) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                connection.register("source", _numbered(source, names))
                connection.register("target", _numbered(target, names))
                query = _query(len(names), [names.index(column) for column in key], most)
                found: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
        except duckdb.Error as error:
            raise Unsupported(f"no rows can be shown: DuckDB cannot compare them ({str(error).splitlines()[0]})") from error
    return [
        RowExample(
            point,
            {column: row[f"k{number}"] for number, column in enumerate(key)},
            _named(row["source"], names),
            _named(row["target"], names),
        )
        for row in found
    ]


def _numbered(plan: ScanPlan, names: list[str]) -> pa.RecordBatchReader:
    """The rows of ``plan``, its columns called ``c0``, ``c1`` …: DuckDB does not tell names apart that differ in case."""
    import pyarrow as pa

    from lakehouse.reading.rows import batches, schema_of

    schema = pa.schema([pa.field(f"c{number}", field.type) for number, field in enumerate(schema_of(plan, names))])

    def renamed() -> Iterator[pa.RecordBatch]:
        for batch in batches(plan, columns=names):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, renamed())


def _query(columns: int, key: list[int], most: int) -> str:
    row = ", ".join(f"c{number} := c{number}" for number in range(columns))
    keys = ", ".join(f"c{column} AS k{number}" for number, column in enumerate(key))
    same = " AND ".join(f"s.k{number} IS NOT DISTINCT FROM t.k{number}" for number in range(len(key)))
    either = ", ".join(f"coalesce(s.k{number}, t.k{number}) AS k{number}" for number in range(len(key)))
    source, target = (f"(SELECT {keys}, struct_pack({row}) AS r FROM {side})" for side in ("source", "target"))
    return (
        f"SELECT {either}, s.r AS source, t.r AS target FROM {source} s FULL JOIN {target} t ON {same} "
        f"WHERE s.r IS DISTINCT FROM t.r ORDER BY ALL LIMIT {most:d}"
    )


def _named(row: dict[str, Any] | None, names: list[str]) -> dict[str, object] | None:
    return None if row is None else {name: row[f"c{number}"] for number, name in enumerate(names)}
