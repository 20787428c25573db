"""``lake prune`` of replicas of tables that Spark wrote, with delete files and deletion vectors, whose snapshots expired."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import lakehouse
from lakehouse import formats
from lakehouse.local_store import LocalStore
from lakehouse.prune import prune_replica
from lakehouse.url import parse
from tests.calls import ALL
from tests.corpus.conftest import CORPUS


class Watched(LocalStore):
    """Reads the table after an object was removed: after each with `scripts/test --all`, after some otherwise."""

    def __init__(self, folder: Path) -> None:
        super().__init__(parse(str(folder)))
        self.folder, self.gone = folder, list[str]()
        self.rows = lakehouse.fingerprint(str(folder))

    def delete(self, path: str) -> None:
        super().delete(path)
        self.gone.append(path)
        if ALL or len(self.gone) % 13 == 1:
            assert lakehouse.fingerprint(str(self.folder)) == self.rows, path


def expire(table: Path) -> None:
    """A root that retains the current snapshot only, as expire_snapshots writes it, without removing any file."""
    number = max(
        int(match[1]) for path in table.glob("metadata/v*.metadata.json") if (match := re.search(r"v(\d+)\.", path.name))
    )
    said = json.loads((table / "metadata" / f"v{number}.metadata.json").read_text())
    current = said["current-snapshot-id"]
    said["snapshots"] = [one for one in said["snapshots"] if one["snapshot-id"] == current]
    said["snapshots"][0].pop("parent-snapshot-id", None)
    said["snapshot-log"] = [one for one in said["snapshot-log"] if one["snapshot-id"] == current]
    said["refs"] = {"main": {"snapshot-id": current, "type": "branch"}}
    said["statistics"] = [one for one in said.get("statistics") or [] if one["snapshot-id"] == current]
    said["partition-statistics"] = [one for one in said.get("partition-statistics") or [] if one["snapshot-id"] == current]
    (table / "metadata" / f"v{number + 1}.metadata.json").write_text(json.dumps(said))
    (table / "metadata" / "version-hint.text").write_text(str(number + 1))


@pytest.mark.parametrize("name", ["i_mor_file", "i_up", "i_v3"])
def test_rows_stay_as_they_are_while_objects_go(name: str, tmp_path: Path) -> None:
    if not CORPUS.is_dir():
        pytest.skip("the corpus of real tables is not here (set LAKE_CORPUS to its folder)")
    source, target = tmp_path / "source", tmp_path / "target"
    shutil.copytree(CORPUS / "wild" / name, source)
    lakehouse.sync(str(source), str(target))
    expire(source)
    lakehouse.sync(str(source), str(target))
    watched, iceberg = Watched(target), formats.find("iceberg")
    later = datetime.now(UTC) + timedelta(days=30)
    receipts = LocalStore(parse(str(target / "_lake")))
    prune_replica(watched, receipts, iceberg, older_than=timedelta(days=7), yes=True, workers=1, now=later)
    order = ["metadata.json", "snap-", "avro", "data"]
    kinds = [order.index("data" if path.startswith("data/") else _kind(path)) for path in watched.gone]
    assert kinds == sorted(kinds) and len(set(kinds)) == 4
    needed = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file() and "_lake" not in path.parts}
    assert not needed & set(watched.gone)
    lakehouse.verify(str(target), against=str(source)).raise_for_findings()
    assert lakehouse.sync(str(source), str(target)).unchanged
    assert lakehouse.check(str(target)).ok


def _kind(path: str) -> str:
    name = path.rpartition("/")[2]
    return (
        "metadata.json" if name.endswith(".metadata.json") else "snap-" if name.startswith("snap-") else name.rpartition(".")[2]
    )
