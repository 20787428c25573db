"""The REST catalog on a real server, with replies that are lost and refused on the wire."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from lakehouse.catalog import Catalog, TableRecord, identifier_parts, open_catalog
from lakehouse.config import Settings
from lakehouse.connect import open_at
from lakehouse.errors import Config, Conflict, Transfer, Unsupported
from lakehouse.store import Store
from lakehouse.testing.catalog_suite import ODD_NAMES, CatalogSuite, table_metadata
from lakehouse.testing.servers import FaultProxy, Rule, SeaweedServer
from lakehouse.url import parse
from lakehouse_connectors.catalogs.rest_commit import NAME_MAPPING


def catalog_at(settings: Settings, uri: str, **options: object) -> Settings:
    catalog = settings.catalogs["rest"]
    changed = dataclasses.replace(catalog, uri=uri, options={**catalog.options, **options})
    return dataclasses.replace(settings, catalogs={"rest": changed})


@pytest.fixture
def proxy(seaweed: SeaweedServer) -> Iterator[FaultProxy]:
    with FaultProxy(seaweed.catalog_uri) as found:
        yield found


@pytest.fixture
def open_one(rest_settings: Settings, proxy: FaultProxy) -> Iterator[Callable[[], Catalog]]:
    opened: list[Any] = []

    def opens() -> Catalog:
        opened.append(open_catalog("rest", catalog_at(rest_settings, proxy.endpoint_url)))
        found: Catalog = opened[-1]
        return found

    yield opens
    for catalog in opened:
        catalog.close()


@pytest.fixture
def place(rest_settings: Settings, seaweed: SeaweedServer) -> Store:
    return open_at(parse(f"{seaweed.warehouse}{uuid.uuid4().hex}/t"), rest_settings.stores["tables"])


@pytest.fixture
def namespace() -> str:
    return f"suite_{uuid.uuid4().hex[:12]}"


@contextmanager
def losing(proxy: FaultProxy, path: str) -> Iterator[None]:
    rule = Rule("lose_reply", method="POST", path=path)
    proxy.rules.append(rule)
    yield
    proxy.rules.remove(rule)
    assert rule._seen == 1


class TestRestCatalog(CatalogSuite):
    refuses_odd_names = frozenset(ODD_NAMES)  # this server's own rule: a-z 0-9 _ - only
    cannot_register = "SeaweedFS 4.48 registers a table, and then serves an empty one that it makes up"

    @pytest.fixture
    def open_one(self, open_one: Callable[[], Catalog]) -> Callable[[], Catalog]:
        return open_one

    @pytest.fixture
    def place(self, place: Store) -> Store:
        return place

    @pytest.fixture
    def lose_reply(self, proxy: FaultProxy) -> Callable[[Catalog], AbstractContextManager[object]]:
        return lambda catalog: losing(proxy, r"/tables/t$")

    def enter(self, catalog: Any, place: Store, identifier: str, snapshots: int) -> tuple[TableRecord, dict[str, Any]]:
        """A table that the server creates, and a commit that gives it its history."""
        *namespace, name = identifier_parts(identifier)
        session = catalog._session
        session.send("POST", None, body={"namespace": namespace, "properties": {}})
        made = table_metadata(place.url, snapshots)
        request = {
            "name": name, "location": place.url, "schema": made["schemas"][0], "properties": made["properties"],
        }  # fmt: skip
        _, created = session.send("POST", tuple(namespace), "/tables", body=request)
        record = catalog.load(identifier)
        metadata = created["metadata"]
        if snapshots:
            wanted = self.longer({**metadata, "snapshots": []}, snapshots)
            record = catalog.swap(identifier, record.metadata_location, self.written(place, wanted), wanted)
            metadata = self.standing(place, record)
        return record, metadata


suite = TestRestCatalog()


def test_a_server_that_serves_something_else_than_what_was_registered_is_found_out(
    open_one: Callable[[], Catalog], place: Store, namespace: str
) -> None:
    """SeaweedFS 4.48 makes an empty table up, with another uuid at each load."""
    with pytest.raises(Unsupported, match="does not serve what stands at"):
        suite._registered(open_one(), place, f"{namespace}.t", 2)


def test_the_catalog_says_where_a_new_table_would_lie(open_one: Callable[[], Catalog], place: Store, namespace: str) -> None:
    catalog = open_one()
    assert catalog.default_location(f"{namespace}.new") is None
    suite.enter(catalog, place, f"{namespace}.t", 1)
    assert catalog.default_location(f"{namespace}.new") == f"s3://warehouse/{namespace}/new"


def test_everything_that_a_commit_can_express_arrives(open_one: Callable[[], Catalog], place: Store, namespace: str) -> None:
    catalog = open_one()
    record, metadata = suite.enter(catalog, place, f"{namespace}.t", 3)
    _, second, third = metadata["snapshots"]
    wanted = suite.longer(metadata, 5)
    wanted["snapshots"] = wanted["snapshots"][1:]  # the source expired the first
    wanted["schemas"].append(
        {
            "type": "struct",
            "schema-id": 1,
            "fields": [
                *metadata["schemas"][0]["fields"],
                {"id": 2, "name": "b", "required": False, "type": "string", "doc": "new"},
            ],
        }
    )
    wanted |= {"current-schema-id": 1, "last-column-id": 2, "last-partition-id": 1000, "default-spec-id": 1}
    fields = [{"source-id": 1, "field-id": 1000, "name": "a_bucket", "transform": "bucket[4]"}]
    wanted["partition-specs"].append({"spec-id": 1, "fields": fields})
    order = [{"source-id": 1, "transform": "identity", "direction": "asc", "null-order": "nulls-first"}]
    wanted |= {"sort-orders": [*wanted["sort-orders"], {"order-id": 1, "fields": order}], "default-sort-order-id": 1}
    wanted["refs"] |= {
        "audit": {"snapshot-id": third["snapshot-id"], "type": "branch", "min-snapshots-to-keep": 2},
        "eoy": {"snapshot-id": second["snapshot-id"], "type": "tag", "max-ref-age-ms": 86_400_000},
    }
    wanted["properties"] = {"added": "1", "owner": "changed"}
    statistics = {
        "snapshot-id": third["snapshot-id"], "statistics-path": f"{place.url}/metadata/s.puffin",
        "file-size-in-bytes": 10, "file-footer-size-in-bytes": 5, "blob-metadata": [],
    }  # fmt: skip
    wanted["statistics"] = [statistics]
    swapped = catalog.swap(f"{namespace}.t", record.metadata_location, suite.written(place, wanted), wanted)
    found = suite.standing(place, swapped)
    found["properties"].pop(NAME_MAPPING, None)  # this server sets one by itself
    for key in ("refs", "properties", "statistics", "current-schema-id", "default-spec-id", "default-sort-order-id"):
        assert found[key] == wanted[key], key
    assert [one["snapshot-id"] for one in found["snapshots"]] == [one["snapshot-id"] for one in wanted["snapshots"]]
    assert found["partition-specs"] == wanted["partition-specs"]
    assert [field["name"] for field in found["schemas"][1]["fields"]] == ["a", "b"]

    back = {**wanted, "refs": {"main": wanted["refs"]["main"]}, "statistics": [], "properties": {"owner": "changed"}}
    last = catalog.swap(f"{namespace}.t", swapped.metadata_location, suite.written(place, back), back)
    found = suite.standing(place, last)
    found["properties"].pop(NAME_MAPPING, None)
    assert (found["refs"], found.get("statistics", []), found["properties"]) == (back["refs"], [], back["properties"])


def test_a_rollback_at_the_source_arrives(open_one: Callable[[], Catalog], place: Store, namespace: str) -> None:
    catalog = open_one()
    record, metadata = suite.enter(catalog, place, f"{namespace}.t", 3)
    head = metadata["snapshots"][0]["snapshot-id"]
    back = {**metadata, "refs": {"main": {"snapshot-id": head, "type": "branch"}}, "current-snapshot-id": head}
    swapped = catalog.swap(f"{namespace}.t", record.metadata_location, suite.written(place, back), back)
    assert suite.standing(place, swapped)["current-snapshot-id"] == head


def test_a_commit_between_our_look_and_our_commit_is_not_erased(
    rest_settings: Settings, seaweed: SeaweedServer, place: Store, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap Iceberg 14, at the worst moment: what we looked at was still what we expected."""
    from lakehouse_connectors.catalogs import rest, rest_commit

    ours = open_catalog("rest", catalog_at(rest_settings, seaweed.catalog_uri))
    theirs = open_catalog("rest", catalog_at(rest_settings, seaweed.catalog_uri))
    record, metadata = suite.enter(ours, place, f"{namespace}.t", 1)
    other = suite.longer(metadata, 2, branch="theirs")
    committed: list[Any] = []
    real = rest_commit.commit_request

    def late(*arguments: Any) -> Any:
        body = real(*arguments)
        if not committed:
            committed.append(None)
            committed[0] = theirs.swap(f"{namespace}.t", record.metadata_location, suite.written(place, other), other)
        return body

    monkeypatch.setattr(rest, "commit_request", late)
    mine = suite.longer(metadata, 3, branch="ours")
    with pytest.raises(Conflict, match="another writer"):
        ours.swap(f"{namespace}.t", record.metadata_location, suite.written(place, mine), mine)
    assert ours.load(f"{namespace}.t") == committed[0]
    for catalog in (ours, theirs):
        catalog.close()


