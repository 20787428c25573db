"""Feast's registry as one object on any store of lake.toml, replaced only by whoever read it last.

    registry:
        registry_store_type: lakehouse_connectors.feast.FsspecRegistryStore
        path: gold:feast/registry.db          # NAME:path, a URL, or a path below the repository
        lake_config: lake.toml                # as in offline_store; may be left out

Feast keeps the registry in memory, changes it there and writes it back whole. Its own stores overwrite whatever lies there: of
two ``feast apply`` at once one is lost. Here each write says which version it replaces. A registry carries a ``version_id`` that
is new in each write, and Feast keeps it while it changes the rest: so one in memory names the version that it was read as,
whatever else this process has read since. That version and no other is replaced, and the service itself compares (If-Match with
the ETag; on Google Cloud Storage the generation), so that it holds among writers on other machines too.

``set_project_metadata``, by which Feast's web page notes each visit in the registry, is left out: each visit would be a write,
and a running ``feast apply`` would conflict with it.
"""

from __future__ import annotations

import secrets
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path

from feast.infra.registry.registry_store import RegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.repo_config import RegistryConfig
from google.protobuf.message import DecodeError

from lakehouse.config import load
from lakehouse.connect import locate, open_at
from lakehouse.errors import Config, Conflict, NotFound, Unsupported
from lakehouse.settings import Settings, StoreSettings
from lakehouse.store import Replace
from lakehouse.url import Url, parse
from lakehouse_connectors.feast.lake import is_address

__all__ = ["FsspecRegistryStore"]

_NO_VERSION = '"00000000000000000000000000000000"'
"""An ETag that no object has."""


