"""The columns by which rows of an Iceberg table may be deleted (Iceberg table spec, "Equality Delete Files")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from lakehouse.errors import Unsupported
from lakehouse.formats.iceberg.schema import ReadSchema, read_schema
from lakehouse.reading.deleted import key_of
from lakehouse.reading.task import ReadField

__all__ = ["KeyFields"]


class KeyFields:
    """All columns, and fields inside of structs, that the table has, or has dropped and still describes.

    They are as ``read`` has them, else as the newest schema that has them. ``where``: the metadata file.
    """

    def __init__(self, metadata: Mapping[str, Any], read: ReadSchema, where: str) -> None:
        schemas = sorted(metadata.get("schemas") or [], key=lambda raw: raw.get("schema-id", 0), reverse=True)
        self._where = where
        self._ways: dict[int, ReadField] = {}
        self._refused: dict[int, str] = {}
        for schema in (read, *(read_schema(metadata, raw, where) for raw in schemas)):
            for field in schema.fields:
                if field.name in schema.refused:
                    self._refused.setdefault(field.field_id or 0, schema.refused[field.name])
                    continue
                for way in _ways(field):
                    self._ways.setdefault(_end(way), way)
                self._refused |= dict.fromkeys(_repeated(field), f"is inside of the list or map {field.name!r}")

    def of(self, ids: Iterable[int], path: str) -> tuple[ReadField, ...]:
        """The fields of those ids, by which the equality deletes ``path`` are. Raises `Unsupported` for one of no such field."""
        return tuple(self._of(number, path) for number in ids)

    def _of(self, number: int, path: str) -> ReadField:
        if number in self._ways:
            return self._ways[number]
        why = self._refused.get(number, "is no column that the table describes and that can be read")
        raise Unsupported(
            f"{self._where}: the equality deletes {path} are by the field {number}, which {why}; "
            "rewrite the table's data files with the engine that wrote the deletes"
        )


def _ways(field: ReadField) -> Iterator[ReadField]:
    """``field``, or each way to a field inside of it: structs with nothing but the next of the way."""
    import pyarrow as pa
    import pyarrow.types as types

    if not types.is_struct(field.type):
        yield replace(field, nullable=True)
        return
    for child in field.children:
        for way in _ways(child):
            kind = pa.struct([pa.field(way.name, way.type)])
            default = None if field.default is None else {way.name: field.default.get(way.name)}
            yield replace(field, type=kind, nullable=True, children=(way,), default=default)


def _end(way: ReadField) -> int:
    return key_of(way).field_id or 0


def _repeated(field: ReadField) -> Iterator[int]:
    """The ids of the fields inside of lists and maps."""
    import pyarrow.types as types

    for child in field.children:
        if types.is_struct(field.type):
            yield from _repeated(child)
        else:
            yield from _ids(child)


def _ids(field: ReadField) -> Iterator[int]:
    yield field.field_id or 0
    for child in field.children:
        yield from _ids(child)
