"""How the audit reads a table: metadata, Avro files, position-delete files and Puffin files. Imports nothing of the project."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["Table", "deletes_of", "describe_deletes", "field_names", "metadata_of", "puffin_of", "records_of", "texts_of"]

_MAGIC = b"PFA1"
_LZ4_FOOTER = 1


@dataclass(frozen=True)
class Table:
    """A table to look at: its metadata file, and for each stated prefix the folder where those files lie."""

    root: Path
    places: Mapping[str, Path]

    @property
    def folder(self) -> Path:
        return self.root.parent.parent

    def find(self, stated: str) -> tuple[Path, str] | None:
        """The folder of the longest place that ``stated`` lies below, and the rest; None where it lies below none."""
        best: tuple[int, Path, str] | None = None
        for prefix, folder in self.places.items():
            plain, path = _plain(prefix).rstrip("/"), _plain(stated)
            if path.startswith(f"{plain}/") and (best is None or len(plain) > best[0]):
                best = len(plain), folder, path[len(plain) + 1 :]
        return (best[1], best[2]) if best else None

    def file(self, stated: str) -> Path | None:
        found = self.find(stated)
        return found[0] / found[1] if found else None


def _plain(stated: str) -> str:
    """One spelling of a place: s3a and s3n are s3, local paths have no scheme, no leading ``./``."""
    for alias in ("s3a://", "s3n://"):
        if stated.startswith(alias):
            return "s3://" + stated[len(alias) :]
    if stated.startswith("file:"):
        return "/" + stated[5:].lstrip("/")
    return stated.removeprefix("./")


def metadata_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    parsed: dict[str, Any] = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    return parsed


def records_of(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """The header's key-values and the records of an Avro file."""
    with path.open("rb") as file:
        reader = fastavro.reader(file)
        return dict(reader.metadata), list(reader)


def field_names(schema: Any, known: dict[int, str]) -> dict[int, str]:
    """Field id → name, for every field of a schema at any depth (of one id the first)."""
    if isinstance(schema, list):
        for branch in schema:
            field_names(branch, known)
    elif isinstance(schema, dict):
        for one in schema.get("fields", ()):
            if "field-id" in one:
                known.setdefault(one["field-id"], one["name"])
            field_names(one["type"], known)
        for key in ("items", "values"):
            field_names(schema.get(key), known)
        if isinstance(schema.get("type"), dict | list):
            field_names(schema["type"], known)
    return known


def texts_of(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every text inside ``value`` with the way that leads there; bytes as Latin-1."""
    match value:
        case str():
            yield where, value
        case bytes():
            yield where, value.decode("latin-1")
        case dict():
            for key, item in value.items():
                yield where, str(key)
                yield from texts_of(item, f"{where}.{key}")
        case list():
            for number, item in enumerate(value):
                yield from texts_of(item, f"{where}[{number}]")


def deletes_of(path: Path, kind: str) -> list[tuple[str, int]]:
    """(file_path, pos) of every row of a position-delete file, in the file's order. ``kind``: PARQUET, ORC or AVRO."""
    if kind == "AVRO":
        with path.open("rb") as file:
            return [(row["file_path"], row["pos"]) for row in _records(file)]
    table = _orc(path).read() if kind == "ORC" else pq.ParquetFile(path).read()
    return list(zip(table["file_path"].to_pylist(), table["pos"].to_pylist(), strict=True))


def describe_deletes(path: Path, kind: str) -> dict[str, Any]:
    """What else a position-delete file says: schema with field ids, key-values, the rows of its ``row`` column."""
    if kind == "AVRO":
        with path.open("rb") as file:
            reader = fastavro.reader(file)
            said = dict(reader.metadata) | {"avro.schema": json.loads(str(reader.metadata["avro.schema"]))}
            return said | {"rows": sorted(repr(row.get("row")) for row in reader if isinstance(row, dict))}
    if kind == "ORC":
        orc = _orc(path)
        return {"key-values": dict(orc.metadata or {}), "schema": str(orc.schema)}
    file_ = pq.ParquetFile(path)
    table = file_.read()
    said = {key: value for key, value in (file_.metadata.metadata or {}).items() if key != b"ARROW:schema"}
    rows = sorted(map(repr, table["row"].to_pylist())) if "row" in table.column_names else []
    return {"key-values": said, "schema": _columns(file_.schema_arrow), "rows": rows}


def _columns(schema: pa.Schema) -> list[tuple[str, str, Any]]:
    return [(one.name, str(one.type), (one.metadata or {}).get(b"PARQUET:field_id")) for one in schema]


def _records(file: Any) -> list[dict[str, Any]]:
    return [row for row in fastavro.reader(file) if isinstance(row, dict)]


def _orc(path: Path) -> Any:
    from pyarrow import orc

    return orc.ORCFile(str(path))


def puffin_of(path: Path) -> tuple[dict[str, Any], list[bytes]]:
    """The footer of a Puffin file and the bytes of its blobs. Puffin spec: Magic Blob* Magic Payload Size Flags Magic."""
    data = path.read_bytes()
    size, flags = struct.unpack("<iI", data[-12:-4])
    begin = len(data) - 12 - size
    if not data[:4] == data[-4:] == data[begin - 4 : begin] == _MAGIC:
        raise ValueError(f"{path}: no Puffin file")
    payload = data[begin : begin + size]
    if flags & _LZ4_FOOTER:
        payload = pa.input_stream(pa.BufferReader(payload), compression="lz4").read()
    footer: dict[str, Any] = json.loads(payload)
    return footer, [data[blob["offset"] : blob["offset"] + blob["length"]] for blob in footer["blobs"]]
