"""Every transport of every provider is held to the contract of `Store`."""

from __future__ import annotations

import base64
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lakehouse.below import Below
from lakehouse.connect import open_store
from lakehouse.errors import Transfer
from lakehouse.settings import Settings, StoreSettings
from lakehouse.store import Store
from lakehouse.testing.store_suite import StoreSuite
from lakehouse_connectors.s3 import provider_of


def opened(url: str, transport: str, **options: object) -> Store:
    """The store as a user gets it: by a name of lake.toml."""
    named = StoreSettings("place", url, transport=transport, options=options)  # type: ignore[arg-type]
    return open_store("place:", Settings(stores={"place": named}))


class TestLocal(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return open_store(str(tmp_path / "deep" / "place"))


class TestLocalFsspec(StoreSuite):
    key_count = 300

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return opened(str(tmp_path), "fsspec")


class TestMemory(StoreSuite):
    @pytest.fixture
    def store(self) -> Store:
        return open_store(f"memory://test/{uuid.uuid4().hex}")


class TestBelow(StoreSuite):
    @pytest.fixture
    def store(self) -> Store:
        return Below(open_store(f"memory://test/{uuid.uuid4().hex}"), "deep/_lake")


aiohttp_takes_raw_bytes = pytest.mark.filterwarnings("ignore:Sending a large body directly with raw bytes:ResourceWarning")
WRONG = "wrong-secret-of-16-characters"


def checksum(data: bytes) -> str:
    """CRC-64/NVME as S3's headers spell it (bit by bit, as the catalogue of parametrised CRC algorithms defines it)."""
    crc = mask = (1 << 64) - 1
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x9A6C9329AC4BC9B5 if crc & 1 else 0)
    return base64.b64encode((crc ^ mask).to_bytes(8, "big")).decode()


def signed(server: Any, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    """The reply to a signed request that no S3 client had its hands on."""
    request = AWSRequest(method, f"{server.endpoint_url}{path}", data=body, headers=headers or {})
    S3SigV4Auth(Credentials(server.key, server.secret), "s3", "us-east-1").add_auth(request)
    sent = urllib.request.Request(request.url, data=body, method=method, headers=dict(request.headers.items()))
    return urllib.request.urlopen(sent, timeout=10)


class S3Suite(StoreSuite):
    """What the S3 services have in common: `server` is one of conftest's fixtures."""

    transport = "obstore"
    provider = "unknown"
    checks_credentials = True
    race_rounds = 1

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Any:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def bucket(cls, server: Any) -> str:
        name = f"suite-{uuid.uuid4().hex[:12]}"
        server.make_bucket(name)
        return name

    def opened(self, server: Any, bucket: str, **changed: object) -> Store:
        options: dict[str, object] = {
            "key": server.key,
            "secret": server.secret,
            "endpoint_url": server.endpoint_url,
            "region": "us-east-1",
            "provider": self.provider,
        }
        return opened(f"s3://{bucket}/{uuid.uuid4().hex}", self.transport, **{**options, **changed})

    @pytest.fixture
    def store(self, server: Any, bucket: str) -> Store:
        self.secrets = (server.secret,)
        return self.opened(server, bucket)

    @pytest.fixture
    def wrong_credentials(self, server: Any, bucket: str) -> Store | None:
        self.secrets = (server.secret, WRONG)
        return self.opened(server, bucket, secret=WRONG) if self.checks_credentials else None

    @pytest.fixture
    def missing_bucket(self, server: Any) -> Store:
        return self.opened(server, f"missing-{uuid.uuid4().hex[:12]}")

    def test_a_failed_upload_is_aborted(self, server: Any, store: Store, bucket: str) -> None:
        def failing() -> Iterator[bytes]:
            for _ in range(20):
                yield bytes(1 << 20)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            store.put("broken", failing(), size=self.large_size)
        with pytest.raises(Transfer):
            store.put("broken", iter([bytes(1 << 20)] * 20), size=self.large_size)
        with signed(server, "GET", f"/{bucket}?uploads=") as reply:
            assert b"broken" not in reply.read()

    def test_uploads_that_read_from_their_own_store_do_not_wait_for_each_other(self, store: Store) -> None:
        size = 9 << 20
        store.put("source", bytes(size), size=size)

        def copy(number: int) -> int:
            ranges = (store.get("source", start=at, end=at + (1 << 20)) for at in range(0, size, 1 << 20))
            return store.put(f"copy/{number}", ranges, size=size).size

        with ThreadPoolExecutor(12) as pool:
            assert list(pool.map(copy, range(12))) == [size] * 12

    def test_a_body_that_differs_from_its_checksum_is_refused_where_the_row_says_so(self, server: Any, bucket: str) -> None:
        if not provider_of(None, self.provider).confirms_put:
            pytest.skip("the row of s3_providers.toml does not promise confirms_put")
        wrong = checksum(b"what was meant")
        with pytest.raises(urllib.error.HTTPError) as caught:
            signed(server, "PUT", f"/{bucket}/tampered", b"what arrived", {"x-amz-checksum-crc64nvme": wrong})
        caught.value.close()
        assert caught.value.code == 400

    def test_the_checksum_is_sent_where_the_row_promises_that_it_is_compared(self, server: Any, store: Store) -> None:
        if not store.traits.confirms_put:
            pytest.skip("Traits.confirms_put is not promised")
        store.put("x", b"hello", size=5)
        path = f"/{store.url.removeprefix('s3://')}/x"
        with signed(server, "HEAD", path, headers={"x-amz-checksum-mode": "ENABLED"}) as reply:
            assert reply.headers["x-amz-checksum-crc64nvme"] == checksum(b"hello")


class TestSeaweed(S3Suite):
    provider = "seaweedfs"
    mangled_by_double = frozenset({"back\\slash"})

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, seaweed: Any) -> Any:
        return seaweed


