"""A dataset of lake.toml as a source of features: what a definition says, and the registry holds, is a name and never a place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from feast.data_source import DataSource
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.repo_config import RepoConfig
from feast.value_type import ValueType

from lakehouse.errors import Config
from lakehouse.scan import Scan
from lakehouse_connectors.feast.lake import lake_of
from lakehouse_connectors.feast.value_types import type_name, value_type

__all__ = ["LakeSource", "lake_source"]


class LakeSource(DataSource):
    """The rows of the dataset ``[dataset.NAME]`` of lake.toml, in Parquet, Delta or Iceberg, wherever it lies.

        LakeSource(dataset="driver_stats", timestamp_field="event_timestamp", created_timestamp_column="created")

    ``as_of`` (a datetime or ISO 8601 text; UTC where it has no zone) or ``ref`` (a branch, a tag or a version) pins it to one
    point of the dataset's history; a pin holds after a conversion too, where the new table says which versions it was made from
    (`lakehouse.origin`). ``name`` is the dataset's unless it is given. The other parameters are Feast's.
    """

    def __init__(
        self,
        *,
        dataset: str,
        name: str | None = None,
        timestamp_field: str | None = None,
        created_timestamp_column: str | None = None,
        field_mapping: dict[str, str] | None = None,
        date_partition_column: str | None = None,
        as_of: datetime | str | None = None,
        ref: str | int | None = None,
        description: str | None = "",
        tags: dict[str, str] | None = None,
        owner: str | None = "",
    ) -> None:
        """Raises `Config` where no dataset is named, both pins are given, or ``as_of`` is no time."""
        if not isinstance(dataset, str) or not dataset:
            raise Config(f"LakeSource: dataset is {dataset!r}; give the name of a dataset of lake.toml")
        super().__init__(
            name=name or dataset,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            field_mapping=field_mapping,
            date_partition_column=date_partition_column,
            description=description,
            tags=tags,
            owner=owner,
        )
        if as_of is not None and ref is not None:
            raise Config(f"source {self.name}: as_of and ref each name a point of the dataset's history; give one")
        self.dataset = dataset
        self.as_of = None if as_of is None else _instant(self.name, as_of)
        self.ref = None if ref is None else str(ref)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, LakeSource)
            and bool(super().__eq__(other))  # type: ignore[no-untyped-call]
            and (self.dataset, self.as_of, self.ref) == (other.dataset, other.as_of, other.ref)
        )

    def __hash__(self) -> int:
        return hash((self.name, self.dataset))

    def __repr__(self) -> str:
        pin = f", as_of={self.as_of!r}" if self.as_of else f", ref={self.ref!r}" if self.ref else ""
        return f"LakeSource(name={self.name!r}, dataset={self.dataset!r}{pin})"

    @property
    def pinned(self) -> bool:
        """Whether it is one point of the dataset's history, whatever is written later."""
        return self.as_of is not None or self.ref is not None

    def scan(self, config: RepoConfig, columns: list[str] | None = None, where: Any = None) -> Scan:
        """The rows as they stand now, or at the pin: ``columns`` of those for which ``where`` holds, as `lakehouse.Dataset.read`.

        Raises as that does: `Config` for a dataset or column that there is not, `NotFound` where there is no table or point.
        """
        return lake_of(config)[self.dataset].read(columns, where, ref=self.ref, as_of=self.as_of)

    def source_type(self) -> DataSourceProto.SourceType.ValueType:
        """Feast's word for sources that it does not know itself."""
        return DataSourceProto.CUSTOM_SOURCE

    @staticmethod
    def from_proto(data_source: DataSourceProto) -> LakeSource:
        """The source that the registry holds."""
        stated = json.loads(data_source.custom_options.configuration)
        return LakeSource(
            dataset=stated["dataset"],
            as_of=stated.get("as_of"),
            ref=stated.get("ref"),
            name=data_source.name,
            timestamp_field=data_source.timestamp_field,
            created_timestamp_column=data_source.created_timestamp_column,
            field_mapping=dict(data_source.field_mapping),
            date_partition_column=data_source.date_partition_column,
            description=data_source.description,
            tags=dict(data_source.tags),
            owner=data_source.owner,
        )

    def _to_proto_impl(self) -> DataSourceProto:
        stated = {"dataset": self.dataset, "as_of": self.as_of, "ref": self.ref}
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type="lakehouse_connectors.feast.LakeSource",
            custom_options=DataSourceProto.CustomSourceOptions(
                configuration=json.dumps({key: value for key, value in stated.items() if value is not None}).encode()
            ),
            timestamp_field=self.timestamp_field,
            created_timestamp_column=self.created_timestamp_column,
            field_mapping=self.field_mapping,
            date_partition_column=self.date_partition_column,
            description=self.description,
            tags=self.tags,
            owner=self.owner,
        )

    def _set_timestamps_in_proto(self, data_source_proto: DataSourceProto) -> None:
        """Nothing: the times at which Python made this object would make each view that holds it look changed."""

    def validate(self, config: RepoConfig) -> None:
        """Raises `Config` or `NotFound` where the dataset, or a column that the source names, is not there."""
        for name in (self.timestamp_field, self.created_timestamp_column):
            if name in self.field_mapping:
                raise Config(
                    f"source {self.name}: its field_mapping renames {name!r} to {self.field_mapping[name]!r}; name the time so, "
                    "or Feast does not find it when it materializes"
                )
        mapped = {new: column for column, new in self.field_mapping.items()}
        named = [self.timestamp_field, self.created_timestamp_column, self.date_partition_column]
        self.scan(config, list(dict.fromkeys([*self.field_mapping, *(mapped.get(name, name) for name in named if name)])))

    def get_table_column_names_and_types(self, config: RepoConfig) -> Iterable[tuple[str, str]]:
        """The columns of the dataset and their types, as `value_type` reads them. Raises as `scan`."""
        return [(field.name, type_name(field.type)) for field in self.scan(config).schema]

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        """See `value_types.value_type`."""
        return value_type

    def get_table_query_string(self) -> str:
        """Its name in SQL: ``entity_df`` may be a query over datasets."""
        return f'"{self.dataset}"'


def lake_source(source: DataSource | None, whose: str) -> LakeSource:
    """``source``, that of ``whose``. Raises `Config` where it is none of ours."""
    if not isinstance(source, LakeSource):
        raise Config(f"{whose}: its source is {type(source).__name__}; this offline store reads and writes LakeSource")
    return source


def _instant(name: str, as_of: datetime | str) -> str:
    """``as_of`` as the registry holds it: ISO 8601 in UTC."""
    try:
        found = datetime.fromisoformat(as_of) if isinstance(as_of, str) else as_of
    except ValueError:
        raise Config(f"source {name}: as_of {as_of!r} is no time; write ISO 8601, such as 2024-02-29T12:00:00Z") from None
    if not isinstance(found, datetime):
        raise Config(f"source {name}: as_of {as_of!r} is no time; give a datetime, or ISO 8601 text")
    return (found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)).isoformat()
