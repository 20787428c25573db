"""Feast on the lake: features that do not notice a move. Needs ``pip install 'lakehouse-portability[feast]'``.

Definitions name datasets of lake.toml (`LakeSource`); where these lie, and in which format, is for lake.toml alone to say.
"""

from lakehouse_connectors.feast.offline_store import LakeOfflineStore, LakeOfflineStoreConfig
from lakehouse_connectors.feast.source import LakeSource

__all__ = ["LakeOfflineStore", "LakeOfflineStoreConfig", "LakeSource"]
