"""Which versions a log holds, what they need, and what is refused (traps.md: Delta)."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.errors import Config, NotFound, Unsupported
from lakehouse.formats.delta.actions import actions_of, object_key
from lakehouse.formats.delta.features import CARRIED, REFUSED
from lakehouse.table import Held
from tests.formats.replicas import DELTA, add, checkpoint, commit, data_file, drop_commits, local, remove

PATHS = ("a", "b", "c=%20d/e")
KEYS = dict(zip(PATHS, ("a", "b", "c= d/e"), strict=True))


def files_of(folder: Path, version: str | None = None, since: str | None = None) -> tuple[set[str], set[str]]:
    store = local(folder)
    found = list(DELTA.files(store, DELTA.pin(store, version), None if since is None else Held(since)))
    return {f.path for f in found if f.required}, {f.path for f in found if not f.required}


def test_trap_a_pretty_printed_commit_is_read_as_a_stream() -> None:
    text = b'\xef\xbb\xbf{\n  "add": {\n    "path": "a"\n  }\n}{"remove": {"path": "b"}}\r\n\n{"commitInfo": {}}'
    assert [kind for kind, _ in actions_of("here", text)] == ["add", "remove", "commitInfo"]


def test_an_action_without_a_path_is_an_error_and_not_a_defect(tmp_path: Path) -> None:
    commit(tmp_path, 0, {"add": {"size": "large"}})
    with pytest.raises(NotFound, match="commit 0: an action has no path"):
        files_of(tmp_path)


def test_a_cut_commit_is_named() -> None:
    with pytest.raises(NotFound, match="commit 7"):
        list(actions_of("commit 7", b'{"add": {"path": '))


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a%20b", "a b"),
        ("a%2520b", "a%20b"),
        ("t=1%3A2/x", "t=1:2/x"),
        ("a+b", "a+b"),
        ("t=1971-07-01T03:40/x", "t=1971-07-01T03:40/x"),
    ],
)
def test_trap_encoding_is_decoded_once(path: str, key: str) -> None:
    assert object_key("here", path) == key


@pytest.mark.parametrize("path", ["/a", "%2Fa", "s3://b/k", "file:/a", "S3A://b/k", "../a", "x/%2E%2E/y", "", "%ff"])
def test_trap_absolute_paths_and_those_that_leave_the_table_are_refused(path: str) -> None:
    with pytest.raises(Unsupported):
        object_key("here", path)


SEGMENTS = st.sampled_from(
    ["", ".", "..", "a", "a.b", "_a", "_lake", "%5Flake", "_delta_log", "%2E%2E", "%2F", "%ff", "t=1:2", "s3:", "x..y"]
)


@given(st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join))
def test_a_path_is_an_object_key_when_nothing_is_wrong_with_what_it_decodes_to(path: str) -> None:
    key = unquote(path, errors="replace")
    first = next((segment for segment in key.split("/") if segment not in ("", ".")), "")
    wrong = [
        "\ufffd" in key,
        re.match(r"/|[A-Za-z][A-Za-z0-9+.-]*:", path),
        not key or key.startswith("/"),
        ".." in key.split("/"),
        first in ("_lake", "_delta_log"),
    ]
    if any(wrong):
        with pytest.raises(Unsupported):
            object_key("here", path)
    else:
        assert object_key("here", path) == key


@pytest.mark.parametrize("kind", ["add", "remove", "cdc"])
def test_trap_an_absolute_path_that_nothing_permits_is_refused_wherever_it_stands(tmp_path: Path, kind: str) -> None:
    commit(tmp_path, 0)
    commit(tmp_path, 1, {kind: {"path": "s3://elsewhere/x", "size": 1}})
    commit(tmp_path, 2)
    with pytest.raises(Unsupported, match=r"s3://elsewhere/x.*--map.*stated by _delta_log/0+1\.json"):
        files_of(tmp_path)


@pytest.mark.parametrize("feature", [*REFUSED, "madeUpFeature"])
def test_trap_unknown_features_and_catalog_managed_tables_are_refused_by_name(tmp_path: Path, feature: str) -> None:
    commit(tmp_path, 0, protocol(feature))
    with pytest.raises(Unsupported, match=feature):
        DELTA.pin(local(tmp_path))


def test_every_feature_on_the_list_is_carried_and_has_its_reason(tmp_path: Path) -> None:
    commit(tmp_path, 0, protocol(*CARRIED))
    assert DELTA.pin(local(tmp_path)).id == "0"
    assert all(CARRIED.values()) and not CARRIED.keys() & REFUSED.keys()


def protocol(*features: str) -> dict[str, Any]:
    fields = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": list(features), "writerFeatures": list(features)}
    return {"protocol": fields}


def test_a_protocol_of_the_future_is_refused(tmp_path: Path) -> None:
    commit(tmp_path, 0, {"protocol": {"minReaderVersion": 4, "minWriterVersion": 7}})
    with pytest.raises(Unsupported, match="reader version 4"):
        DELTA.pin(local(tmp_path))


def test_a_hole_in_the_log_names_the_missing_commit(tmp_path: Path) -> None:
    for version in range(5):
        commit(tmp_path, version, add(f"f{version}"))
    drop_commits(tmp_path, 2)
    with pytest.raises(NotFound, match="commit 2 is missing"):
        DELTA.pin(local(tmp_path))


def test_commits_below_the_oldest_base_are_no_part_of_the_table(tmp_path: Path) -> None:
    for version in range(6):
        commit(tmp_path, version, add(f"f{version}"))
    checkpoint(tmp_path, 3, ["f0", "f1", "f2", "f3"])
    drop_commits(tmp_path, 1)
    store = local(tmp_path)
    pinned = DELTA.pin(store)
    assert (pinned.span.first, pinned.span.last, pinned.span.checkpoint) == (3, 5, True)
    assert not any("0000.json" in path for path in DELTA.metadata_files(store, pinned))
    assert files_of(tmp_path)[0] == {f"f{n}" for n in range(6)}
    with pytest.raises(NotFound, match="version 2 can no longer be read; the oldest that can is 3"):
        DELTA.pin(store, "2")
    with pytest.raises(NotFound, match="version 9 is not in the log; versions 3 to 5"):
        DELTA.pin(store, "9")
    with pytest.raises(Config):
        DELTA.pin(store, "yesterday")


def test_trap_a_torn_multi_part_checkpoint_is_ignored_or_named(tmp_path: Path) -> None:
    for version in range(4):
        commit(tmp_path, version, add(f"f{version}"))
    parts = checkpoint(tmp_path, 2, ["f0", "f1", "f2"], parts=3)
    parts[1].unlink()
    store = local(tmp_path)
    pinned = DELTA.pin(store)
    assert files_of(tmp_path)[0] == {"f0", "f1", "f2", "f3"}
    assert not any("checkpoint" in path for path in DELTA.metadata_files(store, pinned))
    drop_commits(tmp_path, 0)
    with pytest.raises(NotFound, match=r"checkpoint 2 is incomplete.*parts 2 of 3"):
        DELTA.pin(store)


def test_trap_hidden_names_and_change_files_are_carried(tmp_path: Path) -> None:
    commit(tmp_path, 0, add("_p=1/x"), add(".h/y"))
    commit(tmp_path, 1, {"cdc": {"path": "_change_data/c", "size": 1}})
    for path in ("_p=1/x", ".h/y", "_change_data/c"):
        data_file(tmp_path, path)
    assert files_of(tmp_path) == ({"_p=1/x", ".h/y"}, {"_change_data/c"})


def test_vacuumed_files_are_counted_and_restored_ones_are_required(tmp_path: Path) -> None:
    commit(tmp_path, 0, add("a"), add("b"), add("c"))
    commit(tmp_path, 1, remove("a"), remove("b"), remove("c"))
    commit(tmp_path, 2, add("a"))
    data_file(tmp_path, "b")
    store = local(tmp_path)
    pinned = DELTA.pin(store)
    found = [(file.path, file.required) for file in DELTA.files(store, pinned)]
    assert found == [("a", True), ("b", False)]
    assert pinned.not_carried.files == 1
    assert files_of(tmp_path, since="1") == ({"a"}, set())


def test_a_checkpoint_that_disagrees_with_the_commits_has_its_files_carried_too(tmp_path: Path) -> None:
    commit(tmp_path, 0, add("a"))
    commit(tmp_path, 1, add("b"))
    checkpoint(tmp_path, 1, ["b", "z"])
    data_file(tmp_path, "a")
    assert files_of(tmp_path) == ({"b", "z"}, {"a"})


def test_no_metadata_and_no_protocol_are_said_so(tmp_path: Path) -> None:
    log = tmp_path / "_delta_log"
    log.mkdir()
    with pytest.raises(NotFound, match="no Delta table"):
        DELTA.pin(local(tmp_path))
    (log / f"{0:020d}.json").write_text('{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}')
    with pytest.raises(NotFound, match="no metaData action"):
        DELTA.pin(local(tmp_path))
    (log / f"{0:020d}.json").write_text('{"metaData": {"id": "x", "schemaString": "{}"}}')
    with pytest.raises(NotFound, match="no protocol action"):
        DELTA.pin(local(tmp_path))


changes = st.lists(
    st.lists(st.tuples(st.booleans(), st.sampled_from(PATHS)), max_size=4, unique_by=lambda c: c[1]), min_size=1, max_size=8
)


@settings(max_examples=80, deadline=None)
@given(history=changes, data=st.data())
def test_replay_equals_brute_force(history: list[list[tuple[bool, str]]], data: st.DataObject) -> None:
    """Live sets by folding over sets, for a log with checkpoints anywhere and its head cut off behind one of them."""
    states: list[set[str]] = []
    for commits in history:
        state = set(states[-1]) if states else set()
        for added, path in commits:
            (state.add if added else state.discard)(path)
        states.append(state)
    last = len(history) - 1
    at = data.draw(st.sets(st.integers(0, last), max_size=3))
    cut = data.draw(st.sampled_from(sorted({0, *at})))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in PATHS:
            data_file(folder, KEYS[path])
        for version, commits in enumerate(history):
            commit(folder, version, *(add(path) if added else remove(path) for added, path in commits))
        for version in at:
            checkpoint(folder, version, states[version], parts=data.draw(st.sampled_from([1, 2])))
        drop_commits(folder, *range(cut))
        base = cut - 1 if cut - 1 in at else cut
        named = {path for commits in history[base + (cut > 0) :] for _, path in commits} | (states[base] if cut else set())
        assert files_of(folder) == ({KEYS[p] for p in states[last]}, {KEYS[p] for p in named - states[last]})
        since = data.draw(st.integers(base, last))
        after = history[since + 1 :]
        live = {path for commits in after for _, path in commits if path in states[last]}
        touched = {path for commits in after for added, path in commits if added} - states[last]
        mine = files_of(folder, since=str(since))
        assert {KEYS[p] for p in states[last] - states[since]} <= mine[0] <= {KEYS[p] for p in live}
        assert mine[1] == {KEYS[p] for p in touched}
