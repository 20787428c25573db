"""``file://`` and plain paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lakehouse.errors import Config
from lakehouse.fsspec_store import FsspecStore
from lakehouse.local_store import LocalStore
from lakehouse.store import Store, Traits
from lakehouse.url import Url

__all__ = ["CONNECTOR"]


class LocalConnector:
    """Folders of this machine. It takes no options."""

    schemes = ("file",)
    options: frozenset[str] = frozenset()

    def open(self, url: Url, options: Mapping[str, object], transport: str) -> Store:
        if transport != "fsspec" and not options:
            return LocalStore(url)
        return FsspecStore(url, *self.filesystem(url, options), Traits(conditional_get=True))

    def filesystem(self, url: Url, options: Mapping[str, object]) -> tuple[Any, str]:
        """fsspec's local file system and the path of ``url``."""
        if options:
            raise Config(f"{url}: a folder takes no options ({', '.join(sorted(options))})")
        import fsspec

        return fsspec.filesystem("file"), f"/{url.key}"


CONNECTOR = LocalConnector()
