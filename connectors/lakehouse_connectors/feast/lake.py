"""Where a Feast repository finds its lake.toml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from feast.repo_config import RepoConfig

from lakehouse.errors import Config
from lakehouse.lake import Lake
from lakehouse.memory import memory_of

if TYPE_CHECKING:
    from lakehouse_connectors.feast.offline_store import LakeOfflineStoreConfig

__all__ = ["block_bytes", "is_address", "lake_of"]


def is_address(place: str) -> bool:
    """Whether ``place`` is a URL or ``NAME:path``, and no path."""
    return re.match(r"[A-Za-z0-9][A-Za-z0-9+_.-]*:", place) is not None


def lake_of(config: RepoConfig) -> Lake:
    """The lake of ``offline_store.lake_config``: a path (below the repository unless it is absolute), a URL or ``NAME:path``.

    Where feature_store.yaml says nothing: ``lake.toml`` beside it, else the one that applies to the working directory
    (`lakehouse.Lake.from_config`). Raises `Config` where that is not there or cannot be read, or the offline store is another.
    """
    store = _store(config)
    repository = config.repo_path or Path()
    if store.lake_config is not None:
        place = store.lake_config
        return Lake.from_config(place if is_address(place) else repository / place)
    beside = repository / "lake.toml"
    return Lake.from_config(beside if beside.is_file() else None)


def block_bytes(config: RepoConfig) -> int:
    """How many bytes of rows are looked at at once: a quarter of ``offline_store.memory``, since to sort them takes more."""
    return memory_of(_store(config).memory) // 4


def _store(config: RepoConfig) -> LakeOfflineStoreConfig:
    from lakehouse_connectors.feast.offline_store import LakeOfflineStoreConfig

    store = config.offline_store
    if not isinstance(store, LakeOfflineStoreConfig):
        raise Config(
            f"a LakeSource is read by offline_store.type: lakehouse_connectors.feast.LakeOfflineStore; "
            f"feature_store.yaml has {getattr(store, 'type', type(store).__name__)}"
        )
    return store
