"""Faults of an Iceberg sync, on tables with deletes that Spark wrote: what readers see, and what the next run makes of it.

Each table is as it was when one of its roots was the newest (`Grown`); the target is read by pyiceberg through its hint and from
its highest root. Rows that come back because a delete file or a deletion vector is not there would be seen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from lakehouse.errors import Conflict, LakeError, NotFound, Transfer, Verification
from lakehouse.progress import ProgressEvent
from lakehouse.replica import Replica
from lakehouse.result import SyncResult
from lakehouse.store import Buffer, ObjectInfo, Store, Traits
from lakehouse.sync import Options, replicate
from lakehouse.testing.faulty_store import Faults, InjectedFault
from tests.calls import some_of
from tests.corpus.conftest import CORPUS
from tests.sync.iceberg_places import Grown, assert_same
from tests.sync.places import contents

TABLES = pytest.mark.parametrize("name", ["i_mor", "i_v3"], ids=["position deletes", "deletion vectors"])
KINDS: dict[str, Callable[[str], bool]] = {
    "data file": lambda path: path.startswith("data/") and "delete" not in path and path.endswith(".parquet"),
    "delete file": lambda path: path.endswith(("-deletes.parquet", ".puffin")),
    "manifest": lambda path: path.endswith(".avro") and "/snap-" not in path,
    "manifest list": lambda path: "/snap-" in path,
    "root": lambda path: path.endswith(".metadata.json"),
    "hint": lambda path: path.endswith("version-hint.text"),
}


@pytest.fixture
def grown(tmp_path: Path) -> Callable[..., Grown]:
    made: list[Grown] = []

    def grow(name: str, synced: int | None, number: int) -> Grown:
        """The table at root ``number``, whose target holds the one at ``synced``."""
        if not CORPUS.is_dir():
            pytest.skip("the corpus of real tables is not here (set LAKE_CORPUS to its folder)")
        found = Grown(CORPUS / "wild" / name, tmp_path / "at")
        made.append(found)
        found.read = made[0].read
        if synced is not None:
            found.grow(synced)
            found.sync()
        found.grow(number)
        return found

    return grow


def ids(table: Grown) -> tuple[int, ...]:
    """The one version that every reader of the target sees."""
    (found,) = table.seen()
    assert found is not None
    return found


# Every call


@pytest.mark.parametrize(
    ("change", "name", "mode", "dead"),
    [
        ("first sync", "i_v3", "after", False),
        ("first sync", "i_v3", "before", True),
        ("update", "i_mor", "before", False),
        ("update", "i_mor", "after", True),
        ("update", "i_v3", "after", False),
        ("update", "i_v3", "before", True),
    ],
)
def test_a_sync_that_fails_at_any_call_shows_the_old_rows_or_the_new_and_the_next_run_ends_like_a_clean_one(
    change: str, name: str, mode: Literal["before", "after"], dead: bool, grown: Callable[..., Grown]
) -> None:
    synced, number = (2, 3) if change == "update" else (None, 3)
    clean = grown(name, synced, number)
    old, counting = clean.seen(), Faults()
    clean.sync(counting)
    new, wanted = clean.seen(), contents(clean.places.target)
    assert old != new
    for k in some_of(counting.counted):
        table, faults = grown(name, synced, number), Faults(fail_at=k, mode=mode, dead=dead)
        try:
            table.sync(faults)
        except InjectedFault:
            pass
        except LakeError as error:
            assert "injected" in str(error), error
        assert table.seen() <= old | new, f"after failing call {k} ({faults.failed})"
        table.sync()
        assert_same(contents(table.places.target), wanted)
        table.verify(against=False)
        assert table.sync().unchanged
    assert counting.counted > 40


@pytest.mark.parametrize("name", ["i_mor", "i_v3"])
def test_a_run_that_published_and_was_killed_is_ended_by_one_of_a_source_that_has_moved_on(
    name: str, grown: Callable[..., Grown]
) -> None:
    """The root is there, the hint or latest.json is not; then the source commits, and the next run publishes the one after."""
    counting = Faults()
    grown(name, 2, 3).sync(counting)
    rooted = next(k for k, call in enumerate(counting.calls, 1) if call.method == "put" and call.path.endswith(".metadata.json"))
    for k in (k for k in some_of(counting.counted) if k >= rooted):
        table = grown(name, 2, 3)
        with pytest.raises(InjectedFault):
            table.sync(Faults(fail_at=k, mode="after", dead=True))
        assert table.roots() == [1, 2]
        table.grow(4)
        assert not table.sync().unchanged
        assert table.roots() == [1, 2, 3]
        straight = grown(name, None, 4)
        straight.sync()
        assert ids(table) == ids(straight)
        table.verify()
        assert table.sync().unchanged


def test_a_run_that_was_killed_before_its_root_leaves_no_gap_in_the_numbers(grown: Callable[..., Grown]) -> None:
    counting = Faults()
    grown("i_mor", 2, 3).sync(counting)
    rooted = next(k for k, call in enumerate(counting.calls, 1) if call.method == "put" and call.path.endswith(".metadata.json"))
    for k in (k for k in range(1, rooted + 1) if counting.calls[k - 1].method == "put"):
        table = grown("i_mor", 2, 3)
        with pytest.raises(InjectedFault):
            table.sync(Faults(fail_at=k, dead=True))
        table.grow(4)
        table.sync()
        assert table.roots() == [1, 2], f"after {counting.calls[k - 1]}"
        table.verify()


# Uploads that are damaged


class Damaging:
    """Flips the last bit of the first put of one kind of object, and says that all is well; ``conditional`` as the store is."""

    def __init__(self, store: Store, chosen: Callable[[str], bool], at: int) -> None:
        self._store, self._chosen, self._at, self.url = store, chosen, at, store.url
        self.traits = Traits(conditional_put=True)
        self.list, self.head, self.get, self.view, self.delete = store.list, store.head, store.get, store.view, store.delete
        self.damaged: str | None = None

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        whole = bytes(data) if isinstance(data, bytes | memoryview) else b"".join(data)
        if self.damaged is None and self._chosen(path):
            self.damaged = path
            at = self._at % len(whole)
            whole = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        return self._store.put(path, whole, size=size, if_absent=if_absent)


def damaging(table: Grown, kind: str, at: int) -> tuple[Replica, Damaging]:
    made = table.replica()
    store = Damaging(made.target, KINDS[kind], at)
    return replace(made, target=store), store


@TABLES
@pytest.mark.parametrize("at", [-1, 0, 40], ids=["last byte", "first byte", "in the middle"])
@pytest.mark.parametrize("kind", ["data file", "delete file", "manifest", "manifest list"])
@pytest.mark.parametrize("change", ["first sync", "update"])
def test_a_damaged_upload_is_found_before_anything_is_published_and_mended_by_the_next_run(
    change: str, kind: str, at: int, name: str, grown: Callable[..., Grown]
) -> None:
    synced = None if change == "first sync" else 2
    clean = grown(name, synced, 4)
    old = clean.seen()
    clean.sync()
    table = grown(name, synced, 4)
    replica, store = damaging(table, kind, at)
    with pytest.raises(Verification, match="nothing was published") as caught:
        replicate(replica, Options(workers=2))
    assert store.damaged is not None
    assert store.damaged in str(caught.value)
    assert table.seen() == old
    table.sync()
    assert_same(contents(table.places.target), contents(clean.places.target))
    table.verify()
    assert table.sync().unchanged


@pytest.mark.parametrize("kind", ["root", "hint"])
@pytest.mark.parametrize("change", ["first sync", "update"])
def test_a_root_and_a_hint_that_the_store_damages_are_put_again_at_once(
    change: str, kind: str, grown: Callable[..., Grown]
) -> None:
    synced = None if change == "first sync" else 2
    clean, table = grown("i_v3", synced, 4), grown("i_v3", synced, 4)
    clean.sync()
    replica, store = damaging(table, kind, -1)
    replicate(replica, Options(workers=1))
    assert store.damaged is not None
    assert_same(contents(table.places.target), contents(clean.places.target))
    table.verify()


# Others, and the user


@TABLES
@pytest.mark.parametrize("change", ["first sync", "update"])
def test_two_syncs_at_once_into_one_target_end_well(change: str, name: str, grown: Callable[..., Grown]) -> None:
    clean, table = (grown(name, None if change == "first sync" else 2, 4) for _ in range(2))
    clean.sync()
    outcomes: list[SyncResult | LakeError] = []
    start = threading.Barrier(3)

    def run() -> None:
        replica = table.replica()
        start.wait()
        try:
            outcomes.append(replicate(replica, Options(workers=2)))
        except LakeError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(isinstance(outcome, SyncResult) for outcome in outcomes), outcomes
    assert all(isinstance(outcome, SyncResult | Transfer) for outcome in outcomes), outcomes
    assert_same(contents(table.places.target), contents(clean.places.target))
    table.sync()
    table.verify()
    assert table.sync().unchanged


@pytest.mark.parametrize("step", ["plan", "transfer", "verify", "publish"])
def test_an_interrupted_sync_publishes_nothing_or_all_and_is_completed(step: str, grown: Callable[..., Grown]) -> None:
    """Ctrl-C."""
    table, clean = grown("i_mor", 2, 4), grown("i_mor", 2, 4)
    old = clean.seen()
    clean.sync()

    def interrupt(event: ProgressEvent) -> None:
        if event.step == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replicate(table.replica(), Options(workers=2), interrupt)
    assert table.seen() <= old | clean.seen()
    table.sync()
    assert_same(contents(table.places.target), contents(clean.places.target))
    table.verify()


# The source


@TABLES
@pytest.mark.parametrize("kind", ["data file", "delete file", "manifest", "manifest list"])
@pytest.mark.parametrize("change", ["first sync", "update"])
def test_a_live_file_that_is_missing_at_the_source_is_named_and_nothing_is_published(
    change: str, kind: str, name: str, grown: Callable[..., Grown]
) -> None:
    """Trap Iceberg 10: what cannot be read is never an empty list."""
    synced = None if change == "first sync" else 2
    clean = grown(name, None, 2)
    clean.sync()
    before = contents(clean.places.target)
    clean.grow(4)
    clean.sync()
    new = sorted(path for path in contents(clean.places.target).keys() - before.keys() if KINDS[kind](path))
    table = grown(name, synced, 4)
    old = table.seen()
    table.places.source.delete(new[0])
    with pytest.raises(NotFound) as caught:
        table.sync()
    assert new[0] in str(caught.value)
    assert caught.value.exit_code == 3
    assert table.seen() == old
    table.put(new[0], (table.table / new[0]).read_bytes())
    table.sync()
    assert ids(table) == ids(clean)
    table.verify()


@TABLES
@pytest.mark.parametrize("kind", ["delete file", "manifest", "manifest list"])
def test_metadata_that_is_damaged_at_the_source_is_named_and_nothing_is_published(
    kind: str, name: str, grown: Callable[..., Grown]
) -> None:
    clean = grown(name, None, 4)
    clean.sync()
    damaged = next(path for path in sorted(contents(clean.places.target)) if KINDS[kind](path))
    whole = (clean.table / damaged).read_bytes()
    for bytes_left in (0, 3, len(whole) // 2, len(whole) - 20):
        table = grown(name, None, 4)
        table.put(damaged, whole[:bytes_left])
        with pytest.raises((NotFound, Transfer), match=damaged.rpartition("/")[2]):
            table.sync()
        assert table.seen() == {None}


class Expiring(Faults):
    """At call ``fail_at`` the source expires: its newest root forgets a snapshot, whose list is removed."""

    expire: Callable[[], None]

    def arrive(self, call: object) -> bool:
        self._counted += 1
        if self._counted == self.fail_at:
            self.expire()
        return False


def test_a_source_that_expires_at_any_call_of_a_sync_publishes_nothing_or_what_is_whole(grown: Callable[..., Grown]) -> None:
    """Trap Iceberg 9. The oldest snapshot's list and a file that only it needs go."""
    import json

    counting = Faults()
    grown("i_v3", None, 4).sync(counting)
    published = 0
    for k in some_of(counting.counted):
        table = grown("i_v3", None, 4)
        source = table.places.source
        metadata = json.loads(source.get("metadata/v4.metadata.json"))
        oldest = metadata["snapshots"][0]

        def expire(source: Store = source, metadata: dict[str, object] = metadata, gone: dict[str, object] = oldest) -> None:
            kept = {key: value for key, value in metadata.items() if key != "snapshots"}
            snapshots = metadata["snapshots"]
            assert isinstance(snapshots, list)
            data = json.dumps({**kept, "snapshots": snapshots[1:]}).encode()
            source.put("metadata/v5.metadata.json", data, size=len(data))
            source.put("metadata/version-hint.text", b"5", size=1)
            source.delete(str(gone["manifest-list"]).removeprefix("file:///warehouse/wild/i_v3/"))

        faults = Expiring(fail_at=k)
        faults.expire = expire
        try:
            table.sync(faults)
        except (Transfer, NotFound) as error:  # a hint that was read just before its successor is in doubt
            assert "run again" in str(error) or "v5.metadata.json is newer" in str(error), f"at call {k}"
            assert table.seen() == {None}, f"at call {k}"
        published += table.seen() != {None}
        table.sync()
        table.verify(against=False)
        assert table.sync().unchanged
    assert 0 < published < counting.counted


