"""Datasets by name: made, written, read and replicated, in each format; and read by the engines that know the formats."""

from __future__ import annotations

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.check import check
from lakehouse.errors import Config, Conflict, NotFound, Unsupported
from lakehouse.lake import Dataset, Lake
from lakehouse.settings import CatalogSettings, DatasetSettings, ReplicaSettings, Settings, StoreSettings
from lakehouse.sync import sync
from tests.corpus.iceberg_readers import by_duckdb

UTC = dt.UTC
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("p", pa.string()),
        pa.field("q", pa.int32()),
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("wall", pa.timestamp("us")),
        pa.field("price", pa.decimal128(9, 2)),
        pa.field("parts", pa.list_(pa.field("element", pa.struct([pa.field("n", pa.int32())])))),
        pa.field("day", pa.date32()),
        pa.field("tags", pa.map_(pa.string(), pa.int64())),
    ]
)
ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int32()),
        "p": ["a/b", "c %d", None],
        "q": pa.array([1, 1, 2], pa.int16()),
        "at": pa.array([1000, 2000, None], pa.timestamp("ns", "Europe/Berlin")),
        "wall": pa.array([1, 2, None], pa.timestamp("ms")),
        "price": pa.array([decimal.Decimal("1.10"), None, decimal.Decimal("-0.01")]),
        "parts": pa.array([[{"n": 1}], None, []], pa.list_(pa.struct([("n", pa.int32())]))),
        "day": pa.array([dt.date(2020, 1, 1)] * 3),
        "tags": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    }
)
FORMATS = ("parquet", "delta", "iceberg", "cataloged", "sql")


