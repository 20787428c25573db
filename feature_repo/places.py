"""Where the datasets lie: on this disk, on an S3 server, on a Google Cloud Storage server. Only lake.toml says which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from feature_repo.datasets import DATASETS
from lakehouse.settings import FormatName
from lakehouse.testing.servers import GcsServer, SeaweedServer

__all__ = ["DISK", "GOOGLE", "S3", "STAGED", "Place", "Stores", "lake_toml", "local_servers", "stores_of"]

Stores = Mapping[str, Mapping[str, str]]
"""The tables ``[store.NAME]`` of a lake.toml."""

BUCKET = "flights"


@dataclass(frozen=True, slots=True)
class Place:
    """The dataset NAME lies at ``folder``/NAME, in ``format``."""

    title: str
    folder: str
    format: FormatName

    def table(self, dataset: str) -> str:
        """The place of a dataset as lake.toml writes it."""
        return f"{self.folder}/{dataset}"


DISK = Place("Parquet on this disk", "lake", "parquet")
STAGED = Place("Delta on this disk", "delta", "delta")
S3 = Place("Delta on S3", "s3:lake", "delta")
GOOGLE = Place("Iceberg on Google Cloud", "google:lake", "iceberg")


def lake_toml(stores: Stores, place: Place, replica: Place | None = None) -> str:
    """A lake.toml that has every dataset at ``place``, and to be replicated to ``replica``, its rows proven."""
    tables = [
        f"[store.{name}]\n" + "".join(f"{key} = '{value}'\n" for key, value in keys.items()) for name, keys in stores.items()
    ]
    for name in DATASETS:
        tables.append(f"[dataset.{name}]\ntable = '{place.table(name)}'\nformat = '{place.format}'\n")
        if replica is not None:
            tables.append(f"[[dataset.{name}.replica]]\nto = '{replica.table(name)}'\nlevel = 'rows'\n")
    return "\n".join(tables)


@contextmanager
def local_servers(folder: Path) -> Iterator[Stores]:
    """An S3 and a Google Cloud Storage server on this machine, with a bucket each, as stores of lake.toml.

    The secret is in a file in ``folder``, which lake.toml refers to. Servers, objects and the file are gone at the end.
    """
    with SeaweedServer() as seaweed, GcsServer() as google:
        try:
            yield stores_of(seaweed, google, folder, bucket=BUCKET)
        finally:
            _secret_file(folder).unlink()


def stores_of(seaweed: SeaweedServer, google: GcsServer, folder: Path, *, bucket: str) -> Stores:
    """Makes ``bucket`` on servers that run, and gives them as stores of lake.toml."""
    seaweed.make_bucket(bucket)
    google.make_bucket(bucket)
    secret = _secret_file(folder)
    secret.write_text(seaweed.secret)
    s3 = {"url": f"s3://{bucket}", "endpoint_url": seaweed.endpoint_url, "provider": "seaweedfs", "region": "us-east-1"}
    return {
        "s3": {**s3, "key": seaweed.key, "secret": f"file:{secret}"},
        "google": {"url": f"gs://{bucket}", "endpoint_url": google.endpoint_url},
    }


def _secret_file(folder: Path) -> Path:
    return folder.absolute() / "s3.secret"
