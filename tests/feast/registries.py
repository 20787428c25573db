"""Places where the tests keep Feast's registry, and what is written into it."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.repo_config import RegistryConfig

from lakehouse.config import load
from lakehouse.connect import open_store
from lakehouse.store import Store
from lakehouse_connectors.feast.registry import FsspecRegistryStore

STORE_TYPE = "lakehouse_connectors.feast.registry.FsspecRegistryStore"
SERVICES = ("folder", "seaweed", "azurite", "gcs")
PLACE = "gold:feast/registry.db"


@dataclass(frozen=True)
class Repository:
    """A folder with a lake.toml whose store ``gold`` is ``table``."""

    folder: Path
    table: str

    def __post_init__(self) -> None:
        (self.folder / "lake.toml").write_text(self.table)

    def registry(self, place: str = PLACE, **options: str) -> FsspecRegistryStore:
        """One more reader and writer of the registry, as another process has it."""
        config = RegistryConfig.model_validate({"registry_store_type": STORE_TYPE, "path": place, **options})
        return FsspecRegistryStore(config, self.folder)

    @property
    def store(self) -> Store:
        """The folder of the registry, past the registry's own code."""
        return open_store("gold:feast", load(self.folder / "lake.toml"))

    def yaml(self, place: str = PLACE) -> None:
        """Write the feature_store.yaml of the project ``flights``."""
        (self.folder / "feature_store.yaml").write_text(
            "project: flights\nprovider: local\nentity_key_serialization_version: 3\n"
            "online_store: {type: sqlite, path: online.db}\n"
            f"registry: {{registry_store_type: {STORE_TYPE}, path: '{place}'}}\n"
        )

    def names(self) -> list[str]:
        """Every object in that folder."""
        return sorted(info.path for info in self.store.list())


def table(**options: str) -> str:
    """``[store.gold]`` of a lake.toml."""
    return "\n".join(["[store.gold]", *(f"{name} = '{value}'" for name, value in options.items()), ""])


def repository(service: str, folder: Path, request: pytest.FixtureRequest) -> Repository:
    """A repository whose store is an empty place of its own on one of `SERVICES`."""
    key = f"registry-{uuid.uuid4().hex[:12]}"
    if service == "folder":
        return Repository(folder, table(url=str(folder / key)))
    server = request.getfixturevalue(service)
    if service == "azurite":
        server.make_container(key)
        return Repository(folder, table(url=f"az://{key}", connection_string=server.connection_string))
    server.make_bucket(key)
    if service == "gcs":
        return Repository(folder, table(url=f"gs://{key}", endpoint_url=server.endpoint_url))
    return Repository(folder, s3_table(key, server.endpoint_url, server.key, server.secret, provider="seaweedfs"))


def s3_table(bucket: str, endpoint_url: str, key: str, secret: str, **options: str) -> str:
    return table(url=f"s3://{bucket}", endpoint_url=endpoint_url, key=key, secret=secret, **options)


def noted(proto: RegistryProto, project: str) -> RegistryProto:
    """``proto`` with one more project in it, changed in place as Feast does it."""
    proto.projects.add().spec.name = project
    return proto


def projects(proto: RegistryProto) -> list[str]:
    return sorted(project.spec.name for project in proto.projects)


@contextlib.contextmanager
def careless_server() -> Iterator[str]:
    """The address of an S3 service that takes every put, whatever its conditions say. Its buckets are empty at first."""
    objects: dict[str, bytes] = {}

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Nothing to stderr."""

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_PUT(self) -> None:
            objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(200, ETag=f'"{hashlib.md5(objects[self.path]).hexdigest()}"')

        def do_GET(self) -> None:
            data = objects.get(self.path)
            if "list-type" in self.path:
                self.answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
            elif data is None:
                self.answer(404)
            else:
                self.answer(200, data, ETag=f'"{hashlib.md5(data).hexdigest()}"', Last_Modified="Mon, 02 Jan 2023 03:04:05 GMT")

        do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

        def do_POST(self) -> None:
            """DeleteObjects, of the one key that is asked for."""
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            key = body.partition("<Key>")[2].partition("</Key>")[0]
            objects.pop(f"{self.path.partition('?')[0].rstrip('/')}/{key}", None)
            self.answer(200, f"<DeleteResult><Deleted><Key>{key}</Key></Deleted></DeleteResult>".encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
