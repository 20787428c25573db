"""V2 checkpoints: read, carried with their sidecars and before them, or treated as torn (traps.md: Delta 6)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from lakehouse.errors import NotFound, Transfer, Unsupported
from tests.formats.replicas import DELTA, WatchedStore, append, copy_tree, drop_commits, local, sync
from tests.formats.spark_like import Name, mask, rows_of, upgrade, v2_checkpoint

NAMES: tuple[Name, ...] = ("json", "parquet", "classic")


def log_of(folder: Path) -> dict[str, bytes]:
    log = folder / "_delta_log"
    return {str(file.relative_to(log)): file.read_bytes() for file in log.rglob("*") if file.is_file()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Version 0 to 3, with a deletion vector at 3."""
    folder = tmp_path / "source"
    append(folder, [1, 2, 3])
    append(folder, [11, 12, 13])
    upgrade(folder)
    mask(folder, 0)
    return folder


def tried(folder: Path) -> list[int] | None:
    try:
        return rows_of(folder)
    except (DeltaError, TableNotFoundError):
        return None


@pytest.mark.parametrize("sidecars", [0, 1, 2])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cleaned", [False, True], ids=["all commits", "early commits cleaned up"])
def test_a_table_with_a_v2_checkpoint_arrives_byte_for_byte_and_is_invisible_until_its_base_is_put(
    source: Path, tmp_path: Path, name: Name, sidecars: int, cleaned: bool
) -> None:
    top, *_ = v2_checkpoint(source, name, sidecars=sidecars)
    append(source, [21])
    if cleaned:
        drop_commits(source, 0, 1, 2)
    shown: list[list[int] | None] = []
    target = WatchedStore(tmp_path / "target", lambda path: shown.append(tried(tmp_path / "target")))
    _, staged = sync(local(source), target)
    at = target.paths.index(staged.root)
    assert staged.root == (f"_delta_log/{top.name}" if cleaned else f"_delta_log/{0:020d}.json")
    assert shown[:at] == [None] * at and shown[at:] == [rows_of(source)] * (len(shown) - at)
    assert log_of(tmp_path / "target") == log_of(source)
    assert [p for p in target.paths if "_sidecars/" in p or p.endswith(top.name)][-1].endswith(top.name)
    pinned = DELTA.pin(target)
    carried = set(DELTA.metadata_files(target, pinned))
    assert carried == {f"_delta_log/{path}" for path in log_of(source)} == set(DELTA.metadata_files(local(source), pinned))
    DELTA.recheck(target, pinned)


@pytest.mark.parametrize("name", NAMES)
def test_replay_reads_the_sidecars(source: Path, name: Name) -> None:
    store = local(source)
    before = {(file.path, file.required) for file in DELTA.files(store, DELTA.pin(store))}
    v2_checkpoint(source, name)
    assert {(file.path, file.required) for file in DELTA.files(store, DELTA.pin(store))} == before
    drop_commits(source, 0, 1, 2)
    assert {(file.path, file.required) for file in DELTA.files(store, DELTA.pin(store))} == before
    assert DELTA.describe(store, DELTA.pin(store)).files == 2


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_that_appear_later_are_carried_sidecars_first(source: Path, tmp_path: Path, name: Name) -> None:
    target = WatchedStore(tmp_path / "target")
    base, _ = sync(local(source), target)
    for value in (31, 32):
        append(source, [value])
        top, *parts = v2_checkpoint(source, name)
        target.paths.clear()
        base, _ = sync(local(source), target, base)
        order = [path.rpartition("/")[2] for path in target.paths]
        wanted = [*(part.name for part in parts), top.name, "_last_checkpoint"]
        assert [entry for entry in order if entry in wanted] == wanted
        assert log_of(tmp_path / "target") == log_of(source) and rows_of(tmp_path / "target") == rows_of(source)
    append(tmp_path / "target", [41])
    assert rows_of(tmp_path / "target") == [*rows_of(source), 41]


@pytest.mark.parametrize("gone", ["one sidecar", "all of them"])
@pytest.mark.parametrize("name", NAMES)
def test_trap_a_checkpoint_without_one_of_its_sidecars_is_torn(source: Path, tmp_path: Path, name: Name, gone: str) -> None:
    top, first, second = v2_checkpoint(source, name)
    append(source, [21])
    second.unlink()
    if gone == "all of them":
        first.unlink()
        first.parent.rmdir()
    target = tmp_path / "target"
    sync(local(source), WatchedStore(target))
    assert rows_of(target) == [2, 3, 12, 13, 21]
    assert not {top.name, "_last_checkpoint", f"_sidecars/{first.name}"} & log_of(target).keys()
    pinned = DELTA.pin(local(source))
    assert not any("checkpoint" in path and "_last" not in path for path in DELTA.metadata_files(local(source), pinned))
    drop_commits(source, 0, 1)
    with pytest.raises(NotFound, match=r"checkpoint 3 is incomplete.*missing|commit 1 is missing"):
        list(DELTA.files(local(source), DELTA.pin(local(source))))


