"""Shallow clones become tables of their own: nothing at the target points into the source (traps.md: Delta 1, 17)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import lakehouse
from lakehouse.config import Settings
from lakehouse.errors import NotFound, Unsupported
from tests.formats.spark_like import rows_of
from tests.sync.clones import base_table, drop_file, log_of, shallow_clone
from tests.sync.places import append, ids


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return base_table(tmp_path / "warehouse" / "base")


@pytest.fixture
def clone(base: Path) -> Path:
    return shallow_clone(base, base.parent / "clone")


def self_contained(folder: Path) -> bool:
    """Whether no object of the log names a place outside."""
    return not any(b"file:" in data and b'"add"' in data and b'"path":"file:' in data for data in log_of(folder).values())


def test_a_clone_whose_base_lies_beside_it_becomes_self_contained_without_a_map(base: Path, clone: Path, tmp_path: Path) -> None:
    expected = rows_of(base)
    target = tmp_path / "target"
    result = lakehouse.sync(str(clone), str(target))
    assert result.rewritten.files + result.copied.files > 8
    assert lakehouse.verify(str(target), against=str(clone)).source_checked
    assert lakehouse.sync(str(clone), str(target)).unchanged
    shutil.move(base.parent, tmp_path / "away")
    assert rows_of(target) == expected
    assert self_contained(target)
    lakehouse.verify(str(target)).raise_for_findings()
    assert lakehouse.describe(str(target)).table_id == "11111111-2222-3333-4444-555555555555"


def test_a_clone_whose_base_is_stated_elsewhere_needs_a_map_and_is_refused_by_name_without(base: Path, tmp_path: Path) -> None:
    clone = shallow_clone(base, base.parent / "clone", "s3://old-bucket/wh/base")
    target = tmp_path / "target"
    with pytest.raises(Unsupported, match=r"s3://old-bucket/wh/base/.*--map") as refused:
        lakehouse.sync(str(clone), str(target))
    assert "--allow-external" in str(refused.value)
    assert lakehouse.describe(str(clone)).files == lakehouse.describe(str(base)).files, "describing needs no file"
    assert not target.exists()
    maps = {"s3://old-bucket/wh/base": str(base)}
    lakehouse.sync(str(clone), str(target), maps=maps)
    assert rows_of(target) == rows_of(base)
    assert lakehouse.verify(str(target), against=str(clone), maps=maps).source_checked
    assert lakehouse.sync(str(clone), str(target), maps=maps).unchanged


def test_a_file_of_the_base_that_is_gone_is_named_and_nothing_is_published(base: Path, clone: Path, tmp_path: Path) -> None:
    victim = sorted(base.rglob("*.parquet"))[0]
    victim.unlink()
    with pytest.raises(NotFound, match=victim.name):
        lakehouse.sync(str(clone), str(tmp_path / "target"))
    assert not list((tmp_path / "target").glob("_delta_log/*0.json"))


def test_trap_a_remove_of_a_localised_file_that_comes_later_takes_its_rows_away(base: Path, clone: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    lakehouse.sync(str(clone), str(target))
    before = rows_of(target)
    drop_file(clone, 1)
    lakehouse.sync(str(clone), str(target))
    after = rows_of(target)
    assert len(after) < len(before)
    assert rows_of(target, 0) == before
    assert lakehouse.verify(str(target), against=str(clone)).source_checked
    removed = json.loads((target / "_delta_log" / f"{1:020d}.json").read_text().splitlines()[1])["remove"]["path"]
    assert removed in (target / "_delta_log" / f"{0:020d}.json").read_text()


def test_checkpoints_of_a_clone_come_with_each_increment_and_the_hint_names_the_rewritten_one(
    base: Path, clone: Path, tmp_path: Path
) -> None:
    target, expected = tmp_path / "target", rows_of(base)
    lakehouse.sync(str(clone), str(target))
    write_deltalake(str(clone), _more(900), mode="append", partition_by=["p"])
    DeltaTable(str(clone)).create_checkpoint()
    lakehouse.sync(str(clone), str(target))
    (target / "_delta_log" / f"{0:020d}.json").rename(tmp_path / "commit 0")
    assert ids(target) == [*expected, 900], "read from the checkpoint"
    hint = json.loads((target / "_delta_log" / "_last_checkpoint").read_text())
    size = (target / "_delta_log" / f"{1:020d}.checkpoint.parquet").stat().st_size
    assert hint.get("sizeInBytes", size) == size
    (tmp_path / "commit 0").rename(target / "_delta_log" / f"{0:020d}.json")
    write_deltalake(str(clone), _more(901), mode="append", partition_by=["p"])
    lakehouse.sync(str(clone), str(target))
    assert ids(target) == [*expected, 900, 901]
    lakehouse.verify(str(target), against=str(clone)).raise_for_findings()


def _more(number: int) -> pa.Table:
    return pa.table({"id": pa.array([number], pa.int64()), "p": ["p 0+ä"]})


def test_an_absolute_path_below_the_source_itself_stays_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    append(folder, 0)
    commit = folder / "_delta_log" / f"{0:020d}.json"
    commit.write_text(commit.read_text().replace('"path":"p=', f'"path":"file:{folder}/p='))
    lakehouse.sync(str(folder), str(tmp_path / "target"))
    assert ids(tmp_path / "target") == list(range(10))
    assert not (tmp_path / "target" / "ext").exists()
    lakehouse.verify(str(tmp_path / "target"), against=str(folder)).raise_for_findings()


def test_a_damaged_localised_commit_is_a_finding(clone: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    lakehouse.sync(str(clone), str(target))
    commit = target / "_delta_log" / f"{0:020d}.json"
    commit.write_text(commit.read_text().replace("ext/", "ext//", 1))
    assert [f.path for f in lakehouse.verify(str(target)).findings] == [f"_delta_log/{0:020d}.json"]


def test_a_clone_in_a_bucket_whose_base_lies_in_the_same_bucket_needs_no_map(
    base: Path, tmp_path: Path, s3_settings: Settings, s3_prefix: str
) -> None:
    lakehouse.sync(str(base), f"{s3_prefix}/base", settings=s3_settings)
    bucket = s3_settings.stores["s3"].url
    stated = f"{bucket}/{s3_prefix.removeprefix('s3:').strip('/')}/base"
    clone = shallow_clone(base, base.parent / "clone", stated.replace("s3://", "s3a://"))
    from lakehouse.connect import open_store

    place = f"{s3_prefix}/clone"
    store = open_store(place, s3_settings)
    for name, data in log_of(clone).items():
        store.put(f"_delta_log/{name}", data, size=len(data))
    lakehouse.sync(place, str(tmp_path / "target"), settings=s3_settings)
    assert rows_of(tmp_path / "target") == rows_of(base)
