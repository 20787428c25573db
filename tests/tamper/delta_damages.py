"""Damages to replicas of Delta tables."""

from __future__ import annotations

import datetime
import decimal
import json
import shutil
import struct
from pathlib import Path

from lakehouse.formats.delta.vectors import vector_of
from tests.formats.delta.handmade import bitmap, vector_file
from tests.formats.delta.test_check import (
    CLASSIC_PATH,
    COMPACTED,
    CRC,
    HINT,
    OLDER,
    PLAIN,
    actions,
    adds_in,
    bit,
    change,
    checkpoint_edited,
    commit_name,
    cut,
    deleted,
    edit_add,
    edited_json,
    first,
    older_file_of_the_same_size,
    rebuilt,
    without,
)
from tests.formats.delta.whole_table import LAST, LOG
from tests.tamper.damage import Damage, Inflict, Row, cell, exchanged, flipped, replaced, rows_edited, rows_exchanged

__all__ = ["DAMAGES", "FILE"]

WHOLE, MAPPED = "delta", "delta with column mapping"
VECTORS, CHANGES = "deletion_vector_*.bin", "_change_data/*.parquet"
V2 = f"{LOG}/*7.checkpoint.*.json"
SIDECARS = [f"{LOG}/_sidecars/*.{part:010d}.{2:010d}.*" for part in (1, 2)]
PARTS = [f"{LOG}/{1:020d}.checkpoint.{part:010d}.{2:010d}.parquet" for part in (1, 2)]
FILE, OTHER = "part-2.parquet", "part-3.parquet"


def pair_exchanged(rows: list[Row]) -> None:
    """Name and note of one row in each other's place."""
    rows[3]["c2"], rows[3]["c3"] = rows[3]["c3"], rows[3]["c2"]


def vectors_exchanged(table: Path) -> str:
    """Each of two files has the other's deletion vector."""
    vectors = [first(actions(table, number), "add")["deletionVector"] for number in (2, 3)]
    for number, other in ((2, vectors[1]), (3, vectors[0])):
        edit_add(number, deletionVector=other)(table)
    return commit_name(2)


def other_rows_deleted(table: Path) -> str:
    """A file with a deletion vector of as many other rows, right in itself, in the place of the right one."""
    made = table.parent / "made"
    made.mkdir()
    vector_file(made, bitmap([3, 9]))
    path = vector_of("", first(actions(table, 2), "add")).file
    shutil.move(next(made.iterdir()), table / path)
    return path


def rows_back(table: Path) -> str:
    """The commit that deletes rows does nothing more."""
    return change(table, 2, lambda _found: [{"txn": {"appId": "job", "version": 2}}])


def without_checkpoint(edit: Inflict) -> Inflict:
    """``edit``, in a log with nothing else that contradicts it."""

    def inflict(table: Path) -> str:
        for path in (*PARTS, HINT):
            (table / path).unlink()
        return edit(table)

    return inflict


def schema_edited(*texts: tuple[str, str]) -> Inflict:
    """Other texts in the schema of the table with column mapping."""

    def edit(found: list[Row]) -> None:
        metadata = first(found, "metaData")
        for before, after in texts:
            metadata["schemaString"] = metadata["schemaString"].replace(before, after)

    return without_checkpoint(lambda table: change(table, 0, edit))


def added_twice(table: Path) -> str:
    return change(table, 6, lambda found: [*found, found[1]])


def file_forgotten(table: Path) -> str:
    """The third file of the only commit that adds it."""
    return change(table, 0, lambda found: [each for each in found if each.get("add", {}).get("path") != FILE])


def foreign_commit(table: Path) -> str:
    """Somebody removes a file of the replica, by the rules."""
    add = first(actions(table, 6), "add")
    removed = {"remove": {"path": add["path"], "deletionTimestamp": 0, "dataChange": True}}
    path = table / commit_name(LAST + 1)
    path.write_text(json.dumps(removed) + "\n")
    return commit_name(LAST + 1)


def outside(table: Path) -> str:
    named = f"file://{table.parent.parent / 'elsewhere' / 'x.parquet'}"
    rebuilt(edit_add(6, path=named))(table)
    return named


def stats_edited(**changes: object) -> Inflict:
    def inflict(table: Path) -> str:
        stats = json.loads(first(actions(table, 6), "add")["stats"]) | changes
        edit_add(6, stats=json.dumps(stats))(table)
        return PLAIN

    return rebuilt(inflict)


