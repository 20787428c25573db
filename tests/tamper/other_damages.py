"""Damages to replicas of folders of Parquet files, and to receipts."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.formats.delta.test_check import bit, commit_name, cut, deleted
from tests.formats.delta.whole_table import LAST
from tests.tamper.damage import (
    Damage,
    Inflict,
    cell,
    copied,
    edited_receipt,
    exchanged,
    flipped,
    moved,
    receipts_of,
    rows_edited,
    rows_exchanged,
)

__all__ = ["DAMAGES", "FILES", "ROWS_IN_ANOTHER_FILE"]

DELTA, PLAIN = "delta", "parquet"
SUMMARY = "_metadata"
FILES = [f"p=p{number % 2}/part-{number}.parquet" for number in range(4)]


def without_summary(edit: Inflict) -> Inflict:
    """``edit``, in a folder where nothing says which files belong to it."""

    def inflict(table: Path) -> str:
        (table / SUMMARY).unlink()
        return edit(table)

    return inflict


ROWS_IN_ANOTHER_FILE = rows_exchanged(FILES[0], FILES[2], 5)
"""No damage: a table is what rows it has."""


def receipt_lost(table: Path) -> str:
    """The first receipt, on which the second one stands."""
    (receipts_of(table) / f"receipts/{1:020d}.json").unlink()
    return "_lake"


def newest_receipt_lost(table: Path) -> str:
    """No trace of the second run: the version that it published is vouched for by nobody."""
    folder = receipts_of(table)
    for path in folder.glob(f"receipts/{2:020d}*"):
        path.unlink()
    shutil.copy(folder / f"receipts/{1:020d}.json", folder / "latest.json")
    return commit_name(LAST)


def inventory(table: Path, number: int) -> Path:
    (found,) = receipts_of(table).glob(f"receipts/{number:020d}-*.jsonl.zst")
    return found


def inventory_edited(table: Path) -> str:
    path = inventory(table, 1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return "_lake"


def inventory_lost(table: Path) -> str:
    inventory(table, 2).unlink()
    return "_lake"


DAMAGES: dict[str, Damage] = {
    "a bit flips in a data page of a plain file": Damage(
        PLAIN, flipped(FILES[2], b"name 020"), deep="unreadable", rows=("values differ in name$", f"{FILES[2]}: its rows differ")
    ),
    "a bit flips in the footer of a plain file": Damage(
        PLAIN, bit(FILES[2], -7), check="unreadable", rows=(f"{FILES[2]} is damaged",)
    ),
    "a bit flips in a summary": Damage(PLAIN, bit(SUMMARY, -7), check="unreadable"),
    "a plain file is cut": Damage(PLAIN, cut(FILES[2]), check="unreadable", rows=(f"{FILES[2]} is damaged",)),
    "a plain file is deleted": Damage(
        PLAIN,
        deleted(FILES[2]),
        check="missing",
        rows=("60 at the target", f"{FILES[2]}: the target's table does not have"),
        receipts="missing",
    ),
    "a plain file is deleted that no summary names": Damage(
        PLAIN,
        without_summary(deleted(FILES[2])),
        rows=("60 at the target", f"{FILES[2]}: the target's table does not have"),
        receipts="missing",
    ),
    "two plain files are exchanged between partitions": Damage(
        PLAIN,
        exchanged(FILES[0], FILES[1]),
        rows=("values stand in other rows", f"{FILES[0]}: its rows differ", f"{FILES[1]}: its rows differ"),
    ),
    "a plain file is moved to another partition": Damage(
        PLAIN,
        moved(FILES[2], "p=p1/part-2.parquet"),
        check=("missing", FILES[2]),
        rows=("values differ in p$",),
        receipts=("missing", FILES[2]),
    ),
    "an older plain file of the same size": Damage(
        PLAIN, copied(FILES[0], FILES[2]), rows=("values differ in id, name", f"{FILES[2]}: its rows differ")
    ),
    "a plain file is there twice": Damage(
        PLAIN,
        copied(FILES[0], "p=p0/copy.parquet"),
        check=("summary", SUMMARY),
        rows=("100 at the target", "p=p0/copy.parquet"),
        receipts="extra",
    ),
    "a cell of a plain file is changed": Damage(
        PLAIN, cell(FILES[2], 5, note="another"), rows=("values differ in note$", f"{FILES[2]}: its rows differ")
    ),
    "a row of a plain file is lost": Damage(
        PLAIN,
        rows_edited(FILES[2], lambda rows: rows[1:]),
        check="rows",
        rows=("79 at the target", f"{FILES[2]}: its rows differ: 20 .* 19"),
    ),
    "a row of a plain file is there twice, and another lost": Damage(
        PLAIN, rows_edited(FILES[2], lambda rows: [rows[1], *rows[1:]]), rows=("80 at the target", f"{FILES[2]}: its rows differ")
    ),
    # receipts
    "the newest receipt is edited, and latest.json": Damage(
        DELTA, edited_receipt(2, follow=True), receipts="receipt", expected=True
    ),
    "the newest receipt is edited": Damage(DELTA, edited_receipt(2, follow=False), receipts=("receipt", "_lake")),
    "an older receipt is edited": Damage(DELTA, edited_receipt(1, follow=False), receipts=("receipt", "_lake")),
    "an older receipt is lost": Damage(PLAIN, receipt_lost, receipts="receipt"),
    "the newest receipt is lost, and latest.json lowered": Damage(DELTA, newest_receipt_lost, receipts="extra"),
    "an inventory is edited": Damage(DELTA, inventory_edited, receipts="receipt"),
    "an inventory is lost": Damage(PLAIN, inventory_lost, receipts="receipt"),
}
