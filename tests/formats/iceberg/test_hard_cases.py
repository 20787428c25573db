"""Cases at the source that a plain reading of the specification gets wrong: each was lost rows, or a refusal without a reason.

Tables by path have the names v1, v2, …, which may come again; files may be deleted and added again; clocks may go backwards.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog

import lakehouse
from lakehouse.config import CatalogSettings, Settings
from lakehouse.errors import Conflict, NotFound
from tests.corpus.conftest import CORPUS
from tests.corpus.iceberg_readers import by_pyiceberg, root_of
from tests.formats.iceberg.iceberg_tables import ChangingTable, changing_table
from tests.formats.iceberg.test_audit import rewrite
from tests.formats.iceberg.test_between_syncs import Pair, first, ids


@dataclass
class Numbered:
    """A table that engines find by path: v1, v2, … and a hint. ``versions``: the metadata of each, in order."""

    folder: Path
    target: Path
    versions: list[dict[str, Any]]

    def write(self, number: int, metadata: dict[str, Any]) -> Path:
        """Put v<number> of that content; the hint names it."""
        path = self.folder / "metadata" / f"v{number}.metadata.json"
        path.write_text(json.dumps(metadata))
        (self.folder / "metadata" / "version-hint.text").write_text(str(number))
        return path

    def stand(self, number: int) -> Path:
        """Make the source what it was when v<number> was its newest version."""
        for path in (self.folder / "metadata").glob("*.metadata.json"):
            path.unlink()
        return [self.write(at, metadata) for at, metadata in enumerate(self.versions[:number], 1)][-1]

    def sync(self, **options: Any) -> lakehouse.SyncResult:
        return lakehouse.sync(str(self.folder), str(self.target), settings=Settings(), **options)

    def verify(self, **options: Any) -> None:
        lakehouse.verify(str(self.target), settings=Settings(), **options).raise_for_findings()

    def published(self) -> dict[str, Any]:
        """The metadata that readers of the target find."""
        found: dict[str, Any] = json.loads(root_of(self.target).read_text())
        return found

    def contents(self) -> dict[str, bytes]:
        """Every object of the target, receipts apart."""
        found = {str(path.relative_to(self.target)): path.read_bytes() for path in self.target.rglob("*") if path.is_file()}
        return {name: data for name, data in found.items() if not name.startswith("_lake/")}


def numbered(folder: Path, *, commits: int = 3) -> Numbered:
    """A table of so many appends; it has one version more than that and stands at the newest."""
    with changing_table(folder / "source") as source:
        for commit in range(commits):
            source.append(10 * commit)
        roots = sorted((source.folder / "metadata").glob("*.metadata.json"))
        texts = [root.read_text() for root in roots]
        for number, root in enumerate(roots, 1):
            texts = [text.replace(root.name, f"v{number}.metadata.json") for text in texts]
        made = Numbered(source.folder, folder / "target", [json.loads(text) for text in texts])
    made.stand(len(texts))
    return made


@pytest.fixture
def table(tmp_path: Path) -> Numbered:
    return numbered(tmp_path)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A source with three snapshots, not synced yet."""
    with changing_table(tmp_path / "source") as source:
        for commit in range(3):
            source.append(10 * commit)
        yield Pair(source, tmp_path / "target")


def list_of(source: ChangingTable, snapshot: int) -> Path:
    """The manifest list of a snapshot."""
    found = source.table.snapshot_by_id(snapshot)
    if found is None:
        raise LookupError(snapshot)
    return Path(found.manifest_list.removeprefix("file://"))


def expire_all_but_current(source: ChangingTable) -> None:
    """Forget older snapshots and remove no file."""
    old = [one.snapshot_id for one in source.table.snapshots() if one.snapshot_id != source.current]
    source.table.maintenance.expire_snapshots().by_ids(old).commit()


