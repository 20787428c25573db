"""An Iceberg catalog without a server: its tables are the folders of a warehouse, and an entry is what lies in each.

``ns.t`` is the table at ``<warehouse>/ns/t``, one folder a level. Its root is the newest ``metadata/v<N>.metadata.json``. A
commit puts ``v<N+1>`` if nothing is there, which only one of several writers can do, and then ``version-hint.text``. DuckDB and
Spark read such a table by its place. Spec: Iceberg "File System Tables", with the conditional put of object stores for its
atomic rename.

In lake.toml: ``type = "storage"``, ``warehouse`` a URL or ``NAME:path``, and ``store = "NAME"`` where options are needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from lakehouse.below import Below
from lakehouse.catalog import TableRecord, identifier_parts, identifier_text
from lakehouse.connect import locate, open_at
from lakehouse.errors import Config, Conflict, NotFound, Unsupported
from lakehouse.formats.iceberg.root import FOLDER, HINT, metadata_listing, number_of, parse_metadata
from lakehouse.locations import canonical
from lakehouse.settings import CatalogSettings, Settings, StoreSettings
from lakehouse.store import ObjectInfo, Store
from lakehouse.url import Url, parse

__all__ = [
    "StorageCatalog",
    "StorageTable",
    "advance_hint",
    "current_root",
    "encoded",
    "following",
    "newest_from",
    "open_storage",
    "root_path",
]

_ROOT_NAME = re.compile(r"v(\d+)(?:\.gz)?\.metadata\.json(?:\.gz)?")
_UNFIT = re.compile(r"[/\\\x00-\x1f\x7f]|^\.{1,2}$|\.$|^_lake$")
_PREVIOUS_MAX = "write.metadata.previous-versions-max"
_PREVIOUS_MAX_DEFAULT = 100
_HINT_TRIES = 32


def open_storage(settings: CatalogSettings, store: StoreSettings | None) -> StorageCatalog:
    """Open a warehouse. Nothing is requested yet. Raises `Config` where ``warehouse`` is missing or leads nowhere."""
    options = settings.resolved_options()
    stated = options.pop("warehouse", None)
    if not isinstance(stated, str) or not stated:
        raise Config(f"catalog.{settings.name}: needs the key 'warehouse', a URL or NAME:path, where its tables lie")
    if options or settings.uri is not None:
        unknown = ", ".join(sorted([*options, *(["uri"] if settings.uri is not None else [])]))
        raise Config(f"catalog.{settings.name}: a catalog of type 'storage' has no key {unknown}; it has warehouse and store")
    known = Settings(stores={store.name: store} if store is not None else {})
    name, colon, rest = stated.partition(":")
    if colon and not rest.startswith("//") and name not in (*known.stores, "file"):
        raise Config(f"catalog.{settings.name}.warehouse: is {stated!r}; write store = {name!r} as well")
    url, named = locate(stated, known)
    if named is None and store is not None and parse(store.url).scheme == url.scheme:
        named = store
    return StorageCatalog(settings.name, open_at(url, named), named)


class StorageCatalog:
    """The Iceberg tables below the store ``warehouse``. ``via``: the named store whose options open other places of its scheme.

    A level of a namespace, or a table, whose name no folder can have is `Unsupported`. Writing needs `Traits.conditional_put`.
    """

    swaps: Literal["swap", "commit"] = "commit"

    def __init__(self, name: str, warehouse: Store, via: StoreSettings | None = None) -> None:
        self.name, self._warehouse, self._via = name, warehouse, via

    def table_store(self, identifier: str) -> Store:
        """The folder of the table of that name, whether there is one or not."""
        return Below(self._warehouse, "/".join(self._folders(*_table_parts(identifier))))

    def list(self, namespace: str) -> Iterator[str]:
        levels = identifier_parts(namespace)
        folder = "/".join(self._folders(*levels))
        for info in self._warehouse.list(folder, recursive=False):
            name = info.path.rstrip("/").rpartition("/")[2]
            is_folder = info.path.endswith("/") and not _UNFIT.search(name)
            if is_folder and _numbered(Below(self._warehouse, f"{folder}/{name}")):
                yield identifier_text([*levels, name])

    def load(self, identifier: str) -> TableRecord | None:
        store = self.table_store(identifier)
        found = current_root(store)
        return None if found is None else self._record(identifier, store, found[1], _read(store, found[1]))

    def default_location(self, identifier: str) -> str | None:
        return self.table_store(identifier).url

    def register(self, identifier: str, metadata_location: str) -> TableRecord:
        """Enter a copy of the metadata file as the table's first; one of the table's own folder keeps its number."""
        store = self.table_store(identifier)
        found = current_root(store)
        own = _path_below(store, metadata_location)
        if found is not None and own == found[1]:
            return self._record(identifier, store, found[1], _read(store, found[1]))
        data = self._fetched(store, metadata_location)
        metadata = parse_metadata(data, metadata_location)
        if not isinstance(metadata.get("location"), str):
            raise NotFound(f"{metadata_location}: is no Iceberg metadata: it states no location")
        number = max(1, number_of(own.rpartition("/")[2]) or 1) if own is not None else 1
        path = root_path(number)
        if found is None:
            self._refuse_nested(identifier)
            StorageTable(store, f"{self.name}:{identifier}").put(number, _plain(data, metadata))
        elif not _holds(store, path, _plain(data, metadata)):
            raise Conflict(
                f"{self.name}:{identifier} exists already with the metadata {store.url}/{found[1]}; {metadata_location} has not "
                "been registered"
            )
        return self._record(identifier, store, path, metadata)

    def swap(self, identifier: str, expected: str, metadata_location: str, metadata: dict[str, Any]) -> TableRecord:
        """Put ``metadata`` as the file after ``expected``, whose ``metadata-log`` it goes on with: a file of its own, whatever
        stands at ``metadata_location``.
        """
        del metadata_location
        store = self.table_store(identifier)
        root, made = StorageTable(store, f"{self.name}:{identifier}").swap(expected, metadata)
        return self._record(identifier, store, root, made)

    def close(self) -> None:
        """Stores hold no connection that needs an end."""

    def _refuse_nested(self, identifier: str) -> None:
        """A table within the folder of another one would be taken for that one's files."""
        levels, _ = _split(identifier)
        for depth in range(1, len(levels) + 1):
            if _numbered(Below(self._warehouse, "/".join(levels[:depth]))):
                raise Conflict(
                    f"{self.name}:{identifier}: {identifier_text(levels[:depth])} is the folder of a table, not of a namespace; "
                    "choose another name"
                )

    def _record(self, identifier: str, store: Store, path: str, metadata: Mapping[str, Any]) -> TableRecord:
        uuid = metadata.get("table-uuid")
        location = metadata.get("location")
        if not isinstance(location, str):
            raise NotFound(f"{store.url}/{path}: is no Iceberg metadata: it states no location")
        text = identifier_text(_table_parts(identifier))
        return TableRecord(text, f"{store.url}/{path}", location, None if uuid is None else str(uuid))

    def _fetched(self, store: Store, address: str) -> bytes:
        for place in (store, self._warehouse):
            path = _path_below(place, address)
            if path is not None:
                return place.get(path)
        url = parse(address)
        via = self._via if self._via is not None and parse(self._via.url).scheme == url.scheme else None
        return open_at(Url(url.scheme, url.authority, url.key.rpartition("/")[0]), via).get(url.name)

    def _folders(self, *parts: str) -> tuple[str, ...]:
        for part in parts:
            if _UNFIT.search(part):
                raise Unsupported(
                    f"catalog {self.name}: {part!r} cannot be the name of a folder, as tables and levels of namespaces are here"
                )
        return parts


