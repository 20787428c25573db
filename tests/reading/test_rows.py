"""The rows of a whole plan: in order, bounded, with columns, deletes and filters applied."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lakehouse.errors import Config, NotFound, Unsupported
from lakehouse.reading.data_file import open_data_file
from lakehouse.reading.deleted import DeletedRows
from lakehouse.reading.rows import batches, read_fields, schema_of, task_batches
from lakehouse.reading.task import ColumnBounds, Deletes, EqualityDeletes, ReadField, ScanPlan, ScanTask, everything
from lakehouse.store import Store
from tests.reading.conftest import Files, named

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("value", pa.float64())])


def rows_of(start: int, stop: int) -> pa.Table:
    ids = range(start, stop)
    return pa.table({"id": ids, "name": [f"n{each % 7}" for each in ids], "value": [each / 2 for each in ids]}, SCHEMA)


def equality(fields: tuple[ReadField, ...], rows: pa.Table) -> EqualityDeletes:
    return EqualityDeletes(DeletedRows(fields, [(rows, 2)], "the deletes"), 1)


@pytest.fixture
def plan(files: Files) -> ScanPlan:
    names = [files.parquet(f"{at}.parquet", rows_of(at * 100, at * 100 + 100), row_group_size=30) for at in range(10)]
    return files.plan(named(SCHEMA), [files.task(name) for name in names])


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_rows_come_in_the_order_of_the_tasks(plan: ScanPlan, workers: int) -> None:
    got = pa.Table.from_batches(batches(plan, workers=workers), schema_of(plan))
    assert got.equals(rows_of(0, 1000))


@pytest.mark.parametrize("workers", [1, 3])
def test_columns_come_as_asked_for_and_those_of_the_filter_are_dropped(plan: ScanPlan, workers: int) -> None:
    got = pa.Table.from_batches(batches(plan, columns=["value", "id"], filter=pc.field("name") == "n3", workers=workers))
    whole = rows_of(0, 1000)
    assert got.equals(whole.filter(pc.field("name") == "n3").select(["value", "id"]))
    assert got.schema.equals(schema_of(plan, ["value", "id"]))


def test_no_columns_at_all_still_count_rows(plan: ScanPlan) -> None:
    assert sum(batch.num_rows for batch in batches(plan, columns=[])) == 1000
    assert sum(batch.num_rows for batch in batches(plan, columns=[], filter=pc.field("id") >= 995)) == 5
    assert all(batch.num_columns == 0 for batch in batches(plan, columns=[], filter=pc.field("id") >= 995))


def test_one_task_is_read_alone(plan: ScanPlan) -> None:
    task = list(plan.all_tasks())[3]
    assert pa.Table.from_batches(task_batches(plan, task)).equals(rows_of(300, 400))


def test_an_unknown_column_is_refused_with_the_nearest(plan: ScanPlan) -> None:
    with pytest.raises(Config, match="did you mean 'value'"):
        batches(plan, columns=["valeu"])
    with pytest.raises(Config, match="twice"):
        batches(plan, columns=["id", "id"])
    with pytest.raises(Config, match="nowhere"):
        batches(plan, filter=pc.field("nowhere") == 1)


def test_a_refused_column_is_refused_only_when_it_is_needed(files: Files) -> None:
    task = files.task(files.parquet("a.parquet", rows_of(0, 5)))
    plan = files.plan(named(SCHEMA), [task], name="is of a kind that nobody reads")
    assert sum(batch.num_rows for batch in batches(plan, columns=["id"], filter=pc.field("id") > 2)) == 2
    with pytest.raises(Unsupported, match="nobody reads"):
        batches(plan)
    with pytest.raises(Unsupported, match="nobody reads"):
        batches(plan, columns=["id"], filter=pc.field("name") == "n1")


def test_row_groups_that_cannot_match_are_not_read(files: Files) -> None:
    reads: list[tuple[int, int | None]] = []

    class Watched:
        """The store, and a note of what is read of it."""

        def __init__(self, store: Store) -> None:
            self._store, self.url = store, store.url

        def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
            reads.append((start, end))
            return self._store.get(path, start=start, end=end, if_match=if_match)

    random = np.random.default_rng(1)
    table = pa.table({"id": range(400_000), "name": [str(each) for each in random.integers(0, 10**9, 400_000)]})
    name = files.parquet("a.parquet", table, row_group_size=50_000)
    plan = files.plan(named(table.schema), [files.task(name)])
    narrow = ScanPlan(Watched(files.store), plan.fields, plan.tasks)  # type: ignore[arg-type]
    got = pa.Table.from_batches(batches(narrow, filter=(pc.field("id") >= 120_000) & (pc.field("id") < 120_005)))
    assert got["id"].to_pylist() == list(range(120_000, 120_005))
    assert sum((end or 0) - start for start, end in reads) < (files.folder / name).stat().st_size / 4


def test_positions_count_from_the_start_of_the_file_though_row_groups_are_skipped(files: Files) -> None:
    name = files.parquet("a.parquet", rows_of(0, 300), row_group_size=50)
    deletes = Deletes(np.array([0, 10, *range(100, 150), 210, 299], dtype=np.uint64))
    plan = files.plan(named(SCHEMA), [files.task(name, deletes=deletes)])
    gone = {0, 10, *range(100, 150), 210, 299}
    assert [each for batch in batches(plan) for each in batch["id"].to_pylist()] == [n for n in range(300) if n not in gone]
    late = [each for batch in batches(plan, filter=pc.field("id") >= 205) for each in batch["id"].to_pylist()]
    assert late == [each for each in range(205, 300) if each not in gone]
    assert sum(batch.num_rows for batch in batches(plan, columns=[])) == 300 - len(gone)


def test_equality_deletes_read_columns_that_the_scan_does_not_give(files: Files) -> None:
    """Trap: a delete's column may since have been dropped from the table; null equals null."""
    table = pa.table({"id": [1, 2, 3, 4], "gone": pa.array([7, None, 9, None], pa.int32()), "name": ["a", "b", "c", "d"]})
    name = files.parquet("a.parquet", table)
    by_gone = equality((ReadField("gone", pa.int64(), names=("gone",)),), pa.table({"gone": pa.array([None, 9])}))
    both = equality(
        (ReadField("id", pa.int64(), names=("id",)), ReadField("n", pa.string(), names=("name",))),
        pa.table({"id": [1, 1], "n": ["b", "a"]}),
    )
    fields = named(pa.schema([("id", pa.int64()), ("name", pa.string())]))
    for sets, left in (((by_gone,), [1]), ((both,), [2, 3, 4]), ((by_gone, both), [])):
        plan = files.plan(fields, [files.task(name, deletes=Deletes(equality=sets))])
        assert [each for batch in batches(plan, columns=["id"]) for each in batch["id"].to_pylist()] == left
        assert sum(batch.num_rows for batch in batches(plan, columns=[])) == len(left)


