"""What ``_common_metadata`` says of a table that was made here: its columns, in their order and with their types, and which of
them are folders. Readers of data pass over the file; other writers leave no list of folders in it, so theirs says nothing here.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakehouse.checksum import sha256_hex
from lakehouse.errors import NotFound
from lakehouse.reading.data_file import damaged, unreadable

if TYPE_CHECKING:
    import pyarrow as pa

    from lakehouse.store import Store

__all__ = ["COLUMNS", "Layout", "as_file", "stated_layout"]

COLUMNS = "_common_metadata"
_LAYOUT = b"lake.layout"
"""The key in the file's metadata: the SHA-256 of what follows, a space, and as JSON ``columns`` (an Arrow schema in its IPC
format, in base64) and ``partition_by``. Footers have no checksum of their own.
"""


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
    columns = base64.b64encode(layout.schema.serialize()).decode()
    said = json.dumps({"columns": columns, "partition_by": list(layout.partition_by)}).encode()
    pq.write_metadata(layout.schema.with_metadata({_LAYOUT: sha256_hex(said).encode() + b" " + said}), sink)
    return bytes(sink.getvalue())


def stated_layout(store: Store) -> Layout | None:
    """What the table at ``store`` states; None where nothing does. Raises `NotFound` for a file that is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        data = store.get(COLUMNS)
    except NotFound:
        return None
    where = f"{store.url}/{COLUMNS}"
    with unreadable(where):
        found = pq.read_schema(pa.BufferReader(data))
    stated = (found.metadata or {}).get(_LAYOUT)
    if stated is None:
        return None
    digest, _, said = stated.partition(b" ")
    if sha256_hex(said) != digest.decode(errors="replace"):
        raise damaged(where, "parquet", "what it says of the table's columns has another SHA-256")
    layout = json.loads(said)
    return Layout(pa.ipc.read_schema(pa.py_buffer(base64.b64decode(layout["columns"]))), tuple(layout["partition_by"]))
