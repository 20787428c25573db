"""What is pushed is appended to the dataset that the view reads, in each format, or refused with nothing written."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, PushSource, ValueType
from feast.data_source import PushMode
from feast.types import Array, Float32, Int32, Int64, String

from lakehouse.errors import Config, Unsupported
from lakehouse_connectors.feast.writing import append_features
from tests.feast.worlds import LAKE_KINDS, Kind, SourceOf, World, made, source_of

DRIVER = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
SCHEMA = pa.schema(
    [
        ("driver", pa.int64()),
        ("event_timestamp", pa.timestamp("us", tz="UTC")),
        ("trips", pa.int32()),
        ("rate", pa.float32()),
        ("city", pa.string()),
        ("seats", pa.list_(pa.int32())),
    ]
)
FIELDS = [
    Field(name="driver", dtype=Int64),
    Field(name="trips", dtype=Int32),
    Field(name="rate", dtype=Float32),
    Field(name="town", dtype=String),
    Field(name="seats", dtype=Array(Int32)),
]
NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)


def definitions(source: SourceOf) -> list[Any]:
    stats = source("stats", field_mapping={"city": "town"})
    pushed = PushSource(name="pushed", batch_source=stats)
    return [DRIVER, FeatureView(name="stats", entities=[DRIVER], schema=FIELDS, source=pushed)]


@pytest.fixture(scope="module")
def world_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], World]:
    first = {"driver": 1, "event_timestamp": NOON, "trips": 1, "rate": 0.5, "city": "Rome", "seats": [4]}
    return cache(
        lambda kind: made(tmp_path_factory.mktemp(kind), kind, {"stats": pa.Table.from_pylist([first], SCHEMA)}, definitions)
    )


@pytest.fixture(params=LAKE_KINDS)
def world(request: pytest.FixtureRequest, world_of: Callable[[Kind], World]) -> World:
    return world_of(request.param)


@pytest.fixture
def delta(world_of: Callable[[Kind], World]) -> World:
    return world_of("delta")


def frame(driver: int, **changed: Any) -> pd.DataFrame:
    """One row as pandas has it: 64 bits and nanoseconds, columns in an order of their own."""
    values: dict[str, Any] = {
        "trips": [7],
        "rate": [0.1],
        "driver": [driver],
        "city": ["Bari"],
        "seats": [[4, 2]],
        "event_timestamp": [pd.Timestamp("2024-05-01T14:00:00+02:00")],
    }
    return pd.DataFrame({**values, **{name: [value] for name, value in changed.items()}})


def rows_of(world: World, driver: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.lake["stats"].read(where=f"driver = {driver}").to_arrow().to_pylist()
    return found


def test_a_push_to_the_offline_store_is_one_commit_that_a_training_set_reads(world: World) -> None:
    before = len(world.lake["stats"].history())
    two = pd.concat([frame(10), frame(10, event_timestamp=pd.Timestamp("2024-05-02", tz="UTC"), trips=8)])
    world.store.push("pushed", two, to=PushMode.OFFLINE)
    if world.kind != "parquet":
        assert len(world.lake["stats"].history()) == before + 1
    asked = pa.table({"driver": [10], "event_timestamp": [dt.datetime(2024, 5, 3, tzinfo=dt.UTC)]})
    [row] = world.historical(asked.to_pandas(), ["stats:trips", "stats:town"]).to_pylist()
    assert (row["trips"], row["town"]) == (8, "Bari")


def test_pushed_numbers_and_times_of_pandas_become_the_columns_own(world: World) -> None:
    world.store.push("pushed", frame(11), to=PushMode.OFFLINE)
    [row] = rows_of(world, 11)
    assert row == {
        "driver": 11,
        "event_timestamp": NOON,
        "trips": 7,
        "rate": pytest.approx(0.1),
        "city": "Bari",
        "seats": [4, 2],
    }
    assert world.lake["stats"].schema().field("trips").type == pa.int32()


def test_where_names_are_mapped_feast_pushes_online_by_those_of_the_view_and_offline_by_those_of_the_dataset(
    delta: World,
) -> None:
    delta.store.push("pushed", frame(12), to=PushMode.OFFLINE)
    delta.store.push("pushed", frame(12).rename(columns={"city": "town"}), to=PushMode.ONLINE)
    online = delta.store.get_online_features(features=["stats:trips", "stats:town"], entity_rows=[{"driver": 12}]).to_dict()
    assert (online["trips"], online["town"]) == ([7], ["Bari"])
    assert len(rows_of(delta, 12)) == 1


def test_a_pushed_time_without_a_zone_is_utc_whatever_the_host(delta: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        delta.store.push("pushed", frame(13, event_timestamp=pd.Timestamp("2024-05-01T12:00:00")), to=PushMode.OFFLINE)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [row["event_timestamp"] for row in rows_of(delta, 13)] == [NOON]


def test_rows_that_were_picked_out_of_a_frame_are_pushed_without_their_numbers(delta: World) -> None:
    both = pd.concat([frame(14), frame(15)], ignore_index=True)
    delta.store.push("pushed", both[both["driver"] == 15], to=PushMode.OFFLINE)
    assert (len(rows_of(delta, 14)), len(rows_of(delta, 15))) == (0, 1)


def test_missing_numbers_which_pandas_makes_floats_are_null(delta: World) -> None:
    two = pd.concat([frame(16, trips=None), frame(16, trips=3)])
    delta.store.push("pushed", two.astype({"trips": "float64"}), to=PushMode.OFFLINE)
    assert sorted((row["trips"] for row in rows_of(delta, 16)), key=str) == [3, None]


@pytest.mark.parametrize(
    ("changed", "column"),
    [
        ({"trips": 2**40}, "trips"),
        ({"trips": 1.5}, "trips"),
        ({"seats": [2**40]}, "seats"),
        ({"event_timestamp": pd.Timestamp("2024-05-01T12:00:00.000000001Z")}, "event_timestamp"),
        ({"city": 5}, "city"),
    ],
)
def test_a_value_that_the_column_cannot_hold_is_refused_and_nothing_is_written(
    delta: World, changed: dict[str, Any], column: str
) -> None:
    with pytest.raises(Config, match=f"column '{column}'"):
        delta.store.push("pushed", frame(17, **changed), to=PushMode.OFFLINE)
    assert rows_of(delta, 17) == []


def test_other_columns_or_another_order_are_a_value_error_as_in_feasts_own_stores(delta: World) -> None:
    view, config = delta.store.get_feature_view("stats"), delta.store.config
    good = pa.Table.from_pylist([{"driver": 18}], SCHEMA)
    backwards = good.select(good.column_names[::-1])
    for wrong in (backwards, good.drop_columns(["rate"]), good.append_column("more", [[1]])):
        with pytest.raises(ValueError, match=re.escape(f"expects {SCHEMA.names}, in this order")):
            append_features(config, view, wrong, None)
    assert rows_of(delta, 18) == []


def test_columns_may_have_the_names_of_the_field_mapping_and_progress_gets_the_number_of_rows(delta: World) -> None:
    view, told = delta.store.get_feature_view("stats"), list[int]()
    mapped = pa.Table.from_pylist(
        [{"driver": 19, "event_timestamp": NOON, "city": "Pisa"}, {"driver": 19, "event_timestamp": NOON}], SCHEMA
    )
    append_features(delta.store.config, view, mapped.rename_columns({"city": "town"}), told.append)
    assert told == [2]
    assert sorted((row["city"] for row in rows_of(delta, 19)), key=str) == [None, "Pisa"]


def test_no_rows_make_no_commit(delta: World) -> None:
    before = len(delta.lake["stats"].history())
    append_features(delta.store.config, delta.store.get_feature_view("stats"), SCHEMA.empty_table(), None)
    assert len(delta.lake["stats"].history()) == before


def test_a_source_pinned_to_a_point_of_history_takes_no_rows(delta: World) -> None:
    for pin in ({"as_of": "2999-01-01T00:00:00Z"}, {"ref": "main"}):
        source = source_of(delta.folder, "delta")("stats", name="pinned", **pin)
        view = FeatureView(name="as_it_was", entities=[DRIVER], schema=FIELDS, source=source)
        with pytest.raises(Unsupported, match=r"as_it_was.*pinned.*neither as_of nor ref"):
            append_features(delta.store.config, view, pa.Table.from_pylist([{"driver": 20}], SCHEMA), None)
    assert rows_of(delta, 20) == []


def test_a_dataset_that_is_a_replica_is_not_written_to(tmp_path: Path) -> None:
    from lakehouse import Conflict, sync

    world = made(tmp_path / "repo", "delta", {"stats": SCHEMA.empty_table()}, definitions)
    table = tmp_path / "repo" / "data" / "stats"
    sync(str(table), str(tmp_path / "copy"))
    text = (tmp_path / "repo" / "lake.toml").read_text().replace(str(table), str(tmp_path / "copy"))
    (tmp_path / "repo" / "lake.toml").write_text(text)
    with pytest.raises(Conflict, match="is a replica"):
        world.store.push("pushed", frame(21), to=PushMode.OFFLINE)
