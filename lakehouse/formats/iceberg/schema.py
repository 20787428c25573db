"""Schemas of Iceberg tables as the columns of a scan (Iceberg table spec, "Schemas and Data Types", Appendix C)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.iceberg.single_value import from_json
from lakehouse.reading.task import ReadField

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NAME_MAPPING", "ReadSchema", "historical_fields", "read_schema", "schema_stated"]

NAME_MAPPING = "schema.name-mapping.default"
_SIZED = re.compile(r"fixed\[\s*(\d+)\s*\]|decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")
_REFUSED = ("variant", "geometry", "geography")

Names = dict[int, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class ReadSchema:
    """The columns of a scan, and by the names of some, why they cannot be read rightly."""

    fields: tuple[ReadField, ...]
    refused: dict[str, str]


def schema_stated(metadata: Mapping[str, Any], schema_id: int | None, where: str) -> Mapping[str, Any]:
    """The schema of that id (None: the current one) as the metadata states it. Raises `NotFound` where there is none."""
    schemas = metadata.get("schemas") or []
    wanted = metadata.get("current-schema-id") if schema_id is None else schema_id
    for raw in schemas:
        if isinstance(raw, dict) and raw.get("schema-id", 0) == (wanted or 0):
            return raw
    single = metadata.get("schema")
    if not schemas and isinstance(single, dict):  # version 1
        return single
    raise NotFound(f"{where} is damaged: it has no schema {wanted}; restore the file")


def read_schema(metadata: Mapping[str, Any], stated: Mapping[str, Any], where: str) -> ReadSchema:
    """The columns of the schema ``stated`` of the table. Raises `NotFound` where it is none."""
    names = _names_stated(metadata, where)
    refused: dict[str, str] = {}
    fields: list[ReadField] = []
    try:
        for raw in stated["fields"]:
            try:
                fields.append(_field(raw, names))
            except Unsupported as error:
                refused[str(raw["name"])] = f"{where}: the column {raw['name']} {error}"
                fields.append(_unreadable(raw, names))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotFound(f"{where} is damaged: its schema cannot be read ({error!r}); restore the file") from error
    return ReadSchema(tuple(fields), refused)


def historical_fields(metadata: Mapping[str, Any], read: ReadSchema, where: str) -> dict[int, ReadField]:
    """All top-level columns that the table has, or has dropped and still describes, by their ids; as ``read`` has them first."""
    schemas = sorted(metadata.get("schemas") or [], key=lambda raw: raw.get("schema-id", 0), reverse=True)
    known = [read, *(read_schema(metadata, raw, where) for raw in schemas)]
    found: dict[int, ReadField] = {}
    for schema in known:
        for field in schema.fields:
            if field.field_id is not None and field.name not in schema.refused:
                found.setdefault(field.field_id, field)
    return found


def _names_stated(metadata: Mapping[str, Any], where: str) -> Names | None:
    """The names by which the table's name mapping finds each field id; None where it has no mapping."""
    stated = (metadata.get("properties") or {}).get(NAME_MAPPING)
    if stated is None:
        return None
    try:
        names: Names = {}
        for field_id, aliases in _mapped(json.loads(stated) if isinstance(stated, str) else stated):
            names[field_id] = (*names.get(field_id, ()), *aliases)
        return names
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NotFound(f"{where}: its property {NAME_MAPPING} is no name mapping ({error!r}); mend the property") from error


def _mapped(mapping: Any) -> Iterator[tuple[int, tuple[str, ...]]]:
    for raw in mapping or ():
        if raw.get("field-id") is not None:
            yield int(raw["field-id"]), tuple(map(str, raw["names"]))
        yield from _mapped(raw.get("fields"))


def _unreadable(raw: Mapping[str, Any], names: Names | None) -> ReadField:
    """A column that no scan gives, in its place."""
    import pyarrow as pa

    field_id = int(raw["id"])
    return ReadField(str(raw["name"]), pa.null(), not raw.get("required"), field_id, _names_of(field_id, names))


