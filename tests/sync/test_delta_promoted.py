"""A replica that is promoted: engines write to it as to any table, and nothing of the source is touched."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import lakehouse
from lakehouse.errors import Conflict
from tests.formats.replicas import optimize_and_vacuum
from tests.sync.clones import shallow_clone
from tests.sync.places import append, ids


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["plain", "clone"])
def test_deltalake_appends_deletes_optimises_checkpoints_and_vacuums_a_replica(kind: str, tmp_path: Path) -> None:
    warehouse, target = tmp_path / "warehouse", tmp_path / "target"
    append(warehouse / "plain", 0, rows=6, commits=3)
    source = warehouse / "plain"
    if kind == "clone":
        source = shallow_clone(warehouse / "plain", warehouse / "clone")
    lakehouse.sync(str(source), str(target))
    before = files_below(warehouse)

    write_deltalake(str(target), pa.table({"id": pa.array([900], pa.int64()), "p": ["p 0+ä"]}), mode="append", partition_by=["p"])
    DeltaTable(str(target)).delete("id < 6")
    assert ids(target) == [*range(6, 18), 900]
    DeltaTable(str(target)).create_checkpoint()
    optimize_and_vacuum(target)
    DeltaTable(str(target)).create_checkpoint()
    assert ids(target) == [*range(6, 18), 900]
    assert not list((target / "ext").rglob("*.parquet")), "VACUUM cleans what was carried in from elsewhere"
    assert files_below(warehouse) == before

    append(warehouse / "plain", 100)
    if kind == "plain":
        with pytest.raises(Conflict):
            lakehouse.sync(str(source), str(target))
    assert ids(target) == [*range(6, 18), 900]
