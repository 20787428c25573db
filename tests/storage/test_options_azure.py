"""Every option of an Azure store, by what arrives at a server: with obstore and with adlfs."""

from __future__ import annotations

import json
import logging
import socket
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from lakehouse.connect import open_store
from lakehouse.errors import Config, Transfer
from lakehouse.retry import RetryingStore
from lakehouse.settings import Settings, StoreSettings
from lakehouse.store import Store
from lakehouse_connectors import spellings
from tests.storage.recorder import Recorder, Tls

KEY = "b3VyLWtleS1vZi0yNC1ieXRlcyEhIQ=="
OTHER = "dGhlaXIta2V5LW9mLTI0LWJ5dGVzISE="
both_transports = pytest.mark.parametrize("transport", ["obstore", "fsspec"])
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly with raw bytes:ResourceWarning")


def opened(transport: str = "auto", url: str = "az://box/t", /, **options: object) -> Store:
    named = StoreSettings("place", url, transport=transport, options=options)  # type: ignore[arg-type]
    return open_store("place:", Settings(stores={"place": named}), retries=0)


def transport_of(store: Store) -> str:
    assert isinstance(store, RetryingStore)
    return type(store.inner).__name__.removesuffix("Store").lower()


@pytest.fixture
def server() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


def endpoint(server: Recorder) -> dict[str, object]:
    return {"account_name": "acc", "endpoint_url": f"{server.url}/acc"}


def put(store: Store, data: bytes = b"hello") -> None:
    assert store.put("x", data, size=len(data)).size == len(data)


@both_transports
def test_account_key_signs_for_the_account_at_the_endpoint(server: Recorder, transport: str) -> None:
    put(opened(transport, account_key=KEY, **endpoint(server)))
    assert server.objects == {"/acc/box/t/x": b"hello"}
    assert all(request.headers["authorization"].startswith("SharedKey acc:") for request in server.requests)


@both_transports
def test_sas_token_stands_in_the_address(server: Recorder, transport: str) -> None:
    put(opened(transport, sas_token="?sv=2024-11-04&sig=do-not-show", **endpoint(server)))
    for request in server.requests:
        assert (request.query["sig"], request.query["sv"]) == ("do-not-show", "2024-11-04")
        assert "authorization" not in request.headers


@both_transports
@pytest.mark.parametrize("secret", [f"AccountKey={KEY}", "SharedAccessSignature=sv=2024-11-04&sig=do-not-show"])
def test_a_connection_string_holds_account_secret_and_endpoint(server: Recorder, transport: str, secret: str) -> None:
    put(opened(transport, connection_string=f"AccountName=acc;{secret};BlobEndpoint={server.url}/acc"))
    (request,) = server.of("PUT")
    assert server.objects == {"/acc/box/t/x": b"hello"}
    assert ("sig" in request.query) == secret.startswith("Shared")
    assert ("authorization" in request.headers) == secret.startswith("AccountKey")


