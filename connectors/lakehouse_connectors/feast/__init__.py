"""Feast on the lake: features that do not notice a move. Needs ``pip install 'lakehouse-portability[feast]'``.

Definitions name datasets of lake.toml (`LakeSource`); where these lie, and in which format, is for lake.toml alone to say.
"""

from feast import saved_dataset as _feast

from lakehouse_connectors.feast.logging_destination import LakeLoggingDestination
from lakehouse_connectors.feast.offline_store import LakeOfflineStore, LakeOfflineStoreConfig
from lakehouse_connectors.feast.registry import FsspecRegistryStore
from lakehouse_connectors.feast.saved_dataset import SavedDatasetLakeStorage
from lakehouse_connectors.feast.source import LakeSource

__all__ = [
    "FsspecRegistryStore",
    "LakeLoggingDestination",
    "LakeOfflineStore",
    "LakeOfflineStoreConfig",
    "LakeSource",
    "SavedDatasetLakeStorage",
]

# Feast has no other way to be told in which class rows of a source are saved
_feast._DATA_SOURCE_TO_SAVED_DATASET_STORAGE["LakeSource"] = "lakehouse_connectors.feast.SavedDatasetLakeStorage"
