"""Catalogs on SQLite and on the real servers of `tests/conftest.py`."""

from __future__ import annotations

import uuid

import pytest

from lakehouse.config import CatalogSettings, Settings, StoreSettings
from lakehouse.testing.servers import MotoServer, SeaweedServer


@pytest.fixture(scope="session")
def rest_settings(seaweed: SeaweedServer) -> Settings:
    """Settings with the S3 server's own catalog, ``rest``, and the store ``tables``, its bucket of tables."""
    options = {"endpoint_url": seaweed.endpoint_url, "key": seaweed.key, "secret": seaweed.secret, "provider": "seaweedfs"}
    login = {"warehouse": seaweed.warehouse, "credential": f"{seaweed.key}:{seaweed.secret}", "scope": "tables"}
    return Settings(
        stores={"tables": StoreSettings("tables", seaweed.warehouse, options=options)},
        catalogs={"rest": CatalogSettings("rest", "rest", seaweed.catalog_uri, login, store="tables")},
    )


@pytest.fixture(scope="session")
def glue_settings(moto: MotoServer) -> Settings:
    """Settings with moto's Glue, ``glue``, and the store ``tables``, a bucket of it."""
    bucket = f"glue-{uuid.uuid4().hex[:12]}"
    moto.make_bucket(bucket)
    options = {"endpoint_url": moto.endpoint_url, "key": moto.key, "secret": moto.secret, "provider": "minio"}
    login = {
        "glue.region": "us-east-1", "glue.access-key-id": moto.key, "glue.secret-access-key": moto.secret,
        "warehouse": f"s3://{bucket}/warehouse",
    }  # fmt: skip
    return Settings(
        stores={"tables": StoreSettings("tables", f"s3://{bucket}", options=options)},
        catalogs={"glue": CatalogSettings("glue", "glue", moto.endpoint_url, login, store="tables")},
    )
