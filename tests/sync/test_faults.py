"""Every call of a sync fails once: the next run ends where a clean run ends, and readers never see anything in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakehouse.errors import LakeError
from lakehouse.ranges import Limits
from lakehouse.sync import Options, replicate
from lakehouse.testing.faulty_store import Faults, InjectedFault
from lakehouse.verify import audit
from tests.formats.replicas import drop_commits
from tests.formats.spark_like import mask, upgrade, v2_checkpoint
from tests.sync.places import Places, append, contents, dump, ids

OPTIONS = Options(workers=1)


def proven(places: Places) -> None:
    """The receipts vouch for every object at the target."""
    replica = places.replica()
    audit(
        replica.target, replica.receipts, replica.format, level="bytes", limits=Limits(2), progress=lambda _: None
    ).raise_for_findings()


def each_call(
    places: Callable[[], Places], faults: Callable[[int | None], Faults], check: Callable[[Places, int], None]
) -> tuple[dict[str, bytes], int]:
    """Fail call 1, 2, … of a sync until one runs through; ``check`` looks at the target after each failure.

    Gives the target of a clean run, and how many calls there were.
    """
    clean = places()
    counting = faults(None)
    replicate(clean.replica(counting), OPTIONS)
    wanted = contents(clean.target)
    for k in range(1, counting.counted + 1):
        broken, fault = places(), faults(k)
        try:
            replicate(broken.replica(fault), OPTIONS)
        except InjectedFault:
            pass
        except LakeError as error:
            assert "injected" in str(error), error
        check(broken, k)
        replicate(broken.replica(), OPTIONS)
        assert contents(broken.target) == wanted, f"after failing call {k} ({fault.failed}) the target differs from a clean run's"
        proven(broken)
        assert replicate(broken.replica(), OPTIONS).unchanged
    return wanted, counting.counted


@pytest.mark.parametrize("mode", ["before", "after"])
@pytest.mark.parametrize("dead", [False, True], ids=["once", "killed"])
def test_a_first_sync_that_fails_at_any_call_is_invisible_or_whole_and_the_next_run_completes_it(
    tmp_path: Path, mode: str, dead: bool
) -> None:
    append(tmp_path / "table", 0, commits=2)
    DeltaTable(str(tmp_path / "table")).create_checkpoint()
    append(tmp_path / "table", 20)

    def places() -> Places:
        made = Places()
        made.load(tmp_path / "table")
        return made

    def invisible_or_whole(made: Places, k: int) -> None:
        folder = dump(made.target, tmp_path / f"{mode}-{dead}-{k}")
        try:
            found = ids(folder)
        except DeltaError:  # no table, or commits without their base: no reader can open it
            return
        assert found == list(range(30))

    _, calls = each_call(places, lambda k: Faults(fail_at=k, mode=mode, dead=dead), invisible_or_whole)  # type: ignore[arg-type]
    assert calls > 20


@pytest.mark.parametrize("mode", ["before", "after"])
def test_an_update_that_fails_at_any_call_shows_the_old_version_or_a_newer_whole_one(tmp_path: Path, mode: str) -> None:
    table = tmp_path / "table"
    append(table, 0, commits=2)
    before = {file: file.read_bytes() for file in table.rglob("*") if file.is_file()}
    append(table, 20, commits=2)
    DeltaTable(str(table)).create_checkpoint()

    def places() -> Places:
        made = Places()
        made.load(table)
        for path in contents(made.source):
            if table / path not in before:
                made.source.delete(path)
        replicate(made.replica(), OPTIONS)
        made.load(table)
        return made

    def old_or_newer(made: Places, k: int) -> None:
        found = ids(dump(made.target, tmp_path / f"{mode}-{k}"))
        assert found in [list(range(rows)) for rows in (20, 30, 40)]

    each_call(places, lambda k: Faults(fail_at=k, mode=mode), old_or_newer)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", ["first sync", "update"])
def test_a_table_with_deletion_vectors_and_v2_checkpoints_survives_a_failure_of_any_call(tmp_path: Path, change: str) -> None:
    table = tmp_path / "table"
    append(table, 0, rows=6)
    upgrade(table)
    mask(table, 0)
    v2_checkpoint(table, sidecars=1)
    drop_commits(table, 0, 1)
    old = Places()
    old.load(table)
    before = ids(table)
    if change == "update":
        mask(table, 0, 2)
        v2_checkpoint(table, sidecars=1)
    after = ids(table)

    def places() -> Places:
        made = Places()
        if change == "update":
            for path, data in contents(old.source).items():
                made.source.put(path, data, size=len(data))
            replicate(made.replica(), OPTIONS)
        made.load(table)
        return made

    def whole(made: Places, k: int) -> None:
        try:
            found = ids(dump(made.target, tmp_path / str(k)))
        except DeltaError:  # no table, or commits without their base
            assert change == "first sync"
            return
        assert found in (before, after)

    each_call(places, lambda k: Faults(fail_at=k, mode="after", dead=change == "first sync"), whole)
