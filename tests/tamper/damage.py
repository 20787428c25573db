"""What a damage is, and the ways to inflict one that know no format."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from lakehouse.checksum import sha256_hex
from lakehouse.receipt import Receipt, claim, finish, known_objects, put_inventory, read_chain
from lakehouse.table import Written
from tests.formats.replicas import local
from tests.tamper.replicas import Edit, Place, Row, rewritten

__all__ = [
    "Damage",
    "Found",
    "Inflict",
    "Row",
    "cell",
    "copied",
    "edited_receipt",
    "exchanged",
    "flipped",
    "moved",
    "receipts_anew",
    "receipts_of",
    "replaced",
    "rows_edited",
    "rows_exchanged",
]

Inflict = Callable[[Path], str]
"""Damages the table in the folder, and gives the path of the object that is wrong."""
Found = str | tuple[str, str]
"""The kind of a finding that names the damaged object; or the kind, and the path of another object that is named."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One damage to the replica ``table``, and what must find it.

    ``check``: `lake check` without receipts; ``deep``: only with ``--deep``. ``rows``: level rows against the source with
    receipts that vouch for the damaged bytes; what its findings must say, together. ``refused``: what level rows says where it
    refuses to read such a table. ``receipts``: plain `lake verify`; with
    ``expected`` the SHA-256 of the receipt is asked for as well.
    """

    table: str
    inflict: Inflict
    check: Found = ""
    deep: Found = ""
    rows: tuple[str, ...] = ()
    refused: str = ""
    receipts: Found = "differs"
    expected: bool = False


def flipped(path: str, before: bytes, *, last: bool = False) -> Inflict:
    """Flip the lowest bit of the byte that follows the first (or last) ``before`` in the one file that ``path`` matches."""

    def inflict(table: Path) -> str:
        (file,) = table.glob(path)
        data = bytearray(file.read_bytes())
        at = (data.rindex(before) if last else data.index(before)) + len(before)
        data[at] ^= 1
        file.write_bytes(data)
        return str(file.relative_to(table))

    return inflict


def exchanged(one: str, other: str) -> Inflict:
    """Two objects in each other's place; the first is named."""

    def inflict(table: Path) -> str:
        first, second = (next(table.glob(each)) for each in (one, other))
        held = first.read_bytes(), second.read_bytes()
        second.write_bytes(held[0])
        first.write_bytes(held[1])
        return str(first.relative_to(table))

    return inflict


def copied(one: str, other: str) -> Inflict:
    """The first object lies in the other's place as well; the other is named."""

    def inflict(table: Path) -> str:
        shutil.copy(table / one, table / other)
        return other

    return inflict


def moved(one: str, other: str) -> Inflict:
    """An object lies elsewhere; its new place is named."""

    def inflict(table: Path) -> str:
        (table / one).rename(table / other)
        return other

    return inflict


def replaced(path: str, edit: Callable[[str], str]) -> Inflict:
    """Another text in an object of text."""

    def inflict(table: Path) -> str:
        (file,) = table.glob(path)
        before = file.read_text()
        after = edit(before)
        if before == after:
            raise ValueError(f"{path}: nothing was damaged")
        file.write_text(after)
        return str(file.relative_to(table))

    return inflict


def rows_edited(path: str, edit: Edit) -> Inflict:
    """A Parquet file of other rows in its place, valid, of the same size, encoded otherwise."""

    def inflict(table: Path) -> str:
        rewritten(table / path, edit)
        return path

    return inflict


def cell(path: str, row: int, /, **values: Any) -> Inflict:
    """As `rows_edited`: other values in one ``row``."""
    return rows_edited(path, lambda rows: rows[row].update(values))


def rows_exchanged(one: str, other: str, at: int) -> Inflict:
    """As `rows_edited`: row ``at`` of two files in each other's place; the first is named."""

    def inflict(table: Path) -> str:
        first, second = (pq.ParquetFile(table / path).read().slice(at, 1).to_pylist()[0] for path in (one, other))
        cell(one, at, **second)(table)
        cell(other, at, **first)(table)
        return one

    return inflict


def receipts_anew(place: Place) -> None:
    """Receipts as if the replica had always been as it is now: one, that vouches for the bytes of every object that is there.

    No stored hash gives the damage away, and no fingerprint.
    """
    store, target = local(place.receipts), local(place.table)
    newest = read_chain(store).newest
    if newest is None:
        raise ValueError(f"{store.url}: no receipt is there")
    known = known_objects(store, newest.number, newest.number)
    shutil.rmtree(place.receipts)
    paths = [info.path for info in target.list() if not info.path.startswith("_lake/")]
    objects = [_vouched(known.get(path) or Written(path, 0, "", "copied"), target.get(path)) for path in paths]
    root = newest.root
    if root.path:
        data = target.get(root.path)
        root = replace(root, sha256=sha256_hex(data), size=len(data))
    made = replace(
        newest,
        number=1,
        root=root,
        inventory=put_inventory(store, 1, objects),
        previous_sha256=None,
        full=True,
        supersedes=None,
        target_listing="",
        row_versions="",
        rows=[],
    )
    claim(store, made)
    finish(store, made, anew=True)


def _vouched(known: Written, data: bytes) -> Written:
    return replace(known, size=len(data), sha256=sha256_hex(data), target_etag=None, checksum=None, confirmed=False)


def edited_receipt(number: int, *, follow: bool) -> Inflict:
    """A receipt that says something else; ``follow``: so does `latest.json`."""

    def inflict(table: Path) -> str:
        folder = receipts_of(table)
        path = folder / f"receipts/{number:020d}.json"
        said = json.loads(path.read_text())
        said["copied"]["files"] += 1
        said = Receipt.from_bytes(json.dumps(said).encode(), str(path)).to_bytes()
        path.write_bytes(said)
        if follow:
            (folder / "latest.json").write_bytes(said)
        return f"_lake/receipts/{path.name}"

    return inflict


def receipts_of(table: Path) -> Path:
    """Where a replica's receipts lie: in it, or beside it."""
    inside = table / "_lake"
    return inside if inside.is_dir() else table.parent / "_lake" / table.name
