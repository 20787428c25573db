"""Where an Iceberg table's commits go: to the next metadata file of a folder, or to a catalog's entry."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lakehouse.catalog import Catalog
from lakehouse.errors import Conflict, NotFound, Unsupported
from lakehouse.formats.iceberg.root import FOLDER, first_of_catalogs, metadata_listing, number_of, parse_metadata
from lakehouse.locations import canonical
from lakehouse.storage_catalog import (
    StorageCatalog,
    StorageTable,
    current_root,
    encoded,
    following,
    hinted,
    newest_from,
    root_path,
)
from lakehouse.store import ObjectInfo, Store

__all__ = ["ByPath", "IcebergTable", "InCatalog", "Place", "written_to"]


@dataclass(frozen=True, slots=True)
class IcebergTable:
    """The newest state of a table: ``address`` of its metadata file, what that says, and in a folder its ``mark``, which tells
    whether the file there is still the same; empty where the store tells no etag.
    """

    address: str
    metadata: dict[str, Any]
    mark: str = ""

    @property
    def location(self) -> str:
        """Where the table says that it lies."""
        return str(self.metadata.get("location", "")).rstrip("/")

    @property
    def name(self) -> str:
        """The name of its metadata file."""
        return self.address.rpartition("/")[2]

    def has_snapshot(self, number: int) -> bool:
        """Whether a commit of that snapshot is in its history."""
        return any(raw.get("snapshot-id") == number for raw in self.metadata.get("snapshots") or ())


@dataclass(frozen=True, slots=True)
class ByPath:
    """The table in the folder ``store``, whose root is the newest ``v<N>.metadata.json``. ``name``: how errors name it."""

    store: Store
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.store.url

    def load(self) -> IcebergTable:
        """Its newest state. Raises `NotFound` where no table lies, `Unsupported` for one whose commits a catalog keeps."""
        found = current_root(self.store)
        taken = [name for name in first_of_catalogs(self.store) if found is None or (number_of(name) or 0) > found[0]]
        if taken or (found is None and metadata_listing(self.store)):
            raise Unsupported(
                f"{self}: a catalog keeps this table's commits, as its metadata files without a plain number say; write to it by "
                "that catalog, as NAME:namespace.table"
            )
        if found is None:
            raise NotFound(f"{self}: no Iceberg table here; make one with create_dataset")
        return self._read(found[1])

    def newest(self, known: IcebergTable | None) -> IcebergTable:
        """As `load`; of a table that is ``known`` only what came after is read, by name. Three small requests where nothing did.

        A hint that leads further tells of files that were expired meanwhile: then they are listed.
        """
        number = None if known is None else number_of(known.name)
        if known is None or number is None or not known.mark or self._mark(f"{FOLDER}/{known.name}") != known.mark:
            return self.load()
        newest = newest_from(self.store, number)
        if hinted(self.store) > newest:
            return self.load()
        return known if newest == number else self._read(root_path(newest))

    def exists(self) -> bool:
        """Whether any metadata lies here."""
        return bool(metadata_listing(self.store))

    def create(self, metadata: Mapping[str, Any]) -> None:
        """Make the table. Raises `Conflict` where one is there."""
        StorageTable(self.store, str(self)).put(1, encoded(metadata))

    def swap(self, base: IcebergTable, metadata: dict[str, Any]) -> IcebergTable:
        """Make ``metadata`` the newest, if ``base`` still is; what stands there then. Raises `Conflict`."""
        made, number = following(metadata, base.address, base.metadata), (number_of(base.name) or 0) + 1
        info = StorageTable(self.store, str(self)).put(number, encoded(made))
        return IcebergTable(f"{self.store.url}/{root_path(number)}", made, _mark_of(info))

    def _read(self, path: str) -> IcebergTable:
        mark = self._mark(path)
        return IcebergTable(f"{self.store.url}/{path}", parse_metadata(self.store.get(path), f"{self}/{path}"), mark)

    def _mark(self, path: str) -> str:
        try:
            return _mark_of(self.store.head(path))
        except NotFound:
            return ""


@dataclass(frozen=True, slots=True)
class InCatalog:
    """The table ``identifier`` of ``catalog``, which lies in ``store``."""

    catalog: Catalog
    identifier: str
    store: Store

    def __str__(self) -> str:
        return f"{self.catalog.name}:{self.identifier}"

    def load(self) -> IcebergTable:
        """Its newest state. Raises `NotFound` where the catalog has no such table."""
        return self.newest(None)

    def newest(self, known: IcebergTable | None) -> IcebergTable:
        """As `load`; the metadata file is not read again where it is the ``known`` one, since no two have one address."""
        record = self.catalog.load(self.identifier)
        if record is None:
            raise NotFound(f"{self}: the catalog has no such table; make one with create_dataset")
        if known is not None and known.address == record.metadata_location:
            return known
        stated, folder = canonical(record.metadata_location), canonical(self.store.url)
        if not stated.startswith(f"{folder}/"):
            raise Unsupported(
                f"{self}: its metadata {record.metadata_location} lies outside {self.store.url}: it is not written to"
            )
        data = self.store.get(stated[len(folder) + 1 :])
        return IcebergTable(record.metadata_location, parse_metadata(data, record.metadata_location))

    def exists(self) -> bool:
        """Whether the catalog has such a table."""
        return self.catalog.load(self.identifier) is not None

    def create(self, metadata: Mapping[str, Any]) -> None:
        """Make the table. Raises `Conflict` where one is there."""
        self.catalog.register(self.identifier, self._put(0, metadata))

    def swap(self, base: IcebergTable, metadata: dict[str, Any]) -> IcebergTable | None:
        """Make ``metadata`` the newest, if ``base`` still is; what stands there then, unless the catalog writes metadata files of
        its own. Raises `Conflict`.
        """
        made = following(metadata, base.address, base.metadata)
        if self.catalog.swaps == "commit":
            self.catalog.swap(self.identifier, base.address, base.address, made)
            return None
        address = self._put((number_of(base.name) or 0) + 1, made)
        try:
            record = self.catalog.swap(self.identifier, base.address, address, made)
        except Conflict:
            self.store.delete(canonical(address)[len(canonical(self.store.url)) + 1 :])
            raise
        return IcebergTable(record.metadata_location, made)

    def _put(self, number: int, metadata: Mapping[str, Any]) -> str:
        path, data = f"{FOLDER}/{number:05d}-{uuid.uuid4()}.metadata.json", encoded(metadata)
        self.store.put(path, data, size=len(data), if_absent=True)
        return f"{self.store.url}/{path}"


Place = ByPath | InCatalog


def written_to(place: Place) -> Place:
    """Where the commits of ``place`` go: a table of a storage catalog is the folder that it lies in."""
    if isinstance(place, InCatalog) and isinstance(place.catalog, StorageCatalog):
        return ByPath(place.catalog.table_store(place.identifier), str(place))
    return place


def _mark_of(info: ObjectInfo) -> str:
    return "" if info.etag is None else f"{info.size}:{info.etag}"
