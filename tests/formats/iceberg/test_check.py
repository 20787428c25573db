"""`lake check` of Iceberg metadata: one damage at a time, found with no receipts there, and the right object named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lakehouse.check import check
from lakehouse.config import Settings
from tests.formats.iceberg.handmade import STATED, HandmadeTable, field
from tests.formats.iceberg.test_audit import rewrite
from tests.formats.iceberg.whole_table import FIELDS, Record, Whole, assign, cut, findings, flip, rows
from tests.formats.iceberg.whole_table import whole as whole  # a fixture
from tests.formats.iceberg.whole_table import with_vector as with_vector  # a fixture

# The metadata file, and what leads to it


METADATA: dict[str, Callable[[Record], Any]] = {
    "the current snapshot is an older one": lambda m: m.update({"current-snapshot-id": m["snapshots"][0]["snapshot-id"]}),
    "the current snapshot is none": assign(**{"current-snapshot-id": 5}),
    "main is at an older snapshot": lambda m: m["refs"]["main"].update({"snapshot-id": m["snapshots"][0]["snapshot-id"]}),
    "main and the current snapshot are older": lambda m: [
        m.update({"current-snapshot-id": m["snapshots"][0]["snapshot-id"]}),
        m["refs"]["main"].update({"snapshot-id": m["snapshots"][0]["snapshot-id"]}),
    ],
    "a tag is at no snapshot": lambda m: m["refs"].update({"gone": {"snapshot-id": 5, "type": "tag"}}),
    "a reference is neither branch nor tag": lambda m: m["refs"]["main"].update(type="twig"),
    "the sequence number of a snapshot is beyond the last": assign(**{"last-sequence-number": 1}),
    "a snapshot is no newer than its parent": lambda m: m["snapshots"][1].update({"sequence-number": 3}),
    "a snapshot is there twice": lambda m: m["snapshots"].append(m["snapshots"][0]),
    "a snapshot has a schema that is not there": lambda m: m["snapshots"][0].update({"schema-id": 7}),
    "a snapshot is of the future": lambda m: m["snapshots"][0].update({"timestamp-ms": m["last-updated-ms"] * 2}),
    "the snapshot log goes back in time": lambda m: m["snapshot-log"][0].update({"timestamp-ms": m["last-updated-ms"] * 2}),
    "the current schema is not there": assign(**{"current-schema-id": 7}),
    "a schema has two fields of one id": lambda m: m["schemas"][0]["fields"].append(field(1, "again", "long")),
    "a field is beyond the last": assign(**{"last-column-id": 1}),
    "the default partition spec is not there": assign(**{"default-spec-id": 7}),
    "a partition field is beyond the last": assign(**{"last-partition-id": 999}),
    "the default partition spec is of no column": lambda m: (
        m["partition-specs"].append(
            {"spec-id": 1, "fields": [{"name": "q", "transform": "identity", "source-id": 9, "field-id": 1001}]}
        )
        or m.update({"default-spec-id": 1})
    ),
    "the default sort order is not there": assign(**{"default-sort-order-id": 7}),
    "the default sort order is of no column": lambda m: (
        m["sort-orders"].append(
            {
                "order-id": 1,
                "fields": [{"transform": "identity", "source-id": 9, "direction": "asc", "null-order": "nulls-first"}],
            }
        )
        or m.update({"default-sort-order-id": 1})
    ),
    "a summary counts files that are not there": lambda m: m["snapshots"][2]["summary"].update({"total-data-files": "4"}),
    "a summary is no object": lambda m: m["snapshot-log"].append({"snapshot-id": m["current-snapshot-id"]}),
}


@pytest.mark.parametrize("damage", METADATA)
def test_a_metadata_file_that_contradicts_itself_is_named(damage: str, whole: Whole) -> None:
    whole.metadata(METADATA[damage])
    found = findings(whole.folder)
    assert found & {("metadata", whole.root), ("summary", whole.root)}
    assert {path for _, path in found} == {whole.root}


def test_row_ids_beyond_the_next_one_are_found(with_vector: Whole) -> None:
    with_vector.metadata(lambda m: m["snapshots"][2].update({"first-row-id": 25, "added-rows": 10}))
    assert findings(with_vector.folder) == {("metadata", with_vector.root)}


def test_a_hint_to_the_past_is_found(whole: Whole) -> None:
    """Trap 16: readers by path see an old version."""
    shutil.copy(whole.folder / whole.root, whole.folder / "metadata/v2.metadata.json")
    assert findings(whole.folder) == {("hint", "metadata/version-hint.text")}
    assert ("hint", "metadata/version-hint.text") in findings(whole.folder, version="v2.metadata.json")


def test_a_hint_that_names_what_is_not_there_is_found(whole: Whole) -> None:
    (whole.folder / "metadata/version-hint.text").write_text("7")
    assert findings(whole.folder) == {("hint", "metadata/version-hint.text")}


def test_two_metadata_files_of_one_number_are_found(whole: Whole) -> None:
    shutil.copy(whole.folder / whole.root, whole.folder / "metadata/v1.gz.metadata.json")
    found = findings(whole.folder, version="v1.metadata.json")
    assert found == {("metadata", "metadata/v1.metadata.json")}


def test_a_metadata_file_with_a_flipped_bit_is_named(whole: Whole) -> None:
    """Trap 7 of verification."""
    flip(whole.folder / whole.root, 0)
    assert findings(whole.folder) == {("unreadable", whole.root)}


@pytest.mark.parametrize("damage", ["cut", "another table"])
def test_an_earlier_metadata_file_that_is_damaged_or_of_another_table_is_named(damage: str, whole: Whole) -> None:
    earlier = whole.folder / "metadata/v1.metadata.json"
    newer = json.loads(earlier.read_text())
    newer["metadata-log"] = [{"timestamp-ms": newer["last-updated-ms"], "metadata-file": f"{STATED}/metadata/{earlier.name}"}]
    (whole.folder / "metadata/v2.metadata.json").write_text(json.dumps(newer))
    (whole.folder / "metadata/version-hint.text").write_text("2")
    assert findings(whole.folder) == set()
    if damage == "cut":
        cut(earlier)
    else:
        earlier.write_text(earlier.read_text().replace(newer["table-uuid"], "00000000-0000-0000-0000-000000000000"))
    assert findings(whole.folder) == {("unreadable" if damage == "cut" else "metadata", "metadata/v1.metadata.json")}


def test_an_earlier_metadata_file_that_was_cleaned_up_is_no_finding(whole: Whole) -> None:
    """Trap 7: engines remove old metadata files and keep their entries."""
    log = [{"timestamp-ms": 1, "metadata-file": f"{STATED}/metadata/v0.metadata.json"}]
    whole.metadata(lambda m: m.update({"metadata-log": log}))
    assert findings(whole.folder) == set()


# Manifest lists


LISTS: dict[str, tuple[str, Callable[[Record], Any]]] = {
    "a length": ("length", lambda one: one.update(manifest_length=one["manifest_length"] - 1)),
    "a negative length": ("length", lambda one: one.update(manifest_length=-1)),
    "a count of files": ("counts", lambda one: one.update(added_files_count=9)),
    "a count of rows": ("counts", lambda one: one.update(added_rows_count=9)),
    "a sequence number": ("sequence", lambda one: one.update(sequence_number=9)),
    "a least sequence number": ("sequence", lambda one: one.update(min_sequence_number=one["sequence_number"] + 1)),
    "a partition spec": ("partition", lambda one: one.update(partition_spec_id=9)),
    "a content": ("content", lambda one: one.update(content=9)),
}


@pytest.mark.parametrize("damage", LISTS)
def test_a_manifest_list_that_says_what_its_manifest_is_not_is_named(damage: str, whole: Whole) -> None:
    """Trap 2: engines that trust a wrong length read part of a manifest."""
    kind, change = LISTS[damage]
    whole.edit_list(2, lambda records: change(records[2]))
    assert (kind, whole.lists[2]) in findings(whole.folder)


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("sequence_number", 2, "sequence"),
        ("added_snapshot_id", 5, "sequence"),
        ("partition_spec_id", 9, "partition"),
        ("content", 1, "content"),
        ("manifest_length", 7, "length"),
        ("added_rows_count", 7, "counts"),
    ],
)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_of_several_lists_the_one_that_says_otherwise_is_named(
    number: int, key: str, value: int, kind: str, whole: Whole
) -> None:
    whole.edit_list(number, lambda records: records[0].update({key: value}))
    found = findings(whole.folder)
    assert (kind, whole.lists[number]) in found
    assert {path for _, path in found} == {whole.lists[number]}


def test_a_manifest_that_is_listed_twice_is_found(whole: Whole) -> None:
    whole.edit_list(2, lambda records: records.append(records[0]))
    assert ("duplicate", whole.lists[2]) in findings(whole.folder)


def test_a_manifest_that_is_dropped_from_the_list_is_found_by_the_summary(whole: Whole) -> None:
    """Deleted rows come back, and no file is missing."""
    whole.edit_list(2, lambda records: records.pop(1))
    assert findings(whole.folder) == {("summary", whole.root)}


def test_an_older_list_in_place_of_the_newest_is_found(whole: Whole) -> None:
    shutil.copy(whole.folder / whole.lists[1], whole.folder / whole.lists[2])
    assert findings(whole.folder) == {("summary", whole.root)}


def test_an_older_list_says_itself_that_it_was_written_for_another_snapshot(whole: Whole) -> None:
    ids = [str(raw["snapshot-id"]) for raw in whole.table.metadata["snapshots"]]
    for number in range(3):
        rewrite(whole.folder / whole.lists[number], lambda _: None, assign(**{"snapshot-id": ids[number]}))
    assert findings(whole.folder) == set()
    shutil.copy(whole.folder / whole.lists[1], whole.folder / whole.lists[2])
    assert ("header", whole.lists[2]) in findings(whole.folder)


@pytest.mark.parametrize(("damage", "kind"), [(lambda path: path.unlink(), "missing"), (cut, "unreadable")], ids=["gone", "cut"])
def test_a_manifest_list_that_is_gone_or_cut_is_named(damage: Callable[[Path], Any], kind: str, whole: Whole) -> None:
    """Trap 10: a read error is never taken for an empty list."""
    damage(whole.folder / whole.lists[0])
    assert findings(whole.folder) == {(kind, whole.lists[0])}


# Format version 1, encryption


def test_manifests_that_the_metadata_of_version_1_names_itself_are_looked_at(tmp_path: Path) -> None:
    table = HandmadeTable(tmp_path / "table", FIELDS, version=1)
    data = table.data(rows(1))
    table.commit(data)
    manifest = table.manifests[0]["manifest_path"].removeprefix(f"{STATED}/")
    raw = table.metadata["snapshots"][0]
    del raw["manifest-list"]
    raw["manifests"] = [f"{STATED}/{manifest}"]
    rewrite(table.folder / manifest, lambda _: None, assign(**{"format-version": "1"}))
    table.publish()
    assert findings(table.folder) == set()
    cut(table.at(data))
    assert findings(table.folder) == {("size", data["file_path"].removeprefix(f"{STATED}/"))}
    cut(table.folder / manifest)
    assert findings(table.folder) == {("unreadable", manifest)}


def test_what_is_encrypted_was_not_checked_and_that_is_said(whole: Whole) -> None:
    """Trap 11, and trap 4 of verification: "could not check" is a failure."""
    whole.file(whole.last, key_metadata=b"key")
    report = check(str(whole.folder), settings=Settings())
    assert [(one.kind, one.path) for one in report.findings] == [("unchecked", whole.path(whole.c))]


# Statistics


@pytest.mark.parametrize(("damage", "kind"), [(cut, "size"), (lambda path: flip(path, -1), "unreadable")], ids=["cut", "flipped"])
def test_a_file_of_partition_statistics_that_is_damaged_is_named(damage: Callable[[Path], Any], kind: str, whole: Whole) -> None:
    path = whole.folder / "metadata/partitions.parquet"
    pq.write_table(rows(1), path)
    stated = {"statistics-path": f"{STATED}/metadata/{path.name}", "file-size-in-bytes": path.stat().st_size, "snapshot-id": 1}
    whole.metadata(lambda m: m.update({"partition-statistics": [stated]}))
    assert findings(whole.folder) == set()
    damage(path)
    assert findings(whole.folder) == {(kind, "metadata/partitions.parquet")}


@pytest.mark.parametrize(
    ("damage", "kind"),
    [(lambda path: path.unlink(), "missing"), (cut, "size"), (lambda path: flip(path, -1), "unreadable")],
    ids=["gone", "cut", "flipped"],
)
def test_a_statistics_file_that_is_gone_cut_or_flipped_is_named(
    damage: Callable[[Path], Any], kind: str, with_vector: Whole
) -> None:
    path = with_vector.folder / "metadata/a.stats"
    shutil.copy(with_vector.table.at(with_vector.vector), path)
    stated = {"statistics-path": f"{STATED}/metadata/a.stats", "file-size-in-bytes": path.stat().st_size}
    with_vector.metadata(lambda m: m.update(statistics=[stated | {"snapshot-id": m["current-snapshot-id"]}]))
    assert findings(with_vector.folder) == set()
    damage(path)
    assert findings(with_vector.folder) == {(kind, "metadata/a.stats")}
