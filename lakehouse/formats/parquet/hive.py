"""Hive partitions: columns whose values stand in the names of folders, ``country=NO/day=2024-02-29/part-0.parquet``.

Names and values are percent-decoded, ``__HIVE_DEFAULT_PARTITION__`` is null. Types are those of all values together: int64 where
each is a plain integer as it would be written anew (so ``01`` stays text), date where each is a day, else text.
Source: Hive, "Dynamic Partitions"; Spark, "Partition Discovery".
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import date
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from lakehouse.errors import Unsupported

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NULL", "inferred_type", "partition_scalar", "partitions_of"]

NULL = "__HIVE_DEFAULT_PARTITION__"
_INTEGER = re.compile(r"0|-?[1-9]\d{0,18}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def partitions_of(path: str) -> dict[str, str | None]:
    """The values that the folders of ``path`` state, by column. Raises `Unsupported` where a column is stated twice."""
    found: dict[str, str | None] = {}
    for folder in path.split("/")[:-1]:
        name, equals, value = folder.partition("=")
        if not equals or not name:
            continue
        name = _decoded(name)
        if name in found:
            raise Unsupported(f"{path}: its folders state the partition column {name!r} twice")
        found[name] = None if value == NULL else _decoded(value)
    return found


def _decoded(text: str) -> str:
    """Percent-decoded; as it is where that is no text."""
    try:
        return unquote_to_bytes(text).decode() if "%" in text else text
    except UnicodeDecodeError:
        return text


def inferred_type(values: Collection[str | None]) -> pa.DataType:
    """The type that all ``values`` have."""
    import pyarrow as pa

    stated = [value for value in values if value is not None]
    if stated and all(_INTEGER.fullmatch(value) and -(2**63) <= int(value) < 2**63 for value in stated):
        return pa.int64()
    if stated and all(_is_day(value) for value in stated):
        return pa.date32()
    return pa.string()


def _is_day(value: str) -> bool:
    try:
        return bool(_DAY.fullmatch(value)) and date.fromisoformat(value) >= date.min
    except ValueError:
        return False


def partition_scalar(value: str | None, kind: pa.DataType, name: str, path: str) -> pa.Scalar:
    """``value`` as one of ``kind``, which a file that holds the column may have given it.

    Raises `Unsupported` for a value that is none.
    """
    import pyarrow as pa

    try:
        return pa.scalar(value, pa.string()).cast(kind)
    except (pa.ArrowException, ValueError) as error:
        raise Unsupported(
            f"{path}: its folder states {name}={value}, which is no {kind}, the type of column {name!r}; "
            "rewrite the files so that all hold the column, or none"
        ) from error
