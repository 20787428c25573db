"""A target that is a catalog's table: SQL (SQLite) and REST after the specification, read by pyiceberg's own catalogs.

Trap Iceberg 14 is what most of it is about: a commit that somebody else makes at the target's catalog is never erased.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

import lakehouse
from lakehouse.errors import Config, Conflict, LakeError, Transfer
from lakehouse.sync import Options, replicate
from lakehouse.testing.faulty_store import Faults, InjectedFault
from lakehouse.testing.servers import Rule
from tests.calls import ALL
from tests.formats.iceberg.iceberg_tables import rows
from tests.formats.iceberg.test_between_syncs import Watcher
from tests.sync.iceberg_places import Kind, Shelf, faulty, no_writes, on_publish, shelf

OLD = (5, 6, 7, 8, 9)
NEW = (*OLD, *range(20, 30))


@pytest.fixture(params=["sql", "rest"])
def any_shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    kind: Kind = request.param
    with shelf(kind, tmp_path) as made:
        yield made


@pytest.fixture
def sql_shelf(tmp_path: Path) -> Iterator[Shelf]:
    with shelf("sql", tmp_path) as made:
        yield made


@pytest.fixture
def rest_shelf(tmp_path: Path) -> Iterator[Shelf]:
    with shelf("rest", tmp_path) as made:
        yield made


# A target that is a catalog's table


def test_a_new_table_is_registered_and_later_syncs_move_its_entry(any_shelf: Shelf) -> None:
    first = any_shelf.sync()
    assert (first.unchanged, any_shelf.seen()) == (False, OLD)
    any_shelf.source.append(20)
    any_shelf.source.tag("eoy", any_shelf.source.current)
    any_shelf.sync()
    assert any_shelf.seen() == NEW
    assert set(any_shelf.table().refs()) == {"main", "eoy"}
    assert not list(any_shelf.place.rglob("version-hint.text"))
    assert not list(any_shelf.place.rglob("v*.metadata.json"))
    assert any_shelf.table().location() == any_shelf.location


def test_a_second_sync_is_level_and_a_third_after_new_snapshots_commits_again(any_shelf: Shelf) -> None:
    """A REST catalog writes metadata files of its own: the entry never stands at ours after a commit."""
    any_shelf.sync()
    for first in (20, 40, 60):
        any_shelf.source.append(first)
        assert not any_shelf.sync().unchanged
        at = any_shelf.standing()
        assert any_shelf.sync().unchanged
        assert any_shelf.standing() == at
    assert any_shelf.seen() == (*NEW, *range(40, 50), *range(60, 70))


def test_every_retained_snapshot_reads_as_at_the_source(any_shelf: Shelf) -> None:
    any_shelf.sync()
    any_shelf.source.branch("audit", any_shelf.source.current)
    any_shelf.source.append(20, branch="audit")
    any_shelf.source.append(40)
    any_shelf.source.compact()
    any_shelf.sync()
    here, there = any_shelf.source.table, any_shelf.table()
    assert [one.snapshot_id for one in there.snapshots()] == [one.snapshot_id for one in here.snapshots()]
    for one in here.snapshots():
        wanted = here.scan(snapshot_id=one.snapshot_id).to_arrow()
        assert there.scan(snapshot_id=one.snapshot_id).to_arrow().sort_by("id") == wanted.sort_by("id")


def test_evolution_expiry_and_rollback_at_the_source_arrive_through_a_catalog(any_shelf: Shelf) -> None:
    """Trap Iceberg 17."""
    any_shelf.sync()
    any_shelf.source.append(20)
    any_shelf.source.expire()
    any_shelf.sync()
    assert any_shelf.seen() == NEW
    assert len(any_shelf.table().snapshots()) == 1
    kept = any_shelf.source.current
    any_shelf.source.append(40)
    any_shelf.sync()
    any_shelf.source.rollback(kept)
    any_shelf.sync()
    assert any_shelf.seen() == NEW
    any_shelf.source.evolve()
    any_shelf.source.append_evolved(60)
    any_shelf.sync()
    found = any_shelf.table().scan().to_arrow()
    assert found.column_names == ["number", "p", "note"]
    assert found.num_rows == len(NEW) + 10
    assert any_shelf.sync().unchanged


def test_readers_of_the_catalog_see_the_old_rows_or_the_new_at_every_step(any_shelf: Shelf) -> None:
    any_shelf.sync()
    any_shelf.source.append(20)
    any_shelf.source.compact()
    seen: list[tuple[int, ...] | None] = []
    replicate(faulty(any_shelf.replica(), Watcher(look=lambda: seen.append(any_shelf.seen()))), Options(workers=1))
    assert set(seen) == {OLD, NEW}
    assert seen == sorted(seen, key=lambda one: one == NEW)
    assert any_shelf.seen() == NEW


def test_one_sync_of_a_first_table_is_seen_whole_or_not_at_all(any_shelf: Shelf) -> None:
    seen: list[tuple[int, ...] | None] = []
    replicate(faulty(any_shelf.replica(), Watcher(look=lambda: seen.append(any_shelf.seen()))), Options(workers=1))
    assert set(seen) == {None, OLD}
    assert any_shelf.seen() == OLD


@pytest.mark.parametrize(
    ("mode", "dead"), [("before", False), ("after", False), ("before", True)], ids=["fails", "reply lost", "killed"]
)
@pytest.mark.parametrize("change", ["first sync", "update"])
def test_a_sync_into_a_catalog_that_fails_at_any_call_is_completed_by_the_next(
    change: str, mode: Literal["before", "after"], dead: bool, any_shelf: Shelf
) -> None:
    """The catalog's own writes are among the calls."""
    if change == "update":
        any_shelf.sync()
        any_shelf.source.append(20)
    before, k = _Copy(any_shelf), 0
    old, new = any_shelf.seen(), OLD if change == "first sync" else NEW
    while True:
        k += 1 if ALL else 9
        fault = Faults(fail_at=k, mode=mode, dead=dead)
        try:
            replicate(faulty(any_shelf.replica(), fault), Options(workers=1))
        except InjectedFault:
            pass
        except LakeError as error:
            assert "injected" in str(error), error
        assert any_shelf.seen() in (old, new), f"after failing call {k} ({fault.failed})"
        any_shelf.sync()
        assert any_shelf.seen() == new, f"after failing call {k} ({fault.failed})"
        at = any_shelf.standing()
        assert any_shelf.sync().unchanged, f"after failing call {k} ({fault.failed})"
        assert any_shelf.standing() == at
        lakehouse.verify("there:ns.t", settings=any_shelf.settings).raise_for_findings()
        before.restore()
        if fault.failed is None:
            break
    assert k > 30


