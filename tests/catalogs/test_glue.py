"""Glue on moto, for what moto does rightly."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from lakehouse.catalog import Catalog, open_catalog
from lakehouse.config import Settings
from lakehouse.connect import open_at
from lakehouse.errors import Config, Conflict, Transfer, Unsupported
from lakehouse.store import Store
from lakehouse.testing.catalog_suite import CatalogSuite
from lakehouse.testing.servers import FaultProxy, MotoServer, Rule
from lakehouse.url import parse

suite = CatalogSuite()


@pytest.fixture
def proxy(moto: MotoServer) -> Iterator[FaultProxy]:
    with FaultProxy(moto.endpoint_url) as found:
        yield found


@pytest.fixture
def open_one(glue_settings: Settings, proxy: FaultProxy) -> Iterator[Callable[[], Catalog]]:
    opened: list[Catalog] = []

    def opens() -> Catalog:
        catalog = dataclasses.replace(glue_settings.catalogs["glue"], uri=proxy.endpoint_url)
        opened.append(open_catalog("glue", dataclasses.replace(glue_settings, catalogs={"glue": catalog})))
        return opened[-1]

    yield opens
    for catalog in opened:
        catalog.close()


@pytest.fixture
def place(glue_settings: Settings) -> Store:
    store = glue_settings.stores["tables"]
    return open_at(parse(store.url).child(uuid.uuid4().hex), store)


@pytest.fixture
def namespace() -> str:
    return f"suite_{uuid.uuid4().hex[:12]}"


class TestGlueCatalog(CatalogSuite):
    levels = 1
    loses_commits = "moto does not compare VersionId, so it loses concurrent commits"

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
            """Of the next write; reads are sent by POST as well."""
            written: list[str] = []

            def lose(params: Any, model: Any, **_: object) -> None:
                if model.name in ("CreateTable", "UpdateTable") and not written:
                    written.append(model.name)
                    proxy.rules.append(Rule("lose_reply", method="POST"))

            events = getattr(catalog, "_glue").meta.events  # noqa: B009 - not in the contract
            events.register("before-call.glue", lose)
            yield
            events.unregister("before-call.glue", lose)
            assert written
            assert [request.status for request in proxy.requests].count(0) == 1

        return losing


def test_what_others_keep_in_the_entry_stays(open_one: Callable[[], Catalog], place: Store, namespace: str) -> None:
    catalog: Any = open_one()
    record, metadata = suite.enter(catalog, place, f"{namespace}.t", 1)
    entry = catalog._entry(f"{namespace}.t")
    described = {key: entry[key] for key in ("Name", "TableType", "StorageDescriptor", "Parameters")}
    described |= {"Owner": "finance", "Description": "orders", "Parameters": {**entry["Parameters"], "classification": "gold"}}
    catalog._glue.update_table(DatabaseName=namespace, TableInput=described)
    longer = suite.longer(metadata, 2)
    swapped = catalog.swap(f"{namespace}.t", record.metadata_location, suite.written(place, longer), longer)
    entry = catalog._entry(f"{namespace}.t")
    assert (entry["Owner"], entry["Description"], entry["Parameters"]["classification"]) == ("finance", "orders", "gold")
    assert entry["Parameters"]["metadata_location"] == swapped.metadata_location
    assert entry["Parameters"]["previous_metadata_location"] == record.metadata_location
    assert [column["Name"] for column in entry["StorageDescriptor"]["Columns"]] == ["a"]
    assert entry["StorageDescriptor"]["Location"] == place.url


def test_the_update_states_the_version_that_was_looked_at_and_archives_it(
    open_one: Callable[[], Catalog], place: Store, namespace: str
) -> None:
    catalog: Any = open_one()
    record, metadata = suite.enter(catalog, place, f"{namespace}.t", 1)
    version = catalog._entry(f"{namespace}.t")["VersionId"]
    sent: list[Any] = []
    catalog._glue.meta.events.register("provide-client-params.glue.UpdateTable", lambda params, **_: sent.append(params))
    longer = suite.longer(metadata, 2)
    catalog.swap(f"{namespace}.t", record.metadata_location, suite.written(place, longer), longer)
    assert [(params["VersionId"], params["SkipArchive"]) for params in sent] == [(version, False)]


def test_an_update_that_glue_refuses_as_outrun_is_a_conflict(
    open_one: Callable[[], Catalog], place: Store, namespace: str
) -> None:
    """Trap Iceberg 14: what Glue answers to a version that is not the newest, which moto never does."""
    from botocore.awsrequest import AWSResponse

    ours: Any = open_one()
    theirs = open_one()
    record, metadata = suite.enter(ours, place, f"{namespace}.t", 1)
    other = suite.longer(metadata, 2, branch="theirs")
    committed: list[Any] = []

    class Body:
        def __init__(self) -> None:
            self.left = [b'{"__type": "ConcurrentModificationException", "message": "outrun"}']

        def stream(self, **_: object) -> Iterator[bytes]:
            while self.left:
                yield self.left.pop()

    def outrun(request: Any, **_: object) -> AWSResponse:
        written = suite.written(place, other)
        committed.append(theirs.swap(f"{namespace}.t", record.metadata_location, written, other))
        return AWSResponse(request.url, 400, {"Content-Type": "application/x-amz-json-1.1"}, Body())

    ours._glue.meta.events.register("before-send.glue.UpdateTable", outrun)
    mine = suite.longer(metadata, 3, branch="ours")
    with pytest.raises(Conflict, match="another writer") as caught:
        ours.swap(f"{namespace}.t", record.metadata_location, suite.written(place, mine), mine)
    assert committed[0].metadata_location in str(caught.value)
    assert theirs.load(f"{namespace}.t") == committed[0]


def test_a_table_of_another_kind_is_refused_and_not_listed(open_one: Callable[[], Catalog], namespace: str) -> None:
    catalog: Any = open_one()
    catalog._glue.create_database(DatabaseInput={"Name": namespace, "LocationUri": "s3://lake/ns"})
    described = {"Name": "hive", "TableType": "EXTERNAL_TABLE", "Parameters": {"classification": "parquet"}}
    catalog._glue.create_table(DatabaseName=namespace, TableInput=described)
    with pytest.raises(Unsupported, match="no Iceberg table"):
        catalog.load(f"{namespace}.hive")
    assert list(catalog.list(namespace)) == []
    assert catalog.default_location(f"{namespace}.t") == "s3://lake/ns/t"


def test_a_new_table_lies_in_the_warehouse_where_the_database_does_not_say(
    open_one: Callable[[], Catalog], glue_settings: Settings
) -> None:
    warehouse = glue_settings.catalogs["glue"].options["warehouse"]
    assert open_one().default_location("nowhere.t") == f"{warehouse}/nowhere.db/t"


def test_access_that_is_refused_is_a_configuration_error(open_one: Callable[[], Catalog], proxy: FaultProxy) -> None:
    catalog: Any = open_one()

    def refuse(http_response: Any, parsed: Any, **_: object) -> None:
        parsed["Error"] = {"Code": "AccessDeniedException", "Message": "no"}
        http_response.status_code = 400

    catalog._glue.meta.events.register("after-call.glue", lambda http_response, **rest: refuse(http_response, **rest))
    with pytest.raises(Config, match="AccessDenied"):
        catalog.load("ns.t")


def test_nobody_at_the_endpoint_is_worth_another_run(glue_settings: Settings) -> None:
    options = {**glue_settings.catalogs["glue"].options, "glue.max-retries": 1}
    settings = dataclasses.replace(glue_settings.catalogs["glue"], uri="http://127.0.0.1:9", options=options)
    catalog = open_catalog("glue", dataclasses.replace(glue_settings, catalogs={"glue": settings}))
    with pytest.raises(Transfer, match="run again"):
        catalog.load("ns.t")
    catalog.close()
