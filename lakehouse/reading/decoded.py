"""Holding the values of a file against what its footer says of them: a flipped bit often leaves a page that can be decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakehouse.reading.footer import Footer, LeafFacts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DecodedColumns"]


@dataclass(slots=True)
class _Seen:
    """What the values of the column at ``index`` were; ``facts``: what the footer says of it."""

    index: int
    facts: LeafFacts
    nulls: int = 0
    lower: Any = None
    upper: Any = None


class DecodedColumns:
    """Watches the batches of one Parquet file. Of columns that are not nested, with types that footers have bounds of."""

    def __init__(self, footer: Footer) -> None:
        leaves = [(at, column.leaf) for at, column in enumerate(footer.columns) if column.leaf is not None]
        self._columns = [_Seen(at, footer.leaves[leaf]) for at, leaf in leaves if footer.leaves[leaf].kind in _KINDS]

    def add(self, batch: pa.RecordBatch) -> None:
        """One batch with all columns of the file. Raises `pyarrow.ArrowInvalid` for text that is no UTF-8 and the like."""
        import pyarrow.compute as pc

        batch.validate(full=True)
        for seen in self._columns:
            column = batch.column(seen.index)
            seen.nulls += column.null_count
            values = _comparable(column, seen.facts)
            if values is None or seen.facts.lower is None or len(values) == values.null_count:
                continue
            bounds = pc.call_function("min_max", [values])
            lower, upper = bounds["min"].as_py(), bounds["max"].as_py()
            seen.lower = lower if seen.lower is None else min(lower, seen.lower)
            seen.upper = upper if seen.upper is None else max(upper, seen.upper)

    def differences(self) -> Iterator[str]:
        """What was decoded and is not as the footer says."""
        for seen in self._columns:
            facts = seen.facts
            if facts.nulls is not None and seen.nulls != facts.nulls:
                yield f"{facts.name} has {seen.nulls} nulls, its footer says {facts.nulls}"
            elif seen.lower is not None and (_below(seen.lower, facts.lower) or _below(facts.upper, seen.upper)):
                yield f"{facts.name} has values outside of the bounds in its footer"


def _below(one: Any, other: Any) -> bool:
    return bool(one < other)


def _comparable(column: pa.Array, facts: LeafFacts) -> pa.Array | None:
    """The values in the units of the footer; None where Arrow has them in others."""
    import pyarrow as pa

    kind = column.type
    if facts.kind == "integer" and pa.types.is_integer(kind) and pa.types.is_signed_integer(kind):
        return column
    if facts.kind == "date" and pa.types.is_date32(kind):
        return column.view(pa.int32())
    if facts.kind == "timestamp" and pa.types.is_timestamp(kind) and _UNITS[kind.unit] == facts.scale:
        return column.view(pa.int64())
    if facts.kind == "float" and (pa.types.is_float32(kind) or pa.types.is_float64(kind)):
        return column
    if facts.kind == "text" and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return column.cast(pa.large_binary())
    return None


_KINDS = ("integer", "date", "timestamp", "float", "text")
_UNITS = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}
