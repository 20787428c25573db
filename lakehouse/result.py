"""What a sync tells its caller, made from its receipt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from lakehouse.plan import Counts
from lakehouse.receipt import Level, Receipt
from lakehouse.replica import Replica
from lakehouse.report import Finding

__all__ = ["SyncResult", "result_of"]


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync did. Sizes in bytes; ``root`` is the address of the published root, ``receipt`` a path below the target."""

    source: str
    target: str
    root: str | None
    format: str
    version: str
    source_version_at: datetime | None
    copied: Counts
    kept: Counts
    rewritten: Counts
    proof: Level
    proof_copied: Level
    proof_kept_oldest_at: str | None
    source_checked: bool
    findings: tuple[Finding, ...]
    receipt: str
    receipt_sha256: str
    seconds: float
    unchanged: bool


def result_of(replica: Replica, receipt: Receipt, sha256: str, *, started: datetime, unchanged: bool) -> SyncResult:
    """The result of the run that left ``receipt`` (with that SHA-256), or found nothing new since (``unchanged``)."""
    at = receipt.source_version_at
    return SyncResult(
        source=replica.source.url,
        target=replica.target.url,
        root=f"{replica.target.url}/{receipt.root.path}" if receipt.root.path else None,
        format=receipt.format,
        version=receipt.version,
        source_version_at=datetime.fromisoformat(at) if at else None,
        copied=receipt.copied,
        kept=receipt.kept,
        rewritten=receipt.rewritten,
        proof=receipt.proof,
        proof_copied=receipt.proof_copied,
        proof_kept_oldest_at=receipt.proof_kept_oldest_at,
        source_checked=receipt.source_checked,
        findings=_remarks(replica, receipt),
        receipt=f"_lake/{receipt.path}" if replica.format.receipts_inside else f"{replica.receipts.url}/{receipt.path}",
        receipt_sha256=sha256,
        seconds=(datetime.now(UTC) - started).total_seconds(),
        unchanged=unchanged,
    )


def _remarks(replica: Replica, receipt: Receipt) -> tuple[Finding, ...]:
    """What is not wrong but must be known."""
    remarks = [Finding(**remark) for remark in receipt.remarks]
    if receipt.not_carried:
        gone = f"{receipt.not_carried} file(s) of older versions are gone at the source and were not carried"
        remarks.append(Finding("history", "", gone))
    if receipt.lost_versions:
        gap = f"version(s) {receipt.lost_versions} were cleaned up at the source before they were carried"
        remarks.append(Finding("history", "", f"{gap}; the replica has a gap there"))
    if unread := [record.point for record in receipt.rows if record.gone]:
        which = f"{unread[0]} to {unread[-1]}" if len(unread) > 1 else unread[0]
        lost = f"the rows of {len(unread)} older version(s) can no longer be read at the source ({which})"
        remarks.append(Finding("history", "", lost))
    if not replica.target.traits.conditional_put:
        remarks.append(Finding("target", "", "this store cannot put conditionally: only one sync at a time may write there"))
    return tuple(remarks)
