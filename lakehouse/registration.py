"""A table's entry in a catalog, and how it comes to stand at what a sync published.

For a target that *is* a catalog's table, entering the new root is the publish; ``--register`` enters what was published by path.

A catalog that writes metadata files of its own (`Catalog.swaps` is ``commit``) answers with the address of one. It is noted
beside the receipts, in ``entries/<hash of the entry's name>.json``, so that the next run knows it from somebody else's commit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lakehouse.catalog import Catalog, TableRecord
from lakehouse.checksum import sha256_hex
from lakehouse.errors import Conflict, LakeError, NotFound, Unsupported
from lakehouse.locations import canonical
from lakehouse.store import Store
from lakehouse.table import Base

__all__ = ["Entry", "Registration"]

_STATE = ("table-uuid", "current-schema-id", "default-spec-id", "default-sort-order-id")
_BY_PATH = re.compile(r"metadata/v\d+\.metadata\.json")


@dataclass(frozen=True, slots=True)
class Entry:
    """One identifier of one catalog. ``record``: what the catalog said of it when it was opened (None: it has no such table)."""

    catalog: Catalog
    identifier: str
    record: TableRecord | None

    @property
    def name(self) -> str:
        """The entry as a user writes it."""
        return f"{self.catalog.name}:{self.identifier}"


@dataclass(frozen=True, slots=True)
class Registration:
    """The entry that is to stand at what is published in ``target``, whose metadata states ``location`` for it.

    ``receipts`` keeps the note of what a catalog answered. ``is_root``: the entry is the table's root; else it follows a publish
    by path.
    """

    entry: Entry
    target: Store
    receipts: Store
    location: str
    is_root: bool

    def is_at(self, root: str) -> bool:
        """Whether the entry stands at the metadata file ``root`` (a path below the target).

        A catalog that writes metadata files of its own stands there when it stands at the one that it answered with; where that
        was never noted (the run was killed), when its file says the same.
        """
        record = self.entry.record
        if record is None or not root:
            return False
        if canonical(record.metadata_location) == canonical(f"{self.location}/{root}"):
            return self.entry.catalog.swaps == "swap" or self._serves(record, root)
        if self.entry.catalog.swaps != "commit":
            return False
        noted = self._noted()
        if noted.get("root") == root:
            return noted.get("metadata_location") == record.metadata_location
        return self._says_the_same(record.metadata_location, root)

    def standing(self, bases: Iterable[Base]) -> Base | None:
        """Which of the versions that syncs published the entry stands at; None for a table that the catalog does not have.

        Raises `Conflict` where it stands elsewhere: somebody committed there, or it is another table.
        """
        record, known = self.entry.record, list(bases)
        if record is None:
            return None
        for base in known:
            if self.is_at(base.target_root):
                return base
        if not self.is_root and self._is_ours(record.metadata_location):
            return None
        raise Conflict(
            f"{self.entry.name}: stands at {record.metadata_location}, which no sync into {self.target.url} published "
            f"(newest of ours: {known[0].target_root if known else 'none'}); a commit there is never erased"
        )

    def enter(self, root: str) -> None:
        """Make the entry stand at ``root``: registered when it is new, else swapped from where it was seen.

        Raises `Conflict` when somebody committed meanwhile, `Unsupported` for what the catalog's protocol cannot express, and
        `LakeError` where the table is published by path and could not be entered: the next run enters it.
        """
        if self.is_at(root):
            return
        entry, address = self.entry, f"{self.location}/{root}"
        try:
            if entry.record is None:
                answered = entry.catalog.register(entry.identifier, address)
            else:
                answered = entry.catalog.swap(entry.identifier, entry.record.metadata_location, address, self._metadata(root))
        except LakeError as error:
            if self.is_root:
                raise
            kind = type(error) if isinstance(error, Conflict | Unsupported) else LakeError
            raise kind(f"{address} is published but not registered as {entry.name}: {error}; run again") from error
        if entry.catalog.swaps == "commit":
            self._note(root, answered.metadata_location)

    def _serves(self, record: TableRecord, root: str) -> bool:
        """Whether a catalog that reads metadata files itself serves the table that stands at ``root``, and not one of its own."""
        try:
            return record.uuid is None or self._metadata(root).get("table-uuid") in (None, record.uuid)
        except NotFound:
            return False

    def _is_ours(self, address: str) -> bool:
        """Whether it is a root that a sync published by path, as only they have such names here, or was answered for one."""
        if self.entry.catalog.swaps == "commit" and self._noted().get("metadata_location") == address:
            return True
        return bool(_BY_PATH.fullmatch(self._below(address) or ""))

    def _below(self, address: str) -> str | None:
        """The path below the target, or None for what lies elsewhere."""
        folder, stated = canonical(self.location), canonical(address)
        return stated[len(folder) + 1 :] if stated.startswith(f"{folder}/") else None

    @property
    def _note_path(self) -> str:
        return f"entries/{sha256_hex(self.entry.name.encode())[:32]}.json"

    def _noted(self) -> dict[str, str]:
        """What the catalog answered last, and for which root. A note that is lost or damaged is none."""
        try:
            found = json.loads(self.receipts.get(self._note_path))
        except (NotFound, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _note(self, root: str, metadata_location: str) -> None:
        note = {"entry": self.entry.name, "root": root, "metadata_location": metadata_location}
        data = (json.dumps(note, indent=2, ensure_ascii=False) + "\n").encode()
        self.receipts.put(self._note_path, data, size=len(data))

    def _says_the_same(self, address: str, root: str) -> bool:
        path = self._below(address)
        if path is None:
            return False
        try:
            theirs, ours = self._metadata(path), self._metadata(root)
        except NotFound:
            return False
        stated = ours.get("properties") or {}
        kept = {key: value for key, value in (theirs.get("properties") or {}).items() if key in stated}
        return _state(theirs) == _state(ours) and kept == stated

    def _metadata(self, path: str) -> dict[str, Any]:
        from lakehouse.formats.iceberg.root import parse_metadata

        return parse_metadata(self.target.get(path), f"{self.target.url}/{path}")


def _state(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What of a table's metadata every catalog keeps, by id; what only states a default, or nothing, is left out."""
    snapshots = {raw["snapshot-id"]: raw.get("manifest-list") for raw in metadata.get("snapshots") or ()}
    lists = {
        "schemas": "schema-id",
        "partition-specs": "spec-id",
        "sort-orders": "order-id",
        "statistics": "snapshot-id",
    }
    return {
        **{key: metadata.get(key) for key in _STATE},
        "refs": _plain(metadata.get("refs") or {}),
        "snapshots": snapshots,
        **{key: {raw.get(id_): _plain(raw) for raw in metadata.get(key) or ()} for key, id_ in lists.items()},
    }


def _plain(value: Any) -> Any:
    """``value`` without nulls, without the ``doc`` of fields, and without identifier fields where there are none."""
    if isinstance(value, dict):
        kept = {key: _plain(inner) for key, inner in value.items() if inner is not None and key != "doc"}
        return {key: inner for key, inner in kept.items() if key != "identifier-field-ids" or inner}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
