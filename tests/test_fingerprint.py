"""The fingerprint lrh1: what shows in it, what does not, and that the fast one is the plain one of fingerprint_reference."""

from __future__ import annotations

import ast
import decimal
import random
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.errors import NotFound, Unsupported
from lakehouse.lrh1 import Fingerprint, Fingerprinter, fingerprint
from lakehouse.lrh1.codes import Dictionaries, codes
from tests import fingerprint_reference as plain

DOCUMENT = (Path(__file__).parents[1] / "docs" / "fingerprint.md").read_text()
INT64 = st.integers(-(2**63), 2**63 - 1)
SMALL = st.integers(-128, 127)
TIMES = st.one_of(SMALL.map(lambda day: day * 86_400 * 10**9), st.integers(-(2**62), 2**62))
FLOATS = st.one_of(st.floats(width=16), st.floats(width=64), st.sampled_from([0.0, -0.0]))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "integer": st.one_of(SMALL, INT64),
    "decimal": st.one_of(SMALL, INT64, st.integers(-(10**38) + 1, 10**38 - 1), st.integers(-(10**76) + 1, 10**76 - 1)),
    "float": FLOATS,
    "date": st.integers(-(2**31), 2**31 - 1),
    "time": st.one_of(st.integers(0, 86_399).map(lambda second: second * 10**9), st.integers(0, 86_400 * 10**9 - 1)),
    "timestamp": TIMES,
    "instant": TIMES,
    "duration": TIMES,
    "bytes": st.one_of(st.binary(max_size=20), st.text(max_size=9).map(str.encode), st.binary(min_size=150, max_size=150)),
}
SCALARS = st.one_of(st.sampled_from(sorted(set(VALUES) - {"decimal"})), st.tuples(st.just("decimal"), st.integers(0, 9)))


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields = st.dictionaries(st.text("abé", min_size=1, max_size=2), inner, min_size=1, max_size=3)
    keys = st.sampled_from(["integer", "bytes", "date"])
    return st.one_of(
        st.tuples(st.just("list"), inner), st.tuples(st.just("map"), keys, inner), st.tuples(st.just("struct"), fields)
    )


KINDS = st.recursive(SCALARS, nested, max_leaves=4)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a kind as the reference takes them, some of them null."""
    name, *inner = kind if isinstance(kind, tuple) else (kind,)
    if name == "list":
        found: st.SearchStrategy[Any] = st.lists(values(inner[0]), max_size=3)
    elif name == "map":
        keys = values(inner[0]).filter(lambda key: key is not None)
        found = st.lists(st.tuples(keys, values(inner[1])), max_size=3)
    elif name == "struct":
        found = st.fixed_dictionaries({field: values(one) for field, one in inner[0].items()})
    else:
        found = VALUES[name]
    return st.one_of(found, found, st.none())


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and the kinds of their columns."""
    kinds = draw(st.dictionaries(st.text(max_size=10), KINDS, min_size=1, max_size=4))
    row = st.fixed_dictionaries({name: values(kind) for name, kind in kinds.items()})
    return draw(st.lists(row, max_size=12)), kinds


def leaves(of: list[Any]) -> list[Any]:
    return [value for value in of if value is not None]


def fits(of: list[Any], bits: int) -> bool:
    return all(-(1 << bits - 1) <= value < 1 << bits - 1 for value in of)


def units(of: list[Any]) -> list[tuple[str, int]]:
    """The units of time in which all of these numbers of nanoseconds are whole."""
    every = [("ns", 1), ("us", 10**3), ("ms", 10**6), ("s", 10**9)]
    return [(unit, size) for unit, size in every if all(value % size == 0 for value in of)]


