"""Receipts: what each run did, kept at the target, so that a later audit needs no source.

::

    _lake/receipts/<20-digit n>.json              the receipt, put if-absent before the root: it claims its number
    _lake/receipts/<20-digit n>-<sha256>.jsonl.zst  its inventory: one line per object that the run wrote
    _lake/latest.json                             a copy of the newest finished receipt: a hint that may lag
    _lake/pending/<n>/<run>-<k>.jsonl             what an unfinished run had finished, in batches

A receipt *counts* when the root that it names is at the target with that hash; it is *finished* when `latest.json` has
named it, which is the last thing that a run does. A run starts from the last finished one, so whatever a crash left undone
is done again. Each receipt holds the SHA-256 of the one before it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Literal

from lakehouse.checksum import sha256_hex
from lakehouse.errors import NotFound, Verification
from lakehouse.inventory import from_line, newest, put_inventory, read_inventory, to_line
from lakehouse.plan import Counts
from lakehouse.row_record import RowRecord, covers
from lakehouse.spool import latest
from lakehouse.store import Store
from lakehouse.table import Base, Written

__all__ = [
    "FULL_EVERY",
    "LATEST",
    "LEVELS",
    "PRUNE",
    "Chain",
    "Level",
    "Receipt",
    "from_line",
    "known_events",
    "known_objects",
    "lowest",
    "newest",
    "proves",
    "put_inventory",
    "read_chain",
    "read_inventory",
    "receipt_path",
    "to_line",
]

SCHEMA_VERSION = 1
LATEST = "latest.json"
PRUNE = "prune-"
"""Begins the ``run`` of a receipt that tells of a prune."""
_RECEIPT = re.compile(r"receipts/(\d{20})\.json")
FULL_EVERY = 100
"""Every so many receipts the inventory lists all objects, so that a reader needs no older one."""

Level = Literal["none", "files", "bytes", "rows"]
LEVELS: tuple[Level, ...] = ("none", "files", "bytes", "rows")


def lowest(*levels: Level) -> Level:
    """The weakest of some levels of proof."""
    return min(levels, key=LEVELS.index)


@dataclass(frozen=True, slots=True)
class Root:
    """Path and SHA-256 of a root object; "" twice where there is none. ``etag``: the source's, if its name may come again."""

    path: str = ""
    sha256: str = ""
    etag: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """One run, as it is written down. URLs hold no secrets; times are UTC, ISO 8601; sizes in bytes.

    ``kept`` counts what earlier receipts vouch for. ``proof`` is the lowest of ``proof_copied`` and theirs, and
    ``proof_kept_oldest_at`` the end of the oldest run that it stands on. ``not_carried`` counts files of older versions
    that were gone at the source, ``lost_versions`` names versions that were cleaned up there before they could be carried.
    ``supersedes`` numbers the unfinished receipt that this one replaces. ``full``: the inventory lists all objects, so that no
    older receipt is needed. ``remarks`` are those of the version (`lakehouse.table.Remark`), ``read_map`` the digest of the
    ``--map`` options that it was read with, ``terms`` that of all that decides what a replica of a version is (`Terms.digest`).
    ``rows`` (level rows): the source's rows at each point that was asked for, as ``row_versions`` says (`RowRecord`).
    ``target_listing`` (plain files): the `ListingDigest` of the objects at the target that the receipts vouch for; "" (and then
    not written) where a listing could not show that one was overwritten.
    """

    number: int
    run: str
    tool: str
    started_at: str
    ended_at: str
    source: str
    target: str
    format: str
    version: str
    table_id: str | None
    source_version_at: str | None
    source_root: Root
    root: Root
    copied: Counts
    kept: Counts
    rewritten: Counts
    not_carried: int
    lost_versions: str
    level: Level
    proof: Level
    proof_copied: Level
    proof_kept_oldest_at: str | None
    source_checked: bool
    inventory: str
    previous_sha256: str | None
    supersedes: int | None = None
    full: bool = False
    remarks: list[dict[str, str]] = field(default_factory=list)
    read_map: str = ""
    terms: str = ""
    skip_broken_history: bool = False
    target_listing: str = ""
    row_versions: str = ""
    rows: list[RowRecord] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION

    @property
    def path(self) -> str:
        return receipt_path(self.number)

    @property
    def proven_at(self) -> str | None:
        """When its version was proven; a prune proves nothing and stands on what was."""
        return self.proof_kept_oldest_at if self.run.startswith(PRUNE) else self.ended_at

    @property
    def base(self) -> Base:
        """The version it speaks of, in the words of `lakehouse.table`."""
        return Base(
            self.version,
            self.table_id,
            self.source_root.path,
            self.source_root.sha256,
            self.root.path,
            self.root.sha256,
            self.source_root.etag,
            self.source,
            self.root.size,
        )

    def to_bytes(self) -> bytes:
        """The receipt as it lies at the target: JSON, indented, keys in the order of this class."""
        said = asdict(self)
        for name in ("target_listing", "row_versions", "rows"):
            if not said[name]:
                del said[name]
        return (json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Receipt:
        """Parse a receipt; raises `Verification` for anything that is not one."""
        try:
            raw = json.loads(data)
            if raw["schema_version"] > SCHEMA_VERSION:
                raise Verification(f"{where}: a receipt of a newer lake (schema {raw['schema_version']}); update lake")
            known = {f.name for f in fields(cls)}
            values = {key: value for key, value in raw.items() if key in known}
            for key in ("source_root", "root"):
                values[key] = Root(**values[key])
            for key in ("copied", "kept", "rewritten"):
                values[key] = Counts(**values[key])
            values["rows"] = [RowRecord.from_json(record) for record in raw.get("rows", ())]
            return cls(**values)
        except (ValueError, KeyError, TypeError) as error:
            raise Verification(f"{where}: is not a receipt ({type(error).__name__}); somebody damaged it") from error


def receipt_path(number: int) -> str:
    """Where receipt ``number`` lies, relative to the store of receipts."""
    return f"receipts/{number:020d}.json"


def proves(receipt: Receipt, level: Level, versions: str) -> bool:
    """Whether ``receipt`` proves as much as ``level`` asks; at level rows, of as many ``versions``."""
    return lowest(receipt.proof, level) == level and (level != "rows" or covers(receipt.row_versions, versions))


@dataclass(slots=True)
class Chain:
    """The receipts of one target. ``finished`` is the newest that `latest.json` names; ``later`` come after it, ascending.

    ``broken``: what is there cannot be believed; then there is neither, and ``last_number`` is the highest number in use.
    """

    finished: Receipt | None = None
    later: list[Receipt] = field(default_factory=list)
    sha256: dict[int, str] = field(default_factory=dict)
    broken: bool = False
    last_number: int = 0

    @property
    def newest(self) -> Receipt | None:
        return self.later[-1] if self.later else self.finished

    @property
    def next_number(self) -> int:
        return self.newest.number + 1 if self.newest else self.last_number + 1


def read_latest(store: Store) -> tuple[Receipt, str] | None:
    """The receipt that `latest.json` names and its SHA-256. One request.

    None where there is none, or where it cannot be read: it is a hint, and the receipts themselves are still there.
    """
    data = _get_or_none(store, LATEST)
    if data is None:
        return None
    try:
        return Receipt.from_bytes(data, f"{store.url}/{LATEST}"), sha256_hex(data)
    except Verification:
        return None


def read_chain(store: Store) -> Chain:
    """The newest receipts: the one that `latest.json` names, and those after it, one by one until there is none.

    `latest.json` is a hint: where it is missing, damaged or says something else than the receipt itself, the receipts are listed
    and none counts as finished. A chain with a gap, a damaged receipt or a wrong link is ``broken``: nothing is taken from it.
    """
    latest, numbers = read_latest(store), []
    if latest is None:
        chain, numbers = Chain(), _numbers(store)
        number = numbers[0] if numbers else 1
    elif _sha256_at(store, receipt_path(latest[0].number)) == latest[1]:
        chain, number = Chain(latest[0], sha256={latest[0].number: latest[1]}), latest[0].number + 1
    else:
        return broken_chain(store)
    while (data := _get_or_none(store, receipt_path(number))) is not None:
        before = chain.sha256.get(number - 1)
        try:
            receipt = Receipt.from_bytes(data, f"{store.url}/{receipt_path(number)}")
        except Verification:
            return broken_chain(store)
        if before is not None and receipt.previous_sha256 != before:
            return broken_chain(store)
        chain.later.append(receipt)
        chain.sha256[number] = sha256_hex(data)
        number += 1
    return broken_chain(store) if numbers and number <= numbers[-1] else chain


def broken_chain(store: Store) -> Chain:
    """The chain of a target whose receipts cannot be believed: the next one stands on its own, above all that are there."""
    numbers = _numbers(store)
    return Chain(broken=True, last_number=numbers[-1] if numbers else 0)


def _numbers(store: Store) -> list[int]:
    return sorted(int(match[1]) for info in store.list("receipts") if (match := _RECEIPT.fullmatch(info.path)))


def _sha256_at(store: Store, path: str) -> str | None:
    data = _get_or_none(store, path)
    return None if data is None else sha256_hex(data)


def _get_or_none(store: Store, path: str) -> bytes | None:
    try:
        return store.get(path)
    except NotFound:
        return None


def read_back(store: Store, upto: int) -> list[tuple[Receipt, str]]:
    """Receipt ``upto`` and those before it that it stands on (down to the nearest full one), ascending, with their SHA-256.

    Raises `Verification` where one is gone, damaged, or does not hold the hash of the one before it.
    """
    found: list[tuple[Receipt, str]] = []
    for number in range(upto, 0, -1):
        where = f"{store.url}/{receipt_path(number)}"
        data = _get_or_none(store, receipt_path(number))
        if data is None:
            raise Verification(f"{where}: a receipt of the chain is gone")
        receipt = Receipt.from_bytes(data, where)
        if found and found[-1][0].previous_sha256 != sha256_hex(data):
            raise Verification(f"{where}: receipt {number + 1} does not follow it (its SHA-256 differs): one of them was edited")
        found.append((receipt, sha256_hex(data)))
        if receipt.full:
            break
    return found[::-1]


def known_events(store: Store, upto: int, finished: int) -> Iterator[Written]:
    """What receipts up to number ``upto`` say of objects, oldest first: the last word on a path counts (`newest`).

    What a receipt above ``finished`` was only going to publish or delete is left out: its run did not end.
    Raises `Verification` for receipts or inventories that cannot be believed.
    """
    receipts = [receipt for receipt, _ in read_back(store, upto)]
    unfinished = {receipt.supersedes for receipt in receipts} | set(range(finished + 1, upto + 1))
    for receipt in receipts:
        for written in read_inventory(store, receipt.inventory):
            if written.origin not in ("published", "deleted") or receipt.number not in unfinished:
                yield written


def known_objects(store: Store, upto: int, finished: int) -> dict[str, Written]:
    """The newest record of every object that receipts up to number ``upto`` name, by path: see `known_events`."""
    return latest(known_events(store, upto, finished))


def claim(store: Store, receipt: Receipt) -> str:
    """Put the receipt under its number, if-absent; gives its SHA-256.

    Raises `Conflict` when another run claimed the number.
    """
    data = receipt.to_bytes()
    store.put(receipt.path, data, size=len(data), if_absent=True)
    return sha256_hex(data)


def finish(store: Store, receipt: Receipt, *, anew: bool) -> None:
    """Name ``receipt`` in `latest.json`. It is never lowered (a later receipt there stays), unless the chain begins ``anew``."""
    latest = read_latest(store)
    if latest is not None and latest[0].number >= receipt.number and not anew:
        return
    data = receipt.to_bytes()
    store.put(LATEST, data, size=len(data))


def utc(moment: datetime) -> str:
    """A time in UTC as receipts write it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def counts(target: Store, receipt: Receipt) -> bool:
    """Whether the root that the receipt names is at the target with that hash. One request, none without a root."""
    if not receipt.root.path:
        return True
    data = _get_or_none(target, receipt.root.path)
    return data is not None and sha256_hex(data) == receipt.root.sha256
