"""The contract between a table format, which plans a scan, and the one reader that carries it out.

A format turns the metadata of one point of a table's history into a `ScanPlan`: the columns, and one `ScanTask` for each data
file that may hold rows. Whatever is particular to a format (partition values, deletes, renamed columns, defaults) is said in
these words; the reader (`lakehouse.reading.rows`) knows no format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from lakehouse.origin import SourceVersion
from lakehouse.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from lakehouse.reading.deleted import DeletedRows

__all__ = ["ColumnBounds", "Deletes", "EqualityDeletes", "MayMatch", "Point", "ReadField", "ScanPlan", "ScanTask", "everything"]

FileFormat = Literal["parquet", "orc", "avro"]


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a table's history; without any field set, the newest. At most one is set.

    ``version``: what ``--version`` takes (a Delta log version, an Iceberg metadata file). ``snapshot`` and ``ref`` (a branch or
    a tag): Iceberg's. ``as_of``: the last state not later than this instant (with a zone). ``named``: by a user, who may mean a
    name of the table that this one was made from (`lakehouse.origin`); else it is one of the table's own points.
    """

    version: str | None = None
    snapshot: int | None = None
    ref: str | None = None
    as_of: datetime | None = None
    named: bool = False

    def __str__(self) -> str:
        named = {"version": self.version, "snapshot": self.snapshot, "ref": self.ref, "as of": self.as_of}
        return next((f"{word} {value}" for word, value in named.items() if value is not None), "newest version")


@dataclass(frozen=True, slots=True)
class ReadField:
    """One column, or one field inside of one: as a scan gives it, and how data files hold it.

    ``type``: the Arrow type that the scan gives, whatever narrower one a file has. ``field_id``: the id by which files name
    it, where they have ids. ``names``: those by which it is found in files that are read by name; None where the table does not
    say (a file without ids cannot be read then), () where no file holds it. ``default``: its value, as Arrow makes scalars of,
    in rows of files that lack it. ``children``: the fields of a struct, the element of a list, key and value of a map.
    """

    name: str
    type: pa.DataType
    nullable: bool = True
    field_id: int | None = None
    names: tuple[str, ...] | None = None
    default: Any = None
    children: tuple[ReadField, ...] = ()


@dataclass(frozen=True, slots=True)
class ColumnBounds:
    """What is known of one column in the rows of one file: no value is below ``lower`` or above ``upper``.

    Both are scalars of the column's own type in the scan, None where nothing is known; NaN is outside of them. ``nulls``: how
    many values are null (None: not known).
    """

    lower: pa.Scalar | None = None
    upper: pa.Scalar | None = None
    nulls: int | None = None


Bounds = Callable[[str], ColumnBounds | None]
"""What is known of the top-level column of that name; asked only for columns that a filter names."""

MayMatch = Callable[[Bounds, int | None], bool]
"""Whether rows within these bounds (so many; None: not known) can satisfy the scan's filter. In doubt True."""


def everything(_bounds: Bounds, _rows: int | None) -> bool:
    """The `MayMatch` of a scan without a filter."""
    return True


def _unknown(_name: str) -> ColumnBounds | None:
    return None


def _no_version() -> None:
    return None


@dataclass(frozen=True, slots=True)
class EqualityDeletes:
    """Rows of one data file that are deleted by their values: those of ``rows`` whose deletes are newer than ``sequence``.

    ``rows`` is the same object for all data files that it applies to. ``sequence``: the data file's sequence number.
    """

    rows: DeletedRows
    sequence: int


@dataclass(frozen=True, slots=True)
class Deletes:
    """What is deleted of one data file. ``positions``: of rows, from 0, ascending, each once.

    ``constants``: values of the columns of ``equality`` in a file that does not hold them (partition values), by their ids; also
    of columns that the table has dropped since.
    """

    positions: np.ndarray[Any, np.dtype[np.uint64]] | None = None
    equality: tuple[EqualityDeletes, ...] = ()
    constants: Mapping[int, pa.Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScanTask:
    """One data file that may hold rows of the scan.

    ``path``: where `ScanPlan.store` reads it (a path below the table, or a whole address). ``size`` in bytes and ``rows``
    (None: not known) as the metadata states them. ``by``: whether columns are found by their ids (in a file that has none, by
    `ReadField.names`) or by name. ``constants``: values of top-level columns, by their names, in a file that does not hold them
    (partition values); scalars of the column's type. ``inner_constants``: the same of fields inside of structs, by their ids.
    ``deletes``: reads what is deleted of the file (None: nothing is). ``bounds``: what is known of its columns.
    """

    path: str
    size: int
    file_format: FileFormat = "parquet"
    rows: int | None = None
    by: Literal["id", "name"] = "name"
    constants: Mapping[str, pa.Scalar] = field(default_factory=dict)
    deletes: Callable[[], Deletes] | None = None
    bounds: Bounds = _unknown
    inner_constants: Mapping[int, pa.Scalar] | None = None


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """One point of a table's history, ready to be read.

    ``fields``: all columns, in the table's order. ``tasks``: the files whose rows may satisfy the filter (each call plans anew;
    metadata is read while it goes, so millions stream). ``refused``: by the name of a column, why it cannot be read rightly; a
    scan that asks for it is `Unsupported`. ``source``: the version that all of its rows together are, as a table that is made
    from them names it; None where there is no history. It is asked for only when they are written somewhere.
    """

    store: Store
    fields: tuple[ReadField, ...]
    tasks: Callable[[MayMatch], Iterable[ScanTask]]
    refused: Mapping[str, str] = field(default_factory=dict)
    source: Callable[[], SourceVersion | None] = _no_version

    def all_tasks(self) -> Iterator[ScanTask]:
        """The tasks of a scan without a filter."""
        yield from self.tasks(everything)
