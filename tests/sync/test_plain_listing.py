"""Plain files that did not change are told by two listings; whatever the listings cannot tell is looked at as ever."""

from __future__ import annotations

import json

import pytest

import lakehouse
from lakehouse import pending, spool
from lakehouse.errors import Conflict, Transfer
from lakehouse.listing_digest import digest_of
from lakehouse.options import Options
from lakehouse.receipt import LATEST, Receipt, read_latest
from lakehouse.sync import replicate
from lakehouse.testing.faulty_store import Faults, InjectedFault
from tests.sync.places import Places, contents
from tests.sync.test_plain import put, verify
from tests.sync.test_sync import sync


@pytest.fixture
def places() -> Places:
    made = Places(format="parquet")
    for number in range(8):
        put(made, f"p={number % 2}/{number}.parquet", b"%d" % number)
    put(made, "_SUCCESS", b"")
    return made


def receipt(places: Places) -> Receipt:
    latest = read_latest(places.receipts)
    assert latest is not None
    return latest[0]


def inventories_read(faults: Faults) -> list[str]:
    return [call.path for call in faults.calls if call.method == "get" and call.path.endswith(".zst")]


def reads_no_inventory(places: Places) -> bool:
    """Whether a sync finds nothing new by listings alone."""
    faults = Faults()
    result = sync(places, faults)
    assert not [call for call in faults.calls if call.method in ("put", "delete")] or not result.unchanged
    return result.unchanged and not inventories_read(faults)


def test_an_unchanged_folder_takes_one_listing_of_each_side_and_no_inventory(places: Places) -> None:
    first = sync(places)
    faults = Faults()
    again = sync(places, faults)
    assert (again.unchanged, again.receipt_sha256, again.kept.files) == (True, first.receipt_sha256, 9)
    assert not inventories_read(faults)
    listed = [call.store for call in faults.calls if call.method == "list" and not call.path]
    assert sorted(listed) == sorted([places.source.url, places.target.url])
    assert dry_run(places) == (9, 0)


def dry_run(places: Places) -> tuple[int, int]:
    """How many files a dry run keeps and copies."""
    made = lakehouse.plan(f"{places.root}/source", f"{places.root}/target", format="parquet")
    return made.keep.files, made.copy.files


def test_the_receipt_tells_the_targets_listing_after_every_kind_of_run(places: Places) -> None:
    def told() -> None:
        assert receipt(places).target_listing == digest_of(places.target.list())
        assert reads_no_inventory(places)
        assert not verify(places)

    places.target.put("p=0/0.parquet", b"0", size=1)  # lies there already, with equal bytes
    sync(places)
    told()
    put(places, "p=2/new.parquet", b"new")
    sync(places)
    told()
    put(places, "p=0/2.parquet", b"!")
    sync(places, in_place=True)
    told()
    places.source.delete("p=1/1.parquet")
    put(places, "p=1/11.parquet", b"eleven")
    sync(places, delete=True)
    told()
    put(places, "p=2/new.parquet", b"new")  # another object, with the same bytes
    sync(places)
    told()


@pytest.mark.parametrize("k", [3, 8, 14, 20, 26])
def test_the_receipt_of_a_resumed_run_tells_the_targets_listing(places: Places, k: int) -> None:
    with pytest.raises((InjectedFault, Transfer)):
        replicate(places.replica(Faults(fail_at=k, dead=True)), Options(workers=1))
    sync(places)
    assert receipt(places).target_listing == digest_of(places.target.list())
    assert reads_no_inventory(places)


def test_an_object_overwritten_at_the_target_is_not_called_unchanged(places: Places) -> None:
    sync(places)
    places.target.put("p=0/2.parquet", b"!", size=1)
    with pytest.raises(Conflict, match=r"2\.parquet"):
        sync(places)
    places.target.put("p=0/2.parquet", b"2", size=1)
    assert not reads_no_inventory(places)


