"""Carries out a `ScanPlan`: the rows of its files as Arrow batches, several files at once, in the order of the tasks.

Memory is bounded whatever the sizes of files and row groups, and nothing is read much ahead of its consumer. The first error is
raised in the consumer; one that stops early stops everything.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING, Literal

from lakehouse.errors import Config, Unsupported
from lakehouse.memory import DEFAULT_BYTES
from lakehouse.parallel import threads
from lakehouse.reading.ahead import Ahead
from lakehouse.reading.data_file import DataFile, open_data_file, unreadable
from lakehouse.reading.deleted import all_deleted, kept_positions
from lakehouse.reading.projection import arrow_field, of_rows, project
from lakehouse.reading.prune import checked_filter, columns_named, may_match
from lakehouse.reading.row_groups import groups_that_may_match
from lakehouse.reading.selection import filtered, selected
from lakehouse.reading.task import Deletes, MayMatch, ReadField, ScanPlan, ScanTask, everything

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

__all__ = ["batches", "read_fields", "schema_of", "task_batches"]

WORKERS = min(8, os.cpu_count() or 1)
"""Files that are read at once."""

_AHEAD_PER_WORKER = 2
_LEAST_SHARE_BYTES = 1 << 20


def schema_of(plan: ScanPlan, columns: Sequence[str] | None = None) -> pa.Schema:
    """The schema of the batches of a scan for ``columns`` (None: all), in their order; a field with an id has it in its metadata.

    Raises `Config` for a column that there is not, `Unsupported` for one that cannot be read.
    """
    import pyarrow as pa

    return pa.schema([arrow_field(each) for each in _asked(plan, columns)])


def batches(
    plan: ScanPlan,
    *,
    columns: Sequence[str] | None = None,
    filter: pc.Expression | None = None,
    workers: int | None = None,
    memory: int = DEFAULT_BYTES,
) -> Iterator[pa.RecordBatch]:
    """The rows of ``plan`` that satisfy ``filter``, of `schema_of` (plan, columns), in the order of its tasks.

    ``workers``: how many files are read at once (None: as the processors are; 1: no threads). ``memory``: bytes that batches may
    take before they are given, of all files together. Batches have at most `data_file.BATCH_ROWS` rows, and none is empty.
    Raises `Config` for a column or filter that cannot be, at once; while rows are given, `NotFound` for what is missing or
    damaged, `Unsupported` for what cannot be read rightly, and what the store raises.
    """
    workers = WORKERS if workers is None else max(1, workers)
    share = max(_LEAST_SHARE_BYTES, memory // (workers * _AHEAD_PER_WORKER if workers > 1 else 1))
    reading = _Reading.of(plan, columns, filter, memory=share, use_threads=workers > 1)
    tasks = plan.tasks(reading.may_match)
    return _alone(reading, tasks) if workers == 1 else _together(reading, tasks, workers, share)


def task_batches(
    plan: ScanPlan, task: ScanTask, *, columns: Sequence[str] | None = None, filter: pc.Expression | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of one data file that are not deleted and satisfy ``filter``, in its order; else as `batches`."""
    return _Reading.of(plan, columns, filter).of_task(task)


def read_fields(
    file: DataFile, fields: Sequence[ReadField], *, by: Literal["id", "name"] = "id", memory: int = DEFAULT_BYTES
) -> Iterator[pa.RecordBatch]:
    """``fields`` of a file on its own (a delete file, say), in its order, all rows of it. Raises as `batches`."""
    projection = project(file, fields, by=by)
    for _, batch in file.batches(projection.leaves, memory=memory):
        yield projection.apply(batch)


