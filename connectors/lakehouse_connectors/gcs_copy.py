"""Copies within Google Cloud Storage: Objects: rewrite of the JSON API, by google-auth's session of requests.

References: the JSON API's Objects: rewrite (it may answer before it is done, with a token to go on with) and its query
parameters ifSourceGenerationMatch and ifGenerationMatch; the XML API's HEAD Object, whose ETag is the one that obstore sees.
"""

from __future__ import annotations

import contextlib
import importlib.util
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from lakehouse.errors import Config, Transfer
from lakehouse.store import ObjectInfo, Traits
from lakehouse.url import Url
from lakehouse_connectors.options import TIMEOUT_SECONDS, endpoint_of, flag, number, text
from lakehouse_connectors.server_copy import PATIENCE, Names, service_of

__all__ = ["GcsCopies", "declared"]

_SERVICE = "https://storage.googleapis.com"
MOST_CALLS = 10_000
"""A rewrite moves at least a MiB a call, in practice 1 GiB and more."""


def declared(
    traits: Traits, url: Url, options: Mapping[str, object], credentials: Callable[[], Any], *, generations: bool
) -> Traits:
    """``traits``, and the power to copy where requests and google-auth are installed and nobody else pays.

    ``credentials`` gives google-auth's, or None for nobody. ``generations``: the store takes generations for etags, else the
    XML API's ETags.
    """
    token = "anon" if flag(options, "anon") else options.get("token")
    installed = importlib.util.find_spec("requests") and importlib.util.find_spec("google") and _has_google_auth()
    if not isinstance(token, str | None) or flag(options, "requester_pays") or not installed:
        return traits
    copies = GcsCopies(url, options, credentials, generations=generations)
    service = service_of("gcs", endpoint_of(options), generations, token or "google_default")
    return replace(traits, service=service, copy=copies)


def _has_google_auth() -> bool:
    return importlib.util.find_spec("google.auth") is not None


class _Refused(Exception):
    """An answer other than success. Its attributes are those that `lakehouse.fsspec_errors` reads."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status_code, self.error_code = status, reason


class GcsCopies:
    """Copies into one bucket from any bucket that the same credentials may read (`lakehouse.store.ServerCopy`).

    Nothing is loaded before the first copy.
    """

    def __init__(self, url: Url, options: Mapping[str, object], credentials: Callable[[], Any], *, generations: bool) -> None:
        self._url, self._options, self._credentials, self._generations = url, options, credentials, generations
        self._endpoint = endpoint_of(options) or _SERVICE
        self._lock = threading.Lock()
        self._made: Any = None

    def __call__(self, source_url: str, info: ObjectInfo, path: str, /, *, if_absent: bool = True) -> ObjectInfo:
        names = Names(source_url, info, self._url, path)
        with self._translating(names):
            etag, generation = self._look(names.source)
            if info.etag is not None and info.etag != (generation if self._generations else etag):
                raise names.changed()
            try:
                made = self._rewritten(names, generation, if_absent)
            except _Refused as refused:
                if refused.status_code != 412:
                    raise
                raise (names.exists() if self._look(names.source)[1] == generation else names.changed()) from None
            if int(made["size"]) != info.size:
                raise names.changed()
            if self._generations:
                return ObjectInfo(path, info.size, str(made["generation"]))
            etag, generation = self._look(names.target)
            if generation != str(made["generation"]):
                raise Transfer(f"{names.target}: was written by somebody else while the service copied to it; run again")
            return ObjectInfo(path, info.size, etag)

    def _look(self, url: Url) -> tuple[str, str]:
        """ETag and generation of an object, by the XML API."""
        answer = self._session().head(f"{self._endpoint}/{quote(url.authority)}/{quote(url.key)}", timeout=self._timeout())
        if answer.status_code != 200:
            raise _Refused(answer.status_code, "")
        return str(answer.headers["ETag"]), str(answer.headers["x-goog-generation"])

    def _rewritten(self, names: Names, generation: str, if_absent: bool) -> Mapping[str, Any]:
        """The metadata of the object that the rewrite made."""
        source, target = (f"b/{_name(url.authority)}/o/{_name(url.key)}" for url in (names.source, names.target))
        address = f"{self._endpoint}/storage/v1/{source}/rewriteTo/{target}"
        asked = {"ifSourceGenerationMatch": generation, **({"ifGenerationMatch": "0"} if if_absent else {})}
        kept = text(self._options, "storage_class")
        body = {"storageClass": kept} if kept is not None else None
        for _ in range(MOST_CALLS):
            answer = self._session().post(address, params=asked, json=body, timeout=self._timeout())
            if answer.status_code != 200:
                raise _Refused(answer.status_code, _reason(answer))
            said: Mapping[str, Any] = answer.json()
            if said["done"]:
                made: Mapping[str, Any] = said["resource"]
                return made
            asked["rewriteToken"] = said["rewriteToken"]
        raise Transfer(f"{names.target}: the service did not finish its copy of {names.source}; run again")

    @contextlib.contextmanager
    def _translating(self, names: Names) -> Iterator[None]:
        import google.auth.exceptions
        import requests.exceptions

        try:
            yield
        except _Refused as refused:
            if refused.status_code == 404 and "bucket" in str(refused):
                raise Config(f"{self._url}: the bucket, or that of {names.source}, does not exist (404)") from None
            raise names.translated(refused) from None
        except (requests.exceptions.RequestException, google.auth.exceptions.GoogleAuthError) as error:
            raise names.translated(error) from None

    def _timeout(self) -> tuple[float, float]:
        timeout = number(self._options, "timeout", TIMEOUT_SECONDS)
        return min(10.0, timeout), timeout * PATIENCE

    def _session(self) -> Any:
        """A session of requests, made at the first call, with the credentials of the store."""
        with self._lock:
            if self._made is None:
                import requests
                import requests.adapters
                from google.auth.transport.requests import AuthorizedSession

                found, proxy, ca_file = self._credentials(), text(self._options, "proxy"), text(self._options, "ca_file")
                session: Any = requests.Session() if found is None else AuthorizedSession(found)  # type: ignore[no-untyped-call]
                for scheme in ("http://", "https://"):
                    session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=64))
                session.headers["Accept-Encoding"] = "identity"  # as obstore asks: else ETags of what is stored zipped differ
                if proxy is not None:
                    session.proxies = {"http": proxy, "https": proxy}
                if ca_file is not None:
                    session.verify = ca_file
                self._made = session
            return self._made


def _name(text: str) -> str:
    return quote(text, safe="")


def _reason(answer: Any) -> str:
    """The first reason that the JSON API gives; for 404 its message, since only that says whether the bucket is missing."""
    try:
        error = answer.json()["error"]
        return str(error["message"] if answer.status_code == 404 else error["errors"][0]["reason"])
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
