"""No false alarm at level rows: replicas of real tables of other engines have the rows of their sources, at every version.

A sync at level rows reads both sides; an audit then reads the replica alone, and holds it against its receipt.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lakehouse
from lakehouse.config import Settings
from lakehouse.errors import Unsupported
from tests.corpus.conftest import CORPUS, names
from tests.corpus.conftest import corpus as corpus  # a fixture

REFUSED = {
    "spark-variant-stats-nested-no-checkpoint": "its variants may be shredded",
    "spark-variant-stats-no-checkpoint": "its variants may be shredded",
    "duck-add_columns_with_defaults_in_struct__add_columns_with_defaults_in_struct": "column 'a' has the type struct",
    "duck-generated_bounds": "outside the table and outside its bucket",
}
"""Tables that are replicated at level bytes at most, or not at all, and why."""

STATED = "/warehouse/wild"


def proven(source: Path, target: Path, *, versions: str = "all", **options: Any) -> None:
    """Replicate at level rows, and audit. A table of which the rows cannot be read is refused by name, and nothing is proven."""

    def sync() -> str:
        done = lakehouse.sync(str(source), str(target), level="rows", versions=versions, settings=Settings(), **options)
        return done.proof

    if source.name in REFUSED:
        with pytest.raises(Unsupported, match=REFUSED[source.name]):
            sync()
        return
    assert sync() == "rows"
    report = lakehouse.verify(str(target), level="rows", versions=versions, settings=Settings())
    assert (report.findings, report.level) == ([], "rows")


def expectation(kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CORPUS / "expected" / kind / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize("name", names("expected/delta"))
def test_delta_tables_have_their_rows(name: str, corpus: Path, tmp_path: Path) -> None:
    expected = expectation("delta", name)
    if expected["must"] != "replicate" or expected.get("also_ok") == "refuse":
        pytest.skip("is refused by a sync: it is not whole")
    proven(corpus / "delta" / name, tmp_path / "replica", format="delta")


@pytest.mark.parametrize("name", [name for name in names("expected/iceberg") if not name.startswith("loose-")])
def test_iceberg_tables_have_their_rows(name: str, corpus: Path, tmp_path: Path) -> None:
    expected = expectation("iceberg", name)
    broken, root = bool(expected["broken_snapshots"]), Path(expected["metadata"]).name
    proven(corpus / "iceberg" / name, tmp_path / "replica", format="iceberg", version=root, skip_broken_history=broken)


@pytest.mark.parametrize("name", names("wild/_expected"))
def test_tables_of_spark_have_their_rows(name: str, corpus: Path, tmp_path: Path) -> None:
    elsewhere = "d_clone_base" if name == "d_clone" else f"_outside/{name}"
    there = corpus / "wild" / elsewhere
    maps = {f"{STATED}/{elsewhere}": str(there)} if there.is_dir() else None
    proven(corpus / "wild" / name, tmp_path / "replica", versions="latest", maps=maps)
