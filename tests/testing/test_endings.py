"""Servers end with whoever started them; faults that tests time themselves; copies that fail; rewrites that heed conditions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lakehouse.connect import open_store
from lakehouse.errors import NotFound
from lakehouse.settings import Settings, StoreSettings
from lakehouse.store import Store
from lakehouse.testing.faulty_store import Faults, FaultyStore, InjectedFault
from lakehouse.testing.servers import AzuriteServer, FaultProxy, GcsServer, Rule, SeaweedServer

PATIENCE_SECONDS = 20.0


def within(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> bool:
    """Whether ``condition`` comes to hold."""
    until = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < until:
        threading.Event().wait(0.02)
    return met


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="a process is found by its folder in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_does_not_outlive_whoever_started_it(number: signal.Signals) -> None:
    script = (
        "import threading\nfrom lakehouse.testing.servers import MotoServer\n"
        "with MotoServer() as server:\n    print(server._process.pid, flush=True)\n    threading.Event().wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        server = int(starter.stdout.readline())
        folder = Path(f"/proc/{server}/cwd").readlink()
        assert folder.exists()
        starter.send_signal(number)
    assert within(lambda: not _runs(server))
    assert within(lambda: not folder.exists())


def _runs(process: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def s3(server: SeaweedServer, endpoint: str) -> Store:
    bucket = f"endings-{uuid.uuid4().hex[:12]}"
    server.make_bucket(bucket)
    options = {"endpoint_url": endpoint, "key": server.key, "secret": server.secret, "provider": "seaweedfs", "path_style": True}
    return open_store("s3:", Settings(stores={"s3": StoreSettings("s3", f"s3://{bucket}", options=options)}), retries=0)


def test_a_request_is_held_until_it_is_released(seaweed: SeaweedServer) -> None:
    with FaultProxy(seaweed.endpoint_url) as proxy, ThreadPoolExecutor(1) as pool:
        store = s3(seaweed, proxy.endpoint_url)
        rule = Rule("hold", method="PUT", path="/x")
        proxy.rules.append(rule)
        put = pool.submit(store.put, "x", b"1", size=1)
        assert rule.held.wait(PATIENCE_SECONDS)
        with pytest.raises(NotFound):
            store.head("x")
        assert not put.done()
        rule.released.set()
        put.result(PATIENCE_SECONDS)
        assert store.get("x") == b"1"


def test_a_body_is_damaged_on_its_way_and_only_requests_with_a_header_are_chosen(gcs: GcsServer) -> None:
    """Without a checksum in the request nobody would notice."""
    gcs.make_bucket("damaged")
    with FaultProxy(gcs.upstream_url) as proxy:
        proxy.rules.append(Rule("damage_request", method="POST", header="x-spoil", times=None))
        address = f"{proxy.endpoint_url}/upload/storage/v1/b/damaged/o?uploadType=media&name="
        for name, headers in (("whole", {}), ("spoilt", {"X-Spoil": "yes"})):
            with urllib.request.urlopen(urllib.request.Request(address + name, b"data", headers, method="POST")):
                pass
        found = {}
        for name in ("whole", "spoilt"):
            with urllib.request.urlopen(f"{proxy.endpoint_url}/storage/v1/b/damaged/o/{name}?alt=media") as answer:
                found[name] = answer.read()
        assert found == {"whole": b"data", "spoilt": b"dat" + bytes([ord("a") ^ 1])}
        assert [request.headers.get("x-spoil") for request in proxy.requests[:2]] == [None, "yes"]


def test_a_body_that_is_taken_slowly_arrives_whole(seaweed: SeaweedServer) -> None:
    with FaultProxy(seaweed.endpoint_url) as proxy:
        store, data = s3(seaweed, proxy.endpoint_url), os.urandom(100_000)
        proxy.rules.append(Rule("slow_request", method="PUT", bytes_per_second=400_000))
        start = time.monotonic()
        store.put("x", data, size=len(data))
        assert time.monotonic() - start > 0.2
        assert store.get("x") == data


@pytest.mark.parametrize("mode", ["before", "after"])
def test_a_copy_is_a_call_that_is_counted_and_fails(azurite: AzuriteServer, mode: str) -> None:
    container = f"endings-{uuid.uuid4().hex[:12]}"
    azurite.make_container(container)
    options = {"connection_string": azurite.connection_string}
    store = open_store("az:", Settings(stores={"az": StoreSettings("az", f"az://{container}", options=options)}))
    store.put("x", b"1", size=1)
    faults = Faults(fail_at=1, mode=mode, writes_only=True)  # type: ignore[arg-type]
    copy = FaultyStore(store, faults).traits.copy
    assert copy is not None
    with pytest.raises(InjectedFault, match="copy"):
        copy(store.url, store.head("x"), "y")
    assert {info.path for info in store.list()} == ({"x", "y"} if mode == "after" else {"x"})
    copy(store.url, store.head("x"), "z")
    assert [(call.method, call.path) for call in faults.calls] == [("copy", "y"), ("copy", "z")]


def test_a_rewrite_of_the_gcs_double_heeds_both_conditions(gcs: GcsServer) -> None:
    gcs.make_bucket("endings")
    base = f"{gcs.endpoint_url}/storage/v1/b/endings/o"
    generations = {}
    for name in ("from", "there"):
        upload = f"{gcs.endpoint_url}/upload/storage/v1/b/endings/o?uploadType=media&name={name}"
        with urllib.request.urlopen(urllib.request.Request(upload, name.encode(), method="POST")) as answer:
            generations[name] = json.load(answer)["generation"]

    def rewrite(target: str, query: str) -> int:
        request = urllib.request.Request(f"{base}/from/rewriteTo/b/endings/o/{target}?{query}", b"", method="POST")
        try:
            with urllib.request.urlopen(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code

    assert rewrite("there", "ifGenerationMatch=0") == 412
    assert rewrite("new", "ifSourceGenerationMatch=1") == 412
    assert rewrite("new", f"ifSourceGenerationMatch={generations['from']}&ifGenerationMatch=0") == 200
    assert rewrite("new", "ifGenerationMatch=0") == 412
    assert rewrite("there", f"ifGenerationMatch={generations['there']}") == 200
    with urllib.request.urlopen(f"{base}/there?alt=media") as answer:
        assert answer.read() == b"from"
