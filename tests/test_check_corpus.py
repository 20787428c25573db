"""``lake check`` raises no false alarm: tables that other engines wrote are whole, and so are the replicas of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lakehouse
from lakehouse.errors import NotFound
from tests.corpus.conftest import CORPUS, names

HINT = "_delta_log/_last_checkpoint"
INCONSISTENT = {
    "golden-corrupted-last-checkpoint-kernel": ({"hint"}, "its _last_checkpoint is empty on purpose"),
    "krs-compacted-log-files-table__compacted-log-files-table": (
        {"compacted"}, "its compacted logs do not say what its commits say",
    ),
    "krs-crc-full": ({"checksum"}, "its checksum file counts ten files, its only commit adds none"),
    "krs-v2-classic-checkpoint-parquet__v2-classic-checkpoint-parquet": (
        {"hint"}, "its checkpoint was renamed after its _last_checkpoint had named it",
    ),
    "rs-table_failed_last_checkpoint_update": ({"hint"}, "its _last_checkpoint has the size of checkpoint 3 and the number of 1"),
}  # fmt: skip
"""Delta tables that readers can read, and that contradict themselves as they are shipped: kinds found, and why."""

DAMAGED_PAGES = {
    "parquet-testing-bad_data/ARROW-GH-41317.parquet",
    "parquet-testing-bad_data/ARROW-GH-47662.parquet",
    "parquet-testing-bad_data/ARROW-RS-GH-6229-LEVELS.parquet",
    "parquet-testing-data/rle-dict-uncompressed-corrupt-checksum.parquet",
}
"""Parquet files with pages that are damaged on purpose, below footers that are right."""

STATED = "/warehouse/wild"


@pytest.fixture(scope="session")
def corpus() -> Path:
    if not CORPUS.is_dir():
        pytest.skip("the corpus of real tables is not here (set LAKE_CORPUS to its folder)")
    return CORPUS


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("name", names("expected/delta"))
def test_a_delta_table_of_another_engine_is_whole_when_it_can_be_replicated(name: str, deep: bool, corpus: Path) -> None:
    expected = json.loads((corpus / "expected" / "delta" / f"{name}.json").read_text())
    report = lakehouse.check(str(corpus / "delta" / name), format="delta", deep=deep)
    kinds, _why = INCONSISTENT.get(name, (set[str](), ""))
    if expected["must"] == "replicate" and expected.get("also_ok") != "refuse":
        assert {finding.kind for finding in report.findings} == kinds, report.findings
    elif expected["must"] == "refuse" and "missing at the origin" in expected["why"]:
        assert {finding.kind for finding in report.findings} & {"missing", "external", "log"}, report.findings
    elif expected["must"] == "refuse":
        assert not report.ok


@pytest.mark.parametrize("name", [name for name in names("wild/_expected") if not name.startswith("i_")])
def test_a_delta_table_by_spark_is_whole(name: str, corpus: Path) -> None:
    maps = {f"{STATED}/d_clone_base": str(corpus / "wild" / "d_clone_base")} if name == "d_clone" else None
    report = lakehouse.check(str(corpus / "wild" / name), deep=True, maps=maps)
    assert report.findings == []


def test_a_shallow_clone_points_outside_where_nothing_says_where_its_files_lie(corpus: Path) -> None:
    if not (corpus / "wild" / "d_clone").is_dir():
        pytest.skip("the corpus has no shallow clone")
    report = lakehouse.check(str(corpus / "wild" / "d_clone"))
    assert {finding.kind for finding in report.findings} == {"external"}


@pytest.mark.parametrize("name", names("expected/delta"))
def test_a_replica_of_a_whole_delta_table_is_whole_without_its_source(name: str, corpus: Path, tmp_path: Path) -> None:
    expected = json.loads((corpus / "expected" / "delta" / f"{name}.json").read_text())
    if expected["must"] != "replicate" or expected.get("also_ok") == "refuse":
        pytest.skip("is refused by a sync: it is not whole")
    lakehouse.sync(str(corpus / "delta" / name), str(tmp_path / "replica"), format="delta")
    report = lakehouse.check(str(tmp_path / "replica"))
    assert {finding.kind for finding in report.findings} <= INCONSISTENT.get(name, (set[str](), ""))[0], report.findings


@pytest.mark.parametrize("name", [name for name in names("wild/_expected") if not name.startswith("i_")])
def test_a_replica_of_a_table_by_spark_is_whole_without_its_source(name: str, corpus: Path, tmp_path: Path) -> None:
    maps = {f"{STATED}/d_clone_base": str(corpus / "wild" / "d_clone_base")} if name == "d_clone" else None
    lakehouse.sync(str(corpus / "wild" / name), str(tmp_path / "replica"), maps=maps)
    assert lakehouse.check(str(tmp_path / "replica"), deep=True).findings == []


@pytest.mark.parametrize("name", names("expected/parquet"))
def test_parquet_files_of_other_writers_open_and_only_damaged_pages_are_found(name: str, corpus: Path) -> None:
    try:
        report = lakehouse.check(str(corpus / "parquet" / name), format="parquet")
    except NotFound:
        assert not list((corpus / "parquet" / name).glob("**/*.parquet"))
        return
    assert report.findings == []
    deep = lakehouse.check(str(corpus / "parquet" / name), format="parquet", deep=True)
    wrong = {f"{name}/{finding.path}" for finding in deep.findings if finding.kind != "unchecked"}
    assert wrong == {path for path in DAMAGED_PAGES if path.startswith(f"{name}/")}
