"""What goes wrong elsewhere when Iceberg tables are moved, on tables of the reference engine: the table of docs/iceberg.md.

Lines of that table that other modules cover are not tested twice. Each test states what it plants; the audit
(`tests.formats.iceberg.audit`) and a reader that shares no code with the project say whether the target is whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lakehouse
from benchmarks.iceberg import big_table, sync_here
from lakehouse.config import Settings
from tests.corpus.conftest import CORPUS
from tests.corpus.iceberg_readers import by_duckdb, by_pyiceberg, root_of
from tests.formats.iceberg.audit import Table, audit
from tests.formats.iceberg.audit_files import deletes_of, puffin_of
from tests.formats.iceberg.iceberg_tables import changing_table
from tests.formats.iceberg.odd_tables import STATED, Odd

WITH_DELETES = ["i_mor", "i_mor_file", "i_orc", "i_avro", "i_v3"]
READ_BY_PYICEBERG = ["i_mor", "i_mor_file", "i_orc", "i_v3"]
FILE_PATH = 2147483546
Copied = Callable[..., Odd]


@pytest.fixture
def copied(tmp_path: Path) -> Copied:
    """A table of the corpus that may be edited, and where its replica goes."""

    def copy(name: str, target: str = "target") -> Odd:
        if not CORPUS.is_dir():
            pytest.skip("the corpus of real tables is not here (set LAKE_CORPUS to its folder)")
        made = Odd(name, tmp_path / "source" / name, tmp_path / target / name)
        shutil.copytree(CORPUS / "wild" / name, made.folder, ignore=shutil.ignore_patterns(".*.crc"))
        for path in made.folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        return made

    return copy


def entries(table: Odd) -> Iterator[dict[str, Any]]:
    """The entries of every manifest that a retained snapshot names, with its own snapshot id where that is inherited."""
    seen = set()
    for snapshot in json.loads(table.root.read_text())["snapshots"]:
        for manifest in table.listed(snapshot["manifest-list"]):
            if manifest["manifest_path"] not in seen:
                seen.add(manifest["manifest_path"])
                for entry in table.listed(manifest["manifest_path"]):
                    inherited = entry["snapshot_id"] if entry["snapshot_id"] is not None else manifest["added_snapshot_id"]
                    yield entry | {"snapshot_id": inherited}


def expire(table: Odd, number: int = -1) -> tuple[set[str], set[str]]:
    """Forget every snapshot but one and remove what it does not read, as `expire_snapshots` does.

    Gives the stated paths of live files, and of files that manifests still name as deleted and that are gone.
    """

    def forget(metadata: dict[str, Any]) -> None:
        metadata["snapshots"] = [metadata["snapshots"][number]]
        kept = metadata["snapshots"][0]["snapshot-id"]
        metadata["current-snapshot-id"] = metadata["refs"]["main"]["snapshot-id"] = kept
        metadata["snapshot-log"] = [one for one in metadata["snapshot-log"] if one["snapshot-id"] == kept]

    table.edit(forget)
    found = list(entries(table))
    live = {one["data_file"]["file_path"] for one in found if one["status"] != 2}
    deleted = {one["data_file"]["file_path"] for one in found if one["status"] == 2} - live
    for path in (table.folder / "data").rglob("*"):
        if path.is_file() and path not in {table.at(stated) for stated in live}:
            path.unlink()
    return live, deleted


def live_deletes(table: Odd) -> dict[str, str]:
    """Stated path and format of every live position-delete file."""
    found = (one["data_file"] for one in entries(table) if one["status"] != 2)
    return {one["file_path"]: one["file_format"].upper() for one in found if one.get("content") == 1}


def at_target(table: Odd, stated: str) -> Path:
    return table.target / stated.removeprefix(f"{STATED}/{table.name}/")


def named_by(path: Path, kind: str) -> set[str]:
    """The data files that a position-delete file or the blobs of a Puffin file name."""
    if kind == "PUFFIN":
        return {blob["properties"]["referenced-data-file"] for blob in puffin_of(path)[0]["blobs"]}
    return {stated for stated, _ in deletes_of(path, kind)}


@pytest.mark.parametrize("name", WITH_DELETES)
@pytest.mark.parametrize("target", ["t", "a place whose name is longer than that of the source by " + "far " * 20])
def test_every_length_and_size_is_right_whether_paths_become_longer_or_shorter(target: str, name: str, copied: Copied) -> None:
    """Trap 2: manifest_length, delete files and Puffin files."""
    table = copied(name, target)
    table.sync()
    assert table.findings() == []
    lists = [table.listed(snapshot["manifest-list"]) for snapshot in json.loads(table.root.read_text())["snapshots"]]
    manifests = {one["manifest_path"]: one["manifest_length"] for listed in lists for one in listed}
    assert any(at_target(table, stated).stat().st_size != length for stated, length in manifests.items())


@pytest.mark.parametrize("name", WITH_DELETES)
def test_every_delete_file_of_every_manifest_names_the_targets_data_files(name: str, copied: Copied) -> None:
    """Trap 4: all of them, not only the last that a manifest lists."""
    table = copied(name)
    table.sync()
    deletes = live_deletes(table)
    assert len(deletes) > 1
    for stated, kind in deletes.items():
        named = named_by(at_target(table, stated), kind)
        assert named
        assert all(path.startswith(f"file://{table.target}/") for path in named)


def test_the_referenced_data_file_of_parquet_deletes_names_the_targets_file(copied: Copied) -> None:
    """Trap 5: version 2 may state it for deletes of one data file."""
    table = copied("i_mor_file")

    def refer(records: list[dict[str, Any]]) -> None:
        for record in records:
            data_file = record.get("data_file") or {}
            if data_file.get("content") == 1:
                lower = {item["key"]: item["value"] for item in data_file["lower_bounds"]}
                data_file["referenced_data_file"] = lower[FILE_PATH].decode()

    table.every_avro(refer)
    assert any(one["data_file"]["referenced_data_file"] for one in entries(table))
    table.sync()
    assert table.findings() == []
    table.assert_rows()


@pytest.mark.parametrize("name", READ_BY_PYICEBERG)
def test_live_files_arrive_though_the_snapshots_that_added_them_are_expired(name: str, copied: Copied) -> None:
    """Trap 3: a plan of what the retained snapshots added would lack them."""
    table = copied(name)
    live, _ = expire(table)
    retained = {snapshot["snapshot-id"] for snapshot in json.loads(table.root.read_text())["snapshots"]}
    assert any(one["snapshot_id"] not in retained for one in entries(table) if one["status"] != 2)
    table.sync()
    assert all(at_target(table, stated).is_file() for stated in live)
    assert table.findings() == []
    table.assert_rows()


def test_live_files_arrive_after_rewrite_manifests_and_expire_snapshots(tmp_path: Path) -> None:
    """Trap 3: at the first sync, when one new manifest holds what older snapshots added."""
    with changing_table(tmp_path / "source") as source:
        for number in range(4):
            source.append(10 * number)
        source.merge_manifests(40)
        source.expire()
        target = tmp_path / "target"
        lakehouse.sync(str(source.folder), str(target), settings=Settings())
        tables = [
            Table(at, {f"file://{place}": place}) for at, place in ((root_of(target), target), (source.root, source.folder))
        ]
        assert audit(tables[0], tables[1], forbidden=[str(source.folder)]) == []
    shutil.rmtree(tmp_path / "source")
    for read in (by_pyiceberg, by_duckdb):
        found = read(root_of(target))["main"]
        assert not isinstance(found, str), found
        assert sorted(found["id"].to_pylist()) == list(range(50))


@pytest.mark.parametrize(("name", "number"), [("i_mor", -1), ("i_mor_file", -1), ("i_orc", -1), ("i_v3", 2)])
def test_files_that_manifests_name_as_deleted_and_that_are_gone_are_not_looked_for(
    name: str, number: int, copied: Copied
) -> None:
    """Trap 7: the entries stay, those of delete files and deletion vectors too."""
    table = copied(name)
    _, deleted = expire(table, number)
    assert any("deletes" in stated for stated in deleted)
    table.sync()
    assert not any(at_target(table, stated).exists() for stated in deleted)
    assert table.findings() == []
    table.assert_rows(str(table.newest()["snapshot-id"]))


@pytest.mark.parametrize("name", WITH_DELETES)
def test_a_second_sync_brings_the_new_delete_files_and_leaves_the_others_as_they_are(name: str, copied: Copied) -> None:
    table = copied(name)
    hint = int((table.folder / "metadata" / "version-hint.text").read_text())
    table.sync(version=f"v{hint - 2}.metadata.json")
    before = {path: path.read_bytes() for path in table.target.rglob("*") if "_lake" not in path.parts and path.is_file()}
    table.sync()
    deletes = {at_target(table, stated) for stated in live_deletes(table)}
    assert deletes & before.keys()
    assert deletes - before.keys()
    hints = {table.target / "metadata" / "version-hint.text"}
    assert all(path.read_bytes() == data for path, data in before.items() if path not in hints)
    assert table.findings() == []
    assert table.sync().unchanged


@pytest.mark.parametrize("name", ["i_mor", "i_v3"])
def test_several_tags_on_one_snapshot_are_no_obstacle(name: str, copied: Copied) -> None:
    """Trap 8."""
    table = copied(name)
    at = table.newest()["snapshot-id"]
    tags = {f"tag {number}": {"snapshot-id": at, "type": "tag"} for number in range(3)}
    table.edit(lambda metadata: metadata["refs"].update(tags))
    table.sync()
    assert table.findings() == []
    assert tags.keys() <= json.loads(root_of(table.target).read_text())["refs"].keys()


@pytest.mark.parametrize("target", ["$1", "a\\1b", "[x", "(", "i.mor*", "^a$"])
def test_characters_that_mean_something_to_regular_expressions_are_text(target: str, copied: Copied) -> None:
    """Traps 1 and 13: prefixes are literal."""
    table = copied("i_mor", target)
    table.sync()
    assert table.findings() == []
    assert json.loads(root_of(table.target).read_text())["location"] == f"file://{table.target}"
    table.assert_rows()


def test_a_slash_at_the_end_of_the_location_and_a_property_that_is_the_location_change_nothing(copied: Copied) -> None:
    """Trap 1."""
    table = copied("i_mor")
    stated = f"{STATED}/i_mor"
    table.edit(lambda metadata: metadata.update(location=f"{stated}/"))
    table.edit(lambda metadata: metadata["properties"].update({"write.data.path": stated}))
    table.sync()
    assert table.findings() == []
    made = json.loads(root_of(table.target).read_text())
    assert made["location"] == made["properties"]["write.data.path"] == f"file://{table.target}"
    table.assert_rows()


def test_metadata_files_of_the_log_that_are_gone_are_no_obstacle(copied: Copied) -> None:
    """Trap 7: entries of the metadata-log are left out, and that is said."""
    table = copied("i_mor")
    gone = [path for path in (table.folder / "metadata").glob("v*.metadata.json") if path != table.root]
    for path in gone:
        path.unlink()
    result = table.sync()
    assert len(gone) == 7
    assert table.findings() == []
    assert any("metadata-log" in finding.message for finding in result.findings)
    table.assert_rows()


@pytest.mark.parametrize("kind", ["statistics", "partition-statistics"])
def test_a_statistics_file_that_is_gone_is_left_out_and_said(kind: str, copied: Copied) -> None:
    table = copied("i_stats")
    [stated] = [raw["statistics-path"] for raw in json.loads(table.root.read_text())[kind]]
    table.at(stated).unlink()
    result = table.sync()
    made = json.loads(root_of(table.target).read_text())
    assert made[kind] == []
    others = {"statistics", "partition-statistics"} - {kind}
    assert all(len(made[other]) == 1 for other in others)
    assert any(Path(stated).name in finding.message for finding in result.findings)
    table.assert_rows()


def test_a_sync_of_one_new_snapshot_asks_as_often_whatever_the_history(tmp_path: Path) -> None:
    """Requests, by kind, after 4 snapshots with 8 manifests and after 40 with 120."""
    requests = []
    for manifests, snapshots in ((8, 4), (120, 40)):
        place = tmp_path / str(manifests)
        table = big_table(place / "source", manifests, 2, snapshots)
        sync_here(str(table.folder), str(place / "target"), synthetic=True)
        table.commit(1, 3)
        table.publish()
        found = sync_here(str(table.folder), str(place / "target"), synthetic=True)
        assert not found["unchanged"]
        requests.append(found["requests"])
    assert requests[0] == requests[1]
    assert sum(requests[0]["source"].values()) < 20
