"""What goes wrong between a client and a real server, made to go wrong by a proxy."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from lakehouse.connect import open_store
from lakehouse.errors import Config, Conflict, Transfer
from lakehouse.settings import Settings, StoreSettings
from lakehouse.store import Store
from lakehouse.testing.servers import FaultProxy, Rule, SeaweedServer

TIMEOUT_SECONDS = 1.0
BIG = os.urandom(1 << 20) * 20


@pytest.fixture(scope="module")
def proxy(seaweed: SeaweedServer) -> Iterator[FaultProxy]:
    seaweed.make_bucket("on-the-wire")
    with FaultProxy(seaweed.endpoint_url) as running:
        yield running


@pytest.fixture
def settings(proxy: FaultProxy, seaweed: SeaweedServer) -> Settings:
    proxy.clear()
    options = {
        "endpoint_url": proxy.endpoint_url,
        "key": seaweed.key,
        "secret": seaweed.secret,
        "provider": "seaweedfs",
        "timeout": TIMEOUT_SECONDS,
    }
    return Settings(stores={"s3": StoreSettings("s3", f"s3://on-the-wire/{uuid.uuid4().hex}", options=options)})


@pytest.fixture
def store(settings: Settings) -> Store:
    return open_store("s3:", settings)


@pytest.fixture
def impatient(settings: Settings) -> Store:
    """The same place without retries."""
    return open_store("s3:", settings, retries=0)


def chunks(data: bytes) -> list[bytes]:
    return [data[start : start + (1 << 20)] for start in range(0, len(data), 1 << 20)]


def test_a_storm_of_503_ends_well(store: Store, proxy: FaultProxy) -> None:
    """Trap Object stores 4."""
    proxy.rules.append(Rule("status", times=None, chance=0.2))
    for number in range(25):
        store.put(f"{number}", b"x" * number, size=number, if_absent=True)
    assert [store.get(f"{number}") for number in range(25)] == [b"x" * number for number in range(25)]
    assert 503 in {request.status for request in proxy.requests}


def test_a_response_that_is_cut_is_read_again(store: Store, proxy: FaultProxy) -> None:
    store.put("a", BIG, size=len(BIG))
    proxy.rules.append(Rule("cut_response", method="GET", after=5_000_000))
    assert store.get("a") == BIG


def test_a_response_that_is_cut_is_never_a_short_answer(impatient: Store, proxy: FaultProxy) -> None:
    impatient.put("a", b"0123456789", size=10)
    proxy.rules.append(Rule("cut_response", method="GET", after=4))
    with pytest.raises(Transfer) as caught:
        impatient.get("a")
    assert caught.value.transient


def test_a_slow_answer_that_goes_on_is_no_stall(impatient: Store, proxy: FaultProxy) -> None:
    """The limit is on a read without progress, not on the whole answer, which here takes longer than the limit."""
    impatient.put("a", BIG, size=len(BIG))
    proxy.rules.append(Rule("slow", method="GET", bytes_per_second=14 << 20))
    began = time.monotonic()
    assert impatient.get("a") == BIG
    assert time.monotonic() - began > TIMEOUT_SECONDS


def test_a_truncated_answer_to_a_range_is_an_error(impatient: Store, proxy: FaultProxy) -> None:
    """Trap Object stores 15: status 206 and a Content-Length of its own, but less than Content-Range says."""
    impatient.put("a", b"0123456789", size=10)
    proxy.rules.append(Rule("truncate", method="GET", after=3))
    with pytest.raises(Transfer):
        impatient.get("a", start=2, end=9)


def test_a_truncated_answer_for_the_whole_object_shows_only_in_its_size(impatient: Store, proxy: FaultProxy) -> None:
    """Status 200 with a Content-Length that agrees: no store can tell, so `lakehouse.transfer` compares with the listed size."""
    impatient.put("a", b"0123456789", size=10)
    proxy.rules.append(Rule("truncate", method="GET", after=3))
    assert len(impatient.get("a")) < impatient.head("a").size


@pytest.mark.parametrize("data", [b"0123456789", BIG], ids=["small", "large"])
def test_a_request_that_is_cut_writes_nothing_and_is_sent_again(
    store: Store, impatient: Store, proxy: FaultProxy, data: bytes
) -> None:
    proxy.rules.append(Rule("cut_request", method="PUT", after=len(data) // 2))
    with pytest.raises(Transfer):
        impatient.put("a", data, size=len(data))
    assert not list(impatient.list())
    proxy.rules.append(Rule("cut_request", method="PUT", after=5))
    store.put("a", data, size=len(data))
    assert store.get("a") == data


def test_requests_that_never_arrive_are_sent_again(store: Store, proxy: FaultProxy) -> None:
    store.put("a", b"1", size=1)
    proxy.rules.extend([Rule("cut_request", method="GET"), Rule("cut_request", method="HEAD")])
    assert store.get("a") == b"1"
    assert store.head("a").size == 1
    assert [request.method for request in proxy.requests].count("GET") == 2
    assert [request.method for request in proxy.requests].count("HEAD") == 2


@pytest.mark.parametrize("retries", [None, 0], ids=["tried again", "not tried again"])
def test_a_lost_reply_to_a_conditional_put_is_settled_as_success(
    settings: Settings, proxy: FaultProxy, retries: int | None
) -> None:
    """Invariant 9."""
    store = open_store("s3:", settings, retries=retries)
    proxy.rules.append(Rule("lose_reply", method="PUT"))
    assert store.put("a", b"ours", size=4, if_absent=True).size == 4
    assert store.get("a") == b"ours"


@pytest.mark.parametrize("retries", [None, 0], ids=["tried again", "not tried again"])
def test_a_lost_reply_is_a_conflict_where_another_writer_was_first(
    settings: Settings, proxy: FaultProxy, retries: int | None
) -> None:
    """Invariant 9: the same length, so that only reading back can tell."""
    store = open_store("s3:", settings, retries=retries)
    store.put("a", b"them", size=4)
    proxy.clear()
    proxy.rules.append(Rule("lose_reply", method="PUT"))
    with pytest.raises(Conflict):
        store.put("a", b"ours", size=4, if_absent=True)
    assert "GET" in {request.method for request in proxy.requests}
    assert store.get("a") == b"them"


def test_a_stalled_connection_ends_in_an_error_within_its_time(impatient: Store, store: Store, proxy: FaultProxy) -> None:
    store.put("a", b"1", size=1)
    proxy.rules.append(Rule("stall", method="GET", times=2))
    began = time.monotonic()
    with pytest.raises(Transfer) as caught:
        impatient.get("a")
    assert time.monotonic() - began < 3 * TIMEOUT_SECONDS
    assert caught.value.transient
    assert store.get("a") == b"1"


def test_credentials_that_expire_are_named_with_their_store_and_no_secret(
    store: Store, proxy: FaultProxy, seaweed: SeaweedServer
) -> None:
    """Trap Object stores 5: they are good for three requests, and a refusal is not tried again."""
    proxy.rules.append(Rule("status", code=403, skip=3, times=None))
    store.put("a", b"1", size=1)
    assert store.get("a") + store.get("a") == b"11"
    with pytest.raises(Config) as caught:
        store.get("a")
    assert [request.status for request in proxy.requests] == [200, 200, 200, 403]
    assert "s3://on-the-wire" in str(caught.value)
    assert seaweed.secret not in str(caught.value)
    assert seaweed.key not in str(caught.value)


def test_a_large_put_that_fails_leaves_no_object_and_no_upload(impatient: Store, proxy: FaultProxy) -> None:
    """Trap Object stores 14."""
    proxy.rules.append(Rule("status", method="PUT", path="partNumber=2", times=None))
    with pytest.raises(Transfer):
        impatient.put("big", chunks(BIG), size=len(BIG))
    assert not list(impatient.list())
    assert [request.method for request in proxy.requests if "uploadId" in request.target].count("DELETE") == 1


def test_a_source_that_fails_in_the_middle_leaves_no_object_and_no_upload(impatient: Store, proxy: FaultProxy) -> None:
    """Trap Object stores 14: the source is read through the same bad network."""
    impatient.put("source", BIG, size=len(BIG))
    proxy.rules.append(Rule("cut_response", method="GET", path="/source", skip=10, after=5))
    parts = (impatient.get("source", start=start, end=start + (1 << 20)) for start in range(0, len(BIG), 1 << 20))
    with pytest.raises(Transfer, match="/source"):
        impatient.put("big", parts, size=len(BIG))
    assert [info.path for info in impatient.list()] == ["source"]
    uploads = [request.method for request in proxy.requests if "/big?" in request.target]
    assert "PUT" in uploads
    assert uploads.count("DELETE") == 1
    assert uploads.count("POST") == 1, "the one that begins it, and none that completes it"


def test_a_large_put_is_tried_again_whole(store: Store, proxy: FaultProxy) -> None:
    proxy.rules.append(Rule("status", method="PUT", path="partNumber=2"))
    store.put("big", chunks(BIG), size=len(BIG))
    assert store.get("big") == BIG


def test_the_proxy_stops_while_a_client_does_not_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with FaultProxy(f"http://127.0.0.1:{server.getsockname()[1]}") as own:
            place = urlsplit(own.endpoint_url)
            client = socket.create_connection((place.hostname or "", place.port or 0))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with server.accept()[0] as served:
                assert served.recv(65536).startswith(b"GET /")
                served.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG) + BIG)
            assert client.recv(5) == b"HTTP/"
            began = time.monotonic()
        client.close()
    assert time.monotonic() - began < 5
