"""What the catalogs share: splitting identifiers, reading the metadata file that an entry names, and pyiceberg's properties."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from typing import Any

from lakehouse.catalog import TableRecord, identifier_parts, identifier_text
from lakehouse.connect import open_at
from lakehouse.errors import Config, Conflict, NotFound
from lakehouse.settings import CatalogSettings, StoreSettings
from lakehouse.url import parse

__all__ = ["moved", "properties", "read_metadata", "record", "table_parts", "taken"]

_HYPHENATED = ("oauth2_server_uri",)


def table_parts(identifier: str) -> tuple[tuple[str, ...], str]:
    """The namespace's levels and the table's name. Raises `Config` for an identifier without a namespace."""
    *namespace, table = identifier_parts(identifier)
    if not namespace:
        raise Config(f"{identifier}: names no namespace; write namespace.table")
    return tuple(namespace), table


def properties(settings: CatalogSettings) -> dict[str, str]:
    """pyiceberg's properties: lake.toml's keys with references followed, spelled with hyphens where pyiceberg does."""
    options = settings.resolved_options()
    named = {key.replace("_", "-") if key in _HYPHENATED else key: value for key, value in options.items()}
    uri = settings.resolved_uri()
    return {**named, **({} if uri is None else {"uri": uri})}  # type: ignore[dict-item]  # what goes as it is may be a table


def read_metadata(location: str, store: StoreSettings | None) -> dict[str, Any]:
    """The JSON of the metadata file at ``location``, whether it is gzipped or not, read with the options of ``store``.

    Raises `NotFound` where it is missing or is no Iceberg metadata.
    """
    url = parse(location)
    named = store if store is not None and parse(store.url).scheme == url.scheme else None
    data = open_at(url.parent, named).get(url.name)
    try:
        metadata = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise NotFound(f"{location}: is damaged: no JSON ({type(error).__name__})") from None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("location"), str):
        raise NotFound(f"{location}: is no Iceberg metadata: it states no location")
    return metadata


def record(identifier: str, metadata_location: str, metadata: Mapping[str, Any]) -> TableRecord:
    """The record of a table whose newest metadata is ``metadata``."""
    namespace, table = table_parts(identifier)
    uuid = metadata.get("table-uuid")
    return TableRecord(
        identifier_text([*namespace, table]), metadata_location, str(metadata["location"]), None if uuid is None else str(uuid)
    )


def taken(catalog: str, identifier: str, found: str, wanted: str) -> Conflict:
    """The table that was to be entered is there already, elsewhere."""
    return Conflict(f"{catalog}:{identifier} exists already with the metadata {found}; {wanted} has not been registered")


def moved(catalog: str, identifier: str, found: str | None, expected: str) -> Conflict:
    """Somebody else committed: nothing was swapped."""
    now = f"is at {found}" if found is not None else "is gone"
    return Conflict(
        f"{catalog}:{identifier} {now}, not at {expected} any more: another writer committed or dropped it there; nothing was "
        "overwritten"
    )
