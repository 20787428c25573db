"""One damage at a time to replicas in every format: found, and the right object named; and no false alarm where there is none.

``lake check`` is asked where no receipt is there, level ``rows`` where receipts vouch for the damaged bytes, and ``lake verify``
with the receipts that the sync left. docs/proof.md says in words what finds what. Real tables of other engines are
checked in `tests/test_check_corpus.py` and `tests/formats/iceberg/test_check_corpus.py`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import lakehouse
from lakehouse.check import CheckFinding
from lakehouse.config import Settings
from lakehouse.errors import Unsupported
from lakehouse.receipt import read_chain
from lakehouse.report import Finding
from tests.formats.delta.test_check import OLDER, PLAIN
from tests.formats.replicas import local
from tests.tamper import delta_damages, iceberg_damages, other_damages
from tests.tamper.damage import Damage, Found, Inflict, cell, receipts_anew
from tests.tamper.replicas import MAKERS, Place, Row, rewritten

Copy = Callable[[str], Place]
SETTINGS = Settings()
DAMAGES: dict[str, Damage] = {**delta_damages.DAMAGES, **iceberg_damages.DAMAGES, **other_damages.DAMAGES}
REWRITABLE = {
    "delta": PLAIN,
    "delta with column mapping": delta_damages.FILE,
    "iceberg 2": iceberg_damages.DATA[2],
    "iceberg 3": iceberg_damages.DATA[2],
    "parquet": other_damages.FILES[2],
}
"""Of each replica a data file of which no delete names a position."""


def finding_it(by: Callable[[Damage], object]) -> list[str]:
    return [name for name, damage in DAMAGES.items() if by(damage)]


def named(found: Iterable[Finding | CheckFinding], expected: Found, path: str) -> bool:
    """Whether a finding is of the kind that is ``expected``, and names the object at ``path`` (or the one that is expected)."""
    kind, wanted = (expected, path) if isinstance(expected, str) else expected
    return any(finding.kind == kind and fnmatchcase(finding.path, wanted) for finding in found)


def checked(place: Place, *, deep: bool = False) -> list[CheckFinding]:
    return lakehouse.check(str(place.table), deep=deep, settings=SETTINGS).findings


def rows_compared(place: Place, versions: str = "latest") -> list[Finding]:
    source = str(place.source)
    report = lakehouse.verify(str(place.table), level="rows", against=source, versions=versions, settings=SETTINGS)
    return [finding for finding in report.findings if finding.kind in ("rows", "unchecked")]


def test_there_are_enough_damages() -> None:
    assert len(DAMAGES) == sum(len(each.DAMAGES) for each in (delta_damages, iceberg_damages, other_damages))
    assert len(DAMAGES) >= 60
    assert len(finding_it(lambda damage: damage.check)) >= 25
    assert len(finding_it(lambda damage: damage.rows)) >= 15
    assert {damage.table for damage in DAMAGES.values()} == set(MAKERS)


@pytest.mark.parametrize("name", finding_it(lambda damage: damage.check or damage.deep))
def test_a_check_finds_it_with_no_receipts_there(name: str, place: Copy) -> None:
    """Traps, Verification 7 and 8."""
    damage = DAMAGES[name]
    here = place(damage.table)
    path = damage.inflict(here.table)
    shutil.rmtree(here.receipts)
    found = checked(here)
    if damage.deep:
        assert found == [], "it can be seen without reading the pages"
        found = checked(here, deep=True)
    assert named(found, damage.check or damage.deep, path), found


@pytest.mark.parametrize("name", finding_it(lambda damage: damage.rows))
def test_level_rows_finds_it_though_receipts_vouch_for_the_damaged_bytes(name: str, place: Copy) -> None:
    """Traps, Verification 5 and 6: no stored hash gives it away, the rows do."""
    damage = DAMAGES[name]
    here = place(damage.table)
    path = damage.inflict(here.table)
    receipts_anew(here)
    objects_there = lakehouse.verify(str(here.table), level="bytes", settings=SETTINGS).findings
    assert not [finding for finding in objects_there if finding.path == path and finding.kind in ("differs", "missing")]
    found = [f"{finding.path}: {finding.message}" for finding in rows_compared(here) if finding.kind == "rows"]
    for said in damage.rows:
        assert any(re.search(said, text) for text in found), (said, found)


OLDER_VERSIONS: dict[str, tuple[Inflict, str, str]] = {
    "delta": (cell(OLDER, 5, name="another name"), "version 6", "values differ in name$"),
    "iceberg 2": (
        iceberg_damages.avro(iceberg_damages.LISTS[1], lambda records: records.pop(1)),
        "snapshot 7000000000000000002",
        "37 rows at the source, 40 at the target",
    ),
}


@pytest.mark.parametrize("name", OLDER_VERSIONS)
def test_rows_of_older_versions_are_compared_where_they_are_asked_for(name: str, place: Copy) -> None:
    inflict, point, said = OLDER_VERSIONS[name]
    here = place(name)
    inflict(here.table)
    receipts_anew(here)
    assert rows_compared(here) == []
    found = [finding.message for finding in rows_compared(here, "all")]
    assert any(re.search(f"^{point}: .*{said}", message) for message in found), found
    assert not any(message.startswith("newest") for message in found)


@pytest.mark.parametrize("name", finding_it(lambda damage: damage.refused))
def test_level_rows_reads_no_wrong_rows_of_what_it_refuses(name: str, place: Copy) -> None:
    damage = DAMAGES[name]
    here = place(damage.table)
    damage.inflict(here.table)
    receipts_anew(here)
    assert lakehouse.verify(str(here.table), settings=SETTINGS).ok
    with pytest.raises(Unsupported, match=damage.refused):
        rows_compared(here)


@pytest.mark.parametrize("name", DAMAGES)
def test_the_receipts_of_the_sync_find_it(name: str, place: Copy) -> None:
    damage = DAMAGES[name]
    here = place(damage.table)
    chain = read_chain(local(here.receipts))
    assert chain.finished is not None
    expected = chain.sha256[chain.finished.number] if damage.expected else None
    path = damage.inflict(here.table)
    if damage.expected:
        assert lakehouse.verify(str(here.table), settings=SETTINGS).ok, "it is found without the SHA-256 of the receipt"
    report = lakehouse.verify(str(here.table), expect_receipt=expected, settings=SETTINGS)
    assert named(report.findings, damage.receipts, path), report.findings


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_is_wrong_with_a_replica_that_was_not_damaged(name: str, place: Copy) -> None:
    here = place(name)
    assert lakehouse.verify(str(here.table), settings=SETTINGS).findings == []
    assert rows_compared(here) == []
    shutil.rmtree(here.receipts)
    assert checked(here) == checked(here, deep=True) == []


@pytest.mark.parametrize("name", REWRITABLE)
def test_another_encoding_is_no_other_row(name: str, place: Copy) -> None:
    """The bytes are not those that were copied, and the receipts say so."""
    here = place(name)
    rewritten(here.table / REWRITABLE[name], lambda rows: rows)
    assert rows_compared(here) == []
    assert named(lakehouse.verify(str(here.table), settings=SETTINGS).findings, "differs", REWRITABLE[name])
    shutil.rmtree(here.receipts)
    assert checked(here, deep=True) == []


@pytest.mark.parametrize("name", REWRITABLE)
def test_the_sign_of_zero_and_the_order_of_rows_are_no_difference(name: str, place: Copy) -> None:
    """Traps, Verification 6."""
    here = place(name)
    signs: set[str] = set()

    def turned(rows: list[Row]) -> list[Row]:
        for row in rows:
            for column in {"price", "c4"} & row.keys():
                if row[column] == 0:
                    signs.add(str(row[column]))
                    row[column] = -row[column]
        return rows[::-1]

    rewritten(here.table / REWRITABLE[name], turned)
    assert signs == (set() if name == "delta" else {"0.0", "-0.0"}), "decimals have no sign of zero"
    assert rows_compared(here) == []


def test_rows_that_lie_in_another_file_of_their_partition_are_no_difference(place: Copy) -> None:
    here = place("parquet")
    other_damages.ROWS_IN_ANOTHER_FILE(here.table)
    assert rows_compared(here) == []


@pytest.mark.parametrize("damage", [lambda latest, _first: latest.unlink(), lambda latest, first: shutil.copy(first, latest)])
def test_a_hint_to_receipts_that_is_gone_or_lags_is_no_damage(damage: Callable[[Path, Path], object], place: Copy) -> None:
    here = place("delta")
    damage(here.receipts / "latest.json", here.receipts / f"receipts/{1:020d}.json")
    report = lakehouse.verify(str(here.table), settings=SETTINGS)
    assert report.findings == []
    assert report.receipt == f"_lake/receipts/{2:020d}.json"


@pytest.mark.parametrize("name", MAKERS)
def test_receipts_made_anew_are_as_good_as_those_of_the_sync(name: str, place: Copy) -> None:
    here = place(name)
    receipts_anew(here)
    assert lakehouse.verify(str(here.table), settings=SETTINGS).findings == []
