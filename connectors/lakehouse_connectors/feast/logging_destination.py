"""Where a feature service logs what it served: a dataset of lake.toml."""

from __future__ import annotations

from feast.feature_logging import LOG_TIMESTAMP_FIELD, LoggingDestination
from feast.protos.feast.core.FeatureService_pb2 import LoggingConfig as LoggingConfigProto

from lakehouse_connectors.feast.saved_dataset import SavedRows

__all__ = ["LakeLoggingDestination"]

_KIND = "lakehouse"


class LakeLoggingDestination(LoggingDestination):
    """The dataset ``dataset`` of lake.toml, which states its place and format; the first logs make its table.

    Its columns are the join keys, each feature with its time and status, and the time, date and request of the log.
    """

    _proto_kind = _KIND

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset

    def __eq__(self, other: object) -> bool:
        return self.dataset == other.dataset if isinstance(other, LakeLoggingDestination) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.dataset)

    def __repr__(self) -> str:
        return f"LakeLoggingDestination(dataset={self.dataset!r})"

    @classmethod
    def from_proto(cls, config_proto: LoggingConfigProto) -> LakeLoggingDestination:
        """The destination that `to_proto` wrote."""
        return cls(config_proto.custom_destination.config["dataset"])

    def to_proto(self) -> LoggingConfigProto:
        """As the registry holds it; the kind tells which plug-in reads it back."""
        custom = LoggingConfigProto.CustomDestination(kind=_KIND, config={"dataset": self.dataset})
        return LoggingConfigProto(custom_destination=custom)

    def to_data_source(self) -> SavedRows:
        """What reads the logs, by the time at which they were made."""
        return SavedRows(dataset=self.dataset, timestamp_field=LOG_TIMESTAMP_FIELD)
