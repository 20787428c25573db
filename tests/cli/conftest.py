"""The real command in a process of its own, and small tables for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

LAKE = Path(sys.executable).with_name("lake")


@dataclass(frozen=True)
class Ran:
    """What one run of the command left behind."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stdout)
        return found


@dataclass(frozen=True)
class Lake:
    """Runs ``lake`` in ``folder``, in an environment without settings from outside."""

    folder: Path

    def __call__(self, *arguments: str | Path, **environ: str) -> Ran:
        ran = subprocess.run(
            [str(LAKE), *map(str, arguments)],
            cwd=self.folder,
            env=self.environ(**environ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def environ(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LAKE_", "XDG_", "AWS_"))}
        return {**kept, "HOME": str(self.folder), **more}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A plain Parquet table of three files."""
    folder = tmp_path / "orders"
    for number in range(3):
        part = folder / f"day={number}"
        part.mkdir(parents=True)
        pq.write_table(pa.table({"id": list(range(10)), "total": [number * 1.5] * 10}), part / f"part-{number}.parquet")
    return folder


@pytest.fixture
def delta_table(tmp_path: Path) -> Path:
    """A Delta table with two commits, its log written by hand."""
    folder = tmp_path / "features"
    log = folder / "_delta_log"
    log.mkdir(parents=True)
    schema = '{"type":"struct","fields":[{"name":"id","type":"long","nullable":true,"metadata":{}}]}'
    for version in range(2):
        name = f"part-{version}.parquet"
        pq.write_table(pa.table({"id": pa.array(range(5), pa.int64())}), folder / name)
        actions: list[dict[str, Any]] = [
            {"commitInfo": {"timestamp": 1_760_000_000_000 + version * 1000, "operation": "WRITE", "operationParameters": {}}}
        ]
        if version == 0:
            actions += [
                {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
                {
                    "metaData": {
                        "id": "5fba94ed-9794-4965-ba6e-6ee3c0d22af9",
                        "format": {"provider": "parquet", "options": {}},
                        "schemaString": schema,
                        "partitionColumns": [],
                        "configuration": {},
                        "createdTime": 1_760_000_000_000,
                    }
                },
            ]
        size = (folder / name).stat().st_size
        stats = {"path": name, "partitionValues": {}, "size": size, "modificationTime": 1_760_000_000_000, "dataChange": True}
        actions.append({"add": stats})
        (log / f"{version:020d}.json").write_text("\n".join(json.dumps(action) for action in actions) + "\n")
    return folder
