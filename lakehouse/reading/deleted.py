"""Which rows of a data file are deleted, by their positions in it or by their values; for millions of deletes.

Source: Iceberg, "Position Delete Files", "Deletion Vectors", "Equality Delete Files"; Delta protocol, "Deletion Vectors".
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lakehouse.errors import Unsupported
from lakehouse.reading.conversion import storage_of
from lakehouse.reading.keys import hashes_of, null_safe_equal
from lakehouse.reading.task import EqualityDeletes

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Mask = np.ndarray[Any, np.dtype[np.bool_]]
    Positions = np.ndarray[Any, np.dtype[np.uint64]]

__all__ = ["DeleteIndexes", "all_deleted", "kept_positions"]

MOST_INDEXES = 256


def kept_positions(positions: Positions, start: int, rows: int) -> Mask | None:
    """Which of ``rows`` rows from position ``start`` of the file stay; None: all of them. ``positions``: ascending, deleted."""
    import numpy as np

    low, high = (int(found) for found in np.searchsorted(positions, np.array([start, start + rows], dtype=np.uint64)))
    if low == high:
        return None
    kept = np.ones(rows, dtype=np.bool_)
    kept[(positions[low:high] - np.uint64(start)).astype(np.int64)] = False
    return kept


def all_deleted(positions: Positions, start: int, rows: int) -> bool:
    """Whether none of ``rows`` rows from position ``start`` stays."""
    import numpy as np

    low, high = (int(found) for found in np.searchsorted(positions, np.array([start, start + rows], dtype=np.uint64)))
    return high - low >= rows


class DeleteIndexes:
    """The index of each set of equality deletes, made once however many files it applies to. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[int, tuple[pa.Table, _Index]] = OrderedDict()

    def of(self, deletes: EqualityDeletes, where: str) -> _Index:
        """The index of ``deletes``. Raises `Unsupported` for columns whose equality the specification does not define."""
        key = id(deletes.rows)
        with self._lock:  # held while an index is made: all others would only make it once more
            found = self._made.get(key)
            if found is None:
                found = self._made[key] = (deletes.rows, _Index(deletes, where))
            self._made.move_to_end(key)
            while len(self._made) > MOST_INDEXES:
                self._made.popitem(last=False)
        return found[1]


class _Index:
    """A hash table of delete rows: sorted hashes, and where those begin that share their first bits."""

    def __init__(self, deletes: EqualityDeletes, where: str) -> None:
        import numpy as np

        columns = []
        for field, column in zip(deletes.fields, deletes.rows.columns, strict=True):
            _refuse(field.name, field.type, where)
            columns.append(_plain(column.combine_chunks() if column.num_chunks != 1 else column.chunk(0), field.type))
        hashes = hashes_of(columns, deletes.rows.num_rows)
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._order, self._columns = hashes[order], order, columns
        bits = min(26, len(hashes).bit_length() + 2)
        self._shift = np.uint64(64 - bits)
        edges = np.arange(1 << bits, dtype=np.uint64) << self._shift
        self._starts = np.append(np.searchsorted(self._hashes, edges), len(hashes))

    def kept(self, columns: Sequence[pa.Array], rows: int) -> Mask | None:
        """Which of ``rows`` rows, whose values are ``columns``, are not deleted; None: all of them."""
        import numpy as np
        import pyarrow as pa

        if not len(self._hashes) or not rows:
            return None
        plain = [_plain(column, column.type) for column in columns]
        hashes = hashes_of(plain, rows)
        bucket = (hashes >> self._shift).astype(np.int64)
        at, end = self._starts[bucket], self._starts[bucket + 1]
        left = np.flatnonzero(at < end)
        at, end = at[left], end[left]
        deleted = np.zeros(rows, dtype=np.bool_)
        while len(left):
            alike = np.flatnonzero(self._hashes[at] == hashes[left])
            if len(alike):
                ours, theirs = pa.array(left[alike]), pa.array(self._order[at[alike]])
                equal = np.ones(len(alike), dtype=np.bool_)
                for mine, other in zip(plain, self._columns, strict=True):
                    equal &= null_safe_equal(mine.take(ours), other.take(theirs))
                deleted[left[alike[equal]]] = True
            at = at + 1
            more = (at < end) & ~deleted[left]
            left, at, end = left[more], at[more], end[more]
        return ~deleted if deleted.any() else None


def _plain(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """``column`` as ``kind``, in a type that Arrow's kernels take: no extension, no view."""
    import pyarrow as pa
    import pyarrow.types as types

    array = column if column.type == kind else column.cast(kind)
    if types.is_string_view(kind):
        return array.cast(pa.large_string())
    if types.is_binary_view(kind):
        return array.cast(pa.large_binary())
    return array.storage if hasattr(kind, "storage_type") else array


def _refuse(name: str, kind: pa.DataType, where: str) -> None:
    import pyarrow.types as types

    if types.is_floating(kind) or types.is_nested(storage_of(kind)):
        raise Unsupported(
            f"{where}: rows are deleted by equality of the column {name!r}, which is {kind}; equality of such columns "
            "is not defined. Rewrite the table's data files with the engine that wrote the deletes"
        )
