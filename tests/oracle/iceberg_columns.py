"""Columns of random Iceberg tables: how they are stated, and what manifests hold of their values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pyiceberg.conversions import to_bytes
from pyiceberg.schema import Schema
from pyiceberg.transforms import parse_transform
from pyiceberg.types import PrimitiveType

from tests.oracle.kinds import EPOCH, KINDS, as_kind, same

__all__ = ["AVRO", "COMPARED", "TRANSFORMS", "TYPES", "Field", "Values", "bounds", "matches", "transformed"]

Values = dict[int, Any]
"""A row as it was written: values by field id."""
TRANSFORMS = {
    "int": ["identity", "bucket[3]", "truncate[7]"], "long": ["identity", "bucket[3]", "truncate[7]"],
    "string": ["identity", "bucket[3]", "truncate[1]"], "date": ["identity", "day", "month", "bucket[2]"],
    "timestamp": ["identity", "day", "hour", "year"], "boolean": ["identity"], "instant": ["day", "month"],
}  # fmt: skip
AVRO = {"int": "long", "long": "long", "string": "string", "date": "int", "timestamp": "long", "boolean": "boolean"}
"""Of the values of identity and truncate, by kind."""
COMPARED = {"int", "long", "string", "boolean", "date", "timestamp", "instant", "money", "more money", "binary"}
"""Those that may be columns of equality deletes."""
_LEAST = {"int": -(2**31), "long": -(2**63)}


@dataclass(frozen=True)
class Field:
    """A column of a schema. ``default``: of rows in files from before it."""

    id: int
    name: str
    kind: str
    default: Any = None

    def of(self, row: Values) -> Any:
        return as_kind(row.get(self.id, self.default), self.kind)

    def json(self) -> dict[str, Any]:
        made = {"id": self.id, "name": self.name, "required": False, "type": KINDS[self.kind].iceberg}
        return made if self.default is None else {**made, "initial-default": _json_of(self.default)}


def _json_of(value: Any) -> Any:
    """A default as JSON (Appendix C of the specification)."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dt.datetime):
        return value.isoformat(timespec="microseconds")
    return str(value) if isinstance(value, Decimal | dt.date) else value


def _internal(value: Any) -> Any:
    """A value as manifests have it: days and microseconds from 1970."""
    if isinstance(value, dt.datetime):
        return (value.replace(tzinfo=None) - EPOCH) // dt.timedelta(microseconds=1)
    return (value - EPOCH.date()).days if isinstance(value, dt.date) else value


def transformed(transform: str, kind: str, value: Any) -> Any:
    """The partition value; the reference implementation truncates the lowest integers to the highest, as its integers wrap."""
    found: Any = parse_transform(transform).transform(TYPES[kind])(_internal(value))
    if not transform.startswith("truncate") or kind not in _LEAST or found >= _LEAST[kind]:
        return found
    return found - 2 * _LEAST[kind]


def _primitive(kind: str) -> PrimitiveType:
    found = Schema.model_validate({"type": "struct", "fields": [Field(1, "x", kind).json()]}).find_type(1)
    assert isinstance(found, PrimitiveType)
    return found


TYPES = {kind: _primitive(kind) for kind, each in KINDS.items() if each.iceberg}


def matches(fields: Sequence[Field], row: Values, key: Values) -> bool:
    """Whether an equality delete of ``key`` deletes ``row``; null equals null."""
    pairs = [(each.of(row), key[each.id]) for each in fields]
    return all(one is other if one is None or other is None else same(one, other) for one, other in pairs)


def bounds(values: Sequence[Any], kind: str, *, cut: bool) -> list[bytes]:
    """The lower and the upper bound of values that are not null, none of them NaN; of text cut to a character, if ``cut``."""
    if kind != "string":
        return [to_bytes(TYPES[kind], _internal(end)) for end in (min(values), max(values))]
    ordered = sorted(value.encode() for value in values)
    if not cut:
        return [ordered[0], ordered[-1]]
    return [ordered[0].decode()[:1].encode(), (ordered[-1].decode()[:1] + "\U0010ffff").encode()]
