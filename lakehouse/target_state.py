"""What one run finds at its target: what receipts and the notes of unfinished runs say, and the listing where that is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from lakehouse import receipt as receipts_of
from lakehouse.checksum import sha256_hex
from lakehouse.errors import Conflict, NotFound, Verification
from lakehouse.listing_digest import digest_of
from lakehouse.mending import Mending
from lakehouse.pending import read_pending
from lakehouse.plan import AtTarget, Counts, is_same
from lakehouse.receipt import Chain
from lakehouse.replica import Replica
from lakehouse.spool import Spool, latest, listing, records, shelves
from lakehouse.store import ObjectInfo, Store
from lakehouse.table import Publication, Staged, TableVersion, Written

__all__ = ["TargetState", "holds"]

Found = TypeVar("Found")


@dataclass(slots=True)
class TargetState:
    """The target as a run finds it. ``replica``: its target without what is damaged. ``chain``: the receipts that are believed.

    ``settled``: the last run finished, and none has begun since.
    """

    replica: Replica
    chain: Chain
    settled: bool = False
    there: AtTarget = field(default_factory=AtTarget)

    @classmethod
    def of(cls, replica: Replica, chain: Chain) -> TargetState:
        """The state of a target whose receipts are ``chain``, as far as two requests tell."""
        noted = read_pending(replica.receipts, chain.next_number)
        settled = chain.finished is not None and not chain.later and noted is None
        return cls(replica, chain, settled, AtTarget(noted=noted if noted is not None else records()))

    def listed_as(self, version: TableVersion) -> Counts | None:
        """How many plain files there are, when both listings show just what the last run left: ``version``, and its objects here.

        None where that is not so, or cannot be told: the receipt must say what the target's listing was.
        """
        finished = self.chain.finished
        if finished is None or not self.settled or not finished.target_listing or self.replica.format.receipts_inside:
            return None
        from lakehouse.formats.files import PlainVersion

        if not isinstance(version, PlainVersion) or not version.is_telling or version.id != finished.version:
            return None
        same = digest_of(_objects(self.replica.target)) == finished.target_listing
        return Counts(len(version.listing), version.size) if same else None

    def read(self) -> None:
        """Read what earlier runs recorded, and take the target's listing.

        Receipts that cannot be believed are as good as none: what lies there is hashed again, and the next receipt stands on its
        own.
        """
        events = records()
        try:
            if self.chain.newest is not None:
                events.extend(self.events(self.chain.newest.number))
        except Verification:
            self.chain, events = receipts_of.broken_chain(self.replica.receipts), records()
        self.there = AtTarget(events, self.there.noted, _listed(self.replica.target))
        damaged = self._damaged()
        if damaged:
            self.replica = replace(self.replica, target=Mending(self.replica.target, damaged))
            self.there.present = _listed(self.replica.target)

    def _damaged(self) -> dict[str, Written]:
        """What an unfinished run of ours found damaged, and is so still: it counts as not there from now on."""
        damaged: dict[str, Written] = {}
        for noted in self.there.noted:
            if noted.origin == "damaged":
                damaged[noted.path] = noted
            else:
                damaged.pop(noted.path, None)
        if not damaged:
            return {}
        present = {info.path: info for info in self.there.present or () if info.path in damaged}
        return {path: noted for path, noted in damaged.items() if is_same(noted, present.get(path))}

    def events(self, upto: int) -> Iterator[Written]:
        """What receipts up to number ``upto`` say of objects: see `lakehouse.receipt.known_events`."""
        finished = self.chain.finished.number if self.chain.finished else 0
        return receipts_of.known_events(self.replica.receipts, upto, finished)

    def kept(self, upto: int, fresh: Spool[Written]) -> Iterator[Written]:
        """The objects that receipts up to number ``upto`` vouch for, without those that are in ``fresh``."""
        events = records()
        events.extend(self.events(upto))
        count = shelves(len(events), len(fresh))
        for known, new in zip(events.shelves(count), fresh.shelves(count), strict=True):
            left = latest(known)
            for written in new:
                left.pop(written.path, None)
            yield from left.values()

    def published_before(self, fresh: Iterable[Written]) -> list[Written]:
        """Metadata that unfinished runs put and that is there still: ours, and from now on recorded as found there."""
        found: dict[str, Written] = {}
        for unfinished in self.chain.later:
            for written in receipts_of.read_inventory(self.replica.receipts, unfinished.inventory):
                if written.origin in ("published", "staged", "rewritten"):
                    found[written.path] = written
        _leave_out(found, fresh)
        return [replace(written, origin="adopted") for written in found.values() if holds(self.replica.target, written)]

    def metadata_found(self, version: TableVersion, staged: Staged, ours: Iterable[Iterable[Written]]) -> list[Written]:
        """Metadata that this run did not put because it lay there: brought by other means, or vouched for by lost receipts.

        ``ours``: what this run or an unfinished one put. Raises `Conflict` where it is not what the source must have in common
        with it; what merely helps readers may be another (a checkpoint that was written here), and the format has judged it.
        """
        if not self.there.present:
            return []
        target, table_format = self.replica.target, self.replica.format
        metadata = dict.fromkeys(table_format.metadata_files(target, version), True)
        for publication in staged.publications:
            metadata.pop(publication.path, None)
        for written in ours:
            _leave_out(metadata, written)
        if metadata and self.chain.finished is not None:
            _leave_out(metadata, self.events(self.chain.finished.number))
        present = {info.path: info for info in self.there.present if info.path in metadata}
        if not present:
            return []
        source = version.as_replicated(self.replica.source)
        common = set(table_format.metadata_files(self.replica.source, version, essential=True))
        found = []
        for path in metadata:
            if path in present:
                data = target.get(path)
                if path in common and source.get(path) != data:
                    raise Conflict(f"{target.url}/{path}: is not what the source has; somebody else wrote it")
                etag = present[path].etag
                found.append(Written(path, len(data), sha256_hex(data), "adopted", target_etag=etag, confirmed=True))
        return found


def _objects(target: Store) -> Iterator[ObjectInfo]:
    """The listing of plain files, without receipts that somebody keeps among them: those are never carried."""
    return (info for info in target.list() if not info.path.startswith("_lake/"))


def _listed(target: Store) -> Spool[ObjectInfo]:
    found = listing()
    found.extend(target.list())
    return found


def _leave_out(found: dict[str, Found], written: Iterable[Written]) -> None:
    if found:
        for one in written:
            found.pop(one.path, None)


def holds(target: Store, written: Written | Publication) -> bool:
    """Whether the target has the object with just these bytes."""
    try:
        return sha256_hex(target.get(written.path)) == written.sha256
    except NotFound:
        return False
