"""``s3://``: Amazon S3 and what speaks its protocol."""

from __future__ import annotations

import fnmatch
import functools
import logging
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lakehouse.errors import Config
from lakehouse.fsspec_store import Details, FsspecStore, Remedies
from lakehouse.store import Store, Traits
from lakehouse.url import Url
from lakehouse_connectors.options import TIMEOUT_SECONDS, endpoint_of, flag, is_plain_http, number, text, tls_and_proxy, unknown

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Credential

__all__ = ["CONNECTOR", "Provider", "provider_of", "providers"]

logger = logging.getLogger(__name__)
_FSSPEC_ONLY = frozenset({"storage_class", "acl"})


@dataclass(frozen=True, slots=True)
class Provider:
    """A row of s3_providers.toml: what one S3 service is known to do, and how that is known."""

    name: str
    hosts: tuple[str, ...]
    confirms_put: bool
    conditional_put: bool
    conditional_get: bool
    path_style: bool
    reason: str


@functools.cache
def providers() -> Mapping[str, Provider]:
    """The rows of s3_providers.toml by name."""
    raw = tomllib.loads(resources.files("lakehouse_connectors").joinpath("s3_providers.toml").read_text(encoding="utf-8"))
    return {row["name"]: Provider(**{**row, "hosts": tuple(row["hosts"])}) for row in raw["provider"]}


def provider_of(endpoint: str | None, named: str | None = None) -> Provider:
    """The row for an endpoint (None: AWS), or the one that the option ``provider`` names; ``unknown`` promises nothing."""
    if named is not None:
        if named not in providers():
            raise Config(f"the option provider = {named!r} is none of {', '.join(sorted(providers()))}")
        return providers()[named]
    if endpoint is None:
        return providers()["aws"]
    host = urlsplit(endpoint).hostname or ""
    for row in providers().values():
        if any(fnmatch.fnmatchcase(host, pattern) for pattern in row.hosts):
            return row
    return providers()["unknown"]


class S3Connector:
    """Opens ``s3://bucket/key``. Explicit keys come first, then the environment, then boto3's chain (profiles, SSO, roles)."""

    schemes = ("s3",)
    options = frozenset(
        {
            *("key", "secret", "token", "profile", "anon", "endpoint_url", "region", "provider", "path_style", "timeout"),
            *("ca_file", "proxy", "requester_pays", "sse_kms_key_id", "storage_class", "acl"),
        }
    )

    def open(self, url: Url, options: Mapping[str, object], transport: str) -> Store:
        if not url.authority:
            raise Config(f"{url}: an S3 address names a bucket: s3://bucket/key")
        if (text(options, "key") is None) != (text(options, "secret") is None):
            raise Config(f"{url}: the options key and secret go together")
        stated = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        endpoint = endpoint_of({"endpoint_url": stated, **options})
        row = provider_of(endpoint, text(options, "provider"))
        without = unknown(options, self.options - _FSSPEC_ONLY)
        if without and transport == "obstore":
            raise Config(f'{url}: obstore has no equivalent of {", ".join(without)}; use transport = "fsspec"')
        if without:
            logger.debug("%s: using fsspec for the options %s", url, ", ".join(without))
        if without or transport == "fsspec":
            return _open_fsspec(url, options, endpoint, row)
        return _open_obstore(url, options, endpoint, row)


def _open_obstore(url: Url, options: Mapping[str, object], endpoint: str | None, row: Provider) -> Store:
    from obstore.store import S3Store

    from lakehouse.obstore_store import RETRIES_OFF, ObstoreStore, client_options

    config, credentials = _obstore_config(url, options, endpoint, row)
    timeout, plain = number(options, "timeout", TIMEOUT_SECONDS), is_plain_http(endpoint)
    readers, writers = (
        S3Store(
            url.authority,
            config=config,
            client_options={**client_options(timeout, allow_http=plain, upload=upload), **tls_and_proxy(options)},
            retry_config=RETRIES_OFF,
            credential_provider=credentials,
        )
        for upload in (False, True)
    )
    traits = Traits(confirms_put=row.confirms_put, conditional_put=row.conditional_put, conditional_get=row.conditional_get)
    return ObstoreStore(url, readers, traits, uploads=writers)


