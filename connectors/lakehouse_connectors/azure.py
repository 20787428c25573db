"""``abfss://`` and ``az://``: Azure Blob Storage and Data Lake Storage Gen2, by the Blob API."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakehouse.checksum import Checksum
from lakehouse.errors import Config
from lakehouse.fsspec_store import Details, FsspecStore, Remedies
from lakehouse.store import Store, Traits
from lakehouse.url import Url
from lakehouse_connectors.options import TIMEOUT_SECONDS, endpoint_of, flag, is_plain_http, number, text, tls_and_proxy, unknown

if TYPE_CHECKING:
    from obstore.store import AzureConfig

__all__ = ["CONNECTOR"]

logger = logging.getLogger(__name__)
_SUFFIX = "dfs.core.windows.net"
_TRAITS = Traits(conditional_put=True, conditional_get=True)
_REFUSED = "\\"
"""A backslash in a blob's name is stored as a slash (seen with Azurite), which would put the object elsewhere."""


@dataclass(frozen=True, slots=True, repr=False)
class _Account:
    """Where a container lies and what opens it. No repr: it holds secrets."""

    name: str
    container: str
    host: str
    endpoint: str | None
    key: str | None
    sas: str | None


class AzureConnector:
    """Opens ``abfss://container@account.dfs.core.windows.net/key``, and ``az://container/key`` with the option account_name.

    Credentials: connection_string, account_key, sas_token, tenant_id + client_id + client_secret, else azure-identity's chain
    (environment, workload identity, managed identity, CLI).
    """

    schemes = ("abfss", "az")
    options = frozenset(
        {
            *("account_name", "account_key", "connection_string", "sas_token", "tenant_id", "client_id", "client_secret"),
            *("anon", "endpoint_url", "timeout", "ca_file", "proxy"),
        }
    )

    def open(self, url: Url, options: Mapping[str, object], transport: str) -> Store:
        account = _account(url, options)
        canonical = Url("abfss", f"{account.container}@{account.name}.{account.host}", url.key)
        without = unknown(options, self.options)
        if without and transport == "obstore":
            raise Config(f'{url}: obstore has no equivalent of {", ".join(without)}; use transport = "fsspec"')
        if without:
            logger.debug("%s: using fsspec for the options %s", url, ", ".join(without))
        if without or transport == "fsspec":
            return _open_fsspec(canonical, options, account)
        return _open_obstore(canonical, options, account)


def _account(url: Url, options: Mapping[str, object]) -> _Account:
    stated = _connection(text(options, "connection_string"))
    container, at, host = url.authority.partition("@")
    name, _, suffix = host.partition(".")
    name = name or text(options, "account_name") or stated.get("AccountName") or ""
    if not container or not name:
        raise Config(
            f"{url}: which storage account? Write abfss://container@account.{_SUFFIX}/path or set the option account_name"
        )
    for other in (text(options, "account_name"), stated.get("AccountName")):
        if at and other not in (None, name):
            raise Config(f"{url}: the address names the account {name}, the options name {other}")
    endpoint = endpoint_of(options) or stated.get("BlobEndpoint")
    if endpoint is None and suffix not in ("", _SUFFIX, "blob.core.windows.net"):
        endpoint = f"https://{name}.{suffix.replace('dfs.', 'blob.', 1)}"
    key = text(options, "account_key") or stated.get("AccountKey")
    sas = text(options, "sas_token") or stated.get("SharedAccessSignature")
    return _Account(name, container, suffix or _SUFFIX, endpoint.rstrip("/") if endpoint else None, key, sas)


def _connection(text: str | None) -> dict[str, str]:
    """The fields of a connection string (``AccountName=…;AccountKey=…;BlobEndpoint=…``)."""
    return dict(field.split("=", 1) for field in (text or "").split(";") if "=" in field)


def _open_obstore(url: Url, options: Mapping[str, object], account: _Account) -> Store:
    from obstore.store import AzureStore

    from lakehouse.obstore_store import RETRIES_OFF, ObstoreStore, client_options

    config: AzureConfig = {"account_name": account.name}
    if account.endpoint is not None:
        config["endpoint"] = account.endpoint
    credentials: Any = None
    if flag(options, "anon"):
        config["skip_signature"] = True
    else:
        credentials = _credentials(url, options, account)
    timeout, plain = number(options, "timeout", TIMEOUT_SECONDS), is_plain_http(account.endpoint)
    readers, writers = (
        AzureStore(
            account.container,
            config=config,
            client_options={**client_options(timeout, allow_http=plain, upload=upload), **tls_and_proxy(options)},
            retry_config=RETRIES_OFF,
            credential_provider=credentials,
        )
        for upload in (False, True)
    )
    return ObstoreStore(url, readers, _TRAITS, uploads=writers, refused_characters=_REFUSED)


