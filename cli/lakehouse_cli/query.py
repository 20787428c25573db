"""``lake query``: SQL over tables."""

from __future__ import annotations

import base64
import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

import lakehouse
from lakehouse.errors import Config, Unsupported
from lakehouse_cli import output
from lakehouse_cli.options import Session, command

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["json_value", "register"]

_COMPACT = (",", ":")


def query(
    session: Session,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT; places of tables in quotes: FROM 's3://acme/orders'.")],
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    parquet: Annotated[str | None, typer.Option("--parquet", metavar="FILE", help="Write a Parquet file.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=0, help="Only so many rows, the first.")] = None,
    memory: Annotated[
        str, typer.Option("--memory", metavar="SIZE", help="What the query may take of memory; more goes to temporary files.")
    ] = "1G",
) -> int:
    """Run a SELECT over tables, each named by its place or its dataset's name. Nothing is written, and no other file is read."""
    if sum((csv, session.json, parquet is not None)) > 1 and not (session.json and parquet is not None and not csv):
        raise Config(
            "--csv, --json and --parquet are three ways to put rows out; choose one (--json with --parquet tells of the file)"
        )
    found = lakehouse.sql(sql, settings=session.settings, memory=memory)
    reader = found.to_reader()
    batches = _first(reader, limit)
    if parquet is not None:
        written = _write_parquet(parquet, reader.schema, batches)
        if session.json:
            _document(reader.schema, None, written, parquet)
        else:
            output.line(f"{parquet}: {written} rows")
    elif session.json:
        rows = [row for batch in batches for row in _rows(batch)]
        _document(reader.schema, rows, len(rows), None)
    elif csv:
        _write_csv(reader.schema, batches)
    else:
        output.table(reader.schema.names, (_cells(row) for batch in batches for row in _rows(batch)))
    return 0


def _first(batches: Iterator[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    """The first ``limit`` rows. With all of them taken, nothing more is computed."""
    left = limit
    for batch in batches if limit != 0 else ():
        yield batch if left is None else batch.slice(0, left)
        if left is not None:
            left -= batch.num_rows
            if left <= 0:
                return


def json_value(value: Any) -> Any:
    """A value as JSON has it: docs/commands.md says how each type is written."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
        case Decimal():
            return format(value, "f")
        case datetime() | date() | time():
            return value.isoformat().replace("+00:00", "Z")
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {str(key): json_value(inner) for key, inner in value.items()}
        case list() | tuple():
            return [json_value(inner) for inner in value]
        case UUID() | timedelta():
            return str(value)
    return str(value)


def _rows(batch: pa.RecordBatch) -> Iterator[list[Any]]:
    """The rows with values as JSON has them."""
    columns = [_values(_plain(column)) for column in batch.columns]
    return map(list, zip(*columns, strict=True)) if columns else iter([[] for _ in range(batch.num_rows)])


def _values(column: pa.Array) -> list[Any]:
    import pyarrow.types as t

    values: list[Any] = column.to_pylist()
    as_they_are = t.is_integer(column.type) or t.is_boolean(column.type) or t.is_string(column.type)
    return values if as_they_are else [json_value(value) for value in values]


def _plain(column: pa.Array) -> pa.Array:
    """``column`` with timestamps as ISO 8601 texts, since Python's own end at the microsecond and in the year 9999."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(column.type):
        return pc.replace_substring(column.cast(pa.string()), " ", "T", max_replacements=1)  # pyright: ignore[reportAttributeAccessIssue]
    return column.cast(pa.string()) if pa.types.is_date(column.type) or pa.types.is_time(column.type) else column


def _cells(row: Sequence[Any]) -> list[str]:
    """A row as people read it: NULL, and nested values as JSON."""
    return ["NULL" if value is None else _text(value) for value in row]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=_COMPACT)


def _document(schema: pa.Schema, rows: list[list[Any]] | None, count: int, parquet: str | None) -> None:
    from lakehouse_cli.schemas import QueryDocument

    columns = [{"name": field.name, "type": str(field.type), "nullable": field.nullable} for field in schema]
    output.document(QueryDocument.of(None, columns=columns, rows=rows, row_count=count, parquet=parquet))


def _write_csv(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    """Texts stand in quotes, so that an empty one is told from NULL, which is nothing at all; nested values are JSON."""
    import pyarrow as pa
    import pyarrow.csv as pc

    flat = [_flat(pa.nulls(0, field.type)).type for field in schema]
    with pc.CSVWriter(output.stdout_bytes(), pa.schema(list(zip(schema.names, flat, strict=True)))) as writer:
        for batch in batches:
            columns = [_flat(column) for column in batch.columns]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, names=schema.names))


def _flat(column: pa.Array) -> pa.Array:
    """``column`` as CSV has it: numbers and truth values as they are, all else as text (in UTF-8; bytes in base64)."""
    import pyarrow as pa
    import pyarrow.types as t

    column = _plain(column)
    kind = column.type
    if t.is_integer(kind) or t.is_boolean(kind) or t.is_floating(kind) or t.is_decimal(kind) or t.is_string(kind):
        return column
    values = [json_value(value) for value in column.to_pylist()]
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _write_parquet(path: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> int:
    """Write beside ``path`` and rename, so that it is whole or not there. Gives the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if len(set(schema.names)) < len(schema.names):
        raise Config("--parquet: several columns have one name; name each with AS")
    rows = 0
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path) or ".")
    except OSError as error:
        raise Config(f"--parquet {path}: cannot be written ({error.strerror})") from None
    try:
        with os.fdopen(handle, "wb") as file:
            with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                for batch in batches:
                    writer.write_batch(batch)
                    rows += batch.num_rows
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o666 & ~_umask())
        os.replace(beside, path)
    except pa.ArrowNotImplementedError as error:
        raise Unsupported(f"--parquet {path}: {error}; cast the column to another type") from None
    except OSError as error:
        raise Config(f"--parquet {path}: cannot be written ({error})") from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(beside)
    return rows


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "query", example="lake query \"SELECT count(*) FROM 's3://acme/orders' WHERE day = DATE '2024-02-29'\"")(query)
