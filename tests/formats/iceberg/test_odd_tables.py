"""Tables as they are met in the wild, made from tables of the reference engine by editing: relocated, audited, and read.

What is edited is stated in each test; the audit (`tests.formats.iceberg.audit`) and a reader say whether the target is whole.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import lakehouse
from lakehouse.config import Settings
from lakehouse.errors import NotFound, Unsupported
from tests.corpus.conftest import CORPUS
from tests.corpus.iceberg_readers import by_duckdb, by_pyiceberg, root_of
from tests.corpus.test_corpus import as_spark_writes
from tests.formats.iceberg.audit import Table, audit
from tests.formats.iceberg.iceberg_tables import changing_table, rows
from tests.formats.iceberg.odd_tables import STATED, Odd, add_field, swap_everywhere, widen_bounds, without_compression
from tests.formats.iceberg.test_audit import rewrite


@pytest.fixture
def odd(tmp_path: Path) -> Callable[..., Odd]:
    def copy(name: str, *, folder: str = "source", target: str = "target") -> Odd:
        if not CORPUS.is_dir():
            pytest.skip("the corpus of real tables is not here (set LAKE_CORPUS to its folder)")
        made = Odd(name, tmp_path / folder / name, tmp_path / target / name)
        shutil.copytree(CORPUS / "wild" / name, made.folder, ignore=shutil.ignore_patterns(".*.crc"))
        for path in made.folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        return made

    return copy


def test_version_1_metadata_that_names_its_manifests_itself_arrives(odd: Callable[..., Odd]) -> None:
    table = odd("i_v1")

    def name_manifests(metadata: dict[str, Any]) -> None:
        for snapshot in metadata["snapshots"]:
            snapshot["manifests"] = [one["manifest_path"] for one in table.listed(snapshot.pop("manifest-list"))]

    table.edit(name_manifests)
    table.sync()
    assert table.findings() == []


@pytest.mark.parametrize("name", ["v{}.gz.metadata.json", "v{}.metadata.json.gz", "v{}.metadata.json"])
def test_gzip_metadata_is_read_under_every_spelling_of_its_name(name: str, odd: Callable[..., Odd]) -> None:
    table = odd("i_mor")
    number = int((table.folder / "metadata" / "version-hint.text").read_text())
    data = table.root.read_bytes()
    table.root.unlink()
    packed = table.folder / "metadata" / name.format(number)
    packed.write_bytes(gzip.compress(data))
    table.sync()
    target = Table(root_of(table.target), {f"file://{table.target}": table.target})
    assert audit(target, Table(packed, table.places), forbidden=[STATED]) == []
    table.assert_rows()


@pytest.mark.parametrize("head", ["s3a://lake/wild", "s3n://lake/wild", "file:///warehouse/wild", "/warehouse/wild"])
def test_a_location_spelled_otherwise_than_the_paths_is_one_place(head: str, odd: Callable[..., Odd]) -> None:
    """Trap 12: scheme aliases."""
    table = odd("i_mor_file")
    spelled = "s3://lake/wild" if head.startswith("s3") else head
    if head.startswith("s3"):
        swap_everywhere(table, STATED, spelled)
    table.edit(lambda metadata: metadata.update(location=f"{head}/{table.name}"))
    table.sync()
    places = {f"{prefix}/{table.name}": table.folder for prefix in (head, spelled)}
    assert table.findings(head, spelled, places=places) == []
    table.assert_rows()


@pytest.mark.parametrize("name", ["i_mor", "i_mor_file"])
def test_deletes_of_files_inside_and_outside_the_location_are_sorted_again(
    name: str, odd: Callable[..., Odd], tmp_path: Path
) -> None:
    """Trap 4: ``…-archive/…`` comes before ``…/…``, ``ext/…`` comes after ``data/…``."""
    table, archive = odd(name), tmp_path / "archive"
    head = f"{STATED}/{name}/data/d_day=2026-01-02/"
    files = sorted(path.name for path in table.at(head).glob("*.parquet") if "-deletes" not in path.name)
    for file in files[::2]:
        swap_everywhere(table, f"{head}{file}", f"{STATED}/{name}-archive/{file}")
        archive.mkdir(exist_ok=True)
        (table.at(head) / file).rename(archive / file)
    widen_bounds(table)
    table.sync(maps={f"{STATED}/{name}-archive": str(archive)})
    assert len(list(table.target.glob("ext/*/*"))) == len(files[::2]) > 1
    assert table.findings(places={f"{STATED}/{name}-archive": archive}) == []
    known = json.loads((CORPUS / "wild" / "_expected" / f"{name}.json").read_text())["versions"]
    for version in known:
        table.assert_rows(version)
    assert all(not isinstance(found, str) for found in by_duckdb(root_of(table.target)).values())


def test_a_prefix_ends_at_a_segment(odd: Callable[..., Odd], tmp_path: Path) -> None:
    """Trap 1: ``…/i_cow`` is no prefix of ``…/i_cow-archive``."""
    table = odd("i_cow")
    stated = next(
        one for one in table.listed(table.listed(table.newest()["manifest-list"])[0]["manifest_path"]) if one["status"] != 2
    )
    path = stated["data_file"]["file_path"]
    moved = path.replace("/i_cow/", "/i_cow-archive/")
    archive = tmp_path / "archive"
    there = archive / path.removeprefix(f"{STATED}/i_cow/")
    there.parent.mkdir(parents=True)
    table.at(path).rename(there)

    def change(records: list[dict[str, Any]]) -> None:
        for record in records:
            if record.get("data_file", {}).get("file_path") == path:
                record["data_file"]["file_path"] = moved

    table.every_avro(change)
    with pytest.raises(Unsupported, match="i_cow-archive"):
        table.sync()
    assert not list(table.target.rglob("*.avro"))
    table.sync(maps={f"{STATED}/i_cow-archive": str(archive)})
    assert table.findings(places={f"{STATED}/i_cow-archive": archive}) == []
    table.assert_rows()


def test_two_files_outside_the_location_with_one_base_name_are_two(tmp_path: Path) -> None:
    """Trap 12: never flattened by base name."""
    with changing_table(tmp_path / "source") as source:
        source.append(0)
        for number in (1, 2):
            folder = tmp_path / "source" / f"loads {number}"
            folder.mkdir()
            pq.write_table(rows(100 * number).filter(pc.field("p") == "p 0+ä"), folder / "part-0.parquet")
        paths = [f"file://{tmp_path}/source/loads {number}/part-0.parquet" for number in (1, 2)]
        source.table.add_files(paths)
        target = tmp_path / "target"
        lakehouse.sync(str(source.folder), str(target), settings=Settings())
        assert len(list(target.glob("ext/*/part-0.parquet"))) == 2
        places = {f"file://{source.folder}": source.folder, f"file://{tmp_path}/source": tmp_path / "source"}
        made = Table(root_of(target), {f"file://{target}": target})
        assert audit(made, Table(source.root, places), forbidden=[f"{tmp_path}/source"]) == []
        for read in (by_pyiceberg, by_duckdb):
            answers = read(source.root), read(root_of(target))
            ids = [sorted(answer["main"]["id"].to_pylist()) for answer in answers if not isinstance(answer["main"], str)]
            assert len(ids) == 2
            assert ids[0] == ids[1]


@pytest.mark.parametrize(
    "folder", ["a b", "ü日本", "100%", "x%20y", "a+b", "a,b", "q'u", "a&b=c", "(x)[y]{z}", "a;b", "~t", "_lake"]
)
def test_any_character_may_stand_in_the_path_of_source_and_target(folder: str, odd: Callable[..., Odd]) -> None:
    """Trap 13: paths are text; nothing is decoded."""
    table = odd("i_mor_file", folder=folder, target=f"{folder} too")
    table.sync()
    assert table.findings() == []
    found = by_duckdb(root_of(table.target))["main"]
    assert not isinstance(found, str), found
    known = json.loads((CORPUS / "wild" / "_expected" / "i_mor_file.json").read_text())["versions"]["main"]["rows"]
    assert as_spark_writes(found) == known


@pytest.mark.parametrize("folder", ["a#b", "a?b"])
def test_a_number_sign_or_question_mark_in_the_target_is_kept_as_it_is(folder: str, odd: Callable[..., Odd]) -> None:
    """Trap 13."""
    table = odd("i_mor_file", folder=folder, target=f"{folder} too")
    table.sync()
    assert table.findings() == []


def test_keys_of_the_metadata_that_nobody_knows_survive(odd: Callable[..., Odd]) -> None:
    """Trap 6."""
    table = odd("i_refs")
    table.edit(lambda metadata: metadata.update({"x-unknown": {"a": [1, 2.5, None, "ü"]}}))
    table.edit(lambda metadata: metadata["snapshots"][0].update({"x-more": 9876543210123456789}))
    table.edit(lambda metadata: metadata["refs"]["audit"].update({"max-ref-age-ms": 7}))
    table.sync()
    assert table.findings() == []
    assert json.loads(root_of(table.target).read_text())["snapshots"][0]["x-more"] == 9876543210123456789


def test_fields_of_manifests_that_nobody_knows_survive(odd: Callable[..., Odd]) -> None:
    """Trap 6."""
    table = odd("i_mor")
    for path in sorted((table.folder / "metadata").glob("*.avro"), key=lambda path: path.name.startswith("snap-")):
        add_field(path)
        if path.name.startswith("snap-"):
            rewrite(path, table._lengths)
    table.sync()
    assert table.findings() == []
    table.assert_rows()


def test_manifests_without_compression_stay_so(odd: Callable[..., Odd]) -> None:
    table = odd("i_evolve")
    for path in sorted((table.folder / "metadata").glob("*.avro"), key=lambda path: path.name.startswith("snap-")):
        without_compression(path)
        if path.name.startswith("snap-"):
            rewrite(path, table._lengths)
            without_compression(path)
    table.sync()
    assert table.findings() == []
    table.assert_rows()


def test_write_paths_move_with_the_table_and_those_that_lead_elsewhere_are_removed_and_said(odd: Callable[..., Odd]) -> None:
    table = odd("i_cow")
    outside = {"write.object-storage.path": "s3://other/x", "write.metadata.path": f"{STATED}/i_cow/metadata"}
    table.edit(lambda metadata: metadata["properties"].update({"write.data.path": f"{STATED}/i_cow/data"} | outside))
    result = table.sync()
    assert table.findings() == []
    properties = json.loads(root_of(table.target).read_text())["properties"]
    assert properties["write.data.path"] == f"file://{table.target}/data"
    assert not outside.keys() & properties.keys()
    assert all(any(name in finding.message for finding in result.findings) for name in outside)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update({"format-version": 4}), "format version 4"),
        (lambda m: m.update({"encryption-keys": [{"key-id": "1", "encrypted-key-metadata": "AA"}]}), "encrypt"),
        (lambda m: m["snapshots"][0].update({"key-id": "1"}), "encrypt"),
    ],
    ids=["version 4", "encryption keys", "a snapshot's key"],
)
def test_what_cannot_be_carried_is_refused_by_name_and_nothing_is_written(
    change: Callable[[dict[str, Any]], Any], message: str, odd: Callable[..., Odd]
) -> None:
    """Trap 11."""
    table = odd("i_v3")
    table.edit(change)
    with pytest.raises(Unsupported, match=message):
        table.sync()
    assert not table.target.exists()


@pytest.mark.parametrize("content", ["manifest list", "manifest"])
def test_key_metadata_is_refused_and_nothing_is_written(content: str, odd: Callable[..., Odd]) -> None:
    """Trap 11."""
    table = odd("i_mor")

    def encrypt(records: list[dict[str, Any]]) -> None:
        for record in records:
            if content == "manifest list" and "manifest_path" in record:
                record["key_metadata"] = b"k"
            if content == "manifest" and "data_file" in record:
                record["data_file"]["key_metadata"] = b"k"

    table.every_avro(encrypt)
    with pytest.raises(Unsupported, match=r"encrypt|key_metadata"):
        table.sync()
    assert not [path for path in table.target.rglob("*") if path.is_file()]


@pytest.mark.parametrize("what", ["data", "deletes", "manifest", "manifest list"])
def test_a_live_file_that_is_missing_is_named_and_nothing_is_published(what: str, odd: Callable[..., Odd]) -> None:
    """Trap 10: a read error is no empty manifest."""
    table = odd("i_mor")
    lists = table.newest()["manifest-list"]
    manifests = table.listed(lists)
    content = 1 if what == "deletes" else 0
    manifest = next(one for one in manifests if one["content"] == content)["manifest_path"]
    stated = {"manifest list": lists, "manifest": manifest}.get(what) or table.listed(manifest)[0]["data_file"]["file_path"]
    table.at(stated).unlink()
    with pytest.raises(NotFound, match=Path(stated).name):
        table.sync()
    assert not list(table.target.glob("metadata/v*"))


@pytest.mark.parametrize("what", ["manifest", "manifest list"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_manifest_or_list_is_named_and_nothing_is_published(what: str, damage: str, odd: Callable[..., Odd]) -> None:
    """Trap 10."""
    table = odd("i_mor")
    stated = table.newest()["manifest-list"]
    stated = stated if what == "manifest list" else table.listed(stated)[0]["manifest_path"]
    data = bytearray(table.at(stated).read_bytes())
    if damage == "cut":
        del data[len(data) // 2 :]
    else:
        data[-30] ^= 0xFF
    table.at(stated).write_bytes(data)
    with pytest.raises(NotFound, match=Path(stated).name):
        table.sync()
    assert not list(table.target.glob("metadata/v*"))


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("i_mor", "data/**/*-0000?.parquet"),
        ("i_mor", "data/**/*-deletes.parquet"),
        ("i_v3", "data/**/*-deletes.puffin"),
        ("i_mor", "metadata/*-m?.avro"),
        ("i_mor", "metadata/snap-*.avro"),
        ("i_mor", "metadata/v*.metadata.json"),
        ("i_stats", "metadata/*.stats"),
    ],
)
@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_one_flipped_bit_or_missing_object_at_the_target_is_found_and_named(
    name: str, pattern: str, damage: str, odd: Callable[..., Odd]
) -> None:
    table = odd(name)
    table.sync()
    path = min(table.target.glob(pattern))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    if damage == "flipped":
        path.write_bytes(data)
    report = lakehouse.verify(str(table.target), settings=Settings())
    found = [(finding.kind, finding.path) for finding in report.findings]
    assert found == [("differs" if damage == "flipped" else "missing", str(path.relative_to(table.target)))]
