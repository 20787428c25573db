"""Values of every type come out of a training set as they lie in the dataset; keys are of many types."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, ValueType
from feast.types import Float64, String

from tests.feast.lines import DRIVER, INSTANT, TEN, at, drivers
from tests.feast.serving import newest
from tests.feast.worlds import LAKE_KINDS, Kind, SourceOf, World, made

pytestmark = pytest.mark.xdist_group("feast-writing")
COLUMNS = {
    "flag": pa.array([True, None], pa.bool_()),
    "small": pa.array([-(2**31), None], pa.int32()),
    "large": pa.array([2**53 + 1, None], pa.int64()),
    "single": pa.array([0.1, None], pa.float32()),
    "double": pa.array([-0.0, None], pa.float64()),
    "word": pa.array(["ä ☃ \0", None], pa.string()),
    "blob": pa.array([b"\x00\xff", None], pa.binary()),
    "day": pa.array([dt.date(1, 1, 1), None], pa.date32()),
    "seen": pa.array([dt.datetime(9999, 12, 31, 23, 59, 59, 999999, dt.UTC), None], INSTANT),
    "price": pa.array([decimal.Decimal("12345678901234567890.12"), None], pa.decimal128(38, 2)),
    "numbers": pa.array([[0.5, None, 1.5], None], pa.list_(pa.float64())),
    "words": pa.array([["", "a"], None], pa.list_(pa.string())),
    "nested": pa.array([[[1], [], None], None], pa.list_(pa.list_(pa.int64()))),
    "struct": pa.array([{"a": 1, "b": ["x"]}, None], pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))])),
    "map": pa.array([[("k", 1), ("l", None)], None], pa.map_(pa.string(), pa.int64())),
}


@pytest.fixture(scope="module", params=LAKE_KINDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A dataset with a column of each type: a row of values, and one of NULLs."""
    times = pa.array([at("09:00"), at("09:00")], INSTANT)
    table = pa.table({"driver": [1, 2], "event_timestamp": times, **COLUMNS})

    def definitions(source: SourceOf) -> list[Any]:
        schema = [Field(name=name, dtype=String) for name in COLUMNS]  # what a view says of them changes no value
        return [DRIVER, FeatureView(name="kinds", entities=[DRIVER], schema=schema, source=source("kinds"))]

    return made(tmp_path_factory.mktemp("types"), request.param, {"kinds": table}, definitions)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_value_comes_out_as_it_lies_there_and_null_as_null(world: World, name: str) -> None:
    answer = world.historical(drivers((2, TEN), (1, TEN), (3, TEN), (1, at("08:00"))), [f"kinds:{name}"])[name]

    assert [repr(value) for value in answer.to_pylist()] == [
        "None", repr(COLUMNS[name][0].as_py()), "None", "None",
    ]  # fmt: skip
    assert str(answer.type).replace("element", "item") == str(COLUMNS[name].type).replace("element", "item")


def test_the_newest_rows_have_values_of_every_type(world: World) -> None:
    names = list(COLUMNS)
    answer = newest(world, "kinds", names, at("08:00"), TEN)

    values = dict(zip(names, answer[1], strict=True))
    assert json.loads(values.pop("map")) == {"k": 1, "l": None}  # as which Feast takes maps
    assert values == {name: COLUMNS[name][0].as_py() for name in values}
    assert answer[2] == tuple([None] * len(names))


DAYS = [dt.date(2024, 5, day) for day in (1, 2, 3)]
TIMES = [at("01:00"), at("02:00"), at("03:00")]
PRICES = [decimal.Decimal("1.10"), decimal.Decimal("-2.00"), None]
KEYS: dict[str, tuple[ValueType, pa.Array, pa.Array]] = {
    "text": (ValueType.STRING, pa.array(["a", "", "ä"]), pa.array(["a", "", "ä"], pa.large_string())),
    "text of a dictionary": (ValueType.STRING, pa.array(["a", "b", "c"]), pa.array(["a", "b", "c"]).dictionary_encode()),
    "bytes": (ValueType.BYTES, pa.array([b"\x00", b"", b"\xff"]), pa.array([b"\x00", b"", b"\xff"], pa.large_binary())),
    "truth": (ValueType.BOOL, pa.array([True, False, None]), pa.array([True, False, None])),
    "days": (ValueType.UNIX_TIMESTAMP, pa.array(DAYS), pa.array(DAYS)),
    "instants": (ValueType.UNIX_TIMESTAMP, pa.array(TIMES, INSTANT), pa.array(TIMES, pa.timestamp("ns", "Asia/Kathmandu"))),
    "decimals": (ValueType.DECIMAL, pa.array(PRICES, pa.decimal128(9, 2)), pa.array(PRICES, pa.decimal128(9, 2))),
    "integers without a sign": (ValueType.INT64, pa.array([1, -2, 2**62]), pa.array([1, 2**64 - 2, 2**62], pa.uint64())),
}  # fmt: skip


@pytest.mark.parametrize("kind", LAKE_KINDS)
@pytest.mark.parametrize("name", KEYS)
def test_keys_match_by_their_values_whatever_holds_them(tmp_path: Path, name: str, kind: Kind) -> None:
    value_type, held, asked = KEYS[name]
    entity = Entity(name="key", join_keys=["key"], value_type=value_type)
    table = pa.table({"key": held, "event_timestamp": pa.array([at("09:00")] * 3, INSTANT), "x": [1.0, 2.0, 3.0]})
    world = made(tmp_path, kind, {"keyed": table}, lambda source: [
        entity, FeatureView(name="keyed", entities=[entity], schema=[Field(name="x", dtype=Float64)], source=source("keyed")),
    ])  # fmt: skip

    answer = world.historical(pa.table({"key": asked, "event_timestamp": pa.array([TEN] * 3, INSTANT)}), ["keyed:x"])

    same = [left is not None and left == right for left, right in zip(held.to_pylist(), asked.to_pylist(), strict=True)]
    assert answer["x"].to_pylist() == [x if matches else None for x, matches in zip([1.0, 2.0, 3.0], same, strict=True)]
    assert any(same)
    assert answer["key"].to_pylist() == asked.to_pylist()
