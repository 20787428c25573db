"""Copies within one service: across two buckets, pinned to the source's etag, safe from many threads."""

from __future__ import annotations

import base64
import hashlib
import itertools
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.config
import botocore.exceptions
import botocore.session
import pytest

from lakehouse.below import Below
from lakehouse.checksum import Checksum, sha256_hex
from lakehouse.connect import open_store
from lakehouse.elsewhere import Elsewhere
from lakehouse.errors import Config, Conflict, NotFound, Transfer, Unsupported
from lakehouse.mending import Mending
from lakehouse.one_object import OneObject
from lakehouse.settings import Settings, StoreSettings
from lakehouse.store import ObjectInfo, ServerCopy, Store
from lakehouse.table import Written
from lakehouse.testing.copy_suite import ODD_KEYS
from lakehouse.url import Url, parse
from lakehouse_connectors.s3 import Provider, provider_of
from lakehouse_connectors.s3_copy import S3Copies

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly with raw bytes:ResourceWarning")
MIB = 1 << 20


def opened(url: str, options: Mapping[str, object], transport: str = "auto") -> Store:
    named = StoreSettings("place", url, transport=transport, options=dict(options))  # type: ignore[arg-type]
    return open_store("place:", Settings(stores={"place": named}))


def s3_options(server: Any, provider: str = "seaweedfs") -> dict[str, object]:
    return {"key": server.key, "secret": server.secret, "endpoint_url": server.endpoint_url, "provider": provider}


def made_bucket(make: Callable[[str], None]) -> str:
    name = f"copies-{uuid.uuid4().hex[:12]}"
    make(name)
    return name


def copy_of(store: Store) -> ServerCopy:
    assert store.traits.copy is not None
    return store.traits.copy


@dataclass(frozen=True)
class Pair:
    """Two stores in two buckets of one service. ``heeds_absent``: the double refuses to overwrite with a copy."""

    source: Store
    target: Store
    secret: str
    mangled: frozenset[str] = frozenset()
    heeds_absent: bool = True


@pytest.fixture(params=itertools.product(["seaweed", "azurite", "gcs"], ["obstore", "fsspec"]), ids="-".join)
def pair(request: pytest.FixtureRequest) -> Pair:
    kind, transport = request.param
    server = request.getfixturevalue(kind)
    make = server.make_container if kind == "azurite" else server.make_bucket
    options: dict[str, object] = {"endpoint_url": server.endpoint if kind == "azurite" else server.endpoint_url}
    scheme, secret = {"seaweed": "s3", "azurite": "az", "gcs": "gs"}[kind], "a secret that is nowhere"
    if kind == "seaweed":
        options, secret = s3_options(server), server.secret
    elif kind == "azurite":
        options.update(account_name=server.account_name, account_key=server.account_key)
        secret = server.account_key
    source, target = (opened(f"{scheme}://{made_bucket(make)}/deep/{name}", options, transport) for name in ("one", "two"))
    return Pair(source, target, secret, frozenset({"back\\slash"} - ({"back\\slash"} if kind == "gcs" else set())), kind != "gcs")


def put(store: Store, path: str, data: bytes) -> ObjectInfo:
    store.put(path, data, size=len(data))
    return store.head(path)


