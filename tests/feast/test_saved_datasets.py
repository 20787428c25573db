"""A result that is saved is a dataset of the lake, and Feast reads it again by its name."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.protos.feast.core.SavedDataset_pb2 import SavedDatasetStorage as SavedDatasetStorageProto
from feast.saved_dataset import SavedDataset, SavedDatasetStorage, _StorageRegistry
from feast.types import Float32, Int64

from lakehouse.errors import Config, Unsupported
from lakehouse_connectors.feast import LakeSource, SavedDatasetLakeStorage
from tests.feast.worlds import LAKE_KINDS, Kind, SourceOf, World, made

pytestmark = pytest.mark.filterwarnings("ignore:.*is an experimental feature:RuntimeWarning")

DRIVER = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
STATS = pa.table(
    {
        "driver": pa.array([1, 1, 2], pa.int64()),
        "event_timestamp": pa.array([NOON, NOON + HOUR, NOON], pa.timestamp("us", tz="UTC")),
        "rate": pa.array([0.5, 0.25, 0.125], pa.float32()),
    }
)


def definitions(source: SourceOf) -> list[Any]:
    fields = [Field(name="driver", dtype=Int64), Field(name="rate", dtype=Float32)]
    return [DRIVER, FeatureView(name="stats", entities=[DRIVER], schema=fields, source=source("stats"))]


def repository(folder: Path, kind: Kind) -> World:
    """One with a dataset ``kept`` that has no table yet."""
    world = made(folder, kind, {"stats": STATS}, definitions)
    with (folder / "lake.toml").open("a") as file:
        file.write(f'[dataset.kept]\ntable = "{folder / "data" / "kept"}"\nformat = "{kind}"\n')
    return world


@pytest.fixture(params=LAKE_KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return repository(tmp_path, request.param)


@pytest.fixture
def delta(tmp_path: Path) -> World:
    return repository(tmp_path, "delta")


def asked(drivers: list[int], time: str = "event_timestamp") -> pd.DataFrame:
    return pd.DataFrame({"driver": drivers, time: [NOON + HOUR + n * HOUR for n in range(len(drivers))], "label": drivers})


def saved(world: World, entity_rows: pd.DataFrame, storage: SavedDatasetStorage, **options: Any) -> SavedDataset:
    job = world.store.get_historical_features(entity_rows, ["stats:rate"])
    return world.store.create_saved_dataset(job, "training", storage, **options)


def test_a_saved_dataset_is_a_table_of_the_lake_and_is_read_again_with_the_same_rows(world: World) -> None:
    made_now = saved(world, asked([1, 2, 3]), SavedDatasetLakeStorage(dataset="kept"))
    in_the_lake = world.lake["kept"].read().to_arrow().sort_by("driver").to_pylist()
    assert [(row["driver"], row["rate"], row["label"]) for row in in_the_lake] == [(1, 0.25, 1), (2, 0.125, 2), (3, None, 3)]
    again = world.store.get_saved_dataset("training")
    assert again == made_now
    for found in (made_now, again):
        frame = found.to_df().sort_values("driver")
        assert frame["driver"].tolist() == [1, 2, 3]
        assert frame["rate"].tolist()[:2] == [0.25, 0.125]
        assert frame["event_timestamp"].tolist() == [NOON + HOUR, NOON + 2 * HOUR, NOON + 3 * HOUR]


def test_a_table_that_is_there_is_replaced_only_where_that_is_allowed(world: World) -> None:
    storage = SavedDatasetLakeStorage(dataset="kept")
    saved(world, asked([1, 2, 3]), storage)
    with pytest.raises(SavedDatasetLocationAlreadyExists, match="dataset kept"):
        saved(world, asked([2]), storage)
    assert world.lake["kept"].read().count_rows() == 3
    saved(world, asked([2]), storage, allow_overwrite=True)
    assert world.lake["kept"].read(["driver"]).to_arrow().to_pylist() == [{"driver": 2}]


def test_a_result_of_other_columns_does_not_overwrite_a_saved_one(delta: World) -> None:
    storage = SavedDatasetLakeStorage(dataset="kept")
    saved(delta, asked([1]), storage)
    with pytest.raises(Config, match="weight"):
        saved(delta, asked([1]).assign(weight=1.5), storage, allow_overwrite=True)
    assert delta.lake["kept"].read().count_rows() == 1


def test_rows_whose_times_have_another_name_are_read_again_by_it(delta: World) -> None:
    saved(delta, asked([1, 2], "asked_at"), SavedDatasetLakeStorage(dataset="kept", timestamp_field="asked_at"))
    frame = delta.store.get_saved_dataset("training").to_df().sort_values("driver")
    assert frame["rate"].tolist() == [0.25, 0.125]
    assert frame["asked_at"].tolist() == [NOON + HOUR, NOON + 2 * HOUR]


def test_lake_toml_must_name_the_dataset_and_the_message_says_what_to_add(delta: World) -> None:
    with pytest.raises(
        Config, match=r'no dataset .elsewhere. .*add to it \[dataset.elsewhere\] with table = .*format = "parquet"'
    ):
        saved(delta, asked([1]), SavedDatasetLakeStorage(dataset="elsewhere"))
    with (delta.folder / "lake.toml").open("a") as file:
        file.write(f'[dataset.elsewhere]\ntable = "{delta.folder / "data" / "elsewhere"}"\n')
    with pytest.raises(Config, match="dataset elsewhere: say the format, parquet, delta or iceberg"):
        saved(delta, asked([1]), SavedDatasetLakeStorage(dataset="elsewhere"))


def test_a_storage_of_another_store_is_refused(delta: World) -> None:
    with pytest.raises(Config, match=r"SavedDatasetFileStorage is none of this store's; save to SavedDatasetLakeStorage"):
        saved(delta, asked([1]), SavedDatasetFileStorage(path=str(delta.folder / "kept.parquet")))


def test_a_storage_is_read_back_from_the_registry_though_another_plug_in_uses_the_same_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claims = _StorageRegistry.all_classes_by_proto_attr_name
    monkeypatch.setitem(claims, "custom_storage", [*claims["custom_storage"], SavedDatasetFileStorage])
    monkeypatch.setitem(_StorageRegistry.classes_by_proto_attr_name, "custom_storage", SavedDatasetFileStorage)
    storage = SavedDatasetLakeStorage(dataset="kept", timestamp_field="asked_at")
    assert SavedDatasetStorage.from_proto(storage.to_proto()) == storage
    assert hash(storage) == hash(SavedDatasetLakeStorage("kept", "asked_at")) and storage != SavedDatasetLakeStorage("kept")
    assert b"/" not in storage.to_proto().SerializeToString(), "a name, never a place"
    theirs = SavedDatasetStorageProto(custom_storage=DataSourceProto.CustomSourceOptions(configuration=b'{"path": "x"}'))
    with pytest.raises(ValueError, match="cannot be read back unambiguously"):
        SavedDatasetStorage.from_proto(theirs)
    with pytest.raises(Config, match="another plug-in did"):
        SavedDatasetLakeStorage.from_proto(theirs)


def test_a_storage_is_made_from_a_source_of_the_lake_that_is_not_pinned() -> None:
    source = LakeSource(dataset="kept", timestamp_field="asked_at")
    assert SavedDatasetStorage.from_data_source(source) == SavedDatasetLakeStorage("kept", "asked_at")
    assert SavedDatasetLakeStorage("kept", "asked_at").to_data_source() == source
    with pytest.raises(Unsupported, match="one point of the dataset's history"):
        SavedDatasetStorage.from_data_source(LakeSource(dataset="kept", ref="release"))
    with pytest.raises(Config, match="no LakeSource"):
        SavedDatasetLakeStorage.from_data_source(FileSource(path="kept.parquet"))
