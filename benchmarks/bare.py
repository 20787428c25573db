"""The least that a move can cost in Python: objects listed, got, hashed and put by obstore's threads, and nothing else.

`scripts/bench transfer --bare` runs it as one more program, to tell what planning, proof and receipts add to it. It checks
nothing, tries nothing twice and leaves no receipt. Objects of more than 8 MiB go in ranges of that size, one after the other.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

RANGE = 8 << 20
THREADS = 16
Opened = S3Store | AzureStore | GCSStore | LocalStore


def opened(place: str) -> Opened:
    """A store for ``NAME:path`` of lake.toml, or for a folder."""
    name, colon, path = place.partition(":")
    if not colon:
        return LocalStore(place, mkdir=True)
    stated: dict[str, str] = tomllib.loads(Path(os.environ["LAKE_CONFIG"]).read_text())["store"][name]
    scheme, _, bucket = stated["url"].partition("://")
    config: dict[str, Any]
    if scheme == "s3":
        config = {"access_key_id": stated["key"], "secret_access_key": stated["secret"], "endpoint": stated["endpoint_url"]}
        return S3Store(bucket, prefix=path, region="us-east-1", client_options={"allow_http": True}, **config)
    if scheme == "az":
        fields = dict(field.split("=", 1) for field in stated["connection_string"].split(";"))
        config = {"account_name": fields["AccountName"], "account_key": fields["AccountKey"], "endpoint": fields["BlobEndpoint"]}
        return AzureStore(bucket, prefix=path, client_options={"allow_http": True}, **config)
    nobody = {"client_email": "", "private_key": "", "private_key_id": ""}
    key = json.dumps({"gcs_base_url": stated["endpoint_url"], "disable_oauth": True, **nobody})
    return GCSStore(bucket, prefix=path, service_account_key=key, client_options={"allow_http": True})


def move(source: Opened, target: Opened, path: str, size: int) -> str:
    """Bring one object over; gives its SHA-256."""
    if size <= RANGE:
        data = source.get(path).bytes()
        digest = hashlib.sha256(data)
        target.put(path, memoryview(data), use_multipart=False)
        return digest.hexdigest()
    digest = hashlib.sha256()
    with obstore.open_writer(target, path, buffer_size=RANGE, max_concurrency=2) as writer:
        for start in range(0, size, RANGE):
            part = source.get_range(path, start=start, end=min(start + RANGE, size))
            digest.update(part)
            writer.write(part)
    return digest.hexdigest()


def main() -> None:
    source, target = (opened(place) for place in sys.argv[1:])
    listed = [(info["path"], info["size"]) for page in source.list() for info in page]
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(lambda info: move(source, target, *info), listed):
            pass


if __name__ == "__main__":
    main()
