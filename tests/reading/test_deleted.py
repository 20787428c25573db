"""Deletes by position and by value, against the plainest way to apply them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.reading import keys
from lakehouse.reading.deleted import DeleteIndexes, all_deleted, kept_positions
from lakehouse.reading.task import EqualityDeletes, ReadField

KINDS: list[tuple[pa.DataType, list[Any]]] = [
    (pa.int8(), [-1, 0, 5]),
    (pa.int32(), [-(2**31), 0, 7]),
    (pa.int64(), [-(2**63), 0, 2**63 - 1]),
    (pa.bool_(), [True, False]),
    (pa.string(), ["", "a", "abcdefgh", "abcdefgh\0", "abcdefghi", "é" * 20]),
    (pa.large_string(), ["", "b"]),
    (pa.string_view(), ["", "a long string that is not inlined"]),
    (pa.binary(), [b"", b"\0", b"\0\0", b"x" * 17]),
    (pa.binary(3), [b"\0\0\0", b"abc"]),
    (pa.uuid(), [UUID(int=0).bytes, UUID(int=1 << 100).bytes]),
    (pa.decimal128(20, 2), [Decimal("0.00"), Decimal("-1.10"), Decimal("123456789012345678.90")]),
    (pa.date32(), [date(1970, 1, 1), date(2020, 2, 29)]),
    (pa.time64("us"), [time(0), time(23, 59, 59, 1)]),
    (pa.timestamp("us", "UTC"), [datetime(1970, 1, 1, tzinfo=UTC), datetime(1900, 1, 1, tzinfo=UTC)]),
]


@st.composite
def cases(draw: st.DrawFn) -> tuple[pa.Table, pa.Table]:
    chosen = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))

    def table(rows: int) -> pa.Table:
        made = {}
        for at, (kind, values) in enumerate(chosen):
            drawn = draw(st.lists(st.none() | st.sampled_from(values), min_size=rows, max_size=rows))
            made[f"c{at}"] = pa.array(drawn, kind)
        return pa.table(made)

    return table(draw(st.integers(0, 8))), table(draw(st.integers(0, 8)))


def by_hand(data: pa.Table, deletes: pa.Table) -> list[bool]:
    gone = {tuple(row.values()) for row in deletes.to_pylist()}
    return [tuple(row.values()) not in gone for row in data.to_pylist()]


def index(deletes: pa.Table) -> Any:
    fields = tuple(ReadField(field.name, field.type) for field in deletes.schema)
    return DeleteIndexes().of(EqualityDeletes(fields, deletes), "the file")


@settings(max_examples=400, deadline=None)
@given(cases(), st.integers(0, 3))
def test_rows_equal_to_a_delete_in_all_columns_go_and_null_equals_null(case: tuple[pa.Table, pa.Table], skipped: int) -> None:
    data, deletes = case
    data = data.slice(min(skipped, data.num_rows))
    kept = index(deletes).kept([column.combine_chunks() for column in data.columns], data.num_rows)
    assert (kept.tolist() if kept is not None else [True] * data.num_rows) == by_hand(data, deletes)


def test_a_hash_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All keys collide; the rows that go are still those that are equal."""
    monkeypatch.setattr("lakehouse.reading.deleted.hashes_of", lambda _, rows: np.zeros(rows, dtype=np.uint64))
    data, deletes = pa.table({"x": [1, 2, 3, None]}), pa.table({"x": [9, 3, None, 8]})
    kept = index(deletes).kept([data["x"].combine_chunks()], 4)
    assert kept.tolist() == [True, True, False, False]


def test_a_million_deletes_are_applied_exactly() -> None:
    random = np.random.default_rng(3)
    doomed, values = random.integers(0, 2**40, 1_000_000), random.integers(0, 2**40, 50_000)
    values[::5] = doomed[: len(values[::5])]
    found = index(pa.table({"x": doomed})).kept([pa.array(values)], len(values))
    assert np.array_equal(found, ~np.isin(values, doomed))


def test_equal_values_have_equal_hashes_whatever_lies_before_them() -> None:
    for kind, values in KINDS:
        array = pa.array([*values, None, *values], kind)
        storage = array.storage if hasattr(kind, "storage_type") else array
        whole = keys.hashes_of([storage], len(storage))
        part = keys.hashes_of([storage.slice(len(values) + 1)], len(values))
        assert part.tolist() == whole[: len(values)].tolist()
        assert len(set(whole.tolist())) == len(values) + 1, kind


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(0, 40)), st.integers(0, 30), st.integers(0, 15))
def test_positions_are_those_of_the_file(gone: set[int], start: int, rows: int) -> None:
    positions = np.array(sorted(gone), dtype=np.uint64)
    expected = [at not in gone for at in range(start, start + rows)]
    kept = kept_positions(positions, start, rows)
    assert (kept.tolist() if kept is not None else [True] * rows) == expected
    assert all_deleted(positions, start, rows) == (not any(expected))


def test_positions_beyond_any_signed_number_are_compared_as_they_are() -> None:
    assert kept_positions(np.array([5, 2**63 + 1], dtype=np.uint64), 4, 3).tolist() == [True, False, True]  # type: ignore[union-attr]


def test_an_index_is_made_once_for_a_set() -> None:
    indexes, table = DeleteIndexes(), pa.table({"x": [1]})
    one, other = (EqualityDeletes((ReadField("x", pa.int64()),), table) for _ in range(2))
    assert indexes.of(one, "a") is indexes.of(other, "b")
