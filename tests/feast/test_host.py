"""Where and when a training set is made shows in nothing of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import FeatureView, Field
from feast.types import Int64

from tests.feast.conftest import WorldOf
from tests.feast.lines import DRIVER, INSTANT, LINES, TEN, at, drivers, number
from tests.feast.serving import conv_view, newest, online
from tests.feast.worlds import LAKE_KINDS, Kind, SourceOf, made

pytestmark = pytest.mark.xdist_group("feast-historical")


def both_features(source: SourceOf) -> list[Any]:
    """One view of two features."""
    stats = source("stats", created_timestamp_column="created")
    schema = [number("conv"), Field(name="trips", dtype=Int64)]
    return [DRIVER, FeatureView(name="stats", entities=[DRIVER], schema=schema, source=stats)]


@pytest.fixture(params=["Asia/Kathmandu", "America/St_Johns"])
def odd_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The host is in a zone that is no whole hours from UTC."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("odd_zone")
def test_the_zone_of_the_host_shows_in_nothing(lines_world: WorldOf) -> None:
    world = lines_world("parquet")

    assert {line.name: line.wrong(line.ask(world)) for line in LINES} == {line.name: None for line in LINES}
    by_sql = world.historical(
        "SELECT driver, CAST(event_timestamp AS TIMESTAMP) + INTERVAL 1 SECOND AS event_timestamp FROM stats WHERE driver = 1",
        ["stats:conv"],
    )
    assert sorted(by_sql["conv"].to_pylist()) == [0.1, 0.2, 0.3]
    naive = {"start_date": at("08:00").replace(tzinfo=None), "end_date": TEN.replace(tzinfo=None)}
    assert set(world.historical(None, ["stats_2h:conv"], **naive)["event_timestamp"].to_pylist()) == {
        at("08:00"), at("09:00"), at("09:30"), TEN,
    }  # fmt: skip


@pytest.mark.usefixtures("odd_zone")
@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_the_zone_of_the_host_shows_in_nothing_that_is_materialized(tmp_path: Path, kind: Kind) -> None:
    times = pa.array([at(clock).replace(tzinfo=None) for clock in ("08:00", "09:00", "10:00")], pa.timestamp("us"))
    if kind == "delta":
        times = times.cast(INSTANT)
    table = pa.table({"driver": [1, 1, 1], "event_timestamp": times, "conv": [1.0, 2.0, 3.0]})
    world = made(tmp_path, kind, {"stats": table}, conv_view())
    world.store.materialize(at("08:30").replace(tzinfo=None), at("09:30").replace(tzinfo=None))

    assert online(world, ["stats:conv"], driver=[1])["conv"] == [2.0]
    assert newest(world, "stats", ["conv"], at("08:30"), at("09:00")) == {1: (2.0,)}


def test_rows_that_are_equal_in_key_and_times_are_chosen_by_their_values_alone(tmp_path: Path) -> None:
    """The order of rows and files, the format, and which features are asked for, are no reason: a move changes nothing."""
    values = [(float(conv), conv % 3) for conv in range(7)]
    table = pa.table(
        {
            "driver": [1] * 7,
            "event_timestamp": pa.array([at("09:00")] * 7, INSTANT),
            "created": pa.array([at("09:05")] * 7, INSTANT),
            "conv": [conv for conv, _ in values],
            "trips": [trips for _, trips in values],
        }
    )
    chosen: set[tuple[Any, ...]] = set()
    for kind in LAKE_KINDS:
        for name, order in (("up", [0, 1, 2, 3, 4, 5, 6]), ("mixed", [3, 6, 0, 5, 1, 4, 2])):
            parts = table.take(pa.array(order))
            world = made(tmp_path / kind / name, kind, {"stats": parts.slice(0, 4)}, both_features)
            world.lake["stats"].append(parts.slice(4))
            alone = [world.historical(drivers((1, TEN)), [f"stats:{each}"])[each][0].as_py() for each in ("conv", "trips")]
            both = world.historical(drivers((1, TEN)), ["stats:trips", "stats:conv"])
            (materialized,) = newest(world, "stats", ["conv", "trips"], at("08:00"), TEN).values()
            chosen |= {tuple(alone), (both["conv"][0].as_py(), both["trips"][0].as_py()), materialized}

    assert len(chosen) == 1
    assert chosen <= set(values)