class TestSeaweedFsspec(TestSeaweed):
    transport = "fsspec"
    key_count = 300


class TestMoto(S3Suite):
    provider = "moto"
    checks_credentials = False
    key_count = 1100

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, moto: Any) -> Any:
        return moto


@pytest.mark.slow  # a second opinion on what TestSeaweedFsspec shows of the store and TestMoto of the service
class TestMotoFsspec(TestMoto):
    transport = "fsspec"
    key_count = 300


class TestUnknownProvider(TestSeaweed):
    """Without a row of s3_providers.toml nothing is promised, and everything works all the same."""

    provider = "unknown"
    key_count = 300


@aiohttp_takes_raw_bytes
class GcsSuite(StoreSuite):
    transport = "obstore"
    race_rounds = 1

    @pytest.fixture(scope="class")
    @classmethod
    def bucket(cls, gcs: Any) -> str:
        name = f"suite-{uuid.uuid4().hex[:12]}"
        gcs.make_bucket(name)
        return name

    @pytest.fixture
    def store(self, gcs: Any, bucket: str) -> Store:
        return opened(f"gs://{bucket}/{uuid.uuid4().hex}", self.transport, endpoint_url=gcs.endpoint_url)

    @pytest.fixture
    def missing_bucket(self, gcs: Any) -> Store:
        return opened(f"gs://missing-{uuid.uuid4().hex[:12]}", self.transport, endpoint_url=gcs.endpoint_url)


class TestGcs(GcsSuite):
    key_count = 1100


class TestGcsFsspec(GcsSuite):
    transport = "fsspec"
    key_count = 300


@aiohttp_takes_raw_bytes
class AzureSuite(StoreSuite):
    transport = "obstore"
    refuses_odd_keys = frozenset({"back\\slash"})
    race_rounds = 1

    @pytest.fixture(scope="class")
    @classmethod
    def container(cls, azurite: Any) -> str:
        name = f"suite-{uuid.uuid4().hex[:12]}"
        azurite.make_container(name)
        return name

    def opened(self, azurite: Any, container: str, key: str) -> Store:
        return opened(
            f"az://{container}/{uuid.uuid4().hex}",
            self.transport,
            account_name=azurite.account_name,
            account_key=key,
            endpoint_url=azurite.endpoint,
        )

    @pytest.fixture
    def store(self, azurite: Any, container: str) -> Store:
        self.secrets = (azurite.account_key,)
        return self.opened(azurite, container, azurite.account_key)

    @pytest.fixture
    def wrong_credentials(self, azurite: Any, container: str) -> Store:
        wrong = base64.b64encode(WRONG.encode() * 2).decode()
        self.secrets = (azurite.account_key, wrong)
        return self.opened(azurite, container, wrong)

    @pytest.fixture
    def missing_bucket(self, azurite: Any) -> Store:
        return self.opened(azurite, f"missing-{uuid.uuid4().hex[:12]}", azurite.account_key)


class TestAzure(AzureSuite):
    key_count = 1100

    def test_the_address_is_canonical(self, store: Store, azurite: Any, container: str) -> None:
        assert store.url.startswith(f"abfss://{container}@{azurite.account_name}.dfs.core.windows.net/")


class TestAzureFsspec(AzureSuite):
    transport = "fsspec"
    key_count = 300