def test_another_table_of_that_name_is_refused(open_one: Callable[[], Catalog], place: Store, namespace: str) -> None:
    catalog = open_one()
    record, metadata = suite.enter(catalog, place, f"{namespace}.t", 1)
    other = {**suite.longer(metadata, 2), "table-uuid": str(uuid.uuid4())}
    with pytest.raises(Unsupported, match=other["table-uuid"]):
        catalog.swap(f"{namespace}.t", record.metadata_location, suite.written(place, other), other)
    assert catalog.load(f"{namespace}.t") == record


def test_register_with_overwrite_is_never_sent(
    open_one: Callable[[], Catalog], proxy: FaultProxy, place: Store, namespace: str
) -> None:
    catalog = open_one()
    record, metadata = suite.enter(catalog, place, f"{namespace}.t", 1)
    proxy.clear()
    longer = suite.longer(metadata, 2)
    catalog.swap(f"{namespace}.t", record.metadata_location, suite.written(place, longer), longer)
    assert [(one.method, one.target.rpartition("/")[2]) for one in proxy.requests] == [("GET", "t"), ("POST", "t")]


@pytest.mark.parametrize("code", [500, 502, 503])
def test_a_server_that_fails_leaves_the_table_and_is_worth_another_run(
    open_one: Callable[[], Catalog], proxy: FaultProxy, place: Store, namespace: str, code: int
) -> None:
    catalog = open_one()
    record, metadata = suite.enter(catalog, place, f"{namespace}.t", 1)
    longer = suite.longer(metadata, 2)
    written = suite.written(place, longer)
    proxy.rules.append(Rule("status", method="POST", code=code, retry_after=7))
    with pytest.raises(Transfer) as caught:
        catalog.swap(f"{namespace}.t", record.metadata_location, written, longer)
    assert (caught.value.transient, caught.value.retry_after) == (True, 7)
    assert catalog.load(f"{namespace}.t") == record
    swapped = catalog.swap(f"{namespace}.t", record.metadata_location, written, longer)
    assert suite.standing(place, swapped)["refs"] == longer["refs"]


