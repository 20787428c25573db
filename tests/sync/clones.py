"""A shallow clone as Spark makes one: its log names the files and vectors of another table by whole addresses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lakehouse.formats.delta.vectors import vector_of
from tests.formats.spark_like import mask, state_of, upgrade
from tests.sync.places import append

CLONE_ID = "11111111-2222-3333-4444-555555555555"


def base_table(folder: Path) -> Path:
    """Ten files and rows of two partitions with odd names, some of them masked by vectors."""
    append(folder, 0, rows=6, commits=3)
    upgrade(folder)
    mask(folder, 0)
    append(folder, 18, rows=6)
    return folder


def shallow_clone(base: Path, clone: Path, stated: str | None = None) -> Path:
    """A clone of ``base``'s newest version; ``stated``: the address by which its log knows the base."""
    state = state_of(base)
    where = stated or f"file:{base}"
    log = clone / "_delta_log"
    log.mkdir(parents=True)
    actions: list[dict[str, Any]] = [
        {"commitInfo": {"operation": "CLONE", "operationParameters": {"source": where}}},
        {"protocol": state.protocol},
        {"metaData": {**state.metadata, "id": CLONE_ID}},
        *({"add": absolute(where, fields)} for fields in state.adds.values()),
    ]
    write(log / "00000000000000000000.json", actions)
    return clone


def absolute(where: str, fields: dict[str, Any]) -> dict[str, Any]:
    """An add or remove of the base as a clone states it."""
    fields = {key: value for key, value in fields.items() if value is not None}
    made = {**fields, "path": f"{where}/{fields['path']}", "dataChange": True}
    file = vector_of("here", fields).file
    if file:
        vector = {key: value for key, value in fields["deletionVector"].items() if value is not None}
        made["deletionVector"] = {**vector, "storageType": "p", "pathOrInlineDv": f"{where}/{quote(file)}"}
    return made


def drop_file(clone: Path, number: int, *, at: int = 0) -> dict[str, Any]:
    """Commit ``number``, which removes the file that the clone's first commit names at position ``at``; gives the remove."""
    lines = (clone / "_delta_log" / f"{0:020d}.json").read_text().splitlines()
    fields = [action["add"] for action in map(json.loads, lines) if "add" in action][at]
    kept = ("path", "partitionValues", "size", "deletionVector")
    removed = {key: fields[key] for key in kept if key in fields} | {"deletionTimestamp": 1, "dataChange": True}
    write(clone / "_delta_log" / f"{number:020d}.json", [{"commitInfo": {"operation": "DELETE"}}, {"remove": removed}])
    return removed


def write(path: Path, actions: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(action, ensure_ascii=False) + "\n" for action in actions))


def log_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "_delta_log").rglob("*") if file.is_file()}