class TestAcrossBuckets:
    def test_two_stores_of_one_service_have_one_name_for_it(self, pair: Pair) -> None:
        assert pair.source.traits.service == pair.target.traits.service is not None
        assert pair.secret not in f"{pair.source.traits!r} {pair.source.traits.service} {pair.source.traits.copy!r}"

    def test_objects_of_any_name_arrive_as_they_are(self, pair: Pair) -> None:
        copy = copy_of(pair.target)
        for key in (*ODD_KEYS, "plain", "empty"):
            if key in pair.mangled:
                continue
            data = b"" if key == "empty" else key.encode() * 99
            made = copy(pair.source.url, put(pair.source, key, data), f"to/{key}")
            assert (made.path, made.size, made.etag) == (f"to/{key}", len(data), pair.target.head(f"to/{key}").etag)
            assert pair.target.get(f"to/{key}", if_match=made.etag) == data

    def test_an_object_that_changed_is_refused_and_nothing_arrives(self, pair: Pair) -> None:
        info = put(pair.source, "x", b"old")
        put(pair.source, "x", b"new")
        with pytest.raises(Transfer, match="changed") as caught:
            copy_of(pair.target)(pair.source.url, info, "x")
        assert not caught.value.transient
        with pytest.raises(NotFound):
            pair.target.head("x")

    def test_an_object_that_is_gone_is_not_found_and_named(self, pair: Pair) -> None:
        put(pair.source, "there", b"x")
        with pytest.raises(NotFound, match=f"{pair.source.url}/gone"):
            copy_of(pair.target)(pair.source.url, ObjectInfo("gone", 1, '"etag"'), "x")

    def test_what_is_there_is_overwritten_only_when_told_to(self, pair: Pair) -> None:
        info = put(pair.source, "x", b"new")
        put(pair.target, "x", b"old")
        if pair.heeds_absent:
            with pytest.raises(Conflict, match="exists already"):
                copy_of(pair.target)(pair.source.url, info, "x")
            assert pair.target.get("x") == b"old"
        copy_of(pair.target)(pair.source.url, info, "x", if_absent=False)
        assert pair.target.get("x") == b"new"

    def test_sixteen_threads_copy_at_once(self, pair: Pair) -> None:
        infos = [put(pair.source, f"n/{number}", b"%d" % number * 50) for number in range(48)]
        with ThreadPoolExecutor(16) as pool:
            made = list(pool.map(lambda info: copy_of(pair.target)(pair.source.url, info, info.path), infos))
        assert [info.path for info in made] == [info.path for info in infos]
        assert sorted((info.path, info.etag) for info in pair.target.list()) == sorted((info.path, info.etag) for info in made)
        assert [pair.target.get(f"n/{number}") for number in range(48)] == [b"%d" % number * 50 for number in range(48)]

    @pytest.mark.parametrize("path", ["", "a//b", "../x", "a/./b"])
    def test_paths_that_a_client_would_change_are_refused(self, pair: Pair, path: str) -> None:
        with pytest.raises(Unsupported):
            copy_of(pair.target)(pair.source.url, put(pair.source, "x", b"1"), path)


