"""Bulk seeding: what another tool brought is hashed where it lies, taken over when equal, and a conflict when not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable

import lakehouse
from lakehouse.config import Settings
from lakehouse.errors import Conflict
from lakehouse.store import Store
from lakehouse.sync import Options, replicate
from lakehouse.testing.faulty_store import Faults
from tests.sync.places import Places, append, contents, ids

MIB = 1 << 20


def seeded(format: str = "parquet") -> tuple[Places, dict[str, bytes]]:
    """A source of small and large objects, and a target that holds the same."""
    places = Places(format=format)
    objects = {f"n/{number:02d}.parquet": bytes([number]) * (100 + number) for number in range(20)}
    objects |= {"large": bytes(range(256)) * (9 * MIB // 256), "empty": b"", "n/ä %20#?+": b"odd"}
    for store in (places.source, places.target):
        fill(store, objects)
    return places, objects


def fill(store: Store, objects: dict[str, bytes]) -> None:
    for path, data in objects.items():
        store.put(path, data, size=len(data))


def sent(faults: Faults, places: Places) -> list[str]:
    """The data objects that were put at the target."""
    wanted = (places.target.url, "put")
    return [call.path for call in faults.calls if (call.store, call.method) == wanted]


def run(places: Places, faults: Faults | None = None, **options: object) -> lakehouse.SyncResult:
    return replicate(places.replica(faults), Options(workers=4, **options))  # type: ignore[arg-type]


def test_a_folder_that_was_copied_before_is_taken_over_and_nothing_is_sent() -> None:
    places, objects = seeded()
    faults = Faults()
    result = run(places, faults)
    assert sent(faults, places) == []
    assert (result.copied.files, result.kept.files, result.kept.bytes) == (0, len(objects), sum(map(len, objects.values())))
    assert result.proof == "bytes"
    assert run(places).unchanged


def test_both_sides_are_read_for_it() -> None:
    """Trap Verification 3: no common hash means reading, never 'size is enough'."""
    places, objects = seeded()
    faults = Faults()
    run(places, faults)
    for store in (places.source, places.target):
        read = {call.path for call in faults.calls if call.method == "get" and call.store == store.url}
        assert objects.keys() <= read


@pytest.mark.parametrize("path", ["n/07.parquet", "large"])
def test_other_bytes_of_the_same_size_are_a_conflict_by_name_and_stay(path: str) -> None:
    places, objects = seeded()
    wrong = objects[path][:-1] + bytes([objects[path][-1] ^ 1])
    fill(places.target, {path: wrong})
    faults = Faults()
    with pytest.raises(Conflict, match=rf"1 object.*/{path}: holds other bytes"):
        run(places, faults)
    assert sent(faults, places) == []
    assert contents(places.target) == objects | {path: wrong}
    with pytest.raises(Conflict):
        run(places, in_place=True)


@pytest.mark.parametrize("path", ["n/07.parquet", "large"])
def test_an_object_that_came_over_only_in_part_is_a_conflict_by_name(path: str) -> None:
    places, objects = seeded()
    fill(places.target, {path: objects[path][:-1]})
    with pytest.raises(Conflict, match=rf"/{path}: holds other bytes"):
        run(places)
    places.target.delete(path)
    faults = Faults()
    result = run(places, faults)
    assert sent(faults, places) == [path]
    assert (result.copied.files, result.kept.files) == (1, len(objects) - 1)


def test_objects_that_only_the_target_has_are_left_alone_and_not_vouched_for() -> None:
    places, objects = seeded()
    fill(places.target, {"of another table": b"1"})
    result = run(places)
    assert result.kept.files == len(objects)
    assert places.target.get("of another table") == b"1"


@pytest.mark.parametrize("parts", ["data", "data and log"])
def test_a_delta_table_that_was_copied_by_hand_becomes_a_replica(tmp_path: Path, parts: str) -> None:
    """The data files are hashed and kept; of the log everything is compared with the source's."""
    append(tmp_path / "table", 0, commits=3)
    shutil.copytree(tmp_path / "table", tmp_path / "replica")
    if parts == "data":
        shutil.rmtree(tmp_path / "replica" / "_delta_log")
    before = {file: file.stat().st_ino for file in (tmp_path / "replica").rglob("*.parquet")}
    result = lakehouse.sync(str(tmp_path / "table"), str(tmp_path / "replica"), settings=Settings())
    assert {file: file.stat().st_ino for file in before} == before, "none was written again"
    assert result.copied.files <= 3, "commits"
    assert (result.kept.files >= 6, result.proof) == (True, "bytes")
    assert ids(tmp_path / "replica") == list(range(30))
    assert lakehouse.verify(str(tmp_path / "replica"), settings=Settings()).ok
    append(tmp_path / "table", 30)
    assert lakehouse.sync(str(tmp_path / "table"), str(tmp_path / "replica"), settings=Settings()).copied.files > 0
    assert DeltaTable(str(tmp_path / "replica")).version() == 3


def test_a_delta_data_file_with_other_bytes_of_the_same_size_is_a_conflict_and_no_commit_is_put(tmp_path: Path) -> None:
    append(tmp_path / "table", 0, commits=2)
    shutil.copytree(tmp_path / "table", tmp_path / "replica")
    shutil.rmtree(tmp_path / "replica" / "_delta_log")
    victim = sorted((tmp_path / "replica").rglob("*.parquet"))[1]
    data = victim.read_bytes()
    victim.write_bytes(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])
    with pytest.raises(Conflict, match=victim.name):
        lakehouse.sync(str(tmp_path / "table"), str(tmp_path / "replica"), settings=Settings())
    assert not list((tmp_path / "replica").rglob("_delta_log/*.json"))
    assert victim.read_bytes() != data
