"""Which files are live at a version: the newest action for a file and its vector wins, wherever it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.delta.live import AddFile, live_files
from lakehouse.formats.delta.snapshot import State, write_checkpoint
from lakehouse.formats.delta.vectors import z85_encode
from lakehouse.formats.delta.version import pin_version
from lakehouse.locations import Locations
from lakehouse.table import Terms
from tests.formats.delta.handmade import checkpoint, column, protocol, start
from tests.formats.delta.handmade import commit as write
from tests.formats.replicas import DELTA, add, commit, local, remove

Key = tuple[str, str]
FORMS = ("none", "classic", "json", "parquet", "classic-v2")


def live(folder: Path, version: int | None = None) -> list[AddFile]:
    store = local(folder)
    return list(live_files(store, DELTA.pin(store, None if version is None else str(version))))


def keys(folder: Path, version: int | None = None) -> list[Key]:
    return sorted((found.path, found.vector.inline if found.vector else "") for found in live(folder, version))


def action(kind: str, key: Key) -> dict[str, Any]:
    path, vector = key
    stated = {"storageType": "i", "pathOrInlineDv": vector, "sizeInBytes": 4, "cardinality": 1}
    more: dict[str, Any] = {"deletionVector": stated} if vector else {}
    return add(path, **more) if kind == "add" else remove(path, **more)


KEYS = st.tuples(st.sampled_from("abcd"), st.sampled_from(("", z85_encode(b"\0\0\0\0"), z85_encode(b"\1\1\1\1"))))
COMMITS = st.lists(st.dictionaries(KEYS, st.sampled_from(("add", "remove")), max_size=5), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(COMMITS, st.sampled_from(FORMS), st.integers(0, 5))
def test_the_live_files_are_those_that_replaying_the_log_leaves(
    tmp_path_factory: pytest.TempPathFactory, commits: list[dict[Key, str]], form: str, at: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    state: set[Key] = set()
    wanted: list[set[Key]] = []
    for number, actions in enumerate(commits):
        first = [protocol("deletionVectors", "v2Checkpoint")] if number == 0 else []
        commit(folder, number, *first, *(action(kind, key) for key, kind in actions.items()))
        state = state.union(key for key, kind in actions.items() if kind == "add")
        state = state.difference(key for key, kind in actions.items() if kind == "remove")
        wanted.append(state)
        if number == at:
            checkpoint(folder, form)
    for number, expected in enumerate(wanted):
        assert keys(folder, number) == sorted(expected), f"version {number}"


def test_a_vector_is_a_part_of_what_a_file_is(tmp_path: Path) -> None:
    """Delta 16: a remove of the file without its vector leaves the file that has one."""
    masked = ("a", z85_encode(b"\0\0\0\0"))
    commit(tmp_path, 0, action("add", ("a", "")))
    commit(tmp_path, 1, action("remove", ("a", "")), action("add", masked))
    commit(tmp_path, 2, action("remove", ("a", "")))
    assert keys(tmp_path, 0) == [("a", "")] and keys(tmp_path, 1) == keys(tmp_path, 2) == [masked]


def test_a_commit_that_adds_and_removes_one_file_is_refused(tmp_path: Path) -> None:
    """PROTOCOL.md: the order of a commit's actions means nothing."""
    commit(tmp_path, 0, add("a"))
    commit(tmp_path, 1, remove("a"), add("a"))
    assert keys(tmp_path, 0) == [("a", "")]
    with pytest.raises(Unsupported, match="commit 1: adds and removes 'a'"):
        live(tmp_path)


def test_a_file_that_is_added_again_is_live_once_with_what_was_said_last(tmp_path: Path) -> None:
    commit(tmp_path, 0, add("a", stats='{"numRecords": 3}'), add("a", stats='{"numRecords": 3}'))
    commit(tmp_path, 1, add("a", stats='{"numRecords": 5}'))
    (found,) = live(tmp_path)
    assert found.rows == 5 and live(tmp_path, 0)[0].rows == 3


