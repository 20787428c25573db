"""Random feature tables and questions: whatever is in them, each format's answer is one that the plain loop of `oracle` gives."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, ValueType
from feast.types import Float64, Int64
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from lakehouse_connectors.feast.source import lake_source
from tests.feast.oracle import FeatureRow, Values, known, latest
from tests.feast.worlds import Kind, SourceOf, World, made

MORE = bool(os.environ.get("LAKE_TEST_ALL"))
EXAMPLES = settings(max_examples=100 if MORE else 12, suppress_health_check=[HealthCheck.too_slow])
BASE = 1_714_550_400_000_000_000  # 2024-05-01T08:00Z in nanoseconds
MINUTE = 60_000_000_000
TTL = dt.timedelta(minutes=2)
pytestmark = pytest.mark.xdist_group("feast-oracle")
A, B = (Entity(name=name, join_keys=[name], value_type=kind) for name, kind in (("a", ValueType.INT64), ("b", ValueType.STRING)))


@dataclass(frozen=True, slots=True)
class Place:
    """A format, and the type of times in its table: ``step`` is the least difference of two, in nanoseconds."""

    kind: Kind
    times: pa.DataType
    step: int

    @property
    def schema(self) -> pa.Schema:
        """The columns of the feature table."""
        return pa.schema(
            [("a", pa.int64()), ("b", pa.string()), ("t", self.times), ("c", self.times), ("id", pa.int64()), ("x", pa.float64())]
        )

    def time(self, nanoseconds: int | None) -> Any:
        """The value that ``nanoseconds`` is in its unit."""
        return None if nanoseconds is None else nanoseconds // self.step


PLACES = {
    "parquet-ns": Place("parquet", pa.timestamp("ns", "UTC"), 1),
    "parquet-no-zone": Place("parquet", pa.timestamp("us"), 1000),
    "delta": Place("delta", pa.timestamp("us", "UTC"), 1000),
    "iceberg": Place("iceberg", pa.timestamp("us", "UTC"), 1000),
}
VIEWS: dict[str, tuple[tuple[str, ...], dt.timedelta | None, bool]] = {
    "by_a": (("a",), None, True),
    "by_a_short": (("a",), TTL, True),
    "by_both": (("a", "b"), dt.timedelta(0), True),
    "by_both_short": (("a", "b"), TTL, False),
    "by_none_short": ((), TTL, True),
}
"""For each view its keys, its ttl, and whether its source knows created times."""


def definitions(source: SourceOf) -> list[Any]:
    """The views."""
    created = source("facts", name="created", timestamp_field="t", created_timestamp_column="c")
    plain = source("facts", name="plain", timestamp_field="t")
    features = [Field(name="id", dtype=Int64), Field(name="x", dtype=Float64)]

    def view(name: str, keys: Sequence[str], ttl: dt.timedelta | None, ties: bool) -> FeatureView:
        entities = [each for each in (A, B) if each.name in keys]
        return FeatureView(name=name, entities=entities, ttl=ttl, schema=features, source=created if ties else plain)

    return [A, B, *(view(name, *stated) for name, stated in VIEWS.items())]


@pytest.fixture(scope="module")
def world_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], World]:
    """The repository of a place, made once."""
    worlds: dict[str, World] = {}

    def of(name: str) -> World:
        if name not in worlds:
            folder: Path = tmp_path_factory.mktemp(name)
            worlds[name] = made(folder, PLACES[name].kind, {"facts": PLACES[name].schema.empty_table()}, definitions)
        return worlds[name]

    return of


def times(step: int, jitters: Sequence[int] = (0, 0, 1, -1)) -> st.SearchStrategy[int | None]:
    """A few instants, with neighbours just before and after; seldom none."""
    minutes = st.builds(
        lambda minute, jitter: BASE + minute * MINUTE + jitter * step, st.integers(0, 5), st.sampled_from(jitters)
    )
    return st.one_of(minutes, minutes, minutes, minutes, minutes, st.none())


KEY_A, KEY_B = st.sampled_from([1, 1, 2, None]), st.sampled_from(["x", "x", "y", "", None])
VALUE = st.one_of(st.none(), st.floats(width=64, allow_nan=False), st.just(-0.0))


@st.composite
def facts(draw: st.DrawFn, step: int) -> list[FeatureRow]:
    """The rows of a feature table: few keys and few times, so that all ties occur."""
    row = st.tuples(st.tuples(KEY_A, KEY_B), times(step), times(step, (0,)), VALUE)
    return [
        FeatureRow(keys, event, made_at, (number, x))
        for number, (keys, event, made_at, x) in enumerate(draw(st.lists(row, max_size=14)))
    ]


def table_of(place: Place, rows: Sequence[FeatureRow]) -> pa.Table:
    """The rows as Arrow."""
    columns = [
        [row.keys[0] for row in rows], [row.keys[1] for row in rows], [place.time(row.event) for row in rows],
        [place.time(row.created) for row in rows], [row.values[0] for row in rows], [row.values[1] for row in rows],
    ]  # fmt: skip
    return pa.table(
        [pa.array(column, kind) for column, kind in zip(columns, place.schema.types, strict=True)], schema=place.schema
    )


def write(world: World, place: Place, rows: Sequence[FeatureRow], cut: int) -> None:
    """Make the table hold just ``rows``, in two files where ``cut`` parts them."""
    dataset = world.lake["facts"]
    dataset.overwrite(table_of(place, rows[:cut]))
    dataset.append(table_of(place, rows[cut:]))


def asked(place: Place, questions: Sequence[tuple[Any, Any, int | None]], narrow: bool) -> pa.Table:
    """Entity rows as Arrow, numbered; ``narrow``: the integers of fewer bits than the table's."""
    return pa.table(
        {
            "n": list(range(len(questions))),
            "a": pa.array([a for a, _, _ in questions], pa.int32() if narrow else pa.int64()),
            "b": pa.array([b for _, b, _ in questions], pa.string()),
            "event_timestamp": pa.array([place.time(when) for _, _, when in questions], place.times),
        }
    )


