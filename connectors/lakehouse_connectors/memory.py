"""``memory://``: fsspec's file system in the memory of this process, for tests and trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lakehouse.errors import Config
from lakehouse.fsspec_store import Details, FsspecStore, Remedies
from lakehouse.store import Store, Traits
from lakehouse.url import Url

__all__ = ["CONNECTOR"]


class MemoryConnector:
    """All stores of one process share one memory. A lock makes writes whole and ``if_absent`` atomic."""

    schemes = ("memory",)
    options: frozenset[str] = frozenset()

    def open(self, url: Url, options: Mapping[str, object], transport: str) -> Store:  # noqa: ARG002 - fsspec's, either way
        fs, root = self.filesystem(url, options)

        def details(info: Mapping[str, Any]) -> Details:
            return Details(f"{info.get('size')}-{fs.modified(info['name']).isoformat()}")

        traits = Traits(conditional_put=True, conditional_get=True)
        return FsspecStore(url, fs, root, traits, Remedies(large="whole", details=details, in_memory=True))

    def filesystem(self, url: Url, options: Mapping[str, object]) -> tuple[Any, str]:
        """fsspec's file system in memory and the path of ``url`` in it."""
        from fsspec.implementations.memory import MemoryFileSystem

        if options:
            raise Config(f"{url}: memory takes no options ({', '.join(sorted(options))})")
        return MemoryFileSystem(), "/" + "/".join(part for part in (url.authority, url.key) if part)


CONNECTOR = MemoryConnector()
