"""Files and manifests that a filter rules out are not read, and no row is lost by it."""

from __future__ import annotations

import datetime as dt
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg import types as t
from pyiceberg.conversions import to_bytes
from pyiceberg.transforms import parse_transform

from lakehouse.formats.iceberg.format import IcebergFormat
from lakehouse.local_store import LocalStore
from lakehouse.reading.prune import may_match
from lakehouse.reading.rows import batches, schema_of
from lakehouse.reading.task import Point, ScanPlan
from lakehouse.url import parse
from tests.formats.iceberg.handmade import HandmadeTable, field

EPOCH = dt.datetime(1970, 1, 1)
FIELDS = [field(1, "id", "long"), field(2, "p", "string"), field(3, "at", "timestamp")]
IDENTITY = [{"name": "p", "transform": "identity", "source-id": 2, "field-id": 1000}]


def plan_of(table: HandmadeTable) -> ScanPlan:
    store, chosen = LocalStore(parse(str(table.folder))), IcebergFormat()
    return chosen.scan(store, chosen.pin(store), Point())


def read(plan: ScanPlan, where: pc.Expression | None) -> list[Any]:
    found = pa.Table.from_batches(batches(plan, filter=where), schema_of(plan)).to_pylist()
    return sorted(found, key=repr)


def files_for(plan: ScanPlan, where: pc.Expression) -> int:
    return len(list(plan.tasks(may_match(where, schema_of(plan)))))


def rows(ids: list[int], p: str | None, at: dt.datetime) -> pa.Table:
    values = [pa.array(ids, pa.int64()), pa.array([p] * len(ids), pa.string()), pa.array([at] * len(ids), pa.timestamp("us"))]
    return pa.table(values, ["id", "p", "at"])


def test_a_filter_reads_the_files_whose_bounds_and_partitions_may_hold_its_rows(tmp_path: Path) -> None:
    table = HandmadeTable(tmp_path / "t", FIELDS, IDENTITY, avro_types={1000: "string"})
    for number, p in enumerate(("a", "b", "c", None)):
        table.commit(table.data(rows([10 * number, 10 * number + 9], p, EPOCH), partition=[p]))
    plan = plan_of(table)
    assert files_for(plan, pc.field("p") == "b") == 1
    assert files_for(plan, pc.field("p").is_null()) == 1
    assert files_for(plan, pc.field("id") > 15) == 3
    assert files_for(plan, (pc.field("id") > 15) & (pc.field("p") == "a")) == 0
    assert files_for(plan, pc.field("at") == EPOCH) == 4


def test_an_identity_partition_by_a_field_of_a_struct_is_its_value_where_the_file_lacks_it(tmp_path: Path) -> None:
    """Trap: read as null, or as its default, such a field is a wrong row."""
    inner = [field(11, "x", "long"), field(12, "day", "string")]
    fields = [field(1, "id", "long"), field(10, "st", {"type": "struct", "fields": inner})]
    spec = [{"source-id": 12, "field-id": 1000, "name": "day", "transform": "identity"}]
    table = HandmadeTable(tmp_path / "t", fields, spec, avro_types={1000: "string"})
    kind = pa.struct([pa.field("x", pa.int64(), metadata={"PARQUET:field_id": "11"})])
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("st", kind)])
    for number, day in enumerate(("a", "b", None)):
        table.commit(table.data(pa.table([[number], [{"x": number}]], schema), partition=[day]))
    plan = plan_of(table)
    assert sorted(read(plan, None), key=lambda row: row["id"]) == [
        {"id": number, "st": {"x": number, "day": day}} for number, day in enumerate(("a", "b", None))
    ]


@pytest.mark.parametrize(("value", "ids"), [(None, [1, 2]), (b"\0", [None])])
def test_a_partition_by_a_transform_that_nobody_knows_rules_nothing_out(
    tmp_path: Path, value: bytes | None, ids: list[int | None]
) -> None:
    """Trap: null is what such a transform may give for values, and something else for null."""
    spec = [{"name": "z", "transform": "zorder9", "source-id": 1, "field-id": 1000}]
    table = HandmadeTable(tmp_path / "t", FIELDS[:1], spec, avro_types={1000: "bytes"})
    summary = {"contains_null": value is None, "contains_nan": False, "lower_bound": value, "upper_bound": value}
    data = table.data(pa.table({"id": pa.array(ids, pa.int64())}), partition=[value])
    table.commit(data, partitions=[summary])
    for where in (pc.field("id") == 1, pc.field("id").is_null(), pc.field("id") > 0):
        expected = pa.table({"id": pa.array(ids, pa.int64())}).filter(where).to_pylist()
        assert read(plan_of(table), where) == expected


def test_a_manifest_that_a_filter_rules_out_is_not_read(tmp_path: Path) -> None:
    table = HandmadeTable(tmp_path / "t", FIELDS, IDENTITY, avro_types={1000: "string"})
    for p in ("a", "b"):
        bound = {"contains_null": False, "contains_nan": False, "lower_bound": p.encode(), "upper_bound": p.encode()}
        table.commit(table.data(rows([1], p, EPOCH), partition=[p]), partitions=[bound])
    first = sorted((table.folder / "metadata").glob("m*.avro"))[0]
    first.write_bytes(b"gone")
    assert [row["p"] for row in read(plan_of(table), pc.field("p") == "b")] == ["b"]


