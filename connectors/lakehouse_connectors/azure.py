"""``abfss://`` and ``az://``: Azure Blob Storage and Data Lake Storage Gen2, by the Blob API."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakehouse.checksum import Checksum
from lakehouse.errors import Config
from lakehouse.fsspec_store import Details, FsspecStore, Remedies
from lakehouse.store import Store, Traits
from lakehouse.url import Url
from lakehouse_connectors import azure_copy, spellings
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
    from obstore.store import AzureConfig, RetryConfig

__all__ = ["CONNECTOR"]

logger = logging.getLogger(__name__)
_SUFFIX = "dfs.core.windows.net"
_TRAITS = Traits(conditional_put=True, conditional_get=True)
_REFUSED = "\\"
"""A backslash in a blob's name is stored as a slash (seen with Azurite), which would put the object elsewhere."""
_CREDENTIALS = ("account_key", "connection_string", "sas_token", "tenant_id", "client_id", "client_secret", "anon", "credential")
_VARIABLES = {
    name: f"AZURE_STORAGE_{name.upper()}"
    for name in ("account_key", "connection_string", "sas_token", "tenant_id", "client_id", "client_secret")
}
"""adlfs's variables of the environment."""


@dataclass(frozen=True, slots=True, repr=False)
class _Account:
    """Where a container lies and what opens it. No repr: it holds secrets."""

    name: str
    container: str
    host: str
    endpoint: str
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
            *("anon", "endpoint_url", "timeout", "ca_file", "proxy", "storage_class"),
        }
    )

    def open(self, url: Url, options: Mapping[str, object], transport: str) -> Store:
        options, account = _account(url, options)
        canonical = _canonical(url, account)
        without = unknown(options, self.options)
        if without and transport == "obstore":
            raise Config(f'{url}: obstore has no equivalent of {", ".join(without)}; use transport = "fsspec"')
        if without and transport != "fsspec":
            logger.debug("%s: using fsspec for the options %s", url, ", ".join(without))
        if without or transport == "fsspec":
            return _open_fsspec(canonical, options, account)
        return _open_obstore(canonical, options, account)

    def filesystem(self, url: Url, options: Mapping[str, object]) -> tuple[Any, str]:
        """adlfs's file system and the path of ``url`` in it, as `lakehouse.filesystem` hands them out."""
        options, account = _account(url, options)
        return _file_system(_canonical(url, account), options, account)


def _canonical(url: Url, account: _Account) -> Url:
    return Url("abfss", f"{account.container}@{account.name}.{account.host}", url.key)


def _account(url: Url, options: Mapping[str, object]) -> tuple[Mapping[str, object], _Account]:
    """The options in our spelling, with what the environment adds, and the account that they and the address name."""
    options = spellings.azure(options)
    if not any(options.get(name) for name in _CREDENTIALS):
        options = _with_environment(url, {**spellings.azure(fsspec_configuration(("abfs", "az", "abfss"))), **options})
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
    endpoint = endpoint_of(options) or stated.get("BlobEndpoint") or _endpoint(name, suffix, stated)
    key = text(options, "account_key") or stated.get("AccountKey")
    sas = text(options, "sas_token") or stated.get("SharedAccessSignature")
    return options, _Account(name, container, suffix or _SUFFIX, endpoint.rstrip("/"), key, sas)


def _with_environment(url: Url, options: Mapping[str, object]) -> Mapping[str, object]:
    """The options, and what adlfs's variables of the environment add where they do not speak of another account."""
    found = {name: os.environ[variable] for name, variable in _VARIABLES.items() if os.environ.get(variable)}
    theirs = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME") or _connection(found.get("connection_string")).get("AccountName")
    ours = url.authority.partition("@")[2].partition(".")[0] or text(options, "account_name")
    if theirs and ours and theirs != ours:
        logger.debug("%s: the environment's AZURE_STORAGE_… speak of another account", url)
        return options
    return {**({"account_name": theirs} if theirs else {}), **found, **options}


def _connection(text: str | None) -> dict[str, str]:
    """The fields of a connection string (``AccountName=…;AccountKey=…;BlobEndpoint=…``)."""
    return dict(field.split("=", 1) for field in (text or "").split(";") if "=" in field)


def _endpoint(account: str, suffix: str, stated: Mapping[str, str]) -> str:
    """Where the Blob API of the account answers. ``suffix`` is the address's (``dfs.core.windows.net``, a national cloud's)."""
    host = suffix.replace("dfs.", "blob.", 1) if suffix else f"blob.{stated.get('EndpointSuffix', 'core.windows.net')}"
    return f"{stated.get('DefaultEndpointsProtocol', 'https')}://{account}.{host}"


