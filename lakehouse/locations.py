"""Where the files that a table states lie, and where they go. Pure: nothing is opened here.

A table states addresses: Iceberg whole ones everywhere, Delta some. They are text of an earlier day: the table may have been
moved since, or state one place in several spellings. Two maps follow from what is stated:

* the *read map*: a table opened by path is where the path says, so what is stated below its location lies below SOURCE; what
  is stated elsewhere in SOURCE's own bucket (local: SOURCE's parent folder) lies where it is stated; the rest as ``--map``
  says, or where it is stated when ``--allow-external`` permits that;
* the *write map*: what is stated below the location keeps its relative path; everything else goes to
  ``ext/<hash of the stated path>/<base name>``, a pure function of the stated path (whatever is mapped), so that every
  reference to a file in every run finds the same name.

Prefixes are compared literally, on a segment boundary, the longest wins; only the prefix of a path is ever replaced.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from lakehouse.checksum import sha256_hex
from lakehouse.errors import Unsupported
from lakehouse.url import parse

__all__ = ["Locations", "Place", "canonical", "is_address"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfs": "abfss"}
_OURS = re.compile(r"(_lake|_delta_log)(/.*)?|metadata/(version-hint\.text|.*\.metadata\.json(\.gz)?)", re.DOTALL)
"""Names by which readers find a table, and syncs their receipts: no data file may have one."""
_DOUBTFUL = ("/", ".", "_lake", "_delta_log", "metadata/")
_MAX_HEADS = 16
_WASB = re.compile(r"wasbs?://([^@/]+)@([^./]+)\.blob\.", re.IGNORECASE)


def is_address(path: str) -> bool:
    """Whether ``path`` is a whole address and not a path below something."""
    return _SCHEME.match(path) is not None


def canonical(stated: str) -> str:
    """``stated`` spelled one way, for comparing: scheme aliases resolved, local paths as ``file:///…``, leading ``./`` dropped.

    Only the head of the text changes, never its end, and nothing is decoded. A relative path stays relative.
    """
    wasb = _WASB.match(stated)
    if wasb is not None:
        return f"abfss://{wasb[1]}@{wasb[2]}.dfs.{stated[wasb.end() :]}"
    match = _SCHEME.match(stated)
    if match is not None and match[1].lower() != "file":
        scheme = match[1].lower()
        return f"{_ALIASES.get(scheme, scheme)}://{stated[match.end() :]}"
    path = stated
    if match is not None:
        path = stated[match.end() :]
        path = path.removeprefix("localhost") if path.startswith("localhost/") else path
    elif stated[:5].lower() == "file:":
        path = stated[5:]
    if path.startswith("/"):
        return "file:///" + path.lstrip("/")
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    return path


class Place(NamedTuple):
    """``read``: a path below SOURCE, or a whole address. ``write``: a path below TARGET."""

    read: str
    write: str


@dataclass(frozen=True)
class Locations:
    """The read map and the write map of one table.

    ``source``: the address of SOURCE. ``target``: the address of TARGET as it is written into metadata. ``table``: the location
    that the table itself states ("" where its format states none). ``maps``: (stated, actual) of each ``--map``; ``external``:
    the prefixes that ``--allow-external`` permits. ``heads`` collects the spellings of the table's location that were met.
    """

    source: str
    target: str = ""
    table: str = ""
    maps: tuple[tuple[str, str], ...] = ()
    external: tuple[str, ...] = ()
    heads: set[str] = field(default_factory=set, compare=False)
    _roots: tuple[str, ...] = field(init=False, compare=False, repr=False)
    _plain_heads: list[str] = field(default_factory=list, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        stated = (canonical(self.table).rstrip("/"),) if self.table else ()
        object.__setattr__(self, "_roots", (*stated, canonical(self.source)))

    def stated_at(self, location: str) -> Locations:
        """The same maps for a table that states ``location`` as its own."""
        return replace(self, table=location, heads=set())

    def digest(self) -> str:
        """The SHA-256 of the read map as far as the user chose it; "" when nothing was mapped."""
        return sha256_hex(json.dumps(sorted(self.maps)).encode()) if self.maps else ""

    def place(self, stated: str) -> Place:
        """Where the file of that stated path lies, and where it goes.

        Raises `Unsupported` for a path that leads out of the table by ``..``, for a name that is ours at the target, and for what
        nothing permits to read.
        """
        path = self._plain(stated)
        return Place(self.read(stated), self.write(stated)) if path is None else Place(path, path)

    def read(self, stated: str) -> str:
        """Where it lies: a path below SOURCE, or a whole address. Raises `Unsupported` as `place` does."""
        if (path := self._plain(stated)) is not None:
            return path
        inside, mapped = self._found(stated)
        if ".." in (mapped or canonical(stated)).split("/"):
            raise self._leaves(stated)
        if mapped is not None:
            return _plain(_named(self._readable(mapped), self.source))
        if inside is not None:
            return _named(inside, self.source)
        return _plain(self._readable(self._permitted(stated, canonical(stated))))

    def write(self, stated: str) -> str:
        """Where it goes: a path below TARGET. What is only named, and never read, needs no permission.

        Raises `Unsupported` for a path that leads out of the table, that has a name that is ours there, or that an object store's
        clients cannot address (empty segments and ``.``, which a file system passes over).
        """
        if (plain := self._plain(stated)) is not None:
            return plain
        inside, _ = self._found(stated)
        if inside is None:
            return self._outside(stated)
        path = _segments(inside)
        if not path or _OURS.fullmatch(path):
            raise Unsupported(f"{self.source}: states {stated!r} as a file of the table, which cannot be carried under that name")
        if path != inside.lstrip("/") and not self.target.startswith("file:"):
            raise Unsupported(f"{self.source}: states {stated!r}, whose empty or '.' segments cannot be kept in {self.target}")
        return path

    def _outside(self, stated: str) -> str:
        address = canonical(stated)
        base = address.rpartition("/")[2]
        if not base or ".." in address.split("/"):
            raise Unsupported(f"{self.source}: states the path {stated!r}, which names no file; it is not followed")
        return f"ext/{sha256_hex(address.encode())[:32]}/{base}"

    def address(self, stated: str) -> str:
        """The whole address that the target's metadata states for that path: only its prefix is replaced, the rest is kept.

        Raises as `write` does.
        """
        if (plain := self._plain(stated)) is not None:
            return f"{self.target}/{plain}"
        inside, _ = self._found(stated)
        path = self.write(stated)
        return f"{self.target}/{path if inside is None else inside.lstrip('/')}"

    def _plain(self, stated: str) -> str | None:
        """The path of a file of the table that is read and written under one name; None for whatever needs a closer look.

        Nearly every path of a table is like this: it begins with a spelling of the location that was met before and read plainly,
        and goes on in segments that neither a file system nor we give a meaning.
        """
        for head in self._plain_heads:
            if stated.startswith(head):
                path = stated[len(head) :]
                if not path or path.startswith(_DOUBTFUL) or path[-1] == "/" or "//" in path or "/." in path:
                    return None
                return path
        return None

    def _found(self, stated: str) -> tuple[str | None, str | None]:
        """The rest of the path when the file is one of the table, and where ``--map`` says it lies."""
        address = canonical(stated)
        inside, mapped = self._rest_inside(address), self._mapped(address)
        if inside is None:
            return None, mapped
        if address.startswith(f"{self._roots[0]}/") and stated.endswith(f"/{inside}") and len(self.heads) < _MAX_HEADS:
            self._met(stated[: len(stated) - len(inside)])
        if ".." in inside.split("/"):
            raise self._leaves(stated)
        return inside, mapped

    def _met(self, head: str) -> None:
        """Takes down a spelling of the table's location, which ends in a slash; it reads plainly where only the rest decides."""
        self.heads.add(head)
        root = self._roots[0]
        if self.maps or head in self._plain_heads or ".." in root.split("/"):
            return
        if canonical(f"{head}x") == f"{root}/x":
            self._plain_heads.append(head)

    def is_inside(self, stated: str) -> bool:
        """Whether ``stated`` is the table's location or lies below it."""
        address = canonical(stated).rstrip("/")
        return any(address == root or _below(address, root) is not None for root in self._roots)

    def directory(self, stated: str) -> str:
        """The address at the target of a folder that is the table's location or lies below it."""
        address = canonical(stated).rstrip("/")
        rests = (_below(address, root) for root in self._roots)
        rest = next((rest for rest in rests if rest is not None), "")
        return f"{self.target}/{rest}" if rest else self.target

    def is_mentioned(self, text: str) -> bool:
        """Whether ``text`` holds the table's location, or an address of SOURCE, somewhere."""
        return any(is_address(place) and place in text for place in (self.table.rstrip("/"), *self._roots))

    def _rest_inside(self, address: str) -> str | None:
        for root in self._roots:
            rest = _below(address, root)
            if rest is not None:
                return rest
        return None

    def _leaves(self, stated: str) -> Unsupported:
        return Unsupported(f"{self.source}: states the path {stated!r}, whose '..' may leave the table; it is not followed")

    def _mapped(self, address: str) -> str | None:
        """``address`` with the longest ``--map`` applied; None where none does."""
        found: tuple[int, str] | None = None
        for stated, actual in self.maps:
            prefix = canonical(stated).rstrip("/")
            rest = "" if address == prefix else _below(address, prefix)
            if rest is not None and (found is None or len(prefix) > found[0]):
                found = len(prefix), f"{actual.rstrip('/')}/{rest}" if rest else actual
        return found[1] if found else None

    def _readable(self, read: str) -> str:
        """``read`` as a path of the source's store: relative where it lies below SOURCE."""
        rest = _below(canonical(read), canonical(self.source))
        return read if rest is None else rest

    def _permitted(self, stated: str, address: str) -> str:
        """``address`` itself, where a table may state files without being asked, or where the user permitted it."""
        own = parse(self.source)
        if is_address(address):
            near = (
                f"file:///{own.key.rpartition('/')[0]}".rstrip("/") if own.scheme == "file" else f"{own.scheme}://{own.authority}"
            )
            remote_file = address.startswith("file:") and own.scheme != "file"
            allowed = () if remote_file else tuple(canonical(prefix).rstrip("/") for prefix in self.external)
            if any(_below(address, prefix) is not None for prefix in (near, *allowed)):
                return address
        head = address.rpartition("/")[0]
        raise Unsupported(
            f"{self.source}: states the file {stated!r}, outside the table and outside its bucket; say where it lies with "
            f"--map {head}=ACTUAL" + (f", or permit it with --allow-external {head}" if is_address(address) else "")
        )


def _named(path: str, store: str) -> str:
    """``path`` as the store at that address takes it: a file system knows no empty segments and no ``.``; keys may have them."""
    return path if is_address(path) or not store.startswith("file:") else _segments(path)


def _plain(path: str) -> str:
    """An address of a file system without the segments that it passes over."""
    return f"file:///{_segments(path.removeprefix('file:///'))}" if path.startswith("file:///") else path


def _segments(path: str) -> str:
    """``path`` without empty segments and ``.``."""
    if "//" not in path and "./" not in path and path[:1] != "/" and path[-1:] != ".":
        return path
    return "/".join(segment for segment in path.split("/") if segment not in ("", "."))


def _below(address: str, root: str) -> str | None:
    """The rest of ``address`` below ``root``, on a segment boundary."""
    return address[len(root) + 1 :] if address.startswith(f"{root}/") else None
