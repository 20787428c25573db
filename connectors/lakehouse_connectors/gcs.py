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
from lakehouse_connectors.options import TIMEOUT_SECONDS, endpoint_of, flag, is_plain_http, number, text, tls_and_proxy, unknown

if TYPE_CHECKING:
    from obstore.store import GCSConfig

__all__ = ["CONNECTOR"]

logger = logging.getLogger(__name__)
_SERVICE = "https://storage.googleapis.com"
_FSSPEC_ONLY = frozenset({"requester_pays", "project"})


class GcsConnector:
    """Opens ``gs://bucket/key``.

    ``token`` is what gcsfs takes: ``anon``, ``google_default``, the path of a key file, or its content. Without one the
    application default credentials are used. ``endpoint_url`` with plain HTTP is an emulator, which is not signed in to.
    """

    schemes = ("gs",)
    options = frozenset({"token", "anon", "endpoint_url", "timeout", "ca_file", "proxy", "requester_pays", "project"})

    def open(self, url: Url, options: Mapping[str, object], transport: str) -> Store:
        if not url.authority:
            raise Config(f"{url}: an address of Google Cloud Storage names a bucket: gs://bucket/key")
        without = unknown(options, self.options - _FSSPEC_ONLY)
        if options.get("token") in ("cloud", "cache", "browser", "google_default") and options.get("token") != "google_default":
            without.append("token")
        if without and transport == "obstore":
            raise Config(f'{url}: obstore has no equivalent of {", ".join(without)}; use transport = "fsspec"')
        if without:
            logger.debug("%s: using fsspec for the options %s", url, ", ".join(without))
        return _open_fsspec(url, options) if without or transport == "fsspec" else _open_obstore(url, options)


def _is_anonymous(options: Mapping[str, object]) -> bool:
    return flag(options, "anon") or options.get("token") == "anon" or is_plain_http(endpoint_of(options))


def _open_obstore(url: Url, options: Mapping[str, object]) -> Store:
    from obstore.store import GCSStore

    from lakehouse.obstore_store import RETRIES_OFF, ObstoreStore, client_options

    config: GCSConfig = {}
    credentials: Any = None
    endpoint = endpoint_of(options)
    if _is_anonymous(options):
        config["service_account_key"] = _nobody(endpoint)
    else:
        if endpoint is not None:
            config["base_url"] = endpoint.rstrip("/")
        credentials = _credentials(url, text(options, "token"))
    timeout, plain = number(options, "timeout", TIMEOUT_SECONDS), is_plain_http(endpoint)
    readers, writers = (
        GCSStore(
            url.authority,
            config=config,
            client_options={**client_options(timeout, allow_http=plain, upload=upload), **tls_and_proxy(options)},
            retry_config=RETRIES_OFF,
            credential_provider=credentials,
        )
        for upload in (False, True)
    )
    return ObstoreStore(url, readers, Traits(conditional_put=True, conditional_get=True), uploads=writers)


def _nobody(endpoint: str | None) -> str:
    """A key that signs nothing. (obstore asks for a token before a put even with ``skip_signature``.)"""
    key = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    return json.dumps({**key, "gcs_base_url": (endpoint or _SERVICE).rstrip("/")})


def _credentials(url: Url, token: str | None) -> Any:
    """google-auth's credentials for a key file (or its content), else the application default ones."""
    try:
        import google.auth
        import google.auth.exceptions
        from obstore.auth.google import GoogleCredentialProvider
    except ImportError:
        raise Config(f"{url}: needs google-auth: pip install 'lakehouse-portability[gcs]'") from None
    scopes = ["https://www.googleapis.com/auth/devstorage.read_write"]
    try:
        if token in (None, "google_default"):
            found, _ = google.auth.default(scopes=scopes)
        elif token is not None and token.lstrip().startswith("{"):
            found, _ = google.auth.load_credentials_from_dict(json.loads(token), scopes=scopes)  # type: ignore[no-untyped-call]
        else:
            found, _ = google.auth.load_credentials_from_file(token, scopes=scopes)  # type: ignore[no-untyped-call]
    except (google.auth.exceptions.GoogleAuthError, ValueError, OSError) as error:
        raise Config(
            f"{url}: no usable Google credentials ({type(error).__name__}); set token in lake.toml to a key file, "
            "run 'gcloud auth application-default login', or set anon = true for public data"
        ) from None
    return GoogleCredentialProvider(found)


def _open_fsspec(url: Url, options: Mapping[str, object]) -> Store:
    if endpoint_of(options) is not None:
        # gcsfs asks for the bucket's layout by gRPC, which no emulator answers: 60 seconds a bucket.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        import aiohttp
        import gcsfs
        import google.auth.exceptions
        import requests.exceptions
        from gcsfs.retry import ChecksumError, HttpError
    except ImportError:
        raise Config(f"{url}: needs gcsfs: pip install 'lakehouse-portability[gcs]'") from None
    timeout = number(options, "timeout", TIMEOUT_SECONDS)
    token: object = "anon" if _is_anonymous(options) else options.get("token")
    if isinstance(token, str) and token.lstrip().startswith("{"):
        token = json.loads(token)
    extra: dict[str, Any] = {name: value for name, value in options.items() if name not in GcsConnector.options}
    try:
        fs = gcsfs.GCSFileSystem(
            project=text(options, "project") or "",
            token=token,
            endpoint_url=endpoint_of(options),
            requester_pays=flag(options, "requester_pays"),
            requests_timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(10.0, timeout), sock_read=timeout),
            use_listings_cache=False,
            skip_instance_cache=True,
            **extra,
        )
    except (google.auth.exceptions.GoogleAuthError, TypeError, ValueError, OSError) as error:
        raise Config(f"{url}: gcsfs refuses the options ({type(error).__name__})") from None
    _turn_retries_off(fs)
    foreign = (
        *(HttpError, ChecksumError, aiohttp.ClientError, requests.exceptions.RequestException),
        *(google.auth.exceptions.GoogleAuthError, OSError, ValueError, RuntimeError),
    )
    root = f"{url.authority}/{url.key}" if url.key else url.authority
    remedies = Remedies(large="commit", creates=True, foreign=foreign, details=_details, buckets=True)
    return FsspecStore(url, fs, root, Traits(conditional_put=True, conditional_get=True), remedies)


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