def scalar_type(name: str, scale: list[int], of: list[Any], chance: random.Random) -> pa.DataType:
    """One of the Arrow types that hold these values of a class."""
    if name == "integer":
        wide = [pa.uint64()] if all(value >= 0 for value in of) else []
        whole = [getattr(pa, f"int{bits}")() for bits in (8, 16, 32, 64) if fits(of, bits)]
        return chance.choice(wide + whole)
    if name == "decimal":
        widths = [(pa.decimal32, 9), (pa.decimal64, 18), (pa.decimal128, 38), (pa.decimal256, 76)]
        return chance.choice([make(digits, scale[0]) for make, digits in widths if all(abs(one) < 10**digits for one in of)])
    if name in ("time", "timestamp", "instant", "duration"):
        unit = chance.choice(units(of))[0]
        if name == "time":
            return (pa.time32 if unit in ("s", "ms") else pa.time64)(unit)
        return pa.duration(unit) if name == "duration" else pa.timestamp(unit, tz="Asia/Tokyo" if name == "instant" else None)
    if name == "bytes":
        whole = [pa.binary(), pa.large_binary(), pa.binary_view()]
        if len({len(one) for one in of}) == 1:
            whole.append(pa.binary(len(of[0])))
        try:
            [one.decode() for one in of]
        except UnicodeDecodeError:
            return chance.choice(whole)
        return chance.choice([*whole, pa.string(), pa.large_string(), pa.string_view()])
    half = [pa.float16()] if all(one != one or one in (0.0, 1.0, -2.5) for one in of) else []
    single = (
        [pa.float32()] if name == "float" and all(one != one or pa.scalar(one, pa.float32()).as_py() == one for one in of) else []
    )
    return chance.choice(
        {
            "null": [pa.null(), pa.string(), pa.int8()],
            "boolean": [pa.bool_()],
            "float": [pa.float64(), *single, *half],
            "date": [pa.date32(), pa.date64()],
        }[name]
    )


def arrow_type(kind: Any, of: list[Any], chance: random.Random) -> pa.DataType:
    """One of the Arrow types that hold these values (null or not) of a kind."""
    name, *inner = kind if isinstance(kind, tuple) else (kind,)
    of = leaves(of)
    if name == "list":
        item = arrow_type(inner[0], [item for value in of for item in value], chance)
        fixed = [pa.list_(item, len(of[0]))] if len({len(value) for value in of}) == 1 else []
        return chance.choice([pa.list_(item), pa.large_list(item), pa.list_view(item), pa.large_list_view(item), *fixed])
    if name == "map":
        key = arrow_type(inner[0], [key for value in of for key, _ in value], chance)
        return pa.map_(key, arrow_type(inner[1], [item for value in of for _, item in value], chance))
    if name == "struct":
        names = list(inner[0])
        chance.shuffle(names)
        return pa.struct([(field, arrow_type(inner[0][field], [value[field] for value in of], chance)) for field in names])
    found = scalar_type(name, inner, of, chance)
    encodable = not (pa.types.is_null(found) or pa.types.is_string_view(found) or pa.types.is_binary_view(found))
    return pa.dictionary(pa.int8(), found) if name in ("bytes", "integer") and encodable and chance.random() < 0.3 else found


def python(value: Any, kind: Any, of: pa.DataType) -> Any:
    """The value as pyarrow takes it for a type."""
    name, *inner = kind if isinstance(kind, tuple) else (kind,)
    if value is None or pa.types.is_dictionary(of):
        return value.decode() if value is not None and name == "bytes" and "string" in str(of.value_type) else value
    if name == "list":
        return [python(item, inner[0], of.value_type) for item in value]
    if name == "map":
        return [(python(key, inner[0], of.key_type), python(item, inner[1], of.item_type)) for key, item in value]
    if name == "struct":
        return {field: python(value[field], one, of.field(field).type) for field, one in inner[0].items()}
    if name == "decimal":
        return decimal.Context(prec=76).scaleb(decimal.Decimal(value), -of.scale)
    if name == "bytes" and "string" in str(of):
        return value.decode()
    if name in ("time", "timestamp", "instant", "duration"):
        return value // {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}[of.unit]
    return value * 86_400_000 if of == pa.date64() else value


def array(of: list[Any], kind: Any, chance: random.Random) -> pa.Array:
    """The values as a slice of a longer array of one of the types that hold them, perhaps run-end encoded."""
    held = arrow_type(kind, of, chance)
    before = chance.randrange(3) if of else 0
    longer = [*(chance.choice(of) for _ in range(before)), *of, *(chance.choice(of) for _ in range(before))]
    made = pa.array([python(value, kind, held) for value in longer], held)
    if chance.random() < 0.1 and kind in ("integer", "boolean", "date") and not pa.types.is_dictionary(held):
        made = pc.run_end_encode(made)
    return made.slice(before, len(of))


