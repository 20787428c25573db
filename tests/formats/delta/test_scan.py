"""Scans of Delta tables: the rows of every version, whatever features brought them about."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.errors import Config, NotFound, Unsupported
from lakehouse.formats.delta.scan import plan_scan, points_of, version_at
from lakehouse.reading import rows
from lakehouse.reading.prune import may_match
from lakehouse.reading.task import Point
from tests.formats.delta.handmade import column, commit, mapped, plan, protocol, start, vector, write_file
from tests.formats.replicas import DELTA, local, remove

LONG = column("id", "long")


def ids(*values: int | None) -> pa.Table:
    return pa.table({"id": pa.array(values, pa.int64())})


def scanned(folder: Path, version: int | None = None, *, filter: Any = None) -> pa.Table:
    found = plan(folder, version)
    return pa.Table.from_batches(rows.batches(found, filter=filter, workers=1), schema=rows.schema_of(found))


def read(folder: Path, version: int | None = None, **more: Any) -> list[dict[str, Any]]:
    found = scanned(folder, version, **more).to_pylist(maps_as_pydicts="strict")
    return sorted(found, key=repr)


def files_of(folder: Path, filter: Any) -> list[str]:
    """The files that a filter leaves."""
    found = plan(folder)
    return sorted(task.path for task in found.tasks(may_match(filter, rows.schema_of(found))))


def test_rows_that_a_vector_deletes_are_gone_and_come_back_in_older_versions(tmp_path: Path) -> None:
    """Delta 16: a reader that lacks deletion vectors resurrects rows."""
    added = write_file(tmp_path, "f.parquet", ids(*range(10)))
    start(tmp_path, [LONG], added, features=["deletionVectors"])
    first, second = vector(tmp_path, 0, 9), vector(tmp_path, 0, 3, 9, inline=True)
    one = {"add": {**added["add"], "deletionVector": first}}
    commit(tmp_path, 1, remove("f.parquet"), one)
    commit(tmp_path, 2, remove("f.parquet", deletionVector=first), {"add": {**added["add"], "deletionVector": second}})
    for version, gone in enumerate([(), (0, 9), (0, 3, 9)]):
        assert read(tmp_path, version) == [{"id": n} for n in range(10) if n not in gone]


def test_a_missing_vector_is_an_error_and_no_row_comes_back(tmp_path: Path) -> None:
    descriptor = vector(tmp_path, 1)
    start(tmp_path, [LONG], write_file(tmp_path, "f.parquet", ids(1, 2), deletionVector=descriptor), features=["deletionVectors"])
    next(tmp_path.glob("deletion_vector_*")).unlink()
    with pytest.raises(NotFound, match="so it is not known which rows are deleted"):
        read(tmp_path)


def test_columns_are_found_by_id_whatever_files_call_them(tmp_path: Path) -> None:
    """delta.md: column mapping mode id, read by physical name, is NULL in every column."""
    inner = {"type": "struct", "fields": [mapped("x", "long", "phys-3", 3)]}
    columns = [mapped("renamed", "long", "phys-1", 1), mapped("s", inner, "phys-2", 2), mapped("p", "date", "phys-4", 4)]
    x = pa.field("z", pa.int64(), metadata={"PARQUET:field_id": "3"})
    fields = [
        pa.field("whatever", pa.struct([x]), metadata={"PARQUET:field_id": "2"}),
        pa.field("old", pa.int64(), metadata={"PARQUET:field_id": "1"}),
    ]
    data = pa.table([pa.array([{"z": 7}]), pa.array([5], pa.int64())], schema=pa.schema(fields))
    added = write_file(tmp_path, "f.parquet", data, partition={"phys-4": "2020-02-02"})
    start(
        tmp_path, columns, added, partition_by=["p"], features=["columnMapping"], delta__columnMapping__mode="id",
    )  # fmt: skip
    assert read(tmp_path) == [{"renamed": 5, "s": {"x": 7}, "p": dt.date(2020, 2, 2)}]


def test_a_file_without_ids_is_refused_under_mapping_by_id(tmp_path: Path) -> None:
    added = write_file(tmp_path, "f.parquet", pa.table({"phys-1": [1]}))
    start(tmp_path, [mapped("a", "long", "phys-1", 1)], added, features=["columnMapping"], delta__columnMapping__mode="id")
    with pytest.raises(Unsupported, match=r"f\.parquet: has no field ids"):
        read(tmp_path)


def test_a_column_that_was_renamed_dropped_and_added_again_is_found_by_its_physical_name(tmp_path: Path) -> None:
    """Conversion: renamed columns NULL; nested names."""
    inner = {"type": "struct", "fields": [mapped("b", "string", "phys-in", 3)]}
    first = [mapped("a", "long", "phys-1", 1), mapped("s", inner, "phys-s", 2)]
    data = pa.table({"phys-1": [1], "phys-s": [{"phys-in": "x"}]})
    named = {"features": ["columnMapping"], "delta__columnMapping__mode": "name"}
    start(tmp_path, first, write_file(tmp_path, "f.parquet", data), **named)  # type: ignore[arg-type]
    later = [mapped("a2", "long", "phys-1", 1), mapped("s", inner, "phys-s", 2), mapped("a", "long", "phys-9", 9)]
    renamed = tmp_path / "renamed"
    start(renamed, later, write_file(renamed, "f.parquet", data), **named)  # type: ignore[arg-type]
    assert read(tmp_path) == [{"a": 1, "s": {"b": "x"}}]
    assert read(renamed) == [{"a2": 1, "s": {"b": "x"}, "a": None}]


MOMENT = dt.datetime(2020, 2, 29, 1, 2, 3, 500_000)
PARTITIONS = {
    "byte": ("-1", -1), "short": ("2", 2), "integer": ("3", 3), "long": ("4", 4), "float": ("1.5", 1.5),
    "double": ("-0.25", -0.25), "decimal(5,2)": ("1.5", Decimal("1.50")), "string": ("a/b", "a/b"), "binary": ("\u0001", b"\x01"),
    "boolean": ("true", True), "date": ("2020-02-29", MOMENT.date()), "timestamp_ntz": ("2020-02-29 01:02:03.5", MOMENT),
    "timestamp": ("2020-02-29T01:02:03.5Z", MOMENT.replace(tzinfo=dt.UTC)),
}  # fmt: skip


def test_partition_values_of_every_type_come_from_the_log(tmp_path: Path) -> None:
    """Delta 8, Conversion: partition columns NULL; timestamp partition values become the epoch."""
    names = {kind: f"p {kind}" for kind in PARTITIONS}
    columns = [LONG, *(column(name, kind) for kind, name in names.items())]
    values = {names[kind]: text for kind, (text, _) in PARTITIONS.items()}
    full = write_file(tmp_path, "p=lies/a.parquet", ids(1), partition=values)
    null = write_file(tmp_path, "b.parquet", ids(2), partition=dict.fromkeys(names.values()))
    empty = write_file(tmp_path, "c.parquet", ids(3), partition=dict.fromkeys(names.values(), ""))
    start(tmp_path, columns, full, null, empty, partition_by=names.values(), features=["timestampNtz"])
    nothing = dict.fromkeys(names.values())
    expected = {names[kind]: value for kind, (_, value) in PARTITIONS.items()}
    assert read(tmp_path) == [{"id": 1, **expected}, {"id": 2, **nothing}, {"id": 3, **nothing}]
    for kind, name in names.items():
        value = pa.scalar(PARTITIONS[kind][1], plan(tmp_path).fields[list(names).index(kind) + 1].type)
        assert read(tmp_path, filter=pc.field(name) == value) == [{"id": 1, **expected}]
        assert files_of(tmp_path, pc.field(name) == value) == ["p=lies/a.parquet"]
        assert files_of(tmp_path, pc.field(name).is_null()) == ["b.parquet", "c.parquet"]


def test_a_partition_column_in_the_file_does_not_count(tmp_path: Path) -> None:
    data = pa.table({"id": pa.array([1], pa.int64()), "p": ["file"]})
    added = write_file(tmp_path, "f.parquet", data, partition={"p": "log"})
    start(tmp_path, [LONG, column("p", "string")], added, partition_by=["p"])
    assert read(tmp_path) == [{"id": 1, "p": "log"}]


def test_an_add_without_a_partition_value_is_an_error(tmp_path: Path) -> None:
    start(tmp_path, [LONG, column("p", "string")], write_file(tmp_path, "f.parquet", ids(1)), partition_by=["p"])
    with pytest.raises(NotFound, match=r"add of f\.parquet: states no value of the partition column 'p'"):
        read(tmp_path)


def test_files_of_before_a_type_was_widened_are_read_in_the_wider_type(tmp_path: Path) -> None:
    changed = {"delta__typeChanges": [{"toType": "double", "fromType": "float"}]}
    value = 1.100000023841858  # the float 1.1
    data = pa.table({"f": pa.array([1.1], pa.float32()), "n": pa.array([7], pa.int8())})
    stats = {"numRecords": 1, "minValues": {"f": 1.1, "n": 7}, "maxValues": {"f": 1.1, "n": 7}, "nullCount": {"f": 0, "n": 0}}
    added = write_file(tmp_path, "f.parquet", data, stats=stats)
    start(tmp_path, [column("f", "double", **changed), column("n", "long")], added, features=["typeWidening"])  # type: ignore[arg-type]
    assert read(tmp_path) == [{"f": value, "n": 7}]
    assert read(tmp_path, filter=pc.field("f") > 1.1) == [{"f": value, "n": 7}], "the float's text is no bound of doubles"
    assert files_of(tmp_path, pc.field("n") > 7) == []


def test_a_column_that_cannot_be_read_is_refused_by_name_and_the_others_are_read(tmp_path: Path) -> None:
    added = write_file(tmp_path, "f.parquet", pa.table({"id": pa.array([1], pa.int64()), "g": [b"x"]}))
    start(tmp_path, [LONG, column("g", "geometry(OGC:CRS84)")], added, features=["geospatial"])
    found = plan(tmp_path)
    assert [batch.to_pylist() for batch in rows.batches(found, columns=["id"])] == [[{"id": 1}]]
    with pytest.raises(Unsupported, match="column 'g' cannot be read: geometries"):
        list(rows.batches(found))


def test_a_reader_feature_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    """Delta 12: unknown features refused."""
    start(tmp_path, [LONG])
    commit(tmp_path, 1, protocol("rowTracking"))
    with pytest.raises(Unsupported, match="version 1: its rows cannot be read without the Delta features rowTracking"):
        plan(tmp_path)
    assert read(tmp_path, 0) == []


def at(milliseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)


def test_a_version_is_read_with_the_schema_that_it_had(tmp_path: Path) -> None:
    start(tmp_path, [LONG], write_file(tmp_path, "a.parquet", ids(1)), time=1000)
    metadata = DELTA.pin(local(tmp_path)).metadata
    wider = '{"type": "struct", "fields": [%s, %s]}'
    parts = ('{"name": "id", "type": "long"}', '{"name": "more", "type": "string"}')
    commit(tmp_path, 1, {"metaData": {**metadata, "schemaString": wider % parts}}, time=2000)
    assert (read(tmp_path, 0), read(tmp_path, 1)) == ([{"id": 1}], [{"id": 1, "more": None}])


def test_points_are_the_versions_newest_first_and_others_are_not_found(tmp_path: Path) -> None:
    for number in range(3):
        start(tmp_path, [LONG]) if number == 0 else commit(tmp_path, number)
    store = local(tmp_path)
    newest, older = DELTA.pin(store), DELTA.pin(store, "1")
    assert list(points_of(store, newest)) == [Point(version=text) for text in "210"]
    with pytest.raises(NotFound, match="version 2 is not in the retained log; versions 0 to 1 are"):
        plan_scan(store, older, Point(version="2"))
    for point in (Point(version="one"), Point(snapshot=1), Point(ref="main")):
        with pytest.raises(Config):
            plan_scan(store, newest, point)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8), st.integers(-30, 30))
def test_as_of_is_the_last_version_not_later(tmp_path_factory: pytest.TempPathFactory, steps: list[int], moment: int) -> None:
    """Delta 3: version timestamps; a clock that went back counts as a millisecond later."""
    folder, stated = tmp_path_factory.mktemp("times"), 0
    counted: list[int] = []
    for number, step in enumerate(steps):
        stated += step
        start(folder, [LONG], time=stated) if number == 0 else commit(folder, number, time=stated)
        counted.append(stated if not counted or stated > counted[-1] else counted[-1] + 1)
    store = local(folder)
    pinned = DELTA.pin(store)
    wanted = max((number for number, time in enumerate(counted) if time <= moment), default=None)
    if wanted is None:
        with pytest.raises(NotFound, match="no version of the retained log is as old as"):
            version_at(store, pinned, at(moment))
    else:
        assert version_at(store, pinned, at(moment)) == wanted


def test_in_commit_timestamps_come_before_the_writers_clock(tmp_path: Path) -> None:
    start(tmp_path, [LONG])
    commit(tmp_path, 0, {"commitInfo": {"timestamp": 9000, "inCommitTimestamp": 1000}}, *first_of(tmp_path))
    commit(tmp_path, 1, {"commitInfo": {"timestamp": 1, "inCommitTimestamp": 5000}})
    store = local(tmp_path)
    assert [version_at(store, DELTA.pin(store), at(moment)) for moment in (1000, 4999, 5000)] == [0, 0, 1]


def first_of(folder: Path) -> list[dict[str, Any]]:
    pinned = DELTA.pin(local(folder))
    return [{"protocol": pinned.protocol}, {"metaData": pinned.metadata}]


def test_an_instant_without_a_zone_is_refused(tmp_path: Path) -> None:
    start(tmp_path, [LONG])
    store = local(tmp_path)
    with pytest.raises(Config, match="say in which zone"):
        plan_scan(store, DELTA.pin(store), Point(as_of=dt.datetime(2020, 1, 1)))
