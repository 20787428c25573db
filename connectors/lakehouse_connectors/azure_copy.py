"""Copies within one storage account of Azure: Copy Blob, by azure-storage-blob.

Reference: the Blob service's REST API, Copy Blob: within one account the request's own authorization also opens the source (a
shared access signature goes with the source's address). It may answer before it is done; it takes any size and both conditions.
Put Blob From URL and Copy Blob From URL want public sources or signatures, and stop at 5,000 and 256 MiB.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

from lakehouse.errors import Config, Conflict, Transfer
from lakehouse.store import ObjectInfo, Traits
from lakehouse.url import Url
from lakehouse_connectors.options import TIMEOUT_SECONDS, flag, number, text
from lakehouse_connectors.server_copy import PATIENCE, Names, service_of

__all__ = ["AzureCopies", "declared"]

LONGEST_PAUSE_SECONDS = 15.0
LONGEST_COPY_SECONDS = 4 * 3600.0
_SOURCE_CONDITIONS = ("SourceConditionNotMet", "CannotVerifyCopySource")


class Account(Protocol):
    """What the connector knows of an account."""

    @property
    def name(self) -> str: ...

    @property
    def endpoint(self) -> str: ...

    @property
    def key(self) -> str | None: ...

    @property
    def sas(self) -> str | None: ...


def declared(traits: Traits, url: Url, account: Account, options: Mapping[str, object], *, quoted: bool) -> Traits:
    """``traits``, and the power to copy where somebody signs in and azure-storage-blob is installed.

    ``quoted``: the store's etags are spelled as HTTP spells them, else without quotes.
    """
    if flag(options, "anon") or not _is_installed():
        return traits
    copies = AzureCopies(url, account, options, quoted=quoted)
    return replace(
        traits, service=service_of("azure", account.name, account.endpoint, quoted, *_who(account, options)), copy=copies
    )


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("azure.storage.blob") is not None
    except ModuleNotFoundError:
        return False


def _who(account: Account, options: Mapping[str, object]) -> list[str | None]:
    """Whose credentials these are. A signature may open one container only: each is somebody of its own."""
    if account.key is not None:
        return ["key"]
    if account.sas is not None:
        return ["signature", hashlib.sha256(account.sas.encode()).hexdigest()]
    return ["token", text(options, "tenant_id"), text(options, "client_id"), str(text(options, "client_secret") is not None)]


class AzureCopies:
    """Copies into one container from any container of the same account (`lakehouse.store.ServerCopy`).

    Nothing is loaded before the first copy.
    """

    def __init__(
        self,
        url: Url,
        account: Account,
        options: Mapping[str, object],
        *,
        quoted: bool,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url, self._account, self._options, self._is_quoted = url, account, options, quoted
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._made: Any = None

    def __call__(self, source_url: str, info: ObjectInfo, path: str, /, *, if_absent: bool = True) -> ObjectInfo:
        names = Names(source_url, info, self._url, path, refused_characters="\\")
        with self._translating(names) as client:
            from azure.core import MatchConditions

            source, target = self._blob(client, names.source), self._blob(client, names.target)
            asked: dict[str, Any] = {"match_condition": MatchConditions.IfMissing} if if_absent else {}
            if info.etag is not None:
                asked["source_etag"] = f'"{info.etag.strip(chr(34))}"'
                asked["source_match_condition"] = MatchConditions.IfNotModified
            asked.update(self._tier())
            answer = target.start_copy_from_url(source.url, **asked)
            etag = str(answer["etag"])
            if answer["copy_status"] != "success":
                etag = self._finished(target, str(answer["copy_id"]), names)
            self._check(target, etag, info, names)
        return ObjectInfo(path, info.size, f'"{etag.strip(chr(34))}"' if self._is_quoted else etag.strip('"'))

    def _tier(self) -> dict[str, Any]:
        """The access tier of what is written, where the options name one."""
        from azure.storage.blob import StandardBlobTier

        named = text(self._options, "storage_class")
        if named is None:
            return {}
        try:
            return {"standard_blob_tier": StandardBlobTier(named)}
        except ValueError:
            tiers = ", ".join(tier.value for tier in StandardBlobTier)
            raise Config(f"{self._url}: the option storage_class = {named!r} is none of {tiers}") from None

    def _check(self, target: Any, etag: str, info: ObjectInfo, names: Names) -> None:
        """Where nothing pinned the source, its size must still be the one that was looked at."""
        if info.etag is None and target.get_blob_properties(etag=etag, match_condition=_unmodified()).size != info.size:
            raise names.changed()

    def _finished(self, target: Any, copy_id: str, names: Names) -> str:
        """Wait for a copy that goes on; gives the etag of what is there then. A copy that fails, or that nobody waits for any
        longer, is aborted and its empty blob removed.
        """
        deadline, pause = self._clock() + LONGEST_COPY_SECONDS, 0.25
        try:
            while True:
                found = target.get_blob_properties()
                if found.copy.id != copy_id:
                    raise Conflict(f"{names.target}: was written by somebody else while the service copied to it")
                if found.copy.status == "success":
                    return str(found.etag)
                if found.copy.status != "pending" or self._clock() > deadline:
                    raise Transfer(f"{names.target}: the service did not finish its copy of {names.source}; run again")
                self._sleep(pause)
                pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
        except Conflict:
            raise
        except BaseException:
            self._abandon(target, copy_id)
            raise

    def _abandon(self, target: Any, copy_id: str) -> None:
        from azure.core.exceptions import AzureError

        with contextlib.suppress(AzureError):
            target.abort_copy(copy_id)
        with contextlib.suppress(AzureError):
            found = target.get_blob_properties()
            if found.copy.id == copy_id and found.copy.status != "success":
                target.delete_blob(etag=found.etag, match_condition=_unmodified())

    def _blob(self, client: Any, url: Url) -> Any:
        return client.get_blob_client(url.authority.partition("@")[0], url.key)

    @contextlib.contextmanager
    def _translating(self, names: Names) -> Iterator[Any]:
        from azure.core.exceptions import AzureError

        try:
            yield self._client()
        except AzureError as error:
            raise self._translated(error, names) from None

    def _translated(self, error: Any, names: Names) -> Exception:
        """The two conditions of a copy are told apart by the error's code, and where it does not say, by looking."""
        code = getattr(error, "error_code", None)
        said, status = str(getattr(code, "value", code) or ""), getattr(error, "status_code", None)
        if status == 404 and said == "CannotVerifyCopySource":
            return names.missing()
        if status == 412:
            return names.changed() if said in _SOURCE_CONDITIONS or not self._is_there(names) else names.exists()
        return names.translated(error)

    def _is_there(self, names: Names) -> bool:
        return bool(self._blob(self._client(), names.target).exists())

    def _client(self) -> Any:
        """The SDK's client (safe for threads), made at the first call, with the credentials of the store."""
        with self._lock:
            if self._made is None:
                from azure.storage.blob import BlobServiceClient

                options, proxy = self._options, text(self._options, "proxy")
                timeout = number(options, "timeout", TIMEOUT_SECONDS)
                more: dict[str, Any] = {"proxies": {"http": proxy, "https": proxy}} if proxy else {}
                if text(options, "ca_file") is not None:
                    more["connection_verify"] = text(options, "ca_file")
                self._made = BlobServiceClient(
                    self._account.endpoint,
                    credential=self._credential(more),
                    retry_total=0,
                    connection_timeout=min(10.0, timeout),
                    read_timeout=timeout * PATIENCE,
                    **more,
                )
            return self._made

    def _credential(self, more: Mapping[str, Any]) -> Any:
        if self._account.key is not None:
            from azure.core.credentials import AzureNamedKeyCredential

            return AzureNamedKeyCredential(self._account.name, self._account.key)
        if self._account.sas is not None:
            return self._account.sas.lstrip("?")
        try:
            import azure.identity
        except ImportError:
            raise Config(f"{self._url}: needs azure-identity: pip install 'lakehouse-portability[azure]'") from None
        tenant, client, secret = (text(self._options, name) for name in ("tenant_id", "client_id", "client_secret"))
        if secret is not None and tenant is not None and client is not None:
            return azure.identity.ClientSecretCredential(tenant, client, secret, **more)
        return azure.identity.DefaultAzureCredential(managed_identity_client_id=client, **more)


def _unmodified() -> Any:
    from azure.core import MatchConditions

    return MatchConditions.IfNotModified