class _Copy:
    """The target and its catalog's state, to be put back."""

    def __init__(self, made: Shelf) -> None:
        self.made, self.kept = made, made.folder / "kept"
        if made.place.exists():
            shutil.copytree(made.place, self.kept)
        self.database = (made.folder / "there.db").read_bytes() if (made.folder / "there.db").exists() else None
        self.tables = dict(made.model.tables) if made.model is not None else {}

    def restore(self) -> None:
        shutil.rmtree(self.made.place, ignore_errors=True)
        if self.kept.exists():
            shutil.copytree(self.kept, self.made.place)
        self.made.close()
        (self.made.folder / "there.db").unlink(missing_ok=True)
        if self.database is not None:
            (self.made.folder / "there.db").write_bytes(self.database)
        if self.made.model is not None:
            self.made.model.tables = dict(self.tables)


# Somebody else's commits


def test_a_commit_at_the_targets_catalog_between_two_syncs_is_a_conflict_and_stays(any_shelf: Shelf) -> None:
    """Trap Iceberg 14."""
    any_shelf.sync()
    any_shelf.commit(100)
    theirs, seen = any_shelf.standing(), any_shelf.seen()
    with pytest.raises(Conflict, match="never erased"):
        any_shelf.sync()
    any_shelf.source.append(20)
    with pytest.raises(Conflict, match="never erased") as caught:
        any_shelf.sync()
    assert theirs in str(caught.value)
    assert caught.value.exit_code == 5
    assert (any_shelf.standing(), any_shelf.seen()) == (theirs, seen)


