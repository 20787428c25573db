"""The AWS Glue Data Catalog: pyiceberg's client and table description; the swap is an update of one version of the entry.

Glue counts the versions of each entry, and an update that states a version which is not the newest fails
(``ConcurrentModificationException``). Old versions are archived, so that a swap can be undone in Glue itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from lakehouse.catalog import TableRecord, identifier_parts, identifier_text
from lakehouse.errors import Config, Transfer, Unsupported
from lakehouse.settings import CatalogSettings, StoreSettings
from lakehouse_connectors.catalogs.entry import moved, properties, read_metadata, record, table_parts, taken

__all__ = ["GlueTables", "open_glue"]

_INPUT_KEYS = (
    *("Name", "Description", "Owner", "LastAccessTime", "LastAnalyzedTime", "Retention", "PartitionKeys"),
    *("ViewOriginalText", "ViewExpandedText", "TableType", "TargetTable"),
)
"""What of an entry that is read may be written back: the keys of Glue's ``TableInput``, less those that a swap sets."""
_REFUSED = frozenset(
    {
        *("AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException"),
        *("InvalidClientTokenId", "MissingAuthenticationToken", "SignatureDoesNotMatch"),
    }
)
_BUSY = frozenset({"ThrottlingException", "OperationTimeoutException", "InternalServiceException", "ServiceUnavailable"})


def open_glue(settings: CatalogSettings, store: StoreSettings | None) -> GlueTables:
    """Open Glue with the ``glue.*`` and ``client.*`` properties of pyiceberg. ``uri``, if given, is the endpoint."""
    from pyiceberg.catalog.glue import GlueCatalog

    stated = properties(settings)
    if "uri" in stated:
        stated["glue.endpoint"] = stated.pop("uri")
    with _translated(settings.name):
        return GlueTables(settings.name, GlueCatalog(settings.name, **stated), store)


