"""What obstore's store makes of servers that misbehave: a small one on loopback that answers as it is told."""

from __future__ import annotations

import socketserver
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from lakehouse.connect import Connector, connector
from lakehouse.errors import Config, LakeError, NotFound, Transfer, Unsupported
from lakehouse.obstore_store import ObstoreStore
from lakehouse.sized import MOST_PARTS, PART_BYTES, part_size
from lakehouse.store import Store
from lakehouse.url import parse

SECRET = "do-not-show-me"
OK = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nLast-Modified: Tue, 01 Jan 2030 00:00:00 GMT\r\nConnection: close\r\n'


@dataclass
class Server:
    """Answers each request with ``reply``; ``stall`` holds the connection open after it."""

    reply: bytes = b""
    stall: bool = False
    requests: list[bytes] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    port: int = 0


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = self.rfile.readline()
                if not line:
                    return
                head += line
            told.requests.append(head)
            for line in head.lower().splitlines():
                if line.startswith(b"content-length:"):
                    self.rfile.read(int(line.partition(b":")[2]))
            self.wfile.write(told.reply)
            self.wfile.flush()
            if told.stall:
                told.released.wait(20)

    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Listener(("127.0.0.1", 0), Handler) as listener:
        told.port = listener.server_address[1]
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield told
        told.released.set()
        listener.shutdown()
        thread.join()


def found(scheme: str) -> Connector:
    one = connector(scheme)
    assert one is not None
    return one


def s3(server: Server, **options: object) -> Store:
    settings = {"key": "KEY", "secret": SECRET, "endpoint_url": f"http://127.0.0.1:{server.port}", "timeout": 0.3, **options}
    return found("s3").open(parse("s3://bucket/t"), settings, "auto")


def status(code: str, body: str = "") -> bytes:
    return f"HTTP/1.1 {code}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()


CALLS: dict[str, Callable[[Store], object]] = {
    "get": lambda store: store.get("x"),
    "head": lambda store: store.head("x"),
    "put": lambda store: store.put("x", b"1", size=1),
    "list": lambda store: list(store.list()),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize(
    "code", ["500 Internal Server Error", "502 Bad Gateway", "503 Slow Down", "504 Gateway Timeout", "429 Too Many Requests"]
)
def test_a_busy_server_is_worth_another_try(server: Server, code: str, call: Callable[[Store], object]) -> None:
    server.reply = status(code)
    with pytest.raises(Transfer) as caught:
        call(s3(server))
    assert caught.value.transient
    assert (caught.value.retry_after is not None) == (code[:3] in ("503", "429"))
    assert "s3://bucket/t" in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "stall"),
    [
        (b"", True),
        (b"", False),
        (OK + b"Content-Length: 100\r\n\r\nonly this", False),
        (OK + b"Content-Length: 100\r\n\r\nonly this", True),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nonly\r\n", False),
    ],
    ids=["no answer", "hung up", "cut", "stalled", "cut in chunks"],
)
def test_a_connection_that_breaks_is_worth_another_try(server: Server, reply: bytes, stall: bool) -> None:
    server.reply, server.stall = reply, stall
    began = time.monotonic()
    with pytest.raises(Transfer) as caught:
        s3(server).get("x")
    assert caught.value.transient
    assert time.monotonic() - began < 5


def test_nobody_listening_is_worth_another_try() -> None:
    with pytest.raises(Transfer) as caught:
        s3(Server(port=9)).get("x")
    assert caught.value.transient


def test_a_missing_bucket_is_told_from_a_missing_object(server: Server) -> None:
    server.reply = status("404 Not Found", "<Error><Code>NoSuchBucket</Code></Error>")
    with pytest.raises(Config, match="bucket"):
        s3(server).get("x")
    with pytest.raises(Config, match="bucket"):
        s3(server).head("x")
    server.reply = status("404 Not Found", "<Error><Code>NoSuchKey</Code></Error>")
    with pytest.raises((NotFound, Config)):
        s3(server).get("x")


@pytest.mark.parametrize(
    ("code", "body", "kind"),
    [
        ("403 Forbidden", "<Code>AccessDenied</Code>", Config),
        ("403 Forbidden", "<Code>RequestTimeTooSkewed</Code>", Config),
        ("400 Bad Request", "<Code>ExpiredToken</Code>", Config),
        ("400 Bad Request", "<Code>AuthorizationHeaderMalformed</Code>", Config),
        ("401 Unauthorized", "", Config),
        ("403 Forbidden", "<Code>InvalidObjectState</Code>", Transfer),
        ("409 Conflict", "<Code>ConditionalRequestConflict</Code>", Transfer),
    ],
)
def test_refusals_say_what_to_mend(server: Server, code: str, body: str, kind: type[LakeError]) -> None:
    server.reply = status(code, body)
    with pytest.raises(kind) as caught:
        s3(server).get("x")
    assert "s3://bucket/t/x" in str(caught.value)