def test_a_listing_is_complete(open_one: Callable[[], Catalog], place: Store, namespace: str) -> None:
    catalog: Any = open_one()
    names = {f"{namespace}.t{number}" for number in range(12)}
    for name in names:
        suite.enter(catalog, place, name, 1)
    assert set(catalog.list(namespace)) == names


def test_an_expired_token_is_renewed(open_one: Callable[[], Catalog], proxy: FaultProxy, place: Store, namespace: str) -> None:
    catalog = open_one()
    record, _ = suite.enter(catalog, place, f"{namespace}.t", 1)
    proxy.clear()
    proxy.rules.append(Rule("status", method="GET", code=401))
    assert catalog.load(f"{namespace}.t") == record
    assert [one.target.rpartition("/")[2] for one in proxy.requests] == ["t", "tokens", "t"]


def test_wrong_credentials_are_a_configuration_error_and_show_no_secret(rest_settings: Settings, seaweed: SeaweedServer) -> None:
    with pytest.raises(Config, match="credentials") as caught:
        open_catalog("rest", catalog_at(rest_settings, seaweed.catalog_uri, credential=f"{seaweed.key}:hunter2-not-this"))
    assert "hunter2" not in str(caught.value)


def test_nobody_at_the_address_is_worth_another_run(rest_settings: Settings) -> None:
    with pytest.raises(Transfer, match="uri"):
        open_catalog("rest", catalog_at(rest_settings, "http://127.0.0.1:9"))


def test_a_catalog_without_an_address_is_a_configuration_error(rest_settings: Settings) -> None:
    catalog = dataclasses.replace(rest_settings.catalogs["rest"], uri=None)
    with pytest.raises(Config, match="uri"):
        open_catalog("rest", dataclasses.replace(rest_settings, catalogs={"rest": catalog}))
