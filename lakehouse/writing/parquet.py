"""Writing folders of Parquet files: whole new files, Hive-partitioned or not.

An append puts one file for each partition (more for long streams); every row is checked, and every file is made on this machine,
before the first is put. The listing is the table: a reader may see some of the files of an append before the others, and while
a table is overwritten the new rows together with the old ones.
"""

from __future__ import annotations

import re
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lakehouse.errors import Config, Conflict, LakeError, NotFound, Unsupported
from lakehouse.formats.parquet import ParquetFormat
from lakehouse.formats.parquet.hive import NULL, inferred_type, partitions_of
from lakehouse.formats.parquet.layout import COLUMNS, Layout, as_file, stated_layout
from lakehouse.formats.parquet.scan import data_files
from lakehouse.reading.task import Point
from lakehouse.store import Store
from lakehouse.writing.local_files import Chunks
from lakehouse.writing.rows import in_portions
from lakehouse.writing.schemas import parquet_schema

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["append", "create", "layout_of", "overwrite"]

_PORTION_BYTES = 128 << 20
_OPEN_FILES = 128
_FILE_BYTES = 512 << 20
_SUMMARY = "_metadata"


def create(store: Store, schema: pa.Schema, partition_by: Sequence[str] = ()) -> None:
    """Make an empty table: ``_common_metadata``, and a file of no rows, in the partition of nulls, which every reader finds.

    Raises `Conflict` where there are data files, `Config` for a column that is none, `Unsupported` for types that do not fit.
    """
    if next(iter(store.list()), None) is not None:
        raise Conflict(f"{store.url}: there are objects already; nothing was changed")
    for name in partition_by:
        if name not in schema.names:
            raise Config(f"{store.url}: partition_by names {name!r}, which is no column")
    if len(partition_by) >= len(schema):
        raise Config(f"{store.url}: not every column can be a folder; leave one for the files")
    stated = parquet_schema(schema, store.url, partition_by)
    layout = Layout(stated, tuple(partition_by))
    data = as_file(layout)
    store.put(COLUMNS, data, size=len(data), if_absent=True)
    with _Files(store, layout) as files:
        files.write_empty()
        files.put()


def layout_of(store: Store) -> Layout:
    """What ``_common_metadata`` says, if it was made here; else what the data files and their folders say.

    Raises `NotFound` where there is neither, `Unsupported` where files do not go together.
    """
    import pyarrow as pa

    stated = stated_layout(store)
    if stated is not None:
        return stated
    chosen = ParquetFormat()
    version = chosen.pin(store)
    plan = chosen.scan(store, version, Point())
    schema = pa.schema([pa.field(one.name, one.type, one.nullable) for one in plan.fields])
    first = next((info.path for info in store.list() if info.path.endswith((".parquet", ".parq"))), "")
    return Layout(schema, tuple(partitions_of(first)))


def append(store: Store, rows: Callable[[pa.Schema], pa.RecordBatchReader]) -> None:
    """Add the rows that ``rows`` gives for the table's schema as new files; no rows make none.

    Raises `Config` for a value that cannot be the name of a folder, `Unsupported` where a ``_metadata`` file lists the table's
    files and would be wrong afterwards, `Transfer` when a file could not be put; those that were are removed then.
    """
    _refuse_summary(store)
    layout = layout_of(store)
    with _Files(store, layout) as files:
        files.write(rows(layout.schema))
        files.put()


def overwrite(store: Store, rows: Callable[[pa.Schema], pa.RecordBatchReader]) -> None:
    """Put the rows in the place of all data files that are there now: the new files first, then the old ones are deleted.

    Raises as `append`; `Transfer` while old files are deleted leaves some of them among the new: overwrite again.
    """
    _refuse_summary(store)
    layout = layout_of(store)
    try:
        old = [info.path for info in data_files(ParquetFormat().pin(store))]
    except NotFound:
        old = []
    with _Files(store, layout) as files:
        files.write(rows(layout.schema))
        if not files.made:
            files.write_empty()
        files.put()
    for path in old:
        store.delete(path)


