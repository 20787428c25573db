"""What Feast is given instead of rows: they are read when it asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from feast.saved_dataset import SavedDatasetStorage

from lakehouse_connectors.feast import writing

__all__ = ["LakeRetrievalJob"]


class LakeRetrievalJob(RetrievalJob):
    """Rows that ``read`` gives, each time that they are asked for."""

    def __init__(
        self,
        config: RepoConfig,
        read: Callable[[], pa.Table],
        *,
        full_feature_names: bool = False,
        on_demand_feature_views: Sequence[OnDemandFeatureView] = (),
        metadata: Callable[[], RetrievalMetadata] | None = None,
    ) -> None:
        self._config, self._read = config, read
        self._full_feature_names, self._metadata = full_feature_names, metadata
        self._on_demand_feature_views = list(on_demand_feature_views)

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named ``view__feature``."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The views that Feast computes from these rows."""
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """The features and keys that were asked for, and the range of the rows' times, for which the rows are read."""
        return None if self._metadata is None else self._metadata()

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002 - Feast may give one
        return self._read()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:  # noqa: ARG002 - Feast may give one
        return self._read().to_pandas()

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool | None = False, timeout: int | None = None) -> None:
        """Write the rows, on-demand features with them, to the dataset of ``storage``. Raises as `writing.save`."""
        writing.save(self._config, self.to_arrow(timeout=timeout), storage, allow_overwrite=bool(allow_overwrite))

    def supports_remote_storage_export(self) -> bool:
        """False: rows go to a dataset by `persist`."""
        return False
