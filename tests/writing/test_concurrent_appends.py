"""Many writers at once into one table: every append arrives, and none twice."""

from __future__ import annotations

import multiprocessing
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier

import pyarrow as pa
import pytest

from lakehouse.lake import Lake
from lakehouse.settings import CatalogSettings, DatasetSettings, Settings, StoreSettings
from tests.calls import ALL
from tests.catalogs.warehouses import warehouse_on

WRITERS = 16
APPENDS = 10 if ALL else 5
SCHEMA = pa.schema([("writer", pa.int64()), ("number", pa.int64())])


def lake_on(store: StoreSettings) -> Lake:
    """A lake whose datasets ``delta``, ``iceberg`` and ``cataloged`` have no tables yet."""
    folder = uuid.uuid4().hex
    return Lake(
        Settings(
            stores={store.name: store},
            catalogs={
                "lake": CatalogSettings("lake", "storage", options={"warehouse": f"{store.name}:{folder}"}, store=store.name)
            },
            datasets={
                "delta": DatasetSettings("delta", f"{store.name}:{folder}/d", "delta"),
                "iceberg": DatasetSettings("iceberg", f"{store.name}:{folder}/i", "iceberg"),
                "cataloged": DatasetSettings("cataloged", "lake:ns.t"),
            },
        )
    )


def all_at_once(work: Callable[[int], None], writers: int = WRITERS) -> None:
    barrier = threading.Barrier(writers)

    def begin(number: int) -> None:
        barrier.wait()
        work(number)

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(begin, range(writers)))


def append_many(lake: Lake, dataset: str, writer: int, appends: int) -> None:
    for number in range(appends):
        lake[dataset].append(pa.table({"writer": [writer], "number": [number]}))


def assert_each_once(lake: Lake, dataset: str, writers: int, appends: int) -> None:
    found = lake[dataset].read().to_arrow().select(["writer", "number"]).to_pylist()
    assert sorted((row["writer"], row["number"]) for row in found) == [
        (writer, number) for writer in range(writers) for number in range(appends)
    ]
    assert len([commit for commit in lake[dataset].history() if commit.operation in ("append", "WRITE")]) == writers * appends


ONE_A_SERVER = (("s3", "cataloged"), ("azure", "delta"), ("gcs", "iceberg"))


@pytest.mark.parametrize(
    ("kind", "dataset"),
    [
        pytest.param(kind, dataset, marks=() if (kind, dataset) in ONE_A_SERVER else pytest.mark.slow)
        for kind in ("s3", "azure", "gcs")
        for dataset in ("delta", "iceberg", "cataloged")
    ],
)
def test_of_sixteen_writers_at_once_no_append_is_lost_and_none_comes_twice(
    request: pytest.FixtureRequest, kind: str, dataset: str
) -> None:
    """Traps Delta 10, Iceberg 14."""
    lake = lake_on(warehouse_on(kind, request))
    lake.create_dataset(dataset, SCHEMA)
    all_at_once(lambda writer: append_many(lake, dataset, writer, APPENDS))
    assert_each_once(lake, dataset, WRITERS, APPENDS)


PROCESSES, THREADS = 4 if ALL else 3, 4


def write_in_a_process(lake: Lake, dataset: str, process: int, ready: Barrier) -> None:
    ready.wait()
    all_at_once(lambda thread: append_many(lake, dataset, process * THREADS + thread, APPENDS), THREADS)


@pytest.mark.parametrize(
    ("kind", "dataset"),
    [
        ("s3", "iceberg"),
        ("local", "delta"),
        *(
            pytest.param(kind, dataset, marks=pytest.mark.slow)
            for kind in ("local", "s3", "azure", "gcs")
            for dataset in ("delta", "iceberg", "cataloged")
            if (kind, dataset) not in (("s3", "iceberg"), ("local", "delta"))
        ),
    ],
)
def test_writers_of_several_processes_race_by_the_conditional_put_alone(
    request: pytest.FixtureRequest, kind: str, dataset: str
) -> None:
    """Traps Delta 10, Iceberg 14."""
    lake = lake_on(warehouse_on(kind, request))
    lake.create_dataset(dataset, SCHEMA)
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(PROCESSES)
    started = [context.Process(target=write_in_a_process, args=(lake, dataset, process, ready)) for process in range(PROCESSES)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * PROCESSES
    assert_each_once(lake, dataset, PROCESSES * THREADS, APPENDS)


@pytest.mark.parametrize("dataset", ["delta", "iceberg", "cataloged"])
@pytest.mark.parametrize("kind", ["local", pytest.param("s3", marks=pytest.mark.slow)])
def test_who_reads_while_others_append_sees_whole_states_each_with_what_was_there_before(
    request: pytest.FixtureRequest, kind: str, dataset: str
) -> None:
    lake, written, seen_some = lake_on(warehouse_on(kind, request)), threading.Event(), threading.Event()
    lake.create_dataset(dataset, SCHEMA)

    def write(writer: int) -> None:
        for number in range(4):
            lake[dataset].append(pa.table({"writer": [writer] * 3, "number": [number] * 3}))
            if number == 1:
                assert seen_some.wait(300)  # so that there is a read in the middle

    def counts() -> list[int]:
        seen = list[int]()
        while not written.is_set():
            seen.append(lake[dataset].read(["writer"]).to_arrow().num_rows)
            if seen[-1]:
                seen_some.set()
        return seen

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(counts)
        try:
            all_at_once(write, 8)
        finally:
            written.set()
        seen = [*reading.result(), lake[dataset].read().count_rows()]
    assert [count % 3 for count in seen] == [0] * len(seen)
    assert seen == sorted(seen)
    assert seen[-1] == 8 * 4 * 3
    assert 0 < min(count for count in seen if count) < seen[-1]
