"""``lake check``: what is printed, exit codes, and that nothing counts as whole which was not looked at."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lakehouse
from lakehouse import formats
from lakehouse.check import look
from lakehouse.errors import LakeError, Verification
from lakehouse.local_store import LocalStore
from lakehouse.progress import ProgressEvent
from lakehouse.testing.faulty_store import Faults, FaultyStore
from lakehouse.url import parse
from lakehouse_cli.schemas import DOCUMENTS
from tests.cli.conftest import Lake, Ran
from tests.formats.delta.whole_table import LOG, make


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    folder = tmp_path / "orders"
    folder.mkdir()
    for number in range(3):
        pq.write_table(pa.table({"id": list(range(10))}), folder / f"part-{number}.parquet")
    return folder


def document(ran: Ran) -> dict[str, Any]:
    jsonschema.validate(ran.document, DOCUMENTS["check"].model_json_schema(mode="serialization"))
    assert ran.document["ok"] is (ran.document["exit_code"] == 0)
    assert ran.document["exit_code"] == ran.exit_code
    return ran.document


def test_a_whole_table_is_exit_0_and_v_lists_its_objects(lake: Lake, table: Path) -> None:
    ran = lake("check", table)
    assert ran.exit_code == 0, ran.stderr
    assert ran.stdout.endswith("is whole; 3 objects looked at\n")
    shown = lake("check", table, "-v", "--deep").stdout.splitlines()
    assert sorted(shown[:-1]) == [f"= part-{number}.parquet" for number in range(3)]
    assert shown[-1].endswith("3 objects looked at, every page read")


def test_what_is_wrong_is_a_line_each_and_exit_4(lake: Lake, table: Path) -> None:
    (table / "part-1.parquet").write_bytes(b"PAR1 no more PAR1")
    ran = lake("check", table)
    assert ran.exit_code == 4
    first, last = ran.stdout.splitlines()
    assert first.startswith("* part-1.parquet: unreadable: cannot be read (")
    assert "NOT whole, 1 finding(s); 3 objects looked at" in last


def test_the_document_names_each_object(lake: Lake, table: Path) -> None:
    (table / "part-1.parquet").write_bytes(b"PAR1 no more PAR1")
    found = document(lake("check", table, "--json"))
    assert (found["format"], found["deep"], found["objects"]) == ("parquet", False, 3)
    (finding,) = found["findings"]
    assert (finding["kind"], finding["path"]) == ("unreadable", "part-1.parquet")


def test_what_could_not_be_looked_at_is_exit_1_and_never_whole(lake: Lake, table: Path) -> None:
    """Traps, Verification 4: "could not check" is a failure."""
    (table / "part-1.parquet").write_bytes(b"PARE" + bytes(50) + b"PARE")
    ran = lake("check", table)
    assert ran.exit_code == 1
    assert ran.stdout.startswith("! part-1.parquet: unchecked: ")
    assert "encrypted" in ran.stdout


def test_a_place_without_a_table_is_exit_3(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert lake("check", tmp_path / "empty").exit_code == 3
    assert lake("check", tmp_path / "empty", "--format", "delta").exit_code == 3


def test_plain_files_of_any_kind_have_nothing_to_check_and_are_no_whole_table(lake: Lake, table: Path) -> None:
    ran = lake("check", table, "--format", "files")
    assert ran.exit_code == 6
    assert "have nothing to check; lake verify holds a replica against its receipts" in ran.stderr
    assert "whole" not in ran.stdout


def test_a_table_whose_root_cannot_be_read_is_a_finding_that_names_it(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "table"
    folder.mkdir()
    make(folder)
    newest = max((folder / LOG).glob("*8.json"))
    newest.write_bytes(newest.read_bytes()[:-5])
    ran = lake("check", folder, "--json")
    assert ran.exit_code == 4
    found = document(ran)
    assert found["version"] == ""
    assert [finding["path"] for finding in found["findings"]] == [f"{LOG}/{newest.name}"]


def test_findings_are_raised_as_verification_and_what_is_not_known_as_an_error(table: Path) -> None:
    lakehouse.check(str(table)).raise_for_findings()
    (table / "part-1.parquet").write_bytes(b"PARE" + bytes(50) + b"PARE")
    with pytest.raises(LakeError, match="could not check 1") as unknown:
        lakehouse.check(str(table)).raise_for_findings()
    assert not isinstance(unknown.value, Verification)
    (table / "part-2.parquet").write_bytes(b"")
    with pytest.raises(Verification, match=re.escape("part-2.parquet")):
        lakehouse.check(str(table)).raise_for_findings()


def test_progress_tells_of_every_object(table: Path) -> None:
    events: list[ProgressEvent] = []
    lakehouse.check(str(table), progress=events.append)
    assert sorted(event.message for event in events) == [f"= part-{number}.parquet" for number in range(3)]


@pytest.mark.parametrize("dead", [False, True])
def test_a_store_that_fails_at_any_call_makes_no_whole_table_and_no_false_finding(tmp_path: Path, dead: bool) -> None:
    make(tmp_path)
    store, delta = LocalStore(parse(str(tmp_path))), formats.find("delta")
    version = delta.pin(store)
    counting = Faults()
    assert look(FaultyStore(store, counting), delta, version, deep=True, workers=1).ok
    for call in range(1, counting.counted + 1):
        report = look(FaultyStore(store, Faults(fail_at=call, dead=dead)), delta, version, deep=True, workers=1)
        assert {finding.kind for finding in report.findings} == {"unchecked"}, (call, report.findings)


def test_every_kind_of_finding_is_documented() -> None:
    root = Path(lakehouse.__file__).parent
    text = (root.parent / "docs" / "check.md").read_text()
    sources = [*root.glob("formats/*/check*.py"), root / "reading" / "examined.py", root / "check.py"]
    kinds = {kind for path in sources for kind in re.findall(r'Flaw\(\s*"([a-z]+)"', path.read_text())}
    assert {"missing", "size", "rows", "stats", "checkpoint", "vector", "summary"} <= kinds
    assert {kind for kind in kinds if f"| `{kind}` |" not in text} == set()
