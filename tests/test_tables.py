"""Tables of every format as Python objects: their rows at any point of their history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakehouse import Config, NotFound, Unsupported, fingerprint, open_table, sql
from lakehouse.config import CatalogSettings, DatasetSettings, Settings
from lakehouse.reading.task import Point

MOMENT = datetime(2024, 2, 29, 12, tzinfo=UTC)


@pytest.fixture
def delta(tmp_path: Path) -> str:
    """Version 0 has the ids 0 and 1, 1 has 2 besides, 2 is without 1."""
    deltalake = pytest.importorskip("deltalake")
    place = str(tmp_path / "delta")
    for ids in ([0, 1], [2]):
        deltalake.write_deltalake(
            place, pa.table({"id": ids, "day": [f"d{n}" for n in ids]}), mode="append", partition_by=["day"]
        )
    deltalake.DeltaTable(place).delete("id = 1")
    return place


@pytest.fixture
def iceberg(tmp_path: Path) -> tuple[str, Any]:
    """Two snapshots; the first has the tag ``first``."""
    catalogs = pytest.importorskip("pyiceberg.catalog.sql")
    warehouse = tmp_path / "warehouse"
    warehouse.mkdir()
    catalog = catalogs.SqlCatalog("c", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{warehouse}")
    catalog.create_namespace("n")
    table = catalog.create_table("n.t", pa.schema({"id": pa.int64()}))
    table.append(pa.table({"id": [1, 2]}))
    table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id, "first").commit()
    table.append(pa.table({"id": [3]}))
    catalog.close()
    return table.location(), table


def ids(scan: Any) -> list[int]:
    return sorted(scan.to_arrow()["id"].to_pylist())


def test_a_delta_table_is_read_at_any_version(delta: str) -> None:
    table = open_table(delta)
    assert (table.format, table.version) == ("delta", "2")
    assert table.schema() == pa.schema({"id": pa.int64(), "day": pa.string()})
    assert list(table.points()) == [Point(version="2"), Point(version="1"), Point(version="0")]
    assert [ids(table.scan(version=version)) for version in (0, "1", None)] == [[0, 1], [0, 1, 2], [0, 2]]
    assert ids(table.scan(where="day >= 'd1'", version=1)) == [1, 2]
    with pytest.raises(NotFound):
        table.scan(version=7)
    with pytest.raises(Config):
        table.scan(ref="main")


def test_a_time_means_the_last_version_not_later(delta: str) -> None:
    table = open_table(delta)
    times = [commit.committed_at for commit in table.history()]
    newest, middle, oldest = (time for time in times if time is not None)
    assert ids(table.scan(as_of=newest)) == [0, 2]
    assert ids(table.scan(as_of=middle.isoformat())) in (
        [0, 1, 2],
        [0, 2],
    )  # commits may share a time
    assert ids(table.scan(as_of=oldest + timedelta(days=365))) == [0, 2]
    with pytest.raises(NotFound):
        table.scan(as_of=oldest - timedelta(days=1))


def test_an_iceberg_table_is_read_at_snapshots_and_refs(iceberg: tuple[str, Any]) -> None:
    place, written = iceberg
    root = written.metadata_location
    table = open_table(root)
    first, second = (snapshot.snapshot_id for snapshot in written.snapshots())
    assert table.format == "iceberg"
    assert {point.snapshot for point in table.points()} == {first, second}
    assert ids(table.scan()) == [1, 2, 3]
    assert ids(table.scan(snapshot=first)) == ids(table.scan(ref="first")) == [1, 2]
    assert ids(table.scan(ref="main", where="id > 1")) == [2, 3]
    with pytest.raises(NotFound):
        table.scan(ref="nothing")
    with pytest.raises(NotFound):
        table.scan(as_of=MOMENT)
    assert place in table.url


def test_a_table_of_a_catalog_and_a_dataset_are_places(iceberg: tuple[str, Any], tmp_path: Path) -> None:
    catalog = CatalogSettings("c", "sql", uri=f"sqlite:///{tmp_path}/c.db", options={})
    named = Settings(catalogs={"c": catalog}, datasets={"t": DatasetSettings("t", "c:n.t")})
    assert ids(open_table("c:n.t", settings=named).scan()) == [1, 2, 3]
    assert sql("SELECT sum(id)::BIGINT AS s FROM t", settings=named).to_arrow().to_pylist() == [{"s": 6}]


def test_equal_rows_in_two_formats_have_one_fingerprint(delta: str, iceberg: tuple[str, Any], tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    (tmp_path / "parquet").mkdir()
    pq.write_table(pa.table({"id": pa.array([3, 2, 1], pa.int32())}), tmp_path / "parquet" / "x.parquet")
    assert fingerprint(str(tmp_path / "parquet")) == fingerprint(iceberg[1].metadata_location)
    assert fingerprint(delta, version=1) != fingerprint(delta)
    assert fingerprint(delta, version=2) == fingerprint(delta)


def test_plain_files_of_any_kind_have_no_rows(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    with pytest.raises(Unsupported, match="no rows"):
        open_table(str(tmp_path), format="files").scan()


def test_joins_over_formats(delta: str, iceberg: tuple[str, Any]) -> None:
    pytest.importorskip("duckdb")
    joined = sql(f"SELECT d.id FROM '{delta}' d JOIN '{iceberg[1].metadata_location}' i USING (id)")
    assert joined.to_arrow().to_pylist() == [{"id": 2}]
