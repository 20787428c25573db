"""Files made for a test, and plans over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.local_store import LocalStore
from lakehouse.reading.task import Bounds, Deletes, FileFormat, ReadField, ScanPlan, ScanTask
from lakehouse.url import parse
from tests.corpus.conftest import CORPUS


class Files:
    """A folder of data files, and the plans that read them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, LocalStore(parse(str(folder)))

    def parquet(self, name: str, table: pa.Table, **options: Any) -> str:
        pq.write_table(table, self.folder / name, **options)
        return name

    def task(
        self,
        name: str,
        *,
        file_format: FileFormat = "parquet",
        by: Literal["id", "name"] = "name",
        constants: Mapping[str, pa.Scalar] | None = None,
        deletes: Deletes | Callable[[], Deletes] | None = None,
        bounds: Bounds = lambda _: None,
        rows: int | None = None,
    ) -> ScanTask:
        made = (lambda: deletes) if isinstance(deletes, Deletes) else deletes
        size = (self.folder / name).stat().st_size
        return ScanTask(name, size, file_format, rows, by, constants or {}, made, bounds)

    def plan(self, fields: Sequence[ReadField], tasks: Iterable[ScanTask], **refused: str) -> ScanPlan:
        kept = list(tasks)
        return ScanPlan(
            self.store, tuple(fields), lambda may: [task for task in kept if may(task.bounds, task.rows)], refused=refused
        )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    folder = tmp_path / "data"
    folder.mkdir()
    return Files(folder)


def named(schema: pa.Schema) -> tuple[ReadField, ...]:
    """The columns of ``schema``, each found by its name."""
    return tuple(ReadField(field.name, field.type, field.nullable, names=(field.name,)) for field in schema)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real tables; tests that need it are skipped without."""
    if not CORPUS.is_dir():
        pytest.skip("the corpus of real tables is not here (set LAKE_CORPUS to its folder)")
    return CORPUS