@both_transports
def test_anon_sends_no_credentials(server: Recorder, transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", OTHER)
    put(opened(transport, anon=True, **endpoint(server)))
    for request in server.requests:
        assert "authorization" not in request.headers
        assert "sig" not in request.query


@both_transports
def test_the_account_of_the_address_is_asked_at_its_own_host(server: Recorder, transport: str) -> None:
    """A proxy is told where the requests would go."""
    for address, host in (
        ("abfss://box@acc.dfs.core.windows.net/t", "acc.blob.core.windows.net:443"),
        ("abfss://box@acc.dfs.core.chinacloudapi.cn/t", "acc.blob.core.chinacloudapi.cn:443"),
    ):
        with pytest.raises(Transfer):
            opened(transport, address, account_key=KEY, proxy=server.url).get("x")
        assert server.requests.pop().target == host
        server.requests.clear()


@both_transports
def test_a_connection_strings_suffix_and_protocol_make_the_endpoint(server: Recorder, transport: str) -> None:
    connection = f"DefaultEndpointsProtocol=http;AccountName=acc;AccountKey={KEY};EndpointSuffix=storage.invalid"
    put(opened(transport, connection_string=connection, proxy=server.url))
    assert server.of("PUT")[0].target.startswith("http://acc.blob.storage.invalid/box/t/x")


@both_transports
def test_a_proxy_is_asked_for_the_whole_address(server: Recorder, transport: str) -> None:
    put(opened(transport, account_name="acc", account_key=KEY, endpoint_url="http://acc.invalid", proxy=server.url))
    assert [request.target.partition("?")[0] for request in server.of("PUT")] == ["http://acc.invalid/box/t/x"]


@both_transports
def test_ca_file_makes_a_server_with_a_certificate_of_its_own_trusted(
    transport: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tls = Tls.make(tmp_path_factory.mktemp("tls"))
    with Recorder(tls) as server:
        with pytest.raises(Transfer):
            opened(transport, account_key=KEY, **endpoint(server)).get("x")
        put(opened(transport, account_key=KEY, ca_file=tls.ca_file, **endpoint(server)))
        assert server.objects == {"/acc/box/t/x": b"hello"}


@both_transports
def test_a_ca_file_that_is_not_there_is_refused(server: Recorder, transport: str) -> None:
    with pytest.raises(Config, match="ca_file"):
        opened(transport, account_key=KEY, ca_file="/nowhere/ca.pem", **endpoint(server))


@both_transports
def test_timeout_ends_a_read_that_makes_no_progress(transport: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/acc"
        with pytest.raises(Transfer) as caught:
            opened(transport, account_name="acc", account_key=KEY, endpoint_url=address, timeout=1).get("x")
        assert caught.value.transient


@both_transports
def test_a_client_secret_makes_a_store_without_a_request(transport: str) -> None:
    principal: dict[str, object] = {"tenant_id": "t", "client_id": "c", "client_secret": "do-not-show"}
    store = opened(transport, account_name="acc", **principal)
    assert transport_of(store) == transport
    assert "do-not-show" not in repr(store)
    with pytest.raises(Config, match="go together"):
        opened("obstore", account_name="acc", client_secret="do-not-show")


def test_tokens_of_a_managed_identity_are_followed_by_the_next_ones(server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """traps.md, Object stores 5. App Service's token endpoint is on loopback, and its tokens end at once.

    (adlfs sends tokens by TLS only, to the host of an account.)
    """
    given = iter(range(1, 100))

    def token() -> bytes:
        end = int(time.time())
        return json.dumps({"access_token": f"T{next(given)}", "expires_on": str(end), "token_type": "Bearer"}).encode()

    server.reply("/msi/token", token)
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "us")
    store = opened("obstore", **endpoint(server))
    put(store)
    put(store)
    first, second = (request.headers["authorization"] for request in server.of("PUT"))
    assert first.startswith("Bearer T")
    assert second != first


ENVIRONMENT = {
    "AZURE_STORAGE_CONNECTION_STRING": f"AccountName=acc;AccountKey={OTHER};BlobEndpoint=http://127.0.0.1:9/acc",
    "AZURE_STORAGE_ACCOUNT_KEY": OTHER,
    "AZURE_STORAGE_SAS_TOKEN": "sig=of-the-environment",
    "AZURE_STORAGE_CLIENT_ID": "c",
    "AZURE_SKIP_SIGNATURE": "true",
    "AZURE_STORAGE_USE_EMULATOR": "true",
    "AZURE_USE_FABRIC_ENDPOINT": "true",
    "AZURE_ENDPOINT": "http://127.0.0.1:9/acc",
}


@both_transports
@pytest.mark.parametrize(
    "own", [{"account_key": KEY}, {"sas_token": "sig=ours"}, {"anon": True}], ids=lambda own: next(iter(own))
)
def test_the_environment_does_not_leak_into_a_store_with_credentials_of_its_own(
    server: Recorder, transport: str, own: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(opened(transport, **own, **endpoint(server)))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    put(opened(transport, **own, **endpoint(server)))
    puts = server.of("PUT")
    assert len(puts) == 2
    assert puts[0].query == puts[1].query
    assert ("authorization" in puts[1].headers) == ("account_key" in own)


def test_adlfs_refuses_tokens_beside_credentials_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", ENVIRONMENT["AZURE_STORAGE_CONNECTION_STRING"])
    with pytest.raises(Config, match="AZURE_STORAGE_CONNECTION_STRING") as caught:
        opened("fsspec", account_name="acc", tenant_id="t", client_id="c", client_secret="s")
    assert OTHER not in str(caught.value)


@both_transports
def test_adlfs_variables_open_a_store_that_names_no_credentials(
    server: Recorder, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = f"AccountName=acc;AccountKey={OTHER};BlobEndpoint={server.url}/acc"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
    put(opened(transport))
    assert server.objects == {"/acc/box/t/x": b"hello"}
    assert server.of("PUT")[0].headers["authorization"].startswith("SharedKey acc:")


def test_variables_of_another_account_are_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"AccountName=theirs;AccountKey={OTHER}")
    with caplog.at_level(logging.DEBUG, logger="lakehouse_connectors.azure"):
        store = opened("obstore", "abfss://box@acc.dfs.core.windows.net/t")
    assert store.url == "abfss://box@acc.dfs.core.windows.net/t"
    assert "another account" in caplog.text
    assert OTHER not in caplog.text


def test_the_address_and_the_options_name_one_account() -> None:
    with pytest.raises(Config, match="names the account acc"):
        opened("auto", "abfss://box@acc.dfs.core.windows.net/t", account_name="other", account_key=KEY)


@both_transports
def test_fsspecs_own_configuration_gives_credentials_where_the_store_names_none(
    server: Recorder, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.config import conf

    monkeypatch.setitem(conf, "abfs", {"connection_string": f"AccountName=acc;AccountKey={KEY};BlobEndpoint={server.url}/acc"})
    put(opened(transport))
    assert server.objects == {"/acc/box/t/x": b"hello"}


@pytest.mark.parametrize("name", ["blocksize", "location_mode"])
def test_obstore_refuses_by_name_what_it_cannot_do_and_auto_says_that_fsspec_does_it(
    server: Recorder, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"account_key": KEY, **endpoint(server), name: {"blocksize": 1 << 20}.get(name, "primary")}
    with pytest.raises(Config, match=name):
        opened("obstore", **options)
    with caplog.at_level(logging.DEBUG, logger="lakehouse_connectors.azure"):
        store = opened("auto", **options)
    assert transport_of(store) == "fsspec"
    assert name in caplog.text
    assert KEY not in caplog.text
    put(store)


def test_transport_decides_where_both_can(server: Recorder) -> None:
    options: dict[str, object] = {"account_key": KEY, **endpoint(server)}
    found = [transport_of(opened(transport, **options)) for transport in ("auto", "obstore", "fsspec")]
    assert found == ["obstore", "obstore", "fsspec"]


def test_adlfs_account_host_is_an_endpoint() -> None:
    assert spellings.azure({"account_host": "h.example"}) == {"endpoint_url": "https://h.example"}
    assert spellings.azure({"account_host": "h.example", "endpoint_url": "http://x"}) == {"endpoint_url": "http://x"}


@both_transports
def test_a_sas_of_a_real_container_opens_it_and_a_wrong_one_does_not(azurite: Any, transport: str) -> None:
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    container = f"sas-{uuid.uuid4().hex[:12]}"
    azurite.make_container(container)
    sas = generate_container_sas(
        azurite.account_name, container, account_key=azurite.account_key,
        permission=ContainerSasPermissions(read=True, write=True, create=True, list=True),
        expiry=datetime.fromtimestamp(time.time() + 600, UTC),
    )  # fmt: skip
    options: dict[str, object] = {"account_name": azurite.account_name, "endpoint_url": azurite.endpoint}
    store = opened(transport, f"az://{container}/t", sas_token=sas, **options)
    put(store)
    assert store.get("x") == b"hello"
    with pytest.raises(Config, match="access was refused"):
        opened(transport, f"az://{container}/t", sas_token=sas[:-6] + "AAA%3D", **options).get("x")


@both_transports
def test_an_archived_blob_is_named_and_not_tried_again(server: Recorder, transport: str) -> None:
    store = opened(transport, account_key=KEY, **endpoint(server))
    put(store)
    for code in (b"BlobArchived", b"BlobBeingRehydrated"):
        server.requests.clear()
        server.refuse(409, b"<?xml version='1.0'?><Error><Code>" + code + b"</Code><Message>archived</Message></Error>")
        with pytest.raises(Transfer, match="/t/x: the object is archived; restore it first") as caught:
            store.get("x")
        assert not caught.value.transient
        assert len(server.of("GET")) == 1


def test_storage_class_is_the_access_tier_of_what_is_written(server: Recorder) -> None:
    store = opened("auto", account_key=KEY, storage_class="Cool", **endpoint(server))
    assert transport_of(store) == "obstore"
    put(store)
    store.put("large", (bytes(1 << 20) for _ in range(9)), size=9 << 20)
    made = [request for request in server.of("PUT") if request.query.get("comp") in (None, "blocklist")]
    assert [request.headers["x-ms-access-tier"] for request in made] == ["Cool", "Cool"]
    assert server.objects["/acc/box/t/large"] == bytes(9 << 20)
    with pytest.raises(Config, match="storage_class"):
        opened("fsspec", account_key=KEY, storage_class="Cool", **endpoint(server))


def test_azurite_stores_the_tier_and_refuses_an_archived_blob(azurite: Any) -> None:
    container = f"tier-{uuid.uuid4().hex[:12]}"
    azurite.make_container(container)
    options: dict[str, object] = {"connection_string": azurite.connection_string}
    put(opened("auto", f"az://{container}/t", storage_class="Archive", **options))
    for transport in ("obstore", "fsspec"):
        with pytest.raises(Transfer, match="archived; restore it first"):
            opened(transport, f"az://{container}/t", **options).get("x")


@both_transports
def test_azurite_refuses_a_blob_of_the_archive_tier(azurite: Any, transport: str) -> None:
    from azure.storage.blob import BlobClient

    container = f"tier-{uuid.uuid4().hex[:12]}"
    azurite.make_container(container)
    options: dict[str, object] = {"connection_string": azurite.connection_string}
    store = opened(transport, f"az://{container}/t", **options)
    put(store)
    with BlobClient.from_connection_string(azurite.connection_string, container, "t/x") as blob:
        blob.set_standard_blob_tier("Archive")
    assert store.head("x").size == 5
    with pytest.raises(Transfer, match="archived; restore it first"):
        store.get("x")
