"""The search itself, over rows in any number of blocks: whatever they are cut into, the answer is the plain loop's."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse_connectors.feast.asof import Asked, AsOf
from lakehouse_connectors.feast.key_codes import KeyCodes
from lakehouse_connectors.feast.newest import NEVER, by_key_and_time, newest_of_each_key, ticks
from tests.feast.oracle import FeatureRow, Keys, known, latest

pytestmark = pytest.mark.xdist_group("feast-oracle")
SEARCHES = settings(max_examples=3000 if os.environ.get("LAKE_TEST_ALL") else 200)
SCHEMA = pa.schema(
    [
        ("a", pa.int64()), ("b", pa.string()), ("t", pa.timestamp("us", "UTC")), ("c", pa.timestamp("us", "UTC")),
        ("id", pa.int64()), ("x", pa.float64()),
    ]
)  # fmt: skip
KEYS = st.tuples(st.sampled_from([1, 1, 1, 2, None]), st.sampled_from(["x", "x", "x", "y", None]))
TIMES = st.sampled_from([0, 1, 2, 3, 3, 3, 3, None])
MOMENTS = st.sampled_from([*range(-1, 7), None])
CREATED = st.sampled_from([0, 2, 4, 5, 5, 5, None])
VALUES = st.tuples(st.integers(0, 3), st.sampled_from([None, 0.5]))
ROW = st.builds(FeatureRow, KEYS, TIMES, CREATED, VALUES)
ROWS = st.one_of(st.lists(ROW, max_size=6), st.lists(ROW, min_size=12, max_size=30))
SIZES = st.lists(st.integers(0, 4), max_size=15)
BY = st.sampled_from([("a", "b"), ("b",), ()])


UNIT = st.sampled_from(["us", "us", "us", "ns"])


def table_of(rows: Sequence[FeatureRow], event: str = "us", created: str = "us") -> pa.Table:
    """The rows as Arrow, their times, nanoseconds, in columns of those units."""
    schema = SCHEMA.set(2, pa.field("t", pa.timestamp(event, "UTC"))).set(3, pa.field("c", pa.timestamp(created, "UTC")))
    values = [(*row.keys, held(row.event, event), held(row.created, created), *row.values) for row in rows]
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in values], schema=schema)


def held(nanoseconds: int | None, unit: str) -> int | None:
    """A time as a column of that unit holds it."""
    return nanoseconds if nanoseconds is None or unit == "ns" else nanoseconds // 1000


def nanoseconds(microseconds: int | None, unit: str, jitter: int) -> int | None:
    """A time; one that a column of nanoseconds holds may be one more or less than a whole microsecond."""
    return None if microseconds is None else microseconds * 1000 + ((1, -1, 0)[jitter % 3] if unit == "ns" else 0)


def blocks(rows: Sequence[FeatureRow], sizes: Sequence[int], *units: str) -> list[pa.Table]:
    """The rows cut into blocks of those sizes, and one of what is left."""
    cut, at = [], 0
    for size in sizes:
        cut.append(table_of(rows[at : at + size], *units))
        at += size
    return [*cut, table_of(rows[at:], *units)]


@SEARCHES
@given(
    rows=ROWS,
    questions=st.lists(st.tuples(KEYS, MOMENTS), max_size=6),
    ttl=st.sampled_from([None, 1, 4]),
    known_then=st.booleans(),
    keys=BY,
    sizes=SIZES,
    units=st.tuples(UNIT, UNIT, st.sampled_from(["us", "ns"])),
)
def test_a_search_of_blocks_is_what_a_plain_loop_finds(
    rows: list[FeatureRow],
    questions: list[tuple[Keys, int | None]],
    ttl: int | None,
    known_then: bool,
    keys: tuple[str, ...],
    sizes: list[int],
    units: tuple[str, str, str],
) -> None:
    event, created, asked_unit = units
    rows = [
        FeatureRow(row.keys, nanoseconds(row.event, event, number), nanoseconds(row.created, created, number // 3), row.values)
        for number, row in enumerate(rows)
    ]
    questions = [(own, nanoseconds(when, asked_unit, number)) for number, (own, when) in enumerate(questions)]
    asked_rows = table_of([FeatureRow(own, when, None, (0, None)) for own, when in questions], asked_unit)
    codes = KeyCodes([asked_rows[name] for name in keys], {name: SCHEMA.field(name).type for name in keys}, len(questions))
    lifetime = None if ttl is None else dt.timedelta(microseconds=ttl)
    features = pa.schema([SCHEMA.field("id"), SCHEMA.field("x")])
    asked = Asked(codes, ticks(asked_rows, "t"), lifetime)

    def search(blocks: list[pa.Table]) -> pa.Table:
        return searched(AsOf(asked, keys, "t", "c", features, known_then=known_then), blocks)

    found = search(blocks(rows, sizes, event, created))

    own = [FeatureRow(part(row.keys, keys), row.event, row.created, row.values) for row in rows]
    got = list(zip(found["id"].to_pylist(), found["x"].to_pylist(), strict=True))
    assert len(got) == len(questions)
    for (key, when), values in zip(questions, got, strict=True):
        right = known(own, part(key, keys), when, ttl=(ttl or 0) * 1000, created_by_then=known_then)
        assert values in {each or (None, None) for each in right}
    assert found.equals(search([table_of(rows[::-1], event, created)]))


def test_rows_that_newer_ones_have_replaced_are_let_go_and_no_others() -> None:
    first, other = FeatureRow((1, "x"), -1000, 0, (7, None)), FeatureRow((2, "x"), 0, 0, (100, None))
    rows = [first, other, *(FeatureRow((1, "x"), 1000 * time, 0, (time, None)) for time in range(60))]
    asked_rows = table_of([FeatureRow((key, "x"), 59_000, None, (0, None)) for key in (1, 2, 1, 3)])
    codes = KeyCodes([asked_rows["a"]], {"a": pa.int64()}, 4)
    features = pa.schema([SCHEMA.field("id")])
    search = AsOf(Asked(codes, ticks(asked_rows, "t"), None), ["a"], "t", "c", features)

    held = []
    for block in blocks(rows, [1] * len(rows)):
        search.add(block)
        held.append(sum(table.num_rows for table in search._kept))

    assert search.result()["id"].to_pylist() == [59, 100, 59, None]
    assert max(held) < 12


FAR_APART = [-62_135_596_800_000_000, -62_135_596_799_999_999, -1, 0, 1, 2**40, 253_402_300_799_999_998, 253_402_300_799_999_999]
"""Microseconds from the first to the last instant that a calendar has."""


@SEARCHES
@given(rows=ROWS, questions=st.lists(st.tuples(KEYS, MOMENTS), max_size=6), known_then=st.booleans(), keys=BY, sizes=SIZES)
def test_times_as_far_apart_as_can_be_are_in_order(
    rows: list[FeatureRow], questions: list[tuple[Keys, int | None]], known_then: bool, keys: tuple[str, ...], sizes: list[int]
) -> None:
    rows = [FeatureRow(row.keys, far(row.event), far(row.created), row.values) for row in rows]
    asked_rows = table_of([FeatureRow(own, far(when), None, (0, None)) for own, when in questions])
    codes = KeyCodes([asked_rows[name] for name in keys], {name: SCHEMA.field(name).type for name in keys}, len(questions))
    features = pa.schema([SCHEMA.field("id")])

    search = AsOf(Asked(codes, ticks(asked_rows, "t"), dt.timedelta.max), keys, "t", "c", features, known_then=known_then)
    found = searched(search, blocks(rows, sizes))["id"].to_pylist()

    own = [FeatureRow(part(row.keys, keys), row.event, row.created, row.values[:1]) for row in rows]
    for (key, when), value in zip(questions, found, strict=True):
        right = known(own, part(key, keys), far(when), created_by_then=known_then)
        assert (value,) in {each or (None,) for each in right}


def far(step: int | None) -> int | None:
    """A time, in nanoseconds, of `FAR_APART`."""
    return None if step is None else FAR_APART[step + 1] * 1000


def searched(join: AsOf, blocks: Sequence[pa.Table]) -> pa.Table:
    for block in blocks:
        join.add(block)
    return join.result()


def part(keys: Keys, names: Sequence[str]) -> Keys:
    """The keys of those names."""
    return tuple(value for name, value in zip(("a", "b"), keys, strict=True) if name in names)


@SEARCHES
@given(rows=ROWS, sizes=SIZES, keys=BY)
def test_the_newest_rows_of_blocks_are_the_plain_loops(rows: list[FeatureRow], sizes: list[int], keys: tuple[str, ...]) -> None:
    rows = [FeatureRow(row.keys, nanoseconds(row.event, "us", 0), nanoseconds(row.created, "us", 0), row.values) for row in rows]
    newest = SCHEMA.empty_table()
    for block in blocks(rows, sizes):
        newest = newest_of_each_key(pa.concat_tables([newest, block]), list(keys), ["id", "x"], "t", "c")

    right = latest([FeatureRow(part(row.keys, keys), row.event, row.created, row.values) for row in rows], 0, 3000)
    got = {
        tuple(row[name] for name in keys): (row["t"] * 1000, (row["id"], row["x"]))
        for row in newest.set_column(2, "t", newest["t"].cast(pa.int64())).to_pylist()
    }
    assert newest.num_rows == len(got)
    assert got.keys() == right.keys()
    assert all(got[key] in right[key] for key in got)
    decided = [*keys, "t", "c", "id", "x"]
    whole = newest_of_each_key(table_of(rows[::-1]), list(keys), ["id", "x"], "t", "c")
    assert sorted(map(repr, whole.select(decided).to_pylist())) == sorted(map(repr, newest.select(decided).to_pylist()))


CODES = st.sampled_from([0, 1, 2**20, 2**20 + 1, 2**31 - 1])
EVENTS = st.one_of(st.integers(0, 5), st.integers(2**44, 2**44 + 5), st.sampled_from([NEVER + 1, -1, 2**63 - 1]))


@SEARCHES
@given(st.lists(st.tuples(CODES, EVENTS, st.sampled_from([NEVER, -1, 0, 2**63 - 1]), st.integers(0, 3)), max_size=20))
def test_rows_are_in_the_order_of_code_event_and_created_however_many_keys_there_are(
    rows: list[tuple[int, int, int, int]],
) -> None:
    table = pa.table({"id": pa.array([row[3] for row in rows], pa.int64())})
    code, event, created = (np.array([row[place] for row in rows], np.int64) for place in range(3))

    found = by_key_and_time(table, np.arange(len(rows)), code, event, created, ["id"])

    got = list(zip(found.code.tolist(), found.event.tolist(), found.created.tolist(), strict=True))
    assert got == sorted(row[:3] for row in rows)
    assert [(*each, rows[place][3]) for each, place in zip(got, found.rows.tolist(), strict=True)] == [
        rows[place] for place in found.rows
    ]
    assert sorted(found.rows.tolist()) == list(range(len(rows)))
