"""Opening one data or delete file, to see whether it is what the table's metadata says.

One ranged read of the end of the file tells whether it is there, whether it has its size, and all that its footer says.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable

from lakehouse.errors import NotFound, Unsupported
from lakehouse.reading.avro_blocks import avro_rows
from lakehouse.reading.avro_file import AvroFile
from lakehouse.reading.decoded import DecodedColumns
from lakehouse.reading.examine import Flaw
from lakehouse.reading.footer import Footer, parquet_footer, schema_ids
from lakehouse.reading.task import FileFormat
from lakehouse.store import ObjectFile, Store

__all__ = ["data_file", "object_size"]

_TAIL_BYTES = 64 * 2**10
_WHOLE_BYTES = 32 * 2**20
_BATCH_ROWS = 64 * 2**10
_PARQUET, _ENCRYPTED, _ORC = b"PAR1", b"PARE", b"ORC"


def data_file(
    store: Store,
    path: str,
    size: int | None,
    file_format: FileFormat = "parquet",
    rows: int | None = None,
    *,
    deep: bool = False,
    agrees: Callable[[Footer], Iterable[Flaw]] | None = None,
) -> list[Flaw]:
    """What is wrong with the file at ``path``, of which the metadata states ``size`` in bytes and ``rows`` (None: nothing).

    ``agrees`` says what else the footer does not bear out. ``deep``: every page is decoded, its checksum compared where it has
    one, and its values held against the footer. Kinds: ``missing``, ``size``, ``unreadable``, ``rows``. Raises `Unsupported` for
    an encrypted file and for a page that cannot be decoded here, and what the store raises.
    """
    try:
        if size is None:
            size = store.head(path).size
        return _looked_at(store, path, size, file_format, rows, deep, agrees)
    except NotFound:
        return [Flaw("missing", path, "is not there")]


def object_size(store: Store, path: str, size: int | None) -> list[Flaw]:
    """What is wrong with an object of which no more is known than its ``size``. Kinds: ``missing``, ``size``."""
    try:
        found = store.head(path).size
    except NotFound:
        return [Flaw("missing", path, "is not there")]
    return [_other_size(path, found, size)] if size is not None and found != size else []


def _other_size(path: str, found: int, size: int) -> Flaw:
    return Flaw("size", path, f"has {found} bytes, the metadata says {size}")


def _looked_at(
    store: Store,
    path: str,
    size: int,
    file_format: FileFormat,
    rows: int | None,
    deep: bool,
    agrees: Callable[[Footer], Iterable[Flaw]] | None,
) -> list[Flaw]:
    start = max(0, size - _TAIL_BYTES)
    tail = store.get(path, start=start, end=size + 1)
    if len(tail) != size - start:
        found = store.head(path).size
        if found != size:
            return [_other_size(path, found, size)]
        tail = store.get(path, start=start, end=size)
    import pyarrow as pa

    try:
        footer = _FOOTERS[file_format](store, path, size, tail)
        flaws = list(agrees(footer)) if agrees is not None else []
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        return [_unreadable(path, error)]
    if rows is not None and footer.rows != rows:
        flaws.insert(0, Flaw("rows", path, f"has {footer.rows} rows, the metadata says {rows}"))
    return flaws + (_DECODED[file_format](store, path, size, footer) if deep else [])


def _unreadable(path: str, error: Exception) -> Flaw:
    return Flaw("unreadable", path, f"cannot be read ({str(error).strip() or type(error).__name__})")


def _parquet(store: Store, path: str, size: int, tail: bytes) -> Footer:
    """Source: the Parquet format, "File format": magic, row groups, footer, its length in 4 bytes, magic."""
    magic = tail[-4:]
    if size < 12 or magic not in (_PARQUET, _ENCRYPTED):
        raise ValueError(f"its last bytes are {magic!r}, not {_PARQUET!r}")
    begin = tail[:4] if size == len(tail) else store.get(path, end=4)
    if begin != magic:
        raise ValueError(f"its first bytes are {begin!r}, not {magic!r}")
    if magic == _ENCRYPTED:
        raise Unsupported(f"{store.url}/{path}: its footer is encrypted; nothing here has the key")
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > size - 4:
        raise ValueError(f"its footer would have {length - 8} bytes, the file has {size}")
    if length > len(tail):
        tail = store.get(path, start=size - length, end=size)
    return parquet_footer(tail[-length:-8], size - length)


def _orc(store: Store, path: str, size: int, tail: bytes) -> Footer:
    from pyarrow import orc

    begin = tail[:3] if size == len(tail) else store.get(path, end=3)
    if begin != _ORC:
        raise ValueError(f"its first bytes are {begin!r}, not {_ORC!r}")
    file = orc.ORCFile(_opened(store, path, size))
    return Footer(file.nrows, ids=schema_ids(file.schema, b"iceberg.id"))


def _avro(store: Store, path: str, size: int, tail: bytes) -> Footer:
    whole = tail if size == len(tail) else None
    return Footer(avro_rows(io.BytesIO(whole) if whole is not None else _opened(store, path, size)))


def _opened(store: Store, path: str, size: int) -> io.BytesIO | io.BufferedReader:
    if size <= _WHOLE_BYTES:
        return io.BytesIO(store.get(path, end=size))
    return io.BufferedReader(ObjectFile(store, path, size), 2**20)


def _parquet_pages(store: Store, path: str, size: int, footer: Footer) -> list[Flaw]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    group, rows, seen = 0, 0, DecodedColumns(footer)
    try:
        with pq.ParquetFile(
            _opened(store, path, size), page_checksum_verification=True, coerce_int96_timestamp_unit="us"
        ) as file:
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group]):
                    rows += batch.num_rows
                    seen.add(batch)
    except NotImplementedError as error:
        raise Unsupported(f"{store.url}/{path}: row group {group} cannot be decoded here ({error})") from error
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        return [Flaw("unreadable", path, f"row group {group} cannot be decoded ({error})")]
    if rows != footer.rows:
        return [Flaw("rows", path, f"{rows} rows are decoded, its footer says {footer.rows}")]
    return [Flaw("unreadable", path, f"{text}: a page is damaged") for text in seen.differences()][:1]


def _orc_stripes(store: Store, path: str, size: int, footer: Footer) -> list[Flaw]:
    import pyarrow as pa
    from pyarrow import orc

    stripe, rows = 0, 0
    try:
        file = orc.ORCFile(_opened(store, path, size))
        for stripe in range(file.nstripes):
            rows += file.read_stripe(stripe).num_rows
    except NotImplementedError as error:
        raise Unsupported(f"{store.url}/{path}: stripe {stripe} cannot be decoded here ({error})") from error
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        return [Flaw("unreadable", path, f"stripe {stripe} cannot be decoded ({error})")]
    return [] if rows == footer.rows else [Flaw("rows", path, f"{rows} rows are decoded, its footer says {footer.rows}")]


def _avro_records(store: Store, path: str, size: int, footer: Footer) -> list[Flaw]:
    rows = 0
    try:
        file = AvroFile(f"{store.url}/{path}", _opened(store, path, size))
        for _, batch in file.batches([leaf for each in file.fields for leaf in each.leaves]):
            rows += batch.num_rows
            batch.validate(full=True)
    except ValueError as error:
        return [_unreadable(path, error)]
    except NotFound as error:
        return [_unreadable(path, error.__cause__ if isinstance(error.__cause__, Exception) else error)]
    return [] if rows == footer.rows else [Flaw("rows", path, f"{rows} rows are decoded, its blocks say {footer.rows}")]


_FOOTERS: dict[FileFormat, Callable[[Store, str, int, bytes], Footer]] = {"parquet": _parquet, "orc": _orc, "avro": _avro}
_DECODED: dict[FileFormat, Callable[[Store, str, int, Footer], list[Flaw]]] = {
    "parquet": _parquet_pages,
    "orc": _orc_stripes,
    "avro": _avro_records,
}