def _refuse_summary(store: Store) -> None:
    try:
        store.head(_SUMMARY)
    except NotFound:
        return
    raise Unsupported(f"{store.url}/{_SUMMARY}: lists the table's files and would not list new ones; delete it, then write")


def _new_name() -> str:
    return f"part-{uuid.uuid4()}.parquet"


@dataclass(slots=True)
class _Files:
    """The files of one write: made in a folder of this machine, then put."""

    store: Store
    layout: Layout
    made: dict[str, Path] = field(default_factory=dict)
    _writers: dict[str, tuple[Any, Path]] = field(default_factory=dict)
    _folder: Any = None

    def __enter__(self) -> _Files:
        self._folder = tempfile.TemporaryDirectory(prefix="lake-")
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._folder.cleanup()

    def write(self, rows: pa.RecordBatchReader) -> None:
        """Sort the rows into files, one open file a partition."""
        for portion in in_portions(rows, _PORTION_BYTES):
            for folder, part in self._partitions(portion):
                self._writer(folder, part.schema).write_table(part)
        self._close()

    def write_empty(self) -> None:
        """A file of no rows, in the folders of nulls."""
        names = self.layout.partition_by
        empty = self.layout.schema.empty_table().drop_columns(list(names))
        self._writer("".join(_folder(self.store.url, name, None) for name in names), empty.schema).write_table(empty)
        self._close()

    def put(self) -> None:
        """Put all of them; when one fails, those that were put are removed."""
        done = list[str]()
        try:
            for path, file in self.made.items():
                done.append(path)
                self.store.put(path, Chunks(file), size=file.stat().st_size)
        except BaseException:
            for path in done:
                with suppress(LakeError):
                    self.store.delete(path)
            raise

    def _writer(self, folder: str, schema: pa.Schema) -> Any:
        import pyarrow.parquet as pq

        writer, file = self._writers.get(folder, (None, None))
        if file is not None and file.stat().st_size > _FILE_BYTES:
            self._writers.pop(folder)[0].close()
            writer = None
        if writer is None:
            if len(self._writers) >= _OPEN_FILES:
                self._close()
            file = Path(self._folder.name) / f"{len(self.made)}.parquet"
            self.made[f"{folder}{_new_name()}"] = file
            writer = pq.ParquetWriter(str(file), schema, compression="zstd")
            self._writers[folder] = writer, file
        return writer

    def _close(self) -> None:
        for writer, _ in self._writers.values():
            writer.close()
        self._writers.clear()

    def _partitions(self, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        """The rows of each partition, without the columns that its folder states; ``a=1/b=x/``, "" where there are none."""
        import numpy as np

        names = self.layout.partition_by
        if not names:
            yield "", rows
            return
        codes, folders = np.zeros(rows.num_rows, dtype=np.int64), [""]
        for name in names:
            column = rows.column(name).combine_chunks().dictionary_encode("encode")
            values = [_folder(self.store.url, name, value) for value in column.dictionary.to_pylist()]
            codes = codes * len(values) + column.indices.to_numpy()
            used, codes = np.unique(codes, return_inverse=True)
            folders = [folders[code // len(values)] + values[code % len(values)] for code in used.tolist()]
        order = np.argsort(codes, kind="stable")
        ends = np.searchsorted(codes[order], np.arange(len(folders)), side="right")
        kept = rows.drop_columns(list(names)).take(order)
        for folder, start, end in zip(folders, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            yield folder, kept.slice(start, end - start)


def _folder(where: str, name: str, value: Any) -> str:
    """The folder of one value. Raises `Config` for text that would be read back as something else."""
    text = NULL if value is None else str(value)
    if isinstance(value, str) and (not text or text == NULL or str(inferred_type([text])) != "string"):
        raise Config(
            f"{where}: column {name!r} is a folder's name, and {text!r} as text would be read back as something else; partition "
            "by another column, or give this one a type"
        )
    return f"{_quoted(name)}={text if value is None else _quoted(text)}/"


def _quoted(text: str) -> str:
    return re.sub(r"^\.+$", lambda dots: "%2E" * len(dots[0]), quote(text, safe="-._~"))
