"""Inventories: what was written comes back, short or long, and nothing is believed that its name does not vouch for."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse import inventory, spool
from lakehouse.checksum import Checksum
from lakehouse.connect import open_at
from lakehouse.errors import Conflict, Verification
from lakehouse.inventory import from_line, newest, put_inventory, read_inventory, to_line
from lakehouse.pending import read_pending
from lakehouse.store import Buffer, ObjectInfo, Store
from lakehouse.table import Written
from lakehouse.testing.faulty_store import Faults, FaultyStore
from lakehouse.url import parse

texts = st.text(st.characters(exclude_categories=["Cs"]))
maybe = st.none() | texts
checksums = st.none() | st.builds(Checksum, st.sampled_from(["sha256", "md5"]), st.text("0123456789abcdef"))
origins = st.sampled_from(["copied", "adopted", "staged", "rewritten", "published", "deleted"])
written = st.builds(
    Written, texts, st.integers(0, 2**60), texts, origins, maybe, maybe, checksums, st.booleans(), st.booleans(), maybe
)


@pytest.fixture
def store() -> Store:
    return open_at(parse(f"memory://{uuid.uuid4().hex}/_lake"), None)


@pytest.fixture
def small() -> Iterator[None]:
    """Inventories count as long from a few bytes on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inventory, "SMALL_SIZE", 100)
        patch.setattr(inventory, "RANGE_SIZE", 70)
        yield


def some(count: int) -> list[Written]:
    return [
        Written(f"data/{number}", number, f"{number:064x}", "copied", target_etag=uuid.uuid4().hex) for number in range(count)
    ]


@given(written)
def test_a_line_says_all_of_a_record_and_nothing_that_is_empty(record: Written) -> None:
    line = to_line(record)
    assert from_line(line) == from_line(line.encode()) == record
    assert "\n" not in line
    assert set(json.loads(line)) == {name for name, value in asdict(record).items() if value is not None and value is not False}


@pytest.mark.parametrize(
    "line", ["", "3", "[]", "{", '{"path": "a"}', '{"path": 1, "size": 1, "sha256": "", "origin": "copied"}']
)
def test_a_line_that_nobody_can_read_notes_nothing(store: Store, line: str) -> None:
    good = Written("a\x85b\u2028c", 1, "", "copied")
    data = f"{line}\n{to_line(good)}\n".encode()
    store.put("pending/00000000000000000001/run-000000.jsonl", data, size=len(data))
    noted = read_pending(store, 1)
    assert noted is not None
    assert list(noted) == [good]
    assert read_pending(store, 2) is None


@given(st.lists(written, max_size=30))
@settings(max_examples=30)
def test_an_inventory_is_read_as_it_was_put(objects: list[Written]) -> None:
    store = open_at(parse(f"memory://{uuid.uuid4().hex}/_lake"), None)
    path = put_inventory(store, 7, iter(objects))
    assert path.startswith("receipts/00000000000000000007-")
    assert list(read_inventory(store, path)) == objects


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("count", [0, 1, 2, 50, 2500])
def test_a_long_inventory_goes_and_comes_in_parts(store: Store, count: int) -> None:
    objects = some(count)
    faults = Faults()
    path = put_inventory(FaultyStore(store, faults), 1, objects)
    assert list(read_inventory(store, path)) == objects
    assert faults.calls[0].method == ("get" if count else "put"), "a long one is looked for first"
    assert put_inventory(store, 1, objects) == path, "again: the same bytes under the same name"
    assert [info.path for info in store.list()] == [path]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("count", [0, 500])
def test_other_bytes_under_the_name_are_a_conflict_and_stay(store: Store, count: int) -> None:
    objects = some(count)
    path = put_inventory(store, 1, objects)
    store.put(path, b"theirs", size=6)
    with pytest.raises(Conflict, match=path.rpartition("/")[2]):
        put_inventory(store, 1, objects)
    assert store.get(path) == b"theirs"


class Damaging:
    """A store that keeps something else than what it is sent in parts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.url, self.traits = store.url, store.traits
        self.get, self.head = store.get, store.head
        self.list, self.view, self.delete = store.list, store.view, store.delete

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        return self._store.put(path, b"x" * size, size=size, if_absent=if_absent)


@pytest.mark.usefixtures("small")
def test_a_long_inventory_that_did_not_arrive_is_noticed(store: Store) -> None:
    assert not store.traits.confirms_put
    with pytest.raises(Verification, match="does not hold"):
        put_inventory(Damaging(store), 1, some(500))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("where", [0, -1])
def test_not_one_line_of_a_damaged_inventory_is_believed(store: Store, where: int) -> None:
    path = put_inventory(store, 1, some(500))
    data = bytearray(store.get(path))
    data[where] ^= 1
    store.put(path, bytes(data), size=len(data))
    with pytest.raises(Verification, match="SHA-256"):
        next(read_inventory(store, path))
    store.delete(path)
    with pytest.raises(Verification, match="gone"):
        next(read_inventory(store, path))


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 9), origins)), st.integers(1, 30))
def test_the_last_word_on_a_path_counts_however_many_shelves_there_are(events: list[tuple[str, int, str]], room: int) -> None:
    kept = spool.records()
    kept.extend(Written(path, size, "", origin) for path, size, origin in events)  # type: ignore[arg-type]
    wanted = {path: (size, origin) for path, size, origin in events}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "SHELF_RECORDS", room)
        found = list(newest(kept))
    assert len({one.path for one in found}) == len(found)
    assert {one.path: (one.size, one.origin) for one in found} == {p: w for p, w in wanted.items() if w[1] != "deleted"}
