"""Metadata of large tables, written directly: no data file is made here. Every file is of one byte."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.delta_log import write_checkpoint
from benchmarks.iceberg import BigTable
from benchmarks.manifests import OLD, entry, schema

FILE_SIZE = 1
CHECKPOINT = 10
FILES_A_MANIFEST = 2000


def delta(folder: Path, files: int, prefix: str = "") -> None:
    """A Delta log whose checkpoint holds so many files below ``prefix``, and one commit after it that adds none."""
    log = folder / "_delta_log"
    log.mkdir(parents=True)
    write_checkpoint(log / f"{CHECKPOINT:020d}.checkpoint.parquet", files, prefix)
    (log / f"{CHECKPOINT + 1:020d}.json").write_text(json.dumps({"commitInfo": {"operation": "BENCH"}}) + "\n")


def names(folder: Path) -> Iterator[str]:
    """The paths of the files that the log made by `delta` holds."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(folder / "_delta_log" / f"{CHECKPOINT:020d}.checkpoint.parquet") as checkpoint:
        for batch in checkpoint.iter_batches(columns=["add.path"]):
            yield from (row["path"] for row in batch["add"].to_pylist() if row is not None)


def iceberg(folder: Path, paths: Iterable[str]) -> None:
    """An Iceberg table of one snapshot that holds these files, each with metrics of ten columns (in every manifest the same)."""
    table, chance, left = BigTable(folder), random.Random(4), iter(paths)
    entries = [entry(chance) for _ in range(FILES_A_MANIFEST)]
    while held := tuple(islice(left, FILES_A_MANIFEST)):
        table.named.append(_manifest(folder, len(table.named), held, entries))
    table.commit(0, 0)
    table.publish()


def _manifest(folder: Path, number: int, paths: tuple[str, ...], entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Write one manifest of ``entries`` with these paths in place of their own; gives its record in the manifest list."""
    import fastavro

    made = entries[: len(paths)]
    for one, path in zip(made, paths, strict=True):
        one["data_file"] |= {"file_path": f"{OLD}/{path}", "file_size_in_bytes": FILE_SIZE}
    place = folder / "metadata" / f"m-{number:05d}.avro"
    keys = {"schema": "{}", "partition-spec": "[]", "partition-spec-id": "0", "format-version": "2", "content": "data"}
    with place.open("wb") as file:
        parsed = fastavro.parse_schema(schema())
        fastavro.writer(file, parsed, made, codec="deflate", metadata=keys, sync_interval=64_000)
    counts = {"added_files_count": len(paths), "existing_files_count": 0, "deleted_files_count": 0}
    rows = {"added_rows_count": 1, "existing_rows_count": 0, "deleted_rows_count": 0}
    numbers = {"sequence_number": 1, "min_sequence_number": 1, "added_snapshot_id": 1}
    address = {"manifest_path": f"{OLD}/metadata/{place.name}", "manifest_length": place.stat().st_size}
    return {**address, "partition_spec_id": 0, "content": 0, **numbers, **counts, **rows}
