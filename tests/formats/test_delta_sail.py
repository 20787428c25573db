"""Every version of every real Delta table, read at its replica by Sail: a reader that shares no code with the Delta kernel.

Sail has defects of its own, so a replica must read as the origin does, by the same reader, rows or refusal.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lakehouse
from lakehouse.errors import LakeError
from tests.corpus.conftest import CORPUS
from tests.sync.clones import base_table, drop_file, shallow_clone

SAIL = Path(os.environ.get("LAKE_TOOLS", Path(__file__).parents[2] / ".tools")) / "sail-0.7.2" / "bin" / "python"
TABLES = sorted([*CORPUS.glob("delta/*"), *CORPUS.glob("wild/d_*")])

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("sail"),
    pytest.mark.skipif(not SAIL.exists(), reason="Sail is not here; scripts/test --all installs it"),
]
Read = Callable[[Path, int], dict[str, Any]]


@pytest.fixture(scope="module")
def sail() -> Iterator[Read]:
    reader = Path(__file__).with_name("sail_reader.py")
    with subprocess.Popen(
        [SAIL, reader], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, answers = process.stdin, process.stdout

        def read(table: Path, version: int) -> dict[str, Any]:
            asked.write(json.dumps({"table": str(table), "version": version}) + "\n")
            asked.flush()
            found: dict[str, Any] = json.loads(answers.readline())
            return found

        yield read
        asked.close()


def versions_of(table: Path) -> list[int]:
    return sorted(int(commit.version) for commit in lakehouse.history(str(table)))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_version_of_a_replica_reads_as_at_its_origin(table: Path, tmp_path: Path, sail: Read) -> None:
    if list(table.glob("_delta_log/*.compacted.json")):
        pytest.skip("Sail counts rows twice where compacted logs lie (the corpus's README)")
    maps = {f"/warehouse/wild/{table.name}_base": f"{table}_base"}
    target = tmp_path / table.name
    try:
        lakehouse.sync(str(table), str(target), maps=maps)
    except LakeError as error:
        pytest.skip(f"refused: {error}"[:120])
    spark = CORPUS / "wild" / "_expected" / f"{table.name}.json"
    known = json.loads(spark.read_text())["versions"] if spark.exists() else {}
    read = 0
    for version in versions_of(target):
        there, here = sail(target, version), sail(table, version)
        rows = known.get(str(version), {}).get("rows")
        if "error" in here:
            assert table.name == "d_clone" or "error" in there, (version, here)
        else:
            assert there == here, version
        if table.name == "d_clone":
            assert rows is not None
            assert there["rows"] == len(rows), (version, there)
        read += "rows" in there
    if not read:
        pytest.skip("Sail cannot read it, here or there")


def test_a_clone_reads_at_its_replica_as_its_base(tmp_path: Path, sail: Read) -> None:
    base = base_table(tmp_path / "warehouse" / "base")
    clone = shallow_clone(base, tmp_path / "warehouse" / "clone")
    removed = drop_file(clone, 1)
    target = tmp_path / "target"
    lakehouse.sync(str(clone), str(target))
    expected = sail(base, 5)
    (tmp_path / "warehouse").rename(tmp_path / "away")
    assert sail(target, 0) == expected
    assert sail(target, 1)["rows"] < expected["rows"], removed
