"""``lake prune``: what nothing needs goes, top down; readers miss nothing at any time, and nobody else's objects are touched."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

import lakehouse
from lakehouse import formats
from lakehouse.config import Settings
from lakehouse.errors import Config, Conflict, NotFound, Transfer, Verification
from lakehouse.inventory import put_inventory, read_inventory, to_line
from lakehouse.local_store import LocalStore
from lakehouse.options import Options
from lakehouse.prune import PruneResult, age_of, prune, prune_replica
from lakehouse.receipt import read_chain
from lakehouse.replica import open_replica
from lakehouse.sync import replicate
from lakehouse.table import Written
from lakehouse.testing.faulty_store import Faults, FaultyStore
from lakehouse.url import parse
from tests.formats.iceberg.iceberg_tables import ChangingTable, changing_table
from tests.formats.replicas import append, drop_commits, optimize_and_vacuum, read
from tests.sync.iceberg_places import shelf

LATER = datetime.now(UTC) + timedelta(days=30)


class Watched(LocalStore):
    """A LocalStore that calls ``watch`` after each object that it removed."""

    def __init__(self, folder: Path, watch: Callable[[str], None]) -> None:
        super().__init__(parse(str(folder)))
        self.watch = watch

    def delete(self, path: str) -> None:
        super().delete(path)
        self.watch(path)


def local(folder: Path) -> LocalStore:
    return LocalStore(parse(str(folder)))


def pruned(
    target: Path, kind: str, *, watch: Callable[[str], None] = lambda path: None, faults: Faults | None = None
) -> PruneResult:
    """A prune a month from now, of all that is older than a week."""
    store, receipts = Watched(target, watch), local(target / "_lake")
    if faults is not None:
        return prune_replica(
            FaultyStore(store, faults), FaultyStore(receipts, faults), formats.find(kind),
            older_than=timedelta(days=7), yes=True, workers=1, now=LATER,
        )  # fmt: skip
    return prune_replica(store, receipts, formats.find(kind), older_than=timedelta(days=7), yes=True, workers=1, now=LATER)


def objects(folder: Path) -> set[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if not path.name.startswith(".")}


def table_objects(folder: Path) -> set[str]:
    return {path for path in objects(folder) if not path.startswith("_lake/")}


def iceberg_rows(target: Path) -> dict[int, list[int]]:
    """The ids at every snapshot that the newest root retains, as pyiceberg reads them."""
    from pyiceberg.table import StaticTable

    hint = (target / "metadata" / "version-hint.text").read_text()
    opened = StaticTable.from_metadata(str(target / "metadata" / f"v{hint}.metadata.json"))
    ids = [snapshot.snapshot_id for snapshot in opened.snapshots()]
    return {one: sorted(opened.scan(snapshot_id=one).to_arrow()["id"].to_pylist()) for one in ids}


@pytest.fixture
def source(tmp_path: Path) -> Iterator[ChangingTable]:
    with changing_table(tmp_path / "source") as made:
        yield made


@pytest.fixture
def iceberg(source: ChangingTable, tmp_path: Path) -> Path:
    """A replica that was synced before and after the source expired what it had compacted and deleted."""
    target = tmp_path / "target"
    source.append(0)
    source.append(10)
    lakehouse.sync(str(source.folder), str(target))
    source.delete("id < 5")
    lakehouse.sync(str(source.folder), str(target))
    source.compact()
    source.append(20)
    source.expire(keep=2)
    lakehouse.sync(str(source.folder), str(target))
    return target


def test_after_snapshots_expired_at_the_source_their_roots_lists_manifests_and_data_files_go(
    iceberg: Path, source: ChangingTable
) -> None:
    before, rows = table_objects(iceberg), iceberg_rows(iceberg)
    result = pruned(iceberg, "iceberg")
    gone = before - table_objects(iceberg)
    assert result.objects.files == len(gone) > 0
    assert {path.rpartition("/")[2] for path in gone if path.endswith(".json")} == {"v1.metadata.json", "v2.metadata.json"}
    assert any("/snap-" in path for path in gone) and any(path.endswith(".parquet") for path in gone)
    assert any(path.endswith(".avro") and "/snap-" not in path for path in gone)
    assert iceberg_rows(iceberg) == rows
    lakehouse.verify(str(iceberg), against=str(source.folder)).raise_for_findings()
    assert lakehouse.sync(str(source.folder), str(iceberg)).unchanged
    again = [pruned(iceberg, "iceberg") for _ in range(2)]
    assert [(one.objects.files, one.receipts, one.receipt) for one in again] == [(0, 1, None), (0, 0, None)]


def test_a_sync_after_a_prune_carries_on_and_is_proven(iceberg: Path, source: ChangingTable) -> None:
    pruned(iceberg, "iceberg")
    source.append(30)
    result = lakehouse.sync(str(source.folder), str(iceberg))
    assert not result.unchanged
    lakehouse.verify(str(iceberg), against=str(source.folder)).raise_for_findings()


def test_objects_go_from_the_top_down_and_at_every_one_all_retained_snapshots_can_be_read(iceberg: Path) -> None:
    rows, seen = iceberg_rows(iceberg), list[str]()

    def watch(path: str) -> None:
        seen.append(path)
        assert iceberg_rows(iceberg) == rows

    pruned(iceberg, "iceberg", watch=watch)
    kinds = ["root" if path.endswith(".json") else "list" if "/snap-" in path else path.rpartition(".")[2] for path in seen]
    assert kinds == sorted(kinds, key=["root", "list", "avro", "parquet"].index)
    assert set(kinds) == {"root", "list", "avro", "parquet"}


def test_a_prune_that_is_killed_at_any_call_is_ended_by_the_next_and_the_replica_is_proven_all_along(
    iceberg: Path, source: ChangingTable, tmp_path: Path
) -> None:
    whole = iceberg.rename(tmp_path / "whole")

    def anew() -> Path:
        """The replica as it was, with times and inodes, hence etags."""
        shutil.rmtree(iceberg, ignore_errors=True)
        return Path(shutil.copytree(whole, iceberg, copy_function=_linked))

    counting = Faults(writes_only=True)
    pruned(anew(), "iceberg", faults=counting)
    wanted = table_objects(iceberg)
    assert counting.counted > 10
    modes: tuple[Literal["before", "after"], ...] = ("before", "after")
    for mode, k in itertools.product(modes, range(1, counting.counted + 1)):
        target = anew()
        with pytest.raises(Transfer):
            pruned(target, "iceberg", faults=Faults(fail_at=k, mode=mode, dead=True, writes_only=True))
        lakehouse.verify(str(target)).raise_for_findings()
        assert lakehouse.sync(str(source.folder), str(target)).unchanged
        pruned(target, "iceberg")
        assert table_objects(target) == wanted, k
        lakehouse.verify(str(target), against=str(source.folder)).raise_for_findings()
        last = pruned(target, "iceberg")
        assert (last.objects.files, last.notes, last.receipt) == (0, 0, None)


def _linked(source: str, target: str) -> str:
    Path(target).hardlink_to(source)
    return target


def test_what_was_the_newest_version_until_lately_is_kept_whole_for_its_readers(iceberg: Path) -> None:
    before = table_objects(iceberg)
    result = prune(str(iceberg), older_than="7d", yes=True)
    assert result.objects.files == 0
    assert result.kept_for_readers == ("v2.metadata.json", "v1.metadata.json")
    assert table_objects(iceberg) == before


def test_without_yes_nothing_is_written_or_removed_and_the_same_is_told(iceberg: Path) -> None:
    before = objects(iceberg)
    told = prune(str(iceberg), older_than="0")
    assert told.dry_run and told.receipt is None
    assert objects(iceberg) == before
    done = prune(str(iceberg), older_than="0", yes=True)
    assert (done.objects, done.receipts) == (told.objects, told.receipts)
    assert {written.path for written in done.paths} == {written.path for written in told.paths} == before - objects(iceberg) - {
        path for path in before if path.startswith("_lake/")
    }  # fmt: skip


def test_the_receipt_says_what_was_deleted_lists_what_stays_and_makes_older_ones_needless(iceberg: Path) -> None:
    before = table_objects(iceberg)
    result = pruned(iceberg, "iceberg")
    receipts = local(iceberg / "_lake")
    chain = read_chain(receipts)
    assert chain.finished is not None and chain.finished.full and not chain.later
    assert result.receipt == f"_lake/{chain.finished.path}"
    lines = list(read_inventory(receipts, chain.finished.inventory))
    assert {line.path for line in lines if line.origin == "deleted"} == before - table_objects(iceberg)
    assert {line.path for line in lines if line.origin != "deleted"} == table_objects(iceberg)
    assert result.receipts == 2
    assert sorted(path.name for path in (iceberg / "_lake" / "receipts").glob("*.json")) == [f"{n:020d}.json" for n in (3, 4)]


def test_an_object_that_somebody_else_changed_stays_and_is_told(iceberg: Path) -> None:
    doomed = next(written.path for written in prune(str(iceberg), older_than="0").paths if written.path.endswith(".parquet"))
    (iceberg / doomed).write_bytes(b"somebody else's")
    result = prune(str(iceberg), older_than="0", yes=True)
    assert result.changed == (doomed,)
    assert (iceberg / doomed).read_bytes() == b"somebody else's"


def test_an_object_that_somebody_changes_while_others_go_stays_and_the_next_prune_tells(iceberg: Path) -> None:
    doomed = next(written.path for written in prune(str(iceberg), older_than="0").paths if written.path.endswith(".parquet"))

    def change(path: str) -> None:
        if path.endswith("v1.metadata.json"):
            (iceberg / doomed).write_bytes(b"somebody else's")

    with pytest.raises(Transfer, match="changed it meanwhile"):
        pruned(iceberg, "iceberg", watch=change)
    assert pruned(iceberg, "iceberg").changed == (doomed,)
    assert (iceberg / doomed).read_bytes() == b"somebody else's"
    lakehouse.verify(str(iceberg)).raise_for_findings()


def test_an_object_that_no_receipt_names_stays(iceberg: Path) -> None:
    (iceberg / "data" / "mine.parquet").write_bytes(b"mine")
    pruned(iceberg, "iceberg")
    assert (iceberg / "data" / "mine.parquet").exists()


def test_what_failed_runs_left_goes_and_their_notes_with_it(source: ChangingTable, tmp_path: Path) -> None:
    """A sync is killed when it has brought and noted data; then the source compacts, so nothing will ever name it."""
    target = tmp_path / "target"
    source.append(0)
    lakehouse.sync(str(source.folder), str(target))
    source.append(10)
    options = Options(workers=1)
    replica = open_replica(str(source.folder), str(target), None, Settings(), options=options)
    faulty = Faults(fail_at=5, dead=True, writes_only=True)
    stores = [FaultyStore(store, faulty) for store in (replica.target, replica.receipts)]
    with pytest.raises(Transfer):
        replicate(replace(replica, target=stores[0], receipts=stores[1]), options)
    brought = {path for path in table_objects(target) if path.endswith(".parquet")}
    source.compact()
    source.expire()
    lakehouse.sync(str(source.folder), str(target))
    result = pruned(target, "iceberg")
    assert result.notes >= 1
    assert not brought & table_objects(target)
    assert not list((target / "_lake").glob("pending/*/*.jsonl"))
    lakehouse.verify(str(target), against=str(source.folder)).raise_for_findings()


def test_an_object_that_only_a_stale_note_names_goes_and_the_receipt_says_so(iceberg: Path) -> None:
    orphan = iceberg / "data" / "left.parquet"
    orphan.write_bytes(b"left")
    info = local(iceberg).head("data/left.parquet")
    note = to_line(Written("data/left.parquet", 4, "0" * 64, "copied", target_etag=info.etag)).encode()
    local(iceberg / "_lake").put(f"pending/{2:020d}/x-000001.jsonl", note, size=len(note))
    result = pruned(iceberg, "iceberg")
    assert not orphan.exists()
    assert result.notes >= 1
    receipts = local(iceberg / "_lake")
    finished = read_chain(receipts).finished
    assert finished is not None
    assert "data/left.parquet" in {line.path for line in read_inventory(receipts, finished.inventory) if line.origin == "deleted"}


def test_a_catalogs_table_is_pruned_where_its_entry_stands_and_refused_where_somebody_committed(tmp_path: Path) -> None:
    with shelf("sql", tmp_path) as made:
        made.sync()
        made.source.compact()
        made.source.expire()
        made.sync()
        seen, before = made.seen(), table_objects(made.place)
        result = prune("there:ns.t", older_than="0", yes=True, settings=made.settings)
        assert result.objects.files == len(before - table_objects(made.place)) > 5
        assert made.seen() == seen
        assert made.sync().unchanged
        lakehouse.verify("there:ns.t", settings=made.settings).raise_for_findings()
        made.commit(50)
        with pytest.raises(Conflict, match="catalog entry"):
            prune("there:ns.t", older_than="0", yes=True, settings=made.settings)


# Delta


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    """A replica that stood at version 2 when the source was compacted, vacuumed and its log cleaned up."""
    table, target = tmp_path / "table", tmp_path / "target"
    for number in range(3):
        append(table, [number])
    lakehouse.sync(str(table), str(target))
    append(table, [3])
    append(table, [4])
    optimize_and_vacuum(table)
    DeltaTable(str(table)).create_checkpoint()
    drop_commits(table, *range(DeltaTable(str(table)).version()))
    append(table, [5])
    lakehouse.sync(str(table), str(target))
    return target


def test_after_log_cleanup_and_vacuum_at_the_source_what_no_readable_version_needs_goes(delta: Path, tmp_path: Path) -> None:
    table, before = tmp_path / "table", table_objects(delta)
    newest = DeltaTable(str(delta)).version()
    seen: list[str] = []

    def watch(path: str) -> None:
        seen.append(path)
        assert read(delta) == (newest, [0, 1, 2, 3, 4, 5])
        assert read(delta, newest - 1) == (newest - 1, [0, 1, 2, 3, 4])

    result = pruned(delta, "delta", watch=watch)
    gone = before - table_objects(delta)
    assert {f"_delta_log/{number:020d}.json" for number in range(3)} <= gone
    assert sum(path.endswith(".parquet") for path in gone) == 3
    assert seen[:3] == [f"_delta_log/{number:020d}.json" for number in (2, 1, 0)]
    assert result.objects.files == len(gone)
    lakehouse.verify(str(delta), against=str(table)).raise_for_findings()
    assert lakehouse.sync(str(table), str(delta)).unchanged
    append(table, [6])
    lakehouse.sync(str(table), str(delta))
    assert read(delta) == (newest + 1, [0, 1, 2, 3, 4, 5, 6])
    lakehouse.verify(str(delta), against=str(table)).raise_for_findings()


def test_a_delta_prune_that_is_killed_at_any_delete_is_ended_by_the_next(delta: Path, tmp_path: Path) -> None:
    counting = Faults(writes_only=True)
    pruned(Path(shutil.copytree(delta, tmp_path / "clean", copy_function=_linked)), "delta", faults=counting)
    wanted = table_objects(tmp_path / "clean")
    for k in range(1, counting.counted + 1):
        target = Path(shutil.copytree(delta, tmp_path / f"at {k}", copy_function=_linked))
        with pytest.raises(Transfer):
            pruned(target, "delta", faults=Faults(fail_at=k, dead=True, writes_only=True))
        lakehouse.verify(str(target)).raise_for_findings()
        pruned(target, "delta")
        assert table_objects(target) == wanted
        lakehouse.verify(str(target)).raise_for_findings()


def test_versions_that_the_target_can_still_read_are_kept_whatever_their_age(tmp_path: Path) -> None:
    """The history at the target is what the replica is for: a contiguous log stays, and all files that it names."""
    table, target = tmp_path / "table", tmp_path / "target"
    for number in range(3):
        append(table, [number], mode="overwrite")
    lakehouse.sync(str(table), str(target))
    assert pruned(target, "delta").objects.files == 0
    assert [read(target, number) for number in range(3)] == [(number, [number]) for number in range(3)]


# Plain files


def test_of_plain_files_only_receipts_go_once_a_full_one_stands_for_them(tmp_path: Path) -> None:
    folder, target = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(4):
        pq.write_table(pa.table({"id": [number]}), folder / f"{number}.parquet")
        lakehouse.sync(str(folder), str(target), format="parquet")
    before = table_objects(target)
    receipts = tmp_path / "_lake" / "out"
    result = prune_replica(
        local(target), local(receipts), formats.find("parquet"), older_than=timedelta(days=7), yes=True, now=LATER
    )
    assert (result.objects.files, result.receipts) == (0, 3)
    assert table_objects(target) == before
    assert sorted(path.name for path in receipts.glob("receipts/*.json")) == [f"{number:020d}.json" for number in (4, 5)]
    lakehouse.verify(str(target), against=str(folder)).raise_for_findings()
    assert lakehouse.sync(str(folder), str(target), format="parquet").unchanged
    (folder / "0.parquet").unlink()
    lakehouse.sync(str(folder), str(target), format="parquet", delete=True)
    lakehouse.verify(str(target), against=str(folder)).raise_for_findings()
    (receipts / "latest.json").unlink()
    assert lakehouse.verify(str(target)).ok, "the receipts that are left still form a chain"


# Refusals


def test_a_target_without_receipts_is_refused(source: ChangingTable) -> None:
    source.append(0)
    with pytest.raises(NotFound, match="no receipt"):
        prune(str(source.folder), older_than="0", yes=True)


def test_trap_a_target_that_somebody_else_wrote_to_is_refused(iceberg: Path) -> None:
    root = iceberg / "metadata" / "v3.metadata.json"
    (iceberg / "metadata" / "v4.metadata.json").write_bytes(root.read_bytes())
    (iceberg / "metadata" / "version-hint.text").write_text("4")
    before = objects(iceberg)
    with pytest.raises(Conflict, match=r"v4\.metadata\.json"):
        pruned(iceberg, "iceberg")
    assert objects(iceberg) == before


def test_a_sync_that_was_not_finished_is_refused(iceberg: Path) -> None:
    local(iceberg / "_lake").put(f"pending/{4:020d}/x-000000.jsonl", b"", size=0)
    with pytest.raises(Conflict, match="lake sync to its end"):
        pruned(iceberg, "iceberg")


def test_receipts_that_contradict_each_other_are_refused(iceberg: Path) -> None:
    receipt = iceberg / "_lake" / "receipts" / f"{2:020d}.json"
    receipt.write_text(receipt.read_text().replace('"level": "bytes"', '"level": "files"'))
    with pytest.raises(Verification, match="was edited"):
        pruned(iceberg, "iceberg")


def test_a_replica_that_lacks_what_it_needs_is_refused(iceberg: Path) -> None:
    before = {path for path in table_objects(iceberg) if path.endswith(".parquet")}
    doomed = {written.path for written in prune(str(iceberg), older_than="0").paths}
    (iceberg / min(before - doomed)).unlink()
    with pytest.raises(NotFound, match="needs it"):
        prune(str(iceberg), older_than="0", yes=True)


@pytest.mark.parametrize("path", ["../outside.parquet", "/etc/passwd", "data/../../outside.parquet", "s3://b/x"])
def test_trap_a_receipt_that_names_a_path_outside_the_target_is_refused(path: str, iceberg: Path) -> None:
    receipts = local(iceberg / "_lake")
    finished = read_chain(receipts).finished
    assert finished is not None
    lines = [*read_inventory(receipts, finished.inventory), Written(path, 1, "0" * 64, "copied", target_etag="1")]
    file = iceberg / "_lake" / finished.path
    said = json.loads(file.read_text())
    said["inventory"] = put_inventory(receipts, finished.number, lines)
    for edited in (file, iceberg / "_lake" / "latest.json"):
        edited.write_text(json.dumps(said))
    before = table_objects(iceberg)
    with pytest.raises(Verification, match="no object of the replica"):
        pruned(iceberg, "iceberg")
    assert table_objects(iceberg) == before


def test_a_sync_that_begins_while_objects_go_stops_the_prune(iceberg: Path) -> None:
    """What it would adopt must not vanish under it."""
    notes = local(iceberg / "_lake")

    def begin(path: str) -> None:
        if path.endswith("v1.metadata.json"):
            notes.put(f"pending/{5:020d}/x-000000.jsonl", b"", size=0)

    with pytest.raises(Conflict, match="begun meanwhile"):
        pruned(iceberg, "iceberg", watch=begin)
    assert any(path.endswith(".parquet") for path in objects(iceberg))


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "7 d", "1y", "7D", "9999999d"])
def test_an_age_is_a_number_and_a_unit(text: str) -> None:
    with pytest.raises(Config, match="--older-than"):
        age_of(text)
    assert [age_of(one) for one in ("0", "90s", "2w")] == [timedelta(), timedelta(seconds=90), timedelta(days=14)]
