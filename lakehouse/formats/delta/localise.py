"""Absolute paths in a log, and the relative ones that a replica has in their place.

A shallow clone or a converted table names files of other tables: in adds, removes and cdc actions, and deletion vectors of
storage type ``p`` (PROTOCOL.md, "Add File and Remove File", "Deletion Vector Descriptor Schema"). They are carried below the
target, and the log there names them relatively. The name is a pure function of the stated path (`lakehouse.locations`), so a
remove finds the name that its add got, whatever run brought it.
"""

from __future__ import annotations

import re
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, unquote

from lakehouse.checksum import sha256_hex
from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.delta.actions import is_absolute
from lakehouse.formats.delta.localise_checkpoint import localised_parquet
from lakehouse.formats.delta.localise_json import localised_checksum_file, localised_stream
from lakehouse.formats.delta.log import HINT, LOG, SIDECARS
from lakehouse.formats.delta.vectors import z85_encode
from lakehouse.locations import Locations, Place, canonical, is_address
from lakehouse.store import ObjectInfo, Store
from lakehouse.wrapped import Wrapped

__all__ = ["Localised", "Localiser", "as_stored", "size_at_replica"]

_VECTOR_FILE = re.compile(r"(?:(.+)/)?deletion_vector_([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.bin")
_UNENCODED = "/=+@!$&'()*,;~"
_KEPT_BYTES = 64 * 2**20
"""How many bytes of rewritten checkpoints are held, so that reading one twice does not write it twice."""


