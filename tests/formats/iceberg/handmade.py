"""Iceberg tables written by hand (fastavro, pyarrow, pyroaring), with deletes of every kind, for tests of scans and checks.

Nothing of the project is used to write them.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import orc
from pyroaring import BitMap64

__all__ = ["HandmadeTable", "field"]

STATED = "s3://stated/db/table"
FILE_PATH, POS = 2147483546, 2147483545
Entry = dict[str, Any]
Record = dict[str, Any]


def field(number: int, name: str, kind: Any, *, required: bool = False, **others: Any) -> dict[str, Any]:
    """A field of a schema's JSON."""
    return {"id": number, "name": name, "required": required, "type": kind, **others}


def _map(name: str, number: int, key: int, kind: str) -> Record:
    fields = [{"name": "key", "type": "int", "field-id": key}, {"name": "value", "type": kind, "field-id": key + 1}]
    items = {"type": "record", "name": f"k{key}_v{key + 1}", "fields": fields}
    return {"name": name, "type": ["null", {"type": "array", "items": items, "logicalType": "map"}], "field-id": number}


def _optional(name: str, kind: Any, number: int) -> Record:
    return {"name": name, "type": ["null", kind], "field-id": number}


def _manifest_schema(spec: Sequence[Mapping[str, Any]], avro_types: Mapping[int, Any]) -> Record:
    partition = [_optional(each["name"], avro_types.get(each["field-id"], "int"), each["field-id"]) for each in spec]
    data_file = [
        {"name": "content", "type": "int", "field-id": 134},
        {"name": "file_path", "type": "string", "field-id": 100},
        {"name": "file_format", "type": "string", "field-id": 101},
        {"name": "partition", "type": {"type": "record", "name": "r102", "fields": partition}, "field-id": 102},
        {"name": "record_count", "type": "long", "field-id": 103},
        {"name": "file_size_in_bytes", "type": "long", "field-id": 104},
        _map("value_counts", 109, 119, "long"),
        _map("null_value_counts", 110, 121, "long"),
        _map("lower_bounds", 125, 126, "bytes"),
        _map("upper_bounds", 128, 129, "bytes"),
        _optional("key_metadata", "bytes", 131),
        _optional("equality_ids", {"type": "array", "items": "int", "element-id": 136}, 135),
        _optional("referenced_data_file", "string", 143),
        _optional("content_offset", "long", 144),
        _optional("content_size_in_bytes", "long", 145),
    ]
    entry = [
        {"name": "status", "type": "int", "field-id": 0},
        _optional("snapshot_id", "long", 1),
        _optional("sequence_number", "long", 3),
        _optional("file_sequence_number", "long", 4),
        {"name": "data_file", "type": {"type": "record", "name": "r2", "fields": data_file}, "field-id": 2},
    ]
    return {"type": "record", "name": "manifest_entry", "fields": entry}


_SUMMARY = {
    "type": "record",
    "name": "r508",
    "fields": [
        {"name": "contains_null", "type": "boolean", "field-id": 509},
        _optional("contains_nan", "boolean", 518),
        _optional("lower_bound", "bytes", 510),
        _optional("upper_bound", "bytes", 511),
    ],
}
_LIST = {
    "type": "record",
    "name": "manifest_file",
    "fields": [
        {"name": "manifest_path", "type": "string", "field-id": 500},
        {"name": "manifest_length", "type": "long", "field-id": 501},
        {"name": "partition_spec_id", "type": "int", "field-id": 502},
        {"name": "content", "type": "int", "field-id": 517},
        {"name": "sequence_number", "type": "long", "field-id": 515},
        {"name": "min_sequence_number", "type": "long", "field-id": 516},
        {"name": "added_snapshot_id", "type": "long", "field-id": 503},
        {"name": "added_files_count", "type": "int", "field-id": 504},
        {"name": "existing_files_count", "type": "int", "field-id": 505},
        {"name": "deleted_files_count", "type": "int", "field-id": 506},
        {"name": "added_rows_count", "type": "long", "field-id": 512},
        {"name": "existing_rows_count", "type": "long", "field-id": 513},
        {"name": "deleted_rows_count", "type": "long", "field-id": 514},
        _optional("partitions", {"type": "array", "items": _SUMMARY, "element-id": 508}, 507),
    ],
}


