"""The stores that bytes are moved between, on this machine, each as every program names it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.clients import IN_FLIGHT
from lakehouse.config import load
from lakehouse.connect import open_store
from lakehouse.testing.servers import AzuriteServer, GcsServer, SeaweedServer

BUCKET = "bench"


@dataclass(frozen=True)
class Side:
    """One side of a move. ``lake``, ``rclone`` and ``s5cmd`` are what each writes before a path; empty where it cannot go there.

    ``options`` and ``remote`` are its section in lake.toml and in rclone.conf; ``environment`` is how s5cmd gets in.
    """

    name: str
    lake: str
    rclone: str
    s5cmd: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    remote: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


Opener = Callable[[str, Path], "Iterator[Side]"]


def s3_side(name: str, endpoint_url: str, key: str, secret: str) -> Side:
    """A bucket of a SeaweedFS server."""
    options = {"url": f"s3://{BUCKET}", "endpoint_url": endpoint_url, "key": key, "secret": secret, "provider": "seaweedfs"}
    remote = {
        "type": "s3", "provider": "SeaweedFS", "endpoint": endpoint_url, "access_key_id": key, "secret_access_key": secret,
        "region": "us-east-1",
    }  # fmt: skip
    environment = {
        "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": "us-east-1", "S3_ENDPOINT_URL": endpoint_url,
    }  # fmt: skip
    return Side(name, f"{name}:", f"{name}:{BUCKET}/", f"s3://{BUCKET}/", options, remote, environment)


def s3(name: str, folder: Path) -> Iterator[Side]:
    """A server with credentials of its own, so that nobody can copy from one to the other on the servers' side."""
    del folder
    with SeaweedServer() as server:
        server.make_bucket(BUCKET)
        yield s3_side(name, server.endpoint_url, server.key, server.secret)


def azure(name: str, folder: Path) -> Iterator[Side]:
    """Azurite, with its objects in memory. s5cmd does not speak to it."""
    del folder
    with AzuriteServer() as server:
        server.make_container(BUCKET)
        options = {"url": f"az://{BUCKET}", "connection_string": server.connection_string}
        remote = {"type": "azureblob", "connection_string": server.connection_string}
        yield Side(name, f"{name}:", f"{name}:{BUCKET}/", options=options, remote=remote)


def gcs(name: str, folder: Path) -> Iterator[Side]:
    """fake-gcs-server, with its objects in memory: `lake` speaks XML to it, rclone JSON. s5cmd does not speak to it."""
    del folder
    with GcsServer() as server:
        server.make_bucket(BUCKET)
        options = {"url": f"gs://{BUCKET}", "endpoint_url": server.endpoint_url}
        remote = {
            "type": "google cloud storage", "anonymous": "true", "endpoint": f"{server.upstream_url}/storage/v1/",
            "bucket_policy_only": "true", "no_check_bucket": "true",
        }  # fmt: skip
        yield Side(name, f"{name}:", f"{name}:{BUCKET}/", options=options, remote=remote)


def local(name: str, folder: Path) -> Iterator[Side]:
    """A folder of this machine's disk."""
    home = folder / name
    home.mkdir()
    yield Side(name, f"{home}/", f"{home}/", f"{home}/")


def write_settings(folder: Path, sides: Iterable[Side]) -> dict[str, str]:
    """lake.toml and rclone.conf in ``folder``, with the same names in both; gives the environment that points at them."""
    lake, remotes = [], []
    for side in sides:
        if side.options:
            lake += [f"[store.{side.name}]", *(f"{key} = '{value}'" for key, value in side.options.items()), ""]
        if side.remote:
            remotes += [f"[{side.name}]", *(f"{key} = {value}" for key, value in side.remote.items()), ""]
    folder.mkdir(exist_ok=True)
    (folder / "lake.toml").write_text("\n".join(lake))
    (folder / "rclone.conf").write_text("\n".join(remotes))
    return {"LAKE_CONFIG": str(folder / "lake.toml"), "RCLONE_CONFIG": str(folder / "rclone.conf")}


@contextmanager
def both(source: Opener, target: Opener, folder: Path) -> Iterator[tuple[Side, Side, dict[str, str]]]:
    """Both sides, open, and the environment by which the programs find them. A benchmark that is ended stops its servers, too:
    they hold gigabytes."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with contextmanager(source)("one", folder) as one, contextmanager(target)("two", folder) as two:
        yield one, two, write_settings(folder, (one, two))


def fill(place: str, config: str, objects: Iterable[tuple[str, int]]) -> None:
    """Put objects of these names and sizes (bytes) at ``place`` (as lake.toml has it); no two are alike, none compresses."""
    store, block = open_store(place, load(Path(config))), os.urandom(1 << 20)

    def put(numbered: tuple[int, tuple[str, int]]) -> None:
        number, (path, size) = numbered
        data = (number.to_bytes(8, "big") + block * (size // len(block) + 1))[:size]
        store.put(path, data if size <= 8 << 20 else [data], size=size)

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for _ in pool.map(put, enumerate(objects)):
            pass
