"""What others, or an earlier run that was killed, left at the target: never overshadowed nor taken for proven, healed if ours."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog

import lakehouse
from lakehouse.config import Settings
from lakehouse.errors import Conflict, Unsupported
from tests.corpus.conftest import CORPUS
from tests.corpus.iceberg_readers import root_of
from tests.formats.iceberg.iceberg_tables import rows
from tests.formats.iceberg.test_audit import rewrite
from tests.formats.iceberg.test_between_syncs import Pair, commit_at
from tests.formats.iceberg.test_hard_cases import Numbered, numbered
from tests.formats.iceberg.test_hard_cases import pair as pair  # a fixture


@pytest.fixture
def table(tmp_path: Path) -> Numbered:
    return numbered(tmp_path)


@pytest.fixture
def wild(tmp_path: Path) -> Callable[[str], Numbered]:
    """A table of the reference engine that stands at its newest version."""

    def copy(name: str) -> Numbered:
        if not CORPUS.is_dir():
            pytest.skip("the corpus of real tables is not here (set LAKE_CORPUS to its folder)")
        folder = tmp_path / "source" / name
        shutil.copytree(CORPUS / "wild" / name, folder)
        roots = {int(re.sub(r"\D", "", path.stem)): path for path in (folder / "metadata").glob("v*.metadata.json")}
        made = Numbered(folder, tmp_path / "target", [json.loads(roots[number].read_text()) for number in sorted(roots)])
        made.stand(len(roots))
        return made

    return copy


def damage(path: Path) -> None:
    """Lose the last row of a Parquet file; flip a bit in the middle of any other."""
    if path.suffix == ".parquet":
        pq.write_table(pq.ParquetFile(path).read()[:-1], path)
        return
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# Commits of others


@pytest.mark.parametrize("name", ["v{}.gz.metadata.json", "v{}.metadata.json.gz"])
@pytest.mark.parametrize("also_at_the_source", [True, False], ids=["both moved on", "only the target moved on"])
def test_a_packed_commit_of_somebody_else_at_the_target_is_a_conflict_and_is_not_overshadowed(
    also_at_the_source: bool, name: str, table: Numbered
) -> None:
    """Trap 14: where a property asks for gzip engines write v2.gz.metadata.json, and they read v2.metadata.json first."""
    table.stand(3)
    table.sync()
    theirs = table.published()
    theirs |= {"properties": {"owner": "somebody else"}, "last-updated-ms": theirs["last-updated-ms"] + 1}
    (table.target / "metadata" / name.format(2)).write_bytes(gzip.compress(json.dumps(theirs).encode()))
    (table.target / "metadata" / "version-hint.text").write_text("2")
    if also_at_the_source:
        table.stand(4)
    before = table.contents()
    with pytest.raises(Conflict):
        table.sync()
    assert table.contents() == before


def test_a_commit_through_a_catalog_that_a_replica_by_path_was_entered_in_is_a_conflict(pair: Pair, tmp_path: Path) -> None:
    """Trap 14: it leaves a file <N>-<uuid>.metadata.json beside our v<N>."""
    pair.sync()
    with closing(SqlCatalog("theirs", uri=f"sqlite:///{tmp_path}/theirs.db")) as catalog:
        catalog.create_namespace("ns")
        catalog.register_table("ns.t", f"file://{root_of(pair.target)}").append(rows(500))
    pair.source.append(30)
    before = pair.contents()
    with pytest.raises(Conflict, match="through a catalog"):
        pair.sync()
    assert pair.contents() == before


@pytest.mark.parametrize("number", [3, 4], ids=["hint not moved", "hint moved"])
def test_a_packed_commit_at_the_source_is_never_unchanged(number: int, table: Numbered) -> None:
    """Trap 16: the hint is put after the commit, and engines ignore that it could not be."""
    table.stand(3)
    table.sync()
    packed = table.folder / "metadata" / "v4.gz.metadata.json"
    packed.write_bytes(gzip.compress(json.dumps(table.versions[3]).encode()))
    (table.folder / "metadata" / "version-hint.text").write_text(str(number))
    table.sync()
    assert table.published()["current-snapshot-id"] == table.versions[3]["current-snapshot-id"]


# Receipts that are lost


def expire_as_engines_do(table: Numbered, *keep: int) -> dict[str, Any]:
    """The newest metadata without the snapshots but those; a retained one goes on naming its parent."""
    newest = table.versions[-1]
    kept = [snapshot for at, snapshot in enumerate(newest["snapshots"]) if at in keep]
    log = [one for one in newest["snapshot-log"] if one["snapshot-id"] in {snapshot["snapshot-id"] for snapshot in kept}]
    return newest | {"snapshots": kept, "snapshot-log": log}


@pytest.mark.parametrize("tagged", [False, True], ids=["all but the newest", "a tag holds the first"])
def test_without_receipts_snapshots_that_the_source_expired_are_still_its_own(tagged: bool, table: Numbered) -> None:
    """Retained snapshots name their parents: those were the source's."""
    table.stand(3)
    table.sync()
    shutil.rmtree(table.target / "_lake")
    expired = expire_as_engines_do(table, *([0, 2] if tagged else [2]))
    if tagged:
        snapshot = expired["snapshots"][0]["snapshot-id"]
        expired["refs"] = expired["refs"] | {"kept": {"snapshot-id": snapshot, "type": "tag"}}
    table.write(4, expired)
    table.sync()
    assert table.published()["snapshots"][-1]["snapshot-id"] == expired["current-snapshot-id"]
    assert set(table.published()["refs"]) == set(expired["refs"])
    table.verify(against=str(table.folder))