def test_equality_with_a_column_that_the_file_lacks_uses_its_constant_or_default(files: Files) -> None:
    name = files.parquet("a.parquet", pa.table({"id": [1, 2]}))
    part = ReadField("part", pa.string(), names=("part",), field_id=7)
    added = ReadField("added", pa.int32(), names=("added",), default=5)
    for field, value, left in ((part, "x", 0), (part, "y", 2), (added, 5, 0), (added, None, 2)):
        by_value = equality((field,), pa.table({"v": pa.array([value], field.type)}))
        deletes = Deletes(equality=(by_value,), constants={7: pa.scalar("x")})
        plan = files.plan((ReadField("id", pa.int64()),), [files.task(name, deletes=deletes)])
        assert sum(batch.num_rows for batch in batches(plan)) == left


def test_a_set_of_deletes_is_applied_to_many_files(files: Files) -> None:
    names = [files.parquet(f"{at}.parquet", rows_of(at * 1000, at * 1000 + 1000)) for at in range(6)]
    doomed = equality((ReadField("id", pa.int64(), names=("id",)),), pa.table({"id": range(0, 6000, 2)}))
    tasks = [files.task(name, deletes=Deletes(equality=(doomed,))) for name in names]
    got = pa.Table.from_batches(batches(files.plan(named(SCHEMA), tasks), workers=3))
    assert got["id"].to_pylist() == list(range(1, 6000, 2))


