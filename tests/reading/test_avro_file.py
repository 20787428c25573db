"""Avro files as rows: every type and codec, held against what fastavro and the specification say."""

from __future__ import annotations

import io
import itertools
import json
import random
import zlib
from decimal import Context, Decimal
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.errors import LakeError, NotFound, Unsupported
from lakehouse.reading.avro_file import AvroFile
from lakehouse.reading.data_file import BATCH_ROWS, WHOLE_BYTES, FileField, open_data_file
from lakehouse.reading.rows import batches
from lakehouse.reading.task import Deletes, ReadField
from tests.reading.conftest import Files, named

CODECS = ["null", "deflate", "bzip2", "xz"]
OPTIONAL_LONG = {"type": "record", "name": "r", "fields": [{"name": "x", "type": ["null", "long"], "field-id": 1}]}


def record(*fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": "table", "fields": list(fields)}


def avro(schema: Any, records: list[Any], codec: str = "null", interval: int = 16000) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), records, codec=codec, sync_interval=interval)
    return out.getvalue()


def read(data: bytes, **options: Any) -> pa.Table:
    file = AvroFile("here", io.BytesIO(data))
    leaves = [leaf for field in file.fields for leaf in field.leaves]
    found = list(file.batches(leaves, **options))
    assert [position for position, _ in found] == np.cumsum([0, *(batch.num_rows for _, batch in found)])[:-1].tolist()
    for _, batch in found:
        batch.validate(full=True)
    return pa.Table.from_batches([batch for _, batch in found], file.schema)


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_read(codec: str) -> None:
    records = [{"x": number if number % 3 else None} for number in range(50_000)]
    assert read(avro(OPTIONAL_LONG, records, codec)).to_pylist() == records


def packed(codec: str, block: bytes) -> bytes:
    """A file of the one record {"x": 7}, its only block packed by another than fastavro."""
    data = avro(OPTIONAL_LONG, [{"x": 7}])
    assert data[-18:-16] == b"\x02\x0e"
    header, name = data[: -18 - 2], bytes([2 * len(codec)]) + codec.encode()
    return header.replace(b"\x08null", name) + b"\x02" + bytes([2 * len(block)]) + block + data[-16:]


def test_snappy_blocks_are_read_and_their_checksums_compared() -> None:
    block = bytes(pa.Codec("snappy").compress(b"\x02\x0e", asbytes=True))
    assert read(packed("snappy", block + zlib.crc32(b"\x02\x0e").to_bytes(4, "big"))).to_pylist() == [{"x": 7}]
    with pytest.raises(NotFound, match="checksum"):
        read(packed("snappy", block + b"\0" * 4))


@pytest.mark.parametrize("sized", [True, False])
def test_zstandard_blocks_are_read_whether_or_not_they_state_their_size(sized: bool) -> None:
    block = zstandard.ZstdCompressor(write_content_size=sized).compress(b"\x02\x0e")
    assert read(packed("zstandard", block)).to_pylist() == [{"x": 7}]
    with pytest.raises(NotFound, match="cannot be decompressed"):
        read(packed("zstandard", block[:-1]))


def test_another_codec_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="'lz5'"):
        read(avro(OPTIONAL_LONG, [], "null").replace(b"\x08null", b"\x06lz5"))