class StorageTable:
    """One table whose root is the newest ``v<N>.metadata.json`` in its folder ``store``. ``name``: how errors name it."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name

    def put(self, number: int, data: bytes) -> ObjectInfo:
        """Put the metadata file of that number, and the hint. This is the commit: of several writers one can.

        Raises `Conflict` where it is there already, `Unsupported` where a store cannot tell. A lost reply is settled by reading
        back (`lakehouse.retry`).
        """
        if not self._store.traits.conditional_put:
            raise Unsupported(
                f"{self._name}: {self._store.url} has no conditional put, so one of two writers would erase the other's commit; "
                "use a store that has it, or a catalog of another type"
            )
        info = self._store.put(root_path(number), data, size=len(data), if_absent=True)
        advance_hint(self._store, number)
        return info

    def swap(self, expected: str, metadata: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Put ``metadata`` as the file after the one at the address ``expected``; its path, and its content.

        One that was put already is success. Raises `Conflict` where ``expected`` is not the newest.
        """
        store, path = self._store, _path_below(self._store, expected)
        found, number = current_root(store), None if path is None else _root_number(path)
        if found is None or path is None or number is None or number > found[0]:
            raise self._moved(found, expected)
        try:
            made = following(metadata, f"{store.url}/{path}", _read(store, path))
        except NotFound:
            raise self._moved(found, expected) from None
        data, root = encoded(made), root_path(number + 1)
        if found[0] == number:
            try:
                self.put(number + 1, data)
                return root, made
            except Conflict:
                found = current_root(store)
        if not _holds(store, root, data):
            raise self._moved(found, expected)
        advance_hint(store, number + 1)
        return root, made

    def _moved(self, found: tuple[int, str] | None, expected: str) -> Conflict:
        now = f"is at {self._store.url}/{found[1]}" if found is not None else "is gone"
        return Conflict(
            f"{self._name} {now}, not at {expected} any more: another writer committed or dropped it there; nothing was "
            "overwritten"
        )


def root_path(number: int) -> str:
    """The path of the metadata file of that number, below the table."""
    return f"{FOLDER}/v{number}.metadata.json"


