"""Schemas of Iceberg tables as the columns of a scan."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pyarrow as pa
import pytest

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.schema import historical_fields, read_schema, schema_stated
from lakehouse.reading.task import ReadField
from tests.formats.iceberg.handmade import field


def schema_of(*fields: dict[str, Any], mapping: str | None = None, number: int = 0) -> dict[str, Any]:
    """The metadata of a table of one schema."""
    properties = {} if mapping is None else {"schema.name-mapping.default": mapping}
    return {"current-schema-id": number, "schemas": [{"schema-id": number, "fields": list(fields)}], "properties": properties}


def read(metadata: dict[str, Any]) -> tuple[ReadField, ...]:
    return read_schema(metadata, schema_stated(metadata, None, "the table"), "the table").fields


def list_of(element: Any, number: int = 9) -> dict[str, Any]:
    return {"type": "list", "element-id": number, "element-required": True, "element": element}


def map_of(key: Any, value: Any) -> dict[str, Any]:
    return {"type": "map", "key-id": 7, "key": key, "value-id": 8, "value-required": False, "value": value}


def struct_of(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "struct", "fields": list(fields)}


@pytest.mark.parametrize(
    ("stated", "kind"),
    [
        ("boolean", pa.bool_()),
        ("int", pa.int32()),
        ("long", pa.int64()),
        ("float", pa.float32()),
        ("double", pa.float64()),
        ("decimal(9,2)", pa.decimal128(9, 2)),
        ("decimal(38, 10)", pa.decimal128(38, 10)),
        ("date", pa.date32()),
        ("time", pa.time64("us")),
        ("timestamp", pa.timestamp("us")),
        ("timestamptz", pa.timestamp("us", "UTC")),
        ("timestamp_ns", pa.timestamp("ns")),
        ("timestamptz_ns", pa.timestamp("ns", "UTC")),
        ("string", pa.string()),
        ("uuid", pa.uuid()),
        ("fixed[16]", pa.binary(16)),
        ("binary", pa.binary()),
        ("unknown", pa.null()),
        (list_of("long"), pa.list_(pa.field("element", pa.int64(), False))),
        (map_of("string", "int"), pa.map_(pa.string(), pa.int32())),
        (struct_of(field(2, "x", "int", required=True)), pa.struct([pa.field("x", pa.int32(), False)])),
    ],
)
def test_each_type_of_the_specification_has_its_arrow_type(stated: Any, kind: pa.DataType) -> None:
    [found] = read(schema_of(field(1, "c", stated, required=True)))
    assert (found.name, found.type, found.nullable, found.field_id, found.names) == ("c", kind, False, 1, None)


@pytest.mark.parametrize(
    "stated", ["variant", "geometry", "geography(srid:4326, karney)", "hologram", list_of("variant"), {"type": "tensor"}]
)
def test_a_column_that_cannot_be_read_is_refused_by_name_and_keeps_its_place(stated: Any) -> None:
    """Trap 11: what is not known is refused by name."""
    metadata = schema_of(field(1, "a", "int"), field(2, "b", stated), field(3, "c", "int"))
    found = read_schema(metadata, metadata["schemas"][0], "the table")
    assert [each.name for each in found.fields] == ["a", "b", "c"]
    assert list(found.refused) == ["b"]
    assert "the column b" in found.refused["b"]


def test_names_of_every_level_come_from_the_name_mapping() -> None:
    mapping = (
        '[{"field-id": 1, "names": ["s", "old"], "fields": [{"field-id": 2, "names": ["x.y"]}, {"names": ["gone"]}]},'
        ' {"field-id": 5, "names": [], "fields": [{"field-id": 9, "names": ["element"]}]}]'
    )
    metadata = schema_of(
        field(1, "s", struct_of(field(2, "x", "int"), field(3, "y", "int"))), field(5, "l", list_of("int")), field(6, "n", "int"),
        mapping=mapping,
    )  # fmt: skip
    struct, items, new = read(metadata)
    assert struct.names == ("s", "old")
    assert [child.names for child in struct.children] == [("x.y",), ()]
    assert (items.names, items.children[0].names, new.names) == ((), ("element",), ())


def test_defaults_of_structs_are_made_of_their_fields_own() -> None:
    """Spec, "Default values": the table of ``point``."""
    inner = [field(number, name, "int") | {"initial-default": number} for number, name in ((2, "x"), (3, "y"))]
    point = field(1, "point", struct_of(*inner))
    stated: list[dict[str, Any]] = [{"initial-default": {}}, {}, {"initial-default": {"3": 7}}]
    [given], [null], [partly] = (read(schema_of(point | extra)) for extra in stated)
    assert given.default == {"x": 2, "y": 3}
    assert null.default is None
    assert [child.default for child in null.children] == [2, 3]
    assert partly.default == {"x": 2, "y": 7}


def test_defaults_of_lists_and_maps_are_read_item_by_item() -> None:
    dates = field(1, "l", list_of("date")) | {"initial-default": ["1970-01-02"]}
    ids = field(2, "m", map_of("string", "uuid")) | {"initial-default": {"keys": ["k"], "values": [str(uuid.UUID(int=5))]}}
    first, second = read(schema_of(dates, ids))
    assert pa.array([first.default], first.type).to_pylist() == [[dt.date(1970, 1, 2)]]
    assert second.default == [("k", uuid.UUID(int=5).bytes)]


def test_the_newest_form_of_a_column_that_was_dropped_is_known() -> None:
    metadata = schema_of(field(1, "a", "long"), number=2)
    metadata["schemas"] += [
        {"schema-id": 0, "fields": [field(1, "old", "int"), field(2, "k", "int"), field(3, "v", "variant")]},
        {"schema-id": 1, "fields": [field(2, "k2", "long")]},
    ]
    known = historical_fields(metadata, read_schema(metadata, metadata["schemas"][0], "t"), "t")
    assert {number: (each.name, each.type) for number, each in known.items()} == {1: ("a", pa.int64()), 2: ("k2", pa.int64())}


def test_version_1_states_one_schema_of_its_own() -> None:
    assert [each.name for each in read({"format-version": 1, "schema": struct_of(field(1, "a", "int"))})] == ["a"]


def test_version_1_with_schemas_uses_those_and_not_the_stale_one_beside_them() -> None:
    """pyiceberg leaves a stale top-level ``schema``."""
    metadata = schema_of(field(1, "a", "int"), number=1) | {"schema": struct_of(field(1, "stale", "int"))}
    assert [each.name for each in read(metadata)] == ["a"]


@pytest.mark.parametrize(
    "damage",
    [
        {"fields": [{"id": 1, "name": "a", "required": True}]},
        {"fields": [{"id": "x", "name": "a", "required": True, "type": "int"}]},
        {"fields": [field(1, "a", "int") | {"initial-default": "x"}]},
        {"fields": 7},
        {},
    ],
)
def test_a_schema_that_is_none_is_damage(damage: dict[str, Any]) -> None:
    with pytest.raises(NotFound, match="schema cannot be read"):
        read_schema({"properties": {}}, damage, "the table")


def test_a_schema_that_is_not_there_and_a_name_mapping_that_is_none_are_named() -> None:
    with pytest.raises(NotFound, match="no schema 5"):
        schema_stated(schema_of(field(1, "a", "int")), 5, "the table")
    with pytest.raises(NotFound, match=r"name-mapping"):
        read(schema_of(field(1, "a", "int"), mapping="{"))