@dataclass
class Localiser:
    """What becomes of the absolute paths of one table. ``origins``: name at the target → where that file is read.

    ``names_only``: no file is going to be read, so a path that nothing permits to read has a name too.
    """

    locations: Locations
    names_only: bool = False
    origins: dict[str, str] = field(default_factory=dict)
    clean: set[str] = field(default_factory=set)
    rewritten: set[str] = field(default_factory=set)
    _kept: OrderedDict[str, bytes] = field(default_factory=OrderedDict)

    def action(self, where: str, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        """One action as a replica has it; the same object where it states nothing absolute.

        Raises `Unsupported` for a path that nothing permits to read, or that leads out of the table.
        """
        if kind not in ("add", "remove", "cdc"):
            return fields
        changed: dict[str, Any] = {}
        if isinstance(path := fields.get("path"), str) and is_absolute(path):
            changed["path"] = self.path(where, path)
        vector = fields.get("deletionVector") or {}
        if vector.get("storageType") == "p":
            stated = self.vector(where, vector.get("pathOrInlineDv"))
            changed["deletionVector"] = {**vector, "storageType": "u", "pathOrInlineDv": stated}
        return {**fields, **changed} if changed else fields

    def path(self, where: str, stated: str) -> str:
        """The relative path, URI-encoded, that stands for an absolute one."""
        place = self._place(where, _decoded(where, stated))
        self._note(place.write, place.read)
        return quote(place.write, safe=_UNENCODED)

    def vector(self, where: str, stated: object) -> str:
        """The prefix and UUID of a ``u`` vector that stand for the absolute path of a ``p`` one.

        A file of the table keeps its name where that name has a UUID in it; any other becomes
        ``ext/deletion_vector_<uuid>.bin``, the UUID being the first half of the SHA-256 of the stated path.
        """
        if not isinstance(stated, str) or not is_absolute(stated):
            raise Unsupported(f"{where}: a deletion vector at the path {stated!r}, which is not absolute as its type 'p' says")
        decoded = _decoded(where, stated)
        place = self._place(where, decoded)
        named = _VECTOR_FILE.fullmatch(place.write)
        if named is not None and not is_address(place.read):
            self._note(place.write, place.read)
            return f"{named[1] or ''}{z85_encode(uuid.UUID(named[2]).bytes)}"
        unique = uuid.UUID(hex=sha256_hex(canonical(decoded).encode())[:32])
        self._note(f"ext/deletion_vector_{unique}.bin", place.read)
        return f"ext{z85_encode(unique.bytes)}"

    def _place(self, where: str, path: str) -> Place:
        try:
            return self.locations.place(path)
        except Unsupported as error:
            if self.names_only:
                return Place(path, f"ext/{sha256_hex(canonical(path).encode())[:32]}/{path.rpartition('/')[2]}")
            raise Unsupported(f"{error} (stated by {where.rpartition(': ')[2]})") from None

    def _note(self, write: str, read: str) -> None:
        if read != write:
            self.origins[write] = read

    def content(self, store: Store, path: str, data: bytes) -> bytes:
        """``data``, the object of the log at ``path`` in ``store``, as a replica has it."""
        if path in self.clean or not path.startswith(f"{LOG}/") or path == HINT:
            return data
        if path in self._kept:
            return self._kept[path]
        where = f"{store.url}: {path}"
        if path.endswith(".crc"):
            changed = localised_checksum_file(where, data, self.action)
        elif path.endswith(".json"):
            changed = localised_stream(where, data, self.action, lambda name: self._sidecar_size(store, name))
        elif path.endswith(".parquet"):
            changed = localised_parquet(where, data, self, lambda name: self._sidecar_size(store, name))
        else:
            return data
        if changed is None:
            self.clean.add(path)
            return data
        self.rewritten.add(path)
        if path.endswith(".parquet"):
            self._keep(path, changed)
        return changed

    def _sidecar_size(self, store: Store, name: str) -> int | None:
        """The size that sidecar ``name`` has at a replica; None where it is carried as it is."""
        path = f"{SIDECARS}/{name}"
        try:
            size = len(self.content(store, path, store.get(path)))
        except NotFound:
            return None
        return size if path in self.rewritten else None

    def _keep(self, path: str, data: bytes) -> None:
        self._kept[path] = data
        while len(self._kept) > 1 and sum(map(len, list(self._kept.values()))) > _KEPT_BYTES:
            self._kept.popitem(last=False)


def _decoded(where: str, stated: str) -> str:
    try:
        return unquote(stated, errors="strict")
    except UnicodeDecodeError as error:
        raise Unsupported(f"{where}: the path {stated!r} is not encoded UTF-8") from error


class Localised(Wrapped):
    """``store`` with the log that a replica of its table has: objects that state absolute paths read as rewritten.

    Listings show the sizes of the source's own objects; `size_at_replica` tells the others.
    """

    def __init__(self, store: Store, localiser: Localiser) -> None:
        super().__init__(store)
        self.stored, self.localiser = store, localiser

    def head(self, path: str) -> ObjectInfo:
        info = super().head(path)
        return replace(info, size=len(self.get(path))) if self._may_differ(path) else info

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        if not self._may_differ(path):
            return super().get(path, start=start, end=end, if_match=if_match)
        return self.localiser.content(self.stored, path, self.stored.get(path, if_match=if_match))[start:end]

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        if not self._may_differ(path):
            return super().view(path, start=start, end=end, if_match=if_match)
        return memoryview(self.get(path, start=start, end=end, if_match=if_match))

    def is_rewritten(self, path: str) -> bool:
        """Whether the object at ``path``, which was read before, differs from the source's."""
        return path in self.localiser.rewritten

    def _may_differ(self, path: str) -> bool:
        return path.startswith(f"{LOG}/") and path != HINT and path not in self.localiser.clean


def as_stored(store: Store) -> tuple[Store, Localiser | None]:
    """The store below a `Localised`, for reading parts of large objects, and what its actions must go through then."""
    return (store.stored, store.localiser) if isinstance(store, Localised) else (store, None)


def size_at_replica(store: Store, info: ObjectInfo) -> int:
    """The size in bytes that the object of ``store``'s log has at a replica; reads the object where that is not known."""
    return store.head(info.path).size if isinstance(store, Localised) else info.size
