"""Absolute paths become relative ones in every object of a log, and nothing else changes (traps.md: Delta 1)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.errors import Unsupported
from lakehouse.formats.delta.actions import object_key
from lakehouse.formats.delta.hint import hint_checksum
from lakehouse.formats.delta.localise import Localised, Localiser
from lakehouse.formats.delta.vectors import vector_of, z85_decode, z85_encode
from lakehouse.locations import Locations
from tests.formats.replicas import add, local, remove

SOURCE = "s3://bucket/wh/table"
BASE = "s3://bucket/wh/base"


def localiser(**more: Any) -> Localiser:
    return Localiser(Locations(SOURCE, **more))


def vector(path: str, **more: Any) -> dict[str, Any]:
    return {"deletionVector": {"storageType": "p", "pathOrInlineDv": path, "offset": 1, "sizeInBytes": 40, **more}}


def localised(actions: list[dict[str, Any]], names: Localiser | None = None) -> list[dict[str, Any]]:
    names = names or localiser()
    return [{kind: names.action("commit 0", kind, fields) for kind, fields in action.items()} for action in actions]


@pytest.mark.parametrize("kind", ["add", "remove", "cdc"])
def test_an_absolute_path_is_named_relatively_and_read_where_it_lies(kind: str) -> None:
    names = localiser()
    ((_, fields),) = localised([{kind: {"path": f"{BASE}/p=%2520/a%20b.parquet", "size": 1}}], names)[0].items()
    key = object_key("here", fields["path"])
    assert key.startswith("ext/")
    assert key.endswith("/a b.parquet")
    assert names.origins == {key: f"{BASE}/p=%20/a b.parquet"}, "decoded exactly once (traps.md: Delta 2)"
    assert list(fields) == ["path", "size"]


def test_the_name_of_a_file_is_the_same_for_every_spelling_and_in_every_run() -> None:
    spelled = ("/wh/base/x", "file:/wh/base/x", "file:///wh/base/x")
    where = [Localiser(Locations("file:///wh/table")).path("here", path) for path in spelled]
    assert len(set(where)) == 1
    assert localiser().path("here", "s3a://bucket/wh/base/x") == localiser().path("here", "s3://bucket/wh/base/x")


def test_trap_a_remove_that_arrives_a_week_later_hits_the_name_of_its_add() -> None:
    first, later = localiser(), localiser()
    added = localised([add(f"{BASE}/x", **vector(f"{BASE}/deletion_vector_{uuid.uuid4()}.bin"))], first)[0]["add"]
    vector_path = added["deletionVector"]["pathOrInlineDv"]
    stated = first.origins[vector_of("here", added).file]
    removed = localised([remove(f"{BASE}/x", **vector(stated))], later)[0]["remove"]
    assert removed["path"] == added["path"]
    assert (removed["deletionVector"]["storageType"], removed["deletionVector"]["pathOrInlineDv"]) == ("u", vector_path)


def test_a_path_below_the_source_itself_becomes_relative_and_is_no_file_of_elsewhere() -> None:
    names = localiser()
    file = str(uuid.uuid4())
    actions = [
        add(f"{SOURCE}/p=1/x%20y"),
        add("z", **vector(f"s3a://bucket/wh/table/de/deletion_vector_{file}.bin")),
        add("z", **vector(f"{SOURCE}/odd.bin")),
    ]
    found = [action["add"] for action in localised(actions, names)]
    assert found[0]["path"] == "p=1/x%20y"
    assert vector_of("here", found[1]).file == f"de/deletion_vector_{file}.bin"
    odd = vector_of("here", found[2]).file
    assert odd.startswith("ext/deletion_vector_")
    assert names.origins == {odd: "odd.bin"}


def test_what_states_nothing_absolute_is_the_same_object() -> None:
    for action in [add("p=c+d/x"), remove("x"), {"metaData": {"path": "/a"}}, {"txn": {"appId": "/a"}}, {"commitInfo": {}}]:
        for kind, fields in action.items():
            assert localiser().action("here", kind, fields) is fields


@pytest.mark.parametrize(
    "path", ["file:///etc/passwd", "s3://other/x", "/etc/passwd", f"{BASE}/../../x", f"{SOURCE}/_lake/x", "%ff"]
)
def test_what_nothing_permits_is_refused_and_says_where_it_stands(path: str) -> None:
    with pytest.raises(Unsupported, match=r"commit 0|encoded"):
        localised([add(f"s3://other/{path}" if path == "%ff" else path)])


def test_a_p_vector_with_a_relative_path_is_refused() -> None:
    with pytest.raises(Unsupported, match="not absolute"):
        localised([add("x", **vector("deletion_vector_x.bin"))])


@given(st.binary(max_size=64).map(lambda data: data[: len(data) // 4 * 4]))
def test_z85_is_its_own_inverse(data: bytes) -> None:
    assert z85_decode(z85_encode(data)) == data


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1).filter(
        lambda name: name not in (".", "..")
    )
)
def test_any_name_survives_being_localised(name: str) -> None:
    from urllib.parse import quote

    names = localiser()
    key = object_key("here", names.path("here", f"{BASE}/{quote(name)}"))
    assert key.rpartition("/")[2] == name
    assert names.origins[key] == f"{BASE}/{name}"


def test_the_hint_checksum_is_that_of_the_protocol() -> None:
    example = {
        "k0": "'v 0'", "checksum": "adsaskfljadfkjadfkj",
        "k1": {"k2": 2, "k3": ["v3", [1, 2], {"k4": "v4", "k5": ["v5", "v6", "v7"]}]},
    }  # fmt: skip
    assert hint_checksum(example) == "6a92d155a59bf2eecbd4b4ec7fd1f875"


KEY = b"org.apache.spark.sql.parquet.row.metadata"
Put = Callable[[str, bytes], Localised]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """A table's store that holds one object of a log, localised."""

    def made(path: str, data: bytes) -> Localised:
        file = tmp_path / "wh" / "table" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        store = local(tmp_path / "wh" / "table")
        return Localised(store, Localiser(Locations(store.url)))

    return made