def test_a_manifest_with_integers_that_wrapped_when_they_were_truncated_is_read(tmp_path: Path) -> None:
    """The reference implementation's integers wrap: the lowest is truncated to one of the highest."""
    truncated = [{"name": "i", "transform": "truncate[10]", "source-id": 1, "field-id": 1000}]
    table = HandmadeTable(tmp_path / "t", FIELDS, truncated, avro_types={1000: "long"})
    least, wrapped = -(2**63), 2**63 - 2
    files = [table.data(rows([each], "a", EPOCH), partition=[part]) for each, part in ((least, wrapped), (5, 0))]
    ends = {"lower_bound": struct.pack("<q", 0), "upper_bound": struct.pack("<q", wrapped)}
    table.commit(*files, partitions=[{"contains_null": False, "contains_nan": False, **ends}])
    assert [row["id"] for row in read(plan_of(table), pc.field("id") < 0)] == [least]


VALUES: dict[str, tuple[t.PrimitiveType, st.SearchStrategy[Any]]] = {
    "id": (t.LongType(), st.integers(-30, 30)),
    "p": (t.StringType(), st.text("ab\U0010ffff", max_size=3)),
    "at": (t.TimestampType(), st.integers(-3, 3).flatmap(lambda day: st.integers(-3, 3).map(lambda n: day * 86_400_000_000 + n))),
}
TRANSFORMS = {
    "id": ("identity", "truncate[7]", "bucket[3]", "void"),
    "p": ("identity", "truncate[1]", "truncate[2]", "bucket[3]"),
    "at": ("identity", "day", "hour", "month", "year", "void"),
}
AVRO = {"identity": {"id": "long", "p": "string", "at": "long"}, "truncate": {"id": "long", "p": "string"}}
ROW = st.tuples(*(st.none() | values for _, values in VALUES.values()))
COLUMNS = list(VALUES)


def _condition(column: str, operator: str, value: Any) -> pc.Expression:
    column_field = pc.field(column)
    if operator == "is_null":
        return column_field.is_null()
    literal = pa.scalar(value, pa.timestamp("us")) if column == "at" else pa.scalar(value)
    return {
        "==": column_field == literal,
        "!=": column_field != literal,
        "<": column_field < literal,
        ">=": column_field >= literal,
        "in": column_field.isin(pa.array([literal.as_py()], literal.type)),
        "not": ~(column_field < literal),
    }[operator]


CONDITION = st.sampled_from(COLUMNS).flatmap(
    lambda column: st.builds(
        _condition, st.just(column), st.sampled_from(["==", "!=", "<", ">=", "in", "not", "is_null"]), VALUES[column][1]
    )
)


def _value(transform: str, column: str, value: Any) -> Any:
    return parse_transform(transform).transform(VALUES[column][0])(value) if value is not None else None


def _summary(values: list[Any], transform: str, column: str) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    kind = parse_transform(transform).result_type(VALUES[column][0])
    assert isinstance(kind, t.PrimitiveType)
    ends = [to_bytes(kind, end) for end in (min(known), max(known))] if known else [None, None]
    return {"contains_null": len(known) < len(values), "contains_nan": False, "lower_bound": ends[0], "upper_bound": ends[1]}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pruning_by_partitions_and_bounds_of_every_kind_loses_no_row(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(COLUMNS), max_size=3))
    transforms = [data.draw(st.sampled_from(TRANSFORMS[column])) for column in chosen]
    spec = [
        {"name": f"f{at}", "transform": transform, "source-id": COLUMNS.index(column) + 1, "field-id": 1000 + at}
        for at, (column, transform) in enumerate(zip(chosen, transforms, strict=True))
    ]
    avro = {
        1000 + at: AVRO.get(transform.partition("[")[0], {}).get(column, "int")
        for at, (column, transform) in enumerate(zip(chosen, transforms, strict=True))
    }
    table = HandmadeTable(tmp_path_factory.mktemp("t") / "t", FIELDS, spec, avro_types=avro)
    for commit in data.draw(st.lists(st.lists(ROW, min_size=1, max_size=6), min_size=1, max_size=3)):
        parts: dict[tuple[Any, ...], list[Any]] = {}
        for row in commit:
            named = dict(zip(COLUMNS, row, strict=True))
            key = tuple(_value(transform, column, named[column]) for column, transform in zip(chosen, transforms, strict=True))
            parts.setdefault(key, []).append(row)
        files = [table.data(_table(each), partition=key) for key, each in parts.items()]
        summaries = [
            _summary([key[at] for key in parts], transform, column)
            if transform != "void"
            else _summary([None], "identity", column)
            for at, (column, transform) in enumerate(zip(chosen, transforms, strict=True))
        ]
        table.commit(*files, partitions=summaries)
    plan = plan_of(table)
    everything = pa.Table.from_batches(batches(plan), schema_of(plan))
    for where in data.draw(st.lists(CONDITION, min_size=1, max_size=4)):
        assert read(plan, where) == sorted(everything.filter(where).to_pylist(), key=repr)


def _table(rows_of: list[Any]) -> pa.Table:
    columns = list(zip(*rows_of, strict=True))
    kinds = [pa.int64(), pa.string(), pa.timestamp("us")]
    return pa.table([pa.array(values, kind) for values, kind in zip(columns, kinds, strict=True)], COLUMNS)
