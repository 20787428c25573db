"""Columns of a scan from the columns of files that were written before, or by others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.errors import LakeError, NotFound, Unsupported
from lakehouse.reading.rows import batches, schema_of
from lakehouse.reading.task import ReadField, ScanTask
from tests.reading.conftest import Files, named


def with_id(field: pa.Field, field_id: int) -> pa.Field:
    return field.with_metadata({"PARQUET:field_id": str(field_id)})


def read(files: Files, fields: tuple[ReadField, ...], task: ScanTask, columns: list[str] | None = None) -> pa.Table:
    plan = files.plan(fields, [task])
    made = pa.Table.from_batches(batches(plan, columns=columns, workers=1), schema_of(plan, columns))
    made.validate(full=True)
    return made


def of_one(files: Files, array: pa.Array, target: pa.DataType, **options: Any) -> pa.Table:
    name = files.parquet("a.parquet", pa.table({"x": array}), **options)
    return read(files, (ReadField("x", target, names=("x",)),), files.task(name))


NESTED = pa.schema(
    [
        with_id(pa.field("id", pa.int32()), 1),
        with_id(
            pa.field(
                "point",
                pa.struct([with_id(pa.field("x", pa.int32()), 3), with_id(pa.field("y", pa.float32()), 4)]),
            ),
            2,
        ),
        with_id(
            pa.field("items", pa.list_(with_id(pa.field("element", pa.struct([with_id(pa.field("sku", pa.string()), 7)])), 6))), 5
        ),
        with_id(
            pa.field(
                "tags",
                pa.map_(
                    with_id(pa.field("key", pa.string(), False), 9),
                    with_id(
                        pa.field(
                            "value", pa.struct([with_id(pa.field("n", pa.int32()), 11), with_id(pa.field("m", pa.int32()), 12)])
                        ),
                        10,
                    ),
                ),
            ),
            8,
        ),
    ]
)
ROWS: list[dict[str, Any]] = [
    {"id": 1, "point": {"x": 1, "y": 0.5}, "items": [{"sku": "a"}, None], "tags": [("k", {"n": 1, "m": 2})]},
    {"id": 2, "point": None, "items": None, "tags": None},
    {"id": None, "point": {"x": None, "y": None}, "items": [], "tags": [("p", None), ("q", {"n": None, "m": 3})]},
]


def field(name: str, kind: pa.DataType, field_id: int, *children: ReadField, **rest: Any) -> ReadField:
    return ReadField(name, kind, field_id=field_id, children=children, **rest)


def test_columns_are_found_by_id_at_every_level_renamed_reordered_added_and_widened(files: Files) -> None:
    name = files.parquet("a.parquet", pa.Table.from_pylist(ROWS, NESTED))
    item = pa.struct([("code", pa.string()), ("count", pa.int64())])
    value = pa.struct([("M", pa.int64())])
    point = pa.struct([("why", pa.float64()), ("z", pa.int32())])
    fields = (
        field(
            "marks",
            pa.map_(pa.string(), value),
            8,
            field("key", pa.string(), 9),
            field("value", value, 10, field("M", pa.int64(), 12)),
        ),
        field("place", point, 2, field("why", pa.float64(), 4), field("z", pa.int32(), 20, default=9)),
        field(
            "items", pa.list_(item), 5, field("element", item, 6, field("code", pa.string(), 7), field("count", pa.int64(), 21))
        ),
        field("key", pa.int64(), 1),
        field("id", pa.string(), 22),
    )
    got = read(files, fields, files.task(name, by="id"))
    assert got.schema.field("place").metadata == {b"PARQUET:field_id": b"2"}
    assert got.to_pylist() == [
        {
            "marks": [("k", {"M": 2})],
            "place": {"why": 0.5, "z": 9},
            "items": [{"code": "a", "count": None}, None],
            "key": 1,
            "id": None,
        },
        {"marks": None, "place": None, "items": None, "key": 2, "id": None},
        {"marks": [("p", None), ("q", {"M": 3})], "place": {"why": None, "z": 9}, "items": [], "key": None, "id": None},
    ]


def test_a_struct_of_which_the_file_has_no_field_is_null_where_the_files_is(files: Files) -> None:
    name = files.parquet("a.parquet", pa.Table.from_pylist(ROWS, NESTED))
    kind = pa.struct([("new", pa.string())])
    fields = (
        field("point", kind, 2, field("new", pa.string(), 30)),
        field("items", pa.list_(kind), 5, field("element", kind, 6, field("new", pa.string(), 31))),
    )
    got = read(files, fields, files.task(name, by="id")).to_pydict()
    assert got["point"] == [{"new": None}, None, {"new": None}]
    assert got["items"] == [[{"new": None}, None], None, []]


def test_a_file_without_ids_is_read_by_the_tables_name_mapping(files: Files) -> None:
    name = files.parquet("a.parquet", pa.table({"old": [1, 2], "st": [{"a": 1}, None], "other": [5, 6]}))
    kind = pa.struct([("b", pa.int64())])
    fields = (
        field("new", pa.int64(), 1, names=("older", "old")),
        field("st", kind, 2, field("b", pa.int64(), 3, names=("a", "b")), names=("st",)),
        field("other", pa.int64(), 4, names=()),
    )
    got = read(files, fields, files.task(name, by="id"))
    assert got.to_pydict() == {"new": [1, 2], "st": [{"b": 1}, None], "other": [None, None]}


def test_a_file_without_ids_is_refused_where_the_table_has_no_name_mapping(files: Files) -> None:
    name = files.parquet("a.parquet", pa.table({"a": [1]}))
    with pytest.raises(Unsupported, match=r"a\.parquet.*no field ids.*name mapping \(Iceberg.*\(Delta: column mapping by id"):
        read(files, (field("a", pa.int64(), 1),), files.task(name, by="id"))


def test_a_column_of_which_only_the_case_differs_is_refused_and_not_null(files: Files) -> None:
    """Trap: some readers take ``Amount`` for ``amount``, so that others read nulls where they read rows."""
    name = files.parquet("a.parquet", pa.table({"Amount": [1], "st": [{"X": 1}]}))
    for asked in (ReadField("amount", pa.int64()), ReadField("st", pa.struct([("x", pa.int64())]))):
        with pytest.raises(
            Unsupported, match=r"a\.parquet: lacks the column .* and has '(Amount|X)', which differs only in case"
        ):
            read(files, (asked,), files.task(name))
    mapped = ReadField("shown", pa.int64(), names=("AMOUNT",))
    with pytest.raises(Unsupported, match="differs only in case"):
        read(files, (mapped,), files.task(name))


def test_columns_of_one_table_that_differ_only_in_case_are_told_apart(files: Files) -> None:
    name = files.parquet("a.parquet", pa.table({"A": [1], "st": [{"X": 1}]}))
    kind = pa.struct([("x", pa.int64()), ("X", pa.int64())])
    fields = (ReadField("a", pa.int64()), ReadField("A", pa.int64()), ReadField("st", kind), ReadField("p", pa.int64(), names=()))
    assert read(files, fields, files.task(name)).to_pylist() == [{"a": None, "A": 1, "st": {"x": None, "X": 1}, "p": None}]
    assert read(files, fields, files.task(name), ["a"]).to_pylist() == [{"a": None}]


def test_a_field_of_a_struct_that_the_file_lacks_has_the_value_that_the_table_states(files: Files) -> None:
    """Trap: an identity partition by a field inside of a struct is a constant too."""
    point = with_id(pa.field("point", pa.struct([with_id(pa.field("x", pa.int64()), 3)])), 2)
    name = files.parquet("a.parquet", pa.table([pa.array([{"x": 1}, None, {"x": 3}], point.type)], pa.schema([point])))
    inner = pa.struct([("x", pa.int64()), ("day", pa.date32())])
    fields = (field("point", inner, 2, field("x", pa.int64(), 3), field("day", pa.date32(), 4)),)
    task = replace(files.task(name, by="id"), inner_constants={4: pa.scalar(date(2026, 1, 1)), 3: pa.scalar(77)})
    got = read(files, fields, task).to_pylist()
    assert got == [{"point": {"x": 1, "day": date(2026, 1, 1)}}, {"point": None}, {"point": {"x": 3, "day": date(2026, 1, 1)}}]
    whole = (replace(fields[0], field_id=9),)
    with pytest.raises(Unsupported, match=r"lacks the column 'point', and the table states a value of 'point\.x'"):
        read(files, whole, task)
    nothing = replace(task, inner_constants={4: pa.scalar(None, pa.date32())})
    assert read(files, whole, nothing).to_pylist() == 3 * [{"point": None}]


def test_a_file_with_ids_is_not_read_by_name(files: Files) -> None:
    """Trap: a column that was dropped and added again under its old name has another id."""
    name = files.parquet("a.parquet", pa.table({"a": [1]}, pa.schema([with_id(pa.field("a", pa.int64()), 1)])))
    assert read(files, (field("a", pa.int64(), 2, names=("a",)),), files.task(name, by="id")).to_pydict() == {"a": [None]}


def test_precedence_is_file_constant_default_null(files: Files) -> None:
    """Trap: partition columns NULL."""
    name = files.parquet("a.parquet", pa.table({"held": [1, 2]}))
    fields = tuple(ReadField(each, pa.int64(), names=(each,), default=7) for each in ("held", "constant", "null", "default"))
    constants = {"held": pa.scalar(5), "constant": pa.scalar(5), "null": pa.scalar(None, pa.int64())}
    got = read(files, (*fields, ReadField("none", pa.string())), files.task(name, constants=constants))
    assert got.to_pylist() == [{"held": each, "constant": 5, "null": None, "default": 7, "none": None} for each in (1, 2)]


def test_defaults_of_any_type_are_given(files: Files) -> None:
    name = files.parquet("a.parquet", pa.table({"x": [1, 2]}))
    kinds: list[tuple[pa.DataType, Any]] = [
        (pa.decimal128(9, 2), Decimal("1.25")),
        (pa.timestamp("us", "UTC"), datetime(2020, 1, 1, tzinfo=UTC)),
        (pa.date32(), date(2020, 1, 1)),
        (pa.binary(2), b"ab"),
        (pa.uuid(), UUID(int=5)),
        (pa.struct([("a", pa.int32())]), {"a": 1}),
        (pa.list_(pa.string()), ["x"]),
    ]
    fields = tuple(ReadField(f"c{at}", kind, default=value) for at, (kind, value) in enumerate(kinds))
    got = read(files, fields, files.task(name))
    assert got.to_pylist() == [{f"c{at}": value for at, (_, value) in enumerate(kinds)}] * 2
    assert got.schema.types == [kind for kind, _ in kinds]


def test_a_required_column_that_the_file_lacks_is_an_error_by_name(files: Files) -> None:
    name = files.parquet("a.parquet", pa.table({"x": pa.array([1, None])}))
    with pytest.raises(NotFound, match="lacks the column 'must'"):
        read(files, (ReadField("must", pa.int64(), nullable=False),), files.task(name))
    assert read(files, (ReadField("must", pa.int64(), nullable=False, default=3),), files.task(name))["must"].to_pylist() == [
        3,
        3,
    ]
    with pytest.raises(NotFound, match="'x' has nulls"):
        read(files, (ReadField("x", pa.int64(), nullable=False),), files.task(name))


@pytest.mark.parametrize(
    ("array", "target", "expected"),
    [
        (pa.array([1, None], pa.int32()), pa.int64(), [1, None]),
        (pa.array([1, None], pa.int8()), pa.int32(), [1, None]),
        (pa.array([1.5, None], pa.float32()), pa.float64(), [1.5, None]),
        (pa.array([3], pa.int32()), pa.float64(), [3.0]),
        (pa.array([3], pa.int32()), pa.decimal128(12, 2), [Decimal("3.00")]),
        (pa.array([Decimal("1.25")], pa.decimal128(5, 2)), pa.decimal128(20, 4), [Decimal("1.2500")]),
        (pa.array([date(2020, 1, 2)]), pa.timestamp("us"), [datetime(2020, 1, 2)]),
        (pa.array([date(2020, 1, 2)], pa.date64()), pa.date32(), [date(2020, 1, 2)]),
        (pa.array([10**6], pa.timestamp("us")), pa.timestamp("us", "UTC"), [datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)]),
        (
            pa.array([10**3], pa.timestamp("ms", "Asia/Tokyo")),
            pa.timestamp("us", "UTC"),
            [datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)],
        ),
        (pa.array([10**9], pa.timestamp("ns")), pa.timestamp("us"), [datetime(1970, 1, 1, 0, 0, 1)]),
        (pa.array(["a", None], pa.large_string()), pa.string(), ["a", None]),
        (pa.array(["a", None]), pa.string_view(), ["a", None]),
        (pa.array(["a", "b", "a", None]).dictionary_encode(), pa.string(), ["a", "b", "a", None]),
        (pa.array(["a"]), pa.binary(), [b"a"]),
        (pa.array([b"a"]), pa.string(), ["a"]),
        (pa.array([UUID(int=1).bytes], pa.binary(16)), pa.uuid(), [UUID(int=1)]),
        (pa.array([UUID(int=1).bytes], pa.uuid()), pa.binary(16), [UUID(int=1).bytes]),
        (pa.nulls(2), pa.decimal128(5, 2), [None, None]),
        (pa.nulls(2), pa.list_(pa.field("element", pa.int64(), False)), [None, None]),
        (pa.nulls(2), pa.struct([("a", pa.list_(pa.int32())), pa.field("b", pa.int8(), False)]), [None, None]),
        (pa.nulls(2), pa.map_(pa.string(), pa.int64()), [None, None]),
        (pa.array([[], None, [None]], pa.list_(pa.null())), pa.list_(pa.struct([("a", pa.int64())])), [[], None, [None]]),
        (
            pa.array([{"a": None}, None], pa.struct([("a", pa.null())])),
            pa.struct([("a", pa.map_(pa.string(), pa.int64()))]),
            [{"a": None}, None],
        ),
        (pa.array([[1], None], pa.large_list(pa.int32())), pa.list_(pa.int64()), [[1], None]),
        (pa.array([[1, 2], None], pa.list_(pa.int32(), 2)), pa.list_(pa.int64()), [[1, 2], None]),
        (pa.array([[1], None], pa.list_(pa.field("x", pa.int32(), False))), pa.list_(pa.int32()), [[1], None]),
        (
            pa.array([[{"a": 1}]], pa.list_(pa.struct([("a", pa.int32())]))),
            pa.list_(pa.struct([("a", pa.int64())])),
            [[{"a": 1}]],
        ),
    ],
)
def test_types_are_widened_without_loss(files: Files, array: pa.Array, target: pa.DataType, expected: list[Any]) -> None:
    got = of_one(files, array, target)
    assert got.schema.field("x").type == target
    assert got["x"].to_pylist() == expected


@pytest.mark.parametrize(
    ("array", "target"),
    [
        (pa.array([2**40]), pa.int32()),
        (pa.array([1.5]), pa.float32()),
        (pa.array([1.5]), pa.int64()),
        (pa.array([2**53 + 1]), pa.float64()),
        (pa.array(["1"]), pa.int64()),
        (pa.array([1]), pa.string()),
        (pa.array([1]), pa.timestamp("us")),
        (pa.array([1]), pa.bool_()),
        (pa.array([b"\xff"]), pa.string()),
        (pa.array([1001], pa.timestamp("ns")), pa.timestamp("us")),
        (pa.array([1], pa.timestamp("us", "UTC")), pa.timestamp("us")),
        (pa.array([date(2020, 1, 1)]), pa.timestamp("us", "UTC")),
        (pa.array([10**18], pa.timestamp("us")), pa.timestamp("ns")),
        (pa.array([Decimal("1.25")]), pa.decimal128(10, 1)),
        (pa.array([Decimal("99.25")]), pa.decimal128(3, 2)),
        (pa.array([[1]]), pa.int64()),
        (pa.array([{"a": 1}]), pa.list_(pa.int64())),
        (pa.array([b"ab"], pa.binary(2)), pa.uuid()),
    ],
)
def test_what_would_lose_something_is_an_error_that_names_the_column(files: Files, array: pa.Array, target: pa.DataType) -> None:
    with pytest.raises((NotFound, Unsupported), match=r"a\.parquet: column 'x'"):
        of_one(files, array, target)


def test_nulls_of_no_type_are_the_files_own_and_not_what_it_lacks(files: Files) -> None:
    task = files.task(files.parquet("a.parquet", pa.table({"x": pa.nulls(2)})))
    names = pa.list_(pa.string())
    assert read(files, (ReadField("x", names, default=["d"]),), task)["x"].to_pylist() == [None, None]
    with pytest.raises(NotFound, match="'x' has nulls"):
        read(files, (ReadField("x", names, nullable=False),), task)


def test_two_columns_of_one_name_are_refused_only_where_that_name_is_read(files: Files) -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", "A"])
    task = files.task(files.parquet("a.parquet", twice))
    assert read(files, (ReadField("A", pa.int64()),), task).to_pydict() == {"A": [3]}
    with pytest.raises(Unsupported, match="2 columns that could be 'a'"):
        read(files, (ReadField("a", pa.int64()),), task)


def test_names_with_dots_and_of_another_case_are_names_like_others(files: Files) -> None:
    """Trap: ``a.b`` is a column, and also a field of the column ``a``."""
    table = pa.table({"a": [{"b": 1}], "a.b": [2], "A.B": [3], "list.element": [4]})
    task = files.task(files.parquet("a.parquet", table))
    assert read(files, named(table.schema), task).equals(table)
    for name in table.column_names:
        assert read(files, named(table.schema), task, [name]).equals(table.select([name]))


def test_one_column_of_the_file_may_be_read_as_several(files: Files) -> None:
    task = files.task(files.parquet("a.parquet", pa.table({"s": [{"x": 1, "y": 2}]})))
    kinds = (pa.struct([("x", pa.int64())]), pa.struct([("y", pa.int64())]))
    fields = tuple(ReadField(f"f{at}", kind, names=("s",)) for at, kind in enumerate(kinds))
    assert read(files, fields, task).to_pydict() == {"f0": [{"x": 1}], "f1": [{"y": 2}]}


LEAVES = [pa.int32(), pa.string(), pa.float64(), pa.decimal128(9, 2), pa.bool_(), pa.binary()]
TYPES = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        inner.map(pa.list_),
        inner.map(lambda kind: pa.map_(pa.string(), kind)),
        st.lists(inner, min_size=1, max_size=3).map(lambda kinds: pa.struct([(f"f{at}", kind) for at, kind in enumerate(kinds)])),
    ),
    max_leaves=5,
)


def value_of(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_list(kind):
        return st.none() | st.lists(value_of(kind.value_type), max_size=3)
    if pa.types.is_map(kind):
        return st.none() | st.dictionaries(st.text("ab", max_size=2), value_of(kind.item_type), max_size=2).map(
            lambda d: list(d.items())
        )
    if pa.types.is_struct(kind):
        return st.none() | st.fixed_dictionaries({each.name: value_of(each.type) for each in kind})
    plain: dict[pa.DataType, st.SearchStrategy[Any]] = {
        pa.int32(): st.integers(-5, 5),
        pa.string(): st.text(max_size=2),
        pa.float64(): st.sampled_from([0.5, 1.0]),
        pa.decimal128(9, 2): st.sampled_from([Decimal("1.25")]),
        pa.bool_(): st.booleans(),
        pa.binary(): st.binary(max_size=2),
    }
    return st.none() | plain[kind]


def pruned(draw: st.DrawFn, kind: pa.DataType) -> pa.DataType:
    """``kind`` with some fields of structs left out, the others in another order, and one added."""
    if pa.types.is_list(kind):
        return pa.list_(pruned(draw, kind.value_type))
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, pruned(draw, kind.item_type))
    if not pa.types.is_struct(kind):
        return pa.int64() if kind == pa.int32() else kind
    kept = draw(st.lists(st.sampled_from(list(kind)), unique_by=lambda each: each.name, max_size=3))
    added = [pa.field("new", pa.string())] if draw(st.booleans()) or not kept else []
    return pa.struct([*added, *(pa.field(each.name, pruned(draw, each.type)) for each in kept)])


def seen(value: Any, kind: pa.DataType) -> Any:
    """What is left of ``value`` when it is read as ``kind``."""
    if value is None:
        return None
    if pa.types.is_list(kind):
        return [seen(each, kind.value_type) for each in value]
    if pa.types.is_map(kind):
        return [(key, seen(each, kind.item_type)) for key, each in value]
    return {each.name: seen(value.get(each.name), each.type) for each in kind} if pa.types.is_struct(kind) else value


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_nesting_is_read_as_any_part_of_it(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    kinds = data.draw(st.lists(TYPES, min_size=1, max_size=3))
    rows = data.draw(st.lists(st.tuples(*[value_of(kind) for kind in kinds]), max_size=6))
    table = pa.table({f"c{at}": pa.array([row[at] for row in rows], kind) for at, kind in enumerate(kinds)})
    files = Files(tmp_path_factory.mktemp("nested"))
    name = files.parquet("a.parquet", table, row_group_size=max(1, data.draw(st.integers(1, 4))))
    targets = [data.draw(st.composite(pruned)(kind)) for kind in kinds]
    fields = tuple(ReadField(f"c{at}", kind, names=(f"c{at}",)) for at, kind in enumerate(targets))
    try:
        got = read(files, fields, files.task(name))
    except LakeError as error:
        raise AssertionError(str(error)) from error
    for at, kind in enumerate(targets):
        assert got[f"c{at}"].to_pylist() == [seen(row[at], kind) for row in rows]