@pytest.mark.parametrize(
    ("kind", "written", "expected"),
    [
        ({"type": "int", "logicalType": "date"}, -(2**31), pa.scalar(-(2**31), pa.int32()).cast(pa.date32())),
        ({"type": "int", "logicalType": "date"}, 2**31 - 1, pa.scalar(2**31 - 1, pa.int32()).cast(pa.date32())),
        ({"type": "int", "logicalType": "time-millis"}, 1, pa.scalar(1, pa.time32("ms"))),
        ({"type": "long", "logicalType": "time-micros"}, 86_399_999_999, pa.scalar(86_399_999_999, pa.time64("us"))),
        ({"type": "long", "logicalType": "timestamp-micros"}, -(2**63), pa.scalar(-(2**63), pa.timestamp("us"))),
        (
            {"type": "long", "logicalType": "timestamp-micros", "adjust-to-utc": False},
            253402300800_000_000,
            pa.scalar(253402300800_000_000, pa.timestamp("us")),
        ),
        (
            {"type": "long", "logicalType": "timestamp-micros", "adjust-to-utc": True},
            2**63 - 1,
            pa.scalar(2**63 - 1, pa.timestamp("us", "UTC")),
        ),
        (
            {"type": "long", "logicalType": "timestamp-millis", "adjust-to-utc": True},
            -1,
            pa.scalar(-1, pa.timestamp("ms", "UTC")),
        ),
        ({"type": "long", "logicalType": "timestamp-nanos", "adjust-to-utc": True}, 1, pa.scalar(1, pa.timestamp("ns", "UTC"))),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, 5, pa.scalar(5, pa.timestamp("us"))),
        (
            {"type": "fixed", "name": "u", "size": 16, "logicalType": "uuid"},
            bytes(range(16)),
            pa.scalar(bytes(range(16)), pa.binary(16)),
        ),
        ({"type": "fixed", "name": "f", "size": 3}, b"\0\xff\1", pa.scalar(b"\0\xff\1", pa.binary(3))),
        ({"type": "enum", "name": "e", "symbols": ["A", "B"]}, "B", pa.scalar("B")),
        ({"type": "long", "logicalType": "of another day"}, 5, pa.scalar(5, pa.int64())),
        ("float", float("inf"), pa.scalar(float("inf"), pa.float32())),
        ("boolean", True, pa.scalar(True)),
        ("bytes", b"", pa.scalar(b"", pa.binary())),
        ("null", None, pa.scalar(None, pa.null())),
        (["string", "null"], "ä\0", pa.scalar("ä\0")),
    ],
)
def test_every_plain_type_has_its_meaning_over_its_whole_range(kind: Any, written: Any, expected: pa.Scalar) -> None:
    """Trap: Python's dates end in the year 9999, and its timestamps in microseconds; a table's do not."""
    plain = {key: value for key, value in kind.items() if key != "logicalType"} if isinstance(kind, dict) else kind
    data = avro(record({"name": "x", "type": plain}), [{"x": written}])
    found = read(stated(data, record({"name": "x", "type": kind}))).column(0).combine_chunks()
    assert found.type == expected.type
    assert found.equals(pa.array([expected], expected.type))


