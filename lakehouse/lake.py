"""The datasets of one lake.toml: read, written and replicated by name, in Parquet, Delta or Iceberg, on any object store.

    lake = Lake.from_config()
    lake["orders"].append(frame)
    lake["orders"].read(columns=["id"], where="day >= DATE '2024-01-01'").to_pandas()
    lake["orders"].sync_replicas()

A name stays when the table moves: code names datasets, lake.toml says where they lie. What may be written, and which types are
cast on the way, is in `lakehouse.writing.rows`; a replica is only read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lakehouse.catalog import open_catalog
from lakehouse.config import load
from lakehouse.connect import catalog_place, open_at, open_store
from lakehouse.errors import Config, Conflict, LakeError, Unsupported
from lakehouse.locations import canonical
from lakehouse.origin import SourceVersion
from lakehouse.query import Query, sql
from lakehouse.replica import open_target
from lakehouse.scan import Scan
from lakehouse.settings import DatasetSettings, ReplicaSettings, Settings
from lakehouse.store import Store
from lakehouse.sync import SyncResult, sync
from lakehouse.table import Commit
from lakehouse.tables import Table, open_table
from lakehouse.url import parse

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Dataset", "Lake", "Replicated"]

WrittenFormat = Literal["parquet", "delta", "iceberg"]


class Lake:
    """The datasets of ``settings``, by name. Nothing is opened before a dataset is used."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __repr__(self) -> str:
        return f"Lake({self.settings.path or 'no lake.toml'}: {', '.join(self) or 'no datasets'})"

    @classmethod
    def from_config(cls, path: str | Path | None = None) -> Lake:
        """The lake of ``path``, else of the lake.toml that applies here (``LAKE_CONFIG``, the nearest folder above, the user's).

        ``path`` may also be a URL, or ``NAME:path`` with a store of the one that applies here. It is read at each call. Raises
        `Config` for one that is not there or cannot be read, `NotFound` where an object store does not have it.
        """
        return cls(load(path))

    def __getitem__(self, name: str) -> Dataset:
        """The dataset of that name. Raises `Config` where lake.toml has none."""
        found = self.settings.datasets.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self.settings.datasets, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f" (datasets: {', '.join(self) or 'none'})"
            raise Config(f"there is no dataset {name!r} in lake.toml{hint}")
        return Dataset(self.settings, found)

    def __iter__(self) -> Iterator[str]:
        """The names of the datasets."""
        return iter(self.settings.datasets)

    def __len__(self) -> int:
        return len(self.settings.datasets)

    def __contains__(self, name: object) -> bool:
        return name in self.settings.datasets

    def create_dataset(
        self, name: str, schema: pa.Schema, *, format: WrittenFormat | None = None, partition_by: Sequence[str] = ()
    ) -> Dataset:
        """Make the empty table of the dataset ``name``, which lake.toml says the place of, and give the dataset.

        ``format`` may be left out where lake.toml states it; ``partition_by`` names columns by whose values files are kept apart.
        Delta and Iceberg (version 2) hold microseconds and UTC: timestamps of any unit become microseconds, zoned ones instants.
        Raises `Conflict` where a table is there, `Unsupported` for a type that the format lacks, `Config` for a column that is
        none, or a dataset or format that is not known.
        """
        dataset = self[name]
        dataset._create(schema, format, tuple(partition_by))
        return dataset

    def sql(self, text: str) -> Query:
        """The rows of a SELECT over datasets by name. See `lakehouse.query.sql`."""
        return sql(text, settings=self.settings)


@dataclass(frozen=True, slots=True)
class Replicated:
    """What became of one replica: ``result``, or the ``error`` why there is none."""

    to: str
    result: SyncResult | None = None
    error: LakeError | None = None

    @property
    def ok(self) -> bool:
        """Whether the replica stands at the newest version, proven to its level."""
        return self.error is None


