"""`lake sync` and `lake verify` end to end: what is printed, the JSON and the exit codes."""

from __future__ import annotations

from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest

from lakehouse_cli.schemas import DOCUMENTS
from tests.cli.conftest import Lake


def check(document: dict[str, object], name: str) -> None:
    jsonschema.validate(document, DOCUMENTS[name].model_json_schema(mode="serialization"))
    assert document["ok"] is (document["exit_code"] == 0)


@pytest.fixture
def replica(lake: Lake, table: Path) -> Path:
    target = table.with_name("replica")
    assert lake("sync", table, target).exit_code == 0
    return target


def one_file(folder: Path) -> Path:
    return next(folder.rglob("part-1.parquet"))


def test_a_sync_makes_the_table_and_its_document_has_every_field(lake: Lake, table: Path) -> None:
    ran = lake("sync", table, "replica", "--json")
    assert ran.exit_code == 0, ran.stderr
    assert ran.stderr == ""
    document = ran.document
    check(document, "sync")
    assert (document["command"], document["format"], document["proof"]) == ("sync", "parquet", "bytes")
    assert document["copied"] == {"files": 3, "bytes": sum(file.stat().st_size for file in table.rglob("*.parquet"))}
    assert document["unchanged"] is False
    for file in table.rglob("*.parquet"):
        assert (lake.folder / "replica" / file.relative_to(table)).read_bytes() == file.read_bytes()


def test_a_second_sync_is_unchanged(lake: Lake, table: Path, replica: Path) -> None:
    ran = lake("sync", table, replica, "--json")
    assert ran.exit_code == 0, ran.stderr
    assert ran.document["unchanged"] is True
    assert "unchanged" in lake("sync", table, replica).stdout


def test_people_read_what_was_done_and_the_receipt(lake: Lake, table: Path) -> None:
    ran = lake("sync", table, "replica")
    assert ran.exit_code == 0, ran.stderr
    assert "proven to bytes" in ran.stdout
    assert "copied    3 objects" in ran.stdout
    assert "receipt" in ran.stdout
    assert ran.stderr == ""


def test_a_delta_table_is_described_and_replicated(lake: Lake, delta_table: Path) -> None:
    ran = lake("sync", delta_table, "replica", "--json")
    assert ran.exit_code == 0, ran.stderr
    check(ran.document, "sync")
    assert (ran.document["format"], ran.document["version"]) == ("delta", "1")
    verified = lake("verify", "replica", "--json")
    assert (verified.exit_code, verified.document["version"]) == (0, "1"), verified.stdout


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(lake: Lake, table: Path) -> None:
    ran = lake("sync", table, "replica", "--dry-run")
    assert ran.exit_code == 0, ran.stderr
    assert "- day=1/part-1.parquet" in ran.stdout.splitlines()
    document = lake("sync", table, "replica", "--dry-run", "--json").document
    check(document, "sync-dry-run")
    assert document["to_copy"]["files"] == 3
    assert not (lake.folder / "replica").exists()


def test_verify_proves_a_replica_without_its_source(lake: Lake, table: Path, replica: Path) -> None:
    table.rename(table.with_name("gone"))
    ran = lake("verify", replica, "--json")
    assert ran.exit_code == 0, ran.stdout
    check(ran.document, "verify")
    assert (ran.document["level"], ran.document["findings"]) == ("bytes", [])
    assert "= day=1/part-1.parquet" in lake("verify", replica, "-v").stdout
    assert "=" not in lake("verify", replica).stdout.replace("day=", "")


def test_one_flipped_byte_is_found_named_and_exit_4(lake: Lake, replica: Path) -> None:
    file = one_file(replica)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    ran = lake("verify", replica, "--json")
    assert ran.exit_code == 4
    check(ran.document, "verify")
    assert [(finding["kind"], finding["path"]) for finding in ran.document["findings"]] == [("differs", "day=1/part-1.parquet")]
    assert ran.document["level"] == "none"
    people = lake("verify", replica)
    assert people.exit_code == 4
    assert any(line.startswith("* day=1/part-1.parquet:") for line in people.stdout.splitlines())


def test_a_missing_object_is_found_with_its_sign(lake: Lake, replica: Path) -> None:
    one_file(replica).unlink()
    ran = lake("verify", replica)
    assert ran.exit_code == 4
    assert any(line.startswith("- day=1/part-1.parquet:") for line in ran.stdout.splitlines())


def test_another_receipt_than_the_expected_one_is_a_difference(lake: Lake, replica: Path) -> None:
    sha256 = lake("verify", replica, "--json").document["receipt_sha256"]
    assert lake("verify", replica, "--expect-receipt", sha256).exit_code == 0
    assert lake("verify", replica, "--expect-receipt", "0" * 64).exit_code == 4


def test_no_table_and_no_receipt_are_exit_3(lake: Lake, table: Path) -> None:
    assert lake("sync", "nowhere", "replica").exit_code == 3
    ran = lake("verify", table, "--json")
    assert ran.exit_code == 3
    check(ran.document, "error")
    assert ran.document["error"]["kind"] == "NotFound"


def test_a_file_that_vanished_at_the_source_is_a_conflict_unless_delete_is_given(lake: Lake, table: Path, replica: Path) -> None:
    one_file(table).unlink()
    ran = lake("sync", table, replica)
    assert ran.exit_code == 5
    assert "--delete" in ran.stderr
    assert one_file(replica).exists()
    assert lake("sync", table, replica, "--delete").exit_code == 0
    assert not list(replica.rglob("part-1.parquet"))


def test_a_table_that_needs_what_cannot_be_carried_is_exit_6(lake: Lake, delta_table: Path) -> None:
    first = delta_table / "_delta_log" / f"{0:020d}.json"
    protocol = '{"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["teleport"], "writerFeatures": ["teleport"]}'
    first.write_text(first.read_text().replace('{"minReaderVersion": 1, "minWriterVersion": 2}', protocol))
    ran = lake("sync", delta_table, "replica")
    assert ran.exit_code == 6, ran.stderr
    assert "teleport" in ran.stderr
    assert not (lake.folder / "replica").exists()


def test_a_source_that_does_not_answer_is_exit_7(lake: Lake) -> None:
    (lake.folder / "lake.toml").write_text(
        '[store.dead]\nurl = "s3://b"\nendpoint_url = "http://127.0.0.1:1"\nregion = "us-east-1"\nkey = "k"\nsecret = "env:PW"\n'
    )
    ran = lake("sync", "dead:x", "replica", "--retries", "0", "--json", PW="hunter2hunter2")
    assert ran.exit_code == 7, ran.stderr
    check(ran.document, "error")
    assert ran.document["error"]["kind"] == "Transfer"


def test_places_can_be_named_by_lake_toml(lake: Lake, table: Path) -> None:
    (lake.folder / "lake.toml").write_text('[store.eu]\nurl = "eu"\n[dataset.sales]\ntable = "orders"\n')
    ran = lake("sync", "sales", "eu:orders", "--json")
    assert ran.exit_code == 0, ran.stderr
    assert (lake.folder / "eu" / "orders").is_dir()