class HandmadeTable:
    """A table in ``folder`` that states another place. ``spec``: fields of its partition spec; ``avro_types``: of their values.

    Files are written first (`data`, `positions`, …), then entered together (`commit`). ``metadata`` may be edited in between.
    """

    def __init__(
        self,
        folder: Path,
        fields: Sequence[Record],
        spec: Sequence[Record] = (),
        *,
        version: int = 2,
        avro_types: Mapping[int, Any] | None = None,
        **properties: str,
    ) -> None:
        self.folder, self.number, self.sequence, self.files = folder, 0, 0, 0
        self.avro_types = dict(avro_types or {})
        self.manifests: list[Record] = []
        self.parquet_options: dict[str, Any] = {"row_group_size": 4}
        self.metadata: Record = {
            "format-version": version,
            "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1",
            "location": STATED,
            "last-sequence-number": 0,
            "last-updated-ms": 1_600_000_000_000,
            "last-column-id": 1000,
            "current-schema-id": 0,
            "schemas": [{"type": "struct", "schema-id": 0, "fields": list(fields)}],
            "default-spec-id": 0,
            "partition-specs": [{"spec-id": 0, "fields": list(spec)}],
            "last-partition-id": 1000 + len(spec),
            "default-sort-order-id": 0,
            "sort-orders": [{"order-id": 0, "fields": []}],
            "properties": properties,
            "current-snapshot-id": -1,
            "refs": {},
            "snapshots": [],
            "snapshot-log": [],
            "metadata-log": [],
        }
        (folder / "metadata").mkdir(parents=True)
        (folder / "data").mkdir()
        self.publish()

    def data(self, table: pa.Table, *, partition: Sequence[Any] = (), file_format: str = "parquet", **others: Any) -> Entry:
        """Write a data file. The ids of its columns are those of the fields of the same names, if any schema has them."""
        lower, upper = _bounds(self._with_ids(table))
        stated = {"lower_bounds": lower, "upper_bounds": upper} | others
        return self._file(self._with_ids(table), 0, "data", partition, file_format, **stated)

    def positions(
        self,
        positions: Iterable[tuple[Entry | str, int]],
        *,
        partition: Sequence[Any] = (),
        file_format: str = "parquet",
        **others: Any,
    ) -> Entry:
        """Write a position-delete file of those (data file, position)."""
        named = sorted((each if isinstance(each, str) else each["file_path"], number) for each, number in positions)
        schema = pa.schema(
            [_with_id(pa.field("file_path", pa.string(), False), FILE_PATH), _with_id(pa.field("pos", pa.int64(), False), POS)]
        )
        table = pa.table([pa.array([path for path, _ in named]), pa.array([pos for _, pos in named], pa.int64())], schema=schema)
        return self._file(table, 1, "pos", partition, file_format, **others)

    def equal(self, table: pa.Table, *, partition: Sequence[Any] = (), file_format: str = "parquet", **others: Any) -> Entry:
        """Write an equality-delete file of those rows."""
        table = self._with_ids(table)
        ids = [int((each.metadata or {})[b"PARQUET:field_id"]) for each in table.schema]
        return self._file(table, 2, "eq", partition, file_format, **{"equality_ids": ids} | others)

    def vector(self, data: Entry, positions: Iterable[int], *, partition: Sequence[Any] = (), **others: Any) -> Entry:
        """Write a Puffin file with one deletion vector, not as its first bytes."""
        bitmap = BitMap64(positions)
        body = b"\xd1\xd3\x39\x64" + bitmap.serialize()
        blob = struct.pack(">i", len(body)) + body + struct.pack(">I", zlib.crc32(body))
        blobs = [{"type": "deletion-vector-v1", "fields": [POS], "snapshot-id": -1, "sequence-number": -1, "offset": 10}]
        blobs[0] |= {
            "length": len(blob),
            "properties": {"referenced-data-file": data["file_path"], "cardinality": str(len(bitmap))},
        }
        payload = json.dumps({"blobs": blobs, "properties": {}}).encode()
        puffin = b"PFA1" + b"other." + blob + b"PFA1" + payload + struct.pack("<i", len(payload)) + b"\0\0\0\0PFA1"
        path = self._place("dv", "puffin")
        (self.folder / path).write_bytes(puffin)
        place = {"content_offset": 10, "content_size_in_bytes": len(blob), "referenced_data_file": data["file_path"]}
        return self._entry(path, 1, "puffin", partition, len(bitmap)) | place | others

    def commit(self, *entries: Entry, spec: int = 0, removed: Iterable[Entry] = (), branch: str = "main", **edits: Any) -> int:
        """Add files, and remove others, in one snapshot; ``edits``: of the manifests' records in the list. Gives its id.

        An entry is of the partition spec that it states under "spec", else of ``spec``.
        """
        self.number += 1
        self.sequence += 1
        snapshot = 7_000_000_000_000_000_000 + self.number
        gone = {each["file_path"] for each in removed}
        if gone:
            self._remove(gone, snapshot)
        for content in (0, 1):
            new = [each for each in entries if (each["content"] == 0) == (content == 0)]
            for number in sorted({each.get("spec", spec) for each in new}):
                chosen = [each for each in new if each.get("spec", spec) == number]
                records = [{"status": 1, "snapshot_id": snapshot, "data_file": each} for each in chosen]
                self._add_manifest(records, content, number, snapshot, edits)
        name = f"metadata/snap-{snapshot}.avro"
        (self.folder / name).write_bytes(_avro(_LIST, self.manifests, {}))
        at = self.metadata["last-updated-ms"] + 60_000
        made = {
            "snapshot-id": snapshot,
            "sequence-number": self.sequence,
            "timestamp-ms": at,
            "manifest-list": f"{STATED}/{name}",
        }
        made |= {"summary": {"operation": "append"}, "schema-id": self.metadata["current-schema-id"]}
        refs = self.metadata["refs"]
        if branch in refs:
            made["parent-snapshot-id"] = refs[branch]["snapshot-id"]
        refs[branch] = {"snapshot-id": snapshot, "type": "branch"}
        self.metadata |= {"last-updated-ms": at, "last-sequence-number": self.sequence}
        self.metadata["snapshots"].append(made)
        if branch == "main":
            self.metadata["current-snapshot-id"] = snapshot
            self.metadata["snapshot-log"].append({"snapshot-id": snapshot, "timestamp-ms": at})
        self.publish()
        return snapshot

    def add_schema(self, fields: Sequence[Record]) -> None:
        """Make these the current columns."""
        number = len(self.metadata["schemas"])
        self.metadata["schemas"].append({"type": "struct", "schema-id": number, "fields": list(fields)})
        self.metadata["current-schema-id"] = number
        self.publish()

    def add_spec(self, fields: Sequence[Record]) -> int:
        """Make this the default partition spec; gives its id."""
        number = len(self.metadata["partition-specs"])
        self.metadata["partition-specs"].append({"spec-id": number, "fields": list(fields)})
        self.metadata["default-spec-id"] = number
        self.publish()
        return number

    def publish(self) -> None:
        """Write the metadata, as it is now, over the last."""
        (self.folder / "metadata" / "v1.metadata.json").write_text(json.dumps(self.metadata))
        (self.folder / "metadata" / "version-hint.text").write_text("1")

    def at(self, entry: Entry) -> Path:
        """Where the file of an entry lies."""
        return self.folder / str(entry["file_path"]).removeprefix(f"{STATED}/")

    def _place(self, kind: str, suffix: str) -> str:
        self.files += 1
        return f"data/{self.files:05d}-{kind}.{suffix}"

    def _entry(self, path: str, content: int, file_format: str, partition: Sequence[Any], rows: int) -> Entry:
        return {
            "content": content,
            "file_path": f"{STATED}/{path}",
            "file_format": file_format.upper(),
            "partition": tuple(partition),
            "record_count": rows,
            "file_size_in_bytes": (self.folder / path).stat().st_size,
        }

    def _file(self, table: pa.Table, content: int, kind: str, partition: Sequence[Any], file_format: str, **others: Any) -> Entry:
        path = self._place(kind, file_format)
        if file_format == "orc":
            ids = [_orc_field(each) for each in table.schema]
            orc.write_table(table.cast(pa.schema(ids)), self.folder / path)
        elif file_format == "avro":
            (self.folder / path).write_bytes(_avro(_avro_schema(table.schema), table.to_pylist(), {}))
        else:
            pq.write_table(table, self.folder / path, **self.parquet_options)
        return self._entry(path, content, file_format, partition, table.num_rows) | others

    def _with_ids(self, table: pa.Table) -> pa.Table:
        known = {each["name"]: each["id"] for schema in self.metadata["schemas"] for each in schema["fields"]}
        fields = [_with_id(each, known[each.name]) if each.name in known and not each.metadata else each for each in table.schema]
        return table.cast(pa.schema(fields))

    def _add_manifest(self, records: list[Record], content: int, spec: int, snapshot: int, edits: Mapping[str, Any]) -> None:
        fields = self.metadata["partition-specs"][spec]["fields"]
        made = []
        for record in records:
            values = record["data_file"]["partition"]
            named = dict(zip((each["name"] for each in fields), values, strict=True)) if isinstance(values, tuple) else values
            made.append(record | {"data_file": record["data_file"] | {"partition": named}})
        name = f"metadata/m{len(list((self.folder / 'metadata').iterdir()))}.avro"
        header = {"schema": "{}", "partition-spec": json.dumps(fields), "partition-spec-id": str(spec), "format-version": "2"}
        data = _avro(_manifest_schema(fields, self.avro_types), made, header | {"content": ("data", "deletes")[content]})
        (self.folder / name).write_bytes(data)
        states = [record["status"] for record in made]
        rows = [sum(r["data_file"]["record_count"] for r in made if r["status"] == state) for state in (1, 0, 2)]
        listed = {
            "manifest_path": f"{STATED}/{name}",
            "manifest_length": len(data),
            "partition_spec_id": spec,
            "content": content,
            "sequence_number": self.sequence,
            "min_sequence_number": min((r.get("sequence_number") or self.sequence for r in made), default=self.sequence),
            "added_snapshot_id": snapshot,
            "added_files_count": states.count(1),
            "existing_files_count": states.count(0),
            "deleted_files_count": states.count(2),
            "added_rows_count": rows[0],
            "existing_rows_count": rows[1],
            "deleted_rows_count": rows[2],
        }
        self.manifests.append({**listed, "records": made, **edits})

    def _remove(self, gone: set[str], snapshot: int) -> None:
        """Write anew each manifest that names one of those files: it as DELETED, the others as EXISTING."""
        old, self.manifests = self.manifests, []
        for manifest in old:
            records = [record for record in manifest["records"] if record["status"] != 2]
            if gone.isdisjoint(record["data_file"]["file_path"] for record in records):
                self.manifests.append(manifest)
                continue
            inherited = {"sequence_number": manifest["sequence_number"], "file_sequence_number": manifest["sequence_number"]}
            made = [
                {**inherited, **record, "status": 2, "snapshot_id": snapshot}
                if record["data_file"]["file_path"] in gone
                else {**inherited, **record, "status": 0}
                for record in records
            ]
            self._add_manifest(made, manifest["content"], manifest["partition_spec_id"], snapshot, {})


