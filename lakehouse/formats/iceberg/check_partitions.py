"""Whether partition values are of their spec, and within what a manifest list says of them.

Iceberg table spec, "Partition Specs" and "Manifest Lists" (``field_summary``): a summary that does not hold its manifest's
partitions makes readers skip it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lakehouse.formats.iceberg.check_values import Column, Value, exceeds, partition_type, partition_value, reader_of
from lakehouse.formats.iceberg.manifest_list import PartitionSummary
from lakehouse.formats.iceberg.partitioning import PartitionField, PartitionSpec

__all__ = ["PartitionTypes", "summary_flaws", "tuple_flaws", "types_of"]

PartitionTypes = tuple[str | None, ...]
"""Of each field of a spec the type of its values; None where it is not known."""


def types_of(spec: PartitionSpec, columns: Mapping[int, Column]) -> PartitionTypes:
    """The types of the partition values of ``spec``."""
    return tuple(_type(field, columns) for field in spec.fields)


def _type(field: PartitionField, columns: Mapping[int, Column]) -> str | None:
    source = columns.get(field.source_ids[0]) if len(field.source_ids) == 1 else None
    return partition_type(field.transform, source.type) if source is not None else None


def tuple_flaws(partitions: Iterable[tuple[Any, ...]], spec: PartitionSpec, types: PartitionTypes) -> Iterator[str]:
    """What is wrong with the partition values of a manifest's files."""
    for stated in partitions:
        for field, kind, value in zip(spec.fields, types, stated, strict=False):
            try:
                _value(kind, value)
            except ValueError as error:
                yield f"has a file in the partition {field.name} = {value!r}: {error}"


def summary_flaws(
    partitions: Iterable[tuple[Any, ...]], summaries: tuple[PartitionSummary, ...], spec: PartitionSpec, types: PartitionTypes
) -> Iterator[str]:
    """Which of the summaries do not hold the partitions."""
    if len(summaries) != len(spec.fields):
        yield f"has {len(summaries)} partition summaries, its spec has {len(spec.fields)} fields"
        return
    for number, (field, summary, kind) in enumerate(zip(spec.fields, summaries, types, strict=True)):
        for stated in {partition[number] for partition in partitions}:
            try:
                outside = _outside(kind, stated, summary)
            except ValueError:
                continue  # `tuple_flaws` says so
            if outside:
                yield f"has the partition {field.name} = {stated!r}, {outside}"


def _value(kind: str | None, stated: Any) -> Value | None:
    return None if kind is None or stated is None else partition_value(kind, stated)


def _outside(kind: str | None, stated: Any, summary: PartitionSummary) -> str:
    """Why the value is not within the summary; "" when it is, or when that cannot be told.

    Of a column that was dropped, Java writes partition values as null, and a summary without nulls and bounds.
    """
    if stated is None:
        known = summary.contains_null or (summary.lower is None and summary.upper is None)
        return "" if known else "where its summary says that there is no null"
    value = _value(kind, stated)
    if kind is None or value is None:
        return ""
    if value != value:
        return "where its summary says that there is no NaN" if summary.contains_nan is False else ""
    for raw, name, sign in ((summary.lower, "lower", 1), (summary.upper, "upper", -1)):
        bound = reader_of(kind)(raw) if raw is not None else None
        if bound is not None and (exceeds(bound, value) if sign > 0 else exceeds(value, bound)):
            return f"beyond the {name} bound {bound!r} of its summary"
    return ""
