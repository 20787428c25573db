"""SQL over tables by their names: DuckDB computes, the tables' own scans read.

``FROM 's3://acme/orders'`` (or any other place, or the name of a dataset) is the table there, at the version that it has when
`sql` is called. DuckDB asks each scan for just the columns and rows that the query needs. It opens no file or connection itself,
loads no extension, and only reads: nothing but a SELECT is run.
"""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lakehouse.config import Settings, load
from lakehouse.errors import Config, LakeError, NotFound, Unsupported
from lakehouse.memory import memory_of
from lakehouse.scan import Rows, Scan, needed
from lakehouse.tables import open_table

if TYPE_CHECKING:
    import pyarrow as pa

    from lakehouse.arrow_dataset import ScanDataset

__all__ = ["Query", "sql"]

INSTALL = "pip install 'lakehouse-portability[query]'"
BATCH_ROWS = 1 << 16


def sql(text: str, *, settings: Settings | None = None, memory: str = "1G") -> Query:
    """The rows that a SELECT gives. Tables are named by their places, in quotes (``FROM 's3://acme/orders'``), or by the names of
    datasets of lake.toml. Times without a zone are UTC.

    Nothing is computed before rows are asked for. ``memory``: what DuckDB may take; what needs more uses temporary
    files.
    Raises `Config` for what is no SELECT or names no column, or where DuckDB is not installed; `NotFound` for a name that is no
    table; `Unsupported` for tables that cannot be read. What only the rows show (a value that is no number) is `Config` too.
    """
    duckdb = needed("duckdb", INSTALL)
    with _said(duckdb, {}):
        names = _names(duckdb, text)
    settings = settings or load()
    tables: dict[str, Scan] = {}
    for name in sorted(names):
        if name.lower() in (other.lower() for other in tables):
            raise Config(f"sql: {name}: another table of this query differs from it in case only; give one a name in lake.toml")
        tables[name] = open_table(name, settings=settings).scan()
        for field in tables[name].schema:
            _refuse_type(name, field)
    return Query(text, tables, memory_of(memory))


def _refuse_type(name: str, field: pa.Field) -> None:
    """Raise `Unsupported` for a column of which DuckDB cannot have the values."""
    import pyarrow.types as t

    if t.is_decimal256(field.type) or t.is_float16(field.type):
        raise Unsupported(f"sql: {name}: DuckDB has no {field.type}, the type of column {field.name!r}; use lakehouse.open_table")


def _names(duckdb: Any, text: str) -> set[str]:
    """The tables that a SELECT names, as DuckDB's own parser reads it.

    Raises `Config` for any other statement, and for a name in several parts.
    """
    with duckdb.connect() as connection:
        found = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchone()
    tree = json.loads(found[0])
    if tree["error"]:
        raise Config(f"sql: {tree['error_message']}; one SELECT is run, and nothing else")
    if len(tree["statements"]) != 1:
        raise Config(f"sql: one SELECT is run, not {len(tree['statements'])} statements")
    return set(_tables(tree["statements"][0], frozenset()))


def _tables(node: Any, defined: frozenset[str]) -> Iterator[str]:
    """The tables that are named in a part of a statement, but for those that its WITH clauses have ``defined``."""
    if isinstance(node, list):
        for part in node:
            yield from _tables(part, defined)
    if not isinstance(node, dict):
        return
    if node.get("type") == "BASE_TABLE":
        path = [node[part] for part in ("catalog_name", "schema_name", "table_name") if node[part]]
        if len(path) > 1:
            raise Config(f"sql: {'.'.join(path)}: write the place of a table in quotes, as in FROM 's3://acme/orders'")
        if path[0].lower() not in defined:
            yield path[0]
    for clause in node.get("cte_map", {}).get("map", ()):
        own = {clause["key"].lower()}
        yield from _tables(clause["value"], defined | own if "RECURSIVE_CTE_NODE" in json.dumps(clause["value"]) else defined)
        defined |= own
    for name, part in node.items():
        if name != "cte_map":
            yield from _tables(part, defined)


class Query(Rows):
    """The rows that a SELECT gives, of tables that are pinned. Made by `lakehouse.sql`; each question computes anew."""

    def __init__(self, text: str, tables: Mapping[str, Scan], memory: int) -> None:
        self._text, self._tables, self._memory = text, tables, memory

    @property
    def schema(self) -> pa.Schema:
        import pyarrow as pa

        with self._connected() as connection:
            relation = connection.sql(self._text)
            types = relation.limit(0).to_arrow_reader().schema.types  # its names are changed where two are the same
            return pa.schema(list(zip(relation.columns, types, strict=True)))

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """See `Rows`. Raises as `lakehouse.sql`, and `NotFound` for data files that are missing or damaged."""
        return iter(self.to_reader())

    def to_reader(self) -> pa.RecordBatchReader:
        import pyarrow as pa

        computed = self._computed()
        schema: Any = next(computed)
        return pa.RecordBatchReader.from_batches(schema, computed)

    def _computed(self) -> Iterator[Any]:
        """The schema, and after it the batches."""
        with self._connected() as connection:
            reader = connection.sql(self._text).to_arrow_reader(BATCH_ROWS)
            yield reader.schema
            yield from reader

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A connection of its own that sees the tables and nothing else. What DuckDB raises is said as an error of ours."""
        duckdb = needed("duckdb", INSTALL)
        from lakehouse.arrow_dataset import ScanDataset

        spill = os.path.join(tempfile.gettempdir(), f"lake-query-{uuid.uuid4().hex}")
        allowed = {
            "enable_external_access": "false", "autoinstall_known_extensions": "false", "autoload_known_extensions": "false",
            "temp_directory": spill, "memory_limit": f"{self._memory // 1024}KiB", "preserve_insertion_order": "false",
        }  # fmt: skip
        with duckdb.connect(":memory:", config=allowed) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET python_enable_replacements = false")
            connection.execute("SET lock_configuration = true")
            datasets = {name: ScanDataset(scan) for name, scan in self._tables.items()}
            with _said(duckdb, datasets):
                for name, dataset in datasets.items():
                    connection.register(name, dataset)
                yield connection


@contextmanager
def _said(duckdb: Any, datasets: Mapping[str, ScanDataset]) -> Iterator[None]:
    """Say what DuckDB says as an error of ours: why a table could not be read, if that is it, else what the query lacks.

    What fails while batches are taken comes through Arrow, as an error of Arrow's with DuckDB's text.
    """
    import pyarrow as pa

    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        for dataset in datasets.values():
            if dataset.failure is not None:
                raise dataset.failure from None
        raise _translated(str(error).strip()) from error


def _translated(said: str) -> LakeError:
    """By the words with which each of DuckDB's errors begins."""
    kind, _, what = said.partition(": ")
    match kind:
        case "Permission Error":
            return Unsupported(f"sql: {said.splitlines()[0]}; tables are named by their places, and nothing else is read")
        case "Out of Memory Error":
            return Config(f"sql: the query needs more memory than it may take ({said.splitlines()[0]}); give it more")
        case "Not implemented Error":
            return Unsupported(f"sql: {said}")
        case "Catalog Error" if what.startswith("Table with name"):
            return NotFound(f"sql: {said}")
    return Config(f"sql: {said}")
