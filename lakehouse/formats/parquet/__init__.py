"""Plain Parquet: a directory of files, Hive-partitioned or not, with no log."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from lakehouse.errors import NotFound
from lakehouse.formats.files.format import FilesFormat, PlainVersion
from lakehouse.reading.examine import Examination, Flaw
from lakehouse.reading.task import Point, ScanPlan
from lakehouse.spool import Spool
from lakehouse.store import ObjectFile, ObjectInfo, Store
from lakehouse.table import Column, Description, TableVersion

__all__ = ["ParquetFormat"]

_LOOKED_AT = 1000
_HIDDEN = ("_", ".")


class ParquetFormat(FilesFormat):
    """A directory of Parquet files. Everything in it is carried, also files that are not Parquet (CRC side files, notes)."""

    name = "parquet"

    def detect(self, store: Store) -> bool:
        """Whether one of the first thousand objects listed is called ``*.parquet``; hidden ones are not counted."""
        shown: Iterator[ObjectInfo] = (info for info in store.list() if not _is_hidden(info))
        return any(_is_data(info) for info in islice(shown, _LOOKED_AT))

    def _is_there(self, objects: Spool[ObjectInfo]) -> bool:
        return any(_is_data(info) for info in objects)

    def describe(self, store: Store, version: TableVersion) -> Description:
        """Columns from the footer of the first file, partition columns from the folders called ``name=value``.

        Raises `NotFound` when that footer cannot be read.
        """
        plain = super().describe(store, version)
        files, size, first, names = 0, 0, None, dict[str, tuple[str, int]]()
        for info in version.listing if isinstance(version, PlainVersion) else ():
            if not _is_data(info):
                continue
            files, size = files + 1, size + info.size
            if info.size > 0 and (first is None or info.path < first.path):
                first = info
            for depth, folder in enumerate(info.path.split("/")[:-1]):
                name, equals, _ = folder.partition("=")
                if equals:
                    names[name] = min((info.path, depth), names.get(name, (info.path, depth)))
        return Description(
            self.name, plain.version, None, plain.committed_at, () if first is None else _columns(store, first),
            tuple(sorted(names, key=lambda name: names[name])), files, size, 0, 0, (), {},
        )  # fmt: skip

    def scan(self, store: Store, version: TableVersion, point: Point) -> ScanPlan:
        """See `scan.plan_scan`."""
        from lakehouse.formats.parquet.scan import plan_scan

        return plan_scan(store, version, point)

    def check(self, store: Store, version: TableVersion) -> Iterator[Flaw | Examination]:
        """See `check.flaws_of`."""
        from lakehouse.formats.parquet.check import flaws_of

        return flaws_of(store, version)


def _is_data(info: ObjectInfo) -> bool:
    """A Parquet file that readers take for data: names that begin with ``_`` or ``.`` are hidden (Hive, Spark)."""
    return info.path.lower().endswith((".parquet", ".parq")) and not _is_hidden(info)


def _is_hidden(info: ObjectInfo) -> bool:
    return info.path.startswith("_lake/") or info.path.rpartition("/")[2].startswith(_HIDDEN)


def _columns(store: Store, info: ObjectInfo) -> tuple[Column, ...]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(ObjectFile(store, info.path, info.size)) as file:
            return tuple(Column(field.name, str(field.type), field.nullable) for field in file.schema_arrow)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise NotFound(f"{store.url}/{info.path}: is no readable Parquet file ({error})") from error
