"""What goes wrong between a client and a real server, made to go wrong by a proxy."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from lakehouse.connect import open_store
from lakehouse.errors import Config, Conflict, Transfer
from lakehouse.settings import Settings, StoreSettings
from lakehouse.store import Store
from lakehouse.testing.servers import FaultProxy, Rule, SeaweedServer

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
        "timeout": 1.0,
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


def test_a_truncated_answer_to_a_range_is_an_error(impatient: Store, proxy: FaultProxy) -> None:
    """Trap Object stores 15: status 206 and a Content-Length of its own, but less than Content-Range says."""
    impatient.put("a", b"0123456789", size=10)
    proxy.rules.append(Rule("truncate", method="GET", after=3))
    with pytest.raises(Transfer):
        impatient.get("a", start=2, end=9)


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


def test_a_lost_reply_to_a_conditional_put_is_settled_by_reading_back(store: Store, impatient: Store, proxy: FaultProxy) -> None:
    """Invariant 9."""
    proxy.rules.append(Rule("lose_reply", method="PUT"))
    assert store.put("a", b"ours", size=4, if_absent=True).size == 4
    proxy.rules.append(Rule("status", method="PUT"))
    impatient_error = pytest.raises(Transfer)
    with impatient_error:
        impatient.put("b", b"ours", size=4, if_absent=True)
    impatient.put("b", b"them", size=4)
    with pytest.raises(Conflict):
        store.put("b", b"ours", size=4, if_absent=True)
    assert store.get("b") == b"them"


def test_a_stalled_connection_ends_in_an_error_within_its_time(impatient: Store, store: Store, proxy: FaultProxy) -> None:
    store.put("a", b"1", size=1)
    proxy.rules.append(Rule("stall", method="GET", times=2))
    with pytest.raises(Transfer) as caught:
        impatient.get("a")
    assert caught.value.transient
    assert store.get("a") == b"1"


def test_credentials_that_expire_are_named_with_their_store_and_no_secret(
    store: Store, proxy: FaultProxy, seaweed: SeaweedServer
) -> None:
    """Trap Object stores 5."""
    store.put("a", b"1", size=1)
    proxy.rules.append(Rule("status", code=403, times=None))
    with pytest.raises(Config) as caught:
        store.get("a")
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


def test_a_large_put_is_tried_again_whole(store: Store, proxy: FaultProxy) -> None:
    proxy.rules.append(Rule("status", method="PUT", path="partNumber=2"))
    store.put("big", chunks(BIG), size=len(BIG))
    assert store.get("big") == BIG
