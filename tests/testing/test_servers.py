"""The doubles are what the other tests stand on: each is held here to what those tests believe of it, by clients not ours."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError, PreconditionError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from lakehouse.errors import Config
from lakehouse.testing.servers import (
    AzuriteServer,
    FaultProxy,
    GcsServer,
    MotoServer,
    Request,
    Rule,
    SeaweedServer,
    free_ports,
)
from lakehouse.testing.servers.azurite import install
from lakehouse.testing.servers.process import package_file, script

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

BUCKET = "doubles"
ODD_KEYS = ["a b/c+d", "p%20q%2Fr", "x#y", "q?z=1&b=2", "ünï/日本", "e&<>'\"x", "a=1/b,c;d", "t~e.x$", "plus+sp ace%25"]
PART_BYTES = 5 << 20
CLIENT: ClientConfig = {"allow_http": True, "timeout": timedelta(seconds=60)}
NO_RETRIES: RetryConfig = {"max_retries": 0, "retry_timeout": timedelta(seconds=60)}

Open = Callable[[str | None], ObjectStore]


def s3_store(server: SeaweedServer | MotoServer, endpoint: str | None = None, *, secret: str | None = None) -> S3Store:
    return S3Store(
        BUCKET,
        endpoint=endpoint or server.endpoint_url,
        access_key_id=server.key,
        secret_access_key=secret or server.secret,
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options=CLIENT,
        retry_config=NO_RETRIES,
    )


def azure_store(server: AzuriteServer, endpoint: str | None = None, *, key: str | None = None) -> AzureStore:
    return AzureStore(
        BUCKET,
        account_name=server.account_name,
        account_key=key or server.account_key,
        endpoint=endpoint or server.endpoint,
        client_options=CLIENT,
        retry_config=NO_RETRIES,
    )


def gcs_store(server: GcsServer, endpoint: str | None = None) -> GCSStore:
    account = {**json.loads(server.service_account_key), "gcs_base_url": endpoint or server.endpoint_url}
    return GCSStore(
        BUCKET,
        service_account_key=json.dumps(account),
        client_options=CLIENT,
        retry_config=NO_RETRIES,
    )


@pytest.fixture(params=["seaweed", "moto", "azurite", "gcs"])
def double(request: pytest.FixtureRequest) -> tuple[str, Open]:
    """A server's address, and what opens its bucket at that address or at a proxy's."""
    server = request.getfixturevalue(request.param)
    if isinstance(server, AzuriteServer):
        server.make_container(BUCKET)
        return server.endpoint, lambda endpoint: azure_store(server, endpoint)
    if isinstance(server, GcsServer):
        server.make_bucket(BUCKET)
        return server.endpoint_url, lambda endpoint: gcs_store(server, endpoint)
    server.make_bucket(BUCKET)
    return server.endpoint_url, lambda endpoint: s3_store(server, endpoint)


@pytest.fixture
def store(double: tuple[str, Open]) -> ObjectStore:
    return double[1](None)


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


def content(store: ObjectStore, key: str) -> bytes:
    return bytes(obstore.get(store, key).bytes())


def creates(store: ObjectStore, key: str, data: bytes) -> bool:
    try:
        obstore.put(store, key, data, mode="create")
    except AlreadyExistsError:
        return False
    return True


# All doubles


def test_a_race_of_sixteen_creates_has_one_winner_whose_bytes_stay(
    store: ObjectStore, key: str, request: pytest.FixtureRequest
) -> None:
    """One race on SeaweedFS, which takes seconds for each; none on moto, which looks first and then writes."""
    if "moto" in request.node.name:
        pytest.skip("moto's creates are not atomic")
    writers = [b"%d" % number for number in range(16)]
    for round_number in range(1 if "seaweed" in request.node.name else 5):
        start = threading.Barrier(len(writers))

        def write(data: bytes, path: str = f"{key}/{round_number}", start: threading.Barrier = start) -> bytes | None:
            start.wait(10)
            return data if creates(store, path, data) else None

        with ThreadPoolExecutor(len(writers)) as pool:
            winners = [data for data in pool.map(write, writers) if data is not None]
        assert winners == [content(store, f"{key}/{round_number}")]


def test_odd_keys_come_back_with_their_names_and_bytes(store: ObjectStore, key: str) -> None:
    for odd in ODD_KEYS:
        obstore.put(store, f"{key}/{odd}", odd.encode())
    assert {odd: content(store, f"{key}/{odd}") for odd in ODD_KEYS} == {odd: odd.encode() for odd in ODD_KEYS}
    listed = [item["path"] for page in obstore.list(store, key) for item in page]
    assert sorted(listed) == sorted(f"{key}/{odd}" for odd in ODD_KEYS)


def test_a_listing_starts_after_an_offset(store: ObjectStore, key: str) -> None:
    for name in ("a", "b", "c"):
        obstore.put(store, f"{key}/{name}", b"")
    listed = [item["path"] for page in obstore.list(store, key, offset=f"{key}/a") for item in page]
    assert sorted(listed) == [f"{key}/b", f"{key}/c"]


def test_parts_become_one_object(store: ObjectStore, key: str) -> None:
    data = os.urandom(2 * PART_BYTES + 7)
    obstore.put(store, key, data, use_multipart=True, chunk_size=PART_BYTES)
    assert content(store, key) == data
    assert bytes(obstore.get_range(store, key, start=PART_BYTES - 1, length=3)) == data[PART_BYTES - 1 : PART_BYTES + 2]


def test_an_object_that_changed_is_not_read_by_its_old_etag(store: ObjectStore, key: str) -> None:
    obstore.put(store, key, b"one")
    old = obstore.head(store, key)["e_tag"]
    assert old is not None
    assert bytes(obstore.get(store, key, options={"if_match": old}).bytes()) == b"one"
    obstore.put(store, key, b"two")
    with pytest.raises(PreconditionError):
        obstore.get(store, key, options={"if_match": old})


def test_signed_requests_pass_through_the_proxy_and_are_counted(double: tuple[str, Open], key: str) -> None:
    """S3's signatures cover the Host header, which is the proxy's."""
    upstream, opened = double
    with FaultProxy(upstream) as proxy:
        store = opened(proxy.endpoint_url)
        obstore.put(store, f"{key}/a b", b"1")
        assert content(store, f"{key}/a b") == b"1"
        obstore.head(store, f"{key}/a b")
        assert [(request.method, request.status // 100) for request in proxy.requests] == [("PUT", 2), ("GET", 2), ("HEAD", 2)]
        assert all(request.target.endswith(f"/{BUCKET}/{key}/a b") for request in proxy.requests)
        proxy.clear()
        assert proxy.requests == []


@pytest.mark.parametrize("server", ["seaweed", "azurite"])
def test_wrong_credentials_are_refused(server: str, request: pytest.FixtureRequest, key: str) -> None:
    running = request.getfixturevalue(server)
    if isinstance(running, AzuriteServer):
        running.make_container(BUCKET)
        store: ObjectStore = azure_store(running, key=b64encode(bytes(64)).decode())
    else:
        running.make_bucket(BUCKET)
        store = s3_store(running, secret="0" * 40)
    with pytest.raises(PermissionDeniedError):
        obstore.put(store, key, b"1")


def test_two_servers_do_not_take_each_others_credentials(seaweed: SeaweedServer, seaweed_other: SeaweedServer, key: str) -> None:
    seaweed_other.make_bucket(BUCKET)
    with pytest.raises(PermissionDeniedError):
        obstore.put(s3_store(seaweed, seaweed_other.endpoint_url), key, b"1")


# The XML API in front of fake-gcs-server


def ask(url: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """One request that no client had its hands on; the underscores of header names are hyphens."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as connection:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        return reply.status, reply.read()


