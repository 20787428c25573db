"""``gs://``: Google Cloud Storage."""

from __future__ import annotations

import base64
import binascii
import functools
import json
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lakehouse.checksum import Checksum
from lakehouse.errors import Config
from lakehouse.fsspec_store import Details, FsspecStore, Remedies
from lakehouse.store import Store, Traits
from lakehouse.url import Url
from lakehouse_connectors import gcs_copy, spellings
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
    from obstore.store import GCSConfig, GCSCredential, RetryConfig

__all__ = ["CONNECTOR"]

logger = logging.getLogger(__name__)
_SERVICE = "https://storage.googleapis.com"
_FSSPEC_ONLY = frozenset({"requester_pays"})
_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)


class GcsConnector:
    """Opens ``gs://bucket/key``.

    ``token`` is what gcsfs takes: ``anon``, ``google_default``, the path of a key file, or its content. Without one the
    application default credentials are used; only at an ``endpoint_url`` with plain HTTP, an emulator, nobody signs in.
    ``project`` says who pays (``requester_pays``); objects are found without it.
    """

    schemes = ("gs",)
    options = frozenset(
        {"token", "anon", "endpoint_url", "timeout", "ca_file", "proxy", "requester_pays", "project", "storage_class"}
    )

    def open(self, url: Url, options: Mapping[str, object], transport: str) -> Store:
        options = _options(url, options)
        without = unknown(options, self.options - _FSSPEC_ONLY)
        if not isinstance(options.get("token"), str | None) or options.get("token") in ("cloud", "cache", "browser"):
            without.append("token")
        if without and transport == "obstore":
            raise Config(f'{url}: obstore has no equivalent of {", ".join(without)}; use transport = "fsspec"')
        if without and transport != "fsspec":
            logger.debug("%s: using fsspec for the options %s", url, ", ".join(without))
        return _open_fsspec(url, options) if without or transport == "fsspec" else _open_obstore(url, options)

    def filesystem(self, url: Url, options: Mapping[str, object]) -> tuple[Any, str]:
        """gcsfs's file system and the path of ``url`` in it, as `lakehouse.filesystem` hands them out."""
        return _file_system(url, _options(url, options))


def _options(url: Url, options: Mapping[str, object]) -> Mapping[str, object]:
    """The options in our spelling; those of fsspec's configuration where they name no credentials."""
    if not url.authority:
        raise Config(f"{url}: an address of Google Cloud Storage names a bucket: gs://bucket/key")
    options = spellings.gcs(options)
    if options.get("token") or flag(options, "anon"):
        return options
    return {**spellings.gcs(fsspec_configuration(("gs", "gcs"))), **options}


def _is_anonymous(options: Mapping[str, object]) -> bool:
    named = options.get("token")
    return flag(options, "anon") or named == "anon" or (not named and is_plain_http(endpoint_of(options)))


def _open_obstore(url: Url, options: Mapping[str, object]) -> Store:
    from obstore.store import GCSStore

    from lakehouse.obstore_store import ObstoreStore, client_options

    endpoint, anonymous = endpoint_of(options), _is_anonymous(options)
    # What these leave out, obstore takes from the environment.
    config: GCSConfig = {"base_url": endpoint or _SERVICE, "skip_signature": anonymous}
    credentials = _nobody if anonymous else _credentials(url, options)
    timeout, plain = number(options, "timeout", TIMEOUT_SECONDS), is_plain_http(endpoint)

    def opened(*, upload: bool, retries: RetryConfig) -> GCSStore:
        return GCSStore(
            url.authority,
            config=config,
            client_options={**client_options(timeout, allow_http=plain, upload=upload), **tls_and_proxy(options)},
            retry_config=retries,
            credential_provider=credentials,
        )

    traits = Traits(conditional_put=True, conditional_get=True)
    traits = gcs_copy.declared(traits, url, options, lambda: getattr(credentials, "credentials", None), generations=False)
    return ObstoreStore(url, opened, traits, attributes=storage_class(options))


def _nobody() -> GCSCredential:
    """The token of nobody. (obstore asks for one before a put even with ``skip_signature``.)"""
    return {"token": "", "expires_at": None}


def _credentials(url: Url, options: Mapping[str, object]) -> Any:
    """google-auth's credentials for a key file (or its content), else the application default ones."""
    token, proxy = text(options, "token"), text(options, "proxy")
    try:
        import google.auth
        import google.auth.exceptions
        import requests
        from google.auth.transport.requests import Request
        from obstore.auth.google import GoogleCredentialProvider
    except ImportError:
        raise Config(f"{url}: needs google-auth: pip install 'lakehouse-portability[gcs]'") from None
    session = requests.Session()
    session.proxies = {"http": proxy, "https": proxy} if proxy else {}
    try:
        found = google.auth.default(scopes=_SCOPES)[0] if token in (None, "google_default") else _of_key(url, str(token))
    except (google.auth.exceptions.GoogleAuthError, ValueError, OSError) as error:
        raise Config(
            f"{url}: no usable Google credentials ({type(error).__name__}); set token in lake.toml to a key file, "
            "run 'gcloud auth application-default login', or set anon = true for public data"
        ) from None
    return GoogleCredentialProvider(found, request=Request(session))