def test_a_target_that_is_full_is_worth_another_run_and_readers_see_the_old_rows(grown: Callable[..., Grown]) -> None:
    """Every put from the n-th on fails, as on a full disk, receipts and notes too."""
    counting = Faults(writes_only=True)
    clean = grown("i_v3", 2, 3)
    old = clean.seen()
    clean.sync(counting)
    for k in some_of(counting.counted):
        table = grown("i_v3", 2, 3)
        with pytest.raises(LakeError, match="injected"):
            table.sync(Faults(fail_at=k, writes_only=True, dead=True))
        assert table.seen() <= old | clean.seen()
        table.sync()
        assert_same(contents(table.places.target), contents(clean.places.target))
        table.verify(against=False)


def test_what_somebody_put_under_a_name_that_is_needed_stays(grown: Callable[..., Grown]) -> None:
    clean = grown("i_v3", None, 4)
    clean.sync()
    for kind, chosen in KINDS.items():
        if kind == "hint":
            continue
        path = next(path for path in sorted(contents(clean.places.target)) if chosen(path))
        table = grown("i_v3", None, 4)
        table.places.target.put(path, b"theirs", size=6)
        with pytest.raises((Conflict, NotFound)):
            table.sync()
        assert table.places.target.get(path) == b"theirs"
        assert len(table.roots()) == (kind == "root")
