"""`lake check` of delete files and deletion vectors: one damage at a time, found, and the right object named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lakehouse.check import check
from lakehouse.config import Settings
from tests.formats.iceberg.handmade import STATED, HandmadeTable
from tests.formats.iceberg.whole_table import FIELDS, Record, Whole, cut, findings, flip, rows
from tests.formats.iceberg.whole_table import whole as whole  # a fixture
from tests.formats.iceberg.whole_table import with_vector as with_vector  # a fixture

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
    report = check(str(whole.folder), settings=Settings())
    assert [(one.kind, one.path) for one in report.findings] == [(kind, whole.path(entry))]
    assert whole.deletes in report.findings[0].message


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