def _names_of(field_id: int, names: Names | None) -> tuple[str, ...] | None:
    return None if names is None else names.get(field_id, ())


def _field(raw: Mapping[str, Any], names: Names | None) -> ReadField:
    return _read_field(
        str(raw["name"]), int(raw["id"]), raw["type"], names, required=bool(raw["required"]), default=raw.get("initial-default")
    )


def _read_field(name: str, field_id: int, stated: Any, names: Names | None, *, required: bool, default: Any = None) -> ReadField:
    """The field of that type with those inside of it. Raises `Unsupported` with what a message says of the column."""
    children = _children(stated, names)
    kind = _arrow_type(stated, children)
    return ReadField(name, kind, not required, field_id, _names_of(field_id, names), _default(default, kind, children), children)


def _children(stated: Any, names: Names | None) -> tuple[ReadField, ...]:
    if not isinstance(stated, dict):
        return ()
    if stated["type"] == "struct":
        return tuple(_field(raw, names) for raw in stated["fields"])
    if stated["type"] == "list":
        required = bool(stated["element-required"])
        return (_read_field("element", int(stated["element-id"]), stated["element"], names, required=required),)
    if stated["type"] == "map":
        required = bool(stated["value-required"])
        return (
            _read_field("key", int(stated["key-id"]), stated["key"], names, required=True),
            _read_field("value", int(stated["value-id"]), stated["value"], names, required=required),
        )
    raise Unsupported(f"is of the type {stated['type']!r}, which cannot be read; select other columns")


def _arrow_type(stated: Any, children: tuple[ReadField, ...]) -> pa.DataType:
    import pyarrow as pa

    inner = [pa.field(child.name, child.type, child.nullable) for child in children]
    if isinstance(stated, dict):
        if stated["type"] == "struct":
            return pa.struct(inner)
        return pa.list_(inner[0]) if stated["type"] == "list" else pa.map_(inner[0], inner[1])
    plain: dict[str, pa.DataType] = {
        "boolean": pa.bool_(),
        "int": pa.int32(),
        "long": pa.int64(),
        "float": pa.float32(),
        "double": pa.float64(),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "timestamp": pa.timestamp("us"),
        "timestamptz": pa.timestamp("us", "UTC"),
        "timestamp_ns": pa.timestamp("ns"),
        "timestamptz_ns": pa.timestamp("ns", "UTC"),
        "string": pa.string(),
        "uuid": pa.uuid(),
        "binary": pa.binary(),
        "unknown": pa.null(),
    }
    if stated in plain:
        return plain[stated]
    sized = _SIZED.fullmatch(stated)
    if sized is None:
        why = "has no Arrow form yet" if stated.startswith(_REFUSED) else "is not of the Iceberg specification, versions 1 to 3"
        raise Unsupported(f"is of the type {stated!r}, which {why}; select other columns")
    return pa.binary(int(sized[1])) if sized[1] else pa.decimal128(int(sized[2]), int(sized[3]))


def _default(stated: Any, kind: pa.DataType, children: tuple[ReadField, ...]) -> Any:
    """The value of ``initial-default``; what that of a struct leaves out is its fields' own (spec, "Default values")."""
    import pyarrow.types as types

    if stated is None or not children:
        return from_json(stated, kind)
    if types.is_struct(kind):
        given = {each.field_id: stated.get(str(each.field_id), each) for each in children}
        return {
            each.name: each.default if given[each.field_id] is each else _default(given[each.field_id], each.type, each.children)
            for each in children
        }
    items = [stated] if types.is_list(kind) else [stated["keys"], stated["values"]]
    made = [[_default(value, each.type, each.children) for value in values] for each, values in zip(children, items, strict=True)]
    return made[0] if types.is_list(kind) else list(zip(*made, strict=True))
