"""What is materialized: each key's newest row of a range, both bounds included; online equals offline where that has a value."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, ValueType
from feast.types import Array, Bool, Bytes, FeastType, Float32, Float64, Int32, Int64, String, UnixTimestamp

from tests.feast.conftest import WorldOf
from tests.feast.lines import CITY, DRIVER, FUEL, INSTANT, MICROSECOND, PAIRS, STATS, TEN, UTC, at, frame, number, plain, rows
from tests.feast.redis_server import RedisServer
from tests.feast.serving import conv_view, newest, online
from tests.feast.worlds import LAKE_KINDS, Kind, SourceOf, World, made

pytestmark = pytest.mark.xdist_group("feast-online")

KINDS = pa.table(
    {
        "driver": pa.array([1, 2, 3], pa.int64()),
        "event_timestamp": pa.array([at("09:00")] * 3, INSTANT),
        "flag": [True, False, None],
        "small": pa.array([1, -(2**31), None], pa.int32()),
        "large": pa.array([2**53, -(2**63), None], pa.int64()),  # Feast makes floats of a column in which one is missing
        "whole": pa.array([2**53 + 1, -(2**63), 0], pa.int64()),
        "single": pa.array([0.5, float("inf"), None], pa.float32()),
        "double": pa.array([0.1, float("-inf"), None], pa.float64()),
        "word": ["ä ☃", "", None],
        "blob": pa.array([b"\x00\xff", b"", None], pa.binary()),
        "seen": pa.array([at("08:00"), at("07:00"), None], INSTANT),
        "numbers": pa.array([[0.5, 1.5], [], None], pa.list_(pa.float64())),
        "counts": pa.array([[1, 2**53 + 1], [], None], pa.list_(pa.int64())),
        "words": pa.array([["a", ""], [], None], pa.list_(pa.string())),
        "flags": pa.array([[True, False], [], None], pa.list_(pa.bool_())),
    }
)
TYPES: dict[str, FeastType] = {
    "flag": Bool, "small": Int32, "large": Int64, "whole": Int64, "single": Float32, "double": Float64, "word": String,
    "blob": Bytes, "seen": UnixTimestamp,
    "numbers": Array(Float64), "counts": Array(Int64), "words": Array(String), "flags": Array(Bool),
}  # fmt: skip
FIELDS = [Field(name=name, dtype=kind) for name, kind in TYPES.items()]
MAPPED = rows(
    {"rider": pa.int64(), "t": INSTANT, "c": INSTANT, "x": pa.float64()},
    (1, at("09:00"), at("09:05"), 1.0), (1, at("09:00"), at("09:10"), 2.0), (2, at("08:00"), None, 3.0),
)  # fmt: skip
TABLES = {"stats": STATS, "pairs": PAIRS, "fuel": FUEL, "kinds": KINDS, "mapped": MAPPED}


def definitions(source: SourceOf) -> list[Any]:
    """Views of all kinds that are served."""
    stats = source("stats", created_timestamp_column="created")
    schema = [number("conv"), Field(name="trips", dtype=Int64)]
    rider = Entity(name="rider", join_keys=["rider"], value_type=ValueType.INT64)
    mapped = source(
        "mapped", timestamp_field="at", created_timestamp_column="made", field_mapping={"x": "score", "t": "at", "c": "made"}
    )
    return [
        DRIVER, CITY, rider,
        FeatureView(name="stats", entities=[DRIVER], schema=schema, source=stats),
        FeatureView(name="stats_2h", entities=[DRIVER], ttl=dt.timedelta(hours=2), schema=schema, source=stats),
        FeatureView(name="pairs", entities=[DRIVER, CITY], schema=[number("fare")], source=source("pairs")),
        FeatureView(name="fuel", entities=[], schema=[number("price")], source=source("fuel")),
        FeatureView(name="kinds", entities=[DRIVER], schema=FIELDS, source=source("kinds")),
        FeatureView(name="mapped", entities=[rider], schema=[number("score")], source=mapped),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def world_of(tmp_path_factory: pytest.TempPathFactory) -> WorldOf:
    """A repository for each format, materialized up to ten o'clock in SQLite."""
    worlds: dict[Kind, World] = {}

    def of_kind(kind: Kind) -> World:
        if kind not in worlds:
            worlds[kind] = made(tmp_path_factory.mktemp(f"online-{kind}"), kind, TABLES, definitions)
            worlds[kind].store.materialize(at("00:00"), TEN)
        return worlds[kind]

    return of_kind


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_both_bounds_of_a_range_are_within_it(world_of: WorldOf, kind: Kind) -> None:
    world = world_of(kind)

    assert newest(world, "stats", ["trips"], at("08:00"), TEN) == {1: (2,), 2: (6,), 3: (9,), 6: (6,), 9: (3,)}
    assert newest(world, "stats", ["trips"], at("08:00"), TEN + MICROSECOND)[7] == (7,)
    assert newest(world, "stats", ["trips"], at("08:00") + MICROSECOND, TEN - MICROSECOND) == {3: (8,), 9: (3,)}