COMMIT = "_delta_log/00000000000000000003.json"


def test_a_commit_is_edited_action_by_action_and_the_others_keep_their_text(put: Put, tmp_path: Path) -> None:
    kept = '{"commitInfo": {"operation":"CLONE",  "n": 1.0E3, "path":"/x"}}'
    pretty = '{\n  "txn": {"appId": "a"}\n}'
    stated = json.dumps(add(f"file:{tmp_path}/wh/base/x", tags={"é": None}))
    lines = put(COMMIT, f"{kept}\n{stated}{pretty}".encode()).get(COMMIT).decode().split("\n")
    assert lines[0] == kept
    assert json.loads(lines[1])["add"] == {**json.loads(stated)["add"], "path": json.loads(lines[1])["add"]["path"]}
    assert lines[2:] == ['{"txn":{"appId":"a"}}', ""]


def test_metadata_without_an_absolute_path_stays_byte_for_byte(put: Put) -> None:
    for data in (b'{"add":{"path":"a%2Fb:c","size":1}}\r\n\r\n', b'{\n "add": {"path": "\\u002e/x"}\n}', b"\xef\xbb\xbf{}"):
        store = put(COMMIT, data)
        assert store.get(COMMIT) == data
        assert not store.is_rewritten(COMMIT)


def test_an_escaped_slash_hides_no_absolute_path(put: Put, tmp_path: Path) -> None:
    escaped = f"{tmp_path}/wh/base/x".replace("/", "\\/")
    assert b"ext/" in put(COMMIT, f'{{"add":{{"path":"{escaped}"}}}}'.encode()).get(COMMIT)


def test_the_files_of_a_version_checksum_are_localised_and_a_malformed_one_is_left_alone(put: Put, tmp_path: Path) -> None:
    path = "_delta_log/00000000000000000003.crc"
    files = [add(f"file:{tmp_path}/wh/base/x")["add"], add("y")["add"]]
    found = json.loads(put(path, json.dumps({"numFiles": 2, "allFiles": files, "txnId": "t"}).encode()).get(path))
    assert (found["numFiles"], found["txnId"], found["allFiles"][1]) == (2, "t", files[1])
    assert found["allFiles"][0]["path"].startswith("ext/")
    broken = b'{"allFiles":[{"path":"/x"'
    assert put(path, broken).get(path) == broken


def parquet(rows: list[dict[str, Any]], schema: Any) -> bytes:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, row_group_size=2, compression="zstd")
    return sink.getvalue()


