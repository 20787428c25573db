"""`lakehouse.filesystem`: what other libraries read through."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet
import pytest

import lakehouse
from lakehouse.errors import Config
from lakehouse.settings import DatasetSettings, Settings, StoreSettings
from tests.storage.recorder import Recorder

TABLE = pa.table({"id": [1, 2, 3], "total": [1.5, 2.5, 3.5]})
Place = tuple[str, Settings]
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly with raw bytes:ResourceWarning")


def named(url: str, **options: object) -> Settings:
    return Settings(
        stores={"place": StoreSettings("place", url, options=options)},
        datasets={"orders": DatasetSettings("orders", "place:shop/orders.parquet")},
    )


@pytest.fixture(params=["local", "memory", "seaweed", "moto", "azurite", "gcs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings whose store ``place`` is on a server of that kind, new and empty."""
    name = f"fs-{uuid.uuid4().hex[:12]}"
    if request.param == "local":
        return named(str(tmp_path / "with space"))
    if request.param == "memory":
        return named(f"memory://{name}/deep")
    server: Any = request.getfixturevalue(request.param)
    if request.param == "azurite":
        server.make_container(name)
        return named(f"az://{name}/deep", connection_string=server.connection_string)
    server.make_bucket(name)
    if request.param == "gcs":
        return named(f"gs://{name}/deep", endpoint_url=server.endpoint_url)
    return named(f"s3://{name}/deep", endpoint_url=server.endpoint_url, key=server.key, secret=server.secret)


def test_pyarrow_and_duckdb_write_and_read_through_it(place: Settings) -> None:
    fs, path = lakehouse.filesystem("place:shop/orders.parquet", place)
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    pyarrow.parquet.write_table(TABLE, path, filesystem=fs)
    assert pyarrow.parquet.read_table(path, filesystem=fs).equals(TABLE)
    assert "place:shop/orders.parquet" not in path
    with duckdb.connect() as connection:
        connection.register_filesystem(fs)
        found = connection.execute("SELECT sum(total) FROM read_parquet(?)", [fs.unstrip_protocol(path)]).fetchone()
    assert found == (7.5,)


def test_a_store_sees_what_was_written_through_it(place: Settings) -> None:
    fs, path = lakehouse.filesystem("place:a/x", place)
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    fs.pipe_file(path, b"hello")
    store = lakehouse.connect.open_store("place:a", place)
    assert store.get("x") == b"hello"
    store.put("y", b"there", size=5)
    assert fs.cat_file(path[:-1] + "y") == b"there"
    assert sorted(name.rpartition("/")[2] for name in fs.ls(path[:-2], detail=False)) == ["x", "y"]


def test_it_takes_a_dataset_a_name_a_path_and_a_url(tmp_path: Path) -> None:
    settings = named(str(tmp_path))
    wanted = str(tmp_path / "shop" / "orders.parquet")
    for place in ("orders", "place:shop/orders.parquet", wanted, f"file://{wanted}"):
        fs, path = lakehouse.filesystem(place, settings)
        assert (fs.protocol[0], path) == ("file", wanted)


def test_it_is_what_fsspec_gives_for_the_same_url(tmp_path: Path) -> None:
    for url in (f"memory://bucket/{uuid.uuid4().hex}/x", f"file://{tmp_path}/a b"):
        ours, theirs = lakehouse.filesystem(url), fsspec.core.url_to_fs(url)
        assert (type(ours[0]), ours[1]) == (type(theirs[0]), theirs[1])


def test_a_scheme_without_a_connector_is_opened_by_fsspec(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    fs, path = lakehouse.filesystem(f"local://{tmp_path}/x", Settings())
    assert fs.cat_file(path) == b"1"
    with pytest.raises(Config, match="nonsense"):
        lakehouse.filesystem("nonsense://x/y", Settings())


def test_without_settings_the_lake_toml_that_applies_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lake.toml").write_text('[store.disk]\nurl = "data"\n')
    monkeypatch.chdir(tmp_path)
    assert lakehouse.filesystem("disk:t")[1] == str(tmp_path / "data" / "t")
    with pytest.raises(Config, match="disk"):
        lakehouse.filesystem("disc:t")


@pytest.fixture
def server() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


def test_the_options_of_the_store_are_used_and_s3_gets_no_checksum_that_it_did_not_ask_for(server: Recorder) -> None:
    options = {"endpoint_url": server.url, "key": "OURKEY", "secret": "our-secret-of-16", "region": "eu-north-7"}
    fs, path = lakehouse.filesystem("place:t/x", named("s3://bucket", **options, requester_pays=True))
    fs.pipe_file(path, b"hello")
    with fs.open(path, "wb") as file:
        file.write(bytes(6 << 20))
    (first, *_) = server.of("PUT")
    assert first.access_key == "OURKEY"
    assert "/eu-north-7/" in first.headers["authorization"]
    for request in server.requests:
        assert request.headers["x-amz-request-payer"] == "requester"
        assert not [
            name for name in request.headers if name.startswith(("x-amz-checksum", "x-amz-sdk-checksum", "x-amz-trailer"))
        ]
        assert request.headers.get("content-encoding") != "aws-chunked"


def test_it_tries_again_as_fsspec_does(server: Recorder) -> None:
    """`lakehouse.retry` is not there to do it: a store's own file system is told not to."""
    options = {"endpoint_url": server.url, "key": "OURKEY", "secret": "our-secret-of-16"}
    fs, path = lakehouse.filesystem("place:t/x", named("s3://bucket", **options))
    fs.pipe_file(path, b"hello")
    server.refuse(503, b"<Error><Code>SlowDown</Code></Error>", times=2)
    assert fs.cat_file(path) == b"hello"
    assert len(server.of("GET")) == 3


REFUSED: list[tuple[str, dict[str, object], str]] = [
    ("s3://bucket", {"key": "K"}, "go together"),
    ("gs://bucket", {"token": "/nowhere/key.json"}, "gcsfs"),
    ("gs://bucket", {"token": "anon", "ca_file": "/nowhere"}, "ca_file"),
    ("az://box", {}, "account"),
    ("/data", {"anon": True}, "anon"),
    ("memory://x", {"anon": True}, "anon"),
]


@pytest.mark.parametrize(("url", "options", "complaint"), REFUSED)
def test_options_that_the_file_system_does_not_take_are_refused(url: str, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(Config, match=complaint):
        lakehouse.filesystem("place:t", named(url, **options))


def test_listings_are_never_old(place: Settings) -> None:
    fs, path = lakehouse.filesystem("place:a/x", place)
    folder = path.rpartition("/")[0]
    fs.makedirs(folder, exist_ok=True)
    fs.pipe_file(path, b"1")
    count: Callable[[], int] = lambda: len(fs.ls(folder))  # noqa: E731
    assert count() == 1
    lakehouse.connect.open_store("place:a", place).put("y", b"2", size=1)
    assert count() == 2
