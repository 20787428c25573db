"""Values at the ends of what types hold, and types that are rare: right, or refused by name, never with a foreign traceback."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureView, ValueType

from lakehouse.errors import Config
from lakehouse_connectors.feast import LakeSource, SavedDatasetLakeStorage
from tests.feast.lines import INSTANT, TEN, at, number
from tests.feast.serving import conv_view, newest
from tests.feast.worlds import SourceOf, World, made

pytestmark = pytest.mark.xdist_group("feast-historical")
NANOS = pa.timestamp("ns", "UTC")
YEAR = dt.timedelta(days=365)


def stats(*times: dt.datetime, **more: Any) -> pa.Table:
    count = len(times)
    return pa.table(
        {"driver": [1] * count, "event_timestamp": pa.array(times, INSTANT), "conv": [float(n) for n in range(count)], **more}
    )


def asked(*times: dt.datetime | None, kind: pa.DataType = NANOS) -> pa.Table:
    return pa.table({"driver": [1] * len(times), "event_timestamp": pa.array(times, INSTANT).cast(kind)})


def joined(world: World, rows: Any, **options: Any) -> list[Any]:
    found: list[Any] = world.historical(rows, ["stats:conv"], **options)["conv"].to_pylist()
    return found


def test_a_row_without_a_time_finds_nothing_not_even_what_was_known_since_ever(tmp_path: Path) -> None:
    world = made(tmp_path, "parquet", {"stats": stats(dt.datetime(1, 1, 1, tzinfo=dt.UTC))}, conv_view())

    assert joined(world, asked(TEN, None)) == [0.0, None]


@pytest.mark.parametrize("years", [400, 2000])
def test_a_ttl_may_be_longer_than_nanoseconds_reach(tmp_path: Path, years: int) -> None:
    world = made(tmp_path, "parquet", {"stats": stats(dt.datetime(1700, 1, 1, tzinfo=dt.UTC))}, conv_view(years * YEAR))

    assert joined(world, asked(dt.datetime(1960, 1, 1, tzinfo=dt.UTC), TEN)) == [0.0, 0.0]


def test_microseconds_beyond_the_nanoseconds_of_created_times_keep_their_order(tmp_path: Path) -> None:
    far = [dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in (3000, 4000)]
    table = stats(*far, created=pa.array([TEN, at("09:00")], INSTANT).cast(NANOS))
    world = made(tmp_path, "parquet", {"stats": table}, conv_view(created_timestamp_column="created"))
    last = asked(dt.datetime(9999, 1, 1, tzinfo=dt.UTC), dt.datetime(3500, 1, 1, tzinfo=dt.UTC), kind=INSTANT)

    assert joined(world, last) == [1.0, 0.0]


def test_text_and_bytes_laid_out_as_views_are_read_as_others(tmp_path: Path) -> None:
    table = pa.table(
        {
            "driver": pa.array(["a", "b"], pa.string_view()),
            "event_timestamp": pa.array([at("08:00"), at("09:00")], INSTANT),
            "conv": [1.0, 2.0],
            "word": pa.array(["short", "a longer one than sixteen bytes"], pa.string_view()),
        }
    )
    plain = table.cast(
        pa.schema([field.with_type(pa.string()) if field.type == pa.string_view() else field for field in table.schema])
    )
    world = made(tmp_path, "parquet", {"stats": plain}, words)
    folder = tmp_path / "data" / "stats"
    for old in folder.iterdir():
        old.unlink()
    pq.write_table(table, folder / "by-another-engine.parquet")
    rows = pa.table({"driver": ["b", "a"], "event_timestamp": pa.array([TEN, TEN], INSTANT)})

    assert world.historical(rows, ["stats:word"])["word"].to_pylist() == ["a longer one than sixteen bytes", "short"]
    assert world.historical(None, ["stats:word"], start_date=at("00:00"), end_date=TEN)["driver"].to_pylist() == ["a", "b"]
    assert newest(world, "stats", ["word"], at("00:00"), TEN) == {"a": ("short",), "b": ("a longer one than sixteen bytes",)}


def words(source: SourceOf) -> list[Any]:
    from feast import Field
    from feast.types import String

    driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.STRING)
    return [
        driver,
        FeatureView(name="stats", entities=[driver], schema=[Field(name="word", dtype=String)], source=source("stats")),
    ]


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(float(2**53), id="may have been 2**53 + 1"),
        pytest.param(1.5, id="no integer"),
        pytest.param(float("inf"), id="none"),
    ],
)
@pytest.mark.parametrize("held", [pa.int64(), pa.uint64()], ids=str)
def test_a_float_is_no_key_where_it_may_be_another_integer(tmp_path: Path, held: pa.DataType, key: float) -> None:
    table = stats(at("08:00")).set_column(0, "driver", pa.array([2**53 if key > 2 else 2], held))
    world = made(tmp_path, "parquet", {"stats": table}, conv_view())
    frame = pd.DataFrame({"driver": [key, None], "event_timestamp": [TEN, TEN]})

    with pytest.raises(Config, match="key 'driver'"):
        joined(world, frame)


def test_decimals_are_keys_whatever_their_digits(tmp_path: Path) -> None:
    table = stats(at("08:00")).set_column(0, "driver", pa.array([Decimal("1.50")], pa.decimal128(10, 2)))

    def definitions(source: SourceOf) -> list[Any]:
        driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.DECIMAL)
        return [driver, FeatureView(name="stats", entities=[driver], schema=[number("conv")], source=source("stats"))]

    world = made(tmp_path, "parquet", {"stats": table}, definitions)

    assert joined(world, pd.DataFrame({"driver": [Decimal("1.5"), Decimal("1.25")], "event_timestamp": [TEN, TEN]})) == [
        0.0,
        None,
    ]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        pytest.param("SELECT driver, driver, now() AS event_timestamp FROM stats", "driver twice", id="a column twice"),
        pytest.param(
            pa.table({"driver": [1], "event_timestamp": pa.array([2**60], pa.timestamp("s"))}),
            "event_timestamp",
            id="a time too far",
        ),
        pytest.param(pd.DataFrame({"driver": [2**70], "event_timestamp": [TEN]}), "entity_df", id="an integer of 70 bits"),
        pytest.param(pd.DataFrame({"driver": [1], "event_timestamp": [TEN], "z": [1j]}), "entity_df", id="complex numbers"),
    ],
)
def test_rows_that_arrow_cannot_hold_are_refused_by_name(tmp_path: Path, rows: Any, says: str) -> None:
    world = made(tmp_path, "parquet", {"stats": stats(at("08:00"))}, conv_view())

    with pytest.raises(Config, match=says):
        joined(world, rows)


def test_dates_of_views_whose_keys_differ_in_class_are_refused_and_in_width_are_not(tmp_path: Path) -> None:
    driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)

    def definitions(source: SourceOf) -> list[Any]:
        names = ("stats", "narrow", "text")
        return [
            driver,
            *(FeatureView(name=name, entities=[driver], schema=[number(name)], source=source(name)) for name in names),
        ]

    tables = {
        name: stats(at("08:00")).rename_columns(["driver", "event_timestamp", name]).set_column(0, "driver", keys)
        for name, keys in {
            "stats": pa.array([1]), "narrow": pa.array([1], pa.int16()), "text": pa.array(["1"]),
        }.items()
    }  # fmt: skip
    world = made(tmp_path, "parquet", tables, definitions)
    dates = {"start_date": at("00:00"), "end_date": TEN}

    found = world.historical(None, ["stats:stats", "narrow:narrow"], **dates)
    assert found.select(["driver", "stats", "narrow"]).to_pylist() == [{"driver": 1, "stats": 0.0, "narrow": 0.0}]
    with pytest.raises(Config, match="feature view text: key 'driver'"):
        world.historical(None, ["stats:stats", "text:text"], **dates)


def test_a_day_is_no_pin() -> None:
    with pytest.raises(Config, match="as_of"):
        LakeSource(dataset="stats", as_of=dt.date(2024, 1, 1))  # type: ignore[arg-type]


def test_a_pin_may_be_the_number_of_a_version_and_a_source_has_a_dataset() -> None:
    assert LakeSource(dataset="stats", ref=3) == LakeSource(dataset="stats", ref="3")
    with pytest.raises(Config, match="dataset"):
        LakeSource(dataset="")


@pytest.mark.parametrize("kinds", [(pa.uint64(), pa.int64()), (pa.float64(), pa.int32()), (pa.int32(), pa.float64())], ids=str)
def test_dates_of_views_whose_keys_are_numbers_of_two_kinds_ask_for_each_number_once(
    tmp_path: Path, kinds: tuple[pa.DataType, pa.DataType]
) -> None:
    driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
    names = ("stats", "other")

    def definitions(source: SourceOf) -> list[Any]:
        return [
            driver,
            *(FeatureView(name=name, entities=[driver], schema=[number(name)], source=source(name)) for name in names),
        ]

    tables = {
        name: stats(at("08:00")).rename_columns(["driver", "event_timestamp", name]).set_column(0, "driver", pa.array([7], kind))
        for name, kind in zip(names, kinds, strict=True)
    }
    world = made(tmp_path, "parquet", tables, definitions)

    found = world.historical(None, ["stats:stats", "other:other"], start_date=at("00:00"), end_date=TEN)
    assert [int(key) for key in found["driver"].to_pylist()] == [7]
    assert found.select(names).to_pylist() == [{"stats": 0.0, "other": 0.0}]


def test_text_of_the_first_and_the_last_year_is_a_time(tmp_path: Path) -> None:
    world = made(tmp_path, "parquet", {"stats": stats(at("08:00"))}, conv_view())
    rows = pa.table({"driver": [1, 1, 1], "event_timestamp": ["0001-01-01", "9999-12-31T23:59:59+00:00", None]})

    assert joined(world, rows) == [None, 0.0, None]


def test_a_time_that_a_field_mapping_renames_is_to_be_named_as_it_is_called_then(tmp_path: Path) -> None:
    world = made(tmp_path, "parquet", {"stats": stats(at("08:00"))}, conv_view())
    source = LakeSource(dataset="stats", timestamp_field="event_timestamp", field_mapping={"event_timestamp": "known_at"})

    with pytest.raises(Config, match="known_at"):
        source.validate(world.store.config)


def test_a_saved_dataset_keeps_the_rows_without_a_time_and_may_be_saved_where_a_save_failed(tmp_path: Path) -> None:
    world = made(tmp_path, "delta", {"stats": stats(at("08:00"))}, conv_view())
    with (tmp_path / "lake.toml").open("a") as lake:
        lake.write(f'[dataset.kept]\ntable = {str(tmp_path / "kept")!r}\nformat = "delta"\n')
    storage = SavedDatasetLakeStorage(dataset="kept")
    finer = pa.table({"driver": [1], "event_timestamp": pa.array([1_700_000_000_000_000_001], NANOS)})
    with pytest.raises(Config):
        world.store.get_historical_features(entity_df=finer, features=["stats:conv"]).persist(storage)

    job = world.store.get_historical_features(entity_df=asked(TEN, None, TEN), features=["stats:conv"])
    world.store.create_saved_dataset(from_=job, name="kept", storage=storage)

    assert sorted(map(str, world.store.get_saved_dataset("kept").to_arrow()["conv"].to_pylist())) == ["0.0", "0.0", "None"]


@pytest.mark.slow
def test_an_answer_may_have_more_text_than_one_column_of_arrows_holds(tmp_path: Path) -> None:
    long = pa.array(["x" * 9_000, "y" * 9_000])
    table = pa.table({"driver": ["a", "b"], "event_timestamp": pa.array([at("08:00"), at("09:00")], INSTANT), "word": long})
    world = made(tmp_path, "parquet", {"stats": table}, words)
    rows = pa.table({"driver": ["a", "b"] * 130_000, "event_timestamp": pa.array([TEN] * 260_000, INSTANT)})

    found = world.historical(rows, ["stats:word"])["word"]

    assert found.type == pa.string()
    assert found.nbytes > 2**31
    assert [found[place].as_py()[0] for place in (0, 1, 259_998, 259_999)] == ["x", "y", "x", "y"]
