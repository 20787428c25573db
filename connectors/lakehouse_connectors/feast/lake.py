"""Where a Feast repository finds its lake.toml."""

from __future__ import annotations

from pathlib import Path

from feast.repo_config import RepoConfig

from lakehouse.errors import Config
from lakehouse.lake import Lake

__all__ = ["lake_of"]


def lake_of(config: RepoConfig) -> Lake:
    """The lake of ``offline_store.lake_config``: a path (below the repository unless it is absolute), a URL or ``NAME:path``.

    Where feature_store.yaml says nothing: ``lake.toml`` beside it, else the one that applies to the working directory
    (`lakehouse.Lake.from_config`). Raises `Config` where that is not there or cannot be read, or the offline store is another.
    """
    from lakehouse_connectors.feast.offline_store import LakeOfflineStoreConfig

    store = config.offline_store
    if not isinstance(store, LakeOfflineStoreConfig):
        raise Config(
            f"a LakeSource is read by offline_store.type: lakehouse_connectors.feast.LakeOfflineStore; "
            f"feature_store.yaml has {getattr(store, 'type', type(store).__name__)}"
        )
    repository = config.repo_path or Path()
    if store.lake_config is not None:
        place = store.lake_config
        return Lake.from_config(place if ":" in place else repository / place)
    beside = repository / "lake.toml"
    return Lake.from_config(beside if beside.is_file() else None)