def _avro(schema: Record, records: Iterable[Record], header: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), records, codec="deflate", metadata=dict(header))
    return out.getvalue()


def _with_id(each: pa.Field, number: int) -> pa.Field:
    return each.with_metadata({"PARQUET:field_id": str(number)})


def _orc_field(each: pa.Field) -> pa.Field:
    number = (each.metadata or {}).get(b"PARQUET:field_id")
    return each if number is None else each.with_metadata({"iceberg.id": number.decode()})


def _avro_schema(schema: pa.Schema) -> Record:
    kinds = {pa.int64(): "long", pa.string(): "string", pa.int32(): "int", pa.float64(): "double"}
    fields = [
        {"name": each.name, "type": ["null", kinds[each.type]] if each.nullable else kinds[each.type]}
        | {"field-id": int((each.metadata or {})[b"PARQUET:field_id"])}
        for each in schema
    ]
    return {"type": "record", "name": "table", "fields": fields}


def _bounds(table: pa.Table) -> tuple[list[Record], list[Record]]:
    """The bounds of columns of numbers and text, by their ids, as the specification serialises single values."""
    lower, upper = [], []
    for column, each in zip(table.columns, table.schema, strict=True):
        number, values = (
            (each.metadata or {}).get(b"PARQUET:field_id"),
            [value for value in column.to_pylist() if value is not None],
        )
        if number is None or not values or not (pa.types.is_int64(each.type) or pa.types.is_string(each.type)):
            continue
        encoded = [value.encode() if isinstance(value, str) else struct.pack("<q", value) for value in (min(values), max(values))]
        lower.append({"key": int(number), "value": encoded[0]})
        upper.append({"key": int(number), "value": encoded[1]})
    return lower, upper
