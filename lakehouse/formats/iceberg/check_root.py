"""Whether readers of an Iceberg table are led to its newest metadata file, and the earlier ones can be read.

Iceberg table spec, "Table Metadata" and "File System Tables".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.root import FOLDER, HINT, hinted_names, metadata_listing, number_of, parse_metadata
from lakehouse.formats.iceberg.version import IcebergVersion
from lakehouse.locations import is_address
from lakehouse.reading.examine import Examination, Flaw
from lakehouse.store import Store

__all__ = ["earlier_roots", "root_flaws"]


def root_flaws(store: Store) -> Iterator[Flaw]:
    """What leads readers by path elsewhere than to the newest metadata file. Kinds: ``hint``, ``metadata``.

    Metadata files of a catalog (``<N>-<uuid>``) may share a number with those that its failed commits left; ``v<N>`` may not.
    """
    names = [name for name in metadata_listing(store) if name != HINT.rpartition("/")[2]]
    numbers = Counter(number for name in names if name.startswith("v") and (number := number_of(name)) is not None)
    for number, count in sorted(numbers.items()):
        if count > 1:
            first, *others = sorted(name for name in names if name.startswith("v") and number_of(name) == number)
            yield Flaw("metadata", f"{FOLDER}/{others[0]}", f"has the number of {first}: readers take the one or the other")
    try:
        hint = store.get(HINT)
    except NotFound:
        return
    says = hint.decode(errors="replace").strip()[:80]
    named = [name for name in hinted_names(hint) if name in names]
    if not named:
        yield Flaw("hint", HINT, f"says {says!r}, and no metadata file of that name is there")
        return
    newest = max(names, key=lambda name: number_of(name) or 0)
    if (number_of(newest) or 0) > (number_of(named[0]) or 0):
        yield Flaw("hint", HINT, f"says {says!r}, and {newest} is newer: readers by path see an old version")


def earlier_roots(store: Store, version: IcebergVersion) -> Iterator[Examination]:
    """The metadata files of the metadata-log, each to be read. One that was cleaned up is no part of the table any more."""
    log = version.metadata.get("metadata-log") or ()
    inside = {
        version.locations.read(entry["metadata-file"]): entry
        for entry in log
        if isinstance(entry.get("metadata-file"), str) and version.locations.is_inside(entry["metadata-file"])
    }
    for path in inside:
        if not is_address(path) and path != version.root:
            yield Examination(path, partial(_earlier, store, version, path))


def _earlier(store: Store, version: IcebergVersion, path: str, _deep: bool) -> list[Flaw]:
    try:
        data = store.get(path)
    except NotFound:
        return []
    try:
        metadata = parse_metadata(data, path)
    except NotFound as error:
        return [Flaw("unreadable", path, str(error))]
    if metadata.get("table-uuid") not in (version.table_id, None):
        return [Flaw("metadata", path, f"is of the table {metadata['table-uuid']}, {version.root} is of {version.table_id}")]
    return []
