"""What a verification found: `Finding`, and the `Report` that holds all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from lakehouse.errors import LakeError, Verification
from lakehouse.plan import Counts
from lakehouse.receipt import Level
from lakehouse.row_record import RowExample, RowRecord

__all__ = ["SIGNS", "Finding", "Report"]

SIGNS = {
    "missing": "-",
    "extra": "+",
    "differs": "*",
    "rows": "*",
    "receipt": "*",
    "unchecked": "!",
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
        wrong = [finding for finding in self.findings if finding.kind != "unchecked"]
        if wrong:
            raise Verification(f"{self.target}: {len(wrong)} finding(s), first: {wrong[0].path}: {wrong[0].message}", report=self)
        if self.findings:
            raise LakeError(f"{self.target}: could not check {len(self.findings)} object(s): {self.findings[0].message}")
