"""Folders of this machine: what the conformance suite cannot see."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.errors import Config, NotFound, Transfer, Unsupported
from lakehouse.local_store import LocalStore
from lakehouse.url import parse


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(parse(str(tmp_path / "table")))


def test_nothing_is_left_behind_by_a_failed_put(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(Transfer):
        store.put("a/x", iter([b"12"]), size=3)
    store.put("a/y", b"1", size=1)
    assert os.listdir(tmp_path / "table" / "a") == ["y"]


def test_what_a_killed_writer_left_is_not_listed(store: LocalStore, tmp_path: Path) -> None:
    store.put("a/x", b"1", size=1)
    (tmp_path / "table" / "a" / ".lake-partial-0123").write_bytes(b"half")
    assert [info.path for info in store.list()] == ["a/x"]
    assert [info.path for info in store.list("a", recursive=False)] == ["a/x"]


def test_the_etag_changes_with_size_time_and_inode(store: LocalStore, tmp_path: Path) -> None:
    file = tmp_path / "table" / "x"
    store.put("x", b"1", size=1)
    seen = [store.head("x").etag]
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    seen.append(store.head("x").etag)
    other = file.with_name("other")
    other.write_bytes(b"2")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    os.replace(other, file)
    seen.append(store.head("x").etag)
    assert len(set(seen)) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX")
def test_a_full_disk_is_named_and_leaves_nothing(store: LocalStore, tmp_path: Path) -> None:
    store.put("x", b"old", size=3)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(Transfer, match="full") as caught:
            store.put("x", iter([b"1" * (1 << 19)] * 4), size=1 << 21)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not caught.value.transient
    assert store.get("x") == b"old"
    assert os.listdir(tmp_path / "table") == ["x"]


def test_an_error_of_the_source_is_not_taken_for_one_of_the_disk(store: LocalStore) -> None:
    def failing() -> Iterator[bytes]:
        yield b"1"
        raise OSError("the source's own")

    with pytest.raises(OSError, match="the source's own"):
        store.put("x", failing(), size=2)


def test_links_are_followed_but_not_in_circles(store: LocalStore, tmp_path: Path) -> None:
    store.put("a/x", b"1", size=1)
    (tmp_path / "table" / "a" / "loop").symlink_to(tmp_path / "table")
    (tmp_path / "table" / "y").symlink_to(tmp_path / "table" / "a" / "x")
    assert sorted(info.path for info in store.list()) == ["a/x", "y"]


@pytest.mark.parametrize("to", ["gone", "table/dangling", "table/x/below"])
def test_a_link_that_leads_nowhere_is_named_and_not_left_out(store: LocalStore, tmp_path: Path, to: str) -> None:
    store.put("x", b"1", size=1)
    (tmp_path / "table" / "dangling").symlink_to(tmp_path / to)
    for recursive in (True, False):
        with pytest.raises(NotFound, match=f"dangling: is a link to .*{to}"):
            list(store.list(recursive=recursive))


def test_a_named_pipe_is_refused_by_name(store: LocalStore, tmp_path: Path) -> None:
    store.put("a/x", b"1", size=1)
    os.mkfifo(tmp_path / "table" / "a" / "pipe")
    with pytest.raises(Unsupported, match="a/pipe: is a named pipe"):
        list(store.list())


def test_a_file_that_vanishes_while_it_is_listed_is_left_out(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("x", b"1", size=1)
    store.put("y", b"1", size=1)
    scandir = os.scandir

    def late(folder: str) -> list[os.DirEntry[str]]:
        entries = list(scandir(folder))
        (tmp_path / "table" / "x").unlink()
        return entries

    monkeypatch.setattr(os, "scandir", late)
    assert [info.path for info in store.list()] == ["y"]


def test_a_name_that_is_not_utf8_is_refused(store: LocalStore, tmp_path: Path) -> None:
    store.put("x", b"1", size=1)
    try:
        with open(os.fsencode(tmp_path / "table") + b"/caf\xe9", "wb"):
            pass
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(Unsupported, match="UTF-8"):
        list(store.list())


def test_a_file_where_a_folder_must_be_is_refused(store: LocalStore) -> None:
    store.put("a", b"1", size=1)
    with pytest.raises((Unsupported, NotFound)):
        store.put("a/b", b"1", size=1)
    store.put("d/e", b"1", size=1)
    with pytest.raises((Unsupported, NotFound)):
        store.put("d", b"1", size=1)
    assert store.get("d/e") == b"1"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_a_configuration_error(store: LocalStore, tmp_path: Path) -> None:
    store.put("a", b"1", size=1)
    os.chmod(tmp_path / "table", 0o500)
    try:
        with pytest.raises(Config):
            store.put("b", b"1", size=1)
    finally:
        os.chmod(tmp_path / "table", 0o700)


def test_a_name_that_is_too_long_is_unsupported(store: LocalStore) -> None:
    with pytest.raises(Unsupported):
        store.put("x" * 300, b"1", size=1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has files without a name")
def test_a_killed_writer_leaves_nothing_behind(store: LocalStore, tmp_path: Path) -> None:
    """Trap Operations: a half-written target of a killed run."""
    dying = f"""
import os
from lakehouse.connect import open_store
open_store({store.url!r}).put("a/x", (os._exit(9) if n else b"1" for n in range(2)), size=2)
"""
    assert subprocess.run([sys.executable, "-c", dying], check=False).returncode == 9
    assert os.listdir(tmp_path / "table" / "a") == []


def test_a_file_system_without_nameless_files_gets_hidden_ones(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    store.put("a/x", b"1", size=1, if_absent=True)
    store.put("a/x", b"22", size=2)
    with pytest.raises(Transfer):
        store.put("a/y", iter([b"12"]), size=3)
    assert os.listdir(tmp_path / "table" / "a") == ["x"]
    assert store.get("a/x") == b"22"


def test_folders_are_synced_once_a_batch_and_at_once_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), tmp_path))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    store = LocalStore(parse(str(tmp_path / "t")))
    store.put("a", b"1", size=1)
    assert sorted(set(synced)) == [".", "t"]
    synced.clear()
    batching = store.traits.batching
    assert batching is not None
    with batching():
        for number in range(20):
            store.put(f"day={number % 2}/{number}", b"1", size=1)
        assert synced == []
    assert sorted(synced) == ["t", "t/day=0", "t/day=1"]
    store.put("b", b"1", size=1)
    assert synced[3:] == ["t"]


def test_a_file_that_reads_back_other_bytes_than_were_written_does_not_appear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def damaging(descriptor: int, data: memoryview) -> int:
        return write(descriptor, bytes([data[0] ^ 1]) + bytes(data[1:]))

    store = LocalStore(parse(str(tmp_path / "t")))
    monkeypatch.setattr(os, "write", damaging)
    with pytest.raises(Transfer, match="reads back other bytes"):
        store.put("a", b"12345", size=5)
    monkeypatch.undo()
    assert list(store.list()) == []
