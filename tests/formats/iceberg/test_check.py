"""`lake check` of Iceberg tables: one damage at a time, found with no receipts there, and the right object named."""

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

from lakehouse.check import check
from lakehouse.config import Settings
from tests.formats.iceberg.handmade import STATED, HandmadeTable, field
from tests.formats.iceberg.test_audit import rewrite

Record = dict[str, Any]
Found = set[tuple[str, str]]
FIELDS = [field(1, "id", "long"), field(2, "p", "string")]
SPEC = [{"name": "p", "transform": "identity", "source-id": 2, "field-id": 1000}]


def findings(folder: Path, **options: Any) -> Found:
    """Kind and path of each finding; without what could not be checked, which is a failure."""
    report = check(str(folder), settings=Settings(), format="iceberg", **options)
    assert [one for one in report.findings if one.kind == "unchecked"] == []
    return {(one.kind, one.path) for one in report.findings}


def rows(first: int, p: str = "a", count: int = 10) -> pa.Table:
    return pa.table({"id": pa.array(range(first, first + count), pa.int64()), "p": [p] * count})


class Whole:
    """A table with deletes of every kind that format version 2 (3: vectors) has, nothing wrong with it, and what is in it.

    Snapshots: data; deletes; more data. The list of each is ``lists[n]``, ``manifests`` are by what they hold.
    """

    def __init__(self, folder: Path, version: int = 2) -> None:
        made = HandmadeTable(folder, FIELDS, SPEC, version=version, avro_types={1000: "string"})
        self.folder, self.table = folder, made
        self.a, self.b = self.data(rows(1), "a"), self.data(rows(11, "b"), "b")
        snapshots = [made.commit(self.a, self.b)]
        if version == 2:
            self.positions = made.positions([(self.a, 3), (self.a, 5)], partition=("a",))
            self.equal = made.equal(pa.table({"id": pa.array([15], pa.int64())}), partition=("b",))
            snapshots.append(made.commit(self.positions, self.equal))
        else:
            self.vector = made.vector(self.a, [3, 5], partition=("a",))
            snapshots.append(made.commit(self.vector))
        self.c = self.data(rows(21), "a")
        snapshots.append(made.commit(self.c))
        self.lists = [f"metadata/snap-{number}.avro" for number in snapshots]
        stated = [each["manifest_path"].removeprefix(f"{STATED}/") for each in self.listed(2)]
        self.first, self.deletes, self.last = stated
        self.root = "metadata/v1.metadata.json"
        self.state_totals()

    def data(self, table: pa.Table, partition: str) -> Record:
        counts: Record = {key: [{"key": 1, "value": count}] for key, count in (("value_counts", 10), ("null_value_counts", 0))}
        return self.table.data(table, partition=(partition,)) | counts

    def state_totals(self) -> None:
        """Summaries as writers make them."""
        deletes = {"total-delete-files": "2", "total-position-deletes": "2", "total-equality-deletes": "1"}
        if self.table.metadata["format-version"] > 2:
            deletes = {"total-delete-files": "1", "total-position-deletes": "2", "total-equality-deletes": "0"}
            self.table.metadata["next-row-id"] = 30
        none = dict.fromkeys(deletes, "0")
        for raw, files, more in zip(self.table.metadata["snapshots"], (2, 2, 3), (none, deletes, deletes), strict=True):
            raw["summary"] |= {"total-data-files": str(files), "total-records": str(files * 10)} | more
        self.table.publish()

    def path(self, entry: Record) -> str:
        return str(entry["file_path"]).removeprefix(f"{STATED}/")

    def listed(self, number: int) -> list[Record]:
        with (self.folder / self.lists[number]).open("rb") as file:
            return [one for one in fastavro.reader(file) if isinstance(one, dict)]

    def metadata(self, change: Callable[[Record], Any]) -> None:
        change(self.table.metadata)
        self.table.publish()

    def edit_list(self, number: int, change: Callable[[list[Record]], Any]) -> None:
        rewrite(self.folder / self.lists[number], change)

    def edit_lists(self, change: Callable[[Record], Any]) -> None:
        """Edit every record of every list."""
        for number in range(len(self.lists)):
            self.edit_list(number, lambda records: [change(record) for record in records])

    def manifest(
        self, path: str, change: Callable[[list[Record]], Any], header: Callable[[Record], Any] = lambda _: None
    ) -> None:
        """Edit a manifest, and state its new length in every list."""
        rewrite(self.folder / path, change, header)
        self.settle(path)

    def settle(self, path: str) -> None:
        size = (self.folder / path).stat().st_size
        self.edit_lists(lambda one: one.update(manifest_length=size) if one["manifest_path"].endswith(path) else None)

    def file(self, manifest: str, number: int = 0, **changes: Any) -> None:
        """Edit what a manifest says of one file."""
        self.manifest(manifest, lambda records: records[number]["data_file"].update(changes))

    def resize(self, manifest: str, entry: Record, number: int = 0) -> None:
        """State the size that a file has now."""
        self.file(manifest, number, file_size_in_bytes=self.table.at(entry).stat().st_size)


