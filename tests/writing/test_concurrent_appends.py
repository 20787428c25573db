"""Many writers at once into one table: every append arrives, and none twice."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from lakehouse.lake import Lake
from lakehouse.settings import CatalogSettings, DatasetSettings, Settings, StoreSettings
from tests.catalogs.warehouses import warehouse_on

WRITERS = 16


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


def all_at_once(work: Callable[[int], None]) -> None:
    barrier = threading.Barrier(WRITERS)

    def begin(number: int) -> None:
        barrier.wait()
        work(number)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(begin, range(WRITERS)))


@pytest.mark.parametrize("appends", [2, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dataset", ["delta", "iceberg", "cataloged"])
@pytest.mark.parametrize("kind", ["s3", "azure", "gcs"])
def test_of_sixteen_writers_at_once_no_append_is_lost_and_none_comes_twice(
    request: pytest.FixtureRequest, kind: str, dataset: str, appends: int
) -> None:
    """Traps Delta 10, Iceberg 14."""
    lake = lake_on(warehouse_on(kind, request))
    lake.create_dataset(dataset, pa.schema([("writer", pa.int64()), ("number", pa.int64())]))

    def work(writer: int) -> None:
        for number in range(appends):
            lake[dataset].append(pa.table({"writer": [writer], "number": [number]}))

    all_at_once(work)
    found = lake[dataset].read().to_arrow().select(["writer", "number"]).to_pylist()
    assert sorted((row["writer"], row["number"]) for row in found) == [
        (writer, number) for writer in range(WRITERS) for number in range(appends)
    ]
    assert len([commit for commit in lake[dataset].history() if commit.operation in ("append", "WRITE")]) == WRITERS * appends
