"""Opens what a replication needs: the source, the target, the receipts, and the format of the table."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lakehouse import formats
from lakehouse.below import Below
from lakehouse.config import Settings, StoreSettings
from lakehouse.connect import locate, open_at, open_store
from lakehouse.elsewhere import Elsewhere
from lakehouse.errors import Config, Conflict, NotFound, Unsupported
from lakehouse.locations import Locations, canonical
from lakehouse.one_object import OneObject
from lakehouse.options import Options
from lakehouse.receipt import Receipt, read_latest
from lakehouse.store import Store
from lakehouse.table import TableFormat, TableVersion, Terms
from lakehouse.url import Url, parse

__all__ = ["Replica", "open_replica", "open_source", "open_stated", "open_table", "open_target"]


@dataclass(frozen=True, slots=True)
class Replica:
    """A source and its target. ``latest`` is the finished receipt and its SHA-256, where opening had to read it already.

    ``terms``: what the format is told of where files lie and which history is wanted. ``version``: the one asked for.
    """

    source: Store
    target: Store
    receipts: Store
    format: TableFormat
    latest: tuple[Receipt, str] | None = None
    terms: Terms | None = None
    version: str | None = None


def open_replica(
    source: str,
    target: str,
    format: str | None,
    settings: Settings,
    *,
    retries: int | None = None,
    options: Options | None = None,
) -> Replica:
    """Open both sides. A target with receipts inside tells the format without a look at the source.

    ``version`` of the replica is the one that ``options`` or the source's address (a metadata file) names.
    Raises `Config` when one place lies in the other, `NotFound` where no table is found.
    """
    options = options or Options()
    source, named = formats.table_and_version(source)
    if named is not None and options.version not in (None, named):
        raise Config(f"the address of the source names version {named}, --version names {options.version}; say one")
    _refuse_overlap(source, target, settings)
    there = open_store(target, settings, retries=retries)
    inside = _redirected(target, settings, retries) or Below(there, "_lake")
    latest = read_latest(inside)
    if latest is not None and format in (None, latest[0].format):
        origin, chosen = open_store(source, settings, retries=retries), formats.find(latest[0].format)
    else:
        origin = open_source(source, settings, retries=retries)
        chosen = formats.detect(origin, format)
    if latest is None and chosen.receipts_inside and locate(target, settings)[0].key:
        latest = read_latest(_receipts_beside(target, settings, retries))
    if latest is not None and chosen.name != latest[0].format:
        raise Conflict(f"{there.url}: is a replica of a {latest[0].format} table; it cannot become one of a {chosen.name} table")
    receipts = inside if chosen.receipts_inside else _receipts_beside(target, settings, retries)
    terms, origin = _terms(origin, source, there.url, options, settings, retries)
    return Replica(origin, there, receipts, chosen, latest if chosen.receipts_inside else None, terms, named or options.version)


def open_target(target: str, format: str | None, settings: Settings) -> tuple[Store, Store, TableFormat]:
    """A replica on its own: its store, its receipts, and its format as they tell it (a damaged table might not)."""
    store = open_store(target, settings)
    url, _ = locate(target, settings)
    places = [_redirected(target, settings) or Below(store, "_lake"), *([_receipts_beside(target, settings)] if url.key else [])]
    for receipts in places:
        latest = read_latest(receipts)
        if latest is not None and format in (None, latest[0].format):
            return store, receipts, formats.find(latest[0].format)
    chosen = formats.detect(store, format)
    return store, places[0] if chosen.receipts_inside else _receipts_beside(target, settings), chosen


def open_source(place: str, settings: Settings, *, retries: int | None = None) -> Store:
    """The store of a source. A place that names one object is seen as a folder that holds just that object."""
    store = open_store(place, settings, retries=retries)
    if next(iter(store.list()), None) is not None:
        return store
    url, named = locate(place, settings)
    if not url.key:
        return store
    folder = open_at(url.parent, named, retries=retries)
    return OneObject(folder, url.name) if _is_object(folder, url.name) else store


def open_stated(place: str, settings: Settings, options: Options) -> tuple[Store, Terms]:
    """A source to be compared with: its store, which also reads the files elsewhere that it states, and the terms to pin it."""
    terms, store = _terms(open_source(place, settings), place, "", options, settings, None)
    return store, terms


def open_table(
    place: str, format: str | None, settings: Settings, *, version: str | None = None, options: Options | None = None
) -> tuple[Store, TableFormat, TableVersion]:
    """The table at ``place``, to be looked at: its store, its format, and the version pinned.

    Raises `NotFound` where there is no table or no such version.
    """
    options = options or Options()
    place, named = formats.table_and_version(place)
    store = open_source(place, settings)
    chosen = formats.detect(store, format)
    terms, store = _terms(store, place, "", options, settings, None)
    return store, chosen, chosen.pin(store, named or version, terms)


def _terms(
    source: Store, place: str, target: str, options: Options, settings: Settings, retries: int | None
) -> tuple[Terms, Store]:
    """What the format is told, and the source as a store that also reads the places elsewhere that are permitted."""
    url, named = locate(place, settings)
    mapped = [(stated, *locate(actual, settings)) for stated, actual in options.maps]
    roots = [(str(actual), via) for _, actual, via in mapped]
    own = Url("file", "", url.key.rpartition("/")[0]) if url.scheme == "file" else Url(url.scheme, url.authority, "")
    roots += [(str(own), named), *((canonical(prefix).rstrip("/"), None) for prefix in options.external)]
    roots.sort(key=lambda root: len(root[0]), reverse=True)
    opened: dict[str, Store] = {}

    def find(address: str) -> tuple[Store, str]:
        for root, via in roots:
            if address == root or address.startswith(f"{root}/"):
                folder = root if address != root else root.rpartition("/")[0]
                if folder not in opened:
                    opened[folder] = open_at(parse(folder), via, retries=retries)
                return opened[folder], address[len(folder) + 1 :]
        raise Unsupported(f"{address}: lies outside {source.url}, and nothing permits to read it there")

    maps = tuple((stated, str(actual)) for stated, actual, _ in mapped)
    locations = Locations(source.url, options.location or target, maps=maps, external=options.external)
    terms = Terms(locations, options.history, options.skip_broken_history)
    return terms, Elsewhere(source, find)


def _is_object(store: Store, name: str) -> bool:
    try:
        store.head(name)
    except NotFound:
        return False
    return True


def _receipts_beside(place: str, settings: Settings, retries: int | None = None) -> Store:
    """The store of receipts of a plain directory, whose listing is the table: ``_lake/<name>/`` beside it."""
    redirected = _redirected(place, settings, retries)
    if redirected is not None:
        return redirected
    url, named = locate(place, settings)
    if not url.key:
        raise Config(
            f"{url}: a whole bucket of plain files has no place beside it for receipts; set receipts = URL for its store"
        )
    return open_at(url.parent.child(f"_lake/{url.name}"), named, retries=retries)


def _redirected(place: str, settings: Settings, retries: int | None = None) -> Store | None:
    """The store that ``receipts = URL`` of a named store asks for, one folder for each table."""
    url, named = locate(place, settings)
    if named is None or named.receipts is None:
        return None
    below = url.key.removeprefix(parse(named.url).key).strip("/")
    return open_store(f"{named.receipts.rstrip('/')}/{below}", settings, retries=retries)


def _refuse_overlap(source: str, target: str, settings: Settings) -> None:
    """Raise `Config` when one place lies in the other. Equal buckets of two services are two places."""
    (from_url, from_store), (to_url, to_store) = locate(source, settings), locate(target, settings)
    if _service(from_store) != _service(to_store):
        return
    origin, there = _real(from_url), _real(to_url)
    if f"{origin}/".startswith(f"{there}/") or f"{there}/".startswith(f"{origin}/"):
        raise Config(f"{from_url} and {to_url}: one lies in the other; a replica needs a place of its own")


def _real(url: Url) -> str:
    """The address with links of this machine's file system followed."""
    return os.path.realpath(f"/{url.key}") if url.scheme == "file" else str(url)


def _service(named: StoreSettings | None) -> tuple[object, ...]:
    options = named.resolved_options() if named is not None else {}
    return tuple(options.get(key) for key in ("endpoint_url", "connection_string", "account_name"))
