"""One logged-in session with a REST catalog: a request in, a status and raw JSON out, and failures as the library's errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import quote

from lakehouse.errors import Config, Transfer, Unsupported
from lakehouse.settings import CatalogSettings
from lakehouse_connectors.catalogs.entry import properties

__all__ = ["RestSession", "connect"]

TIMEOUT_SECONDS = (20.0, 120.0)
"""To connect, and to wait for an answer: a large commit takes the server a while."""
_EXPIRED = (401, 419)
_PASSED_ON = (200, 404, 409)
_BUSY = (429, 503)


def connect(settings: CatalogSettings) -> RestSession:
    """Log in with pyiceberg's client. Raises `Config` where that is refused and `Transfer` where nobody answers."""
    stated = properties(settings)
    if stated.get("credential") and not stated.get("oauth2-server-uri"):
        stated["oauth2-server-uri"] = f"{stated['uri'].rstrip('/')}/v1/oauth/tokens"
    with _translated(settings.name):
        return RestSession(settings.name, _client(settings.name, stated))


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """What logging in can fail with, as our errors."""
    from pyiceberg.exceptions import BadRequestError, ForbiddenError, OAuthError, RESTError, UnauthorizedError
    from requests import RequestException

    where = f"catalog {name}"
    try:
        yield
    except (UnauthorizedError, ForbiddenError, OAuthError, BadRequestError) as error:
        raise Config(f"{where}: the server refuses the credentials or the warehouse ({type(error).__name__}: {error})") from None
    except (RESTError, RequestException) as error:
        raise Transfer(f"{where}: no usable answer from the catalog ({type(error).__name__}); is its uri right?") from error
    except ValueError as error:
        raise Config(f"{where}: {error}") from None


def _client(name: str, stated: Mapping[str, str]) -> Any:
    """pyiceberg's client, every request of which ends at some time: those that log in as well."""
    from pyiceberg.catalog.rest import RestCatalog
    from requests import PreparedRequest, Response, Session
    from requests.adapters import HTTPAdapter

    class Patient(HTTPAdapter):
        def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
            return super().send(request, *args, **{**options, "timeout": options.get("timeout") or TIMEOUT_SECONDS})

    class Client(RestCatalog):
        def _config_headers(self, session: Session) -> None:
            for scheme in ("http://", "https://"):
                session.mount(scheme, Patient())
            super()._config_headers(session)

    return Client(name, **stated)


class RestSession:
    """pyiceberg's session (OAuth2, tokens, SigV4, certificates) without its models, which drop what they do not know."""

    def __init__(self, name: str, client: Any) -> None:
        self.name, self._client = name, client

    def send(
        self,
        method: Literal["GET", "POST"],
        namespace: tuple[str, ...] | None,
        *below: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """The status (200, 404 or 409) and the JSON of the answer at ``namespaces/NAMESPACE`` and ``below``, whose first element
        is a path as it is and whose second is one segment, a name.

        Raises `Config` where access is refused, `Unsupported` for a request that the server says it cannot serve, and `Transfer`
        where it is unknown whether the server did it.
        """
        path = "namespaces"
        if namespace is not None:
            path += "/" + self._client._encode_namespace_path(namespace)
        path += "".join(part if number == 0 else quote(part, safe="") for number, part in enumerate(below))
        url = self._client.url("{path}", path=path)
        response = self._request(method, url, body, query)
        if response.status_code in _EXPIRED:
            with _translated(self.name):
                self._client._refresh_token()
            response = self._request(method, url, body, query)
        return self._understood(response, f"catalog {self.name}: {method} {path}")

    def close(self) -> None:
        """Close the connections that are open."""
        self._client.close()

    def _request(self, method: str, url: str, body: Mapping[str, Any] | None, query: Mapping[str, str] | None) -> Any:
        from requests import RequestException

        try:
            return self._client._session.request(method, url, json=body, params=query, timeout=TIMEOUT_SECONDS)
        except RequestException as error:
            kind = type(error).__name__
            raise Transfer(f"catalog {self.name}: no answer from {url} ({kind}); run again", transient=True) from error

    def _understood(self, response: Any, what: str) -> tuple[int, dict[str, Any]]:
        status = 200 if response.status_code in (201, 204) else response.status_code
        try:
            answer = response.json() if response.content else {}
        except ValueError:
            answer = None
        if status in _PASSED_ON and isinstance(answer, dict):
            return status, answer
        error = answer.get("error") if isinstance(answer, dict) else None
        words = str(error.get("message") if isinstance(error, dict) else response.reason)[:300]
        if status in (401, 403, 419):
            raise Config(f"{what}: access is refused (HTTP {status}: {words}); check the credentials in lake.toml")
        if 400 <= status < 500 and status not in (*_BUSY, 408):
            raise Unsupported(f"{what}: the catalog cannot do this (HTTP {status}: {words})")
        wait = response.headers.get("Retry-After", "")
        raise Transfer(
            f"{what}: failed at the server (HTTP {status}: {words}); run again",
            transient=True,
            retry_after=float(wait) if wait.isdigit() else None,
        )