def test_a_range_of_no_zone_is_utc(world_of: WorldOf) -> None:
    start, end = (time.replace(tzinfo=None) for time in (at("08:00"), TEN))

    assert newest(world_of("parquet"), "stats", ["trips"], start, end) == newest(
        world_of("parquet"), "stats", ["trips"], at("08:00"), TEN
    )


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_online_is_the_newest_row_created_last_and_its_null_is_null(world_of: WorldOf, kind: Kind) -> None:
    served = online(world_of(kind), ["stats:conv", "stats:trips"], driver=[1, 2, 3, 4, 9, 77])

    assert served["conv"] == [0.2, 0.6, None, None, 3.0, None]
    assert served["trips"] == [2, 6, 9, None, 3, None]


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_every_type_that_feast_has_comes_online_as_it_was(world_of: WorldOf, kind: Kind) -> None:
    served = online(world_of(kind), [f"kinds:{field.name}" for field in FIELDS], driver=[1, 2, 3])

    for field in FIELDS:
        want, got = KINDS[field.name].to_pylist(), served[field.name]
        if field.name == "seen":
            got = [None if time is None else time.astimezone(UTC) for time in got]
        assert got[0] == want[0], field.name
        assert got[1] in ([], None) if want[1] == [] else got[1] == want[1], field.name  # Feast serves an empty list as none
        assert got[2] in ([], None) if want[2] is None else got[2] == want[2], field.name


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_mapped_columns_several_keys_and_no_key_come_online(world_of: WorldOf, kind: Kind) -> None:
    world = world_of(kind)

    assert online(world, ["mapped:score"], rider=[1, 2])["score"] == [2.0, 3.0]
    assert online(world, ["pairs:fare"], driver=[1, 1, 2, 2], city=["Ulm", "Bonn", "Ulm", "Bonn"])["fare"] == [
        11.0,
        12.0,
        21.0,
        None,
    ]
    assert online(world, ["fuel:price"], driver=[1])["price"] == [1.7]


FEATURES = ["stats:conv", "stats:trips", "pairs:fare", "fuel:price"]


def equal_where_offline_has_a_value(world: World) -> int:
    """Compares all of `FEATURES` for all keys; gives how many values were compared."""
    keys = [(driver, city) for driver in (1, 2, 3, 4, 5, 6, 7, 9, 77) for city in ("Ulm", "Bonn")]
    drivers, cities = [driver for driver, _ in keys], [city for _, city in keys]
    offline = world.historical(frame(driver=drivers, city=cities, t=[TEN] * len(keys)), FEATURES)
    served = online(world, FEATURES, driver=drivers, city=cities)
    compared = 0
    for name in (feature.split(":")[1] for feature in FEATURES):
        pairs = [(want, got) for want, got in zip(plain(offline[name]), served[name], strict=True) if want is not None]
        assert [got for _, got in pairs] == [want for want, _ in pairs], name
        compared += len(pairs)
    return compared


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_online_equals_offline_wherever_offline_has_a_value(world_of: WorldOf, kind: Kind) -> None:
    assert equal_where_offline_has_a_value(world_of(kind)) == 43


def test_online_equals_offline_in_redis(tmp_path: Path, redis_server: RedisServer) -> None:
    redis_server.clear()
    online_store = {"type": "redis", "connection_string": redis_server.connection_string}
    world = made(tmp_path, "delta", TABLES, definitions, online=online_store)
    world.store.materialize(at("00:00"), TEN)

    assert equal_where_offline_has_a_value(world) == 43
    assert online(world, ["kinds:words", "kinds:whole"], driver=[1])["whole"] == [2**53 + 1]


def test_online_equals_offline_where_feast_reads_the_whole_history_itself(tmp_path: Path) -> None:
    everything = {"materialization": {"pull_latest_features": False}}
    world = made(tmp_path, "iceberg", TABLES, definitions, settings=everything)
    world.store.materialize(at("00:00"), TEN)

    assert equal_where_offline_has_a_value(world) == 43
    assert online(world, ["stats:trips"], driver=[2, 9])["trips"] == [6, 3]
    assert online(world, ["kinds:whole"], driver=[1, 2])["whole"] == [2**53 + 1, -(2**63)]