def test_without_receipts_a_snapshot_that_nothing_proves_to_be_the_sources_is_a_conflict_that_names_the_way_out(
    pair: Pair,
) -> None:
    """Trap 14: sequence numbers and times of two forks overlap, so they prove nothing."""
    pair.sync()
    with_theirs = json.loads(root_of(pair.target).read_text())
    theirs = with_theirs["snapshots"][-1] | {"snapshot-id": 4711, "parent-snapshot-id": with_theirs["current-snapshot-id"]}
    theirs["sequence-number"] += 1
    commit_at(pair.target, change={"snapshots": [*with_theirs["snapshots"], theirs], "current-snapshot-id": 4711})
    shutil.rmtree(pair.target / "_lake")
    pair.source.append(30)
    pair.source.append(40)
    before = pair.contents()
    with pytest.raises(Conflict, match=r"4711.*another target"):
        pair.sync()
    assert pair.contents() == before


# What a killed run left, and what was lost since


def carried_over(folder: Path, snapshots: list[dict[str, Any]]) -> set[str]:
    """The names of files that the manifests of those snapshots name as EXISTING, and none as ADDED."""

    def records(stated: str) -> list[Any]:
        with (folder / "metadata" / Path(stated).name).open("rb") as file:
            return list(fastavro.reader(file))

    manifests = {one["manifest_path"] for snapshot in snapshots for one in records(snapshot["manifest-list"])}
    named = [(one["status"], Path(one["data_file"]["file_path"]).name) for path in manifests for one in records(path)]
    return {name for status, name in named if status == 0} - {name for status, name in named if status == 1}


