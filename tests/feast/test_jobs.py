"""A job is a promise: nothing is read before its rows are taken, each time anew, and it says what it is of."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import Entity, FeatureService, FeatureView, Field, KafkaSource, PushSource, ValueType
from feast.batch_feature_view import BatchFeatureView
from feast.data_format import JsonFormat
from feast.stream_feature_view import StreamFeatureView
from feast.types import Int64

from lakehouse.errors import NotFound
from tests.feast.conftest import WorldOf
from tests.feast.lines import DRIVER, INSTANT, STATS, TEN, UTC, at, called, drivers, frame, number, rows
from tests.feast.serving import conv_view
from tests.feast.worlds import LAKE_KINDS, Kind, SourceOf, World, made

pytestmark = pytest.mark.xdist_group("feast-historical")


def test_nothing_is_read_before_rows_are_taken(tmp_path: Path) -> None:
    world = made(tmp_path, "parquet", {"stats": STATS}, conv_view())
    data = tmp_path / "data" / "stats"
    data.rename(tmp_path / "away")

    job = world.store.get_historical_features(drivers((1, TEN)), ["stats:conv"])
    with pytest.raises(NotFound):
        job.to_arrow()

    (tmp_path / "away").rename(data)
    assert job.to_arrow()["conv"].to_pylist() == [0.2]


def test_rows_may_be_taken_again_and_are_then_those_of_that_moment(tmp_path: Path) -> None:
    world = made(tmp_path, "delta", {"stats": STATS}, conv_view())
    job = world.store.get_historical_features(drivers((1, TEN)), ["stats:conv"])

    assert job.to_arrow().equals(job.to_arrow())
    assert job.to_df()["conv"].tolist() == [0.2]
    newer = rows({name: STATS.schema.field(name).type for name in STATS.column_names}, (1, at("09:59"), at("10:00"), 0.9, 1))
    world.lake["stats"].append(newer)
    assert job.to_df()["conv"].tolist() == [0.2]
    assert world.historical(drivers((1, at("09:59"))), ["stats:conv"])["conv"].to_pylist() == [0.9]


def test_the_frame_that_is_asked_is_left_as_it_was(lines_world: WorldOf) -> None:
    asked = frame(driver=[2, 1], t=["2024-05-01T12:00:00+02:00", "2024-05-01T10:00:00Z"], label=["a", "b"])
    before = asked.copy(deep=True)

    lines_world("parquet").historical(asked, ["stats:conv"])

    assert asked.equals(before)
    assert list(asked.columns) == list(before.columns)


def test_a_job_says_its_features_its_keys_and_its_times(lines_world: WorldOf) -> None:
    job = lines_world("parquet").store.get_historical_features(
        frame(driver=[1, 2], t=[TEN, at("09:00")], label=[1, 2]), ["stats:conv", "fuel:price"]
    )

    assert job.metadata is not None
    assert sorted(job.metadata.features) == ["fuel:price", "stats:conv"]
    assert sorted(job.metadata.keys) == ["driver", "label"]
    assert (job.metadata.min_event_timestamp, job.metadata.max_event_timestamp) == (at("09:00"), TEN)


def test_columns_keep_their_types_and_stand_in_the_order_of_the_request(lines_world: WorldOf) -> None:
    answer = lines_world("delta").historical(frame(driver=[1], label=["x"], t=[TEN]), ["fuel:price", "stats:trips", "stats:conv"])

    assert answer.column_names == ["driver", "label", "event_timestamp", "price", "trips", "conv"]
    assert [answer.schema.field(name).type for name in ("driver", "price", "trips", "conv")] == [
        pa.int64(), pa.float64(), pa.int64(), pa.float64(),
    ]  # fmt: skip
    assert pa.types.is_timestamp(answer.schema.field("event_timestamp").type)
    assert answer.schema.field("event_timestamp").type.tz == "UTC"


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_dates_without_a_start_reach_back_as_far_as_the_widest_ttl(lines_world: WorldOf, kind: Kind) -> None:
    world = lines_world(kind)

    widest = world.historical(None, ["stats_2h:conv"], end_date=TEN)
    thirty_days = world.historical(None, ["stats:conv"], end_date=dt.datetime(2024, 5, 31, 9, 30))

    assert sorted(set(widest["event_timestamp"].to_pylist())) == [at("08:00"), at("09:00"), at("09:30"), TEN]
    assert min(thirty_days["event_timestamp"].to_pylist()) == at("09:30")
    assert max(thirty_days["event_timestamp"].to_pylist()) == at("23:00")


def test_dates_of_several_views_ask_for_each_key_and_time_of_any(lines_world: WorldOf) -> None:
    answer = lines_world("parquet").historical(
        None, ["stats:trips", "narrow:rating"], start_date=at("08:30"), end_date=at("09:00")
    )

    found = sorted(zip(answer["driver"].to_pylist(), answer["event_timestamp"].to_pylist(), answer["trips"].to_pylist(),
                       answer["rating"].to_pylist(), strict=True))  # fmt: skip
    assert found == [(1, at("09:00"), 1, 4.5), (3, at("09:00"), 8, None), (9, at("09:00"), 2, None)]


def test_dates_of_views_of_other_keys_leave_null_the_keys_that_a_row_has_not(lines_world: WorldOf) -> None:
    answer = lines_world("delta").historical(
        None, ["pairs:fare", "narrow:rating", "fuel:price"], start_date=at("07:00"), end_date=at("09:00")
    )

    columns = [answer[name].to_pylist() for name in ("event_timestamp", "driver", "city", "fare", "rating", "price")]
    assert sorted(zip(*columns, strict=True), key=repr) == sorted(
        [
            (at("08:00"), None, None, None, None, 1.5),
            (at("09:00"), 1, None, None, 4.5, 1.5),
            (at("09:00"), 1, "Ulm", 11.0, 4.5, 1.5),
            (at("09:00"), 2, "Ulm", 21.0, None, 1.5),
        ],
        key=repr,
    )


def test_dates_of_views_whose_times_differ_in_unit_are_instants_of_both(tmp_path: Path) -> None:
    def table(times: pa.Array, name: str) -> pa.Table:
        return pa.table({"driver": [1] * len(times), "event_timestamp": times, name: [0.5] * len(times)})

    nine = int(at("09:00").timestamp()) * 10**9
    tables = {
        "fine": table(pa.array([nine, nine + 1], pa.timestamp("ns", "UTC")), "a"),
        "naive": table(pa.array([at("09:00").replace(tzinfo=None)], pa.timestamp("us")), "b"),
        "days": table(pa.array([dt.date(2024, 5, 1)]), "c"),
    }
    world = made(tmp_path, "parquet", tables, lambda source: [DRIVER, *(
        FeatureView(name=name, entities=[DRIVER], schema=[number(feature)], source=source(name))
        for name, feature in (("fine", "a"), ("naive", "b"), ("days", "c"))
    )])  # fmt: skip

    answer = world.historical(None, ["fine:a", "naive:b", "days:c"], start_date=at("00:00"), end_date=TEN)
    times = answer["event_timestamp"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_pylist()
    assert times == [int(at("00:00").timestamp()) * 10**9, nine, nine + 1]
    assert [answer[name].to_pylist() for name in "abc"] == [[None, 0.5, 0.5], [None, 0.5, 0.5], [0.5, 0.5, 0.5]]


def test_dates_between_which_there_is_nothing_give_no_rows(lines_world: WorldOf) -> None:
    answer = lines_world("iceberg").historical(None, ["stats:conv"], start_date=at("02:00"), end_date=at("03:00"))

    assert (answer.num_rows, set(answer.column_names)) == (0, {"driver", "event_timestamp", "conv"})


def stream_definitions(source: SourceOf) -> list[Any]:
    """Views over sources that rows are pushed to, streamed to, or that batch engines know."""
    stats = source("stats")
    stream = KafkaSource(
        name="stream", kafka_bootstrap_servers="127.0.0.1:1", message_format=JsonFormat(schema_json="driver int, conv double"),
        topic="stats", timestamp_field="event_timestamp", batch_source=stats,
    )  # fmt: skip
    conv = [number("conv")]
    return [
        DRIVER,
        FeatureView(name="pushed", entities=[DRIVER], schema=conv, source=PushSource(name="push", batch_source=stats)),
        StreamFeatureView(name="streamed", entities=[DRIVER], schema=conv, source=stream, timestamp_field="event_timestamp"),
        BatchFeatureView(name="batch", entities=[DRIVER], schema=conv, source=stats, ttl=dt.timedelta(hours=2)),
    ]


def test_pushed_streamed_and_batch_views_are_read_from_their_batch_source(tmp_path: Path) -> None:
    world = made(tmp_path, "iceberg", {"stats": STATS}, stream_definitions)

    for view in ("pushed", "streamed", "batch"):
        assert world.historical(drivers((1, TEN), (5, TEN)), [f"{view}:conv"])["conv"].to_pylist() == [
            0.2, None if view == "batch" else 5.0,
        ]  # fmt: skip


def test_features_are_inferred_from_the_dataset_and_so_are_keys(tmp_path: Path) -> None:
    world = made(tmp_path, "delta", {"stats": STATS}, lambda source: [
        DRIVER, FeatureView(name="stats", entities=[DRIVER], source=source("stats", created_timestamp_column="created")),
    ])  # fmt: skip

    view = world.store.get_feature_view("stats")
    assert {feature.name: str(feature.dtype) for feature in view.features} == {"conv": "Float64", "trips": "Int64"}
    assert [column.name for column in view.entity_columns] == ["driver"]


def test_a_key_that_the_source_calls_otherwise_is_found_where_the_view_has_a_field_for_it(tmp_path: Path) -> None:
    rider = Entity(name="rider", join_keys=["rider"], value_type=ValueType.INT64)
    world = made(tmp_path, "parquet", {"stats": STATS}, lambda source: [rider, FeatureView(
        name="stats", entities=[rider], schema=[Field(name="rider", dtype=Int64), number("conv")],
        source=source("stats", field_mapping={"driver": "rider"}),
    )])  # fmt: skip

    assert world.historical(frame(rider=[1, 5], t=[TEN, TEN]), ["stats:conv"])["conv"].to_pylist() == [0.2, 5.0]


def test_one_view_joins_twice_by_other_names_of_its_several_keys(tmp_path: Path) -> None:
    legs = rows({"a": pa.string(), "b": pa.string(), "event_timestamp": INSTANT, "miles": pa.float64()},
                ("JFK", "LAX", at("08:00"), 2475.0), ("LAX", "JFK", at("08:00"), 2476.0))  # fmt: skip
    ends = [Entity(name=name, join_keys=[name], value_type=ValueType.STRING) for name in ("a", "b")]

    def definitions(source: SourceOf) -> list[Any]:
        view = FeatureView(name="legs", entities=ends, schema=[number("miles")], source=source("legs"))
        there, back = called(view, "there", {"a": "a", "b": "b"}), called(view, "back", {"a": "b", "b": "a"})
        return [*ends, view, FeatureService(name="both", features=[there, back])]

    world: World = made(tmp_path, "parquet", {"legs": legs}, definitions)
    answer = world.historical(
        frame(a=["JFK"], b=["LAX"], t=[TEN]), world.store.get_feature_service("both"), full_feature_names=True
    )

    assert (answer["there__miles"].to_pylist(), answer["back__miles"].to_pylist()) == ([2475.0], [2476.0])


def test_times_out_of_pandas_range_are_times(lines_world: WorldOf) -> None:
    far = pa.table({"driver": [1, 1], "event_timestamp": pa.array(
        [dt.datetime(1, 1, 1, tzinfo=UTC), dt.datetime(9999, 12, 31, tzinfo=UTC)], INSTANT,
    )})  # fmt: skip

    assert lines_world("parquet").historical(far, ["stats:conv", "stats_2h:trips"])["conv"].to_pylist() == [None, 0.3]
