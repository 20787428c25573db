"""What copies ask of a service, and what they make of answers that no double gives."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lakehouse.errors import Config, Conflict, Transfer
from lakehouse.store import ObjectInfo
from lakehouse.url import Url, parse
from lakehouse_connectors.azure_copy import AzureCopies
from lakehouse_connectors.gcs_copy import GcsCopies
from lakehouse_connectors.s3 import Provider, provider_of
from lakehouse_connectors.s3_copy import S3Copies


@dataclass(frozen=True)
class Keys:
    key: str
    secret: str
    token: str | None = None


@dataclass(frozen=True)
class Bucket:
    """What the S3 connector hands over, for copies with limits of their own."""

    url: Url
    options: Mapping[str, object]
    endpoint: str | None
    row: Provider
    keys: Keys
    region: str | None = "us-east-1"
    session: Any = None


class Scripted(ThreadingHTTPServer):
    """A server that gives the answers of a script, and notes what it was asked."""

    daemon_threads = True

    def __init__(self, answers: Callable[[str, str], tuple[int, dict[str, str], bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _ScriptedHandler)
        self.answers, self.asked = answers, list[tuple[str, str, dict[str, str]]]()
        self.bodies: list[bytes] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _ScriptedHandler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""

    def _serve(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        self.server.asked.append((self.command, self.path, {name.lower(): text for name, text in self.headers.items()}))
        status, headers, body = self.server.answers(self.command, self.path)
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 (http.server names them so)


@contextlib.contextmanager
def scripted(answers: Callable[[str, str], tuple[int, dict[str, str], bytes]]) -> Iterator[Scripted]:
    with Scripted(answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class TestS3Answers:
    """What no double answers."""

    def _refusal(self, status: int, code: str) -> Exception:
        body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
        with scripted(lambda method, path: (status, {"ETag": '"e"', "Content-Type": "application/xml"}, body)) as server:
            bucket = Bucket(parse("s3://two"), {}, server.url, provider_of(None, "seaweedfs"), Keys("k", "s"))
            with pytest.raises(Exception, match="two") as caught:
                S3Copies(bucket, {"s3": {"addressing_style": "path"}}, {})("s3://one", ObjectInfo("x", 3, '"e"'), "x")
        return caught.value

    def test_an_error_that_comes_with_status_200_is_an_error_worth_another_try(self) -> None:
        failure = self._refusal(200, "InternalError")
        assert isinstance(failure, Transfer)
        assert failure.transient

    def test_a_busy_service_asks_for_patience(self) -> None:
        failure = self._refusal(503, "SlowDown")
        assert isinstance(failure, Transfer)
        assert failure.retry_after is not None

    def test_a_write_that_goes_on_elsewhere_is_worth_another_try(self) -> None:
        failure = self._refusal(409, "ConditionalRequestConflict")
        assert isinstance(failure, Transfer)
        assert failure.transient

    def test_an_archived_object_is_said_to_be_one(self) -> None:
        failure = self._refusal(403, "InvalidObjectState")
        assert isinstance(failure, Transfer)
        assert not failure.transient
        assert "restore" in str(failure)

    def test_a_copy_carries_its_conditions_and_what_goes_with_every_object(self) -> None:
        answer = b"<CopyObjectResult><ETag>&quot;f&quot;</ETag></CopyObjectResult>"
        with scripted(lambda method, path: (200, {"Content-Type": "application/xml"}, answer)) as server:
            bucket = Bucket(
                parse("s3://two"), {"requester_pays": True}, server.url, provider_of(None, "aws"), Keys("k", "s", "t")
            )
            sent = {"StorageClass": "GLACIER_IR", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-1"}
            copies = S3Copies(bucket, {"s3": {"addressing_style": "path"}}, sent)
            made = copies("s3://one/a", ObjectInfo("x y+%", 3, '"e"'), "x")
        assert (made.size, made.etag, made.checksum) == (3, '"f"', None)
        ((method, path, headers),) = server.asked
        assert (method, path) == ("PUT", "/two/x")
        assert {name: text for name, text in headers.items() if name.startswith(("x-amz-", "if-"))}.items() >= {
            "x-amz-copy-source": "one/a/x%20y%2B%25",
            "x-amz-copy-source-if-match": '"e"',
            "if-none-match": "*",
            "x-amz-checksum-algorithm": "SHA256",
            "x-amz-tagging-directive": "REPLACE",
            "x-amz-request-payer": "requester",
            "x-amz-storage-class": "GLACIER_IR",
            "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
            "x-amz-security-token": "t",
        }.items()


class TestGcsRewrite:
    """What fake-gcs-server does not heed: the conditions, and rewrites in several steps."""

    def test_a_rewrite_goes_on_with_its_token_under_both_conditions(self) -> None:
        calls = iter(
            (
                {"done": False, "rewriteToken": "next+1"},
                {"done": True, "resource": {"size": "3", "generation": "8"}},
            )
        )

        def answers(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
            if method == "HEAD":
                return 200, {"ETag": '"e"', "x-goog-generation": "7"}, b""
            return 200, {}, json.dumps(next(calls)).encode()

        with scripted(answers) as server:
            copies = GcsCopies(parse("gs://two/b"), {"endpoint_url": server.url}, lambda: None, generations=True)
            made = copies("gs://one/a", ObjectInfo("x y", 3, "7"), "x y")
        assert (made.path, made.size, made.etag) == ("x y", 3, "8")
        posts = [urllib.parse.urlsplit(path) for method, path, _ in server.asked if method == "POST"]
        assert {post.path for post in posts} == {"/storage/v1/b/one/o/a%2Fx%20y/rewriteTo/b/two/o/b%2Fx%20y"}
        conditions = {"ifSourceGenerationMatch": "7", "ifGenerationMatch": "0"}
        assert [dict(urllib.parse.parse_qsl(post.query)) for post in posts] == [
            conditions,
            {**conditions, "rewriteToken": "next+1"},
        ]

    def test_the_storage_class_of_the_target_goes_with_the_rewrite(self) -> None:
        def answers(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
            if method == "HEAD":
                return 200, {"ETag": '"e"', "x-goog-generation": "7"}, b""
            return 200, {}, b'{"done": true, "resource": {"size": "3", "generation": "7"}}'

        with scripted(answers) as server:
            options = {"endpoint_url": server.url, "storage_class": "NEARLINE"}
            copies = GcsCopies(parse("gs://two"), options, lambda: None, generations=False)
            assert copies("gs://one", ObjectInfo("x", 3, '"e"'), "x").etag == '"e"'
        assert [json.loads(body) for body in server.bodies if body] == [{"storageClass": "NEARLINE"}]

    @pytest.mark.parametrize(("generations", "expected"), [(["7", "7"], Conflict), (["7", "9"], Transfer)])
    def test_a_condition_that_does_not_hold_is_told_apart_by_a_look(
        self, generations: list[str], expected: type[Exception]
    ) -> None:
        looks = iter(generations)

        def answers(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
            if method == "HEAD":
                return 200, {"ETag": '"e"', "x-goog-generation": next(looks)}, b""
            return 412, {}, json.dumps({"error": {"errors": [{"reason": "conditionNotMet"}]}}).encode()

        with scripted(answers) as server:
            copies = GcsCopies(parse("gs://two"), {"endpoint_url": server.url}, lambda: None, generations=True)
            with pytest.raises(expected):
                copies("gs://one", ObjectInfo("x", 3, "7"), "x")

    def test_a_busy_service_is_worth_another_try(self) -> None:
        with scripted(lambda method, path: (503, {}, b"")) as server:
            copies = GcsCopies(parse("gs://two"), {"endpoint_url": server.url}, lambda: None, generations=True)
            with pytest.raises(Transfer) as caught:
                copies("gs://one", ObjectInfo("x", 3, "7"), "x")
        assert caught.value.transient
        assert caught.value.retry_after is not None


@dataclass(frozen=True)
class Account:
    name: str
    endpoint: str
    key: str | None = "a2V5"
    sas: str | None = None


class TestAzureCopiesThatGoOn:
    """Azurite is done when it answers; the real service may go on."""

    def _copies(self, server: Scripted, ticks: Iterator[float], slept: list[float]) -> AzureCopies:
        url = parse("abfss://two@acc.dfs.core.windows.net/b")
        account = Account("acc", f"{server.url}/acc")
        return AzureCopies(url, account, {}, quoted=True, clock=lambda: next(ticks), sleep=slept.append)

    def _answers(self, states: Iterator[str]) -> Callable[[str, str], tuple[int, dict[str, str], bytes]]:
        modified = {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}

        def answers(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
            if method == "PUT" and "comp=copy" not in path:
                return 202, {"ETag": '"0x1"', "x-ms-copy-id": "id-1", "x-ms-copy-status": "pending", **modified}, b""
            if method == "HEAD":
                state = next(states)
                copy = {"x-ms-copy-id": "id-1", "x-ms-copy-status": state, "x-ms-copy-progress": "1/3"}
                return 200, {"ETag": f'"0x{state}"', "x-ms-blob-type": "BlockBlob", **copy, **modified}, b""
            return (204 if method == "PUT" else 202), {}, b""

        return answers

    def test_a_copy_that_goes_on_is_waited_for(self) -> None:
        slept: list[float] = []
        with scripted(self._answers(iter(["pending", "pending", "success"]))) as server:
            copies = self._copies(server, itertools.count(0.0), slept)
            made = copies("abfss://one@acc.dfs.core.windows.net/a", ObjectInfo("x y", 3, '"0x7"'), "x y")
        assert (made.size, made.etag) == (3, '"0xsuccess"')
        assert slept == [0.25, 0.5]
        _, path, headers = server.asked[0]
        assert path == "/acc/two/b/x%20y"
        assert headers["x-ms-copy-source"] == f"{server.url}/acc/one/a/x%20y"
        assert (headers["x-ms-source-if-match"], headers["if-none-match"]) == ('"0x7"', "*")

    @pytest.mark.parametrize("states", [["failed"], ["pending", "pending"]], ids=["fails", "takes too long"])
    def test_a_copy_that_does_not_end_well_is_taken_away(self, states: list[str]) -> None:
        with scripted(self._answers(iter([*states, states[-1]]))) as server:
            copies = self._copies(server, itertools.count(0.0, 3 * 3600.0), [])
            with pytest.raises(Transfer, match="did not finish"):
                copies("abfss://one@acc.dfs.core.windows.net/a", ObjectInfo("x", 3, '"0x7"'), "x")
        (_, _, deleted) = next(asked for asked in server.asked if asked[0] == "DELETE")
        assert deleted["if-match"] == f'"0x{states[-1]}"'
        assert any("comp=copy" in path for method, path, _ in server.asked if method == "PUT")

    def test_the_access_tier_of_the_target_goes_with_the_copy(self) -> None:
        with scripted(lambda method, path: (503, {"x-ms-error-code": "ServerBusy"}, b"")) as server:
            options = {"storage_class": "Cool"}
            account = Account("acc", f"{server.url}/acc")
            copies = AzureCopies(parse("abfss://two@acc.dfs.core.windows.net"), account, options, quoted=True)
            with pytest.raises(Transfer) as caught:
                copies("abfss://one@acc.dfs.core.windows.net", ObjectInfo("x", 3, '"0x7"'), "x")
        assert caught.value.retry_after is not None
        assert [headers["x-ms-access-tier"] for _, _, headers in server.asked] == ["Cool"]

    def test_a_shared_access_signature_goes_with_the_source_and_into_no_message(self) -> None:
        with scripted(lambda method, path: (403, {"x-ms-error-code": "AuthorizationFailure"}, b"")) as server:
            account = replace(Account("acc", f"{server.url}/acc"), key=None, sas="?sv=1&sig=SECRETSIGNATURE")
            copies = AzureCopies(parse("abfss://two@acc.dfs.core.windows.net"), account, {}, quoted=True)
            with pytest.raises(Config) as caught:
                copies("abfss://one@acc.dfs.core.windows.net", ObjectInfo("x", 3, '"0x7"'), "x")
        assert "sig=SECRETSIGNATURE" in server.asked[0][2]["x-ms-copy-source"]
        assert "SECRETSIGNATURE" not in str(caught.value)
