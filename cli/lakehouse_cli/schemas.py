"""The documents that ``--json`` prints, one model a command; published as JSON Schema in docs/schemas/.

``python -m lakehouse_cli.schemas docs/schemas`` writes the files; a test holds them against these models.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from lakehouse_cli.document import Document, Model, Shown, Text

__all__ = ["DOCUMENTS", "Document", "publish", "published"]

Proof = Literal["none", "files", "bytes", "rows"]


class CountsModel(Model):
    """Objects and their bytes."""

    files: int
    bytes: int


class FindingModel(Model):
    """One thing that is wrong (``missing``, ``extra``, ``differs``, ``rows``, ``receipt``) or not known (``unchecked``)."""

    kind: str
    path: Text
    message: Text


class ErrorModel(Model):
    """``kind`` is the class of the error (`lakehouse.errors`), ``Usage``, ``Interrupted`` or ``Unexpected``."""

    kind: str
    message: Text


class ErrorDocument(Document):
    """What any command prints when it failed. ``findings`` are there when a verification failed."""

    error: ErrorModel
    findings: list[FindingModel] = Field(default=[])


class SyncDocument(Document):
    """``lake sync``. ``root`` is the address of the published metadata; ``unchanged``: there was nothing to do."""

    command: Literal["sync"] = "sync"
    source: Text
    target: Text
    root: Text | None
    format: str
    version: str
    source_version_at: datetime | None
    copied: CountsModel
    kept: CountsModel
    rewritten: CountsModel
    proof: Proof
    proof_copied: Proof
    proof_kept_oldest_at: datetime | None
    source_checked: bool
    findings: list[FindingModel]
    receipt: Text | None
    receipt_sha256: str | None
    seconds: float
    unchanged: bool


class PlanDocument(Document):
    """``lake sync --dry-run``: what a sync would do. Nothing was written."""

    command: Literal["sync"] = "sync"
    dry_run: Literal[True] = True
    source: Text
    target: Text
    format: str
    version: str
    to_copy: CountsModel
    to_keep: CountsModel
    to_rewrite: CountsModel
    history: CountsModel
    read_back_bytes: int
    deletions: list[Text]


class RowsModel(Model):
    """The rows of one point of a table's history; ``columns``: the fingerprint of each. ``gone``: why it can no longer be
    read.
    """

    point: str
    rows: int
    fingerprint: str
    columns: dict[Text, str]
    algorithm: str
    reader: str
    gone: Text


class ExampleModel(Model):
    """A row that differs, by its key. ``source``, ``target``: its values as text; null where that side lacks the row."""

    point: str
    key: dict[Text, Shown]
    source: dict[Text, Shown] | None
    target: dict[Text, Shown] | None


class VerifyDocument(Document):
    """``lake verify``. ``level`` is what is proven, ``level_asked`` what was to be.

    ``rows`` (level rows): what was read at the target. ``examples`` (``--show``): rows that differ.
    """

    command: Literal["verify"] = "verify"
    target: Text
    format: str
    version: str
    level_asked: Proof
    level: Proof
    source_checked: bool
    checked: CountsModel
    findings: list[FindingModel]
    receipt: Text | None
    receipt_sha256: str | None
    rows: list[RowsModel]
    examples: list[ExampleModel]


class CheckDocument(Document):
    """``lake check``. ``version`` is empty where the table could not be read at all; ``objects``: how many were looked at."""

    command: Literal["check"] = "check"
    place: Text
    format: str
    version: str
    deep: bool
    objects: int
    findings: list[FindingModel]


class PrunedModel(Model):
    """An object of the table that went, or would go."""

    path: Text
    size: int


class PruneDocument(Document):
    """``lake prune``. ``dry_run``: nothing was removed, this is what would be. ``paths`` in the order in which they go.

    ``receipts`` and ``notes`` count our own. ``kept_for_readers``: older versions that readers may still have open.
    ``changed``: objects that nothing needs, and that stay, since somebody else changed them.
    """

    command: Literal["prune"] = "prune"
    target: Text
    format: str
    version: str
    dry_run: bool
    objects: CountsModel
    receipts: int
    notes: int
    kept_for_readers: list[Text]
    changed: list[Text]
    receipt: Text | None
    receipt_sha256: str | None
    paths: list[PrunedModel]


class ReplicaModel(Model):
    """One replica of one dataset. ``error``: why it could not be looked at; then the rest is not known."""

    dataset: str
    to: Text
    format: str | None
    source_version: str | None
    replica_version: str | None
    versions_behind: int | None
    bytes_behind: int | None
    newest_source_commit_at: datetime | None
    last_proof: Proof | None
    last_proof_at: datetime | None
    lag_seconds: float | None
    error: Text | None


class StatusDocument(Document):
    """``lake status``."""

    command: Literal["status"] = "status"
    max_lag_seconds: float | None
    replicas: list[ReplicaModel]


class ColumnModel(Model):
    name: Text
    type: Text
    nullable: bool


class DescribeDocument(Document):
    """``lake describe``. Sizes in bytes; ``history_*`` count files that only older versions need."""

    command: Literal["describe"] = "describe"
    format: str
    version: str
    table_id: str | None
    committed_at: datetime | None
    columns: list[ColumnModel]
    partition_columns: list[Text]
    files: int
    size: int
    history_files: int
    history_size: int
    features: list[str]
    properties: dict[str, Text]


class CommitModel(Model):
    version: str
    committed_at: datetime | None
    operation: Text
    details: dict[str, Text]


class HistoryDocument(Document):
    """``lake history``, newest first."""

    command: Literal["history"] = "history"
    commits: list[CommitModel]


class FileModel(Model):
    path: Text
    size: int
    required: bool


class FilesDocument(Document):
    """``lake files``. ``required`` is false for files that only older versions need."""

    command: Literal["files"] = "files"
    files: list[FileModel]


class QueryDocument(Document):
    """``lake query``. ``rows``: lists in the order of ``columns``, or null with ``--parquet``; see docs/commands.md."""

    command: Literal["query"] = "query"
    columns: list[ColumnModel]
    rows: list[list[object]] | None
    row_count: int
    parquet: Text | None


class FingerprintDocument(Document):
    """``lake fingerprint``. ``columns``: the fingerprint of each, by name."""

    command: Literal["fingerprint"] = "fingerprint"
    algorithm: Literal["lrh1"]
    rows: int
    digest: str
    columns: dict[Text, str]


class ObjectModel(Model):
    path: Text
    size: int
    modified: datetime | None


class LsDocument(Document):
    """``lake ls``: one level; folders end in ``/``."""

    command: Literal["ls"] = "ls"
    objects: list[ObjectModel]


class CheckModel(Model):
    """``ok`` is null where it is not known, which is no success."""

    store: Text | None
    name: str
    ok: bool | None
    detail: Text


class DoctorDocument(Document):
    """``lake doctor``. ``versions`` are null for what is not installed."""

    command: Literal["doctor"] = "doctor"
    versions: dict[str, str | None]
    config: Text | None
    warnings: list[Text]
    checks: list[CheckModel]


class SettingModel(Model):
    """One effective value, masked where it is a secret. ``origin``: a file, an environment variable or ``default``."""

    key: Text
    value: object
    origin: Text


class ConfigDocument(Document):
    """``lake config show``."""

    command: Literal["config show"] = "config show"
    path: Text | None
    settings: list[SettingModel]


class ReplicaRowsModel(Model):
    """A replica of the view's dataset. ``agrees``: whether it has the same rows; null where that is not known."""

    to: Text
    agrees: bool | None