def test_a_column_that_is_called_as_a_key_of_deletes_is_itself(files: Files) -> None:
    name = files.parquet("a.parquet", pa.table({"id": [1, 2], "id (deleted by, 0)": [2, 1]}))
    fields = named(pa.schema([("id", pa.int64()), ("id (deleted by, 0)", pa.int64())]))
    by_id = equality((ReadField("id", pa.int64(), names=("id",)),), pa.table({"id": [2]}))
    plan = files.plan(fields, [files.task(name, deletes=Deletes(equality=(by_id,)))])
    found = pa.Table.from_batches(batches(plan, filter=pc.field("id (deleted by, 0)") > 1), schema_of(plan))
    assert found.to_pylist() == [{"id": 1, "id (deleted by, 0)": 2}]


@pytest.mark.parametrize("kind", [pa.float64(), pa.list_(pa.int32())])
def test_equality_deletes_by_columns_without_defined_equality_are_refused(files: Files, kind: pa.DataType) -> None:
    name = files.parquet("a.parquet", pa.table({"x": pa.array([None], kind)}))
    field = ReadField("x", kind, names=("x",))

    def deletes() -> Deletes:
        return Deletes(equality=(equality((field,), pa.table({"x": pa.array([None], kind)})),))

    with pytest.raises(Unsupported, match="equality of the column 'x'"):
        list(batches(files.plan((field,), [files.task(name, deletes=deletes)])))


def test_files_whose_bounds_exclude_the_filter_are_not_opened(files: Files) -> None:
    missing = ScanTask("missing.parquet", 100, bounds=lambda _: ColumnBounds(pa.scalar(0), pa.scalar(9), 0))
    plan = ScanPlan(files.store, named(SCHEMA), lambda _: [missing])
    assert list(batches(plan, filter=pc.field("id") > 9)) == []
    with pytest.raises(NotFound, match=r"missing\.parquet"):
        list(batches(plan, filter=pc.field("id") > 8))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_missing_file_is_named_after_the_rows_of_those_before_it(files: Files, workers: int) -> None:
    first = files.task(files.parquet("a.parquet", rows_of(0, 10)))
    given: list[int] = []
    with pytest.raises(NotFound, match=r"gone\.parquet"):
        tasks = [first, ScanTask("gone.parquet", 99), first]
        given.extend(batch.num_rows for batch in batches(files.plan(named(SCHEMA), tasks), workers=workers))
    assert given == [10]


def test_an_error_of_the_planning_is_raised_in_the_consumer(files: Files) -> None:
    task = files.task(files.parquet("a.parquet", rows_of(0, 10)))

    def tasks(_: object) -> Iterator[ScanTask]:
        yield task
        raise Unsupported("a feature")

    with pytest.raises(Unsupported, match="a feature"):
        list(batches(ScanPlan(files.store, named(SCHEMA), tasks), workers=2))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_consumer_that_stops_early_plans_and_reads_no_more(files: Files, workers: int) -> None:
    task = files.task(files.parquet("a.parquet", rows_of(0, 1000)))
    planned = itertools.count()

    def tasks(_: object) -> Iterator[ScanTask]:
        for _number in planned:
            yield task

    scan = batches(ScanPlan(files.store, named(SCHEMA), tasks), workers=workers)
    assert next(scan).num_rows == 1000
    scan.close()  # type: ignore[attr-defined]
    assert next(planned) <= 2 * workers + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lake-scan")]


def test_what_waits_for_its_consumer_stays_within_the_memory(files: Files) -> None:
    table = pa.table({"x": np.random.default_rng(1).random(2_000_000)})
    tasks = [files.task(files.parquet(f"{at}.parquet", table, row_group_size=100_000)) for at in range(3)]
    plan = files.plan(named(table.schema), tasks)
    before, most, rows = pa.total_allocated_bytes(), 0, 0
    for batch in batches(plan, workers=3, memory=12 << 20):
        rows += batch.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows == 6_000_000
    assert most < 48 << 20  # of 46 MB


