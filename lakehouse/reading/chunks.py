"""What a Parquet footer states of each column chunk: how large it is, how it is stored, and its statistics.

Arrow's own objects for that (``RowGroupMetaData.column`` and what it gives) end the process for some damaged footers, and for
encrypted columns: what is thrown in them is not caught. Nothing else that Arrow does with a footer has that fault.
Source: parquet.thrift, ``FileMetaData``, ``ColumnMetaData``, ``Statistics``.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from lakehouse.reading.footer import row_groups_of
from lakehouse.reading.thrift import Fields, read_fields

__all__ = ["Chunk", "ColumnChunks", "Statistics", "footer_bytes", "footer_length"]

_PHYSICAL = ("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
_CODECS = ("UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD", "LZ4")
_UNKNOWN = "UNKNOWN"
_ORDERED = _PHYSICAL[:3] + _PHYSICAL[4:6]
"""Of these the deprecated ``min`` and ``max`` have the order of the values, too."""

_SCHEMA, _ORDERS = 2, 7
_KNOWN: deque[bytes] = deque(maxlen=8)
"""What the footers that were met last begin with, up to the end of the schema: the files of a table have few schemas."""


class Statistics(NamedTuple):
    """``lower`` and ``upper`` as they are encoded; None where they are not stated, or in an order that is not the values'.
    ``nulls``: None where it is not stated.
    """

    lower: bytes | None
    upper: bytes | None
    nulls: int | None


class Chunk(NamedTuple):
    """One leaf of one row group. ``packed``, ``plain``: its bytes in the file, and decompressed.

    ``path``: the names from the top-level column down, dots between. ``physical`` and ``codec`` are called as Arrow calls them.
    ``statistics``: None where there are none.
    """

    path: str
    physical: str
    codec: str
    packed: int
    plain: int
    has_column_index: bool
    statistics: Statistics | None


def footer_length(tail: bytes) -> int:
    """How many bytes the footer of a file that ends with ``tail`` has, with its length and the magic behind it."""
    return int.from_bytes(tail[-8:-4], "little") + 8


def footer_bytes(tail: bytes) -> bytes:
    """The footer of a file that ends with ``tail``. Raises `ValueError` where that is not all of it."""
    length = footer_length(tail)
    if len(tail) < length:
        raise ValueError(f"its footer would have {length - 8} bytes")
    return tail[-length:-8]


class ColumnChunks:
    """The column chunks that a footer tells of, by row group and leaf."""

    def __init__(self, footer: bytes) -> None:
        """Raises `ValueError` where ``footer`` is damaged."""
        fields = _behind_schema(footer)
        self._groups, self._orders = row_groups_of(fields), _ORDERS in fields

    def __getitem__(self, place: tuple[int, int]) -> Chunk:
        """The chunk of a row group and a leaf, both numbered from 0. Raises `ValueError` where it is damaged."""
        group, leaf = place
        try:
            return _chunk(self._groups[group][1][leaf], ordered=self._orders)
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"its fields do not tell of column {leaf} in row group {group} ({error!r})") from error


def _behind_schema(footer: bytes) -> Fields:
    for known in tuple(_KNOWN):
        if footer.startswith(known):
            return read_fields(footer, len(known), last=_SCHEMA)[0]
    _, pos = read_fields(footer, until=_SCHEMA)
    _KNOWN.appendleft(footer[:pos])
    return read_fields(footer, pos, last=_SCHEMA)[0]


def _chunk(fields: Fields, *, ordered: bool) -> Chunk:
    """Encrypted columns may have no metadata (3): of such a column nothing is known, and Arrow says so when it is read."""
    found = fields.get(3)
    if found is None:
        return Chunk("", "", "", 0, 0, False, None)
    physical, codec, packed, plain = found[1], found[4], found[7], found[6]
    if not all(isinstance(each, int) for each in (physical, codec, packed, plain)):
        raise TypeError("a number is none")
    path = ".".join(name.decode(errors="replace") for name in found[3])
    named = _PHYSICAL[physical] if 0 <= physical < len(_PHYSICAL) else _UNKNOWN
    stored = _CODECS[codec] if 0 <= codec < len(_CODECS) else _UNKNOWN
    stated = found.get(12)
    statistics = None if stated is None else _statistics(stated, ordered=ordered, old=named in _ORDERED)
    return Chunk(path, named, stored, packed, plain, 6 in fields, statistics)


def _statistics(stated: Fields, *, ordered: bool, old: bool) -> Statistics:
    lower, upper = (stated.get(6), stated.get(5)) if ordered or old else (None, None)
    if lower is None and upper is None and old:
        lower, upper = stated.get(2), stated.get(1)
    nulls = stated.get(3)
    both = isinstance(lower, bytes) and isinstance(upper, bytes)
    return Statistics(lower if both else None, upper if both else None, nulls if isinstance(nulls, int) else None)
