"""Tables with histories made at random read, at every point and under any condition, as plain lists of rows do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calls import ALL
from tests.oracle import runs

SEEDS, STEPS = st.integers(0, 2**32), st.integers(1, 8)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    return lambda: tmp_path_factory.mktemp("table")


@settings(max_examples=400 if ALL else 25, deadline=None)
@given(SEEDS, STEPS)
def test_an_iceberg_table_reads_as_it_was_at_every_snapshot_branch_tag_and_moment(
    folders: Callable[[], Path], seed: int, steps: int
) -> None:
    runs.iceberg(folders(), seed, steps)


@settings(max_examples=400 if ALL else 25, deadline=None)
@given(SEEDS, STEPS)
def test_a_delta_table_reads_as_it_was_at_every_version(folders: Callable[[], Path], seed: int, steps: int) -> None:
    runs.delta(folders(), seed, steps)


@settings(max_examples=400 if ALL else 25, deadline=None)
@given(SEEDS, STEPS)
def test_a_folder_of_parquet_files_of_several_schemas_reads_as_one_table(
    folders: Callable[[], Path], seed: int, steps: int
) -> None:
    runs.parquet(folders(), seed, steps)


@settings(max_examples=200 if ALL else 10, deadline=None)
@given(SEEDS, st.integers(1, 3))
def test_the_same_rows_have_the_same_fingerprint_in_every_format(folders: Callable[[], Path], seed: int, steps: int) -> None:
    runs.fingerprints(folders(), seed, steps)
