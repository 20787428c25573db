"""Damages to replicas of Iceberg tables."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.formats.delta.test_check import bit, cut, deleted, edited_json, written
from tests.formats.iceberg.handmade import HandmadeTable
from tests.formats.iceberg.test_audit import rewrite
from tests.tamper.damage import Damage, Inflict, Row, cell, copied, exchanged, flipped, rows_edited, rows_exchanged
from tests.tamper.replicas import FIELDS, SPEC

__all__ = ["DAMAGES", "DATA", "LISTS", "avro"]

V2, V3 = "iceberg 2", "iceberg 3"
ROOT, EARLIER, HINT = "metadata/v2.metadata.json", "metadata/v1.metadata.json", "metadata/version-hint.text"
LISTS = [f"metadata/snap-{7_000_000_000_000_000_001 + number}.avro" for number in range(3)]
ROWS, DELETES, LATER = "metadata/m2.avro", "metadata/m5.avro", "metadata/m8.avro"
DATA = [f"data/{number:05d}-data.parquet" for number in range(1, 5)]
POSITIONS, EQUAL, VECTOR, OTHER_VECTOR = (
    "data/00005-pos.parquet",
    "data/00006-eq.parquet",
    "data/00005-dv.puffin",
    "data/00006-dv.puffin",
)
STATISTICS = "metadata/numbers.stats"
Edit = Callable[[list[Row]], Any]


def avro(path: str, edit: Edit) -> Inflict:
    """Edit the records of a manifest list, or those of a manifest, of which every list then states the new length."""

    def inflict(table: Path) -> str:
        rewrite(table / path, edit)
        size = (table / path).stat().st_size
        for each in (table / "metadata").glob("snap-*.avro"):
            if path not in LISTS:
                rewrite(
                    each,
                    lambda records: [one.update(manifest_length=size) for one in records if one["manifest_path"].endswith(path)],
                )
        return path

    return inflict


def entry(manifest: str, number: int = 0, **values: Any) -> Inflict:
    """A manifest that says something else of one file."""
    return avro(manifest, lambda records: records[number]["data_file"].update(values))


def of(named: str, *edits: Inflict) -> Inflict:
    """Several edits that are one damage, to the object ``named``."""

    def inflict(table: Path) -> str:
        for edit in edits:
            edit(table)
        return named

    return inflict


def metadata(edit: Callable[[Row], Any]) -> Inflict:
    return edited_json(ROOT, edit)


def current(number: int) -> Callable[[Row], Any]:
    """Summary of the newest snapshot as if it had ``number`` delete files."""
    return lambda raw: raw["snapshots"][-1]["summary"].update(
        {"total-delete-files": str(number), "total-position-deletes": "0", "total-equality-deletes": "0"}
    )


def schema(edit: Callable[[list[Row]], Any]) -> Inflict:
    """Edit the fields of every schema."""
    return metadata(lambda raw: [edit(each["fields"]) for each in raw["schemas"]])


def ids_exchanged(fields: list[Row]) -> None:
    fields[1]["id"], fields[2]["id"] = fields[2]["id"], fields[1]["id"]


def delete_file(path: str, table_of: Callable[[pa.Table], pa.Table], number: int) -> Inflict:
    """Write a delete file of the newest snapshots anew, right in itself, and state its size."""

    def inflict(table: Path) -> str:
        pq.write_table(table_of(pq.ParquetFile(table / path).read()), table / path)
        entry(DELETES, number, file_size_in_bytes=(table / path).stat().st_size)(table)
        return path

    return inflict


def with_other_id(rows: pa.Table) -> pa.Table:
    """The second column has an id that readers do not look for."""
    return rows.cast(rows.schema.set(1, rows.schema.field(1).with_metadata({"PARQUET:field_id": "2147483544"})))


def other_values(at: int, values: pa.Array) -> Callable[[pa.Table], pa.Table]:
    return lambda rows: rows.set_column(at, rows.schema.field(at), values)


def other_vector(table: Path) -> str:
    """A Puffin file with a deletion vector of as many other rows, right in itself, in the place of the right one."""
    made = HandmadeTable(table.parent / "made", FIELDS, SPEC, version=3, avro_types={1000: "string"})
    found = made.vector({"file_path": f"{location(table)}/{DATA[0]}"}, [3, 9])
    shutil.move(made.at(found), table / VECTOR)
    place = ("file_size_in_bytes", "content_offset", "content_size_in_bytes")
    entry(DELETES, **{name: found[name] for name in place})(table)
    return VECTOR


def location(table: Path) -> str:
    return str(json.loads((table / ROOT).read_text())["location"])


def outside(table: Path) -> str:
    named = "s3://somewhere-else/c.parquet"
    entry(LATER, file_path=named)(table)
    return named


DAMAGES: dict[str, Damage] = {
    # bits
    "a bit flips in a data page of an Iceberg table": Damage(
        V2, flipped(DATA[0], b"name 000"), deep="unreadable", rows=("values differ in name", f"{DATA[0]}: its rows differ")
    ),
    "a bit flips in a metadata file": Damage(V2, flipped(ROOT, b'"current-schema-id":'), check="metadata"),
    "a bit flips in an earlier metadata file": Damage(V2, bit(EARLIER, 0), check="unreadable"),
    "a bit flips in a manifest list": Damage(V2, bit(LISTS[2], -5), check="unreadable"),
    "a bit flips in a manifest": Damage(V2, bit(ROWS, -5), check="unreadable"),
    "a bit flips in a position delete file": Damage(V2, bit(POSITIONS, -7), check="unreadable", rows=(POSITIONS,)),
    "a bit flips in an equality delete file": Damage(V2, bit(EQUAL, -7), check="unreadable", rows=(EQUAL,)),
    "a bit flips in a hint": Damage(V2, bit(HINT, 0), check="hint"),
    "a bit flips in a vector of a Puffin file": Damage(V3, bit(VECTOR, 40), check="vector", rows=(VECTOR,)),
    "a bit flips in the footer of a Puffin file": Damage(V3, bit(VECTOR, -12), check="unreadable"),
    "a bit flips in statistics": Damage(V3, bit(STATISTICS, -1), check="unreadable"),
    "a bit flips in the type of a column": Damage(
        V2, flipped(ROOT, b'"type":"strin'), check="metadata", refused="column 'name' cannot be read: .* of the type 'strinf'"
    ),
    "a bit flips in the schema of a metadata file": Damage(
        V2, flipped(ROOT, b'"require'), check="metadata", rows=("cannot be read at the target: .*its schema cannot be read",)
    ),
    "a bit flips in the schema of a manifest": Damage(
        V2,
        flipped(DELETES, b'"file_format", "type": "string"}, {"'),
        check="unreadable",
        rows=("cannot be read at the target: .*m5.avro is damaged: .*no field data_file.partition",),
    ),
    "a bit flips in the schema of a manifest list": Damage(
        V2,
        flipped(LISTS[2], b'"content", "type": "int"}, {"'),
        check="unreadable",
        rows=("cannot be read at the target: .* no sequence_number",),
    ),
    # what is cut, gone, or in another's place
    "a metadata file is cut": Damage(V2, cut(ROOT), check="unreadable"),
    "a manifest list is cut": Damage(V2, cut(LISTS[0]), check="unreadable"),
    "a manifest is cut": Damage(V2, cut(ROWS), check="unreadable"),
    "a Puffin file is cut": Damage(V3, cut(VECTOR), check="size"),
    "statistics are cut": Damage(V3, cut(STATISTICS), check="size"),
    "the current metadata file is deleted": Damage(V2, deleted(ROOT), check=("hint", HINT), receipts="missing"),
    "a manifest list of an older snapshot is deleted": Damage(V2, deleted(LISTS[0]), check="missing", receipts="missing"),
    "a manifest is deleted": Damage(V2, deleted(DELETES), check="missing", rows=(DELETES,), receipts="missing"),
    "a data file of an Iceberg table is deleted": Damage(
        V2, deleted(DATA[2]), check="missing", rows=(DATA[2],), receipts="missing"
    ),
    "a position delete file is deleted": Damage(V2, deleted(POSITIONS), check="missing", rows=(POSITIONS,), receipts="missing"),
    "an equality delete file is deleted": Damage(V2, deleted(EQUAL), check="missing", rows=(EQUAL,), receipts="missing"),
    "a Puffin file is deleted": Damage(V3, deleted(VECTOR), check="missing", rows=(VECTOR,), receipts="missing"),
    "statistics are deleted": Damage(V3, deleted(STATISTICS), check="missing", receipts="missing"),
    "a hint is deleted": Damage(V2, deleted(HINT), receipts="missing"),
    "two data files of an Iceberg table are exchanged": Damage(
        V2, exchanged(DATA[0], DATA[2]), check="stats", rows=(f"{DATA[0]}: its rows differ", f"{DATA[2]}: its rows differ")
    ),
    "two manifests are exchanged": Damage(V2, exchanged(ROWS, LATER), check=("length", LISTS[2])),
    "two manifest lists are exchanged": Damage(V2, exchanged(LISTS[1], LISTS[2]), check=("summary", ROOT)),
    "two delete files are exchanged": Damage(V2, exchanged(POSITIONS, EQUAL), check="size"),
    "two Puffin files are exchanged": Damage(V3, exchanged(VECTOR, OTHER_VECTOR), check="vector"),
    "an older data file of the same size in an Iceberg table": Damage(
        V2, copied(DATA[0], DATA[2]), check="stats", rows=("values differ in id",)
    ),
    "an older manifest list in place of the newest": Damage(
        V2,
        copied(LISTS[1], LISTS[2]),
        check=("summary", ROOT),
        rows=("37 at the target", f"{DATA[2]}: the target's table does not have"),
    ),
    "a hint to the past": Damage(V2, written(HINT, b"1"), check="hint"),
    "an older metadata file in place of the newest": Damage(
        V2, copied(EARLIER, ROOT), rows=("77 rows at the source, 40 at the target",)
    ),
    # what metadata says
    "an entry is there twice": Damage(
        V2,
        avro(ROWS, lambda records: records.append(records[0])),
        check="duplicate",
        rows=("95 at the target", f"{DATA[0]}: its rows differ: 18 .* 36"),
    ),
    "a manifest is listed twice": Damage(
        V2,
        avro(LISTS[2], lambda records: records.append(records[0])),
        check="duplicate",
        rows=("114 at the target", f"{DATA[0]}: its rows differ: 18 .* 36"),
    ),
    "a data manifest is dropped from the list": Damage(
        V2,
        avro(LISTS[2], lambda records: records.pop(2)),
        check=("summary", ROOT),
        rows=("77 rows at the source, 37 at the target",),
    ),
    "a delete manifest is dropped from the list": Damage(
        V2,
        avro(LISTS[2], lambda records: records.pop(1)),
        check=("summary", ROOT),
        rows=("77 rows at the source, 80 at the target",),
    ),
    "a delete manifest is dropped, and counted no more": Damage(
        V2,
        of(LISTS[2], avro(LISTS[2], lambda records: records.pop(1)), metadata(current(0))),
        rows=("77 rows at the source, 80 at the target", f"{DATA[0]}: its rows differ: 18 .* 20", f"{DATA[1]}: .* 19 .* 20"),
    ),
    "a delete file is dropped from its manifest": Damage(
        V2,
        avro(DELETES, lambda records: records.pop(0)),
        check=("counts", LISTS[1]),
        rows=("77 rows at the source, 79 at the target",),
    ),
    "a manifest list states another length": Damage(
        V2, avro(LISTS[2], lambda records: records[2].update(manifest_length=records[2]["manifest_length"] - 1)), check="length"
    ),
    "a manifest list counts other rows": Damage(
        V2, avro(LISTS[2], lambda records: records[2].update(added_rows_count=9)), check="counts"
    ),
    "a manifest list states another sequence number": Damage(
        V2, avro(LISTS[2], lambda records: records[2].update(sequence_number=9)), check="sequence"
    ),
    "an equality delete is older than its data": Damage(
        V2,
        avro(LISTS[2], lambda records: records[1].update(sequence_number=1, min_sequence_number=1)),
        check="sequence",
        rows=(f"{DATA[1]}: its rows differ: 19 .* 20",),
    ),
    "a manifest counts other rows of a file": Damage(V2, entry(LATER, record_count=21), check=("rows", DATA[2])),
    "a manifest states another size of a file": Damage(V2, entry(LATER, file_size_in_bytes=5), check=("size", DATA[2])),
    "a manifest states another partition": Damage(V2, entry(LATER, partition={"p": "z"}), check=("partition", DATA[2])),
    "a manifest states other bounds": Damage(
        V2, entry(LATER, lower_bounds=[{"key": 1, "value": (202).to_bytes(8, "little")}]), check=("stats", DATA[2])
    ),
    "an equality delete goes by another column": Damage(
        V2, entry(DELETES, 1, equality_ids=[2]), rows=("77 rows at the source, 78 at the target", f"{DATA[1]}: .* 19 .* 20")
    ),
    "a vector has another place in its file": Damage(V3, entry(DELETES, content_offset=11), check=("vector", VECTOR)),
    "a vector is of another data file": Damage(
        V3, lambda table: entry(DELETES, referenced_data_file=f"{location(table)}/{DATA[1]}")(table), check=("vector", VECTOR)
    ),
    "two columns exchange their ids": Damage(V2, schema(ids_exchanged), rows=("values differ in name, note",)),
    "a column of an Iceberg table has another type": Damage(
        V2,
        schema(lambda fields: fields[0].update(type="string")),
        check=("schema", DATA[0]),
        refused="parquet: column 'id': the file holds int64",
    ),
    "a default for older files is changed": Damage(
        V3,
        schema(lambda fields: [each.update({"initial-default": 8}) for each in fields if each["name"] == "rank"]),
        rows=("values differ in rank$",),
    ),
    "the current snapshot is an older one": Damage(
        V2, metadata(lambda raw: raw.update({"current-snapshot-id": raw["snapshots"][0]["snapshot-id"]})), check="metadata"
    ),
    "the table goes back to an older snapshot": Damage(
        V2,
        metadata(
            lambda raw: [
                raw.update({"current-snapshot-id": raw["snapshots"][1]["snapshot-id"], "snapshot-log": raw["snapshot-log"][:2]}),
                raw["refs"]["main"].update({"snapshot-id": raw["snapshots"][1]["snapshot-id"]}),
            ]
        ),
        rows=("37 at the target", f"{DATA[2]}: the target's table does not have this data file"),
    ),
    "a file of an Iceberg table points outside": Damage(V2, outside, check="external", receipts=("differs", LATER)),
    "somebody else writes a newer metadata file": Damage(
        V2, copied(ROOT, "metadata/v3.metadata.json"), check=("hint", HINT), receipts=("differs", "")
    ),
    # rows
    "a position delete deletes another row": Damage(
        V2,
        delete_file(POSITIONS, other_values(1, pa.array([3, 8], pa.int64())), 0),
        rows=("77 at the target", f"{DATA[0]}: its rows differ"),
    ),
    "a position delete file gives its positions another id": Damage(
        V2, delete_file(POSITIONS, with_other_id, 0), check="unreadable", rows=(f"{POSITIONS}: lacks the column 'pos'",)
    ),
    "an equality delete deletes another row": Damage(
        V2,
        delete_file(EQUAL, other_values(0, pa.array([106], pa.int64())), 1),
        rows=("77 at the target", f"{DATA[1]}: its rows differ"),
    ),
    "a vector deletes as many other rows": Damage(V3, other_vector, rows=("76 at the target", f"{DATA[0]}: its rows differ")),
    "a cell of an Iceberg table is changed": Damage(
        V2, cell(DATA[2], 5, price=1.25), rows=("values differ in price$", f"{DATA[2]}: its rows differ")
    ),
    "a row of an Iceberg table is in the place of another": Damage(
        V2, rows_edited(DATA[2], lambda rows: [*rows[:5], rows[6], *rows[6:]]), rows=(f"{DATA[2]}: its rows differ",)
    ),
    "two rows of an Iceberg table are exchanged between files": Damage(V2, rows_exchanged(DATA[0], DATA[2], 5), check="stats"),
}