@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "damaged"])
def test_a_delete_file_that_a_killed_run_left_is_compared_and_gets_into_the_receipt(
    damaged: bool, wild: Callable[[str], Numbered], tmp_path: Path
) -> None:
    """Its snapshot is expired when the next run comes, so manifests name it as EXISTING only: no proof that it is whole."""
    table = wild("i_mor")
    newest, last = len(table.versions), table.versions[-1]
    full = tmp_path / "full"
    lakehouse.sync(str(table.folder), str(full), settings=Settings(), location=f"file://{table.target}")
    table.stand(3)
    table.sync()
    known = {snapshot["snapshot-id"] for snapshot in table.versions[2]["snapshots"]}
    retained = known | {ref["snapshot-id"] for ref in last["refs"].values()}
    kept = [snapshot for snapshot in last["snapshots"] if snapshot["snapshot-id"] in retained]
    names = carried_over(table.folder, kept)
    left = [path.relative_to(full) for path in full.rglob("*-deletes.parquet") if path.name in names]
    left = [path for path in left if not (table.target / path).exists()]
    assert left
    for path in left:
        (table.target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(full / path, table.target / path)
        if damaged:
            damage(table.target / path)
    log = [one for one in last["snapshot-log"] if one["snapshot-id"] in retained]
    table.write(newest, last | {"snapshots": kept, "snapshot-log": log})
    if damaged:
        published = table.published()
        with pytest.raises(Conflict, match=left[0].name):
            table.sync()
        assert table.published() == published
    else:
        table.sync()
        table.verify(against=str(table.folder))


LOST = ["*-m0.avro", "snap-*.avro", "*-deletes.parquet", "version-hint.text"]


@pytest.mark.parametrize("name", LOST, ids=["a manifest", "a manifest list", "a delete file", "the hint"])
def test_what_was_lost_at_the_target_is_put_again_by_checksum(name: str, wild: Callable[[str], Numbered]) -> None:
    table = wild("i_mor")
    table.sync()
    before = table.contents()
    lost = sorted(table.target.rglob(name))[0]
    lost.unlink()
    assert not table.sync(checksum=True).unchanged
    assert lost.exists()
    table.verify(against=str(table.folder))
    assert before.keys() <= table.contents().keys()
    assert table.sync(checksum=True).unchanged


@pytest.mark.parametrize("name", LOST[:3], ids=["a manifest", "a manifest list", "a delete file"])
def test_what_was_damaged_at_the_target_is_named_by_checksum_and_put_again_once_it_is_removed(
    name: str, wild: Callable[[str], Numbered]
) -> None:
    """Verification 7: one flipped bit is found, and named."""
    table = wild("i_mor")
    table.sync()
    damaged = sorted(table.target.rglob(name))[0]
    whole = damaged.read_bytes()
    damage(damaged)
    with pytest.raises(Conflict, match=re.escape(damaged.name)):
        table.sync(checksum=True)
    damaged.unlink()
    table.sync(checksum=True)
    assert damaged.read_bytes() == whole
    table.verify(against=str(table.folder))


# Deletes whose paths are spelled otherwise than those of the manifests


def test_deletes_that_would_begin_to_apply_in_the_replica_are_refused_and_nothing_is_published(
    wild: Callable[[str], Numbered],
) -> None:
    """Engines compare the paths of deletes with those of manifests as text; trap 12: one place, two spellings."""
    table = wild("i_mor")
    for path in table.folder.rglob("*-deletes.parquet"):
        found = pq.ParquetFile(path).read()
        texts = [text.replace("file:/warehouse", "file:///warehouse") for text in found["file_path"].to_pylist()]
        pq.write_table(found.set_column(0, found.schema.field(0), pa.array(texts, found.schema.field(0).type)), path)
    with pytest.raises(Unsupported, match=r"position deletes name files as file:///warehouse"):
        table.sync()
    assert not list(table.target.rglob("*.metadata.json"))


@pytest.mark.parametrize("spelled", ["file:///warehouse", "/warehouse"])
def test_a_table_that_spells_its_location_otherwise_in_its_manifests_is_carried_and_that_is_said(
    spelled: str, wild: Callable[[str], Numbered]
) -> None:
    """Trap 12: new data files, or all, may be named in another spelling than older ones; the deletes use one of them."""
    table = wild("i_mor")
    for path in sorted((table.folder / "metadata").glob("*-m0.avro"))[:2]:
        rewrite(path, lambda records: respell(records, spelled))
    said = [finding.message for finding in table.sync().findings]
    assert any("spells its own location in several ways" in message and f"{spelled}/wild/i_mor/" in message for message in said)


def respell(records: list[dict[str, Any]], spelled: str) -> None:
    for record in records:
        stated = record["data_file"]["file_path"]
        if record["data_file"]["content"] == 0:
            record["data_file"]["file_path"] = stated.replace("file:/warehouse", spelled)