def test_a_lost_conditional_put_is_not_called_a_conflict_yet(server: Server) -> None:
    server.reply = status("409 Conflict", "<Code>ConditionalRequestConflict</Code>")
    with pytest.raises(Transfer) as caught:
        s3(server, provider="aws").put("x", b"1", size=1, if_absent=True)
    assert caught.value.transient


@pytest.mark.parametrize("code", ["403 Forbidden", "500 Internal Server Error", "404 Not Found", "418 Teapot"])
def test_a_signature_in_an_address_is_never_shown(server: Server, code: str) -> None:
    options = {
        "account_name": "acc",
        "sas_token": f"?sv=2024&sig={SECRET}",
        "endpoint_url": f"http://127.0.0.1:{server.port}/acc",
    }
    store = found("az").open(parse("az://container/t"), {**options, "timeout": 0.3}, "auto")
    server.reply = status(code, f"denied for sig={SECRET}")
    for call in CALLS.values():
        with pytest.raises(LakeError) as caught:
            call(store)
        assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET.encode() in b"".join(server.requests)
    assert SECRET not in repr(store)


def test_an_empty_range_needs_no_request(server: Server) -> None:
    assert s3(server).get("x", start=5, end=5) == b""
    assert server.requests == []


@pytest.mark.parametrize("key", ["a//b", "a/./b", "..", "a/\n", "/a", "a/", ""])
def test_keys_that_obstore_cannot_address_are_refused_by_name(server: Server, key: str) -> None:
    store = s3(server)
    for call in (store.get, store.head, store.delete, lambda path: store.put(path, b"1", size=1)):
        with pytest.raises(Unsupported, match="fsspec"):
            call(key)
    assert server.requests == []


def test_a_root_with_an_empty_segment_is_refused_by_name(server: Server) -> None:
    options = {"key": "KEY", "secret": SECRET, "endpoint_url": f"http://127.0.0.1:{server.port}"}
    with pytest.raises(Unsupported, match="fsspec"):
        found("s3").open(parse("s3://bucket/a//b"), options, "auto")


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, PART_BYTES * MOST_PARTS, PART_BYTES * MOST_PARTS + 1, 5 << 40])
def test_ten_thousand_parts_suffice(size: int) -> None:
    part = part_size(size)
    assert part * MOST_PARTS >= size
    assert part >= PART_BYTES
    assert part % (1 << 20) == 0


def test_explicit_keys_are_not_mixed_with_the_environments_session_token(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-somebody-else")
    server.reply = status("404 Not Found")
    with pytest.raises((NotFound, Config)):
        s3(server).get("x")
    assert b"of-somebody-else" not in b"".join(server.requests)


def test_keys_of_the_environment_are_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENVKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
    server.reply = OK + b"Content-Length: 2\r\n\r\nhi"
    store = found("s3").open(parse("s3://bucket/t"), {}, "auto")
    assert isinstance(store, ObstoreStore)
    assert store.get("x") == b"hi"
    assert b"Credential=ENVKEY/" in server.requests[0]


def test_a_profile_is_read_by_boto3(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("aws") / "credentials"
    file.write_text(f"[prod]\naws_access_key_id = PROFILEKEY\naws_secret_access_key = {SECRET}\n", encoding="utf-8")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file.with_name("config")))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server.reply = OK + b"Content-Length: 2\r\n\r\nhi"
    options = {"profile": "prod", "endpoint_url": f"http://127.0.0.1:{server.port}"}
    assert found("s3").open(parse("s3://bucket/t"), options, "auto").get("x") == b"hi"
    assert b"Credential=PROFILEKEY/" in server.requests[0]
    with pytest.raises(Config, match="ProfileNotFound"):
        found("s3").open(parse("s3://bucket/t"), {**options, "profile": "nobody"}, "auto")


def test_anonymous_requests_are_not_signed(server: Server) -> None:
    server.reply = OK + b"Content-Length: 2\r\n\r\nhi"
    options = {"anon": True, "endpoint_url": f"http://127.0.0.1:{server.port}"}
    assert found("s3").open(parse("s3://bucket/t"), options, "auto").get("x") == b"hi"
    assert b"authorization" not in server.requests[0].lower()
