"""What a footer says of a column, held against a manifest's bounds: whatever a writer may do is no finding, all else is one."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lakehouse.check import check
from lakehouse.config import Settings
from lakehouse.formats.iceberg.check_files import compared
from lakehouse.formats.iceberg.check_partitions import summary_flaws, tuple_flaws, types_of
from lakehouse.formats.iceberg.check_values import Column, columns_of, exceeds, partition_type, partition_value, reader_of
from lakehouse.formats.iceberg.entries import DataFile
from lakehouse.formats.iceberg.manifest_list import PartitionSummary
from lakehouse.formats.iceberg.partitioning import PartitionField, PartitionSpec
from lakehouse.reading.footer import Bound, Kind, LeafFacts
from tests.formats.iceberg.iceberg_tables import changing_table

LONGS = st.integers(-(2**63), 2**63 - 1)
CUT = st.integers(1, 40)


def column(kind: str) -> Column:
    return Column(1, "v", kind, True, reader_of(kind))


def entry(lower: bytes | None, upper: bytes | None) -> DataFile:
    """An entry of two rows with those bounds."""
    return DataFile(
        status=1, snapshot_id=1, sequence_number=1, file_sequence_number=1, content=0, path="a.parquet", file_format="parquet",
        spec_id=0, partition=(), rows=2, size=9, column_sizes={}, value_counts={1: 2}, null_counts={1: 0}, nan_counts={},
        lower_bounds={1: lower} if lower is not None else {}, upper_bounds={1: upper} if upper is not None else {},
        split_offsets=(), equality_ids=(), sort_order_id=None, first_row_id=None, referenced_data_file=None, content_offset=None,
        content_size=None, encrypted=False,
    )  # fmt: skip


def said(kind: Kind, scale: int, lower: Bound, upper: Bound, stated: DataFile, column_type: str) -> list[str]:
    leaf = LeafFacts("v", 1, kind, scale, lower, upper, 0, 2)
    return [each for each, _ in compared(stated, [(leaf, column(column_type))])[0]]


def cut_up(text: str, count: int) -> bytes:
    """An upper bound of ``text``: its first characters, the last of them raised."""
    if len(text) <= count:
        return text.encode()
    kept = text[:count]
    while kept and ord(kept[-1]) in (0x10FFFF, 0xD7FF):
        kept = kept[:-1]
    return (kept[:-1] + chr(ord(kept[-1]) + 1)).encode() if kept else text.encode()


@given(st.tuples(LONGS, LONGS), st.tuples(LONGS, LONGS))
def test_numbers_lie_within_their_bounds_or_are_found(values: tuple[int, int], bounds: tuple[int, int]) -> None:
    (least, most), (lower, upper) = sorted(values), sorted(bounds)
    stated = entry(lower.to_bytes(8, "little", signed=True), upper.to_bytes(8, "little", signed=True))
    wrong = (least < lower) + (most > upper)
    assert said("integer", 0, least, most, stated, "long") == ["stats"] * wrong


@given(st.text(max_size=60), st.text(max_size=60), CUT, st.integers(20, 60))
def test_text_may_be_cut_in_the_manifest_and_in_the_footer(one: str, other: str, manifest: int, footer: int) -> None:
    """Writers cut bounds at different lengths: an upper bound that is cut has its last character raised."""
    least, most = sorted((one, other), key=str.encode)
    stated = entry(least[:manifest].encode(), cut_up(most, manifest))
    assert said("text", 0, least[:footer].encode(), cut_up(most, footer), stated, "string") == []


@given(st.binary(min_size=1, max_size=12), st.binary(min_size=1, max_size=12))
def test_short_text_outside_its_bounds_is_found(inside: bytes, outside: bytes) -> None:
    assume(outside < inside)
    assert said("binary", 0, outside, inside, entry(inside, inside), "binary") == ["stats"]
    assert said("binary", 0, outside, inside, entry(outside, outside), "binary") == ["stats"]


@given(st.integers(-(10**14), 10**14), st.sampled_from([1000, 10**6, 10**9]))
def test_times_compare_in_whatever_unit_the_file_has_them(at: int, unit: int) -> None:
    """Verification's trap 6: time units."""
    raw = at.to_bytes(8, "little", signed=True)
    in_file = at * unit // 10**6
    assert said("timestamp", unit, in_file, in_file, entry(raw, raw), "timestamptz") == []
    other = in_file + unit
    assert said("timestamp", unit, other, other, entry(raw, raw), "timestamptz") == ["stats"]


@given(st.floats(width=32, allow_nan=False))
def test_a_bound_that_was_written_before_its_column_was_promoted_is_read(value: float) -> None:
    raw = struct.pack("<f", value)
    assert said("float", 0, value, value, entry(raw, raw), "double") == []