class FeatureViewModel(Model):
    """One feature view. ``dataset`` is null where its source is none of the lake's, ``ttl_seconds`` where values do not expire.

    ``rows``: those within the ttl, not later than ``at``. Findings may also be ``stale`` (there are no such rows); their ``path``
    is a column or a replica, "" for the dataset as such.
    """

    view: Text
    dataset: Text | None
    ttl_seconds: float | None
    newest_event_at: datetime | None
    rows: int | None
    replicas: list[ReplicaRowsModel]
    findings: list[FindingModel]


class FeastCheckDocument(Document):
    """``lake feast check``. ``at``: the time from which each ttl counts. ``config``: the lake.toml that has the datasets."""

    command: Literal["feast check"] = "feast check"
    repository: Text
    project: Text
    config: Text | None
    at: datetime
    replicas_compared: bool
    views: list[FeatureViewModel]


DOCUMENTS: dict[str, type[Document]] = {
    "sync": SyncDocument,
    "sync-dry-run": PlanDocument,
    "verify": VerifyDocument,
    "check": CheckDocument,
    "prune": PruneDocument,
    "status": StatusDocument,
    "describe": DescribeDocument,
    "history": HistoryDocument,
    "files": FilesDocument,
    "query": QueryDocument,
    "fingerprint": FingerprintDocument,
    "ls": LsDocument,
    "doctor": DoctorDocument,
    "config-show": ConfigDocument,
    "feast-check": FeastCheckDocument,
    "error": ErrorDocument,
}


def published() -> dict[str, str]:
    """The text of every file in docs/schemas/, by its name."""
    return {
        f"{name}.json": json.dumps(model.model_json_schema(mode="serialization"), indent=2) + "\n"
        for name, model in DOCUMENTS.items()
    }


def publish(folder: Path) -> None:
    """Write the schemas to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in published().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    publish(Path(sys.argv[1]))
