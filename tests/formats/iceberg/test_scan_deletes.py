"""Which deletes apply to which rows, and that no delete file is ever passed over."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from lakehouse.errors import NotFound, Unsupported
from lakehouse.reading.rows import task_batches
from tests.formats.iceberg.handmade import field
from tests.formats.iceberg.scanned import BY_P, FIELDS, STRINGS, Make, ids, keys, make, plan_of, read, rows

__all__ = ["make"]


@pytest.mark.parametrize("file_format", ["parquet", "orc", "avro"])
def test_position_deletes_apply_to_files_that_are_not_newer(make: Make, file_format: str) -> None:
    table = make()
    old = table.data(rows(0, 1, 2, 3, 4, 5))
    table.commit(old)
    same = table.data(rows(10, 11, 12))
    table.commit(same, table.positions([(old, 0), (old, 5), (same, 1)], file_format=file_format))
    assert ids(table) == [1, 2, 3, 4, 10, 12]


def test_position_deletes_do_not_apply_to_a_newer_file_of_the_same_name(make: Make) -> None:
    table = make()
    old = table.data(rows(0, 1, 2))
    deletes = table.positions([(old, 0)])
    table.commit(old)
    table.commit(deletes)
    table.commit(removed=[old])
    table.commit(old)
    assert ids(table) == [0, 1, 2]


def test_position_deletes_of_several_files_of_one_data_file_are_one_set(make: Make) -> None:
    table = make()
    data = table.data(rows(*range(10)))
    table.commit(data)
    table.commit(
        table.positions([(data, 1), (data, 3)]), table.positions([(data, 3), (data, 9)], referenced_data_file=data["file_path"])
    )
    table.commit(table.positions([(data, 0)]))
    assert ids(table) == [2, 4, 5, 6, 7, 8]


def test_position_deletes_apply_within_their_partition(make: Make) -> None:
    table = make(spec=BY_P, avro_types=STRINGS)
    a, b = table.data(rows(0, 1), partition="a"), table.data(rows(2, 3, p="b"), partition="b")
    table.commit(a, b)
    table.commit(table.positions([(a, 0), (b, 0)], partition="a"))
    assert ids(table) == [1, 2, 3]


def test_position_deletes_of_one_file_apply_whatever_their_partition_as_in_the_reference_implementation(make: Make) -> None:
    table = make(spec=BY_P, avro_types=STRINGS)
    a = table.data(rows(0, 1), partition="a")
    table.commit(a)
    bound = [{"key": 2147483546, "value": a["file_path"].encode()}]
    table.commit(table.positions([(a, 1)], partition="b", lower_bounds=bound, upper_bounds=bound))
    assert ids(table) == [0]


def test_an_upper_bound_of_paths_that_was_cut_off_hides_no_deletes(make: Make) -> None:
    """Trap: bounds that are pruned by bring rows back."""
    table = make()
    data, other = table.data(rows(0, 1)), table.data(rows(2))
    table.commit(data, other)
    cut = [{"key": 2147483546, "value": data["file_path"][:12].encode()}]
    low = [{"key": 2147483546, "value": b"s3:"}]
    table.commit(table.positions([(data, 1), (other, 0)], lower_bounds=low, upper_bounds=cut))
    assert ids(table) == [0]


@pytest.mark.parametrize("cut", [3, 16, -1, None])
def test_bounds_of_paths_that_were_both_cut_off_to_the_same_hide_no_deletes(make: Make, cut: int | None) -> None:
    """Trap: bounds that are equal are taken for the one path, and the file's rows come back."""
    table = make(spec=BY_P, avro_types=STRINGS)
    data, other = table.data(rows(0, 1), partition="a"), table.data(rows(2, 3, p="b"), partition="b")
    table.commit(data, other)
    for entry, partition in ((data, "a"), (other, "b")):
        bound = [{"key": 2147483546, "value": entry["file_path"][:cut].encode()}]
        table.commit(table.positions([(entry, 1)], partition=partition, lower_bounds=bound, upper_bounds=bound))
    assert ids(table) == [0, 2]


