"""Rows on their way out of the library: as Arrow batches that stream, or all at once as a table, a frame or a relation."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lakehouse.errors import Config
from lakehouse.memory import DEFAULT_BYTES
from lakehouse.origin import SourceVersion
from lakehouse.reading import rows
from lakehouse.reading.task import ScanPlan

if TYPE_CHECKING:
    import duckdb
    import pandas
    import polars
    import pyarrow as pa
    import pyarrow.compute as pc

__all__ = ["Rows", "Scan", "needed"]


class Rows(ABC):
    """Rows that can be read any number of times, each time anew."""

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """The columns and their Arrow types."""

    @abstractmethod
    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as Arrow batches of `schema`, read while they are taken, in a bounded memory."""

    def to_reader(self) -> pa.RecordBatchReader:
        """The rows as a reader for other libraries: what takes Arrow streams takes it."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema, self.to_batches())

    def to_arrow(self) -> pa.Table:
        """All rows as an Arrow table."""
        return self.to_reader().read_all()

    def to_pandas(self) -> pandas.DataFrame:
        """All rows as a pandas frame, with pandas' own types. Raises `Config` where pandas is not installed."""
        needed("pandas", "pip install pandas")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> polars.DataFrame:
        """All rows as a polars frame. Raises `Config` where polars is not installed."""
        frame: polars.DataFrame = needed("polars", "pip install polars").from_arrow(self.to_arrow())
        return frame

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self.to_batches()


class Scan(Rows):
    """The rows of one point of a table's history: those that satisfy a filter, of some columns. Made by `Table.scan`.

    No data file is read before rows are asked for, and each question reads anew: the same files, whatever was written since.
    """

    def __init__(
        self,
        plan: ScanPlan,
        *,
        columns: Sequence[str] | None = None,
        filter: pc.Expression | None = None,
        workers: int | None = None,
        memory: int = DEFAULT_BYTES,
    ) -> None:
        """Raises `Config` for a column that there is not, `Unsupported` for one that cannot be read rightly."""
        self._plan, self._filter, self._workers, self._memory = plan, filter, workers, memory
        self._columns = None if columns is None else tuple(columns)
        self._schema = rows.schema_of(plan, self._columns)

    @property
    def schema(self) -> pa.Schema:
        return self._schema

    @property
    def plan(self) -> ScanPlan:
        """What is read: the columns and the data files."""
        return self._plan

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """See `Rows`. Raises `NotFound` for files that are missing or damaged, `Unsupported` for what cannot be read rightly."""
        return self._batches(self._columns)

    def count_rows(self) -> int:
        """How many rows there are. Every data file is opened: counts of metadata stay right when files are lost."""
        return sum(batch.num_rows for batch in self._batches(()))

    def to_duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """A relation of ``connection`` (None: DuckDB's default one), which asks this scan for just the columns and rows it needs.

        Raises `Config` where DuckDB is not installed. What fails while DuckDB reads is an error of DuckDB's that says why.
        """
        from lakehouse.arrow_dataset import ScanDataset

        needed("duckdb", "pip install 'lakehouse-portability[query]'")
        import duckdb

        return (connection or duckdb.default_connection()).from_arrow(ScanDataset(self))

    def source_version(self) -> SourceVersion | None:
        """The version of the table that these rows are, as a table that is overwritten with them names it; None where some rows
        or columns are left out, and for plain files, which have no history.
        """
        whole = self._columns is None or len(set(self._columns)) == len(self._plan.fields)
        return self._plan.source() if whole and self._filter is None else None

    def narrowed(self, columns: Sequence[str] | None, filter: pc.Expression | None) -> Scan:
        """This scan with fewer columns, and of its rows those that satisfy ``filter`` too."""
        both = self._filter if filter is None else filter if self._filter is None else self._filter & filter
        kept = self._columns if columns is None else columns
        return Scan(self._plan, columns=kept, filter=both, workers=self._workers, memory=self._memory)

    def _batches(self, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        return rows.batches(self._plan, columns=columns, filter=self._filter, workers=self._workers, memory=self._memory)


def needed(module: str, install: str) -> Any:
    """The optional package ``module``. Raises `Config` with how to ``install`` it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Config(f"{module} is not installed ({error}); {install}") from None
