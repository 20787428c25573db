"""What must never pass for proof, whose bytes must never be overwritten, and how a damaged replica is mended."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from deltalake import DeltaTable

import lakehouse
from lakehouse.checksum import sha256_hex
from lakehouse.errors import Config, Conflict, LakeError, Transfer, Verification
from lakehouse.receipt import Receipt, put_inventory, read_inventory
from lakehouse.replica import Replica
from lakehouse.store import Buffer, ObjectInfo, Store, Traits
from lakehouse.sync import Options, replicate
from lakehouse.testing.faulty_store import Faults
from tests.sync.places import Places, append, contents
from tests.sync.test_plain import parquet
from tests.sync.test_plain import places as plain_places  # noqa: F401 - a fixture
from tests.sync.test_sync import _first, _flip, places, sync, table, verify  # noqa: F401 - fixtures among them


def test_a_forged_receipt_is_found_by_its_hash_and_by_the_hint(places: Places) -> None:  # noqa: F811
    """The SHA-256 that a sync printed is the anchor: a newer inventory cannot whitewash a damaged file."""
    printed = sync(places).receipt_sha256
    victim = _flip(places, _first(places, ".parquet"))
    path = "receipts/00000000000000000001.json"
    receipt = Receipt.from_bytes(places.receipts.get(path), path)
    lines = list(read_inventory(places.receipts, receipt.inventory))
    forged = [line if line.path != victim else replace(line, sha256=sha256_hex(places.target.get(victim))) for line in lines]
    inventory = put_inventory(places.receipts, 1, forged)
    data = json.dumps({**json.loads(places.receipts.get(path)), "inventory": inventory}, indent=2).encode() + b"\n"
    places.receipts.put(path, data, size=len(data))
    assert not verify(places, expect_receipt=printed).ok
    places.receipts.put("latest.json", data, size=len(data))
    assert [finding.kind for finding in verify(places, expect_receipt=printed).findings] == ["receipt"]


def test_checksum_finds_a_damaged_kept_file_and_brings_a_lost_one_back(places: Places) -> None:  # noqa: F811
    sync(places)
    lost = _first(places, ".parquet")
    places.target.delete(lost)
    sync(places, checksum=True)
    assert contents(places.target) == contents(places.source)
    assert sync(places, checksum=True).unchanged
    verify(places).raise_for_findings()
    _flip(places, lost)
    with pytest.raises(Conflict, match=lost.rpartition("/")[2]):
        sync(places, checksum=True)


@pytest.mark.parametrize("damage", ["receipt gone", "receipt edited", "hint from the future", "everything gone"])
def test_lost_or_contradicting_receipts_are_replaced_by_a_run_that_proves_all_anew(
    places: Places,  # noqa: F811
    table: Path,  # noqa: F811
    damage: str,
) -> None:
    sync(places)
    path = "receipts/00000000000000000001.json"
    data = places.receipts.get(path)
    if damage == "receipt edited":
        edited = data.replace(b'"run"', b'"ran"')
        places.receipts.put(path, edited, size=len(edited))
    elif damage == "hint from the future":
        future = data.replace(b'"number": 1', b'"number": 9')
        places.receipts.put("latest.json", future, size=len(future))
    else:
        for info in list(places.receipts.list()):
            if damage == "everything gone" or info.path == path:
                places.receipts.delete(info.path)
    append(table, 30)
    places.load(table)
    assert sync(places).version == "3"
    assert contents(places.target) == contents(places.source)
    verify(places).raise_for_findings()
    assert sync(places).unchanged


def test_against_finds_a_source_that_has_fewer_files(plain_places: Places) -> None:  # noqa: F811
    sync(plain_places)
    plain_places.source.delete("year=2026/empty.parquet")
    report = verify(plain_places, against=True)
    assert [(finding.sign, finding.path) for finding in report.findings] == [("+", "year=2026/empty.parquet")]


def test_against_is_no_false_alarm_when_the_source_made_a_checkpoint_since(places: Places, table: Path) -> None:  # noqa: F811
    sync(places)
    DeltaTable(str(table)).create_checkpoint()
    append(table, 30)
    places.load(table)
    assert verify(places, against=True).ok


class _Damaging:
    """Damages every put of some objects, ``times`` times in all, and says that all is well."""

    def __init__(self, store: Store, victim: str, times: int) -> None:
        self._store, self._victim, self._times, self.url = store, victim, times, store.url
        self.traits = Traits(conditional_put=True)
        self.list, self.head, self.get, self.view, self.delete = store.list, store.head, store.get, store.view, store.delete

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        whole = bytes(data) if isinstance(data, bytes | memoryview) else b"".join(data)
        if path.endswith(self._victim) and self._times:
            self._times -= 1
            whole = whole[:-1] + bytes([whole[-1] ^ 1])
        return self._store.put(path, whole, size=size, if_absent=if_absent)


@pytest.mark.parametrize("victim", [".parquet", "00000000000000000001.json"], ids=["data file", "staged commit"])
def test_a_damaged_upload_is_found_and_mended_by_the_next_run(places: Places, victim: str) -> None:  # noqa: F811
    opened = places.replica()
    damaging = Replica(opened.source, _Damaging(opened.target, victim, 1), opened.receipts, opened.format)
    with pytest.raises(Verification):
        replicate(damaging, Options())
    sync(places)
    assert contents(places.target) == contents(places.source)
    verify(places).raise_for_findings()


@pytest.mark.parametrize("victim", ["_last_checkpoint", "00000000000000000000.json"], ids=["hint", "root"])
def test_what_is_published_is_read_back_and_put_again_where_the_store_damaged_it(
    places: Places,  # noqa: F811
    table: Path,  # noqa: F811
    victim: str,
) -> None:
    DeltaTable(str(table)).create_checkpoint()
    places.load(table)
    opened = places.replica()
    replicate(Replica(opened.source, _Damaging(opened.target, victim, 1), opened.receipts, opened.format), Options())
    assert contents(places.target) == contents(places.source)
    verify(places).raise_for_findings()


def test_an_older_version_than_the_replica_has_is_a_conflict_not_unchanged(places: Places) -> None:  # noqa: F811
    sync(places)
    with pytest.raises(Conflict, match="never rolled back"):
        sync(places, version="1")


def test_in_place_and_delete_are_refused_for_tables(places: Places) -> None:  # noqa: F811
    with pytest.raises(Config, match="plain files"):
        sync(places, in_place=True)
    with pytest.raises(Config, match="plain files"):
        sync(places, delete=True)


def test_in_place_overwrites_only_what_we_wrote(plain_places: Places) -> None:  # noqa: F811
    plain_places.target.put("year=2026/empty.parquet", b"theirs", size=6)
    with pytest.raises(Conflict):
        sync(plain_places, in_place=True)
    plain_places.target.delete("year=2026/empty.parquet")
    sync(plain_places)
    plain_places.target.put("year=2025/month=01/a.parquet", b"theirs", size=6)
    data = parquet(7)
    plain_places.source.put("year=2025/month=01/a.parquet", data, size=len(data))
    with pytest.raises(Conflict):
        sync(plain_places, in_place=True)
    assert plain_places.target.get("year=2025/month=01/a.parquet") == b"theirs"


@pytest.mark.parametrize("name", ["_metadata", "_SUCCESS"])
def test_what_describes_the_folder_is_treated_like_any_other_file(plain_places: Places, name: str) -> None:  # noqa: F811
    plain_places.target.put(name, b"theirs", size=6)
    with pytest.raises(Conflict, match=name):
        sync(plain_places)
    assert plain_places.target.get(name) == b"theirs"
    plain_places.target.delete(name)
    sync(plain_places)
    plain_places.source.delete(name)
    sync(plain_places, delete=True)
    assert name not in contents(plain_places.target)


def test_a_weaker_claim_of_another_run_does_not_stand_for_a_stronger_one(places: Places) -> None:  # noqa: F811
    class Slower(_Damaging):
        """Another run, at level files, claims the receipt just before this one does."""

        def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
            if path == "receipts/00000000000000000001.json" and self._times:
                self._times -= 1
                sync(places, level="files")
            return self._store.put(path, data, size=size, if_absent=if_absent)

    opened = places.replica()
    with pytest.raises(Transfer, match="another sync"):
        replicate(Replica(opened.source, opened.target, Slower(opened.receipts, "", 1), opened.format), Options())
    assert sync(places).proof == "bytes"


def test_a_checkpoint_that_came_between_a_crash_and_the_next_run_is_recorded(places: Places, table: Path) -> None:  # noqa: F811
    sync(places)
    append(table, 30)
    places.load(table)
    counting = Faults()
    probe = Places()
    probe.load(table)
    with pytest.raises(LakeError):
        replicate(_dying_at(places, "latest.json"), Options(workers=1))
    DeltaTable(str(table)).create_checkpoint()
    places.load(table)
    sync(places, counting)
    assert contents(places.target) == contents(places.source)
    verify(places).raise_for_findings()


def _dying_at(places: Places, name: str) -> Replica:  # noqa: F811
    opened = places.replica()

    class Dying(_Damaging):
        def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
            if path == name:
                raise Transfer("killed")
            return self._store.put(path, data, size=size, if_absent=if_absent)

    return Replica(opened.source, opened.target, Dying(opened.receipts, "", 0), opened.format)


def test_a_target_that_is_a_link_to_the_source_is_refused(tmp_path: Path) -> None:
    append(tmp_path / "table", 0)
    (tmp_path / "link").symlink_to(tmp_path / "table")
    with pytest.raises(Config, match="one lies in the other"):
        lakehouse.sync(str(tmp_path / "table"), str(tmp_path / "link"))
    assert not (tmp_path / "table" / "_lake").exists()


def test_a_table_does_not_go_into_the_folder_of_a_plain_replica(tmp_path: Path) -> None:
    append(tmp_path / "table", 0)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "x").write_bytes(b"1")
    lakehouse.sync(str(tmp_path / "plain"), str(tmp_path / "replica"), format="files")
    with pytest.raises(Conflict, match="files"):
        lakehouse.sync(str(tmp_path / "table"), str(tmp_path / "replica"))


def test_a_checkpoint_that_we_wrote_outlives_lost_receipts(tmp_path: Path) -> None:
    """After a jump over versions whose files are gone, the replica has a checkpoint that the source has not."""
    folder = tmp_path / "table"
    append(folder, 0, commits=2)
    made = Places()
    made.load(folder)
    sync(made)
    append(folder, 20, commits=2)
    DeltaTable(str(folder)).optimize.compact()
    DeltaTable(str(folder)).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    made.load(folder)
    sync(made)
    assert [path for path in contents(made.target).keys() - contents(made.source).keys() if "checkpoint" in path]
    for info in list(made.receipts.list()):
        made.receipts.delete(info.path)
    sync(made)
    verify(made).raise_for_findings()
    append(folder, 40)
    made.load(folder)
    sync(made)
    verify(made).raise_for_findings()