def batches(rows: list[dict[str, Any]], kinds: dict[str, Any], chance: random.Random) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    """The rows in some layout: types, order of columns and batches by chance."""
    names = list(kinds)
    chance.shuffle(names)
    whole = pa.record_batch([array([row[name] for row in rows], kinds[name], chance) for name in names], names=names)
    cut = chance.randrange(len(rows) + 1)
    return whole.schema, [whole.slice(0, cut), whole.slice(cut)]


def fast(rows: list[dict[str, Any]], kinds: dict[str, Any], seed: int = 0) -> Fingerprint:
    schema, parts = batches(rows, kinds, random.Random(seed))
    return fingerprint(parts, schema)


@settings(deadline=None)
@given(tables(), st.integers(0, 99))
def test_the_fast_one_equals_the_plain_one_in_every_layout(table: Any, seed: int) -> None:
    rows, kinds = table
    digest, columns = plain.fingerprint(rows, kinds)
    made = fast(rows, kinds, seed)
    assert (made.rows, made.digest, dict(made.columns)) == (len(rows), digest, columns)


@settings(deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_show(table: Any, chance: random.Random) -> None:
    rows, kinds = table
    shuffled = list(rows)
    chance.shuffle(shuffled)
    assert fast(rows, kinds, 1) == fast(shuffled, kinds, 2)


@settings(deadline=None)
@given(tables())
def test_a_lost_or_doubled_row_shows(table: Any) -> None:
    """Trap: an exclusive or alone cancels rows that come in pairs."""
    rows, kinds = table
    twice = fast([*rows, *rows], kinds)
    for other in (rows[1:], [*rows, *rows[:1]], [*rows, *rows, *rows]) if rows else ():
        made = fast(other, kinds)
        assert made.digest != fast(rows, kinds).digest
        assert made.digest != twice.digest or len(rows) == 1


@settings(deadline=None)
@given(tables(), st.data())
def test_a_changed_cell_shows_in_the_table_and_names_its_column(table: Any, data: st.DataObject) -> None:
    rows, kinds = table
    if not rows:
        return
    name = data.draw(st.sampled_from(sorted(kinds)))
    changed = data.draw(values(kinds[name]))
    other = [{**rows[0], name: changed}, *rows[1:]]
    if plain.code(changed, kinds[name]) == plain.code(rows[0][name], kinds[name]):
        return
    before, after = fast(rows, kinds), fast(other, kinds)
    assert before.digest != after.digest
    assert [one for one in kinds if before.columns[one] != after.columns[one]] == [name]


def of(column: Any, kind: pa.DataType | None = None) -> str:
    made = pa.table({"c": pa.array(column, kind) if not isinstance(column, pa.Array) else column})
    return fingerprint(made.to_batches(), made.schema).digest


def test_two_values_swapped_between_columns_or_between_rows_show() -> None:
    rows = [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    kinds = {"a": "integer", "b": "integer"}
    across = [{"a": 2, "b": 1}, {"a": 3, "b": 4}]
    down = [{"a": 1, "b": 4}, {"a": 3, "b": 2}]
    assert len({fast(one, kinds).digest for one in (rows, across, down)}) == 3
    assert fast(down, kinds).columns == fast(rows, kinds).columns


def test_null_empty_string_empty_list_struct_of_nulls_and_zero_differ() -> None:
    shapes = [
        of([None], pa.null()),
        of([""]),
        of([[]], pa.list_(pa.int8())),
        of([[None]], pa.list_(pa.int8())),
        of([[]], pa.map_(pa.int8(), pa.int8())),
        of([{"x": None}], pa.struct([("x", pa.int8())])),
        of([0]),
        of([False]),
        of([0.0]),
        of([0], pa.date32()),
        of([0], pa.timestamp("us")),
        of([0], pa.timestamp("us", "UTC")),
        of([0], pa.time64("us")),
        of([0], pa.duration("us")),
        of([decimal.Decimal(0)], pa.decimal128(9, 0)),
    ]
    assert len(set(shapes)) == len(shapes)
    assert {of([None], kind) for kind in (pa.int8(), pa.string(), pa.list_(pa.int8()), pa.struct([("x", pa.int8())]))} == {
        shapes[0]
    }


def test_a_missing_column_differs_from_a_column_of_nulls() -> None:
    with_nulls = pa.table({"c": [1], "d": pa.nulls(1)})
    without = pa.table({"c": [1]})
    digests = {fingerprint(one.to_batches(), one.schema).digest for one in (with_nulls, without)}
    assert len(digests) == 2


def test_there_is_one_zero_and_one_nan() -> None:
    quiet = pa.Array.from_buffers(pa.float64(), 1, [None, pa.py_buffer((0xFFF0000000000001).to_bytes(8, "little"))])
    assert of([0.0]) == of([-0.0]) == of([-0.0], pa.float16())
    assert of([float("nan")]) == of(quiet) == of([float("nan")], pa.float32())
    assert of([0.1], pa.float32()) != of([0.1])


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1)))
def test_unsigned_integers_are_their_values(numbers: list[int]) -> None:
    assert of(numbers, pa.uint64()) == plain.fingerprint([{"c": number} for number in numbers], {"c": "integer"})[0]
    assert of([2**64 - 1], pa.uint64()) != of([-1])


