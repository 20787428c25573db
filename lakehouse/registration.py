"""A table's entry in a catalog, and how it comes to stand at what a sync published.

For a target that *is* a catalog's table, entering the new root is the publish; ``--register`` enters what was published by path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lakehouse.catalog import Catalog, TableRecord
from lakehouse.errors import Conflict, LakeError, NotFound, Unsupported
from lakehouse.locations import Locations, canonical
from lakehouse.store import Store
from lakehouse.table import Base

__all__ = ["Entry", "Registration"]

_STATE = ("table-uuid", "refs", "current-schema-id", "schemas", "partition-specs", "default-spec-id", "sort-orders")
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

    ``is_root``: the entry is the table's root; else it follows a publish by path.
    """

    entry: Entry
    target: Store
    location: str
    is_root: bool

    def is_at(self, root: str) -> bool:
        """Whether the entry stands at the metadata file ``root`` (a path below the target).

        A catalog that writes metadata files of its own stands there when its file says the same.
        """
        record = self.entry.record
        if record is None or not root:
            return False
        if canonical(record.metadata_location) == canonical(f"{self.location}/{root}"):
            return True
        return self.entry.catalog.swaps == "commit" and self._says_the_same(record.metadata_location, root)

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
                entry.catalog.register(entry.identifier, address)
            else:
                entry.catalog.swap(entry.identifier, entry.record.metadata_location, address, self._metadata(root))
        except (Conflict, Unsupported):
            raise
        except LakeError as error:
            if self.is_root:
                raise
            raise LakeError(f"{address} is published but not registered as {entry.name}: {error}; run again") from error

    def _is_ours(self, address: str) -> bool:
        """Whether it is a root that a sync published by path: only they have such names below the target."""
        folder = canonical(self.location)
        return canonical(address).startswith(f"{folder}/") and bool(_BY_PATH.fullmatch(canonical(address)[len(folder) + 1 :]))

    def _says_the_same(self, address: str, root: str) -> bool:
        path = Locations(self.target.url, table=self.location).place(address).read
        try:
            theirs, ours = self._metadata(path), self._metadata(root)
        except NotFound:
            return False
        lists = [{raw["snapshot-id"]: raw.get("manifest-list") for raw in made.get("snapshots") or ()} for made in (theirs, ours)]
        return lists[0] == lists[1] and all(theirs.get(key) == ours.get(key) for key in _STATE)

    def _metadata(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.target.get(path))
        return found
