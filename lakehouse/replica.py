"""Opens what a replication needs: the source, the target, the receipts, and the format of the table."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from lakehouse import formats
from lakehouse.below import Below
from lakehouse.catalog import open_catalog
from lakehouse.config import Settings, StoreSettings
from lakehouse.connect import Access, catalog_place, locate, open_at
from lakehouse.elsewhere import Elsewhere
from lakehouse.errors import Config, Conflict, NotFound, Unsupported
from lakehouse.locations import Locations, canonical
from lakehouse.one_object import OneObject
from lakehouse.options import Options
from lakehouse.receipt import Receipt, read_latest
from lakehouse.registration import Entry, Registration
from lakehouse.store import Store
from lakehouse.table import TableFormat, TableVersion, Terms
from lakehouse.url import Url, parse

__all__ = ["Replica", "open_replica", "open_source", "open_target", "open_version"]


@dataclass(frozen=True, slots=True)
class Replica:
    """A source and its target. ``latest`` is the finished receipt and its SHA-256, where opening had to read it already.

    ``terms``: what the format is told of where files lie and which history is wanted. ``version``: the one asked for.
    ``registration``: the catalog's entry that is to stand at what is published.
    """

    source: Store
    target: Store
    receipts: Store
    format: TableFormat
    latest: tuple[Receipt, str] | None = None
    terms: Terms | None = None
    version: str | None = None
    registration: Registration | None = None


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a table lies: its address, the named store that reaches it, the version that the place names, its catalog's entry."""

    url: Url
    via: StoreSettings | None
    version: str | None = None
    entry: Entry | None = None

    def open(self, access: Access | None) -> Store:
        return open_at(self.url, self.via, access)


def open_replica(
    source: str,
    target: str,
    format: str | None,
    settings: Settings,
    *,
    options: Options | None = None,
) -> Replica:
    """Open both sides. A target with receipts inside tells the format without a look at the source.

    ``version`` of the replica is the one that ``options`` or the source's address (a metadata file) names.
    Raises `Config` when one place lies in the other, and for an option that means nothing to the format; `NotFound` where no
    table is found.
    """
    options = options or Options()
    access = options.access
    origin_spot, target_spot = _spot(source, settings), _spot(target, settings, new=True, new_at=options.location)
    if origin_spot.version is not None and options.version not in (None, origin_spot.version):
        raise Config(f"the address of the source names version {origin_spot.version}, --version names {options.version}; say one")
    if target_spot.version is not None:
        raise Config(f"{target}: is a metadata file; a target is the place of a table")
    _refuse_overlap(origin_spot, target_spot)
    there = target_spot.open(access)
    inside = _redirected(target_spot, settings, access) or Below(there, "_lake")
    latest = read_latest(inside)
    cataloged = origin_spot.entry is not None or target_spot.entry is not None or options.register is not None
    if latest is not None and format in (None, latest[0].format):
        origin, chosen = origin_spot.open(access), formats.find(latest[0].format)
    else:
        origin = _open_source(origin_spot, access)
        chosen = formats.detect(origin, format or ("iceberg" if origin_spot.entry else None))
    if cataloged and chosen.name != "iceberg":
        raise Config(f"{origin.url}: is a {chosen.name} table; catalogs hold Iceberg tables")
    if options.history != "all" and chosen.name != "delta":
        raise Config(
            f"{origin.url}: --history {options.history} is for Delta tables, and this is none ({chosen.name}): what history it "
            "retains is always carried whole; leave the option out"
        )
    if latest is None and chosen.receipts_inside and target_spot.url.key and target_spot.entry is None:
        with suppress(Config):  # what lies beside the table may be none of our business
            latest = read_latest(_receipts_beside(target_spot, settings, access))
    if latest is not None and chosen.name != latest[0].format:
        raise Conflict(f"{there.url}: is a replica of a {latest[0].format} table; it cannot become one of a {chosen.name} table")
    receipts = inside if chosen.receipts_inside else _receipts_beside(target_spot, settings, access)
    terms, origin = _terms(origin, origin_spot, target_spot.entry is None, there.url, options, settings, access)
    entry = target_spot.entry or _to_register(options.register, settings)
    located = terms.locations.target
    registration = Registration(entry, there, receipts, located, target_spot.entry is not None) if entry is not None else None
    return Replica(
        origin, there, receipts, chosen, latest if chosen.receipts_inside else None, terms,
        origin_spot.version or options.version, registration,
    )  # fmt: skip


