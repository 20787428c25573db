"""Which rows of a data file are deleted, by their positions in it or by their values; for millions of deletes.

Source: Iceberg, "Position Delete Files", "Deletion Vectors", "Equality Delete Files"; Delta protocol, "Deletion Vectors".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lakehouse.errors import Unsupported
from lakehouse.reading.conversion import storage_of
from lakehouse.reading.keys import hashes_of, null_safe_equal

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from lakehouse.reading.task import ReadField

    Integers = np.ndarray[Any, np.dtype[np.signedinteger[Any]]]
    Mask = np.ndarray[Any, np.dtype[np.bool_]]
    Positions = np.ndarray[Any, np.dtype[np.uint64]]
    Words = np.ndarray[Any, np.dtype[np.uint64]]

__all__ = ["DeletedRows", "all_deleted", "kept_positions", "key_of"]

LEAST_MERGED_ROWS = 1 << 20
"""So many new deletes at least are gathered before those of equal keys become one."""

_MOST_BITS = 26


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


class _Keys(NamedTuple):
    """Distinct keys: their hashes, ascending; in that order the columns, and the greatest sequence number of a key's deletes."""

    hashes: Words
    columns: list[pa.Array]
    sequences: Integers


class DeletedRows:
    """Rows that are deleted wherever all ``fields`` have just these values, in data older than their deletes; null equals null.

    ``fields``: as data files hold them; a field inside of structs is the outermost one, with nothing inside but the way there.
    ``deletes``: tables of one column for each field, in their order and of their types, and the sequence number of each table.
    Deletes of one key are one, so memory is that of the distinct keys. ``size``: bytes. ``where``: for messages. May be shared
    by threads. Raises `Unsupported` for columns whose equality the specification does not define.
    """

    def __init__(self, fields: tuple[ReadField, ...], deletes: Iterable[tuple[pa.Table, int]], where: str) -> None:
        import numpy as np

        for field in fields:
            _refuse(key_of(field), where)
        self.fields = fields
        kinds = [key_of(field).type for field in fields]
        self._hashes, self._columns, self._sequences = keys = _gathered(deletes, kinds)
        bits = min(_MOST_BITS, max(1, len(self._hashes).bit_length()))
        self._shift = np.uint64(64 - bits)
        starts = np.searchsorted(self._hashes, np.arange(1 << bits, dtype=np.uint64) << self._shift)
        starts = np.append(starts, len(self._hashes))
        self._starts: Integers = starts.astype(np.int32) if len(self._hashes) < 2**31 else starts
        self.size = _size(keys) + self._starts.nbytes

    def kept(self, columns: Sequence[pa.Array], rows: int, sequence: int) -> Mask | None:
        """Which of ``rows`` rows of a data file of that ``sequence`` number stay; ``columns``: their values of `fields`.

        None: all of them.
        """
        import numpy as np
        import pyarrow as pa

        if not len(self._hashes) or not rows:
            return None
        plain = [_plain(column, key_of(field).type) for column, field in zip(columns, self.fields, strict=True)]
        hashes = hashes_of(plain, rows)
        bucket = (hashes >> self._shift).astype(np.int64)
        at, end = self._starts[bucket], self._starts[bucket + 1]
        left = np.flatnonzero(at < end)
        at, end = at[left], end[left]
        deleted = np.zeros(rows, dtype=np.bool_)
        while len(left):
            alike = np.flatnonzero((self._hashes[at] == hashes[left]) & (self._sequences[at] > sequence))
            if len(alike):
                ours, theirs = pa.array(left[alike]), pa.array(at[alike])
                deleted[left[alike[_equal(plain, ours, self._columns, theirs)]]] = True
            at = at + 1
            more = (at < end) & ~deleted[left]
            left, at, end = left[more], at[more], end[more]
        return ~deleted if deleted.any() else None


def key_of(field: ReadField) -> ReadField:
    """The field that ``field`` is the way to: itself, or the one inside of structs that have but one."""
    import pyarrow.types as types

    while types.is_struct(field.type) and len(field.children) == 1:
        field = field.children[0]
    return field


def _gathered(deletes: Iterable[tuple[pa.Table, int]], kinds: Sequence[pa.DataType]) -> _Keys:
    """The distinct keys of all those deletes. At most twice as many deletes as there are keys are held at once."""
    import numpy as np
    import pyarrow as pa

    empty = [_plain(pa.array([], kind), kind) for kind in kinds]
    keys = _Keys(np.empty(0, np.uint64), empty, np.empty(0, np.int64))
    waiting: list[_Keys] = []
    rows = 0
    for table, sequence in deletes:
        columns = [
            pa.concat_arrays([none, *(_plain(chunk, kind) for chunk in column.chunks)])
            for column, kind, none in zip(table.columns, kinds, empty, strict=True)
        ]
        waiting.append(_Keys(hashes_of(columns, table.num_rows), columns, np.full(table.num_rows, sequence, np.int64)))
        rows += table.num_rows
        if rows >= max(LEAST_MERGED_ROWS, len(keys.hashes)):
            keys, waiting, rows = _merged([keys, *waiting]), [], 0
    return _merged([keys, *waiting]) if waiting else keys


def _merged(parts: Sequence[_Keys]) -> _Keys:
    """Equal keys as one, with the greatest sequence number. (Of different keys with one hash, an equal pair may stay two.)"""
    import numpy as np
    import pyarrow as pa

    hashes: Words = np.concatenate([part.hashes for part in parts])
    sequences: Integers = np.concatenate([part.sequences for part in parts])
    columns = [pa.concat_arrays(each) for each in zip(*(part.columns for part in parts), strict=True)]
    order = np.argsort(-sequences, kind="stable")
    order = order[np.argsort(hashes[order], kind="stable")]
    ordered = hashes[order]
    alike = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(alike):
        equal = _equal(columns, pa.array(order[alike]), columns, pa.array(order[alike + 1]))
        order = np.delete(order, alike[equal] + 1)
    taken = pa.array(order)
    return _Keys(hashes[order], [column.take(taken) for column in columns], sequences[order])


def _equal(some: Sequence[pa.Array], places: pa.Array, others: Sequence[pa.Array], their_places: pa.Array) -> Mask:
    """Whether the rows at the one and the other places are equal in all columns."""
    import numpy as np

    equal = np.ones(len(places), dtype=np.bool_)
    for one, other in zip(some, others, strict=True):
        equal &= null_safe_equal(one.take(places), other.take(their_places))
    return equal


def _size(keys: _Keys) -> int:
    return int(keys.hashes.nbytes + keys.sequences.nbytes + sum(column.nbytes for column in keys.columns))


def _plain(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The values of type ``kind`` that a key's column holds, in a type that Arrow's kernels take and any number of bytes fits."""
    import pyarrow as pa
    import pyarrow.types as types

    while types.is_struct(column.type):
        column = column.flatten()[0]
    array = column if column.type == kind else column.cast(kind)
    if types.is_string(kind) or types.is_string_view(kind):
        return array.cast(pa.large_string())
    if types.is_binary(kind) or types.is_binary_view(kind):
        return array.cast(pa.large_binary())
    return array.storage if hasattr(kind, "storage_type") else array


def _refuse(key: ReadField, where: str) -> None:
    import pyarrow.types as types

    if types.is_floating(key.type) or types.is_nested(storage_of(key.type)):
        raise Unsupported(
            f"{where}: rows are deleted by equality of the column {key.name!r}, which is {key.type}; equality of such columns "
            "is not defined. Rewrite the table's data files with the engine that wrote the deletes"
        )
