"""What a user may rely on: only what is new moves, nothing is published unproven, and nobody's work is overwritten."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.errors import Conflict, LakeError, NotFound, Transfer, Unsupported, Verification
from lakehouse.ranges import Limits
from lakehouse.receipt import read_back, read_chain
from lakehouse.replica import Replica
from lakehouse.report import Report
from lakehouse.store import Buffer, ObjectInfo, Store, Traits
from lakehouse.sync import Options, SyncResult, replicate
from lakehouse.testing.faulty_store import Faults
from lakehouse.verify import audit
from tests.sync.places import Places, append, contents, dump, ids


@pytest.fixture
def table(tmp_path: Path) -> Path:
    append(tmp_path / "table", 0, commits=3)
    return tmp_path / "table"


@pytest.fixture
def places(table: Path) -> Places:
    made = Places()
    made.load(table)
    return made


def sync(places: Places, faults: Faults | None = None, **options: object) -> SyncResult:
    return replicate(places.replica(faults), Options(**options))  # type: ignore[arg-type]


def verify(places: Places, *, against: bool = False, expect_receipt: str | None = None) -> Report:
    replica = places.replica()
    return audit(
        replica.target, replica.receipts, replica.format, level="bytes", limits=Limits(4), progress=lambda _: None,
        against=(replica.source, None, None) if against else None, expect_receipt=expect_receipt,
    )  # fmt: skip


def test_a_replica_holds_every_object_of_the_table_and_every_version_reads_the_same(places: Places, tmp_path: Path) -> None:
    result = sync(places)
    assert contents(places.target) == contents(places.source)
    assert (result.format, result.version, result.proof, result.unchanged) == ("delta", "2", "bytes", False)
    assert result.copied.files == len(contents(places.source))
    replica = dump(places.target, tmp_path / "replica")
    assert [len(ids(replica, version)) for version in range(3)] == [10, 20, 30]


def test_an_update_copies_only_what_is_new_and_counts_the_rest_as_kept(places: Places, table: Path) -> None:
    first = sync(places)
    append(table, 30)
    places.load(table)
    faults = Faults()
    second = sync(places, faults)
    assert second.copied.files == 3  # two partitions and a commit
    assert second.kept.files == first.copied.files
    assert contents(places.target) == contents(places.source)
    read = [
        call.path for call in faults.calls if call.method == "get" and call.path.endswith(".parquet") and "source" in call.store
    ]
    assert len(read) == 2


def test_nothing_new_takes_four_requests_writes_nothing_and_says_unchanged(places: Places) -> None:
    first = sync(places)
    before = contents(places.target), {info.path for info in places.receipts.list()}
    faults = Faults()
    again = sync(places, faults)
    assert again.unchanged
    assert again.receipt_sha256 == first.receipt_sha256
    assert len(faults.calls) <= 4, faults.calls
    assert not [call for call in faults.calls if call.method in ("put", "delete")]
    assert (contents(places.target), {info.path for info in places.receipts.list()}) == before


def test_receipts_form_a_chain_that_names_the_root_and_its_hash(places: Places, table: Path) -> None:
    results = [sync(places)]
    for first in (30, 40):
        append(table, first)
        places.load(table)
        results.append(sync(places))
    chain = read_chain(places.receipts)
    assert chain.finished is not None
    assert (chain.finished.number, chain.finished.version, chain.later) == (3, "4", [])
    receipts = read_back(places.receipts, 3)
    assert [sha256 for _, sha256 in receipts] == [result.receipt_sha256 for result in results]
    assert [receipt.previous_sha256 for receipt, _ in receipts] == [None, *(result.receipt_sha256 for result in results[:2])]
    assert receipts[1][0].root.path == "_delta_log/00000000000000000003.json"


def test_a_killed_run_is_resumed_and_what_was_noted_or_is_there_is_not_sent_again(table: Path) -> None:
    append(table, 100, commits=10)
    whole = Places()
    whole.load(table)
    counting = Faults(writes_only=True)
    replicate(whole.replica(counting), Options(workers=2))
    killed = Places()
    killed.load(table)
    fault = Faults(fail_at=counting.counted // 2, dead=True, writes_only=True)
    with pytest.raises(LakeError):
        replicate(killed.replica(fault), Options(workers=2))
    there = {path for path in contents(killed.target) if not path.startswith("_delta_log")}
    assert len(there) > 3
    faults = Faults()
    replicate(killed.replica(faults), Options(workers=2))
    sent_again = [call.path for call in faults.calls if call.method == "put" and call.path in there]
    assert not sent_again
    assert contents(killed.target) == contents(whole.target)


class _Damaging:
    """A target that damages one object while it says that all is well."""

    def __init__(self, store: Store, victim: str) -> None:
        self._store, self._victim, self.url, self.traits = store, victim, store.url, Traits(conditional_put=True)
        self.list, self.head, self.get, self.view, self.delete = store.list, store.head, store.get, store.view, store.delete

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        whole = bytes(data) if isinstance(data, bytes | memoryview) else b"".join(data)
        if self._victim in path:
            whole = whole[:-1] + bytes([whole[-1] ^ 1])
        return self._store.put(path, whole, size=size, if_absent=if_absent)


@pytest.mark.parametrize("victim", [".parquet", "0001.json"], ids=["data file", "commit"])
def test_a_damaged_object_is_found_before_anything_is_published_and_readers_see_the_old_version(
    places: Places, victim: str, tmp_path: Path
) -> None:
    opened = places.replica()
    damaging = Replica(opened.source, _Damaging(opened.target, victim), opened.receipts, opened.format)
    with pytest.raises(Verification) as caught:
        replicate(damaging, Options())
    assert victim in str(caught.value)
    assert "_delta_log/00000000000000000000.json" not in contents(places.target)
    assert isinstance(caught.value.report, Report)
    assert not caught.value.report.ok


def test_a_target_with_commits_of_its_own_is_a_conflict_and_keeps_them(places: Places, table: Path, tmp_path: Path) -> None:
    sync(places)
    own = dump(places.target, tmp_path / "own")
    append(own, 500)
    for path, data in {str(f.relative_to(own)): f.read_bytes() for f in own.rglob("*") if f.is_file()}.items():
        places.target.put(path, data, size=len(data))
    before = contents(places.target)
    append(table, 30)
    places.load(table)
    with pytest.raises(Conflict, match="commit"):
        sync(places)
    assert contents(places.target) == before


def test_a_target_that_is_ahead_is_a_conflict(places: Places, tmp_path: Path) -> None:
    sync(places)
    own = dump(places.target, tmp_path / "own")
    append(own, 500)
    for file in own.rglob("*.json"):
        data = file.read_bytes()
        places.target.put(str(file.relative_to(own)), data, size=len(data))
    with pytest.raises(Conflict, match="ahead"):
        sync(places)


def test_a_source_that_was_created_anew_is_a_conflict(places: Places, tmp_path: Path) -> None:
    sync(places)
    append(tmp_path / "other", 0, commits=4)
    before = contents(places.target)
    places.load(tmp_path / "other")
    with pytest.raises(Conflict, match="recreated"):
        sync(places)
    assert contents(places.target) == before


def test_a_live_file_that_is_missing_is_named_and_nothing_is_published(places: Places) -> None:
    victim = next(path for path in contents(places.source) if path.endswith(".parquet"))
    places.source.delete(victim)
    with pytest.raises(NotFound, match=victim.rpartition("/")[2]):
        sync(places)
    assert not [path for path in contents(places.target) if path.startswith("_delta_log")]


def test_an_unsupported_table_is_refused_by_name_before_anything_is_written(places: Places) -> None:
    commit = "_delta_log/00000000000000000000.json"
    data = places.source.get(commit).replace(
        b'"minReaderVersion":1,"minWriterVersion":2',
        b'"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["fancy"],"writerFeatures":["fancy"]',
    )
    assert b"fancy" in data
    places.source.put(commit, data, size=len(data))
    with pytest.raises(Unsupported, match="fancy"):
        sync(places)
    assert not list(places.target.list())


def test_two_syncs_at_once_into_one_target_end_well(places: Places) -> None:
    outcomes: list[SyncResult | LakeError] = []
    start = threading.Barrier(4)

    def run() -> None:
        start.wait()
        try:
            outcomes.append(sync(places, workers=2))
        except LakeError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(isinstance(outcome, SyncResult) for outcome in outcomes)
    assert all(isinstance(outcome, SyncResult | Transfer) for outcome in outcomes), outcomes
    assert contents(places.target) == contents(places.source)
    assert sync(places).version == "2"
    verify(places).raise_for_findings()


def test_a_stronger_level_later_proves_what_a_weaker_one_kept(places: Places, table: Path) -> None:
    assert sync(places, level="files").proof == "files"
    victim = next(path for path in contents(places.target) if path.endswith(".parquet"))
    whole = places.target.get(victim)
    places.target.put(victim, whole[:-1] + bytes([whole[-1] ^ 1]), size=len(whole))
    append(table, 30)
    places.load(table)
    with pytest.raises(Verification, match=victim.rpartition("/")[2]):
        sync(places, level="bytes")
    places.target.put(victim, whole, size=len(whole))
    result = sync(places, level="bytes")
    assert (result.proof, result.version) == ("bytes", "3")
    assert sync(places, level="bytes").unchanged


def test_a_lost_hint_costs_a_longer_run_but_changes_nothing(places: Places) -> None:
    """Trap: latest.json is only a hint."""
    sync(places)
    before = contents(places.target)
    places.receipts.delete("latest.json")
    sync(places)
    assert contents(places.target) == before
    assert sync(places).unchanged
    verify(places).raise_for_findings()


def test_a_damaged_or_older_hint_costs_a_longer_run_but_changes_nothing(places: Places, table: Path) -> None:
    sync(places)
    older = places.receipts.get("latest.json")
    append(table, 30)
    places.load(table)
    sync(places)
    for hint in (b"garbage", older):
        places.receipts.put("latest.json", hint, size=len(hint))
        verify(places).raise_for_findings()
        sync(places)
        assert contents(places.target) == contents(places.source)
        assert sync(places).unchanged


def test_files_of_older_versions_that_are_gone_are_told_not_hidden(places: Places, table: Path) -> None:
    """Trap Delta 17: VACUUM at the source."""
    DeltaTable(str(table)).optimize.compact()
    DeltaTable(str(table)).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    vacuumed = Places()
    vacuumed.load(table)
    result = sync(vacuumed)
    assert {finding.kind for finding in result.findings} == {"history"}
    assert any("6 file(s)" in finding.message for finding in result.findings)
    verify(vacuumed).raise_for_findings()


Damage = Callable[[Places], str]


def _flip(places: Places, path: str) -> str:
    data = places.target.get(path)
    places.target.put(path, data[:10] + bytes([data[10] ^ 1]) + data[11:], size=len(data))
    return path


def _first(places: Places, ending: str) -> str:
    return sorted(path for path in contents(places.target) if path.endswith(ending))[0]


def _delete(places: Places, path: str) -> str:
    places.target.delete(path)
    return path


def _swap(places: Places) -> str:
    first, second = sorted(path for path in contents(places.target) if path.endswith(".parquet"))[:2]
    data = places.target.get(first), places.target.get(second)
    places.target.put(first, data[1], size=len(data[1]))
    places.target.put(second, data[0], size=len(data[0]))
    return first


DAMAGES: dict[str, Damage] = {
    "a flipped bit in a data file": lambda places: _flip(places, _first(places, ".parquet")),
    "a flipped bit in a commit": lambda places: _flip(places, "_delta_log/00000000000000000001.json"),
    "a flipped bit in the root": lambda places: _flip(places, "_delta_log/00000000000000000000.json"),
    "a missing data file": lambda places: _delete(places, _first(places, ".parquet")),
    "a missing commit": lambda places: _delete(places, "_delta_log/00000000000000000002.json"),
    "two files swapped": _swap,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_names_the_damaged_object_with_the_source_gone(places: Places, damage: str) -> None:
    """Trap Verification 7 and 8: each damage is found from receipts alone, and named."""
    sync(places)
    verify(places).raise_for_findings()
    path = DAMAGES[damage](places)
    for source in contents(places.source):
        places.source.delete(source)
    report = verify(places)
    assert path in [finding.path for finding in report.findings]
    assert report.level == "none"
    with pytest.raises(Verification):
        report.raise_for_findings()


def test_verify_finds_an_edited_receipt_a_damaged_inventory_and_another_receipt_than_expected(
    places: Places, table: Path
) -> None:
    first = sync(places)
    append(table, 30)
    places.load(table)
    second = sync(places)
    assert verify(places, expect_receipt=second.receipt_sha256).ok
    assert [finding.kind for finding in verify(places, expect_receipt=first.receipt_sha256).findings] == ["receipt"]
    path = first.receipt.removeprefix("_lake/")
    data = places.receipts.get(path)
    places.receipts.put(path, data.replace(b'"proof": "bytes"', b'"proof": "files"'), size=len(data))
    assert [finding.kind for finding in verify(places).findings] == ["receipt"]
    places.receipts.put(path, data, size=len(data))
    assert verify(places).ok
    inventory = next(info.path for info in places.receipts.list("receipts") if info.path.endswith(".zst"))
    packed = places.receipts.get(inventory)
    places.receipts.put(inventory, packed[:-1] + bytes([packed[-1] ^ 1]), size=len(packed))
    assert [finding.kind for finding in verify(places).findings] == ["receipt"]


def test_verify_against_the_source_reads_both_sides_and_needs_no_receipt(places: Places) -> None:
    """Trap Verification 5: what is compared is not what the copier had just read."""
    sync(places)
    report = verify(places, against=True)
    assert report.ok
    assert report.source_checked
    for info in list(places.receipts.list()):
        places.receipts.delete(info.path)
    with pytest.raises(NotFound, match="--against"):
        verify(places)
    assert verify(places, against=True).ok
    path = _flip(places, _first(places, ".parquet"))
    assert [finding.path for finding in verify(places, against=True).findings] == [path]


def test_verify_finds_commits_that_others_put_on_top(places: Places, tmp_path: Path) -> None:
    sync(places)
    own = dump(places.target, tmp_path / "own")
    append(own, 500)
    data = (own / "_delta_log" / "00000000000000000003.json").read_bytes()
    places.target.put("_delta_log/00000000000000000003.json", data, size=len(data))
    assert {finding.sign for finding in verify(places).findings} == {"+"}