@pytest.mark.parametrize("pull_latest", [True, False])
def test_no_created_time_loses_against_one_before_the_event_as_forecasts_have(tmp_path: Path, pull_latest: bool) -> None:
    types = {name: STATS.schema.field(name).type for name in STATS.column_names}
    table = rows(
        types, (1, TEN, None, 1.0, 1), (1, TEN, at("09:00"), 2.0, 2), (2, TEN, at("09:00"), 2.0, 2), (2, TEN, None, 1.0, 1)
    )
    settings = {"materialization": {"pull_latest_features": pull_latest}}
    world = made(tmp_path, "delta", {"stats": table}, conv_view(created_timestamp_column="created"), settings=settings)
    world.store.materialize(at("00:00"), TEN)

    assert world.historical(frame(driver=[1, 2], t=[TEN, TEN]), ["stats:conv"])["conv"].to_pylist() == [2.0, 2.0]
    assert online(world, ["stats:conv"], driver=[1, 2])["conv"] == [2.0, 2.0]


@pytest.mark.parametrize("kind", LAKE_KINDS)
@pytest.mark.parametrize("pull_latest", [True, False])
def test_a_range_or_a_table_without_rows_brings_nothing_online(tmp_path: Path, kind: Kind, pull_latest: bool) -> None:
    settings = {"materialization": {"pull_latest_features": pull_latest}}
    world = made(tmp_path, kind, {"stats": STATS}, conv_view(created_timestamp_column="created"), settings=settings)
    world.store.materialize(at("02:00"), at("03:00"))
    world.lake["stats"].overwrite(STATS.slice(0, 0))
    world.store.materialize(at("00:00"), at("23:00"))

    assert online(world, ["stats:conv"], driver=[1, 2])["conv"] == [None, None]


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_a_later_materialization_reads_on_from_the_last(tmp_path: Path, kind: Kind) -> None:
    today = dt.datetime.now(UTC).replace(microsecond=0)
    types = {"driver": pa.int64(), "event_timestamp": INSTANT, "conv": pa.float64()}

    def ago(hours: int) -> dt.datetime:
        return today - dt.timedelta(hours=hours)

    world = made(tmp_path, kind, {"stats": rows(types, (1, ago(5), 1.0), (2, ago(5), 2.0))}, conv_view())
    world.store.materialize_incremental(ago(4))
    world.lake["stats"].append(rows(types, (1, ago(3), 1.5), (2, ago(6), 9.0), (3, ago(1), 3.0)))
    world.store.materialize_incremental(ago(2))

    assert online(world, ["stats:conv"], driver=[1, 2, 3])["conv"] == [1.5, 2.0, None]


@pytest.mark.slow
def test_memory_is_bounded_by_the_keys_and_not_by_the_history(tmp_path: Path) -> None:
    """A history of 600 MB, of a thousand keys, with 128 MB for what is at hand."""
    rows_a_file, files = 1_000_000, 12
    random = np.random.default_rng(7)

    def part(number: int) -> pa.Table:
        times = np.arange(rows_a_file) * 1_000 + number * 10**9 + int(at("00:00").timestamp()) * 10**6
        values = {f"f{column}": random.random(rows_a_file) for column in range(4)}
        keys = random.integers(0, 1000, rows_a_file)
        return pa.table({"driver": keys, "event_timestamp": pa.array(times, INSTANT), **values})

    schema = [number(f"f{column}") for column in range(4)]
    world = made(tmp_path, "parquet", {"stats": part(0).slice(0, 0)}, lambda source: [
        DRIVER, FeatureView(name="stats", entities=[DRIVER], schema=schema, source=source("stats")),
    ], offline={"memory": "128M"})  # fmt: skip
    for number_of_file in range(files):
        world.lake["stats"].append(part(number_of_file))
    world.store.materialize(at("00:00"), at("00:01"))  # whatever is loaded once is loaded

    before = forgotten_peak()
    world.store.materialize(at("00:00"), at("23:00"))

    assert (peak_bytes("VmHWM") - before) < 450 << 20
    assert online(world, ["stats:f0"], driver=[1])["f0"] != [None]


def forgotten_peak() -> int:
    """Lets the system count the peak of this process's memory from now; gives what it has."""
    pa.default_memory_pool().release_unused()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this system does not tell the peak of a process's memory anew")
    return peak_bytes("VmRSS")


def peak_bytes(name: str) -> int:
    """What /proc says of this process."""
    return (
        next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)) << 10
    )