def test_a_deletion_vector_replaces_position_deletes_of_its_file(make: Make) -> None:
    table = make(version=3)
    data, other = table.data(rows(0, 1, 2, 3)), table.data(rows(10, 11))
    table.commit(data, other)
    table.commit(table.positions([(data, 0), (other, 0)]))
    table.commit(table.vector(data, [0, 2]))
    assert ids(table) == [1, 3, 11]


def test_two_deletion_vectors_of_one_file_are_an_error(make: Make) -> None:
    table = make(version=3)
    data = table.data(rows(0, 1, 2, 3))
    table.commit(data)
    table.commit(table.vector(data, [0]), table.vector(data, [2]))
    with pytest.raises(NotFound, match="two deletion vectors"):
        read(table)


def test_a_deletion_vector_that_is_older_than_its_file_is_an_error(make: Make) -> None:
    table = make(version=3)
    data = table.data(rows(0, 1, 2, 3))
    vector = table.vector(data, [0])
    table.commit(vector)
    table.commit(data)
    with pytest.raises(NotFound, match="older"):
        read(table)


def test_equality_deletes_apply_to_older_files_only(make: Make) -> None:
    table = make()
    table.commit(table.data(rows(0, 1, 2)))
    table.commit(table.data(rows(1, 3)), table.equal(keys(1, 3)))
    table.commit(table.data(rows(2)))
    assert ids(table) == [0, 1, 2, 2, 3]


def test_equality_deletes_of_an_unpartitioned_spec_apply_everywhere_others_to_their_partition(make: Make) -> None:
    table = make(spec=BY_P, avro_types=STRINGS)
    table.commit(table.data(rows(0, 1, 2), partition="a"), table.data(rows(0, 1, 2, p="b"), partition="b"))
    table.commit(table.equal(keys(0), partition="a"))
    everywhere = table.add_spec([])
    table.commit(table.equal(keys(2)), spec=everywhere)
    assert [(row["id"], row["p"]) for row in read(table)] == [(0, "b"), (1, "a"), (1, "b")]


def test_equality_deletes_of_a_partition_apply_to_that_spec_only(make: Make) -> None:
    table = make(spec=BY_P, avro_types=STRINGS | {1001: "string"})
    table.commit(table.data(rows(0, 1), partition="a"))
    other = table.add_spec([{"name": "q", "transform": "identity", "source-id": 2, "field-id": 1001}])
    table.commit(table.data(rows(0, 1), partition="a"), spec=other)
    table.commit(table.equal(keys(0), partition="a"))
    assert ids(table) == [0, 1, 1]


def test_null_equals_null_in_equality_deletes(make: Make) -> None:
    table = make()
    table.commit(table.data(pa.table({"id": pa.array([None, 1, None], pa.int64()), "p": pa.array([None, None, "x"])})))
    table.commit(table.equal(pa.table({"id": pa.array([None], pa.int64()), "p": pa.array([None], pa.string())})))
    assert read(table) == [{"id": 1, "p": None}, {"id": None, "p": "x"}]


def test_equality_deletes_by_a_column_that_was_dropped_since_still_apply(make: Make) -> None:
    table = make([*FIELDS, field(3, "k", "int")])
    table.commit(table.data(rows(0, 1).append_column("k", pa.array([7, 8], pa.int32()))))
    table.commit(table.equal(pa.table({"k": pa.array([7], pa.int32())})))
    table.add_schema(FIELDS)
    table.commit(table.data(rows(2)))
    assert read(table) == [{"id": 1, "p": "a"}, {"id": 2, "p": "a"}]