def _of_key(url: Url, token: str) -> Any:
    """google-auth's credentials for a key, which is a file or its content, by the key's type."""
    from google.auth import identity_pool
    from google.oauth2 import credentials, service_account

    if not token.lstrip().startswith("{"):
        with open(token, encoding="utf-8") as file:
            token = file.read()
    key = json.loads(token)
    match key.get("type"):
        case "service_account":
            return service_account.Credentials.from_service_account_info(key, scopes=_SCOPES)  # type: ignore[no-untyped-call]
        case "authorized_user":
            return credentials.Credentials.from_authorized_user_info(key, scopes=_SCOPES)  # type: ignore[no-untyped-call]
        case "external_account" if "file" in key.get("credential_source", {}) or "url" in key.get("credential_source", {}):
            return identity_pool.Credentials.from_info(key, scopes=_SCOPES)  # type: ignore[no-untyped-call]
        case kind:
            raise Config(
                f"{url}: the option token leads to a key of type {kind!r}; name its file in GOOGLE_APPLICATION_CREDENTIALS "
                'instead and set token = "google_default"'
            )


def _open_fsspec(url: Url, options: Mapping[str, object]) -> Store:
    if text(options, "storage_class") is not None:
        raise Config(f"{url}: gcsfs has no equivalent of storage_class; leave transport to auto, and out what only gcsfs takes")
    fs, root = _file_system(url, options)
    import aiohttp
    import google.auth.exceptions
    import requests.exceptions
    from gcsfs.retry import ChecksumError, HttpError

    _turn_retries_off(fs)
    foreign = (
        *(HttpError, ChecksumError, aiohttp.ClientError, requests.exceptions.RequestException),
        *(google.auth.exceptions.GoogleAuthError, OSError, ValueError, RuntimeError),
    )
    remedies = Remedies(large="commit", creates=True, foreign=foreign, details=_details, buckets=True)
    traits = Traits(conditional_put=True, conditional_get=True)
    if not unknown(options, GcsConnector.options):
        traits = gcs_copy.declared(traits, url, options, lambda: fs.credentials.credentials, generations=True)
    return FsspecStore(url, fs, root, traits, remedies)


def _file_system(url: Url, options: Mapping[str, object]) -> tuple[Any, str]:
    """gcsfs and the path of ``url`` in it."""
    if endpoint_of(options) is not None:
        # gcsfs asks for the bucket's layout by gRPC, which no emulator answers: 60 seconds a bucket.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        import aiohttp
        import gcsfs
        import google.auth.exceptions
    except ImportError:
        raise Config(f"{url}: needs gcsfs: pip install 'lakehouse-portability[gcs]'") from None
    if text(options, "ca_file") is not None:
        raise Config(f"{url}: gcsfs has no equivalent of ca_file; leave transport to auto, or set SSL_CERT_FILE")
    timeout, proxy = number(options, "timeout", TIMEOUT_SECONDS), text(options, "proxy")
    token: object = "anon" if _is_anonymous(options) else options.get("token")
    extra: dict[str, Any] = {name: value for name, value in options.items() if name not in GcsConnector.options}
    if proxy is not None:
        extra["session_kwargs"] = {"proxy": proxy, **extra.get("session_kwargs", {})}
    try:
        if isinstance(token, str) and token.lstrip().startswith("{"):
            token = json.loads(token)
        fs = gcsfs.GCSFileSystem(
            project=text(options, "project") or "",
            token=token,
            endpoint_url=endpoint_of(options) or _SERVICE,
            requester_pays=flag(options, "requester_pays"),
            requests_timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(10.0, timeout), sock_read=timeout),
            use_listings_cache=False,
            skip_instance_cache=True,
            **extra,
        )
    except (google.auth.exceptions.GoogleAuthError, TypeError, ValueError, KeyError, OSError) as error:
        raise Config(f"{url}: gcsfs refuses the options ({type(error).__name__})") from None
    return fs, f"{url.authority}/{url.key}" if url.key else url.authority


def _turn_retries_off(fs: Any) -> None:
    """gcsfs tries six times with pauses of up to 32 seconds and has no setting for it; `lakehouse.retry` is the only loop."""
    once = getattr(type(fs)._request, "__wrapped__", None)
    if once is not None:
        fs._request = functools.partial(once, fs)


def _details(info: Mapping[str, Any]) -> Details:
    """crc32c is there for every object; md5Hash is missing for composed ones. The generation tells contents apart."""
    etag = str(info.get("generation") or info.get("etag") or "") or None
    for algorithm, name in (("md5", "md5Hash"), ("crc32c", "crc32c")):
        value = info.get(name)
        if isinstance(value, str) and value:
            try:
                return Details(etag, Checksum(algorithm, base64.b64decode(value, validate=True).hex()))
            except (binascii.Error, ValueError):
                continue
    return Details(etag)


CONNECTOR = GcsConnector()
