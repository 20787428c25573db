"""Tables of Parquet files that were made here keep their columns, whatever files there are yet."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.connect import open_store
from lakehouse.errors import Config, NotFound, Unsupported
from lakehouse.formats.parquet.layout import COLUMNS, Layout, as_file, stated_layout
from lakehouse.store import Store
from lakehouse.tables import open_table
from lakehouse.writing import parquet
from lakehouse.writing.rows import fitting

SCHEMA = pa.schema(
    [
        pa.field("n", pa.int64()),
        pa.field("text", pa.string(), nullable=False),
        pa.field("day", pa.date32()),
        pa.field("inner", pa.struct([pa.field("x", pa.int16()), pa.field("y", pa.list_(pa.float32()))])),
        pa.field("name", pa.string()),
        pa.field("wide", pa.large_string()),
    ]
)
ROWS: list[dict[str, Any]] = [
    {"n": 3, "text": "a", "day": date(2024, 2, 29), "inner": {"x": 1, "y": [0.5]}, "name": "Ada", "wide": "w"},
    {"n": None, "text": "b", "day": None, "inner": None, "name": None, "wide": None},
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "t"))


def append(store: Store, data: pa.Table | dict[str, Any]) -> None:
    parquet.append(store, lambda schema: fitting(data if isinstance(data, pa.Table) else pa.table(data, schema), schema, "t"))


def read(store: Store) -> pa.Table:
    return open_table(store.url).scan().to_arrow()


@pytest.mark.parametrize("partition_by", [(), ("n",), ("day", "n"), ("name", "day", "n")])
def test_what_is_read_has_the_columns_that_the_table_was_made_with(store: Store, partition_by: tuple[str, ...]) -> None:
    parquet.create(store, SCHEMA, partition_by)
    assert open_table(store.url).schema() == SCHEMA
    assert open_table(store.url).scan(where="n = 3").count_rows() == 0
    append(store, read(store))
    append(store, pa.Table.from_pylist(ROWS, SCHEMA))
    assert open_table(store.url).schema() == SCHEMA
    append(store, read(store))
    found = read(store)
    assert found.schema == SCHEMA
    assert sorted(found.to_pylist(), key=repr) == sorted([*ROWS, *ROWS], key=repr)
    assert open_table(store.url).scan(where="n = 3").count_rows() == 2


def test_texts_in_the_names_of_folders_are_texts_before_there_are_any(store: Store) -> None:
    parquet.create(store, pa.schema([("p", pa.string()), ("id", pa.int32())]), ("p",))
    assert open_table(store.url).scan(where="p = '3'").count_rows() == 0
    with pytest.raises(Config):
        open_table(store.url).scan(where="p = 3")


def test_what_files_of_others_have_besides_comes_after_the_tables_columns(store: Store, tmp_path: Path) -> None:
    parquet.create(store, pa.schema([("id", pa.int32()), ("p", pa.int64()), ("x", pa.int8())]), ("p",))
    append(store, {"id": [1], "p": [1], "x": [1]})
    folder = tmp_path / "t" / "p=2"
    folder.mkdir()
    pq.write_table(pa.table({"more": ["m"], "id": pa.array([2], pa.int64())}), folder / "theirs.parquet")
    found = read(store)
    assert found.schema == pa.schema({"id": pa.int64(), "p": pa.int64(), "x": pa.int8(), "more": pa.string()})
    assert found.to_pylist() == [{"id": 1, "p": 1, "x": 1, "more": None}, {"id": 2, "p": 2, "x": None, "more": "m"}]


@pytest.mark.parametrize("metadata", [None, {"written by": "others"}])
def test_the_columns_that_others_state_decide_nothing(tmp_path: Path, metadata: Mapping[str | bytes, str | bytes] | None) -> None:
    (tmp_path / "p=1").mkdir()
    pq.write_table(pa.table({"id": [1]}), tmp_path / "p=1" / "x.parquet")
    pq.write_metadata(pa.schema({"p": pa.string(), "id": pa.string()}).with_metadata(metadata), tmp_path / COLUMNS)
    assert open_table(str(tmp_path)).schema() == pa.schema({"id": pa.int64(), "p": pa.int64()})
    assert stated_layout(open_store(str(tmp_path))) is None


def test_a_statement_that_is_damaged_decides_nothing_for_readers_and_keeps_writers_away(store: Store, tmp_path: Path) -> None:
    parquet.create(store, pa.schema([("p", pa.int64()), ("id", pa.int32())]), ("p",))
    append(store, {"id": [1], "p": [1]})
    file = tmp_path / "t" / COLUMNS
    file.write_bytes(bytes(byte ^ 0xFF for byte in file.read_bytes()))
    assert read(store).to_pylist() == [{"id": 1, "p": 1}]
    with pytest.raises(NotFound, match=rf"t/{COLUMNS} is damaged"):
        append(store, {"id": [2], "p": [2]})


def test_whichever_bit_of_a_statement_changes_it_is_not_taken_for_another(store: Store) -> None:
    layout = Layout(pa.schema([("p", pa.int64()), pa.field("text", pa.string(), False)]), ("p",))
    data = as_file(layout)
    for bit in range(0, len(data) * 8, 3):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        store.put(COLUMNS, bytes(changed), size=len(data))
        with suppress(NotFound, Unsupported):
            assert stated_layout(store) in (layout, None)


def test_a_layout_is_what_its_file_states(store: Store) -> None:
    for partition_by in ((), ("n",), ("day", 'odd "name"')):
        layout = Layout(SCHEMA.append(pa.field('odd "name"', pa.string())), partition_by)
        data = as_file(layout)
        store.put(COLUMNS, data, size=len(data))
        assert stated_layout(store) == layout
