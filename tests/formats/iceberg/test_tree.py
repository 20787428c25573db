"""How much of the manifests is held while a version is planned."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lakehouse.formats.iceberg.manifest_list import ManifestFile
from lakehouse.formats.iceberg.tree import readers
from lakehouse.parallel import WINDOW_PER_WORKER


@given(st.lists(st.integers(0, 2**31), max_size=5))
def test_manifests_that_are_read_ahead_fit_into_memory_unless_one_alone_does_not(lengths: list[int]) -> None:
    held = readers([ManifestFile("m", length, 0, None, False) for length in lengths])
    assert 1 <= held <= 16
    assert held == 1 or held * WINDOW_PER_WORKER * max(lengths, default=0) <= 64 * 2**20


def test_small_manifests_are_read_by_many() -> None:
    assert readers([ManifestFile("m", 100_000, 0, None, False)] * 3) == 16