def test_an_object_gone_at_the_target_is_put_again(places: Places) -> None:
    sync(places)
    places.target.delete("p=0/2.parquet")
    assert not sync(places).unchanged
    assert contents(places.target) == contents(places.source)
    assert reads_no_inventory(places)


def test_an_object_added_at_the_target_is_looked_at_and_left(places: Places) -> None:
    sync(places)
    places.target.put("theirs", b"x", size=1)
    faults = Faults()
    assert sync(places, faults).unchanged
    assert inventories_read(faults), "the listing is not what the receipt tells, so what is known is held against it"
    assert verify(places) == ["+ theirs"]
    assert places.target.get("theirs") == b"x"


def test_a_source_that_changed_is_not_called_unchanged(places: Places) -> None:
    sync(places)
    put(places, "p=0/2.parquet", b"!")
    with pytest.raises(Conflict, match="other bytes"):
        sync(places)


def test_checksum_reads_every_file_though_both_listings_are_the_same(places: Places) -> None:
    sync(places)
    faults = Faults()
    assert sync(places, faults, checksum=True).unchanged
    read = {call.path for call in faults.calls if call.method in ("get", "view") and call.store == places.source.url}
    assert read == set(contents(places.source))


def test_a_stronger_proof_than_the_last_runs_is_not_taken_from_listings(places: Places) -> None:
    sync(places, level="files")
    faults = Faults()
    assert sync(places, faults, level="bytes").proof == "bytes"
    read = {call.path for call in faults.calls if call.method in ("get", "view") and call.store == places.target.url}
    assert read >= {path for path, data in contents(places.target).items() if data}
    assert reads_no_inventory(places)


def test_without_its_receipt_a_listing_proves_nothing(places: Places) -> None:
    sync(places)
    places.receipts.delete(receipt(places).path)
    faults = Faults()
    sync(places, faults)
    read = {call.path for call in faults.calls if call.method in ("get", "view") and call.store == places.target.url}
    assert read >= {path for path, data in contents(places.target).items() if data}
    assert reads_no_inventory(places)


def test_a_receipt_of_an_older_lake_goes_by_its_inventory(places: Places) -> None:
    sync(places)
    said = json.loads(receipt(places).to_bytes())
    del said["target_listing"]
    data = (json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode()
    for path in (LATEST, receipt(places).path):
        places.receipts.put(path, data, size=len(data))
    assert receipt(places).to_bytes() == data, "read and written again, it is the same"
    faults = Faults()
    assert sync(places, faults).unchanged
    assert inventories_read(faults)


def test_many_files_go_through_the_temporary_files_first_resumed_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches and shelves stand in for a million files."""
    monkeypatch.setattr(spool, "BATCH_RECORDS", 32)
    monkeypatch.setattr(spool, "SHELF_RECORDS", 200)
    monkeypatch.setattr(pending, "BATCH_OBJECTS", 50)
    places = Places(format="parquet")
    for number in range(1000):
        put(places, f"d={number % 7}/{number:05d}.parquet", b"%d" % number)
    for day in range(7):
        put(places, f"d={day}/_SUCCESS", b"")
    with pytest.raises((InjectedFault, Transfer)):
        sync(places, Faults(fail_at=1500, dead=True))
    there = len(contents(places.target))
    assert 500 < there < 1007
    faults = Faults()
    result = sync(places, faults)
    assert (result.copied.files + result.kept.files, result.proof) == (1007, "bytes")
    read = [call.path for call in faults.calls if call.method in ("get", "view") and call.store == places.source.url]
    assert len(read) <= 1007 - there + 50, "what was noted is not read again"
    assert contents(places.target) == contents(places.source)
    assert reads_no_inventory(places)

    put(places, "d=9/new.parquet", b"new")
    put(places, "d=1/00001.parquet", b"!")
    places.source.delete("d=2/00002.parquet")
    changed = sync(places, in_place=True, delete=True)
    assert (changed.copied.files, changed.kept.files) == (2, 1005)
    assert contents(places.target) == contents(places.source)
    assert not verify(places)
    assert reads_no_inventory(places)
