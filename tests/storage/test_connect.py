"""From a place to a store."""

from __future__ import annotations

import importlib.metadata
import logging
from pathlib import Path

import pytest

from lakehouse import connect
from lakehouse.connect import locate, open_store
from lakehouse.errors import Config, NotFound, Unsupported
from lakehouse.local_store import LocalStore
from lakehouse.one_object import OneObject
from lakehouse.retry import RetryingStore
from lakehouse.settings import DatasetSettings, Settings, StoreSettings
from lakehouse.store import Store

SECRET = "do-not-show-me"
KEYS: dict[str, object] = {"key": "KEY", "secret": SECRET, "region": "us-east-1"}


def settings(**options: object) -> Settings:
    return Settings(
        stores={
            "minio": StoreSettings(
                "minio", "s3://bucket/base", options={**KEYS, "endpoint_url": "http://127.0.0.1:9", **options}
            ),
            "disk": StoreSettings("disk", "/data/lake"),
        },
        datasets={
            "orders": DatasetSettings("orders", "minio:shop/orders"),
            "again": DatasetSettings("again", "orders"),
        },
    )


def inner(store: Store) -> Store:
    assert isinstance(store, RetryingStore)
    return store.inner


@pytest.mark.parametrize(
    ("place", "address", "name"),
    [
        ("minio:a/b", "s3://bucket/base/a/b", "minio"),
        ("minio:", "s3://bucket/base", "minio"),
        ("minio:/a/", "s3://bucket/base/a", "minio"),
        ("disk:t", "file:///data/lake/t", "disk"),
        ("orders", "s3://bucket/base/shop/orders", "minio"),
        ("s3://bucket/base/a", "s3://bucket/base/a", None),
        ("/data/lake/t", "file:///data/lake/t", None),
        ("file:/data/t", "file:///data/t", None),
    ],
)
def test_a_place_is_located(place: str, address: str, name: str | None) -> None:
    url, store = locate(place, settings())
    assert str(url) == address
    assert (store.name if store else None) == name


def test_a_path_of_a_datasets_name_is_written_with_a_dot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    url, store = locate("./orders", settings())
    assert (url.scheme, store) == ("file", None)


@pytest.mark.parametrize("place", ["nobody:a", "minio:../up", "minio:a/../../b", "again", ""])
def test_a_place_that_leads_nowhere_is_refused(place: str) -> None:
    with pytest.raises(Config):
        locate(place, settings())


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(Config, match="disk, minio"):
        locate("mimio:a", settings())


def test_a_path_opens_without_settings(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert isinstance(inner(store), LocalStore)
    assert store.url == f"file://{tmp_path}"


def test_a_named_store_gets_its_options_and_shows_none() -> None:
    store = open_store("minio:t", settings())
    assert store.url == "s3://bucket/base/t"
    assert SECRET not in repr(store)
    assert SECRET not in repr(settings())


def test_a_reference_that_leads_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAKE_TEST_NOTHING", raising=False)
    with pytest.raises(Config, match="LAKE_TEST_NOTHING"):
        open_store("minio:t", settings(secret="env:LAKE_TEST_NOTHING"))


def test_an_option_that_obstore_lacks_goes_to_fsspec(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="lakehouse_connectors.s3"):
        store = open_store("minio:t", settings(acl="private"))
    assert repr(inner(store)).startswith("FsspecStore")
    assert "acl" in caplog.text


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"secret": None}, "go together"),
        ({"provider": "nobody"}, "seaweedfs"),
        ({"endpoint_url": "localhost:9000"}, "endpoint_url"),
        ({"endpoint_url": "http://me:pass@host"}, "endpoint_url"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(Config, match=complaint) as caught:
        open_store("minio:t", settings(**options))
    assert SECRET not in str(caught.value)


def test_a_folder_takes_no_options() -> None:
    with pytest.raises(Config, match="anon"):
        open_store("x:", Settings(stores={"x": StoreSettings("x", "/tmp", options={"anon": True})}))


def test_an_az_address_needs_an_account() -> None:
    with pytest.raises(Config, match="account_name"):
        open_store("az://container/path")


def test_an_az_address_becomes_canonical() -> None:
    named = StoreSettings("a", "az://container/path", options={"account_name": "acc", "account_key": "a2V5"})
    store = open_store("a:t", Settings(stores={"a": named}))
    assert store.url == "abfss://container@acc.dfs.core.windows.net/path/t"


def test_a_scheme_of_fsspec_opens_and_promises_nothing(tmp_path: Path) -> None:
    store = open_store("local://" + str(tmp_path))
    store.put("a/b", b"x", size=1)
    assert not store.traits.conditional_put
    assert (tmp_path / "a" / "b").read_bytes() == b"x"


def test_a_scheme_that_nobody_knows_is_refused() -> None:
    with pytest.raises(Config, match="nonsense"):
        open_store("nonsense://x/y")


def test_without_entry_points_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    connect._entry_points.cache_clear()
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: importlib.metadata.EntryPoints())
    try:
        with pytest.raises(Config, match="pip install"):
            open_store("/tmp")
    finally:
        connect._entry_points.cache_clear()


def test_one_object_shows_nothing_else(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("a/x", b"1", size=1)
    store.put("a/y", b"2", size=1)
    one = OneObject(store, "a/x")
    assert [info.path for info in one.list()] == ["a/x"]
    assert [info.path for info in one.list("a")] == ["a/x"]
    assert [info.path for info in one.list(recursive=False)] == ["a/"]
    assert list(one.list("b")) == list(one.list(after="a/x")) == []
    assert one.get("a/x") == b"1"
    with pytest.raises(NotFound):
        one.get("a/y")
    with pytest.raises(Unsupported):
        one.put("a/x", b"1", size=1)
    assert list(OneObject(store, "gone").list()) == []
