"""Rows of every snapshot, branch and tag of an Iceberg table, by readers that share no code with the project.

pyiceberg reads in this process: not equality deletes, not Avro data, not manifests that version 1 metadata names itself.
Avro data is read by a few lines here, after the specification ("Scan Planning"): no schema evolution, no equality deletes.
DuckDB 1.5.5 with its extensions for Iceberg and Avro reads in a process of an environment of its own: not ORC, not Avro data.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

__all__ = ["Rows", "by_duckdb", "by_hand", "by_pyiceberg", "hashable", "metadata_of", "root_of", "versions_of"]

Rows: TypeAlias = pa.Table | str
"""The rows of a version, or why the reader could not read them."""

_TOOLS = Path(os.environ.get("LAKE_TOOLS", Path(__file__).parents[2] / ".tools"))
_DUCKDB = Path(os.environ.get("LAKE_DUCKDB", _TOOLS / "duckdb-1.5.5" / "bin" / "python"))
_SCRIPT = """
import duckdb, glob, importlib.util, json, os, sys
root, out, wanted = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
run = duckdb.connect(config={"autoinstall_known_extensions": "false", "threads": 2})
for name in ("avro", "iceberg"):
    folder = os.path.dirname(importlib.util.find_spec("duckdb_extension_" + name).origin)
    [file] = glob.glob(folder + "/extensions/**/*.duckdb_extension", recursive=True)
    run.execute("load '" + file + "'")
answers = {}
for number, (version, snapshot) in enumerate(wanted.items()):
    pin = "" if snapshot is None else f", snapshot_from_id := {snapshot}"
    rows = f"{out}/{number}.parquet"
    try:
        run.execute("copy (from iceberg_scan('" + root.replace("'", "''") + f"'{pin})) to '{rows}' (format parquet)")
        answers[version] = {"rows": rows}
    except duckdb.Error as error:
        answers[version] = {"error": str(error)}
print(json.dumps(answers))
"""


def metadata_of(root: Path) -> dict[str, Any]:
    """The table metadata in ``root``, gzip or not."""
    data = root.read_bytes()
    parsed: dict[str, Any] = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    return parsed


def root_of(table: Path) -> Path:
    """The metadata file that ``version-hint.text`` of a table by path names (a number)."""
    return table / "metadata" / f"v{int((table / 'metadata' / 'version-hint.text').read_text())}.metadata.json"


def versions_of(root: Path) -> dict[str, int | None]:
    """What can be read: ``main`` (None: the current snapshot), each snapshot id, and ``ref:NAME`` for branches and tags."""
    metadata = metadata_of(root)
    named: dict[str, int | None] = {"main": None}
    named |= {str(raw["snapshot-id"]): raw["snapshot-id"] for raw in metadata.get("snapshots") or ()}
    named |= {f"ref:{name}": ref["snapshot-id"] for name, ref in (metadata.get("refs") or {}).items()}
    return named


def hashable(table: pa.Table) -> pa.Table:
    """The rows with every time of day and UUID, at any depth, as the text that the row hash of the corpus makes of it."""
    for number, column in enumerate(table.schema):
        wanted = _hashable_type(column.type)
        if wanted != column.type:
            values = [_hashable_value(value) for value in table.column(number).to_pylist()]
            table = table.set_column(number, pa.field(column.name, wanted), pa.array(values, wanted))
    return table


def _hashable_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_time(kind) or isinstance(kind, pa.UuidType):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([one.with_type(_hashable_type(one.type)) for one in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_hashable_type(kind.value_type))
    return kind


def _hashable_value(value: Any) -> Any:
    match value:
        case dt.time():
            return f"t{((value.hour * 60 + value.minute) * 60 + value.second) * 10**6 + value.microsecond}"
        case uuid.UUID():
            return str(value)
        case dict():
            return {name: _hashable_value(item) for name, item in value.items()}
        case list():
            return [_hashable_value(item) for item in value]
    return value


def by_pyiceberg(root: Path, wanted: Mapping[str, int | None] | None = None) -> dict[str, Rows]:
    """The rows of each version of ``wanted`` (default: of all) by pyiceberg."""
    from pydantic import ValidationError
    from pyiceberg.exceptions import ResolveError
    from pyiceberg.table import StaticTable

    versions = versions_of(root) if wanted is None else wanted
    try:
        table = StaticTable.from_metadata(str(root))
    except ValidationError as error:
        return dict.fromkeys(versions, f"pyiceberg: {error}")
    found: dict[str, Rows] = {}
    for version, snapshot in versions.items():
        try:
            found[version] = table.scan(snapshot_id=snapshot).to_arrow()
        except (ValueError, OSError, TypeError, KeyError, NotImplementedError, ResolveError, pa.ArrowException) as error:
            found[version] = f"pyiceberg: {type(error).__name__}: {error}"
    return found


def by_duckdb(root: Path, wanted: Mapping[str, int | None] | None = None, *, folder: Path | None = None) -> dict[str, Rows]:
    """The rows of each version of ``wanted`` (default: of all) by DuckDB. ``folder``: where relative paths begin."""
    versions = versions_of(root) if wanted is None else wanted
    with tempfile.TemporaryDirectory() as out:
        command = [str(_duckdb()), "-c", _SCRIPT, str(root), out, json.dumps(versions)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=300)
        if done.returncode:
            return dict.fromkeys(versions, f"duckdb: {done.stderr[-300:]}")
        answers = json.loads(done.stdout)
        return {version: pq.read_table(a["rows"]) if "rows" in a else f"duckdb: {a['error']}" for version, a in answers.items()}


def by_hand(root: Path) -> dict[str, Rows]:
    """The rows of each version of a table with Avro data files, Avro position deletes and local addresses."""
    lists = {raw["snapshot-id"]: raw["manifest-list"] for raw in metadata_of(root)["snapshots"]}
    current = metadata_of(root)["current-snapshot-id"]
    return {version: _avro_rows(lists[current if number is None else number]) for version, number in versions_of(root).items()}


def _avro_rows(manifest_list: str) -> pa.Table:
    data: dict[str, int] = {}
    deleted: dict[tuple[str, int], int] = {}
    for manifest in _avro(manifest_list):
        for entry in _avro(manifest["manifest_path"]):
            if entry["status"] == 2:
                continue
            number = entry["sequence_number"]
            number = manifest["sequence_number"] if number is None else number
            if entry["data_file"]["content"] == 0:
                data[entry["data_file"]["file_path"]] = number
                continue
            for row in _avro(entry["data_file"]["file_path"]):
                key = row["file_path"], row["pos"]
                deleted[key] = max(number, deleted.get(key, number))
    kept = [
        row
        for path, number in data.items()
        for position, row in enumerate(_avro(path))
        if deleted.get((path, position), -1) < number
    ]
    return pa.Table.from_pylist(kept)


def _avro(address: str) -> list[dict[str, Any]]:
    import fastavro

    with Path("/" + address.removeprefix("file:").lstrip("/")).open("rb") as file:
        return [record for record in fastavro.reader(file) if isinstance(record, dict)]


@cache
def _duckdb() -> Path:
    if not _DUCKDB.is_file():
        pytest.skip(f"DuckDB 1.5.5 with its Iceberg extension is not at {_DUCKDB} (scripts/test sets it up, or set LAKE_DUCKDB)")
    return _DUCKDB