@pytest.mark.parametrize(("kind", "raw"), [("long", b"\0"), ("double", b"\0" * 3), ("boolean", b"")])
def test_a_bound_that_is_no_value_of_its_type_is_no_difference_but_a_contradiction(kind: str, raw: bytes) -> None:
    leaf = LeafFacts("v", 1, {"long": "integer", "double": "float"}.get(kind, "boolean"), 0, 1, 2, 0, 2)  # type: ignore[arg-type]
    assert compared(entry(raw, None), [(leaf, column(kind))]) == ([], True)


@given(st.one_of(LONGS, st.binary()), st.one_of(LONGS, st.binary()))
def test_what_does_not_compare_does_not_exceed(one: int | bytes, other: int | bytes) -> None:
    if isinstance(one, bytes) == isinstance(other, bytes):
        assert exceeds(one, other) + exceeds(other, one) == (one != other)
    else:
        assert not exceeds(one, other)


def test_columns_are_found_in_structs_lists_and_maps_and_only_some_have_one_value_a_row() -> None:
    inner = {"type": "struct", "fields": [{"id": 5, "name": "x", "type": "int"}]}
    listed = {"type": "list", "element-id": 3, "element": "string"}
    mapped = {"type": "map", "key-id": 7, "key": "string", "value-id": 8, "value": "long"}
    fields = [(1, "id", "long"), (2, "l", listed), (4, "s", inner), (6, "m", mapped)]
    found = columns_of([{"fields": [{"id": number, "name": name, "type": kind} for number, name, kind in fields]}])
    assert {number: each.name for number, each in found.items()} == {
        1: "id", 2: "l", 3: "l.element", 4: "s", 5: "s.x", 6: "m", 7: "m.key", 8: "m.value",
    }  # fmt: skip
    assert {number for number, each in found.items() if each.plain} == {1, 2, 4, 6}


VALUES: list[tuple[str, Any, bool]] = [
    ("string", "x", True),
    ("string", 1, False),
    ("int", 1, True),
    ("int", True, False),
    ("boolean", True, True),
    ("boolean", 1, False),
    ("decimal(9, 2)", b"\1\0", True),
    ("uuid", b"\0" * 16, True),
    ("date", 19000, True),
    ("double", 1.5, True),
    ("long", "1", False),
]


@pytest.mark.parametrize(("kind", "value", "fits"), VALUES)
def test_a_partition_value_is_of_its_type(kind: str, value: Any, fits: bool) -> None:
    spec = PartitionSpec(0, (PartitionField(1000, "p", "identity", (1,)),))
    assert bool(list(tuple_flaws([(value,)], spec, types_of(spec, {1: column(kind)})))) != fits


def test_partition_values_have_the_types_of_their_transforms() -> None:
    assert [partition_type(name, "timestamp") for name in ("identity", "bucket[4]", "truncate[3]", "day", "year", "void")] == [
        "timestamp", "int", "timestamp", "date", "int", None,
    ]  # fmt: skip
    assert partition_value("decimal(9, 2)", b"\1\0") == 256


@given(st.lists(st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)), min_size=1), st.one_of(st.none(), st.integers(-9, 9)))
def test_a_summary_holds_its_partitions_or_is_found(values: list[int | None], other: int | None) -> None:
    spec = PartitionSpec(0, (PartitionField(1000, "p", "bucket[9]", (1,)),))
    there = [value for value in values if value is not None]
    ends = [value.to_bytes(4, "little", signed=True) for value in (min(there), max(there))] if there else [None, None]
    summary = PartitionSummary(len(there) < len(values), False, *ends)
    types = types_of(spec, {1: column("string")})
    assert list(summary_flaws([(value,) for value in values], (summary,), spec, types)) == []
    outside = not summary.contains_null if other is None else bool(there) and not min(there) <= other <= max(there)
    if there:
        assert bool(list(summary_flaws([(other,)], (summary,), spec, types))) == outside


@contextmanager
def found_whole_after_each_step(folder: Path) -> Iterator[Any]:
    with changing_table(folder) as table:

        def assert_whole() -> None:
            report = check(str(table.folder), settings=Settings(), deep=True, version=table.root.name)
            assert report.findings == []

        yield table, assert_whole


def test_a_table_is_whole_after_whatever_another_writer_does_to_it(tmp_path: Path) -> None:
    """Traps 3, 8 and 17: appends, rewrites, branches, tags, rollback, expiry, evolution, by pyiceberg."""
    with found_whole_after_each_step(tmp_path) as (table, assert_whole):
        assert_whole()
        table.append(0)
        table.append(100)
        assert_whole()
        first = table.current
        table.delete("id >= 105")
        assert_whole()
        table.branch("audit", first)
        table.tag("first", first)
        table.append(200, branch="audit")
        assert_whole()
        table.merge_manifests(300)
        table.compact()
        assert_whole()
        table.rollback(first)
        assert_whole()
        table.append(400)
        table.evolve()
        table.append_evolved(500)
        assert_whole()
        table.forget_branch("audit")
        table.expire()
        assert_whole()
        assert json.loads(table.root.read_text())["refs"].keys() == {"main", "first"}
