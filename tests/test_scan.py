"""Scans as other libraries take them, and as DuckDB and polars ask them for columns and rows."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from lakehouse.arrow_dataset import ScanDataset
from lakehouse.errors import Config, NotFound, Unsupported
from lakehouse.lrh1 import Fingerprinter
from lakehouse.reading.task import Point
from lakehouse.tables import Table, fingerprint, open_table, point_of

duckdb = pytest.importorskip("duckdb", reason="needs duckdb")


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Four files of 1,000 rows, by day."""
    for day in range(4):
        (tmp_path / f"day={day}").mkdir()
        rows = {"id": list(range(day * 1000, (day + 1) * 1000)), "name": [f"n{n % 7}" for n in range(1000)]}
        pq.write_table(pa.table({**rows, "value": pa.array([n / 4 for n in range(1000)])}), tmp_path / f"day={day}" / "x.parquet")
    return open_table(str(tmp_path))


def spoil(table: Table, day: int) -> None:
    """Whoever opens that file is told so."""
    file = Path(table.url.removeprefix("file://")) / f"day={day}" / "x.parquet"
    file.write_bytes(b"\0" * file.stat().st_size)


def test_a_scan_is_read_as_often_as_it_is_asked(table: Table) -> None:
    scan = table.scan(["name", "day"], "id BETWEEN 998 AND 1001")
    expected = [{"name": "n4", "day": 0}, {"name": "n5", "day": 0}, {"name": "n0", "day": 1}, {"name": "n1", "day": 1}]
    for _ in range(2):
        assert scan.to_arrow().to_pylist() == expected
        assert [row for batch in scan for row in batch.to_pylist()] == expected
    assert scan.schema == scan.to_arrow().schema == pa.schema({"name": pa.string(), "day": pa.int64()})
    assert scan.count_rows() == 4
    assert scan.to_reader().read_all().num_rows == 4


def test_a_filter_may_be_an_expression_of_arrow(table: Table) -> None:
    assert table.scan(where=(pc.field("id") > 10) & (pc.field("day") == 0)).count_rows() == 989


def test_frames_of_pandas_and_polars_hold_the_rows(table: Table) -> None:
    polars, pandas = pytest.importorskip("polars"), pytest.importorskip("pandas")
    scan = table.scan(["id", "value"], "day = 2 AND value < 0.5")
    assert scan.to_polars().equals(polars.DataFrame({"id": [2000, 2001], "value": [0.0, 0.25]}))
    assert scan.to_pandas().equals(pandas.DataFrame({"id": [2000, 2001], "value": [0.0, 0.25]}))


