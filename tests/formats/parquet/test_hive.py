"""Values in the names of folders."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lakehouse.errors import Unsupported
from lakehouse.formats.parquet.hive import NULL, inferred_type, partition_scalar, partitions_of


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("x.parquet", {}),
        ("a=1/b=x%20y/part.parquet", {"a": "1", "b": "x y"}),
        (f"a={NULL}/part.parquet", {"a": None}),
        ("a=/part.parquet", {"a": ""}),
        ("a=b=c/part.parquet", {"a": "b=c"}),
        ("=1/plain/part=1.parquet", {}),
        ("na%2Fme=%C3%A9%25/part.parquet", {"na/me": "é%"}),
        ("a=%FF/part.parquet", {"a": "%FF"}),
    ],
)
def test_folders_state_the_values_of_partitions_percent_decoded(path: str, values: dict[str, str | None]) -> None:
    assert partitions_of(path) == values


def test_a_partition_that_is_stated_twice_is_refused() -> None:
    with pytest.raises(Unsupported, match="'a' twice"):
        partitions_of("a=1/b=1/a=2/part.parquet")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2", "-3", "0", None], pa.int64()),
        (["1", "01"], pa.string()),  # trap: 01 is no number
        (["+1"], pa.string()),
        (["-0"], pa.string()),
        (["1", "9223372036854775808"], pa.string()),
        (["1", "x"], pa.string()),
        (["2024-02-29", None], pa.date32()),
        (["2024-02-29", "2024-02-30"], pa.string()),
        (["2024-02-29", "1"], pa.string()),
        (["1.5"], pa.string()),
        ([None], pa.string()),
        (["true"], pa.string()),
        (["١"], pa.string()),
    ],
)
def test_a_type_is_that_of_all_values_and_never_changes_how_one_is_written(values: list[str | None], kind: pa.DataType) -> None:
    assert inferred_type(values) == kind
    for value in values:
        scalar = partition_scalar(value, kind, "p", "p=x/part.parquet")
        assert scalar.type == kind
        assert (None if scalar.as_py() is None else str(scalar)) == value


def test_a_value_that_other_files_hold_in_another_type_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match=r"p=x/part.parquet: its folder states p=x, which is no int32"):
        partition_scalar("x", pa.int32(), "p", "p=x/part.parquet")
