"""A source may be pinned to a point of its dataset's history, which later writes, moves and conversions leave as it is."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import FeatureStore, FeatureView

from lakehouse.errors import LakeError, NotFound
from lakehouse.lake import Lake
from lakehouse_connectors.feast import LakeSource
from tests.feast.lines import DRIVER, INSTANT, TEN, at, drivers, number
from tests.feast.serving import newest
from tests.feast.worlds import Kind, SourceOf, World, made

pytestmark = pytest.mark.xdist_group("feast-writing")
HISTORY: tuple[Kind, ...] = ("delta", "iceberg")


def stats(conv: float) -> pa.Table:
    """One driver's row."""
    return pa.table({"driver": [1], "event_timestamp": pa.array([at("09:00")], INSTANT), "conv": [conv]})


def view(source: LakeSource) -> list[Any]:
    """The one view."""
    return [DRIVER, FeatureView(name="stats", entities=[DRIVER], schema=[number("conv")], source=source)]


def conv(world: World) -> list[Any]:
    """What a training set has."""
    values: list[Any] = world.historical(drivers((1, TEN)), ["stats:conv"])["conv"].to_pylist()
    return values


def pinned(world: World, **pin: Any) -> list[Any]:
    """The same where the source is pinned."""
    world.store.apply(view(LakeSource(dataset="stats", timestamp_field="event_timestamp", **pin)))
    return conv(world)


@pytest.fixture(scope="module", params=HISTORY)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A dataset that was written anew twice."""

    def definitions(source: SourceOf) -> list[Any]:
        return [DRIVER, FeatureView(name="stats", entities=[DRIVER], schema=[number("conv")], source=source("stats"))]

    found = made(tmp_path_factory.mktemp("history"), request.param, {"stats": stats(1.0)}, definitions)
    for value in (2.0, 3.0):
        found.lake["stats"].overwrite(stats(value))
    return found


def test_a_pinned_source_is_what_the_dataset_was_then(world: World) -> None:
    third, second, first = world.lake["stats"].history()[:3]

    assert pinned(world) == [3.0]
    for commit, value in ((first, 1.0), (second, 2.0), (third, 3.0)):
        assert commit.committed_at is not None
        assert pinned(world, as_of=commit.committed_at) == [value]
        assert pinned(world, as_of=commit.committed_at.isoformat()) == [value]
        assert pinned(world, ref=named(commit)) == [value]
        assert newest(world, "stats", ["conv"], at("08:00"), TEN) == {1: (value,)}


def named(commit: Any) -> str:
    """The name of a version, as a ref says it."""
    return str(commit.details.get("snapshot-id") or commit.version)


def test_a_point_that_there_never_was_is_not_found(world: World) -> None:
    with pytest.raises(LakeError, match="gold"):
        pinned(world, ref="gold")
    with pytest.raises(NotFound):
        pinned(world, as_of="1999-01-01")


def test_parquet_has_no_history_and_says_so(tmp_path: Path) -> None:
    plain = made(tmp_path, "parquet", {"stats": stats(1.0)}, lambda source: view(source("stats")))  # type: ignore[arg-type]

    for pin in ({"ref": "1"}, {"as_of": "2024-05-01"}):
        with pytest.raises(LakeError, match="history"):
            pinned(plain, **pin)


@pytest.mark.parametrize("kind, other", [("delta", "iceberg"), ("iceberg", "delta")])
def test_a_pin_holds_after_a_conversion_and_definitions_have_not_changed(tmp_path: Path, kind: Kind, other: Kind) -> None:
    world = made(tmp_path, kind, {"stats": stats(1.0)}, lambda source: view(source("stats")))  # type: ignore[arg-type]
    world.lake["stats"].overwrite(stats(2.0))
    newer, older, *_ = world.lake["stats"].history()
    assert older.committed_at is not None
    by_ref, by_time = {"ref": named(older)}, {"as_of": older.committed_at + timedelta(milliseconds=1)}
    assert (pinned(world, **by_ref), pinned(world, **by_time), pinned(world)) == ([1.0], [1.0], [2.0])

    moved = f'[dataset.stats]\ntable = "{tmp_path}/moved"\nformat = "{other}"\n'
    (tmp_path / "moved.toml").write_text(moved)
    target = Lake.from_config(tmp_path / "moved.toml").create_dataset("stats", stats(0.0).schema)
    for commit in (older, newer):
        target.overwrite(world.lake["stats"].read(ref=named(commit)))
    (tmp_path / "lake.toml").write_text(moved)

    before = definitions_of(world)
    world.store.apply(view(LakeSource(dataset="stats", timestamp_field="event_timestamp")))
    assert definitions_of(world) == before
    assert (pinned(world, **by_ref), pinned(world, **by_time), pinned(world)) == ([1.0], [1.0], [2.0])


def definitions_of(world: World) -> tuple[bytes, bytes]:
    """What the registry holds of the source and the view, but for the times at which they were applied."""
    store = FeatureStore(repo_path=str(world.folder))
    source, spec = store.get_data_source("stats").to_proto(), store.get_feature_view("stats").to_proto().spec
    source.ClearField("meta")
    spec.batch_source.ClearField("meta")
    return source.SerializeToString(deterministic=True), spec.SerializeToString(deterministic=True)


def test_a_source_comes_back_from_the_registry_as_it_was() -> None:
    pins: tuple[dict[str, Any], ...] = ({"as_of": at("09:00")}, {"ref": "gold"}, {})
    for options in pins:
        source = LakeSource(
            name="n", dataset="d", timestamp_field="t", created_timestamp_column="c", field_mapping={"a": "b"},
            date_partition_column="day", description="what", tags={"k": "v"}, owner="me", **options,
        )  # fmt: skip
        again = LakeSource.from_proto(source.to_proto())

        assert again == source
        assert hash(again) == hash(source)
        assert again.to_proto().custom_options == source.to_proto().custom_options
        assert str(Path.cwd()) not in str(source.to_proto())
    assert LakeSource(dataset="d", timestamp_field="t") != LakeSource(name="d", dataset="e", timestamp_field="t")
    assert LakeSource(dataset="d", timestamp_field="t", ref="1") != LakeSource(dataset="d", timestamp_field="t")
    assert LakeSource(dataset="d", timestamp_field="t").name == "d"
