"""Every option of an S3 store, by what arrives at a server: with obstore and with s3fs."""

from __future__ import annotations

import json
import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.connect import open_store
from lakehouse.errors import Config, NotFound, Transfer
from lakehouse.retry import RetryingStore
from lakehouse.settings import Settings, StoreSettings
from lakehouse.store import Store
from lakehouse_connectors import spellings
from tests.storage.recorder import Recorder, Request, Tls

SECRET = "do-not-show-me-16"
KEYS: dict[str, object] = {"key": "OURKEY", "secret": SECRET}
LARGE = 9 << 20
both_transports = pytest.mark.parametrize("transport", ["obstore", "fsspec"])
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly with raw bytes:ResourceWarning")


def opened(transport: str = "auto", url: str = "s3://bucket/t", /, **options: object) -> Store:
    named = StoreSettings("place", url, transport=transport, options=options)  # type: ignore[arg-type]
    return open_store("place:", Settings(stores={"place": named}), retries=0)


def transport_of(store: Store) -> str:
    assert isinstance(store, RetryingStore)
    return type(store.inner).__name__.removesuffix("Store").lower()


@pytest.fixture
def server() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of AWS's configuration files, empty, and no metadata service."""
    folder = tmp_path / "aws"
    folder.mkdir()
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return folder


def put(store: Store, data: bytes = b"hello") -> None:
    assert store.put("x", data, size=len(data)).size == len(data)


def put_large(store: Store) -> None:
    """In parts, with either transport."""
    store.put("large", (bytes(1 << 20) for _ in range(9)), size=LARGE)


@both_transports
def test_endpoint_url_is_where_the_requests_go_with_the_bucket_in_the_path(server: Recorder, transport: str) -> None:
    put(opened(transport, endpoint_url=server.url, **KEYS))
    assert server.objects == {"/bucket/t/x": b"hello"}
    assert server.of("PUT")[0].headers["host"] == f"127.0.0.1:{server.port}"


@both_transports
def test_key_and_secret_sign_the_requests(server: Recorder, transport: str) -> None:
    put(opened(transport, endpoint_url=server.url, **KEYS))
    assert {request.access_key for request in server.requests} == {"OURKEY"}
    assert not [request for request in server.requests if "x-amz-security-token" in request.headers]


@both_transports
def test_token_is_the_session_token_and_is_signed(server: Recorder, transport: str) -> None:
    put(opened(transport, endpoint_url=server.url, token="our-session", **KEYS))
    (request,) = server.of("PUT")
    assert request.headers["x-amz-security-token"] == "our-session"
    assert "x-amz-security-token" in request.signed_headers


@both_transports
def test_a_session_token_alone_is_refused(transport: str) -> None:
    with pytest.raises(Config, match="go together"):
        opened(transport, token="our-session")


