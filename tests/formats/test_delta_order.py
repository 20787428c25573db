"""What deltalake shows of a replica after every single put, and what a dead sync leaves behind (traps.md: Delta 10, 15, 17)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.errors import Conflict, NotFound, Transfer, Unsupported
from lakehouse.formats.delta.snapshot import state_at, write_checkpoint
from lakehouse.table import Base
from tests.formats.replicas import (
    DELTA,
    Killed,
    Seen,
    WatchedStore,
    add,
    append,
    checkpoint,
    commit,
    copy_tree,
    data_file,
    drop_commits,
    local,
    optimize_and_vacuum,
    read,
    remove,
    sync,
)  # fmt: skip


def log_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "_delta_log").iterdir() if file.is_file()}


def watched(folder: Path) -> tuple[WatchedStore, list[tuple[str, Seen]]]:
    seen: list[tuple[str, Seen]] = []
    return WatchedStore(folder, lambda path: seen.append((path.rpartition("/")[2], read(folder)))), seen


def grown(folder: Path, *values: int) -> Path:
    for value in values:
        append(folder, [value])
    return folder


def with_checkpoint(folder: Path) -> Path:
    grown(folder, *range(6))
    DeltaTable(str(folder), version=3).create_checkpoint()
    return folder


def without_early_commits(folder: Path) -> Path:
    with_checkpoint(folder)
    drop_commits(folder, 0, 1, 2)
    return folder


def vacuumed(folder: Path) -> Path:
    grown(folder, 1, 2, 3)
    optimize_and_vacuum(folder)
    return folder


@pytest.mark.parametrize("make", [with_checkpoint, without_early_commits, vacuumed])
def test_a_first_sync_is_invisible_until_its_base_is_put(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    source = make(tmp_path / "source")
    target, seen = watched(tmp_path / "target")
    _, staged = sync(local(source), target)
    root = [name for name, _ in seen].index(staged.root.rpartition("/")[2])
    assert all(isinstance(shown, str) for _, shown in seen[:root])
    assert {str(shown) for _, shown in seen[root:]} == {str(read(source))}
    assert log_of(tmp_path / "target") == log_of(source)


def test_the_staged_commits_without_a_base_can_neither_be_read_nor_appended_to(tmp_path: Path) -> None:
    source = local(with_checkpoint(tmp_path / "source"))
    target = WatchedStore(tmp_path / "target")
    version = DELTA.pin(source)
    staged = DELTA.stage(source, target, version, None)
    assert sorted(w.path[-6:] for w in staged.written) == [f"{n}.json" for n in range(1, 6)]
    assert isinstance(read(tmp_path / "target"), str)
    with pytest.raises(Exception, match=r"(?i)log|version|table"):
        append(tmp_path / "target", [1])
    again = DELTA.stage(source, target, version, None)
    assert {w.origin for w in again.written} == {"adopted"} and again.publications == staged.publications


def test_an_increment_shows_each_version_whole(tmp_path: Path) -> None:
    source = with_checkpoint(tmp_path / "source")
    target, seen = watched(tmp_path / "target")
    base, _ = sync(local(source), target)
    seen.clear()
    grown(source, 100, 101)
    DeltaTable(str(source)).create_checkpoint()
    sync(local(source), target, base)
    before = list(range(6))
    whole = [(5, before), (6, [*before, 100]), (7, [*before, 100, 101])]
    assert [shown for _, shown in seen if shown not in whole] == []
    assert [name for name, _ in seen][-4:] == [
        f"{6:020d}.json", f"{7:020d}.json", f"{7:020d}.checkpoint.parquet", "_last_checkpoint",
    ]  # fmt: skip
    assert log_of(tmp_path / "target") == log_of(source)


@pytest.mark.parametrize("own", [True, False], ids=["a checkpoint is written", "the source has one"])
def test_trap_optimize_and_vacuum_between_two_syncs_never_tears_the_table(tmp_path: Path, own: bool) -> None:
    source = with_checkpoint(tmp_path / "source")
    target, seen = watched(tmp_path / "target")
    base, _ = sync(local(source), target)
    old = read(source)
    grown(source, 200, 201)
    optimize_and_vacuum(source)
    if not own:
        DeltaTable(str(source)).create_checkpoint()
    seen.clear()
    _, staged = sync(local(source), target, base)
    new = read(source)
    newest = DeltaTable(str(source)).version()
    assert staged.root == f"_delta_log/{newest:020d}.json"
    allowed = [old, new]
    assert [shown for _, shown in seen if not isinstance(shown, str) and shown not in allowed] == []
    names = [name for name, _ in seen]
    assert names.index(f"{newest:020d}.checkpoint.parquet") < names.index(f"{newest:020d}.json") < names.index(f"{6:020d}.json")
    assert all(shown == new for name, shown in seen[names.index(f"{newest:020d}.json") :])
    assert log_of(source).items() <= log_of(tmp_path / "target").items()
    grown(tmp_path / "target", 999)
    assert isinstance(read(tmp_path / "target"), tuple)


def test_trap_log_cleanup_past_the_last_sync_leaves_a_gap_and_no_torn_table(tmp_path: Path) -> None:
    source = with_checkpoint(tmp_path / "source")
    target, seen = watched(tmp_path / "target")
    base, _ = sync(local(source), target)
    old = read(source)
    grown(source, *range(10, 15))
    DeltaTable(str(source), version=8).create_checkpoint()
    drop_commits(source, *range(8))
    (source / "_delta_log" / f"{3:020d}.checkpoint.parquet").unlink()
    seen.clear()
    sync(local(source), target, base)
    assert [shown for _, shown in seen if not isinstance(shown, str) and shown not in (old, read(source))] == []
    assert read(tmp_path / "target") == read(source)
    assert read(tmp_path / "target", 4) == (4, list(range(5)))


@pytest.mark.parametrize("change", ["first", "increment", "jump"])
def test_running_again_after_a_crash_at_any_put_ends_like_a_clean_run(tmp_path: Path, change: str) -> None:
    source = with_checkpoint(tmp_path / "source")
    start = tmp_path / "start"
    start.mkdir()
    base: Base | None = None
    if change != "first":
        base, _ = sync(local(source), WatchedStore(start))
        grown(source, 100, 101)
    if change == "jump":
        optimize_and_vacuum(source)
    copy_tree(start, tmp_path / "clean")
    clean = WatchedStore(tmp_path / "clean")
    done, staged = sync(local(source), clean, base)
    old, new = read(start), read(source)
    for k in range(1, len(clean.paths)):
        folder = tmp_path / f"crash{k}"
        copy_tree(start, folder)

        dying = WatchedStore(folder)
        dying.watch = killing(dying, k)
        with pytest.raises(Killed):
            sync(local(source), dying, base)
        left = read(folder)
        whole = left in (old, new) or (change == "increment" and left == (6, [*range(6), 100]))
        assert whole or isinstance(left, str), (k, left)
        finished = staged.root in dying.paths
        sync(local(source), WatchedStore(folder), done if finished else base)
        assert read(folder) == new
        if not finished:
            assert log_of(folder) == log_of(tmp_path / "clean")


def killing(store: WatchedStore, puts: int) -> Callable[[str], None]:
    def kill(path: str) -> None:
        if len(store.paths) == puts:
            raise Killed

    return kill


def test_what_a_crash_after_the_root_left_out_comes_with_the_next_increment(tmp_path: Path) -> None:
    source = with_checkpoint(tmp_path / "source")
    target = WatchedStore(tmp_path / "target")
    base, _ = sync(local(source), target)
    (tmp_path / "target" / "_delta_log" / f"{3:020d}.checkpoint.parquet").unlink()
    (tmp_path / "target" / "_delta_log" / "_last_checkpoint").unlink()
    grown(source, 7)
    sync(local(source), target, base)
    assert log_of(tmp_path / "target") == log_of(source)


def test_trap_last_checkpoint_never_points_past_what_is_there(tmp_path: Path) -> None:
    source = with_checkpoint(tmp_path / "source")
    hint = source / "_delta_log" / "_last_checkpoint"
    sync(local(source), WatchedStore(tmp_path / "older"), version="2")
    assert not (tmp_path / "older" / "_delta_log" / "_last_checkpoint").exists()
    for content in ('{"version": 9}', '{"version": 3, "parts": 2}', "garbage", "[]", "\ufffd"):
        hint.write_text(content)
        target = tmp_path / f"target{len(list(tmp_path.iterdir()))}"
        sync(local(source), WatchedStore(target))
        assert "_last_checkpoint" not in log_of(target)
        assert read(target) == read(source)


def test_trap_a_compacted_log_that_contradicts_its_commits_is_left_out(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for version in range(3):
        commit(source, version, add(f"f{version}"))
        data_file(source, f"f{version}")
    log = source / "_delta_log"
    (log / f"{0:020d}.{1:020d}.compacted.json").write_text("\n".join(json.dumps(add(f"f{n}")) for n in (0, 1)))
    (log / f"{1:020d}.{2:020d}.compacted.json").write_text(json.dumps(add("f9")))
    sync(local(source), WatchedStore(tmp_path / "target"))
    assert [name for name in log_of(tmp_path / "target") if "compacted" in name] == [f"{0:020d}.{1:020d}.compacted.json"]


class TestConflicts:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return grown(tmp_path / "source", 1, 2, 3)

    @pytest.fixture
    def target(self, tmp_path: Path) -> WatchedStore:
        return WatchedStore(tmp_path / "target")

    def test_trap_another_writer_at_the_target(self, source: Path, target: WatchedStore, tmp_path: Path) -> None:
        base, _ = sync(local(source), target)
        assert DELTA.is_unchanged(local(source), target, base)
        grown(tmp_path / "target", 9)
        assert not DELTA.is_unchanged(local(source), target, base)
        with pytest.raises(Conflict, match="ahead: it has commits 3"):
            sync(local(source), target, base)
        grown(source, 4, 5)
        before = log_of(tmp_path / "target")
        with pytest.raises(Conflict, match="commits 3 differ"):
            sync(local(source), target, base)
        assert log_of(tmp_path / "target") == before

    def test_trap_the_source_was_deleted_and_recreated(self, source: Path, target: WatchedStore, tmp_path: Path) -> None:
        base, _ = sync(local(source), target)
        again = grown(tmp_path / "again", 1, 2, 3, 4)
        assert not DELTA.is_unchanged(local(again), target, base)
        with pytest.raises(Conflict, match=r"another one now.*metaData\.id"):
            sync(local(again), target, base)

    def test_trap_the_source_was_restored_to_an_older_state(self, source: Path, target: WatchedStore) -> None:
        base, _ = sync(local(source), target)
        drop_commits(source, 2)
        with pytest.raises(Conflict, match="restored to an older state"):
            sync(local(source), target, base)

    def test_an_older_version_asked_for_is_there_already(self, source: Path, target: WatchedStore) -> None:
        base, _ = sync(local(source), target)
        store = local(source)
        version = DELTA.pin(store, "1")
        since = DELTA.since(store, target, version, base)
        assert since is not None and since.id == "1" and list(DELTA.files(store, version, since)) == []
        assert DELTA.stage(store, target, version, since).publications == ()

    def test_a_target_whose_last_commit_was_changed_or_removed(self, source: Path, target: WatchedStore, tmp_path: Path) -> None:
        base, _ = sync(local(source), target)
        last = tmp_path / "target" / "_delta_log" / f"{2:020d}.json"
        last.write_bytes(last.read_bytes() + b"\n")
        with pytest.raises(Conflict, match="not what the last sync put"):
            sync(local(source), target, base)
        last.unlink()
        with pytest.raises(Conflict, match="is gone"):
            sync(local(source), target, base)

    def test_a_seeded_target_is_adopted_when_equal_and_refused_otherwise(self, source: Path, tmp_path: Path) -> None:
        copy_tree(source, tmp_path / "seeded")
        grown(source, 4)
        sync(local(source), WatchedStore(tmp_path / "seeded"))
        assert log_of(tmp_path / "seeded") == log_of(source)
        with pytest.raises(Conflict, match=r"commits 0, 1.* differ"):
            sync(local(source), WatchedStore(grown(tmp_path / "other", 1, 2)))

    def test_an_unfinished_first_sync_is_not_published_under_an_older_version(self, source: Path, target: WatchedStore) -> None:
        store = local(source)
        DELTA.stage(store, target, DELTA.pin(store), None)
        with pytest.raises(Conflict, match="unfinished sync up to version 2"):
            sync(store, target, version="1")

    def test_trap_a_commit_lies_at_the_target_with_other_bytes(self, source: Path, target: WatchedStore) -> None:
        target.put("_delta_log/00000000000000000002.json", b"{}", size=2)
        with pytest.raises(Conflict):
            DELTA.stage(local(source), target, DELTA.pin(local(source)), None)
        assert target.get("_delta_log/00000000000000000002.json") == b"{}"


def test_trap_log_cleanup_during_the_copy_is_noticed(tmp_path: Path) -> None:
    source = without_early_commits(tmp_path / "source")
    pinned = DELTA.pin(local(source))
    DELTA.recheck(local(source), pinned)
    staged = DELTA.stage(local(source), WatchedStore(tmp_path / "target"), pinned, None)
    (source / "_delta_log" / f"{3:020d}.checkpoint.parquet").unlink()
    with pytest.raises(Transfer, match="cleaned up"):
        DELTA.recheck(local(source), pinned)
    with pytest.raises(Transfer, match="cleaned up"):
        staged.publications[0].load()
    with pytest.raises(Transfer, match="cleaned up"):
        DELTA.stage(local(source), WatchedStore(tmp_path / "target"), pinned, None)
    with pytest.raises((Transfer, NotFound)):
        list(DELTA.files(local(source), pinned))


def test_trap_a_written_checkpoint_keeps_txn_domain_metadata_and_row_tracking(tmp_path: Path) -> None:
    txn = {"txn": {"appId": "app", "version": 7, "lastUpdated": 5}}
    domain = {"domainMetadata": {"domain": "delta.clustering", "configuration": "{}", "removed": False}}
    dropped = {"domainMetadata": {"domain": "gone", "configuration": "", "removed": True}}
    commit(tmp_path, 0, add("a", baseRowId=3, defaultRowCommitVersion=0, tags={"k": "v"}, clusteringProvider="liquid"), txn)
    commit(tmp_path, 1, domain, dropped, add("b", partitionValues={"p": None}), remove("a", extendedFileMetadata=True))
    commit(tmp_path, 2, add("a", baseRowId=3, stats='{"numRecords":1}'))
    store = local(tmp_path)
    before = state_at(store, DELTA.pin(store))
    data = write_checkpoint("here", before)
    assert data == write_checkpoint("here", before)
    (tmp_path / "_delta_log" / f"{2:020d}.checkpoint.parquet").write_bytes(data)
    after = state_at(store, DELTA.pin(store))
    assert after.transactions["app"]["version"] == 7 and list(after.domains) == ["delta.clustering"]
    assert after.adds["a", ""]["baseRowId"] == 3 and after.adds["a", ""]["stats"] == '{"numRecords":1}'
    assert after.adds["b", ""]["partitionValues"] == {"p": None} and after.removes == {}
    assert after.metadata["schemaString"] == before.metadata["schemaString"]


@pytest.mark.parametrize("action", [{"surprise": {"x": 1}}, add("b", surprise=1)])
def test_a_checkpoint_that_would_lose_something_is_not_written(tmp_path: Path, action: dict[str, dict[str, int]]) -> None:
    commit(tmp_path, 0, action)
    with pytest.raises(Unsupported, match="surprise"):
        write_checkpoint("here", state_at(local(tmp_path), DELTA.pin(local(tmp_path))))


def test_a_staged_multi_part_base_is_published_part_by_part_and_its_last_part_is_the_root(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for version in range(4):
        commit(source, version, add(f"f{version}"))
        data_file(source, f"f{version}")
    checkpoint(source, 2, ["f0", "f1", "f2"], parts=2)
    drop_commits(source, 0, 1)
    _, staged = sync(local(source), WatchedStore(tmp_path / "target"))
    names = [p.path.removeprefix("_delta_log/") for p in staged.publications]
    assert names == [f"{2:020d}.checkpoint.{part:010d}.{2:010d}.parquet" for part in (1, 2)]
    assert staged.root == staged.publications[-1].path
    assert DELTA.pin(local(tmp_path / "target")).span.first == 2
