"""Feast's offline store over the datasets of lake.toml: what Feast calls, and who does it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import StrictStr

from lakehouse_connectors.feast import historical, writing
from lakehouse_connectors.feast.job import LakeRetrievalJob
from lakehouse_connectors.feast.pull import Pull
from lakehouse_connectors.feast.saved_dataset import SavedRows
from lakehouse_connectors.feast.source import lake_source

__all__ = ["LakeOfflineStore", "LakeOfflineStoreConfig"]


class LakeOfflineStoreConfig(FeastConfigBaseModel):
    """``offline_store`` of feature_store.yaml."""

    type: StrictStr = "lakehouse_connectors.feast.LakeOfflineStore"

    lake_config: StrictStr | None = None
    """The lake.toml that says where the datasets lie. See `lake.lake_of`."""

    memory: StrictStr = "1G"
    """What a join or a materialization may take beside its rows, as rclone writes sizes."""


class LakeOfflineStore(OfflineStore):
    """Training sets, materialization, push and logs over `LakeSource`, in every format alike (docs/feast.md)."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pa.Table | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        *,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """See `historical.historical_features`."""
        return historical.historical_features(
            config,
            feature_views,
            feature_refs,
            entity_df,
            registry,
            project,
            full_feature_names=full_feature_names,
            dates=(start_date, end_date),
            known_then=filter_by_created_timestamp,
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """See `Pull.newest_rows`."""
        pull = Pull(
            config, lake_source(data_source, data_source.name), join_key_columns, feature_name_columns, timestamp_field,
            created_timestamp_column or None, start_date, end_date,
        )  # fmt: skip
        return LakeRetrievalJob(config, pull.newest_rows)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """See `Pull.all_rows`; what was saved comes back as it is."""
        source = lake_source(data_source, data_source.name)
        saved = isinstance(source, SavedRows)  # Feast asks for a saved dataset's times by a name of its own
        pull = Pull(
            config, source, join_key_columns, feature_name_columns, source.timestamp_field if saved else timestamp_field,
            created_timestamp_column or None, start_date, end_date,
        )  # fmt: skip
        return LakeRetrievalJob(config, pull.saved_rows if saved else pull.all_rows)

    @staticmethod
    def write_logged_features(
        config: RepoConfig, data: pa.Table | Path, source: LoggingSource, logging_config: LoggingConfig, registry: BaseRegistry
    ) -> None:
        """See `writing.append_logs`."""
        writing.append_logs(config, data, source, logging_config, registry)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """See `writing.append_features`."""
        writing.append_features(config, feature_view, table, progress)
