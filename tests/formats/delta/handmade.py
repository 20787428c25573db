"""Delta tables written by hand: any schema, protocol, partition values, statistics and deletion vectors."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq
from pyroaring import BitMap64

from lakehouse.formats.delta.scan import plan_scan
from lakehouse.formats.delta.snapshot import state_at, write_checkpoint
from lakehouse.formats.delta.vectors import z85_encode
from lakehouse.reading.task import Point, ScanPlan
from tests.formats.replicas import DELTA, local
from tests.formats.spark_like import v2_checkpoint

__all__ = [
    "MAGIC",
    "bitmap",
    "checkpoint",
    "column",
    "commit",
    "mapped",
    "plan",
    "protocol",
    "start",
    "vector",
    "vector_file",
    "write_file",
]

MAGIC = (1681511377).to_bytes(4, "little")


def column(name: str, kind: Any, *, nullable: bool = True, **metadata: Any) -> dict[str, Any]:
    """A field of a schemaString; ``__`` in the names of its metadata stands for a dot."""
    stated = {key.replace("__", "."): value for key, value in metadata.items()}
    return {"name": name, "type": kind, "nullable": nullable, "metadata": stated}


def mapped(name: str, kind: Any, physical: str, number: int, **metadata: Any) -> dict[str, Any]:
    """A field under column mapping."""
    named: dict[str, Any] = {"delta__columnMapping__physicalName": physical, "delta__columnMapping__id": number}
    return column(name, kind, **named, **metadata)


def protocol(*features: str) -> dict[str, Any]:
    if not features:
        return {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}
    named = list(features)
    return {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": named, "writerFeatures": named}}


def commit(folder: Path, version: int, *actions: dict[str, Any], time: int | None = None) -> None:
    """``time``: milliseconds since 1970, as commitInfo states them."""
    log = folder / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    info = () if time is None else ({"commitInfo": {"timestamp": time, "operation": "BY HAND"}},)
    text = "".join(json.dumps(action, ensure_ascii=False) + "\n" for action in (*info, *actions))
    (log / f"{version:020d}.json").write_text(text)


def start(
    folder: Path,
    columns: Iterable[dict[str, Any]],
    *actions: dict[str, Any],
    partition_by: Iterable[str] = (),
    features: Iterable[str] = (),
    time: int | None = None,
    **configuration: str,
) -> None:
    """Version 0."""
    metadata = {
        "id": "by-hand", "format": {"provider": "parquet", "options": {}}, "partitionColumns": list(partition_by),
        "schemaString": json.dumps({"type": "struct", "fields": list(columns)}), "createdTime": 0,
        "configuration": {key.replace("__", "."): value for key, value in configuration.items()},
    }  # fmt: skip
    commit(folder, 0, protocol(*features), {"metaData": metadata}, *actions, time=time)


def write_file(
    folder: Path,
    name: str,
    rows: pa.Table,
    *,
    partition: Mapping[str, str | None] | None = None,
    stats: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A data file, and its add; without ``stats`` those that state the number of rows alone."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path)
    stated = {"numRecords": rows.num_rows} if stats is None else stats
    fields = {
        "path": name, "partitionValues": dict(partition or {}), "size": path.stat().st_size, "modificationTime": 0,
        "dataChange": True, "stats": json.dumps(stated), **more,
    }  # fmt: skip
    return {"add": fields}


def bitmap(positions: Iterable[int]) -> bytes:
    """PROTOCOL.md, "Deletion Vector Format"."""
    return MAGIC + BitMap64(positions).serialize()


def vector_file(folder: Path, *bitmaps: bytes, prefix: str = "") -> list[dict[str, Any]]:
    """One file of deletion vectors; gives their descriptors, without cardinality."""
    name, data, found = uuid.uuid4(), bytearray(b"\x01"), []
    for each in bitmaps:
        stated = f"{prefix}{z85_encode(name.bytes)}"
        found.append({"storageType": "u", "pathOrInlineDv": stated, "offset": len(data), "sizeInBytes": len(each)})
        data += len(each).to_bytes(4, "big") + each + crc32(each).to_bytes(4, "big")
    path = folder / prefix / f"deletion_vector_{name}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return found


def vector(folder: Path, *positions: int, inline: bool = False) -> dict[str, Any]:
    """The descriptor of a vector that deletes ``positions``."""
    data = bitmap(positions)
    if not inline:
        return {**vector_file(folder, data)[0], "cardinality": len(positions)}
    text = z85_encode(data + b"\0" * (-len(data) % 4))
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(data), "cardinality": len(positions)}


def plan(folder: Path, version: int | None = None) -> ScanPlan:
    """The scan of a version (None: the newest)."""
    store = local(folder)
    return plan_scan(store, DELTA.pin(store), Point() if version is None else Point(version=str(version)))


def checkpoint(folder: Path, form: str) -> None:
    """A checkpoint of the newest version: ``classic``, or V2 (``json``, ``parquet``, ``classic-v2``); ``none``: none."""
    store = local(folder)
    pinned = DELTA.pin(store)
    if form == "classic":
        data = write_checkpoint("here", state_at(store, pinned))
        (folder / "_delta_log" / f"{pinned.number:020d}.checkpoint.parquet").write_bytes(data)
    elif form != "none":
        v2_checkpoint(folder, "classic" if form == "classic-v2" else form)  # type: ignore[arg-type]
