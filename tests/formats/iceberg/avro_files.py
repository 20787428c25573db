"""Avro written independently of our own code: a plain encoder, files with any codec, and schemas and values for hypothesis."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import fastavro
import pyarrow as pa
import zstandard
from hypothesis import strategies as st

SYNC = bytes(range(16))

Schema = Any
Cut = Callable[[int], list[int]]
"""Cuts an array of so many items into blocks; a negative block is written with its size in bytes."""


def number(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def text(value: bytes) -> bytes:
    return number(len(value)) + value


def one_block(count: int) -> list[int]:
    return [count] if count else []


def encode(schema: Schema, value: Any, cut: Cut = one_block) -> bytes:
    """``value`` as Avro; a value of a union is (number of the branch, value)."""
    if isinstance(schema, list):
        branch, inner = value
        return number(branch) + encode(schema[branch], inner, cut)
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind == "record":
        return b"".join(encode(field["type"], value[field["name"]], cut) for field in schema["fields"])
    if kind == "array":
        return items([encode(schema["items"], each, cut) for each in value], cut)
    if kind == "map":
        return items([text(key.encode()) + encode(schema["values"], each, cut) for key, each in value.items()], cut)
    if kind == "enum":
        return number(schema["symbols"].index(value))
    if kind == "fixed":
        return bytes(value)
    simple: dict[str, Callable[[Any], bytes]] = {
        "null": lambda _: b"",
        "boolean": lambda each: bytes((each,)),
        "int": number,
        "long": number,
        "float": lambda each: struct.pack("<f", each),
        "double": lambda each: struct.pack("<d", each),
        "string": lambda each: text(each.encode()),
        "bytes": text,
    }
    return simple[kind](value)


def items(encoded: list[bytes], cut: Cut) -> bytes:
    out, rest = b"", encoded
    for count in cut(len(encoded)):
        block, rest = b"".join(rest[: abs(count)]), rest[abs(count) :]
        out += number(count) + (number(len(block)) if count < 0 else b"") + block
    return out + b"\0"


def plain(schema: Schema, value: Any) -> Any:
    """``value`` without the numbers of branches."""
    if isinstance(schema, list):
        return plain(schema[value[0]], value[1])
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind == "record":
        return {field["name"]: plain(field["type"], value[field["name"]]) for field in schema["fields"]}
    if kind == "array":
        return [plain(schema["items"], each) for each in value]
    if kind == "map":
        return {key: plain(schema["values"], each) for key, each in value.items()}
    return value


def decoded(schema: Schema, record: bytes) -> Any:
    """One record as fastavro reads it."""
    stream = io.BytesIO(record)
    value = fastavro.schemaless_reader(stream, fastavro.parse_schema(schema), None)
    assert stream.read() == b""
    return value


def compressed(codec: str, data: bytes) -> bytes:
    if codec == "deflate":
        return zlib.compress(data, 6, -15)
    if codec == "snappy":
        return bytes(pa.Codec("snappy").compress(data, asbytes=True)) + zlib.crc32(data).to_bytes(4, "big")
    if codec == "zstandard":
        return zstandard.ZstdCompressor().compress(data)
    return data


def header(schema: Schema, codec: str = "deflate", metadata: dict[str, bytes] | None = None) -> bytes:
    keys = {**(metadata or {}), "avro.schema": json.dumps(schema).encode(), "avro.codec": codec.encode()}
    pairs = b"".join(text(key.encode()) + text(value) for key, value in keys.items())
    return b"Obj\x01" + number(len(keys)) + pairs + b"\0" + SYNC


def container(
    schema: Schema, blocks: list[list[bytes]], codec: str = "deflate", metadata: dict[str, bytes] | None = None
) -> bytes:
    """A file of those blocks of encoded records."""
    packed = [(len(block), compressed(codec, b"".join(block))) for block in blocks]
    return header(schema, codec, metadata) + b"".join(number(count) + text(data) + SYNC for count, data in packed)


def records_of(file: bytes) -> list[Any]:
    """The records of a file as fastavro reads them."""
    return list(fastavro.reader(io.BytesIO(file)))


words = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from([62, 63, 64, 65, 8191, 8192, 9000]).map(lambda size: "s3://ü/" + "x" * (size - 8)),
)

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": words,
    "bytes": st.binary(max_size=80),
}


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Values as `encode` takes them."""
    if isinstance(schema, list):
        return st.integers(0, len(schema) - 1).flatmap(lambda at: st.tuples(st.just(at), values(schema[at])))
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind == "record":
        return st.fixed_dictionaries({field["name"]: values(field["type"]) for field in schema["fields"]})
    if kind == "array":
        return st.lists(values(schema["items"]), max_size=4)
    if kind == "map":
        return st.dictionaries(words, values(schema["values"]), max_size=3)
    if kind == "enum":
        return st.sampled_from(schema["symbols"])
    if kind == "fixed":
        return st.binary(min_size=schema["size"], max_size=schema["size"])
    return _VALUES[kind]


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """A record whose fields have ids: nested records, unions in any order, arrays, maps, Iceberg's maps with other keys."""
    numbers = iter(range(1, 10_000))

    def kind(depth: int) -> Schema:
        choices = ["simple", "simple", "union", "fixed", "enum"] + (["record", "array", "map", "iceberg map"] if depth else [])
        choice = draw(st.sampled_from(choices))
        if choice == "union":
            branches = [draw(st.sampled_from(["int", "string", "bytes"]))] if not depth else [bare(depth - 1)]
            return draw(st.permutations(["null", *branches]))
        return bare(depth, choice)

    def bare(depth: int, choice: str = "") -> Schema:
        choice = choice or draw(st.sampled_from(["simple", "record", "array"] if depth else ["simple"]))
        if choice == "record":
            return record(depth - 1)
        if choice == "array":
            return {"type": "array", "items": kind(depth - 1)}
        if choice == "map":
            return {"type": "map", "values": kind(depth - 1)}
        if choice == "iceberg map":
            fields = [{"name": "key", "type": "int"}, {"name": "value", "type": kind(depth - 1)}]
            item = {"type": "record", "name": f"k{next(numbers)}", "fields": fields}
            return {"type": "array", "logicalType": "map", "items": item}
        if choice == "fixed":
            return {"type": "fixed", "name": f"f{next(numbers)}", "size": draw(st.integers(1, 17))}
        if choice == "enum":
            return {"type": "enum", "name": f"e{next(numbers)}", "symbols": ["A", "B", "C"]}
        return draw(st.sampled_from([name for name in _VALUES if name != "null"]))

    def record(depth: int) -> Schema:
        fields = []
        for _ in range(draw(st.integers(1, 5))):
            field_id = next(numbers)
            fields.append({"name": f"c{field_id}", "type": kind(max(depth, 0)), "field-id": field_id})
        return {"type": "record", "name": f"r{next(numbers)}", "fields": fields}

    made: Schema = record(2)
    return made


def wanted_fields(schema: Schema, path: tuple[str, ...] = ()) -> dict[int, tuple[str, ...]]:
    """Field id → path of names of every field outside arrays and maps, to the depth that Iceberg has."""
    if isinstance(schema, list):
        return {key: value for branch in schema for key, value in wanted_fields(branch, path).items()}
    if not isinstance(schema, dict) or schema["type"] != "record":
        return {}
    found: dict[int, tuple[str, ...]] = {}
    for field in schema["fields"]:
        place = (*path, field["name"])
        found[field["field-id"]] = place
        if len(place) < 3:
            found |= wanted_fields(field["type"], place)
    return found
