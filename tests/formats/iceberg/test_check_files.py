"""`lake check` of manifests and data files: one damage at a time, found with no receipts there, and the right object named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.formats.iceberg.test_audit import rewrite
from tests.formats.iceberg.whole_table import SPEC, Record, Whole, assign, cut, findings, flip, rows, swap
from tests.formats.iceberg.whole_table import whole as whole  # a fixture
from tests.formats.iceberg.whole_table import with_vector as with_vector  # a fixture

# Manifests


@pytest.mark.parametrize(
    ("damage", "kind"),
    [(lambda path: path.unlink(), "missing"), (cut, "unreadable"), (lambda path: flip(path, -20), "unreadable")],
    ids=["gone", "cut", "flipped"],
)
def test_a_manifest_that_is_gone_cut_or_flipped_is_named(damage: Callable[[Path], Any], kind: str, whole: Whole) -> None:
    """Trap 7 of verification."""
    damage(whole.folder / whole.first)
    assert findings(whole.folder) == {(kind, whole.first)}


def test_a_manifest_that_was_cut_behind_a_block_is_named(whole: Whole) -> None:
    rewrite(whole.folder / whole.first, lambda records: records.clear())
    found = findings(whole.folder)
    assert {("size", whole.first), ("counts", whole.first)} <= found


ENTRIES: dict[str, tuple[str, Callable[[list[Record]], Any]]] = {
    "a duplicated entry": ("duplicate", lambda records: records.append(records[0])),
    "a sequence number that is beyond its manifest's": ("sequence", lambda records: records[0].update(sequence_number=9)),
    "a file that is older than its data": (
        "sequence",
        lambda records: records[0].update(sequence_number=1, file_sequence_number=0),
    ),
    "an inherited number that is not": ("sequence", lambda records: records[0].update(status=0)),
    "a delete file among data": ("content", lambda records: records[0]["data_file"].update(content=1)),
    "an unknown format": ("content", lambda records: records[0]["data_file"].update(file_format="CSV")),
    "more nulls than rows": (
        "counts",
        lambda records: records[0]["data_file"].update(null_value_counts=[{"key": 1, "value": 11}]),
    ),
    "bounds upside down": (
        "bounds",
        lambda records: records[0]["data_file"].update(
            lower_bounds=records[0]["data_file"]["upper_bounds"], upper_bounds=records[0]["data_file"]["lower_bounds"]
        ),
    ),
    "a bound of the wrong width": (
        "bounds",
        lambda records: records[0]["data_file"].update(lower_bounds=[{"key": 1, "value": b"\0" * 3}]),
    ),
}


@pytest.mark.parametrize("damage", ENTRIES)
def test_a_manifest_with_an_entry_that_cannot_be_is_named(damage: str, whole: Whole) -> None:
    kind, change = ENTRIES[damage]
    whole.manifest(whole.first, change)
    assert (kind, whole.first) in findings(whole.folder)


def test_a_duplicated_entry_is_found_in_another_manifest_of_the_snapshot(whole: Whole) -> None:
    with (whole.folder / whole.first).open("rb") as file:
        entry = next(one for one in fastavro.reader(file) if isinstance(one, dict))
    whole.manifest(whole.last, lambda records: records.append(entry))
    assert {kind for kind, path in findings(whole.folder) if path in (whole.first, whole.last)} == {"duplicate"}


def test_a_dropped_delete_file_is_found(whole: Whole) -> None:
    """Trap 4: deleted rows come back. The list still counts it."""
    whole.manifest(whole.deletes, lambda records: records.pop(0))
    found = findings(whole.folder)
    assert ("counts", whole.lists[1]) in found
    assert ("summary", whole.root) in found


def test_equality_deletes_by_a_field_that_no_schema_has_are_found(whole: Whole) -> None:
    whole.file(whole.deletes, 1, equality_ids=[77])
    assert ("schema", whole.deletes) in findings(whole.folder)


HEADERS: dict[str, Callable[[Record], Any]] = {
    "no schema": lambda header: header.pop("schema"),
    "no partition spec": lambda header: header.pop("partition-spec"),
    "another spec's id": assign(**{"partition-spec-id": "1"}),
    "another partition spec": assign(**{"partition-spec": json.dumps([SPEC[0] | {"transform": "bucket[4]"}])}),
    "no JSON": assign(schema="{"),
    "another content": assign(content="deletes"),
    "a newer format": assign(**{"format-version": "3"}),
}


@pytest.mark.parametrize("damage", HEADERS)
def test_a_manifest_with_other_key_values_is_named(damage: str, whole: Whole) -> None:
    """Trap 6."""
    whole.manifest(whole.first, lambda _: None, HEADERS[damage])
    assert findings(whole.folder) == {("header", whole.first)}


def test_a_partition_outside_the_summary_of_its_manifest_is_found(whole: Whole) -> None:
    """Readers skip the manifest wrongly."""
    summary = {"contains_null": False, "contains_nan": None, "lower_bound": b"a", "upper_bound": b"b"}
    whole.edit_list(2, lambda records: records[0].update(partitions=[summary]))
    whole.edit_list(2, lambda records: records[2].update(partitions=[summary | {"lower_bound": b"b"}]))
    assert findings(whole.folder) == {("partition", whole.last)}
    whole.edit_list(2, lambda records: records[2].update(partitions=[summary, summary]))
    assert findings(whole.folder) == {("partition", whole.last)}


# Data files


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda path: path.unlink(), "missing"),
        (cut, "size"),
        (lambda path: flip(path, -1), "unreadable"),
        (lambda path: flip(path, -6), "unreadable"),
    ],
    ids=["gone", "cut", "magic flipped", "footer length flipped"],
)
def test_a_data_file_that_is_gone_cut_or_flipped_is_named(damage: Callable[[Path], Any], kind: str, whole: Whole) -> None:
    """Trap 3: files of older snapshots too; counts, min and max of readers would still be right."""
    damage(whole.table.at(whole.b))
    assert findings(whole.folder) == {(kind, whole.path(whole.b))}


def test_two_data_files_that_are_swapped_are_both_named(whole: Whole) -> None:
    """Trap 8 of verification: both have the size and the rows that the metadata states."""
    one, other = whole.table.at(whole.a), whole.table.at(whole.c)
    assert one.stat().st_size == other.stat().st_size
    swap(one, other)
    assert findings(whole.folder) == {("stats", whole.path(whole.a)), ("stats", whole.path(whole.c))}


def test_an_older_file_of_the_same_size_is_named(whole: Whole) -> None:
    """Trap 8 of verification."""
    shutil.copy(whole.table.at(whole.a), whole.table.at(whole.c))
    assert findings(whole.folder) == {("stats", whole.path(whole.c))}


FILES: dict[str, tuple[str, Callable[[Record], Any]]] = {
    "a record count": ("rows", lambda file: file.update(record_count=11)),
    "a size": ("size", lambda file: file.update(file_size_in_bytes=file["file_size_in_bytes"] + 1)),
    "a partition": ("partition", lambda file: file.update(partition={"p": "z"})),
    "a null partition": ("partition", lambda file: file.update(partition={"p": None})),
    "a count of values": ("stats", lambda file: file.update(value_counts=[{"key": 1, "value": 9}])),
    "a count of nulls": ("stats", lambda file: file.update(null_value_counts=[{"key": 1, "value": 1}])),
    "a lower bound": ("stats", lambda file: file.update(lower_bounds=[{"key": 1, "value": (22).to_bytes(8, "little")}])),
    "an upper bound": ("stats", lambda file: file.update(upper_bounds=[{"key": 1, "value": (29).to_bytes(8, "little")}])),
    "a bound of text": ("stats", lambda file: file.update(lower_bounds=[{"key": 2, "value": b"aa"}], upper_bounds=[])),
}


@pytest.mark.parametrize("damage", FILES)
def test_a_data_file_of_which_its_manifest_says_what_it_is_not_is_named(damage: str, whole: Whole) -> None:
    kind, change = FILES[damage]
    whole.manifest(whole.last, lambda records: change(records[0]["data_file"]))
    found = findings(whole.folder)
    assert (kind, whole.path(whole.c)) in found
    assert found - {(kind, whole.path(whole.c))} <= {("counts", path) for path in whole.lists} | {("summary", whole.root)}


@pytest.mark.parametrize("ids", [None, {"id": "71", "p": "72"}], ids=["no ids", "ids of another table"])
def test_a_data_file_whose_columns_readers_cannot_tell_is_named(ids: dict[str, str] | None, whole: Whole) -> None:
    """Conversion's trap, a name mapping that is missing: every column is NULL."""
    fields = [pa.field(name, kind, metadata={"PARQUET:field_id": ids[name]} if ids else None) for name, kind in
              (("id", pa.int64()), ("p", pa.string()))]  # fmt: skip
    pq.write_table(rows(21).cast(pa.schema(fields)), whole.table.at(whole.c), row_group_size=4)
    whole.resize(whole.last, whole.c)
    assert findings(whole.folder) == {("schema", whole.path(whole.c))}
    if ids is None:
        mapping = json.dumps([{"field-id": 1, "names": ["id"]}, {"field-id": 2, "names": ["p"]}])
        whole.metadata(lambda m: m.update(properties={"schema.name-mapping.default": mapping}))
        assert findings(whole.folder) == set()


def test_a_file_outside_the_table_is_found_unless_it_is_permitted(whole: Whole, tmp_path: Path) -> None:
    """Trap 12, and trap 2 of verification: leftover source paths read fine while the source lives."""
    outside = tmp_path / "elsewhere" / "c.parquet"
    outside.parent.mkdir()
    shutil.move(whole.table.at(whole.c), outside)
    whole.file(whole.last, file_path=f"file://{outside}")
    assert findings(whole.folder) == {("external", f"file://{outside}")}
    assert findings(whole.folder, allow_external=[str(outside.parent)]) == set()
    whole.file(whole.last, file_path="s3://another-bucket/c.parquet")
    assert findings(whole.folder) == {("external", "s3://another-bucket/c.parquet")}