def test_the_scale_of_a_decimal_shows_and_its_width_does_not() -> None:
    half = decimal.Decimal("1.50")
    assert of([half], pa.decimal128(9, 2)) == of([half], pa.decimal256(40, 2)) == of([half], pa.decimal64(12, 2))
    assert of([half], pa.decimal128(9, 2)) != of([half], pa.decimal128(9, 3))


def test_the_zone_of_an_instant_does_not_show_and_the_lack_of_one_does() -> None:
    assert of([7], pa.timestamp("us", "UTC")) == of([7000], pa.timestamp("ns", "Europe/Berlin"))
    assert of([7], pa.timestamp("us", "UTC")) != of([7], pa.timestamp("us"))
    assert of([7000], pa.timestamp("ns")) != of([7001], pa.timestamp("ns"))


def test_strings_padded_with_zeros_differ_and_very_unlike_lengths_do_not_fill_memory() -> None:
    assert len({of([text]) for text in (b"", b"\0", b"\0\0", bytes(8), bytes(9), b"a", b"a\0")}) == 7
    long = ["x" * 5_000_000, *("y" * (number % 40) for number in range(20_000))]
    forward, backward = pa.array(long), pa.array(long[::-1])
    usual = pa.default_memory_pool()
    counted = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(counted)
    try:
        assert of(forward) == of(backward)
    finally:
        pa.set_memory_pool(usual)
    assert 5_000_000 < counted.max_memory() < 20_000_000


def test_what_lies_under_nulls_does_not_show() -> None:
    mask = pa.array([False, True]).buffers()[1]
    values_ = pa.Array.from_buffers(
        pa.list_(pa.int8()), 2, [mask, pa.py_buffer(b"\0\0\0\0\2\0\0\0\3\0\0\0")], 1, 0, [pa.array([1, 2, 3], pa.int8())]
    )
    assert values_.to_pylist() == [None, [3]]
    assert of(values_) == of([[3], None], pa.list_(pa.int64()))
    indices = pa.Array.from_buffers(pa.int8(), 2, [mask, pa.py_buffer(b"\x7f\0")])
    assert of(pa.DictionaryArray.from_arrays(indices, pa.array(["a"]), safe=False)) == of([None, "a"])
    struct = pa.StructArray.from_arrays([pa.array([1, 2])], ["x"], mask=pa.array([True, False]))
    assert of(struct) == of([{"x": 2}, None], pa.struct([("x", pa.int64())]))


def test_a_dictionary_may_hold_nulls_doubles_and_nothing() -> None:
    doubled = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, None], pa.int8()), pa.array(["a", "a", None]))
    assert of(doubled) == of(["a", "a", None, None])
    assert of(pa.DictionaryArray.from_arrays(pa.nulls(2, pa.int32()), pa.array([], pa.string()))) == of([None, None], pa.null())


