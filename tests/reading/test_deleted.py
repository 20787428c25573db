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
from lakehouse.reading.deleted import DeletedRows, all_deleted, kept_positions, key_of
from lakehouse.reading.task import ReadField

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
def cases(draw: st.DrawFn) -> tuple[pa.Table, list[tuple[pa.Table, int]]]:
    """Rows of data, and tables of deletes with their sequence numbers."""
    chosen = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))

    def table(rows: int) -> pa.Table:
        made = {}
        for at, (kind, values) in enumerate(chosen):
            drawn = draw(st.lists(st.none() | st.sampled_from(values), min_size=rows, max_size=rows))
            made[f"c{at}"] = pa.array(drawn, kind)
        return pa.table(made)

    numbers = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    return table(draw(st.integers(0, 8))), [(table(draw(st.integers(0, 6))), number) for number in numbers]


def by_hand(data: pa.Table, deletes: list[tuple[pa.Table, int]], sequence: int) -> list[bool]:
    gone = {tuple(row.values()) for table, number in deletes if number > sequence for row in table.to_pylist()}
    return [tuple(row.values()) not in gone for row in data.to_pylist()]


def deleted(*deletes: tuple[pa.Table, int]) -> DeletedRows:
    fields = tuple(ReadField(field.name, field.type) for field in deletes[0][0].schema)
    return DeletedRows(fields, deletes, "the file")


@settings(max_examples=400, deadline=None)
@given(cases(), st.integers(0, 3), st.integers(0, 4), st.sampled_from([1, 5, 1 << 20]), st.booleans())
def test_rows_equal_to_a_newer_delete_in_all_columns_go_and_null_equals_null(
    case: tuple[pa.Table, list[tuple[pa.Table, int]]], skipped: int, sequence: int, merged: int, alike: bool
) -> None:
    """Whatever the order in which deletes come, how many are merged at once, and where all hashes collide."""
    data, deletes = case
    data = data.slice(min(skipped, data.num_rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lakehouse.reading.deleted.LEAST_MERGED_ROWS", merged)
        if alike:
            patch.setattr("lakehouse.reading.deleted.hashes_of", lambda _, rows: np.full(rows, 2**63 + 5, dtype=np.uint64))
        kept = deleted(*deletes).kept([column.combine_chunks() for column in data.columns], data.num_rows, sequence)
    assert (kept.tolist() if kept is not None else [True] * data.num_rows) == by_hand(data, deletes, sequence)


def test_a_hash_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All keys collide; the rows that go are still those that are equal."""
    monkeypatch.setattr("lakehouse.reading.deleted.hashes_of", lambda _, rows: np.zeros(rows, dtype=np.uint64))
    data, deletes = pa.table({"x": [1, 2, 3, None]}), pa.table({"x": [9, 3, None, 8]})
    kept = deleted((deletes, 1)).kept([data["x"].combine_chunks()], 4, 0)
    assert kept is not None
    assert kept.tolist() == [True, True, False, False]


def test_a_million_deletes_are_applied_exactly() -> None:
    random = np.random.default_rng(3)
    doomed, values = random.integers(0, 2**40, 1_000_000), random.integers(0, 2**40, 50_000)
    values[::5] = doomed[: len(values[::5])]
    found = deleted((pa.table({"x": doomed}), 1)).kept([pa.array(values)], len(values), 0)
    assert found is not None
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


def test_deletes_of_the_same_keys_take_memory_once_however_often_they_come() -> None:
    """Trap: a table that is updated all the time has a file of deletes for each commit."""
    keys = pa.table({"x": np.arange(40_000)})
    once = deleted((keys, 1)).size
    assert once < 40_000 * 48
    assert deleted(*((keys, number) for number in range(1, 60))).size == once


def test_a_key_inside_of_structs_is_null_where_a_struct_around_it_is() -> None:
    inner = ReadField("x", pa.int64())
    field = ReadField("s", pa.struct([("x", pa.int64())]), children=(inner,))
    assert key_of(field) is inner
    rows = DeletedRows((field,), [(pa.table({"s": pa.array([{"x": 1}, None], field.type)}), 2)], "the file")
    data = pa.array([{"x": 1}, {"x": 2}, None, {"x": None}], field.type)
    kept = rows.kept([data], 4, 1)
    assert kept is not None
    assert kept.tolist() == [False, True, False, False]
    hidden = pa.StructArray.from_arrays([pa.array([1, 1])], ["x"], mask=pa.array([False, True]))
    late = DeletedRows((field,), [(pa.table({"s": pa.array([{"x": 1}], field.type)}), 2)], "the file").kept([hidden], 2, 1)
    assert late is not None
    assert late.tolist() == [False, True]
