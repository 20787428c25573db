"""What a verification found: `Finding`, and the `Report` that holds all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lakehouse.errors import LakeError, Verification
from lakehouse.plan import Counts
from lakehouse.receipt import Level
from lakehouse.row_record import RowExample, RowRecord

__all__ = ["SIGNS", "UNCHECKED", "Finding", "Report", "raise_for"]

UNCHECKED = "unchecked"
"""The kind of a finding that could not be made: not known is not proven, and not a difference either."""

SIGNS = {
    "missing": "-",
    "extra": "+",
    "differs": "*",
    "rows": "*",
    "receipt": "*",
    UNCHECKED: "!",
    "history": "-",
    "target": "!",
    "location": "!",
    "properties": "!",
}
"""rclone's sign for each kind of finding; an object that is right is ``=``."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or could not be checked (kind ``unchecked``). ``path`` is relative to the target.

    A sync also tells with them what its user must know though nothing is wrong: ``history`` (files of older versions were
    gone at the source), ``location`` and ``properties`` (what of places could not be said the same way there), ``target`` (what
    the target's store cannot promise).
    """

    kind: str
    path: str
    message: str

    @property
    def sign(self) -> str:
        return SIGNS[self.kind]


@dataclass(slots=True)
class Report:
    """What was asked, what was looked at, and what is proven. ``level`` is ``none`` as soon as there is a finding.

    ``rows`` (level rows): what was read of the target, one record for each point of its history. ``examples``: rows that are not
    the same on both sides.
    """

    target: str
    format: str
    version: str
    level_asked: Level
    level: Level = "none"
    source_checked: bool = False
    checked: Counts = field(default_factory=Counts)
    findings: list[Finding] = field(default_factory=list)
    receipt: str | None = None
    receipt_sha256: str | None = None
    rows: list[RowRecord] = field(default_factory=list)
    examples: list[RowExample] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings

    def raise_for_findings(self) -> None:
        """Raise `Verification` for differences, `LakeError` where something could not be checked; nothing when all is right."""
        raise_for(self.target, self.findings, self)


class Told(Protocol):
    """What every finding says."""

    @property
    def kind(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def message(self) -> str: ...


def raise_for(where: str, findings: Sequence[Told], report: object) -> None:
    """Raise `Verification` for what is wrong, `LakeError` where there is only what could not be checked; else nothing."""
    wrong = [finding for finding in findings if finding.kind != UNCHECKED]
    if wrong:
        raise Verification(f"{where}: {len(wrong)} finding(s), first: {wrong[0].path}: {wrong[0].message}", report=report)
    if findings:
        raise LakeError(f"{where}: could not check {len(findings)} object(s): {findings[0].message}")
