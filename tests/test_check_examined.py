"""Opening single data files: what is told of a damaged one."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import orc

from lakehouse.errors import Unsupported
from lakehouse.local_store import LocalStore
from lakehouse.reading.avro_blocks import avro_rows
from lakehouse.reading.examine import Flaw
from lakehouse.reading.examined import data_file, object_size
from lakehouse.reading.footer import Footer, parquet_footer
from lakehouse.reading.task import FileFormat
from lakehouse.url import parse

ROWS = 1000


def parquet_bytes(**options: Any) -> bytes:
    table = pa.table(
        {
            "id": pa.array(range(ROWS), pa.int64()),
            "name": [None if at % 10 == 0 else f"name {at}" for at in range(ROWS)],
            "price": [decimal.Decimal(at).scaleb(-2) for at in range(ROWS)],
            "at": [datetime.datetime(2024, 1, 1) + datetime.timedelta(seconds=at) for at in range(ROWS)],
            "tags": [[at, at + 1] for at in range(ROWS)],
        },
        schema=pa.schema(
            [
                pa.field("id", pa.int64(), metadata={"PARQUET:field_id": "1"}),
                pa.field("name", pa.string(), metadata={"PARQUET:field_id": "2"}),
                pa.field("price", pa.decimal128(12, 2)),
                pa.field("at", pa.timestamp("us")),
                pa.field("tags", pa.list_(pa.field("element", pa.int32(), metadata={"PARQUET:field_id": "7"}))),
            ]
        ),
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=300, **options)
    return sink.getvalue()


def orc_bytes() -> bytes:
    sink = io.BytesIO()
    orc.write_table(pa.table({"id": list(range(ROWS))}), sink)
    return sink.getvalue()


AVRO_SCHEMA = b'{"type": "record", "name": "r", "fields": [{"name": "x", "type": "long"}]}'


def avro_bytes(codec: str = "deflate") -> bytes:
    packed = zlib.compressobj(wbits=-15)
    block = packed.compress(b"\x02" * 500) + packed.flush() if codec == "deflate" else b"\x02" * 500
    fields = [(b"avro.schema", AVRO_SCHEMA), (b"avro.codec", codec.encode())]
    header = b"Obj\x01" + _long(len(fields)) + b"".join(_long(len(part)) + part for pair in fields for part in pair) + b"\0"
    blocks = b"".join(_long(500) + _long(len(block)) + block + b"m" * 16 for _ in range(2))
    return header + b"m" * 16 + blocks


def _long(value: int) -> bytes:
    value, out = value << 1, bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def examined(
    folder: Path,
    data: bytes,
    file_format: FileFormat = "parquet",
    *,
    size: int | None = None,
    rows: int | None = ROWS,
    deep: bool = False,
) -> list[Flaw]:
    (folder / "file").write_bytes(data)
    store = LocalStore(parse(str(folder)))
    return data_file(store, "file", len(data) if size is None else size, file_format, rows, deep=deep)


MADE: dict[FileFormat, Callable[[], bytes]] = {"parquet": parquet_bytes, "orc": orc_bytes, "avro": avro_bytes}


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("file_format", MADE)
def test_a_file_that_is_right_has_no_flaws(tmp_path: Path, file_format: FileFormat, deep: bool) -> None:
    assert examined(tmp_path, MADE[file_format](), file_format, deep=deep) == []


@pytest.mark.parametrize("file_format", MADE)
def test_another_number_of_rows_is_told(tmp_path: Path, file_format: FileFormat) -> None:
    (flaw,) = examined(tmp_path, MADE[file_format](), file_format, rows=ROWS + 1)
    assert flaw == Flaw("rows", "file", f"has {ROWS} rows, the metadata says {ROWS + 1}")


@pytest.mark.parametrize("file_format", MADE)
@pytest.mark.parametrize("change", [-1, 1, -(10**9)])
def test_another_size_is_told_whichever_way_it_differs(tmp_path: Path, file_format: FileFormat, change: int) -> None:
    data = MADE[file_format]()
    (flaw,) = examined(tmp_path, data, file_format, size=max(0, len(data) + change))
    assert flaw.kind == "size"
    assert f"has {len(data)} bytes" in flaw.message


@pytest.mark.parametrize("file_format", MADE)
def test_a_file_that_was_cut_and_filled_up_again_is_unreadable(tmp_path: Path, file_format: FileFormat) -> None:
    data = MADE[file_format]()
    (flaw,) = examined(tmp_path, data[:-200] + bytes(200), file_format)
    assert flaw.kind == "unreadable"


@pytest.mark.parametrize("file_format", MADE)
def test_a_flipped_bit_in_the_first_bytes_is_told(tmp_path: Path, file_format: FileFormat) -> None:
    data = bytearray(MADE[file_format]())
    data[1] ^= 4
    (flaw,) = examined(tmp_path, bytes(data), file_format)
    assert flaw.kind == "unreadable"
    assert "first bytes" in flaw.message


def test_a_file_that_is_gone_is_missing(tmp_path: Path) -> None:
    store = LocalStore(parse(str(tmp_path)))
    assert [flaw.kind for flaw in data_file(store, "gone", 100)] == ["missing"]
    assert [flaw.kind for flaw in data_file(store, "gone", None)] == ["missing"]
    assert [flaw.kind for flaw in object_size(store, "gone", 100)] == ["missing"]


def test_the_first_bytes_of_a_file_larger_than_the_tail_are_read_too(tmp_path: Path) -> None:
    rows = pa.table({"id": list(range(50_000))})
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="none", use_dictionary=False)
    data = bytearray(sink.getvalue())
    assert len(data) > 300_000
    assert examined(tmp_path, bytes(data), rows=50_000) == []
    data[0] ^= 1
    assert [flaw.kind for flaw in examined(tmp_path, bytes(data), rows=50_000)] == ["unreadable"]


def test_a_footer_larger_than_the_tail_is_read_whole(tmp_path: Path) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({f"column number {at}": [at] for at in range(2000)}), sink)
    data = sink.getvalue()
    assert int.from_bytes(data[-8:-4], "little") > 2**16
    assert examined(tmp_path, data, rows=1) == []


def test_a_flipped_bit_in_a_page_with_a_checksum_is_found_by_deep_alone(tmp_path: Path) -> None:
    """Traps, Verification 7: one flipped bit in a target data file is found, and named."""
    data = bytearray(parquet_bytes(write_page_checksum=True, compression="none", use_dictionary=False))
    data[2000] ^= 1
    assert examined(tmp_path, bytes(data)) == []
    (flaw,) = examined(tmp_path, bytes(data), deep=True)
    assert (flaw.kind, flaw.path) == ("unreadable", "file")


def test_a_flipped_bit_in_a_page_without_a_checksum_is_found_where_a_value_leaves_the_bounds(tmp_path: Path) -> None:
    data = parquet_bytes(compression="none", use_dictionary=False)
    for value, kind in ((500).to_bytes(8, "little"), "integer"), (b"name 501", "text"):
        changed = bytearray(data)
        changed[data.index(value) + (7 if kind == "integer" else 0)] ^= 0x40
        assert examined(tmp_path, bytes(changed)) == []
        (flaw,) = examined(tmp_path, bytes(changed), deep=True)
        assert flaw.kind == "unreadable", kind
        assert "bounds in its footer" in flaw.message


def test_text_that_is_no_unicode_is_found_by_deep(tmp_path: Path) -> None:
    data = bytearray(parquet_bytes(compression="none", use_dictionary=False))
    data[data.index(b"name 501") + 2] = 0xFF
    (flaw,) = examined(tmp_path, bytes(data), deep=True)
    assert flaw.kind == "unreadable"


def test_a_footer_that_places_columns_beyond_the_file_is_unreadable(tmp_path: Path) -> None:
    """The middle of a file is lost, and its end is whole: readers would only fail when they come there."""
    data = parquet_bytes(compression="none", use_dictionary=False)
    length = int.from_bytes(data[-8:-4], "little") + 8
    (flaw,) = examined(tmp_path, data[:100] + data[-length:])
    assert flaw.kind == "unreadable"


def test_an_encrypted_file_is_no_flaw_but_cannot_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="encrypted"):
        examined(tmp_path, b"PARE" + bytes(100) + b"PARE")


def test_the_footer_gives_bounds_ids_and_nulls_over_all_row_groups(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data := parquet_bytes())
    seen: list[Footer] = []

    def agrees(footer: Footer) -> list[Flaw]:
        seen.append(footer)
        return [Flaw("stats", "file", "says the caller")]

    flaws = data_file(LocalStore(parse(str(tmp_path))), "file", len(data), agrees=agrees)
    assert [flaw.kind for flaw in flaws] == ["stats"]
    (footer,) = seen
    by_name = {leaf.name: leaf for leaf in footer.leaves}
    assert by_name["id"] == ("id", 1, "integer", 0, 0, 999, 0, 1000)
    assert by_name["name"][1:] == (2, "text", 0, b"name 1", b"name 999", 100, 1000)
    assert by_name["price"][2:6] == ("decimal", 2, 0, 999)
    assert by_name["at"][2:4] == ("timestamp", 10**6)
    assert by_name["tags.list.element"][1:] == (7, "integer", 0, 0, 1000, 0, 2000)
    assert footer.ids == {"id": 1, "name": 2, "price": None, "at": None, "tags": None}
    assert len(footer.row_groups) == 4


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7), length=st.integers(0, 10**6))
def test_no_damage_of_a_parquet_file_makes_the_check_itself_fail(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int, length: int
) -> None:
    data = bytearray(_PARQUET)
    data[at % len(data)] ^= 1 << bit
    folder = tmp_path_factory.getbasetemp()
    for damaged in (bytes(data), bytes(data[: length % len(data)])):
        for flaw in examined(folder, damaged, deep=True):
            assert flaw.kind in ("unreadable", "rows")


_PARQUET = parquet_bytes(write_page_checksum=True)


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_the_blocks_of_avro_are_counted(codec: str) -> None:
    assert avro_rows(io.BytesIO(avro_bytes(codec))) == ROWS


def test_avro_records_that_are_none_are_found_by_a_deep_look_alone(tmp_path: Path) -> None:
    """Trap: all blocks and markers are where they should be, and a record of text is no UTF-8."""
    block = b"\x04ab\x04\xff\xfe"
    schema = AVRO_SCHEMA.replace(b"long", b"string")
    header = b"Obj\x01\x02" + _long(11) + b"avro.schema" + _long(len(schema)) + schema + b"\0" + b"m" * 16
    data = header + _long(2) + _long(len(block)) + block + b"m" * 16
    assert examined(tmp_path, data, "avro", rows=2) == []
    (flaw,) = examined(tmp_path, data, "avro", rows=2, deep=True)
    assert (flaw.kind, flaw.path) == ("unreadable", "file")
    assert flaw.message.startswith("cannot be read ('utf-8' codec")


@settings(deadline=None)
@given(length=st.integers(0, 10**4))
def test_an_avro_file_that_was_cut_anywhere_but_between_blocks_is_damaged(length: int) -> None:
    data = avro_bytes("null")
    cut = data[: length % len(data)]
    header = data.index(b"m" * 16) + 16
    if len(cut) in (header, header + (len(data) - header) // 2):
        assert avro_rows(io.BytesIO(cut)) < ROWS
    else:
        with pytest.raises(ValueError):
            avro_rows(io.BytesIO(cut))


def test_files_of_other_schemas_that_are_looked_at_in_turn_are_not_mixed_up(tmp_path: Path) -> None:
    """Equal in names and types, and not in ids or units."""
    seen: list[tuple[int | None, int]] = []

    def agrees(footer: Footer) -> list[Flaw]:
        seen.append((footer.leaves[0].field_id, footer.leaves[0].scale))
        return []

    store = LocalStore(parse(str(tmp_path)))
    for field_id, unit in ((1, "us"), (2, "us"), (1, "ns"), (1, "us")):
        schema = pa.schema([pa.field("at", pa.timestamp(unit), metadata={"PARQUET:field_id": str(field_id)})])
        pq.write_table(pa.table([pa.array([5], pa.timestamp(unit))], schema=schema), tmp_path / "file")
        assert data_file(store, "file", (tmp_path / "file").stat().st_size, agrees=agrees) == []
    assert seen == [(1, 10**6), (2, 10**6), (1, 10**9), (1, 10**6)]


def test_an_empty_file_with_a_row_group_that_lies_nowhere_is_right(tmp_path: Path) -> None:
    sink = io.BytesIO()
    writer = pq.ParquetWriter(sink, pa.schema([("id", pa.int64())]))
    writer.write_table(pa.table({"id": pa.array([], pa.int64())}))
    writer.close()
    assert examined(tmp_path, sink.getvalue(), rows=0, deep=True) == []


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 10**6), byte=st.integers(0, 255), more=st.lists(st.integers(0, 10**6), max_size=3))
def test_no_damage_of_a_footer_ends_the_process_or_raises_anything_else(at: int, byte: int, more: list[int]) -> None:
    """Arrow's metadata objects end the process where size statistics contradict the schema."""
    length = int.from_bytes(_PARQUET[-8:-4], "little")
    footer = bytearray(_PARQUET[-8 - length : -8])
    for place in (at, *more):
        footer[place % length] = byte
    with contextlib.suppress(ValueError):
        parquet_footer(bytes(footer), len(_PARQUET) - length - 8)


def test_the_footer_says_what_arrow_says_of_it() -> None:
    length = int.from_bytes(_PARQUET[-8:-4], "little") + 8
    ours = parquet_footer(_PARQUET[-length:-8], len(_PARQUET) - length)
    theirs = pq.read_metadata(io.BytesIO(_PARQUET))
    assert ours.rows == theirs.num_rows
    for at, leaf in enumerate(ours.leaves):
        chunks = [theirs.row_group(group).column(at) for group in range(theirs.num_row_groups)]
        found = [chunk.statistics for chunk in chunks]
        assert leaf.name == chunks[0].path_in_schema
        assert (leaf.values, leaf.nulls) == (sum(c.num_values for c in chunks), sum(f.null_count for f in found))
        if leaf.kind in ("integer", "timestamp", "text"):
            assert (leaf.lower, leaf.upper) == (min(f.min_raw for f in found), max(f.max_raw for f in found))
