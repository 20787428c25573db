"""The contract of table catalogs: where the newest metadata file of a named table is written down, and may be swapped.

A catalog's entry is the root of its tables: whoever swaps it publishes. Catalogs are found by the entry-point group
``lakehouse.catalogs``, whose keys are the ``type`` of ``[catalog.NAME]`` in lake.toml.

An identifier is ``namespace.table``; namespaces may have several levels, ``a.b.table``. A part that holds a dot or a quotation
mark is written in quotation marks, as in SQL: ``ns."v1.0"``; a quotation mark within them is doubled.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lakehouse.errors import Config
from lakehouse.settings import CatalogSettings, Settings, StoreSettings

__all__ = ["GROUP", "Catalog", "Opener", "TableRecord", "identifier_parts", "identifier_text", "open_catalog"]

GROUP = "lakehouse.catalogs"
_PART = re.compile(r'"(?P<quoted>(?:[^"]|"")+)"|(?P<bare>[^."]+)')
_BARE = re.compile(r'[^."]+')


@dataclass(frozen=True, slots=True)
class TableRecord:
    """What a catalog says of one table: ``metadata_location`` is the address of its newest metadata file, ``location`` the
    table's own and ``uuid`` its ``table-uuid`` (None: format version 1 metadata without one).
    """

    identifier: str
    metadata_location: str
    location: str
    uuid: str | None


class Catalog(Protocol):
    """One table catalog.

    Every call may raise `Config` (refused credentials, an address that leads nowhere, a malformed identifier), `Transfer` (no
    answer, or none that says what happened; run again) and `Unsupported` (a name that this catalog cannot hold, a table of
    another kind). An identifier comes back as `identifier_text` writes it.
    """

    @property
    def name(self) -> str:
        """Its name in lake.toml."""
        ...

    @property
    def swaps(self) -> Literal["swap", "commit"]:
        """How `swap` works: ``swap`` puts the metadata location that it was given; ``commit`` sends the difference, and the
        catalog writes a metadata file of its own, whose location is in the record that comes back.
        """
        ...

    def list(self, namespace: str) -> Iterator[str]:
        """The identifiers of the Iceberg tables right below ``namespace``, in any order; of a namespace that is missing, none."""
        ...

    def load(self, identifier: str) -> TableRecord | None:
        """The table's record, or None where the catalog has no such table.

        Raises `NotFound` for an entry whose metadata file is missing or damaged.
        """
        ...

    def default_location(self, identifier: str) -> str | None:
        """Where the catalog would put a new table of this name, or None where it does not say."""
        ...

    def register(self, identifier: str, metadata_location: str) -> TableRecord:
        """Enter a new table; namespaces that are missing are created. A table that is there already with the same location is
        success (the reply to an earlier call may have been lost).

        Raises `Conflict` where the table exists with another location, `NotFound` where ``metadata_location`` cannot be read.
        """
        ...

    def swap(self, identifier: str, expected: str, metadata_location: str, metadata: dict[str, Any]) -> TableRecord:
        """Make ``metadata``, which stands at ``metadata_location``, the table's newest, if its newest is still at ``expected``.

        ``metadata`` is the file's JSON, unknown keys included. Of writers that race, one wins; a commit that was made in between
        is never erased. When the reply was lost the entry is read back, and a swap that was done already is success.

        Raises `Conflict`, naming both locations, where the table is not at ``expected`` (or is gone), and `Unsupported` for a
        difference that this catalog's protocol cannot express.
        """
        ...

    def close(self) -> None:
        """Let go of its connections; the next call opens them again."""
        ...


Opener = Callable[[CatalogSettings, StoreSettings | None], Catalog]
"""What an entry point of `GROUP` names: opens a catalog whose tables lie where the store's options reach them."""


def open_catalog(name: str, settings: Settings) -> Catalog:
    """Open ``[catalog.NAME]``. REST catalogs are asked for their configuration at once, others at the first call.

    Raises `Config` for a name, a type or a store that is not known, and where the packages of its extra are missing.
    """
    found = settings.catalogs.get(name)
    if found is None:
        raise Config(f"there is no catalog {name!r} in lake.toml (catalogs: {', '.join(sorted(settings.catalogs)) or 'none'})")
    if found.store is not None and found.store not in settings.stores:
        raise Config(f"catalog.{name}.store: there is no store {found.store!r} in lake.toml")
    entries = {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}
    entry = entries.get(found.type)
    if entry is None:
        close = difflib.get_close_matches(found.type.lower(), entries, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise Config(
            f"catalog.{name}.type: there is no catalog of type {found.type!r} ({', '.join(sorted(entries)) or 'none'}){hint}"
        )
    try:
        opener: Opener = entry.load()
        return opener(found, settings.stores[found.store] if found.store is not None else None)
    except ImportError as error:
        raise Config(
            f"catalog.{name}: a package is missing ({error}); run pip install "
            f"'lakehouse-portability[{'glue' if found.type == 'glue' else 'catalogs'}]'"
        ) from error


def identifier_parts(identifier: str) -> tuple[str, ...]:
    """The parts of an identifier or a namespace, outermost first.

    Raises `Config` for an empty one, and where dots or quotation marks do not go together.
    """
    parts, at = [], 0
    while match := _PART.match(identifier, at):
        parts.append(match["bare"] or match["quoted"].replace('""', '"'))
        at = match.end()
        if at == len(identifier):
            return tuple(parts)
        if identifier[at] != ".":
            break
        at += 1
    raise Config(f'{identifier!r} names no table: write namespace.table, and a part that holds a dot as in namespace."a.b"')


def identifier_text(parts: Sequence[str]) -> str:
    """The one way to write ``parts``; `identifier_parts` reads it back."""
    return ".".join(part if _BARE.fullmatch(part) else '"' + part.replace('"', '""') + '"' for part in parts)