@pytest.mark.parametrize(
    "headers",
    [{"Content_MD5": b64encode(bytes(16)).decode()}, {"x_goog_hash": "crc32c=AAAAAA=="}, {"x_goog_hash": "md5=AAAA,crc32c=AA=="}],
)
def test_a_wrong_checksum_is_refused_and_nothing_is_stored(gcs: GcsServer, key: str, headers: dict[str, str]) -> None:
    gcs.make_bucket(BUCKET)
    status, body = ask(gcs.endpoint_url, "PUT", f"/{BUCKET}/{key}", b"data", **headers)
    assert (status, b"<Code>BadDigest</Code>" in body) == (400, True)
    assert ask(gcs.endpoint_url, "GET", f"/{BUCKET}/{key}")[0] == 404
    right = b64encode(hashlib.md5(b"data").digest()).decode()
    assert ask(gcs.endpoint_url, "PUT", f"/{BUCKET}/{key}", b"data", Content_MD5=right)[0] == 200


def test_a_body_in_chunks_is_refused_and_never_an_empty_object(gcs: GcsServer, key: str) -> None:
    gcs.make_bucket(BUCKET)
    with (
        closing(http.client.HTTPConnection(urlsplit(gcs.endpoint_url).netloc, timeout=10)) as connection,
        suppress(ConnectionError),
    ):
        connection.request("PUT", f"/{BUCKET}/{key}", iter([b"ab", b"cd"]), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        assert connection.getresponse().status == 411
    assert ask(gcs.endpoint_url, "GET", f"/{BUCKET}/{key}")[0] == 404


def test_an_aborted_upload_leaves_no_object(gcs: GcsServer, key: str) -> None:
    gcs.make_bucket(BUCKET)
    _, begun = ask(gcs.endpoint_url, "POST", f"/{BUCKET}/{key}?uploads")
    upload = quote(begun.partition(b"<UploadId>")[2].partition(b"</UploadId>")[0].decode(), safe="")
    assert ask(gcs.endpoint_url, "PUT", f"/{BUCKET}/{key}?partNumber=1&uploadId={upload}", b"data")[0] == 200
    assert ask(gcs.endpoint_url, "DELETE", f"/{BUCKET}/{key}?uploadId={upload}")[0] == 204
    assert ask(gcs.endpoint_url, "PUT", f"/{BUCKET}/{key}?partNumber=2&uploadId={upload}", b"data")[0] == 404
    assert ask(gcs.endpoint_url, "GET", f"/{BUCKET}/{key}")[0] == 404


def test_both_apis_of_gcs_see_the_same_objects(gcs: GcsServer, key: str) -> None:
    gcs.make_bucket(BUCKET)
    name = f"{key}/ü +%#?"
    obstore.put(gcs_store(gcs), name, b"written by XML")
    path = f"/storage/v1/b/{BUCKET}/o/{quote(name, safe='')}?alt=media"
    assert ask(gcs.endpoint_url, "GET", path) == (200, b"written by XML")


# The proxy that fails on purpose


class Echo(BaseHTTPRequestHandler):
    """Answers with the body that came; in chunks when the path says so."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.arrived.append(body)  # type: ignore[attr-defined]
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"".join(b"%x\r\n%s\r\n" % (1, body[at : at + 1]) for at in range(len(body))) + b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    do_GET = do_POST  # noqa: N815 (http.server names it so)


class EchoServer(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.arrived: list[bytes] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A request that the proxy cuts ends here: nothing is printed."""


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    with EchoServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: EchoServer) -> Iterator[FaultProxy]:
    with FaultProxy(f"http://127.0.0.1:{echo.server_port}", seed=7) as running:
        yield running


