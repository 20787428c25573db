"""A Delta table with everything that a check looks at: two kinds of checkpoints, a checksum file, a compacted log, deletion
vectors, change data, and files that only older versions need.
"""

from __future__ import annotations

import datetime
import decimal
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from lakehouse.formats.delta.vectors import vector_id
from tests.formats.spark_like import mask, state_of, upgrade, v2_checkpoint, write_commit

CLASSIC, V2, LAST = 3, 7, 8
LOG = "_delta_log"


def rows(first: int, count: int = 40) -> pa.Table:
    numbers = range(first, first + count)
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "name": [None if number % 7 == 0 else f"name {number:05d}" for number in numbers],
            "price": pa.array([decimal.Decimal(number).scaleb(-2) for number in numbers], pa.decimal128(12, 2)),
            "at": pa.array([start + datetime.timedelta(hours=number) for number in numbers], pa.timestamp("us", "UTC")),
            "region": ["north" if number % 2 else "south east" for number in numbers],
        }
    )


def plain_file(folder: Path, name: str, first: int) -> dict[str, Any]:
    """A file of page checksums, all of one size where ``first`` is a multiple of 7, in the partition north; gives its add."""
    table = rows(first, 40).drop_columns(["region"])
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none", use_dictionary=False, write_page_checksum=True)
    path = folder / "region=north" / name
    path.write_bytes(sink.getvalue())
    ids, names = table["id"].to_pylist(), [text for text in table["name"].to_pylist() if text is not None]
    stats = {
        "numRecords": len(ids),
        "minValues": {"id": min(ids), "name": min(names)},
        "maxValues": {"id": max(ids), "name": max(names)},
        "nullCount": {"id": 0, "name": table["name"].null_count},
    }
    return {
        "path": f"region=north/{name}", "size": path.stat().st_size, "partitionValues": {"region": "north"},
        "modificationTime": 1, "dataChange": True, "stats": json.dumps(stats),
    }  # fmt: skip


def make(folder: Path) -> None:
    """Versions 0 to 8; checkpoints of 3 and 7, the checksum file is of 8."""
    for first in (0, 100, 200):
        write_deltalake(folder, rows(first), mode="append", partition_by=["region"])
    DeltaTable(folder).delete("region = 'south east' and id < 100")
    DeltaTable(folder).create_checkpoint()
    upgrade(folder)
    mask(folder, 1, 5)
    adds = [plain_file(folder, f"plain-{at}.parquet", 1001 + 700 * at) for at in range(2)]
    (folder / "_change_data").mkdir()
    pq.write_table(rows(0).drop_columns(["region"]), folder / "_change_data" / "cdc-0.parquet")
    change = {
        "path": "_change_data/cdc-0.parquet", "size": (folder / "_change_data" / "cdc-0.parquet").stat().st_size,
        "partitionValues": {"region": "north"}, "dataChange": False,
    }  # fmt: skip
    write_commit(folder, *({"add": add} for add in adds), {"cdc": change})
    compact(folder, 6, 6)
    gone = {"path": adds[1]["path"], "size": adds[1]["size"], "partitionValues": adds[1]["partitionValues"]}
    write_commit(folder, {"remove": {**gone, "deletionTimestamp": 0, "dataChange": True, "extendedFileMetadata": True}})
    v2_checkpoint(folder)
    domain = {"domain": "d", "configuration": "{}", "removed": False}
    write_commit(folder, {"domainMetadata": domain}, {"txn": {"appId": "job", "version": 7}})
    checksum(folder)


def compact(folder: Path, low: int, high: int) -> None:
    commits = [commit(folder, number).read_text() for number in range(low, high + 1)]
    kept = [line for text in commits for line in text.splitlines() if "commitInfo" not in line]
    (folder / LOG / f"{low:020d}.{high:020d}.compacted.json").write_text("\n".join(kept) + "\n")


def checksum(folder: Path) -> None:
    state = state_of(folder)
    said = {
        "tableSizeBytes": sum(fields["size"] for fields in state.adds.values()),
        "numFiles": len(state.adds),
        "numMetadata": 1,
        "numProtocol": 1,
        "numDeletionVectorsOpt": sum(bool(vector_id(fields)) for fields in state.adds.values()),
        "setTransactions": list(state.transactions.values()),
        "domainMetadata": list(state.domains.values()),
        "metadata": state.metadata,
        "protocol": state.protocol,
        "histogramOpt": {"fileCounts": [len(state.adds)]},
    }
    (folder / LOG / f"{LAST:020d}.crc").write_text(json.dumps(said))


def commit(folder: Path, number: int) -> Path:
    return folder / LOG / f"{number:020d}.json"
