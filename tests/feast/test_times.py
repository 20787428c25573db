"""Times of every kind that tables hold are instants: of any unit, any zone or none, and days."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.feast.lines import INSTANT, MICROSECOND, TEN, at, frame
from tests.feast.serving import conv_view, newest, online
from tests.feast.worlds import LAKE_KINDS, Kind, made

pytestmark = pytest.mark.xdist_group("feast-online")


@pytest.mark.parametrize("unit", ["ns", "us", "ms"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", None])
def test_parquet_times_of_any_unit_and_zone_are_materialized_and_joined(tmp_path: Path, unit: str, zone: str | None) -> None:
    kind = pa.timestamp(unit, zone)
    times = pa.array([at("08:00"), at("09:00"), at("12:00")], INSTANT)
    held = times.cast(pa.timestamp(unit, "UTC")).cast(pa.timestamp(unit)) if zone is None else times.cast(kind)
    table = pa.table({"driver": [1, 1, 1], "event_timestamp": held, "created": held, "conv": [1.0, 2.0, 3.0]})
    folder = tmp_path / "data" / "stats"
    world = made(tmp_path, "parquet", {"stats": table.slice(0, 0)}, conv_view(created_timestamp_column="created"))
    pq.write_table(table, folder / "by-another-engine.parquet")
    world.store.materialize(at("08:00"), at("09:00"))

    assert online(world, ["stats:conv"], driver=[1])["conv"] == [2.0]
    asked = frame(driver=[1, 1, 1], t=[at("07:59"), at("09:00"), at("13:00")])
    assert world.historical(asked, ["stats:conv"])["conv"].to_pylist() == [None, 2.0, 3.0]


def test_times_of_96_bits_as_spark_once_wrote_them_are_instants(tmp_path: Path) -> None:
    """The trap INT96 of plain Parquet."""
    times = pa.array([at("09:00").replace(tzinfo=None), at("11:00").replace(tzinfo=None)], pa.timestamp("ns"))
    table = pa.table({"driver": [1, 1], "event_timestamp": times, "conv": [1.0, 2.0]})
    world = made(tmp_path, "parquet", {"stats": table.slice(0, 0)}, conv_view())
    pq.write_table(table, tmp_path / "data" / "stats" / "by-spark.parquet", use_deprecated_int96_timestamps=True)

    assert world.historical(frame(driver=[1, 1], t=[TEN, at("11:00")]), ["stats:conv"])["conv"].to_pylist() == [1.0, 2.0]
    assert newest(world, "stats", ["conv"], at("08:00"), TEN) == {1: (1.0,)}


def test_nanoseconds_are_compared_exactly(tmp_path: Path) -> None:
    base = int(TEN.timestamp()) * 10**9
    instants = pa.timestamp("ns", "UTC")
    table = pa.table(
        {
            "driver": [1, 1, 1, 1],
            "event_timestamp": pa.array([base + 1, base + 3, base + 3, base + 5], instants),
            "created": pa.array([base + 1, base + 2, base + 1, base], instants),
            "conv": [1.0, 3.0, 2.0, 5.0],
        }
    )
    world = made(tmp_path, "parquet", {"stats": table}, conv_view(created_timestamp_column="created"))
    times = pa.array([base, base + 1, base + 2, base + 3, base + 4, base + 1005], instants)
    asked = pa.table({"driver": [1] * 6, "event_timestamp": times})

    assert world.historical(asked, ["stats:conv"])["conv"].to_pylist() == [None, 1.0, 1.0, 3.0, 3.0, 5.0]
    in_microseconds = pa.table({"driver": [1, 1], "event_timestamp": pa.array([TEN, TEN + MICROSECOND], INSTANT)})
    assert world.historical(in_microseconds, ["stats:conv"])["conv"].to_pylist() == [None, 5.0]
    assert newest(world, "stats", ["conv"], TEN, TEN + MICROSECOND) == {1: (5.0,)}
    assert newest(world, "stats", ["conv"], TEN - MICROSECOND, TEN) == {}


def test_a_ttl_ends_at_its_nanosecond(tmp_path: Path) -> None:
    base, instants = int(TEN.timestamp()) * 10**9, pa.timestamp("ns", "UTC")
    table = pa.table({"driver": [1], "event_timestamp": pa.array([base + 5], instants), "conv": [5.0]})
    world = made(tmp_path, "parquet", {"stats": table}, conv_view(MICROSECOND))
    asked = pa.table({"driver": [1, 1], "event_timestamp": pa.array([base + 1005, base + 1006], instants)})

    assert world.historical(asked, ["stats:conv"])["conv"].to_pylist() == [5.0, None]


def test_a_ttl_ends_at_its_nanosecond_for_features_in_microseconds_too(tmp_path: Path) -> None:
    base = int(TEN.timestamp()) * 10**9
    table = pa.table({"driver": [1], "event_timestamp": pa.array([TEN], INSTANT), "conv": [5.0]})
    world = made(tmp_path, "delta", {"stats": table}, conv_view(MICROSECOND))
    times = pa.array([base - 1, base, base + 1000, base + 1001], pa.timestamp("ns", "UTC"))

    answer = world.historical(pa.table({"driver": [1] * 4, "event_timestamp": times}), ["stats:conv"])
    assert answer["conv"].to_pylist() == [None, 5.0, 5.0, None]


def test_event_times_may_be_finer_or_coarser_than_created_times(tmp_path: Path) -> None:
    base = int(TEN.timestamp()) * 10**9
    table = pa.table(
        {
            "driver": [1, 1, 2],
            "event_timestamp": pa.array([TEN, TEN, at("09:00")], INSTANT),
            "created": pa.array([base + 2, base + 1, None], pa.timestamp("ns", "UTC")),
            "conv": [2.0, 1.0, 0.5],
        }
    )
    world = made(tmp_path, "parquet", {"stats": table}, conv_view(created_timestamp_column="created"))

    assert world.historical(frame(driver=[1, 2], t=[TEN, TEN]), ["stats:conv"])["conv"].to_pylist() == [2.0, 0.5]
    assert newest(world, "stats", ["conv"], TEN, TEN) == {1: (2.0,)}


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_a_day_is_known_from_its_midnight_in_utc(tmp_path: Path, kind: Kind) -> None:
    table = pa.table({"driver": [1, 1], "day": [dt.date(2024, 5, 1), dt.date(2024, 5, 2)], "conv": [1.0, 2.0]})
    world = made(tmp_path, kind, {"stats": table}, conv_view(dt.timedelta(hours=30), timestamp_field="day"))
    midnight = at("00:00", 2)
    end = midnight + dt.timedelta(hours=30)
    asked = frame(driver=[1] * 5, t=[at("00:00"), midnight - MICROSECOND, midnight, end, end + MICROSECOND])

    assert world.historical(asked, ["stats:conv"])["conv"].to_pylist() == [1.0, 1.0, 2.0, 2.0, None]
    assert newest(world, "stats", ["conv"], at("00:00"), midnight - MICROSECOND) == {1: (1.0,)}
    assert newest(world, "stats", ["conv"], at("00:00") + MICROSECOND, midnight) == {1: (2.0,)}
