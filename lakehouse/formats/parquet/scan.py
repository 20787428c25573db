"""The rows of a folder of Parquet files, Hive-partitioned or not, or of one such file.

Every footer is read before any row: the columns are those of all files together, by name (`union`), and after them those that
only the names of folders state (`hive`). A file's own column wins over its folder's. A table that was made here states its
columns (`layout`): these come first, in their order and with their types, whatever files there are yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lakehouse.errors import Config, NotFound, Unsupported
from lakehouse.formats.files.format import PlainVersion
from lakehouse.formats.parquet.hive import inferred_type, partition_scalar, partitions_of
from lakehouse.formats.parquet.layout import COLUMNS, Layout, stated_layout
from lakehouse.formats.parquet.union import unified_fields
from lakehouse.parallel import every
from lakehouse.reading.data_file import unreadable
from lakehouse.reading.task import ColumnBounds, MayMatch, Point, ReadField, ScanPlan, ScanTask
from lakehouse.store import ObjectFile, ObjectInfo, Store
from lakehouse.table import TableVersion

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["data_files", "plan_scan"]

FOOTERS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class _File:
    """A data file, what its folders state, and what its footer says."""

    info: ObjectInfo
    partitions: dict[str, str | None]
    rows: int
    schema: pa.Schema


def plan_scan(store: Store, version: TableVersion, point: Point) -> ScanPlan:
    """See `TableFormat.scan`.

    Raises `Config` for a point of history, since there is none; `NotFound` for a file that is missing or damaged; `Unsupported`
    where the files' types do not go together, or folders do not state the same columns.
    """
    if point != Point() and point.version != version.id:
        raise Config(f"{store.url}: plain Parquet has no history; it can only be read as it stands, not at {point}")
    if not isinstance(version, PlainVersion):
        raise TypeError(f"not a version of plain files: {version!r}")
    files = _with_footers(store, data_files(version))
    if not files:
        raise NotFound(f"{store.url}: no data files here: names that begin with _ or . are hidden")
    layout = _stated(store, version)
    columns = _columns_of_files(store, files, [field for field in layout.schema if field.name not in layout.partition_by])
    folders = {name: layout.schema.field(name) for name in layout.partition_by}
    partitions = _partitions(store, files, columns, folders)
    fields = {**columns, **{name: field for name, field in partitions.items() if name not in columns}}
    order = dict.fromkeys(name for name in (*layout.schema.names, *fields) if name in fields)
    read = tuple(ReadField(name, fields[name].type, fields[name].nullable, names=(name,)) for name in order)
    return ScanPlan(store, read, lambda may_match: _tasks(files, partitions, may_match))


def _stated(store: Store, version: PlainVersion) -> Layout:
    """What the table states of its columns; nothing where others made it. A file that cannot be read decides nothing."""
    import pyarrow as pa

    found = None
    if any(info.path == COLUMNS for info in version.listing):
        with suppress(NotFound, Unsupported):
            found = stated_layout(store)
    return Layout(pa.schema([])) if found is None else found


def data_files(version: PlainVersion) -> Iterator[ObjectInfo]:
    """The files that hold rows: called ``*.parquet`` or ``*.parq``, with no name or folder on the way that is hidden.

    Hidden is what begins with ``_`` or ``.``; but a folder ``_x=1`` is a partition, as Spark has it.
    """
    for info in version.listing:
        *folders, name = info.path.split("/")
        hidden = any(folder.startswith(("_", ".")) and "=" not in folder for folder in folders)
        if name.lower().endswith((".parquet", ".parq")) and not name.startswith(("_", ".")) and not hidden:
            yield info


def _with_footers(store: Store, infos: Iterable[ObjectInfo]) -> list[_File]:
    """The files with their footers, by path. Equal schemas, as most are, are held once."""
    schemas: dict[pa.Schema, pa.Schema] = {}
    found = [
        replace(file, schema=schemas.setdefault(file.schema, file.schema))
        for _, file in every(lambda info: _read_footer(store, info), infos, workers=FOOTERS_AT_ONCE)
    ]
    return sorted(found, key=lambda file: file.info.path)


def _read_footer(store: Store, info: ObjectInfo) -> _File:
    import pyarrow.parquet as pq

    where = f"{store.url}/{info.path}"
    if info.size == 0:
        raise NotFound(f"{where}: is empty, which no Parquet file is; restore it, or remove it, then run again")
    with unreadable(where):
        file = pq.ParquetFile(ObjectFile(store, info.path, info.size), coerce_int96_timestamp_unit="us")
        return _File(info, partitions_of(info.path), file.metadata.num_rows, file.schema_arrow.remove_metadata())


def _columns_of_files(store: Store, files: Sequence[_File], stated: Sequence[pa.Field]) -> dict[str, pa.Field]:
    """The ``stated`` columns and those of all files together. Files of equal schemas, as most are, cost one look."""
    seen: set[pa.Schema] = set()
    known = [_plain(field) for field in stated]
    stated_by = {field.name: COLUMNS for field in known}
    for file in files:
        if file.schema in seen:
            continue
        seen.add(file.schema)
        other = [_plain(field) for field in file.schema]
        if len({field.name for field in other}) < len(other):
            raise Unsupported(f"{store.url}/{file.info.path}: has several columns of one name; rewrite it")
        both = unified_fields(known, other) if known else other
        if isinstance(both, str):
            types = {field.name: field.type for field in (*other, *known)}
            here = file.schema.field(both).type
            raise Unsupported(
                f"{store.url}: column {both!r} is {types[both]} in {stated_by[both]} and {here} in {file.info.path}; no type "
                "holds both unchanged; rewrite one of the files"
            )
        known = both
        for field in other:
            stated_by.setdefault(field.name, file.info.path)
    return {field.name: field for field in known}


def _plain(field: pa.Field) -> pa.Field:
    """``field`` as it is read: what was a dictionary in the writer's memory is not told from its values."""
    import pyarrow as pa

    return pa.field(field.name, _without_dictionaries(field.type), field.nullable)


