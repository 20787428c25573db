"""Deletion vectors: what they hold, and that no damage passes; what is read once for many."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap64

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.deletion_vector import positions_of
from lakehouse.formats.iceberg.kept import Kept


def blob_of(positions: list[int]) -> bytes:
    body = b"\xd1\xd3\x39\x64" + BitMap64(positions).serialize()
    return struct.pack(">I", len(body)) + body + struct.pack(">I", zlib.crc32(body))


@given(st.sets(st.one_of(st.integers(0, 100_000), st.integers(0, 2**40)), max_size=50))
def test_the_positions_are_those_that_were_written_ascending(positions: set[int]) -> None:
    found = positions_of(blob_of(sorted(positions)), "the vector", len(positions))
    assert found.tolist() == sorted(positions)
    assert found.dtype == "uint64"


@given(st.data())
def test_one_changed_byte_anywhere_is_an_error(data: st.DataObject) -> None:
    """Trap (Verification 7): one flipped bit in a delete file."""
    blob = bytearray(blob_of([1, 5, 70_000, 2**33]))
    at, bit = data.draw(st.integers(0, len(blob) - 1)), data.draw(st.integers(0, 7))
    blob[at] ^= 1 << bit
    with pytest.raises(NotFound, match="damaged"):
        positions_of(bytes(blob), "the vector", 4)


@given(st.integers(0, 40))
def test_a_vector_that_is_cut_off_is_an_error(size: int) -> None:
    with pytest.raises(NotFound, match="damaged"):
        positions_of(blob_of([1, 5, 70_000])[:size], "the vector", 3)


def test_another_number_of_positions_than_the_entry_says_is_an_error() -> None:
    with pytest.raises(NotFound, match="holds 2 positions, its entry says 3"):
        positions_of(blob_of([1, 2]), "the vector", 3)


def test_bytes_with_a_right_checksum_that_are_no_bitmap_are_an_error() -> None:
    body = b"\xd1\xd3\x39\x64" + b"\xff" * 9
    with pytest.raises(NotFound, match="no Roaring bitmap"):
        positions_of(struct.pack(">I", len(body)) + body + struct.pack(">I", zlib.crc32(body)), "the vector", 1)


def test_what_is_kept_is_read_once_also_by_threads_and_the_last_one_is_kept_though_it_does_not_fit() -> None:
    kept, read = Kept[int](10), list[int]()

    def value(number: int) -> int:
        def load() -> tuple[int, int]:
            read.append(number)
            return number, 6 if number else 11

        return kept.get(number, load)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(value, [1] * 50)) == [1] * 50
    assert read == [1]
    value(2)
    value(1)
    assert read == [1, 2, 1]
    value(0)
    value(0)
    assert read == [1, 2, 1, 0]
    value(1)
    value(1)
    assert read == [1, 2, 1, 0, 1]


def test_what_is_kept_no_more_takes_no_memory() -> None:
    kept = Kept[None](10)
    tracemalloc.start()
    try:
        for number in range(20_000):
            kept.get(number, lambda: (None, 1))
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()


def test_what_cannot_be_read_is_an_error_for_each_that_asks_and_is_read_again() -> None:
    kept, results = Kept[int](10), [NotFound("gone"), None]

    def load() -> tuple[int, int]:
        error = results.pop(0)
        if error is not None:
            raise error
        return 7, 1

    with pytest.raises(NotFound, match="gone"):
        kept.get("a", load)
    assert kept.get("a", load) == 7
