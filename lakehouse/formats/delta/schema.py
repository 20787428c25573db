"""The schema of a Delta table as a scan gives it, and how its data files hold it.

PROTOCOL.md, "Schema Serialization Format", "Column Mapping", "Type Widening". What has no column of its own in data files
(partition values) has no names there, so that nothing but the log is ever asked for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lakehouse.errors import NotFound, Unsupported
from lakehouse.reading.task import ReadField

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DeltaColumn", "DeltaSchema", "read_schema"]

_DECIMAL = re.compile(r"decimal(?:\(\s*(\d+)\s*,\s*(-?\d+)\s*\))?")
_COLLATED = re.compile(r"string collate \S+", re.IGNORECASE)
_TEXT = re.compile(r"(?:var)?char\(\d+\)")
_MAPPING = "delta.columnMapping"
_TYPE_CHANGES = "delta.typeChanges"


class DeltaColumn(NamedTuple):
    """A top-level column. ``key``: what partition values and statistics of the log call it; ``type``: what the scan gives.

    ``partition``: its values are in the log. ``widened``: older files may hold it in a narrower type.
    """

    name: str
    key: str
    type: pa.DataType
    partition: bool
    widened: bool


@dataclass(frozen=True, slots=True)
class DeltaSchema:
    """``by``: how `ReadField`s find their columns in data files. ``refused``: by column, why a scan cannot give it."""

    fields: tuple[ReadField, ...]
    columns: tuple[DeltaColumn, ...]
    by: Literal["id", "name"]
    refused: Mapping[str, str]


class _Mapping(NamedTuple):
    """``mode``: of column mapping. ``shredded``: whether data files may hold variants in pieces."""

    mode: str
    shredded: bool


class _Refused(Exception):
    """A type, somewhere in a column, that a scan cannot give."""


def read_schema(where: str, metadata: Mapping[str, Any], protocol: Mapping[str, Any]) -> DeltaSchema:
    """The schema that a ``metaData`` action states, under the column mapping that ``protocol`` lets it have.

    ``where``: how errors name the version. Raises `NotFound` for a schema that cannot be read, `Unsupported` for a mode of
    column mapping that is not known.
    """
    mode = _mode(where, metadata, protocol)
    mapping = _Mapping(mode, any(name.startswith("variantShredding") for name in protocol.get("readerFeatures") or ()))
    try:
        stated = json.loads(metadata.get("schemaString") or '{"type": "struct", "fields": []}')["fields"]
        partitions = {str(name).lower() for name in metadata.get("partitionColumns") or ()}
        fields, columns, refused = [], [], {}
        for field in stated:
            name, partition = str(field["name"]), str(field["name"]).lower() in partitions
            try:
                found = _field(where, field, mapping)
            except _Refused as why:
                refused[name] = str(why)
                found = _unreadable(name)
            if partition:
                partitions.discard(name.lower())
                found = ReadField(name, found.type, found.nullable, names=())
            fields.append(found)
            key = _physical(where, field) if mode != "none" else name
            columns.append(DeltaColumn(name, key, found.type, partition, _TYPE_CHANGES in (field.get("metadata") or {})))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotFound(f"{where}: its schemaString cannot be read ({type(error).__name__}: {error})") from error
    if partitions:
        raise NotFound(f"{where}: the partition column {min(partitions)!r} is not in its schema")
    return DeltaSchema(tuple(fields), tuple(columns), "id" if mode == "id" else "name", refused)


def _mode(where: str, metadata: Mapping[str, Any], protocol: Mapping[str, Any]) -> str:
    """The mode of column mapping: the property counts only where the protocol has the feature ("Column Mapping")."""
    mode = str((metadata.get("configuration") or {}).get(f"{_MAPPING}.mode") or "none").lower()
    if mode not in ("none", "name", "id"):
        raise Unsupported(f"{where}: the column mapping mode {mode!r} is not known; known are none, name and id")
    version = int(protocol.get("minReaderVersion") or 1)
    supported = version == 2 or (version >= 3 and "columnMapping" in (protocol.get("readerFeatures") or ()))
    return mode if supported else "none"


def _physical(where: str, field: Mapping[str, Any]) -> str:
    name = (field.get("metadata") or {}).get(f"{_MAPPING}.physicalName")
    if not isinstance(name, str):
        raise NotFound(f"{where}: the column {field['name']!r} has no physical name, which column mapping needs")
    return name


def _field(where: str, field: Mapping[str, Any], mapping: _Mapping) -> ReadField:
    """One field of a struct. Raises `_Refused`."""
    name, nullable = str(field["name"]), bool(field.get("nullable", True))
    kind, children = _type(where, field["type"], mapping)
    if mapping.mode != "id":
        names = (name,) if mapping.mode == "none" else (_physical(where, field),)
        return ReadField(name, kind, nullable, names=names, children=children)
    number = (field.get("metadata") or {}).get(f"{_MAPPING}.id")
    if not isinstance(number, int):
        raise NotFound(f"{where}: the column {name!r} has no id, which column mapping by id needs")
    return ReadField(name, kind, nullable, field_id=number, children=children)


def _type(where: str, stated: Any, mapping: _Mapping) -> tuple[pa.DataType, tuple[ReadField, ...]]:
    """The Arrow type, and the fields inside of it. Raises `_Refused`."""
    import pyarrow as pa

    if stated == "variant":
        return _variant(mapping)
    if not isinstance(stated, dict):
        return _primitive(str(stated)), ()
    kind = stated.get("type")
    if kind == "struct":
        children = tuple(_field(where, field, mapping) for field in stated["fields"])
        return pa.struct([pa.field(child.name, child.type, child.nullable) for child in children]), children
    if kind == "array":
        element = _inner(where, "element", stated["elementType"], mapping, nullable=bool(stated.get("containsNull", True)))
        return pa.list_(pa.field("element", element.type, element.nullable)), (element,)
    if kind == "map":
        key = _inner(where, "key", stated["keyType"], mapping, nullable=False)
        value = _inner(where, "value", stated["valueType"], mapping, nullable=bool(stated.get("valueContainsNull", True)))
        return pa.map_(key.type, pa.field("value", value.type, value.nullable)), (key, value)
    raise _Refused(f"its type {kind!r} is not known to this version of lake")


def _inner(where: str, name: str, stated: Any, mapping: _Mapping, *, nullable: bool) -> ReadField:
    """The element of a list, the key or value of a map: found by its place, whatever a file calls it."""
    kind, children = _type(where, stated, mapping)
    return ReadField(name, kind, nullable, names=(name,), children=children)


def _primitive(stated: str) -> pa.DataType:
    """PROTOCOL.md, "Primitive Types"; a timestamp is an instant, kept in UTC."""
    import pyarrow as pa

    plain = {
        "byte": pa.int8(), "short": pa.int16(), "integer": pa.int32(), "long": pa.int64(), "float": pa.float32(),
        "double": pa.float64(), "string": pa.string(), "binary": pa.binary(), "boolean": pa.bool_(), "date": pa.date32(),
        "timestamp": pa.timestamp("us", "UTC"), "timestamp_ntz": pa.timestamp("us"), "void": pa.null(), "null": pa.null(),
    }  # fmt: skip
    if (found := plain.get(stated)) is not None:
        return found
    if match := _DECIMAL.fullmatch(stated):
        precision, scale = int(match[1] or 10), int(match[2] or 0)
        if 0 < precision <= 38 and 0 <= scale <= precision:
            return pa.decimal128(precision, scale)
    if _TEXT.fullmatch(stated) or _COLLATED.fullmatch(stated):
        return pa.string()
    if stated.startswith(("geometry", "geography")):
        raise _Refused("geometries have no form of their own in Arrow")
    raise _Refused(f"its type {stated!r} is not known to this version of lake")


def _variant(mapping: _Mapping) -> tuple[pa.DataType, tuple[ReadField, ...]]:
    """PROTOCOL.md, "Variant data in Parquet": the two binaries that encode it, as other readers give them too."""
    import pyarrow as pa

    if mapping.shredded:
        raise _Refused("its variants may be shredded (a part of each value has columns of its own), which cannot be put together")
    if mapping.mode == "id":
        raise _Refused("the parts of a variant have no ids, so they are not found under column mapping by id")
    children = tuple(ReadField(name, pa.binary(), False, names=(name,)) for name in ("value", "metadata"))
    return pa.struct([pa.field(child.name, child.type, child.nullable) for child in children]), children


def _unreadable(name: str) -> ReadField:
    """What stands for a column that is refused, so that the others keep their places."""
    import pyarrow as pa

    return ReadField(name, pa.null(), names=())