def _open_obstore(url: Url, options: Mapping[str, object], account: _Account) -> Store:
    from obstore.store import AzureStore

    from lakehouse.obstore_store import ObstoreStore, client_options

    config: AzureConfig = {  # what it leaves out, obstore takes from the environment
        "account_name": account.name,
        "endpoint": account.endpoint,
        "skip_signature": flag(options, "anon"),
        "use_emulator": False,
        "use_fabric_endpoint": False,
    }
    credentials = None if flag(options, "anon") else _credentials(url, options, account)
    timeout, plain = number(options, "timeout", TIMEOUT_SECONDS), is_plain_http(account.endpoint)

    def opened(*, upload: bool, retries: RetryConfig) -> AzureStore:
        return AzureStore(
            account.container,
            config=config,
            client_options={**client_options(timeout, allow_http=plain, upload=upload), **tls_and_proxy(options)},
            retry_config=retries,
            credential_provider=credentials,
        )

    traits = azure_copy.declared(_TRAITS, url, account, options, quoted=True)
    return ObstoreStore(url, opened, traits, refused_characters=_REFUSED, attributes=storage_class(options))


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
    proxy = text(options, "proxy")
    through: dict[str, Any] = {"proxies": {"http": proxy, "https": proxy}} if proxy else {}
    if secret is not None:
        if tenant is None or client is None:
            raise Config(f"{url}: the options tenant_id, client_id and client_secret go together")
        return AzureCredentialProvider(azure.identity.ClientSecretCredential(tenant, client, secret, **through))
    return AzureCredentialProvider(azure.identity.DefaultAzureCredential(managed_identity_client_id=client, **through))


class _Fixed:
    """A fixed secret as obstore's credential provider. Its repr does not show it."""

    def __init__(self, kind: str, secret: str) -> None:
        self._found = {kind: secret, "expires_at": None}

    def __call__(self) -> dict[str, str | None]:
        return self._found

    def __repr__(self) -> str:
        return "_Fixed(***)"


def _open_fsspec(url: Url, options: Mapping[str, object], account: _Account) -> Store:
    if text(options, "storage_class") is not None:
        raise Config(f"{url}: adlfs has no equivalent of storage_class; leave transport to auto, and out what only adlfs takes")
    fs, root = _file_system(url, options, account)
    import azure.core.exceptions

    _turn_retries_off(fs)
    foreign = (azure.core.exceptions.AzureError, OSError, ValueError, RuntimeError)
    remedies = Remedies(large="close", creates=True, foreign=foreign, details=_details, buckets=True, refused_characters=_REFUSED)
    plain = not unknown(options, AzureConnector.options)
    traits = azure_copy.declared(_TRAITS, url, account, options, quoted=False) if plain else _TRAITS
    return FsspecStore(url, fs, root, traits, remedies)


def _file_system(url: Url, options: Mapping[str, object], account: _Account) -> tuple[Any, str]:
    """adlfs and the path of the canonical ``url`` in it."""
    try:
        import adlfs
        import azure.core.exceptions
    except ImportError:
        raise Config(f"{url}: needs adlfs: pip install 'lakehouse-portability[azure]'") from None
    connection = _connection_string(url, options, account)
    extra = {name: value for name, value in options.items() if name not in AzureConnector.options}
    timeout = int(number(options, "timeout", TIMEOUT_SECONDS)) or 1
    file_system: Any = adlfs.AzureBlobFileSystem  # its hints are not its contract: it takes None for what is not set
    try:
        fs = file_system(
            account_name=account.name,
            account_host=account.endpoint.partition("://")[2],
            connection_string=connection,
            tenant_id=None if connection else text(options, "tenant_id"),
            client_id=None if connection else text(options, "client_id"),
            client_secret=None if connection else text(options, "client_secret"),
            anon=flag(options, "anon"),
            connection_timeout=min(10, timeout),
            read_timeout=timeout,
            use_listings_cache=False,
            skip_instance_cache=True,
            **extra,
        )
    except (azure.core.exceptions.AzureError, TypeError, ValueError) as error:
        raise Config(f"{url}: adlfs refuses the options ({type(error).__name__})") from None
    _set_tls_and_proxy(url, fs, options)
    return fs, f"{account.container}/{url.key}" if url.key else account.container


def _connection_string(url: Url, options: Mapping[str, object], account: _Account) -> str | None:
    """What opens the account, in the one form that adlfs prefers to its own variables of the environment (None: tokens)."""
    if flag(options, "anon"):
        return f"AccountName={account.name};BlobEndpoint={account.endpoint}"
    if account.key is not None:
        return f"AccountName={account.name};AccountKey={account.key};BlobEndpoint={account.endpoint}"
    if account.sas is not None:
        return f"AccountName={account.name};SharedAccessSignature={account.sas.lstrip('?')};BlobEndpoint={account.endpoint}"
    for variable in ("CONNECTION_STRING", "ACCOUNT_KEY", "SAS_TOKEN"):
        if os.environ.get(f"AZURE_STORAGE_{variable}"):
            raise Config(
                f"{url}: adlfs would take the environment's AZURE_STORAGE_{variable} for this store's credentials; unset it"
            )
    return None


def _set_tls_and_proxy(url: Url, fs: Any, options: Mapping[str, object]) -> None:
    """adlfs passes neither to the SDK's client, which has its settings by now. Raises `Config` where they cannot be reached."""
    ca_file, proxy = text(options, "ca_file"), text(options, "proxy")
    tls_and_proxy(options)
    try:
        if ca_file is not None:
            fs.service_client._pipeline._transport.connection_config.verify = ca_file
        if proxy is not None:
            fs.service_client._config.proxy_policy.proxies = {"http": proxy, "https": proxy}
    except AttributeError:
        raise Config(f"{url}: adlfs cannot be given the options ca_file and proxy here; leave transport to auto") from None


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
