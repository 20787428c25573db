"""The audit finds nothing in a table held against its own copy, and finds every kind of damage that is planted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pyarrow.parquet as pq
import pytest

from tests.corpus.conftest import CORPUS
from tests.corpus.iceberg_readers import root_of
from tests.formats.iceberg.audit import Table, audit

STATED = "file:/warehouse/wild"
ELSEWHERE = "s3://the-source/table"
Records = list[dict[str, Any]]


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], tuple[Table, Table]]:
    """A table and its copy (the target), both stating one place."""

    def copy(name: str) -> tuple[Table, Table]:
        if not CORPUS.is_dir():
            pytest.skip("the corpus of real tables is not here (set LAKE_CORPUS to its folder)")
        tables = []
        for side in ("source", "target"):
            folder = tmp_path / side / name
            shutil.copytree(CORPUS / "wild" / name, folder, ignore=shutil.ignore_patterns(".*.crc"))
            for path in folder.rglob("*"):
                path.chmod(0o755 if path.is_dir() else 0o644)
            tables.append(Table(root_of(folder), {f"{STATED}/{name}": folder}))
        return tables[0], tables[1]

    return copy


def rewrite(path: Path, change: Callable[[Records], Any], header: Callable[[dict[str, Any]], Any] = lambda _: None) -> None:
    """Change the records, or the header's key-values, of an Avro file."""
    with path.open("rb") as file:
        reader = fastavro.reader(file)
        metadata, records = dict(reader.metadata), [dict(one) for one in reader if isinstance(one, dict)]
    change(records)
    header(metadata)
    schema, codec = json.loads(str(metadata.pop("avro.schema"))), str(metadata.pop("avro.codec", "null"))
    with path.open("wb") as file:
        fastavro.writer(file, schema, records, codec=codec, metadata={name: str(value) for name, value in metadata.items()})


def edit(table: Table, change: Callable[[dict[str, Any]], Any]) -> None:
    metadata = json.loads(table.root.read_text())
    change(metadata)
    table.root.write_text(json.dumps(metadata))


def newest_list(table: Table) -> Path:
    stated = json.loads(table.root.read_text())["snapshots"][-1]["manifest-list"]
    found = table.file(stated)
    assert found is not None
    return found


def manifest(table: Table, content: int = 0) -> Path:
    """A manifest of the newest snapshot: of data (0) or of deletes (1), that with the most entries."""
    with newest_list(table).open("rb") as file:
        listed = [one for one in fastavro.reader(file) if isinstance(one, dict) and one["content"] == content]
    most = max(listed, key=lambda one: one["added_files_count"] + one["existing_files_count"])
    found = table.file(most["manifest_path"])
    assert found is not None
    return found


def first_file(table: Table, content: int = 0) -> Path:
    with manifest(table, content).open("rb") as file:
        stated = [one["data_file"]["file_path"] for one in fastavro.reader(file) if isinstance(one, dict)]
    found = table.file(stated[0])
    assert found is not None
    return found


def flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def delete_rows(table: Table, change: Callable[[Any], Any]) -> None:
    path = first_file(table, 1)
    rows = pq.ParquetFile(path).read()
    pq.write_table(change(rows), path)


def entries(table: Table, change: Callable[[Records], Any], content: int = 0) -> None:
    rewrite(manifest(table, content), change)


def set_file(table: Table, content: int = 0, **values: Any) -> None:
    entries(table, lambda records: records[0]["data_file"].update(values), content)


def bounds(table: Table, value: bytes) -> None:
    def change(records: Records) -> None:
        for name in ("lower_bounds", "upper_bounds"):
            for item in records[0]["data_file"][name]:
                if item["key"] == 2147483546:
                    item["value"] = value

    entries(table, change, 1)


def elsewhere(rows: Any) -> Any:
    texts = [f"{ELSEWHERE}/x.parquet"] * rows.num_rows
    return rows.set_column(0, rows.schema.field(0), [texts])


def swap_footer(table: Table, old: str, new: str) -> None:
    path = first_file(table, 1)
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))


