"""Manifests and lists that real engines wrote, against fastavro. Skipped where the corpus is not."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import fastavro
import pytest

from lakehouse.formats.iceberg.avro import compile_walker, read_container, same_content
from lakehouse.formats.iceberg.manifest import Entry, read_entries, rewrite_manifest
from lakehouse.formats.iceberg.manifest_list import read_list, rewrite_list

CORPUS = Path(os.environ.get("LAKE_CORPUS", Path(__file__).parents[4] / "shared" / "corpus"))
FOLDERS = [path for kind in ("iceberg/*", "wild/i_*") for path in sorted(CORPUS.glob(kind)) if next(path.rglob("*.avro"), None)]


def avro_files(folder: Path, name: str) -> list[tuple[Path, bytes, Any]]:
    """Path, bytes and records of the folder's Avro files whose records have that name."""
    found: list[tuple[Path, bytes, Any]] = []
    for path in sorted(folder.rglob("*.avro")):
        data = path.read_bytes()
        if data.startswith(b"Obj\x01"):  # one is encrypted
            reader = fastavro.reader(io.BytesIO(data))
            schema: Any = reader.writer_schema
            if schema["name"] == name:
                found.append((path, data, list(reader)))
    return found


def moved(path: str) -> str:
    return f"gs://moved/{path}"


@pytest.fixture(params=FOLDERS or [CORPUS], ids=lambda path: path.name)
def folder(request: pytest.FixtureRequest) -> Path:
    chosen: Path = request.param
    if not chosen.is_dir():
        pytest.skip("the corpus of real tables is not here (set LAKE_CORPUS to its folder)")
    return chosen


def test_entries_are_those_that_fastavro_reads(folder: Path) -> None:
    for path, data, records in avro_files(folder, "manifest_entry"):
        assert list(read_entries(data, str(path))) == [
            Entry(
                record["status"],
                record["data_file"].get("content", 0),
                record["data_file"]["file_path"],
                record["data_file"]["file_format"],
                record["data_file"]["file_size_in_bytes"],
                encrypted=record["data_file"].get("key_metadata") is not None,
            )
            for record in records
        ]


def test_a_manifest_rewritten_keeps_all_but_the_mapped(folder: Path) -> None:
    for path, data, records in avro_files(folder, "manifest_entry"):
        new = rewrite_manifest(data, str(path), moved, lambda _: None)
        for record in records:
            file = record["data_file"]
            file["file_path"] = moved(file["file_path"])
            if file.get("referenced_data_file") is not None:
                file["referenced_data_file"] = moved(file["referenced_data_file"])
            for item in (*(file["lower_bounds"] or ()), *(file["upper_bounds"] or ())) if file.get("content") == 1 else ():
                if item["key"] == 2147483546:
                    item["value"] = moved(item["value"].decode()).encode()
        assert list(fastavro.reader(io.BytesIO(new))) == records, path
        assert read_container(new, "x")[0] == read_container(data, "x")[0]
        same = rewrite_manifest(data, str(path), lambda stated: stated, lambda _: None)
        assert same_content(same, data), path


def test_a_list_rewritten_keeps_all_but_the_mapped(folder: Path) -> None:
    for path, data, records in avro_files(folder, "manifest_file"):
        assert [each.path for each in read_list(data, str(path))] == [record["manifest_path"] for record in records]
        new = rewrite_list(data, str(path), moved, len)
        for record in records:
            record |= {"manifest_path": moved(record["manifest_path"]), "manifest_length": len(record["manifest_path"])}
        assert list(fastavro.reader(io.BytesIO(new))) == records, path
        assert read_container(new, "x")[0] == read_container(data, "x")[0]


def test_position_deletes_in_avro_are_found_as_fastavro_reads_them(folder: Path) -> None:
    for path, data, records in avro_files(folder, "table"):
        header, blocks = read_container(data, str(path))
        walker = compile_walker(header.schema, {2147483546: "file_path", 2147483545: "pos"})
        at = {field_id: walker.at(field_id) for field_id in (2147483546, 2147483545)}
        if None in at.values():
            continue  # a data file
        found = [
            tuple(walker.decode(field_id, block.data, spans[place or 0]) for field_id, place in at.items())
            for block in blocks
            for spans in walker.records(block, str(path))
        ]
        assert found == [(record["file_path"], record["pos"]) for record in records]
