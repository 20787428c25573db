"""Where the files that an Iceberg table states lie, and which of them are none of the table's own."""

from __future__ import annotations

from contextlib import suppress

from lakehouse.errors import Unsupported
from lakehouse.formats.iceberg.version import IcebergVersion
from lakehouse.locations import Locations, canonical, is_address
from lakehouse.reading.examine import Flaw

__all__ = ["Places"]


class Places:
    """Paths as the table states them → paths of its store. What the user permitted or mapped may lie outside."""

    def __init__(self, version: IcebergVersion) -> None:
        self._metadata, self._files = version.locations, version.entries
        permitted = (*version.locations.external, *(stated for stated, _ in version.locations.maps))
        self._permitted = tuple(f"{canonical(prefix).rstrip('/')}/" for prefix in permitted)

    def metadata(self, stated: str, by: str) -> tuple[str | None, list[Flaw]]:
        """Where a file that metadata names lies (None: nothing permits to read it). ``by``: what names it. Kind: ``external``."""
        return self._place(self._metadata, stated, by)

    def file(self, stated: str, by: str) -> tuple[str | None, list[Flaw]]:
        """The same for a file that a manifest names."""
        return self._place(self._files, stated, by)

    def _place(self, locations: Locations, stated: str, by: str) -> tuple[str | None, list[Flaw]]:
        path: str | None = None
        with suppress(Unsupported):
            path = locations.read(stated)
        if path is not None and (not is_address(path) or canonical(stated).startswith(self._permitted)):
            return path, []
        return path, [Flaw("external", stated, f"is named by {by} and lies outside the table; --allow-external permits it")]