def test_a_commit_of_properties_alone_at_the_targets_catalog_is_a_conflict_and_stays(any_shelf: Shelf) -> None:
    """Trap Iceberg 14. Through REST the snapshots, refs and schemas are ours, and a commit of ours would remove the property."""
    any_shelf.sync()
    any_shelf.source.append(20)
    any_shelf.sync()
    with any_shelf.table().transaction() as change:
        change.set_properties({"owner": "theirs"})
    with pytest.raises(Conflict, match="never erased"):
        any_shelf.sync()
    any_shelf.source.append(40)
    with pytest.raises(Conflict, match="never erased"):
        any_shelf.sync()
    assert any_shelf.table().properties["owner"] == "theirs"


def test_a_commit_during_a_sync_just_before_the_swap_is_a_conflict_and_stays(any_shelf: Shelf) -> None:
    """Trap Iceberg 14, at the worst moment: all is staged, and the entry was ours when we looked."""
    any_shelf.sync()
    any_shelf.source.append(20)
    with pytest.raises(Conflict, match="another writer"):
        any_shelf.sync(progress=on_publish(lambda: any_shelf.commit(100)))
    assert any_shelf.seen() == (*OLD, *range(100, 110))
    with pytest.raises(Conflict, match="never erased"):
        any_shelf.sync()
    assert any_shelf.seen() == (*OLD, *range(100, 110))


def test_a_table_that_somebody_creates_during_the_first_sync_is_a_conflict_and_stays(any_shelf: Shelf) -> None:
    """Trap Iceberg 14: register is no overwrite."""

    def create() -> None:
        catalog = any_shelf.theirs()
        catalog.create_namespace_if_not_exists("ns") if any_shelf.kind == "sql" else catalog.create_namespace("ns")
        catalog.register_table("ns.t", any_shelf.source.table.metadata_location)

    with pytest.raises(Conflict, match="exists already"):
        any_shelf.sync(progress=on_publish(create))
    assert any_shelf.standing() == any_shelf.source.table.metadata_location
    with pytest.raises((Conflict, Config)):
        any_shelf.sync()
    assert any_shelf.standing() == any_shelf.source.table.metadata_location


def test_a_table_of_the_catalog_that_no_sync_made_is_a_conflict_before_anything_is_written(any_shelf: Shelf) -> None:
    """Another table-uuid, under the name that was asked for."""
    catalog = any_shelf.theirs()
    catalog.create_namespace("ns")
    other = any_shelf.source.catalog.create_table("source.other", rows(0).schema, f"{any_shelf.location}")
    other.append(rows(100))
    catalog.register_table("ns.t", any_shelf.source.catalog.load_table("source.other").metadata_location)
    before = sorted(any_shelf.place.rglob("*"))
    with pytest.raises(Conflict, match="no sync"):
        any_shelf.sync()
    assert sorted(any_shelf.place.rglob("*")) == before
    assert any_shelf.seen() == tuple(range(100, 110))


def test_a_source_that_was_made_anew_does_not_replace_the_table_of_the_catalog(any_shelf: Shelf) -> None:
    any_shelf.sync()
    any_shelf.source.recreate()
    any_shelf.source.append(500)
    with pytest.raises(Conflict, match="another table"):
        any_shelf.sync()
    assert any_shelf.seen() == OLD


