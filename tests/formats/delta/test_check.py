"""``lake check`` of Delta tables: nothing is wrong with a whole one, and one damage at a time is found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lakehouse
from lakehouse.errors import NotFound
from tests.formats.delta.whole_table import CLASSIC, LAST, LOG, commit, make, plain_file
from tests.formats.spark_like import mask

Damage = Callable[[Path], str]
"""Damages the table and gives the path of the object that must be named."""

HINT = f"{LOG}/_last_checkpoint"
CRC = f"{LOG}/{LAST:020d}.crc"
COMPACTED = f"{LOG}/{6:020d}.{6:020d}.compacted.json"
CLASSIC_PATH = f"{LOG}/{CLASSIC:020d}.checkpoint.parquet"
PLAIN = "region=north/plain-0.parquet"
OLDER = "region=north/plain-1.parquet"


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "table"
    folder.mkdir()
    make(folder)
    return folder


@pytest.fixture
def table(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "table"))


def commit_name(number: int) -> str:
    return f"{LOG}/{number:020d}.json"


def actions(table: Path, number: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in commit(table, number).read_text().splitlines()]


def change(table: Path, number: int, edit: Callable[[list[dict[str, Any]]], Any]) -> str:
    """Edit a commit's actions in place (or give others), and name it."""
    found = actions(table, number)
    found = edit(found) or found
    commit(table, number).write_text("".join(json.dumps(action) + "\n" for action in found))
    return commit_name(number)


