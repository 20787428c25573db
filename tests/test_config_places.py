"""lake.toml may lie anywhere: on this machine, at a URL, or at ``NAME:path`` in a store of another lake.toml."""

from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow as pa
import pytest

from lakehouse.config import Settings, load
from lakehouse.connect import open_store
from lakehouse.errors import Config, LakeError, NotFound
from lakehouse.lake import Lake
from lakehouse.testing.servers import SeaweedServer

SCHEMA = pa.schema([("id", pa.int64())])


@pytest.fixture
def bucket(seaweed: SeaweedServer) -> str:
    name = f"config-{uuid.uuid4().hex[:12]}"
    seaweed.make_bucket(name)
    return name


def store_of(name: str, url: str, seaweed: SeaweedServer) -> str:
    return (
        f'[store.{name}]\nurl = "{url}"\nendpoint_url = "{seaweed.endpoint_url}"\nprovider = "seaweedfs"\n'
        'key = "env:CONFIG_KEY"\nsecret = "env:CONFIG_SECRET"\n'
    )


@pytest.fixture
def here(seaweed: SeaweedServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory whose lake.toml names the bucket ``ops``, and nothing else."""
    monkeypatch.setenv("CONFIG_KEY", seaweed.key)
    monkeypatch.setenv("CONFIG_SECRET", seaweed.secret)
    (tmp_path / "lake.toml").write_text(store_of("ops", f"s3://{bucket}", seaweed))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(place: str, text: str) -> None:
    data = text.encode()
    open_store("ops:", load()).put(place.removeprefix("ops:"), data, size=len(data))


def test_a_lake_is_what_a_lake_toml_in_a_store_says_at_that_time(here: Path, seaweed: SeaweedServer, bucket: str) -> None:
    text = store_of("data", f"s3://{bucket}/tables", seaweed)
    put("ops:team/lake.toml", text + '[dataset.d]\ntable = "data:one"\nformat = "delta"\n')
    lake = Lake.from_config("ops:team/lake.toml")
    assert str(lake.settings.path) == f"s3://{bucket}/team/lake.toml"
    assert lake.settings.origins["dataset.d.table"] == f"s3://{bucket}/team/lake.toml"
    assert list(lake.settings.stores) == ["data"]  # the file alone, not the one that led to it
    lake.create_dataset("d", SCHEMA).append(pa.table({"id": [1, 2]}, schema=SCHEMA))
    put("ops:team/lake.toml", text + '[dataset.d]\ntable = "data:two"\nformat = "iceberg"\n')
    moved = Lake.from_config("ops:team/lake.toml")
    moved.create_dataset("d", SCHEMA).overwrite(lake["d"].read())
    assert moved["d"].read(version=1).to_arrow()["id"].to_pylist() == [1, 2]
    assert (lake["d"].place, moved["d"].place) == ("data:one", "data:two")


def test_the_url_of_a_lake_toml_is_reached_as_any_other_url(
    here: Path, seaweed: SeaweedServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("ops:x/lake.toml", '[dataset.d]\ntable = "s3://elsewhere/t"\n')
    address = f"s3://{bucket}/x/lake.toml"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.secret)
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed.endpoint_url)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    for found in (load(address), load(environ={"LAKE_CONFIG": address}), load(environ={"LAKE_CONFIG": "ops:x/lake.toml"})):
        assert found.datasets["d"].table == "s3://elsewhere/t"
        assert found.path == address
    overridden = load(address, environ={"LAKE_DATASET_D_TABLE": "/tables/t"})
    assert overridden.datasets["d"].table == "/tables/t"
    assert overridden.origins["dataset.d.table"] == "environment variable LAKE_DATASET_D_TABLE"


RELATIVE = {
    "store.s.url": '[store.s]\nurl = "data"\n',
    "store.s.receipts": '[store.s]\nurl = "/data"\nreceipts = "receipts"\n',
    "store.s.ca_file": '[store.s]\nurl = "s3://b"\nca_file = "ca.pem"\n',
    "dataset.d.table": '[dataset.d]\ntable = "tables/d"\n',
    "dataset.d.replica.0.to": '[dataset.d]\ntable = "/tables/d"\n[[dataset.d.replica]]\nto = "../copies/d"\n',
    "catalog.c.uri": '[catalog.c]\ntype = "sql"\nuri = "sqlite:///c.db"\n',
    "catalog.c.warehouse": '[catalog.c]\ntype = "storage"\nwarehouse = "house"\n',
}


def test_a_relative_path_leads_nowhere_from_an_object_store_and_is_refused_by_its_key(here: Path, bucket: str) -> None:
    for key, text in RELATIVE.items():
        put("ops:lake.toml", text)
        with pytest.raises(Config, match=rf"^s3://{bucket}/lake\.toml: {key}: '[^']+' is relative to lake.toml, which lies in"):
            load("ops:lake.toml")
    put("ops:lake.toml", '[store.s]\nurl = "/data"\n[dataset.d]\ntable = "s:d"\n[dataset.e]\ntable = "file:///e"\n')
    assert load("ops:lake.toml").stores["s"].url == "/data"
    assert load("ops:lake.toml", environ={"LAKE_DATASET_F_TABLE": "f"}, start=here).datasets["f"].table == "f"


def test_a_lake_toml_by_the_name_of_a_local_store_is_a_local_file(tmp_path: Path) -> None:
    (tmp_path / "ops").mkdir()
    (tmp_path / "lake.toml").write_text('[store.ops]\nurl = "ops"\n')
    (tmp_path / "ops" / "lake.toml").write_text('[dataset.d]\ntable = "tables/d"\n')
    for place in ("ops:lake.toml", f"file://{tmp_path}/ops/lake.toml", f"file:{tmp_path}/ops/lake.toml"):
        found = load(place, environ={}, start=tmp_path)
        assert found.path == tmp_path / "ops" / "lake.toml"
        assert found.datasets["d"].table == str(tmp_path / "ops" / "tables" / "d")
    (tmp_path / "a:b.toml").write_text('[dataset.odd]\ntable = "/t"\n')
    assert "odd" in load(tmp_path / "a:b.toml", environ={}).datasets


def test_what_leads_to_no_lake_toml_says_so_by_name(here: Path, bucket: str) -> None:
    put("ops:bad.toml", "[dataset")
    (here / "ops-like").write_text("")
    cases: list[tuple[str, type[LakeError], str]] = [
        ("ops:none.toml", NotFound, rf"s3://{bucket}/none\.toml: there is no such lake\.toml \(the call names it\)"),
        ("ops:bad.toml", Config, rf"s3://{bucket}/bad\.toml: is not valid TOML"),
        ("ops:", Config, rf"s3://{bucket}: is no file"),
        ("opps:lake.toml", Config, r"there is no store 'opps' in lake\.toml \(stores: ops\)"),
        ("ops:../lake.toml", Config, "would leave the store"),
        ("s3://key:do-not-show@b/lake.toml", Config, "credentials do not belong in an address"),
        (f"file://{here}/none.toml", Config, "no such file"),
    ]
    for place, kind, message in cases:
        with pytest.raises(kind, match=message) as caught:
            load(place)
        assert "do-not-show" not in str(caught.value)
    with pytest.raises(NotFound, match="LAKE_CONFIG names it"):
        load(environ={"LAKE_CONFIG": "ops:none.toml"})


@pytest.mark.usefixtures("here")
def test_refused_credentials_are_an_error_that_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIG_SECRET", "do-not-show-me-0123456789")
    with pytest.raises(LakeError) as caught:
        load("ops:lake.toml")
    assert "do-not-show" not in str(caught.value)


@pytest.mark.usefixtures("here")
def test_settings_of_a_lake_toml_elsewhere_hold_no_store_of_the_one_that_leads_there() -> None:
    put("ops:lake.toml", '[dataset.d]\ntable = "ops:t"\n')
    with pytest.raises(Config, match=r"dataset\.d\.table: there is no store or catalog 'ops'"):
        load("ops:lake.toml")
    assert isinstance(load(), Settings)
