"""Our Avro against fastavro: what is read, what is found, what is spliced, and what is refused."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.iceberg.avro import ABSENT, Block, compile_walker, read_container, same_content, write_container
from lakehouse.formats.iceberg.avro.varint import long_bytes, read_long
from lakehouse.formats.iceberg.avro.walker import splice
from tests.formats.iceberg import avro_files as files

CODECS = ["null", "deflate", "snappy", "zstandard"]
RECORD = {
    "type": "record",
    "name": "r",
    "fields": [
        {"name": "path", "type": "string", "field-id": 1},
        {"name": "more", "type": ["null", {"type": "array", "items": "long"}], "field-id": 2},
    ],
}


def some(*paths: str) -> list[bytes]:
    return [files.encode(RECORD, {"path": path, "more": (1, [1, -2, 3**20])}) for path in paths]


@given(st.integers(-(2**63), 2**63 - 1))
def test_numbers_are_written_and_read_as_zig_zag(value: int) -> None:
    assert long_bytes(value) == files.number(value)
    assert read_long(b"x" + long_bytes(value) + b"y", 1) == (value, 1 + len(long_bytes(value)))


def test_of_a_number_of_more_than_64_bits_the_lowest_count() -> None:
    """A snapshot id of a real table is so."""
    wide = files.number(2**63 + 5)
    assert read_long(wide, 0) == (fastavro.schemaless_reader(io.BytesIO(wide), "long", None), len(wide))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_walker_finds_what_fastavro_reads(data: st.DataObject) -> None:
    schema = data.draw(files.schemas())
    wanted = files.wanted_fields(schema)
    rows = data.draw(st.lists(files.values(schema), min_size=1, max_size=6))
    random = data.draw(st.randoms(use_true_random=False))

    def cut(count: int) -> list[int]:
        blocks = []
        while count:
            size = random.choice([count, count, random.randint(1, count)])
            blocks.append(random.choice([size, size, -size]))
            count -= size
        return blocks

    encoded = [files.encode(schema, row, data.draw(st.sampled_from([cut, files.one_block]))) for row in rows] * 3
    walker = compile_walker(schema, {field_id: ".".join(path) for field_id, path in wanted.items()})
    block = Block(len(encoded), b"".join(encoded))
    for _ in range(2):  # the second time with what the first has taught
        found = list(walker.records(block, "x"))
        assert [block.data[slice(*spans[0])] for spans in found] == encoded
        fields = [[None if span == ABSENT else block.data[slice(*span)] for span in spans[1:]] for spans in found]
        assert list(map(list, walker.encodings(block, "x"))) == fields
        for spans, record in zip(found, (files.decoded(schema, each) for each in encoded), strict=True):
            for field_id, path in wanted.items():
                at = walker.at(field_id)
                assert at is not None
                value: Any = record
                for name in path:
                    value = None if value is None else value[name]
                assert walker.decode(field_id, block.data, spans[at]) == value
                if spans[at] != ABSENT:
                    start, end = spans[at]
                    again = walker.encode(field_id, value)
                    assert walker.decode(field_id, again, (0, len(again))) == value
                    assert splice(block.data, [(start, end, block.data[start:end])]) == block.data


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_texts_read_in_a_loop_are_those_that_are_read_one_by_one(data: st.DataObject) -> None:
    """Whatever was read before, texts of one length and of many, nulls between them, lengths in more bytes than needed."""
    kind = data.draw(st.sampled_from(["string", ["null", "string"], ["string", "null"]]))
    walker = compile_walker({"type": "record", "name": "r", "fields": [{"name": "a", "field-id": 1, "type": kind}]}, {1: "a"})
    texts = st.text("aü", max_size=3) | st.sampled_from(["x" * 70, "y" * 70])
    read = walker.text_reader(1)
    for text in data.draw(st.lists(texts | st.none() if isinstance(kind, list) else texts, max_size=8)):
        raw = walker.encode(1, text)
        if text is not None and data.draw(st.booleans()):
            size = len(text.encode())
            raw = raw[: len(raw) - size - 1 - (size > 63)] + bytes([2 * size & 0x7F | 0x80, size >> 6 | 0x80, 0]) + text.encode()
        assert walker.decode(1, raw, (0, len(raw))) == text
        assert read(raw) == text


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_texts_are_replaced_and_nothing_else(data: st.DataObject) -> None:
    schema = data.draw(files.schemas())
    rows = data.draw(st.lists(files.values(schema), min_size=1, max_size=5))
    kinds = "string", ["null", "string"], ["string", "null"]
    texts = {field["field-id"]: field["name"] for field in schema["fields"] if field["type"] in kinds}
    encoded = [files.encode(schema, row) for row in rows] * 2
    walker = compile_walker(schema, texts)
    block = Block(len(encoded), b"".join(encoded))
    changes = []
    for spans in walker.records(block, "x"):
        for field_id in texts:
            span = spans[walker.at(field_id) or 0]
            value = walker.decode(field_id, block.data, span)
            if value is not None:
                changes.append((*span, walker.encode(field_id, f"gs://neü/{value}")))
    new = splice(block.data, sorted(changes))
    expected = b""
    for row in rows * 2:
        edited = dict(row)
        for name in texts.values():
            value = edited[name]
            if isinstance(value, str):
                edited[name] = f"gs://neü/{value}"
            elif value[1] is not None:
                edited[name] = (value[0], f"gs://neü/{value[1]}")
        expected += files.encode(schema, edited)
    assert new == expected


@pytest.mark.parametrize("codec", CODECS)
def test_a_file_is_written_again_with_its_header_blocks_and_records(codec: str) -> None:
    blocks = [some("a", "b"), some("c" * 9000), [], some("ü" * 40)]
    file = files.container(RECORD, blocks, codec, {"schema": b"{}", "content": b"deletes", "own": "ü".encode()})
    header, read = read_container(file, "x")
    kept = list(read)
    assert [(block.count, block.data) for block in kept] == [(len(block), b"".join(block)) for block in blocks]
    assert list(header.metadata) == ["schema", "content", "own", "avro.schema", "avro.codec"]
    assert (header.codec, header.sync, header.schema) == (codec, files.SYNC, RECORD)
    again = write_container(header, kept)
    assert again.startswith(header.raw) and file.startswith(header.raw)
    header_again, read_again = read_container(again, "x")
    assert (header_again, list(read_again)) == (header, kept)
    assert same_content(file, again)
    if codec in ("null", "deflate"):  # for the others fastavro needs packages that are not among ours
        assert files.records_of(again) == [files.decoded(RECORD, each) for block in blocks for each in block]


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_files_of_fastavro_are_read(codec: str) -> None:
    rows = [{"path": f"p{number}", "more": [number]} for number in range(3000)]
    stream = io.BytesIO()
    fastavro.writer(stream, fastavro.parse_schema(RECORD), rows, codec=codec, metadata={"k": "v"})
    header, blocks = read_container(stream.getvalue(), "x")
    kept = list(blocks)
    assert header.metadata["k"] == b"v" and len(kept) > 1 and sum(block.count for block in kept) == 3000
    assert files.records_of(write_container(header, kept)) == rows


@pytest.mark.parametrize("codec", CODECS)
def test_a_file_torn_at_any_byte_is_damaged_and_never_empty(codec: str) -> None:
    """Trap Iceberg 10: a read error is never turned into an empty manifest or list."""
    blocks = [some("one"), some("two", "three")]
    file = files.container(RECORD, blocks, codec)
    whole = {len(files.container(RECORD, blocks[:count], codec)) for count in (0, 1, 2)}
    for end in range(len(file) + 1):
        if end not in whole:
            with pytest.raises(NotFound, match="where is damaged"):
                list(read_container(file[:end], "where")[1])
    for end in (1, 15):
        with pytest.raises(NotFound, match="damaged"):
            list(read_container(file + file[:end], "where")[1])


@pytest.mark.parametrize("codec", ["snappy", "deflate"])  # zstd has bits without a meaning
def test_a_flipped_bit_in_a_block_never_passes_as_the_same_content(codec: str) -> None:
    file = bytearray(files.container(RECORD, [some(*"abcdefgh")], codec))
    start = len(files.header(RECORD, codec))
    for at in range(start, len(file)):
        file[at] ^= 0x10
        assert not same_content(bytes(file), files.container(RECORD, [some(*"abcdefgh")], codec))
        file[at] ^= 0x10


def test_a_wrong_checksum_of_snappy_is_damage() -> None:
    packed = files.compressed("snappy", some("a")[0])
    wrong = packed[:-1] + bytes((packed[-1] ^ 1,))
    file = files.header(RECORD, "snappy") + files.number(1) + files.text(wrong) + files.SYNC
    with pytest.raises(NotFound, match="checksum"):
        list(read_container(file, "x")[1])


def test_a_wrong_sync_marker_is_damage() -> None:
    file = files.container(RECORD, [some("a")])
    with pytest.raises(NotFound, match="sync marker"):
        list(read_container(file[:-1] + b"\xff", "x")[1])


def test_bytes_behind_a_compressed_block_are_passed_over_as_duckdb_leaves_some() -> None:
    packed = files.compressed("deflate", some("a")[0]) + b"crc"
    file = files.header(RECORD) + files.number(1) + files.text(packed) + files.SYNC
    assert [block.data for block in read_container(file, "x")[1]] == some("a")


def test_a_codec_that_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="'bzip2'"):
        read_container(files.header(RECORD, "bzip2"), "x")


@pytest.mark.parametrize(
    "junk", [b"", b"Obj", b"PAR1", b"Obj\x01\0" + files.SYNC, b"Obj\x01\x02\x16avro.schema\x02{\0" + files.SYNC]
)
def test_what_is_no_avro_file_is_damaged(junk: bytes) -> None:
    with pytest.raises(NotFound, match="damaged"):
        read_container(junk, "x")


def test_the_header_may_state_the_size_of_its_map() -> None:
    file = files.container(RECORD, [some("a")])
    pairs = file[5 : -len(files.number(1) + files.text(files.compressed("deflate", some("a")[0])) + files.SYNC) - 17]
    other = b"Obj\x01" + files.number(-2) + files.number(len(pairs)) + pairs + file[5 + len(pairs) :]
    assert read_container(other, "x")[0].metadata == read_container(file, "x")[0].metadata
    assert same_content(other, file)


def test_other_key_values_or_other_records_are_not_the_same_content() -> None:
    file = files.container(RECORD, [some("a", "b")])
    assert same_content(file, files.container(RECORD, [some("a"), some("b")]))
    assert not same_content(file, files.container(RECORD, [some("a", "c")]))
    assert not same_content(file, files.container(RECORD, [some("a", "b")], metadata={"k": b"v"}))
    assert not same_content(file, file[:-3])


@pytest.mark.parametrize("count", [1, 3])
def test_records_that_do_not_fill_their_block_are_damage(count: int) -> None:
    walker = compile_walker(RECORD, {1: "path"})
    with pytest.raises(NotFound, match="damaged"):
        list(walker.records(Block(count, b"".join(some("a", "b"))), "x"))


@pytest.mark.parametrize(
    "record", [b"\x02a\x06", b"\x01", b"\x02a\x02\x02\x80", b"\x02a\x02\x02" + b"\xff" * 12, b"\x02a\x02\x01\x03\0"]
)
def test_records_that_do_not_follow_their_schema_are_damage(record: bytes) -> None:
    for warm in (b"", b"".join(some("a", "b"))):
        walker = compile_walker(RECORD | {"doc": str(record) + str(warm)}, {1: "path"})
        with pytest.raises(NotFound, match="damaged"):
            list(walker.records(Block(1 + 2 * bool(warm), warm + record), "x"))


def test_fields_without_ids_are_found_by_their_names() -> None:
    inner = {
        "type": "record",
        "name": "d",
        "fields": [{"name": "x", "type": "int"}, {"name": "path", "type": ["string", "null"]}],
    }
    schema = {
        "type": "record",
        "name": "r",
        "fields": [{"name": "path", "type": "int"}, {"name": "data", "type": ["null", inner]}],
    }
    walker = compile_walker(schema, {7: "data.path", 8: "data.y", 9: "data"})
    rows = [{"path": 1, "data": (1, {"x": 5, "path": (0, "p")})}, {"path": 2, "data": (0, None)}]
    block = Block(2, b"".join(files.encode(schema, row) for row in rows))
    first, second = walker.records(block, "x")
    assert walker.at(8) is None
    assert walker.decode(7, block.data, first[walker.at(7) or 0]) == "p"
    assert walker.decode(9, block.data, first[walker.at(9) or 0]) == {"x": 5, "path": "p"}
    assert second[walker.at(7) or 0] == ABSENT
    assert walker.decode(9, block.data, second[walker.at(9) or 0]) is None


def test_a_field_id_counts_and_not_the_name() -> None:
    schema = {
        "type": "record",
        "name": "r",
        "fields": [
            {"name": "file_path", "type": "string", "field-id": 5},
            {"name": "renamed", "type": "string", "field-id": 100},
        ],
    }
    walker = compile_walker(schema, {100: "file_path"})
    block = Block(1, files.encode(schema, {"file_path": "no", "renamed": "yes"}))
    assert [walker.decode(100, block.data, spans[walker.at(100) or 0]) for spans in walker.records(block, "x")] == ["yes"]


def test_types_may_be_named_again_and_hold_themselves() -> None:
    schema: Any = {
        "type": "record",
        "name": "node",
        "namespace": "a.b",
        "fields": [
            {"name": "hash", "type": {"type": "fixed", "name": "md5", "size": 2}, "field-id": 1},
            {"name": "again", "type": "a.b.md5", "field-id": 2},
            {"name": "next", "type": ["null", "node"], "field-id": 3},
            {"name": "all", "type": {"type": "array", "items": "node"}, "field-id": 4},
            {"name": "path", "type": "string", "field-id": 5},
        ],
    }
    leaf: dict[str, Any] = {"hash": b"ab", "again": b"cd", "next": None, "all": [], "path": "leaf"}
    row = {"hash": b"12", "again": b"34", "next": {**leaf, "next": leaf}, "all": [leaf, leaf], "path": "root"}
    stream = io.BytesIO()
    for each in (row, leaf, row):
        fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), each)
    block = Block(3, stream.getvalue())
    walker = compile_walker(schema, {5: "path", 3: "next"})
    for _ in range(3):
        found = [
            {key: walker.decode(key, block.data, spans[walker.at(key) or 0]) for key in (3, 5)}
            for spans in walker.records(block, "x")
        ]
        assert found == [{3: each["next"], 5: each["path"]} for each in (row, leaf, row)]


@pytest.mark.parametrize(
    "schema", [3, {}, {"type": "record"}, "text", ["null", {"type": "array"}], {"type": "record", "name": "r", "fields": [{}]}]
)
def test_what_is_no_schema_is_a_value_error(schema: Any) -> None:
    with pytest.raises(ValueError):
        compile_walker(schema, {1: "x"})


def test_a_schema_that_grows_without_end_is_refused() -> None:
    fields: list[Any] = [{"name": "a", "type": {"type": "record", "name": "t0", "fields": []}}]
    for level in range(1, 40):
        twice = [{"name": name, "type": f"t{level - 1}"} for name in "xy"]
        fields.append({"name": f"b{level}", "type": {"type": "record", "name": f"t{level}", "fields": twice}})
    with pytest.raises(ValueError, match="refers to types"):
        compile_walker({"type": "record", "name": "r", "fields": fields}, {1: "x"})


def test_arrays_of_items_without_bytes_end() -> None:
    schema = {"type": "record", "name": "r", "fields": [{"name": "n", "type": {"type": "array", "items": "null"}, "field-id": 1}]}
    walker = compile_walker(schema, {1: "n"})
    block = Block(1, files.number(2**60) + b"\0")
    for _ in range(2):
        assert [spans[0] for spans in walker.records(block, "x")] == [(0, len(block.data))]
    with pytest.raises(ValueError, match="impossible"):
        walker.decode(1, block.data, (0, len(block.data)))


def test_a_value_that_no_branch_takes_is_refused() -> None:
    walker = compile_walker(RECORD, {1: "path", 2: "more"})
    assert walker.accepts(2, None) and not walker.accepts(1, None) and not walker.accepts(77, None)
    with pytest.raises(ValueError, match="no branch"):
        walker.encode(2, "text")


def test_a_walker_is_right_in_many_threads_at_once() -> None:
    walker = compile_walker(RECORD | {"doc": "threads"}, {1: "path"})
    paths = [f"{'x' * (number % 70)}{number}" for number in range(400)]

    def walk(start: int) -> bool:
        own = paths[start:] + paths[:start]
        block = Block(len(own), b"".join(some(*own)))
        return own == [walker.decode(1, block.data, spans[walker.at(1) or 0]) for spans in walker.records(block, "x")]

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(walk, range(0, 400, 20)))
