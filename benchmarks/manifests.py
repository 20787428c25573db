"""Rewriting manifests: ours against fastavro's decode, edit, encode, on the same manifests in the same run.

Makes ``--manifests`` manifests of ``--entries`` entries with metrics of ten columns (deflate, blocks of 64 KB, as Java writes
them); rewrites them all with `rewrite_manifest` and a sample of them with fastavro; reads them with `read_entries` as well. Each
is a process of its own. Prints entries per second of CPU, the ratio, and the peak memory.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import string
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro

from lakehouse.formats.iceberg.manifest import read_entries, rewrite_manifest

COLUMNS = 10
SAMPLE = 10
OLD, NEW = "s3://warehouse/lake/events", "abfss://replica@account.dfs.core.windows.net/lake/events"


def metrics(field_id: int, name: str, key: int, value_type: str) -> dict[str, Any]:
    """A nullable map from column id to a number or a bound, as Iceberg writes it."""
    fields = [{"name": "key", "type": "int", "field-id": key}, {"name": "value", "type": value_type, "field-id": key + 1}]
    item = {"type": "record", "name": f"k{key}_v{key + 1}", "fields": fields}
    return {
        "name": name,
        "type": ["null", {"type": "array", "items": item, "logicalType": "map"}],
        "default": None,
        "field-id": field_id,
    }


def optional(field_id: int, name: str, kind: Any) -> dict[str, Any]:
    return {"name": name, "type": ["null", kind], "default": None, "field-id": field_id}


def schema() -> dict[str, Any]:
    """The schema of a manifest of format version 2."""
    partition = {"type": "record", "name": "r102", "fields": [optional(1000, "day", {"type": "int", "logicalType": "date"})]}
    data_file = [
        {"name": "content", "type": "int", "field-id": 134},
        {"name": "file_path", "type": "string", "field-id": 100},
        {"name": "file_format", "type": "string", "field-id": 101},
        {"name": "partition", "type": partition, "field-id": 102},
        {"name": "record_count", "type": "long", "field-id": 103},
        {"name": "file_size_in_bytes", "type": "long", "field-id": 104},
        metrics(108, "column_sizes", 117, "long"),
        metrics(109, "value_counts", 119, "long"),
        metrics(110, "null_value_counts", 121, "long"),
        metrics(137, "nan_value_counts", 138, "long"),
        metrics(125, "lower_bounds", 126, "bytes"),
        metrics(128, "upper_bounds", 129, "bytes"),
        optional(131, "key_metadata", "bytes"),
        optional(132, "split_offsets", {"type": "array", "items": "long", "element-id": 133}),
        optional(135, "equality_ids", {"type": "array", "items": "int", "element-id": 136}),
        optional(140, "sort_order_id", "int"),
        optional(143, "referenced_data_file", "string"),
    ]
    entry = [
        {"name": "status", "type": "int", "field-id": 0},
        optional(1, "snapshot_id", "long"),
        optional(3, "sequence_number", "long"),
        optional(4, "file_sequence_number", "long"),
        {"name": "data_file", "type": {"type": "record", "name": "r2", "fields": data_file}, "field-id": 2},
    ]
    return {"type": "record", "name": "manifest_entry", "fields": entry}


def pairs(values: dict[int, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def entry(chance: random.Random) -> dict[str, Any]:
    """One ADDED data file: six columns of whole numbers, two of doubles, two of text; some are null and have no bounds."""
    rows, day = chance.randrange(1, 2_000_000), chance.randrange(19_000, 20_500)
    columns = range(1, COLUMNS + 1)
    full = [column for column in columns if chance.random() > 0.02]

    def bound(column: int) -> bytes:
        if column <= 6:
            return struct.pack("<q", chance.randrange(100**column))
        if column <= 8:
            return struct.pack("<d", chance.uniform(0, 1000))
        return "".join(chance.choices(string.ascii_lowercase, k=chance.randrange(3, 17))).encode()

    task = f"{chance.randrange(100_000):05d}-{chance.randrange(1000)}"
    name = f"{task}-{chance.getrandbits(128):032x}-{chance.randrange(1, 12):05d}.parquet"
    data_file = {
        "content": 0,
        "file_path": f"{OLD}/data/day={day}/{name}",
        "file_format": "PARQUET",
        "partition": {"day": day},
        "record_count": rows,
        "file_size_in_bytes": chance.randrange(4, 512_000_000),
        "column_sizes": pairs({column: chance.randrange(40, 50_000_000) for column in columns}),
        "value_counts": pairs(dict.fromkeys(columns, rows)),
        "null_value_counts": pairs({column: 0 if column in full else rows for column in columns}),
        "nan_value_counts": pairs({7: 0, 8: 0}),
        "lower_bounds": pairs({column: bound(column) for column in full}),
        "upper_bounds": pairs({column: bound(column) for column in full}),
        "split_offsets": [4] if rows < 1_000_000 else [4, 134_217_728],
        "sort_order_id": 0,
    }
    return {"status": 1, "data_file": data_file}


def make(folder: Path, manifests: int, entries: int) -> None:
    chance = random.Random(2)
    parsed = fastavro.parse_schema(schema())
    keys = {"schema": "{}", "partition-spec": "[]", "partition-spec-id": "0", "format-version": "2", "content": "data"}
    for number in range(manifests):
        with (folder / f"{number:05d}.avro").open("wb") as file:
            records = (entry(chance) for _ in range(entries))
            fastavro.writer(file, parsed, records, codec="deflate", metadata=keys, sync_interval=64_000)


def address(path: str) -> str:
    if not path.startswith(OLD):
        raise ValueError(path)
    return NEW + path[len(OLD) :]


def ours(path: Path) -> None:
    data = path.read_bytes()
    path.with_suffix(".new").write_bytes(rewrite_manifest(data, path.name, address, lambda _: None))


def reading(path: Path) -> None:
    for _ in read_entries(path.read_bytes(), path.name):
        pass


def theirs(path: Path) -> None:
    with path.open("rb") as file:
        reader = fastavro.reader(file)
        records: list[Any] = list(reader)
        for record in records:
            record["data_file"]["file_path"] = address(record["data_file"]["file_path"])
        written = io.BytesIO()
        keys = {key: value for key, value in reader.metadata.items() if not key.startswith("avro.")}
        written_as: Any = reader.writer_schema
        fastavro.writer(written, written_as, records, codec="deflate", metadata=keys, sync_interval=64_000)
    path.with_suffix(".fastavro").write_bytes(written.getvalue())


def same(path: Path) -> None:
    """Both ways give the same records."""
    with path.with_suffix(".new").open("rb") as one, path.with_suffix(".fastavro").open("rb") as other:
        if list(fastavro.reader(one)) != list(fastavro.reader(other)):
            raise SystemExit(f"{path.name}: ours and fastavro's differ")


STEPS: dict[str, Callable[[Path], None]] = {"ours": ours, "reading": reading, "theirs": theirs, "same": same}


def measured(step: str, paths: list[Path]) -> dict[str, float]:
    """CPU seconds of one step over all paths, imports excluded, and the peak memory of a process that did nothing else."""
    code = [sys.executable, __file__, "--step", step, *map(str, paths)]
    done: dict[str, float] = json.loads(subprocess.run(code, check=True, capture_output=True, text=True).stdout)
    return done


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--manifests", type=int, default=200)
    arguments.add_argument("--entries", type=int, default=2000, help="in each manifest")
    arguments.add_argument("--step", choices=sorted(STEPS), help=argparse.SUPPRESS)
    arguments.add_argument("paths", nargs="*", type=Path, help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.step:
        start = time.process_time()
        for path in chosen.paths:
            STEPS[chosen.step](path)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
        json.dump({"cpu": time.process_time() - start, "peak": peak}, sys.stdout)
        return
    with tempfile.TemporaryDirectory() as text:
        make(Path(text), chosen.manifests, chosen.entries)
        paths = sorted(Path(text).glob("*.avro"))
        size = sum(path.stat().st_size for path in paths) / 1e6
        sample = paths[:SAMPLE]
        results = {"ours": measured("ours", paths), "reading": measured("reading", paths), "theirs": measured("theirs", sample)}
        measured("same", sample)
    rate = {
        step: (len(sample) if step == "theirs" else len(paths)) * chosen.entries / result["cpu"]
        for step, result in results.items()
    }
    print(f"{chosen.manifests} manifests x {chosen.entries} entries, {COLUMNS} columns of metrics, {size:.0f} MB compressed")
    print(f"rewrite_manifest: {rate['ours']:,.0f} entries per CPU second, peak {results['ours']['peak']:.0f} MB")
    print(f"fastavro decode, edit, encode: {rate['theirs']:,.0f} entries per CPU second")
    print(f"ratio: {rate['ours'] / rate['theirs']:.1f}")
    print(f"read_entries: {rate['reading']:,.0f} entries per CPU second, peak {results['reading']['peak']:.0f} MB")


if __name__ == "__main__":
    main()
