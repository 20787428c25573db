"""How much of a table's history is carried, and what the user is told of it (``--history``)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

import lakehouse
from lakehouse.connect import open_store
from lakehouse.errors import Config
from lakehouse.writing import iceberg, parquet
from tests.formats.replicas import append as add_rows
from tests.formats.replicas import data_file, optimize_and_vacuum
from tests.sync.places import ids


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Versions 0 to 3 replace each other's rows; 4 adds to 3's."""
    folder = tmp_path / "table"
    for number in range(4):
        add_rows(folder, [number], mode="overwrite")
    add_rows(folder, [40])
    return folder


def seen(folder: Path, version: int) -> list[int] | None:
    try:
        return ids(folder, version)
    except (DeltaError, OSError, pa.ArrowException):
        return None


@pytest.mark.parametrize(
    ("history", "readable", "files"),
    [("all", [0, 1, 2, 3, 4], 5), ("none", [3, 4], 2), ("since:2", [2, 3, 4], 3), ("since:0", [0, 1, 2, 3, 4], 5)],
)
def test_versions_that_were_asked_for_can_be_read_and_no_file_of_others_is_carried(
    history: str, readable: list[int], files: int, table: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    result = lakehouse.sync(str(table), str(target), history=history)
    assert [version for version in range(5) if seen(target, version) is not None] == readable
    assert len(list(target.glob("*.parquet"))) == files
    assert len(list(target.glob("_delta_log/*.json"))) == 5, "the log is carried in any case"
    assert bool(result.findings) == (files < 5)
    lakehouse.verify(str(target), against=str(table)).raise_for_findings()
    assert lakehouse.sync(str(table), str(target), history=history).unchanged


def test_what_was_left_out_and_from_where_time_travel_works_is_told_and_kept_in_the_receipt(table: Path, tmp_path: Path) -> None:
    result = lakehouse.sync(str(table), str(tmp_path / "target"), history="since:2")
    texts = [finding.message for finding in result.findings if finding.kind == "history"]
    assert texts[0].startswith("2 file(s), ")
    assert "--history since:2" in texts[0]
    assert texts[1].startswith("time travel works from version 2 on")
    assert lakehouse.sync(str(table), str(tmp_path / "target"), history="since:2").findings == result.findings


def test_the_plan_shows_what_the_history_costs_before_anything_is_copied(table: Path, tmp_path: Path) -> None:
    whole = lakehouse.plan(str(table), str(tmp_path / "target"))
    none = lakehouse.plan(str(table), str(tmp_path / "target"), history="none")
    assert (whole.copy.files, whole.history.files) == (5, 3)
    assert (none.copy.files, none.history.files) == (2, 0)
    assert whole.copy.bytes - whole.history.bytes == none.copy.bytes
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("history", ["some", "since", "since:", "since:x", "since:-1", "since:9", "SINCE:1", "since:²"])
def test_what_history_cannot_mean_is_refused(history: str, table: Path, tmp_path: Path) -> None:
    with pytest.raises(Config, match="--history"):
        lakehouse.sync(str(table), str(tmp_path / "target"), history=history)
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("format", ["iceberg", "parquet", "files"])
@pytest.mark.parametrize("history", ["none", "since:1", "latest"])
def test_history_is_refused_where_it_means_nothing(format: str, history: str, tmp_path: Path) -> None:
    place = str(tmp_path / "source")
    writing: Any = iceberg if format == "iceberg" else parquet
    store = open_store(place)
    writing.create(iceberg.ByPath(store) if format == "iceberg" else store, pa.schema([("id", pa.int64())]))
    for asked in (lakehouse.sync, lakehouse.plan):
        with pytest.raises(Config, match=f"--history {history} is for Delta tables"):
            asked(place, str(tmp_path / "target"), format=format, history=history)
    assert not (tmp_path / "target").exists()


def test_an_update_without_history_jumps_over_versions_that_it_does_not_carry(table: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    lakehouse.sync(str(table), str(target), history="none")
    for number in (50, 60, 70):
        add_rows(table, [number], mode="overwrite")
    lakehouse.sync(str(table), str(target), history="none")
    assert ids(target) == [70]
    assert seen(target, 6) is None
    assert seen(target, 4) == [3, 40], "what the replica had it keeps"


def test_a_file_that_is_live_again_is_carried_whatever_was_left_out(table: Path, tmp_path: Path) -> None:
    DeltaTable(str(table)).restore(1)
    lakehouse.sync(str(table), str(tmp_path / "target"), history="none")
    assert ids(tmp_path / "target") == [1]
    lakehouse.verify(str(tmp_path / "target")).raise_for_findings()


def test_change_files_of_versions_that_are_not_wanted_are_left_out(tmp_path: Path) -> None:
    from lakehouse.locations import Locations
    from lakehouse.table import Terms
    from tests.formats.replicas import DELTA, add, commit, local

    for number in range(3):
        commit(tmp_path, number, add(f"{number}"), {"cdc": {"path": f"_change_data/{number}", "partitionValues": {}, "size": 1}})
        data_file(tmp_path, f"{number}")
        data_file(tmp_path, f"_change_data/{number}")
    store = local(tmp_path)

    def changes(history: str) -> list[str]:
        version = DELTA.pin(store, None, replace(Terms(Locations(store.url)), history=history))
        return sorted(file.path for file in DELTA.files(store, version) if "_change" in file.path)

    assert changes("all") == [f"_change_data/{number}" for number in range(3)]
    assert changes("since:1") == ["_change_data/1", "_change_data/2"]
    assert changes("none") == []


def test_vacuumed_files_say_from_where_time_travel_works(table: Path, tmp_path: Path) -> None:
    optimize_and_vacuum(table)
    result = lakehouse.sync(str(table), str(tmp_path / "target"))
    texts = [finding.message for finding in result.findings]
    assert any(text.startswith("time travel works from version 5 on") for text in texts), texts
    assert seen(tmp_path / "target", 5) == [3, 40]


def test_history_that_was_left_out_is_fetched_by_checksum(table: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    lakehouse.sync(str(table), str(target), history="none")
    assert seen(target, 0) is None
    lakehouse.sync(str(table), str(target), history="all", checksum=True)
    assert [seen(target, version) for version in range(5)] == [[0], [1], [2], [3], [3, 40]]
    lakehouse.verify(str(target)).raise_for_findings()