def lake_in(folder: Path) -> Lake:
    """A lake below ``folder`` with a dataset for each of `FORMATS`, by that name, and a replica of each, ``<name>_copy``."""
    formats: tuple[tuple[str, Any], ...] = (
        ("parquet", "parquet"), ("delta", None), ("iceberg", None), ("cataloged", None), ("sql", None),
    )  # fmt: skip
    datasets = {
        name: DatasetSettings(name, {"cataloged": "lake:ns.t", "sql": "db:ns.t"}.get(name, str(folder / name)), kind)
        for name, kind in formats
    }
    datasets |= {
        f"{name}_copy": DatasetSettings(f"{name}_copy", str(folder / "copies" / name)) for name in ("parquet", "delta", "iceberg")
    }
    return Lake(
        Settings(
            stores={"w": StoreSettings("w", str(folder))},
            catalogs={
                "lake": CatalogSettings("lake", "storage", options={"warehouse": "w:house"}, store="w"),
                "db": CatalogSettings("db", "sql", f"sqlite:///{folder}/c.db", {"warehouse": f"file://{folder}/sql"}, store="w"),
            },
            datasets=datasets,
        )
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_in(tmp_path)


def made(lake: Lake, name: str, schema: pa.Schema = SCHEMA, partition_by: tuple[str, ...] = ()) -> Dataset:
    kind: Any = name if name in ("parquet", "delta", "iceberg") else None
    return lake.create_dataset(name, schema, format=kind, partition_by=partition_by)


def ids(dataset: Dataset) -> list[int]:
    return sorted(dataset.read().to_arrow().column("id").to_pylist())


def sorted_rows(table: pa.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.select(SCHEMA.names).sort_by("id").to_pylist()
    return found


@pytest.mark.parametrize("partition_by", [(), ("p", "q")], ids=["whole", "partitioned"])
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_again(lake: Lake, name: str, partition_by: tuple[str, ...]) -> None:
    dataset = made(lake, name, partition_by=partition_by)
    assert dataset.read().to_arrow().num_rows == 0
    dataset.append(ROWS)
    assert sorted_rows(dataset.read().to_arrow()) == sorted_rows(ROWS)
    dataset.append(ROWS.select(list(reversed(ROWS.column_names))).slice(1))
    assert ids(dataset) == [1, 2, 2, 3, 3]
    dataset.overwrite(ROWS.slice(1))
    assert sorted_rows(dataset.read().to_arrow()) == sorted_rows(ROWS.slice(1))
    dataset.append(ROWS.slice(0, 0))
    dataset.overwrite(ROWS.slice(0, 0))
    assert dataset.read().to_arrow().num_rows == 0
    dataset.append(ROWS)
    assert ids(dataset) == [1, 2, 3]
    assert ids_where(dataset, "q = 1 AND p = 'c %d'") == [2]


def ids_where(dataset: Dataset, where: str) -> list[int]:
    return sorted(dataset.read(["id"], where).to_arrow().column("id").to_pylist())


@pytest.mark.parametrize("partition_by", [(), ("p", "q")], ids=["whole", "partitioned"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_check_of_what_was_written_finds_nothing(lake: Lake, name: str, partition_by: tuple[str, ...]) -> None:
    dataset = made(lake, name, partition_by=partition_by)
    for _ in range(6):
        dataset.append(ROWS)
        dataset.overwrite(ROWS.slice(1))
    report = check(name, deep=True, settings=lake.settings)
    assert report.ok, report.findings


@pytest.mark.parametrize("name", ["delta", "iceberg", "cataloged", "sql"])
def test_older_states_stay_in_the_history(lake: Lake, name: str) -> None:
    dataset = made(lake, name)
    dataset.append(ROWS)
    middle = dataset.history()[0]
    dataset.overwrite(ROWS.slice(2))
    assert sorted(dataset.read(version=middle.version).to_arrow().column("id").to_pylist()) == [1, 2, 3]
    assert ids(dataset) == [3]


@pytest.mark.parametrize("partition_by", [(), ("p",)], ids=["whole", "partitioned"])
def test_deltalake_reads_what_was_written(lake: Lake, tmp_path: Path, partition_by: tuple[str, ...]) -> None:
    import deltalake

    dataset = made(lake, "delta", partition_by=partition_by)
    dataset.append(ROWS)
    dataset.overwrite(ROWS)
    dataset.append(ROWS.slice(1))
    found = pa.table(deltalake.DeltaTable(tmp_path / "delta").to_pyarrow_table())
    assert sorted(found.column("id").to_pylist()) == [1, 2, 2, 3, 3]
    assert sorted(str(value) for value in found.column("p").to_pylist()) == ["None", "None", "a/b", "c %d", "c %d"]
    assert deltalake.DeltaTable(tmp_path / "delta").version() == 3


@pytest.mark.parametrize("partition_by", [(), ("p", "day")], ids=["whole", "partitioned"])
def test_pyiceberg_and_duckdb_read_what_was_written(lake: Lake, tmp_path: Path, partition_by: tuple[str, ...]) -> None:
    from pyiceberg.table import StaticTable

    dataset = made(lake, "cataloged", partition_by=partition_by)
    dataset.append(ROWS)
    dataset.overwrite(ROWS)
    dataset.append(ROWS.slice(1))
    table = tmp_path / "house" / "ns" / "t"
    assert (table / "metadata" / "version-hint.text").read_text() == "4"
    found = StaticTable.from_metadata(str(table / "metadata" / "v4.metadata.json")).scan().to_arrow()
    assert sorted(found.column("id").to_pylist()) == [1, 2, 2, 3, 3]
    answers = by_duckdb(table / "metadata" / "v4.metadata.json", {"main": None})
    assert not isinstance(answers["main"], str), answers["main"]
    assert sorted(answers["main"].column("id").to_pylist()) == [1, 2, 2, 3, 3]


def test_duckdb_reads_a_partitioned_folder_of_parquet_files(lake: Lake, tmp_path: Path) -> None:
    import duckdb

    dataset = made(lake, "parquet", partition_by=("q", "day"))
    dataset.append(ROWS)
    with duckdb.connect() as run:
        found = run.sql(
            f"SELECT id, q, day FROM read_parquet('{tmp_path}/parquet/**/*.parquet', hive_partitioning = true) ORDER BY id"
        )
        assert found.fetchall() == [(1, 1, dt.date(2020, 1, 1)), (2, 1, dt.date(2020, 1, 1)), (3, 2, dt.date(2020, 1, 1))]


@pytest.mark.parametrize("name", FORMATS)
def test_nanoseconds_go_in_where_they_are_whole_microseconds(lake: Lake, name: str) -> None:
    dataset = made(lake, name, pa.schema([("at", pa.timestamp("us", "UTC")), ("id", pa.int64())]))
    exact = pa.table({"id": [1], "at": pa.array([1_000], pa.timestamp("ns", "America/New_York"))})
    dataset.append(exact)
    with pytest.raises(Config, match=r"column 'at': .* nothing is truncated"):
        dataset.append(pa.table({"id": [1], "at": pa.array([1_001], pa.timestamp("ns", "UTC"))}))
    with pytest.raises(Config, match=r"column 'at': .* has no zone"):
        dataset.append(pa.table({"id": [1], "at": pa.array([1_000], pa.timestamp("us"))}))
    assert dataset.read().to_arrow().column("at").to_pylist() == [dt.datetime(1970, 1, 1, microsecond=1, tzinfo=UTC)]


@pytest.mark.parametrize("name", FORMATS)
def test_a_wrong_schema_and_a_wrong_value_leave_nothing_behind(lake: Lake, tmp_path: Path, name: str) -> None:
    dataset = made(lake, name, pa.schema([pa.field("id", pa.int64(), nullable=False)]))
    before = sorted(str(path) for path in tmp_path.rglob("*") if path.is_file())
    wrong: tuple[tuple[pa.Table, str], ...] = (
        (pa.table({"id": ["x"]}), "column 'id'"),
        (pa.table({"ids": [1]}), "column 'ids'"),
        (pa.table({"id": pa.array([1, None])}), "column 'id': 1 value"),
    )
    for rows, message in wrong:
        for write in (dataset.append, dataset.overwrite):
            with pytest.raises(Config, match=message):
                write(rows)
    assert sorted(str(path) for path in tmp_path.rglob("*") if path.is_file()) == before
    assert dataset.read().to_arrow().num_rows == 0


@pytest.mark.parametrize("name", FORMATS)
def test_a_stream_that_fails_half_way_leaves_nothing_behind(lake: Lake, tmp_path: Path, name: str) -> None:
    dataset = made(lake, name, pa.schema([pa.field("id", pa.int64())]))
    before = sorted(str(path) for path in tmp_path.rglob("*") if path.is_file())

    def rows() -> Any:
        for number in range(3):
            yield pa.record_batch({"id": pa.array(range(5_000_000 * number, 5_000_000 * (number + 1)), pa.int64())})
        raise ConnectionError("the source of the stream is gone")

    with pytest.raises(ConnectionError):
        dataset.append(rows())
    assert sorted(str(path) for path in tmp_path.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("name", FORMATS)
def test_a_table_that_is_there_is_not_made_anew(lake: Lake, name: str) -> None:
    made(lake, name).append(ROWS)
    with pytest.raises(Conflict):
        made(lake, name)
    assert ids(lake[name]) == [1, 2, 3]


@pytest.mark.parametrize("name", ["parquet", "delta", "iceberg"])
def test_replicas_are_synced_and_only_read(tmp_path: Path, name: str) -> None:
    lake = lake_in(tmp_path)
    places = (
        ReplicaSettings(str(tmp_path / "copies" / name)),
        ReplicaSettings("nowhere:x"),
        ReplicaSettings(str(tmp_path / "two")),
    )
    named = {
        **lake.settings.datasets,
        name: DatasetSettings(name, str(tmp_path / name), lake.settings.datasets[name].format, places),
    }
    lake = Lake(Settings(lake.settings.stores, lake.settings.catalogs, named))
    dataset = made(lake, name)
    dataset.append(ROWS)
    first, wrong, last = dataset.sync_replicas()
    assert (first.ok, wrong.ok, last.ok) == (True, False, True)
    assert first.result is not None
    assert isinstance(wrong.error, Config)
    copy = lake[f"{name}_copy"]
    assert ids(copy) == [1, 2, 3]
    for write in (copy.append, copy.overwrite):
        with pytest.raises(Conflict, match="is a replica"):
            write(ROWS)
    dataset.append(ROWS)
    assert all(one.ok for one in dataset.sync_replicas() if one.to != "nowhere:x")
    assert ids(copy) == [1, 1, 2, 2, 3, 3]


def test_a_table_of_another_lake_is_synced_into_the_storage_catalog_and_out_of_it(lake: Lake, tmp_path: Path) -> None:
    made(lake, "iceberg").append(ROWS)
    settings = lake.settings
    assert not sync("iceberg", "lake:copies.t", settings=settings).unchanged
    lake["iceberg"].append(ROWS)
    assert not sync("iceberg", "lake:copies.t", settings=settings).unchanged
    assert sync("iceberg", "lake:copies.t", settings=settings).unchanged
    sync("lake:copies.t", str(tmp_path / "out"), settings=settings)
    named = {"in": DatasetSettings("in", "lake:copies.t"), "out": DatasetSettings("out", str(tmp_path / "out"))}
    again = Lake(Settings(settings.stores, settings.catalogs, named))
    assert ids(again["in"]) == ids(again["out"]) == [1, 1, 2, 2, 3, 3]
    with pytest.raises(Conflict, match="is a replica"):
        again["in"].append(ROWS)


def test_a_table_of_a_catalog_is_not_written_to_by_its_path(lake: Lake, tmp_path: Path) -> None:
    made(lake, "sql").append(ROWS)
    found = next((tmp_path / "sql").rglob("metadata")).parent
    by_path = Lake(Settings(datasets={"t": DatasetSettings("t", str(found), "iceberg")}))
    with pytest.raises(Unsupported, match="a catalog keeps this table's commits"):
        by_path["t"].append(ROWS)


def test_names_formats_and_columns_that_are_not_known_are_errors_of_the_call(lake: Lake) -> None:
    with pytest.raises(Config, match=r"no dataset 'icebreg'.*did you mean 'iceberg'"):
        lake["icebreg"]
    with pytest.raises(Config, match="say the format"):
        lake.create_dataset("delta", SCHEMA)
    with pytest.raises(Config, match=r"lake\.toml says parquet, the call delta"):
        lake.create_dataset("parquet", SCHEMA, format="delta")
    with pytest.raises(Config, match="catalogs hold Iceberg tables"):
        lake.create_dataset("cataloged", SCHEMA, format="delta")
    for name in FORMATS:
        with pytest.raises(Config, match="partition_by names 'x'"):
            made(lake, name, partition_by=("x",))
    with pytest.raises(NotFound):
        lake["delta"].append(ROWS)
    assert sorted(lake)[:2] == ["cataloged", "delta"]
    assert "delta" in lake and len(lake) == 8


def test_a_lake_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "lake.toml").write_text('[dataset.t]\ntable = "t"\nformat = "delta"\n')
    lake = Lake.from_config(tmp_path / "lake.toml")
    lake.create_dataset("t", pa.schema([("id", pa.int64())])).append(pa.table({"id": [4]}))
    assert ids(lake["t"]) == [4]
    assert (tmp_path / "t" / "_delta_log").is_dir()
    assert lake.sql("SELECT sum(id) AS s FROM t").to_arrow().to_pylist() == [{"s": 4}]


def test_files_of_an_older_table_are_appended_to(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "parquet" / "q=7"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"id": [9]}), folder / "old.parquet")
    lake["parquet"].append(pa.table({"q": [8], "id": [10]}))
    assert sorted(lake["parquet"].read().to_arrow().to_pylist(), key=str) == [{"id": 10, "q": 8}, {"id": 9, "q": 7}]


def test_text_that_would_be_read_back_as_something_else_is_no_folder(lake: Lake) -> None:
    dataset = made(lake, "parquet", pa.schema([("p", pa.string()), ("id", pa.int64())]), ("p",))
    for text in ("", "7", "2024-01-01", "__HIVE_DEFAULT_PARTITION__"):
        with pytest.raises(Config, match="read back as something else"):
            dataset.append(pa.table({"p": [text], "id": [1]}))
    odd = ["01", "..", "a=b/c", "ünï", "100%"]
    dataset.append(pa.table({"p": odd, "id": range(5)}))
    assert dataset.read().to_arrow().sort_by("id").column("p").to_pylist() == odd


def test_a_summary_that_would_not_list_new_files_is_refused_by_name(lake: Lake, tmp_path: Path) -> None:
    dataset = made(lake, "parquet")
    (tmp_path / "parquet" / "_metadata").write_bytes(b"PAR1")
    with pytest.raises(Unsupported, match="_metadata"):
        dataset.append(ROWS)