def test_parts_of_several_threads_merge_into_the_whole_and_dictionaries_may_change_between_batches() -> None:
    tables_ = [pa.table({"a": pa.array([text, "z"] * 9).dictionary_encode(), "b": range(18)}) for text in "xyx"]
    whole, first, second = (Fingerprinter(tables_[0].schema) for _ in range(3))
    for index, table in enumerate(tables_):
        for batch in table.to_batches():
            whole.update(batch)
            (second if index else first).update(batch.select(["b", "a"]))
    first.merge(second)
    assert first.result() == whole.result()
    assert whole.result().rows == 54


def test_many_rows_are_taken_in_slices_and_amount_to_the_same() -> None:
    rows = [{"n": number, "s": "v" * (number % 9), "l": [number] * (number % 3)} for number in range(40_000)]
    table = pa.Table.from_pylist(rows)
    pieces = table.to_batches(max_chunksize=701)
    assert fingerprint(table.combine_chunks().to_batches(), table.schema) == fingerprint(pieces, table.schema)
    assert (
        plain.fingerprint(
            [{"n": row["n"], "s": str(row["s"]).encode(), "l": row["l"]} for row in rows],
            {"n": "integer", "s": "bytes", "l": ("list", "integer")},
        )[0]
        == fingerprint(pieces, table.schema).digest
    )


def test_extension_types_count_as_what_they_are_stored_as() -> None:
    number = bytes(range(16))
    assert of(pa.ExtensionArray.from_storage(pa.uuid(), pa.array([number], pa.binary(16)))) == of([number])


@pytest.mark.parametrize("kind", [pa.month_day_nano_interval(), pa.dense_union([pa.field("x", pa.int8())])], ids=str)
def test_a_type_without_a_fingerprint_is_refused_by_name(kind: pa.DataType) -> None:
    with pytest.raises(Unsupported, match=r"'gap'.*(interval|union)"):
        Fingerprinter(pa.schema([("gap", pa.list_(kind))]))


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(Unsupported, match="'a'"):
        Fingerprinter(pa.schema([("a", pa.int8()), ("a", pa.int8())]))


def test_a_batch_with_other_columns_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="'b'"):
        fingerprint([pa.record_batch({"b": [1]})], pa.schema([("a", pa.int64())]))


def test_a_fingerprint_survives_json_and_a_damaged_one_is_refused() -> None:
    made = fast([{"a": 1}], {"a": "integer"})
    assert Fingerprint.from_json(made.to_json()) == made
    with pytest.raises(Unsupported, match="lrh9"):
        Fingerprint.from_json({**made.to_json(), "algorithm": "lrh9"})
    with pytest.raises(NotFound, match="damaged"):
        Fingerprint.from_json({"algorithm": "lrh1", "rows": 1})


VECTORS = re.findall(r"^\| `(.+)` \| `(.+)` \| `([0-9a-f]{16})` \|$", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize(("kind", "value", "code"), VECTORS)
def test_a_published_code_is_the_plain_one_and_the_fast_one(kind: str, value: str, code: str) -> None:
    of_kind, one = ast.literal_eval(kind), ast.literal_eval(value)
    assert f"{plain.code(one, of_kind):016x}" == code
    made = array([one], of_kind, random.Random(0))
    assert f"{int(codes(made, Dictionaries())[0]):016x}" == code


def test_the_published_seeds_and_tables_are_the_plain_ones_and_the_fast_ones() -> None:
    seeds = re.findall(r"^\| (\d+) \| (\w+) \| `([0-9a-f]{16})` \|$", DOCUMENT, re.MULTILINE)
    assert {name: int(seed, 16) for _, name, seed in seeds} == plain.SEED
    blocks = re.findall(r"```python\n(kinds = .*?)```", DOCUMENT, re.DOTALL)
    assert len(blocks) >= 5 and len(VECTORS) >= 30
    for block in blocks:
        said = {
            ast.unparse(line.targets[0]): ast.literal_eval(line.value)
            for line in ast.parse(block).body
            if isinstance(line, ast.Assign)
        }
        assert plain.fingerprint(said["rows"], said["kinds"]) == (said["digest"], said["columns"])
        made = fast(said["rows"], said["kinds"])
        assert (made.digest, made.columns) == (said["digest"], said["columns"])
