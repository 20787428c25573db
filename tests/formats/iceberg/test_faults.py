"""Every call of a sync of an Iceberg table fails once: readers see the old rows or the new, and the next run completes it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

import lakehouse
from lakehouse.config import Settings
from lakehouse.connect import Access
from lakehouse.errors import LakeError
from lakehouse.options import Options
from lakehouse.replica import Replica, open_replica
from lakehouse.sync import replicate
from lakehouse.testing.faulty_store import Faults, FaultyStore, InjectedFault
from tests.calls import some_of
from tests.formats.iceberg.iceberg_tables import changing_table
from tests.formats.iceberg.test_between_syncs import Pair
from tests.sync.iceberg_places import assert_same

OPTIONS = Options(workers=1)


def faulty(pair: Pair, faults: Faults) -> Replica:
    """The pair's three stores, with one count of calls over all of them, never retried."""
    made = open_replica(str(pair.source.folder), str(pair.target), None, Settings(), options=Options(access=Access(retries=0)))
    source, target, receipts = (FaultyStore(store, faults) for store in (made.source, made.target, made.receipts))
    return replace(made, source=source, target=target, receipts=receipts)


def reset(pair: Pair, before: Path) -> None:
    shutil.rmtree(pair.target, ignore_errors=True)
    if before.exists():
        shutil.copytree(before, pair.target)


@pytest.fixture(params=["first", "compaction", "expiry"])
def moved_on(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Pair, Path]]:
    """A source that has moved on, and what its target looked like before."""
    with changing_table(tmp_path / "source") as source:
        pair, before = Pair(source, tmp_path / "target"), tmp_path / "before"
        source.append(0)
        source.delete("id < 5")
        if request.param != "first":
            pair.sync()
            shutil.copytree(pair.target, before)
            source.append(20)
            source.branch("audit", source.current)
            source.compact()
        if request.param == "expiry":
            source.forget_branch("audit")
            source.merge_manifests(40)
            source.expire()
        yield pair, before


@pytest.mark.parametrize(
    ("mode", "dead"), [("before", False), ("after", False), ("before", True)], ids=["fails", "reply lost", "killed"]
)
def test_a_sync_that_fails_at_any_call_is_completed_by_the_next_and_no_reader_sees_anything_in_between(
    mode: Literal["before", "after"], dead: bool, moved_on: tuple[Pair, Path]
) -> None:
    pair, before = moved_on
    reset(pair, before)
    old, counting = pair.seen(), Faults()
    replicate(faulty(pair, counting), OPTIONS)
    new, clean = pair.seen(), pair.contents()
    assert counting.counted > 40
    for k in some_of(counting.counted):
        reset(pair, before)
        faults = Faults(fail_at=k, mode=mode, dead=dead)
        try:
            replicate(faulty(pair, faults), OPTIONS)
        except InjectedFault:
            pass
        except LakeError as error:
            assert "injected" in str(error), error
        assert pair.seen() in (old, new), f"after failing call {k} ({faults.failed})"
        pair.sync()
        assert_same(pair.contents(), clean)
        assert pair.sync().unchanged
        lakehouse.verify(str(pair.target), settings=Settings()).raise_for_findings()
