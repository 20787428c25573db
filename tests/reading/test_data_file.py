"""Opening files of every format, whole, odd and damaged."""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc

from lakehouse.errors import LakeError, NotFound, Unsupported
from lakehouse.reading.data_file import PIECE_BYTES, WHOLE_BYTES, fields_of, open_data_file
from lakehouse.reading.rows import batches
from lakehouse.reading.task import ReadField
from lakehouse.store import Store
from tests.reading.conftest import Files, named


def test_leaves_are_numbered_as_parquet_stores_them(files: Files) -> None:
    table = pa.table(
        {
            "a.b": [1],
            "s": [{"x": 1, "t": {"y": [1]}}],
            "m": pa.array([[("k", {"p": 1})]], pa.map_(pa.string(), pa.struct([("p", pa.int32())]))),
            "d": pa.array(["x"]).dictionary_encode(),
        }
    )
    name = files.parquet("a.parquet", table)
    file = open_data_file(files.store, name, (files.folder / name).stat().st_size)
    paths = [pq.ParquetFile(files.folder / name).schema.column(at).path for at in range(6)]
    assert paths == ["a.b", "s.x", "s.t.y.list.element", "m.key_value.key", "m.key_value.value.p", "d"]
    assert [list(field.leaves) for field in file.fields] == [[0], [1, 2], [3, 4], [5]]
    assert fields_of(table.schema)[1].children[1].leaves == range(2, 3)


def test_small_row_groups_come_in_full_batches_and_large_ones_in_several(files: Files) -> None:
    table = pa.table({"x": range(300_000)})
    small = files.parquet("small.parquet", table, row_group_size=1000)
    large = files.parquet("large.parquet", table, row_group_size=300_000)
    for name, groups in ((small, 300), (large, 1)):
        file = open_data_file(files.store, name, (files.folder / name).stat().st_size)
        assert len(file.group_rows) == groups
        got = list(file.batches([0]))
        assert [position for position, _ in got] == [0, 65536, 131072, 196608, 262144]
        assert pa.Table.from_batches([batch for _, batch in got]).equals(table)


def test_chosen_row_groups_keep_their_positions(files: Files) -> None:
    name = files.parquet("a.parquet", pa.table({"x": range(100)}), row_group_size=10)
    file = open_data_file(files.store, name, (files.folder / name).stat().st_size)
    got = [(position, batch["x"].to_pylist()) for position, batch in file.batches([0], [1, 2, 7])]
    assert got == [(10, list(range(10, 30))), (70, list(range(70, 80)))]
    assert [(position, batch.num_rows) for position, batch in file.batches([], [3])] == [(30, 10)]


def test_a_row_group_larger_than_the_memory_is_read_piece_by_piece(files: Files) -> None:
    table = pa.table({"x": np.random.default_rng(1).random(2_000_000), "y": np.random.default_rng(2).random(2_000_000)})
    name = files.parquet("a.parquet", table, row_group_size=2_000_000, use_dictionary=False, compression="none")
    longest = 0

    class Watched:
        """The store, and the longest read of it."""

        def __init__(self, store: Store) -> None:
            self._store, self.url = store, store.url

        def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
            nonlocal longest
            data = self._store.get(path, start=start, end=end, if_match=if_match)
            longest = max(longest, len(data))
            return data

    file = open_data_file(Watched(files.store), name, (files.folder / name).stat().st_size)  # type: ignore[arg-type]
    got = pa.Table.from_batches([batch for _, batch in file.batches([0, 1], memory=4 << 20)])
    assert got.equals(table)
    assert longest <= 2 * PIECE_BYTES


def test_int96_far_from_now_is_read_in_microseconds(files: Files) -> None:
    """Trap: INT96 as nanoseconds overflows outside of 1677 to 2262."""
    moments = [datetime(1, 1, 1), datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(9999, 12, 31)]
    table = pa.table({"t": pa.array(moments, pa.timestamp("us"))})
    name = files.parquet("a.parquet", table, use_deprecated_int96_timestamps=True)
    plan = files.plan((ReadField("t", pa.timestamp("us", "UTC")),), [files.task(name)])
    got = pa.Table.from_batches(batches(plan))
    assert got["t"].cast(pa.int64()).equals(table["t"].cast(pa.int64()))


