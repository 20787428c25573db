"""What Feast's own offline-store tests need to run on datasets of the lake (see README.md beside this file).

Feast's tests find the stores to run on in the module that ``FULL_REPO_CONFIGS_MODULE`` names: this one. It is imported from its
own folder, since Feast's tests are a package ``tests`` as ours are. ``LAKE_SUITE_FORMAT`` says which format the datasets have.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from feast.repo_config import RegistryConfig

from lakehouse.lake import Lake
from lakehouse_connectors.feast import (
    LakeLoggingDestination,
    LakeOfflineStoreConfig,
    LakeSource,
    SavedDatasetLakeStorage,
)

__all__ = ["AVAILABLE_OFFLINE_STORES", "AVAILABLE_ONLINE_STORES", "LakeDataSourceCreator"]


class LakeDataSourceCreator:
    """Datasets of a lake.toml in a temporary folder. The methods are those of ``DataSourceCreator`` in Feast's tests."""

    def __init__(self, project_name: str, **_of_feast: Any) -> None:
        self.project_name = project_name
        self.format = os.environ.get("LAKE_SUITE_FORMAT", "parquet")
        self.folder = Path(tempfile.mkdtemp(prefix="lake-suite-"))
        self.settings = self.folder / "lake.toml"
        self.settings.touch()

    def create_data_source(
        self,
        df: pd.DataFrame,
        destination_name: str,
        created_timestamp_column: str | None = "created_ts",
        field_mapping: dict[str, str] | None = None,
        timestamp_field: str | None = "ts",
    ) -> LakeSource:
        """A source over a new dataset that holds the rows of ``df``."""
        name = self._declare(destination_name)
        table = pa.Table.from_pandas(df, preserve_index=False).replace_schema_metadata(None)
        Lake.from_config(self.settings).create_dataset(name, table.schema).append(table)
        source = LakeSource(
            dataset=name,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            field_mapping=field_mapping,
        )
        vars(source)["table"] = name  # where Feast's tests look for the name that entity_df selects from
        return source

    def setup(self, registry: RegistryConfig) -> None:
        """Nothing is to be started."""

    def create_offline_store_config(self) -> LakeOfflineStoreConfig:
        """The store over this lake.toml."""
        return LakeOfflineStoreConfig(lake_config=str(self.settings))

    def create_saved_dataset_destination(self) -> SavedDatasetLakeStorage:
        """A dataset that lake.toml names and that is not there yet."""
        return SavedDatasetLakeStorage(self._declare("saved"))

    def create_logged_features_destination(self) -> LakeLoggingDestination:
        """A dataset that lake.toml names and that is not there yet."""
        return LakeLoggingDestination(self._declare("logs"))

    def teardown(self) -> None:
        """Remove the datasets."""
        shutil.rmtree(self.folder)

    @staticmethod
    def xdist_groups() -> list[str]:
        """Tests may run on any worker."""
        return []

    @staticmethod
    def test_markers() -> list[Any]:
        """Tests get no markers more."""
        return []

    def _declare(self, name: str) -> str:
        """Name a new dataset in lake.toml. A project may be used by several tests, hence the numbers."""
        dataset = f"{self.project_name}_{name}_{self.settings.read_text().count('[dataset.')}"
        with self.settings.open("a") as settings:
            settings.write(f'[dataset.{dataset}]\ntable = "{self.folder / dataset}"\nformat = "{self.format}"\n\n')
        return dataset


AVAILABLE_OFFLINE_STORES = [("local", LakeDataSourceCreator)]
AVAILABLE_ONLINE_STORES = {"sqlite": ({"type": "sqlite"}, None)}
