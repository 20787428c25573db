"""What ``_common_metadata`` says of a table that was made here: its columns, in their order and with their types, and which of
them are folders. Readers of data pass over the file; other writers leave no list of folders in it, so theirs says nothing here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakehouse.errors import NotFound
from lakehouse.reading.data_file import unreadable

if TYPE_CHECKING:
    import pyarrow as pa

    from lakehouse.store import Store

__all__ = ["COLUMNS", "Layout", "as_file", "stated_layout"]

COLUMNS = "_common_metadata"
_PARTITIONS = b"lake.partition_by"


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a table, and which of them stand in the names of folders, outermost first."""

    schema: pa.Schema
    partition_by: tuple[str, ...] = ()


def as_file(layout: Layout) -> bytes:
    """``layout`` as ``_common_metadata`` states it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_metadata(layout.schema.with_metadata({_PARTITIONS: json.dumps(list(layout.partition_by)).encode()}), sink)
    return bytes(sink.getvalue())


def stated_layout(store: Store) -> Layout | None:
    """What the table at ``store`` states; None where nothing does. Raises `NotFound` for a file that is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        data = store.get(COLUMNS)
    except NotFound:
        return None
    with unreadable(f"{store.url}/{COLUMNS}"):
        found = pq.read_schema(pa.BufferReader(data))
        stated = (found.metadata or {}).get(_PARTITIONS)
        return None if stated is None else Layout(found.remove_metadata(), tuple(json.loads(stated)))
