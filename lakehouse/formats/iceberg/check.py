"""What is wrong with an Iceberg table: its metadata held against itself, and every file of every retained snapshot once.

Top down: the metadata file and what leads to it, manifest lists, manifests, data files as their manifests are read; delete files
after all of these, since they name data files; then what the snapshots' summaries say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from operator import add
from typing import Any

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.check_deletes import Deletes
from lakehouse.formats.iceberg.check_files import Files
from lakehouse.formats.iceberg.check_lists import Lists, read_lists
from lakehouse.formats.iceberg.check_manifests import Found, Manifests, Totals
from lakehouse.formats.iceberg.check_metadata import metadata_flaws
from lakehouse.formats.iceberg.check_places import Places
from lakehouse.formats.iceberg.check_root import earlier_roots, root_flaws
from lakehouse.formats.iceberg.check_values import Column, columns_of
from lakehouse.formats.iceberg.check_vectors import puffin_flaws
from lakehouse.formats.iceberg.partitioning import specs_of
from lakehouse.formats.iceberg.version import IcebergVersion
from lakehouse.reading.examine import Examination, Flaw
from lakehouse.reading.examined import data_file
from lakehouse.store import Store

__all__ = ["flaws_of"]

_MAPPING = "schema.name-mapping.default"
_SUMMARY = {
    "total-data-files": "data_files",
    "total-delete-files": "delete_files",
    "total-records": "records",
    "total-position-deletes": "position_deletes",
    "total-equality-deletes": "equality_deletes",
    "total-files-size": "size",
}


def flaws_of(store: Store, version: IcebergVersion) -> Iterator[Flaw | Examination]:
    """See `TableFormat.check`; docs/check.md has the kinds of flaws."""
    yield from metadata_flaws(version)
    if version.terms.root is None:
        yield from root_flaws(store)
    yield from earlier_roots(store, version)
    try:
        columns, specs = _columns(version.metadata), specs_of(version.metadata, version.root)
    except (NotFound, KeyError, TypeError, AttributeError) as error:
        yield Flaw("metadata", version.root, f"has schemas or partition specs that cannot be read ({error!r})")
        return
    places, lists = Places(version), Lists()
    yield from read_lists(store, version, specs, places, lists)
    manifests = Manifests(store, version, lists, specs, columns)
    files = Files(store, columns, specs, _MAPPING in (version.metadata.get("properties") or {}))
    for seen in manifests.look():
        yield files.examination(*seen) if isinstance(seen, tuple) else seen
    known = len(lists.whole) == len(version.snapshots) and manifests.found.totals.keys() == lists.manifests.keys()
    retained = frozenset(snapshot.id for snapshot in version.snapshots if known)
    yield from Deletes(store, files, places, manifests.found, retained).examinations()
    yield from _summaries(version, lists, manifests.found)
    yield from _statistics(store, version, places)


def _columns(metadata: Mapping[str, Any]) -> dict[int, Column]:
    schemas = [*(metadata.get("schemas") or ())] or [metadata.get("schema") or {}]
    current = metadata.get("current-schema-id")
    return columns_of(sorted(schemas, key=lambda schema: (schema.get("schema-id") == current, schema.get("schema-id") or 0)))


def _summaries(version: IcebergVersion, lists: Lists, found: Found) -> Iterator[Flaw]:
    """Totals of a summary, where its writer states them, are those of the snapshot's live entries.

    A file of position deletes that is rewritten for another place has another size there, so then sizes are not compared.
    """
    sums = [[0] * len(Totals._fields) for _ in version.snapshots]
    unknown = set(range(len(sums))) - lists.whole
    for path, listed in lists.manifests.items():
        totals = found.totals.get(path)
        for number in _bits(listed.snapshots):
            if totals is None:
                unknown.add(number)
            else:
                sums[number] = list(map(add, sums[number], totals))
    for number, raw in enumerate(version.metadata.get("snapshots") or ()):
        there = Totals(*sums[number])
        for key, name in _SUMMARY.items() if number not in unknown else ():
            stated, real = str((raw.get("summary") or {}).get(key, "")), getattr(there, name)
            if not stated.isdecimal() or int(stated) == real or (name == "size" and there.position_deletes):
                continue
            text = f"its snapshot {raw['snapshot-id']} has {key} {stated}, its manifests hold {real}"
            yield Flaw("summary", version.root, text)


def _bits(mask: int) -> Iterator[int]:
    """The numbers of the bits that are set."""
    text = bin(mask)[:1:-1]
    at = text.find("1")
    while at >= 0:
        yield at
        at = text.find("1", at + 1)


def _statistics(store: Store, version: IcebergVersion, places: Places) -> Iterator[Flaw | Examination]:
    """Statistics (Puffin) and partition statistics: what is stated of them is there."""
    for key in ("statistics", "partition-statistics"):
        for raw in version.metadata.get(key) or ():
            path, flaws = places.metadata(raw["statistics-path"], version.root)
            yield from flaws
            size = raw.get("file-size-in-bytes") or 0
            if path is not None:
                yield Examination(path, partial(_statistics_file, store, path, size, key))


def _statistics_file(store: Store, path: str, size: int, key: str, deep: bool) -> list[Flaw]:
    if key == "statistics":
        return puffin_flaws(store, path, size)
    kind = path.rpartition(".")[2]
    if kind == "orc":
        return data_file(store, path, size or None, "orc", deep=deep)
    return data_file(store, path, size or None, "avro" if kind == "avro" else "parquet", deep=deep)