def test_equality_deletes_by_a_dropped_column_are_not_by_a_new_one_of_its_name(make: Make) -> None:
    """Trap: a partition value of the new column is none of the old, and rows that nobody deleted go."""
    table = make([field(1, "id", "long"), field(2, "p", "string")], avro_types=STRINGS)
    table.commit(table.data(pa.table({"id": [1, 2], "p": ["x", "y"]})))
    deletes = table.equal(pa.table({"p": ["x"]}), equality_ids=[2])
    table.add_schema([field(1, "id", "long"), field(5, "p", "string")])
    spec = table.add_spec([{"name": "p", "transform": "identity", "source-id": 5, "field-id": 1000}])
    table.commit(table.data(keys(3, 4), partition=["x"]), spec=spec)
    table.commit(deletes)
    assert read(table) == [{"id": 2, "p": None}, {"id": 3, "p": "x"}, {"id": 4, "p": "x"}]


def test_equality_deletes_by_a_partition_column_that_was_dropped_since_still_apply(make: Make) -> None:
    """Trap: files that lack the column have the partition's value of it, also when no scan gives it any more."""
    table = make(spec=BY_P, avro_types=STRINGS)
    table.commit(table.data(keys(1, 2), partition=["x"]))
    table.commit(table.equal(pa.table({"p": ["x"]}), equality_ids=[2], partition=["x"]))
    assert ids(table) == []
    table.add_schema([field(1, "id", "long")])
    table.commit(table.data(keys(9), partition=["x"]))
    assert ids(table) == [9]


def test_all_data_files_share_what_equality_deletes_hold_and_it_is_read_once(make: Make) -> None:
    """Trap: a table that is updated all the time has a data file and a file of deletes for each commit."""
    table = make()
    entries = []
    for number in range(12):
        entries.append(table.equal(keys(*range(number + 1))))
        table.commit(table.data(rows(*range(number + 2), p=str(number))), entries[-1])
    plan = plan_of(table)
    tasks = list(plan.all_tasks())
    held = [task.deletes().equality for task in tasks if task.deletes is not None]
    assert [len(each) for each in held] == [1] * 11
    assert len({id(each.rows) for (each,) in held}) == 1
    for entry in entries:
        table.at(entry).unlink()
    left = [row for task in tasks for batch in task_batches(plan, task) for row in batch.to_pylist()]
    assert sorted(left, key=lambda row: row["id"]) == [{"id": each, "p": "11"} for each in range(13)]


NESTED = {"type": "struct", "fields": [field(11, "x", "long"), field(12, "y", "string")]}


def nested(*values: dict[str, Any] | None, inside: tuple[str, ...] = ("x", "y")) -> pa.Array:
    known = {"x": (pa.int64(), "11"), "y": (pa.string(), "12")}
    return pa.array(
        list(values),
        pa.struct([pa.field(name, known[name][0], metadata={"PARQUET:field_id": known[name][1]}) for name in inside]),
    )


def by_x(*values: int | None) -> pa.Table:
    return pa.table({"s": nested(*({"x": value} for value in values), inside=("x",))})


@pytest.mark.parametrize("file_format", ["parquet", "orc"])
def test_equality_deletes_by_a_field_inside_of_a_struct_apply(make: Make, file_format: str) -> None:
    table = make([field(1, "id", "long"), field(10, "s", NESTED)])
    values = nested({"x": 7, "y": "a"}, {"x": 8, "y": "a"}, None, {"x": None, "y": "b"})
    table.commit(table.data(pa.table({"id": [0, 1, 2, 3], "s": values}), file_format=file_format))
    if file_format == "parquet":
        table.commit(table.data(pa.table({"id": [4], "s": nested({"y": "c"}, inside=("y",))})))
    table.commit(table.data(keys(5)))
    table.commit(table.equal(by_x(7), equality_ids=[11]))
    assert ids(table) == ([1, 2, 3, 4, 5] if file_format == "parquet" else [1, 2, 3, 5])
    table.commit(table.equal(by_x(None), equality_ids=[11]), table.data(keys(6)))
    assert ids(table) == [1, 6]