@both_transports
def test_anon_sends_no_signature(server: Recorder, transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENVKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    put(opened(transport, endpoint_url=server.url, anon=True))
    assert not [request for request in server.requests if "authorization" in request.headers]


@both_transports
def test_region_is_signed_for(server: Recorder, transport: str) -> None:
    put(opened(transport, endpoint_url=server.url, region="eu-north-7", **KEYS))
    assert "/eu-north-7/s3/aws4_request" in server.of("PUT")[0].headers["authorization"]


@pytest.fixture
def any_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names below ``s3.test`` lead to this machine, for Python's clients. (obstore's are shown by the proxy.)"""
    ask = socket.getaddrinfo

    def answer(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return ask("127.0.0.1" if str(name).endswith("s3.test") else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.mark.parametrize(("path_style", "host", "path"), [(True, "s3.test", "/bucket/t/x"), (False, "bucket.s3.test", "/t/x")])
@both_transports
def test_path_style_says_where_the_bucket_stands(
    server: Recorder, any_host: None, transport: str, path_style: bool, host: str, path: str
) -> None:
    """Through the server as a proxy, which is asked for the address that the client would go to."""
    put(opened(transport, endpoint_url=f"http://s3.test:{server.port}", path_style=path_style, proxy=server.url, **KEYS))
    (request,) = server.of("PUT")
    assert request.headers["host"] == f"{host}:{server.port}"
    assert request.path == path


@both_transports
def test_a_proxy_is_asked_for_the_whole_address(server: Recorder, transport: str) -> None:
    store = opened(transport, endpoint_url="http://storage.invalid", path_style=True, proxy=server.url, **KEYS)
    put(store)
    assert [request.target for request in server.of("PUT")] == ["http://storage.invalid/bucket/t/x"]
    assert store.get("x") == b"hello"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Tls.make(tmp_path_factory.mktemp("tls"))


@both_transports
def test_ca_file_makes_a_server_with_a_certificate_of_its_own_trusted(tls: Tls, transport: str) -> None:
    with Recorder(tls) as server:
        with pytest.raises(Transfer):
            opened(transport, endpoint_url=server.url, path_style=True, **KEYS).get("x")
        put(opened(transport, endpoint_url=server.url, path_style=True, ca_file=tls.ca_file, **KEYS))
        assert server.objects == {"/bucket/t/x": b"hello"}


@both_transports
def test_timeout_ends_a_read_that_makes_no_progress(transport: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(Transfer) as caught:
            opened(transport, endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2, **KEYS).get("x")
        assert caught.value.transient


def test_provider_says_what_a_service_promises(server: Recorder) -> None:
    assert opened(endpoint_url=server.url, provider="seaweedfs", **KEYS).traits.confirms_put
    assert not opened(endpoint_url=server.url, **KEYS).traits.confirms_put


def profile(folder: Path, name: str = "prod", **keys: str) -> None:
    lines = [f"[profile {name}]", *(f"{key} = {value}" for key, value in keys.items())]
    (folder / "config").write_text("\n".join(lines) + "\n", encoding="utf-8")


@both_transports
def test_a_profile_gives_keys_a_region_and_an_endpoint(server: Recorder, aws: Path, transport: str) -> None:
    keys = {"aws_access_key_id": "PROFILEKEY", "aws_secret_access_key": SECRET}
    profile(aws, **keys, region="eu-west-9", endpoint_url=server.url)
    put(opened(transport, profile="prod"))
    (request,) = server.of("PUT")
    assert request.access_key == "PROFILEKEY"
    assert "/eu-west-9/" in request.headers["authorization"]


def test_a_profiles_services_section_names_the_endpoint_of_s3(server: Recorder, aws: Path) -> None:
    keys = f"aws_access_key_id = PROFILEKEY\naws_secret_access_key = {SECRET}\nservices = ours\nendpoint_url = http://127.0.0.1:1"
    (aws / "config").write_text(f"[profile prod]\n{keys}\n[services ours]\ns3 =\n  endpoint_url = {server.url}\n")
    put(opened(profile="prod"))
    assert server.objects


def test_a_profile_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(Config, match="ProfileNotFound"):
        opened(profile="nobody")


def test_a_profile_beats_the_keys_of_the_environment(server: Recorder, aws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENVKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-somebody-else")
    profile(aws, aws_access_key_id="PROFILEKEY", aws_secret_access_key=SECRET)
    put(opened(profile="prod", endpoint_url=server.url))
    (request,) = server.of("PUT")
    assert (request.access_key, request.headers.get("x-amz-security-token")) == ("PROFILEKEY", None)


def expiring(folder: Path, seconds: int) -> None:
    """A profile whose program gives KEY1, KEY2, …, each good for ``seconds``; then it fails, once ``stop`` is there."""
    program = folder / "keys.py"
    program.write_text(
        "import json, pathlib, sys\n"
        "from datetime import UTC, datetime, timedelta\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "if (folder / 'stop').exists(): sys.exit('no more keys')\n"
        "count = len(list(folder.glob('given-*'))) + 1\n"
        "(folder / f'given-{count}').touch()\n"
        f"end = (datetime.now(UTC) + timedelta(seconds={seconds})).isoformat()\n"
        f"keys = {{'Version': 1, 'AccessKeyId': f'KEY{{count}}', 'SecretAccessKey': {SECRET!r}, 'SessionToken': f'T{{count}}'}}\n"
        "print(json.dumps({**keys, 'Expiration': end}))\n",
        encoding="utf-8",
    )
    profile(folder, credential_process=f"{sys.executable} {program}")


@both_transports
def test_credentials_that_expire_in_the_midst_are_followed_by_the_next_ones(server: Recorder, aws: Path, transport: str) -> None:
    """traps.md, Object stores 5."""
    expiring(aws, seconds=20)
    store = opened(transport, profile="prod", endpoint_url=server.url)
    put(store)
    put(store)
    puts = server.of("PUT")
    first, second = (int(str(request.access_key).removeprefix("KEY")) for request in puts)
    assert second > first
    assert [request.headers["x-amz-security-token"] for request in puts] == [f"T{first}", f"T{second}"]


def test_credentials_that_last_are_asked_for_once(server: Recorder, aws: Path) -> None:
    expiring(aws, seconds=3600)
    store = opened(profile="prod", endpoint_url=server.url)
    for _ in range(3):
        put(store)
    assert {request.access_key for request in server.requests} == {"KEY1"}


@both_transports
def test_credentials_that_cannot_be_renewed_are_an_error_without_a_second_try(
    server: Recorder, aws: Path, transport: str
) -> None:
    expiring(aws, seconds=20)
    store = opened(transport, profile="prod", endpoint_url=server.url)
    put(store)
    (aws / "stop").touch()
    count = len(server.requests)
    with pytest.raises(Config, match="redential") as caught:
        store.get("x")
    assert len(server.requests) == count
    assert SECRET not in str(caught.value)


ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "ENVKEY",
    "AWS_SECRET_ACCESS_KEY": "env-secret-of-16",
    "AWS_SESSION_TOKEN": "env-token",
    "AWS_SKIP_SIGNATURE": "true",
    "AWS_REQUEST_PAYER": "requester",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    "AWS_UNSIGNED_PAYLOAD": "true",
    "AWS_S3_EXPRESS": "true",
    "AWS_PROFILE": "nobody",
}


@both_transports
def test_the_environment_does_not_leak_into_a_store_with_keys_of_its_own(
    server: Recorder, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Recorder() as other:
        for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
            monkeypatch.setenv(name, other.url)
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        store = opened(transport, endpoint_url=server.url, **KEYS)
        put(store)
        assert store.get("x") == b"hello"
        assert not other.requests
    assert {request.access_key for request in server.requests} == {"OURKEY"}
    for request in server.requests:
        assert not {"x-amz-security-token", "x-amz-request-payer"} & set(request.headers)


@both_transports
def test_keys_of_its_own_go_to_amazon_whatever_endpoint_the_environment_names(
    server: Recorder, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy is told where they would go."""
    with Recorder() as other:
        monkeypatch.setenv("AWS_ENDPOINT_URL", other.url)
        with pytest.raises(Transfer):
            opened(transport, proxy=server.url, region="eu-west-1", **KEYS).get("x")
        assert not other.requests
    assert {request.target for request in server.of("CONNECT")} == {"bucket.s3.eu-west-1.amazonaws.com:443"}