def open_target(
    target: str, format: str | None, settings: Settings, access: Access | None = None
) -> tuple[Store, Store, TableFormat, Registration | None]:
    """A replica on its own: its store, its receipts, its format as they tell it (a damaged table might not), and for a catalog's
    table its entry.
    """
    spot = _spot(target, settings)
    store = spot.open(access)
    places = [_redirected(spot, settings, access) or Below(store, "_lake")]
    places += [_receipts_beside(spot, settings, access)] if spot.url.key and spot.entry is None else []
    for receipts in places:
        latest = read_latest(receipts)
        if latest is not None and format in (None, latest[0].format):
            return store, receipts, formats.find(latest[0].format), _as_root(spot, store, receipts)
    chosen = formats.detect(store, format)
    receipts = places[0] if chosen.receipts_inside else _receipts_beside(spot, settings, access)
    return store, receipts, chosen, _as_root(spot, store, receipts)


def _as_root(spot: _Spot, store: Store, receipts: Store) -> Registration | None:
    """The entry of a catalog's table."""
    if spot.entry is None or spot.entry.record is None:
        return None
    return Registration(spot.entry, store, receipts, canonical(spot.entry.record.location).rstrip("/"), is_root=True)


def open_source(place: str, settings: Settings, options: Options | None = None) -> tuple[Store, Terms, str | None]:
    """A source on its own: its store, what its format is told, and the version that the place names."""
    spot = _spot(place, settings)
    options = options or Options()
    terms, store = _terms(_open_source(spot, options.access), spot, True, "", options, settings, options.access)
    return store, terms, spot.version


def open_version(
    place: str, format: str | None, settings: Settings, *, version: str | None = None, options: Options | None = None
) -> tuple[Store, TableFormat, TableVersion]:
    """The table at ``place``, to be looked at: its store, its format, and the version pinned.

    Raises `NotFound` where there is no table or no such version.
    """
    store, terms, named = open_source(place, settings, options)
    chosen = formats.detect(store, format or ("iceberg" if terms.root is not None else None))
    return store, chosen, chosen.pin(store, named or version, terms)


def _spot(place: str, settings: Settings, *, new: bool = False, new_at: str | None = None) -> _Spot:
    """Find ``place``. A table that a catalog does not have yet goes, where it may be ``new``, to ``new_at``, or where the catalog
    puts new ones; else `NotFound` is raised.
    """
    named = catalog_place(place, settings)
    if named is None:
        table, version = formats.table_and_version(place)
        return _Spot(*locate(table, settings), version)
    catalog = open_catalog(named[0], settings)
    record = catalog.load(named[1])
    if record is None and not new:
        raise NotFound(f"{place}: the catalog has no such table")
    location = record.location if record is not None else (new_at or catalog.default_location(named[1]))
    if location is None:
        raise Config(f"{place}: the catalog does not say where a new table goes; give --location URL")
    store = settings.catalogs[named[0]].store
    via = settings.stores[store] if store is not None else None
    return _Spot(parse(location), via, None, Entry(catalog, named[1], record))


def _to_register(place: str | None, settings: Settings) -> Entry | None:
    if place is None:
        return None
    named = catalog_place(place, settings)
    if named is None:
        raise Config(f"--register {place}: write CATALOG:namespace.table with a catalog of lake.toml")
    catalog = open_catalog(named[0], settings)
    return Entry(catalog, named[1], catalog.load(named[1]))


