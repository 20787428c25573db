"""Whether a folder of Parquet files is whole: every data file opens, and agrees with the summary files where there are any.

A folder has no metadata that says which files belong to it. Only a summary (``_metadata``) does.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from lakehouse.errors import NotFound
from lakehouse.formats.files.format import PlainVersion
from lakehouse.formats.parquet.scan import data_files
from lakehouse.reading.examine import Examination, Flaw
from lakehouse.reading.examined import data_file
from lakehouse.reading.footer import row_groups_of
from lakehouse.reading.thrift import read_fields
from lakehouse.store import ObjectInfo, Store
from lakehouse.table import TableVersion

__all__ = ["flaws_of"]

_SUMMARY, _SCHEMA = "_metadata", "_common_metadata"
_MAGIC = b"PAR1"


def flaws_of(store: Store, version: TableVersion) -> Iterator[Flaw | Examination]:
    """See `TableFormat.check`. Kinds: those of `examined.data_file`, ``summary``."""
    if not isinstance(version, PlainVersion):
        raise TypeError(f"not a version of plain files: {version!r}")
    summed: dict[str, int] = {}
    folders: dict[str, str] = {}
    for info in version.listing:
        folder, _, name = info.path.rpartition("/")
        if name == _SUMMARY and info.size > 0:
            rows = _summed(store, info)
            if isinstance(rows, Flaw):
                yield rows
                continue
            folders[f"{folder}/" if folder else ""] = info.path
            summed.update(rows)
        elif name == _SCHEMA and info.size > 0:
            yield Examination(info.path, partial(_file, store, info, None))
    for info in data_files(version):
        rows_there = summed.pop(info.path, None)
        summary = next((path for folder, path in folders.items() if info.path.startswith(folder)), None)
        if summary is not None and rows_there is None:
            yield Flaw("summary", summary, f"does not name {info.path}: readers that go by it miss its rows")
        yield Examination(info.path, partial(_file, store, info, rows_there))
    for path in sorted(summed):
        yield Flaw("missing", path, "is not there, a _metadata file names it")


def _file(store: Store, info: ObjectInfo, rows: int | None, deep: bool) -> list[Flaw]:
    return data_file(store, info.path, info.size, rows=rows, deep=deep)


def _summed(store: Store, info: ObjectInfo) -> dict[str, int] | Flaw:
    """How many rows the summary at ``info`` says that each file below its folder has.

    Source: parquet.thrift, ``RowGroup`` and ``ColumnChunk.file_path``.
    """
    folder = info.path.removesuffix(_SUMMARY)
    rows: dict[str, int] = {}
    try:
        data = store.get(info.path)
        if data[-4:] != _MAGIC:
            raise ValueError(f"its last bytes are {data[-4:]!r}, not {_MAGIC!r}")
        for group in row_groups_of(read_fields(data[-8 - int.from_bytes(data[-8:-4], "little") : -8])[0]):
            path, count = group[1][0].get(1), group[3]
            if isinstance(path, bytes):
                rows[folder + path.decode()] = rows.get(folder + path.decode(), 0) + count
    except NotFound:
        return Flaw("missing", info.path, "was listed and is gone")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return Flaw("unreadable", info.path, f"cannot be read ({error})")
    return rows
