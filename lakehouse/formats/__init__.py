"""The table formats, in the order in which they are looked for. One package each; none knows of another."""

from __future__ import annotations

from lakehouse.errors import Config, NotFound
from lakehouse.formats.delta import DeltaFormat
from lakehouse.formats.files import FilesFormat
from lakehouse.formats.iceberg import IcebergFormat, is_metadata_name
from lakehouse.formats.parquet import ParquetFormat
from lakehouse.store import Store
from lakehouse.table import TableFormat

__all__ = ["FORMATS", "detect", "find", "table_and_version"]

FORMATS: tuple[TableFormat, ...] = (DeltaFormat(), IcebergFormat(), ParquetFormat(), FilesFormat())


def find(name: str) -> TableFormat:
    """The format called ``name``. Raises `Config` for a name that is none."""
    for known in FORMATS:
        if known.name == name:
            return known
    raise Config(f"{name}: no such format; there are {', '.join(known.name for known in FORMATS)}")


def table_and_version(place: str) -> tuple[str, str | None]:
    """A place split into its table and the version that it names: the address of an Iceberg metadata file is its table at that
    version; any other place names a table.
    """
    folder, slash, name = place.rpartition("/")
    if not slash or not is_metadata_name(name):
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
    found = [known for known in FORMATS[:2] if known.detect(store)]
    if len(found) > 1:
        names = " and ".join(known.name for known in found)
        raise Config(f"{store.url}: is both a {names} table; say which with --format {found[0].name} or --format {found[1].name}")
    found = found or [known for known in FORMATS[2:] if known.detect(store)]
    if not found:
        raise NotFound(
            f"{store.url}: no Delta, Iceberg or Parquet table here (no _delta_log/, no metadata/*.metadata.json, no *.parquet); "
            "plain files of any kind are carried with --format files"
        )
    return found[0]
