"""Every option of a Google Cloud Storage store, by what arrives at a server: with obstore and with gcsfs."""

from __future__ import annotations

import json
import logging
import socket
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from lakehouse.connect import open_store
from lakehouse.errors import Config, Transfer
from lakehouse.retry import RetryingStore
from lakehouse.settings import Settings, StoreSettings
from lakehouse.store import Store
from lakehouse.testing.servers import FaultProxy
from lakehouse_connectors import spellings
from tests.storage.recorder import Recorder, Tls

both_transports = pytest.mark.parametrize("transport", ["obstore", "fsspec"])
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly with raw bytes:ResourceWarning")
JSON = "/storage/v1/b/bucket/o/t/x"


def opened(transport: str = "auto", url: str = "gs://bucket/t", /, **options: object) -> Store:
    named = StoreSettings("place", url, transport=transport, options=options)  # type: ignore[arg-type]
    return open_store("place:", Settings(stores={"place": named}), retries=0)


def transport_of(store: Store) -> str:
    assert isinstance(store, RetryingStore)
    return type(store.inner).__name__.removesuffix("Store").lower()


class Google(Recorder):
    """Answers gcsfs's JSON API for one object, and gives out tokens T1, T2, … that are good for ``seconds``."""

    def __init__(self, tls: Tls | None = None) -> None:
        super().__init__(tls)
        self.seconds, self.tokens = 3600, 0
        meta = {"name": "t/x", "bucket": "bucket", "size": "5", "generation": "1", "updated": "2030-01-01T00:00:00.000Z"}
        for path in (JSON, "/upload/storage/v1/b/bucket/o"):
            self.reply(path, lambda: json.dumps(meta).encode())
        self.reply("/token", self._token)

    def _token(self) -> bytes:
        self.tokens += 1
        return json.dumps({"access_token": f"T{self.tokens}", "expires_in": self.seconds, "token_type": "Bearer"}).encode()

    @property
    def storage(self) -> list[str | None]:
        """Who asked for objects."""
        return [request.headers.get("authorization") for request in self.requests if request.path != "/token"]


@pytest.fixture
def server() -> Iterator[Google]:
    with Google() as google:
        yield google


@pytest.fixture(scope="module")
def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.fixture
def key(server: Google, private_key: str) -> dict[str, str]:
    """A service account's key, whose tokens the server gives out."""
    return {
        "type": "service_account", "project_id": "ours", "private_key_id": "1", "private_key": private_key,
        "client_email": "us@ours.iam.gserviceaccount.com", "client_id": "1", "token_uri": f"{server.url}/token",
    }  # fmt: skip


@pytest.fixture
def key_file(key: Mapping[str, str], tmp_path: Path) -> str:
    file = tmp_path / "key.json"
    file.write_text(json.dumps(key), encoding="utf-8")
    return str(file)


def put(store: Store, data: bytes = b"hello") -> None:
    assert store.put("x", data, size=len(data)).size == len(data)


@both_transports
@pytest.mark.parametrize("options", [{"token": "anon"}, {"anon": True}, {}], ids=str)
def test_nobody_signs_in_where_that_is_asked_for_and_at_an_emulator(
    server: Google, transport: str, options: dict[str, object]
) -> None:
    store = opened(transport, endpoint_url=server.url, **options)
    put(store)
    store.head("x")
    assert server.storage
    assert not [who for who in server.storage if (who or "Bearer ").strip() != "Bearer"]
    assert server.tokens == 0


def test_nobody_reads_public_data_without_a_header(server: Google) -> None:
    store = opened("obstore", token="anon", endpoint_url=server.url)
    put(store)
    server.requests.clear()
    assert store.get("x") == b"hello"
    assert server.storage == [None]


@both_transports
def test_token_is_the_path_of_a_key_file(server: Google, transport: str, key_file: str) -> None:
    put(opened(transport, token=key_file, endpoint_url=server.url))
    assert set(server.storage) == {"Bearer T1"}
    (asked, *_) = [request for request in server.requests if request.path == "/token"]
    assert b"jwt-bearer" in asked.body