def _credentials(url: Url, options: Mapping[str, object], account: _Account) -> Any:
    """obstore's credential provider for what the options hold, else azure-identity's chain."""
    if account.key is not None:
        return _Fixed("access_key", account.key)
    if account.sas is not None:
        return _Fixed("sas_token", account.sas.lstrip("?"))
    try:
        import azure.identity
        from obstore.auth.azure import AzureCredentialProvider
    except ImportError:
        raise Config(f"{url}: needs azure-identity: pip install 'lakehouse-portability[azure]'") from None
    tenant, client, secret = (text(options, name) for name in ("tenant_id", "client_id", "client_secret"))
    if secret is not None:
        if tenant is None or client is None:
            raise Config(f"{url}: the options tenant_id, client_id and client_secret go together")
        return AzureCredentialProvider(azure.identity.ClientSecretCredential(tenant, client, secret))
    return AzureCredentialProvider(azure.identity.DefaultAzureCredential(managed_identity_client_id=client))


class _Fixed:
    """A fixed secret as obstore's credential provider. Its repr does not show it."""

    def __init__(self, kind: str, secret: str) -> None:
        self._found = {kind: secret, "expires_at": None}

    def __call__(self) -> dict[str, str | None]:
        return self._found

    def __repr__(self) -> str:
        return "_Fixed(***)"


def _open_fsspec(url: Url, options: Mapping[str, object], account: _Account) -> Store:
    try:
        import adlfs
        import azure.core.exceptions
    except ImportError:
        raise Config(f"{url}: needs adlfs: pip install 'lakehouse-portability[azure]'") from None
    connection = text(options, "connection_string")
    if connection is None and account.endpoint is not None and (account.key or account.sas):
        secret = f"AccountKey={account.key}" if account.key else f"SharedAccessSignature={account.sas}"
        connection = f"AccountName={account.name};{secret};BlobEndpoint={account.endpoint}"
    extra = {name: value for name, value in options.items() if name not in AzureConnector.options}
    timeout = int(number(options, "timeout", TIMEOUT_SECONDS)) or 1
    file_system: Any = adlfs.AzureBlobFileSystem  # its hints are not its contract: it takes None for what is not set
    try:
        fs = file_system(
            account_name=account.name,
            account_key=None if connection else account.key,
            connection_string=connection,
            sas_token=None if connection else account.sas,
            tenant_id=text(options, "tenant_id"),
            client_id=text(options, "client_id"),
            client_secret=text(options, "client_secret"),
            anon=flag(options, "anon"),
            connection_timeout=min(10, timeout),
            read_timeout=timeout,
            use_listings_cache=False,
            skip_instance_cache=True,
            **extra,
        )
    except (azure.core.exceptions.AzureError, TypeError, ValueError) as error:
        raise Config(f"{url}: adlfs refuses the options ({type(error).__name__})") from None
    _turn_retries_off(fs)
    foreign = (azure.core.exceptions.AzureError, OSError, ValueError, RuntimeError)
    root = f"{account.container}/{url.key}" if url.key else account.container
    remedies = Remedies(large="close", creates=True, foreign=foreign, details=_details, buckets=True, refused_characters=_REFUSED)
    return FsspecStore(url, fs, root, _TRAITS, remedies)


def _turn_retries_off(fs: Any) -> None:
    """adlfs does not pass the SDK's retry settings on (15 seconds before the second try); `lakehouse.retry` is the only loop."""
    policy = getattr(getattr(fs.service_client, "_config", None), "retry_policy", None)
    if policy is not None:
        policy.total_retries = 0


def _details(info: Mapping[str, Any]) -> Details:
    """Content-MD5 is there for blobs that were put in one piece; otherwise it is what the writer stated, or missing."""
    etag = info.get("etag")
    settings = info.get("content_settings")
    digest = settings.get("content_md5") if isinstance(settings, Mapping) else getattr(settings, "content_md5", None)
    checksum = Checksum("md5", bytes(digest).hex()) if digest else None
    return Details(str(etag).strip('"') if etag else None, checksum)


CONNECTOR = AzureConnector()