class Dataset:
    """One dataset. Each call looks at the table as it is then."""

    def __init__(self, settings: Settings, dataset: DatasetSettings) -> None:
        self._settings, self._dataset = settings, dataset

    def __repr__(self) -> str:
        return f"Dataset({self.name!r} at {self.place})"

    @property
    def name(self) -> str:
        """Its name in lake.toml."""
        return self._dataset.name

    @property
    def place(self) -> str:
        """Where its table lies, as lake.toml writes it."""
        return self._dataset.table

    def read(
        self,
        columns: Sequence[str] | None = None,
        where: Any = None,
        *,
        version: str | int | None = None,
        snapshot: int | None = None,
        ref: str | None = None,
        as_of: datetime | str | None = None,
    ) -> Scan:
        """Its rows: all columns or some, those for which ``where`` holds (SQL or a pyarrow expression), now or at a point of its
        history. See `lakehouse.tables.Table.scan`.
        """
        return self._table().scan(columns, where, version=version, snapshot=snapshot, ref=ref, as_of=as_of)

    def history(self) -> list[Commit]:
        """The retained history of the table, newest first."""
        return list(self._table().history())

    def schema(self) -> pa.Schema:
        """The Arrow schema of its rows, which data to append must fit."""
        return self._table().schema()

    def append(self, data: Any) -> None:
        """Add rows: a scan, an Arrow table, reader or batches, a pandas or polars frame, or whatever speaks Arrow's streams.

        One commit, whatever the size (Delta, Iceberg); streams are never held whole. Columns go by name, in any order. Types are
        cast where nothing is lost; nanoseconds that are whole microseconds go into Delta's and Iceberg's, others are refused; a
        zone is neither added nor dropped. Of many appends at once each one arrives, once. No rows make no commit.

        A scan of all rows and columns of one version makes a copy of it where the table holds no rows yet: the commit records
        which (`lakehouse.origin`), and `read` takes the source's version, ref and time for it.

        Raises `Config` (nothing is written) for a schema that does not fit, and for a value that the table cannot hold;
        `Conflict` for a replica, and where the table's schema was changed meanwhile; `Unsupported` for a table that cannot be
        written rightly; `Transfer` where it is not known whether the commit arrived.
        """
        self._open().append(data)

    def overwrite(self, data: Any) -> None:
        """Put rows in the place of all that the table holds when the commit is made; what is older stays in its history.

        Plain Parquet has no history: the new files are put first, then the old ones deleted, and a reader may see both meanwhile.
        A scan of a whole version is recorded as in `append`, so a loop over the points of a table, oldest first, converts its
        history. Data and errors as in `append`.
        """
        self._open().overwrite(data)

    def sync_replicas(self) -> tuple[Replicated, ...]:
        """Bring every ``[[dataset.NAME.replica]]`` to the newest version and prove it to its level, one after the other.

        A replica that fails does not keep the others from theirs: its error is in its `Replicated`.
        """
        return tuple(self._replicated(replica) for replica in self._dataset.replicas)

    def _replicated(self, replica: ReplicaSettings) -> Replicated:
        try:
            found = sync(
                self.name, replica.to, format=self._dataset.format, level=replica.level, register=replica.register,
                settings=self._settings,
            )  # fmt: skip
        except LakeError as error:
            return Replicated(replica.to, error=error)
        return Replicated(replica.to, found)

    def _table(self) -> Table:
        return open_table(self.name, format=self._dataset.format, settings=self._settings)

    def _open(self) -> _Place:
        """The table, to be written to. Raises `Conflict` for a replica."""
        store, receipts, chosen, registration = open_target(self.name, self._dataset.format, self._settings)
        where = f"dataset {self.name} ({self.place})"
        if next(iter(receipts.list()), None) is not None:
            return _Place(where, store, chosen.name, replica=True)
        if registration is None:
            return _Place(where, store, chosen.name)
        return _Place(where, store, "iceberg", (registration.entry.catalog, registration.entry.identifier))

    def _create(self, schema: pa.Schema, format: str | None, partition_by: tuple[str, ...]) -> None:
        stated = self._dataset.format
        if format is not None and stated is not None and format != stated:
            raise Config(f"dataset.{self.name}.format: lake.toml says {stated}, the call {format}")
        chosen = format or stated
        named = catalog_place(self.name, self._settings)
        if named is not None:
            if chosen not in (None, "iceberg"):
                raise Config(f"dataset {self.name}: catalogs hold Iceberg tables, not {chosen}")
            _Place(self.place, self._new_store(*named), "iceberg", (open_catalog(named[0], self._settings), named[1])).create(
                schema, partition_by
            )
            return
        if chosen is None:
            raise Config(f"dataset {self.name}: say the format, parquet, delta or iceberg, here or in lake.toml")
        _Place(self.place, open_store(self.name, self._settings), chosen).create(schema, partition_by)

    def _new_store(self, catalog: str, identifier: str) -> Store:
        """Where the catalog puts a new table."""
        found = open_catalog(catalog, self._settings).default_location(identifier)
        if found is None:
            raise Config(f"{catalog}:{identifier}: the catalog does not say where a new table goes; give it a warehouse")
        name = self._settings.catalogs[catalog].store
        return open_at(parse(found), self._settings.stores[name] if name is not None else None)


