"""Whether rows that lie within known bounds can satisfy a filter: mostly Arrow itself decides, by what it calls a guarantee.

Comparisons of columns with constants, all of which must hold, are held against the bounds here (`conjunction`). For other filters
the bounds of the columns that they name become an expression that holds for every row, ``(c >= lower or c is null) and …``; Arrow
simplifies the filter under it and says when nothing can be left. What Arrow cannot decide counts as a match.

NaN is no bound's business (Iceberg, "Manifests"; Parquet, "Column order"), so a filter that NaN may satisfy (``x != 5``,
``not x < 5``) gets no bounds of floating-point columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lakehouse.errors import Config
from lakehouse.reading.conjunction import Comparison, comparable, conjunction
from lakehouse.reading.task import Bounds, ColumnBounds, MayMatch, everything

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

__all__ = ["checked_filter", "columns_named", "may_match"]

MOST_TRIED = 64
"""Of columns whose names occur in a filter; beyond, all of them are read."""

_CALL = re.compile(r"([A-Za-z_]\w*)\(")
_BLIND_TO_NAN = frozenset({"is_in", "is_null", "is_valid"})
_TAKES_NAN = re.compile(r"\bnan(?:_is_null=true)?\b|!=|\bxor\b", re.IGNORECASE)


def columns_named(filter: pc.Expression, schema: pa.Schema) -> tuple[str, ...]:
    """The columns of ``schema`` that ``filter`` needs, in their order: those whose names occur in its text, less those without
    which it can be evaluated.
    """
    text = str(filter)
    found = [name for name in schema.names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
    if len(found) > MOST_TRIED:
        return tuple(found)
    return tuple(name for name in found if not _is_valid(filter, [schema.field(other) for other in found if other != name]))


def _is_valid(filter: pc.Expression, fields: list[pa.Field]) -> bool:
    import pyarrow as pa

    try:
        pa.schema(fields).empty_table().filter(filter)
    except (pa.ArrowException, TypeError, ValueError, KeyError):
        return False
    return True


def checked_filter(filter: pc.Expression, schema: pa.Schema) -> None:
    """Raise `Config` for a filter that cannot be evaluated on rows of ``schema``, or is not a condition."""
    import pyarrow as pa

    if "FieldPath(" in str(filter):
        raise Config(f"filter {filter}: name columns, not their numbers")
    try:
        schema.empty_table().filter(filter)
    except (pa.ArrowException, TypeError, ValueError, KeyError) as error:
        what = str(error).splitlines()[0]
        raise Config(f"filter {filter} cannot be evaluated ({what}); columns: {', '.join(schema.names[:20])}") from error


def may_match(filter: pc.Expression | None, schema: pa.Schema) -> MayMatch:
    """What tells, from the bounds of columns of ``schema``, whether rows within them can satisfy ``filter``."""
    if filter is None:
        return everything
    comparisons = conjunction(filter, schema)
    return _decided_by_arrow(filter, schema) if comparisons is None else _all_may_hold(comparisons, schema)


def _all_may_hold(comparisons: Mapping[str, Sequence[Comparison]], schema: pa.Schema) -> MayMatch:
    """For filters that are comparisons alone, which Arrow would decide no otherwise, in a tenth of the time."""
    columns = [(name, schema.field(name).type, each) for name, each in comparisons.items()]

    def matches(bounds: Bounds, rows: int | None) -> bool:
        if rows == 0:
            return False
        for name, kind, each in columns:
            known = bounds(name)
            if known is None:
                continue
            if known.nulls is not None and rows is not None and known.nulls >= rows:
                return False
            lower, upper = _limit(known.lower, kind), _limit(known.upper, kind)
            if not all(comparison.may_hold(lower, upper) for comparison in each):
                return False
        return True

    return matches


def _limit(bound: pa.Scalar | None, kind: pa.DataType) -> Any:
    return None if bound is None or bound.type != kind else comparable(bound)


def _decided_by_arrow(filter: pc.Expression, schema: pa.Schema) -> MayMatch:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds
    import pyarrow.fs as fs

    blind = _is_blind_to_nan(filter)
    nowhere, parquet = fs.LocalFileSystem(), ds.ParquetFileFormat()
    narrow = pa.schema([schema.field(name) for name in columns_named(filter, schema)])
    named = [(each.name, pc.field(each.name), each.type) for each in narrow if blind or not pa.types.is_floating(each.type)]

    def matches(bounds: Bounds, rows: int | None) -> bool:
        if rows == 0:
            return False
        guarantee = None
        for name, column, kind in named:
            known = bounds(name)
            held = None if known is None else _guarantee(column, known, kind, rows)
            if held is not None:
                guarantee = held if guarantee is None else guarantee & held
        if guarantee is None:
            return True
        try:
            fragment = parquet.make_fragment("rows", nowhere, partition_expression=guarantee)
            dataset = ds.FileSystemDataset([fragment], narrow, parquet, nowhere)
            return next(iter(dataset.get_fragments(filter=filter)), None) is not None
        except (pa.ArrowException, TypeError, ValueError):
            return True  # in doubt

    return matches


def _guarantee(column: pc.Expression, known: ColumnBounds, kind: pa.DataType, rows: int | None) -> Any:
    """What holds of ``column`` in every row; None when nothing is known."""
    import pyarrow.types as types

    if known.nulls is not None and rows is not None and known.nulls >= rows:
        return column.is_null()
    limits = []
    if known.nulls == 0 and known.lower == known.upper and _is_usable(known.lower, kind) and not types.is_floating(kind):
        return column == known.lower  # of which Arrow knows more than of two bounds
    if _is_usable(known.lower, kind):
        limits.append(column >= known.lower)
    if _is_usable(known.upper, kind):
        limits.append(column <= known.upper)
    if known.nulls != 0:
        limits = [limit | column.is_null() for limit in limits]
    if not limits:
        return column.is_valid() if known.nulls == 0 else None
    return limits[0] if len(limits) == 1 else limits[0] & limits[1]


def _is_usable(bound: pa.Scalar | None, kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if bound is None or not bound.is_valid or bound.type != kind:
        return False
    value = bound.as_py() if types.is_floating(kind) else 0
    return bool(value == value)


def _is_blind_to_nan(filter: pc.Expression) -> bool:
    """Whether no NaN satisfies ``filter``: it is made of comparisons, and, or, and tests for null alone."""
    text = str(filter)
    return not _TAKES_NAN.search(text) and set(_CALL.findall(text)) <= _BLIND_TO_NAN
