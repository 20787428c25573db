"""``file://`` and plain paths."""

from __future__ import annotations

from collections.abc import Mapping

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
        if options:
            raise Config(f"{url}: a folder takes no options ({', '.join(sorted(options))})")
        if transport != "fsspec":
            return LocalStore(url)
        import fsspec

        return FsspecStore(url, fsspec.filesystem("file"), f"/{url.key}", Traits(conditional_get=True))


CONNECTOR = LocalConnector()