@dataclass(frozen=True, slots=True)
class _Place:
    """A table to be written to, in one of the formats. ``entry``: the catalog that keeps its commits, and its name there."""

    where: str
    store: Store
    format: str
    entry: tuple[Any, str] | None = None
    replica: bool = False

    def create(self, schema: pa.Schema, partition_by: tuple[str, ...]) -> None:
        """Make the table."""
        self._module().create(self._target(), schema, partition_by)

    def append(self, data: Any) -> None:
        """Add rows."""
        self._write("append", data)

    def overwrite(self, data: Any) -> None:
        """Put rows in the place of those that are there."""
        self._write("overwrite", data)

    def _write(self, how: str, data: Any) -> None:
        from lakehouse.writing.rows import fitting

        if self.replica:
            raise Conflict(
                f"{self.where}: is a replica: it has receipts, and what is written here would keep every later sync from it; "
                "write to its source"
            )
        call, source = getattr(self._module(), how), self._source_of(data)
        recorded = {} if source is None else {"source": source}
        call(self._target(), lambda schema: fitting(data, schema, self.where), **recorded)

    def _source_of(self, data: Any) -> SourceVersion | None:
        """The version of another table that ``data`` is, where the format has a place to say so."""
        if not isinstance(data, Scan) or self.format == "parquet":
            return None
        source = data.source_version()
        return None if source is None or canonical(source.place) == canonical(self.store.url) else source

    def _module(self) -> Any:
        """How the format is written. Raises `Config` where its library is not installed."""
        try:
            if self.format == "delta":
                import deltalake  # noqa: F401 - asks for the library before a table is looked at

                from lakehouse.writing import delta

                return delta
            if self.format == "iceberg":
                import pyiceberg  # noqa: F401 - as above

                from lakehouse.writing import iceberg

                return iceberg
        except ImportError as error:
            extra = "delta" if self.format == "delta" else "catalogs"
            raise Config(f"{self.where}: writing {self.format} needs pip install 'lakehouse-portability[{extra}]'") from error
        if self.format == "parquet":
            from lakehouse.writing import parquet

            return parquet
        raise Unsupported(
            f"{self.where}: {self.format} is no format that rows are written in; there are parquet, delta and iceberg"
        )

    def _target(self) -> Any:
        """What the functions of the format's module take."""
        if self.format != "iceberg":
            return self.store
        from lakehouse.writing.iceberg import ByPath, InCatalog

        return ByPath(self.store) if self.entry is None else InCatalog(self.entry[0], self.entry[1], self.store)