@pytest.fixture
def whole(tmp_path: Path) -> Whole:
    made = Whole(tmp_path / "table")
    assert findings(made.folder) == set()
    return made


@pytest.fixture
def with_vector(tmp_path: Path) -> Whole:
    made = Whole(tmp_path / "table", 3)
    assert findings(made.folder) == set()
    return made


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def cut(path: Path, count: int = 1) -> None:
    path.write_bytes(path.read_bytes()[:-count])


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


# The metadata file, and what leads to it


def _set(**values: Any) -> Callable[[Record], Any]:
    return lambda metadata: metadata.update(values)


METADATA: dict[str, Callable[[Record], Any]] = {
    "the current snapshot is an older one": lambda m: m.update({"current-snapshot-id": m["snapshots"][0]["snapshot-id"]}),
    "the current snapshot is none": _set(**{"current-snapshot-id": 5}),
    "main is at an older snapshot": lambda m: m["refs"]["main"].update({"snapshot-id": m["snapshots"][0]["snapshot-id"]}),
    "main and the current snapshot are older": lambda m: [
        m.update({"current-snapshot-id": m["snapshots"][0]["snapshot-id"]}),
        m["refs"]["main"].update({"snapshot-id": m["snapshots"][0]["snapshot-id"]}),
    ],
    "a tag is at no snapshot": lambda m: m["refs"].update({"gone": {"snapshot-id": 5, "type": "tag"}}),
    "a reference is neither branch nor tag": lambda m: m["refs"]["main"].update(type="twig"),
    "the sequence number of a snapshot is beyond the last": _set(**{"last-sequence-number": 1}),
    "a snapshot is no newer than its parent": lambda m: m["snapshots"][1].update({"sequence-number": 3}),
    "a snapshot is there twice": lambda m: m["snapshots"].append(m["snapshots"][0]),
    "a snapshot has a schema that is not there": lambda m: m["snapshots"][0].update({"schema-id": 7}),
    "a snapshot is of the future": lambda m: m["snapshots"][0].update({"timestamp-ms": m["last-updated-ms"] * 2}),
    "the snapshot log goes back in time": lambda m: m["snapshot-log"][0].update({"timestamp-ms": m["last-updated-ms"] * 2}),
    "the current schema is not there": _set(**{"current-schema-id": 7}),
    "a schema has two fields of one id": lambda m: m["schemas"][0]["fields"].append(field(1, "again", "long")),
    "a field is beyond the last": _set(**{"last-column-id": 1}),
    "the default partition spec is not there": _set(**{"default-spec-id": 7}),
    "a partition field is beyond the last": _set(**{"last-partition-id": 999}),
    "the default partition spec is of no column": lambda m: (
        m["partition-specs"].append(
            {"spec-id": 1, "fields": [{"name": "q", "transform": "identity", "source-id": 9, "field-id": 1001}]}
        )
        or m.update({"default-spec-id": 1})
    ),
    "the default sort order is not there": _set(**{"default-sort-order-id": 7}),
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
        rewrite(whole.folder / whole.lists[number], lambda _: None, _set(**{"snapshot-id": ids[number]}))
    assert findings(whole.folder) == set()
    shutil.copy(whole.folder / whole.lists[1], whole.folder / whole.lists[2])
    assert ("header", whole.lists[2]) in findings(whole.folder)


@pytest.mark.parametrize(("damage", "kind"), [(lambda path: path.unlink(), "missing"), (cut, "unreadable")], ids=["gone", "cut"])
def test_a_manifest_list_that_is_gone_or_cut_is_named(damage: Callable[[Path], Any], kind: str, whole: Whole) -> None:
    """Trap 10: a read error is never taken for an empty list."""
    damage(whole.folder / whole.lists[0])
    assert findings(whole.folder) == {(kind, whole.lists[0])}


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
    "another spec's id": _set(**{"partition-spec-id": "1"}),
    "another partition spec": _set(**{"partition-spec": json.dumps([SPEC[0] | {"transform": "bucket[4]"}])}),
    "no JSON": _set(schema="{"),
    "another content": _set(content="deletes"),
    "a newer format": _set(**{"format-version": "3"}),
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


# Delete files


def test_a_position_beyond_the_end_of_its_data_file_is_found(whole: Whole) -> None:
    rewritten(whole, [(whole.a, 3), (whole.a, 10)])
    assert findings(whole.folder) == {("delete", whole.path(whole.positions))}


def test_a_data_file_that_is_spelled_otherwise_than_in_its_manifest_is_found(whole: Whole) -> None:
    """Readers match by text: the deleted rows come back."""
    rewritten(whole, [(whole.a["file_path"].replace("s3:", "s3a:"), 3), (whole.a["file_path"].replace("s3:", "s3a:"), 5)])
    assert findings(whole.folder) == {("delete", whole.path(whole.positions))}


def test_deletes_of_a_file_that_is_gone_with_its_history_are_no_finding(whole: Whole) -> None:
    """A delete may outlive its data file; the snapshot that wrote it is forgotten here."""
    rewritten(whole, [(f"{STATED}/data/compacted.parquet", 3), (f"{STATED}/data/compacted.parquet", 5)])
    assert findings(whole.folder) == {("delete", whole.path(whole.positions))}
    whole.metadata(lambda m: m.update(snapshots=m["snapshots"][2:]))
    assert findings(whole.folder) == set()


def test_deletes_that_still_name_a_file_of_the_source_are_found(whole: Whole) -> None:
    """Trap 4: a position-delete file that was not rewritten."""
    rewritten(whole, [("s3://source/table/data/a.parquet", 3), ("s3://source/table/data/a.parquet", 5)])
    assert findings(whole.folder) == {("external", "s3://source/table/data/a.parquet")}


def rewritten(whole: Whole, positions: list[tuple[Any, int]]) -> None:
    """Write the position deletes anew."""
    made = whole.table.positions(positions)
    shutil.move(whole.table.at(made), whole.table.at(whole.positions))
    whole.resize(whole.deletes, whole.positions)


def test_position_deletes_that_are_not_sorted_are_found(whole: Whole) -> None:
    """Trap 4."""
    path = whole.table.at(whole.positions)
    table = pq.ParquetFile(path).read()
    pq.write_table(table.take([1, 0]), path)
    whole.resize(whole.deletes, whole.positions)
    assert findings(whole.folder) == {("delete", whole.path(whole.positions))}


def test_bounds_of_paths_that_do_not_hold_the_content_are_found(whole: Whole) -> None:
    """Trap 4: the delete index prunes the file, and deleted rows come back."""
    bound = [{"key": 2147483546, "value": f"{STATED}/data/00002".encode()}]
    whole.file(whole.deletes, lower_bounds=bound)
    assert findings(whole.folder) == {("bounds", whole.path(whole.positions))}


def test_positions_that_are_not_those_that_the_manifest_bounds_are_found(whole: Whole) -> None:
    """Trap 7 of verification: a flipped bit in a delete file that leaves it readable."""
    stated: Record = {
        key: [{"key": 2147483545, "value": pos.to_bytes(8, "little")}] for key, pos in (("lower_bounds", 3), ("upper_bounds", 5))
    }
    whole.file(whole.deletes, **stated)
    assert findings(whole.folder) == set()
    rewritten(whole, [(whole.a, 3), (whole.a, 7)])
    assert findings(whole.folder) == {("stats", whole.path(whole.positions))}


def test_a_referenced_data_file_that_is_another_is_found(whole: Whole) -> None:
    """Trap 5."""
    whole.file(whole.deletes, referenced_data_file=whole.b["file_path"])
    assert findings(whole.folder) == {("delete", whole.path(whole.positions))}


@pytest.mark.parametrize("file_format", ["orc", "avro"])
def test_positions_are_looked_at_in_every_format(file_format: str, tmp_path: Path) -> None:
    table = HandmadeTable(tmp_path / "table", FIELDS)
    data = table.data(rows(1))
    right, wrong = (table.positions([(data, 3), (data, last)], file_format=file_format) for last in (9, 10))
    table.commit(data, right)
    assert findings(table.folder) == set()
    table.commit(wrong)
    assert findings(table.folder) == {("delete", wrong["file_path"].removeprefix(f"{STATED}/"))}


@pytest.mark.parametrize("which", ["positions", "equal"])
@pytest.mark.parametrize(("damage", "kind"), [(lambda path: path.unlink(), "missing"), (cut, "size")], ids=["gone", "cut"])
def test_a_delete_file_that_is_gone_or_cut_is_named(damage: Callable[[Path], Any], kind: str, which: str, whole: Whole) -> None:
    entry = getattr(whole, which)
    damage(whole.table.at(entry))
    assert findings(whole.folder) == {(kind, whole.path(entry))}


def test_equality_deletes_without_their_column_are_named(whole: Whole) -> None:
    whole.file(whole.deletes, 1, equality_ids=[1, 2])
    assert findings(whole.folder) == {("schema", whole.path(whole.equal))}


# Deletion vectors


def test_a_vector_with_a_flipped_bit_is_named(with_vector: Whole) -> None:
    """Trap 7 of verification."""
    flip(with_vector.table.at(with_vector.vector), 30)
    assert findings(with_vector.folder) == {("vector", with_vector.path(with_vector.vector))}


VECTORS: dict[str, Record] = {
    "a count": {"record_count": 3},
    "an offset": {"content_offset": 11},
    "a length": {"content_size_in_bytes": 20},
}


@pytest.mark.parametrize("damage", VECTORS)
def test_a_vector_that_is_not_where_or_what_its_manifest_says_is_named(damage: str, with_vector: Whole) -> None:
    with_vector.file(with_vector.deletes, **VECTORS[damage])
    assert ("vector", with_vector.path(with_vector.vector)) in findings(with_vector.folder)


def test_a_vector_beyond_the_end_of_its_file_is_named(with_vector: Whole) -> None:
    with_vector.file(with_vector.deletes, content_size_in_bytes=1_000_000)
    assert ("vector", with_vector.deletes) in findings(with_vector.folder)


def test_a_vector_for_another_data_file_is_named(with_vector: Whole) -> None:
    with_vector.file(with_vector.deletes, referenced_data_file=with_vector.b["file_path"])
    assert findings(with_vector.folder) == {("vector", with_vector.path(with_vector.vector))}


def test_a_vector_that_deletes_rows_that_are_not_there_is_named(with_vector: Whole) -> None:
    made = with_vector.table.vector(with_vector.a, [3, 10])
    shutil.move(with_vector.table.at(made), with_vector.table.at(with_vector.vector))
    with_vector.file(with_vector.deletes, **{key: made[key] for key in ("file_size_in_bytes", "content_size_in_bytes")})
    assert findings(with_vector.folder) == {("vector", with_vector.path(with_vector.vector))}


def test_a_second_vector_for_one_data_file_is_found(with_vector: Whole) -> None:
    with_vector.table.commit(with_vector.table.vector(with_vector.a, [7], partition=("a",)))
    assert {kind for kind, _ in findings(with_vector.folder)} == {"duplicate"}


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda path: path.unlink(), "missing"),
        (cut, "size"),
        (lambda path: flip(path, -1), "unreadable"),
        (lambda path: flip(path, -12), "unreadable"),
        (lambda path: flip(path, 0), "unreadable"),
    ],
    ids=["gone", "cut", "magic flipped", "footer size flipped", "first magic flipped"],
)
def test_a_puffin_file_that_is_gone_cut_or_flipped_is_named(damage: Callable[[Path], Any], kind: str, with_vector: Whole) -> None:
    damage(with_vector.table.at(with_vector.vector))
    assert findings(with_vector.folder) == {(kind, with_vector.path(with_vector.vector))}


# Format version 1, encryption


def test_manifests_that_the_metadata_of_version_1_names_itself_are_looked_at(tmp_path: Path) -> None:
    table = HandmadeTable(tmp_path / "table", FIELDS, version=1)
    data = table.data(rows(1))
    table.commit(data)
    manifest = table.manifests[0]["manifest_path"].removeprefix(f"{STATED}/")
    raw = table.metadata["snapshots"][0]
    del raw["manifest-list"]
    raw["manifests"] = [f"{STATED}/{manifest}"]
    rewrite(table.folder / manifest, lambda _: None, _set(**{"format-version": "1"}))
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
