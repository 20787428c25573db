"""Apache Iceberg: told apart from the other formats, so that a table is refused by name instead of half carried."""

# ruff: noqa: ARG002  (the contract names more than each format needs)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Never

from lakehouse.errors import Unsupported
from lakehouse.store import Store
from lakehouse.table import Base, Commit, Description, Held, Staged, TableFile, TableVersion, Terms

__all__ = ["IcebergFormat"]


def _refuse(store: Store) -> Never:
    raise Unsupported(f"{store.url}: Iceberg tables are not carried yet")


class IcebergFormat:
    """Finds Iceberg tables on an object store. Everything but `detect` raises `Unsupported`."""

    name = "iceberg"
    receipts_inside = True
    renumbers = True

    def detect(self, store: Store) -> bool:
        """Whether ``metadata/`` holds a table metadata file (Iceberg spec, "Naming for file system tables") or a hint."""
        endings = (".metadata.json", ".metadata.json.gz", ".gz.metadata.json", "/version-hint.text")
        return any(found.path.endswith(endings) for found in store.list("metadata", recursive=False))

    def is_unchanged(self, source: Store, target: Store, base: Base, terms: Terms | None = None) -> bool:
        return False

    def pin(self, store: Store, version: str | None = None, terms: Terms | None = None) -> TableVersion:
        _refuse(store)

    def since(
        self, source: Store, target: Store, version: TableVersion, base: Base | None, unfinished: Sequence[Base] = ()
    ) -> Held | None:
        _refuse(source)

    def files(self, store: Store, version: TableVersion, held: Held | None = None) -> Iterator[TableFile]:
        _refuse(store)

    def stage(self, source: Store, target: Store, version: TableVersion, held: Held | None) -> Staged:
        _refuse(source)

    def recheck(self, source: Store, version: TableVersion) -> None:
        _refuse(source)

    def metadata_files(self, store: Store, version: TableVersion, *, essential: bool = False) -> Iterator[str]:
        _refuse(store)

    def describe(self, store: Store, version: TableVersion) -> Description:
        _refuse(store)

    def history(self, store: Store, version: TableVersion) -> Iterator[Commit]:
        _refuse(store)
