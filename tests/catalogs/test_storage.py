"""The catalog that lives in an object store, on a folder and on the servers of three kinds of cloud."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lakehouse.catalog import Catalog, open_catalog
from lakehouse.connect import open_store
from lakehouse.errors import Config, Conflict, NotFound, Transfer, Unsupported
from lakehouse.retry import RetryingStore
from lakehouse.settings import CatalogSettings, Settings, StoreSettings
from lakehouse.storage_catalog import StorageCatalog, advance_hint, current_root
from lakehouse.store import Store
from lakehouse.testing.catalog_suite import CatalogSuite, table_metadata
from lakehouse.testing.faulty_store import Faults, FaultyStore
from tests.catalogs.warehouses import warehouse_on


def settings_of(store: StoreSettings) -> Settings:
    catalog = CatalogSettings("lake", "storage", options={"warehouse": f"{store.name}:"}, store=store.name)
    return Settings(stores={store.name: store}, catalogs={"lake": catalog})


@pytest.fixture(params=["local", "s3", "moto", "azure", "gcs"])
def settings(request: pytest.FixtureRequest) -> Settings:
    return settings_of(warehouse_on(request.param, request))


@pytest.fixture
def open_one(settings: Settings) -> Callable[[], Catalog]:
    return lambda: open_catalog("lake", settings)


@pytest.fixture
def place(settings: Settings) -> Store:
    return open_store("house:", settings)


@contextmanager
def losing_a_reply(catalog: Any) -> Iterator[None]:
    """The next put is done, and its reply never comes: the store's own retries see that."""
    real = catalog._warehouse
    faults = Faults(fail_at=1, mode="after", writes_only=True, transient=True)
    catalog._warehouse = RetryingStore(FaultyStore(real.inner, faults), sleep=lambda _: None)
    try:
        yield
    finally:
        catalog._warehouse = real
    assert faults.failed is not None


class TestStorageCatalog(CatalogSuite):
    refuses_odd_names = frozenset({"sl/ash"})

    @pytest.fixture
    def open_one(self, open_one: Callable[[], Catalog]) -> Callable[[], Catalog]:
        return open_one

    @pytest.fixture
    def place(self, place: Store) -> Store:
        return place

    @pytest.fixture
    def lose_reply(self) -> Callable[[Catalog], AbstractContextManager[object]] | None:
        return losing_a_reply


@pytest.fixture
def local(tmp_path: Path) -> StorageCatalog:
    found = open_catalog("lake", settings_of(StoreSettings("house", str(tmp_path / "warehouse"))))
    assert isinstance(found, StorageCatalog)
    return found


def entered(catalog: StorageCatalog, snapshots: int = 1) -> tuple[Store, dict[str, Any]]:
    """The table ``ns.t``, at its own place."""
    store = catalog.table_store("ns.t")
    metadata = table_metadata(store.url, 1)
    data = json.dumps(metadata).encode()
    store.put("metadata/00001-first.metadata.json", data, size=len(data))
    catalog.register("ns.t", f"{store.url}/metadata/00001-first.metadata.json")
    for number in range(2, snapshots + 1):
        metadata = CatalogSuite().longer(metadata, number)
        catalog.swap("ns.t", f"{store.url}/metadata/v{number - 1}.metadata.json", "", metadata)
    return store, metadata


def test_a_table_is_a_folder_with_numbered_metadata_and_a_hint(local: StorageCatalog, tmp_path: Path) -> None:
    store, _ = entered(local, 3)
    folder = tmp_path / "warehouse" / "ns" / "t" / "metadata"
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith("v")) == [
        "v1.metadata.json", "v2.metadata.json", "v3.metadata.json", "version-hint.text",
    ]  # fmt: skip
    assert (folder / "version-hint.text").read_bytes() == b"3"
    log = json.loads((folder / "v3.metadata.json").read_text())["metadata-log"]
    assert [entry["metadata-file"] for entry in log] == [f"{store.url}/metadata/v{number}.metadata.json" for number in (1, 2)]


def test_a_stale_hint_is_walked_up_and_mended_by_the_next_commit(local: StorageCatalog) -> None:
    """Trap Iceberg 16: a writer that died before its hint, or one that was late."""
    store, metadata = entered(local, 3)
    store.put("metadata/version-hint.text", b"1", size=1)
    found = local.load("ns.t")
    assert found is not None
    assert found.metadata_location == f"{store.url}/metadata/v3.metadata.json"
    local.swap("ns.t", found.metadata_location, "", CatalogSuite().longer(metadata, 4))
    assert store.get("metadata/version-hint.text") == b"4"


def test_a_late_writer_never_lowers_the_hint(local: StorageCatalog) -> None:
    """Trap Iceberg 16."""
    store, _ = entered(local, 3)
    advance_hint(store, 2)
    assert store.get("metadata/version-hint.text") == b"3"


class _PutsLate:
    """A store whose first put of a hint is held up until others have written theirs."""

    def __init__(self, store: Store, meanwhile: Callable[[], None]) -> None:
        self._store, self._meanwhile = store, [meanwhile]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, path: str, data: bytes, *, size: int, if_absent: bool = False) -> Any:
        if self._meanwhile:
            self._meanwhile.pop()()
        return self._store.put(path, data, size=size, if_absent=if_absent)


