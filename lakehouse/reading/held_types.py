"""Whether a leaf of a data file can be read as a column of the table's type, as far as the kinds of both tell."""

from __future__ import annotations

from functools import cache

from lakehouse.reading.footer import Kind

__all__ = ["can_hold"]

_BYTES = ("string", "binary", "uuid")
_NESTED = ("struct", "list", "map", "array", "variant", "geometry", "geography", "unknown", "void")


@cache
def can_hold(kind: Kind, column_type: str) -> bool:
    """``column_type``: a primitive type as the format's specification writes it; of any other nothing is known.

    Text and bytes, booleans, and numbers of any kind (dates and times are such) are never each other: `conversion` says more.
    """
    if kind == "other" or column_type.startswith(_NESTED):
        return True
    if column_type in _BYTES or column_type.startswith("fixed"):
        return kind in ("text", "binary")
    return kind == "boolean" if column_type == "boolean" else kind not in ("text", "binary", "boolean")