Damage = Callable[[Table], Any]
DAMAGES: dict[str, tuple[str, Damage, str]] = {
    "a place of the source in a property": (
        "i_cow",
        lambda t: edit(t, lambda m: m["properties"].update(x=ELSEWHERE)),
        "still names",
    ),
    "a place of the source in a manifest": ("i_cow", lambda t: set_file(t, file_path=f"{ELSEWHERE}/f.parquet"), "still names"),
    "a place of the source in a manifest's header": (
        "i_cow",
        lambda t: rewrite(manifest(t), lambda _: None, lambda h: h.update(x=ELSEWHERE)),
        "still names",
    ),
    "an unknown key of the metadata is lost": (
        "i_cow",
        lambda t: edit(t, lambda m: m.pop("last-column-id")),
        "metadata: last-column-id",
    ),
    "a branch was moved": (
        "i_refs",
        lambda t: edit(t, lambda m: m["refs"]["audit"].update({"snapshot-id": m["snapshots"][0]["snapshot-id"]})),
        "metadata: refs",
    ),
    "a snapshot's summary changed": (
        "i_cow",
        lambda t: edit(t, lambda m: m["snapshots"][0]["summary"].update(x="1")),
        "snapshots differ",
    ),
    "write.data.path leads outside": (
        "i_cow",
        lambda t: edit(t, lambda m: m["properties"].update({"write.data.path": "s3://other/x"})),
        "leads outside the target",
    ),
    "the hint names another version": (
        "i_cow",
        lambda t: (t.root.parent / "version-hint.text").write_text("1"),
        "version-hint.text says",
    ),
    "a metadata-log entry has no file": (
        "i_cow",
        lambda t: edit(t, lambda m: m["metadata-log"][0].update({"metadata-file": m["location"] + "/metadata/none.json"})),
        "does not exist",
    ),
    "manifest_length is wrong (trap 2)": (
        "i_cow",
        lambda t: rewrite(newest_list(t), lambda r: r[0].update(manifest_length=7)),
        "manifest_length",
    ),
    "the manifests are in another order": (
        "i_cow",
        lambda t: rewrite(newest_list(t), lambda r: r.reverse()),
        "an unmapped field",
    ),
    "a manifest is left out": ("i_cow", lambda t: rewrite(newest_list(t), lambda r: r.pop()), "records"),
    "a manifest is missing": ("i_cow", lambda t: manifest(t).unlink(), "does not exist"),
    "the header's key-values are lost (trap 6)": (
        "i_cow",
        lambda t: rewrite(manifest(t), lambda _: None, lambda h: h.pop("partition-spec-id")),
        "key-values differ",
    ),
    "inherited nulls are materialised (trap 6)": (
        "i_cow",
        lambda t: entries(t, lambda r: r[0].update(sequence_number=77)),
        "an unmapped field",
    ),
    "entries are in another order (trap 6)": ("i_wild", lambda t: entries(t, lambda r: r.reverse(), 1), "an unmapped field"),
    "a live data file is missing (trap 3)": ("i_cow", lambda t: first_file(t).unlink(), "does not exist"),
    "one bit of a data file is flipped": ("i_cow", lambda t: flip(first_file(t)), "byte for byte"),
    "a data file's size is wrong": ("i_cow", lambda t: set_file(t, file_size_in_bytes=7), "file_size_in_bytes"),
    "a delete file's size is wrong (trap 2)": ("i_mor", lambda t: set_file(t, 1, file_size_in_bytes=7), "file_size_in_bytes"),
    "a delete file was not rewritten (trap 4)": ("i_mor", lambda t: delete_rows(t, elsewhere), "which is no data file"),
    "a delete file is not sorted (trap 4)": ("i_mor", lambda t: delete_rows(t, lambda rows: rows[::-1]), "not sorted"),
    "a delete file lost a row": ("i_mor", lambda t: delete_rows(t, lambda rows: rows[1:]), "deletes other rows"),
    "a delete file lost its key-values (trap 6)": (
        "i_mor",
        lambda t: delete_rows(t, lambda rows: rows.replace_schema_metadata(None)),
        "schema or key-values",
    ),
    "the bounds of file_path are below its content (trap 4)": ("i_mor", lambda t: bounds(t, b"a"), "the upper bound"),
    "the bounds of file_path are above its content (trap 4)": ("i_mor", lambda t: bounds(t, b"z"), "the lower bound"),
    "the bounds of a delete of one file lost their equality": ("i_mor_file", lambda t: bounds(t, b"file:/"), "has one value"),
    "referenced_data_file was not mapped (trap 5)": (
        "i_mor_file",
        lambda t: set_file(t, 1, referenced_data_file=f"{ELSEWHERE}/x.parquet"),
        "is no data file of the table",
    ),
    "a Puffin footer was not rewritten": ("i_v3", lambda t: swap_footer(t, "/warehouse/", "/elsewhere/"), "referenced-data-file"),
    "a Puffin footer lost a property": ("i_v3", lambda t: swap_footer(t, '"cardinality"', '"Xardinality"'), "the footer differs"),
    "a deletion vector is damaged": ("i_v3", lambda t: flip(first_file(t, 1), 12), "the blobs are not"),
    "content_offset points elsewhere": ("i_v3", lambda t: set_file(t, 1, content_offset=5), "no blob lies"),
    "a statistics file is damaged": (
        "i_stats",
        lambda t: flip(next((t.folder / "metadata").glob("*.stats"))),
        "byte for byte",
    ),
    "a partition statistics file is missing": (
        "i_stats",
        lambda t: next((t.folder / "metadata").glob("partition-stats*")).unlink(),
        "does not exist",
    ),
    "a checksum side file was copied": (
        "i_cow",
        lambda t: (t.root.parent / f".{t.root.name}.crc").write_bytes(b"x"),
        "checksum file",
    ),
    "two files went to one place (trap 12)": (
        "i_cow",
        lambda t: entries(t, lambda r: [one["data_file"].update(file_path=r[0]["data_file"]["file_path"]) for one in r]),
        "went to",
    ),
}


@pytest.mark.parametrize(
    "name", ["i_cow", "i_evolve", "i_expire", "i_mor_file", "i_orc", "i_avro", "i_refs", "i_stats", "i_up", "i_v1"]
)
def test_the_audit_finds_nothing_in_a_table_of_the_reference_engine(
    name: str, copied: Callable[[str], tuple[Table, Table]]
) -> None:
    source, target = copied(name)
    assert audit(target, source, forbidden=[ELSEWHERE]) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_audit_finds_each_kind_of_damage(damage: str, copied: Callable[[str], tuple[Table, Table]]) -> None:
    name, plant, expected = DAMAGES[damage]
    source, target = copied(name)
    plant(target)
    findings = audit(target, source, forbidden=[ELSEWHERE])
    assert any(expected in finding for finding in findings), findings