def test_an_older_torn_checkpoint_is_left_out_and_the_newer_whole_one_is_carried(source: Path, tmp_path: Path) -> None:
    _, *torn = v2_checkpoint(source)
    append(source, [21])
    whole = v2_checkpoint(source)
    torn[0].unlink()
    sync(local(source), WatchedStore(tmp_path / "target"))
    held = [path for path in log_of(tmp_path / "target") if "checkpoint." in path]
    assert sorted(path.rpartition("/")[2] for path in held) == sorted(path.name for path in whole)
    assert "_last_checkpoint" in log_of(tmp_path / "target")


def test_a_torn_checkpoint_beside_a_whole_one_of_the_same_version_does_no_harm(source: Path, tmp_path: Path) -> None:
    _, *torn = v2_checkpoint(source, hint=False)
    whole = v2_checkpoint(source, "parquet")
    torn[0].unlink()
    drop_commits(source, 0, 1, 2)
    _, staged = sync(local(source), WatchedStore(tmp_path / "target"))
    assert staged.root == f"_delta_log/{whole[0].name}"
    assert rows_of(tmp_path / "target") == [2, 3, 12, 13]


def test_trap_a_sidecar_at_an_absolute_path_is_refused_where_the_table_is_read_from_it(source: Path) -> None:
    top, *_ = v2_checkpoint(source)
    top.write_text(top.read_text().replace('"sidecar": {"path": "', '"sidecar": {"path": "s3://elsewhere/'))
    with pytest.raises(Unsupported, match=r"checkpoint 3: the absolute path 's3://elsewhere/"):
        DELTA.pin(local(source))


def test_trap_the_hint_of_a_v2_checkpoint_is_carried_only_with_that_checkpoint(source: Path, tmp_path: Path) -> None:
    top, *_ = v2_checkpoint(source)
    hint = source / "_delta_log" / "_last_checkpoint"
    right = {"version": 3, "v2Checkpoint": {"path": top.name}}
    wrong = {"version": 3, "v2Checkpoint": {"path": f"{3:020d}.checkpoint.11111111-1111-1111-1111-111111111111.json"}}
    for number, (content, carried) in enumerate(
        [(right, True), (wrong, False), ({"version": 3}, False), ({"version": 3, "v2Checkpoint": 1}, False)]
    ):
        hint.write_text(json.dumps(content))
        target = tmp_path / f"target{number}"
        sync(local(source), WatchedStore(target))
        assert ("_last_checkpoint" in log_of(target)) == carried, content
        assert rows_of(target) == rows_of(source)


@pytest.mark.parametrize("own", [False, True], ids=["the source has a V2 checkpoint", "a classic one is written"])
def test_trap_optimize_and_vacuum_between_two_syncs_jumps_to_a_checkpoint(source: Path, tmp_path: Path, own: bool) -> None:
    v2_checkpoint(source)
    shown: list[list[int] | None] = []
    target = WatchedStore(tmp_path / "target", lambda path: shown.append(tried(tmp_path / "target")))
    base, _ = sync(local(source), target)
    old = rows_of(source)
    append(source, [21])
    (passing,) = [add for add in local(source).list() if add.path.endswith(".parquet") and _added_last(source, add.path)]
    append(source, [22], mode="overwrite")
    (source / passing.path).unlink()
    top = None if own else v2_checkpoint(source)[0]
    shown.clear()
    target.paths.clear()
    _, staged = sync(local(source), target, base)
    new = rows_of(source)
    assert new == [22]
    checkpoint = f"{5:020d}.checkpoint.parquet" if top is None else top.name
    order = [path.rpartition("/")[2] for path in target.paths]
    assert order.index(checkpoint) < order.index(f"{5:020d}.json") < order.index(f"{4:020d}.json")
    assert {str(rows) for rows in shown if rows is not None} <= {str(old), str(new)}
    assert rows_of(tmp_path / "target") == new
    assert DeltaTable(str(tmp_path / "target")).version() == 5
    assert staged.root.endswith(f"{5:020d}.json")


def _added_last(folder: Path, path: str) -> bool:
    return f'"{path}"' in (folder / "_delta_log" / f"{4:020d}.json").read_text() and "_delta_log" not in path


def test_trap_a_sidecar_that_is_cleaned_up_during_the_copy_is_noticed(source: Path, tmp_path: Path) -> None:
    _, first, _ = v2_checkpoint(source)
    drop_commits(source, 0, 1, 2)
    pinned = DELTA.pin(local(source))
    copy_tree(source, tmp_path / "copy")
    first.unlink()
    with pytest.raises(Transfer, match="cleaned up"):
        DELTA.recheck(local(source), pinned)
    with pytest.raises(Transfer, match="cleaned up"):
        DELTA.stage(local(source), WatchedStore(tmp_path / "target"), pinned, None)
