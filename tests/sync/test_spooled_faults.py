"""Every call of a sync fails once while its records go through temporary files: what holds for few objects holds for many."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake.exceptions import DeltaError

from lakehouse import inventory, spool
from lakehouse.testing.faulty_store import Faults
from tests.sync.places import Places, append, contents, dump, ids
from tests.sync.test_faults import each_call
from tests.sync.test_plain import put
from tests.sync.test_sync import sync


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two records, shelves of three, and every inventory in parts."""
    monkeypatch.setattr(spool, "BATCH_RECORDS", 2)
    monkeypatch.setattr(spool, "SHELF_RECORDS", 3)
    monkeypatch.setattr(inventory, "SMALL_SIZE", 64)
    monkeypatch.setattr(inventory, "RANGE_SIZE", 256)


@pytest.mark.parametrize("dead", [False, True], ids=["once", "killed"])
def test_a_first_sync_of_a_table_is_invisible_or_whole_and_the_next_run_completes_it(tmp_path: Path, dead: bool) -> None:
    append(tmp_path / "table", 0, commits=3)

    def places() -> Places:
        made = Places()
        made.load(tmp_path / "table")
        return made

    def invisible_or_whole(made: Places, k: int) -> None:
        try:
            found = ids(dump(made.target, tmp_path / f"{dead}-{k}"))
        except DeltaError:  # no table, or commits without their base: no reader can open it
            return
        assert found == list(range(30))

    each_call(places, lambda k: Faults(fail_at=k, mode="after", dead=dead), invisible_or_whole)


@pytest.mark.parametrize("change", ["first sync", "update"])
def test_plain_files_end_as_a_clean_run_leaves_them(change: str) -> None:
    def places() -> Places:
        made = Places(format="parquet")
        for number in range(3):
            put(made, f"{number}.parquet", b"%d" % number)
        put(made, "_SUCCESS", b"")
        if change == "update":
            sync(made)
            for number in range(3, 5):
                put(made, f"{number}.parquet", b"%d" % number)
        return made

    def only_what_the_source_has(made: Places, k: int) -> None:
        assert contents(made.target).items() <= contents(made.source).items()

    each_call(places, lambda k: Faults(fail_at=k, mode="after", dead=k is not None and k % 2 == 0), only_what_the_source_has)
