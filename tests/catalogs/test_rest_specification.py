"""The REST catalog against the specification's words: what the real server at hand cannot show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from lakehouse.catalog import Catalog, open_catalog
from lakehouse.config import CatalogSettings, Settings
from lakehouse.connect import open_store
from lakehouse.errors import Conflict, Transfer
from lakehouse.store import Store
from lakehouse.testing.catalog_suite import CatalogSuite
from lakehouse.testing.servers import FaultProxy, Rule
from tests.catalogs.rest_model import RestModel

suite = CatalogSuite()


@pytest.fixture
def model() -> Iterator[RestModel]:
    with RestModel() as found:
        yield found


@pytest.fixture
def proxy(model: RestModel) -> Iterator[FaultProxy]:
    with FaultProxy(model.uri) as found:
        yield found


@pytest.fixture
def open_one(proxy: FaultProxy) -> Iterator[Callable[[], Catalog]]:
    opened: list[Catalog] = []

    def opens() -> Catalog:
        settings = CatalogSettings("rest", "rest", proxy.endpoint_url, {"token": "t"})
        opened.append(open_catalog("rest", Settings(catalogs={"rest": settings})))
        return opened[-1]

    yield opens
    for catalog in opened:
        catalog.close()


@pytest.fixture
def place(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "table"))


class TestRestCatalogOfTheSpecification(CatalogSuite):
    @pytest.fixture
    def open_one(self, open_one: Callable[[], Catalog]) -> Callable[[], Catalog]:
        return open_one

    @pytest.fixture
    def place(self, place: Store) -> Store:
        return place

    @pytest.fixture
    def lose_reply(self, proxy: FaultProxy) -> Callable[[Catalog], AbstractContextManager[object]]:
        @contextmanager
        def losing(catalog: Catalog) -> Iterator[None]:
            rule = Rule("lose_reply", method="POST", path=r"/register$|/tables/t$")
            proxy.rules.append(rule)
            yield
            assert rule._seen == 1

        return losing


def test_a_listing_is_read_to_its_last_page(open_one: Callable[[], Catalog], place: Store, proxy: FaultProxy) -> None:
    catalog = open_one()
    names = [f"ns.t{number}" for number in range(5)]
    for name in names:
        suite.enter(catalog, place, name, 1)
    proxy.clear()
    assert list(catalog.list("ns")) == names
    assert len(proxy.requests) == 3


def test_a_listing_that_never_ends_is_refused(open_one: Callable[[], Catalog], place: Store, model: RestModel) -> None:
    catalog = open_one()
    suite.enter(catalog, place, "ns.t", 1)
    model.endless = True
    with pytest.raises(Transfer, match="in circles"):
        list(catalog.list("ns"))


def test_a_change_of_properties_by_another_writer_is_a_conflict_though_the_snapshots_are_ours(
    open_one: Callable[[], Catalog], place: Store
) -> None:
    """Trap Iceberg 14."""
    ours, theirs = open_one(), open_one()
    record, metadata = suite.enter(ours, place, "ns.t", 2)
    changed = {**metadata, "properties": {"owner": "theirs"}}
    committed = theirs.swap("ns.t", record.metadata_location, suite.written(place, changed), changed)
    mine = {**metadata, "properties": {"owner": "ours"}}
    with pytest.raises(Conflict, match="another writer"):
        ours.swap("ns.t", record.metadata_location, suite.written(place, mine), mine)
    assert suite.standing(place, committed)["properties"] == {"owner": "theirs"}
    assert ours.load("ns.t") == committed


def test_a_commit_that_a_server_mends_on_its_own_is_a_conflict_that_names_the_difference(
    open_one: Callable[[], Catalog], place: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A branch that others made in between stays, and the swap does not say that all is as it was asked for."""
    from tests.catalogs import rest_model

    catalog = open_one()
    record, metadata = suite.enter(catalog, place, "ns.t", 1)
    real = rest_model.committed

    def merged(current: rest_model.Json, updates: list[rest_model.Json]) -> rest_model.Json:
        found = real(current, updates)
        return {**found, "refs": {**found["refs"], "theirs": {"snapshot-id": found["current-snapshot-id"], "type": "branch"}}}

    monkeypatch.setattr(rest_model, "committed", merged)
    longer = suite.longer(metadata, 2)
    with pytest.raises(Conflict, match="ref theirs"):
        catalog.swap("ns.t", record.metadata_location, suite.written(place, longer), longer)