def test_a_file_that_was_deleted_and_is_added_again_is_copied_though_a_manifest_at_the_target_names_it(tmp_path: Path) -> None:
    """Traps 3 and 7: a DELETED entry at the target is no proof that its file is there."""
    with changing_table(tmp_path / "source", **{"commit.manifest-merge.enabled": "false"}) as source:
        source.append(100)
        again = source.folder / "data" / "again.parquet"
        pq.write_table(pa.table({"id": pa.array([1, 2, 3], pa.int64()), "p": ["zz"] * 3}), again)
        source.table.add_files([f"file://{again}"])
        source.table.delete("p == 'zz'")
        expire_all_but_current(source)
        made = Pair(source, tmp_path / "target")
        made.sync()
        assert not (made.target / "data" / "again.parquet").exists()
        source.table.add_files([f"file://{again}"])
        source.merge_manifests(500)
        expire_all_but_current(source)
        made.sync()
        assert (made.target / "data" / "again.parquet").read_bytes() == again.read_bytes()
        made.assert_same()


# The same name is not the same version


def commit_again(table: Numbered, *, more: int = 0) -> None:
    """Restore the version before the newest, and commit under the number that is free then; and so many times more."""
    before, lost = table.versions[-2:]
    for number in range(len(table.versions) - 1, len(table.versions) + more):
        name = f"file://{table.folder}/metadata/v{number}.metadata.json"
        log = {"metadata-file": name, "timestamp-ms": before["last-updated-ms"]}
        at = lost["last-updated-ms"] + 1_000 * number
        more_of_log = {"metadata-log": [*before["metadata-log"], log]}
        before = before | {"properties": {"restored": "yes"}, "last-updated-ms": at} | more_of_log
        table.write(number + 1, before)


@pytest.mark.parametrize("more", [0, 2], ids=["the same name", "names after it"])
@pytest.mark.parametrize("options", [{}, {"checksum": True}], ids=["sync", "--checksum"])
def test_a_source_that_was_restored_and_committed_again_under_the_same_names_is_never_unchanged(
    options: dict[str, Any], more: int, table: Numbered
) -> None:
    """Trap 17: restored to an older root."""
    table.sync()
    before = table.contents()
    commit_again(table, more=more)
    with pytest.raises(Conflict, match="restored"):
        table.sync(**options)
    assert table.contents() == before


def test_another_table_that_stands_at_the_same_name_is_a_conflict(tmp_path: Path) -> None:
    one, other = numbered(tmp_path / "one"), numbered(tmp_path / "other")
    one.sync()
    before = one.contents()
    with pytest.raises(Conflict, match="another table"):
        lakehouse.sync(str(other.folder), str(one.target), settings=Settings())
    assert one.contents() == before


@contextmanager
def catalog_of(folder: Path, **tables: Path) -> Iterator[Settings]:
    """A catalog ``here`` whose entries ``ns.NAME`` stand at those metadata files."""
    address = f"sqlite:///{folder}/here.db"
    with closing(SqlCatalog("here", uri=address)) as catalog:
        catalog.create_namespace("ns")
        for name, root in tables.items():
            catalog.register_table(f"ns.{name}", f"file://{root}")
        yield Settings(catalogs={"here": CatalogSettings("here", "sql", address)})


def test_another_entry_of_a_catalog_that_stands_at_the_same_name_is_a_conflict(tmp_path: Path) -> None:
    one, other = numbered(tmp_path / "one"), numbered(tmp_path / "other")
    with catalog_of(tmp_path, one=one.stand(4), other=other.stand(4)) as settings:
        lakehouse.sync("here:ns.one", str(one.target), settings=settings)
        assert lakehouse.sync("here:ns.one", str(one.target), settings=settings).unchanged
        with pytest.raises(Conflict, match="another table"):
            lakehouse.sync("here:ns.other", str(one.target), settings=settings)