def _asked(plan: ScanPlan, columns: Sequence[str] | None) -> list[ReadField]:
    by_name = {each.name: each for each in plan.fields}
    names = list(by_name) if columns is None else list(columns)
    for name in names:
        if name not in by_name:
            near = difflib.get_close_matches(name, by_name, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"columns: {', '.join(list(by_name)[:20])}"
            raise Config(f"{plan.store.url}: has no column {name!r}; {hint}")
        if name in plan.refused:
            raise Unsupported(f"{plan.store.url}: column {name!r} cannot be read: {plan.refused[name]}")
    if len(set(names)) < len(names):
        raise Config(f"{plan.store.url}: a column is asked for twice: {', '.join(names)}")
    return [by_name[name] for name in names]


@dataclass(frozen=True, slots=True)
class _Reading:
    """One scan. ``asked``: the columns that it gives; ``needed``: those, and after them what only the filter needs.
    ``named``: all that the filter needs.
    """

    plan: ScanPlan
    asked: list[ReadField]
    needed: list[ReadField]
    filter: pc.Expression | None
    named: tuple[str, ...]
    may_match: MayMatch
    memory: int
    use_threads: bool

    @classmethod
    def of(
        cls,
        plan: ScanPlan,
        columns: Sequence[str] | None,
        filter: pc.Expression | None,
        *,
        memory: int = DEFAULT_BYTES,
        use_threads: bool = False,
    ) -> _Reading:
        import pyarrow as pa

        asked = _asked(plan, columns)
        if filter is None:
            return cls(plan, asked, asked, None, (), everything, memory, use_threads)
        whole = pa.schema([arrow_field(each) for each in plan.fields])
        checked_filter(filter, whole)
        named = columns_named(filter, whole)
        names = [each.name for each in asked]
        needed = [*asked, *_asked(plan, [name for name in named if name not in names])]
        _asked(plan, named)
        return cls(plan, asked, needed, filter, named, may_match(filter, whole), memory, use_threads)

    def of_task(self, task: ScanTask) -> Iterator[pa.RecordBatch]:
        """The rows of one file."""
        if not self.may_match(task.bounds, task.rows):
            return
        file = open_data_file(self.plan.store, task.path, task.size, task.file_format)
        deletes = task.deletes() if task.deletes is not None else Deletes()
        keys = _keys(deletes, {each.name for each in self.plan.fields})
        stated = {key.name: value for key in keys if (value := deletes.constants.get(key.field_id or 0)) is not None}
        projection = project(
            file,
            [*self.needed, *keys],
            by=task.by,
            constants={**task.constants, **stated},
            inner_constants={**deletes.constants, **(task.inner_constants or {})},
            table=self.plan.fields,
        )
        groups = groups_that_may_match(file, projection, self.may_match) if self.filter is not None else None
        groups = _not_all_deleted(file, deletes, groups)
        given = file.batches(projection.leaves, groups, memory=self.memory, use_threads=self.use_threads)
        for position, batch in given:
            with unreadable(file.where, task.file_format):
                made = self._kept(projection.apply(batch), position, deletes)
            if self.filter is not None and made.num_rows:
                made = filtered(made, self.filter, self.named, file.where)
            made = _first(made, len(self.asked))
            if made.num_rows:
                yield made

    def _kept(self, batch: pa.RecordBatch, position: int, deletes: Deletes) -> pa.RecordBatch:
        """The rows of ``batch``, the first of which stands at ``position``, that are left; of the columns needed."""
        import pyarrow as pa

        kept = None if deletes.positions is None else kept_positions(deletes.positions, position, batch.num_rows)
        column = len(self.needed)
        for each in deletes.equality:
            values = batch.columns[column : column + len(each.rows.fields)]
            column += len(values)
            found = each.rows.kept(values, batch.num_rows, each.sequence)
            if found is not None:
                kept = found if kept is None else kept & found
        batch = _first(batch, len(self.needed))
        return batch if kept is None else selected(batch, pa.array(kept))


def _first(batch: pa.RecordBatch, columns: int) -> pa.RecordBatch:
    if batch.num_columns == columns:
        return batch
    return batch.select(range(columns)) if columns else of_rows(batch.num_rows)


def _keys(deletes: Deletes, names: set[str]) -> list[ReadField]:
    """The columns by which ``deletes`` delete rows, under names that are none of ``names``: of the table's columns."""
    found = []
    for number, key in enumerate(key for each in deletes.equality for key in each.rows.fields):
        name = f"{key.name} (deleted by, {number})"
        while name in names:
            name += "'"
        found.append(replace(key, name=name))
    return found


def _not_all_deleted(file: DataFile, deletes: Deletes, groups: list[int] | None) -> list[int] | None:
    if deletes.positions is None:
        return groups
    wanted, start = [], 0
    chosen = None if groups is None else set(groups)
    for group, rows in enumerate(file.group_rows):
        if (chosen is None or group in chosen) and not all_deleted(deletes.positions, start, rows):
            wanted.append(group)
        start += rows
    return wanted


def _alone(reading: _Reading, tasks: Iterable[ScanTask]) -> Iterator[pa.RecordBatch]:
    for task in tasks:
        yield from reading.of_task(task)


def _together(reading: _Reading, tasks: Iterable[ScanTask], workers: int, share: int) -> Generator[pa.RecordBatch, None, None]:
    """Each file has a share of the memory for what its consumer has not asked for yet, so none waits for another's."""
    stop = Event()
    waiting = iter(tasks)
    started: list[Ahead] = []

    def read(task: ScanTask, ahead: Ahead) -> None:
        ahead.fill(reading.of_task(task))

    pool = threads(workers, stop, "lake-scan")
    try:
        exhausted = False
        while True:
            while not exhausted and len(started) < workers * _AHEAD_PER_WORKER:
                task = next(waiting, None)
                if task is None:
                    exhausted = True
                else:
                    ahead = Ahead(share)
                    ahead.result = pool.submit(read, task, ahead)
                    started.append(ahead)
            if not started:
                return
            yield from started[0].batches()
            del started[0]
    finally:
        stop.set()
        for ahead in started:
            ahead.abandon()
        pool.shutdown(wait=True, cancel_futures=True)
