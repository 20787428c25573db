"""Position-delete files in Parquet, ORC and Avro: paths are mapped, all else is kept. Real files are read where the corpus is."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import orc
from pyarrow import parquet as pq

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.iceberg.avro import read_container
from lakehouse.formats.iceberg.position_deletes import rewrite_position_deletes, same_deletes

KINDS = ("parquet", "orc", "avro")
CORPUS = Path(os.environ.get("LAKE_CORPUS", Path(__file__).parents[4] / "shared" / "corpus"))
TABLES = ("i_mor", "i_mor_file", "i_up", "i_orc", "i_avro", "i_refs", "i_evolve", "i_wild")
WILD = [path for name in TABLES for kind in KINDS for path in sorted(CORPUS.glob(f"wild/{name}/data/**/0*-deletes.{kind}"))[::5]]
needs_corpus = pytest.mark.skipif(not WILD, reason="the corpus of real tables is not here (set LAKE_CORPUS to its folder)")
PATH_ID, POS_ID = "2147483546", "2147483545"
AVRO_SCHEMA = {
    "type": "record",
    "name": "table",
    "fields": [
        {"name": "pos", "type": "long", "field-id": int(POS_ID)},
        {"name": "file_path", "type": ["null", "string"], "field-id": int(PATH_ID)},
        {
            "name": "row",
            "type": ["null", {"type": "record", "name": "r", "fields": [{"name": "id", "type": "int", "field-id": 1}]}],
        },
    ],
}
Row = tuple[str | None, int, int]


def moved(path: str) -> str:
    return f"gs://moved/{path}"


def same(path: str) -> str:
    return path


def reversed_order(path: str) -> str:
    """The two prefixes change places."""
    return {"a": "z", "b": "c"}[path[0]] + path[1:]


def schema(key: str, **names: str) -> pa.Schema:
    row = pa.struct(
        [
            pa.field("id", pa.int32(), metadata={key: "1"}),
            pa.field("tags", pa.list_(pa.field("element", pa.string(), metadata={key: "2"}))),
        ]
    )
    return pa.schema(
        [
            pa.field(names.get("file_path", "file_path"), pa.string(), metadata={key: PATH_ID}),
            pa.field("pos", pa.int64(), metadata={key: POS_ID}),
            pa.field("row", row, metadata={key: "2147483544"}),
        ],
        metadata={"delete-type": "position", "iceberg.schema": "{}"},
    )  # fmt: skip


def arrow(rows: list[Row], form: pa.Schema) -> pa.Table:
    nested = [{"id": number, "tags": ["x"]} for _, _, number in rows]
    columns = [[path for path, _, _ in rows], [pos for _, pos, _ in rows], nested]
    return pa.table([pa.array(values, field.type) for values, field in zip(columns, form, strict=True)], form)


def written(rows: list[Row], kind: str) -> bytes:
    if kind == "avro":
        records = [{"file_path": path, "pos": pos, "row": {"id": number}} for path, pos, number in rows]
        target = io.BytesIO()
        fastavro.writer(target, AVRO_SCHEMA, records, "deflate", sync_interval=100, metadata={"delete-type": "position"})
        return target.getvalue()
    sink = pa.BufferOutputStream()
    if kind == "orc":
        orc.write_table(arrow(rows, schema("iceberg.id")), sink, compression="zstd")
    else:
        form = schema("PARQUET:field_id")
        with pq.ParquetWriter(sink, form, compression="gzip", store_schema=False) as writer:
            writer.write_table(arrow(rows, form), 3)
            writer.add_key_value_metadata(form.metadata)
    return bytes(sink.getvalue())


def records(data: bytes, kind: str) -> list[dict[str, Any]]:
    """As fastavro and Arrow read them."""
    if kind == "avro":
        return list(fastavro.reader(io.BytesIO(data)))  # type: ignore[arg-type]
    source = pa.BufferReader(data)
    found: list[dict[str, Any]] = (pq.read_table(source) if kind == "parquet" else orc.read_table(source)).to_pylist()
    return found


def rows_of(data: bytes, kind: str) -> list[Row]:
    return [(each["file_path"], each["pos"], each["row"]["id"]) for each in records(data, kind)]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a/é ,%20.parquet", "a/\U0001f600", "b/x", "b/y+z"]), st.integers(0, 9)), max_size=12
    )
)
def test_rows_are_sorted_again_only_when_the_mapping_changes_their_order(kind: str, rows: list[tuple[str, int]]) -> None:
    """Trap: all position-delete files are rewritten, sorted."""
    numbered: list[Row] = [(path, pos, number) for number, (path, pos) in enumerate(sorted(rows))]
    data = written(numbered, kind)
    assert rewrite_position_deletes(data, kind.upper(), "f", same) == data
    assert rows_of(rewrite_position_deletes(data, kind, "f", moved), kind) == [(moved(str(p)), pos, n) for p, pos, n in numbered]
    swapped = [(reversed_order(str(path)), pos, number) for path, pos, number in numbered]
    assert rows_of(rewrite_position_deletes(data, kind, "f", reversed_order), kind) == sorted(swapped)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_a_writer_left_unsorted_keep_their_order(kind: str) -> None:
    data = written([("b", 2, 0), ("a", 1, 1), ("b", 0, 2)], kind)
    assert rows_of(rewrite_position_deletes(data, kind, "f", moved), kind) == [
        (moved("b"), 2, 0),
        (moved("a"), 1, 1),
        (moved("b"), 0, 2),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_two_spellings_of_one_file_become_one_sorted_run(kind: str) -> None:
    data = written([("./x", 1, 0), ("./x", 3, 1), ("x", 0, 2), ("x", 2, 3)], kind)
    made = rewrite_position_deletes(data, kind, "f", lambda path: "s3://t/" + path.removeprefix("./"))
    assert [pos for _, pos, _ in rows_of(made, kind)] == [0, 1, 2, 3]


def test_parquet_keeps_key_values_ids_codec_row_groups_and_says_true_bounds() -> None:
    """Traps: field ids and key-values survive; bounds agree with content."""
    data = written([(f"a/{number}", number, number) for number in range(8)], "parquet")
    made = rewrite_position_deletes(data, "PARQUET", "f", moved)
    before, after = (pq.ParquetFile(pa.BufferReader(each)) for each in (data, made))
    assert before.schema_arrow.metadata == after.schema_arrow.metadata == {b"delete-type": b"position", b"iceberg.schema": b"{}"}
    assert before.metadata.metadata == after.metadata.metadata  # no ARROW:schema
    assert before.schema_arrow.equals(after.schema_arrow, check_metadata=True)
    assert before.schema.equals(after.schema)
    for number in range(before.metadata.num_row_groups):
        group = after.metadata.row_group(number)
        assert group.num_rows == before.metadata.row_group(number).num_rows
        assert {group.column(each).compression for each in range(4)} == {"GZIP"}
        paths = after.read_row_group(number)["file_path"].to_pylist()
        assert (group.column(0).statistics.min, group.column(0).statistics.max) == (min(paths), max(paths))


def test_a_parquet_file_with_arrows_schema_keeps_it() -> None:
    form = schema("PARQUET:field_id").set(
        0, pa.field("file_path", pa.large_string(), nullable=False, metadata={"PARQUET:field_id": PATH_ID})
    )
    sink = pa.BufferOutputStream()
    pq.write_table(arrow([("b", 1, 0)], form), sink)
    made = pq.ParquetFile(pa.BufferReader(rewrite_position_deletes(bytes(sink.getvalue()), "parquet", "f", moved)))
    assert set(made.metadata.metadata) == {b"ARROW:schema", b"delete-type", b"iceberg.schema"}
    assert made.schema_arrow.equals(form, check_metadata=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_without_rows_comes_back_as_it_is(kind: str) -> None:
    data = written([], kind)
    assert rewrite_position_deletes(data, kind, "f", moved) == data


def test_duckdb_finds_the_rewritten_rows_through_their_bounds(tmp_path: Path) -> None:
    """Trap: bounds agree with content, else deleted rows come back."""
    data = written([(f"{'ab'[number // 5]}/{number % 5}", number, number) for number in range(10)], "parquet")
    (tmp_path / "f.parquet").write_bytes(rewrite_position_deletes(data, "parquet", "f", reversed_order))
    with duckdb.connect() as connection:
        for number in range(10):
            path = reversed_order(f"{'ab'[number // 5]}/{number % 5}")
            query = "SELECT pos, row.id FROM read_parquet(?) WHERE file_path = ?"
            assert connection.execute(query, [str(tmp_path / "f.parquet"), path]).fetchall() == [(number, number)]


def test_orc_keeps_type_attributes_and_codec() -> None:
    data = written([("a", 1, 1)], "orc")
    made = rewrite_position_deletes(data, "ORC", "f", moved)
    before, after = (orc.ORCFile(pa.BufferReader(each)) for each in (data, made))
    assert after.compression == before.compression == "ZSTD"
    for one, other in zip(before.schema, after.schema, strict=True):
        assert (one.type, one.metadata) == (other.type, other.metadata)
    assert after.schema.field("row").type.field("id").metadata == {b"iceberg.id": b"1"}
    assert made.count(b"iceberg.id") == data.count(b"iceberg.id")


def test_avro_keeps_header_blocks_and_unknown_key_values() -> None:
    data = written([(("a" if number % 2 else "b") + "x" * 40, number, number) for number in range(20)], "avro")
    for address in (moved, reversed_order):
        made = rewrite_position_deletes(data, "avro", "f", address)
        (before, old), (after, new) = read_container(data, "f"), read_container(made, "f")
        assert before == after
        counts = [block.count for block in old]
        assert len(counts) > 2
        assert [block.count for block in new] == counts


def test_the_column_is_found_by_its_id_then_by_its_name() -> None:
    form = schema("PARQUET:field_id", file_path="renamed")
    for names in (
        form,
        pa.schema([pa.field("file_path", pa.binary()), pa.field("pos", pa.int64()), pa.field("row", form.field("row").type)]),
    ):
        sink = pa.BufferOutputStream()
        table = arrow([("a", 1, 1)], form).rename_columns(names.names).cast(names)
        pq.write_table(table, sink, store_schema=False)
        made = rewrite_position_deletes(bytes(sink.getvalue()), "parquet", "f", lambda _: "mapped")
        assert pq.read_table(pa.BufferReader(made)).column(0).cast(pa.string()).to_pylist() == ["mapped"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_null_path_a_missing_column_and_a_torn_file_are_damaged(kind: str) -> None:
    data = written([("a", 1, 1), (None, 2, 2)], kind)
    whole = written([("a", 1, 1)], kind)
    for damaged in (data, b"", whole[:-9], whole[: len(whole) // 2], b"x" * 200):
        with pytest.raises(NotFound, match=r"f is damaged"):
            rewrite_position_deletes(damaged, kind, "f", moved)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_without_the_columns_is_damaged(kind: str) -> None:
    writers: dict[str, Callable[[Any], Any]] = {
        "parquet": lambda sink: pq.write_table(pa.table({"file_path": ["a"]}), sink),
        "orc": lambda sink: orc.write_table(pa.table({"pos": [1]}), sink),
        "avro": lambda sink: fastavro.writer(sink, AVRO_SCHEMA | {"fields": AVRO_SCHEMA["fields"][:1]}, [{"pos": 1}]),
    }
    sink = io.BytesIO()
    writers[kind](sink)
    with pytest.raises(NotFound, match="no column"):
        rewrite_position_deletes(sink.getvalue(), kind, "f", moved)


def test_another_format_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="lance"):
        rewrite_position_deletes(b"", "lance", "f", moved)


@pytest.mark.parametrize("kind", KINDS)
def test_files_with_the_same_deletes_are_the_same_and_others_are_not(kind: str) -> None:
    one = written([("a", 1, 1), ("b", 2, 2)], kind)
    assert same_deletes(one, written([("a", 1, 1), ("b", 2, 2)], kind), kind.upper())
    for other in (written([("a", 1, 1), ("b", 3, 2)], kind), one[:-5], b""):
        assert not same_deletes(one, other, kind)


@needs_corpus
@pytest.mark.parametrize("path", WILD, ids=lambda path: f"{path.parts[-4]}-{path.name[:11]}-{path.stem[-13:]}")
def test_deletes_of_spark_name_the_moved_files(path: Path) -> None:
    data, kind = path.read_bytes(), path.suffix[1:]
    made = rewrite_position_deletes(data, kind, "f", moved)
    expected = records(data, kind)
    assert expected
    assert records(made, kind) == [each | {"file_path": moved(each["file_path"])} for each in expected]
    if kind == "parquet":
        before, after = (pq.ParquetFile(pa.BufferReader(each)) for each in (data, made))
        assert before.metadata.metadata == after.metadata.metadata
        assert before.schema_arrow.equals(after.schema_arrow, check_metadata=True)


@pytest.mark.parametrize("codec", ["uncompressed", "zlib", "snappy", "lz4", "zstd"])
def test_the_user_metadata_of_an_orc_file_is_written_behind_what_arrow_writes(codec: str) -> None:
    from pyarrow import orc

    from lakehouse.formats.iceberg.orc_metadata import with_user_metadata

    sink = pa.BufferOutputStream()
    orc.write_table(pa.table({"x": list(range(1000))}), sink, compression=codec)
    plain = sink.getvalue().to_pybytes()
    items = {"delete-type": b"position", "é": bytes(range(256)) * 20}
    read = orc.ORCFile(pa.BufferReader(with_user_metadata(plain, items)))
    assert {key.decode(): value for key, value in read.metadata.items()} == items
    assert read.read().equals(orc.ORCFile(pa.BufferReader(plain)).read())
    assert with_user_metadata(plain, {}) == plain
    with pytest.raises(ValueError, match="postscript"):
        with_user_metadata(b"no ORC file\x03", items)
