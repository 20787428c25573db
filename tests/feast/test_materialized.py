"""What is given to Feast's compute engine in another form comes online as the value it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, ValueType
from feast.types import Array, Int64, Map

from lakehouse.errors import Unsupported
from lakehouse_connectors.feast.materialized import as_materialized
from tests.feast.lines import INSTANT, TEN, at
from tests.feast.serving import online
from tests.feast.worlds import LAKE_KINDS, Kind, SourceOf, made

pytestmark = pytest.mark.xdist_group("feast-online")

WORDS = pa.map_(pa.string(), pa.string())
COUNTS = pa.map_(pa.string(), pa.int64())
ROWS = pa.table(
    {
        "driver": pa.array([1, 2, 3], pa.int64()),
        "event_timestamp": pa.array([at("09:00")] * 3, INSTANT),
        "large": pa.array([2**62 + 1, -(2**62) - 1, None], pa.int64()),
        "words": pa.array([[("a", "ä"), ("b", None)], [], None], WORDS),
        "counts": pa.array([[("n", 2**62 + 1)], [("n", 0)], None], COUNTS),
        "many": pa.array([[[("a", "x")], []], [], None], pa.list_(WORDS)),
    }
)


def definitions(source: SourceOf) -> list[Any]:
    driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
    fields = [Field(name="large", dtype=Int64), Field(name="words", dtype=Map), Field(name="counts", dtype=Map)]
    return [
        driver,
        FeatureView(
            name="v", entities=[driver], source=source("rows"),
            schema=[Field(name="driver", dtype=Int64), *fields, Field(name="many", dtype=Array(Map))],
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_large_integers_among_missing_ones_and_maps_come_online_as_they_are(tmp_path: Path, kind: Kind) -> None:
    world = made(tmp_path, kind, {"rows": ROWS}, definitions)
    world.store.materialize(at("00:00"), TEN)

    served = online(world, ["v:large", "v:words", "v:counts", "v:many"], driver=[1, 2, 3])

    assert served["large"] == [2**62 + 1, -(2**62) - 1, None]
    assert served["words"] == [{"a": "ä", "b": None}, {}, None]
    assert served["counts"] == [{"n": 2**62 + 1}, {"n": 0}, None]
    assert served["many"] == [[{"a": "x"}, {}], [], None]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[(1, "x")]], pa.map_(pa.int64(), pa.string())),
        pa.array([[("k", b"x")]], pa.map_(pa.string(), pa.binary())),
        pa.array([[("k", at("09:00"))]], pa.map_(pa.string(), INSTANT)),
    ],
)
def test_maps_that_feast_cannot_hold_are_refused_by_name(column: pa.Array) -> None:
    with pytest.raises(Unsupported, match="column 'm' is map<"):
        as_materialized(pa.table({"k": [1], "m": column}), ["k"])


def test_integers_stay_integers_unless_a_float_would_round_them() -> None:
    given = pa.table({"k": [1, 2], "small": pa.array([2**53, None], pa.int64()), "whole": [2**62 + 1, 0]})

    found = as_materialized(given, ["k"])

    assert found.schema.types == given.schema.types
    assert [str(kind) for kind in found.to_pandas().dtypes] == ["Int64", "Int64", "Int64"]


def test_unsigned_integers_of_all_digits_are_not_rounded() -> None:
    given = pa.table({"k": [1, 2], "u": pa.array([2**64 - 1, None], pa.uint64())})

    assert [None if value is None else int(value) for value in as_materialized(given, ["k"]).column("u").to_pylist()] == [
        2**64 - 1,
        None,
    ]
