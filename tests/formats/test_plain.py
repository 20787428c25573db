"""Plain Parquet and plain files: the listing is the table (traps.md: Plain Parquet)."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.errors import Config, NotFound, Transfer, Unsupported
from lakehouse.formats import FORMATS, detect, find
from lakehouse.formats.files import FilesFormat
from lakehouse.formats.parquet import ParquetFormat
from tests.formats.replicas import append, commit, data_file, local

PARQUET, FILES = ParquetFormat(), FilesFormat()


def parquet_file(folder: Path, path: str, rows: int = 2) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("name", pa.string())])
    pq.write_table(pa.table({"id": list(range(rows)), "name": ["x"] * rows}, schema=schema), folder / path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    parquet_file(tmp_path, "day=01/p=__HIVE_DEFAULT_PARTITION__/a.parquet")
    parquet_file(tmp_path, "day=02/p=b c/b.parquet", rows=0)
    data_file(tmp_path, "day=02/.b.parquet.crc")
    data_file(tmp_path, "empty.parquet", b"")
    data_file(tmp_path, "_metadata")
    data_file(tmp_path, "_common_metadata")
    data_file(tmp_path, "_SUCCESS", b"")
    data_file(tmp_path, "_lake/latest.json")
    return tmp_path


def test_trap_success_and_metadata_go_last_and_lake_is_never_carried(folder: Path) -> None:
    store = local(folder)
    version = PARQUET.pin(store)
    files = list(PARQUET.files(store, version))
    assert sorted(file.path for file in files if not file.last) == [
        "day=01/p=__HIVE_DEFAULT_PARTITION__/a.parquet", "day=02/.b.parquet.crc", "day=02/p=b c/b.parquet", "empty.parquet",
    ]  # fmt: skip
    assert [file.path for file in files if file.last] == ["_metadata", "_common_metadata", "_SUCCESS"]
    staged = PARQUET.stage(store, local(folder / "elsewhere"), version, None)
    assert (staged.publications, staged.root, staged.written, version.root) == ((), "", (), "")


def test_describe_names_columns_and_hive_partitions(folder: Path) -> None:
    store = local(folder)
    found = PARQUET.describe(store, PARQUET.pin(store))
    assert [(c.name, c.type, c.nullable) for c in found.columns] == [("id", "int64", False), ("name", "string", True)]
    assert (found.partition_columns, found.files) == (("day", "p"), 3)
    assert len(list(PARQUET.history(store, PARQUET.pin(store)))) == 1


def test_an_unreadable_footer_is_no_description(tmp_path: Path) -> None:
    data_file(tmp_path, "a.parquet", b"not parquet")
    with pytest.raises(NotFound, match="no readable Parquet"):
        PARQUET.describe(local(tmp_path), PARQUET.pin(local(tmp_path)))


def test_trap_a_source_that_changes_during_the_copy_is_noticed(folder: Path) -> None:
    store = local(folder)
    version = PARQUET.pin(store)
    PARQUET.recheck(store, version)
    data_file(folder, "_lake/more.json")
    PARQUET.recheck(store, version)
    assert PARQUET.pin(store, version.id).id == version.id
    path = folder / "day=02/.b.parquet.crc"
    path.write_bytes(b"y")
    os.utime(path, ns=(1, 1))
    with pytest.raises(Transfer, match="changed during the copy"):
        PARQUET.recheck(store, version)
    with pytest.raises(NotFound, match="only version"):
        PARQUET.pin(store, version.id)


@pytest.mark.parametrize("name", ["_temporary/0/task/part.parquet", "x/_temporary/p.parquet", ".spark-staging-1/p.parquet"])
def test_trap_files_of_a_failed_job_are_refused(folder: Path, name: str) -> None:
    data_file(folder, name)
    with pytest.raises(Unsupported, match="job"):
        PARQUET.pin(local(folder))


@pytest.mark.parametrize("name", ["sub/_delta_log/0.json", "sub/metadata/v1.metadata.json", "metadata/00-a.metadata.json.gz"])
def test_trap_a_warehouse_is_not_one_table(folder: Path, name: str) -> None:
    data_file(folder, name)
    for form in (PARQUET, FILES):
        with pytest.raises(Config, match="each table on its own"):
            form.pin(local(folder))


def test_files_carries_anything_but_is_never_detected(tmp_path: Path) -> None:
    data_file(tmp_path, "metadata/notes.json")
    data_file(tmp_path, "a?b#c%20.txt", b"")
    store = local(tmp_path)
    assert {file.path for file in FILES.files(store, FILES.pin(store))} == {"metadata/notes.json", "a?b#c%20.txt"}
    with pytest.raises(NotFound, match="--format files"):
        detect(store)
    with pytest.raises(NotFound):
        FILES.pin(local(tmp_path / "nothing"))


def test_each_format_is_found_and_two_at_once_ask_for_a_name(tmp_path: Path) -> None:
    append(tmp_path / "delta", [1])
    data_file(tmp_path / "iceberg", "metadata/v1.metadata.json", b"{}")
    data_file(tmp_path / "plain", "x.parquet")
    for name in ("delta", "iceberg", "plain"):
        assert detect(local(tmp_path / name)).name == {"plain": "parquet"}.get(name, name)
    with pytest.raises(NotFound, match="no table metadata"):
        find("iceberg").pin(local(tmp_path / "iceberg"))
    commit(tmp_path / "iceberg", 0)
    with pytest.raises(Config, match="--format delta or --format iceberg"):
        detect(local(tmp_path / "iceberg"))
    assert detect(local(tmp_path / "iceberg"), "delta").pin(local(tmp_path / "iceberg")).id == "0"
    with pytest.raises(Config, match="no such format"):
        find("csv")
    assert [find(name).name for name in FORMATS] == ["delta", "iceberg", "parquet", "files"]


def test_a_thousand_hidden_files_before_the_first_parquet_file_do_not_hide_the_table(tmp_path: Path) -> None:
    for number in range(1001):
        data_file(tmp_path, f".part-{number}.crc")
    data_file(tmp_path, "x.parquet")
    assert PARQUET.detect(local(tmp_path))
