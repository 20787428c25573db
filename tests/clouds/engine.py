"""Two S3 servers, each behind a proxy that fails on purpose, for the tests of the engine that moves bytes."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import botocore.config
import botocore.session
import zstandard

import lakehouse
from lakehouse.config import load
from lakehouse.result import SyncResult
from lakehouse.store import Store
from lakehouse.testing.servers import FaultProxy, Request, SeaweedServer
from tests.clouds.conftest import Lake, store_table

__all__ = ["MIB", "Engine", "bodies", "copies", "data", "fetched", "files", "fill", "interrupt", "within"]

MIB = 1 << 20
PATIENCE_SECONDS = 60.0


def data(size: int, seed: int = 0) -> bytes:
    """``size`` bytes that no other seed has, made quickly."""
    block = random.Random(seed).randbytes(MIB + 13)
    return (block * (size // len(block) + 1))[:size]


def fill(store: Store, objects: dict[str, bytes]) -> None:
    for path, body in objects.items():
        store.put(path, body, size=len(body))


def within(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> bool:
    """Whether ``condition`` comes to hold."""
    until = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < until:
        threading.Event().wait(0.02)
    return met


def bodies(proxy: FaultProxy, *, below: str = "/t/") -> list[Request]:
    """The puts of data that arrived at ``proxy``: whole objects and parts, no copies, nothing below ``_lake``."""
    return [
        request
        for request in proxy.requests
        if request.method == "PUT"
        and below in request.target
        and "_lake/" not in request.target
        and "x-amz-copy-source" not in request.headers
    ]


def copies(proxy: FaultProxy) -> list[Request]:
    """The copies that the service was asked for."""
    return [request for request in proxy.requests if "x-amz-copy-source" in request.headers]


def fetched(proxy: FaultProxy, path: str) -> list[Request]:
    """The reads of the object whose key ends in ``path``."""
    return [request for request in proxy.requests if request.method == "GET" and request.target.partition("?")[0].endswith(path)]


@dataclass
class Engine:
    """Places on two S3 servers, reached through proxies (``one:``, ``two:``) and past them (``one-direct:``, ``two-direct:``).

    They may be one server: ``one`` and ``two`` are two buckets. All tests share them, since each takes volumes of a server.
    """

    lake: Lake
    first: SeaweedServer
    second: SeaweedServer
    one: FaultProxy
    two: FaultProxy
    timeout: float = 2.0
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        tables = []
        for name, server, proxy in (("one", self.first, self.one), ("two", self.second, self.two)):
            proxy.clear()
            server.make_bucket(f"engine-{name}")
            options = {"url": self.url(name), "key": server.key, "secret": server.secret, "provider": "seaweedfs"}
            tables += [
                store_table(name, **options, endpoint_url=proxy.endpoint_url) + f"timeout = {self.timeout}\n",
                store_table(f"{name}-direct", **options, endpoint_url=server.endpoint_url),
            ]
        (self.lake.folder / "lake.toml").write_text("\n".join(tables))

    def url(self, name: str) -> str:
        return f"s3://engine-{name}/{self.key}"

    def add_store(self, name: str, **options: str) -> None:
        settings = self.lake.folder / "lake.toml"
        settings.write_text(f"{settings.read_text()}\n{store_table(name, **options)}")

    def store(self, name: str) -> Store:
        """The table's place on a server, past the proxy, or at any place."""
        return self.lake.store(f"{name}-direct:t" if name in ("one", "two") else name)

    def receipts(self, name: str) -> Store:
        """Where the receipts of a folder of files on a server lie."""
        return self.lake.store(f"{name}-direct:_lake/t")

    def sync(self, source: str, target: str, **options: Any) -> SyncResult:
        return lakehouse.sync(source, target, format="files", settings=load(self.lake.folder / "lake.toml"), **options)

    def contents(self, name: str) -> dict[str, bytes]:
        store = self.store(name)
        return {info.path: store.get(info.path) for info in store.list()}

    def is_published(self, name: str) -> bool:
        """Whether a run has finished there: its receipt is what makes a folder of files a replica."""
        return any(info.path == "latest.json" for info in self.receipts(name).list())

    def inventory(self, name: str) -> dict[str, dict[str, Any]]:
        """What the newest receipt vouches for, by path, read without our code."""
        receipts = self.receipts(name)
        newest = max(info.path for info in receipts.list("receipts") if info.path.endswith(".zst"))
        text = zstandard.ZstdDecompressor().decompressobj().decompress(receipts.get(newest)).decode()
        return {line["path"]: line for line in map(json.loads, text.splitlines())}

    def uploads(self, name: str) -> list[str]:
        """The keys of multipart uploads that are open at a server."""
        server = {"one": self.first, "two": self.second}[name]
        listed = self.client(server).list_multipart_uploads(Bucket=f"engine-{name}")
        return [upload["Key"] for upload in listed.get("Uploads") or [] if upload["Key"].startswith(self.key)]

    def clear(self) -> None:
        """Let go of what proxies hold, and remove the large objects: they fill a server's disk."""
        for proxy in (self.one, self.two):
            for rule in proxy.rules:
                rule.released.set()
        for store in (self.store("one"), self.store("two")):
            for info in store.list():
                if info.size >= MIB:
                    store.delete(info.path)

    def client(self, server: SeaweedServer) -> Any:
        """Another tool: botocore, past the proxy."""
        return botocore.session.Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=server.endpoint_url,
            aws_access_key_id=server.key,
            aws_secret_access_key=server.secret,
            config=botocore.config.Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )


def files(folder: Path, objects: dict[str, bytes]) -> Path:
    for path, body in objects.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(body)
    return folder


def interrupt(
    engine: Engine, ready: Callable[[], bool], source: str, *options: str, seconds: float, by: signal.Signals = signal.SIGINT
) -> None:
    """Run the command and press Ctrl-C (or send another signal) as soon as ``ready`` says so; it must end within ``seconds``."""
    run = subprocess.Popen(
        engine.lake.command("sync", source, "two:t", "--format", "files", *options),
        env=engine.lake.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert within(lambda: ready() or run.poll() is not None)
    run.send_signal(by)
    began = time.monotonic()
    _, message = run.communicate(timeout=120)
    assert run.returncode == 130, message
    assert time.monotonic() - began < seconds
