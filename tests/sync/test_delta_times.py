"""Version → time at the source: kept on local targets, told of others (delta.md, "Timestamps"; traps.md: Delta 3)."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

import lakehouse
from lakehouse.below import Below
from lakehouse.config import Settings
from lakehouse.errors import NotFound, Transfer
from lakehouse.local_store import LocalStore
from lakehouse.replica import Replica, open_replica
from lakehouse.store import ObjectInfo
from lakehouse.sync import Options, replicate
from lakehouse.testing.faulty_store import Faults, FaultyStore, InjectedFault
from lakehouse.url import parse
from tests.formats.replicas import DELTA, append, local, read
from tests.sync.clones import log_of
from tests.sync.places import Places

START = datetime(2024, 5, 1, 12, 0, 0, 123456, UTC)


def moment(version: int) -> datetime:
    return START + timedelta(days=version)


def set_times(table: Path, *versions: int) -> None:
    for version in versions:
        at = moment(version).timestamp()
        os.utime(table / "_delta_log" / f"{version:020d}.json", (at, at))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Four versions, a day apart."""
    for number in range(4):
        append(tmp_path / "table", [number])
    set_times(tmp_path / "table", *range(4))
    return tmp_path / "table"


def commit_info(store: Path, version: int) -> ObjectInfo:
    return local(store).head(f"_delta_log/{version:020d}.json")


def test_log_files_of_a_local_replica_have_the_times_of_the_source_and_engines_go_by_them(table: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    lakehouse.sync(str(table), str(target))
    append(table, [4])
    set_times(table, 4)
    lakehouse.sync(str(table), str(target))
    assert [commit_info(target, version).modified for version in range(5)] == [commit_info(table, n).modified for n in range(5)]
    opened = DeltaTable(str(target))
    opened.load_as_version(moment(2) + timedelta(hours=1))
    assert opened.version() == 2
    assert lakehouse.sync(str(table), str(target)).unchanged
    lakehouse.verify(str(target)).raise_for_findings()


def test_data_files_keep_the_time_of_the_copy_since_vacuum_reads_it(table: Path, tmp_path: Path) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    for file in table.glob("*.parquet"):
        os.utime(file, (0, 0))
    lakehouse.sync(str(table), str(tmp_path / "target"))
    for file in (tmp_path / "target").glob("*.parquet"):
        assert datetime.fromtimestamp(file.stat().st_mtime, UTC) > before


class NoTimes(LocalStore):
    """A target that dies as soon as a time is to be set."""

    def set_modified(self, path: str, moment: datetime) -> None:
        raise Transfer(f"{self.url}/{path}: killed")


def test_a_run_that_was_killed_before_it_set_times_is_completed_by_the_next(table: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    lakehouse.sync(str(table), str(target))
    append(table, [4])
    append(table, [5])
    set_times(table, 4, 5)
    dying = NoTimes(parse(str(target)))
    with pytest.raises(Transfer, match="killed"):
        replicate(Replica(local(table), dying, Below(dying, "_lake"), DELTA), Options())
    assert commit_info(target, 5).modified != commit_info(table, 5).modified
    lakehouse.sync(str(table), str(target))
    assert read(target) == (5, [0, 1, 2, 3, 4, 5])
    for version in (4, 5):
        assert commit_info(target, version).modified == commit_info(table, version).modified


def test_history_of_a_replica_on_an_object_store_shows_the_times_of_the_source(table: Path) -> None:
    target = f"{Places().root}/target"
    result = lakehouse.sync(str(table), target)
    assert any("TIMESTAMP" in finding.message for finding in result.findings)
    append(table, [4])
    set_times(table, 4)
    lakehouse.sync(str(table), target)
    assert [(commit.version, commit.committed_at) for commit in lakehouse.history(target)] == [
        (str(version), moment(version)) for version in (4, 3, 2, 1, 0)
    ]


def test_in_commit_timestamps_are_left_to_the_commits(table: Path, tmp_path: Path) -> None:
    commit = table / "_delta_log" / f"{3:020d}.json"
    commit.write_text(commit.read_text().replace('"commitInfo":{', '"commitInfo":{"inCommitTimestamp":1700000000000,', 1))
    set_times(table, 3)
    target = tmp_path / "target"
    lakehouse.sync(str(table), str(target))
    assert log_of(target) == log_of(table)
    found = {commit.version: commit.committed_at for commit in lakehouse.history(str(target))}
    assert found["3"] == datetime.fromtimestamp(1700000000, UTC)
    assert found["2"] == moment(2)


def test_a_file_that_is_not_there_gets_no_time(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        local(tmp_path).set_modified("x", START)


def test_a_first_sync_that_was_killed_after_its_publish_gives_every_commit_its_time_with_the_next_run(
    table: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    replica = open_replica(str(table), str(target), None, Settings())
    counting, killed = Faults(writes_only=True), Faults(writes_only=True, dead=True)
    other = open_replica(str(table), str(tmp_path / "other"), None, Settings())
    replicate(replace(other, receipts=FaultyStore(other.receipts, counting)), Options())
    killed.fail_at = counting.counted  # latest.json: the last thing that a run writes
    with pytest.raises(InjectedFault):
        replicate(replace(replica, receipts=FaultyStore(replica.receipts, killed)), Options())
    for version in range(4):
        os.utime(target / "_delta_log" / f"{version:020d}.json")  # as if the run had ended before it set them
    assert not lakehouse.sync(str(table), str(target)).unchanged
    assert [commit_info(target, number).modified for number in range(4)] == [commit_info(table, n).modified for n in range(4)]
