"""Plain Parquet and folders of files: their listing is the table, so every change under a known name is looked at."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.errors import Config, Conflict, LakeError, NotFound, Transfer, Unsupported
from lakehouse.ranges import Limits
from lakehouse.receipt import FULL_EVERY, receipt_path
from lakehouse.sync import Options, replicate
from lakehouse.testing.faulty_store import Faults, InjectedFault
from lakehouse.verify import audit
from tests.sync.places import Places, contents
from tests.sync.test_sync import sync


def parquet(value: int) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"v": [value]}), buffer)
    return buffer.getvalue()


@pytest.fixture
def places() -> Places:
    made = Places(format="parquet")
    for path, data in {
        "year=2025/month=01/a.parquet": parquet(1),
        "year=2025/month=__HIVE_DEFAULT_PARTITION__/b.parquet": parquet(2),
        "year=2026/c d+ä%20#?.parquet": parquet(3),
        "year=2026/empty.parquet": b"",
        "_SUCCESS": b"",
        "_metadata": b"PAR1footer",
    }.items():
        made.source.put(path, data, size=len(data))
    return made


def put(places: Places, path: str, data: bytes) -> None:
    places.source.put(path, data, size=len(data))


def verify(places: Places) -> list[str]:
    replica = places.replica()
    report = audit(replica.target, replica.receipts, replica.format, level="bytes", limits=Limits(2), progress=lambda _: None)
    return [f"{finding.sign} {finding.path}" for finding in report.findings]


def test_every_file_arrives_and_success_and_metadata_go_last(places: Places) -> None:
    faults = Faults()
    result = sync(places, faults)
    assert contents(places.target) == contents(places.source)
    assert result.proof == "bytes"
    puts = [call.path for call in faults.calls if call.method == "put" and call.store == places.target.url]
    assert set(puts[-2:]) == {"_SUCCESS", "_metadata"}
    assert not verify(places)


def test_receipts_lie_beside_a_folder_whose_listing_is_the_table(places: Places) -> None:
    sync(places)
    assert not [path for path in contents(places.target) if "_lake" in path]
    assert [info.path for info in places.store("_lake/target").list()]


def test_nothing_new_reads_no_file_and_writes_nothing(places: Places) -> None:
    sync(places)
    faults = Faults()
    again = sync(places, faults)
    assert again.unchanged
    assert not [call for call in faults.calls if call.method in ("put", "delete")]
    assert not [call for call in faults.calls if call.method == "get" and call.store.endswith("/source")]


def test_a_replica_that_was_deleted_is_not_called_unchanged(places: Places) -> None:
    """Its receipts lie beside it and survive."""
    sync(places)
    for path in contents(places.target):
        places.target.delete(path)
    assert len(verify(places)) == len(contents(places.source))
    assert not sync(places).unchanged
    assert contents(places.target) == contents(places.source)


def test_a_new_file_is_all_that_moves(places: Places) -> None:
    sync(places)
    put(places, "year=2026/new.parquet", parquet(9))
    faults = Faults()
    assert sync(places, faults).copied.files >= 1
    data_puts = [
        c.path for c in faults.calls if c.method == "put" and c.store.endswith("/target") and c.path.endswith(".parquet")
    ]
    assert data_puts == ["year=2026/new.parquet"]
    assert not verify(places)


def test_a_file_overwritten_with_the_same_size_is_a_conflict_unless_in_place(places: Places) -> None:
    """Trap Plain Parquet: neither size nor time decides."""
    sync(places)
    before = contents(places.target)
    put(places, "year=2025/month=01/a.parquet", parquet(7))
    assert len(parquet(7)) == len(parquet(1))
    with pytest.raises(Conflict, match=r"a\.parquet"):
        sync(places)
    assert contents(places.target) == before
    sync(places, in_place=True)
    assert contents(places.target) == contents(places.source)
    assert not verify(places)
    assert sync(places).unchanged


def test_a_file_touched_but_equal_is_kept(places: Places) -> None:
    sync(places)
    put(places, "year=2025/month=01/a.parquet", parquet(1))
    faults = Faults()
    sync(places, faults)
    puts = [call.path for call in faults.calls if call.method == "put" and call.path.endswith("a.parquet")]
    assert not puts
    assert sync(places).unchanged


def test_a_file_deleted_at_the_source_is_a_conflict_unless_delete(places: Places) -> None:
    sync(places)
    before = contents(places.target)
    places.source.delete("year=2026/empty.parquet")
    with pytest.raises(Conflict, match=r"--delete"):
        sync(places)
    assert contents(places.target) == before
    sync(places, delete=True)
    assert contents(places.target) == contents(places.source)
    assert not verify(places)
    assert sync(places).unchanged


def test_delete_leaves_alone_what_somebody_else_changed(places: Places) -> None:
    """Invariant 6: only what receipts say we wrote, and as we wrote it, is removed."""
    sync(places)
    places.source.delete("year=2026/empty.parquet")
    places.target.put("year=2026/empty.parquet", b"theirs", size=6)
    with pytest.raises(Conflict, match="somebody else"):
        sync(places, delete=True)
    assert places.target.get("year=2026/empty.parquet") == b"theirs"


def test_a_foreign_file_at_the_target_is_kept_if_equal_and_a_conflict_if_not(places: Places) -> None:
    data = parquet(1)
    places.target.put("year=2025/month=01/a.parquet", data, size=len(data))
    places.target.put("year=2026/empty.parquet", b"x", size=1)
    with pytest.raises(Conflict, match=r"empty\.parquet"):
        sync(places)
    assert places.target.get("year=2026/empty.parquet") == b"x"
    places.target.delete("year=2026/empty.parquet")
    assert sync(places).kept.files >= 1
    assert not verify(places)


def test_verify_finds_a_file_too_many_in_a_folder_whose_listing_is_the_table(places: Places) -> None:
    sync(places)
    places.target.put("year=2026/extra.parquet", b"x", size=1)
    assert verify(places) == ["+ year=2026/extra.parquet"]


@pytest.mark.parametrize("path", ["_temporary/0/task/x.parquet", ".spark-staging-1/x.parquet"])
def test_a_folder_that_a_job_is_writing_is_refused(places: Places, path: str) -> None:
    put(places, path, b"x")
    with pytest.raises(Unsupported, match=path.partition("/")[0]):
        sync(places)
    assert not list(places.target.list())


@pytest.mark.parametrize("path", ["t1/_delta_log/00000000000000000000.json", "t2/metadata/v1.metadata.json"])
def test_a_warehouse_of_tables_is_no_folder_of_files(places: Places, path: str) -> None:
    put(places, path, b"{}")
    with pytest.raises(Config, match="each table on its own"):
        sync(places)


def test_an_empty_folder_is_not_found() -> None:
    with pytest.raises(NotFound):
        sync(Places(format="parquet"))


def test_every_call_fails_once_and_the_next_run_ends_like_a_clean_one(places: Places) -> None:
    counting = Faults()
    source = contents(places.source)
    replicate(places.replica(counting), Options(workers=1))
    for k in range(1, counting.counted + 1):
        broken = Places(format="parquet")
        for path, data in source.items():
            put(broken, path, data)
        with pytest.raises((InjectedFault, Transfer)):
            replicate(broken.replica(Faults(fail_at=k)), Options(workers=1))
        assert contents(broken.target).items() <= source.items()
        sync(broken)
        assert contents(broken.target) == source
        assert not verify(broken)
        assert sync(broken).unchanged


def test_deletion_interrupted_at_any_call_is_completed_by_the_next_run(places: Places) -> None:
    source = contents(places.source)

    def replicated() -> Places:
        made = Places(format="parquet")
        for path, data in source.items():
            put(made, path, data)
        sync(made)
        made.source.delete("year=2026/empty.parquet")
        return made

    counting = Faults()
    sync(replicated(), counting, delete=True, workers=1)
    for k in range(1, counting.counted + 1):
        broken = replicated()
        with pytest.raises(LakeError, match="injected"):
            sync(broken, Faults(fail_at=k), delete=True, workers=1)
        sync(broken, delete=True)
        assert contents(broken.target) == contents(broken.source), f"call {k}"
        assert not verify(broken)


def test_every_hundredth_inventory_is_full_so_that_older_receipts_can_go() -> None:
    places = Places(format="parquet")
    for number in range(FULL_EVERY + 2):
        put(places, f"{number:03d}.parquet", parquet(number))
        sync(places)
    for number in range(1, FULL_EVERY):
        places.receipts.delete(receipt_path(number))
    assert not verify(places)
    assert sync(places).unchanged
    assert sync(places, Faults()).kept.files == FULL_EVERY + 2