@pytest.mark.parametrize("left", [[field(12, "y", "string")], [field(12, "z", "string"), field(11, "w", "long")]])
def test_equality_deletes_by_a_field_inside_of_a_struct_that_was_dropped_or_renamed_since_apply(make: Make, left: Any) -> None:
    table = make([field(1, "id", "long"), field(10, "s", NESTED)])
    table.commit(table.data(pa.table({"id": [0, 1], "s": nested({"x": 7, "y": "a"}, {"x": 8, "y": "a"})})))
    both = pa.table({"s": nested({"x": 7, "y": "a"}, {"x": 8, "y": "b"})})
    table.commit(table.equal(both, equality_ids=[12, 11]))
    table.add_schema([field(1, "id", "long"), field(10, "t", {"type": "struct", "fields": left})])
    assert ids(table) == [1]


def test_equality_deletes_by_a_partition_value_inside_of_a_struct_that_files_lack_apply(make: Make) -> None:
    spec = [{"name": "x", "transform": "identity", "source-id": 11, "field-id": 1000}]
    table = make([field(1, "id", "long"), field(10, "s", NESTED)], spec=spec, avro_types={1000: "long"})
    for number in (7, 8):
        made = table.data(pa.table({"id": [number], "s": nested({"y": "a"}, inside=("y",))}), partition=[number])
        table.commit(made)
    table.commit(table.equal(by_x(7), equality_ids=[11]), spec=table.add_spec([]))
    assert ids(table) == [8]


def test_equality_deletes_that_lack_the_field_inside_of_the_struct_are_damaged(make: Make) -> None:
    table = make([field(1, "id", "long"), field(10, "s", NESTED)])
    table.commit(table.data(pa.table({"id": [0], "s": nested({"x": 7, "y": "a"})})))
    table.commit(table.equal(pa.table({"s": nested({"y": "a"}, inside=("y",))}), equality_ids=[11]))
    with pytest.raises(NotFound, match="must have the column x"):
        read(table)


def test_equality_deletes_by_a_field_inside_of_a_list_are_refused_as_such(make: Make) -> None:
    repeated = {"type": "list", "element-id": 11, "element": "long", "element-required": False}
    table = make([field(1, "id", "long"), field(10, "items", repeated)])
    table.commit(table.data(keys(0)))
    table.commit(table.equal(keys(0), equality_ids=[11]))
    with pytest.raises(Unsupported, match="field 11, which is inside of the list or map 'items'"):
        read(table)


def test_equality_deletes_by_a_column_that_older_files_lack_find_its_default(make: Make) -> None:
    table = make(version=3)
    table.commit(table.data(rows(0, 1)))
    table.add_schema([*FIELDS, field(3, "k", "int") | {"initial-default": 5}])
    table.commit(table.data(rows(2).append_column("k", pa.array([6], pa.int32()))))
    table.commit(table.equal(pa.table({"k": pa.array([5], pa.int32())})))
    assert read(table) == [{"id": 2, "p": "a", "k": 6}]


def test_equality_deletes_written_before_a_column_was_widened_still_apply(make: Make) -> None:
    table = make([field(1, "id", "int"), field(2, "p", "string")])
    narrow = pa.table({"id": pa.array([0, 1], pa.int32()), "p": ["a", "b"]})
    table.commit(table.data(narrow))
    table.commit(table.equal(narrow.select(["id"]).slice(0, 1)))
    table.add_schema(FIELDS)
    assert ids(table) == [1]


def test_equality_deletes_by_different_columns_all_apply(make: Make) -> None:
    table = make()
    table.commit(table.data(rows(0, 1, 2)), table.data(rows(3, p="b")))
    table.commit(table.equal(keys(0)), table.equal(pa.table({"p": ["b"]})), table.equal(rows(1, p="b")), table.equal(rows(2)))
    assert ids(table) == [1]