def _obstore_config(url: Url, options: Mapping[str, object], endpoint: str | None, row: Provider) -> tuple[S3Config, Any]:
    """obstore's configuration and its credential provider (None: unsigned, or obstore's own chain)."""
    config: S3Config = {}
    credentials: Any = None
    region = text(options, "region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if flag(options, "anon"):
        config["skip_signature"] = True
    else:
        credentials, found_region = _credentials(url, options)
        region = region or found_region
    config["region"] = region or "us-east-1"
    path_style = _is_path_style(options, endpoint, row)
    if endpoint is not None:
        config["endpoint"] = endpoint.rstrip("/") if path_style else _with_bucket(endpoint, url.authority)
    config["virtual_hosted_style_request"] = not path_style and (endpoint is not None or "." not in url.authority)
    if flag(options, "requester_pays"):
        config["request_payer"] = True
    if row.confirms_put:
        config["checksum_algorithm"] = "SHA256"
    key_id = text(options, "sse_kms_key_id")
    if key_id is not None:
        config["server_side_encryption"] = "aws:kms"
        config["sse_kms_key_id"] = key_id
    return config, credentials


def _is_path_style(options: Mapping[str, object], endpoint: str | None, row: Provider) -> bool:
    """Whether the bucket goes into the path: always below an IP address, which cannot have a bucket before it."""
    host = (urlsplit(endpoint).hostname or "") if endpoint is not None else ""
    if ":" in host or host.replace(".", "").isdigit():
        return True
    return flag(options, "path_style") if "path_style" in options else row.path_style


def _with_bucket(endpoint: str, bucket: str) -> str:
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{bucket}.{parts.netloc}"


def _credentials(url: Url, options: Mapping[str, object]) -> tuple[Any, str | None]:
    """A credential provider for obstore, and the region that a profile states.

    Keys are given through a provider, not through the configuration: obstore would mix them with the environment's session token.
    """
    key, secret, token = (text(options, name) for name in ("key", "secret", "token"))
    profile = text(options, "profile")
    if key is None and profile is None:
        key, secret, token = (os.environ.get(f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"))
    if key and secret:
        return _Keys(key, secret, token or None), None
    try:
        import boto3
        import botocore.exceptions
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        if profile is not None:
            raise Config(f"{url}: a profile needs boto3: pip install 'lakehouse-portability[s3]'") from None
        return None, None
    try:
        session = boto3.Session(profile_name=profile)
        return Boto3CredentialProvider(session), session.region_name
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise Config(
            f"{url}: no AWS credentials were found ({type(error).__name__}); set key and secret or profile in lake.toml, "
            "or the environment, or anon = true for public data"
        ) from None


class _Keys:
    """Fixed keys as obstore's credential provider. Its repr shows none of them."""

    def __init__(self, key: str, secret: str, token: str | None) -> None:
        self._found: S3Credential = {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": None}

    def __call__(self) -> S3Credential:
        return self._found

    def __repr__(self) -> str:
        return "_Keys(***)"


def _open_fsspec(url: Url, options: Mapping[str, object], endpoint: str | None, row: Provider) -> Store:
    try:
        import aiohttp
        import botocore.exceptions
        import s3fs
    except ImportError:
        raise Config(f"{url}: needs s3fs: pip install 'lakehouse-portability[s3]'") from None
    timeout = number(options, "timeout", TIMEOUT_SECONDS)
    extra: dict[str, Any] = {name: value for name, value in options.items() if name not in S3Connector.options}
    client: dict[str, Any] = dict(extra.pop("client_kwargs", None) or {})
    client.setdefault("region_name", text(options, "region"))
    if text(options, "ca_file"):
        client["verify"] = text(options, "ca_file")
    config: dict[str, Any] = {
        "connect_timeout": min(10.0, timeout),
        "read_timeout": timeout,
        "retries": {"max_attempts": 0},
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "proxies": {"http": text(options, "proxy"), "https": text(options, "proxy")} if text(options, "proxy") else None,
        "s3": {"addressing_style": "path" if _is_path_style(options, endpoint, row) else "auto"},
        **dict(extra.pop("config_kwargs", None) or {}),
    }
    try:
        fs = s3fs.S3FileSystem(
            key=text(options, "key"),
            secret=text(options, "secret"),
            token=text(options, "token"),
            profile=text(options, "profile"),
            anon=flag(options, "anon"),
            endpoint_url=endpoint,
            requester_pays=flag(options, "requester_pays"),
            client_kwargs={name: value for name, value in client.items() if value is not None},
            config_kwargs={name: value for name, value in config.items() if value is not None},
            s3_additional_kwargs=_object_options(options),
            use_listings_cache=False,
            skip_instance_cache=True,
            **extra,
        )
    except (botocore.exceptions.BotoCoreError, TypeError, ValueError) as error:
        raise Config(f"{url}: s3fs refuses the options ({type(error).__name__})") from None
    fs.retries = 1
    foreign = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, aiohttp.ClientError, OSError, ValueError)
    remedies = Remedies(large="commit", creates=row.conditional_put, foreign=foreign, details=_details, buckets=True)
    root = f"{url.authority}/{url.key}" if url.key else url.authority
    return FsspecStore(url, fs, root, Traits(conditional_put=row.conditional_put, conditional_get=True), remedies)


def _object_options(options: Mapping[str, object]) -> dict[str, str]:
    """What s3fs sends with every object that it writes."""
    found = {
        "StorageClass": text(options, "storage_class"),
        "ACL": text(options, "acl"),
        "SSEKMSKeyId": text(options, "sse_kms_key_id"),
    }
    sent = {name: value for name, value in found.items() if value is not None}
    return {**sent, "ServerSideEncryption": "aws:kms"} if "SSEKMSKeyId" in sent else sent


def _details(info: Mapping[str, Any]) -> Details:
    """S3's ETag is never taken for a checksum: multipart and encrypted objects have one that is not an MD5."""
    etag = info.get("ETag")
    return Details(str(etag) if etag else None)


CONNECTOR = S3Connector()