def test_orc_is_read_by_its_ids_and_by_name(files: Files) -> None:
    table = pa.table({"a": range(5), "s": [{"x": at, "y": str(at)} for at in range(5)], "l": [[1], None, [], [2], [3]]})
    orc.write_table(table, files.folder / "a.orc")
    plan = files.plan(named(table.schema), [files.task("a.orc", file_format="orc")])
    assert pa.Table.from_batches(batches(plan)).equals(table)
    assert pa.Table.from_batches(batches(plan, columns=["l", "a"])).equals(table.select(["l", "a"]))
    assert sum(batch.num_rows for batch in batches(plan, columns=[])) == 5
    narrow = (ReadField("s", pa.struct([("y", pa.string())]), names=("s",)),)
    assert pa.Table.from_batches(batches(files.plan(narrow, plan.all_tasks()))).to_pylist()[2] == {"s": {"y": "2"}}


def test_orc_columns_with_dots_in_their_names_are_told_apart(files: Files) -> None:
    table = pa.table({"a": [{"b": 1}], "a.b": [2]})
    orc.write_table(table, files.folder / "a.orc")
    plan = files.plan(named(table.schema), [files.task("a.orc", file_format="orc")])
    assert pa.Table.from_batches(batches(plan, columns=["a.b"])).to_pydict() == {"a.b": [2]}


def test_orc_times_that_arrow_cannot_hold_are_refused(files: Files) -> None:
    """Trap: nanoseconds overflow; Arrow reads ORC times as nanoseconds."""
    table = pa.table({"t": pa.array([10**17], pa.timestamp("us"))})
    orc.write_table(table, files.folder / "a.orc")
    with pytest.raises(Unsupported, match="out of range"):
        list(batches(files.plan(named(table.schema), [files.task("a.orc", file_format="orc")])))


def test_orc_field_ids_are_found_in_a_real_file(files: Files, corpus: Path) -> None:
    from lakehouse.local_store import LocalStore
    from lakehouse.url import parse

    found = next(path for path in sorted(corpus.rglob("*.orc")) if "deletes" in path.name)
    file = open_data_file(LocalStore(parse(str(found.parent))), found.name, found.stat().st_size, "orc")
    assert {field.name: field.field_id for field in file.fields} == {"file_path": 2147483546, "pos": 2147483545}


@pytest.mark.parametrize("file_format", ["parquet", "orc"])
def test_what_is_missing_or_no_such_file_is_named(files: Files, file_format: str) -> None:
    (files.folder / "noise").write_bytes(bytes(range(256)) * 10)
    (files.folder / "empty").write_bytes(b"")
    for name, size in (("noise", 2560), ("empty", 0), ("missing", 100)):
        with pytest.raises(NotFound, match=name):
            open_data_file(files.store, name, size, file_format)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [1, 400_000])
def test_a_file_of_another_size_than_the_table_states_is_read_by_its_own(files: Files, rows: int) -> None:
    table = pa.table({"x": np.random.default_rng(1).random(rows)})
    name = files.parquet("a.parquet", table)
    size = (files.folder / name).stat().st_size
    for stated in (0, 1, size // 2, size - 1, size + 1, 2 * size, size + WHOLE_BYTES):
        assert open_data_file(files.store, name, stated).group_rows == (rows,)


def test_a_large_file_that_is_cut_off_is_damage(files: Files) -> None:
    name = files.parquet("a.parquet", pa.table({"x": np.random.default_rng(1).random(400_000)}))
    whole = (files.folder / name).read_bytes()
    assert len(whole) > WHOLE_BYTES
    for cut in (whole[:-1], whole[: len(whole) // 2]):
        (files.folder / "cut.parquet").write_bytes(cut)
        for stated in (len(whole), len(cut)):
            with pytest.raises(NotFound, match=r"cut\.parquet is damaged"):
                open_data_file(files.store, "cut.parquet", stated)


def test_a_flipped_bit_is_an_error_of_ours_or_not_seen_but_never_another_exception(files: Files) -> None:
    table = pa.table({"x": range(200), "s": [str(each % 9) for each in range(200)], "l": [[each] for each in range(200)]})
    name = files.parquet("a.parquet", table, write_page_checksum=True)
    whole, chance, silent = (files.folder / name).read_bytes(), random.Random(5), 0
    plan = files.plan(named(table.schema), [files.task(name)])
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        (files.folder / name).write_bytes(damaged)
        try:
            got = pa.Table.from_batches(batches(plan, workers=1), table.schema)
        except LakeError as error:
            assert name in str(error)
        else:
            silent += not got.equals(table)
    assert silent <= 5


def test_an_encrypted_file_is_refused_by_name(files: Files) -> None:
    (files.folder / "a.parquet").write_bytes(b"PARE" + bytes(40) + (20).to_bytes(4, "little") + b"PARE")
    with pytest.raises((Unsupported, NotFound), match=r"a\.parquet"):
        open_data_file(files.store, "a.parquet", 52)