def stated(data: bytes, schema: Any) -> bytes:
    """The blocks of the file ``data`` under a header that states ``schema``."""
    marker = data[-16:]
    blocks = data[data.index(marker) + 16 :]
    text = json.dumps(schema).encode()
    length, number = bytearray(), len(text) << 1
    while number > 0x7F:
        length.append(number & 0x7F | 0x80)
        number >>= 7
    length.append(number)
    return b"Obj\x01\x02" + b"\x16avro.schema" + bytes(length) + text + b"\0" + marker + blocks


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.none() | st.integers(-(10**38) + 1, 10**38 - 1), max_size=40),
    st.integers(0, 38),
    st.booleans(),
)
def test_decimals_are_exact_whatever_their_lengths(unscaled: list[int | None], scale: int, fixed: bool) -> None:
    plain: Any = {"type": "fixed", "name": "d", "size": 16} if fixed else {"type": "bytes"}

    def packed(value: int) -> bytes:
        return value.to_bytes(16 if fixed else value.bit_length() // 8 + 1, "big", signed=True)

    records = [{"x": None if value is None else packed(value)} for value in unscaled]
    data = avro(record({"name": "x", "type": ["null", plain]}), records)
    logical = ["null", plain | {"logicalType": "decimal", "precision": 38, "scale": scale}]
    found = read(stated(data, record({"name": "x", "type": logical})))
    assert found.schema.field("x").type == pa.decimal128(38, scale)
    got = [None if value is None else int(Decimal(value).scaleb(scale, Context(prec=40))) for value in found["x"].to_pylist()]
    assert got == unscaled


@pytest.mark.parametrize(("raw", "why"), [(b"", "0 bytes"), (b"\0" * 17, "17 bytes"), (b"\x7f\xff", "precision")])
def test_a_decimal_that_is_none_is_damage(raw: bytes, why: str) -> None:
    data = avro(record({"name": "x", "type": "bytes"}), [{"x": raw}])
    schema = record({"name": "x", "type": {"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 0}})
    with pytest.raises(NotFound, match=why):
        read(stated(data, schema))


NESTED = record(
    {
        "name": "places",
        "field-id": 1,
        "type": [
            "null",
            {
                "type": "array",
                "element-id": 2,
                "items": [
                    "null",
                    {
                        "type": "record",
                        "name": "r2",
                        "fields": [
                            {
                                "name": "price",
                                "field-id": 3,
                                "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
                            },
                            {"name": "x", "field-id": 4, "type": ["null", "double"]},
                        ],
                    },
                ],
            },
        ],
    },
    {
        "name": "by_number",
        "field-id": 5,
        "type": {
            "type": "array",
            "logicalType": "map",
            "items": {
                "type": "record",
                "name": "k6_v7",
                "fields": [
                    {"name": "key", "type": "int", "field-id": 6},
                    {
                        "name": "value",
                        "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 1}],
                        "field-id": 7,
                    },
                ],
            },
        },
    },
    {
        "name": "by_text",
        "field-id": 8,
        "type": ["null", {"type": "map", "key-id": 9, "value-id": 10, "values": ["null", "long"]}],
    },
    {"name": "again", "field-id": 11, "type": ["null", "r2"]},
)


def ids(fields: tuple[FileField, ...]) -> dict[str, Any]:
    return {field.name: (field.field_id, ids(field.children)) if field.children else field.field_id for field in fields}


def test_nested_values_and_field_ids_at_every_level() -> None:
    """Trap: maps whose keys are no text are arrays of records; a named type that is used again is only named."""
    records: list[dict[str, Any]] = [
        {
            "places": [{"price": Decimal("1.25"), "x": None}, None],
            "by_number": [{"key": 1, "value": Decimal("-0.5")}, {"key": 2, "value": None}],
            "by_text": {"a": 1, "b": None},
            "again": {"price": Decimal("9.99"), "x": 0.5},
        },
        {"places": None, "by_number": [], "by_text": None, "again": None},
        {"places": [], "by_number": [{"key": 3, "value": Decimal(7)}], "by_text": {}, "again": None},
    ]
    data = avro(NESTED, records)
    file = AvroFile("here", io.BytesIO(data))
    assert ids(file.fields) == {
        "places": (1, {"element": (2, {"price": 3, "x": 4})}),
        "by_number": (5, {"key": 6, "value": 7}),
        "by_text": (8, {"key": 9, "value": 10}),
        "again": (11, {"price": None, "x": None} | {"price": 3, "x": 4}),
    }
    found = read(data).to_pylist()
    for row in records:
        row["by_number"] = [(each["key"], each["value"]) for each in row["by_number"]]
        row["by_text"] = None if row["by_text"] is None else list(row["by_text"].items())
    assert found == records
    alone = list(file.batches(file.fields[3].leaves))
    assert alone[0][1].schema.names == ["again"]
    assert alone[0][1].column(0).to_pylist() == [row["again"] for row in records]


PLAIN = st.sampled_from(["boolean", "int", "long", "double", "string", "bytes"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False),
    "string": st.text(max_size=5),
    "bytes": st.binary(max_size=5),
}
KINDS = st.recursive(
    PLAIN.map(lambda kind: ("plain", kind)),
    lambda inner: st.one_of(
        inner.map(lambda kind: ("optional", kind)),
        inner.map(lambda kind: ("list", kind)),
        inner.map(lambda kind: ("map", kind)),
        st.lists(inner, min_size=1, max_size=3).map(lambda kinds: ("record", kinds)),
    ),
    max_leaves=6,
)


def schema_of(kind: Any, numbers: Any) -> Any:
    what, inner = kind
    if what == "plain":
        return inner
    if what == "optional":
        made = schema_of(inner, numbers)
        return made if isinstance(made, list) else ["null", made]
    if what == "list":
        return {"type": "array", "items": schema_of(inner, numbers)}
    if what == "map":
        return {"type": "map", "values": schema_of(inner, numbers)}
    fields = [{"name": f"f{at}", "type": schema_of(each, numbers)} for at, each in enumerate(inner)]
    return {"type": "record", "name": f"n{next(numbers)}", "fields": fields}


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    what, inner = kind
    if what == "plain":
        return VALUES[inner]
    if what == "optional":
        return st.none() | values_of(inner)
    if what == "list":
        return st.lists(values_of(inner), max_size=3)
    if what == "map":
        return st.dictionaries(st.text(max_size=3), values_of(inner), max_size=3)
    return st.fixed_dictionaries({f"f{at}": values_of(each) for at, each in enumerate(inner)})


def as_arrow_gives(kind: Any, value: Any) -> Any:
    what, inner = kind
    if value is None or what == "plain":
        return value
    if what == "optional":
        return as_arrow_gives(inner, value)
    if what == "list":
        return [as_arrow_gives(inner, each) for each in value]
    if what == "map":
        return [(key, as_arrow_gives(inner, each)) for key, each in value.items()]
    return {f"f{at}": as_arrow_gives(each, value[f"f{at}"]) for at, each in enumerate(inner)}


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_whatever_is_written_is_read_again(data: st.DataObject) -> None:
    kind = data.draw(KINDS)
    schema = record({"name": "x", "type": schema_of(kind, itertools.count())})
    records = [{"x": value} for value in data.draw(st.lists(values_of(kind), max_size=6))]
    found = read(avro(schema, records, interval=1), memory=data.draw(st.sampled_from([1, 100, 10**6])))
    assert found["x"].to_pylist() == [as_arrow_gives(kind, each["x"]) for each in records]


def test_batches_hold_no_more_than_they_may() -> None:
    records = [{"x": number} for number in range(3 * BATCH_ROWS)]
    data = avro(OPTIONAL_LONG, records, interval=10**7)
    assert max(len(chunk) for chunk in read(data).column(0).chunks) == BATCH_ROWS
    wide = avro(record({"name": "x", "type": "string"}), [{"x": "y" * 1000}] * 500, interval=10**7)
    table = read(wide, memory=160_000)
    assert table.num_rows == 500
    assert {len(chunk) for chunk in table.column(0).chunks[:-1]} == {10}


def test_rows_are_counted_without_reading_them() -> None:
    data = avro(OPTIONAL_LONG, [{"x": 1}] * (BATCH_ROWS + 5), interval=10**7)
    file = AvroFile("here", io.BytesIO(data))
    assert file.group_rows == (BATCH_ROWS + 5,)
    assert [(position, batch.num_rows, batch.num_columns) for position, batch in file.batches([])] == [
        (0, BATCH_ROWS, 0),
        (BATCH_ROWS, 5, 0),
    ]
    assert list(file.batches([], [])) == []


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (["null", "int", "string"], "union of 2 types"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 39, "scale": 0}, "39 digits"),
        ({"type": "record", "name": "n", "fields": [{"name": "next", "type": ["null", "n"]}]}, "recursive"),
    ],
)
def test_what_no_table_has_is_refused_by_name(kind: Any, why: str) -> None:
    with pytest.raises(Unsupported, match=why):
        read(stated(avro(OPTIONAL_LONG, []) + b"", record({"name": "x", "type": kind})))


@pytest.mark.parametrize("schema", ["long", {"type": "record", "name": "r"}, record({"name": "x", "type": "unknown.type"})])
def test_a_schema_that_is_none_of_records_is_damage(schema: Any) -> None:
    with pytest.raises(NotFound, match=r"here is damaged: .*schema"):
        read(stated(avro(OPTIONAL_LONG, [{"x": 1}]), schema))


def test_types_are_found_by_their_names_in_their_namespaces() -> None:
    inner = {"type": "fixed", "name": "f", "size": 1}
    other = {"type": "fixed", "name": "f", "namespace": "other", "size": 2}
    kinds = {"a": inner, "b": other, "c": "f", "d": "other.f"}
    schema = record(*({"name": name, "type": kind} for name, kind in kinds.items())) | {"namespace": "space"}
    row = {"a": b"1", "b": b"22", "c": b"3", "d": b"44"}
    assert read(avro(schema, [row])).to_pylist() == [row]


def test_an_avro_file_that_is_cut_anywhere_is_damage(files: Files) -> None:
    """Trap: a file that is cut off exactly behind a block is a whole file to Avro; only its size tells."""
    chance = random.Random(3)
    whole = avro(record({"name": "x", "type": "bytes"}), [{"x": chance.randbytes(1000)} for _ in range(1500)], interval=50_000)
    assert len(whole) > WHOLE_BYTES
    end = whole.index(whole[-16:], len(whole) // 2) + 16
    for name, data in {"small.avro": avro(OPTIONAL_LONG, [{"x": 1}] * 10, interval=5), "large.avro": whole[:end]}.items():
        cuts = range(len(data)) if name == "small.avro" else [end - 1, len(data) // 2]
        for cut in [len(whole)] if name == "large.avro" else cuts:
            (files.folder / name).write_bytes(data[:cut])
            with pytest.raises(NotFound, match=rf"{name} is damaged: it has {min(cut, len(data))} bytes"):
                open_data_file(files.store, name, len(data) if name == "small.avro" else len(whole), "avro")
    (files.folder / "large.avro").write_bytes(whole)
    task = files.task("large.avro", file_format="avro")
    assert sum(batch.num_rows for batch in batches(files.plan(named(pa.schema([("x", pa.binary())])), [task]))) == 1500


def test_a_flipped_bit_of_an_avro_file_is_an_error_of_ours_or_not_seen(files: Files) -> None:
    records: list[Any] = [{"places": None, "by_number": [], "by_text": {"a": at}, "again": None} for at in range(30)]
    whole, chance = avro(NESTED, records, "deflate", 100), random.Random(5)
    file = AvroFile("here", io.BytesIO(whole))
    plan = files.plan(named(file.schema), [])
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        (files.folder / "a.avro").write_bytes(damaged)
        plan = files.plan(named(file.schema), [files.task("a.avro", file_format="avro")])
        try:
            list(batches(plan, workers=1))
        except LakeError as error:
            assert "a.avro" in str(error)


def test_columns_are_found_by_id_renamed_widened_and_deletes_applied(files: Files) -> None:
    schema = record({"name": "old", "type": ["null", "int"], "field-id": 7}, {"name": "gone", "type": "string", "field-id": 8})
    (files.folder / "a.avro").write_bytes(avro(schema, [{"old": at, "gone": "x"} for at in range(6)]))
    fields = (ReadField("new", pa.int64(), field_id=7), ReadField("added", pa.string(), field_id=9, default="d"))
    deletes = Deletes(np.array([1, 4], np.uint64))
    plan = files.plan(fields, [files.task("a.avro", file_format="avro", by="id", deletes=deletes)])
    assert pa.Table.from_batches(batches(plan)).to_pydict() == {"new": [0, 2, 3, 5], "added": ["d"] * 4}
    assert sum(batch.num_rows for batch in batches(plan, columns=[])) == 4
