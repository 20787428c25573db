"""What was pushed and what was materialized is served, by the library and by Feast's own server."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import FeatureView, Field, PushSource
from feast.data_source import PushMode
from feast.types import Int64

from lakehouse.testing.servers.process import Server, answers, free_ports, script
from tests.feast.lines import DRIVER, STATS, TEN, at, drivers, number
from tests.feast.redis_server import RedisServer
from tests.feast.serving import conv_view, online
from tests.feast.worlds import LAKE_KINDS, Kind, SourceOf, made

pytestmark = pytest.mark.xdist_group("feast-online")


def pushed_definitions(source: SourceOf) -> list[Any]:
    """A view to whose rows more are pushed."""
    stats = PushSource(name="push", batch_source=source("stats", created_timestamp_column="created"))
    return [
        DRIVER,
        FeatureView(name="stats", entities=[DRIVER], schema=[number("conv"), Field(name="trips", dtype=Int64)], source=stats),
    ]


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_what_is_pushed_is_served_at_once_and_is_in_training_sets(tmp_path: Path, kind: Kind) -> None:
    world = made(tmp_path, kind, {"stats": STATS}, pushed_definitions)
    pushed = pd.DataFrame(
        {
            "driver": [1, 50],
            "event_timestamp": pd.to_datetime([at("09:30"), at("09:45")]),
            "created": pd.to_datetime([at("09:31"), at("09:46")]),
            "conv": [0.95, 0.5],
            "trips": [95, 50],
        }
    )
    world.store.push("push", pushed, to=PushMode.ONLINE_AND_OFFLINE)

    features = ["stats:conv", "stats:trips"]
    answer = world.historical(drivers((1, at("09:29")), (1, at("09:30")), (50, TEN), (1, TEN)), features)
    assert answer["conv"].to_pylist() == [0.1, 0.95, 0.5, 0.2]
    assert answer["trips"].to_pylist() == [1, 95, 50, 2]
    assert online(world, features, driver=[1, 50, 2]) == {
        "driver": [1, 50, 2],
        "conv": [0.95, 0.5, None],
        "trips": [95, 50, None],
    }
    assert world.lake["stats"].read().count_rows() == STATS.num_rows + 2


def test_a_push_online_alone_leaves_the_dataset_as_it_is(tmp_path: Path, redis_server: RedisServer) -> None:
    redis_server.clear()
    online_store = {"type": "redis", "connection_string": redis_server.connection_string}
    world = made(tmp_path, "delta", {"stats": STATS}, pushed_definitions, online=online_store)
    row = pd.DataFrame({"driver": [1], "event_timestamp": [TEN], "created": [TEN], "conv": [0.5], "trips": [7]})
    world.store.push("push", row, to=PushMode.ONLINE)

    assert online(world, ["stats:trips"], driver=[1])["trips"] == [7]
    assert world.lake["stats"].read().count_rows() == STATS.num_rows


class FeatureServer(Server):
    """``feast serve`` of a repository."""

    def __init__(self, repository: Path) -> None:
        super().__init__()
        self._repository = repository

    def prepare(self, folder: Path) -> Sequence[str]:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        return [script("feast"), "--chdir", str(self._repository), "serve", "--host", "127.0.0.1", "--port", str(port)]

    def ready(self, log: str) -> bool:
        return answers(f"{self.url}/health")

    def ask(self, features: list[str], **keys: list[Any]) -> dict[str, list[Any]]:
        """What the server answers, by name."""
        request = urllib.request.Request(
            f"{self.url}/get-online-features",
            data=json.dumps({"features": features, "entities": keys}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            answer = json.load(reply)
        names = answer["metadata"]["feature_names"]
        return {name: result["values"] for name, result in zip(names, answer["results"], strict=True)}


def test_feasts_own_server_serves_what_was_materialized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = made(tmp_path, "iceberg", {"stats": STATS}, conv_view(created_timestamp_column="created"))
    world.store.materialize(at("00:00"), TEN)
    (tmp_path / "data").rename(tmp_path / "away")  # serving reads no dataset

    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    with FeatureServer(tmp_path) as server:
        served = server.ask(["stats:conv"], driver=[1, 2, 77])

    assert served == {"driver": [1, 2, 77], "conv": [0.2, 0.6, None]}
