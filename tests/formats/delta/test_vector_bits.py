"""Deletion vectors: what they hold, and that a damaged one never brings rows back (traps: Delta 16, Verification 7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from lakehouse.errors import LakeError, NotFound, Unsupported
from lakehouse.formats.delta.live import live_files
from lakehouse.formats.delta.vector_bits import DeletionVector, deleted_positions
from lakehouse.formats.delta.vectors import z85_encode
from tests.formats.delta.handmade import MAGIC, bitmap, vector, vector_file
from tests.formats.replicas import DELTA, add, commit, local

POSITIONS = st.sets(st.one_of(st.integers(0, 300), st.integers(0, 2**34)), min_size=1, max_size=200)


def placed(folder: Path, descriptor: dict[str, Any]) -> DeletionVector:
    """As the log of a table with one file states it."""
    commit(folder, 0, add("f.parquet", deletionVector=descriptor))
    store = local(folder)
    (found,) = live_files(store, DELTA.pin(store))
    assert found.vector is not None
    return found.vector


def positions(folder: Path, descriptor: dict[str, Any]) -> list[int]:
    found = deleted_positions(local(folder), placed(folder, descriptor))
    assert found.dtype == np.uint64
    return [int(position) for position in found]


@given(POSITIONS, st.booleans())
def test_what_was_written_is_read_ascending(tmp_path_factory: pytest.TempPathFactory, wanted: set[int], inline: bool) -> None:
    folder = tmp_path_factory.mktemp("vector")
    assert positions(folder, vector(folder, *wanted, inline=inline)) == sorted(wanted)


def test_several_vectors_share_a_file_below_a_prefix(tmp_path: Path) -> None:
    sets = [{5}, set(range(70_000)), {0, 2**33 + 7}]
    descriptors = vector_file(tmp_path, *map(bitmap, sets), prefix="ab")
    for wanted, descriptor in zip(sets, descriptors, strict=True):
        assert positions(tmp_path, {**descriptor, "cardinality": len(wanted)}) == sorted(wanted)


def test_run_containers_are_read(tmp_path: Path) -> None:
    runs = BitMap(range(10, 60_000))
    runs.run_optimize()
    data = MAGIC + (1).to_bytes(8, "little") + (0).to_bytes(4, "little") + runs.serialize()
    (descriptor,) = vector_file(tmp_path, data)
    assert positions(tmp_path, {**descriptor, "cardinality": len(runs)}) == list(range(10, 60_000))


def test_the_vector_of_the_specification_is_read_in_the_form_that_it_defines() -> None:
    """PROTOCOL.md, "Deletion Vectors": the example deletes 3, 4, 7, 11, 18 and 29 (its text itself has the form before that)."""
    text = "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L"
    found = deleted_positions(local(Path("/nowhere")), DeletionVector("i", "", text, 1, 44, 6, "the vector"))
    assert found.tolist() == [3, 4, 7, 11, 18, 29]


def test_a_missing_vector_names_its_object(tmp_path: Path) -> None:
    descriptor = vector(tmp_path, 1, 2)
    (file,) = tmp_path.glob("deletion_vector_*")
    file.unlink()
    with pytest.raises(NotFound, match=f"{file.name} of f.parquet is missing, so it is not known which rows are deleted"):
        positions(tmp_path, descriptor)


def test_no_flipped_bit_and_no_lost_byte_goes_unnoticed(tmp_path: Path) -> None:
    """Verification 7: one flipped bit is found, and the object named."""
    found = placed(tmp_path, vector(tmp_path, 1, 5, 70_000))
    (file,) = tmp_path.glob("deletion_vector_*")
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(LakeError, match=file.name):
            deleted_positions(local(tmp_path), found)
        file.write_bytes(whole[:at])
        with pytest.raises(NotFound, match=f"{file.name} of f.parquet is damaged"):
            deleted_positions(local(tmp_path), found)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"cardinality": 4}, "deletes 3 rows, the log states 4"),
        ({"sizeInBytes": 30}, "damaged"),
        ({"offset": 2}, "damaged"),
    ],
)
def test_a_vector_that_the_log_states_otherwise_is_damaged(tmp_path: Path, change: dict[str, int], why: str) -> None:
    with pytest.raises(NotFound, match=why):
        positions(tmp_path, {**vector(tmp_path, 1, 5, 9), **change})


@pytest.mark.parametrize("change", [{"cardinality": 2}, {"sizeInBytes": 3}, {"pathOrInlineDv": "~~~~~"}])
def test_a_damaged_inline_vector_is_found(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(NotFound, match=r"\(inline\) of f.parquet is damaged"):
        positions(tmp_path, {**vector(tmp_path, 1, 5, 9, inline=True), **change})


def test_a_vector_without_a_cardinality_is_an_error(tmp_path: Path) -> None:
    descriptor = vector(tmp_path, 1)
    del descriptor["cardinality"]
    with pytest.raises(NotFound, match="states no size or no cardinality"):
        positions(tmp_path, descriptor)


def test_other_forms_are_refused_by_their_number(tmp_path: Path) -> None:
    data = (1681511376).to_bytes(4, "little") + bitmap([1])[4:]
    (descriptor,) = vector_file(tmp_path, data)
    with pytest.raises(Unsupported, match="has the form 1681511376"):
        positions(tmp_path, {**descriptor, "cardinality": 1})


def test_bytes_that_are_no_bitmap_are_damage(tmp_path: Path) -> None:
    text = z85_encode(MAGIC + b"\x01" + b"\xff" * 15)
    descriptor = {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": 20, "cardinality": 1}
    with pytest.raises(NotFound, match="it is no bitmap"):
        positions(tmp_path, descriptor)
