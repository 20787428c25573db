"""Reading the options of a store, which come from lake.toml in fsspec's vocabulary."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lakehouse.errors import Config

if TYPE_CHECKING:
    from obstore.store import ClientConfig

__all__ = [
    "TIMEOUT_SECONDS",
    "endpoint_of",
    "flag",
    "fsspec_configuration",
    "is_plain_http",
    "number",
    "storage_class",
    "text",
    "tls_and_proxy",
    "unknown",
]

TIMEOUT_SECONDS = 30.0


def text(options: Mapping[str, object], name: str) -> str | None:
    """The option ``name`` as text, None where it is not set or empty."""
    value = options.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise Config(f"the option {name} must be text, not {type(value).__name__}")
    return value


def flag(options: Mapping[str, object], name: str) -> bool:
    """The option ``name`` as true or false (environment variables give text)."""
    value = options.get(name, False)
    if isinstance(value, str):
        if value.lower() in ("true", "1", "yes"):
            return True
        if value.lower() in ("false", "0", "no", ""):
            return False
        raise Config(f"the option {name} must be true or false")
    return bool(value)


def number(options: Mapping[str, object], name: str, default: float) -> float:
    """The option ``name`` as a positive number."""
    value = options.get(name, default)
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise Config(f"the option {name} must be a number") from None
    if found <= 0:
        raise Config(f"the option {name} must be greater than 0")
    return found


def is_plain_http(address: str | None) -> bool:
    """Whether an endpoint is spoken to without TLS."""
    return address is not None and urlsplit(address).scheme == "http"


def tls_and_proxy(options: Mapping[str, object]) -> ClientConfig:
    """obstore's settings for the options ``ca_file`` (a PEM file) and ``proxy``."""
    found: ClientConfig = {}
    ca_file, proxy = text(options, "ca_file"), text(options, "proxy")
    if ca_file is not None:
        try:
            with open(ca_file, "rb") as file:
                found["root_certificate"] = file.read()
        except OSError as error:
            raise Config(f"the option ca_file names {ca_file}, which cannot be read ({error.strerror})") from None
    if proxy is not None:
        found["proxy_url"] = proxy
    return found


def storage_class(options: Mapping[str, object]) -> dict[str, str]:
    """obstore's attribute for the option ``storage_class`` (Azure calls it the access tier)."""
    found = text(options, "storage_class")
    return {"Storage-Class": found} if found is not None else {}


def endpoint_of(options: Mapping[str, object], name: str = "endpoint_url") -> str | None:
    """The option ``endpoint_url`` without a slash at its end. Raises `Config` for what is no http(s) address."""
    value = text(options, name)
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise Config(f"the option {name} must be http://host or https://host, without credentials")
    return value.rstrip("/")


def unknown(options: Mapping[str, object], known: frozenset[str]) -> list[str]:
    """The options that only fsspec can take, in order."""
    return sorted(name for name in options if name not in known)


def fsspec_configuration(protocols: tuple[str, ...]) -> dict[str, object]:
    """What fsspec's own configuration says of these protocols: its files, FSSPEC_… variables, or what a program set in it.

    fsspec is not loaded where none of these can be.
    """
    folder = os.environ.get("FSSPEC_CONFIG_DIR") or os.path.expanduser("~/.config/fsspec")
    named = any(name.startswith("FSSPEC_") for name in os.environ)
    if "fsspec.config" not in sys.modules and not named and not os.path.isdir(folder):
        return {}
    from fsspec.config import conf

    found: dict[str, object] = {}
    for protocol in protocols:
        found.update(conf.get(protocol, {}))
    return found
