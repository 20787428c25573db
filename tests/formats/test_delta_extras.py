"""What lies at the target beside equal commits: checkpoints, compacted logs and hints that are not the source's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.errors import Conflict, Transfer, Unsupported
from lakehouse.formats.delta.actions import object_key
from lakehouse.local_store import LocalStore
from lakehouse.store import ObjectInfo
from lakehouse.table import Base
from lakehouse.url import parse
from tests.formats.replicas import (
    DELTA,
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
    sync,
)  # fmt: skip


class CountingStore(LocalStore):
    """Notes what is asked of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(parse(str(folder)))
        self.calls: list[str] = []

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        self.calls.append("list")
        return super().list(prefix, after=after, recursive=recursive)

    def head(self, path: str) -> ObjectInfo:
        self.calls.append("head")
        return super().head(path)

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        self.calls.append(f"get {path.rpartition('/')[2]}")
        return super().get(path, start=start, end=end, if_match=if_match)


def log_file(folder: Path, name: str) -> Path:
    return folder / "_delta_log" / name


def classic(version: int) -> str:
    return f"{version:020d}.checkpoint.parquet"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Versions 0 to 4 by hand, one file each."""
    folder = tmp_path / "source"
    for version in range(5):
        more(folder, version)
    return folder


def more(folder: Path, version: int) -> None:
    data_file(folder, f"f{version}")
    commit(folder, version, add(f"f{version}"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def first(source: Path, target: Path) -> Base:
    return sync(local(source), WatchedStore(target))[0]


def files(upto: int) -> list[str]:
    return [f"f{version}" for version in range(upto + 1)]


@pytest.mark.parametrize("version", [None, "0"])
def test_a_target_whose_log_was_wiped_is_not_unchanged(source: Path, target: Path, version: str | None) -> None:
    if version == "0":
        drop_commits(source, 1, 2, 3, 4)
    base = first(source, target)
    asked_source, asked_target = CountingStore(source), CountingStore(target)
    assert DELTA.is_unchanged(asked_source, asked_target, base)
    assert (len(asked_source.calls), asked_target.calls) == (2, ["list"])
    shutil.rmtree(target / "_delta_log")
    assert not DELTA.is_unchanged(local(source), local(target), base)


def test_a_target_with_a_newer_commit_or_checkpoint_is_not_unchanged(source: Path, target: Path) -> None:
    base = first(source, target)
    checkpoint(target, 4, files(4))
    assert DELTA.is_unchanged(local(source), local(target), base)
    for newer in (f"{7:020d}.json", classic(6)):
        log_file(target, newer).write_bytes(b"x")
        assert not DELTA.is_unchanged(local(source), local(target), base)
        log_file(target, newer).unlink()


def test_a_version_whose_root_is_a_checkpoint_is_unchanged_while_that_is_there(source: Path, target: Path) -> None:
    checkpoint(source, 4, files(4))
    drop_commits(source, *range(5))
    base = first(source, target)
    assert DELTA.is_unchanged(local(source), local(target), base)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("based", [True, False], ids=["after a sync", "without receipts"])
def test_a_foreign_checkpoint_that_names_other_files_is_a_conflict(source: Path, target: Path, based: bool, parts: int) -> None:
    base = first(source, target)
    more(source, 5)
    checkpoint(target, 4, ["f0", "other"], parts=parts)
    with pytest.raises(Conflict, match=f"{4:020d}.checkpoint.*not the source's"):
        sync(local(source), WatchedStore(target), base if based else None)


def test_a_checkpoint_that_lies_at_the_target_under_the_sources_name_must_name_the_same_files(source: Path, target: Path) -> None:
    base = first(source, target)
    checkpoint(source, 4, files(4))
    more(source, 5)
    checkpoint(target, 4, ["f0"])
    with pytest.raises(Conflict, match="not the source's"):
        sync(local(source), WatchedStore(target), base)
    checkpoint(target, 4, reversed(files(4)))
    assert log_file(source, classic(4)).read_bytes() != log_file(target, classic(4)).read_bytes()
    sync(local(source), WatchedStore(target), base)
    assert log_file(target, f"{5:020d}.json").exists()


def test_parts_of_the_sources_names_with_other_bytes_are_a_conflict(source: Path, target: Path) -> None:
    base = first(source, target)
    checkpoint(source, 4, files(4), parts=2)
    checkpoint(target, 4, reversed(files(4)), parts=2)
    more(source, 5)
    with pytest.raises(Conflict, match="other bytes than the source's"):
        sync(local(source), WatchedStore(target), base)


def test_a_checkpoint_ahead_of_the_source_is_a_conflict(source: Path, target: Path) -> None:
    base = first(source, target)
    checkpoint(target, 9, files(4))
    with pytest.raises(Conflict, match=f"{9:020d}.checkpoint"):
        sync(local(source), WatchedStore(target), base)


def test_the_checkpoint_that_a_sync_wrote_for_its_jump_is_kept_also_when_the_source_writes_its_own(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for value in (1, 2):
        append(source, [value])
    base = first(source, target)
    append(source, [3])
    optimize_and_vacuum(source)
    base, _ = sync(local(source), WatchedStore(target), base)
    written = log_file(target, classic(int(base.id)))
    assert written.exists() and not log_file(source, written.name).exists()
    append(source, [4])
    base_before = base
    copy_tree(target, tmp_path / "other")
    sync(local(source), WatchedStore(target), base)
    assert read(target) == read(source)
    DeltaTable(str(source), version=int(base.id)).create_checkpoint()
    sync(local(source), WatchedStore(tmp_path / "other"), base_before)
    assert read(tmp_path / "other") == read(source)


def test_a_checkpoint_that_the_source_has_cleaned_up_since_is_kept(source: Path, target: Path) -> None:
    checkpoint(source, 4, files(4))
    base = first(source, target)
    for version in range(5, 9):
        more(source, version)
    checkpoint(source, 7, files(7))
    drop_commits(source, *range(7))
    log_file(source, classic(4)).unlink()
    copy_tree(target, target.with_name("only"))
    sync(local(source), WatchedStore(target), base)
    drop_commits(target.with_name("only"), *range(4))  # no other base than its checkpoint
    sync(local(source), WatchedStore(target.with_name("only")), base)
    assert log_file(target, f"{8:020d}.json").exists()


def test_a_foreign_checkpoint_of_a_version_that_the_source_has_cleaned_up_is_held_against_the_targets_commits(
    source: Path, target: Path
) -> None:
    base = first(source, target)
    for version in range(5, 9):
        more(source, version)
    checkpoint(source, 7, files(7))
    drop_commits(source, *range(7))
    checkpoint(target, 4, ["f0"])
    with pytest.raises(Conflict, match="not the source's"):
        sync(local(source), WatchedStore(target), base)


def test_what_an_earlier_run_saw_is_not_read_again(source: Path, target: Path) -> None:
    for version in (1, 2, 3):
        checkpoint(source, version, files(version))
    base = first(source, target)
    more(source, 5)
    pinned, asked = DELTA.pin(local(source)), CountingStore(target)
    DELTA.since(local(source), asked, pinned, base)
    assert [call for call in asked.calls if call.startswith("get")] == [f"get {4:020d}.json"]


@pytest.mark.parametrize("theirs", [True, False], ids=["under the source's name", "of its own"])
def test_a_foreign_compacted_log_is_a_conflict(source: Path, target: Path, theirs: bool) -> None:
    right = "\n".join(json.dumps(add(f"f{n}")) for n in (3, 4))
    name = f"{3:020d}.{4:020d}.compacted.json"
    base = first(source, target)
    if theirs:
        log_file(source, name).write_text(right)
    more(source, 5)
    log_file(target, name).write_text(json.dumps(add("other")))
    with pytest.raises(Conflict, match="compacted"):
        sync(local(source), WatchedStore(target), base)
    log_file(target, name).write_text(right)
    sync(local(source), WatchedStore(target), base)


@pytest.mark.parametrize("hint", ['{"version": 9, "size": 1}', '{"version": 3, "parts": 2}', "garbage"])
def test_a_hint_at_the_target_that_names_nothing_there_is_a_conflict_unless_ours_replaces_it(
    source: Path, target: Path, hint: str
) -> None:
    data_file(target, "_delta_log/_last_checkpoint", hint.encode())
    with pytest.raises(Conflict, match="_last_checkpoint"):
        first(source, target)
    checkpoint(source, 3, files(3))
    log_file(source, "_last_checkpoint").write_text('{"version": 3, "size": 6}')
    first(source, target)
    assert log_file(target, "_last_checkpoint").read_text() == '{"version": 3, "size": 6}'


def test_commits_that_another_first_sync_staged_meanwhile_are_not_published(source: Path, target: Path) -> None:
    older = DELTA.pin(local(source), "3")

    class Racing(WatchedStore):
        raced = False

        def put(self, path: str, data: object, *, size: int, if_absent: bool = False) -> ObjectInfo:
            if not self.raced:
                self.raced = True
                DELTA.stage(local(source), self, DELTA.pin(local(source)), None)
            return super().put(path, data, size=size, if_absent=if_absent)  # type: ignore[arg-type]

    with pytest.raises(Transfer, match=r"another sync brought .*4\.json meanwhile; run again"):
        DELTA.stage(local(source), Racing(target), older, None)


@pytest.mark.parametrize("path", ["_lake/latest.json", "_delta_log/0.json", "%5Flake/x", "./_lake/x", "_delta_log"])
def test_a_data_file_among_the_log_or_the_receipts_is_refused(tmp_path: Path, path: str) -> None:
    for kind in ("add", "remove", "cdc"):
        commit(tmp_path, 0, {kind: {**add(path)["add"]}})
        with pytest.raises(Unsupported, match="log or receipts"):
            list(DELTA.files(local(tmp_path), DELTA.pin(local(tmp_path))))


def test_names_that_only_resemble_the_log_and_the_receipts_are_data() -> None:
    for path in ("_lakes/x", "a/_lake/x", "_delta_logs/x", "p=_lake/x"):
        assert object_key("here", path) == path


def test_a_deletion_vector_among_the_receipts_is_refused(tmp_path: Path) -> None:
    vector = {
        "storageType": "u",
        "pathOrInlineDv": "_lake^-aqEH.-t@S}K{vb[*k^",
        "offset": 1,
        "sizeInBytes": 34,
        "cardinality": 1,
    }
    commit(tmp_path, 0, add("a", deletionVector=vector))
    with pytest.raises(Unsupported, match="'_lake' lies among the table's log or receipts"):
        list(DELTA.files(local(tmp_path), DELTA.pin(local(tmp_path))))
