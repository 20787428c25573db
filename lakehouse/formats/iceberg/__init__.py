"""Apache Iceberg: tables of format versions 1 to 3, with every snapshot, branch and tag that they retain."""

from lakehouse.formats.iceberg.format import IcebergFormat
from lakehouse.formats.iceberg.root import is_metadata_name

__all__ = ["IcebergFormat", "is_metadata_name"]
