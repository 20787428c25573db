"""Delta tables that other engines wrote: a scan gives the rows that independent readers agree on, in every version."""

from __future__ import annotations

import datetime as dt
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as compute
import pytest

from lakehouse.config import load
from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.delta.live import live_files
from lakehouse.formats.delta.scan import plan_scan, points_of
from lakehouse.options import Options
from lakehouse.reading import rows
from lakehouse.reading.task import Point
from lakehouse.replica import open_version
from tests.corpus.crh1 import crh1
from tests.formats.replicas import DELTA, local

CORPUS = Path(os.environ.get("LAKE_CORPUS") or Path(__file__).parents[3] / ".." / "shared" / "corpus").resolve()
EXPECTED = {path.stem: json.loads(path.read_text()) for path in sorted(CORPUS.glob("expected/delta/*.json"))}
READABLE = [
    (name, version)
    for name, known in EXPECTED.items()
    if known["must"] == "replicate"
    for version, reading in known.get("readings", {}).items()
    if reading.get("hash")
]

pytestmark = pytest.mark.skipif(not EXPECTED, reason="the corpus is not here; LAKE_CORPUS names its folder")

pa_compute: Any = compute

REPLICATED = [name for name, known in EXPECTED.items() if known["must"] == "replicate"]

REFUSED = {
    "spark-variant-stats-no-checkpoint": "column 'v' cannot be read: its variants may be shredded",
    "spark-variant-stats-nested-no-checkpoint": "column 's' cannot be read: its variants may be shredded",
}
"""By table, why its rows are not given."""

COMPACTED = "krs-compacted-log-files-table__compacted-log-files-table"
"""Its compacted logs contradict its commits; what replays the commits alone (DuckDB, deltalake) is right of it."""


def read(name: str, version: str) -> pa.Table:
    store = local(CORPUS / "delta" / name)
    plan = plan_scan(store, DELTA.pin(store), Point() if version == "latest" else Point(version=version))
    return pa.Table.from_batches(rows.batches(plan), schema=rows.schema_of(plan))


@pytest.mark.parametrize(("name", "version"), READABLE)
def test_a_real_table_reads_as_independent_readers_read_it(name: str, version: str) -> None:
    known = EXPECTED[name]["readings"][version]
    if name in REFUSED:
        with pytest.raises(Unsupported, match=REFUSED[name]):
            read(name, version)
        return
    found = read(name, version)
    assert found.num_rows == known["rows"]
    assert crh1(found) == known["hash"], known["confidence"]


@pytest.mark.parametrize("version", EXPECTED.get(COMPACTED, {}).get("readings", ()))
def test_compacted_logs_are_not_believed(version: str) -> None:
    """Delta 6: log compaction."""
    otherwise = EXPECTED[COMPACTED]["readings"][version]["read_otherwise_by"]
    assert otherwise["duckdb"] == otherwise["deltalake"]
    assert crh1(read(COMPACTED, version)) == otherwise["duckdb"]["hash"]


@pytest.mark.parametrize("name", [name for name, known in EXPECTED.items() if known["must"] == "refuse"])
def test_a_table_that_is_not_whole_is_an_error_and_never_fewer_rows(name: str) -> None:
    with pytest.raises((NotFound, Unsupported)):
        read(name, "latest")


@pytest.mark.parametrize("name", REPLICATED)
def test_every_version_of_the_log_is_a_point_and_reads_or_says_what_is_gone(name: str) -> None:
    store = local(CORPUS / "delta" / name)
    pinned = DELTA.pin(store)
    points = list(points_of(store, pinned))
    assert points == [Point(version=str(n)) for n in range(pinned.span.last, pinned.span.first - 1, -1)]
    for point in points[:12]:
        try:
            plan = plan_scan(store, pinned, point)
            wanted = [field.name for field in plan.fields if field.name not in plan.refused]
            read_rows = sum(batch.num_rows for batch in rows.batches(plan, columns=wanted))
        except NotFound as error:
            assert str(store.url) in str(error)
            continue
        live = list(live_files(store, DELTA.pin(store, point.version)))
        if all(add.rows is not None for add in live):
            stated = sum((add.rows or 0) - (add.vector.cardinality if add.vector else 0) for add in live)
            assert read_rows == stated


@pytest.mark.parametrize("name", REPLICATED)
def test_no_bound_of_a_real_table_is_too_narrow(name: str) -> None:
    """Every value of every file lies within what its statistics and partition values tell; nulls are as many as they say."""
    store = local(CORPUS / "delta" / name)
    plan = plan_scan(store, DELTA.pin(store), Point())
    columns = [field.name for field in plan.fields if field.name not in plan.refused]
    for task in plan.all_tasks():
        whole = replace(task, deletes=None)
        data = pa.Table.from_batches(rows.task_batches(plan, whole, columns=columns), schema=rows.schema_of(plan, columns))
        assert task.rows in (None, data.num_rows)
        for column in columns:
            known, values = task.bounds(column), data.column(column)
            if known is None:
                continue
            assert known.nulls in (None, values.null_count), column
            if known.lower is None and known.upper is None:
                continue
            found: Any = pa_compute.min_max(values)
            assert known.lower is None or not found["min"].is_valid or not_above(known.lower, found["min"]), column
            assert known.upper is None or not found["max"].is_valid or not_above(found["max"], known.upper), column


def not_above(one: pa.Scalar, other: pa.Scalar) -> bool:
    return bool(pa_compute.less_equal(one, other).as_py())


WILD = {path.stem: json.loads(path.read_text())["versions"] for path in sorted(CORPUS.glob("wild/_expected/d_*.json"))}


def as_spark_wrote(row: dict[str, Any]) -> str:
    """A row as the lines of the expectation have it."""

    def text(value: object) -> str:
        if isinstance(value, dt.datetime):
            return str(value.replace(tzinfo=None))
        return str(bytearray(value)) if isinstance(value, bytes) else str(value)

    return json.dumps(row, sort_keys=True, ensure_ascii=False, default=text)


@pytest.mark.parametrize("name", WILD)
def test_every_version_that_spark_wrote_reads_as_spark_reads_it(name: str) -> None:
    """Deletion vectors, column mapping with renamed and dropped columns, clones, V2 checkpoints, vacuumed versions."""
    options = Options(maps=(("file:/warehouse/wild", f"file://{CORPUS}/wild"),))
    store, table_format, pinned = open_version(str(CORPUS / "wild" / name), None, load(), options=options)
    points = {point.version: point for point in table_format.points(store, pinned)}
    assert points.keys() == WILD[name].keys()
    for version, known in WILD[name].items():
        plan = table_format.scan(store, pinned, points[version])
        if "rows" not in known:
            with pytest.raises(NotFound, match="not found"):
                list(rows.batches(plan))
            continue
        found = pa.Table.from_batches(rows.batches(plan), schema=rows.schema_of(plan)).to_pylist(maps_as_pydicts="strict")
        assert sorted(map(as_spark_wrote, found)) == sorted(known["rows"]), f"version {version}"
