"""Real Iceberg tables: a scan of every snapshot, branch and tag gives the rows that independent readers agree on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakehouse.errors import Unsupported
from lakehouse.options import Options
from lakehouse.reading.rows import batches, schema_of
from lakehouse.reading.task import Point, ScanPlan
from lakehouse.replica import open_version
from lakehouse.settings import Settings
from tests.corpus.conftest import names
from tests.corpus.crh1 import crh1
from tests.corpus.iceberg_readers import hashable
from tests.corpus.test_corpus import as_spark_writes

STATED_BY_WILD = "/warehouse/wild"
AS_DUCKDB_NAMES_THEM = {"duck-case_sensitive_names__case_sensitive_names": {"uSeR_Id": "uSeR_Id_1"}}
"""Columns whose names differ only in case, which the only reader of the table calls otherwise."""

NOT_THERE = {"duck-generated_bounds": "fake-bucket"}
"""Tables whose data files never were anywhere, and what the refusal names."""


def plans_of(folder: Path, **options: Any) -> dict[str, ScanPlan]:
    """How to read the table at every point, by the names that the corpus has for them."""
    named = options.pop("version", None)
    store, chosen, version = open_version(str(folder), "iceberg", Settings(), version=named, options=Options(**options))
    points = {"latest": Point()} | {str(point.snapshot): point for point in chosen.points(store, version)}
    return {name: chosen.scan(store, version, point) for name, point in points.items()}


def rows_of(plan: ScanPlan) -> pa.Table:
    return pa.Table.from_batches(batches(plan), schema_of(plan))


@pytest.mark.parametrize("name", [name for name in names("expected/iceberg") if not name.startswith("loose-")])
def test_every_snapshot_has_the_rows_that_independent_readers_read(name: str, corpus: Path) -> None:
    expected = json.loads((corpus / "expected" / "iceberg" / f"{name}.json").read_text())
    plans = plans_of(
        corpus / "iceberg" / name,
        version=Path(expected["metadata"]).name,
        skip_broken_history=bool(expected["broken_snapshots"]),
    )
    if name in NOT_THERE:
        with pytest.raises(Unsupported, match=NOT_THERE[name]):
            rows_of(plans["latest"])
        return
    assert set(plans) == {"latest", *map(str, expected["snapshots"])} - expected["broken_snapshots"].keys()
    assert set(plans) >= (expected["readings"].keys() - expected["broken_snapshots"].keys())
    for version, plan in plans.items():
        rows = rows_of(plan)
        rows = rows.rename_columns([AS_DUCKDB_NAMES_THEM.get(name, {}).get(each, each) for each in rows.column_names])
        reading = expected["readings"].get(version, {})
        known = {reading.get("hash"), *(other["hash"] for other in reading.get("read_otherwise_by", {}).values())} - {None}
        if reading.get("hash"):
            known = {reading["hash"]}
        assert not known or crh1(hashable(rows)) in known, f"version {version} reads otherwise"
        assert expected["rows"].get(version) in (None, rows.num_rows)


@pytest.mark.parametrize("name", [name for name in names("wild/_expected") if name.startswith("i_")])
def test_every_version_branch_and_tag_has_the_rows_that_spark_read(name: str, corpus: Path) -> None:
    expected = json.loads((corpus / "wild" / "_expected" / f"{name}.json").read_text())["versions"]
    outside = corpus / "wild" / "_outside" / name
    maps = ((f"{STATED_BY_WILD}/_outside/{name}", str(outside)),) if outside.is_dir() else ()
    store, chosen, version = open_version(str(corpus / "wild" / name), "iceberg", Settings(), options=Options(maps=maps))
    for key, reading in expected.items():
        ref = key.removeprefix("ref:")
        point = Point() if key == "main" else Point(snapshot=int(key)) if key == ref else Point(ref=ref)
        assert as_spark_writes(rows_of(chosen.scan(store, version, point))) == reading["rows"], f"{key} reads otherwise"