@pytest.mark.parametrize("name", ["AWS_SERVER_SIDE_ENCRYPTION", "AWS_SSE_KMS_KEY_ID", "AWS_CHECKSUM_ALGORITHM"])
def test_what_obstore_alone_would_take_from_the_environment_is_kept_from_the_store(
    server: Recorder, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, "aws:kms" if "KMS" not in name and "SSE" in name else "SHA256")
    with caplog.at_level(logging.DEBUG, logger="lakehouse_connectors.s3"):
        store = opened(endpoint_url=server.url, **KEYS)
    assert name in caplog.text
    put(store)
    sent = set(server.of("PUT")[0].headers)
    assert not {"x-amz-server-side-encryption", "x-amz-checksum-sha256"} & sent
    with pytest.raises(Config, match=name):
        opened("obstore", endpoint_url=server.url, **KEYS)


@both_transports
def test_two_servers_of_one_bucket_name_are_two_stores(server: Recorder, transport: str) -> None:
    with Recorder() as other:
        ours = StoreSettings("ours", "s3://bucket/t", transport=transport, options={**KEYS, "endpoint_url": server.url})  # type: ignore[arg-type]
        theirs = StoreSettings(
            "theirs",
            "s3://bucket/t",
            transport=transport,  # type: ignore[arg-type]
            options={"key": "THEIRKEY", "secret": SECRET, "endpoint_url": other.url},
        )
        settings = Settings(stores={"ours": ours, "theirs": theirs})
        first, second = open_store("ours:", settings), open_store("theirs:", settings)
        put(first, b"1")
        put(second, b"22")
        assert (first.get("x"), second.get("x")) == (b"1", b"22")
        assert {request.access_key for request in server.requests} == {"OURKEY"}
        assert {request.access_key for request in other.requests} == {"THEIRKEY"}


