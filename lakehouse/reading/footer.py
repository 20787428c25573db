"""What a data file says of itself: how many rows it has, and what is known of each of its columns."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["Footer", "LeafFacts", "parquet_footer", "schema_ids"]

Kind = Literal["boolean", "integer", "float", "date", "time", "timestamp", "decimal", "text", "binary", "other"]
Bound = bool | int | float | bytes

_UNITS = {"milliseconds": 1000, "microseconds": 10**6, "nanoseconds": 10**9}
_SIGNED = ("INT32", "INT64")
_LOGICAL: dict[str, Kind] = {
    "NONE": "integer", "INT": "integer", "DATE": "date", "TIME": "time", "TIMESTAMP": "timestamp", "DECIMAL": "decimal",
}  # fmt: skip
_PHYSICAL: dict[str, Kind] = {"BOOLEAN": "boolean", "FLOAT": "float", "DOUBLE": "float"}
_BINARY: dict[str, Kind] = {"STRING": "text", "ENUM": "text", "JSON": "text", "NONE": "binary", "UUID": "binary"}


class LeafFacts(NamedTuple):
    """One leaf column over all row groups: no value is below ``lower`` or above ``upper`` (None: not known).

    ``name``: the path in the file's schema, dots between. ``field_id``: None where the file gives none. ``scale``: of decimals
    the digits after the point, of times and timestamps how many units a second has, else 0. Bounds: int for integers, dates
    (days), times, timestamps and decimals (unscaled), float, bool, bytes for text and binary; writers may have cut those of
    bytes short. NaN is outside of bounds. ``nulls`` (None: not known) and ``values`` count entries; nested columns have another
    number of them than rows.
    """

    name: str
    field_id: int | None
    kind: Kind
    scale: int
    lower: Bound | None
    upper: Bound | None
    nulls: int | None
    values: int


@dataclass(frozen=True, slots=True)
class Footer:
    """``leaves``: in the order of the schema (Parquet). ``ids``: of top-level columns, those that the file states (None: a column
    without one). ``row_groups``: where each begins, in bytes (Parquet). ``schema``: as Arrow has it (None: Avro).
    """

    rows: int
    leaves: tuple[LeafFacts, ...] = ()
    ids: dict[str, int | None] = field(default_factory=dict)
    row_groups: tuple[int, ...] = ()
    schema: pa.Schema | None = None


def parquet_footer(metadata: pq.FileMetaData, end: int) -> Footer:
    """The facts of a Parquet footer that begins ``end`` bytes into its file.

    Source: parquet.thrift. Raises `ValueError` where the footer contradicts itself.
    """
    schema, groups = metadata.schema, [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    if sum(group.num_rows for group in groups) != metadata.num_rows:
        raise ValueError(
            f"its row groups have {sum(group.num_rows for group in groups)} rows, the footer says {metadata.num_rows}"
        )
    known = _described(schema)
    starts = list[int]()
    leaves = list[LeafFacts]()
    for at, column in enumerate(known.columns):
        chunks = [group.column(at) for group in groups]
        begins = [_begin(chunk) for chunk in chunks]
        for start, chunk in zip(begins, chunks, strict=True):
            if not 4 <= start <= end - chunk.total_compressed_size:
                raise ValueError(f"column {column.name} lies beyond the file's end")
        starts = [min(pair) for pair in zip(starts, begins, strict=True)] if starts else begins
        leaves.append(_leaf(column, chunks))
    return Footer(metadata.num_rows, tuple(leaves), known.top, tuple(starts), known.arrow)


class _Column(NamedTuple):
    name: str
    field_id: int | None
    kind: Kind
    scale: int


class _Known(NamedTuple):
    schema: pq.ParquetSchema
    columns: list[_Column]
    top: dict[str, int | None]
    arrow: pa.Schema


_KNOWN: deque[_Known] = deque(maxlen=4)
"""The schemas that were met last: the files of a table have few, and telling that two are equal is quick."""


def _described(schema: pq.ParquetSchema) -> _Known:
    for known in tuple(_KNOWN):
        if schema.equals(known.schema):
            return known
    arrow = schema.to_arrow_schema()
    ids = list(_leaf_ids(arrow))
    named = ids if len(ids) == len(schema) else len(schema) * [_NO_ID]
    leaves = [schema.column(at) for at in range(len(schema))]
    columns = [_Column(leaf.path, field_id, *_kind(leaf)) for leaf, field_id in zip(leaves, named, strict=True)]
    found = _Known(schema, columns, schema_ids(arrow, b"PARQUET:field_id"), arrow)
    _KNOWN.appendleft(found)
    return found


_NO_ID: int | None = None


def _begin(chunk: pq.ColumnChunkMetaData) -> int:
    dictionary, data = chunk.dictionary_page_offset, int(chunk.data_page_offset)
    return dictionary if dictionary is not None and 0 < dictionary < data else data


def _leaf(column: _Column, chunks: list[pq.ColumnChunkMetaData]) -> LeafFacts:
    name, field_id, kind, scale = column
    nulls: int | None = 0
    values, bounded = 0, kind != "other"
    lower = upper = None
    for chunk in chunks:
        values += chunk.num_values
        facts = chunk.statistics if chunk.is_stats_set else None
        missing = facts.null_count if facts is not None and facts.has_null_count else None
        nulls = None if nulls is None or missing is None else nulls + missing
        if facts is not None and bounded and facts.has_min_max:
            low, high = _bound(kind, facts.min_raw), _bound(kind, facts.max_raw)
            lower = low if lower is None or low < lower else lower
            upper = high if upper is None or high > upper else upper
        elif missing != chunk.num_values:
            bounded = False
    if not bounded or lower != lower or upper != upper:
        lower = upper = None
    return LeafFacts(name, field_id, kind, scale, lower, upper, nulls, values)


def _bound(kind: Kind, raw: Any) -> Any:
    if kind == "decimal" and not isinstance(raw, int):
        return int.from_bytes(raw, "big", signed=True)
    return raw.encode() if isinstance(raw, str) else raw


def _kind(column: Any) -> tuple[Kind, int]:
    physical, logical = column.physical_type, column.logical_type
    name = logical.type
    if physical in _SIGNED:
        kind = _LOGICAL.get(name, "other")
        if name == "INT" and not _details(logical.to_json()).get("isSigned", True):
            kind = "other"
        if kind in ("time", "timestamp"):
            return kind, _UNITS[_details(logical.to_json())["timeUnit"]]
        return kind, column.scale if kind == "decimal" else 0
    if physical in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"):
        return ("decimal", column.scale) if name == "DECIMAL" else (_BINARY.get(name, "other"), 0)
    return _PHYSICAL.get(physical, "other"), 0


@lru_cache(maxsize=256)
def _details(logical: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(logical)
    return found


def schema_ids(schema: pa.Schema, key: bytes) -> dict[str, int | None]:
    """The field ids of the top-level columns, kept below ``key`` in their metadata."""
    return {column.name: _id(column, key) for column in schema}


def _id(column: pa.Field, key: bytes) -> int | None:
    text = (column.metadata or {}).get(key)
    return int(text) if text is not None else None


def _leaf_ids(schema: pa.Schema) -> Iterator[int | None]:
    import pyarrow as pa

    def below(column: pa.Field) -> Iterator[int | None]:
        kind = column.type
        while isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        if pa.types.is_map(kind):
            yield from below(kind.key_field)
            yield from below(kind.item_field)
        elif pa.types.is_struct(kind):
            for inner in kind:
                yield from below(inner)
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            yield from below(kind.value_field)
        else:
            yield _id(column, b"PARQUET:field_id")

    for column in schema:
        yield from below(column)
