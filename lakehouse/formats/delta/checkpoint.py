"""Reading classic checkpoints: Parquet files with one action a row (PROTOCOL.md, "Checkpoints" and "Checkpoint Schema")."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from lakehouse.errors import NotFound
from lakehouse.formats.delta.actions import Action
from lakehouse.store import ObjectFile, ObjectInfo, Store

__all__ = ["FILE_COLUMNS", "STATE_COLUMNS", "V2_COLUMNS", "checkpoint_actions"]

FILE_COLUMNS = (
    "add.path", "add.size", "add.deletionVector", "remove.path", "remove.size", "remove.deletionVector",
    "protocol", "metaData", "checkpointMetadata", "sidecar",
)  # fmt: skip
STATE_COLUMNS = ("protocol", "metaData", "checkpointMetadata", "sidecar")
V2_COLUMNS = ("checkpointMetadata", "sidecar")

_ROWS = 4096
_WHOLE_BYTES = 32 * 2**20


def checkpoint_actions(store: Store, parts: Iterable[ObjectInfo], columns: tuple[str, ...] | None = None) -> Iterator[Action]:
    """The actions in the checkpoint's ``parts``; only ``columns`` (dotted names; None: all) are read.

    A row has one action, so a batch of rows is read column by column; the order of actions in a checkpoint means nothing.
    Raises `NotFound` for a part that is damaged.
    """
    for part in parts:
        for batch in _batches(store, part, columns):
            for kind, column in zip(batch.schema.names, batch.columns, strict=True):
                if column.null_count < len(column):
                    for fields in column.drop_null().to_pylist(maps_as_pydicts="lossy"):
                        yield kind, fields


def _batches(store: Store, part: ObjectInfo, columns: tuple[str, ...] | None) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    small = part.size <= _WHOLE_BYTES
    source = io.BytesIO(store.get(part.path)) if small else ObjectFile(store, part.path, part.size)
    try:
        with pq.ParquetFile(source) as file:
            there = set(file.schema_arrow.names)
            wanted = None if columns is None else [name for name in columns if name.partition(".")[0] in there]
            if wanted == []:
                return
            yield from file.iter_batches(batch_size=_ROWS, columns=wanted)
    except (pa.ArrowException, OSError) as error:
        raise NotFound(f"{store.url}: the checkpoint {part.path} cannot be read ({error})") from error
