"""``lake check`` of folders of Parquet files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lakehouse


def table(first: int, count: int = 50) -> pa.Table:
    return pa.table({"id": pa.array(range(first, first + count), pa.int64()), "text": [f"row {at}" for at in range(count)]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two partitions with a file each, with summaries as Spark and Dask write them."""
    written: list[pq.FileMetaData] = []
    for part in range(2):
        path = tmp_path / "data" / f"part={part}" / "0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table(part * 100), path, metadata_collector=written)
        written[-1].set_file_path(f"part={part}/0.parquet")
    pq.write_metadata(table(0).schema, tmp_path / "data" / "_common_metadata")
    pq.write_metadata(table(0).schema, tmp_path / "data" / "_metadata", metadata_collector=written)
    (tmp_path / "data" / "_SUCCESS").write_bytes(b"")
    (tmp_path / "data" / "notes.txt").write_bytes(b"not Parquet")
    return tmp_path / "data"


def found(folder: Path, *, deep: bool = False) -> list[tuple[str, str]]:
    return [(finding.kind, finding.path) for finding in lakehouse.check(str(folder), deep=deep).findings]


@pytest.mark.parametrize("deep", [False, True])
def test_a_whole_folder_has_no_findings(folder: Path, deep: bool) -> None:
    report = lakehouse.check(str(folder), deep=deep)
    assert (report.findings, report.objects, report.format) == ([], 3, "parquet")


def test_a_deleted_file_is_missed_where_a_summary_names_it(folder: Path) -> None:
    (folder / "part=1" / "0.parquet").unlink()
    assert found(folder) == [("missing", "part=1/0.parquet")]
    (folder / "_metadata").unlink()
    assert found(folder) == []


def test_a_file_that_the_summary_does_not_name_is_a_finding_of_the_summary(folder: Path) -> None:
    pq.write_table(table(7), folder / "part=0" / "1.parquet")
    assert found(folder) == [("summary", "_metadata")]


def test_a_file_with_another_number_of_rows_than_the_summary_says(folder: Path) -> None:
    pq.write_table(table(0, 10), folder / "part=0" / "0.parquet")
    assert found(folder) == [("rows", "part=0/0.parquet")]


@pytest.mark.parametrize("name", ["part=0/0.parquet", "_metadata", "_common_metadata"])
def test_a_cut_file_is_unreadable(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-9])
    assert found(folder) == [("unreadable", name)]


def test_an_empty_data_file_is_unreadable(folder: Path) -> None:
    (folder / "part=0" / "1.parquet").write_bytes(b"")
    (folder / "_metadata").unlink()
    assert found(folder) == [("unreadable", "part=0/1.parquet")]


def test_a_flipped_bit_in_a_page_is_found_by_deep(folder: Path) -> None:
    shutil.rmtree(folder / "part=1")
    (folder / "_metadata").unlink()
    path = folder / "part=0" / "0.parquet"
    pq.write_table(table(0), path, compression="none", use_dictionary=False, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert found(folder) == []
    assert found(folder, deep=True) == [("unreadable", "part=0/0.parquet")]


def test_files_with_different_columns_are_no_finding(folder: Path) -> None:
    """Traps, Plain Parquet: mixed schemas."""
    (folder / "_metadata").unlink()
    pq.write_table(pa.table({"id": ["text"], "other": [1]}), folder / "part=0" / "1.parquet")
    assert found(folder) == []


def test_hidden_files_are_not_looked_at(folder: Path) -> None:
    (folder / "_temporary.parquet").write_bytes(b"x")
    (folder / "part=0" / ".0.parquet.crc").write_bytes(b"x")
    assert found(folder) == []