def checkpoint_schema() -> Any:
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    vector_type = pa.struct(
        [("storageType", text), ("pathOrInlineDv", text), ("offset", pa.int32()), ("sizeInBytes", pa.int32())]
    )
    parsed = pa.struct([("numRecords", number), ("minValues", pa.struct([("t", pa.timestamp("us"))]))])
    file = [("path", text), ("partitionValues", pa.map_(text, text)), ("size", number), ("deletionVector", vector_type)]
    return pa.schema(
        [
            pa.field("txn", pa.struct([("appId", text), ("version", number)])),
            pa.field("add", pa.struct([*file, ("stats_parsed", parsed)]), metadata={"PARQUET:field_id": "7"}),
            pa.field("remove", pa.struct(file)),
            pa.field("sidecar", pa.struct([("path", text), ("sizeInBytes", number), ("modificationTime", number)])),
        ],
        metadata={KEY: b"{}"},
    )


def test_a_parquet_checkpoint_keeps_its_schema_row_groups_and_key_values(put: Put, tmp_path: Path) -> None:
    import io
    from datetime import datetime

    import pyarrow.parquet as pq

    path = "_delta_log/00000000000000000003.checkpoint.parquet"
    base = f"file:{tmp_path}/wh/base"
    file = {"partitionValues": [("p", "1")], "size": 3, "deletionVector": None}
    parsed = {"numRecords": 5, "minValues": {"t": datetime(2020, 1, 2)}}
    dv = vector(f"{base}/deletion_vector_{uuid.uuid4()}.bin")["deletionVector"]
    rows: list[dict[str, Any]] = [
        {"txn": {"appId": "a", "version": 1}},
        {"add": {**file, "path": f"{base}/x%20y", "stats_parsed": parsed}},
        {"add": {**file, "path": "kept", "deletionVector": dv}},
        {"remove": {**file, "path": "/wh/gone"}},
    ]
    rows[3]["remove"]["path"] = f"{tmp_path}/wh/gone"
    before = parquet(rows, checkpoint_schema())
    store = put(path, before)
    after = store.get(path)
    old, new = pq.ParquetFile(io.BytesIO(before)), pq.ParquetFile(io.BytesIO(after))
    assert new.schema.equals(old.schema)
    assert new.metadata.metadata.keys() == old.metadata.metadata.keys()
    assert new.metadata.metadata[KEY] == old.metadata.metadata[KEY]
    assert [new.metadata.row_group(n).num_rows for n in range(new.num_row_groups)] == [2, 2]
    assert new.metadata.row_group(0).column(0).compression == "ZSTD"
    found, given_rows = new.read().to_pylist(), old.read().to_pylist()
    assert (found[0], found[1]["add"]["stats_parsed"]) == (given_rows[0], parsed)
    assert [found[1]["add"]["path"][:4], found[2]["add"]["path"], found[3]["remove"]["path"][:4]] == ["ext/", "kept", "ext/"]
    assert vector_of("here", found[2]["add"]).file in store.localiser.origins
    assert {**found[2]["add"], "deletionVector": None} == {**given_rows[2]["add"], "deletionVector": None}
    assert store.head(path).size == len(after)
    assert store.get(path, start=3, end=9) == after[3:9]


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_a_rewritten_sidecar_changes_the_size_that_its_checkpoint_states(put: Put, tmp_path: Path, kind: str) -> None:
    import io

    import pyarrow.parquet as pq

    long = f"file:{tmp_path}/wh/base/" + "x" * 500
    add_row = {"add": {"path": long, "partitionValues": [], "size": 3}}
    put("_delta_log/_sidecars/a.parquet", parquet([add_row] * 3, checkpoint_schema()))
    put("_delta_log/_sidecars/b.parquet", parquet([{"add": {**add_row["add"], "path": "kept"}}], checkpoint_schema()))
    rows = [{"sidecar": {"path": name, "sizeInBytes": 1, "modificationTime": 0}} for name in ("a.parquet", "b.parquet")]
    path = f"_delta_log/00000000000000000003.checkpoint.{uuid.uuid4()}.{kind}"
    data = "".join(json.dumps(row) + "\n" for row in rows).encode() if kind == "json" else parquet(rows, checkpoint_schema())
    store = put(path, data)
    top = store.get(path)
    found = [json.loads(line) for line in top.splitlines()] if kind == "json" else pq.read_table(io.BytesIO(top)).to_pylist()
    size = store.head("_delta_log/_sidecars/a.parquet").size
    assert [row["sidecar"]["sizeInBytes"] for row in found] == [size, 1]
