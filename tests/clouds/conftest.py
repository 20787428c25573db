"""The real command between real servers: a lake.toml that names a store on each, and a place of its own for each test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lakehouse.config import load
from lakehouse.connect import open_store
from lakehouse.store import Store
from lakehouse.testing.servers import AzuriteServer, FaultProxy, GcsServer, SeaweedServer

if TYPE_CHECKING:
    from tests.clouds.engine import Engine


@dataclass(frozen=True)
class Lake:
    """The command ``lake`` with one lake.toml."""

    folder: Path

    def __call__(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        """Run it with ``--json``; gives the document, after the exit code was compared."""
        run = subprocess.run(
            [*self.command(*arguments), "--json"], env=self.environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == expect, run.stderr + run.stdout
        document: dict[str, Any] = json.loads(run.stdout)
        assert document["exit_code"] == expect
        return document

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "lakehouse_cli.main", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "LAKE_CONFIG": str(self.folder / "lake.toml")}

    def store(self, place: str) -> Store:
        return open_store(place, load(self.folder / "lake.toml"))


def store_table(name: str, **options: str) -> str:
    return "\n".join([f"[store.{name}]", *(f"{key} = '{value}'" for key, value in options.items()), ""])


@pytest.fixture(scope="session")
def buckets(seaweed: SeaweedServer, seaweed_other: SeaweedServer, azurite: AzuriteServer, gcs: GcsServer) -> str:
    """The lake.toml that reaches a bucket on each server."""
    bucket = f"clouds-{uuid.uuid4().hex[:12]}"
    for server in (seaweed, seaweed_other, gcs):
        server.make_bucket(bucket)
    azurite.make_container(bucket)
    s3 = {
        name: store_table(
            name,
            url=f"s3://{bucket}",
            endpoint_url=server.endpoint_url,
            key=server.key,
            secret=server.secret,
            provider="seaweedfs",
        )
        for name, server in (("s3", seaweed), ("other", seaweed_other))
    }
    azure = store_table("azure", url=f"az://{bucket}", connection_string=azurite.connection_string)
    google = store_table("google", url=f"gs://{bucket}", endpoint_url=gcs.endpoint_url)
    return "\n".join([*s3.values(), azure, google])


@pytest.fixture
def lake(buckets: str, tmp_path: Path) -> Lake:
    (tmp_path / "lake.toml").write_text(buckets)
    return Lake(tmp_path)


@pytest.fixture
def key() -> str:
    """A prefix of its own on every server."""
    return uuid.uuid4().hex


@pytest.fixture(scope="module")
def proxies(seaweed: SeaweedServer, seaweed_other: SeaweedServer) -> Iterator[tuple[FaultProxy, FaultProxy]]:
    with FaultProxy(seaweed.endpoint_url) as one, FaultProxy(seaweed_other.endpoint_url, seed=1) as two:
        yield one, two


@pytest.fixture
def engine(
    lake: Lake, seaweed: SeaweedServer, seaweed_other: SeaweedServer, proxies: tuple[FaultProxy, FaultProxy]
) -> Iterator[Engine]:
    from tests.clouds.engine import Engine

    made = Engine(lake, seaweed, seaweed_other, *proxies)
    yield made
    made.clear()
