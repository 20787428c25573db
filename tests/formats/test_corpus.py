"""Delta tables that other engines wrote: each is carried with the files deltalake names, or refused for its reason."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from lakehouse.errors import LakeError, NotFound, Unsupported
from lakehouse.formats.delta.actions import object_key
from tests.formats.replicas import DELTA, WatchedStore, local, sync

CORPUS = Path(os.environ.get("LAKE_CORPUS") or Path(__file__).parents[2] / ".." / "shared" / "corpus").resolve()
TABLES = sorted([*CORPUS.glob("delta/*"), *CORPUS.glob("wild/d_*")])
ELSEWHERE = "outside the table and outside its bucket"

pytestmark = pytest.mark.skipif(not TABLES, reason="the corpus is not here; LAKE_CORPUS names its folder")


def expected(table: Path) -> dict[str, Any]:
    file = CORPUS / "expected" / "delta" / f"{table.name}.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"must": "replicate"}
    return found


def outcome(table: Path) -> tuple[str, str]:
    """What this version of the library makes of a table: carried, incomplete (live files are missing), or refused."""
    store = local(table)
    try:
        pinned = DELTA.pin(store)
        files = list(DELTA.files(store, pinned))
    except LakeError as error:
        return type(error).__name__, str(error)
    missing = [file.path for file in files if file.required and not (table / file.path).is_file()]
    return ("incomplete" if missing else "carried"), pinned.id


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_real_table_is_carried_or_refused_for_its_reason(table: Path) -> None:
    known = expected(table)
    what, reason = outcome(table)
    if known["must"] == "refuse":
        assert what in ("incomplete", NotFound.__name__, Unsupported.__name__)
    elif what == Unsupported.__name__:
        assert table.name == "d_clone" and ELSEWHERE in reason, reason
    else:
        assert what == "carried", reason
        assert reason == str(known.get("last_version", reason))


def is_vector(path: str) -> bool:
    return path.rpartition("/")[2].startswith("deletion_vector_")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_live_files_are_those_that_deltalake_names(table: Path) -> None:
    what, _ = outcome(table)
    if what not in ("carried", "incomplete"):
        pytest.skip("refused")
    try:
        opened = DeltaTable(str(table))
        theirs = {object_key("", path) for path in pa.table(opened.get_add_actions())["path"].to_pylist()}
    except (DeltaError, TableNotFoundError) as error:
        pytest.skip(f"deltalake cannot read it: {error}"[:120])
    store = local(table)
    files = list(DELTA.files(store, DELTA.pin(store)))
    assert {file.path for file in files if file.required and not is_vector(file.path)} == theirs
    sizes = [(file.path, file.size) for file in files if (table / file.path).is_file()]
    assert [(path, (table / path).stat().st_size) for path, _ in sizes] == sizes


def test_every_carried_table_arrives_whole_and_reads_alike(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    for table in TABLES:
        what, _ = outcome(table)
        counts[what] += 1
        if what != "carried":
            continue
        target = tmp_path / table.name
        sync(local(table), WatchedStore(target))
        source, copy = DELTA.pin(local(table)), DELTA.pin(local(target))
        for path in DELTA.metadata_files(local(table), source):
            if (target / path).exists():
                assert (target / path).read_bytes() == (table / path).read_bytes()
        assert (copy.id, copy.root_sha256, copy.table_id) == (source.id, source.root_sha256, source.table_id)
        assert list(DELTA.files(local(target), copy)) or not list(DELTA.files(local(table), source))
        assert DELTA.describe(local(target), copy).files == DELTA.describe(local(table), source).files
        assert list(DELTA.history(local(target), copy))[:1] or not copy.log.commits
    assert counts["carried"] >= len(TABLES) * 2 // 3