def _without_dictionaries(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa
    import pyarrow.types as t

    if t.is_dictionary(kind):
        return _without_dictionaries(kind.value_type)
    if t.is_struct(kind):
        return pa.struct([_plain(field) for field in kind])
    if t.is_map(kind):
        return pa.map_(_without_dictionaries(kind.key_type), _without_dictionaries(kind.item_type))
    if t.is_list(kind):
        return pa.list_(_plain(kind.value_field))
    return pa.large_list(_plain(kind.value_field)) if t.is_large_list(kind) else kind


def _partitions(
    store: Store, files: Sequence[_File], columns: Mapping[str, pa.Field], stated: Mapping[str, pa.Field]
) -> dict[str, pa.Field]:
    """The partition columns, in the order of the folders: as files have them, where any do, else as ``stated``, else of the type
    of all values together.

    A column that some folders state, and some files have from nowhere, is `Unsupported`.
    """
    import pyarrow as pa

    values: dict[str, set[str | None]] = {}
    stated_by: dict[str, str] = {}
    for file in files:
        for name, value in file.partitions.items():
            values.setdefault(name, set()).add(value)
            stated_by.setdefault(name, file.info.path)
    for file in files:
        for name in values:
            if name not in file.partitions and name not in columns:
                raise Unsupported(
                    f"{store.url}: {stated_by[name]} is in a folder {name}=…, and {file.info.path} is in none; a table has "
                    "the same partition columns everywhere; read the folders on their own"
                )
    known = {**stated, **columns}
    return {name: known[name] if name in known else pa.field(name, inferred_type(found)) for name, found in values.items()}


def _tasks(files: Sequence[_File], partitions: Mapping[str, pa.Field], may_match: MayMatch) -> Iterator[ScanTask]:
    for file in files:
        own = set(file.schema.names)
        constants = {
            name: partition_scalar(value, partitions[name].type, name, file.info.path)
            for name, value in file.partitions.items()
            if name not in own
        }

        def bounds(name: str, constants: dict[str, pa.Scalar] = constants, rows: int = file.rows) -> ColumnBounds | None:
            value = constants.get(name)
            if value is None:
                return None
            return ColumnBounds(value, value, 0) if value.is_valid else ColumnBounds(nulls=rows)

        if file.rows and may_match(bounds, file.rows):
            yield ScanTask(file.info.path, file.info.size, rows=file.rows, constants=constants, bounds=bounds)
