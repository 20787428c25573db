"""What a feature service served is logged to a dataset of the lake, in each format."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureView, Field, ValueType
from feast.feature_logging import FeatureServiceLoggingSource, LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.types import Float32, Int32, Int64

from lakehouse.errors import Config, NotFound
from lakehouse_connectors.feast import LakeLoggingDestination, LakeSource
from lakehouse_connectors.feast.writing import append_logs
from tests.feast.worlds import LAKE_KINDS, Kind, SourceOf, World, made

DRIVER = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
STATS = pa.schema(
    [("driver", pa.int64()), ("event_timestamp", pa.timestamp("us", tz="UTC")), ("rate", pa.float32()), ("trips", pa.int32())]
).empty_table()


def definitions(source: SourceOf) -> list[Any]:
    fields = [Field(name="driver", dtype=Int64), Field(name="rate", dtype=Float32), Field(name="trips", dtype=Int32)]
    stats = FeatureView(name="stats", entities=[DRIVER], schema=fields, source=source("stats"))
    config = LoggingConfig(destination=LakeLoggingDestination(dataset="served"))
    return [
        DRIVER,
        stats,
        FeatureService(name="scores", features=[stats[["rate"]]], logging_config=config),
        FeatureService(name="changed", features=[stats[["rate", "trips"]]], logging_config=config),
    ]


def repository(folder: Path, kind: Kind) -> World:
    """One with a dataset ``served`` that has no table yet."""
    world = made(folder, kind, {"stats": STATS}, definitions)
    with (folder / "lake.toml").open("a") as file:
        file.write(f'[dataset.served]\ntable = "{folder / "data" / "served"}"\nformat = "{kind}"\n')
    return world


@pytest.fixture(params=LAKE_KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return repository(tmp_path, request.param)


@pytest.fixture
def parquet(tmp_path: Path) -> World:
    return repository(tmp_path, "parquet")


def logs(world: World, drivers: list[int], service: str = "scores") -> pa.Table:
    """As a server writes them: one row a request."""
    source = FeatureServiceLoggingSource(world.store.get_feature_service(service), world.store.project)
    rows = [
        {
            "driver": driver,
            "stats__rate": driver / 2,
            "stats__rate__timestamp": NOON,
            "stats__rate__status": 2,
            "__log_timestamp": NOON + dt.timedelta(seconds=driver, microseconds=1),
            "__log_date": NOON.date(),
            "__request_id": f"request {driver}",
        }
        for driver in drivers
    ]
    return pa.Table.from_pylist(rows, source.get_schema(world.store.registry))


def write_logs(world: World, what: pa.Table | Path, service: str = "scores") -> None:
    world.store.write_logged_features(what, world.store.get_feature_service(service))


def served(world: World) -> list[tuple[int, float]]:
    rows = world.lake["served"].read(["driver", "stats__rate"]).to_arrow().to_pylist()
    return sorted((row["driver"], row["stats__rate"]) for row in rows)


def test_the_first_logs_make_the_table_and_later_ones_are_appended(world: World) -> None:
    write_logs(world, logs(world, [1, 2]))
    write_logs(world, logs(world, [3]))
    assert served(world) == [(1, 0.5), (2, 1.0), (3, 1.5)]
    assert world.lake["served"].schema().field("__log_timestamp").type == pa.timestamp("us", tz="UTC")


def test_a_folder_of_parquet_files_is_one_commit_and_unfinished_files_wait(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    for number in (4, 5):
        pq.write_table(logs(world, [number, number + 10]), folder / f"{number}.parquet")
    (folder / "_unfinished.parquet").write_bytes(b"PAR1")
    write_logs(world, folder)
    assert [driver for driver, _ in served(world)] == [4, 5, 14, 15]
    if world.kind != "parquet":
        assert len(world.lake["served"].history()) <= 2, "the table, and one commit for both files"


def test_feast_reads_the_logs_of_a_range_of_times_again(world: World) -> None:
    write_logs(world, logs(world, [1, 2, 3]))
    job = world.store._get_provider().retrieve_feature_service_logs(
        feature_service=world.store.get_feature_service("scores"),
        start_date=NOON + dt.timedelta(seconds=2),
        end_date=NOON + dt.timedelta(seconds=3),
        config=world.store.config,
        registry=world.store.registry,
    )
    assert job.to_arrow().column("driver").to_pylist() == [2]


def test_of_two_loggers_that_find_no_table_both_write(parquet: World) -> None:
    """Feast asks for the schema between the look for a table and its creation: just then the other one makes it."""
    other = logs(parquet, [7])

    class Later(FeatureServiceLoggingSource):
        def get_schema(self, registry: Any) -> pa.Schema:
            write_logs(parquet, other)
            return super().get_schema(registry)

    service, config = parquet.store.get_feature_service("scores"), parquet.store.config
    assert service.logging_config is not None
    source = Later(service, parquet.store.project)
    append_logs(config, logs(parquet, [8]), source, service.logging_config, parquet.store.registry)
    assert [driver for driver, _ in served(parquet)] == [7, 8]


def test_a_page_that_is_damaged_ends_it_and_nothing_is_written(parquet: World, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    for number in (1, 2):
        pq.write_table(logs(parquet, [number] * 1000), folder / f"{number}.parquet", compression="zstd", use_dictionary=False)
    damaged = bytearray((folder / "2.parquet").read_bytes())
    damaged[4:400] = bytes(396)
    (folder / "2.parquet").write_bytes(damaged)
    with pytest.raises(NotFound, match=r"2\.parquet: cannot be read"):
        write_logs(parquet, folder)
    assert served(parquet) == []


def test_a_folder_without_files_writes_nothing(parquet: World, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    write_logs(parquet, tmp_path / "spool")
    with pytest.raises(NotFound):
        parquet.lake["served"].schema()


def test_logs_of_a_service_that_changed_do_not_fit_and_nothing_of_them_is_written(parquet: World, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    write_logs(parquet, logs(parquet, [1]))
    pq.write_table(logs(parquet, [2]), folder / "1.parquet")
    pq.write_table(logs(parquet, [3], "changed"), folder / "2.parquet")
    for what in (folder, logs(parquet, [3], "changed")):
        with pytest.raises(Config, match=r"more columns \['stats__trips', .*log a service that has changed to another dataset"):
            write_logs(parquet, what)
    assert served(parquet) == [(1, 0.5)]


def test_files_that_cannot_be_read_are_named_and_nothing_is_written(parquet: World, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    pq.write_table(logs(parquet, [2]), folder / "1.parquet")
    (folder / "2.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(NotFound, match=r"2\.parquet"):
        write_logs(parquet, folder)
    with pytest.raises(NotFound, match="gone"):
        write_logs(parquet, tmp_path / "gone")
    with pytest.raises(NotFound):
        parquet.lake["served"].schema()


def test_lake_toml_must_name_the_dataset_of_logs(parquet: World) -> None:
    toml = parquet.folder / "lake.toml"
    toml.write_text(toml.read_text().replace("[dataset.served]", "[dataset.something]"))
    with pytest.raises(Config, match=r"no dataset 'served'.*add to it \[dataset.served\]"):
        write_logs(parquet, logs(parquet, [1]))


def test_a_destination_of_another_store_is_refused(parquet: World) -> None:
    service = parquet.store.get_feature_service("scores")
    service.logging_config = LoggingConfig(destination=FileLoggingDestination(path="logs"))
    with pytest.raises(Config, match=r"FileLoggingDestination is none of this store's; log to LakeLoggingDestination"):
        parquet.store.write_logged_features(logs(parquet, [1]), service)


def test_a_destination_is_read_back_from_the_registry(parquet: World) -> None:
    config = parquet.store.get_feature_service("scores").logging_config
    assert config is not None
    assert config.destination == LakeLoggingDestination(dataset="served")
    assert hash(config.destination) == hash(LakeLoggingDestination("served")) != hash(LakeLoggingDestination("other"))
    assert config.destination.to_data_source() == LakeSource(dataset="served", timestamp_field="__log_timestamp")
