"""Portable lakehouse tables: replicate Parquet, Delta and Iceberg between clouds, and prove that they arrived.

>>> import lakehouse
>>> result = lakehouse.sync("s3://acme/orders", "gs://acme-eu/orders")      # doctest: +SKIP
>>> lakehouse.verify("gs://acme-eu/orders").raise_for_findings()           # doctest: +SKIP

Every command of ``lake`` is a thin layer over a function here of the same name. Errors are in `lakehouse.errors`.
"""

from lakehouse.check import CheckFinding, CheckReport, check
from lakehouse.config import Settings, load
from lakehouse.describe import describe, files, history, ls
from lakehouse.doctor import doctor
from lakehouse.errors import Config, Conflict, LakeError, NotFound, Transfer, Unsupported, Verification
from lakehouse.filesystem import filesystem
from lakehouse.lake import Dataset, Lake, Replicated
from lakehouse.plan import Counts, Plan
from lakehouse.progress import Progress, ProgressEvent
from lakehouse.prune import PruneResult, prune
from lakehouse.query import Query, sql
from lakehouse.reading.task import Point
from lakehouse.report import Finding, Report
from lakehouse.result import SyncResult
from lakehouse.row_record import RowExample, RowRecord
from lakehouse.scan import Scan
from lakehouse.status import ReplicaStatus, status
from lakehouse.store import ObjectInfo, Store, Traits
from lakehouse.sync import plan, sync
from lakehouse.table import Column, Commit, Description, TableFile
from lakehouse.tables import Table, fingerprint, open_table
from lakehouse.verify import verify
from lakehouse.version import __version__

__all__ = [
    "CheckFinding",
    "CheckReport",
    "Column",
    "Commit",
    "Config",
    "Conflict",
    "Counts",
    "Dataset",
    "Description",
    "Finding",
    "Lake",
    "LakeError",
    "NotFound",
    "ObjectInfo",
    "Plan",
    "Point",
    "Progress",
    "ProgressEvent",
    "PruneResult",
    "Query",
    "ReplicaStatus",
    "Replicated",
    "Report",
    "RowExample",
    "RowRecord",
    "Scan",
    "Settings",
    "Store",
    "SyncResult",
    "Table",
    "TableFile",
    "Traits",
    "Transfer",
    "Unsupported",
    "Verification",
    "__version__",
    "check",
    "describe",
    "doctor",
    "files",
    "filesystem",
    "fingerprint",
    "history",
    "load",
    "ls",
    "open_table",
    "plan",
    "prune",
    "sql",
    "status",
    "sync",
    "verify",
]