def test_paths_are_decoded_once_and_partition_values_kept_as_they_are(tmp_path: Path) -> None:
    """Delta 2: decode once; Delta 8: partition values never from paths."""
    commit(tmp_path, 0, add("p=a%2520b/x%20y.parquet", 7, partitionValues={"p": "a b", "q": None}, baseRowId=40))
    (found,) = live(tmp_path)
    assert found.path == "p=a%20b/x y.parquet" and found.size == 7 and found.base_row_id == 40
    assert found.partition_values == {"p": "a b", "q": None}


def test_absolute_paths_of_files_and_vectors_are_read_where_they_lie(tmp_path: Path) -> None:
    """Delta 1: absolute paths in add and deletion vectors, in commits and checkpoints."""
    base, folder = tmp_path / "base", tmp_path / "clone"
    vector = {"storageType": "p", "pathOrInlineDv": f"file://{base}/v.bin", "offset": 1, "sizeInBytes": 4, "cardinality": 1}
    commit(folder, 0, protocol("deletionVectors"), add(f"file:{base}/p=%2520/f.parquet", deletionVector=vector))
    commit(folder, 1)
    pinned = DELTA.pin(local(folder))
    stated = add(f"{base}/p=%2520/f.parquet", deletionVector=vector)["add"]
    state = State(pinned.protocol, pinned.metadata, adds={("f", "v"): stated})
    for data in (None, write_checkpoint("here", state)):
        if data is not None:
            (folder / "_delta_log" / f"{1:020d}.checkpoint.parquet").write_bytes(data)
        (found,) = live(folder)
        assert found.vector is not None
        assert (found.path, found.vector.path) == (f"file://{base}/p=%20/f.parquet", f"file://{base}/v.bin")


def test_a_path_that_nothing_permits_to_read_is_refused(tmp_path: Path) -> None:
    commit(tmp_path, 0, add("s3://elsewhere/f.parquet"))
    with pytest.raises(Unsupported, match="outside the table and outside its bucket"):
        live(tmp_path)
    store = local(tmp_path)
    terms = Terms(Locations(store.url, external=("s3://elsewhere",)))
    (found,) = live_files(store, pin_version(store, None, terms))
    assert found.path == "s3://elsewhere/f.parquet"


def test_a_checkpoint_with_statistics_as_structs_alone_tells_them_too(tmp_path: Path) -> None:
    start(tmp_path, [column("c", "long")], delta__checkpoint__writeStatsAsJson="false")
    write(tmp_path, 1)
    log = tmp_path / "_delta_log"
    metadata = json.loads((log / f"{0:020d}.json").read_text().splitlines()[1])["metaData"]
    stats = {"numRecords": 9, "minValues": {"c": 1, "d": 5}, "maxValues": {"c": 8, "d": 6}, "nullCount": {"c": 1, "d": 0}}
    file = {"path": "f", "size": 3, "partitionValues": [], "stats_parsed": stats}
    texts = pa.map_(pa.string(), pa.string())
    schema = pa.schema([
        ("protocol", pa.struct([("minReaderVersion", pa.int32()), ("minWriterVersion", pa.int32())])),
        ("metaData", pa.struct([("id", pa.string()), ("schemaString", pa.string()), ("configuration", texts)])),
        ("add", pa.struct([
            ("path", pa.string()), ("size", pa.int64()), ("partitionValues", texts),
            ("stats_parsed", pa.array([stats]).type),
        ])),
    ])  # fmt: skip
    made = {name: metadata[name] for name in ("id", "schemaString", "configuration")}
    rows = [{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, {"metaData": made}, {"add": file}]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), log / f"{1:020d}.checkpoint.parquet")
    store = local(tmp_path)
    pinned = DELTA.pin(store)
    (found,) = live_files(store, pinned)
    assert found.rows == 9
    (found,) = live_files(store, pinned, parsed=("numRecords", "minValues.c"))
    assert found.statistics() == {"numRecords": 9, "minValues": {"c": 1}}


def test_an_add_without_a_size_is_an_error(tmp_path: Path) -> None:
    commit(tmp_path, 0, {"add": {"path": "f", "partitionValues": {}}})
    with pytest.raises(NotFound, match="commit 0: the add of 'f' states no size"):
        live(tmp_path)
