"""lake.toml and the environment, read once into frozen settings.

The file is the one named by the caller, else by ``LAKE_CONFIG``, else ``lake.toml`` in the working directory or the nearest
folder above it, else the one in the user's configuration folder. Who names it may name a place: a URL, or ``NAME:path`` with a
store of the lake.toml that applies otherwise. Environment variables override single keys
(``LAKE_STORE_AWS_ENDPOINT_URL``). Secrets are held as they are written, at best as references (``env:NAME``, ``file:/path``) that
are resolved only when a store is opened; no ``repr`` and no error message shows one.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lakehouse.errors import Config, NotFound
from lakehouse.settings import (
    CatalogSettings,
    DatasetSettings,
    FormatName,
    Level,
    ReplicaSettings,
    Settings,
    StoreSettings,
    Transport,
    masked,
)

__all__ = [
    "STORE_OPTIONS",
    "CatalogSettings",
    "DatasetSettings",
    "ReplicaSettings",
    "Settings",
    "StoreSettings",
    "find",
    "load",
    "masked",
]

STORE_OPTIONS = frozenset(
    {
        *("key", "secret", "token", "profile", "anon"),
        *("endpoint_url", "region", "provider", "path_style", "timeout", "ca_file", "proxy"),
        *("account_name", "account_key", "connection_string", "sas_token", "tenant_id", "client_id", "client_secret"),
        *("requester_pays", "sse_kms_key_id", "storage_class", "acl"),
    }
)
"""The keys of ``[store.NAME]`` that say how to reach the place, in fsspec's words where fsspec has one."""