def _terms(
    source: Store, spot: _Spot, by_path: bool, target: str, options: Options, settings: Settings, access: Access | None
) -> tuple[Terms, Store]:
    """What the format is told, and the source as a store that also reads the places elsewhere that are permitted."""
    url = spot.url
    mapped = [(stated, *locate(actual, settings)) for stated, actual in options.maps]
    roots: list[tuple[str, StoreSettings | None]] = [(str(actual), via) for _, actual, via in mapped]
    own = Url("file", "", url.key.rpartition("/")[0]) if url.scheme == "file" else Url(url.scheme, url.authority, "")
    roots += [(str(own), spot.via), *((canonical(prefix).rstrip("/"), None) for prefix in options.external)]
    roots.sort(key=lambda root: len(root[0]), reverse=True)
    opened: dict[str, Store] = {}

    def find(address: str) -> tuple[Store, str]:
        for root, via in roots:
            if address == root or address.startswith(f"{root}/"):
                folder = root if address != root else root.rpartition("/")[0]
                if folder not in opened:
                    opened[folder] = open_at(parse(folder), via, access)
                return opened[folder], address[len(folder) + 1 :]
        raise Unsupported(f"{address}: lies outside {source.url}, and nothing permits to read it there")

    maps = tuple((stated, str(actual)) for stated, actual, _ in mapped)
    stated = canonical(options.location).rstrip("/") if options.location else target
    locations = Locations(source.url, stated, maps=maps, external=options.external)
    root = _metadata_location(spot.entry) if spot.entry is not None else None
    return Terms(locations, options.history, options.skip_broken_history, root, by_path), Elsewhere(source, find)


def _metadata_location(entry: Entry) -> Callable[[], str]:
    """What asks the catalog which metadata file is current."""

    def current() -> str:
        record = entry.catalog.load(entry.identifier)
        if record is None:
            raise NotFound(f"{entry.name}: the catalog has no such table")
        return record.metadata_location

    return current


def _open_source(spot: _Spot, access: Access | None) -> Store:
    """The store of a source. A place that names one object is seen as a folder that holds just that object."""
    store = spot.open(access)
    if next(iter(store.list()), None) is not None or not spot.url.key:
        return store
    folder = open_at(spot.url.parent, spot.via, access)
    return OneObject(folder, spot.url.name) if _is_object(folder, spot.url.name) else store


def _is_object(store: Store, name: str) -> bool:
    try:
        store.head(name)
    except NotFound:
        return False
    return True


def _receipts_beside(spot: _Spot, settings: Settings, access: Access | None) -> Store:
    """The store of receipts of a plain directory, whose listing is the table: ``_lake/<name>/`` beside it."""
    redirected = _redirected(spot, settings, access)
    if redirected is not None:
        return redirected
    if not spot.url.key:
        raise Config(
            f"{spot.url}: a whole bucket of plain files has no place beside it for receipts; set receipts = URL for its store"
        )
    return open_at(spot.url.parent.child(f"_lake/{spot.url.name}"), spot.via, access)


def _redirected(spot: _Spot, settings: Settings, access: Access | None) -> Store | None:
    """The store that ``receipts = URL`` of a named store asks for, one folder for each table."""
    if spot.via is None or spot.via.receipts is None:
        return None
    below = spot.url.key.removeprefix(parse(spot.via.url).key).strip("/")
    return open_at(*locate(f"{spot.via.receipts.rstrip('/')}/{below}", settings), access)


def _refuse_overlap(source: _Spot, target: _Spot) -> None:
    """Raise `Config` when one place lies in the other. Equal buckets of two services are two places."""
    if _service(source.via) != _service(target.via):
        return
    origin, there = _real(source.url), _real(target.url)
    if f"{origin}/".startswith(f"{there}/") or f"{there}/".startswith(f"{origin}/"):
        raise Config(f"{source.url} and {target.url}: one lies in the other; a replica needs a place of its own")


def _real(url: Url) -> str:
    """The address with links of this machine's file system followed."""
    return os.path.realpath(f"/{url.key}") if url.scheme == "file" else str(url)


def _service(named: StoreSettings | None) -> tuple[object, ...]:
    options = named.resolved_options() if named is not None else {}
    return tuple(options.get(key) for key in ("endpoint_url", "connection_string", "account_name"))
