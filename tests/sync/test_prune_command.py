"""``lake prune`` as a user types it: what it prints, its JSON and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Lake
from tests.formats.iceberg.iceberg_tables import changing_table


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A folder with an Iceberg source that expired its snapshots between two syncs into ``copy``."""
    run = Lake(tmp_path)
    with changing_table(tmp_path / "source") as source:
        for rows in (0, 10):
            source.append(rows)
            source.compact()
            source.expire()
            assert run("sync", source.folder, "copy").exit_code == 0
    return run


def test_it_says_what_would_go_and_with_yes_removes_just_that(lake: Lake) -> None:
    told = lake("prune", "copy", "--older-than", "0")
    assert told.exit_code == 0
    paths = [line[2:] for line in told.stdout.splitlines() if line.startswith("- ")]
    assert paths[0] == "metadata/v1.metadata.json"
    assert "--yes does it" in told.stdout
    assert all((lake.folder / "copy" / path).exists() for path in paths)
    done = lake("prune", "copy", "--older-than", "0", "--yes", "--json")
    assert [one["path"] for one in done.document["paths"]] == paths
    assert done.document["objects"]["files"] == len(paths)
    assert not done.document["dry_run"]
    assert not any((lake.folder / "copy" / path).exists() for path in paths)
    assert lake("verify", "copy", "--expect-receipt", done.document["receipt_sha256"]).exit_code == 0
    assert "removed 0 objects" in lake("prune", "copy", "--older-than", "0", "--yes").stdout


def test_versions_that_readers_may_have_open_are_named(lake: Lake) -> None:
    told = lake("prune", "copy")
    assert "older versions kept for readers: v1.metadata.json" in told.stdout
    assert "would remove 0 objects" in told.stdout


def test_what_it_cannot_do_ends_with_the_exit_code_that_says_why(lake: Lake) -> None:
    assert lake("prune", "copy", "--older-than", "soon").exit_code == 2
    assert lake("prune", "source", "--yes").exit_code == 3
    (lake.folder / "copy" / "_lake" / "latest.json").unlink()
    assert lake("prune", "copy", "--yes").exit_code == 5
