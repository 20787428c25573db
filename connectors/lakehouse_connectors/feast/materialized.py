"""Rows as Feast's compute engine takes them on their way into an online store.

The engine makes a pandas frame of them, Arrow again, and then a NumPy array of each column. What does not survive that is given
in a form that does, from which Feast makes the same values.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL

from lakehouse.errors import Unsupported

__all__ = ["as_materialized"]

_EXACT = 2**53
"""Up to here a 64-bit float, which NumPy has where an integer is missing, holds each integer."""


def as_materialized(table: pa.Table, join_keys: Sequence[str]) -> pa.Table:
    """``table`` so that its values come online as they are: under Feast's dummy key where there are no keys, with integers marked
    to stay integers in pandas, those beyond 2**53 among missing ones as decimals, and maps as JSON.

    Raises `Unsupported` for maps that Feast cannot hold: with keys that are no text, or values that JSON has not.
    """
    if not join_keys:
        table = table.append_column(DUMMY_ENTITY_ID, pa.array([DUMMY_ENTITY_VAL] * table.num_rows, pa.string()))
    for place, name in enumerate(table.column_names):
        table = table.set_column(place, name, _surviving(table.column(place), name))
    columns = [
        {
            "name": field.name,
            "field_name": field.name,
            "pandas_type": str(field.type),
            "numpy_type": _nullable(field.type),
            "metadata": None,
        }
        for field in table.schema
        if t.is_integer(field.type)
    ]
    pandas = {"columns": columns, "index_columns": [], "column_indexes": [], "pandas_version": pd.__version__}
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _nullable(type: pa.DataType) -> str:
    """pandas' name of the integers that can be missing."""
    return str(type).replace("int", "Int").replace("uI", "UI")


def _surviving(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    if t.is_integer(column.type) and column.null_count and _large(column):
        return column.cast(pa.decimal128(20))
    held = column.type.value_type if t.is_list(column.type) or t.is_large_list(column.type) else column.type
    if not t.is_map(held):
        return column
    if not (t.is_string(held.key_type) or t.is_large_string(held.key_type)):
        raise Unsupported(f"column {name!r} is {column.type}: Feast takes maps whose keys are text; write the keys as text")
    values = column.to_pylist(maps_as_pydicts="strict")
    try:
        texts = [None if value is None else json.dumps(value) for value in values]
    except TypeError as error:
        raise Unsupported(
            f"column {name!r} is {column.type}: Feast takes maps as JSON, which lacks such values ({error})"
        ) from None
    return pa.chunked_array([texts], pa.string())


def _large(column: pa.ChunkedArray) -> bool:
    range_ = pc.call_function("min_max", [column]).as_py()
    return range_["min"] is not None and not -_EXACT <= range_["min"] <= range_["max"] <= _EXACT
