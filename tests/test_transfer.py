"""Moving bytes: large objects in ranges, changes while reading, short answers, sizes that metadata states wrong."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lakehouse.checksum import Checksum, sha256_hex
from lakehouse.connect import open_at
from lakehouse.errors import Conflict, LakeError, NotFound, Transfer
from lakehouse.plan import Action, Copy
from lakehouse.ranges import RANGE_SIZE, Limits
from lakehouse.store import Store
from lakehouse.table import TableFile, Written
from lakehouse.testing.faulty_store import Faults, FaultyStore
from lakehouse.transfer import Missing, Outcome, transfer
from lakehouse.url import parse

LARGE = os.urandom(1024) * (25 * 1024) + b"tail"


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    return open_at(parse(str(tmp_path / "source")), None), open_at(parse(str(tmp_path / "target")), None)


def move(source: Store, target: Store, *files: TableFile, action: Action = "copy", workers: int = 4) -> list[Outcome]:
    return list(transfer(source, target, [Copy(file, action) for file in files], limits=Limits(workers)))


def put(store: Store, path: str, data: bytes) -> TableFile:
    store.put(path, data, size=len(data))
    return TableFile(path, len(data))


def test_a_large_object_arrives_in_ranges_with_the_hash_of_its_bytes(stores: tuple[Store, Store]) -> None:
    source, target = stores
    file = put(source, "big", LARGE)
    faults = Faults()
    (written,) = move(FaultyStore(source, faults), target, file)
    assert isinstance(written, Written)
    assert (written.sha256, written.size, written.origin) == (sha256_hex(LARGE), len(LARGE), "copied")
    assert target.get("big") == LARGE
    assert len([call for call in faults.calls if call.method == "get"]) == -(-len(LARGE) // RANGE_SIZE)


def test_one_large_object_alone_is_read_in_parallel(stores: tuple[Store, Store]) -> None:
    source, target = stores
    file = put(source, "big", LARGE)
    together = threading.Barrier(2, timeout=30)

    class Waiting(FaultyStore):
        def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
            if start in (0, RANGE_SIZE):
                together.wait()
            return super().get(path, start=start, end=end, if_match=if_match)

    move(Waiting(source, Faults()), target, file)
    assert target.get("big") == LARGE


@pytest.mark.parametrize("fail_at", range(1, 8))
def test_a_large_object_whose_transfer_fails_is_not_there_at_all(stores: tuple[Store, Store], fail_at: int) -> None:
    source, target = stores
    file = put(source, "big", LARGE)
    with pytest.raises(Transfer):
        move(FaultyStore(source, faults := Faults(fail_at=fail_at)), FaultyStore(target, faults), file)
    assert not list(target.list())
    (written,) = move(source, target, file)
    assert isinstance(written, Written)
    assert target.get("big") == LARGE


def test_an_object_that_changes_while_it_is_read_is_an_error(stores: tuple[Store, Store]) -> None:
    """Trap Object stores 9: every range carries If-Match."""
    source, target = stores
    file = put(source, "big", LARGE)

    changed = threading.Event()

    class Changing(FaultyStore):
        def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
            if start:
                changed.wait()
            data = super().get(path, start=start, end=end, if_match=if_match)
            if start == 0:
                source.put(path, b"x" * len(LARGE), size=len(LARGE))
                changed.set()
            return data

    with pytest.raises(Transfer, match="changed while it was read"):
        move(Changing(source, Faults()), target, file, workers=1)
    assert not list(target.list())


def test_a_listed_object_that_has_changed_since_is_an_error(stores: tuple[Store, Store]) -> None:
    source, target = stores
    put(source, "small", b"one")
    listed = next(source.list())
    source.put("small", b"two", size=3)
    with pytest.raises(Transfer):
        move(source, target, TableFile("small", 3, etag=listed.etag))


def test_a_short_answer_is_an_error_but_a_wrong_size_in_the_metadata_is_not(stores: tuple[Store, Store]) -> None:
    """Trap Object stores 15: a truncated response with status 200."""
    source, target = stores
    put(source, "small", b"twelve bytes")

    class Short(FaultyStore):
        def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
            return super().get(path, start=start, end=end, if_match=if_match)[:6]

    with pytest.raises(Transfer, match="not the whole object"):
        move(Short(source, Faults()), target, TableFile("small", 12))
    assert not list(target.list())
    (written,) = move(source, target, TableFile("small", 999))
    assert isinstance(written, Written)
    assert written.size == 12


def test_the_checksum_that_the_source_states_must_be_that_of_the_bytes(stores: tuple[Store, Store]) -> None:
    source, target = stores
    put(source, "small", b"abc")
    right = Checksum("md5", "900150983cd24fb0d6963f7d28e17f72")
    (written,) = move(source, target, TableFile("small", 3, checksum=right))
    assert isinstance(written, Written)
    assert written.source_checked
    with pytest.raises(Transfer, match="md5"):
        move(source, target, TableFile("small", 3, checksum=Checksum("md5", "0" * 32)))


def test_what_is_there_already_is_adopted_when_equal_and_kept_when_not(stores: tuple[Store, Store]) -> None:
    source, target = stores
    files = [put(source, "big", LARGE), put(source, "small", b"abc")]
    put(target, "big", LARGE)
    put(target, "small", b"abc")
    assert [outcome.origin for outcome in move(source, target, *files) if isinstance(outcome, Written)] == ["adopted"] * 2
    put(target, "big", LARGE[:-1] + b"X")
    put(target, "small", b"abd")
    with pytest.raises(Conflict, match="2 object"):
        move(source, target, *files)
    assert (target.get("small"), target.get("big")[-1:]) == (b"abd", b"X")
    move(source, target, *files, action="replace")
    assert (target.get("small"), target.get("big")) == (b"abc", LARGE)


def test_all_are_tried_and_the_failure_says_which_and_how_many(stores: tuple[Store, Store]) -> None:
    source, target = stores
    files = [put(source, f"file-{number}", b"x" * number) for number in range(1, 20)]
    gone = [TableFile("gone-1", 1), TableFile("gone-2", 1)]
    with pytest.raises(NotFound, match=r"2 live file.*gone-"):
        move(source, target, *gone, *files, workers=3)
    assert len(list(target.list())) == 19


def test_a_file_of_the_history_that_is_gone_is_told_and_no_failure(stores: tuple[Store, Store]) -> None:
    source, target = stores
    assert move(source, target, TableFile("old", 5, required=False)) == [Missing("old")]


def test_an_interrupted_transfer_waits_for_what_is_in_flight_and_starts_nothing_more(stores: tuple[Store, Store]) -> None:
    """Trap Operations: Ctrl-C."""
    source, target = stores
    files = [put(source, f"file-{number:03d}", b"x") for number in range(200)]
    faults = Faults()
    stop: Callable[[], None] = lambda: (_ for _ in ()).throw(KeyboardInterrupt)  # noqa: E731

    def interrupted() -> None:
        for _ in transfer(FaultyStore(source, faults), target, [Copy(file, "copy") for file in files], limits=Limits(2)):
            stop()

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(list(target.list())) < 50
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("lake_", "lake-ranges"))]


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(tmp_path: Path, stores: tuple[Store, Store]) -> None:
    """Trap Operations: disk full at a local target (a limit on file size stands in for the full disk)."""
    import resource
    import signal

    source, target = stores
    file = put(source, "big", LARGE)
    old_limit, old_handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10 * 1024 * 1024, old_limit[1]))
    try:
        with pytest.raises(LakeError, match="full"):
            move(source, target, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert [path for path in (tmp_path / "target").rglob("*") if path.is_file()] == []