@pytest.mark.parametrize("name", PLACES)
@EXAMPLES
@given(data=st.data())
def test_a_random_training_set_is_what_a_plain_loop_finds(
    world_of: Callable[[str], World], name: str, data: st.DataObject
) -> None:
    place, world = PLACES[name], world_of(name)
    rows = data.draw(facts(place.step), label="rows")
    questions = data.draw(st.lists(st.tuples(KEY_A, KEY_B, times(place.step)), max_size=10), label="questions")
    created_by_then = data.draw(st.booleans(), label="created by then")
    write(world, place, rows, data.draw(st.integers(0, len(rows)), label="cut"))

    answer = world.historical(
        asked(place, questions, data.draw(st.booleans(), label="narrow keys")),
        [f"{view}:{feature}" for view in VIEWS for feature in ("id", "x")],
        full_feature_names=True,
        filter_by_created_timestamp=created_by_then,
    )

    assert answer["n"].to_pylist() == list(range(len(questions)))
    for view, (keys, ttl, ties) in VIEWS.items():
        own = [of_view(row, keys, ties) for row in rows]
        got = zip(answer[f"{view}__id"].to_pylist(), answer[f"{view}__x"].to_pylist(), strict=True)
        for (a, b, when), values in zip(questions, got, strict=True):
            key = tuple({"a": a, "b": b}[column] for column in keys)
            lifetime = 0 if not ttl else ttl // dt.timedelta(microseconds=1) * 1000
            right = known(own, key, when, ttl=lifetime, created_by_then=created_by_then and ties)
            note(f"{view} {key} at {when}")
            assert text(values) in {text(each or (None, None)) for each in right}


def of_view(row: FeatureRow, keys: Sequence[str], ties: bool) -> FeatureRow:
    """The row as a view sees it that has fewer keys, or no created time."""
    key = tuple(value for column, value in zip(("a", "b"), row.keys, strict=True) if column in keys)
    return FeatureRow(key, row.event, row.created if ties else None, row.values)


def text(values: Values) -> str:
    """Values as text, which tells -0.0 from 0.0."""
    return repr(values)


@pytest.mark.parametrize("name", PLACES)
@EXAMPLES
@given(data=st.data())
def test_what_is_materialized_of_a_random_table_is_what_a_plain_loop_finds(
    world_of: Callable[[str], World], name: str, data: st.DataObject
) -> None:
    place, world = PLACES[name], world_of(name)
    rows = data.draw(facts(place.step), label="rows")
    start, end = (
        BASE + minute * MINUTE for minute in sorted(data.draw(st.tuples(st.integers(0, 5), st.integers(0, 5)), label="range"))
    )
    write(world, place, rows, data.draw(st.integers(0, len(rows)), label="cut"))
    source = lake_source(world.store.get_feature_view("by_a").batch_source, "a view")

    answer = (
        world.store._get_provider()
        .offline_store.pull_latest_from_table_or_query(
            world.store.config, source, ["a"], ["id", "x"], "t", "c", moment(start), moment(end)
        )
        .to_arrow()
    )

    right = latest([of_view(row, ("a",), True) for row in rows], start, end)
    assert sorted(answer["a"].to_pylist()) == sorted(key for (key,) in right)
    events = nanoseconds(answer["t"])
    for a, event, number, x in zip(
        answer["a"].to_pylist(), events, answer["id"].to_pylist(), answer["x"].to_pylist(), strict=True
    ):
        assert (event, text((number, x))) in {(when, text(values)) for when, values in right[(a,)]}


def nanoseconds(times: pa.ChunkedArray) -> list[int]:
    """The instants as numbers."""
    numbers: list[int] = times.cast(pa.timestamp("ns", times.type.tz)).cast(pa.int64()).to_pylist()
    return numbers


def moment(nanoseconds: int) -> dt.datetime:
    """The instant."""
    return dt.datetime.fromtimestamp(nanoseconds // 1_000_000_000, dt.UTC)
