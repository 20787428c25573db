"""``--level rows`` of sync and verify: what is read on both sides is compared, and a difference is shown where it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from lakehouse.errors import Verification
from lakehouse.options import Options
from lakehouse.report import Report
from lakehouse.store import Buffer, ObjectInfo, Store, Traits
from lakehouse.sync import replicate
from tests.cli.conftest import Lake
from tests.formats.iceberg.iceberg_tables import changing_table
from tests.sync.places import Places


def people(first: int, count: int = 10) -> pa.Table:
    ids = list(range(first, first + count))
    names, ages = [f"name {number}" for number in ids], [float(number) for number in ids]
    return pa.table({"id": pa.array(ids, pa.int64()), "name": names, "age": ages})


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    """Three versions; the last one deletes rows."""
    folder = tmp_path / "source"
    write_deltalake(str(folder), people(0))
    write_deltalake(str(folder), people(10), mode="append")
    DeltaTable(str(folder)).delete("id = 3 OR id = 14")
    return folder


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Three files of ten people."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for number in range(3):
        pq.write_table(people(10 * number), folder / f"{number}.parquet")
    return folder


def test_the_receipt_holds_the_sources_rows_so_that_no_source_is_needed(lake: Lake, delta: Path) -> None:
    ran = lake("sync", delta, "copy", "--level", "rows", "--json")
    assert (ran.exit_code, ran.document["proof"]) == (0, "rows")
    shutil.move(delta, delta.with_name("gone"))
    ran = lake("verify", "copy", "--level", "rows", "--json")
    assert (ran.exit_code, ran.document["level"]) == (0, "rows")
    (record,) = ran.document["rows"]
    assert (record["rows"], sorted(record["columns"]), record["algorithm"]) == (18, ["age", "id", "name"], "lrh1")


def test_every_version_that_was_asked_for_is_proven(lake: Lake, delta: Path) -> None:
    assert lake("sync", delta, "copy", "--level", "rows").exit_code == 0
    alone = lake("verify", "copy", "--level", "rows", "--versions", "all", "--json")
    assert alone.exit_code == 1, "the receipt speaks of the newest version only: not known is not proven"
    assert [finding["kind"] for finding in alone.document["findings"]] == ["unchecked"]
    assert "lake sync" not in lake("sync", delta, "copy", "--level", "rows", "--versions", "all").stderr
    all_of_them = lake("verify", "copy", "--level", "rows", "--versions", "all", "--json")
    assert [(record["point"], record["rows"]) for record in all_of_them.document["rows"]] == [
        ("newest version", 18),
        ("version 1", 20),
        ("version 0", 10),
    ]
    for versions, points in (("2", ["newest version", "version 1"]), ("latest", ["newest version"])):
        fewer = lake("verify", "copy", "--level", "rows", "--versions", versions, "--json")
        assert (fewer.exit_code, [record["point"] for record in fewer.document["rows"]]) == (0, points)


def test_a_run_that_asks_for_no_more_than_was_proven_is_unchanged(lake: Lake, delta: Path) -> None:
    assert lake("sync", delta, "copy", "--level", "rows", "--versions", "2").exit_code == 0
    for options in (("--level", "rows"), ("--level", "rows", "--versions", "2"), ()):
        assert lake("sync", delta, "copy", *options, "--json").document["unchanged"], options
    more = lake("sync", delta, "copy", "--level", "rows", "--versions", "all", "--json").document
    assert not more["unchanged"]
    assert more["copied"]["files"] == 0


def test_a_replica_that_was_proven_by_bytes_is_proven_by_rows_without_being_sent_again(lake: Lake, delta: Path) -> None:
    assert lake("sync", delta, "copy").exit_code == 0
    ran = lake("sync", delta, "copy", "--level", "rows", "--json").document
    assert (ran["proof"], ran["copied"]["files"], ran["unchanged"]) == ("rows", 0, False)


def test_an_older_version_whose_files_were_vacuumed_is_not_held_against_the_replica(lake: Lake, delta: Path) -> None:
    DeltaTable(str(delta)).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert lake("sync", delta, "copy", "--level", "rows", "--versions", "all").exit_code == 0
    ran = lake("verify", "copy", "--level", "rows", "--versions", "all", "--against", delta, "--json")
    assert ran.exit_code == 0, ran.stdout
    gone = {record["point"]: bool(record["gone"]) for record in ran.document["rows"]}
    assert (gone["newest version"], gone["version 1"], gone["version 0"]) == (False, True, True)


def test_an_older_version_that_is_damaged_is_not_taken_for_one_that_was_cleaned_up(lake: Lake, delta: Path) -> None:
    """Trap Verification 4: what could not be checked is no success."""
    for number in (0, 1):
        for action in map(json.loads, (delta / f"_delta_log/{number:020d}.json").read_text().splitlines()):
            if "add" in action:
                damaged = delta / action["add"]["path"]
    data = bytearray(damaged.read_bytes())
    data[4:200] = bytes(196)
    damaged.write_bytes(bytes(data))
    ran = lake("sync", delta, "copy", "--level", "rows", "--versions", "all")
    assert (ran.exit_code, damaged.name in ran.stderr) == (3, True)
    assert lake("sync", delta, "copy", "--level", "rows").exit_code == 0
    damaged.unlink()
    shutil.rmtree(lake.folder / "copy")
    ran = lake("sync", delta, "copy", "--level", "rows", "--versions", "all", "--json")
    assert ran.exit_code == 0
    assert any("can no longer be read at the source (version 1)" in found["message"] for found in ran.document["findings"])


def test_columns_that_differ_only_in_case_are_shown_too(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    pq.write_table(pa.table({"a": [1, 2], "A": [3, 4]}), tmp_path / "plain" / "f.parquet")
    assert lake("sync", tmp_path / "plain", "copy").exit_code == 0
    pq.write_table(pa.table({"a": [1, 2], "A": [3, 5]}), tmp_path / "copy" / "f.parquet")
    ran = lake("verify", "copy", "--level", "rows", "--against", tmp_path / "plain", "--key", "a", "--show", "3")
    assert ran.exit_code == 4
    assert "  a=2: A: 4 -> 5" in ran.stdout.splitlines()


def test_rows_that_cannot_be_shown_do_not_hide_that_they_differ(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    numbers = [pa.array([1, value], pa.int64()).cast(pa.decimal256(40, 0)) for value in (2, 3)]
    for folder, values in zip(("plain", "copy"), numbers, strict=True):
        if folder == "copy":
            assert lake("sync", tmp_path / "plain", "copy").exit_code == 0
        pq.write_table(pa.table({"a": [1, 2], "d": values}), tmp_path / folder / "f.parquet")
    ran = lake("verify", "copy", "--level", "rows", "--against", tmp_path / "plain", "--key", "a", "--show", "3", "--json")
    assert ran.exit_code == 4
    kinds = [finding["kind"] for finding in ran.document["findings"]]
    assert "rows" in kinds
    assert "unchecked" in kinds


def test_a_difference_names_the_columns_the_file_and_the_rows(lake: Lake, plain: Path) -> None:
    """Trap Verification 7: the file is whole, and says something else."""
    assert lake("sync", plain, "copy").exit_code == 0
    damaged = lake.folder / "copy" / "1.parquet"
    table = pq.read_table(damaged)
    names = ["somebody else" if row["id"] == 11 else row["name"] for row in table.to_pylist()]
    pq.write_table(table.set_column(1, "name", pa.array(names)), damaged)
    asked = ("verify", "copy", "--level", "rows", "--against", plain, "--key", "id", "--show", "5")
    ran = lake(*asked, "--json")
    assert (ran.exit_code, ran.document["level"]) == (4, "none")
    found = [finding for finding in ran.document["findings"] if finding["kind"] == "rows"]
    assert [finding["path"] for finding in found] == ["", damaged.name]
    assert "30 rows at the source, 30 at the target; values differ in name" in found[0]["message"]
    (example,) = ran.document["examples"]
    assert (example["key"], example["source"]["name"], example["target"]["name"]) == ({"id": "11"}, "name 11", "somebody else")
    assert "  id=11: name: name 11 -> somebody else" in lake(*asked).stdout.splitlines()


def test_a_file_that_cannot_be_read_is_named(lake: Lake, plain: Path) -> None:
    assert lake("sync", plain, "copy").exit_code == 0
    (lake.folder / "copy" / "2.parquet").write_bytes(b"PAR1 no more")
    ran = lake("verify", "copy", "--level", "rows", "--against", plain, "--key", "id", "--show", "5", "--json")
    assert ran.exit_code == 4
    found = {finding["kind"]: finding for finding in ran.document["findings"]}
    assert found["differs"]["path"] == "2.parquet"
    assert "2.parquet" in found["rows"]["message"]


def test_show_needs_a_key_and_a_source(lake: Lake, delta: Path) -> None:
    assert lake("sync", delta, "copy").exit_code == 0
    for options in (("--show", "3"), ("--show", "3", "--key", "id"), ("--show", "3", "--key", "id", "--against", delta)):
        ran = lake("verify", "copy", *options)
        assert (ran.exit_code, "--show needs" in ran.stderr) == (2, True)
    ran = lake("verify", "copy", "--versions", "some")
    assert (ran.exit_code, "all, latest, or how many" in ran.stderr) == (2, True)


def test_rows_of_every_snapshot_of_an_iceberg_table(lake: Lake, tmp_path: Path) -> None:
    with changing_table(tmp_path / "warehouse") as table:
        table.append(0)
        table.append(10)
        table.delete("id < 5")
        table.set_hint()
        ran = lake("sync", table.root.parent.parent, "copy", "--level", "rows", "--versions", "all", "--json")
        assert (ran.exit_code, ran.document["proof"]) == (0, "rows"), ran.stdout
        shutil.rmtree(tmp_path / "warehouse")
        again = lake("verify", "copy", "--level", "rows", "--versions", "all", "--json")
    assert again.exit_code == 0, again.stdout
    assert again.document["rows"][0]["rows"] == 15
    assert len({record["point"] for record in again.document["rows"]}) == len(again.document["rows"])


def test_two_versions_of_an_iceberg_table_are_two(lake: Lake, tmp_path: Path) -> None:
    with changing_table(tmp_path / "warehouse") as table:
        table.append(0)
        first = table.current
        table.append(10)
        table.set_hint()
        ran = lake("sync", table.root.parent.parent, "copy", "--level", "rows", "--versions", "2", "--json")
        assert ran.exit_code == 0, ran.stdout
    rows = lake("verify", "copy", "--level", "rows", "--versions", "2", "--json").document["rows"]
    assert [(record["point"], record["rows"]) for record in rows] == [("newest version", 20), (f"snapshot {first}", 10)]


def test_plain_files_that_are_going_to_be_removed_are_not_counted(lake: Lake, plain: Path) -> None:
    assert lake("sync", plain, "copy", "--level", "rows").exit_code == 0
    (plain / "1.parquet").unlink()
    ran = lake("sync", plain, "copy", "--level", "rows", "--delete", "--json")
    assert (ran.exit_code, ran.document["proof"]) == (0, "rows"), ran.stdout
    assert lake("verify", "copy", "--level", "rows", "--json").document["rows"][0]["rows"] == 20


def test_files_of_any_kind_have_no_rows(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "any").mkdir()
    (tmp_path / "any" / "model.onnx").write_bytes(b"model")
    ran = lake("sync", tmp_path / "any", "copy", "--format", "files", "--level", "rows")
    assert (ran.exit_code, "no rows" in ran.stderr, (tmp_path / "copy").exists()) == (6, True, False)


class Lying:
    """A store that says it compared what arrived, and keeps another object: valid Parquet of as many bytes."""

    def __init__(self, store: Store, instead: dict[str, bytes]) -> None:
        self._store, self._instead = store, instead

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    @property
    def traits(self) -> Traits:
        return replace(self._store.traits, confirms_put=True)

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        return self._store.put(path, self._instead.get(path, data), size=size, if_absent=if_absent)


def numbers(*values: int) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"v": pa.array(values, pa.int64())}), sink, compression="none", use_dictionary=False)
    return bytes(sink.getvalue())


def test_a_store_that_confirms_what_it_did_not_keep_is_found_out_before_the_receipt() -> None:
    """Trap Verification 5: the rows are read independently of the copy."""
    places = Places(format="parquet")
    sent, kept = numbers(1, 2), numbers(1, 3)
    assert len(sent) == len(kept)
    places.source.put("a.parquet", sent, size=len(sent))
    lying = replace(places.replica(), target=cast(Store, Lying(places.target, {"a.parquet": kept})))
    with pytest.raises(Verification, match="values differ in v") as caught:
        replicate(lying, Options(level="rows"))
    assert isinstance(caught.value.report, Report)
    assert [finding.path for finding in caught.value.report.findings] == ["", "a.parquet"]
    assert not [info.path for info in places.receipts.list("receipts")]
    assert replicate(lying, Options(level="bytes")).proof == "bytes", "bytes believes what such a store says"