def test_rows_that_are_very_wide_come_in_small_batches(files: Files) -> None:
    wide = pa.table({f"c{at}": np.zeros(2000) + at for at in range(300)})
    plan = files.plan(named(wide.schema), [files.task(files.parquet("a.parquet", wide))])
    got = list(batches(plan, workers=1, memory=1 << 20))
    assert max(batch.nbytes for batch in got) < 2 << 20
    assert pa.Table.from_batches(got).equals(wide)


def test_a_file_without_rows_or_row_groups_gives_nothing(files: Files) -> None:
    empty = files.parquet("empty.parquet", rows_of(0, 0))
    plan = files.plan(named(SCHEMA), [files.task(empty)])
    assert list(batches(plan)) == []
    assert list(batches(plan, columns=[], filter=pc.field("id") > 1)) == []


def test_a_table_without_files_has_its_schema(files: Files) -> None:
    plan = ScanPlan(files.store, (ReadField("id", pa.int64(), nullable=False, field_id=7),), lambda _: [])
    assert list(batches(plan)) == []
    expected = pa.schema([pa.field("id", pa.int64(), nullable=False, metadata={"PARQUET:field_id": "7"})])
    assert schema_of(plan).equals(expected, check_metadata=True)
    assert list(plan.tasks(everything)) == []


def test_fields_of_a_file_on_its_own_are_read(files: Files) -> None:
    name = files.parquet("a.parquet", rows_of(0, 10))
    file = open_data_file(files.store, name, (files.folder / name).stat().st_size)
    got = pa.Table.from_batches(read_fields(file, (ReadField("n", pa.int64(), names=("id",)),), by="name"))
    assert got.to_pydict() == {"n": list(range(10))}


def test_rows_with_view_types_are_selected_like_others(files: Files) -> None:
    table = pa.table(
        {"s": pa.array(["a", None, "c" * 20], pa.string_view()), "b": pa.array([b"x", b"y", None], pa.binary_view())}
    )
    task = files.task(files.parquet("a.parquet", table), deletes=Deletes(np.array([0], dtype=np.uint64)))
    got = pa.Table.from_batches(batches(files.plan(named(table.schema), [task]), filter=pc.field("s").is_valid()))
    assert got.equals(table.slice(2))


def test_a_filter_that_fails_on_a_value_is_an_error_of_the_filter(files: Files) -> None:
    task = files.task(files.parquet("a.parquet", pa.table({"x": [0]})))
    with pytest.raises(Config, match=r"a\.parquet: the filter .* cannot be evaluated"):
        plan = files.plan((ReadField("x", pa.int64()),), [task])
        list(batches(plan, filter=pc.divide(pc.scalar(1), pc.field("x")) == 1))


@pytest.mark.parametrize(("filter", "left"), [(pc.scalar(True), 1000), (pc.scalar(False), 0)])
def test_a_filter_may_need_no_column(plan: ScanPlan, filter: pc.Expression, left: int) -> None:
    assert sum(batch.num_rows for batch in batches(plan, filter=filter)) == left
    assert sum(batch.num_rows for batch in batches(plan, columns=[], filter=filter)) == left


def test_a_script_that_fails_in_the_midst_of_a_scan_ends(tmp_path: Path) -> None:
    large = pa.table({"text": pa.repeat(pa.scalar("x" * 600), 300_000)})
    pq.write_table(large, tmp_path / "0.parquet", row_group_size=100_000)
    for number in range(1, 6):
        shutil.copy(tmp_path / "0.parquet", tmp_path / f"{number}.parquet")
    script = f"""
import lakehouse
batches = lakehouse.open_table({str(tmp_path)!r}).scan(memory="128M", workers=4).to_batches()
def use(batches):
    for batch in batches:
        raise KeyError("the script's own mistake, whose traceback holds the scan")
use(batches)
"""

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert "the script's own mistake" in ended.stderr