def test_an_entry_of_a_catalog_that_was_restored_and_committed_again_under_the_same_name_is_a_conflict(
    table: Numbered, tmp_path: Path
) -> None:
    """Trap 17."""
    with catalog_of(tmp_path, t=table.stand(4)) as settings:
        lakehouse.sync("here:ns.t", str(table.target), settings=settings)
        commit_again(table)
        with pytest.raises(Conflict, match="restored"):
            lakehouse.sync("here:ns.t", str(table.target), settings=settings)


def moved(table: Numbered, folder: Path) -> Numbered:
    """The table in ``folder``, with every address in it rewritten and every name kept, as tools that move tables do it."""
    old, new = str(table.folder), str(folder)
    shutil.copytree(table.folder, folder)

    def change(records: list[dict[str, Any]]) -> None:
        for record in records:
            record.get("data_file", record).update(
                {key: value.replace(old, new) for key, value in record.get("data_file", record).items() if isinstance(value, str)}
            )
            if "manifest_path" in record:
                record["manifest_length"] = Path(record["manifest_path"].removeprefix("file://")).stat().st_size

    for path in sorted((folder / "metadata").glob("*.avro"), key=lambda path: path.name.startswith("snap-")):
        rewrite(path, change)
    return Numbered(folder, table.target, [json.loads(json.dumps(one).replace(old, new)) for one in table.versions])


@pytest.mark.parametrize("commits", [0, 1], ids=["as it was", "with a commit more"])
def test_a_source_that_another_tool_moved_with_its_names_kept_is_followed(commits: int, tmp_path: Path) -> None:
    table = numbered(tmp_path, commits=4)
    table.stand(4)
    table.sync()
    elsewhere = moved(table, tmp_path / "moved")
    elsewhere.stand(4 + commits)
    shutil.rmtree(table.folder)
    elsewhere.sync()
    assert ids(by_pyiceberg(root_of(table.target), {"main": None})["main"]) == list(range(30 + 10 * commits))
    elsewhere.verify(against=str(elsewhere.folder))


def test_a_commit_of_a_writer_whose_clock_is_behind_arrives(table: Numbered) -> None:
    """Iceberg permits a minute between the clocks of writers."""
    table.stand(3)
    table.sync()
    at = table.versions[2]["last-updated-ms"] - 5_000
    late = table.versions[3]
    late["last-updated-ms"] = late["snapshots"][-1]["timestamp-ms"] = late["snapshot-log"][-1]["timestamp-ms"] = at
    table.stand(4)
    table.sync()
    assert table.published()["current-snapshot-id"] == late["current-snapshot-id"]
    table.verify(against=str(table.folder))


def test_a_source_restored_by_one_version_is_a_conflict_though_no_time_says_so(table: Numbered) -> None:
    """Trap 17: both versions have the same time."""
    table.versions[2]["last-updated-ms"] = table.versions[3]["last-updated-ms"]
    table.stand(4)
    table.sync()
    before = table.contents()
    table.stand(3)
    with pytest.raises(Conflict, match="never rolled back"):
        table.sync()
    assert table.contents() == before


def test_entries_of_the_metadata_log_that_have_the_same_time_are_told_apart(tmp_path: Path) -> None:
    table = numbered(tmp_path, commits=5)
    for metadata in table.versions:
        metadata["last-updated-ms"] = 1_000_000
        for logged in metadata["metadata-log"]:
            logged["timestamp-ms"] = 1_000_000
    for number in (1, 2, 4, 6):
        table.stand(number)
        table.sync()
        names = [logged["metadata-file"].rpartition("/")[2] for logged in table.published()["metadata-log"]]
        assert names == sorted(set(names))
        assert names[-1:] == [f"v{int(root_of(table.target).name[1]) - 1}.metadata.json"][: number - 1]


# Versions, terms and histories that are not whole


def test_an_older_version_may_be_named_after_its_snapshots_expired_while_its_files_are_there(pair: Pair) -> None:
    older = pair.source.root.name
    pair.source.append(30)
    expire_all_but_current(pair.source)
    pair.sync(version=older)
    assert pair.seen() == tuple(range(30))


