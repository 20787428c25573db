"""How far replicas are behind: versions, bytes, and since when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import lakehouse
from lakehouse.connect import open_store
from lakehouse.receipt import PRUNE, read_latest
from lakehouse.settings import DatasetSettings, ReplicaSettings, Settings
from tests.sync.places import append


def settings(folder: Path) -> Settings:
    replicas = (ReplicaSettings(str(folder / "replica")), ReplicaSettings(str(folder / "other")))
    return Settings(datasets={"events": DatasetSettings("events", str(folder / "table"), None, replicas)})


def test_a_replica_that_is_level_lags_by_nothing_and_one_that_is_not_since_the_first_commit_it_lacks(tmp_path: Path) -> None:
    append(tmp_path / "table", 0, commits=2)
    lakehouse.sync(str(tmp_path / "table"), str(tmp_path / "replica"))
    level, never = lakehouse.status(settings(tmp_path))
    assert (level.versions_behind, level.bytes_behind, level.lag_seconds) == (0, 0, 0.0)
    assert (level.source_version, level.replica_version, level.last_proof, level.error) == ("1", "1", "bytes", None)
    assert (never.versions_behind, never.replica_version, never.last_proof) == (2, None, None)
    append(tmp_path / "table", 20)
    first_missing = datetime.now(UTC)
    append(tmp_path / "table", 30)
    least = (datetime.now(UTC) - first_missing).total_seconds()
    behind, _ = lakehouse.status(settings(tmp_path))
    assert behind.versions_behind == 2
    assert behind.bytes_behind is not None
    assert behind.bytes_behind > 0
    assert behind.lag_seconds is not None
    assert behind.lag_seconds >= least


def test_a_replica_that_cannot_be_looked_at_says_why(tmp_path: Path) -> None:
    (row, _) = lakehouse.status(settings(tmp_path))
    assert row.error is not None
    assert "no Delta, Iceberg or Parquet table" in row.error
    assert row.lag_seconds is None


def test_a_prune_is_no_proof(tmp_path: Path) -> None:
    """It leaves a receipt of its own, which stands on what was proven before."""
    append(tmp_path / "table", 0)
    lakehouse.sync(str(tmp_path / "table"), str(tmp_path / "replica"))
    latest = read_latest(open_store(str(tmp_path / "replica" / "_lake")))
    assert latest is not None
    synced = latest[0]
    assert synced.proven_at == synced.ended_at
    pruned = replace(synced, run=f"{PRUNE}1", proof_kept_oldest_at=synced.ended_at, ended_at="2099-01-01T00:00:00.000Z")
    assert pruned.proven_at == synced.ended_at
