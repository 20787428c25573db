"""Some rows of a batch: by a mask, or by a filter. Arrow's kernels for these take no view types, so such columns stand aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakehouse.errors import Config

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

__all__ = ["filtered", "selected"]


def filtered(batch: pa.RecordBatch, filter: pc.Expression, where: str) -> pa.RecordBatch:
    """The rows of ``batch`` that satisfy ``filter``. Raises `Config` where it fails on a value (a division by zero)."""
    import pyarrow as pa

    try:
        return selected(batch, filter)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        what = str(error).splitlines()[0]
        raise Config(f"{where}: the filter {filter} cannot be evaluated on its rows ({what}); change the filter") from error


def selected(batch: pa.RecordBatch, by: pa.Array | pc.Expression) -> pa.RecordBatch:
    """The rows of ``batch`` for which ``by`` is true."""
    schema = batch.schema
    plain = _without_views(schema)
    return batch.filter(by) if plain is schema else batch.cast(plain).filter(by).cast(schema)


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
