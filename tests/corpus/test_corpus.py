"""Every real Delta table and Parquet folder of the corpus: local → S3 or Azure or both → local elsewhere, sources taken away.

The rows of every version are read at the target by deltalake and held against what independent readers saw at the origin.
A table either arrives whole, or is refused by name with nothing published; nothing else is a pass.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

import lakehouse
from lakehouse.connect import open_store
from lakehouse.errors import LakeError, NotFound, Unsupported
from lakehouse.store import Store
from tests.calls import ALL
from tests.corpus.conftest import names
from tests.corpus.crh1 import crh1

ABSOLUTE = {"absolute path"}
STATED = "/warehouse/wild"
"""Where the wild tables were made: a shallow clone states its base there."""

Journey = Callable[..., Path]


BOTH = ("s3", "azure")


def on_the_way(name: str) -> tuple[str, ...]:
    """One of the two clouds, by the name: from one to the other is what tables by Spark and ``--all`` show."""
    return BOTH if ALL else (BOTH[zlib.crc32(name.encode()) % 2],)


@pytest.fixture
def journey(tmp_path: Path, cloud_settings: lakehouse.Settings, s3_prefix: str) -> Journey:
    """Sync a copy of a table local → clouds → local elsewhere, each source taken away; gives the last place."""

    def travel(table: Path, table_format: str, maps: dict[str, str] | None = None, clouds: tuple[str, ...] = BOTH) -> Path:
        source, target = tmp_path / "source" / table.name, tmp_path / "elsewhere" / table.name
        shutil.copytree(table, source)
        first, *others = [s3_prefix.replace("s3:", f"{cloud}:", 1) + f"/{table.name}" for cloud in clouds]
        lakehouse.sync(str(source), first, format=table_format, maps=maps, settings=cloud_settings)
        source.rename(tmp_path / "away")
        last = first
        for place in others:
            lakehouse.sync(last, place, format=table_format, settings=cloud_settings)
            empty(open_store(last, cloud_settings))
            last = place
        lakehouse.sync(last, str(target), format=table_format, settings=cloud_settings)
        assert lakehouse.sync(last, str(target), format=table_format, settings=cloud_settings).unchanged
        for place in (last, str(target)):
            lakehouse.verify(place, format=table_format, settings=cloud_settings).raise_for_findings()
        return target

    return travel


def empty(store: Store) -> None:
    """Remove every object."""
    for info in list(store.list()):
        store.delete(info.path)


def deltalake_itself(reading: dict[str, Any]) -> str | None:
    """What deltalake alone, by a defect of its own or for lack of a judge, read at the origin: the replica must not differ."""
    found: str | None = reading.get("read_otherwise_by", {}).get("deltalake", {}).get("hash")
    return found


def read(table: Path, version: int | None) -> pa.Table:
    return pa.table(DeltaTable(str(table), version=version).scan())


@pytest.mark.parametrize("name", names("expected/delta"))
def test_a_delta_table_arrives_whole_or_is_refused_by_name(
    name: str, corpus: Path, journey: Journey, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    expected = json.loads((corpus / "expected" / "delta" / f"{name}.json").read_text())
    try:
        target = journey(corpus / "delta" / name, "delta", clouds=on_the_way(name))
    except LakeError as error:
        record_property("corpus", f"refused ({type(error).__name__})")
        assert isinstance(error, Unsupported | NotFound), error
        absolute = ABSOLUTE & set(expected["features"])
        assert isinstance(error, Unsupported) == bool(absolute), f"refused for another reason: {error}"
        assert absolute or expected["must"] == "refuse" or expected.get("also_ok") == "refuse", f"refused without need: {error}"
        assert not (tmp_path / "elsewhere").exists()
        return
    assert "replicate" in (expected["must"], expected.get("also_ok"))
    for version, reading in expected["readings"].items():
        known = reading["hash"] if "deltalake" in reading.get("readers", ()) else deltalake_itself(reading)
        if known is not None:
            rows = read(target, None if version == "latest" else int(version))
            assert crh1(rows) == known, f"version {version} reads otherwise at the replica"
    assert lakehouse.describe(str(target)).files == expected["live_files"]
    assert lakehouse.describe(str(target)).table_id == expected["table_id"]
    record_property("corpus", "replicated")


@pytest.mark.parametrize("name", [name for name in names("wild/_expected") if not name.startswith("i_")])
def test_a_delta_table_by_spark_has_the_rows_that_spark_read_in_every_version(
    name: str, corpus: Path, journey: Journey, record_property: Callable[[str, object], None]
) -> None:
    versions = json.loads((corpus / "wild" / "_expected" / f"{name}.json").read_text())["versions"]
    maps = {f"{STATED}/d_clone_base": str(corpus / "wild" / "d_clone_base")} if name == "d_clone" else None
    target = journey(corpus / "wild" / name, "delta", maps)
    for version, expected in versions.items():
        if "rows" in expected:
            assert as_spark_writes(read(target, int(version))) == expected["rows"], f"version {version}"
    record_property("corpus", "replicated")


def as_spark_writes(table: pa.Table) -> list[str]:
    """Rows as the corpus's generator wrote them: JSON of Python values, sorted."""
    return sorted(json.dumps(_plain(row), sort_keys=True, ensure_ascii=False, default=str) for row in table.to_pylist())


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() if value and all(isinstance(item, tuple) for item in value):
            return {key: _plain(item) for key, item in value}
        case list():
            return [_plain(item) for item in value]
        case bytes():
            return str(bytearray(value))
    return str(value.replace(tzinfo=None)) if hasattr(value, "tzinfo") else value


@pytest.mark.parametrize("name", names("expected/parquet"))
@pytest.mark.parametrize("table_format", ["parquet", "files"])
def test_a_folder_of_files_arrives_byte_for_byte(
    name: str, table_format: str, corpus: Path, journey: Journey, record_property: Callable[[str, object], None]
) -> None:
    source = corpus / "parquet" / name
    if table_format == "parquet" and not list(source.rglob("*.parquet")):
        with pytest.raises(NotFound, match="no Parquet files"):
            journey(source, "parquet")
        return
    target = journey(source, table_format, clouds=on_the_way(name))
    assert contents(target) == contents(source)
    record_property("corpus", "replicated")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
