"""Where the result of a retrieval is kept, as a saved dataset of Feast: in a dataset of lake.toml."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.saved_dataset import SavedDatasetStorage

from lakehouse.errors import Config, Unsupported
from lakehouse_connectors.feast.source import LakeSource

if TYPE_CHECKING:
    from feast.data_source import DataSource
    from feast.protos.feast.core.SavedDataset_pb2 import SavedDatasetStorage as SavedDatasetStorageProto

__all__ = ["SavedDatasetLakeStorage", "SavedRows"]


class SavedRows(LakeSource):
    """Rows that Feast saved or logged: they are given as they are, those whose keys were NULL when they were asked about too."""


class SavedDatasetLakeStorage(SavedDatasetStorage):
    """The dataset ``dataset`` of lake.toml, which states its place and format; the first result that is saved makes its table.

    ``timestamp_field``: the column of the entity rows' times, by which Feast reads the rows again.
    """

    _proto_attr_name = "custom_storage"

    def __init__(self, dataset: str, timestamp_field: str = "event_timestamp") -> None:
        self.dataset = dataset
        self.timestamp_field = timestamp_field

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SavedDatasetLakeStorage):
            return NotImplemented
        return (self.dataset, self.timestamp_field) == (other.dataset, other.timestamp_field)

    def __hash__(self) -> int:
        return hash((self.dataset, self.timestamp_field))

    def __repr__(self) -> str:
        return f"SavedDatasetLakeStorage(dataset={self.dataset!r}, timestamp_field={self.timestamp_field!r})"

    @staticmethod
    def from_proto(storage_proto: SavedDatasetStorageProto) -> SavedDatasetLakeStorage:
        """The storage that `to_proto` wrote. Raises `Config` for anything else."""
        try:
            written = json.loads(storage_proto.custom_storage.configuration)
            return SavedDatasetLakeStorage(written["dataset"], written["timestamp_field"])
        except (ValueError, KeyError, TypeError) as error:
            raise Config(
                f"the registry holds a saved dataset that SavedDatasetLakeStorage did not write ({error!r}); another plug-in did"
            ) from error

    def to_proto(self) -> SavedDatasetStorageProto:
        """As the registry holds it: with the class that wrote it, since other plug-ins use the same field."""
        configuration = json.dumps({"dataset": self.dataset, "timestamp_field": self.timestamp_field}).encode()
        return self._custom_storage_proto(DataSourceProto.CustomSourceOptions(configuration=configuration))

    def to_data_source(self) -> SavedRows:
        """What reads the saved rows."""
        return SavedRows(dataset=self.dataset, timestamp_field=self.timestamp_field)

    @staticmethod
    def from_data_source(data_source: DataSource) -> SavedDatasetLakeStorage:
        """The storage in the dataset that ``data_source`` reads. Raises `Unsupported` for one pinned to a point of history."""
        if not isinstance(data_source, LakeSource):
            raise Config(f"a {type(data_source).__name__} is no LakeSource; SavedDatasetLakeStorage is made from one")
        if data_source.pinned:
            raise Unsupported(f"{data_source!r} reads one point of the dataset's history; nothing can be saved there")
        return SavedDatasetLakeStorage(data_source.dataset, data_source.timestamp_field or "event_timestamp")