def post(proxy: FaultProxy, body: bytes = b"0123456789", path: str = "/x") -> tuple[int, bytes]:
    return ask(proxy.endpoint_url, "POST", path, body)


def test_one_connection_carries_many_requests_with_lengths_and_chunks(proxy: FaultProxy) -> None:
    with closing(http.client.HTTPConnection(urlsplit(proxy.endpoint_url).netloc, timeout=10)) as connection:
        connection.connect()
        used = connection.sock
        for path, chunked in (("/x", False), ("/chunked", False), ("/x", True), ("/chunked", True)):
            headers = {"Transfer-Encoding": "chunked"} if chunked else {}
            body = iter([b"01234", b"56789"]) if chunked else b"0123456789"
            connection.request("POST", path, body, headers, encode_chunked=chunked)
            assert connection.getresponse().read() == b"0123456789"
            assert connection.sock is used
    assert [request.target for request in proxy.requests] == ["/x", "/chunked", "/x", "/chunked"]


def test_a_status_is_answered_n_times_and_the_server_is_not_asked(proxy: FaultProxy, echo: EchoServer) -> None:
    proxy.rules.append(Rule("status", method="POST", path="^/x$", times=2, retry_after=3))
    request = urllib.request.Request(f"{proxy.endpoint_url}/x", b"1", method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    with caught.value as refused:
        assert (refused.code, refused.headers["Retry-After"]) == (503, "3")
    assert post(proxy, path="/other")[0] == 200
    assert [post(proxy)[0] for _ in range(2)] == [503, 200]
    assert echo.arrived == [b"0123456789"] * 2
    assert [seen.status for seen in proxy.requests] == [503, 200, 503, 200]


def test_credentials_expire_from_the_kth_request_on(proxy: FaultProxy) -> None:
    proxy.rules.append(Rule("status", code=403, skip=2, times=None))
    assert [post(proxy)[0] for _ in range(5)] == [200, 200, 403, 403, 403]


def test_chance_is_the_same_for_the_same_seed(echo: EchoServer) -> None:
    outcomes = []
    for _ in range(2):
        with FaultProxy(f"http://127.0.0.1:{echo.server_port}", seed=7) as proxy:
            proxy.rules.append(Rule("status", times=None, chance=0.5))
            outcomes.append([post(proxy)[0] for _ in range(12)])
    assert outcomes[0] == outcomes[1]
    assert set(outcomes[0]) == {200, 503}


def test_a_response_is_cut_after_n_bytes_of_its_body(proxy: FaultProxy) -> None:
    proxy.rules.append(Rule("cut_response", after=4))
    with pytest.raises(http.client.IncompleteRead) as caught:
        post(proxy)
    assert caught.value.partial == b"0123"


def test_a_truncated_answer_looks_whole(proxy: FaultProxy) -> None:
    proxy.rules.append(Rule("truncate", after=4))
    assert post(proxy) == (200, b"0123")


def test_a_request_is_cut_before_the_server_has_it(proxy: FaultProxy, echo: EchoServer) -> None:
    proxy.rules.append(Rule("cut_request", after=4))
    with pytest.raises(ConnectionError):
        post(proxy)
    assert b"0123456789" not in echo.arrived


def test_a_reply_is_lost_after_the_server_has_done_it(proxy: FaultProxy, echo: EchoServer) -> None:
    proxy.rules.append(Rule("lose_reply"))
    with pytest.raises(ConnectionError):
        post(proxy)
    assert echo.arrived == [b"0123456789"]
    assert proxy.requests == [Request("POST", "/x", 0)]


def test_a_stalled_request_is_not_answered_and_does_not_reach_the_server(proxy: FaultProxy, echo: EchoServer) -> None:
    proxy.rules.append(Rule("stall"))
    with closing(http.client.HTTPConnection(urlsplit(proxy.endpoint_url).netloc, timeout=0.2)) as connection:
        connection.request("POST", "/x", b"1")
        with pytest.raises(TimeoutError):
            connection.getresponse()
    assert post(proxy)[0] == 200
    assert echo.arrived == [b"0123456789"]


def test_a_slow_answer_is_whole_and_takes_its_time(proxy: FaultProxy) -> None:
    proxy.rules.append(Rule("slow", bytes_per_second=20_000))
    data, start = os.urandom(6_000), time.monotonic()
    assert post(proxy, data) == (200, data)
    assert time.monotonic() - start > 0.25


def test_a_proxy_closes_while_a_request_stalls(echo: EchoServer) -> None:
    with FaultProxy(f"http://127.0.0.1:{echo.server_port}") as proxy:
        connection = http.client.HTTPConnection(urlsplit(proxy.endpoint_url).netloc, timeout=10)
        connection.request("POST", "/x", b"1")
        assert connection.getresponse().read() == b"1"
        proxy.rules.append(Rule("stall"))
        connection.request("POST", "/x", b"1")
    with closing(connection), pytest.raises(ConnectionError):
        connection.getresponse()


def test_a_proxy_that_closes_at_once_leaves_no_client_waiting(echo: EchoServer) -> None:
    """asyncio orphans what it accepts while a server is being closed; 20 rounds, since half of them met that."""
    for _ in range(20):
        with FaultProxy(f"http://127.0.0.1:{echo.server_port}") as proxy:
            proxy.rules.append(Rule("stall"))
            connection = http.client.HTTPConnection(urlsplit(proxy.endpoint_url).netloc, timeout=10)
            connection.request("POST", "/x", b"1")
        with closing(connection), pytest.raises(ConnectionError):
            connection.getresponse()


# Starting and stopping


def test_a_server_that_stopped_leaves_no_process_and_no_folder() -> None:
    with MotoServer() as server:
        process = server._process
        assert process is not None
        folder = Path(f"/proc/{process.pid}/cwd").readlink() if Path("/proc").is_dir() else None
    assert process.returncode is not None
    assert folder is None or not folder.exists()


def test_what_is_not_installed_is_named_with_how_to_get_it() -> None:
    with pytest.raises(Config, match=r"no-such-program .*lakehouse-portability\[demo\]"):
        script("no-such-program")
    with pytest.raises(Config, match=r"no_such_package .*pip install it"):
        package_file("no_such_package", "x", hint="pip install it")


def test_azurite_is_found_where_a_relative_path_says(
    azurite: AzuriteServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server runs in another folder than the one that the path is relative to."""
    there = install()
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / there.name).symlink_to(there)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAKE_TOOLS", "tools")
    assert install() == tmp_path / "tools" / there.name


def test_free_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20
