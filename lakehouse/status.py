"""How far each replica of lake.toml is behind its source."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from lakehouse import receipt as receipts_of
from lakehouse.config import DatasetSettings, ReplicaSettings, Settings, load
from lakehouse.errors import LakeError
from lakehouse.receipt import Level, Receipt
from lakehouse.replica import Replica, open_replica
from lakehouse.table import Commit, TableVersion

__all__ = ["ReplicaStatus", "status"]


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica of one dataset. ``lag_seconds``: how long ago the source made the first commit that the replica lacks, 0
    when it has everything. ``error`` says why it could not be looked at; the numbers are None then.
    """

    dataset: str
    to: str
    format: str | None = None
    source_version: str | None = None
    replica_version: str | None = None
    versions_behind: int | None = None
    bytes_behind: int | None = None
    newest_source_commit_at: datetime | None = None
    last_proof: Level | None = None
    last_proof_at: str | None = None
    lag_seconds: float | None = None
    error: str | None = None


def status(settings: Settings | None = None) -> list[ReplicaStatus]:
    """Look at every replica of every dataset of ``settings`` (lake.toml). One that cannot be checked says so in its row."""
    settings = settings or load()
    return [
        _checked(name, dataset, replica, settings) for name, dataset in settings.datasets.items() for replica in dataset.replicas
    ]


def _checked(name: str, dataset: DatasetSettings, replica: ReplicaSettings, settings: Settings) -> ReplicaStatus:
    try:
        opened = open_replica(dataset.table, replica.to, dataset.format, settings)
        return _look(name, replica.to, opened)
    except LakeError as error:
        return ReplicaStatus(name, replica.to, error=str(error))


def _look(name: str, to: str, replica: Replica) -> ReplicaStatus:
    version = replica.format.pin(replica.source, replica.version, replica.terms)
    chain = receipts_of.read_chain(replica.receipts)
    finished = chain.finished
    same = finished is not None and finished.version == version.id
    held = replica.format.since(replica.source, replica.target, version, finished.base if finished else None)
    behind = 0 if same else sum(file.size for file in replica.format.files(replica.source, version, held))
    return ReplicaStatus(
        dataset=name,
        to=to,
        format=version.format,
        source_version=version.id,
        replica_version=finished.version if finished else None,
        versions_behind=0 if same else _versions_between(version, finished),
        bytes_behind=behind,
        newest_source_commit_at=version.committed_at,
        last_proof=finished.proof if finished else None,
        last_proof_at=finished.proven_at if finished else None,
        lag_seconds=0.0 if same else _age(_first_missing(replica, version, finished)),
    )


def _versions_between(version: TableVersion, finished: Receipt | None) -> int | None:
    """How many versions lie between, where the format counts them (Delta); None where it does not."""
    if not version.id.isdecimal() or (finished is not None and not finished.version.isdecimal()):
        return None
    return int(version.id) - (int(finished.version) if finished else -1)


def _first_missing(replica: Replica, version: TableVersion, finished: Receipt | None) -> datetime | None:
    """When the source made the oldest commit that the replica does not have."""
    first = version.committed_at
    for commit in replica.format.history(replica.source, version):
        if finished is not None and (commit.version == finished.version or _is_older(commit, finished)):
            break
        first = commit.committed_at or first
    return first


def _is_older(commit: Commit, finished: Receipt) -> bool:
    """Whether the commit was made before the version that the replica has, as far as times tell."""
    if commit.committed_at is None or finished.source_version_at is None:
        return False
    return commit.committed_at <= datetime.fromisoformat(finished.source_version_at)


def _age(moment: datetime | None) -> float | None:
    return (datetime.now(UTC) - moment).total_seconds() if moment else None
