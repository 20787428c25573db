"""What a data file says of itself: how many rows it has, and what is known of each of its columns."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lakehouse.reading.thrift import Fields, read_fields

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Footer", "LeafFacts", "TopColumn", "parquet_footer", "row_groups_of", "schema_ids"]

Kind = Literal["boolean", "integer", "float", "date", "time", "timestamp", "decimal", "text", "binary", "other"]
Bound = bool | int | float | bytes


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


class TopColumn(NamedTuple):
    """A top-level column. ``leaf``: which of the leaves it is; None where it has some inside."""

    name: str
    field_id: int | None
    leaf: int | None


@dataclass(frozen=True, slots=True)
class Footer:
    """``leaves``: in the order of the schema (Parquet). ``ids``: of top-level columns, those that the file states (None: a column
    without one). ``row_groups``: where each begins, in bytes (Parquet). ``columns``: the top-level ones (Parquet).
    """

    rows: int
    leaves: tuple[LeafFacts, ...] = ()
    ids: dict[str, int | None] = field(default_factory=dict)
    row_groups: tuple[int, ...] = ()
    columns: tuple[TopColumn, ...] = ()


class _Leaf(NamedTuple):
    name: str
    field_id: int | None
    kind: Kind
    scale: int
    physical: int
    repeated: bool


class _Schema(NamedTuple):
    """``prefix``: the bytes of the footer up to the end of its schema."""

    prefix: bytes
    leaves: list[_Leaf]
    columns: tuple[TopColumn, ...]
    ids: dict[str, int | None]


_KNOWN: deque[_Schema] = deque(maxlen=8)
"""The schemas that were met last: the files of a table have few, so most footers begin with bytes that were read before."""

_SCHEMA, _ROWS, _ROW_GROUPS, _ORDERS = 2, 3, 4, 7
_BOOLEAN, _INT32, _INT64, _INT96, _FLOAT, _DOUBLE, _BYTE_ARRAY, _FIXED = range(8)


def parquet_footer(data: bytes, end: int) -> Footer:
    """The facts of the footer ``data``, which begins ``end`` bytes into its file.

    Source: parquet.thrift, ``FileMetaData``. Raises `ValueError` where the footer is damaged or contradicts itself.
    """
    try:
        return _footer(data, end)
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError(f"its fields are not those of a footer ({error})") from error


def _footer(data: bytes, end: int) -> Footer:
    schema, fields = _read(data)
    groups = row_groups_of(fields)
    rows = fields.get(_ROWS)
    if not isinstance(rows, int) or sum(group.get(3, -1) for group in groups) != rows:
        raise ValueError(f"its row groups do not have the {rows} rows that it states")
    chunks = [group.get(1, ()) for group in groups]
    if any(len(columns) != len(schema.leaves) for columns in chunks):
        raise ValueError(f"a row group has not just the {len(schema.leaves)} columns of the schema")
    starts = list[int]()
    leaves = list[LeafFacts]()
    for at, leaf in enumerate(schema.leaves):
        found = [_metadata(columns[at], leaf) for columns in chunks]
        begins = [_begin(chunk) for chunk in found]
        for start, chunk in zip(begins, found, strict=True):
            if chunk[5] and not 4 <= start <= end - chunk.get(7, 0):
                raise ValueError(f"column {leaf.name} lies beyond the file's end")
        starts = [min(pair) for pair in zip(starts, begins, strict=True)] if starts else begins
        leaves.append(_facts(leaf, found, ordered=leaf.physical in _ORDERED or _ORDERS in fields))
    return Footer(rows, tuple(leaves), schema.ids, tuple(starts), schema.columns)


def row_groups_of(fields: Fields) -> list[Fields]:
    """The row groups of a ``FileMetaData``. Raises `ValueError` where they are none."""
    groups = fields.get(_ROW_GROUPS)
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise ValueError("it states no row groups")
    return groups


def _read(data: bytes) -> tuple[_Schema, Fields]:
    for known in tuple(_KNOWN):
        if data.startswith(known.prefix):
            return known, read_fields(data, len(known.prefix), last=_SCHEMA)[0]
    head, pos = read_fields(data, until=_SCHEMA)
    elements = head.get(_SCHEMA)
    if not isinstance(elements, list) or not elements or not all(isinstance(element, dict) for element in elements):
        raise ValueError("it has no schema")
    leaves = list[_Leaf]()
    columns = list[TopColumn]()
    after = 1
    for _ in range(elements[0].get(5, 0)):
        first, element = len(leaves), elements[after] if after < len(elements) else {}
        after = _flatten(elements, after, (), leaves)
        single = element.get(5, 0) == 0 and not leaves[first].repeated
        columns.append(TopColumn(_name(element), element.get(9), first if single else None))
    if after != len(elements):
        raise ValueError("its schema has columns that belong to nothing")
    ids = {column.name: column.field_id for column in columns}
    found = _Schema(data[:pos], leaves, tuple(columns), ids)
    _KNOWN.appendleft(found)
    return found, read_fields(data, pos, last=_SCHEMA)[0]


def _name(element: Fields) -> str:
    name = element.get(4)
    if not isinstance(name, bytes):
        raise ValueError("a column of its schema has no name")
    return name.decode()


def _flatten(elements: list[Fields], at: int, above: tuple[str, ...], leaves: list[_Leaf]) -> int:
    """Append the leaves of the element at ``at``; gives where the next begins. The schema is flattened depth first."""
    if at >= len(elements) or len(above) > 64:
        raise ValueError("its schema is cut")
    element = elements[at]
    names, children, at = (*above, _name(element)), element.get(5, 0), at + 1
    if 1 in element and not children:
        kind, scale = _kind(element)
        leaves.append(_Leaf(".".join(names), element.get(9), kind, scale, element[1], element.get(3) == 2))
    else:
        for _ in range(children):
            at = _flatten(elements, at, names, leaves)
    return at


def _kind(element: Fields) -> tuple[Kind, int]:
    """What the values of a leaf are (``SchemaElement``: physical type, logical type, and the converted type of older writers)."""
    physical, converted, logical = element[1], element.get(6), element.get(10) or {}
    if physical in (_INT32, _INT64):
        if 5 in logical or converted == 5:
            return "decimal", (logical.get(5) or {}).get(1, element.get(7, 0)) or 0
        if 6 in logical or converted == 6:
            return "date", 0
        for number, kind, shorts in ((7, "time", (7, 8)), (8, "timestamp", (9, 10))):
            if number in logical or converted in shorts:
                unit = next(iter((logical.get(number) or {}).get(2) or {shorts.index(converted) + 1 if converted else 0: 0}), 0)
                named: Kind = "time" if kind == "time" else "timestamp"
                return (named, 1000**unit) if 1 <= unit <= 3 else ("other", 0)
        unsigned = converted in (11, 12, 13, 14) or (10 in logical and logical[10].get(2) is False)
        return ("integer", 0) if not unsigned and set(logical) <= {10} else ("other", 0)
    if physical in (_BYTE_ARRAY, _FIXED):
        if 5 in logical or converted == 5:
            return "decimal", (logical.get(5) or {}).get(1, element.get(7, 0)) or 0
        if logical.keys() & {1, 4, 12} or converted in (0, 4, 19):
            return "text", 0
        return ("binary", 0) if set(logical) <= {14} and converted is None else ("other", 0)
    return {_BOOLEAN: "boolean", _FLOAT: "float", _DOUBLE: "float"}.get(physical, "other"), 0  # type: ignore[return-value]


def _metadata(chunk: Any, leaf: _Leaf) -> Fields:
    found = chunk.get(3) if isinstance(chunk, dict) else None
    if not isinstance(found, dict) or not isinstance(found.get(9), int) or not isinstance(found.get(5), int):
        raise ValueError(f"it does not say where column {leaf.name} lies")
    if found.get(1) != leaf.physical:
        raise ValueError(f"column {leaf.name} has another type than its schema says")
    return found


def _begin(chunk: Fields) -> int:
    dictionary, data = chunk.get(11), int(chunk[9])
    return dictionary if dictionary is not None and 0 < dictionary < data else data


def _facts(leaf: _Leaf, chunks: list[Fields], *, ordered: bool) -> LeafFacts:
    name, field_id, kind, scale, physical, _ = leaf
    nulls: int | None = 0
    values, bounded = 0, kind != "other"
    lower: Any = None
    upper: Any = None
    for chunk in chunks:
        values += chunk[5]
        said = chunk.get(12) or {}
        missing = said.get(3)
        nulls = None if nulls is None or missing is None else nulls + missing
        low, high = said.get(6), said.get(5)
        if low is None and high is None and physical in _ORDERED:
            low, high = said.get(2), said.get(1)
        if bounded and low is not None and high is not None and (ordered or low == high):
            low, high = _bound(kind, physical, low), _bound(kind, physical, high)
            lower = low if lower is None or low < lower else lower
            upper = high if upper is None or high > upper else upper
        elif missing != chunk[5]:
            bounded = False
    if not bounded or lower != lower or upper != upper:
        lower = upper = None
    return LeafFacts(name, field_id, kind, scale, lower, upper, nulls, values)


_ORDERED = (_BOOLEAN, _INT32, _INT64, _FLOAT, _DOUBLE)
"""Physical types of which the deprecated ``min`` and ``max`` of ``Statistics`` have the order of the values, too."""

_UNPACK: dict[int, Callable[[bytes], tuple[Any, ...]]] = {
    _BOOLEAN: struct.Struct("?").unpack,
    _INT32: struct.Struct("<i").unpack,
    _INT64: struct.Struct("<q").unpack,
    _FLOAT: struct.Struct("<f").unpack,
    _DOUBLE: struct.Struct("<d").unpack,
}


def _bound(kind: Kind, physical: int, raw: bytes) -> Bound:
    if physical in _UNPACK:
        try:
            (value,) = _UNPACK[physical](raw)
        except (struct.error, TypeError) as error:
            raise ValueError(f"a bound of {raw!r:.40} has not the length of its type") from error
        found: Bound = value
        return found
    return int.from_bytes(raw, "big", signed=True) if kind == "decimal" else raw


def schema_ids(schema: pa.Schema, key: bytes) -> dict[str, int | None]:
    """The field ids of the top-level columns of an Arrow schema, kept below ``key`` in their metadata."""
    texts = {column.name: (column.metadata or {}).get(key) for column in schema}
    return {name: int(text) if text is not None else None for name, text in texts.items()}
