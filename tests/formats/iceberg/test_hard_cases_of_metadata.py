"""Metadata as no writer of good will makes it: other shapes, bombs, bounds and spellings that mean something else elsewhere."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zstandard

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.avro.container import read_container
from lakehouse.formats.iceberg.manifest import rewrite_manifest
from lakehouse.locations import Locations
from tests.formats.iceberg import avro_files
from tests.formats.iceberg.manifest_files import DELETED_PATH, entry, entry_schema, written
from tests.formats.iceberg.test_hard_cases import Numbered, numbered


@pytest.fixture
def table(tmp_path: Path) -> Numbered:
    return numbered(tmp_path)


DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a ref that is null": lambda metadata: metadata.update(refs={"main": None}),
    "refs that are a list": lambda metadata: metadata.update(refs=[1]),
    "statistics without a path": lambda metadata: metadata.update(statistics=[{}]),
    "a snapshot that is a text": lambda metadata: metadata.update(snapshots=["x"]),
    "a manifest list that is a number": lambda metadata: metadata["snapshots"][0].update({"manifest-list": 5}),
    "a log that is a text": lambda metadata: metadata.update({"metadata-log": "x"}),
    "format version 0": lambda metadata: metadata.update({"format-version": 0}),
    "format version 2.0": lambda metadata: metadata.update({"format-version": 2.0}),
    "a location that is a number": lambda metadata: metadata.update(location=5),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_metadata_of_another_shape_is_damaged_and_nothing_is_written(damage: str, table: Numbered) -> None:
    DAMAGE[damage](table.versions[-1])
    table.stand(4)
    with pytest.raises(NotFound):
        table.sync()
    assert not table.target.exists()


def test_half_a_surrogate_and_a_time_that_no_calendar_has_are_carried(table: Numbered) -> None:
    table.versions[-1]["properties"]["note"] = "\ud800"
    table.versions[-1]["last-updated-ms"] = 10**18
    table.stand(4)
    table.sync()
    assert table.published()["properties"]["note"] == "\ud800"
    assert table.published()["last-updated-ms"] == 10**18
    table.verify(against=str(table.folder))


@pytest.mark.parametrize("codec", ["deflate", "zstandard"])
def test_a_small_manifest_that_unpacks_to_hundreds_of_megabytes_is_damaged(codec: str) -> None:
    packer = (
        zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS) if codec == "deflate" else zstandard.ZstdCompressor().compressobj()
    )
    megabyte = bytes(1 << 20)
    packed = b"".join(packer.compress(megabyte) for _ in range(257)) + packer.flush()
    file = avro_files.header(entry_schema(), codec) + avro_files.number(1) + avro_files.text(packed) + avro_files.SYNC
    assert len(file) < 3 << 20
    with pytest.raises(NotFound, match="damaged"):
        list(read_container(file, "bomb.avro")[1])


MIDDLES: dict[str, tuple[Locations, tuple[str, str, str]]] = {
    "a map inside a map": (
        Locations(
            "file:///src/t", "s3://copy/t", "s3://b/t", (("s3://x", "file:///src/t/x"), ("s3://x/m", "file:///src/t/other"))
        ),
        ("s3://x/a.parquet", "s3://x/m/1.parquet", "s3://x/z.parquet"),
    ),
    "empty segments that a file system drops": (
        Locations("s3://b/t", "file:///copy/t", "s3://b/t"),
        ("s3://b/t/data/-a", "s3://b/t/data//z", "s3://b/t/data/9"),
    ),
}


@pytest.mark.parametrize("name", MIDDLES)
def test_bounds_of_position_deletes_never_shut_out_a_path_between_them(name: str) -> None:
    """Trap 4: a bound that excludes a path of the file brings deleted rows back."""
    locations, (lower, middle, upper) = MIDDLES[name]
    made = [locations.address(path) for path in (lower, middle, upper)]
    assert lower < middle < upper
    deletes = entry("s3://b/t/data/d.parquet", content=1, lower=lower, upper=upper)
    data = written(entry_schema(), [deletes], content="deletes")
    (record,) = avro_files.records_of(rewrite_manifest(data, "m", locations.address, lambda _: 7))
    for bounds, sign in (("lower_bounds", 1), ("upper_bounds", -1)):
        for stated in (item["value"].decode() for item in record["data_file"][bounds] if item["key"] == DELETED_PATH):
            assert sorted([stated, made[1]])[::sign] == [stated, made[1]]


def test_places_of_one_table_spelled_in_many_ways_are_found_in_many_threads_at_once() -> None:
    spellings = ["file:/w/t", "file:///w/t", "/w/t", "//w/t", "///w/t", "file:////w/t", "file://///w/t", "file://localhost/w/t"]
    spellings += [f"file:{'/' * slashes}w/t" for slashes in range(6, 46)]

    def places(locations: Locations, turn: int) -> set[str]:
        return {
            locations.place(f"{spellings[(number // 6 + turn) % len(spellings)]}/data/{number}").write for number in range(300)
        }

    for _ in range(20):
        locations = Locations("file:///s", "file:///t", "file:/w/t")
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(places, [locations] * 16, range(16)))
        assert all(one == {f"data/{number}" for number in range(300)} for one in found)
        assert len(locations.heads) < len(spellings)  # the list is bounded: each place looks through it
