"""Opening a source and a target together."""

from __future__ import annotations

from pathlib import Path

import pytest

import lakehouse
from lakehouse.errors import Config, Conflict, NotFound
from lakehouse.settings import Settings, StoreSettings
from tests.sync.places import append, contents


@pytest.mark.parametrize(("source", "target"), [("t", "t"), ("t", "t/replica"), ("t/deep", "t"), ("./t", "t/")])
def test_a_place_inside_the_other_is_refused(tmp_path: Path, source: str, target: str) -> None:
    with pytest.raises(Config, match="one lies in the other"):
        lakehouse.sync(f"{tmp_path}/{source}", f"{tmp_path}/{target}")


def test_a_name_that_only_begins_like_the_other_is_another_place(tmp_path: Path) -> None:
    """Trap Iceberg 1: a prefix counts on a path boundary only."""
    append(tmp_path / "data", 0)
    assert lakehouse.sync(str(tmp_path / "data"), str(tmp_path / "data-archive")).proof == "bytes"


def test_a_single_file_as_source_arrives_below_the_target(tmp_path: Path) -> None:
    """Trap Plain Parquet: a single file instead of a directory."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "model.onnx").write_bytes(b"weights")
    (tmp_path / "in" / "other").write_bytes(b"not asked for")
    result = lakehouse.sync(str(tmp_path / "in" / "model.onnx"), str(tmp_path / "out"), format="files")
    assert result.copied.files == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {"model.onnx": b"weights"}
    assert lakehouse.sync(str(tmp_path / "in" / "model.onnx"), str(tmp_path / "out"), format="files").unchanged


def test_a_replica_of_one_format_does_not_become_one_of_another(tmp_path: Path) -> None:
    append(tmp_path / "table", 0)
    lakehouse.sync(str(tmp_path / "table"), str(tmp_path / "replica"))
    with pytest.raises(Conflict, match="delta"):
        lakehouse.sync(str(tmp_path / "table"), str(tmp_path / "replica"), format="parquet")


def test_no_table_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no Delta, Iceberg or Parquet table"):
        lakehouse.sync(str(tmp_path / "nothing"), str(tmp_path / "replica"))
    assert not (tmp_path / "replica").exists()


def test_receipts_of_a_named_store_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x").write_bytes(b"1")
    named = StoreSettings("out", str(tmp_path / "out"), receipts=str(tmp_path / "proofs"))
    settings = Settings(stores={"out": named})
    lakehouse.sync(str(tmp_path / "in"), "out:deep/place", format="files", settings=settings)
    assert list((tmp_path / "proofs" / "deep" / "place").iterdir())
    assert not (tmp_path / "out" / "deep" / "_lake").exists()
    assert lakehouse.verify("out:deep/place", format="files", settings=settings).ok


def test_a_source_is_only_read(tmp_path: Path) -> None:
    """Invariant 3."""
    append(tmp_path / "table", 0, commits=2)
    from lakehouse.connect import open_store

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "table").rglob("*")}
    lakehouse.sync(str(tmp_path / "table"), str(tmp_path / "replica"))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "table").rglob("*")} == before
    assert contents(open_store(str(tmp_path / "table"))) == contents(open_store(str(tmp_path / "replica")))
