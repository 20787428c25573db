"""Data files of an Iceberg table: Parquet with the table's field ids, and what manifests state of each.

pyiceberg splits rows into partitions and reads the statistics from footers. The rows are written as they are, not by pyiceberg's
own writer, which makes empty lists of null ones.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lakehouse.errors import Unsupported

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.manifest import DataFile
    from pyiceberg.table.metadata import TableMetadata

    from lakehouse.writing.iceberg_files import StoreFiles

__all__ = ["DataFiles"]

_ROW_GROUP_ROWS = "write.parquet.row-group-limit"
_ROW_GROUP_DEFAULT = 1_048_576


class DataFiles:
    """The data files of one write to the table that ``metadata`` tells of. Their names hold one UUID and count upwards."""

    def __init__(self, metadata: TableMetadata, files: StoreFiles) -> None:
        from pyiceberg.io.pyarrow import _get_parquet_writer_kwargs, compute_statistics_plan, parquet_path_to_id_mapping
        from pyiceberg.table.locations import load_location_provider

        self._metadata, self._files = metadata, files
        self._schema, self._properties = metadata.schema(), metadata.properties
        self._name, self._numbers = uuid.uuid4(), itertools.count()
        self._locations = load_location_provider(metadata.location, metadata.properties)
        self._options = _get_parquet_writer_kwargs(metadata.properties)
        self._columns = compute_statistics_plan(self._schema, metadata.properties)
        self._ids = parquet_path_to_id_mapping(self._schema)

    def of(self, rows: pa.Table) -> list[DataFile]:
        """The files, one a partition, that hold ``rows``, which have the table's schema with its field ids.

        Raises `Unsupported` for rows that pyiceberg cannot sort into partitions.
        """
        made, found = list[Any](), 0
        for key, part in self._partitions(rows):
            found += part.num_rows
            made.append(self._written(key, part))
        if found != rows.num_rows:
            raise Unsupported(f"{self._metadata.location}: a partition column holds NaN, which pyiceberg cannot partition by")
        return made

    def _partitions(self, rows: pa.Table) -> Iterator[tuple[Any, pa.Table]]:
        from pyiceberg.io.pyarrow import _determine_partitions

        if self._metadata.spec().is_unpartitioned():
            yield None, rows
            return
        for partition in _determine_partitions(self._metadata.spec(), self._schema, rows):
            yield partition.partition_key, partition.arrow_table_partition

    def _written(self, key: Any, rows: pa.Table) -> DataFile:
        import pyarrow as pa
        import pyarrow.parquet as pq
        from pyiceberg.io.pyarrow import data_file_statistics_from_parquet_metadata
        from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
        from pyiceberg.typedef import Record

        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, rows.schema, store_decimal_as_integer=True, **self._options) as writer:
            writer.write_table(rows, row_group_size=int(self._properties.get(_ROW_GROUP_ROWS, _ROW_GROUP_DEFAULT)))
        data = sink.getvalue().to_pybytes()
        address = self._locations.new_data_location(f"00000-{next(self._numbers)}-{self._name}.parquet", key)
        self._files.put(address, data)
        statistics = data_file_statistics_from_parquet_metadata(writer.writer.metadata, self._columns, self._ids)
        return DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=address,
            file_format=FileFormat.PARQUET,
            partition=key.partition if key is not None else Record(),
            file_size_in_bytes=len(data),
            sort_order_id=None,
            spec_id=self._metadata.default_spec_id,
            equality_ids=None,
            key_metadata=None,
            **statistics.to_serialized_dict(),
        )
