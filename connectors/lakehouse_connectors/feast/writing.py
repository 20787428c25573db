"""What Feast writes: rows that are pushed, logs of served features, results that are kept as saved datasets.

Each goes into a dataset of lake.toml, of any of the three formats, on any store. Feast hands over frames of pandas as Arrow, with
types that are wider than a dataset's: 64 bits where it has 32, times without a zone. Numbers and times are therefore cast to the
dataset's type, times without a zone being UTC as everywhere in Feast; what a cast would cut off is an error, but for the digits
that a narrower float rounds. All else is up to `lakehouse.lake.Dataset.append`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feast.errors import SavedDatasetLocationAlreadyExists

from lakehouse.errors import Config, Conflict, NotFound, Unsupported
from lakehouse_connectors.feast.lake import lake_of
from lakehouse_connectors.feast.logging_destination import LakeLoggingDestination
from lakehouse_connectors.feast.saved_dataset import SavedDatasetLakeStorage
from lakehouse_connectors.feast.source import lake_source

if TYPE_CHECKING:
    import pyarrow as pa
    from feast.feature_logging import LoggingConfig, LoggingSource
    from feast.feature_view import FeatureView
    from feast.infra.registry.base_registry import BaseRegistry
    from feast.repo_config import RepoConfig
    from feast.saved_dataset import SavedDatasetStorage

    from lakehouse.lake import Dataset, Lake

__all__ = ["append_features", "append_logs", "save"]

_INDEX = re.compile(r"__index_level_\d+__")


def append_features(
    config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Callable[[int], Any] | None
) -> None:
    """Append the rows of ``table`` to the dataset that ``feature_view`` reads, in one commit; ``progress`` gets their number.

    The columns are the dataset's, in its order, or those names as the source's field mapping has them, which is how
    ``FeatureStore.push`` brings them. Raises `ValueError` for other columns, as Feast's own stores do, `Unsupported` for a source
    that is pinned to a point of history, `Config` for a value that the dataset cannot hold, and else as `Dataset.append`.
    """
    where, source = (
        f"feature view {feature_view.name}",
        lake_source(feature_view.batch_source, f"feature view {feature_view.name}"),
    )
    if source.pinned:
        raise Unsupported(
            f"{where}: its source {source!r} reads one point of the dataset's history, to which nothing can be added; push to a "
            "view whose source has neither as_of nor ref"
        )
    dataset = lake_of(config)[source.dataset]
    schema = dataset.schema()
    table = _without_index(table, schema)
    renamed = [source.field_mapping.get(name, name) for name in schema.names]
    if table.column_names not in (schema.names, renamed):
        raise ValueError(
            f"{where}: the rows to write have the columns {table.column_names}; dataset {source.dataset} expects {schema.names}, "
            "in this order"
        )
    table = table.rename_columns(schema.names)
    dataset.append(_cast_reader(table.to_reader(), schema, f"{where}: dataset {source.dataset}"))
    if progress is not None:
        progress(table.num_rows)


def append_logs(
    config: RepoConfig, data: pa.Table | Path | str, source: LoggingSource, logging_config: LoggingConfig, registry: BaseRegistry
) -> None:
    """Append logs of served features to the dataset of the service's `LakeLoggingDestination`; the first logs make its table.

    ``data``: a table, or a folder of Parquet files, read one after the other as they are written. Raises `Config` where lake.toml
    lacks the dataset, and, with nothing written, for logs whose columns are not those of the table, as after a change of the
    service; `NotFound` for a file that cannot be read.
    """
    destination = logging_config.destination
    if not isinstance(destination, LakeLoggingDestination):
        raise Config(f"a {type(destination).__name__} is none of this store's; log to LakeLoggingDestination(dataset=…)")
    readers = [data.to_reader()] if not isinstance(data, Path | str) else _parquet_files(Path(data))
    if not readers:
        return
    lake = lake_of(config)
    dataset = _declared(lake, destination.dataset)
    if not _exists(dataset):
        try:
            lake.create_dataset(dataset.name, source.get_schema(registry))
        except Conflict:  # another logger was first; a table that is not one of logs is found out below
            dataset.schema()
    schema = dataset.schema()
    where = f"logs: dataset {dataset.name}"
    for reader in readers:
        if sorted(reader.schema.names) != sorted(schema.names):
            lacking = sorted(set(schema.names) - set(reader.schema.names))
            more = sorted(set(reader.schema.names) - set(schema.names))
            raise Config(
                f"{where}: the logs lack the columns {lacking} and have more columns {more}; log a service that has changed to "
                "another dataset"
            )
    dataset.append(_one_after_the_other(readers, schema, where))


def save(config: RepoConfig, data: pa.Table | pa.RecordBatchReader, storage: SavedDatasetStorage, allow_overwrite: bool) -> None:
    """Put the rows of ``data`` into the dataset of ``storage``, which must be new or without rows unless ``allow_overwrite``.

    Raises `SavedDatasetLocationAlreadyExists` where there are rows, `Config` where lake.toml lacks the dataset, or where the
    table that is to be overwritten has other columns.
    """
    if not isinstance(storage, SavedDatasetLakeStorage):
        raise Config(f"a {type(storage).__name__} is none of this store's; save to SavedDatasetLakeStorage(dataset=…)")
    lake = lake_of(config)
    dataset = _declared(lake, storage.dataset)
    there = _exists(dataset)
    if there and not allow_overwrite and next(iter(dataset.read()), None) is not None:
        raise SavedDatasetLocationAlreadyExists(location=f"dataset {dataset.name} ({dataset.place})")
    if not there:
        lake.create_dataset(dataset.name, data.schema).append(data)
        return
    reader = data if hasattr(data, "read_next_batch") else data.to_reader()
    dataset.overwrite(_cast_reader(reader, dataset.schema(), f"saved dataset: dataset {dataset.name}"))


def _without_index(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """``table`` without the nameless index that a pandas frame brings along once rows were taken out of it."""
    return table.drop_columns([name for name in table.column_names if _INDEX.fullmatch(name) and name not in schema.names])


def _declared(lake: Lake, name: str) -> Dataset:
    """The dataset, whether or not it has a table yet. Raises `Config` that says what lake.toml lacks."""
    if name not in lake:
        raise Config(
            f"there is no dataset {name!r} in {lake.settings.path or 'lake.toml'}, so it is not known where to write; add to it "
            f'[dataset.{name}] with table = "<URL, path or NAME:path>" and format = "parquet", "delta" or "iceberg"'
        )
    return lake[name]


def _exists(dataset: Dataset) -> bool:
    try:
        dataset.schema()
    except NotFound:
        return False
    return True


def _parquet_files(place: Path) -> list[pa.RecordBatchReader]:
    """The rows of each Parquet file, read when they are asked for; names that begin with a dot or underscore are unfinished."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not place.exists():
        raise NotFound(f"logs at {place}: nothing is there")
    below = [path for path in sorted(place.rglob("*")) if not any(part[0] in "._" for part in path.relative_to(place).parts)]
    readers = []
    for path in [path for path in below or [place] if path.is_file()]:
        with _unreadable(path):
            schema = pq.read_schema(path)
        readers.append(pa.RecordBatchReader.from_batches(schema, _batches(path)))
    return readers


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with _unreadable(path), pq.ParquetFile(path) as file:
        yield from file.iter_batches(use_threads=False)