def current_root(store: Store) -> tuple[int, str] | None:
    """The number and the path of the newest ``v<N>.metadata.json``; None where there is none.

    The hint is never believed: a commit that died before it wrote one, or a late writer, leaves it behind, so the files are
    counted upwards from it. Raises `NotFound` where files are missing: the one that it names, or any after it.
    """
    try:
        hint = store.get(HINT).decode(errors="replace").strip()
    except NotFound:
        hint = None
    names = _numbered(store)
    if not names:
        return None
    newest = max(names)
    if hint is not None and not (hint.isdecimal() and int(hint) in names):
        raise NotFound(f"{store.url}: {HINT} says {hint[:80]!r}, which is not there (newest is v{newest}): the table is damaged")
    missing = set(range(int(hint) if hint is not None else min(names), newest)) - names.keys()
    if missing:
        raise NotFound(f"{store.url}: {root_path(min(missing))} is missing below v{newest}: the table is damaged")
    return newest, f"{FOLDER}/{names[newest]}"


def advance_hint(store: Store, number: int) -> None:
    """Make ``version-hint.text`` say ``number`` or more: the newest there is.

    It is looked at again after each put, since a late writer may have put an older number over a newer one; whoever wrote last
    sees that. Readers that believe it blindly see an older version meanwhile, never a wrong one.
    """
    wanted = number
    for _ in range(_HINT_TRIES):
        if hinted(store) < wanted:
            text = str(wanted).encode()
            store.put(HINT, text, size=len(text))
        newest = newest_from(store, wanted)
        if newest == wanted and hinted(store) >= wanted:
            return
        wanted = newest


def newest_from(store: Store, number: int) -> int:
    """The number of the newest ``v<N>.metadata.json``, counted upwards from ``number``, which is there."""
    while _is_there(store, root_path(number + 1)):
        number += 1
    return number


def _is_there(store: Store, path: str) -> bool:
    try:
        store.head(path)
    except NotFound:
        return False
    return True


def hinted(store: Store) -> int:
    """The number in the hint; 0 where there is none, or none that is a number."""
    try:
        text = store.get(HINT).strip()
    except NotFound:
        return 0
    return int(text) if text.isdigit() else 0


def _numbered(store: Store) -> dict[int, str]:
    """The names of the files ``v<N>.metadata.json``, packed or not, by their number.

    Raises `NotFound` where two files have one number.
    """
    found: dict[int, str] = {}
    for name in metadata_listing(store, numbered=True):
        match = _ROOT_NAME.fullmatch(name)
        if match is None:
            continue
        other = found.setdefault(int(match[1]), name)
        if other != name:
            raise NotFound(f"{store.url}/{FOLDER}: {other} and {name} have one number, so no one can tell which is current")
    return found


def _path_below(store: Store, address: str) -> str | None:
    """The path of ``address`` in ``store``, or None for what lies elsewhere."""
    folder, stated = canonical(store.url), canonical(address)
    return stated[len(folder) + 1 :] if stated.startswith(f"{folder}/") else None


def _root_number(path: str) -> int | None:
    folder, _, name = path.rpartition("/")
    match = _ROOT_NAME.fullmatch(name)
    return int(match[1]) if match and folder == FOLDER else None


def _read(store: Store, path: str) -> dict[str, Any]:
    return parse_metadata(store.get(path), f"{store.url}/{path}")


def _holds(store: Store, path: str, data: bytes) -> bool:
    try:
        return store.get(path) == data
    except NotFound:
        return False


def encoded(metadata: Mapping[str, Any]) -> bytes:
    """``metadata`` as a metadata file has it."""
    return json.dumps(metadata, ensure_ascii=False).encode()


def _plain(data: bytes, metadata: Mapping[str, Any]) -> bytes:
    """``data`` as it is, or what it holds where it is packed: the names here say that nothing is."""
    return encoded(metadata) if data[:2] == b"\x1f\x8b" else data


def following(metadata: Mapping[str, Any], address: str, base: Mapping[str, Any]) -> dict[str, Any]:
    """``metadata`` with the log of ``base``, which stands at ``address``, and that file at its end. As many are kept as the
    table's properties say.
    """
    log = [*(base.get("metadata-log") or ()), {"metadata-file": address, "timestamp-ms": base.get("last-updated-ms", 0)}]
    stated = str((metadata.get("properties") or {}).get(_PREVIOUS_MAX, ""))
    kept = max(1, int(stated)) if stated.isdecimal() else _PREVIOUS_MAX_DEFAULT
    return {**metadata, "metadata-log": log[-kept:]}


def _split(identifier: str) -> tuple[tuple[str, ...], str]:
    """The namespace's levels and the table's name. Raises `Config` for an identifier without a namespace."""
    *levels, table = identifier_parts(identifier)
    if not levels:
        raise Config(f"{identifier}: names no namespace; write namespace.table")
    return tuple(levels), table


def _table_parts(identifier: str) -> tuple[str, ...]:
    levels, table = _split(identifier)
    return (*levels, table)
