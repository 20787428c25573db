"""Whether a column of a dataset holds what a `Field` of a feature view promises."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as t
from feast.types import FeastType
from feast.value_type import ValueType

from lakehouse.errors import Unsupported
from lakehouse_connectors.feast.value_types import type_name, value_type

__all__ = ["misfit"]

_ALSO_HELD_AS = {
    "INT64": {"INT32"},
    "DOUBLE": {"FLOAT", "INT32"},
    "JSON": {"STRING"},
    "UUID": {"STRING"},
    "TIME_UUID": {"STRING"},
    "DECIMAL": {"STRING"},
    "PDF_BYTES": {"BYTES"},
    "IMAGE_BYTES": {"BYTES"},
    "ZONED_TIMESTAMP": {"UNIX_TIMESTAMP"},
}
"""By Feast's name of a type: the other types of columns whose every value is one of it, or is its text."""


def misfit(promised: FeastType, column: pa.DataType) -> str | None:
    """Why values of ``column`` are not all of the type ``promised``; None where they are.

    A narrower number is fine, and text for what Feast keeps as text (JSON, UUID, decimal). A wider number is not: Feast rounds
    it, or fails once one is too large. Sets are lists that have each value once, which no column says of itself.
    """
    if t.is_null(column):
        return None
    wanted = promised.to_value_type()
    try:
        held = value_type(type_name(column))
    except Unsupported as error:
        return str(error)
    if wanted is ValueType.UNKNOWN or _holds(wanted.name.replace("_SET", "_LIST"), held.name):
        return None
    return f"is {column} in the dataset, which is Feast's {held.name}; the view says {promised}"


def _holds(wanted: str, held: str) -> bool:
    if wanted.endswith("_LIST") and held.endswith("_LIST"):
        return _holds(wanted.removesuffix("_LIST"), held.removesuffix("_LIST"))
    return wanted == held or held in _ALSO_HELD_AS.get(wanted, ())