class FsspecRegistryStore(RegistryStore):
    """The registry at ``registry_config.path``. Opening it requests nothing.

    ``NAME:path`` is below a store of lake.toml: the one that ``lake_config`` of the registry's section names (a path below
    ``repo_path``, a URL or ``NAME:path``), else ``lake.toml`` in ``repo_path``, else the one that applies to the working
    directory. Raises `Config` where these lead nowhere.

    Threads may share it. Every method may raise what a `lakehouse.store.Store` does.
    """

    def __init__(self, registry_config: RegistryConfig, repo_path: Path | None) -> None:
        url, named = _place(registry_config, repo_path or Path())
        self._name = url.name
        self._store = open_at(url.parent, named)
        self._lock = threading.Lock()
        self._heeds_conditions = False

    def __repr__(self) -> str:
        return f"FsspecRegistryStore({self._where!r})"

    def get_registry_proto(self) -> RegistryProto:
        """The registry as it stands.

        Raises `FileNotFoundError` where there is none yet, as Feast wants it, and `NotFound` for an object that is no registry.
        """
        try:
            data = self._store.get(self._name)
        except NotFound:
            raise FileNotFoundError(f"{self._where}: there is no registry; has 'feast apply' been run?") from None
        return _parsed(data, self._where)

    def update_registry_proto(self, registry_proto: RegistryProto) -> None:
        """Replace the version that ``registry_proto`` was read as, or make the registry where it was read from nowhere.

        Its ``version_id`` and ``last_updated`` become those of the new version. A lost reply is settled by reading back.
        Raises `Conflict` where another version (or none) is there: nothing was written, and ``registry_proto`` is as it was;
        `Unsupported` for a store that cannot compare and replace in one step.
        """
        with self._lock:
            new = RegistryProto()
            new.CopyFrom(registry_proto)
            new.version_id = str(uuid.uuid4())
            new.last_updated.FromDatetime(datetime.now(UTC))
            self._write(new.SerializeToString(), registry_proto.version_id)
            registry_proto.version_id = new.version_id
            registry_proto.last_updated.CopyFrom(new.last_updated)

    def teardown(self) -> None:
        """Delete the registry. One that is not there is no error."""
        self._store.delete(self._name)

    @property
    def _where(self) -> str:
        return f"{self._store.url}/{self._name}"

    def _write(self, data: bytes, replaced: str) -> None:
        """Put ``data`` in the place of the version ``replaced`` ("": where nothing is)."""
        overwrite = self._overwrite()
        try:
            if replaced:
                overwrite(self._name, data, etag=self._etag_of(replaced))
            else:
                self._store.put(self._name, data, size=len(data), if_absent=True)
        except (Conflict, NotFound) as error:
            raise self._conflict() from error

    def _etag_of(self, version: str) -> str:
        """The ETag of the registry, if that is ``version``; asked for first, so what changes before the content is read stays."""
        try:
            etag, data = self._store.head(self._name).etag, self._store.get(self._name)
        except NotFound as error:
            raise self._conflict() from error
        if _parsed(data, self._where).version_id != version:
            raise self._conflict()
        if etag is None:
            raise self._unsupported("it gives no ETag")
        return etag

    def _overwrite(self) -> Replace:
        """The store's `Traits.replace`. Some services that speak S3 ignore If-Match on a put: once, an object beside is tried."""
        overwrite = self._store.traits.replace
        if overwrite is None:
            raise self._unsupported(
                "the service is not known to compare when it writes, or fsspec is between: leave out transport, acl and the like"
            )
        if self._store.url.startswith("s3://") and not self._heeds_conditions:
            if not self._refuses_wrong_etag(overwrite):
                raise self._unsupported("the service ignores If-Match on a put")
            self._heeds_conditions = True
        return overwrite

    def _refuses_wrong_etag(self, overwrite: Replace) -> bool:
        name = f"{self._name}.condition-{secrets.token_hex(4)}"
        self._store.put(name, b"one", size=3)
        try:
            overwrite(name, b"two", etag=_NO_VERSION)
        except Conflict:
            return self._store.get(name) == b"one"
        finally:
            self._store.delete(name)
        return False

    def _conflict(self) -> Conflict:
        return Conflict(
            f"{self._where}: another feast apply (or materialize, or teardown) wrote the registry since it was read; nothing was "
            "written. Run again; a process that keeps its FeatureStore calls refresh_registry() first"
        )

    def _unsupported(self, reason: str) -> Unsupported:
        return Unsupported(
            f"{self._where}: this store cannot replace an object only if nobody else has ({reason}), so two feast apply at once "
            "would lose one; nothing was written. Keep the registry on another store, or let lake.toml name the provider"
        )


def _place(config: RegistryConfig, repository: Path) -> tuple[Url, StoreSettings | None]:
    """Where the registry lies, and the named store that it is reached by."""
    place = config.path
    if not place:
        raise Config("feature_store.yaml: registry.path is missing; write NAME:path, a URL or a path below the repository")
    if not is_address(place):
        return parse(str(repository.absolute() / place)), None
    url, named = locate(place, Settings(stores=_settings(config, repository).stores))
    if named is not None and not place.partition(":")[2].strip("/"):
        raise Config(f"feature_store.yaml: registry.path {place!r} names a store and no object in it; write {place}registry.db")
    return url, named


def _settings(config: RegistryConfig, repository: Path) -> Settings:
    stated: object = (config.model_extra or {}).get("lake_config")
    if stated is None:
        beside = repository / "lake.toml"
        return load(beside if beside.is_file() else None)
    if not isinstance(stated, str):
        raise Config("feature_store.yaml: registry.lake_config must be text: a path below the repository, a URL or NAME:path")
    return load(stated if is_address(stated) else repository / stated)


def _parsed(data: bytes, where: str) -> RegistryProto:
    """``data`` as a registry. Every store of Feast gives what it writes a version_id, so bytes without one are something else."""
    proto = RegistryProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        proto = RegistryProto()
    if not proto.version_id:
        raise NotFound(
            f"{where}: is no Feast registry, or a damaged one ({len(data)} bytes); restore it, or delete it and run 'feast apply'"
        )
    return proto
