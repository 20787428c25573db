"""What the source does between two syncs and during one; each call of a sync of a clone fails (traps.md: Delta 4, 15, 17)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.connect import open_at
from lakehouse.elsewhere import Elsewhere
from lakehouse.errors import Conflict, NotFound, Transfer
from lakehouse.replica import Replica
from lakehouse.store import Store
from lakehouse.sync import Options, replicate
from lakehouse.testing.faulty_store import Faults
from lakehouse.url import parse
from tests.formats.replicas import add, checkpoint, commit, data_file, drop_commits, optimize_and_vacuum
from tests.formats.spark_like import mask, upgrade
from tests.sync.clones import shallow_clone
from tests.sync.places import Places, append, contents, dump, ids
from tests.sync.test_faults import each_call


@pytest.fixture
def table(tmp_path: Path) -> Path:
    append(tmp_path / "table", 0, commits=3)
    return tmp_path / "table"


def synced(table: Path) -> Places:
    places = Places()
    places.load(table)
    replicate(places.replica(), Options(workers=4))
    return places


def rows_at_target(places: Places, folder: Path, version: int | None = None) -> list[int]:
    shutil.rmtree(folder, ignore_errors=True)
    return ids(dump(places.target, folder), version)


def optimised_and_vacuumed(table: Path) -> None:
    append(table, 30)
    optimize_and_vacuum(table)
    append(table, 40)


def cleaned_past_the_last_sync(table: Path) -> None:
    append(table, 30, commits=2)
    DeltaTable(str(table)).create_checkpoint()
    drop_commits(table, 0, 1, 2, 3)


def rolled_back_by_restore(table: Path) -> None:
    append(table, 30, commits=2)
    DeltaTable(str(table)).restore(1)
    append(table, 90)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (optimised_and_vacuumed, range(50)),
        (cleaned_past_the_last_sync, range(50)),
        (rolled_back_by_restore, [*range(20), *range(90, 100)]),
    ],
)
def test_what_the_source_did_between_two_syncs_is_followed(
    change: Callable[[Path], None], expected: range, table: Path, tmp_path: Path
) -> None:
    places = synced(table)
    change(table)
    places.load(table)
    replicate(places.replica(), Options(workers=4))
    assert rows_at_target(places, tmp_path / "copy") == list(expected)
    assert rows_at_target(places, tmp_path / "copy", 2) == list(range(30)), "what was carried before is still there"
    assert replicate(places.replica(), Options()).unchanged


@pytest.mark.parametrize("versions", [1, 3, 5])
def test_trap_a_source_that_was_set_back_or_created_anew_is_a_conflict_and_the_target_keeps_its_rows(
    versions: int, table: Path, tmp_path: Path
) -> None:
    """Restored from a backup (fewer versions), or deleted and made again (as many, more)."""
    places = synced(table)
    if versions == 1:
        drop_commits(table, 1, 2)
    else:
        shutil.rmtree(table)
        append(table, 500, commits=versions)
    places.load(table)
    before = contents(places.target)
    with pytest.raises(Conflict, match="version"):
        replicate(places.replica(), Options())
    assert contents(places.target) == before
    assert rows_at_target(places, tmp_path / "copy") == list(range(30))


class Busy:
    """A source that calls ``act`` once, when the first data file is read."""

    def __init__(self, store: Store, act: Callable[[], None]) -> None:
        self._store, self._act, self.url, self.traits = store, act, store.url, store.traits
        self.list, self.head, self.put, self.delete = store.list, store.head, store.put, store.delete
        self._acted = False

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        if path.endswith(".parquet") and not path.startswith("_delta_log") and not self._acted:
            self._acted = True
            self._act()
        return self._store.get(path, start=start, end=end, if_match=if_match)

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        return memoryview(self.get(path, start=start, end=end, if_match=if_match))


def busy(places: Places, act: Callable[[], None]) -> Replica:
    opened = places.replica()
    return Replica(Busy(opened.source, act), opened.target, opened.receipts, opened.format, opened.latest)


def test_a_source_that_advances_twenty_versions_during_the_copy_is_carried_as_it_was_pinned(table: Path, tmp_path: Path) -> None:
    places = Places()
    places.load(table)

    def advance() -> None:
        append(table, 30, commits=20)
        places.load(table)

    assert replicate(busy(places, advance), Options(workers=1)).version == "2"
    assert rows_at_target(places, tmp_path / "copy") == list(range(30))
    assert replicate(places.replica(), Options(workers=4)).version == "22"
    assert rows_at_target(places, tmp_path / "copy") == list(range(230))


@pytest.mark.parametrize("what", ["vacuumed", "log cleaned"])
def test_trap_a_source_that_is_cleaned_during_the_copy_is_noticed_and_nothing_is_published(
    what: str, table: Path, tmp_path: Path
) -> None:
    DeltaTable(str(table)).create_checkpoint()
    places = Places()
    places.load(table)

    def clean() -> None:
        if what == "vacuumed":
            optimize_and_vacuum(table)
        append(table, 30)
        DeltaTable(str(table)).create_checkpoint()
        drop_commits(table, 0, 1, 2)
        for path in list((table / "_delta_log").glob("*2.checkpoint.parquet")):
            os.unlink(path)
        places.load(table)

    with pytest.raises((Transfer, NotFound)) as noticed:
        replicate(busy(places, clean), Options(workers=1))
    assert isinstance(noticed.value, Transfer) or what == "vacuumed"
    assert "_delta_log/00000000000000000000.json" not in contents(places.target)
    replicate(places.replica(), Options(workers=4))
    assert rows_at_target(places, tmp_path / "copy") == ids(table)


class ClonePlaces(Places):
    """A source that is a clone of ``base``, a table beside it in the same memory."""

    @property
    def source(self) -> Store:
        base = f"{self.root}/base"
        beside = open_at(parse(base), None)
        return Elsewhere(self.store("source"), lambda address: (beside, address.removeprefix(f"{base}/")))

    def make(self, base: Path, clone: Path) -> None:
        shutil.rmtree(clone, ignore_errors=True)
        shallow_clone(base, clone, f"{self.root}/base")
        for file in base.rglob("*.*"):
            if file.is_file() and "_delta_log" not in file.parts:
                data = file.read_bytes()
                self.store("base").put(str(file.relative_to(base)), data, size=len(data))
        self.load(clone)


@pytest.mark.parametrize("mode", ["before", "after"])
def test_a_first_sync_of_a_clone_that_fails_at_any_call_is_invisible_or_whole(tmp_path: Path, mode: str) -> None:
    base = tmp_path / "base"
    append(base, 0, rows=6)
    upgrade(base)
    mask(base, 0)
    expected = ids(base)
    root = Places().root

    def places() -> Places:
        made = ClonePlaces(root=root)
        for store in (made.store("source"), made.store("base"), made.store("target")):
            for info in list(store.list()):
                store.delete(info.path)
        made.make(base, tmp_path / "clone")
        return made

    def whole(made: Places, k: int) -> None:
        folder = dump(made.target, tmp_path / f"{mode}-{k}")
        if (folder / "_delta_log" / f"{0:020d}.json").exists():
            assert ids(folder) == expected

    _, calls = each_call(places, lambda k: Faults(fail_at=k, mode=mode, dead=True), whole)  # type: ignore[arg-type]
    assert calls > 15


def test_a_sync_of_one_version_makes_as_many_calls_whatever_the_length_of_the_log(tmp_path: Path) -> None:
    calls = []
    for length in (3, 40):
        folder = tmp_path / str(length)
        for number in range(length):
            commit(folder, number, {"txn": {"appId": "a", "version": number}})
        checkpoint(folder, length - 1, [])
        places = synced(folder)
        data_file(folder, "new")
        commit(folder, length, add("new"))
        places.load(folder)
        faults = Faults()
        assert replicate(places.replica(faults), Options(workers=1)).version == str(length)
        calls.append(len(faults.calls))
    assert calls[0] == calls[1] < 45