class TestDeclarations:
    def test_other_credentials_are_another_service(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = tmp_path / "config"
        config.write_text("".join(f"[profile {name}]\naws_access_key_id=A\naws_secret_access_key=B\n" for name in "ab"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        s3: dict[str, object] = {"key": "k", "secret": "s", "region": "r"}
        azure: dict[str, object] = {"account_name": "a", "account_key": "a2V5"}
        here = {"provider": "seaweedfs", "endpoint_url": "http://127.0.0.1:1"}
        services = [
            opened("s3://bucket/x", s3).traits.service,
            opened("s3://bucket/x", {**s3, "key": "other"}).traits.service,
            opened("s3://bucket/x", {**s3, "region": "other"}).traits.service,
            opened("s3://bucket/x", {**s3, **here}).traits.service,
            opened("s3://bucket/x", {"profile": "a"}).traits.service,
            opened("s3://bucket/x", {"profile": "b"}).traits.service,
            opened("az://bucket/x", azure).traits.service,
            opened("az://bucket/x", {**azure, "account_name": "b"}).traits.service,
            opened("az://bucket/x", {"account_name": "a", "sas_token": "sig=1"}).traits.service,
            opened("az://bucket/x", {"account_name": "a", "sas_token": "sig=2"}).traits.service,
            opened("gs://bucket/x", {"endpoint_url": "http://127.0.0.1:1"}).traits.service,
            opened("gs://bucket/x", {"endpoint_url": "http://127.0.0.1:2"}).traits.service,
        ]
        assert None not in services
        assert len(set(services)) == len(services)
        assert opened("s3://elsewhere/y", s3).traits.service == services[0]

    def test_both_transports_of_s3_are_one_service_since_their_etags_are(self) -> None:
        options = {"key": "k", "secret": "s"}
        services = {opened("s3://bucket/x", options, transport).traits.service for transport in ("obstore", "fsspec")}
        assert len(services) == 1

    @pytest.mark.parametrize(
        ("url", "options"),
        [
            ("s3://bucket/x", {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:1"}),
            ("s3://bucket/x", {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:1", "provider": "moto"}),
            ("s3://bucket/x", {"anon": True}),
            ("s3://bucket/x", {"key": "k", "secret": "s", "s3_additional_kwargs": {"SSECustomerAlgorithm": "AES256"}}),
            ("az://container/x", {"account_name": "a", "anon": True}),
            ("gs://bucket/x", {"token": "anon", "requester_pays": True}),
        ],
        ids=["unknown service", "moto", "anonymous", "an option that only fsspec takes", "azure anonymous", "requester pays"],
    )
    def test_nothing_is_declared_where_it_might_go_wrong(self, url: str, options: dict[str, object]) -> None:
        traits = opened(url, options).traits
        assert (traits.service, traits.copy, traits.stated_sha256) == (None, None, None)

    def test_no_package_is_loaded_before_the_first_copy_and_none_is_needed_to_declare_nothing(self) -> None:
        script = textwrap.dedent("""
            import sys
            if "without" in sys.argv:
                sys.modules["botocore"] = sys.modules["azure.storage"] = sys.modules["requests"] = None
            from lakehouse.connect import open_store
            from lakehouse.settings import Settings, StoreSettings
            s3 = {"key": "k", "secret": "s"}
            azure = {"account_name": "a", "account_key": "a2V5"}
            gcs = {"endpoint_url": "http://127.0.0.1:1"}
            places = {"s3": ("s3://b", s3), "azure": ("az://c", azure), "gcs": ("gs://b", gcs)}
            stores = {name: StoreSettings(name, url, options=options) for name, (url, options) in places.items()}
            settings = Settings(stores=stores)
            declared = [open_store(f"{name}:", settings).traits.copy is not None for name in places]
            assert declared == ([False] * 3 if "without" in sys.argv else [True] * 3), declared
            loaded = [name for name in ("botocore", "azure.storage.blob", "requests", "google.auth") if sys.modules.get(name)]
            assert not loaded, loaded
        """)
        for arguments in ([], ["without"]):
            run = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
            assert run.returncode == 0, run.stderr


@dataclass(frozen=True)
class Keys:
    key: str
    secret: str
    token: str | None = None


@dataclass(frozen=True)
class Bucket:
    """What the S3 connector hands over, for copies with limits of their own."""

    url: Url
    options: Mapping[str, object]
    endpoint: str | None
    row: Provider
    keys: Keys
    region: str | None = "us-east-1"
    session: Any = None


@dataclass(frozen=True)
class S3Place:
    """A bucket of an S3 server, a client that looks at it, and copies of which 5 MiB count as large."""

    name: str
    client: Any
    copies: S3Copies
    store: Store


def s3_place(server: Any, provider: str) -> S3Place:
    name = made_bucket(server.make_bucket)
    config = {"s3": {"addressing_style": "path"}, "request_checksum_calculation": "when_required"}
    keys = Keys(server.key, server.secret)
    bucket = Bucket(parse(f"s3://{name}"), {}, server.endpoint_url, provider_of(None, provider), keys)
    client = botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
        config=botocore.config.Config(**config),
    )
    copies = S3Copies(bucket, config, {}, largest=5 * MIB, part=5 * MIB)
    return S3Place(name, client, copies, opened(f"s3://{name}", s3_options(server, provider)))


class TestS3:
    @pytest.fixture(scope="class", params=["seaweed", "moto"])
    @classmethod
    def place(cls, request: pytest.FixtureRequest) -> S3Place:
        return s3_place(request.getfixturevalue(request.param), "seaweedfs" if request.param == "seaweed" else "moto")

    @pytest.fixture(scope="class")
    @classmethod
    def large(cls) -> bytes:
        return hashlib.sha256(b"large").digest() * (11 * MIB // 32) + b"and an odd end"

    def test_a_large_object_is_copied_in_parts_and_no_checksum_of_parts_is_taken_for_one(
        self, place: S3Place, large: bytes
    ) -> None:
        made = place.copies(place.store.url, put(place.store, "large", large), "parts/large")
        assert place.store.get("parts/large", if_match=made.etag) == large
        assert (made.size, made.checksum, made.etag) == (len(large), None, place.store.head("parts/large").etag)
        assert not place.client.list_multipart_uploads(Bucket=place.name).get("Uploads")

    def test_a_source_that_is_gone_leaves_no_upload_behind(self, place: S3Place, large: bytes) -> None:
        with pytest.raises(NotFound, match="gone"):
            place.copies(place.store.url, ObjectInfo("gone", len(large), '"etag"'), "parts/gone")
        assert not place.client.list_multipart_uploads(Bucket=place.name).get("Uploads")

    def test_a_missing_bucket_of_the_source_is_a_configuration_error(self, place: S3Place) -> None:
        with pytest.raises(Config, match="bucket"):
            place.copies("s3://no-such-bucket-anywhere", ObjectInfo("x", 1), "x")

    def test_a_large_source_that_changed_leaves_neither_object_nor_upload(self, seaweed: Any, large: bytes) -> None:
        place = s3_place(seaweed, "seaweedfs")
        info = put(place.store, "large", large)
        put(place.store, "large", large[::-1])
        with pytest.raises(Transfer, match="changed"):
            place.copies(place.store.url, info, "copy")
        assert not place.client.list_multipart_uploads(Bucket=place.name).get("Uploads")
        with pytest.raises(NotFound):
            place.store.head("copy")

    def test_a_large_copy_does_not_overwrite(self, seaweed: Any, large: bytes) -> None:
        place = s3_place(seaweed, "seaweedfs")
        info = put(place.store, "large", large)
        put(place.store, "there", b"old")
        with pytest.raises(Conflict, match="there"):
            place.copies(place.store.url, info, "there")
        assert place.store.get("there") == b"old"

    def test_wrong_credentials_are_a_configuration_error_without_a_secret(self, seaweed: Any) -> None:
        place = s3_place(seaweed, "seaweedfs")
        info = put(place.store, "x", b"1")
        wrong = opened(place.store.url, {**s3_options(seaweed), "secret": "another-secret-of-nobody"})
        with pytest.raises(Config) as caught:
            copy_of(wrong)(wrong.url, info, "copy")
        assert "another-secret" not in str(caught.value)
        assert wrong.url in str(caught.value)

    def test_the_sha256_that_the_service_computes_comes_with_the_copy(self, moto: Any) -> None:
        place = s3_place(moto, "moto")
        made = place.copies(place.store.url, put(place.store, "x", b"hello"), "copy")
        assert made.checksum == Checksum("sha256", sha256_hex(b"hello"))

    def test_a_sha256_that_does_not_fit_is_never_stored_so_it_is_never_stated(self, seaweed: Any) -> None:
        place = s3_place(seaweed, "seaweedfs")
        wrong = base64.b64encode(hashlib.sha256(b"what was meant").digest()).decode()
        with pytest.raises(botocore.exceptions.ClientError, match="BadDigest"):
            place.client.put_object(Bucket=place.name, Key="x", Body=b"what arrived", ChecksumSHA256=wrong)

    def test_a_stated_sha256_is_of_the_whole_content_never_of_parts(self, seaweed: Any) -> None:
        """Trap: an ETag or a checksum of parts (…-2) is not one of the content."""
        place = s3_place(seaweed, "seaweedfs")
        digest = hashlib.sha256(b"hello").digest()
        place.client.put_object(Bucket=place.name, Key="whole", Body=b"hello", ChecksumAlgorithm="SHA256")
        assert place.copies.stated_sha256(place.store.head("whole")) == digest.hex()
        key = {"Bucket": place.name, "Key": "parts"}
        begun = place.client.create_multipart_upload(**key, ChecksumAlgorithm="SHA256")
        upload = {**key, "UploadId": begun["UploadId"]}
        parts = []
        for number, data in enumerate((bytes(5 * MIB), b"end"), 1):
            sent = place.client.upload_part(**upload, PartNumber=number, Body=data, ChecksumAlgorithm="SHA256")
            named = {"PartNumber": number, "ETag": sent["ETag"], "ChecksumSHA256": sent["ChecksumSHA256"]}
            parts.append(named)
        place.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        assert place.copies.stated_sha256(place.store.head("parts")) is None

    def test_a_profile_of_the_environment_that_is_not_there_does_not_matter_to_keys(
        self, seaweed: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_PROFILE", "there-is-none")
        place = s3_place_of_store(seaweed)
        copy_of(place)(place.url, put(place, "x", b"1"), "copy")
        assert place.get("copy") == b"1"

    def test_a_profile_reaches_the_service_as_the_store_does(
        self, seaweed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = tmp_path / "config"
        keys = f"aws_access_key_id={seaweed.key}\naws_secret_access_key={seaweed.secret}\n"
        config.write_text(f"[profile own]\nregion=us-east-1\n{keys}")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        options = {"profile": "own", "endpoint_url": seaweed.endpoint_url, "provider": "seaweedfs"}
        for transport in ("obstore", "fsspec"):
            store = opened(f"s3://{made_bucket(seaweed.make_bucket)}", options, transport)
            copy_of(store)(store.url, put(store, "x", b"1"), "copy")
            assert store.get("copy") == b"1"


def s3_place_of_store(server: Any) -> Store:
    return opened(f"s3://{made_bucket(server.make_bucket)}/a", s3_options(server))


class TestAround:
    """The stores that stand before another one."""

    @pytest.fixture
    def store(self, azurite: Any) -> Store:
        """A real store whose double is quick."""
        options = {"connection_string": azurite.connection_string}
        return opened(f"az://{made_bucket(azurite.make_container)}/a", options)

    def test_below_copies_below(self, store: Store) -> None:
        below = Below(store, "folder")
        put(store, "x", b"1")
        put(below, "y", b"2")
        assert below.traits.service == store.traits.service
        assert copy_of(below)(store.url, store.head("x"), "x").path == "x"
        assert copy_of(below)(below.url, below.head("y"), "z").path == "z"
        assert [store.get("folder/x"), store.get("folder/z")] == [b"1", b"2"]

    def test_a_damaged_object_is_overwritten_by_a_copy_once(self, store: Store) -> None:
        info = put(store, "source", b"whole")
        noted = put(store, "x", b"half")
        mending = Mending(store, {"x": Written("x", 4, "", "copied", target_etag=noted.etag)})
        copy_of(mending)(store.url, info, "x")
        assert mending.get("x") == b"whole"
        with pytest.raises(Conflict, match="exists already"):
            copy_of(mending)(store.url, info, "x")

    def test_a_damaged_object_that_somebody_changed_stays(self, store: Store) -> None:
        info = put(store, "source", b"whole")
        noted = put(store, "x", b"half")
        put(store, "x", b"mine")
        mending = Mending(store, {"x": Written("x", 4, "", "copied", target_etag=noted.etag)})
        with pytest.raises(Conflict, match="changed by somebody else"):
            copy_of(mending)(store.url, info, "x")
        assert store.get("x") == b"mine"

    def test_a_single_file_is_a_source_only(self, store: Store) -> None:
        one = OneObject(store, "x")
        assert one.traits.copy is None
        assert one.traits.service == store.traits.service

    def test_elsewhere_is_of_the_service_of_its_own_store(self, store: Store) -> None:
        assert Elsewhere(store, lambda address: (store, address)).traits == store.traits
        assert Elsewhere(store, lambda address: (store, address)).traits.service == store.traits.service
