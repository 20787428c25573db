"""Deletion vectors: which files they need, what stays live with them, and that a replica reads as its source (traps: Delta)."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from deltalake.exceptions import DeltaError
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.errors import Conflict, Unsupported
from lakehouse.formats.delta.snapshot import checkpoint_publication, state_at, write_checkpoint
from lakehouse.formats.delta.vectors import NO_VECTOR, Vector, vector_of, z85_decode
from lakehouse.table import Held
from tests.formats.replicas import (
    DELTA,
    WatchedStore,
    add,
    append,
    commit,
    copy_tree,
    data_file,
    local,
    remove,
    sync,
)  # fmt: skip
from tests.formats.spark_like import mask, restore, rows_of, upgrade

UUIDS = ("85<2bjpjObOJ4wv3^ejz", "ry6Z=qyk3FNZRp#AB0cd", "s?7=6^[ii&N<kERXY1ef")
ONE, TWO, THREE = (vector_of("here", {"deletionVector": {"storageType": "u", "pathOrInlineDv": u}}).file for u in UUIDS)


def vector(number: int, offset: int = 1, size: int = 34) -> dict[str, Any]:
    stored = {"storageType": "u", "pathOrInlineDv": UUIDS[number - 1], "offset": offset, "sizeInBytes": size, "cardinality": 1}
    return {"deletionVector": stored}


def files_of(folder: Path, since: str | None = None) -> tuple[set[str], set[str]]:
    store = local(folder)
    found = list(DELTA.files(store, DELTA.pin(store), None if since is None else Held(since)))
    assert len({file.path for file in found}) == len(found)
    return {f.path for f in found if f.required}, {f.path for f in found if not f.required}


def test_z85_is_decoded_as_rfc_32_and_the_delta_protocol_show_it() -> None:
    assert z85_decode("HelloWorld") == bytes.fromhex("864FD26FB559F75B")
    assert z85_decode("") == b"" and z85_decode("%nSc0") == b"\xff\xff\xff\xff"
    stored = {"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^", "offset": 4, "sizeInBytes": 40, "cardinality": 6}
    assert vector_of("here", {"deletionVector": stored}) == Vector(
        "uab^-aqEH.-t@S}K{vb[*k^@4", "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin", 52
    )


@pytest.mark.parametrize("text", ["Hell", "He~lo", "Hello\n", "#####", "é0000"])
def test_what_is_not_z85_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="not Z85"):
        z85_decode(text)


def test_an_inline_vector_needs_no_file_and_a_struct_of_nulls_is_none() -> None:
    assert vector_of("here", {"deletionVector": {"storageType": "i", "pathOrInlineDv": "wi5b=0000"}}) == ("iwi5b=0000", "", 0)
    for none in (None, {}, {"storageType": None, "pathOrInlineDv": None, "offset": None}):
        assert vector_of("here", {"deletionVector": none}) == NO_VECTOR


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("x", UUIDS[0]),
        ("u", "short"),
        ("u", "../" + UUIDS[0]),
        ("u", None),
        ("u", "~" * 20),
    ],
)
@pytest.mark.parametrize("action", ["add", "remove"])
def test_trap_a_vector_of_an_unknown_kind_or_path_is_refused_anywhere_in_the_log(
    tmp_path: Path, action: str, kind: str, path: str | None
) -> None:
    commit(tmp_path, 0, add("a"))
    commit(tmp_path, 1, {action: {"path": "a", "size": 1, "deletionVector": {"storageType": kind, "pathOrInlineDv": path}}})
    commit(tmp_path, 2, add("b"))
    with pytest.raises(Unsupported, match=r"commit 1.*deletion vector"):
        files_of(tmp_path)


@pytest.mark.parametrize("turned", [False, True])
def test_a_file_that_changes_its_vector_in_one_commit_stays_live_whatever_the_order_of_its_actions(
    tmp_path: Path, turned: bool
) -> None:
    commit(tmp_path, 0, add("f", **vector(1)), add("g", **vector(1, 43)))
    actions = [remove("f", **vector(1)), add("f", **vector(2))]
    commit(tmp_path, 1, *(reversed(actions) if turned else actions))
    for name in (ONE, TWO, THREE):
        data_file(tmp_path, name)
    assert files_of(tmp_path) == ({"f", "g", ONE, TWO}, set())
    commit(tmp_path, 2, remove("g", **vector(1, 43)))
    assert files_of(tmp_path) == ({"f", TWO}, {ONE})
    commit(tmp_path, 3, remove("f", **vector(2)), add("f", **vector(1)))
    assert files_of(tmp_path) == ({"f", ONE}, {TWO})


def test_the_size_of_a_vector_file_is_where_its_last_vector_ends(tmp_path: Path) -> None:
    commit(tmp_path, 0, add("f", **vector(1, 43, 40)), add("g", **vector(1)))
    store = local(tmp_path)
    assert {file.path: file.size for file in DELTA.files(store, DELTA.pin(store))}[ONE] == 43 + 40 + 8


def test_vacuumed_vectors_of_older_versions_are_counted_as_not_carried(tmp_path: Path) -> None:
    commit(tmp_path, 0, add("f", **vector(1)))
    commit(tmp_path, 1, remove("f", **vector(1)), add("f", **vector(2)))
    store = local(tmp_path)
    pinned = DELTA.pin(store)
    assert [file.path for file in DELTA.files(store, pinned)] == ["f", TWO]
    assert pinned.not_carried.files == 1


def test_an_increment_that_only_deletes_rows_brings_vectors_and_no_data_file(tmp_path: Path) -> None:
    commit(tmp_path, 0, add("f"), add("g"), add("h", **vector(1)))
    commit(tmp_path, 1, add("f", **vector(2)), remove("f"))
    commit(tmp_path, 2, remove("h", **vector(1)), add("h", **vector(3)), add("new"))
    commit(tmp_path, 3, remove("new"), add("new", **vector(3, 43)))
    for name in (ONE, TWO, THREE):
        data_file(tmp_path, name)
    assert files_of(tmp_path, since="0") == ({"new", TWO, THREE}, set())
    commit(tmp_path, 4, remove("f", **vector(2)), remove("new", **vector(3, 43)))
    data_file(tmp_path, "new")
    assert files_of(tmp_path, since="0") == ({THREE}, {"new", TWO})


changes = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["drop", "plain", "1", "2", "3"])),
        max_size=3,
        unique_by=lambda change: change[0],
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=80, deadline=None)
@given(history=changes, data=st.data())
def test_replay_with_vectors_equals_brute_force(history: list[list[tuple[str, str]]], data: st.DataObject) -> None:
    """Each change gives a file another vector (removing the old logical file in the same commit) or drops it; folded as sets."""
    states: list[dict[str, int]] = []
    names = {0: "", 1: ONE, 2: TWO, 3: THREE}
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        for name in ("a", "b", "c", ONE, TWO, THREE):
            data_file(folder, name)
        for version, step in enumerate(history):
            state = dict(states[-1]) if states else {}
            actions: list[dict[str, Any]] = []
            for path, what in step:
                before = state.pop(path, None)
                if what != "drop":
                    state[path] = 0 if what == "plain" else int(what)
                if before == state.get(path):
                    continue
                if before is not None:
                    actions.append(remove(path, **(vector(before) if before else {})))
                if path in state:
                    actions.append(add(path, **(vector(state[path]) if state[path] else {})))
            commit(folder, version, *data.draw(st.permutations(actions)))
            states.append(state)
        needed = [set(state) | {names[v] for v in state.values()} - {""} for state in states]
        if data.draw(st.booleans()):
            at = data.draw(st.integers(0, len(history) - 1))
            store = local(folder)
            written = write_checkpoint("here", state_at(store, DELTA.pin(store, str(at))))
            (folder / "_delta_log" / f"{at:020d}.checkpoint.parquet").write_bytes(written)
        live, older = files_of(folder)
        assert live == needed[-1]
        assert older == set().union(*needed) - needed[-1]
        since = data.draw(st.integers(0, len(history) - 1))
        fresh, passing = files_of(folder, since=str(since))
        assert needed[-1] - needed[since] <= fresh <= needed[-1]
        between = set().union(*needed[since + 1 :]) - needed[-1]
        assert between - needed[since] <= passing <= between | needed[since]  # what is there already may be named again


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Version 0 to 5: two files, both features, two deletes, one of them undone."""
    folder = tmp_path / "source"
    append(folder, [1, 2, 3, 4])
    append(folder, [11, 12, 13, 14])
    upgrade(folder)
    mask(folder, 0, prefix="ab")
    mask(folder, 0, 2)
    restore(folder, 3)
    return folder


