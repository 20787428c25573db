"""The root of an Iceberg table opened by path: which metadata file is current, and its bytes.

Spec: "Table Metadata" and "File System Tables". Names in the wild: ``v3.metadata.json``, ``00003-<uuid>.metadata.json``, with
``.gz`` before or after ``.metadata.json``, and gzip content under a name that does not say so.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from lakehouse.checksum import sha256_hex
from lakehouse.errors import NotFound
from lakehouse.store import Store

__all__ = [
    "FOLDER",
    "HINT",
    "find_root",
    "first_of_catalogs",
    "hinted_names",
    "is_metadata_name",
    "mark",
    "mark_of",
    "metadata_listing",
    "number_of",
    "parse_metadata",
    "read_root",
]

FOLDER = "metadata"
_HINT_NAME = "version-hint.text"
HINT = f"{FOLDER}/{_HINT_NAME}"
_NAME = re.compile(r".+(\.metadata\.json(\.gz)?|\.gz\.metadata\.json)")
_NUMBER = re.compile(r"(?:v(\d+)|(\d+)-[^/]*?)(?:\.gz)?\.metadata\.json(?:\.gz)?")
_ENDINGS = (".metadata.json", ".gz.metadata.json", ".metadata.json.gz")
_SHOWN = 8
_MAX_BYTES = 1 << 30


def is_metadata_name(name: str) -> bool:
    """Whether ``name`` is that of a table metadata file."""
    return _NAME.fullmatch(name) is not None


def number_of(name: str) -> int | None:
    """The version number in a metadata file's name; None where it has none (``vfinal``, ``v3.1``)."""
    match = _NUMBER.fullmatch(name)
    return int(match[1] or match[2]) if match else None


def metadata_listing(store: Store, *, numbered: bool = False) -> dict[str, str]:
    """The metadata files in ``metadata/``, and the hint, each with a mark that is equal only while it is the same object.

    One listing of that folder alone; with ``numbered`` only of the names from ``v`` on, which lie behind the manifests.
    """
    after = f"{FOLDER}/v" if numbered else None
    listed = store.list(FOLDER, after=after, recursive=False)
    marks = ((info.path.rpartition("/")[2], f"{info.size}:{info.etag}") for info in listed)
    return {name: shown for name, shown in marks if is_metadata_name(name) or name == _HINT_NAME}


def first_of_catalogs(store: Store) -> Iterator[str]:
    """The names of the first metadata files that catalogs write: ``00000-…`` to ``00009-…``. One request, as hardly any
    manifest sorts between them.
    """
    for info in store.list(FOLDER, after=f"{FOLDER}/0000", recursive=False):
        if info.path >= f"{FOLDER}/0001":
            return
        if is_metadata_name(info.path.rpartition("/")[2]):
            yield info.path.rpartition("/")[2]


def mark(store: Store, path: str) -> str:
    """What tells that a metadata file is the same one, where its name does not (only ``v<N>`` may come again)."""
    if not path.rpartition("/")[2].startswith("v"):
        return ""
    info = store.head(path)
    return f"{info.size}:{info.etag}"


def mark_of(listing: Mapping[str, str], name: str) -> str:
    """What tells that the file ``name`` and the hint are the same as in another listing."""
    return f"{listing.get(name)} {listing.get(_HINT_NAME)}"


def hinted_names(hint: bytes) -> tuple[str, ...]:
    """The names that the content of a hint may stand for: a number, a name, or a name without its ending."""
    text = hint.decode(errors="replace").strip()
    if not text:
        return ()
    stems = (f"v{text}",) if text.isdecimal() else (text, f"v{text}")
    return (text, *(f"{stem}{ending}" for stem in stems for ending in _ENDINGS))


def find_root(store: Store, version: str | None = None) -> tuple[str, str]:
    """The path of the current metadata file, or of the one named (``v3.metadata.json``), and its mark (`mark_of`).

    With a hint that file, or the one to which commits lead on from it (`_followed`), unless another is newer; without,
    the highest number, when it is the only one of that number and its metadata-log names the file below it. Orphans of failed
    commits have higher numbers, and a hint may be stale, so any doubt raises `NotFound` with the candidates.
    """
    if version is not None:
        return _named(store, version.rpartition("/")[2])
    hint = _hint(store)
    try:
        return _current(store, hint)
    except NotFound:
        if (again := _hint(store)) == hint:
            raise
        return _current(store, again)  # a commit came between the two looks


