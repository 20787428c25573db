"""``s3://``: Amazon S3 and what speaks its protocol."""

from __future__ import annotations

import fnmatch
import functools
import logging
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lakehouse.errors import Config
from lakehouse.fsspec_store import Details, FsspecStore, Remedies
from lakehouse.store import Store, Traits
from lakehouse.url import Url
from lakehouse_connectors import s3_copy, spellings
from lakehouse_connectors.options import (
    TIMEOUT_SECONDS,
    endpoint_of,
    flag,
    fsspec_configuration,
    is_plain_http,
    number,
    storage_class,
    text,
    tls_and_proxy,
    unknown,
)

if TYPE_CHECKING:
    from obstore.store import RetryConfig, S3Config, S3Credential

__all__ = ["CONNECTOR", "Provider", "provider_of", "providers"]

logger = logging.getLogger(__name__)
_FSSPEC_ONLY = frozenset({"acl"})
_CREDENTIALS = ("key", "secret", "token", "profile", "anon")
_OBSTORE_VARIABLES = (
    "AWS_CHECKSUM_ALGORITHM",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_BUCKET_KEY_ENABLED",
    "AWS_SSE_CUSTOMER_KEY_BASE64",
    "AWS_SSE_KMS_KEY_ID",
)
"""Variables of the environment that change what obstore sends, and that none of its settings can take back."""
_NO_PROFILE = {"profile": (None, None, None, None)}
"""For a botocore session that needs none: the environment's AWS_PROFILE may name one that is not there."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A row of s3_providers.toml: what one S3 service is known to do, and how that is known."""

    name: str
    hosts: tuple[str, ...]
    confirms_put: bool
    conditional_put: bool
    conditional_get: bool
    path_style: bool
    server_copy: bool
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


@dataclass(frozen=True, slots=True, repr=False)
class _Bucket:
    """A bucket, the options that reach it, and what follows from them. No repr: it holds secrets.

    ``session`` is botocore's, where credentials come from a profile or from botocore's chain. ``keys`` are fixed credentials.
    """

    url: Url
    options: Mapping[str, object]
    endpoint: str | None
    region: str | None
    row: Provider
    keys: _Keys | None
    session: Any


class S3Connector:
    """Opens ``s3://bucket/key``. Explicit keys come first, then the environment, then botocore's chain (profiles, SSO, roles).

    A store with keys of its own takes nothing but its region from the environment: neither an endpoint nor a session token.
    """

    schemes = ("s3",)
    options = frozenset(
        {
            *("key", "secret", "token", "profile", "anon", "endpoint_url", "region", "provider", "path_style", "timeout"),
            *("ca_file", "proxy", "requester_pays", "sse_kms_key_id", "storage_class", "acl"),
        }
    )

    def open(self, url: Url, options: Mapping[str, object], transport: str) -> Store:
        bucket = _bucket(url, options)
        without = unknown(bucket.options, self.options - _FSSPEC_ONLY)
        without += [f"the environment's {name}" for name in _OBSTORE_VARIABLES if name in os.environ]
        if without and transport == "obstore":
            raise Config(f'{url}: obstore has no equivalent of {", ".join(without)}; use transport = "fsspec"')
        if without and transport != "fsspec":
            logger.debug("%s: using fsspec for the options %s", url, ", ".join(without))
        return _open_fsspec(bucket) if without or transport == "fsspec" else _open_obstore(bucket)

    def filesystem(self, url: Url, options: Mapping[str, object]) -> tuple[Any, str]:
        """s3fs's file system and the path of ``url`` in it, as `lakehouse.filesystem` hands them out."""
        return _file_system(_bucket(url, options), {})


