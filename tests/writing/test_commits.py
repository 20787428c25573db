"""Commits of our own: lost replies, other writers, what must stay as it was, and tables that are not written to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakehouse.connect import open_store
from lakehouse.errors import Config, Conflict, Transfer, Unsupported
from lakehouse.formats.delta import DeltaFormat
from lakehouse.retry import RetryingStore
from lakehouse.storage_catalog import current_root
from lakehouse.store import ObjectInfo, Store
from lakehouse.tables import open_table
from lakehouse.testing.faulty_store import Faults, FaultyStore
from lakehouse.writing import delta, iceberg, parquet
from lakehouse.writing.rows import fitting

SCHEMA = pa.schema([("id", pa.int64()), ("p", pa.string())])


def rows(*ids: int) -> Callable[[pa.Schema], pa.RecordBatchReader]:
    table = pa.table({"id": pa.array(ids, pa.int64()), "p": pa.array([str(number) for number in ids], pa.string())})
    return lambda schema: fitting(table, schema, "t")


def written(kind: str, store: Store, how: str, *ids: int) -> None:
    module: Any = {"delta": delta, "iceberg": iceberg, "parquet": parquet}[kind]
    getattr(module, how)(iceberg.ByPath(store) if kind == "iceberg" else store, rows(*ids))


def created(kind: str, store: Store, schema: pa.Schema = SCHEMA, partition_by: tuple[str, ...] = ()) -> None:
    module: Any = {"delta": delta, "iceberg": iceberg, "parquet": parquet}[kind]
    module.create(iceberg.ByPath(store) if kind == "iceberg" else store, schema, partition_by)


def ids(store: Store, kind: str) -> list[int]:
    """What the table holds; of an Iceberg table as its newest metadata file says, which the hint may not name yet."""
    root = current_root(store) if kind == "iceberg" else None
    place = store.url if root is None else f"{store.url}/{root[1]}"
    found = open_table(place, format=kind).scan(["id"]).to_arrow()
    return sorted(found.column("id").to_pylist())


def objects(store: Store) -> set[str]:
    return {info.path for info in store.list()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "t"))


def inner(store: Any) -> Store:
    """The store below the retries."""
    found: Store = store.inner
    return found


@pytest.mark.parametrize("how", ["append", "overwrite"])
@pytest.mark.parametrize("kind", ["delta", "iceberg"])
@pytest.mark.parametrize("retried", [True, False])
def test_whichever_call_loses_its_reply_the_rows_are_there_once_or_not_at_all(
    tmp_path: Path, kind: str, how: str, retried: bool
) -> None:
    number = 0
    while True:
        number += 1
        store = open_store(str(tmp_path / str(number)))
        created(kind, store)
        written(kind, store, "append", 1)
        faults = Faults(fail_at=number, mode="after", transient=retried)
        faulty: Store = FaultyStore(inner(store), faults)
        try:
            written(kind, RetryingStore(faulty, sleep=lambda _: None) if retried else faulty, how, 2)
        except Transfer:
            assert not retried
        wanted = [1, 2] if how == "append" else [2]
        assert ids(store, kind) in ([wanted] if retried else [wanted, [1]])
        if faults.failed is None:
            break
    assert number > 4


@pytest.mark.parametrize("kind", ["delta", "iceberg", "parquet"])
def test_whichever_call_fails_nothing_is_half_there_and_the_next_write_works(tmp_path: Path, kind: str) -> None:
    number = 0
    while True:
        number += 1
        store = open_store(str(tmp_path / str(number)))
        created(kind, store)
        written(kind, store, "append", 1)
        faults = Faults(fail_at=number, mode="before")
        try:
            written(kind, FaultyStore(inner(store), faults), "append", 2)
        except Transfer:
            assert ids(store, kind) in ([1], [1, 2])  # a hint or a checkpoint that failed does not undo a commit
        if faults.failed is None:
            break
        before = ids(store, kind)
        written(kind, store, "append", 3)
        assert ids(store, kind) == [*before, 3]
    assert number > 3


class _Meanwhile:
    """A store on which others write just before the first commit is put."""

    def __init__(self, store: Store, others: Callable[[], None]) -> None:
        self._store, self._others = store, [others]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, path: str, data: Any, *, size: int, if_absent: bool = False) -> ObjectInfo:
        if if_absent and self._others:
            self._others.pop()()
        return self._store.put(path, data, size=size, if_absent=if_absent)


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_data_files_are_written_once_whatever_other_writers_do(store: Store, kind: str) -> None:
    """Traps Delta 10, Iceberg 14."""
    created(kind, store)

    def others() -> None:
        for number in range(10, 14):
            written(kind, store, "append", number)

    late: Any = _Meanwhile(store, others)
    written(kind, late, "append", 1)
    assert ids(store, kind) == [1, 10, 11, 12, 13]
    assert len([path for path in objects(store) if path.endswith(".parquet") and "_delta_log" not in path]) == 5
    if kind == "iceberg":
        assert len([path for path in objects(store) if path.endswith(".avro")]) == 10  # a manifest and a list each


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_an_overwrite_replaces_what_others_appended_before_its_commit(store: Store, kind: str) -> None:
    created(kind, store)
    written(kind, store, "append", 1)
    late: Any = _Meanwhile(store, lambda: written(kind, store, "append", 2))
    written(kind, late, "overwrite", 3)
    assert ids(store, kind) == [3]


def test_an_append_to_a_delta_table_whose_schema_changed_meanwhile_is_a_conflict_and_leaves_nothing(store: Store) -> None:
    created("delta", store)
    metadata = DeltaFormat().pin(store).metadata
    before = objects(store)

    def others() -> None:
        changed = json.dumps({"metaData": {**metadata, "configuration": {"delta.appendOnly": "true"}}}).encode()
        store.put("_delta_log/00000000000000000001.json", changed, size=len(changed), if_absent=True)

    late: Any = _Meanwhile(store, others)
    with pytest.raises(Conflict, match="another writer changed the table's schema"):
        written("delta", late, "append", 1)
    assert objects(store) == {*before, "_delta_log/00000000000000000001.json"}


def test_an_append_to_an_iceberg_table_whose_schema_changed_meanwhile_is_a_conflict_and_leaves_nothing(store: Store) -> None:
    created("iceberg", store)
    place = iceberg.ByPath(store)

    def others() -> None:
        base = place.load()
        place.swap(base, {**base.metadata, "schemas": [{**base.metadata["schemas"][0], "schema-id": 1}], "current-schema-id": 1})

    late: Any = _Meanwhile(store, others)
    with pytest.raises(Conflict, match="changed the table's current-schema-id"):
        written("iceberg", late, "append", 1)
    assert not [path for path in objects(store) if path.endswith((".parquet", ".avro"))]


def test_what_iceberg_metadata_says_that_nobody_here_knows_stays(store: Store) -> None:
    """Trap Iceberg 6."""
    created("iceberg", store)
    place = iceberg.ByPath(store)
    written("iceberg", store, "append", 1)
    base = place.load()
    snapshot = {**base.metadata["snapshots"][0], "x-note": {"kept": True}}
    refs = {**base.metadata["refs"], "kept": {"snapshot-id": snapshot["snapshot-id"], "type": "tag", "x": 1}}
    place.swap(base, {**base.metadata, "x-unknown": [1, {"a": None}], "snapshots": [snapshot], "refs": refs})
    written("iceberg", store, "append", 2)
    written("iceberg", store, "overwrite", 3)
    found = place.load().metadata
    assert found["x-unknown"] == [1, {"a": None}]
    assert found["snapshots"][0] == snapshot
    assert found["refs"]["kept"] == refs["kept"]
    assert [entry["metadata-file"].rpartition("/")[2] for entry in found["metadata-log"]] == [
        f"v{number}.metadata.json" for number in range(1, 5)
    ]
    assert [raw["summary"]["operation"] for raw in found["snapshots"]] == ["append", "append", "overwrite"]
    assert found["snapshots"][-1]["summary"]["total-records"] == "1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format-version": 3, "next-row-id": 0}, "format version 3 is not written"),
        ({"location": "file:///elsewhere/t"}, "says that it lies at file:///elsewhere/t"),
        ({"properties": {"write.py-location-provider.impl": "os.system"}}, "names code to run"),
        ({"properties": {"write.format.default": "orc"}}, "asks for orc"),
        ({"properties": {"encryption.key-id": "k"}}, "encrypted"),
        ({"properties": {"write.data.path": "file:///elsewhere"}}, "files outside the table"),
    ],
)
def test_iceberg_tables_that_would_be_written_wrongly_are_refused_by_name(
    store: Store, change: dict[str, Any], message: str
) -> None:
    """Trap Iceberg 11."""
    created("iceberg", store)
    place = iceberg.ByPath(store)
    base = place.load()
    place.swap(base, {**base.metadata, **change})
    before = objects(store)
    with pytest.raises(Unsupported, match=message):
        written("iceberg", store, "append", 1)
    assert objects(store) == before


@pytest.mark.parametrize(
    ("protocol", "configuration", "message"),
    [
        ({"writerFeatures": ["rowTracking", "domainMetadata"]}, {}, "rowTracking"),
        ({"writerFeatures": ["inCommitTimestamp"]}, {"delta.enableInCommitTimestamps": "true"}, "inCommitTimestamp"),
        (
            {"writerFeatures": ["columnMapping"], "readerFeatures": ["columnMapping"]},
            {"delta.columnMapping.mode": "name"},
            "by name",
        ),
        ({"writerFeatures": ["variantType"], "readerFeatures": ["variantType"]}, {}, "variantType"),
    ],
)
def test_delta_tables_that_would_be_written_wrongly_are_refused_by_name(
    store: Store, protocol: dict[str, Any], configuration: dict[str, str], message: str
) -> None:
    """Traps Delta 8, 12."""
    created("delta", store)
    metadata = {**DeltaFormat().pin(store).metadata, "configuration": configuration}
    stated = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [], **protocol}
    _commit(store, 1, {"protocol": stated}, {"metaData": metadata})
    before = objects(store)
    with pytest.raises(Unsupported, match=message):
        written("delta", store, "append", 1)
    assert objects(store) == before


def _commit(store: Store, number: int, *actions: dict[str, Any]) -> None:
    data = "\n".join(json.dumps(action) for action in actions).encode()
    store.put(f"_delta_log/{number:020d}.json", data, size=len(data), if_absent=True)


def test_features_that_ask_nothing_of_added_files_are_no_hindrance(store: Store) -> None:
    created("delta", store)
    metadata = DeltaFormat().pin(store).metadata
    switched = {"delta.enableDeletionVectors": "true", "delta.enableChangeDataFeed": "true", "delta.checkpointInterval": "2"}
    features = ["appendOnly", "changeDataFeed", "checkConstraints", "deletionVectors", "domainMetadata", "invariants"]
    stated = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"], "writerFeatures": features}
    _commit(store, 1, {"protocol": stated}, {"metaData": {**metadata, "configuration": switched}})
    written("delta", store, "append", 1)
    written("delta", store, "overwrite", 2)
    assert ids(store, "delta") == [2]
    assert "_delta_log/00000000000000000002.checkpoint.parquet" in objects(store)


def test_a_row_that_breaks_a_constraint_is_refused_and_leaves_nothing(store: Store) -> None:
    created("delta", store)
    metadata = DeltaFormat().pin(store).metadata
    _commit(
        store, 1, {"protocol": {"minReaderVersion": 1, "minWriterVersion": 3}},
        {"metaData": {**metadata, "configuration": {"delta.constraints.positive": "id > 0"}}},
    )  # fmt: skip
    before = objects(store)
    with pytest.raises(Config, match="rows break a constraint"):
        written("delta", store, "append", 1, -1)
    assert objects(store) == before
    written("delta", store, "append", 1)
    assert ids(store, "delta") == [1]


def test_a_table_that_is_append_only_is_not_overwritten(store: Store) -> None:
    created("delta", store)
    metadata = DeltaFormat().pin(store).metadata
    _commit(store, 1, {"metaData": {**metadata, "configuration": {"delta.appendOnly": "true"}}})
    written("delta", store, "append", 1)
    with pytest.raises(Unsupported, match="appendOnly"):
        written("delta", store, "overwrite", 2)
    assert ids(store, "delta") == [1]


def test_every_tenth_commit_has_a_checkpoint_that_deltalake_starts_from(store: Store, tmp_path: Path) -> None:
    import deltalake

    created("delta", store)
    for number in range(1, 22):
        written("delta", store, "append", number)
    names = [path for path in objects(store) if "checkpoint" in path]
    assert sorted(names) == [
        "_delta_log/00000000000000000010.checkpoint.parquet", "_delta_log/00000000000000000020.checkpoint.parquet",
        "_delta_log/_last_checkpoint",
    ]  # fmt: skip
    for number in range(20):
        store.delete(f"_delta_log/{number:020d}.json")
    assert sorted(pa.table(deltalake.DeltaTable(tmp_path / "t").to_pyarrow_table()).column("id").to_pylist()) == list(
        range(1, 22)
    )
    assert ids(store, "delta") == list(range(1, 22))


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_a_store_without_conditional_put_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    from lakehouse.connect import open_at
    from lakehouse.settings import StoreSettings
    from lakehouse.url import parse

    plain = open_at(parse(str(tmp_path / "t")), StoreSettings("s", str(tmp_path), transport="fsspec"))
    with pytest.raises(Unsupported, match="no conditional put"):
        created(kind, plain)
    created(kind, open_store(str(tmp_path / "t")))
    with pytest.raises(Unsupported, match="no conditional put"):
        written(kind, plain, "append", 1)