@both_transports
@pytest.mark.parametrize("as_table", [False, True])
def test_token_is_the_content_of_a_key_file(server: Google, transport: str, key: dict[str, str], as_table: bool) -> None:
    store = opened(transport, token=key if as_table else json.dumps(key), endpoint_url=server.url)
    put(store)
    assert set(server.storage) == {"Bearer T1"}
    assert key["private_key"][40:80] not in repr(store)


@both_transports
def test_google_default_is_what_the_environment_names(
    server: Google, transport: str, key_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", key_file)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "ours")
    put(opened(transport, token="google_default", endpoint_url=server.url))
    assert set(server.storage) == {"Bearer T1"}


def test_without_a_token_the_application_default_credentials_sign(
    server: Google, key_file: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By TLS: at an address with plain HTTP nobody signs in unless a token is named."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", key_file)
    tls = Tls.make(tmp_path_factory.mktemp("tls"))
    with Google(tls) as secured:
        put(opened("obstore", endpoint_url=secured.url, ca_file=tls.ca_file))
        assert secured.storage == ["Bearer T1"]


@pytest.mark.parametrize("token", ["/nowhere/key.json", "{}", "{not json"])
def test_a_key_that_cannot_be_used_is_refused(token: str) -> None:
    for transport in ("obstore", "fsspec"):
        with pytest.raises(Config):
            opened(transport, token=token)


def test_tokens_that_expire_in_the_midst_are_followed_by_the_next_ones(server: Google, key_file: str) -> None:
    """traps.md, Object stores 5."""
    server.seconds = 0
    store = opened("obstore", token=key_file, endpoint_url=server.url)
    put(store)
    put(store)
    first, second = server.storage
    assert first != second


@both_transports
def test_tokens_that_last_are_asked_for_once(server: Google, transport: str, key_file: str) -> None:
    store = opened(transport, token=key_file, endpoint_url=server.url)
    for _ in range(3):
        put(store)
    assert set(server.storage) == {"Bearer T1"}


def test_a_token_that_cannot_be_had_is_an_error_before_any_object_is_asked_for(
    server: Google, key: dict[str, str], tmp_path: Path
) -> None:
    store = opened("obstore", token=json.dumps({**key, "token_uri": f"{server.url}/gone"}), endpoint_url=server.url)
    with pytest.raises(Config, match="redential"):
        store.get("x")
    assert {request.path for request in server.requests} == {"/gone"}


@both_transports
def test_endpoint_url_is_where_the_requests_go(server: Google, transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Google() as other:
        for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_BASE_URL"):
            monkeypatch.setenv(name, other.url)
        put(opened(transport, endpoint_url=server.url))
        assert server.requests
        assert not other.requests


LEAKS = ["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_APPLICATION_CREDENTIALS"]


@both_transports
@pytest.mark.parametrize("name", [*LEAKS, "GOOGLE_BEARER_TOKEN", "GOOGLE_SKIP_SIGNATURE"])
def test_the_environment_does_not_leak_into_a_store_with_credentials_of_its_own(
    server: Google, transport: str, name: str, key_file: str, private_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = {
        "gcs_base_url": "http://127.0.0.1:9",
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    (tmp_path / "theirs.json").write_text(json.dumps(theirs))
    values = {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(theirs), "GOOGLE_BEARER_TOKEN": "theirs", "GOOGLE_SKIP_SIGNATURE": "true"}
    monkeypatch.setenv(name, values.get(name, str(tmp_path / "theirs.json")))
    put(opened(transport, token=key_file, endpoint_url=server.url))
    assert set(server.storage) == {"Bearer T1"}
    put(opened(transport, token="anon", endpoint_url=server.url))
    assert (server.storage[-1] or "Bearer ").strip() == "Bearer"


@both_transports
def test_a_proxy_is_asked_for_the_whole_address(server: Google, transport: str) -> None:
    put(opened(transport, token="anon", endpoint_url="http://storage.invalid", proxy=server.url))
    assert all(request.target.startswith("http://storage.invalid/") for request in server.requests)


def test_tokens_are_fetched_through_the_proxy_too(server: Google, key: dict[str, str]) -> None:
    token = json.dumps({**key, "token_uri": "http://oauth.invalid/token"})
    put(opened("obstore", token=token, endpoint_url="http://storage.invalid", proxy=server.url))
    assert [urlsplit(request.target).netloc for request in server.requests] == ["oauth.invalid", "storage.invalid"]


def test_ca_file_makes_a_server_with_a_certificate_of_its_own_trusted(tmp_path_factory: pytest.TempPathFactory) -> None:
    tls = Tls.make(tmp_path_factory.mktemp("tls"))
    with Google(tls) as server:
        with pytest.raises(Transfer):
            opened("obstore", token="anon", endpoint_url=server.url).get("x")
        put(opened("obstore", token="anon", endpoint_url=server.url, ca_file=tls.ca_file))
        assert server.objects == {"/bucket/t/x": b"hello"}
        with pytest.raises(Config, match="ca_file"):
            opened("fsspec", token="anon", endpoint_url=server.url, ca_file=tls.ca_file)


@both_transports
def test_timeout_ends_a_read_that_makes_no_progress(transport: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(Transfer) as caught:
            opened(transport, endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2).get("x")
        assert caught.value.transient


def test_requester_pays_and_project_say_who_pays_for_each_request(gcs: Any) -> None:
    bucket = f"pays-{uuid.uuid4().hex[:12]}"
    gcs.make_bucket(bucket)
    with FaultProxy(gcs.endpoint_url) as proxy:
        store = opened("auto", f"gs://{bucket}/t", endpoint_url=proxy.endpoint_url, requester_pays=True, project="ours")
        assert transport_of(store) == "fsspec"
        put(store)
        assert store.get("x") == b"hello"
        assert [info.path for info in store.list()] == ["x"]
        assert proxy.requests
        assert not [request.target for request in proxy.requests if "userProject=ours" not in request.target]


def test_a_project_alone_does_not_cost_obstore(server: Google) -> None:
    store = opened("auto", endpoint_url=server.url, project="ours")
    assert transport_of(store) == "obstore"
    put(store)


@both_transports
def test_fsspecs_own_configuration_gives_credentials_where_the_store_names_none(
    server: Google, transport: str, key_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.config import conf

    monkeypatch.setitem(conf, "gs", {"token": key_file, "endpoint_url": server.url})
    put(opened(transport))
    assert set(server.storage) == {"Bearer T1"}


@pytest.mark.parametrize(
    "options", [{"requester_pays": True}, {"default_location": "EU"}, {"token": "cache"}], ids=lambda options: next(iter(options))
)
def test_obstore_refuses_by_name_what_it_cannot_do(server: Google, options: dict[str, object]) -> None:
    with pytest.raises(Config, match=next(iter(options))):
        opened("obstore", endpoint_url=server.url, **options)


def test_auto_says_that_fsspec_does_it(server: Google, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="lakehouse_connectors.gcs"):
        store = opened("auto", endpoint_url=server.url, default_location="EU")
    assert transport_of(store) == "fsspec"
    assert "default_location" in caplog.text
    put(store)


def test_transport_decides_where_both_can(server: Google) -> None:
    found = [transport_of(opened(transport, endpoint_url=server.url)) for transport in ("auto", "obstore", "fsspec")]
    assert found == ["obstore", "obstore", "fsspec"]


def test_gcsfs_takes_a_key_as_a_table() -> None:
    assert spellings.gcs({"token": {"type": "x"}}) == {"token": '{"type": "x"}'}
    assert spellings.gcs({"token": "anon", "project": "p"}) == {"token": "anon", "project": "p"}


def test_storage_class_is_sent_with_what_is_written(server: Google) -> None:
    store = opened("auto", endpoint_url=server.url, storage_class="NEARLINE")
    assert transport_of(store) == "obstore"
    put(store)
    store.put("large", (bytes(1 << 20) for _ in range(9)), size=9 << 20)
    made = [request for request in server.of("PUT") if not request.query] + server.of("POST", uploads=None)
    assert [request.headers["x-goog-storage-class"] for request in made] == ["NEARLINE", "NEARLINE"]
    with pytest.raises(Config, match="storage_class"):
        opened("fsspec", endpoint_url=server.url, storage_class="NEARLINE")