DAMAGES: dict[str, Damage] = {
    # bits
    "a bit flips in a data page": Damage(
        WHOLE, bit(PLAIN, 700), deep="unreadable", rows=(f"{PLAIN}: cannot be read: .* checksum",)
    ),
    "a bit flips in a dictionary page": Damage(
        MAPPED, flipped(FILE, b"name 020"), deep="unreadable", rows=("values differ in name", f"{FILE}: its rows differ")
    ),
    "a bit flips in the statistics of a footer": Damage(
        WHOLE, flipped(PLAIN, struct.pack("<q", 1040)[:7], last=True), check="stats"
    ),
    "a bit flips in the length of a footer": Damage(
        WHOLE, bit(PLAIN, -7), check="unreadable", rows=(f"{PLAIN}: cannot be read",)
    ),
    "a bit flips in a commit": Damage(WHOLE, flipped(commit_name(6), b'"size": '), check=("checkpoint", V2)),
    "a bit flips in a path of a commit": Damage(WHOLE, flipped(commit_name(6), b"north/plain-"), check="duplicate"),
    "a bit flips in a checkpoint": Damage(WHOLE, flipped(CLASSIC_PATH, b"region="), check="checkpoint"),
    "a bit flips in a part of a checkpoint": Damage(MAPPED, bit(PARTS[1], -7), check="unreadable"),
    "a bit flips in a sidecar": Damage(WHOLE, flipped(SIDECARS[0], b"region="), check=("checkpoint", V2)),
    "a bit flips in the top of a V2 checkpoint": Damage(WHOLE, flipped(V2, b'"minReaderVersion": '), check="checkpoint"),
    "a bit flips in a checksum file": Damage(WHOLE, flipped(CRC, b'"numFiles": '), check="checksum"),
    "a bit flips in a compacted log": Damage(WHOLE, flipped(COMPACTED, b'"size": '), check="compacted"),
    "a bit flips in _last_checkpoint": Damage(WHOLE, flipped(HINT, b'"size": '), check="hint"),
    "a bit flips in a deletion vector": Damage(
        WHOLE, bit(VECTORS, 30), check="vector", rows=("cannot be read", "deletion_vector_")
    ),
    "a bit flips in change data": Damage(WHOLE, bit(CHANGES, -7), check="unreadable"),
    # what is cut, gone, or in another's place
    "a data file is cut": Damage(WHOLE, cut(PLAIN), check="size"),
    "a commit is cut": Damage(WHOLE, cut(commit_name(2)), check="unreadable"),
    "a deletion vector is cut": Damage(WHOLE, cut(VECTORS, -3), check="vector"),
    "a sidecar is cut": Damage(WHOLE, cut(SIDECARS[1]), check="size"),
    "a checksum file is cut": Damage(WHOLE, cut(CRC), check="unreadable"),
    "a data file is deleted": Damage(WHOLE, deleted(PLAIN), check="missing", rows=(PLAIN,), receipts="missing"),
    "a file of an older version is deleted": Damage(WHOLE, deleted(OLDER), receipts="missing"),
    "a commit is deleted": Damage(WHOLE, deleted(commit_name(1)), check="missing", receipts="missing"),
    "the newest commit is deleted": Damage(WHOLE, deleted(commit_name(LAST)), check="missing", receipts="missing"),
    "a sidecar is deleted": Damage(WHOLE, deleted(SIDECARS[0]), check="checkpoint", receipts="missing"),
    "a part of a checkpoint is deleted": Damage(MAPPED, deleted(PARTS[1]), check="checkpoint", receipts="missing"),
    "a deletion vector is deleted": Damage(
        WHOLE, deleted(VECTORS), check="missing", rows=("deletion_vector_",), receipts="missing"
    ),
    "change data is deleted": Damage(WHOLE, deleted(CHANGES), receipts="missing"),
    "two data files of one size are exchanged": Damage(
        MAPPED,
        exchanged(FILE, OTHER),
        check="stats",
        rows=("values stand in other rows", f"{FILE}: its rows differ", f"{OTHER}: its rows differ"),
    ),
    "two commits are exchanged": Damage(WHOLE, exchanged(commit_name(6), commit_name(7)), check="log"),
    "two sidecars are exchanged": Damage(WHOLE, exchanged(*SIDECARS), check="size"),
    "two parts of a checkpoint are exchanged": Damage(MAPPED, exchanged(*PARTS)),
    "an older data file of the same size": Damage(
        WHOLE, older_file_of_the_same_size, check="stats", rows=("values differ in id, name", f"{PLAIN}: its rows differ")
    ),
    # what metadata says
    "a file is added twice": Damage(WHOLE, added_twice, check="duplicate"),
    "a commit loses a file": Damage(
        MAPPED, without_checkpoint(file_forgotten), rows=(f"{FILE}: the target's table does not have this data file",)
    ),
    "a commit loses a file that a checkpoint has": Damage(MAPPED, file_forgotten, check=("checkpoint", PARTS[0])),
    "an add has another count of rows": Damage(
        WHOLE, stats_edited(numRecords=41), check="rows", receipts=("differs", commit_name(6))
    ),
    "an add has other bounds": Damage(
        WHOLE, stats_edited(minValues={"id": 999}), check="stats", receipts=("differs", commit_name(6))
    ),
    "an add has another partition value": Damage(
        MAPPED, edit_add(2, partitionValues={"c5": "p1"}), rows=("values differ in p", "part-0.parquet: its rows differ")
    ),
    "a commit loses its deletion vector": Damage(
        MAPPED, rows_back, rows=("76 rows at the source, 78 at the target", "part-0.parquet: its rows differ: 18 .* 20")
    ),
    "a deletion vector has another count": Damage(
        MAPPED,
        lambda table: change(table, 2, lambda found: first(found, "add")["deletionVector"].update(cardinality=3)),
        check=("vector", VECTORS),
    ),
    "two deletion vectors are exchanged": Damage(
        MAPPED, vectors_exchanged, rows=("76 rows .* 76 at the target", "part-0.parquet: its rows differ")
    ),
    "a deletion vector deletes as many other rows": Damage(MAPPED, other_rows_deleted, rows=("part-0.parquet: its rows differ",)),
    "two columns exchange their physical names": Damage(
        MAPPED, schema_edited(('"c2"', '"c9"'), ('"c3"', '"c2"'), ('"c9"', '"c3"')), rows=("values differ in name, note",)
    ),
    "a column has another type": Damage(
        MAPPED,
        schema_edited(('"name": "price", "type": "double"', '"name": "price", "type": "string"')),
        check=("schema", "part-*.parquet"),
        refused="parquet: column 'price': the file holds double",
    ),
    "a checkpoint has another size of a file": Damage(
        WHOLE, checkpoint_edited(lambda rows: adds_in(rows)[0].update(size=1)), check="checkpoint"
    ),
    "a checksum file counts other bytes": Damage(
        WHOLE, edited_json(CRC, lambda said: said.update(tableSizeBytes=3)), check="checksum"
    ),
    "a compacted log loses its files": Damage(
        WHOLE, replaced(COMPACTED, lambda text: '{"txn": {"appId": "x", "version": 1}}'), check="compacted"
    ),
    "the hint names a version without a checkpoint": Damage(
        WHOLE, edited_json(HINT, lambda said: said.update(version=6)), check="hint"
    ),
    "a path points outside": Damage(WHOLE, outside, check="external", receipts=("differs", commit_name(6))),
    "somebody else commits": Damage(WHOLE, foreign_commit, receipts="extra"),
    "a commit forgets a transaction": Damage(WHOLE, without("txn", LAST), check=("checksum", CRC)),
    # rows
    "a cell is changed": Damage(
        MAPPED, cell(FILE, 5, c2="another name"), rows=("values differ in name$", f"{FILE}: its rows differ")
    ),
    "a number is changed within the file's bounds": Damage(MAPPED, cell(FILE, 5, c1=205), rows=("values differ in id$",)),
    "a decimal loses a hundredth": Damage(
        WHOLE, cell(PLAIN, 5, price=decimal.Decimal("10.07")), rows=("values differ in price$", f"{PLAIN}: its rows differ")
    ),
    "a timestamp is a microsecond late": Damage(
        WHOLE,
        cell(PLAIN, 5, at=datetime.datetime(2024, 2, 11, 22, 0, 0, 1, tzinfo=datetime.UTC)),
        rows=("values differ in at$",),
    ),
    "null becomes an empty text": Damage(MAPPED, cell(FILE, 4, c3=""), rows=("values differ in note$",)),
    "an empty text becomes null": Damage(MAPPED, cell(FILE, 0, c3=None), rows=("values differ in note$",)),
    "null becomes zero": Damage(MAPPED, cell(FILE, 4, c4=None), rows=("values differ in price$",)),
    "two values of a row are exchanged": Damage(
        MAPPED, rows_edited(FILE, pair_exchanged), rows=("values differ in name, note$",)
    ),
    "two rows are exchanged between partitions": Damage(
        MAPPED, rows_exchanged(FILE, OTHER, 5), check="stats", rows=(f"{FILE}: its rows differ", f"{OTHER}: its rows differ")
    ),
    "a row is there twice": Damage(
        MAPPED,
        rows_edited(FILE, lambda rows: [*rows, rows[5]]),
        check="rows",
        rows=("77 at the target", f"{FILE}: its rows differ"),
    ),
    "a row is lost": Damage(
        MAPPED, rows_edited(FILE, lambda rows: rows[:5] + rows[6:]), check="rows", rows=("75 at the target", f"{FILE}: .* 19 at")
    ),
    "a row is in the place of another": Damage(
        MAPPED,
        rows_edited(FILE, lambda rows: [*rows[:5], rows[6], *rows[6:]]),
        rows=("76 at the target", f"{FILE}: its rows differ"),
    ),
}