def _current(store: Store, hint: bytes | None) -> tuple[str, str]:
    by_number = hint is not None and hint.strip().isdigit()
    listing = metadata_listing(store, numbered=by_number)
    names = sorted(name for name in listing if name != _HINT_NAME)
    if by_number:  # a table that a catalog took over keeps its last hint
        names += first_of_catalogs(store)
    if not names:
        raise NotFound(f"{store.url}: no Iceberg table here (metadata/ holds no *.metadata.json)")
    chosen = _hinted(store, names, hint) if hint is not None else _highest(store, names)
    return f"{FOLDER}/{chosen}", mark_of(listing, chosen)


def _named(store: Store, name: str) -> tuple[str, str]:
    listing = metadata_listing(store, numbered=name.startswith("v"))
    if name not in listing:
        there = sorted(other for other in metadata_listing(store) if other != _HINT_NAME)
        raise NotFound(f"{store.url}: has no metadata file {name}; there are {_shown(there)}")
    return f"{FOLDER}/{name}", mark_of(listing, name)


def _hint(store: Store) -> bytes | None:
    try:
        return store.get(HINT)
    except NotFound:
        return None


def _hinted(store: Store, names: list[str], hint: bytes) -> str:
    found = [name for name in hinted_names(hint) if name in names]
    if len(found) != 1:
        says = hint.decode(errors="replace").strip()[:80]
        raise _doubt(
            store, names, f"version-hint.text says {says!r}, " + ("two files have that name" if found else "which is not there")
        )
    number = number_of(found[0])
    newer = [name for name in names if number is not None and (number_of(name) or 0) > number]
    newest = _followed(store, found[0], newer)
    if newest is None:
        raise _doubt(store, names, f"version-hint.text names {found[0]}, and {_shown(newer)} is newer")
    return newest


def _followed(store: Store, hinted: str, newer: list[str]) -> str | None:
    """The newest of the files ``newer`` than the ``hinted`` one, where each follows the one before it by a commit; else None.

    Files called ``v<N>`` are made by an atomic rename or put: one that is there is committed, and the hint comes later (Iceberg's
    Hadoop tables read on from the hint in the same way). Other names may be those of commits that a catalog refused.
    """
    current = hinted
    for name in sorted(newer, key=lambda name: number_of(name) or 0):
        numbers = number_of(current), number_of(name)
        if not (current.startswith("v") and name.startswith("v")) or None in numbers or numbers[1] != (numbers[0] or 0) + 1:
            return None
        if _logged(store, name)[-1:] != [current]:
            return None
        current = name
    return current


def _logged(store: Store, name: str) -> list[str]:
    """The names of the metadata files before ``name``, oldest first, as that one states them."""
    log = parse_metadata(store.get(f"{FOLDER}/{name}"), f"{store.url}/{FOLDER}/{name}").get("metadata-log") or []
    return [str(entry.get("metadata-file", "")).rpartition("/")[2] for entry in log]


def _highest(store: Store, names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    numbered = sorted((number, name) for name in names if (number := number_of(name)) is not None)
    if len(numbered) != len(names):
        raise _doubt(store, names, "there is no version-hint.text, and not every name has a number")
    (below, lower), (number, name) = numbered[-2:]
    if below == number:
        raise _doubt(store, names, f"there is no version-hint.text, and {lower} and {name} have the same number")
    if lower not in _logged(store, name):
        raise _doubt(store, names, f"there is no version-hint.text, and {name} does not follow {lower}: a commit may have failed")
    return name


def _doubt(store: Store, names: list[str], why: str) -> NotFound:
    ordered = sorted(names, key=lambda name: (number_of(name) or 0, name), reverse=True)
    return NotFound(
        f"{store.url}: cannot tell which metadata file is current: {why}; name one of {_shown(ordered)} "
        f"({store.url}/{FOLDER}/{ordered[0]}), or take the table from its catalog"
    )


def _shown(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def read_root(store: Store, path: str) -> tuple[dict[str, Any], str]:
    """The metadata file at ``path`` as JSON, and the SHA-256 of its bytes as they lie there."""
    data = store.get(path)
    return parse_metadata(data, f"{store.url}/{path}"), sha256_hex(data)


def _unpacked(data: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        plain = file.read(_MAX_BYTES + 1)
    if len(plain) > _MAX_BYTES:
        raise ValueError("it is larger than any metadata")
    return plain


def parse_metadata(data: bytes, where: str) -> dict[str, Any]:
    """The JSON of a metadata file, unpacked where its content is gzip, whatever its name says.

    Raises `NotFound` for a damaged one.
    """
    try:
        found = json.loads(_unpacked(data) if data[:2] == b"\x1f\x8b" else data)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise NotFound(f"{where}: is no table metadata ({type(error).__name__}): it is damaged") from error
    if not isinstance(found, dict):
        raise NotFound(f"{where}: is no table metadata (not a JSON object): it is damaged")
    return found
