"""Puffin files: only the data files that the footer names are changed. Real files are read where the corpus is."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.table.deletion_vector import deletion_vectors_from_puffin_file
from pyiceberg.table.puffin import PuffinFile

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.iceberg.puffin import rewrite_puffin

CORPUS = Path(os.environ.get("LAKE_CORPUS", Path(__file__).parents[4] / "shared" / "corpus"))
WILD = sorted(CORPUS.glob("wild/i_*/data/**/*.puffin"))
LOOSE = CORPUS / "iceberg" / "loose-iceberg-go-puffin"
BLOB = b"some bytes of a blob"
needs_corpus = pytest.mark.skipif(not WILD, reason="the corpus of real tables is not here (set LAKE_CORPUS to its folder)")


def moved(path: str) -> str:
    return f"gs://moved/{path}"


def same(path: str) -> str:
    return path


def footer_for(*paths: str) -> dict[str, Any]:
    blobs = [
        {
            "type": "deletion-vector-v1",
            "fields": [2147483645],
            "unknown": {"z": 1, "a": [None, 2**70]},
            "snapshot-id": -1,
            "sequence-number": -1,
            "offset": 4,
            "length": len(BLOB),
            "properties": {"x": "1", "referenced-data-file": path, "cardinality": "3"},
        }
        for path in paths
    ]
    return {"later": True, "blobs": blobs, "properties": {"created-by": "a test"}}


def puffin(footer: object, *, flags: bytes = bytes(4), payload: bytes | None = None) -> bytes:
    stored = json.dumps(footer).encode() if payload is None else payload
    return b"PFA1" + BLOB + b"PFA1" + stored + len(stored).to_bytes(4, "little") + flags + b"PFA1"


def lz4_frame(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def lz4_payload(data: bytes) -> bytes:
    size = int.from_bytes(data[-12:-8], "little")
    return data[-12 - size : -12]


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=4))
def test_only_the_referenced_data_files_change(paths: list[str]) -> None:
    made = rewrite_puffin(puffin(footer_for(*paths)), "f", moved)
    size = int.from_bytes(made[-12:-8], "little")
    footer = json.loads(made[-12 - size : -12])
    assert json.dumps(footer) == json.dumps(footer_for(*map(moved, paths)))  # the order of keys too
    assert made[: 4 + len(BLOB) + 4] == b"PFA1" + BLOB + b"PFA1"
    assert PuffinFile(made).footer.blobs == PuffinFile(puffin(footer_for(*map(moved, paths)))).footer.blobs


def test_a_file_in_which_nothing_changes_comes_back_byte_for_byte() -> None:
    for data in (puffin(footer_for("a b,c")), puffin({"blobs": []}), puffin({"blobs": [], "properties": {}})):
        assert rewrite_puffin(data, "f", same) == data


def test_a_blob_without_a_referenced_data_file_keeps_its_properties() -> None:
    footer = footer_for("a")
    footer["blobs"].append({"type": "apache-datasketches-theta-v1", "offset": 4, "length": 3, "properties": {"ndv": "a"}})
    footer["blobs"].append({"type": "unknown", "offset": 4, "length": 0})
    made = rewrite_puffin(puffin(footer), "f", moved)
    assert json.loads(lz4_payload(made))["blobs"][1:] == footer["blobs"][1:]


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=300), st.booleans())
def test_a_compressed_footer_is_read_and_stays_one_that_states_its_size(path: str, sized: bool) -> None:
    content = json.dumps(footer_for(path)).encode()
    frame = lz4_frame(content)
    source = puffin(None, flags=b"\x01\0\0\0", payload=frame)
    made = rewrite_puffin(rewrite_puffin(source, "f", moved) if sized else source, "f", moved)
    assert made[-8:-4] == b"\x01\0\0\0"
    frame = lz4_payload(made)
    assert frame[4] & 8, "the Puffin spec demands the size of the content in the frame"
    size = int.from_bytes(frame[6:14], "little")
    footer = json.loads(pa.CompressedInputStream(pa.BufferReader(frame), "lz4").read())
    assert size == len(json.dumps(footer, separators=(",", ":")))
    assert footer == footer_for(moved(moved(path)) if sized else moved(path))


def test_bare_vectors_without_magic_are_carried() -> None:
    body = b"\xd1\xd3\x39\x64" + bytes(8)
    vector = len(body).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    for data in (vector, vector + vector):
        assert rewrite_puffin(data, "f", moved) == data
        for torn in (data[:-1], data + b"\0", b""):
            with pytest.raises(NotFound, match="damaged"):
                rewrite_puffin(torn, "f", moved)


@pytest.mark.parametrize("footer", [footer_for("a"), footer_for()])
def test_a_file_that_is_cut_off_anywhere_is_damaged(footer: dict[str, Any]) -> None:
    data = puffin(footer)
    for size in range(len(data)):
        with pytest.raises(NotFound, match=r"f is damaged"):
            rewrite_puffin(data[:size], "f", moved)


def test_a_compressed_footer_that_is_torn_is_damaged() -> None:
    frame = lz4_frame(json.dumps(footer_for("a")).encode())
    for payload in (frame[: len(frame) // 2], b"", b"\xff" + frame[1:]):
        with pytest.raises(NotFound, match="damaged"):
            rewrite_puffin(puffin(None, flags=b"\x01\0\0\0", payload=payload), "f", moved)


def test_footers_of_another_shape_are_damaged() -> None:
    beyond: list[Any] = [{"offset": 4, "length": 99}, {"offset": 0, "length": 1}, {"offset": 4, "length": -1}, {"offset": 4}, 1]
    number = {"offset": 4, "length": 1, "properties": {"referenced-data-file": 1}}
    for footer in (1, {}, {"blobs": None}, *({"blobs": [blob]} for blob in [*beyond, number])):
        with pytest.raises(NotFound, match="damaged"):
            rewrite_puffin(puffin(footer), "f", moved)


@pytest.mark.parametrize("flags", [b"\x02\0\0\0", b"\0\0\0\x01", b"\x03\0\0\0"])
def test_unknown_flags_are_refused_by_name(flags: bytes) -> None:
    with pytest.raises(Unsupported, match=flags.hex()):
        rewrite_puffin(puffin(footer_for("a"), flags=flags), "f", moved)


@needs_corpus
@pytest.mark.parametrize("path", WILD, ids=lambda path: path.name)
def test_vectors_of_spark_delete_the_same_rows_of_the_moved_files(path: Path) -> None:
    data = path.read_bytes()
    made = rewrite_puffin(data, "f", moved)
    before, after = (deletion_vectors_from_puffin_file(PuffinFile(each)) for each in (data, made))
    assert before
    assert [(moved(each.referenced_data_file), each.to_vector()) for each in before] == [
        (each.referenced_data_file, each.to_vector()) for each in after
    ]
    assert rewrite_puffin(data, "f", same) == data


@needs_corpus
def test_files_of_other_projects_are_read() -> None:
    made = rewrite_puffin((LOOSE / "deletion-vector-v1.puffin").read_bytes(), "f", moved)
    assert PuffinFile(made).footer.blobs[0].properties["referenced-data-file"] == moved("data/test.parquet")
    for path in sorted(LOOSE.glob("*.bin")):  # statistics, an empty file and a bare vector
        assert rewrite_puffin(path.read_bytes(), "f", moved) == path.read_bytes()
