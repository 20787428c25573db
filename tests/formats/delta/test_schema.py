"""Schemas: what a scan gives, and by what its columns are found in data files."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.delta.schema import DeltaSchema, read_schema
from lakehouse.reading.task import ReadField
from tests.formats.delta.handmade import column, mapped

READER_2 = {"minReaderVersion": 2, "minWriterVersion": 5}


def schema(
    *columns: dict[str, Any], mode: str | None = None, partition_by: tuple[str, ...] = (), protocol: dict[str, Any] | None = None
) -> DeltaSchema:
    metadata = {
        "schemaString": json.dumps({"type": "struct", "fields": list(columns)}), "partitionColumns": list(partition_by),
        "configuration": {} if mode is None else {"delta.columnMapping.mode": mode},
    }  # fmt: skip
    return read_schema("here", metadata, READER_2 if protocol is None else protocol)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("byte", pa.int8()), ("short", pa.int16()), ("integer", pa.int32()), ("long", pa.int64()), ("float", pa.float32()),
        ("double", pa.float64()), ("decimal(38,18)", pa.decimal128(38, 18)), ("string", pa.string()), ("binary", pa.binary()),
        ("boolean", pa.bool_()), ("date", pa.date32()), ("timestamp", pa.timestamp("us", "UTC")), ("void", pa.null()),
        ("timestamp_ntz", pa.timestamp("us")), ("varchar(10)", pa.string()), ("char(3)", pa.string()),
        ("string collate UNICODE_CI", pa.string()),
        ({"type": "array", "elementType": "long", "containsNull": False}, pa.list_(pa.field("element", pa.int64(), False))),
        (
            {"type": "map", "keyType": "string", "valueType": "date", "valueContainsNull": True},
            pa.map_(pa.string(), pa.date32()),
        ),
        (
            {"type": "struct", "fields": [{"name": "x", "type": "byte", "nullable": False, "metadata": {}}]},
            pa.struct([pa.field("x", pa.int8(), False)]),
        ),
    ],
)  # fmt: skip
def test_each_type_has_its_type_in_arrow(stated: Any, expected: pa.DataType) -> None:
    found = schema(column("c", stated))
    assert found.fields[0].type == expected and found.refused == {} and found.by == "name"


@pytest.mark.parametrize(
    "stated",
    [
        "geometry(OGC:CRS84)",
        "interval year",
        "decimal(39,2)",
        {"type": "array", "elementType": "interval day", "containsNull": True},
        {"type": "struct", "fields": [column("deep", {"type": "map", "keyType": "string", "valueType": "unheard of"})]},
    ],
)
def test_a_column_of_another_type_is_refused_alone(stated: Any) -> None:
    found = schema(column("a", "long"), column("b", stated), column("c", "long"))
    assert list(found.refused) == ["b"] and [field.name for field in found.fields] == ["a", "b", "c"]


def test_a_variant_is_its_two_binaries_unless_it_may_be_in_pieces() -> None:
    two = pa.struct([pa.field("value", pa.binary(), False), pa.field("metadata", pa.binary(), False)])
    listed = {"type": "array", "elementType": "variant", "containsNull": True}
    plain = {"minReaderVersion": 3, "readerFeatures": ["variantType"]}
    shredded = {"minReaderVersion": 3, "readerFeatures": ["variantType", "variantShredding-preview"]}
    by_id = {"minReaderVersion": 3, "readerFeatures": ["variantType", "columnMapping"]}
    assert schema(column("v", listed), protocol=plain).fields[0].type == pa.list_(pa.field("element", two))
    assert "may be shredded" in schema(column("v", listed), protocol=shredded).refused["v"]
    assert "have no ids" in schema(mapped("v", "variant", "col-1", 1), mode="id", protocol=by_id).refused["v"]


NESTED = {"type": "struct", "fields": [mapped("inner", "long", "col-2", 2)]}
LISTED = {"type": "array", "elementType": {"type": "struct", "fields": [mapped("x", "long", "col-4", 4)]}, "containsNull": True}
COLUMNS = (mapped("Outer", NESTED, "col-1", 1), mapped("many", LISTED, "col-3", 3), mapped("p", "string", "col-5", 5))


def test_names_are_physical_at_every_level_under_mapping_by_name() -> None:
    found = schema(*COLUMNS, mode="name", partition_by=("p",))
    outer, many, _ = found.fields
    assert (outer.name, outer.names, outer.children[0].names) == ("Outer", ("col-1",), ("col-2",))
    assert many.children[0].children[0].names == ("col-4",)
    assert outer.type == pa.struct([("inner", pa.int64())]) and found.by == "name"


def test_files_without_ids_cannot_be_read_under_mapping_by_id() -> None:
    """Conversion: nested names; delta.md: column mapping by id, read by name, is NULL in every column."""
    found = schema(*COLUMNS, mode="id")
    outer, many, last = found.fields
    assert found.by == "id"
    assert [(f.field_id, f.names) for f in (outer, outer.children[0], many, last)] == [(1, None), (2, None), (3, None), (5, None)]
    assert many.children[0].children[0].field_id == 4


@pytest.mark.parametrize("mode", ["none", "name", "id"])
def test_partition_values_never_come_from_files_and_have_physical_keys(mode: str) -> None:
    """Delta 8: column mapping: partition values never from paths."""
    found = schema(*COLUMNS, mode=mode, partition_by=("P",))
    assert found.fields[2] == ReadField("p", pa.string(), True, None, ())
    assert [each.key for each in found.columns] == (["Outer", "many", "p"] if mode == "none" else ["col-1", "col-3", "col-5"])
    assert [each.partition for each in found.columns] == [False, False, True]


def test_a_mode_counts_only_where_the_protocol_has_the_feature() -> None:
    def names(protocol: dict[str, Any]) -> Any:
        return schema(*COLUMNS, mode="name", protocol=protocol).fields[0].names

    assert names({"minReaderVersion": 1}) == ("Outer",)
    assert names({"minReaderVersion": 3, "readerFeatures": ["deletionVectors"]}) == ("Outer",)
    assert names({"minReaderVersion": 3, "readerFeatures": ["columnMapping"]}) == ("col-1",)


def test_an_unknown_mode_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="mode 'position' is not known"):
        schema(*COLUMNS, mode="position")


@pytest.mark.parametrize("mode", ["name", "id"])
def test_a_column_without_what_the_mapping_needs_is_an_error(mode: str) -> None:
    with pytest.raises(NotFound, match=r"'c' has no (id|physical name)"):
        schema(column("c", "long"), mode=mode)


@pytest.mark.parametrize("text", ["{", "[]", '{"fields": [{"name": "a"}]}', '{"fields": 3}'])
def test_a_schema_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(NotFound, match="schemaString cannot be read"):
        read_schema("here", {"schemaString": text}, READER_2)


def test_a_partition_column_that_is_not_in_the_schema_is_an_error() -> None:
    with pytest.raises(NotFound, match="partition column 'q' is not in its schema"):
        schema(column("c", "long"), partition_by=("q",))


def test_a_column_that_was_widened_says_so() -> None:
    changes = [{"toType": "double", "fromType": "float"}]
    found = schema(column("a", "double", delta__typeChanges=changes), column("b", "double"))
    assert [each.widened for each in found.columns] == [True, False]
