"""Manifest entries in full: as fastavro reads them, with what they inherit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.entries import DataFile, read_data_files
from lakehouse.formats.iceberg.manifest_list import ManifestFile, read_list
from lakehouse.formats.iceberg.partitioning import PartitionField, PartitionSpec, specs_of
from tests.corpus.iceberg_readers import metadata_of
from tests.formats.iceberg.manifest_files import entry, entry_schema, pairs, written
from tests.formats.iceberg.test_manifest_corpus import avro_files, folder

__all__ = ["folder"]

SPECS = {0: PartitionSpec(0, (PartitionField(1000, "file_path", "identity", (1,)),))}
LISTED = ManifestFile("m", 0, 0, 42, encrypted=False, sequence_number=5, partition_spec_id=0)


def files_in(data: bytes, listed: ManifestFile = LISTED, specs: Mapping[int, PartitionSpec] = SPECS) -> list[DataFile]:
    return list(read_data_files(data, "the manifest", listed, specs))


def mapped(stated: Any) -> dict[int, Any]:
    return {item["key"]: item["value"] for item in stated or ()}


def test_every_field_of_an_entry_is_what_fastavro_reads_in_manifests_of_real_engines(folder: Path) -> None:
    metadata = metadata_of(sorted(folder.rglob("*.metadata.json"))[-1]) if next(folder.rglob("*.metadata.json"), None) else {}
    specs = specs_of(metadata, str(folder)) if metadata else {}
    for path, data, records in avro_files(folder, "manifest_entry"):
        spec = next((number for number, one in specs.items() if len(one.fields) == _fields_of(records)), None)
        if spec is None:
            continue
        listed = ManifestFile("m", 0, 0, 42, encrypted=False, sequence_number=9, partition_spec_id=spec)
        found = list(read_data_files(data, str(path), listed, specs))
        assert len(found) == len(records)
        for one, record in zip(found, records, strict=True):
            assert_same(one, record)


def _fields_of(records: list[Any]) -> int:
    return len(records[0]["data_file"]["partition"]) if records else 0


def assert_same(one: DataFile, record: dict[str, Any]) -> None:
    file = record["data_file"]
    number = record.get("sequence_number")
    assert one.status == record["status"]
    assert one.sequence_number == (9 if number is None and one.status == 1 else number)
    assert (one.path, one.rows, one.size) == (file["file_path"], file["record_count"], file["file_size_in_bytes"])
    assert one.file_format == file["file_format"].lower()
    assert one.content == file.get("content", 0)
    assert dict(one.lower_bounds) == mapped(file.get("lower_bounds"))
    assert dict(one.upper_bounds) == mapped(file.get("upper_bounds"))
    assert dict(one.null_counts) == mapped(file.get("null_value_counts"))
    assert dict(one.nan_counts) == mapped(file.get("nan_value_counts"))
    assert dict(one.value_counts) == mapped(file.get("value_counts"))
    assert dict(one.column_sizes) == mapped(file.get("column_sizes"))
    assert one.equality_ids == tuple(file.get("equality_ids") or ())
    assert one.split_offsets == tuple(file.get("split_offsets") or ())
    assert one.sort_order_id == file.get("sort_order_id")
    assert one.first_row_id == file.get("first_row_id")
    place = (one.referenced_data_file, one.content_offset, one.content_size)
    assert place == tuple(file.get(name) for name in ("referenced_data_file", "content_offset", "content_size_in_bytes"))
    assert one.encrypted == (file.get("key_metadata") is not None)


def test_manifest_lists_in_full_are_what_fastavro_reads(folder: Path) -> None:
    for path, data, records in avro_files(folder, "manifest_file"):
        for one, record in zip(read_list(data, str(path), in_full=True), records, strict=True):
            assert one.sequence_number == (record.get("sequence_number") or 0)
            assert one.min_sequence_number == (record.get("min_sequence_number") or 0)
            assert one.partition_spec_id == record["partition_spec_id"]
            assert one.first_row_id == record.get("first_row_id")
            stated = record.get("partitions")
            summaries = None if stated is None else [tuple(each[name] for name in _SUMMARY) for each in stated]
            assert (one.partitions and [(s.contains_null, s.lower, s.upper) for s in one.partitions]) == (
                summaries or one.partitions
            )


_SUMMARY = ("contains_null", "lower_bound", "upper_bound")


def test_sequence_numbers_are_inherited_by_added_entries_only() -> None:
    """Iceberg table spec, "Sequence Number Inheritance"; trap 6: inherited nulls."""
    data = written(entry_schema(), [entry(status=1), entry(status=0), entry(status=2), entry(status=0) | {"sequence_number": 3}])
    assert [one.sequence_number for one in files_in(data)] == [5, None, None, 3]
    assert [one.snapshot_id for one in files_in(data)] == [42, 99, 99, 99]


def test_all_entries_of_a_version_1_manifest_have_the_sequence_number_0() -> None:
    data = written(entry_schema(version=1), [entry(status=1), entry(status=0)])
    old = ManifestFile("m", 0, 0, 42, encrypted=False, partition_spec_id=0)
    assert [(one.sequence_number, one.content) for one in files_in(data, old)] == [(0, 0), (0, 0)]


@pytest.mark.parametrize("shape", ["usual", "nullable", "names", "unknown"])
def test_fields_are_found_in_manifests_of_every_shape(shape: str) -> None:
    """Trap 6: unknown fields; BigQuery writes every field nullable and in another order."""
    stated = entry("s3://b/x.parquet", content=2, equality_ids=[4, 1], lower_bounds=pairs({3: b"a", 7: b""}))
    [one] = files_in(written(entry_schema(shape=shape), [stated], content="deletes"))
    assert (one.path, one.content, one.equality_ids, dict(one.lower_bounds)) == ("s3://b/x.parquet", 2, (4, 1), {3: b"a", 7: b""})
    assert one.partition == ("s3://b/x.parquet",)
    assert one.nan_counts == {}


def test_partition_values_are_in_the_order_of_the_spec_and_null_where_the_manifest_has_none() -> None:
    schema = entry_schema()
    fields = [("b", 1001, "long"), ("renamed", 1000, "string")]
    record = {"type": "record", "name": "r102", "fields": [_optional(*each) for each in fields]}
    next(each for each in schema["fields"][3]["type"]["fields"] if each["field-id"] == 102)["type"] = record
    names = ("file_path", "b", "later")
    spec = PartitionSpec(0, tuple(PartitionField(1000 + at, name, "identity", (at,)) for at, name in enumerate(names)))
    [one] = files_in(written(schema, [entry(partition={"b": 7, "renamed": "x"})]), specs={0: spec})
    assert one.partition == ("x", 7, None)


def _optional(name: str, number: int, kind: str) -> dict[str, Any]:
    return {"name": name, "type": ["null", kind], "field-id": number}


def test_a_spec_that_the_table_does_not_have_and_a_status_that_is_none_are_damage() -> None:
    data = written(entry_schema(), [entry()])
    with pytest.raises(NotFound, match="spec 0"):
        files_in(data, specs={})
    with pytest.raises(NotFound, match="status 7"):
        files_in(written(entry_schema(), [entry(status=7)]))
