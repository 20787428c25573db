"""Scans of tables written by hand: evolution, partitions, time travel, what is missing, what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from lakehouse.errors import Config, NotFound, Unsupported
from lakehouse.formats.iceberg.format import IcebergFormat
from lakehouse.local_store import LocalStore
from lakehouse.reading.rows import batches
from lakehouse.reading.task import Point
from lakehouse.url import parse
from tests.formats.iceberg.handmade import field
from tests.formats.iceberg.scanned import BY_P, FIELDS, STRINGS, Make, ids, keys, make, plan_of, read, rows

__all__ = ["make"]


def test_a_table_without_a_snapshot_has_columns_and_no_rows(make: Make) -> None:
    table = make()
    assert read(table) == []
    assert [each.name for each in plan_of(table).fields] == ["id", "p"]


def test_version_1_metadata_may_name_its_manifests_itself(make: Make) -> None:
    table = make(version=1)
    table.commit(table.data(rows(0, 1)))
    [snapshot] = table.metadata["snapshots"]
    del snapshot["manifest-list"]
    snapshot["manifests"] = [each["manifest_path"] for each in table.manifests]
    table.publish()
    assert ids(table) == [0, 1]


def test_columns_are_found_by_their_ids_through_rename_reorder_drop_and_widening(make: Make) -> None:
    table = make([field(1, "a", "int"), field(2, "b", "string"), field(3, "c", "float")])
    table.commit(table.data(pa.table({"a": pa.array([1], pa.int32()), "b": ["x"], "c": pa.array([0.5], pa.float32())})))
    table.add_schema([field(3, "measure", "double"), field(4, "b", "string"), field(1, "a", "long")])
    assert read(table) == [{"measure": 0.5, "b": None, "a": 1}]
    assert plan_of(table).fields[0].type == pa.float64()


def test_files_without_ids_are_read_by_the_name_mapping_and_refused_without(make: Make) -> None:
    table = make([field(1, "id", "long"), field(9, "p", "string")])
    plain = pa.table({"old": pa.array([1], pa.int64()), "p": ["x"]})
    table.metadata["schemas"][0]["fields"][1]["name"] = "q"
    table.commit(table.data(plain))
    with pytest.raises(Unsupported, match=r"schema\.name-mapping\.default"):
        read(table)
    table.metadata["properties"]["schema.name-mapping.default"] = (
        '[{"field-id":1,"names":["id","old"]},{"field-id":9,"names":["p"]}]'
    )
    table.publish()
    assert read(table) == [{"id": 1, "q": "x"}]


def test_an_identity_partition_value_stands_in_for_a_column_that_the_file_lacks(make: Make) -> None:
    """Traps (Conversion, partition columns NULL; Delta 8): from the entry, never from a path."""
    table = make(spec=BY_P, avro_types=STRINGS)
    table.commit(table.data(keys(1), partition=["x y"]), table.data(keys(2), partition=[None]))
    assert read(table) == [{"id": 1, "p": "x y"}, {"id": 2, "p": None}]


def test_a_bucket_says_nothing_of_a_column_that_the_file_lacks(make: Make) -> None:
    table = make(spec=[{"name": "p_bucket", "transform": "bucket[8]", "source-id": 2, "field-id": 1000}])
    table.commit(table.data(keys(1), partition=[3]))
    assert read(table) == [{"id": 1, "p": None}]


def test_a_column_of_a_type_that_cannot_be_read_is_refused_and_the_others_are_read(make: Make) -> None:
    table = make([*FIELDS, field(3, "v", "variant"), field(4, "g", "geometry(srid:3857)"), field(5, "u", "unknown")], version=3)
    table.commit(table.data(rows(1)))
    plan = plan_of(table)
    assert sorted(plan.refused) == ["g", "v"]
    found = pa.Table.from_batches(batches(plan, columns=["id", "u"]))
    assert found.to_pylist() == [{"id": 1, "u": None}]
    with pytest.raises(Unsupported, match="variant"):
        list(batches(plan))


# --- points of the history ---------------------------------------------------------------------------------------------------


def test_a_snapshot_and_a_tag_are_read_by_their_own_schema_a_branch_by_the_current_one(make: Make) -> None:
    table = make()
    first = table.commit(table.data(rows(0)))
    table.metadata["refs"] |= {"then": {"snapshot-id": first, "type": "tag"}, "side": {"snapshot-id": first, "type": "branch"}}
    table.add_schema([field(1, "number", "long")])
    table.commit(table.data(pa.table({"number": pa.array([1], pa.int64())})))
    assert read(table, Point(snapshot=first)) == [{"id": 0, "p": "a"}]
    assert read(table, Point(ref="then")) == [{"id": 0, "p": "a"}]
    assert read(table, Point(ref="side")) == [{"number": 0}]
    assert read(table, Point(ref="main")) == read(table) == [{"number": 0}, {"number": 1}]


def test_a_branch_holds_rows_that_main_never_had(make: Make) -> None:
    """Trap 8."""
    table = make()
    table.commit(table.data(rows(0)))
    kept = list(table.manifests)
    table.commit(table.data(rows(1)), branch="audit")
    table.manifests = kept
    table.commit(table.data(rows(2)))
    assert ids(table) == [0, 2]
    assert ids(table, Point(ref="audit")) == [0, 1]


def test_an_instant_finds_what_main_stood_at_then_not_what_was_written_elsewhere(make: Make) -> None:
    table = make()
    start = datetime.fromtimestamp(table.metadata["last-updated-ms"] / 1000, UTC)
    first = table.commit(table.data(rows(0)))
    kept = list(table.manifests)
    table.commit(table.data(rows(1)), branch="audit")
    table.manifests = kept
    table.commit(table.data(rows(2)))
    table.metadata["snapshot-log"].append({"snapshot-id": first, "timestamp-ms": table.metadata["last-updated-ms"] + 60_000})
    table.publish()
    at = {minutes: ids(table, Point(as_of=start + timedelta(minutes=minutes))) for minutes in (1, 2, 3, 4, 5)}
    assert at == {1: [0], 2: [0], 3: [0, 2], 4: [0], 5: [0]}
    with pytest.raises(NotFound, match="begins after"):
        read(table, Point(as_of=start + timedelta(milliseconds=59_999)))
    with pytest.raises(Config, match="zone"):
        read(table, Point(as_of=datetime(2030, 1, 1)))


def test_what_the_history_does_not_hold_is_not_found(make: Make) -> None:
    table = make()
    table.commit(table.data(rows(0)))
    for point in (Point(snapshot=1), Point(ref="nobody"), Point(version="v7.metadata.json")):
        with pytest.raises(NotFound):
            read(table, point)


def test_another_metadata_file_is_a_version(make: Make) -> None:
    table = make()
    table.commit(table.data(rows(0)))
    old = (table.folder / "metadata" / "v1.metadata.json").read_bytes()
    (table.folder / "metadata" / "v0.metadata.json").write_bytes(old)
    table.commit(table.data(rows(1)))
    assert ids(table, Point(version="v0.metadata.json")) == [0]
    assert ids(table, Point(version="v1.metadata.json")) == [0, 1]


def test_every_retained_snapshot_is_a_point_newest_first(make: Make) -> None:
    table = make()
    made = [table.commit(table.data(rows(0))), table.commit(table.data(rows(1)), branch="audit")]
    store, chosen = LocalStore(parse(str(table.folder))), IcebergFormat()
    assert [point.snapshot for point in chosen.points(store, chosen.pin(store))] == made[::-1]


# --- what is missing or damaged -------------------------------------------------------------------------------------------------


def test_a_data_file_that_is_gone_is_named_when_it_is_read(make: Make) -> None:
    """Trap (Verification 1): counts come from metadata, and are right with every data file missing."""
    table = make()
    data = table.data(rows(0))
    table.commit(data)
    table.at(data).unlink()
    with pytest.raises(NotFound, match=table.at(data).name):
        read(table)


def test_deleted_entries_are_not_read(make: Make) -> None:
    """Trap 7."""
    table = make()
    data = table.data(rows(0))
    table.commit(data, table.data(rows(1)))
    table.commit(removed=[data])
    table.at(data).unlink()
    assert ids(table) == [1]


@pytest.mark.parametrize("what", ["list", "manifest"])
def test_a_manifest_or_list_that_is_gone_or_cut_is_named(make: Make, what: str) -> None:
    """Trap 10."""
    table = make()
    table.commit(table.data(rows(0)))
    pattern = "snap-*.avro" if what == "list" else "m*.avro"
    [path] = table.folder.joinpath("metadata").glob(pattern)
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    with pytest.raises(NotFound, match=path.name):
        read(table)
    path.unlink()
    with pytest.raises(NotFound, match=path.name):
        read(table)


def test_an_encrypted_file_and_a_format_that_nobody_knows_are_refused(make: Make) -> None:
    """Trap 11."""
    table = make()
    table.commit(table.data(rows(0), key_metadata=b"k"))
    with pytest.raises(Unsupported, match="encrypted"):
        read(table)
    table.manifests.clear()
    table.commit(table.data(rows(0), file_format="parquet") | {"file_format": "LANCE"})
    with pytest.raises(Unsupported, match="lance"):
        read(table)
