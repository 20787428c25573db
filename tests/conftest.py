"""Real servers, started once a session (a test worker has its own) when the first test asks for one."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("lake", settings.default, deadline=None)  # machines are noisy
settings.load_profile("lake")

os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = (
    "false"  # before gcsfs is imported: else every bucket of a double costs a minute
)
for _name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "LAKE_STORE", "LAKE_CONFIG"))]:
    del os.environ[_name]

from lakehouse.config import Settings, StoreSettings
from lakehouse.testing.servers import AzuriteServer, GcsServer, MotoServer, SeaweedServer


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What a test put into ``memory://`` goes with it: fsspec has one such store a process, and it gets slower as it fills."""
    from fsspec.implementations.memory import MemoryFileSystem

    store, folders = MemoryFileSystem.store, MemoryFileSystem.pseudo_dirs
    objects, kept = set(store), list(folders)
    yield
    for path in store.keys() - objects:
        del store[path]
    folders[:] = kept


@pytest.fixture(scope="session")
def seaweed() -> Iterator[SeaweedServer]:
    with SeaweedServer() as server:
        yield server


@pytest.fixture(scope="session")
def seaweed_other() -> Iterator[SeaweedServer]:
    """A second S3 server with other credentials."""
    with SeaweedServer() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[MotoServer]:
    with MotoServer() as server:
        yield server


@pytest.fixture(scope="session")
def azurite() -> Iterator[AzuriteServer]:
    with AzuriteServer() as server:
        yield server


@pytest.fixture(scope="session")
def gcs() -> Iterator[GcsServer]:
    with GcsServer() as server:
        yield server


@pytest.fixture(scope="session")
def s3_settings(seaweed: SeaweedServer) -> Settings:
    """Settings whose store ``s3`` is a bucket of the S3 server."""
    bucket = f"tests-{uuid.uuid4().hex[:12]}"
    seaweed.make_bucket(bucket)
    options = {"endpoint_url": seaweed.endpoint_url, "key": seaweed.key, "secret": seaweed.secret, "provider": "seaweedfs"}
    return Settings(stores={"s3": StoreSettings("s3", f"s3://{bucket}", options=options)})


@pytest.fixture(scope="session")
def cloud_settings(s3_settings: Settings, azurite: AzuriteServer) -> Settings:
    """Settings whose stores ``s3`` and ``azure`` are a bucket and a container of two servers."""
    container = f"tests-{uuid.uuid4().hex[:12]}"
    azurite.make_container(container)
    azure = StoreSettings("azure", f"az://{container}", options={"connection_string": azurite.connection_string})
    return Settings(stores={**s3_settings.stores, "azure": azure})


@pytest.fixture
def s3_prefix() -> str:
    """A place of its own on the S3 server, for one test."""
    return f"s3:{uuid.uuid4().hex}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Count the tables that were replicated, refused by name, or failed."""
    outcomes: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            outcomes.update(value for name, value in getattr(report, "user_properties", ()) if name == "corpus")
    if outcomes:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        terminalreporter.write_line(f"corpus of real tables: {counts}")