def test_a_replica_with_vectors_reads_as_its_source_in_every_version(source: Path, tmp_path: Path) -> None:
    assert rows_of(source) == [2, 3, 4, 12, 13, 14] and rows_of(source, 4) == [2, 4, 12, 14]
    sync(local(source), WatchedStore(tmp_path / "target"))
    for version in range(6):
        assert rows_of(tmp_path / "target", version) == rows_of(source, version)


def test_vectors_arrive_with_each_increment_and_restore_and_reinstatement_are_followed(source: Path, tmp_path: Path) -> None:
    target = WatchedStore(tmp_path / "target")
    base, _ = sync(local(source), target)
    for change in (
        lambda: mask(source, 1, 2, 3),
        lambda: mask(source, 0, inline=True),
        lambda: restore(source, 1),
        lambda: restore(source, 4),
        lambda: append(source, [21, 22]),
        lambda: mask(source, 1),
    ):
        change()
        target.paths.clear()
        base, _ = sync(local(source), target, base)
        assert rows_of(tmp_path / "target") == rows_of(source)
        assert len([path for path in target.paths if path.endswith(".parquet")]) <= 1
    for version in range(DELTA.pin(local(source)).number + 1):
        assert rows_of(tmp_path / "target", version) == rows_of(source, version)


def test_trap_a_purge_and_vacuum_between_two_syncs_is_jumped_over_with_a_checkpoint_that_keeps_the_vectors(
    source: Path, tmp_path: Path
) -> None:
    seen: list[Any] = []
    target = WatchedStore(tmp_path / "target", lambda path: seen.append(_tried(tmp_path / "target")))
    base, _ = sync(local(source), target)
    old = rows_of(source)
    append(source, [31, 32, 33])
    before = set(source.rglob("deletion_vector_*.bin"))
    mask(source, 1)
    (passing,) = set(source.rglob("deletion_vector_*.bin")) - before
    newest = mask(source, 2)
    passing.unlink()
    seen.clear()
    _, staged = sync(local(source), target, base)
    new = rows_of(source)
    assert staged.publications[0].path.endswith(f"{newest:020d}.checkpoint.parquet")
    assert {str(rows) for rows in seen if rows is not None} <= {str(old), str(new)}
    assert rows_of(tmp_path / "target") == new
    held = state_at(target, DELTA.pin(target))
    assert held.adds.keys() == state_at(local(source), DELTA.pin(local(source))).adds.keys()
    assert all(fields["deletionVector"]["cardinality"] == 1 for fields in held.adds.values())