@contextmanager
def _unreadable(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise NotFound(f"logs at {path}: cannot be read ({error}); nothing was written") from error


def _one_after_the_other(readers: list[pa.RecordBatchReader], schema: pa.Schema, where: str) -> pa.RecordBatchReader:
    import pyarrow as pa

    def each() -> Iterator[pa.RecordBatch]:
        for reader in readers:
            yield from _cast_reader(reader.cast(reader.schema), schema, where)

    return pa.RecordBatchReader.from_batches(schema, each())


def _cast_reader(reader: pa.RecordBatchReader, schema: pa.Schema, where: str) -> pa.RecordBatchReader:
    """The rows with the numbers and times of ``schema``; other columns as they are, all in their own order."""
    import pyarrow as pa

    fields = []
    for field in reader.schema:
        place = schema.get_field_index(field.name)
        wanted = schema.field(place).type if place >= 0 else field.type
        fields.append(pa.field(field.name, wanted if _is_cast(field.type, wanted) else field.type))
    cast = pa.schema(fields)

    def each() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            arrays = [_cast(array, field, where) for array, field in zip(batch.columns, cast, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=cast)

    return pa.RecordBatchReader.from_batches(cast, each())


def _is_cast(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of the one type become the other: numbers numbers, times times, and both in lists."""
    import pyarrow as pa

    kinds = pa.types
    if kinds.is_timestamp(given) and kinds.is_timestamp(wanted):
        return True
    numbers = [kinds.is_integer(kind) or kinds.is_floating(kind) for kind in (given, wanted)]
    if all(numbers):
        return True
    lists = [kinds.is_list(kind) or kinds.is_large_list(kind) for kind in (given, wanted)]
    return all(lists) and _is_cast(given.value_type, wanted.value_type)


def _cast(array: pa.Array, field: pa.Field, where: str) -> pa.Array:
    import pyarrow as pa

    try:
        return array.cast(field.type)
    except pa.ArrowInvalid as error:
        raise Config(
            f"{where}: column {field.name!r}: a value does not go into {field.type} ({error}); nothing is cut off; nothing was "
            "written"
        ) from error
