"""Places of their own on the servers of three kinds of cloud, and on a folder."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from lakehouse.settings import StoreSettings

__all__ = ["warehouse_on"]


def warehouse_on(kind: str, request: pytest.FixtureRequest) -> StoreSettings:
    """A warehouse of its own on a server that runs."""
    folder = uuid.uuid4().hex[:12]
    if kind == "local":
        return StoreSettings("house", str(request.getfixturevalue("tmp_path") / "warehouse"))
    server: Any = request.getfixturevalue({"s3": "seaweed", "moto": "moto", "azure": "azurite", "gcs": "gcs"}[kind])
    bucket = f"warehouse-{folder}"
    if kind == "azure":
        server.make_container(bucket)
        return StoreSettings("house", f"az://{bucket}/w", options={"connection_string": server.connection_string})
    server.make_bucket(bucket)
    if kind == "gcs":
        return StoreSettings("house", f"gs://{bucket}/w", options={"endpoint_url": server.endpoint_url, "token": "anon"})
    provider = "seaweedfs" if kind == "s3" else "minio"
    options = {"endpoint_url": server.endpoint_url, "key": server.key, "secret": server.secret, "provider": provider}
    return StoreSettings("house", f"s3://{bucket}/w", options=options)
