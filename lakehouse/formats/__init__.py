"""The table formats, in the order in which they are looked for. One package each; none knows of another.

Each is imported when it is needed: a sync of one table pays for one format.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from lakehouse.errors import Config, NotFound
from lakehouse.store import Store
from lakehouse.table import TableFormat

__all__ = ["FORMATS", "detect", "find", "table_and_version"]


def _delta() -> TableFormat:
    from lakehouse.formats.delta import DeltaFormat

    return DeltaFormat()


def _iceberg() -> TableFormat:
    from lakehouse.formats.iceberg import IcebergFormat

    return IcebergFormat()


def _parquet() -> TableFormat:
    from lakehouse.formats.parquet import ParquetFormat

    return ParquetFormat()


def _files() -> TableFormat:
    from lakehouse.formats.files import FilesFormat

    return FilesFormat()


FORMATS: Mapping[str, Callable[[], TableFormat]] = {
    "delta": _delta,
    "iceberg": _iceberg,
    "parquet": _parquet,
    "files": _files,
}


@functools.cache
def find(name: str) -> TableFormat:
    """The format called ``name``. Raises `Config` for a name that is none."""
    if name not in FORMATS:
        raise Config(f"{name}: no such format; there are {', '.join(FORMATS)}")
    return FORMATS[name]()


def table_and_version(place: str) -> tuple[str, str | None]:
    """A place split into its table and the version that it names: the address of an Iceberg metadata file is its table at that
    version; any other place names a table.
    """
    folder, slash, name = place.rpartition("/")
    if not slash or ".metadata.json" not in name:
        return place, None
    from lakehouse.formats.iceberg import is_metadata_name

    if not is_metadata_name(name):
        return place, None
    table, slash, last = folder.rpartition("/")
    return (table, name) if slash and last == "metadata" else (folder, name)


def detect(store: Store, name: str | None = None) -> TableFormat:
    """The format of the table at the root of ``store``; with ``name`` that one, without looking.

    Raises `NotFound` where no table lies, `Config` where several formats answer (UniForm keeps Iceberg metadata below a
    Delta table) or ``name`` is no format.
    """
    if name is not None:
        return find(name)
    found = [known for known in (find("delta"), find("iceberg")) if known.detect(store)]
    if len(found) > 1:
        names = " and ".join(known.name for known in found)
        raise Config(f"{store.url}: is both a {names} table; say which with --format {found[0].name} or --format {found[1].name}")
    found = found or [known for known in (find("parquet"),) if known.detect(store)]
    if not found:
        raise NotFound(
            f"{store.url}: no Delta, Iceberg or Parquet table here (no _delta_log/, no metadata/*.metadata.json, no *.parquet); "
            "plain files of any kind are carried with --format files"
        )
    return found[0]
