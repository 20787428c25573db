"""Spools: any records come back as they were, from memory and from the temporary file alike, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse import spool
from lakehouse.checksum import Checksum
from lakehouse.errors import Transfer
from lakehouse.store import ObjectInfo
from lakehouse.table import TableFile, Written

paths = st.text(st.characters(), min_size=1)  # lone surrogates too: names of files need not be UTF-8
texts = st.none() | st.text()
checksums = st.none() | st.builds(Checksum, st.sampled_from(["sha256", "md5"]), st.text("0123456789abcdef"))
sizes = st.integers(0, 2**63)
written = st.builds(
    Written, paths, sizes, st.text(), st.sampled_from(["copied", "adopted", "published"]), texts, texts, checksums,
    st.booleans(), st.booleans(), texts,
)  # fmt: skip
files = st.builds(TableFile, paths, sizes, st.booleans(), texts, checksums, st.booleans(), texts, st.booleans())
objects = st.builds(ObjectInfo, paths, sizes, texts, checksums)


@pytest.fixture
def small() -> Iterator[None]:
    """Batches of three records, shelves of five."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "BATCH_RECORDS", 3)
        patch.setattr(spool, "SHELF_RECORDS", 5)
        yield


@given(st.lists(written), st.lists(files), st.lists(objects), st.integers(1, 5))
def test_any_records_come_back_as_they_were_as_often_as_one_likes(
    records: list[Written], named: list[TableFile], listed: list[ObjectInfo], batch: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "BATCH_RECORDS", batch)
        kept, files_kept, objects_kept = spool.records(), spool.files(), spool.listing()
        kept.extend(records)
        files_kept.extend(named)
        objects_kept.extend(listed)
        for _ in range(2):
            assert (list(kept), list(files_kept), list(objects_kept)) == (records, named, listed)
        assert [len(kept), len(files_kept), len(objects_kept)] == [len(records), len(named), len(listed)]
        two = zip(kept, kept, strict=True)
        assert all(one == other for one, other in two), "two iterations at once"
        kept.extend(records)
        assert list(kept) == records * 2


@given(st.lists(written), st.integers(1, 4))
def test_shelves_hold_every_record_once_and_a_path_in_its_order_on_one_shelf(records: list[Written], count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "BATCH_RECORDS", 2)
        kept = spool.records()
        kept.extend(records)
        shelves = [list(shelf) for shelf in kept.shelves(count)]
        assert len(shelves) == count
        assert sorted(map(repr, (record for shelf in shelves for record in shelf))) == sorted(map(repr, records))
        for path in {record.path for record in records}:
            [shelf] = [shelf for shelf in shelves if any(record.path == path for record in shelf)]
            assert [r for r in shelf if r.path == path] == [r for r in records if r.path == path]


@pytest.mark.usefixtures("small")
def test_there_are_as_many_shelves_as_memory_asks_for() -> None:
    assert [spool.shelves(0), spool.shelves(5), spool.shelves(3, 3), spool.shelves(5, 5, 1)] == [1, 1, 2, 3]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_appending_while_reading_is_an_error(count: int) -> None:
    kept = spool.records()
    kept.extend(Written(str(number), 0, "", "copied") for number in range(count))
    with pytest.raises(RuntimeError, match="while it was read"):
        for record in kept:
            kept.append(record)


@pytest.mark.usefixtures("small")
def test_the_file_has_no_name_and_is_closed_with_its_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = _open_files(tmp_path)
    kept = spool.records()
    kept.append(Written("a", 0, "", "copied"))
    assert _open_files(tmp_path) == before, "a short spool needs no file"
    kept.extend(Written(str(number), 0, "", "copied") for number in range(100))
    assert not list(tmp_path.iterdir())
    if before is not None:
        assert _open_files(tmp_path) == 1
        shelves = kept.shelves(7)
        assert _open_files(tmp_path) == 2, "shelves share one file"
        del shelves
    del kept
    gc.collect()
    assert _open_files(tmp_path) == before


def _open_files(folder: Path) -> int | None:
    """How many files below ``folder`` this process has open; None where the system does not tell."""
    if not os.path.isdir("/proc/self/fd"):
        return None
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith(str(folder))
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return count


@pytest.mark.usefixtures("small")
def test_no_room_for_the_file_says_where_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    kept = spool.records()
    with pytest.raises(Transfer, match="TMPDIR"):
        kept.extend(Written(str(number), 0, "", "copied") for number in range(3))
