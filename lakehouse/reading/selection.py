"""Some rows of a batch: by a mask, or by a filter. Arrow's kernels for these take no view types, so such columns stand aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lakehouse.errors import Config

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

__all__ = ["filtered", "selected"]


def filtered(batch: pa.RecordBatch, filter: pc.Expression, columns: Sequence[str], where: str) -> pa.RecordBatch:
    """The rows of ``batch`` that satisfy ``filter``, which needs ``columns``; not a copy where all of them do.

    Raises `Config` where it fails on a value (a division by zero).
    """
    import pyarrow as pa

    try:
        mask = _mask(batch.select(list(columns)) if columns else pa.record_batch([pa.nulls(batch.num_rows)], ["row"]), filter)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        what = str(error).splitlines()[0]
        raise Config(f"{where}: the filter {filter} cannot be evaluated on its rows ({what}); change the filter") from error
    satisfied = mask.true_count
    return batch if satisfied == len(mask) else selected(batch, mask) if satisfied else batch.slice(0, 0)


def selected(batch: pa.RecordBatch, mask: pa.Array) -> pa.RecordBatch:
    """The rows of ``batch`` at which ``mask`` is true."""
    schema = batch.schema
    plain = _without_views(schema)
    return batch.filter(mask) if plain is schema else batch.cast(plain).filter(mask).cast(schema)


def _mask(batch: pa.RecordBatch, filter: pc.Expression) -> pa.Array:
    """Which rows satisfy ``filter``: Arrow evaluates expressions only as part of a plan."""
    import pyarrow as pa
    from pyarrow.acero import Declaration, ProjectNodeOptions, TableSourceNodeOptions

    source = Declaration("table_source", TableSourceNodeOptions(pa.Table.from_batches([batch])))
    project = Declaration("project", ProjectNodeOptions([filter], ["kept"]))
    found = Declaration.from_sequence([source, project]).to_table(use_threads=False)["kept"].combine_chunks()
    if len(found) != batch.num_rows:
        raise pa.ArrowInvalid("it does not give one answer for each row")
    return found


def _without_views(schema: pa.Schema) -> pa.Schema:
    import pyarrow as pa
    import pyarrow.types as types

    made = schema
    for at, field in enumerate(schema):
        if types.is_string_view(field.type):
            made = made.set(at, field.with_type(pa.large_string()))
        elif types.is_binary_view(field.type):
            made = made.set(at, field.with_type(pa.large_binary()))
    return made
