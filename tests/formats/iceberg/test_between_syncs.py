"""What happens at the source of an Iceberg replica between two syncs, and during one; and at the target.

After each change the target is read by pyiceberg and DuckDB in every version, branch and tag, and audited against the source.
While a sync writes, a reader looks at the target before each put: it sees the old rows or the new ones.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import lakehouse
from lakehouse.config import Settings
from lakehouse.errors import Conflict, LakeError, NotFound, Transfer
from lakehouse.options import Options
from lakehouse.progress import ProgressEvent
from lakehouse.replica import open_replica
from lakehouse.sync import replicate
from lakehouse.testing.faulty_store import Call, Faults, FaultyStore
from tests.corpus.iceberg_readers import Rows, by_duckdb, by_pyiceberg, root_of
from tests.formats.iceberg.audit import Table, audit
from tests.formats.iceberg.iceberg_tables import ChangingTable, changing_table


@dataclass
class Watcher(Faults):
    """Fails nothing: looks at the target before each call that writes there."""

    look: Callable[[], None] = field(default=lambda: None)

    def arrive(self, call: Call) -> bool:
        if call.method in ("put", "delete"):
            self.look()
        return False


def ids(found: Rows) -> list[int]:
    """The ids of rows, whatever the column is called today."""
    assert not isinstance(found, str), found
    name = "id" if "id" in found.column_names else "number"
    return sorted(found[name].to_pylist())


@dataclass
class Pair:
    """A source that changes, and its replica."""

    source: ChangingTable
    target: Path

    def sync(self, **options: Any) -> lakehouse.SyncResult:
        return lakehouse.sync(str(self.source.folder), str(self.target), settings=Settings(), **options)

    def seen(self) -> tuple[int, ...] | None:
        """The ids that a reader of the target's current version sees now; None where it finds no table."""
        if not (self.target / "metadata" / "version-hint.text").exists():
            return None
        return tuple(ids(by_pyiceberg(root_of(self.target), {"main": None})["main"]))

    def watched_sync(self) -> list[tuple[int, ...] | None]:
        """Sync, with a look at the target before each put and after the last; what was seen, repetitions left out."""
        seen: list[tuple[int, ...] | None] = []

        def look() -> None:
            now = self.seen()
            if not seen or seen[-1] != now:
                seen.append(now)

        replica = open_replica(str(self.source.folder), str(self.target), None, Settings())
        replicate(replace(replica, target=FaultyStore(replica.target, Watcher(look=look))), Options(workers=1))
        look()
        return seen

    def assert_same(self) -> None:
        """Every version, branch and tag of the target reads as at the source; the audit finds nothing; nothing is left to do."""
        root, made = self.source.root, root_of(self.target)
        here = {version: ids(found) for version, found in by_pyiceberg(root).items()}
        assert {version: ids(found) for version, found in by_pyiceberg(made).items()} == here
        assert {version: ids(found) for version, found in by_duckdb(made).items()} == here
        tables = [Table(at, {f"file://{folder}": folder}) for at, folder in ((made, self.target), (root, self.source.folder))]
        assert audit(tables[0], tables[1], forbidden=[str(self.source.folder)]) == []
        lakehouse.verify(str(self.target), settings=Settings()).raise_for_findings()
        assert self.sync().unchanged

    def contents(self) -> dict[str, bytes]:
        """Every object of the target, receipts apart."""
        found = {str(path.relative_to(self.target)): path.read_bytes() for path in self.target.rglob("*") if path.is_file()}
        return {name: data for name, data in found.items() if not name.startswith("_lake/")}

    def numbers(self) -> list[int]:
        """The numbers of the roots at the target."""
        roots = (self.target / "metadata").glob("v*.metadata.json")
        return sorted(int(root.name.removeprefix("v").removesuffix(".metadata.json")) for root in roots)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A source with three snapshots, synced once."""
    with changing_table(tmp_path / "source") as source:
        source.append(0)
        source.append(10)
        source.delete("id < 5")
        made = Pair(source, tmp_path / "target" / "table")
        made.sync()
        yield made


def first(source: ChangingTable) -> int:
    """The id of the oldest retained snapshot."""
    return min(source.table.snapshots(), key=lambda one: one.sequence_number or 0).snapshot_id


def roll_back_and_append(source: ChangingTable) -> None:
    source.rollback(first(source))
    source.append(300)


def expire_after_merging_manifests(source: ChangingTable) -> None:
    source.merge_manifests(40)
    source.expire()


def expire_after_compaction(source: ChangingTable) -> None:
    source.append(20)
    source.compact()
    source.expire()


def branch_outside_main(source: ChangingTable) -> None:
    source.branch("audit", first(source))
    source.append(500, branch="audit")
    source.tag("eoy 2025", first(source))
    source.append(20)


def evolve(source: ChangingTable) -> None:
    source.evolve()
    source.append_evolved(60)


def delete_everything(source: ChangingTable) -> None:
    source.delete("id >= 0")


def many_commits(source: ChangingTable) -> None:
    for number in range(6):
        source.append(1000 + 10 * number)


CHANGES: dict[str, Callable[[ChangingTable], None]] = {
    "append": lambda source: source.append(20),
    "many commits": many_commits,
    "delete everything": delete_everything,
    "compaction": lambda source: source.compact(),
    "expire_snapshots": lambda source: source.expire(),
    "rewrite_manifests + expire_snapshots (trap 3)": expire_after_merging_manifests,
    "compaction + expire_snapshots": expire_after_compaction,
    "rollback": lambda source: source.rollback(first(source)),
    "rollback + append": roll_back_and_append,
    "a branch and a tag outside main's history (trap 8)": branch_outside_main,
    "schema and partition evolution": evolve,
}


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_at_the_source_the_target_is_the_same_and_its_readers_saw_the_old_rows_or_the_new(
    change: str, pair: Pair
) -> None:
    """Trap 17."""
    pair.assert_same()
    old = pair.seen()
    CHANGES[change](pair.source)
    seen = pair.watched_sync()
    new = pair.seen()
    assert seen in ([old, new], [old] if old == new else [])
    pair.assert_same()


def test_a_first_sync_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    with changing_table(tmp_path / "source") as source:
        source.append(0)
        made = Pair(source, tmp_path / "target")
        assert made.watched_sync() == [None, tuple(range(10))]
        made.assert_same()


def test_all_changes_one_after_the_other_arrive(pair: Pair) -> None:
    for name, change in CHANGES.items():
        if name not in ("schema and partition evolution", "delete everything"):
            change(pair.source)
            pair.sync()
            pair.assert_same()


def test_a_table_without_a_snapshot_arrives_and_then_its_first_rows(tmp_path: Path) -> None:
    with changing_table(tmp_path / "source") as source:
        made = Pair(source, tmp_path / "target")
        made.sync()
        assert made.seen() == ()
        source.append(0)
        made.sync()
        made.assert_same()


def test_a_moved_tag_and_a_removed_branch_are_moved_and_removed_at_the_target(pair: Pair) -> None:
    branch_outside_main(pair.source)
    pair.sync()
    pair.source.forget_branch("audit")
    with pair.source.table.manage_snapshots() as change:
        change.remove_tag("eoy 2025")
    pair.source.tag("eoy 2025", pair.source.current)
    pair.sync()
    pair.assert_same()
    refs = json.loads(root_of(pair.target).read_text())["refs"]
    assert refs["eoy 2025"]["snapshot-id"] == pair.source.current
    assert "audit" not in refs


def test_snapshots_that_came_and_went_between_two_syncs_leave_a_whole_target(pair: Pair) -> None:
    pair.source.append(20)
    pair.source.append(30)
    pair.source.expire()
    pair.source.append(40)
    pair.sync()
    pair.assert_same()


def test_a_change_of_properties_alone_is_published(pair: Pair) -> None:
    with pair.source.table.transaction() as change:
        change.set_properties({"owner": "somebody"})
    pair.sync()
    pair.assert_same()
    assert json.loads(root_of(pair.target).read_text())["properties"]["owner"] == "somebody"


def test_each_sync_publishes_the_next_number_and_keeps_the_roots_before_it(pair: Pair) -> None:
    before = pair.numbers()
    pair.source.append(20)
    pair.sync()
    assert pair.numbers() == [*before, before[-1] + 1]
    assert (pair.target / "metadata" / "version-hint.text").read_text() == str(before[-1] + 1)


def test_a_table_restored_to_an_older_state_is_refused_and_the_target_keeps_its_own(pair: Pair, tmp_path: Path) -> None:
    shutil.copytree(pair.source.folder, tmp_path / "backup")
    pair.source.append(20)
    pair.sync()
    before = pair.contents()
    shutil.rmtree(pair.source.folder)
    shutil.copytree(tmp_path / "backup", pair.source.folder)
    with pytest.raises(Conflict, match=r"restored|rolled back"):
        pair.sync()
    assert pair.contents() == before


def test_an_older_version_named_on_purpose_is_a_conflict_too(pair: Pair) -> None:
    older = pair.source.root.name
    pair.source.append(20)
    pair.sync()
    before = pair.contents()
    with pytest.raises(Conflict):
        pair.sync(version=older)
    assert pair.contents() == before


def test_a_hint_set_back_while_newer_metadata_lies_there_is_refused_with_the_candidates(pair: Pair) -> None:
    """Trap 16."""
    older = pair.source.root
    pair.source.append(20)
    pair.source.set_hint()
    pair.sync()
    before = pair.contents()
    pair.source.set_hint(older)
    with pytest.raises(NotFound, match=pair.source.root.name):
        pair.sync()
    assert pair.contents() == before


def test_a_stale_hint_is_refused_with_the_candidates_and_naming_one_syncs_it(pair: Pair) -> None:
    """Trap 16: the writer died between its metadata and the hint."""
    pair.source.set_hint()
    pair.source.append(20)
    with pytest.raises(NotFound, match=pair.source.root.name):
        pair.sync()
    pair.sync(version=pair.source.root.name)
    pair.source.set_hint()
    pair.assert_same()


def test_a_hint_to_nothing_is_refused(pair: Pair) -> None:
    """Trap 16: a hint written before its metadata."""
    pair.source.append(20)
    pair.source.set_hint(Path("00099-none.metadata.json"))
    with pytest.raises(NotFound, match="00099-none"):
        pair.sync()


def test_orphan_metadata_of_a_failed_commit_with_a_higher_number_is_never_taken(pair: Pair) -> None:
    """Trap 16."""
    current = pair.source.root
    orphan = json.loads(current.read_text()) | {"metadata-log": [], "current-snapshot-id": first(pair.source)}
    (current.parent / "00009-orphan.metadata.json").write_text(json.dumps(orphan))
    before = pair.contents()
    with pytest.raises(NotFound, match=current.name):
        pair.sync()
    assert pair.contents() == before
    (current.parent / "00009-orphan.metadata.json").unlink()
    pair.assert_same()


def test_two_files_of_the_highest_number_are_refused_with_both_named(pair: Pair) -> None:
    """Trap 16: a lost race leaves a second file of the same number."""
    current = pair.source.root
    twin = current.with_name(f"{current.name.partition('-')[0]}-lost.metadata.json")
    shutil.copy(current, twin)
    with pytest.raises(NotFound, match=twin.name) as refused:
        pair.sync()
    assert current.name in str(refused.value)


def test_a_table_made_anew_under_the_same_path_is_a_conflict(pair: Pair) -> None:
    before = pair.contents()
    pair.source.recreate()
    pair.source.append(900)
    with pytest.raises(Conflict, match="another table"):
        pair.sync()
    assert pair.contents() == before


def at(step: str, change: Callable[[], None]) -> Callable[[ProgressEvent], None]:
    """A progress callback that makes ``change`` once, when ``step`` begins."""
    done: list[str] = []

    def callback(event: ProgressEvent) -> None:
        if event.step == step and not done:
            done.append(step)
            change()

    return callback


@pytest.mark.parametrize("step", ["plan", "transfer", "verify"])
def test_a_commit_at_the_source_during_the_copy_leaves_the_pinned_version_and_comes_with_the_next_sync(
    step: str, pair: Pair
) -> None:
    pair.source.append(20)
    expected = tuple(ids(by_pyiceberg(pair.source.root, {"main": None})["main"]))
    pair.sync(progress=at(step, lambda: pair.source.append(30)))
    assert pair.seen() == expected
    pair.sync()
    pair.assert_same()


@pytest.mark.parametrize("step", ["plan", "transfer"])
def test_an_expiry_at_the_source_during_the_copy_publishes_nothing(step: str, pair: Pair) -> None:
    """Trap 9: what the pinned version needs is removed while it is copied."""
    old, numbers = pair.seen(), pair.numbers()
    pair.source.append(20)

    def expire() -> None:
        pair.source.compact()
        pair.source.expire()

    with pytest.raises((Transfer, NotFound)) as failed:
        pair.sync(progress=at(step, expire))
    assert isinstance(failed.value, Transfer), failed.value
    assert (pair.seen(), pair.numbers()) == (old, numbers)
    pair.sync()
    pair.assert_same()


def commit_at(target: Path, *, change: dict[str, Any]) -> None:
    """A commit of somebody else at the target, as engines make one for a table that is found by path."""
    metadata = json.loads(root_of(target).read_text())
    number = int((target / "metadata" / "version-hint.text").read_text()) + 1
    log = {"timestamp-ms": metadata["last-updated-ms"], "metadata-file": str(root_of(target))}
    made = metadata | {"last-updated-ms": metadata["last-updated-ms"] + 1, "metadata-log": [*metadata["metadata-log"], log]}
    (target / "metadata" / f"v{number}.metadata.json").write_text(json.dumps(made | change))
    (target / "metadata" / "version-hint.text").write_text(str(number))


@pytest.mark.parametrize("also_at_the_source", [True, False], ids=["both moved on", "only the target moved on"])
def test_a_commit_of_somebody_else_at_the_target_is_a_conflict_and_is_never_overwritten(
    also_at_the_source: bool, pair: Pair
) -> None:
    """Trap 14."""
    commit_at(pair.target, change={"properties": {"owner": "somebody else"}})
    if also_at_the_source:
        pair.source.append(20)
    before = pair.contents()
    with pytest.raises(Conflict):
        pair.sync()
    assert pair.contents() == before


def test_a_root_that_appears_at_the_target_during_the_copy_is_a_conflict_and_stays(pair: Pair) -> None:
    """Trap 14: both want the same number, one of them gets it."""
    pair.source.append(20)
    with pytest.raises(Conflict):
        pair.sync(progress=at("verify", lambda: commit_at(pair.target, change={"properties": {"owner": "somebody else"}})))
    assert json.loads(root_of(pair.target).read_text())["properties"] == {"owner": "somebody else"}


def test_a_foreign_object_under_a_name_that_is_needed_is_a_conflict_and_stays(pair: Pair) -> None:
    pair.source.append(20)
    needed = Path(json.loads(pair.source.root.read_text())["snapshots"][-1]["manifest-list"]).name
    (pair.target / "metadata" / needed).write_bytes(b"of somebody else")
    numbers = pair.numbers()
    with pytest.raises(LakeError) as refused:
        pair.sync()
    assert isinstance(refused.value, Conflict), refused.value
    assert (pair.target / "metadata" / needed).read_bytes() == b"of somebody else"
    assert pair.numbers() == numbers


def test_a_target_whose_root_was_changed_in_place_is_a_conflict(pair: Pair) -> None:
    root = root_of(pair.target)
    root.write_text(json.dumps(json.loads(root.read_text()) | {"properties": {"owner": "somebody else"}}))
    pair.source.append(20)
    with pytest.raises(Conflict):
        pair.sync()
    assert json.loads(root.read_text())["properties"] == {"owner": "somebody else"}


def test_a_lost_hint_at_the_target_is_put_again(pair: Pair) -> None:
    (pair.target / "metadata" / "version-hint.text").unlink()
    pair.source.append(20)
    pair.sync()
    pair.assert_same()


def test_a_hint_at_the_target_is_never_ahead_of_its_root(pair: Pair) -> None:
    """Trap 16: the hint is the last thing put, so every reader that follows it finds a root."""
    hints: list[bool] = []

    def look() -> None:
        hints.append(root_of(pair.target).is_file())

    pair.source.append(20)
    replica = open_replica(str(pair.source.folder), str(pair.target), None, Settings())
    replicate(replace(replica, target=FaultyStore(replica.target, Watcher(look=look))), Options(workers=1))
    assert all(hints)
    assert len(hints) >= 4