def test_a_hint_that_was_put_over_a_newer_one_is_mended_by_whoever_put_it(local: StorageCatalog) -> None:
    """Trap Iceberg 16."""
    store, metadata = entered(local, 1)
    second = CatalogSuite().longer(metadata, 2)
    data = json.dumps(second).encode()
    store.put("metadata/v2.metadata.json", data, size=len(data), if_absent=True)

    def others_commit() -> None:
        local.swap("ns.t", f"{store.url}/metadata/v2.metadata.json", "", CatalogSuite().longer(second, 3))
        assert store.get("metadata/version-hint.text") == b"3"

    late: Any = _PutsLate(store, others_commit)
    advance_hint(late, 2)
    assert store.get("metadata/version-hint.text") == b"3"


def test_missing_metadata_files_are_damage_and_not_an_older_version(local: StorageCatalog) -> None:
    store, _ = entered(local, 4)
    store.delete("metadata/v3.metadata.json")
    store.put("metadata/version-hint.text", b"2", size=1)
    with pytest.raises(NotFound, match=r"v3\.metadata\.json is missing"):
        local.load("ns.t")
    store.put("metadata/version-hint.text", b"7", size=1)
    with pytest.raises(NotFound, match="says '7', which is not there"):
        local.load("ns.t")


def test_expired_metadata_files_are_no_damage(local: StorageCatalog) -> None:
    store, _ = entered(local, 4)
    store.delete("metadata/v1.metadata.json")
    store.delete("metadata/v2.metadata.json")
    assert current_root(store) == (4, "metadata/v4.metadata.json")
    store.delete("metadata/version-hint.text")
    assert current_root(store) == (4, "metadata/v4.metadata.json")


def test_two_files_of_one_number_are_refused(local: StorageCatalog) -> None:
    store, _ = entered(local, 2)
    store.put("metadata/v2.gz.metadata.json", b"{}", size=2)
    with pytest.raises(NotFound, match="one number"):
        local.load("ns.t")


def test_the_log_of_a_commit_is_as_long_as_the_table_says(local: StorageCatalog) -> None:
    store, metadata = entered(local, 1)
    metadata["properties"] = {"write.metadata.previous-versions-max": "2"}
    for number in range(2, 6):
        metadata = CatalogSuite().longer(metadata, number)
        before = f"{store.url}/metadata/v{number - 1}.metadata.json"
        local.swap("ns.t", before, "", metadata)
        metadata = json.loads(store.get(f"metadata/v{number}.metadata.json"))
    assert [entry["metadata-file"].rpartition("/")[2] for entry in metadata["metadata-log"]] == [
        "v3.metadata.json", "v4.metadata.json",
    ]  # fmt: skip


def test_a_table_within_another_tables_folder_is_refused(local: StorageCatalog) -> None:
    store, metadata = entered(local)
    data = json.dumps(metadata).encode()
    store.put("x.metadata.json", data, size=len(data))
    with pytest.raises(Conflict, match=r"ns\.t is the folder of a table"):
        local.register("ns.t.inner", f"{store.url}/x.metadata.json")


@pytest.mark.parametrize("name", ["sl/ash", "back\\slash", "..", "end.", "tab\t", "_lake"])
def test_names_that_no_folder_can_have_are_refused(local: StorageCatalog, name: str) -> None:
    with pytest.raises(Unsupported, match="cannot be the name of a folder"):
        local.load(f'ns."{name}"')


def test_a_store_without_conditional_put_is_refused_by_name_when_it_is_written_to(tmp_path: Path) -> None:
    store = StoreSettings("house", str(tmp_path / "w"), transport="fsspec")
    catalog = open_catalog("lake", settings_of(store))
    place = open_store("house:", settings_of(store))
    with pytest.raises(Unsupported, match="has no conditional put"):
        CatalogSuite().enter(catalog, place, "ns.t", 1)
    assert catalog.load("ns.t") is None


def test_what_lake_toml_must_say(tmp_path: Path) -> None:
    def opened(options: dict[str, object], store: str | None = None, uri: str | None = None) -> Catalog:
        stores = {"house": StoreSettings("house", str(tmp_path))}
        return open_catalog(
            "lake", Settings(stores=stores, catalogs={"lake": CatalogSettings("lake", "storage", uri, options, store)})
        )

    with pytest.raises(Config, match="needs the key 'warehouse'"):
        opened({})
    with pytest.raises(Config, match="has no key scope"):
        opened({"warehouse": str(tmp_path), "scope": "x"})
    with pytest.raises(Config, match="has no key uri"):
        opened({"warehouse": str(tmp_path)}, uri="http://x")
    assert opened({"warehouse": "house:w"}, "house").default_location("a.b.t") == f"file://{tmp_path}/w/a/b/t"
    assert opened({"warehouse": str(tmp_path / "v")}).default_location("ns.t") == f"file://{tmp_path}/v/ns/t"


def test_a_put_that_may_have_arrived_is_an_error_where_nobody_can_tell(local: StorageCatalog) -> None:
    store, metadata = entered(local)
    faults = Faults(fail_at=1, mode="after", writes_only=True, dead=True)
    dead = StorageCatalog("lake", FaultyStore(local._warehouse, faults))
    longer = CatalogSuite().longer(metadata, 2)
    with pytest.raises(Transfer):
        dead.swap("ns.t", f"{store.url}/metadata/v1.metadata.json", "", longer)
    again = local.swap("ns.t", f"{store.url}/metadata/v1.metadata.json", "", longer)
    assert again.metadata_location == f"{store.url}/metadata/v2.metadata.json"
    assert store.get("metadata/version-hint.text") == b"2"
