"""Manifests and manifest lists of every shape that engines write, encoded by fastavro."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable
from typing import Any

import fastavro

from lakehouse.errors import Unsupported
from tests.formats.iceberg import avro_files as files

OLD, NEW = "s3://lake/warehouse/db/t", "abfss://c@a.dfs.core.windows.net/replica/t"
DELETED_PATH = 2147483546
HEADER = {"schema": b'{"type":"struct"}', "partition-spec": b"[]", "format-version": b"2", "own": b"kept"}


def address(path: str) -> str:
    """The write map of these tests: a prefix on a path boundary; a folder that goes to names of its own; the rest is refused."""
    if path.startswith(f"{OLD}/"):
        return NEW + path[len(OLD) :]
    if path.startswith("s3://elsewhere/"):
        return f"{NEW}/ext/{sum(path.encode())}/{path.rpartition('/')[2]}"
    raise Unsupported(f"{path} may not be mapped")


def _map(name: str, field_id: int, key: int, kind: str) -> dict[str, Any]:
    fields = [{"name": "key", "type": "int", "field-id": key}, {"name": "value", "type": kind, "field-id": key + 1}]
    item = {"type": "record", "name": f"k{key}_v{key + 1}", "fields": fields}
    return {"name": name, "type": ["null", {"type": "array", "items": item, "logicalType": "map"}], "field-id": field_id}


def entry_schema(*, version: int = 2, shape: str = "usual") -> Any:
    """The schema of a manifest: ``usual``; ``nullable`` (every field, another order, null last: as BigQuery writes); ``names``
    (no field ids); ``unknown`` (fields that nobody knows, at every level)."""
    data_file: list[dict[str, Any]] = [
        {"name": "content", "type": "int", "field-id": 134},
        {"name": "file_path", "type": "string", "field-id": 100},
        {"name": "file_format", "type": "string", "field-id": 101},
        {
            "name": "partition",
            "type": {
                "type": "record",
                "name": "r102",
                "fields": [{"name": "file_path", "type": ["null", "string"], "field-id": 1000}],
            },
            "field-id": 102,
        },
        {"name": "record_count", "type": "long", "field-id": 103},
        {"name": "file_size_in_bytes", "type": "long", "field-id": 104},
        _map("column_sizes", 108, 117, "long"),
        _map("lower_bounds", 125, 126, "bytes"),
        _map("upper_bounds", 128, 129, "bytes"),
        {"name": "key_metadata", "type": ["null", "bytes"], "field-id": 131},
        {"name": "split_offsets", "type": ["null", {"type": "array", "items": "long", "element-id": 133}], "field-id": 132},
        {"name": "equality_ids", "type": ["null", {"type": "array", "items": "int", "element-id": 136}], "field-id": 135},
        {"name": "referenced_data_file", "type": ["null", "string"], "field-id": 143},
        {"name": "content_offset", "type": ["null", "long"], "field-id": 144},
        {"name": "content_size_in_bytes", "type": ["null", "long"], "field-id": 145},
    ]
    if version == 1:
        data_file = [field for field in data_file if field["field-id"] not in (134, 135, 143, 144, 145)]
    entry: list[dict[str, Any]] = [
        {"name": "status", "type": "int", "field-id": 0},
        {"name": "snapshot_id", "type": ["null", "long"], "field-id": 1},
        {"name": "sequence_number", "type": ["null", "long"], "field-id": 3},
        {"name": "data_file", "type": {"type": "record", "name": "r2", "fields": data_file}, "field-id": 2},
    ]
    if shape == "unknown":
        data_file.insert(1, {"name": "future", "type": {"type": "map", "values": "string"}, "field-id": 900})
        entry.insert(0, {"name": "first", "type": {"type": "array", "items": "string"}, "field-id": 901})
    if shape == "nullable":
        for fields in (data_file, entry):
            fields.reverse()
            for field in fields:
                field["type"] = [*(field["type"][1:] if isinstance(field["type"], list) else [field["type"]]), "null"]
    if shape == "names":
        for field in (*data_file, *entry, *data_file[3]["type"]["fields"]):
            del field["field-id"]
    return {"type": "record", "name": "manifest_entry", "fields": entry}


def pairs(values: dict[int, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def entry(path: str = f"{OLD}/data/a.parquet", *, status: int = 1, **file: Any) -> dict[str, Any]:
    """An entry; ``lower`` and ``upper`` are the bounds of `DELETED_PATH`, beside those of a column that holds paths too."""
    lower, upper = file.pop("lower", None), file.pop("upper", None)
    user = path.encode()  # user data may be the very path
    data_file = {
        "content": 0,
        "file_path": path,
        "file_format": "PARQUET",
        "partition": {"file_path": path},
        "record_count": 7,
        "file_size_in_bytes": 1234,
        "column_sizes": pairs({1: 20, 2: 2**40}),
        "lower_bounds": pairs({1: user, 2: b"\x0c" + files.text(user)} | ({DELETED_PATH: lower.encode()} if lower else {})),
        "upper_bounds": pairs({1: user, 2: files.text(user)} | ({DELETED_PATH: upper.encode()} if upper else {})),
        "split_offsets": [4],
        **file,
    }
    return {
        "status": status,
        "snapshot_id": None if status == 1 else 99,
        "first": [path, ""],
        "data_file": {"future": {"path": path}} | data_file,
    }


def written(schema: Any, *blocks: Iterable[dict[str, Any]], codec: str = "deflate", content: str = "data") -> bytes:
    """A file of those blocks; fields that the schema lacks are left out, those that a record lacks are null."""
    parsed = fastavro.parse_schema(schema)

    def encoded(record: dict[str, Any]) -> bytes:
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, parsed, record)
        return stream.getvalue()

    return files.container(
        schema, [[encoded(record) for record in block] for block in blocks], codec, HEADER | {"content": content.encode()}
    )


def list_schema(*, shape: str = "usual") -> Any:
    """The schema of a manifest list, with a field that nobody knows; shapes as `entry_schema` has them."""
    fields: list[dict[str, Any]] = [
        {"name": "manifest_path", "type": "string", "field-id": 500},
        {"name": "manifest_length", "type": "long", "field-id": 501},
        {"name": "partition_spec_id", "type": "int", "field-id": 502},
        {"name": "content", "type": "int", "field-id": 517},
        {"name": "sequence_number", "type": "long", "field-id": 515},
        {"name": "added_snapshot_id", "type": ["null", "long"], "field-id": 503},
        {"name": "partitions", "type": ["null", {"type": "array", "items": "bytes", "element-id": 508}], "field-id": 507},
        {"name": "key_metadata", "type": ["null", "bytes"], "field-id": 519},
        {"name": "future", "type": ["null", "string"], "field-id": 999},
    ]
    if shape == "nullable":
        fields.reverse()
        for field in fields:
            field["type"] = [*(field["type"][1:] if isinstance(field["type"], list) else [field["type"]]), "null"]
    if shape == "names":
        for field in fields:
            del field["field-id"]
    if shape == "v1":
        fields = [field for field in fields if field["field-id"] not in (515, 517)]
    return {"type": "record", "name": "manifest_file", "fields": fields}


def manifests(*paths: str) -> list[dict[str, Any]]:
    numbers = itertools.count(1)
    return [
        {
            "manifest_path": path,
            "manifest_length": 1000,
            "partition_spec_id": 3,
            "content": number % 2,
            "sequence_number": number,
            "added_snapshot_id": None if number == 2 else 5,
            "partitions": [path.encode()],
            "future": path,
        }
        for path, number in zip(paths, numbers, strict=False)
    ]
