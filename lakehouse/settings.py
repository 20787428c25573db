"""What lake.toml says, as frozen values that never show a secret.

A secret is held as it is written, at best as a reference (``env:NAME``, ``file:/path``) that is followed only when a store is
opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lakehouse.errors import Config

__all__ = ["CatalogSettings", "DatasetSettings", "ReplicaSettings", "Settings", "StoreSettings", "masked"]

Transport = Literal["auto", "obstore", "fsspec"]
MIN_SECRET_LENGTH = 8
"""Shorter texts are not looked for in messages: they would be found in every other word."""
Level = Literal["files", "bytes", "rows"]
FormatName = Literal["parquet", "delta", "iceberg", "files"]

_SECRET = re.compile(
    r"secret|token|passw|credential|signature|private|authorization|cookie|sas(_|$)|key$|connection_?string", re.IGNORECASE
)
_USER_INFO = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]*@")
_SIGNED = re.compile(r"(?i)([?&](?:sig|signature|token|x-amz-[a-z-]+|x-goog-[a-z-]+)=)[^&\s]*")


def masked(name: str, value: object) -> object:
    """``value`` as it may be shown: ``***`` where the name says it is a secret. References are shown, what they name is not."""
    if isinstance(value, Mapping) and not _SECRET.search(name):
        return {key: masked(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple) and not _SECRET.search(name):
        return [masked(name, inner) for inner in value]
    if _is_reference(value):
        return value
    if _SECRET.search(name):
        return "***"
    return _SIGNED.sub(r"\1***", _USER_INFO.sub("***@", value)) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """``[store.NAME]``: a place with the options that reach it. ``receipts``: where receipts go instead of below each table."""

    name: str
    url: str
    transport: Transport = "auto"
    options: Mapping[str, object] = field(default_factory=dict)
    receipts: str | None = None

    def resolved_options(self, environ: Mapping[str, str] | None = None) -> dict[str, object]:
        """The options with their references followed. Raises `Config` where one leads nowhere."""
        return _resolve_table(self.options, f"store.{self.name}", os.environ if environ is None else environ)

    def __repr__(self) -> str:
        url, options = masked("url", self.url), masked("options", self.options)
        return (
            f"StoreSettings(name={self.name!r}, url={url!r}, transport={self.transport!r}, options={options}, "
            f"receipts={masked('receipts', self.receipts)!r})"
        )


@dataclass(frozen=True, slots=True)
class CatalogSettings:
    """``[catalog.NAME]``: a table catalog. ``options`` are its credentials and properties, ``store`` names the store whose
    options open its tables' locations.
    """

    name: str
    type: str
    uri: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    store: str | None = None

    def resolved_options(self, environ: Mapping[str, str] | None = None) -> dict[str, object]:
        """The options with their references followed. Raises `Config` where one leads nowhere."""
        return _resolve_table(self.options, f"catalog.{self.name}", os.environ if environ is None else environ)

    def resolved_uri(self, environ: Mapping[str, str] | None = None) -> str | None:
        """The address with its reference followed (that of a database may hold a password). Raises `Config` as above."""
        if self.uri is None:
            return None
        return str(_resolve(self.uri, f"catalog.{self.name}.uri", os.environ if environ is None else environ))

    def __repr__(self) -> str:
        uri, options = masked("uri", self.uri), masked("options", self.options)
        return f"CatalogSettings(name={self.name!r}, type={self.type!r}, uri={uri!r}, options={options}, store={self.store!r})"


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """``[[dataset.NAME.replica]]``: a place that the dataset is replicated to, and the level it is proven to."""

    to: str
    level: Level = "bytes"
    register: str | None = None


@dataclass(frozen=True, slots=True)
class DatasetSettings:
    """``[dataset.NAME]``: a table by a name that stays when the table moves."""

    name: str
    table: str
    format: FormatName | None = None
    replicas: tuple[ReplicaSettings, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that lake.toml and the environment say.

    ``path`` is the file that was read, as text its address in an object store (None: there is none). ``origins`` says for each
    dotted key where its value came from: the path of the file, or ``environment variable NAME``.
    """

    stores: Mapping[str, StoreSettings] = field(default_factory=dict)
    catalogs: Mapping[str, CatalogSettings] = field(default_factory=dict)
    datasets: Mapping[str, DatasetSettings] = field(default_factory=dict)
    path: Path | str | None = None
    origins: Mapping[str, str] = field(default_factory=dict, repr=False)

    def entries(self) -> Iterator[tuple[str, object, str]]:
        """Every effective value as (dotted key, value fit to be shown, origin); defaults have the origin ``default``."""
        for owner, key, value in self._values():
            yield f"{owner}.{key}", masked(key, value), self.origins.get(f"{owner}.{key}", "default")

    def warnings(self) -> tuple[str, ...]:
        """What works but is unwise: secrets that are written out in lake.toml."""
        return tuple(
            f"{self.path}: {owner}.{key} is a literal secret; write env:NAME or file:/path instead"
            for owner, key, value in self._values()
            if self.origins.get(f"{owner}.{key}") == str(self.path) and _is_literal_secret(key, value)
        )

    def secrets(self, environ: Mapping[str, str] | None = None) -> frozenset[str]:
        """Every secret that is known here, so that whoever prints can leave it out: the settings' own, what their references lead
        to, and what the environment holds under a name that says so.
        """
        environ = os.environ if environ is None else environ
        found = {value for name, value in environ.items() if _SECRET.search(name)}
        for owner, key, value in self._values():
            try:
                found.update(_secret_texts(key, _resolve(value, owner, environ), known=_is_reference(value)))
            except Config:  # a reference that leads nowhere holds no secret
                continue
        return frozenset(text for text in found if len(text) >= MIN_SECRET_LENGTH and not text.startswith("/"))

    def _values(self) -> Iterator[tuple[str, str, object]]:
        """(owner, key, value) of everything that has a value."""
        for store in self.stores.values():
            named = {"url": store.url, "transport": store.transport, "receipts": store.receipts, **store.options}
            yield from ((f"store.{store.name}", key, value) for key, value in named.items() if value is not None)
        for catalog in self.catalogs.values():
            named = {"type": catalog.type, "uri": catalog.uri, "store": catalog.store, **catalog.options}
            yield from ((f"catalog.{catalog.name}", key, value) for key, value in named.items() if value is not None)
        for dataset in self.datasets.values():
            owner = f"dataset.{dataset.name}"
            yield owner, "table", dataset.table
            if dataset.format:
                yield owner, "format", dataset.format
            for number, replica in enumerate(dataset.replicas):
                yield f"{owner}.replica.{number}", "to", replica.to
                yield f"{owner}.replica.{number}", "level", replica.level
                if replica.register:
                    yield f"{owner}.replica.{number}", "register", replica.register