def test_what_is_not_installed_is_said_with_how_to_install_it(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pandas", "polars", "duckdb"):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(Config, match=rf"{module} is not installed.*pip install"):
            getattr(table.scan(), f"to_{module}")()


def test_columns_and_conditions_that_cannot_be_are_refused_at_once(table: Table) -> None:
    with pytest.raises(Config, match="did you mean 'name'"):
        table.scan(["nam"])
    with pytest.raises(Config, match="no column nam"):
        table.scan(where="nam = 'x'")
    with pytest.raises(Unsupported, match=r"lakehouse.sql"):
        table.scan(where="upper(name) = 'X'")


def test_counting_rows_opens_every_file(table: Table) -> None:
    """Trap: counts come from metadata, and are right with every file missing."""
    scan = table.scan()
    assert scan.count_rows() == 4000
    (Path(table.url.removeprefix("file://")) / "day=3" / "x.parquet").unlink()
    with pytest.raises(NotFound, match="day=3"):
        scan.count_rows()
    with pytest.raises(NotFound, match="day=3"):
        scan.to_arrow()


def test_a_table_stays_as_it_was_when_it_was_opened(table: Table) -> None:
    folder = Path(table.url.removeprefix("file://"))
    (folder / "day=9").mkdir()
    pq.write_table(pa.table({"id": [1]}), folder / "day=9" / "x.parquet")
    assert table.scan().count_rows() == 4000
    assert open_table(str(folder)).scan().count_rows() == 4001


def test_points_of_history_are_named_one_at_a_time() -> None:
    assert point_of() == Point()
    assert point_of(version=3) == Point(version="3")
    assert point_of(as_of="2024-02-29T12:00:00") == Point(as_of=datetime(2024, 2, 29, 12, tzinfo=UTC))
    assert point_of(as_of=datetime(2024, 2, 29)) == point_of(as_of="2024-02-29") == point_of(as_of="2024-02-29T01:00:00+01:00")
    with pytest.raises(Config, match="version and ref"):
        point_of(version=3, ref="main")
    with pytest.raises(Config, match="is no time"):
        point_of(as_of="yesterday")


def test_a_table_tells_what_it_is(table: Table) -> None:
    assert table.format == "parquet"
    assert table.describe().columns[0].name == "id"
    assert [commit.version for commit in table.history()] == [table.version]
    assert list(table.points()) == [Point()]
    assert len(list(table.files())) == 4
    assert repr(table) == f"<Table {table.url} (parquet, version {table.version})>"


def test_the_fingerprint_is_that_of_the_rows(table: Table) -> None:
    scan = table.scan()
    whole = Fingerprinter(scan.schema)
    for batch in scan:
        whole.update(batch)
    assert fingerprint(table.url) == whole.result()


def test_duckdb_asks_for_just_the_columns_and_files_that_it_needs(table: Table) -> None:
    relation = table.scan().to_duckdb()
    plan = relation.filter("day = 1 AND id > 1990").project("name").explain()
    assert re.search(r"PYTHON_ARROW_SCAN|ARROW_SCAN", plan)
    assert "id" in plan.partition("Filters")[2]
    assert "value" not in plan
    for day in (0, 2, 3):
        spoil(table, day)
    assert relation.filter("day = 1 AND id > 1990").aggregate("count(*) AS n, max(id) AS last").fetchall() == [(9, 1999)]
    with pytest.raises(duckdb.Error, match=r"day=[023]/x.parquet"):
        relation.fetchall()


def test_duckdb_counts_rows_and_joins_a_scan_with_itself(table: Table) -> None:
    with duckdb.connect() as connection:
        relation = table.scan(where="id < 1500").to_duckdb(connection)
        assert relation.count("*").fetchall() == [(1500,)]
        connection.register("s", ScanDataset(table.scan(where="id < 1500")))
        joined = "SELECT count(*) FROM s a JOIN s b ON a.id = b.id + 1 WHERE a.day = b.day"
        assert connection.execute(joined).fetchall() == [(1498,)]


def test_polars_asks_for_just_the_files_that_it_needs(table: Table) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.scan_pyarrow_dataset(ScanDataset(table.scan()))
    spoil(table, 3)
    assert frame.filter(polars.col("day") < 3).select(polars.col("id").max()).collect().item() == 2999


def test_a_dataset_reads_as_arrow_s_own_do_and_refuses_what_it_cannot(table: Table) -> None:
    dataset = ScanDataset(table.scan(["id", "day"], "day < 2"))
    assert isinstance(dataset, ds.Dataset)
    assert dataset.schema.names == ["id", "day"]
    assert dataset.count_rows() == dataset.to_table().num_rows == 2000
    assert dataset.count_rows(pc.field("id") < 5) == 5
    assert dataset.head(3, columns=["id"]).to_pydict() == {"id": [0, 1, 2]}
    scanner = dataset.scanner(columns=["day"], filter=pc.field("id") == 1000, batch_size=10)
    assert scanner.projected_schema.names == ["day"]
    assert scanner.dataset_schema.names == ["id", "day"]
    assert scanner.to_table().to_pylist() == scanner.to_reader().read_all().to_pylist() == [{"day": 1}]
    assert scanner.count_rows() == 1
    assert scanner.head(5).num_rows == 1
    assert repr(dataset) == "<ScanDataset ['id', 'day']>"
    for method in ("filter", "get_fragments", "join", "sort_by", "take", "replace_schema"):
        with pytest.raises(Unsupported, match=rf"no {method}\(\)"):
            getattr(dataset, method)("x")
    with pytest.raises(Unsupported, match="as they are"):
        dataset.to_table(columns={"x": pc.field("id")})