def test_partitions_are_the_same_however_their_decimals_and_floats_are_written(make: Make) -> None:
    """Bytes of a decimal may be longer than they need be; NaN is one partition."""
    fields = [*FIELDS, field(3, "n", "decimal(9, 2)"), field(4, "f", "double")]
    spec = [{"name": name, "transform": "identity", "source-id": at, "field-id": 997 + at} for at, name in ((3, "n"), (4, "f"))]
    table = make(fields, spec, avro_types={1000: "bytes", 1001: "double"})
    table.commit(table.data(rows(0, 1), partition=(b"\x01\x00", float("nan"))))
    table.commit(
        table.equal(keys(0), partition=(b"\x00\x01\x00", float("nan"))), table.equal(keys(1), partition=(b"\x01\x00", 0.0))
    )
    assert ids(table) == [1]


@pytest.mark.parametrize("kind", ["positions", "positions in avro", "equality", "vector"])
@pytest.mark.parametrize("damage", ["gone", "cut", "flipped"])
def test_a_delete_file_that_is_gone_or_damaged_is_an_error_and_brings_no_row_back(make: Make, kind: str, damage: str) -> None:
    """Trap (Iceberg 10, Verification 7): a read error is never turned into "nothing is deleted"."""
    table = make(version=3)
    data = table.data(rows(*range(20)))
    table.commit(data)
    made = {
        "positions": lambda: table.positions([(data, 1)]),
        "positions in avro": lambda: table.positions([(data, 1)], file_format="avro"),
        "equality": lambda: table.equal(keys(3)),
        "vector": lambda: table.vector(data, [2]),
    }
    deletes = made[kind]()
    table.commit(deletes)
    path, content = table.at(deletes), table.at(deletes).read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:24])
    else:
        at = 26 if kind == "vector" else len(content) - 1
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
    with pytest.raises(NotFound, match=path.name):
        read(table)


@pytest.mark.parametrize("file_format", ["parquet", "avro"])
def test_fewer_deletes_than_the_entry_says_are_an_error(make: Make, file_format: str) -> None:
    table = make()
    data = table.data(rows(0, 1, 2))
    table.commit(data, table.positions([(data, 1)], record_count=2, file_format=file_format))
    with pytest.raises(NotFound, match="its entry says 2"):
        read(table)


@pytest.mark.parametrize("edit", ["referenced_data_file", "content_offset", "content_size_in_bytes"])
def test_a_deletion_vector_of_which_the_place_is_not_stated_is_an_error(make: Make, edit: str) -> None:
    table = make(version=3)
    data = table.data(rows(0, 1, 2))
    table.commit(data, table.vector(data, [1]) | {edit: None})
    with pytest.raises(NotFound, match=edit):
        read(table)


def test_an_entry_that_may_inherit_no_sequence_number_is_an_error(make: Make) -> None:
    table = make()
    data = table.data(rows(0, 1))
    table.commit(data)
    table.commit(table.equal(keys(0)))
    table.manifests[0]["records"][0]["status"] = 0
    table._add_manifest([{**table.manifests[0]["records"][0]}], 0, 0, 1, {})
    table.manifests.pop(0)
    table.commit()
    with pytest.raises(NotFound, match="no sequence number"):
        read(table)


def test_equality_deletes_and_data_in_avro_are_read(make: Make) -> None:
    table = make()
    table.commit(table.data(rows(0, 1, 2), file_format="avro"))
    table.commit(table.equal(keys(1), file_format="avro"))
    assert ids(table) == [0, 2]


def test_equality_deletes_by_a_field_that_nobody_knows_are_refused(make: Make) -> None:
    table = make()
    table.commit(table.data(rows(0)))
    table.commit(table.equal(keys(0), equality_ids=[99]))
    with pytest.raises(Unsupported, match="field 99"):
        read(table)