@both_transports
def test_fsspecs_own_configuration_gives_credentials_where_the_store_names_none(
    server: Recorder, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.config import conf

    monkeypatch.setitem(conf, "s3", {"key": "CONFKEY", "secret": SECRET, "endpoint_url": server.url})
    put(opened(transport))
    put(opened(transport, endpoint_url=server.url, **KEYS))
    assert [request.access_key for request in server.of("PUT")] == ["CONFKEY", "OURKEY"]


def puts_of(server: Recorder) -> list[Request]:
    """The requests that make objects: whole puts, and the beginnings of uploads in parts."""
    return [request for request in server.of("PUT") if not request.query] + server.of("POST", uploads=None)


ENCRYPTION = "x-amz-server-side-encryption"
PROVIDER_OPTIONS: list[tuple[dict[str, object], dict[str, str]]] = [
    ({"sse_kms_key_id": "key-7"}, {ENCRYPTION: "aws:kms", f"{ENCRYPTION}-aws-kms-key-id": "key-7"}),
    ({"storage_class": "STANDARD_IA"}, {"x-amz-storage-class": "STANDARD_IA"}),
    ({"acl": "bucket-owner-full-control"}, {"x-amz-acl": "bucket-owner-full-control"}),
]


@pytest.mark.parametrize("transport", ["auto", "fsspec"])
@pytest.mark.parametrize(("options", "headers"), PROVIDER_OPTIONS, ids=lambda value: next(iter(value)))
def test_what_objects_are_written_with_is_sent_and_signed(
    server: Recorder, transport: str, options: dict[str, object], headers: dict[str, str]
) -> None:
    store = opened(transport, endpoint_url=server.url, **KEYS, **options)
    put(store)
    put_large(store)
    whole, parts = puts_of(server)
    for request in (whole, parts):
        assert headers.items() <= request.headers.items()
        assert set(headers) <= request.signed_headers
    assert server.objects["/bucket/t/large"] == bytes(LARGE)


@both_transports
def test_requester_pays_is_said_with_every_request(server: Recorder, transport: str) -> None:
    store = opened(transport, endpoint_url=server.url, requester_pays=True, **KEYS)
    put(store)
    put_large(store)
    assert store.get("x") == b"hello"
    assert store.get("large", start=5, end=9, if_match=store.head("large").etag) == bytes(4)
    for request in server.requests:
        assert request.headers.get("x-amz-request-payer") == "requester", f"{request.method} {request.target}"
        assert "x-amz-request-payer" in request.signed_headers


def test_key_and_class_go_through_obstore(server: Recorder) -> None:
    options: dict[str, object] = {"sse_kms_key_id": "key-7", "storage_class": "STANDARD_IA"}
    assert transport_of(opened("auto", endpoint_url=server.url, **KEYS, **options)) == "obstore"


@pytest.mark.parametrize("name", ["acl", "version_aware"])
def test_obstore_refuses_by_name_what_it_cannot_do_and_auto_says_that_fsspec_does_it(
    server: Recorder, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, object] = {"endpoint_url": server.url, **KEYS, name: {"acl": "private"}.get(name, True)}
    with pytest.raises(Config, match=name):
        opened("obstore", **options)
    with caplog.at_level(logging.DEBUG, logger="lakehouse_connectors.s3"):
        assert transport_of(opened("auto", **options)) == "fsspec"
    assert name in caplog.text
    assert SECRET not in caplog.text


def test_transport_decides_where_both_can(server: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    options: dict[str, object] = {"endpoint_url": server.url, **KEYS}
    with caplog.at_level(logging.DEBUG, logger="lakehouse_connectors.s3"):
        found = [transport_of(opened(transport, **options)) for transport in ("auto", "obstore", "fsspec")]
    assert found == ["obstore", "obstore", "fsspec"]
    assert not caplog.records


def test_an_unknown_option_goes_to_fsspec_as_it_is(server: Recorder) -> None:
    store = opened(endpoint_url=server.url, max_concurrency=3, config_kwargs={"user_agent_extra": "our-team"}, **KEYS)
    assert isinstance(store, RetryingStore)
    assert getattr(store.inner, "_fs").max_concurrency == 3  # noqa: B009 - FsspecStore's own
    put(store)
    assert "our-team" in server.of("PUT")[0].headers["user-agent"]


def test_an_option_that_s3fs_does_not_know_is_refused() -> None:
    with pytest.raises(Config, match="s3fs"):
        opened(max_concurrency=0, **KEYS)


SPELLINGS: list[tuple[dict[str, object], dict[str, object]]] = [
    ({"username": "a", "password": "b"}, {"key": "a", "secret": "b"}),
    ({"use_ssl": True}, {}),
    ({"use_ssl": False}, {"use_ssl": False}),
    (
        {"client_kwargs": {"endpoint_url": "http://h", "region_name": "r", "verify": "/ca.pem", "aws_access_key_id": "k"}},
        {"endpoint_url": "http://h", "region": "r", "ca_file": "/ca.pem", "key": "k"},
    ),
    ({"client_kwargs": {"verify": False}}, {"client_kwargs": {"verify": False}}),
    ({"client_kwargs": {"verify": True}}, {}),
    ({"client_kwargs": {"region_name": "theirs"}, "region": "ours"}, {"region": "ours"}),
    ({"config_kwargs": {"proxies": {"https": "http://p"}}}, {"proxy": "http://p"}),
    (
        {"config_kwargs": {"proxies": {"http": "http://p", "https": "http://q"}}},
        {"config_kwargs": {"proxies": {"http": "http://p", "https": "http://q"}}},
    ),
    ({"config_kwargs": {"s3": {"addressing_style": "virtual"}, "tcp_keepalive": True}},
     {"path_style": False, "config_kwargs": {"tcp_keepalive": True}}),
    ({"config_kwargs": {"s3": {"addressing_style": "path"}}}, {"path_style": True}),
    ({"s3_additional_kwargs": {"StorageClass": "GLACIER", "ACL": "private", "RequestPayer": "requester"}},
     {"storage_class": "GLACIER", "acl": "private", "requester_pays": True}),
    ({"s3_additional_kwargs": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"}}, {"sse_kms_key_id": "k"}),
    ({"s3_additional_kwargs": {"ServerSideEncryption": "AES256"}}, {"s3_additional_kwargs": {"ServerSideEncryption": "AES256"}}),
]  # fmt: skip


@pytest.mark.parametrize(("theirs", "ours"), SPELLINGS, ids=str)
def test_s3fs_spellings_are_ours_where_they_mean_the_same(theirs: dict[str, object], ours: dict[str, object]) -> None:
    before = json.dumps(theirs)
    assert spellings.s3(theirs) == ours
    assert json.dumps(theirs) == before


_WORDS = st.sampled_from(["http://h", "private", "requester", "aws:kms", "AES256", "path", "x"])
_TABLES = {
    "client_kwargs": st.dictionaries(st.sampled_from(["endpoint_url", "region_name", "aws_session_token"]), _WORDS)
    | st.fixed_dictionaries({"verify": st.booleans() | _WORDS}),
    "config_kwargs": st.fixed_dictionaries(
        {}, optional={"proxies": st.dictionaries(st.sampled_from(["http", "https"]), _WORDS), "tcp_keepalive": st.booleans()}
    ),
    "s3_additional_kwargs": st.dictionaries(
        st.sampled_from(["StorageClass", "ACL", "SSEKMSKeyId", "ServerSideEncryption", "RequestPayer"]), _WORDS
    ),
}
OPTIONS = st.fixed_dictionaries({}, optional={**_TABLES, "region": _WORDS, "acl": _WORDS, "max_concurrency": st.integers()})


@given(OPTIONS)
def test_what_is_in_our_spelling_stays_as_it_is_and_an_option_of_its_own_is_never_lost(options: dict[str, Any]) -> None:
    found = spellings.s3(options)
    assert spellings.s3(found) == found
    for name in ("region", "acl", "max_concurrency"):
        if name in options:
            assert found[name] == options[name]
    for name in _TABLES:
        left = found.get(name, {})
        assert isinstance(left, dict)
        assert left.items() <= options.get(name, {}).items()


@pytest.mark.parametrize("options", [{"key": "a", "username": "b"}, {"secret": "a", "password": "b"}, {"client_kwargs": "x"}])
def test_spellings_that_contradict_each_other_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(Config):
        spellings.s3(options)


def test_s3fs_spellings_reach_obstore(server: Recorder) -> None:
    client = {"endpoint_url": server.url, "region_name": "eu-north-7"}
    store = opened("obstore", username="OURKEY", password=SECRET, client_kwargs=client)
    put(store)
    assert server.of("PUT")[0].access_key == "OURKEY"
    assert "/eu-north-7/" in server.of("PUT")[0].headers["authorization"]


@both_transports
def test_options_that_stay_in_s3fs_tables_are_joined_with_ours(server: Recorder, transport: str) -> None:
    encryption = {"s3_additional_kwargs": {"ServerSideEncryption": "AES256"}, "config_kwargs": {"tcp_keepalive": True}}
    put(opened("auto" if transport == "obstore" else transport, endpoint_url=server.url, acl="private", **KEYS, **encryption))
    headers = server.of("PUT")[0].headers
    assert (headers["x-amz-server-side-encryption"], headers["x-amz-acl"]) == ("AES256", "private")


@both_transports
def test_an_archived_object_is_named_and_not_tried_again(server: Recorder, transport: str) -> None:
    store = opened(transport, endpoint_url=server.url, **KEYS)
    put(store)
    server.refuse(403, b"<Error><Code>InvalidObjectState</Code><StorageClass>GLACIER</StorageClass></Error>")
    with pytest.raises(Transfer, match=r"s3://bucket/t/x: the object is archived; restore it first") as caught:
        store.get("x")
    assert not caught.value.transient
    assert len(server.of("GET")) == 1


@both_transports
def test_moto_refuses_an_object_of_storage_class_glacier(moto: Any, transport: str) -> None:
    bucket = f"archive-{transport}"
    moto.make_bucket(bucket)
    options: dict[str, object] = {
        "endpoint_url": moto.endpoint_url,
        "key": moto.key,
        "secret": moto.secret,
        "region": "us-east-1",
    }
    put(opened("auto", f"s3://{bucket}/t", storage_class="GLACIER", **options))
    store = opened(transport, f"s3://{bucket}/t", **options)
    assert store.head("x").size == 5
    with pytest.raises(Transfer, match="archived; restore it first"):
        store.get("x")


def test_secrets_are_in_no_representation(server: Recorder) -> None:
    for transport in ("obstore", "fsspec"):
        store = opened(transport, endpoint_url=server.url, token="our-session-token", **KEYS)
        with pytest.raises(NotFound) as caught:
            store.get("gone")
        for text in (repr(store), str(caught.value)):
            assert SECRET not in text
            assert "our-session-token" not in text