_Kinds = Mapping[str, tuple[type, ...]]
_TEXT: tuple[type, ...] = (str,)
_OPTION_KINDS: _Kinds = {
    **dict.fromkeys(STORE_OPTIONS, _TEXT),
    **dict.fromkeys(("anon", "path_style", "requester_pays"), (bool,)),
    "timeout": (int, float),
}
_KEYS: Mapping[str, _Kinds] = {
    "store": {"url": _TEXT, "transport": _TEXT, "receipts": _TEXT, "storage_options": (dict,), **_OPTION_KINDS},
    "catalog": {
        **dict.fromkeys(("type", "uri", "warehouse", "credential", "token", "scope", "oauth2_server_uri", "prefix"), _TEXT),
        "store": _TEXT,
        "properties": (dict,),
    },
    "dataset": {"table": _TEXT, "format": _TEXT, "replica": (list,)},
    "replica": {"to": _TEXT, "level": _TEXT, "register": _TEXT},
}
_REQUIRED = {"store": "url", "catalog": "type", "dataset": "table", "replica": "to"}
_CLOSED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("store", "transport"): ("auto", "obstore", "fsspec"),
    ("dataset", "format"): ("parquet", "delta", "iceberg", "files"),
    ("replica", "level"): ("files", "bytes", "rows"),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_NAMED_PLACE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*):(?!//)")
_REPLICA_VARIABLE = re.compile(r"replica_(\d{1,3})_(.+)")
_TOML_KINDS = {str: "text", bool: "true or false", int: "a number", float: "a number", dict: "a table", list: "a list of tables"}


def find(path: str | Path | None = None, environ: Mapping[str, str] | None = None, start: Path | None = None) -> Path | None:
    """The lake.toml of this machine that applies, or None. Raises `Config` when one was named and is not there."""
    environ = os.environ if environ is None else environ
    named = path if path is not None else environ.get("LAKE_CONFIG") or None
    if named is not None:
        chosen = Path(named).expanduser()
        if not chosen.is_file():
            raise Config(f"{chosen}: no such file ({'--config' if path is not None else 'LAKE_CONFIG'} names it)")
        return chosen.absolute()
    folder = (start or Path.cwd()).absolute()
    home = Path(environ.get("HOME") or Path.home())
    users = [Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "lake"]
    if sys.platform == "darwin":
        users.append(home / "Library" / "Application Support" / "lake")
    return next((file for place in (folder, *folder.parents, *users) if (file := place / "lake.toml").is_file()), None)


def load(path: str | Path | None = None, environ: Mapping[str, str] | None = None, start: Path | None = None) -> Settings:
    """Read lake.toml (found as `find` says; none is no error) and the environment's overrides.

    ``path``, or ``LAKE_CONFIG``, may also be the URL of one in an object store, or ``NAME:path`` with a store of the lake.toml
    that applies without it. ``environ`` and ``start`` stand in for the process's environment and working directory. Raises
    `Config` for a file that cannot be read, an unknown key, a value of the wrong kind, a name that is used twice and a relative
    path in an object store; `NotFound` where an object store has no such file.
    """
    environ = os.environ if environ is None else environ
    file = _named(path, environ, start)
    raw = _parsed(file) if file else {}
    origins: dict[str, str] = {}
    tables: dict[str, dict[str, dict[str, object]]] = {}
    for kind in ("store", "catalog", "dataset"):
        where = file.name if file else "environment"
        tables[kind] = _tables(raw, kind, where)
        for name, table in tables[kind].items():
            _note_origins(origins, f"{kind}.{name}", table, where)
        _apply_environment(kind, tables[kind], environ, origins)
    _refuse_shared_names(tables, file.name if file else "environment")
    return _Reader(tables, file, origins).settings()


@dataclass(frozen=True, slots=True)
class _File:
    """A lake.toml: its address, what it holds, and where it lies on this machine (None: in an object store)."""

    name: str
    data: bytes
    path: Path | None = None


def _named(path: str | Path | None, environ: Mapping[str, str], start: Path | None) -> _File | None:
    """The lake.toml that applies, read from where it lies."""
    named = path if path is not None else environ.get("LAKE_CONFIG")
    by_name = _NAMED_PLACE.match(named) if isinstance(named, str) else None
    if not isinstance(named, str) or ("://" not in named and by_name is None):
        file = find(path, environ, start)
        return None if file is None else _local(file)
    from lakehouse.connect import locate, open_at

    known = Settings()
    if by_name is not None and by_name[1] != "file":
        without = environ if path is not None else {key: value for key, value in environ.items() if key != "LAKE_CONFIG"}
        known = load(None, without, start)
    url, via = locate(named, known)
    if url.scheme == "file":
        file = find(Path(f"/{url.key}"))
        return None if file is None else _local(file)
    where = str(masked("url", str(url)))
    if not url.key:
        raise Config(f"{where}: is no file; name the lake.toml there, as in {where}/lake.toml")
    try:
        return _File(where, open_at(url.parent, via).get(url.name))
    except NotFound as error:
        raise NotFound(
            f"{where}: there is no such lake.toml ({'the call' if path is not None else 'LAKE_CONFIG'} names it)"
        ) from error


def _local(file: Path) -> _File:
    try:
        return _File(str(file), file.read_bytes(), file)
    except OSError as error:
        raise Config(f"{file}: cannot be read: {error.strerror}") from error


def _parsed(found: _File) -> dict[str, object]:
    file = found.name
    try:
        raw: dict[str, object] = tomllib.loads(found.data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Config(
            f"{file}: is not valid TOML: {error if isinstance(error, tomllib.TOMLDecodeError) else 'not UTF-8'}"
        ) from None
    for key in raw:
        if key not in ("store", "catalog", "dataset"):
            raise Config(f"{file}: unknown table [{key}]{_nearest(key, ('store', 'catalog', 'dataset'))}")
    return raw


def _tables(raw: Mapping[str, object], kind: str, file: str) -> dict[str, dict[str, object]]:
    named = raw.get(kind, {})
    if not isinstance(named, dict) or not all(isinstance(table, dict) for table in named.values()):
        raise Config(f"{file}: [{kind}] needs a name: write [{kind}.NAME]")
    for name in named:
        if not _NAME.fullmatch(name) or name.lower() == "file":
            raise Config(f"{file}: [{kind}.{name}]: a name is letters, digits, '-', '_' and '.', and is not 'file'")
    return {name: dict(table) for name, table in named.items()}


def _note_origins(origins: dict[str, str], where: str, table: Mapping[str, object], origin: str) -> None:
    for key, value in table.items():
        if key in ("storage_options", "properties") and isinstance(value, Mapping):
            _note_origins(origins, where, value, origin)
        elif key == "replica" and isinstance(value, list):
            for number, replica in enumerate(value):
                if isinstance(replica, Mapping):
                    _note_origins(origins, f"{where}.replica.{number}", replica, origin)
        else:
            origins[f"{where}.{key}"] = origin


def _variable(name: str) -> str:
    return re.sub(r"[-.]", "_", name).upper()


def _apply_environment(
    kind: str, tables: dict[str, dict[str, object]], environ: Mapping[str, str], origins: dict[str, str]
) -> None:
    """Override (or, by its required key, define) ``tables`` from ``LAKE_<KIND>_<NAME>_<KEY>``; an empty variable says nothing."""
    prefix = f"LAKE_{kind.upper()}_"
    variables = [variable for variable in environ if variable.startswith(prefix) and environ[variable]]
    for variable in sorted(variables, key=lambda variable: (len(variable), variable)):  # LAKE_STORE_X_URL defines X first
        rest = variable.removeprefix(prefix)
        known = [name for name in tables if rest.startswith(_variable(name) + "_")]
        if known:
            name = max(known, key=len)
            key = rest[len(name) + 1 :].lower()
        else:
            keys = [key for key in _KEYS[kind] if rest.endswith("_" + key.upper())]
            key = max(keys, key=len, default="")
            name = rest[: -len(key) - 1].lower() if key else rest.lower()
            if key != _REQUIRED[kind]:
                raise Config(f"{variable}: there is no {kind} of that name{_nearest(name, tables)}")
            tables[name] = {}
        where = f"{kind}.{name}"
        replica = _REPLICA_VARIABLE.fullmatch(key) if kind == "dataset" else None
        if replica:
            _override_replica(tables[name], int(replica[1]), replica[2], variable, environ[variable])
            origins[f"{where}.replica.{int(replica[1])}.{replica[2]}"] = f"environment variable {variable}"
            continue
        if key not in _KEYS[kind] or key == "replica":
            raise Config(f"{variable}: a {kind} has no key {key!r}{_nearest(key, _KEYS[kind])}")
        tables[name][key] = _from_text(environ[variable], _KEYS[kind][key], variable)
        _note_origins(origins, where, {key: tables[name][key]}, f"environment variable {variable}")


def _override_replica(table: dict[str, object], number: int, key: str, variable: str, text: str) -> None:
    replicas = table.setdefault("replica", [])
    if key not in _KEYS["replica"]:
        raise Config(f"{variable}: a replica has no key {key!r}{_nearest(key, _KEYS['replica'])}")
    if not isinstance(replicas, list) or number > len(replicas):
        raise Config(f"{variable}: there is no replica {number}; they count from 0")
    if number == len(replicas):
        replicas.append({})
    replicas[number][key] = text


def _from_text(text: str, kinds: tuple[type, ...], variable: str) -> object:
    if str in kinds:
        return text
    if bool in kinds:
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise Config(f"{variable}: must be true or false")
        return text.lower() in ("true", "1", "yes")
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise Config(f"{variable}: must be {'a JSON object' if dict in kinds else 'a number'}")
    return value


def _refuse_shared_names(tables: Mapping[str, Mapping[str, object]], file: str) -> None:
    used: dict[str, str] = {}
    for kind, named in tables.items():
        for name in named:
            other = used.setdefault(_variable(name), f"{kind}.{name}")
            if other != f"{kind}.{name}":
                raise Config(
                    f"{file}: [{other}] and [{kind}.{name}] share one name; stores, catalogs and datasets need names that differ "
                    "by more than case, '-', '.' and '_'"
                )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Checks the tables and makes settings of them; paths in a file of this machine are relative to its folder."""

    tables: Mapping[str, Mapping[str, dict[str, object]]]
    file: _File | None
    origins: Mapping[str, str]

    def settings(self) -> Settings:
        stores = {name: self._store(name, table) for name, table in self.tables["store"].items()}
        catalogs = {name: self._catalog(name, table) for name, table in self.tables["catalog"].items()}
        datasets = {name: self._dataset(name, table) for name, table in self.tables["dataset"].items()}
        place = None if self.file is None else self.file.path or self.file.name
        return Settings(stores, catalogs, datasets, place, self.origins)

    def _store(self, name: str, table: dict[str, object]) -> StoreSettings:
        where = f"store.{name}"
        self._check("store", where, table)
        options = {key: value for key, value in table.items() if key in STORE_OPTIONS}
        if isinstance(ca_file := options.get("ca_file"), str):
            options["ca_file"] = self._anchored(f"{where}.ca_file", ca_file)
        self._merge(options, table.get("storage_options"), where)
        receipts = self._text(where, table, "receipts")
        transport = cast(Transport, table.get("transport", "auto"))
        return StoreSettings(name, self._anchored(f"{where}.url", str(table["url"])), transport, options, receipts)

    def _catalog(self, name: str, table: dict[str, object]) -> CatalogSettings:
        where = f"catalog.{name}"
        self._check("catalog", where, table)
        options = {key: value for key, value in table.items() if key not in ("type", "uri", "store", "properties")}
        self._merge(options, table.get("properties"), where)
        if table["type"] == "storage" and isinstance(warehouse := options.get("warehouse"), str):
            options["warehouse"] = self._place(f"{where}.warehouse", warehouse)
        uri, store = table.get("uri"), table.get("store")
        if store is not None and store not in self.tables["store"]:
            raise self._error(f"{where}.store", f"there is no store {store!r}{_nearest(str(store), self.tables['store'])}")
        named = None if store is None else str(store)
        stated = None if uri is None else self._anchored_database(f"{where}.uri", str(uri))
        return CatalogSettings(name, str(table["type"]), stated, options, named)

    def _dataset(self, name: str, table: dict[str, object]) -> DatasetSettings:
        where = f"dataset.{name}"
        self._check("dataset", where, table)
        replicas = []
        for number, replica in enumerate(cast(list[object], table.get("replica", []))):
            inner = f"{where}.replica.{number}"
            if not isinstance(replica, dict):
                raise self._error(inner, "must be a table: write [[dataset.NAME.replica]]")
            self._check("replica", inner, replica)
            level = cast(Level, replica.get("level", "bytes"))
            register = replica.get("register")
            to = self._place(f"{inner}.to", str(replica["to"]))
            replicas.append(ReplicaSettings(to, level, None if register is None else str(register)))
        place = self._place(f"{where}.table", str(table["table"]))
        return DatasetSettings(name, place, cast(FormatName | None, table.get("format")), tuple(replicas))

    def _check(self, kind: str, where: str, table: Mapping[str, object]) -> None:
        keys = _KEYS[kind]
        for key, value in table.items():
            if key not in keys:
                raise self._error(where, f"unknown key {key!r}{_nearest(key, keys)}")
            if not isinstance(value, keys[key]) or (isinstance(value, bool) and bool not in keys[key]):
                raise self._error(f"{where}.{key}", f"must be {_TOML_KINDS[keys[key][0]]}")
            allowed = _CLOSED.get((kind, key))
            if allowed and value not in allowed:
                raise self._error(f"{where}.{key}", f"must be one of {', '.join(allowed)}{_nearest(str(value), allowed)}")
        if not table.get(_REQUIRED[kind]):
            raise self._error(where, f"needs the key {_REQUIRED[kind]!r}")

    def _merge(self, options: dict[str, object], extra: object, where: str) -> None:
        for key, value in cast(Mapping[str, object], extra or {}).items():
            if key in options:
                raise self._error(f"{where}.{key}", "is given twice; once is enough")
            options[key] = value

    def _text(self, where: str, table: Mapping[str, object], key: str) -> str | None:
        return None if key not in table else self._anchored(f"{where}.{key}", str(table[key]))

    def _place(self, where: str, text: str) -> str:
        named = _NAMED_PLACE.match(text)
        names = [*self.tables["store"], *self.tables["catalog"]]
        if named and named[1] != "file" and named[1] not in names:
            raise self._error(where, f"there is no store or catalog {named[1]!r}{_nearest(named[1], names)}")
        return text if named else self._anchored(where, text)

    def _anchored(self, where: str, text: str) -> str:
        """A relative path that the file states is relative to the file; one from the environment, to the working directory.

        Raises `Config` for one that a file in an object store states.
        """
        if masked("", text) != text:
            raise self._error(where, "credentials do not belong in an address; put them in keys of their own, as env:NAME")
        file = self.file
        stated = file is not None and self.origins.get(where) == file.name
        if file is None or not stated or "://" in text or text.startswith(("/", "~", "file:")):
            return text
        if file.path is None:
            raise self._error(
                where, f"{text!r} is relative to lake.toml, which lies in an object store; write a URL, NAME:path or a whole path"
            )
        return os.path.normpath(file.path.parent / text)

    def _anchored_database(self, where: str, uri: str) -> str:
        """The address of an SQLite file, which is relative as any other path is; other addresses as they are."""
        path = uri.removeprefix("sqlite:///")
        if path == uri or path in ("", ":memory:") or path.startswith(("/", "file:")):
            return uri
        return f"sqlite:///{self._anchored(where, path)}"

    def _error(self, where: str, message: str) -> Config:
        return Config(f"{self.origins.get(where) or (self.file.name if self.file else 'environment')}: {where}: {message}")


def _nearest(word: str, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(word.lower(), list(words), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
