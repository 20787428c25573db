"""No false alarm: every real table of the corpus, as its writer left it and as a sync makes it anew, is found whole.

Those that were shipped inconsistent are listed with what is wrong with them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import lakehouse
from lakehouse.check import CheckReport, check
from lakehouse.config import Settings
from tests.corpus.conftest import CORPUS, names
from tests.corpus.conftest import corpus as corpus  # a fixture
from tests.corpus.test_iceberg_corpus import DOUBT_WHICH_IS_CURRENT, STATED_BY_WILD, expected_of

SHRUNK = {"size"}
"""The data files of these fixtures were written anew, smaller, and the manifests left as they were."""
INCONSISTENT: dict[str, set[str]] = {
    "duck-equality_delete_extra_column__ns__t": {"metadata"},  # made by hand: the snapshot-log lacks the current snapshot
    "duck-equality_deletes__mytable": {"missing"},  # shipped without the manifest list of an older snapshot
    "duck-generated_bounds": {"external", "length"},  # generated: data files in no bucket, manifests without a length
    "duck-name_mapping__t1": SHRUNK,
    "duck-partition_bigint": SHRUNK,
    "duck-partition_bool": SHRUNK,
    "duck-partition_decimal_hugeint": SHRUNK,
    "duck-partition_decimal_smallint": SHRUNK,
    "duck-partition_fixed_length_binary__partition_fixed_length_binary": SHRUNK,
    "duck-partition_float": SHRUNK,
    "duck-partition_timestamp__partition_timestamp": SHRUNK,
}


def checked(folder: Path, *, deep: bool = False, **options: Any) -> CheckReport:
    return check(str(folder), settings=Settings(), format="iceberg", deep=deep, **options)


def assert_whole(report: CheckReport, name: str = "") -> None:
    """Nothing is found but what the table was shipped with."""
    assert {one.kind for one in report.findings} == INCONSISTENT.get(name, set()), report.findings


@pytest.mark.parametrize("name", [name for name in names("expected/iceberg") if not name.startswith("loose-")])
def test_a_real_table_is_found_whole_and_so_is_its_replica(name: str, corpus: Path, tmp_path: Path) -> None:
    expected = expected_of(corpus, name)
    named: dict[str, Any] = {"version": Path(expected["metadata"]).name} if name in DOUBT_WHICH_IS_CURRENT else {}
    assert_whole(checked(corpus / "iceberg" / name, deep=name not in INCONSISTENT, **named), name)
    if expected["must"] != "refuse":
        lakehouse.sync(str(corpus / "iceberg" / name), str(tmp_path / "replica"), format="iceberg", settings=Settings(), **named)
        assert_whole(checked(tmp_path / "replica"), name)


@pytest.mark.parametrize("name", [path.name for path in sorted((CORPUS / "wild").glob("i_*"))] or ["no-corpus"])
def test_a_table_of_the_reference_engine_is_found_whole_and_so_is_its_replica(name: str, corpus: Path, tmp_path: Path) -> None:
    """Trap 1 to 8: merge-on-read deletes, vectors, evolution, branches, expired history, ORC, Avro, files outside."""
    options: dict[str, Any] = {}
    if (corpus / "wild" / "_outside" / name).exists():
        options["maps"] = {f"{STATED_BY_WILD}/_outside/{name}": str(corpus / "wild" / "_outside" / name)}
    report = checked(corpus / "wild" / name, deep=True, **options)
    assert_whole(report)
    assert report.objects > 3
    lakehouse.sync(str(corpus / "wild" / name), str(tmp_path / "replica"), format="iceberg", settings=Settings(), **options)
    assert_whole(checked(tmp_path / "replica", deep=True))


def test_files_outside_the_table_are_found_where_nothing_permits_them(corpus: Path, tmp_path: Path) -> None:
    """Trap 12."""
    shutil.copytree(corpus / "wild" / "i_outside", tmp_path / "i_outside")
    assert {one.kind for one in checked(tmp_path / "i_outside").findings} == {"external"}