class GlueTables:
    """The Iceberg tables of one account's Glue, whose databases are the namespaces."""

    swaps: Literal["swap", "commit"] = "swap"

    def __init__(self, name: str, catalog: Any, store: StoreSettings | None) -> None:
        self.name, self.catalog, self._glue, self._store = name, catalog, catalog.glue, store

    def list(self, namespace: str) -> Iterator[str]:
        database = self._database(identifier_parts(namespace))
        try:
            with _translated(self.name):
                pages = [*self._glue.get_paginator("get_tables").paginate(DatabaseName=database)]
        except _Missing:
            return
        for page in pages:
            for table in page["TableList"]:
                if _is_iceberg(table):
                    yield identifier_text([database, table["Name"]])

    def load(self, identifier: str) -> TableRecord | None:
        entry = self._entry(identifier)
        if entry is None:
            return None
        location = self._location(identifier, entry)
        return record(identifier, location, read_metadata(location, self._store))

    def default_location(self, identifier: str) -> str | None:
        namespace, table = table_parts(identifier)
        database = self._database(namespace)
        try:
            with _translated(self.name):
                stated = self._glue.get_database(Name=database)["Database"].get("LocationUri")
        except _Missing:
            stated = None
        warehouse = self.catalog.properties.get("warehouse")
        if stated:
            return f"{stated.rstrip('/')}/{table}"
        return f"{warehouse.rstrip('/')}/{database}.db/{table}" if warehouse else None

    def register(self, identifier: str, metadata_location: str) -> TableRecord:
        namespace, table = table_parts(identifier)
        database = self._database(namespace)
        metadata = read_metadata(metadata_location, self._store)
        described = self._described(table, metadata_location, metadata)
        self._create_database(database)
        try:
            with _translated(self.name):
                self._glue.create_table(DatabaseName=database, TableInput=described)
        except (_Taken, Transfer) as error:  # it is there, or the reply was lost: the entry says which
            entry = self._entry(identifier)
            if entry is None:
                raise error if isinstance(error, Transfer) else moved(self.name, identifier, None, metadata_location) from error
            found = self._location(identifier, entry)
            if found != metadata_location:
                raise taken(self.name, identifier, found, metadata_location) from error
        return record(identifier, metadata_location, metadata)

    def swap(self, identifier: str, expected: str, metadata_location: str, metadata: dict[str, Any]) -> TableRecord:
        namespace, table = table_parts(identifier)
        entry = self._entry(identifier)
        found = None if entry is None else self._location(identifier, entry)
        if entry is None or found not in (expected, metadata_location):
            raise moved(self.name, identifier, found, expected)
        if found == expected:
            described = self._described(table, metadata_location, metadata)
            stated = {**entry.get("Parameters", {}), **described["Parameters"], "previous_metadata_location": expected}
            wanted = {
                **{key: entry[key] for key in _INPUT_KEYS if key in entry},
                "StorageDescriptor": {**entry.get("StorageDescriptor", {}), **described["StorageDescriptor"]},
                "Parameters": stated,
            }
            try:
                with _translated(self.name):
                    self._glue.update_table(
                        DatabaseName=self._database(namespace),
                        TableInput=wanted,
                        SkipArchive=False,
                        VersionId=entry["VersionId"],
                    )
            except (_Outrun, _Missing, Transfer) as error:
                self._settle(identifier, expected, metadata_location, error)
        return record(identifier, metadata_location, metadata)

    def close(self) -> None:
        self._glue.close()

    def _settle(self, identifier: str, expected: str, metadata_location: str, error: Exception) -> None:
        """The update failed, or its reply was lost: return where the entry names the new metadata all the same."""
        entry = self._entry(identifier)
        found = None if entry is None else self._location(identifier, entry)
        if found == metadata_location:
            return
        if found != expected:
            raise moved(self.name, identifier, found, expected) from error
        if isinstance(error, Transfer):
            raise error
        raise Transfer(
            f"{self.name}:{identifier}: the entry was changed at the same time, but not its metadata; run again"
        ) from error

    def _entry(self, identifier: str) -> dict[str, Any] | None:
        namespace, table = table_parts(identifier)
        try:
            with _translated(self.name):
                entry: dict[str, Any] = self._glue.get_table(DatabaseName=self._database(namespace), Name=table)["Table"]
        except _Missing:
            return None
        return entry

    def _location(self, identifier: str, entry: dict[str, Any]) -> str:
        location = entry.get("Parameters", {}).get("metadata_location")
        if not _is_iceberg(entry) or not location:
            kind = entry.get("Parameters", {}).get("table_type") or entry.get("TableType") or "of no stated type"
            raise Unsupported(f"{self.name}:{identifier} is no Iceberg table ({kind})")
        return str(location)

    def _described(self, table: str, metadata_location: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """Glue's description of the table: its columns are for people and for engines that do not read Iceberg's metadata."""
        from pydantic import ValidationError
        from pyiceberg.catalog.glue import _construct_table_input
        from pyiceberg.exceptions import ValidationError as InvalidMetadata
        from pyiceberg.table.metadata import TableMetadataUtil

        try:
            known = TableMetadataUtil.parse_obj(metadata)
        except (ValidationError, InvalidMetadata) as error:
            raise Unsupported(
                f"{metadata_location}: Glue needs the table's columns, and pyiceberg cannot read them ({type(error).__name__})"
            ) from error
        return dict(_construct_table_input(table, metadata_location, {}, known))

    def _create_database(self, database: str) -> None:
        try:
            with _translated(self.name):
                self._glue.get_database(Name=database)
        except _Missing:
            try:
                with _translated(self.name):
                    self._glue.create_database(DatabaseInput={"Name": database})
            except _Taken:  # another writer was faster
                return

    def _database(self, namespace: tuple[str, ...]) -> str:
        if len(namespace) != 1:
            raise Unsupported(f"{self.name}: Glue's databases have one level, not {len(namespace)}: {identifier_text(namespace)}")
        return namespace[0]


class _Missing(Exception):
    """Glue has no such entry."""


class _Taken(Exception):
    """Glue has such an entry."""


class _Outrun(Exception):
    """The version that was to be replaced is not the newest."""


def _is_iceberg(entry: dict[str, Any]) -> bool:
    return str(entry.get("Parameters", {}).get("table_type", "")).upper() == "ICEBERG"


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """The errors of AWS as ours, or as the three that this module understands."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, ProfileNotFound

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        kinds = {
            "EntityNotFoundException": _Missing,
            "AlreadyExistsException": _Taken,
            "ConcurrentModificationException": _Outrun,
            "VersionMismatchException": _Outrun,
        }
        if code in kinds:
            raise kinds[code](code) from error
        if code in _REFUSED:
            raise Config(f"catalog {name}: AWS refuses access ({code}); check the credentials in lake.toml") from None
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _BUSY or status >= 500:
            raise Transfer(f"catalog {name}: Glue failed ({code}); run again", transient=True) from error
        raise Unsupported(
            f"catalog {name}: Glue cannot do this ({code}: {error.response['Error'].get('Message', '')[:300]})"
        ) from error
    except (NoCredentialsError, NoRegionError, ProfileNotFound) as error:
        raise Config(f"catalog {name}: {error}") from None
    except BotoCoreError as error:
        raise Transfer(f"catalog {name}: no answer from Glue ({type(error).__name__}); run again", transient=True) from error