def first(found: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    fields: dict[str, Any] = next(action[kind] for action in found if kind in action)
    return fields


def edit_add(number: int, **changes: Any) -> Damage:
    return lambda table: change(table, number, lambda found: first(found, "add").update(changes))


def edit_stats(table: Path, **changes: Any) -> str:
    def edit(found: list[dict[str, Any]]) -> None:
        add = first(found, "add")
        add["stats"] = json.dumps(json.loads(add["stats"]) | changes)

    change(table, 6, edit)
    return PLAIN


def one(table: Path, pattern: str) -> str:
    return str(sorted(table.glob(pattern))[0].relative_to(table))


def bit(path: str, at: int) -> Damage:
    def flip(table: Path) -> str:
        name = one(table, path)
        data = bytearray((table / name).read_bytes())
        data[at] ^= 2
        (table / name).write_bytes(data)
        return name

    return flip


def deleted(path: str) -> Damage:
    def delete(table: Path) -> str:
        name = one(table, path)
        (table / name).unlink()
        return name

    return delete


def cut(path: str, size: int = -30) -> Damage:
    def shorten(table: Path) -> str:
        name = one(table, path)
        (table / name).write_bytes((table / name).read_bytes()[:size])
        return name

    return shorten


def written(path: str, content: bytes) -> Damage:
    def write(table: Path) -> str:
        (table / path).write_bytes(content)
        return path

    return write


def edited_json(path: str, edit: Callable[[dict[str, Any]], Any]) -> Damage:
    def write(table: Path) -> str:
        content = json.loads((table / path).read_text())
        edit(content)
        (table / path).write_text(json.dumps(content))
        return path

    return write


def swapped(table: Path, one: str, other: str) -> None:
    first, second = (table / one).read_bytes(), (table / other).read_bytes()
    (table / one).write_bytes(second)
    (table / other).write_bytes(first)


def older_file_of_the_same_size(table: Path) -> str:
    size = (table / PLAIN).stat().st_size
    plain_file(table, "plain-0.parquet", 3003)
    assert (table / PLAIN).stat().st_size == size
    return PLAIN


def files_swapped(table: Path) -> str:
    assert (table / PLAIN).stat().st_size == (table / OLDER).stat().st_size
    swapped(table, PLAIN, OLDER)
    return PLAIN


def checkpoint_edited(edit: Callable[[list[dict[str, Any]]], Any]) -> Damage:
    def write(table: Path) -> str:
        whole = pq.read_table(table / CLASSIC_PATH)
        rows = whole.to_pylist(maps_as_pydicts="strict")
        rows = edit(rows) or rows
        pq.write_table(pa.Table.from_pylist(rows, schema=whole.schema), table / CLASSIC_PATH)
        return CLASSIC_PATH

    return write


def adds_in(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row["add"] for row in rows if row["add"]]


def without_one_add(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    gone = next(at for at, row in enumerate(rows) if row["add"])
    return rows[:gone] + rows[gone + 1 :]


def vector_changed(**changes: Any) -> Damage:
    def write(table: Path) -> str:
        name = one(table, "deletion_vector_*.bin")
        change(table, 5, lambda found: first(found, "add")["deletionVector"].update(changes))
        for path in sorted((table / LOG / "_sidecars").iterdir()) + sorted((table / LOG).glob("*7.checkpoint*")):
            path.unlink()
        (table / HINT).unlink()
        return name

    return write


def without(kind: str, number: int) -> Damage:
    return lambda table: change(table, number, lambda found: [action for action in found if kind not in action])


def renamed_field(table: Path) -> str:
    def edit(found: list[dict[str, Any]]) -> None:
        add = first(found, "add")
        add["deletionVectxr"] = add.pop("deletionVector")

    return change(table, 5, edit)


def renamed_action(table: Path) -> str:
    return change(table, 6, lambda found: [{"adf": a["add"]} if "add" in a else a for a in found])


def commits_swapped(table: Path) -> str:
    swapped(table, commit_name(6), commit_name(7))
    return commit_name(6)


def put_outside(table: Path) -> str:
    outside = f"file://{table.parent.parent / 'elsewhere' / 'x.parquet'}"
    change(table, 6, lambda found: first(found, "add").update(path=outside))
    return outside


def rebuilt(edit: Damage) -> Damage:
    """``edit``, and what would give it away but the files themselves is removed."""

    def write(table: Path) -> str:
        named = edit(table)
        for path in (*(table / LOG).glob("*7.checkpoint*"), table / HINT, table / CRC, table / COMPACTED):
            path.unlink(missing_ok=True)
        return named

    return write


DAMAGES: dict[str, tuple[str, Damage]] = {
    "a data file is deleted": ("missing", deleted(PLAIN)),
    "a data file is cut": ("size", cut(PLAIN)),
    "a data file is longer": ("size", lambda table: written(PLAIN, (table / PLAIN).read_bytes() + b"\0")(table)),
    "a data file is empty": ("size", written(PLAIN, b"")),
    "a bit flips in the length of a footer": ("unreadable", bit(PLAIN, -7)),
    "a bit flips in the last bytes of a data file": ("unreadable", bit(PLAIN, -2)),
    "a bit flips in the first bytes of a data file": ("unreadable", bit(PLAIN, 2)),
    "an older data file of the same size": ("stats", older_file_of_the_same_size),
    "two data files of the same size are swapped": ("stats", files_swapped),
    "the count of an add is changed": ("rows", rebuilt(lambda table: edit_stats(table, numRecords=41))),
    "the bounds of an add are changed": ("stats", rebuilt(lambda table: edit_stats(table, minValues={"id": 999}))),
    "the nulls of an add are changed": ("stats", rebuilt(lambda table: edit_stats(table, nullCount={"name": 1}))),
    "the size of an add is changed": ("size", rebuilt(lambda table: edit_add(6, size=5)(table) and PLAIN)),
    "a file that only older versions need is cut": ("size", cut(OLDER)),
    "a file of change data is cut": ("size", cut("_change_data/*.parquet")),
    "a file of deletion vectors is deleted": ("missing", deleted("deletion_vector_*.bin")),
    "a file of deletion vectors is cut": ("vector", cut("deletion_vector_*.bin", -3)),
    "a bit flips in a deletion vector": ("vector", bit("deletion_vector_*.bin", 30)),
    "a bit flips in the length of a deletion vector": ("vector", bit("deletion_vector_*.bin", 4)),
    "a bit flips in the version of a file of deletion vectors": ("vector", bit("deletion_vector_*.bin", 0)),
    "the cardinality of a deletion vector is changed": ("vector", vector_changed(cardinality=3)),
    "the offset of a deletion vector is changed": ("vector", vector_changed(offset=2)),
    "the length of a deletion vector is changed": ("vector", vector_changed(sizeInBytes=30)),
    "a deletion vector loses its name": ("log", renamed_field),
    "a commit in the middle is deleted": ("missing", deleted(commit_name(1))),
    "the newest commit is deleted": ("missing", deleted(commit_name(LAST))),
    "the newest commit is cut": ("unreadable", cut(commit_name(LAST))),
    "a commit is cut": ("unreadable", cut(commit_name(2))),
    "a commit is empty": ("log", written(commit_name(2), b"")),
    "a commit is no JSON": ("unreadable", written(commit_name(1), b"\x00\x01")),
    "two commits are swapped": ("log", commits_swapped),
    "a commit loses an action of adding": ("log", rebuilt(lambda table: without("add", 6)(table) and commit_name(7))),
    "an action of adding is duplicated": ("duplicate", lambda table: change(table, 6, lambda found: [*found, found[1]])),
    "a file is added and removed at once": (
        "log", lambda table: change(table, 6, lambda found: [*found, {"remove": {"path": first(found, "add")["path"]}}]),
    ),
    "an action has another kind": ("log", renamed_action),
    "a commit has two metaData actions": ("log", lambda table: change(
        table, 0, lambda found: [*found, {"metaData": first(found, "metaData")}]),
    ),
    "an add has no size": ("log", lambda table: change(table, 6, lambda found: first(found, "add").pop("size") and None)),
    "an add has no path": ("log", lambda table: change(table, 6, lambda found: first(found, "add").pop("path") and None)),
    "an add has broken statistics": ("log", edit_add(6, stats="{")),
    "a partition value is changed": ("partition", edit_add(6, partitionValues={"region": "south east"})),
    "a partition value is lost": ("partition", edit_add(6, partitionValues={})),
    "a file lies outside the table": ("external", rebuilt(put_outside)),
    "a sidecar is deleted": ("checkpoint", deleted(f"{LOG}/_sidecars/*.parquet")),
    "a sidecar is cut": ("size", cut(f"{LOG}/_sidecars/*.parquet")),
    "a bit flips in a sidecar": ("unreadable", bit(f"{LOG}/_sidecars/*.parquet", -8)),
    "a checkpoint is cut": ("unreadable", cut(CLASSIC_PATH)),
    "the newest checkpoint is no JSON": (
        "unreadable", lambda table: written(one(table, f"{LOG}/*7.checkpoint.*.json"), b"{")(table),
    ),
    "a checkpoint lacks a file": ("checkpoint", checkpoint_edited(without_one_add)),
    "a checkpoint has a file twice": ("checkpoint", checkpoint_edited(lambda rows: [*rows, *(r for r in rows if r["add"])])),
    "a checkpoint has another size": ("checkpoint", checkpoint_edited(lambda rows: adds_in(rows)[0].update(size=1))),
    "a checkpoint has other statistics": ("checkpoint", checkpoint_edited(lambda rows: adds_in(rows)[0].update(stats="{}"))),
    "a checkpoint has another schema": ("checkpoint", checkpoint_edited(
        lambda rows: next(r["metaData"] for r in rows if r["metaData"]).update(schemaString='{"type":"struct","fields":[]}')),
    ),
    "a checkpoint has another protocol": ("checkpoint", checkpoint_edited(
        lambda rows: next(r["protocol"] for r in rows if r["protocol"]).update(minWriterVersion=1)),
    ),
    "a checkpoint of another version is in its place": (
        "checkpoint", lambda table: change(table, 2, lambda found: [a for a in found if "add" not in a]) and CLASSIC_PATH,
    ),
    "a checksum file counts another number of files": ("checksum", edited_json(CRC, lambda said: said.update(numFiles=3))),
    "a checksum file has another size": ("checksum", edited_json(CRC, lambda said: said.update(tableSizeBytes=3))),
    "a checksum file has another schema": ("checksum", edited_json(CRC, lambda said: said["metadata"].update(id="other"))),
    "a checksum file has other transactions": (
        "checksum", edited_json(CRC, lambda said: said["setTransactions"][0].update(version=9)),
    ),
    "a checksum file is cut": ("unreadable", cut(CRC)),
    "the hint is no JSON": ("hint", written(HINT, b"{")),
    "the hint names what is not there": ("hint", edited_json(HINT, lambda said: said.update(version=6))),
    "the hint has another count": ("hint", edited_json(HINT, lambda said: said.update(size=99))),
    "the hint has another length": ("hint", edited_json(HINT, lambda said: said["v2Checkpoint"].update(sizeInBytes=99))),
    "a compacted log lacks a file": (
        "compacted", lambda table: written(COMPACTED, b'{"txn": {"appId": "x", "version": 1}}')(table),
    ),
    "a compacted log is cut": ("unreadable", cut(COMPACTED)),
}  # fmt: skip


def test_nothing_is_wrong_with_a_whole_table(table: Path) -> None:
    for deep in (False, True):
        report = lakehouse.check(str(table), deep=deep)
        assert report.findings == []
        assert report.version == str(LAST)
    live, older, vectors = 6, 2, 5
    assert report.objects == live + older + vectors + 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_one_damage_is_found_and_its_object_named(damage: str, table: Path) -> None:
    """Traps, Verification 7 and 8: found without a receipt, and named."""
    kind, inflict = DAMAGES[damage]
    named = inflict(table)
    found = lakehouse.check(str(table)).findings
    assert (kind, named) in {(finding.kind, finding.path) for finding in found}, found


def test_a_flipped_bit_in_a_page_is_found_by_deep(table: Path) -> None:
    bit(PLAIN, 700)(table)
    assert lakehouse.check(str(table)).ok
    (finding,) = lakehouse.check(str(table), deep=True).findings
    assert (finding.kind, finding.path) == ("unreadable", PLAIN)


def test_a_vector_that_deletes_rows_which_the_file_lacks_is_found(table: Path) -> None:
    before = one(table, "deletion_vector_*")
    mask(table, 60_000)
    (name,) = {str(path.relative_to(table)) for path in table.glob("deletion_vector_*")} - {before}
    assert ("vector", name) in {(finding.kind, finding.path) for finding in lakehouse.check(str(table)).findings}


def test_files_of_older_versions_that_vacuum_removed_are_no_finding(table: Path) -> None:
    (table / OLDER).unlink()
    (table / "_change_data" / "cdc-0.parquet").unlink()
    assert lakehouse.check(str(table)).ok


def test_a_log_that_was_cleaned_up_is_whole(table: Path) -> None:
    for number in range(CLASSIC):
        commit(table, number).unlink()
    assert lakehouse.check(str(table)).ok


def test_a_replica_with_a_gap_below_a_checkpoint_is_whole(table: Path) -> None:
    """Traps, Delta 17: the source cleaned its log between two syncs, so versions are lost."""
    for number in (1, 2):
        commit(table, number).unlink()
    assert lakehouse.check(str(table)).ok


def test_a_stale_hint_is_no_finding(table: Path) -> None:
    written(HINT, b'{"version": 3, "size": 1}')(table)
    found = lakehouse.check(str(table)).findings
    assert [finding.path for finding in found] == [HINT]
    written(HINT, json.dumps({"version": 3, "size": pq.read_metadata(table / CLASSIC_PATH).num_rows}).encode())(table)
    assert lakehouse.check(str(table)).ok


def test_an_older_version_is_looked_at_as_if_it_were_the_newest(table: Path) -> None:
    deleted("deletion_vector_*.bin")(table)
    assert lakehouse.check(str(table), version="4").ok
    assert not lakehouse.check(str(table), version="5").ok
    with pytest.raises(NotFound):
        lakehouse.check(str(table), version="99")


def test_files_elsewhere_are_read_where_they_are_permitted(table: Path, tmp_path: Path) -> None:
    outside = tmp_path.parent / "elsewhere"
    outside.mkdir(exist_ok=True)
    (table / PLAIN).rename(outside / "x.parquet")
    named = rebuilt(lambda table: change(
        table, 6, lambda found: first(found, "add").update(path=f"file://{outside}/x.parquet"))
    )  # fmt: skip
    named(table)
    assert [finding.kind for finding in lakehouse.check(str(table)).findings] == ["external"]
    assert lakehouse.check(str(table), allow_external=[f"file://{outside}"]).ok


def test_findings_come_in_one_order(table: Path) -> None:
    for path in sorted(table.glob("region=*/*.parquet")):
        path.unlink()
    found = [lakehouse.check(str(table), workers=workers).findings for workers in (1, 7)]
    assert found[0] == found[1]
    assert [finding.path for finding in found[0]] == sorted(finding.path for finding in found[0])


def test_a_place_without_a_table_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        lakehouse.check(str(tmp_path))