def _tried(folder: Path) -> list[int] | None:
    try:
        return rows_of(folder)
    except DeltaError:
        return None


def test_a_checkpoint_at_the_target_with_another_vector_is_another_checkpoint(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    commit(source, 0, add("f", **vector(1)))
    copy_tree(source, target)
    commit(target, 0, add("f", **vector(2)))
    store = local(target)
    written = write_checkpoint("here", state_at(store, DELTA.pin(store)))
    (target / "_delta_log" / f"{0:020d}.checkpoint.parquet").write_bytes(written)
    with pytest.raises(Conflict, match="names other files"):
        checkpoint_publication(local(source), local(target), DELTA.pin(local(source)))


def test_a_written_checkpoint_that_would_lose_a_part_of_a_vector_is_not_written(tmp_path: Path) -> None:
    fields = vector(1)
    fields["deletionVector"]["surprise"] = 1
    commit(tmp_path, 0, add("f", **fields))
    with pytest.raises(Unsupported, match=r"deletionVector\.surprise"):
        write_checkpoint("here", state_at(local(tmp_path), DELTA.pin(local(tmp_path))))


@pytest.mark.parametrize(("second", "carried"), [(2, True), (1, False)])
def test_trap_a_compacted_log_is_compared_with_its_commits_vector_by_vector(tmp_path: Path, second: int, carried: bool) -> None:
    source = tmp_path / "source"
    commit(source, 0, add("f"))
    commit(source, 1, remove("f"), add("f", **vector(2)))
    for name in ("f", ONE, TWO):
        data_file(source, name)
    compacted = source / "_delta_log" / f"{0:020d}.{1:020d}.compacted.json"
    compacted.write_text("\n".join(json.dumps(action) for action in (add("f", **vector(second)), remove("f"))))
    sync(local(source), WatchedStore(tmp_path / "target"))
    assert (tmp_path / "target" / "_delta_log" / compacted.name).exists() == carried
