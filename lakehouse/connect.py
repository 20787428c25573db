"""From a place (a URL, a path, ``NAME:path``, the name of a dataset) to a `Store`.

Connectors are found by the entry-point group ``lakehouse.connectors``, whose keys are schemes; any other scheme that fsspec
knows opens with fsspec and promises nothing.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lakehouse.bandwidth import Bandwidth
from lakehouse.errors import Config
from lakehouse.fsspec_store import FsspecStore
from lakehouse.pace import Pace
from lakehouse.retry import ATTEMPTS, RetryingStore
from lakehouse.settings import Settings, StoreSettings
from lakehouse.store import Store, Traits
from lakehouse.url import Url, parse

__all__ = ["GROUP", "Access", "Connector", "catalog_place", "connector", "locate", "open_at", "open_store"]

GROUP = "lakehouse.connectors"
_LOCK = threading.Lock()
_PACES: dict[str, Pace] = {}
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*):(?!//)(.*)", re.DOTALL)


class Connector(Protocol):
    """What an entry point of `GROUP` names: it opens stores of its schemes."""

    @property
    def schemes(self) -> tuple[str, ...]:
        """The URL schemes that it opens, in canonical spelling."""
        ...

    @property
    def options(self) -> frozenset[str]:
        """The options that it knows, in fsspec's vocabulary. Others go to fsspec as they are."""
        ...

    def open(self, url: Url, options: Mapping[str, object], transport: str) -> Store:
        """A store at ``url``, without retries of its own. ``transport`` is ``auto``, ``obstore`` or ``fsspec``.

        Raises `Config` for options that are missing or do not go together, before any request is sent.
        """
        ...

    def filesystem(self, url: Url, options: Mapping[str, object]) -> tuple[Any, str]:
        """fsspec's file system for ``url`` and the path in it, with fsspec's own retries. Raises `Config` like `open`."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """How a run reaches its stores: further tries of a request that failed (None: as many as is usual), and the limits on
    bandwidth that they share.
    """

    retries: int | None = None
    bandwidth: Bandwidth | None = None

    def retrying(self, store: Store, service: str) -> Store:
        """``store`` with transient failures tried again, at the pace of all stores of this process on one ``service``."""
        attempts = ATTEMPTS if self.retries is None else self.retries + 1
        return RetryingStore(store, attempts=attempts, pace=_pace(service), bandwidth=self.bandwidth)


def open_store(place: str, settings: Settings | None = None, *, retries: int | None = None) -> Store:
    """Open ``place``; transient failures are tried again, each up to ``retries`` times.

    Raises `Config` for an address or name that leads nowhere. Nothing is requested yet: a bucket that is missing or credentials
    that are refused show in the first request.
    """
    return open_at(*locate(place, settings), Access(retries))


def open_at(url: Url, named: StoreSettings | None, access: Access | None = None) -> Store:
    """Open ``url`` with the options of the named store that it was reached by."""
    options = named.resolved_options() if named is not None else {}
    transport = named.transport if named is not None else "auto"
    found = connector(url.scheme)
    opened = found.open(url, options, transport) if found is not None else _generic(url, options)
    endpoint = options.get("endpoint_url") or ""
    return (access or Access()).retrying(opened, f"{url.scheme}://{url.authority} {endpoint}".rstrip())


def _pace(service: str) -> Pace:
    with _LOCK:
        return _PACES.setdefault(service, Pace(service))


def locate(place: str, settings: Settings | None = None) -> tuple[Url, StoreSettings | None]:
    """Where ``place`` lies and the named store that it was reached by. A URL never picks up a named store's options."""
    settings = settings or Settings()
    if place in settings.datasets:
        table = settings.datasets[place].table
        if table in settings.datasets:
            raise Config(f"dataset.{place}.table: {table!r} is a dataset too; name its address")
        return locate(table, settings)
    match = _NAMED.fullmatch(place)
    if match is None or match[1] == "file":
        return parse(place), None
    name, path = match[1], match[2].strip("/")
    if name not in settings.stores:
        known = ", ".join(sorted(settings.stores)) or "none"
        raise Config(f"{place}: there is no store {name!r} in lake.toml (stores: {known}); a path is written ./{place}")
    if any(segment == ".." for segment in path.split("/")):
        raise Config(f"{place}: '..' would leave the store {name}")
    store = settings.stores[name]
    url = parse(store.url)
    return (url.child(path) if path else url), store


def catalog_place(place: str, settings: Settings) -> tuple[str, str] | None:
    """The catalog and the identifier, for a place ``NAME:namespace.table`` whose NAME is a catalog of lake.toml; else None."""
    if place in settings.datasets:
        place = settings.datasets[place].table
    name, colon, identifier = place.partition(":")
    return (name, identifier) if colon and name in settings.catalogs else None


def connector(scheme: str) -> Connector | None:
    """The connector for ``scheme``, or None where fsspec's own implementation is to be used."""
    found = _entry_points().get(scheme)
    if found is None:
        if not _entry_points():
            raise Config(f"no connectors are installed (entry points {GROUP!r}); install the package: pip install -e .")
        return None
    loaded: Connector = _loaded(found)
    return loaded


@functools.cache
def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}


@functools.cache
def _loaded(entry: importlib.metadata.EntryPoint) -> Connector:
    try:
        loaded: Connector = entry.load()
    except ImportError as error:
        raise Config(f"the connector for {entry.name}:// cannot be loaded ({error}); install its packages") from error
    return loaded


def _generic(url: Url, options: Mapping[str, object]) -> Store:
    """A file system that only fsspec knows."""
    import fsspec

    try:
        kind = fsspec.get_filesystem_class(url.scheme)
        fs = fsspec.filesystem(url.scheme, skip_instance_cache=True, **kind._get_kwargs_from_urls(str(url)), **options)
    except (ValueError, ImportError) as error:
        raise Config(f"{url}: fsspec cannot open {url.scheme}:// ({error})") from None
    return FsspecStore(url, fs, str(kind._strip_protocol(str(url))), Traits())
