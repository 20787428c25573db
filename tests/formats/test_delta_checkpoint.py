"""Rows of a checkpoint: read column by column, they are what PyArrow makes of them row by row."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.formats.delta.checkpoint import FILE_COLUMNS, part_actions
from tests.formats.replicas import local

TEXT = st.sampled_from(["", "a", "é", "part-0.parquet"])
TEXTS = pa.map_(pa.string(), pa.string())
VECTOR = pa.struct([("storageType", pa.string()), ("pathOrInlineDv", pa.string()), ("offset", pa.int32())])
ADD = pa.struct(
    [("path", pa.string()), ("size", pa.int64()), ("tags", TEXTS), ("deletionVector", VECTOR), ("names", pa.list_(pa.string()))]
)
SCHEMA = pa.schema([("add", ADD), ("remove", ADD), ("txn", pa.struct([("appId", pa.string())]))])


def value(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_struct(kind):
        return st.none() | st.fixed_dictionaries({field.name: value(field.type) for field in kind})
    if kind == TEXTS:
        return st.none() | st.dictionaries(TEXT, TEXT | st.none(), max_size=2).map(lambda made: list(made.items()))
    if pa.types.is_list(kind):
        return st.none() | st.lists(TEXT, max_size=2)
    return st.none() | (TEXT if pa.types.is_string(kind) else st.integers(0, 9))


@settings(deadline=None)
@given(st.lists(st.fixed_dictionaries({field.name: value(field.type) for field in SCHEMA}), max_size=8), st.booleans())
def test_rows_are_those_that_pyarrow_gives(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], some: bool) -> None:
    folder = tmp_path_factory.mktemp("t")
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / "c.parquet")
    columns = [name for name in FILE_COLUMNS if name.startswith(("add", "remove"))] if some else None
    table = pq.ParquetFile(folder / "c.parquet").read(columns=columns)
    expected = [
        (kind, fields)
        for kind in table.schema.names
        for fields in table[kind].to_pylist(maps_as_pydicts="lossy")
        if fields is not None
    ]
    store = local(folder)
    assert list(part_actions(store, store.head("c.parquet"), FILE_COLUMNS if some else None)) == expected