def test_an_entry_that_was_dropped_is_registered_again(sql_shelf: Shelf) -> None:
    sql_shelf.sync()
    sql_shelf.theirs().drop_table("ns.t")
    sql_shelf.source.append(20)
    sql_shelf.sync()
    assert sql_shelf.seen() == NEW
    sql_shelf.theirs().drop_table("ns.t")
    sql_shelf.sync()
    assert sql_shelf.seen() == NEW
    assert sql_shelf.sync().unchanged


def test_a_reply_that_is_lost_is_settled_by_reading_the_entry(rest_shelf: Shelf) -> None:
    assert rest_shelf.proxy is not None
    rest_shelf.proxy.rules.append(Rule("lose_reply", method="POST", path="/register$"))
    assert not rest_shelf.sync().unchanged
    rest_shelf.source.append(20)
    rest_shelf.proxy.rules.append(Rule("lose_reply", method="POST", path="/tables/t$"))
    rest_shelf.sync()
    assert [rule._seen for rule in rest_shelf.proxy.rules] == [1, 1]
    assert rest_shelf.seen() == NEW
    assert rest_shelf.sync().unchanged


def test_a_swap_that_fails_leaves_the_old_version_and_the_next_run_makes_it(any_shelf: Shelf) -> None:
    any_shelf.sync()
    any_shelf.source.append(20)
    with no_writes(any_shelf), pytest.raises(Transfer):
        any_shelf.sync()
    assert any_shelf.seen() == OLD
    any_shelf.source.append(40)
    any_shelf.sync()
    assert any_shelf.seen() == (*NEW, *range(40, 50))
    lakehouse.verify("there:ns.t", settings=any_shelf.settings).raise_for_findings()


def test_a_note_that_was_lost_costs_nothing_where_the_catalog_says_the_same(rest_shelf: Shelf) -> None:
    """A run that was killed between the commit and its note."""
    rest_shelf.sync()
    rest_shelf.source.append(20)
    rest_shelf.sync()
    shutil.rmtree(rest_shelf.place / "_lake" / "entries")
    assert rest_shelf.sync().unchanged
    rest_shelf.source.append(40)
    rest_shelf.sync()
    (note,) = (rest_shelf.place / "_lake" / "entries").iterdir()
    assert json.loads(note.read_text())["metadata_location"] == rest_shelf.standing()
    note.write_bytes(b"{damaged")
    assert rest_shelf.sync().unchanged
    shutil.rmtree(rest_shelf.place / "_lake" / "entries")
    rest_shelf.commit(100)
    with pytest.raises(Conflict, match="never erased"):
        rest_shelf.sync()


# Where a new table goes, and what cannot go there


def test_a_catalog_that_does_not_say_where_a_new_table_goes_asks_for_a_location(rest_shelf: Shelf) -> None:
    with pytest.raises(Config, match="--location"):
        rest_shelf.sync(location=None)
    assert rest_shelf.seen() is None
    assert not rest_shelf.place.exists()


def test_a_sql_catalog_puts_a_new_table_into_its_warehouse(sql_shelf: Shelf) -> None:
    sql_shelf.sync("there:deep.er.t")
    assert sql_shelf.table("deep.er.t").location() == f"file://{sql_shelf.folder}/house/deep.er/t"


def test_another_location_for_a_table_that_the_catalog_has_is_a_conflict(any_shelf: Shelf) -> None:
    any_shelf.sync()
    with pytest.raises(Conflict, match="location"):
        any_shelf.sync(location=f"file://{any_shelf.folder}/elsewhere")
    assert not (any_shelf.folder / "elsewhere").exists()


def test_a_delta_table_cannot_go_into_a_catalog(any_shelf: Shelf, tmp_path: Path) -> None:
    from tests.sync.places import append

    append(tmp_path / "delta", 0)
    for options in ({"target": "there:ns.t"}, {"target": str(tmp_path / "copy"), "register": "there:ns.t"}):
        with pytest.raises(Config, match="is a delta table; catalogs hold Iceberg tables"):
            any_shelf.sync(source=str(tmp_path / "delta"), **options)
    assert any_shelf.seen() is None
    assert not (tmp_path / "copy").exists()