def _bucket(url: Url, options: Mapping[str, object]) -> _Bucket:
    """Reads the options. Raises `Config` for what does not go together, and for a profile that is not there."""
    if not url.authority:
        raise Config(f"{url}: an S3 address names a bucket: s3://bucket/key")
    options = spellings.s3(options)
    if not any(options.get(name) for name in _CREDENTIALS):
        options = {**spellings.s3(fsspec_configuration(("s3", "s3a"))), **options}
    key, secret, token = (text(options, name) for name in ("key", "secret", "token"))
    if (key is None) != (secret is None) or (token is not None and key is None):
        raise Config(f"{url}: the options key and secret (and a token with them) go together")
    own = key is not None
    stated = None if own else os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = text(options, "region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    keys, session = (None, None) if flag(options, "anon") else _keys_or_session(url, options)
    if session is not None:
        region, stated = region or session.get_config_variable("region"), stated or _configured_endpoint(session)
    endpoint = endpoint_of({"endpoint_url": stated, **options})
    return _Bucket(url, options, endpoint, region, provider_of(endpoint, text(options, "provider")), keys, session)


def _keys_or_session(url: Url, options: Mapping[str, object]) -> tuple[_Keys | None, Any]:
    """Fixed keys, else botocore's session for the profile or the chain (None: botocore is not installed)."""
    key, secret, token = (text(options, name) for name in ("key", "secret", "token"))
    profile = text(options, "profile")
    if key is None and profile is None:
        key, secret, token = (os.environ.get(f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"))
    if key and secret:
        return _Keys(key, secret, token or None), None
    try:
        import botocore.exceptions
        import botocore.session
    except ImportError:
        if profile is not None:
            raise Config(f"{url}: a profile needs boto3: pip install 'lakehouse-portability[s3]'") from None
        return None, None
    session = botocore.session.Session(profile=profile)
    try:
        session.get_scoped_config()
    except botocore.exceptions.BotoCoreError as error:
        raise Config(f"{url}: the AWS profile cannot be used ({type(error).__name__}); look at ~/.aws/config") from None
    return None, session


def _configured_endpoint(session: Any) -> str | None:
    """``endpoint_url`` of the profile, its ``services`` section first (AWS SDKs reference: service-specific endpoints)."""
    profile = session.get_scoped_config()
    services = session.full_config.get("services", {}).get(profile.get("services"), {})
    found = services.get("s3", {}).get("endpoint_url") or profile.get("endpoint_url")
    return str(found) if found else None


def _open_obstore(bucket: _Bucket) -> Store:
    from obstore.store import S3Store

    from lakehouse.obstore_store import ObstoreStore, client_options

    url, options, endpoint, row = bucket.url, bucket.options, bucket.endpoint, bucket.row
    config, credentials = _obstore_config(bucket), _credentials(bucket)
    timeout, plain = number(options, "timeout", TIMEOUT_SECONDS), is_plain_http(endpoint)

    def opened(*, upload: bool, retries: RetryConfig) -> S3Store:
        return S3Store(
            url.authority,
            config=config,
            client_options={**client_options(timeout, allow_http=plain, upload=upload), **tls_and_proxy(options)},
            retry_config=retries,
            credential_provider=credentials,
        )

    traits = Traits(confirms_put=row.confirms_put, conditional_put=row.conditional_put, conditional_get=row.conditional_get)
    traits = s3_copy.declared(traits, bucket, _botocore_config(bucket), _object_options(options))
    return ObstoreStore(url, opened, traits, attributes=storage_class(options))


def _obstore_config(bucket: _Bucket) -> S3Config:
    """obstore's settings. What they leave out, obstore takes from the environment: so they say even what is the default."""
    options, row = bucket.options, bucket.row
    region = bucket.region or "us-east-1"
    endpoint = bucket.endpoint or f"https://s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
    virtual = not _is_path_style(bucket) and (bucket.endpoint is not None or "." not in bucket.url.authority)
    config: S3Config = {
        "region": region,
        "aws_endpoint_url_s3": _with_bucket(endpoint, bucket.url.authority) if virtual else endpoint,
        "virtual_hosted_style_request": virtual,
        "skip_signature": flag(options, "anon"),
        "request_payer": flag(options, "requester_pays"),
        "unsigned_payload": False,
        "s3_express": False,
    }
    if row.confirms_put:  # a checksum that costs nothing; the body's own signature would be a second SHA-256 of every byte
        config["checksum_algorithm"] = "CRC64NVME"
        config["unsigned_payload"] = True
    key_id = text(options, "sse_kms_key_id")
    if key_id is not None:
        config["server_side_encryption"] = "aws:kms"
        config["sse_kms_key_id"] = key_id
    return config


def _is_path_style(bucket: _Bucket) -> bool:
    """Whether the bucket goes into the path: always below an IP address, which cannot have a bucket before it."""
    host = (urlsplit(bucket.endpoint).hostname or "") if bucket.endpoint is not None else ""
    if ":" in host or host.replace(".", "").isdigit():
        return True
    return flag(bucket.options, "path_style") if "path_style" in bucket.options else bucket.row.path_style


def _with_bucket(endpoint: str, bucket: str) -> str:
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{bucket}.{parts.netloc}"


def _credentials(bucket: _Bucket) -> Any:
    """obstore's credential provider (None: unsigned, or obstore's own chain).

    Keys are given through a provider, not through the configuration: obstore would mix them with the environment's session token.
    """
    if bucket.keys is not None or bucket.session is None:
        return bucket.keys
    import botocore.exceptions

    try:
        found = bucket.session.get_credentials()
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise _no_credentials(bucket.url, type(error).__name__) from None
    if found is None:
        raise _no_credentials(bucket.url, "NoCredentials")
    return _Refreshed(found)


def _no_credentials(url: Url, reason: str) -> Config:
    return Config(
        f"{url}: no AWS credentials were found ({reason}); set key and secret or profile in lake.toml, "
        "or the environment, or anon = true for public data"
    )


class _Keys:
    """Fixed keys as obstore's credential provider. Its repr shows none of them."""

    def __init__(self, key: str, secret: str, token: str | None) -> None:
        self.key, self.secret, self.token = key, secret, token
        self._found: S3Credential = {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": None}

    def __call__(self) -> S3Credential:
        return self._found

    def __repr__(self) -> str:
        return "_Keys(***)"


class _Refreshed:
    """botocore's credentials as obstore's credential provider.

    Those that expire are asked for before each request, since only botocore knows for how long they are good and fetches the
    next ones in time. Its repr shows none of them.
    """

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials
        self._expire = hasattr(credentials, "refresh_needed")

    def __call__(self) -> S3Credential:
        found = self._credentials.get_frozen_credentials()
        return {
            "access_key_id": found.access_key,
            "secret_access_key": found.secret_key,
            "token": found.token,
            "expires_at": datetime.now(UTC) if self._expire else None,
        }

    def __repr__(self) -> str:
        return "_Refreshed(***)"


def _open_fsspec(bucket: _Bucket) -> Store:
    url, row = bucket.url, bucket.row
    fs, root = _file_system(bucket, {"retries": {"max_attempts": 0}})
    import aiohttp
    import botocore.exceptions

    fs.retries = 1
    foreign = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, aiohttp.ClientError, OSError, ValueError)
    remedies = Remedies(large="commit", creates=row.conditional_put, foreign=foreign, details=_details, buckets=True)
    traits = Traits(conditional_put=row.conditional_put, conditional_get=True)
    if not unknown(bucket.options, S3Connector.options):
        traits = s3_copy.declared(traits, bucket, _botocore_config(bucket), _object_options(bucket.options))
    return FsspecStore(url, fs, root, traits, remedies)


def _file_system(bucket: _Bucket, config: Mapping[str, object]) -> tuple[Any, str]:
    """s3fs and the path of the bucket's URL in it. ``config`` are more of botocore's settings; the options' own beat them."""
    url, options = bucket.url, bucket.options
    try:
        import botocore.exceptions
        import s3fs
        from aiobotocore.session import AioSession  # type: ignore[import-untyped]
    except ImportError:
        raise Config(f"{url}: needs s3fs: pip install 'lakehouse-portability[s3]'") from None
    extra: dict[str, Any] = {name: value for name, value in options.items() if name not in S3Connector.options}
    client: dict[str, Any] = {"region_name": bucket.region, "verify": text(options, "ca_file"), **extra.pop("client_kwargs", {})}
    settings = {**_botocore_config(bucket), **config, **extra.pop("config_kwargs", {})}
    try:
        fs = s3fs.S3FileSystem(
            key=bucket.keys.key if bucket.keys else None,
            secret=bucket.keys.secret if bucket.keys else None,
            token=bucket.keys.token if bucket.keys else None,
            profile=text(options, "profile"),
            session=AioSession(session_vars=_NO_PROFILE) if bucket.keys else None,
            anon=flag(options, "anon"),
            endpoint_url=bucket.endpoint,
            requester_pays=flag(options, "requester_pays"),
            client_kwargs={name: value for name, value in client.items() if value is not None},
            config_kwargs={name: value for name, value in settings.items() if value is not None},
            s3_additional_kwargs={**_object_options(options), **extra.pop("s3_additional_kwargs", {})},
            use_listings_cache=False,
            skip_instance_cache=True,
            **extra,
        )
    except (botocore.exceptions.BotoCoreError, TypeError, ValueError) as error:
        raise Config(f"{url}: s3fs refuses the options ({type(error).__name__})") from None
    return fs, f"{url.authority}/{url.key}" if url.key else url.authority


def _botocore_config(bucket: _Bucket) -> dict[str, object]:
    """botocore's settings for s3fs. Checksums only where S3 asks for them: the SDK's default breaks what only speaks S3."""
    timeout, proxy = number(bucket.options, "timeout", TIMEOUT_SECONDS), text(bucket.options, "proxy")
    style = "path" if _is_path_style(bucket) else "virtual" if "path_style" in bucket.options else "auto"
    return {
        "connect_timeout": min(10.0, timeout),
        "read_timeout": timeout,
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "ignore_configured_endpoint_urls": True,
        "proxies": {"http": proxy, "https": proxy} if proxy else None,
        "s3": {"addressing_style": style},
    }


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
