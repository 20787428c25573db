"""Every real Iceberg table of the corpus: local → S3 server → local elsewhere, the source taken away, read and audited.

Each version, branch and tag is read at the last target by readers that share no code with the project, and held against what
independent readers saw at the origin. The audit decodes every metadata file of the target and holds it against the source's.
A table either arrives whole, or is refused by name with nothing published; nothing else is a pass.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lakehouse
from lakehouse.errors import NotFound, Unsupported
from tests.corpus.conftest import CORPUS, names
from tests.corpus.crh1 import crh1
from tests.corpus.iceberg_readers import Rows, by_duckdb, by_hand, by_pyiceberg, hashable, metadata_of, root_of, versions_of
from tests.corpus.test_corpus import as_spark_writes
from tests.formats.iceberg.audit import Table, audit

STATED_BY_WILD = "/warehouse/wild"
DIFFER_AT_THE_ORIGIN_TOO = {
    ("duck-case_sensitive_names__case_sensitive_names", "pyiceberg"),  # names the columns otherwise than DuckDB does
    ("i_types", "pyiceberg"),  # reads a null list as an empty one
    ("i_up", "duckdb"),  # older snapshots with deletion vectors, as in a relocation by a search and replace of equal length
    ("i_v3", "duckdb"),
}
DOUBT_WHICH_IS_CURRENT = {
    "duck-equality_delete_extra_column__ns__t",  # vfinal.metadata.json beside numbered ones
    "duck-iceberg_v1_repro__repro__merch_v1",  # made by hand from the one before it, which its metadata-log does not name
}
READERS: dict[str, Callable[[Path], dict[str, Rows]]] = {"pyiceberg": by_pyiceberg, "duckdb": by_duckdb}

Journey = Callable[..., Path]


@pytest.fixture
def journey(tmp_path: Path, s3_settings: lakehouse.Settings, s3_prefix: str) -> Journey:
    """Sync a copy of a table local → S3 → local elsewhere, verify both, and take the copy away; gives the last place."""

    def travel(table: Path, *, outside: Path | None = None, **options: Any) -> Path:
        source, target = tmp_path / "source" / table.name, tmp_path / "elsewhere" / table.name
        shutil.copytree(table, source)
        if outside is not None:
            shutil.copytree(outside, tmp_path / "source" / "_outside" / table.name)
            options["maps"] = {f"{STATED_BY_WILD}/_outside/{table.name}": str(tmp_path / "source" / "_outside" / table.name)}
        on_s3 = f"{s3_prefix}/{table.name}"
        lakehouse.sync(str(source), on_s3, format="iceberg", settings=s3_settings, **options)
        (tmp_path / "source").rename(tmp_path / "away")
        lakehouse.sync(on_s3, str(target), settings=s3_settings)
        assert lakehouse.sync(on_s3, str(target), settings=s3_settings).unchanged
        for place in (on_s3, str(target)):
            lakehouse.verify(place, settings=s3_settings).raise_for_findings()
        return target

    return travel


def tables_that(field: str, value: str) -> list[str]:
    """The names of the tables of which the corpus says so; one placeholder without a corpus."""
    known = {name: CORPUS / "expected" / "iceberg" / f"{name}.json" for name in names("expected/iceberg")}
    found = [name for name, path in known.items() if path.exists() and json.loads(path.read_text()).get(field) == value]
    return found or ["no-corpus"]


def expected_of(corpus: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((corpus / "expected" / "iceberg" / f"{name}.json").read_text())
    return found


def places_of(corpus: Path, expected: dict[str, Any]) -> dict[str, Path]:
    folder = corpus / "iceberg" / expected["name"]
    return {stated: folder / below if below else folder for stated, below in expected["read_map"]}


def assert_whole(target: Path, source: Table, forbidden: list[str], *, dropped: tuple[int, ...] = ()) -> None:
    """The audit of ``target`` against its source finds nothing."""
    table = Table(root_of(target), {f"file://{target}": target})
    assert audit(table, source, forbidden=[*source.places, *forbidden], dropped=dropped) == []


def assert_read_by_one(name: str, version: str, answers: dict[str, bool | str]) -> None:
    """One reader at least read the version as expected, and none otherwise, unless it does so at the origin too."""
    otherwise = [reader for reader, answer in answers.items() if answer is False]
    assert True in answers.values(), f"version {version} is read as expected by none: {answers}"
    assert all((name, reader) in DIFFER_AT_THE_ORIGIN_TOO for reader in otherwise), (
        f"version {version} reads otherwise: {otherwise}"
    )


def assert_readings(expected: dict[str, Any], target: Path) -> None:
    """Each version reads as at the origin: as the judges there agreed, or as that very reader read it."""
    answers = {name: read(root_of(target)) for name, read in READERS.items()}
    for version, reading in expected["readings"].items():
        known = {reading.get("hash"), *(other["hash"] for other in reading.get("read_otherwise_by", {}).values())} - {None}
        at = "main" if version == "latest" else version
        if known and at in answers["duckdb"]:
            rows = {name: answer[at] for name, answer in answers.items()}
            said = {name: row if isinstance(row, str) else crh1(hashable(row)) in known for name, row in rows.items()}
            assert_read_by_one(expected["name"], version, said)


@pytest.mark.parametrize("name", [name for name in names("expected/iceberg") if not name.startswith("loose-")])
def test_an_iceberg_table_arrives_whole_or_is_refused_by_name(
    name: str, corpus: Path, journey: Journey, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    expected = expected_of(corpus, name)
    folder = corpus / "iceberg" / name
    named = {"version": Path(expected["metadata"]).name} if name in DOUBT_WHICH_IS_CURRENT else {}
    if expected["must"] == "refuse":
        with pytest.raises((NotFound, Unsupported)) as refused:
            journey(folder, **named)
        record_property("corpus", f"Iceberg refused ({type(refused.value).__name__})")
        assert not [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()]
        return
    target = journey(folder, **named)
    assert_whole(target, Table(folder / expected["metadata"], places_of(corpus, expected)), [str(tmp_path / "source")])
    assert_readings(expected, target)
    made = metadata_of(root_of(target))
    assert made["table-uuid"] == expected["table_uuid"]
    assert [raw["snapshot-id"] for raw in made.get("snapshots") or ()] == expected["snapshots"]
    assert lakehouse.describe(str(target)).table_id == expected["table_uuid"]
    record_property("corpus", "Iceberg replicated")


@pytest.mark.parametrize("name", tables_that("must", "refuse"))
def test_a_refused_table_leaves_nothing_at_the_target_but_what_was_noted(name: str, corpus: Path, tmp_path: Path) -> None:
    expected = expected_of(corpus, name)
    target = tmp_path / "target"
    missing = str(tmp_path / "missing")
    maps = {stated.rpartition("/d/")[0]: missing for stated in expected["outside"]}
    with pytest.raises(NotFound) as refused:
        lakehouse.sync(str(corpus / "iceberg" / name), str(target), version=Path(expected["metadata"]).name, maps=maps)
    assert ("snap-" in str(refused.value)) == bool(not maps)
    assert not list(target.glob("metadata/*.json"))
    assert not list(target.glob("metadata/version-hint.text"))


@pytest.mark.parametrize("name", sorted(DOUBT_WHICH_IS_CURRENT))
def test_a_table_of_which_the_current_metadata_is_in_doubt_is_refused_with_the_candidates(
    name: str, corpus: Path, tmp_path: Path
) -> None:
    expected = expected_of(corpus, name)
    with pytest.raises(NotFound, match=Path(expected["metadata"]).name):
        lakehouse.sync(str(corpus / "iceberg" / name), str(tmp_path / "target"))
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("name", tables_that("with_skip_broken_history", "replicate"))
def test_broken_history_is_left_out_by_name_and_the_rest_is_whole(
    name: str, corpus: Path, journey: Journey, tmp_path: Path
) -> None:
    expected = expected_of(corpus, name)
    folder, broken = corpus / "iceberg" / name, tuple(map(int, expected["broken_snapshots"]))
    trial = lakehouse.sync(str(folder), str(tmp_path / "trial"), skip_broken_history=True)
    assert all(any(str(number) in finding.message for finding in trial.findings) for number in broken)
    target = journey(folder, skip_broken_history=True)
    source = Table(folder / expected["metadata"], places_of(corpus, expected))
    assert_whole(target, source, [str(tmp_path / "source")], dropped=broken)
    assert_readings(expected, target)
    assert not versions_of(root_of(target)).keys() & expected["broken_snapshots"].keys()


@pytest.mark.parametrize("name", [name for name in names("wild/_expected") if name.startswith("i_")])
def test_an_iceberg_table_by_spark_has_the_rows_that_spark_read_in_every_version_branch_and_tag(
    name: str, corpus: Path, journey: Journey, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    versions = json.loads((corpus / "wild" / "_expected" / f"{name}.json").read_text())["versions"]
    folder, outside = corpus / "wild" / name, corpus / "wild" / "_outside" / name
    has_outside = outside.is_dir()
    target = journey(folder, outside=outside if has_outside else None)
    places = {f"file:{STATED_BY_WILD}/{name}": folder}
    if has_outside:
        places[f"file://{STATED_BY_WILD}/_outside/{name}"] = outside
    assert_whole(target, Table(root_of(folder), places), [STATED_BY_WILD, str(tmp_path / "source")])
    readers = {"by hand": by_hand} if name == "i_avro" else READERS
    answers = {reader: read(root_of(target)) for reader, read in readers.items()}
    for version, expected in versions.items():
        rows = {reader: answer[version] for reader, answer in answers.items()}
        said = {reader: row if isinstance(row, str) else as_spark_writes(row) == expected["rows"] for reader, row in rows.items()}
        assert_read_by_one(name, version, said)
    record_property("corpus", "Iceberg replicated")