def test_another_location_is_a_conflict_though_the_source_is_unchanged(table: Numbered) -> None:
    table.sync(location="s3://first/t")
    assert table.sync(location="s3://first/t").unchanged
    with pytest.raises(Conflict, match="--location s3://first/t"):
        table.sync(location="s3://second/t")


def test_another_map_is_never_unchanged_and_what_it_leads_to_is_compared(tmp_path: Path) -> None:
    away = tmp_path / "source" / "away"
    away.mkdir(parents=True)
    with changing_table(tmp_path / "source") as source:
        source.append(0)
        rows = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "p": ["zz"] * 3})
        pq.write_table(rows, away / "old.parquet")
        source.table.add_files([f"file://{away}/old.parquet"])
        made = Pair(source, tmp_path / "target")
        made.sync()
        shutil.copytree(away, tmp_path / "same")
        made.sync(maps={f"file://{away}": str(tmp_path / "same")})
        shutil.copytree(away, tmp_path / "other")
        pq.write_table(rows.slice(1), tmp_path / "other" / "old.parquet")
        before = made.contents()
        with pytest.raises(Conflict):
            made.sync(maps={f"file://{away}": str(tmp_path / "other")})
        assert made.contents() == before


def test_a_history_that_was_left_out_is_never_unchanged_without_the_flag_and_comes_when_it_is_there_again(pair: Pair) -> None:
    lost = list_of(pair.source, first(pair.source))
    data = lost.read_bytes()
    lost.unlink()
    pair.sync(skip_broken_history=True)
    with pytest.raises(NotFound, match="--skip-broken-history"):
        pair.sync()
    lost.write_bytes(data)
    pair.sync()
    pair.assert_same()


def test_what_is_left_out_of_a_broken_history_is_named_and_the_rest_is_proven_against_the_source(pair: Pair) -> None:
    """Trap 8: a tag goes with its snapshot, and nobody should have to find that out."""
    lost = first(pair.source)
    pair.source.tag("closing 2025", lost)
    list_of(pair.source, lost).unlink()
    said = [finding.message for finding in pair.sync(skip_broken_history=True).findings]
    assert f"tag closing 2025 of snapshot {lost} was left out with it" in said
    assert "closing 2025" not in json.loads(root_of(pair.target).read_text())["refs"]
    lakehouse.verify(str(pair.target), against=str(pair.source.folder), settings=Settings()).raise_for_findings()


def test_a_manifest_list_that_was_cut_behind_its_header_is_no_empty_table(pair: Pair) -> None:
    """Trap 10."""
    rewrite(list_of(pair.source, pair.source.current), lambda records: records.clear())
    with pytest.raises(NotFound, match="cut"):
        pair.sync()
    assert not list(pair.target.rglob("*.metadata.json"))


@pytest.mark.parametrize("name", ["i_mor", "i_v3", "i_up"])
def test_a_replica_that_grew_version_by_version_is_byte_for_byte_what_one_sync_makes(name: str, tmp_path: Path) -> None:
    """Traps 2 and 6: what is written depends on the source's version alone, so a proof and an adoption find the same."""
    if not CORPUS.is_dir():
        pytest.skip("the corpus of real tables is not here (set LAKE_CORPUS to its folder)")
    folder = tmp_path / "source" / name
    shutil.copytree(CORPUS / "wild" / name, folder)
    roots = {int(re.sub(r"\D", "", path.stem)): path for path in (folder / "metadata").glob("v*.metadata.json")}
    table = Numbered(folder, tmp_path / "target", [json.loads(roots[number].read_text()) for number in sorted(roots)])
    for number in sorted(roots):
        table.stand(number)
        table.sync()
    table.verify(against=str(folder))
    before = table.contents()
    shutil.rmtree(table.target / "_lake")
    table.sync()
    changed = {path for path, data in table.contents().items() if before.get(path) != data}
    assert changed == {f"metadata/{root_of(table.target).name}", "metadata/version-hint.text"}
    table.verify(against=str(folder))
