"""Hive Metastore: refused by name, with the way round it.

pyiceberg can read and write its entries, but whether a swap under the Metastore's lock loses no commit has not been proven on a
real one, and what is not proven is not offered.
"""

from __future__ import annotations

from typing import NoReturn

from lakehouse.errors import Unsupported
from lakehouse.settings import CatalogSettings, StoreSettings

__all__ = ["open_hive"]


def open_hive(settings: CatalogSettings, store: StoreSettings | None) -> NoReturn:  # noqa: ARG001 - what an opener is given
    """Raises `Unsupported`."""
    raise Unsupported(
        f"catalog.{settings.name}: catalogs of type hive are not supported; as a source, name the address of the table's newest "
        "metadata.json (the Metastore's parameter metadata_location), and as a target, a path or another catalog"
    )
