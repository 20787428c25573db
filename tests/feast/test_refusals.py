"""What cannot be answered rightly is refused, by name, before anything is joined."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureView, FileSource
from feast.batch_feature_view import BatchFeatureView
from feast.errors import (
    EntityTimestampInferenceException,
    FeastEntityDFMissingColumnsError,
    FeatureNameCollisionError,
    RegistryInferenceFailure,
)

from lakehouse.errors import Config, LakeError, NotFound, Unsupported
from lakehouse_connectors.feast import LakeSource
from tests.feast.conftest import WorldOf
from tests.feast.lines import DRIVER, MAPPED, PLACE, STATS, TEN, WEATHER, drivers, frame, number
from tests.feast.serving import conv_view
from tests.feast.worlds import SourceOf, World, configured, made, source_of

pytestmark = pytest.mark.xdist_group("feast-historical")


def same(inputs: pd.DataFrame) -> pd.DataFrame:
    """A transformation."""
    return inputs


def odd_definitions(source: SourceOf, folder: Path) -> list[Any]:
    """Views that Feast's registry takes, and of which no training set can be made."""
    with pytest.warns(DeprecationWarning, match="value_type"):
        untyped = Entity(name="untyped", join_keys=["untyped"])
    pq.write_table(STATS, folder / "stats.parquet")
    file = FileSource(name="file", path=str(folder / "stats.parquet"), timestamp_field="event_timestamp")
    stats, conv = source("stats"), number("conv")
    renamed = source("stats", name="renamed", field_mapping={"driver": "untyped"})

    def view(name: str, source: Any, entity: Entity = DRIVER, feature: str = "conv") -> FeatureView:
        return FeatureView(name=name, entities=[entity], schema=[number(feature)], source=source)

    return [
        DRIVER, PLACE, untyped,
        view("nowhere", source("nowhere")),
        view("lacking", stats, feature="nothing_like_it"),
        view("lacking_key", source("weather"), feature="wind"),
        view("lacking_time", source("stats", name="timeless", timestamp_field="when")),
        view("no_time", source("stats", name="no time", timestamp_field="trips")),
        view("no_created", source("stats", name="no created", created_timestamp_column="trips")),
        view("filed", file),
        view("keyless", renamed, untyped),
        view("pinned", source("stats", name="pinned", as_of=dt.datetime(2024, 1, 1))),
        view("weather", source("weather", name="w"), PLACE, "wind"),
        BatchFeatureView(
            name="computed", entities=[DRIVER], schema=[conv], source=stats, udf=same, udf_string="same", mode="pandas",
        ),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("odd")
    tables = {"stats": STATS, "weather": WEATHER, "mapped": MAPPED}
    return made(folder, "parquet", tables, lambda source: odd_definitions(source, folder))


REFUSED: dict[str, tuple[str, type[LakeError], str]] = {
    "a dataset that lake.toml lacks": ("nowhere:conv", Config, "no dataset 'nowhere'"),
    "a feature that the dataset has no column for": ("lacking:nothing_like_it", Config, "nothing_like_it"),
    "a key that the dataset has no column for": ("lacking_key:wind", Config, "driver"),
    "a time that the dataset has no column for": ("lacking_time:conv", Config, "when"),
    "an event time that is a number": ("no_time:conv", Config, "trips"),
    "a created time that is a number": ("no_created:conv", Config, "trips"),
    "a source of another store": ("filed:conv", Config, "filed.*FileSource.*LakeSource"),
    "a pin into a format without history": ("pinned:conv", LakeError, "history"),
    "a transformation that only compute engines run": ("computed:conv", Unsupported, "computed.*transformation"),
}


@pytest.mark.parametrize("feature, error, words", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_rightly_is_refused_by_name(odd: World, feature: str, error: type[LakeError], words: str) -> None:
    with pytest.raises(error, match=words):
        odd.historical(drivers((1, TEN)), [feature])


def test_a_view_with_entities_but_no_columns_for_them_is_refused_where_feast_would_give_each_row_the_newest_value(
    odd: World,
) -> None:
    with pytest.warns(UserWarning, match="mismatches"):
        assert not odd.store.get_feature_view("keyless").entity_columns  # Feast infers none: that is the trap
    with pytest.raises(Config, match=r"keyless.*untyped.*Field"), pytest.warns(UserWarning, match="mismatches"):
        odd.historical(frame(untyped=[1], t=[TEN]), ["keyless:conv"])


def test_keys_of_another_class_of_types_are_refused_and_not_compared_as_text(odd: World) -> None:
    with pytest.raises(Config, match="place"):
        odd.historical(frame(place=[1], t=[TEN]), ["weather:wind"])


@pytest.mark.parametrize("keys", [["1"], [1.5], [True], [b"1"]], ids=["text", "fractions", "truth", "bytes"])
def test_keys_of_another_class_than_integers_are_refused(lines_world: WorldOf, keys: list[Any]) -> None:
    with pytest.raises(Config, match="driver"):
        lines_world("parquet").historical(frame(driver=keys, t=[TEN]), ["stats:conv"])


ROWS: dict[str, tuple[Any, type[Exception], str]] = {
    "rows without a key column": (frame(rider=[1], t=[TEN]), FeastEntityDFMissingColumnsError, "driver"),
    "rows without a time": (frame(driver=[1]), EntityTimestampInferenceException, "event_timestamp"),
    "rows with two times and none called event_timestamp": (
        frame(driver=[1], at=pd.to_datetime([TEN]), seen=pd.to_datetime([TEN])),
        EntityTimestampInferenceException, "event_timestamp",
    ),
    "times that are numbers": (frame(driver=[1], t=[3]), Config, "event_timestamp"),
    "times that are no times": (frame(driver=[1], t=["yesterday"]), Config, "yesterday"),
    "a column twice": (pd.DataFrame([[1, 2, TEN]], columns=pd.Index(["driver", "driver", "event_timestamp"])), Config, "driver"),
    "a column called as a feature": (frame(driver=[1], t=[TEN], conv=[0.5]), Config, "conv"),
    "rows that are none": ([{"driver": 1}], Config, "list"),
    "values of several types in one column": (frame(driver=[1, 2], t=[TEN, TEN], label=[1, "a"]), Config, "label|entity_df"),
    "SQL over a dataset that there is not": ("SELECT driver, event_timestamp FROM nowhere", LakeError, "nowhere"),
    "SQL without a key": ("SELECT event_timestamp FROM stats", FeastEntityDFMissingColumnsError, "driver"),
    "SQL without a time": ("SELECT driver FROM stats", EntityTimestampInferenceException, "event_timestamp"),
    "SQL with a column called as a feature": ("SELECT driver, event_timestamp, conv FROM stats", Config, "conv"),
}  # fmt: skip


@pytest.mark.parametrize("rows, error, words", ROWS.values(), ids=ROWS)
def test_rows_that_cannot_be_asked_are_refused(lines_world: WorldOf, rows: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        lines_world("parquet").historical(rows, ["stats:conv"])


def test_a_column_called_as_a_feature_is_refused_by_full_names_too(lines_world: WorldOf) -> None:
    with pytest.raises(Config, match="stats__conv"):
        lines_world("parquet").historical(frame(driver=[1], t=[TEN], stats__conv=[1.0]), ["stats:conv"], full_feature_names=True)


def test_a_column_called_as_a_feature_is_no_matter_where_full_names_tell_them_apart(lines_world: WorldOf) -> None:
    answer = lines_world("parquet").historical(frame(driver=[1], t=[TEN], conv=[9.0]), ["stats:conv"], full_feature_names=True)

    assert (answer["conv"].to_pylist(), answer["stats__conv"].to_pylist()) == ([9.0], [0.2])


def test_one_name_of_two_features_is_feasts_own_error(lines_world: WorldOf) -> None:
    with pytest.raises(FeatureNameCollisionError, match="conv"):
        lines_world("parquet").historical(drivers((1, TEN)), ["stats:conv", "naive:conv"])


def test_a_pin_is_of_one_kind_and_a_time() -> None:
    with pytest.raises(Config, match="as_of and ref"):
        LakeSource(dataset="stats", timestamp_field="t", as_of="2024-05-01", ref="gold")
    with pytest.raises(Config, match=r"as_of 'yesterday'.*ISO 8601"):
        LakeSource(dataset="stats", timestamp_field="t", as_of="yesterday")


def test_a_source_without_a_time_is_refused_when_it_is_applied(odd: World) -> None:
    timeless = LakeSource(name="untimed", dataset="stats")
    with pytest.raises(RegistryInferenceFailure, match="timestamp_field"):
        odd.store.apply([timeless])


def test_a_source_is_refused_by_a_store_of_another_kind(tmp_path: Path) -> None:
    from feast import FeatureStore

    configured(tmp_path, "file")
    lake_source = source_of(tmp_path, "delta")("stats")
    with pytest.raises(Config, match=r"LakeOfflineStore"):
        lake_source.validate(FeatureStore(repo_path=str(tmp_path)).config)


def test_validating_finds_what_the_dataset_lacks(odd: World) -> None:
    for name in ("timeless", "nowhere"):
        with pytest.raises(Config):
            odd.store.get_data_source(name).validate(odd.store.config)
    odd.store.get_data_source("w").validate(odd.store.config)


def test_a_table_that_is_gone_is_not_found_and_not_empty(tmp_path: Path) -> None:
    world = made(tmp_path, "delta", {"stats": STATS}, conv_view())
    (tmp_path / "data" / "stats").rename(tmp_path / "data" / "elsewhere")

    with pytest.raises(NotFound, match="stats"):
        world.historical(drivers((1, TEN)), ["stats:conv"])


def test_a_damaged_file_is_not_found_and_not_a_training_set_without_it(tmp_path: Path) -> None:
    world = made(tmp_path, "parquet", {"stats": STATS}, conv_view())
    file = max((tmp_path / "data" / "stats").glob("*.parquet"), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-20])

    with pytest.raises(NotFound, match=file.name):
        world.historical(drivers((1, TEN)), ["stats:conv"])