def _is_reference(value: object) -> bool:
    """Whether it is ``env:NAME`` or ``file:/path``; ``file://…`` is an address (of a warehouse)."""
    return isinstance(value, str) and value.startswith(("env:", "file:/")) and not value.startswith("file://")


def _secret_texts(name: str, value: object, *, known: bool) -> Iterator[str]:
    """The texts in ``value`` that are secret by their name, or all of them when that is ``known``."""
    known = known or bool(_SECRET.search(name))
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secret_texts(str(key), inner, known=known)
    elif isinstance(value, str) and known:
        yield value


def _is_literal_secret(name: str, value: object) -> bool:
    if isinstance(value, Mapping):
        return any(_is_literal_secret(str(key), inner) for key, inner in value.items())
    if not isinstance(value, str) or not value or _is_reference(value):
        return False
    if _USER_INFO.search(value) or _SIGNED.search(value):
        return True
    # An access key's id is masked but is no secret; gcsfs takes a path or a method's name as its token.
    return bool(_SECRET.search(name)) and name != "key" and not value.startswith("/") and value not in ("anon", "google_default")


def _resolve_table(options: Mapping[str, object], where: str, environ: Mapping[str, str]) -> dict[str, object]:
    return {key: _resolve(value, f"{where}.{key}", environ) for key, value in options.items()}


def _resolve(value: object, where: str, environ: Mapping[str, str]) -> object:
    if isinstance(value, Mapping):
        return _resolve_table(value, where, environ)
    if not isinstance(value, str):
        return value
    if value.startswith("env:"):
        name = value.removeprefix("env:")
        if not environ.get(name):
            raise Config(f"{where}: refers to the environment variable {name}, which is not set")
        return environ[name]
    if _is_reference(value):
        path = Path("/" + value.removeprefix("file:").lstrip("/"))
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Config(f"{where}: refers to the file {path}, which cannot be read ({type(error).__name__})") from None
    return value
