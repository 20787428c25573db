"""SQL catalogs (SQLite, PostgreSQL …): pyiceberg's tables and engine; the swap is one conditional UPDATE."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from lakehouse.catalog import TableRecord, identifier_parts, identifier_text
from lakehouse.errors import Config, NotFound, Transfer, Unsupported
from lakehouse.settings import CatalogSettings, StoreSettings
from lakehouse_connectors.catalogs.entry import moved, properties, read_metadata, record, table_parts, taken

__all__ = ["SqlTables", "open_sql"]


def open_sql(settings: CatalogSettings, store: StoreSettings | None) -> SqlTables:
    """Open a SQL catalog. Its tables are created by the first `SqlTables.register`, not before: a source is only read."""
    if settings.uri is None:
        raise Config(f"catalog.{settings.name}: needs the key 'uri', as in sqlite:////srv/catalog.db")
    from pyiceberg.catalog.sql import SqlCatalog
    from sqlalchemy.exc import ArgumentError

    stated = properties(settings)
    name = str(stated.pop("catalog_name", settings.name))
    with _translated(settings.name):
        try:
            return SqlTables(settings.name, SqlCatalog(name, **{**stated, "init_catalog_tables": "false"}), store)
        except ArgumentError as error:
            raise Config(f"catalog.{settings.name}.uri: is no SQLAlchemy address ({type(error).__name__})") from None


class SqlTables:
    """The rows ``iceberg_tables`` of one database, those of one ``catalog_name`` (in ``properties``; by default the name in
    lake.toml).
    """

    swaps: Literal["swap", "commit"] = "swap"

    def __init__(self, name: str, catalog: Any, store: StoreSettings | None) -> None:
        self.name, self.catalog, self._store = name, catalog, store

    def list(self, namespace: str) -> Iterator[str]:
        from pyiceberg.catalog.sql import IcebergTables
        from sqlalchemy import select

        levels = self._namespace(identifier_parts(namespace))
        of_type = self.catalog._iceberg_type_filter
        with _translated(self.name), self.catalog.engine.connect() as connection:
            if not self._exist(connection):
                return
            query = select(IcebergTables.table_name).where(
                IcebergTables.catalog_name == self.catalog.name, IcebergTables.table_namespace == levels
            )
            tables = connection.execute(query if of_type() is None else query.where(of_type())).scalars().all()
        yield from (identifier_text([*levels.split("."), table]) for table in tables)

    def load(self, identifier: str) -> TableRecord | None:
        found = self._location(identifier)
        return None if found is None else record(identifier, found, read_metadata(found, self._store))

    def default_location(self, identifier: str) -> str | None:
        namespace, table = table_parts(identifier)
        levels = self._namespace(namespace)
        stated: dict[str, str] = {}
        with _translated(self.name):
            with self.catalog.engine.connect() as connection:
                known = self._exist(connection)
            if known and self.catalog.namespace_exists(levels):
                stated = self.catalog.load_namespace_properties(levels)
        if stated.get("location"):
            return f"{stated['location'].rstrip('/')}/{table}"
        warehouse = self.catalog.properties.get("warehouse")
        return f"{warehouse.rstrip('/')}/{levels}/{table}" if warehouse else None

    def register(self, identifier: str, metadata_location: str) -> TableRecord:
        from pyiceberg.catalog.sql import IcebergTables
        from pyiceberg.exceptions import NamespaceAlreadyExistsError
        from sqlalchemy import insert
        from sqlalchemy.exc import DBAPIError, IntegrityError

        namespace, table = table_parts(identifier)
        levels = self._namespace(namespace)
        metadata = read_metadata(metadata_location, self._store)
        with _translated(self.name):
            with self.catalog.engine.connect() as connection:
                known = self._exist(connection)
            if not known:
                self.catalog.create_tables()
            if not self.catalog.namespace_exists(levels):
                with suppress(NamespaceAlreadyExistsError, IntegrityError):  # another writer was faster
                    self.catalog.create_namespace(levels)
            row = self.catalog._create_table_row(levels, table, metadata_location)
            try:
                with self.catalog.engine.begin() as connection:
                    connection.execute(insert(IcebergTables).values(**row))
            except DBAPIError as error:  # the row is there, or the reply was lost: the entry says which
                found = self._location(identifier)
                if found is None:
                    raise
                if found != metadata_location:
                    raise taken(self.name, identifier, found, metadata_location) from error
        return record(identifier, metadata_location, metadata)

    def swap(self, identifier: str, expected: str, metadata_location: str, metadata: dict[str, Any]) -> TableRecord:
        from pyiceberg.catalog.sql import IcebergTables
        from sqlalchemy import update
        from sqlalchemy.exc import DBAPIError

        namespace, table = table_parts(identifier)
        statement = (
            update(IcebergTables)
            .where(
                IcebergTables.catalog_name == self.catalog.name,
                IcebergTables.table_namespace == self._namespace(namespace),
                IcebergTables.table_name == table,
                IcebergTables.metadata_location == expected,
            )
            .values(metadata_location=metadata_location, previous_metadata_location=expected)
        )
        with _translated(self.name):
            try:
                with self.catalog.engine.begin() as connection:
                    swapped = self._exist(connection) and connection.execute(statement).rowcount == 1
            except DBAPIError:
                found = self._location(identifier)
                if found == expected:
                    raise
                swapped = False
            if not swapped and (found := self._location(identifier)) != metadata_location:
                raise moved(self.name, identifier, found, expected)
        return record(identifier, metadata_location, metadata)

    def close(self) -> None:
        self.catalog.engine.dispose()

    def _location(self, identifier: str) -> str | None:
        """The metadata location in the table's row, or None where there is no row. Raises `Unsupported` for a view."""
        from pyiceberg.catalog.sql import IcebergTables
        from sqlalchemy import select

        namespace, table = table_parts(identifier)
        key = (
            IcebergTables.catalog_name == self.catalog.name,
            IcebergTables.table_namespace == self._namespace(namespace),
            IcebergTables.table_name == table,
        )
        with _translated(self.name), self.catalog.engine.connect() as connection:
            if not self._exist(connection):
                return None
            row = connection.execute(select(IcebergTables.metadata_location).where(*key)).one_or_none()
            of_type = self.catalog._iceberg_type_filter()
            only = key if of_type is None else (*key, of_type)
            if row is not None and connection.execute(select(IcebergTables.table_name).where(*only)).one_or_none() is None:
                raise Unsupported(f"{self.name}:{identifier} is a view, not a table")
        if row is not None and row[0] is None:
            raise NotFound(f"{self.name}:{identifier}: the catalog's row states no metadata location")
        return None if row is None else str(row[0])

    def _exist(self, connection: Any) -> bool:
        from sqlalchemy import inspect

        return bool(inspect(connection).has_table("iceberg_tables"))

    def _namespace(self, levels: tuple[str, ...]) -> str:
        dotted = next((level for level in levels if "." in level), None)
        if dotted is not None:
            raise Unsupported(
                f"{self.name}: a SQL catalog joins the levels of a namespace by dots: {dotted!r} cannot be one of them"
            )
        return ".".join(levels)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """The database's errors as ours. Its own words are kept (`orig`), its statements and parameters are not."""
    from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError
    from sqlalchemy.exc import OperationalError as Refused

    try:
        yield
    except NoSuchModuleError as error:
        raise Config(f"catalog.{name}.uri: there is no driver for it ({error})") from None
    except DBAPIError as error:
        transient = isinstance(error, Refused)
        raise Transfer(f"catalog {name}: the database failed: {error.orig}; run again", transient=transient) from error
    except SQLAlchemyError as error:
        raise Transfer(f"catalog {name}: the database failed ({type(error).__name__}); run again") from error
