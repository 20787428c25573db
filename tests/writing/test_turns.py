"""Writers of one process that go one after the other: what one leaves to the next, and when that is not believed."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakehouse.connect import open_store
from lakehouse.errors import NotFound
from lakehouse.store import ObjectInfo, Store
from lakehouse.tables import open_table
from lakehouse.writing import delta, iceberg
from lakehouse.writing.iceberg_append import extended
from lakehouse.writing.iceberg_places import ByPath
from lakehouse.writing.rows import fitting
from lakehouse.writing.turns import Turn, turn_at

SCHEMA = pa.schema([("id", pa.int64())])
MODULES: dict[str, Any] = {"delta": delta, "iceberg": iceberg}
BOTH = pytest.mark.parametrize("kind", ["delta", "iceberg"])


def rows(*ids: int) -> Callable[[pa.Schema], pa.RecordBatchReader]:
    table = pa.table({"id": pa.array(ids, pa.int64())})
    return lambda schema: fitting(table, schema, "t")


def target(kind: str, store: Any) -> Any:
    return ByPath(store) if kind == "iceberg" else store


def created(kind: str, store: Any) -> None:
    MODULES[kind].create(target(kind, store), SCHEMA)


def append(kind: str, store: Any, *ids: int) -> None:
    MODULES[kind].append(target(kind, store), rows(*ids))


def ids(store: Store, kind: str) -> list[int]:
    return sorted(open_table(store.url, format=kind).scan(["id"]).to_arrow().column("id").to_pylist())


def turn_of(kind: str, store: Store) -> Turn[Any]:
    """The turn of the table, which lives as long as it is held on to here."""
    return turn_at(store.url, MODULES[kind]._Left)


def lists_of(store: Store) -> list[str]:
    """The paths of the manifest lists, oldest first."""
    made = ByPath(store).load().metadata["snapshots"]
    return [raw["manifest-list"][len(store.url) + 1 :] for raw in made]


class Counting:
    """A store that notes the calls made to it."""

    def __init__(self, store: Store) -> None:
        self._store, self.calls = store, list[str]()

    @property
    def url(self) -> str:
        return self._store.url

    @property
    def traits(self) -> Any:
        return self._store.traits

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        self.calls.append(f"list {prefix}")
        return self._store.list(prefix, after=after, recursive=recursive)

    def __getattr__(self, name: str) -> Any:
        def call(path: str, *args: Any, **options: Any) -> Any:
            self.calls.append(f"{name} {path}")
            return getattr(self._store, name)(path, *args, **options)

        return call


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "t"))


def test_one_thread_at_a_time_has_the_turn_of_a_table_and_tables_do_not_wait_for_each_other() -> None:
    one, same, other = turn_at("file:///a/t", int), turn_at("file:/a/t", int), turn_at("file:///b/t", int)
    assert one is same
    assert one is not other
    order, entered = list[str](), threading.Event()

    def second() -> None:
        with other:
            entered.set()
        with same:
            order.append("second")

    with one:
        thread = threading.Thread(target=second)
        thread.start()
        assert entered.wait(30)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_nothing_is_left_when_nobody_writes_any_more() -> None:
    turn = turn_at("file:///a/t", int)
    turn.left = 7
    assert turn_at("file:///a/t", int).left == 7
    del turn
    assert turn_at("file:///a/t", int).left is None


def test_an_iceberg_append_after_another_reads_neither_the_metadata_nor_the_list_again(store: Store) -> None:
    created("iceberg", store)
    turn = turn_of("iceberg", store)
    append("iceberg", store, 0)
    counts = []
    for number in range(1, 21):
        counting = Counting(store)
        append("iceberg", counting, number)
        counts.append(len(counting.calls))
        assert not [call for call in counting.calls if call.startswith("list")]
        assert {call for call in counting.calls if call.startswith("get")} == {"get metadata/version-hint.text"}
    assert set(counts) == {counts[0]}
    assert turn.left is not None
    assert ids(store, "iceberg") == list(range(21))


def test_a_delta_commit_that_was_overtaken_reads_only_the_newest_that_is_known(store: Store) -> None:
    created("delta", store)
    turn = turn_of("delta", store)

    class Overtaken(Counting):
        def put(self, path: str, data: Any, *, size: int, if_absent: bool = False) -> ObjectInfo:
            if path.endswith(".parquet"):  # its data file: the version is pinned, the turn not yet taken
                for number in range(1, 9):
                    append("delta", self._store, number)
                self.calls.clear()
            return self._store.put(path, data, size=size, if_absent=if_absent)

    late = Overtaken(store)
    append("delta", late, 100)
    assert late.calls == ["get _delta_log/00000000000000000008.json", "get _delta_log/00000000000000000009.json"]
    assert turn.left is not None
    assert turn.left.number == 9
    assert ids(store, "delta") == [*range(1, 9), 100]


@BOTH
def test_what_a_writer_left_is_not_believed_of_a_table_that_was_made_anew(store: Store, kind: str) -> None:
    created(kind, store)
    turn = turn_of(kind, store)
    for number in range(4):
        append(kind, store, number)
    left = turn.left
    for info in list(store.list()):
        store.delete(info.path)
    created(kind, store)
    append(kind, store, 10)
    turn.left = left
    append(kind, store, 11)
    assert ids(store, kind) == [10, 11]


@BOTH
def test_commits_of_other_processes_are_built_upon(store: Store, kind: str) -> None:
    created(kind, store)
    turn = turn_of(kind, store)
    append(kind, store, 1)
    left = turn.left
    append(kind, store, 2)
    MODULES[kind].overwrite(target(kind, store), rows(3))
    append(kind, store, 4)
    turn.left = left  # as if others had made the last three
    append(kind, store, 5)
    assert ids(store, kind) == [3, 4, 5]


def test_an_iceberg_table_whose_next_metadata_files_have_expired_is_read_anew(store: Store) -> None:
    """Trap Iceberg 16."""
    created("iceberg", store)
    turn = turn_of("iceberg", store)
    append("iceberg", store, 1)
    left = turn.left
    for number in range(2, 5):
        append("iceberg", store, number)
    store.delete("metadata/v1.metadata.json")
    store.delete("metadata/v3.metadata.json")
    store.delete("metadata/v4.metadata.json")
    turn.left = left  # the table at v2, which is still there
    append("iceberg", store, 5)
    assert ids(store, "iceberg") == [1, 2, 3, 4, 5]
    assert not [info for info in store.list("metadata") if info.path == "metadata/v3.metadata.json"]


def test_a_manifest_list_grows_by_a_block_that_every_reader_of_avro_reads(store: Store) -> None:
    import fastavro
    from pyiceberg.manifest import read_manifest_list

    from lakehouse.writing.iceberg_files import StoreFiles

    created("iceberg", store)
    for number in range(4):
        append("iceberg", store, number)
    metadata = ByPath(store).load().metadata
    for count, path in enumerate(lists_of(store), 1):
        data = store.get(path)
        snapshot = metadata["snapshots"][count - 1]
        reader: Any = fastavro.reader(io.BytesIO(data))
        found = list(reader)
        assert [record["sequence_number"] for record in found] == list(range(1, count + 1))
        assert [record["added_snapshot_id"] for record in found] == [raw["snapshot-id"] for raw in metadata["snapshots"][:count]]
        assert reader.metadata["snapshot-id"] == str(snapshot["snapshot-id"])
        assert reader.metadata["parent-snapshot-id"] == str(snapshot.get("parent-snapshot-id", "null"))
        assert reader.metadata["sequence-number"] == str(count)
        files = StoreFiles(store, store.url)
        assert len(list(read_manifest_list(files.new_input(f"{store.url}/{path}")))) == count
    assert metadata["snapshots"][-1]["summary"]["total-records"] == "4"


def test_what_is_appended_after_the_table_was_emptied_is_seen_by_every_reader_of_avro(store: Store) -> None:
    import fastavro
    from pyiceberg.manifest import read_manifest_list

    from lakehouse.writing.iceberg_files import StoreFiles

    created("iceberg", store)
    append("iceberg", store, 1)
    for held in ([], [], [2], [3], []):
        iceberg.overwrite(target("iceberg", store), rows(*held))
        append("iceberg", store, 4)
        metadata = ByPath(store).load().metadata
        summary, address = metadata["snapshots"][-1]["summary"], metadata["snapshots"][-1]["manifest-list"]
        live = len([*held, 4])
        assert (summary["total-data-files"], summary["total-records"]) == (str(live), str(live))
        named = list(fastavro.reader(io.BytesIO(store.get(address.removeprefix(f"{store.url}/")))))
        seen = list(read_manifest_list(StoreFiles(store, store.url).new_input(address)))
        assert len(seen) == len(named) >= 1
        assert ids(store, "iceberg") == [*held, 4]


def test_a_manifest_list_of_another_writer_is_written_anew_with_all_that_it_names(store: Store) -> None:
    created("iceberg", store)
    place = ByPath(store)
    append("iceberg", store, 1)
    for codec in ("zstd", "uncompressed", "gzip"):
        base = place.load()
        place.swap(base, {**base.metadata, "properties": {"write.avro.compression-codec": codec}})
        append("iceberg", store, 2)
    one, other = (store.get(path) for path in lists_of(store)[:2])
    assert extended(one, other, "t") is None
    assert ids(store, "iceberg") == [1, 2, 2, 2]


def test_a_table_of_format_version_1_is_appended_to_without_sequence_numbers(store: Store) -> None:
    created("iceberg", store)
    place = ByPath(store)
    base = place.load()
    schema, spec = base.metadata["schemas"][0], base.metadata["partition-specs"][0]["fields"]
    older = {**base.metadata, "format-version": 1, "schema": schema, "partition-spec": spec}
    del older["last-sequence-number"]
    place.swap(base, older)
    append("iceberg", store, 1)
    append("iceberg", store, 2)
    found = place.load().metadata
    assert "last-sequence-number" not in found
    assert ["sequence-number" in raw for raw in found["snapshots"]] == [False, False]
    assert ids(store, "iceberg") == [1, 2]


def test_a_damaged_manifest_list_is_named_and_nothing_is_committed(store: Store) -> None:
    created("iceberg", store)
    append("iceberg", store, 1)
    append("iceberg", store, 2)
    path = lists_of(store)[-1]
    data = store.get(path)
    store.put(path, data[:-20], size=len(data) - 20)
    before = {info.path for info in store.list()}
    with pytest.raises(NotFound, match=r"snap-.*damaged"):
        append("iceberg", store, 3)
    assert {info.path for info in store.list()} == before
    assert json.loads(store.get("metadata/version-hint.text")) == 3
