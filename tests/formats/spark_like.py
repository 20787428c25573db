"""Tables as Spark makes them and deltalake does not: deletion vectors and V2 checkpoints, written by hand."""

from __future__ import annotations

import json
import struct
import uuid
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from deltalake import DeltaTable

from lakehouse.formats.delta.snapshot import State, state_at, write_checkpoint
from lakehouse.formats.delta.vectors import _ALPHABET
from tests.formats.replicas import DELTA, local


def z85_encode(data: bytes) -> str:
    text = ""
    for (number,) in struct.iter_unpack(">I", data):
        text += "".join(_ALPHABET[number // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return text


def bitmap(positions: Sequence[int]) -> bytes:
    """PROTOCOL.md, "Deletion Vector Format": a RoaringBitmapArray of one bitmap with one array container."""
    container = struct.pack(f"<IIHHI{len(positions)}H", 12346, 1, 0, len(positions) - 1, 16, *sorted(positions))
    return struct.pack("<IQI", 1681511377, 1, 0) + container


def state_of(folder: Path, version: int | None = None) -> State:
    store = local(folder)
    return state_at(store, DELTA.pin(store, None if version is None else str(version)))


def write_commit(folder: Path, *actions: dict[str, Any]) -> int:
    """The next commit, by hand."""
    number = DELTA.pin(local(folder)).number + 1
    text = "".join(json.dumps(action) + "\n" for action in ({"commitInfo": {"operation": "BY HAND"}}, *actions))
    (folder / "_delta_log" / f"{number:020d}.json").write_text(text)
    return number


def upgrade(folder: Path) -> int:
    """Turn on both features."""
    features = ["deletionVectors", "v2Checkpoint"]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}
    return write_commit(folder, {"protocol": protocol})


def mask(folder: Path, *positions: int, prefix: str = "", inline: bool = False) -> int:
    """DELETE by deletion vectors: of every live file the rows at ``positions`` are gone; one file holds all vectors."""
    name, file, data = uuid.uuid4(), bytearray(b"\x01"), bitmap(positions)
    actions: list[dict[str, Any]] = []
    for fields in state_of(folder).adds.values():
        vector = {"storageType": "u", "pathOrInlineDv": prefix + z85_encode(name.bytes), "offset": len(file)}
        if inline:
            vector = {"storageType": "i", "pathOrInlineDv": z85_encode(data + b"\0" * (-len(data) % 4))}
        vector |= {"sizeInBytes": len(data), "cardinality": len(positions)}
        file += struct.pack(">I", len(data)) + data + struct.pack(">I", zlib.crc32(data))
        kept = {key: value for key, value in fields.items() if value is not None}
        actions.append({"add": {**kept, "dataChange": True, "deletionVector": vector}})
        gone = {key: kept[key] for key in ("path", "partitionValues", "size", "deletionVector") if key in kept}
        actions.append({"remove": {**gone, "deletionTimestamp": 0, "dataChange": True, "extendedFileMetadata": True}})
    if not inline:
        target = folder / prefix / f"deletion_vector_{name}.bin"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(file)
    return write_commit(folder, *actions)


def restore(folder: Path, version: int) -> int:
    """RESTORE: what was live at ``version`` is live again, each file with the vector that it had."""
    then, now = state_of(folder, version).adds, state_of(folder).adds
    back = [{"add": {**fields, "dataChange": True}} for key, fields in then.items() if key not in now]
    kept = ("path", "partitionValues", "size", "deletionVector")
    gone = [
        {"remove": {**{k: v for k, v in fields.items() if k in kept}, "deletionTimestamp": 0, "dataChange": True}}
        for key, fields in now.items()
        if key not in then
    ]
    return write_commit(folder, *back, *gone)


Name = Literal["json", "parquet", "classic"]


def v2_checkpoint(folder: Path, name: Name = "json", *, sidecars: int = 2, hint: bool = True) -> list[Path]:
    """A V2 checkpoint of the newest version: the top-level file first, then its sidecars."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    state, number = state_of(folder), DELTA.pin(local(folder)).number
    whole = pq.read_table(pa.BufferReader(write_checkpoint("here", state)))
    files = whole.filter(pa.compute.or_(whole["add"].is_valid(), whole["remove"].is_valid())).select(["add", "remove"])
    rows: list[dict[str, Any]] = [{"checkpointMetadata": {"version": number}}]
    made: list[Path] = []
    log = folder / "_delta_log"
    size = -(-files.num_rows // sidecars) if sidecars else 0
    for part in range(sidecars):
        path = log / "_sidecars" / f"{number:020d}.checkpoint.{part + 1:010d}.{sidecars:010d}.{uuid.uuid4()}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(files.slice(part * size, size), path)
        rows.append({"sidecar": {"path": path.name, "sizeInBytes": path.stat().st_size, "modificationTime": 0}})
        made.append(path)
    rows += [row for row in whole.to_pylist(maps_as_pydicts="strict") if row["protocol"] or row["metaData"]]
    rows += files.to_pylist(maps_as_pydicts="strict") if not sidecars else []
    rows = [{kind: fields for kind, fields in row.items() if fields} for row in rows]
    top = log / f"{number:020d}.checkpoint.{uuid.uuid4()}.{name}"
    if name == "json":
        top.write_text("".join(json.dumps(_without_nulls(row)) + "\n" for row in rows))
    else:
        top = log / f"{number:020d}.checkpoint.parquet" if name == "classic" else top
        extra = {
            "checkpointMetadata": {"version": pa.int64()},
            "sidecar": {"path": pa.string(), "sizeInBytes": pa.int64(), "modificationTime": pa.int64()},
        }
        schema = pa.schema([*whole.schema, *((kind, pa.struct(list(fields.items()))) for kind, fields in extra.items())])
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), top)
    if hint:
        named = {} if name == "classic" else {"v2Checkpoint": {"path": top.name, "sizeInBytes": top.stat().st_size}}
        (log / "_last_checkpoint").write_text(json.dumps({"version": number, "size": len(rows), **named}))
    return [top, *made]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def rows_of(folder: Path, version: int | None = None) -> list[int]:
    import pyarrow as pa

    return sorted(pa.table(DeltaTable(str(folder), version=version).scan())["id"].to_pylist())
