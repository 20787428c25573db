"""Clones whose log begins with a checkpoint of any kind, absolute paths in it and in its sidecars (traps.md: Delta 1, 6)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lakehouse
from lakehouse.formats.delta.hint import hint_checksum
from tests.formats.replicas import drop_commits
from tests.formats.spark_like import Name, mask, rows_of, upgrade, v2_checkpoint
from tests.sync.clones import absolute
from tests.sync.places import append


def made_absolute(base: Path, clone: Path) -> None:
    """Give the clone the log of its base, with every path absolute."""
    shutil.copytree(base / "_delta_log", clone / "_delta_log")

    def changed(row: dict[str, Any]) -> dict[str, Any]:
        kinds = ("add", "remove", "cdc")
        return {kind: absolute(f"file:{base}", fields) if kind in kinds and fields else fields for kind, fields in row.items()}

    for file in sorted((clone / "_delta_log").rglob("*"), key=lambda file: "_sidecars" not in file.parts):
        if file.name.endswith(".parquet"):
            table = pq.read_table(file)
            rows = [changed(row) for row in table.to_pylist(maps_as_pydicts="strict")]
            pq.write_table(pa.Table.from_pylist([_resized(row, clone) for row in rows], schema=table.schema), file)
        elif file.name.endswith(".json"):
            actions = [_resized(changed(json.loads(line)), clone) for line in file.read_text().splitlines()]
            file.write_text("".join(json.dumps(action) + "\n" for action in actions))
    _resize_hint(clone)


def _resized(row: dict[str, Any], table: Path) -> dict[str, Any]:
    if row.get("sidecar"):
        row["sidecar"]["sizeInBytes"] = (table / "_delta_log" / "_sidecars" / row["sidecar"]["path"]).stat().st_size
    return row


def _resize_hint(table: Path) -> None:
    file = table / "_delta_log" / "_last_checkpoint"
    hint = json.loads(file.read_text())
    top = hint.get("v2Checkpoint")
    if top:
        top["sizeInBytes"] = (table / "_delta_log" / top["path"]).stat().st_size
        sidecars = (table / "_delta_log" / "_sidecars").glob("*")
        top["sidecarFiles"] = [{"path": each.name, "sizeInBytes": each.stat().st_size} for each in sidecars]
        hint["sizeInBytes"] = top["sizeInBytes"] + sum(each["sizeInBytes"] for each in top["sidecarFiles"])
    hint["checksum"] = hint_checksum(hint)
    file.write_text(json.dumps(hint))


@pytest.mark.parametrize("sidecars", [0, 2])
@pytest.mark.parametrize("name", ["json", "parquet", "classic"])
def test_a_clone_that_begins_with_a_checkpoint_is_self_contained(name: Name, sidecars: int, tmp_path: Path) -> None:
    base, clone, target = tmp_path / "warehouse" / "base", tmp_path / "warehouse" / "clone", tmp_path / "target"
    append(base, 0, rows=6, commits=2)
    upgrade(base)
    mask(base, 0)
    v2_checkpoint(base, name, sidecars=sidecars)
    drop_commits(base, 0, 1, 2)
    mask(base, 0, 2)
    expected = {version: rows_of(base, version) for version in (3, 4)}
    made_absolute(base, clone)

    lakehouse.sync(str(clone), str(target))
    lakehouse.verify(str(target), against=str(clone)).raise_for_findings()
    assert lakehouse.sync(str(clone), str(target)).unchanged
    (tmp_path / "warehouse").rename(tmp_path / "away")
    assert {version: rows_of(target, version) for version in (3, 4)} == expected
    _sizes_are_right(target)
    for file in (target / "_delta_log").rglob("*"):
        assert not file.is_file() or str(base).encode() not in file.read_bytes()


def _sizes_are_right(table: Path) -> None:
    log = table / "_delta_log"
    hint = json.loads((log / "_last_checkpoint").read_text())
    assert hint["checksum"] == hint_checksum(hint)
    top = hint.get("v2Checkpoint")
    if top:
        stated = {top["path"]: top["sizeInBytes"]} | {
            f"_sidecars/{each['path']}": each["sizeInBytes"] for each in top["sidecarFiles"]
        }
        assert {path: (log / path).stat().st_size for path in stated} == stated
        assert hint["sizeInBytes"] == sum(stated.values())
    tops = [file for file in log.glob("*checkpoint*") if file.suffix in (".json", ".parquet")]
    rows: list[dict[str, Any]] = []
    for file in tops:
        text = file.suffix == ".json"
        rows += [json.loads(line) for line in file.read_text().splitlines()] if text else pq.read_table(file).to_pylist()
    for row in rows:
        if row.get("sidecar"):
            assert (log / "_sidecars" / row["sidecar"]["path"]).stat().st_size == row["sidecar"]["sizeInBytes"]


def test_a_multi_part_checkpoint_and_its_tombstones_are_localised_part_by_part(tmp_path: Path) -> None:
    base, clone, target = tmp_path / "warehouse" / "base", tmp_path / "warehouse" / "clone", tmp_path / "target"
    append(base, 0, rows=6, commits=3)
    upgrade(base)
    mask(base, 1)
    made = v2_checkpoint(base, "classic", sidecars=0, hint=False)[0]
    whole = pq.read_table(made).drop_columns(["sidecar", "checkpointMetadata"])
    made.unlink()
    for part, start in ((1, 0), (2, 5)):
        number = 4
        piece = whole.slice(start, 5) if part == 1 else whole.slice(start)
        pq.write_table(piece, made.with_name(f"{number:020d}.checkpoint.{part:010d}.{2:010d}.parquet"))
    drop_commits(base, *range(5))
    (base / "_delta_log" / "_last_checkpoint").write_text(json.dumps({"version": 4, "size": whole.num_rows, "parts": 2}))
    expected = rows_of(base)
    made_absolute(base, clone)
    lakehouse.sync(str(clone), str(target))
    (tmp_path / "warehouse").rename(tmp_path / "away")
    assert rows_of(target) == expected
    assert json.loads((target / "_delta_log" / "_last_checkpoint").read_text())["parts"] == 2
    lakehouse.verify(str(target)).raise_for_findings()
