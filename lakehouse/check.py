"""Whether a table is whole: everything that it refers to is there, and its parts agree with each other.

Nothing but the table is needed: no source, no receipt. Each format says what its metadata shows and which objects are to be
looked at (`TableFormat.check`); here they are looked at, many at a time. docs/check.md lists the kinds of findings.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from lakehouse import formats
from lakehouse.config import Settings, load
from lakehouse.errors import LakeError, NotFound, Transfer
from lakehouse.options import Options
from lakehouse.parallel import every
from lakehouse.progress import Progress, ProgressEvent, silent
from lakehouse.reading.examine import Examination, Flaw
from lakehouse.replica import open_source
from lakehouse.report import raise_for
from lakehouse.store import Store
from lakehouse.table import TableFormat, TableVersion, Terms

__all__ = ["CheckFinding", "CheckReport", "check", "look"]

_SIGNS = {"missing": "-", "duplicate": "+", "unchecked": "!"}
_AT_A_TIME = 8
"""Objects looked at by one piece of work, once there are enough for all workers: handing work over costs as much as a footer."""


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One thing that is wrong with the object at ``path``, or (kind ``unchecked``) that could not be looked at.

    ``path``: below the table, a whole address for what lies elsewhere, or "" for the table as such.
    """

    kind: str
    path: str
    message: str

    @property
    def sign(self) -> str:
        """rclone's: ``-`` is not there, ``+`` is there twice, ``!`` could not be checked, ``*`` is not what it must be."""
        return _SIGNS.get(self.kind, "*")


@dataclass(slots=True)
class CheckReport:
    """What was looked at, and what is wrong. ``version`` is "" where the table could not be read at all; ``objects``: how many
    data, delete and side files were looked at. ``deep``: every page of them was read.
    """

    place: str
    format: str
    version: str
    deep: bool
    objects: int = 0
    findings: list[CheckFinding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings

    def raise_for_findings(self) -> None:
        """Raise `Verification` for what is wrong, `LakeError` for what could not be checked; nothing when all is right."""
        raise_for(self.place, self.findings, self)


def check(
    place: str,
    *,
    deep: bool = False,
    format: str | None = None,
    version: str | None = None,
    allow_external: Sequence[str] = (),
    maps: Mapping[str, str] | None = None,
    workers: int = 16,
    settings: Settings | None = None,
    progress: Progress = silent,
) -> CheckReport:
    """Look at every object that the table at ``place`` and its retained history need. Findings are sorted by path.

    ``deep``: every page of every data file is decoded. ``version``: as if it were the newest. ``maps`` and ``allow_external`` say
    where files lie that the table states elsewhere, as in `lakehouse.sync`; others outside of it are findings. What is wrong is
    a finding, not an exception (`CheckReport.raise_for_findings`).
    Raises `NotFound` where no table, or no such version, is there, and `Unsupported` for a table with features not known here.
    """
    settings = settings or load()
    options = Options(maps=tuple((maps or {}).items()), external=tuple(allow_external))
    store, terms, named = open_source(place, settings, options)
    chosen = formats.detect(store, format or ("iceberg" if terms.root is not None else None))
    pinned = _pin(store, chosen, named or version, terms)
    if isinstance(pinned, TableVersion):
        return look(store, chosen, pinned, deep=deep, workers=workers, progress=progress)
    return CheckReport(store.url, chosen.name, "", deep, findings=_sorted(pinned))


def _pin(store: Store, chosen: TableFormat, wanted: str | None, terms: Terms) -> TableVersion | list[Flaw]:
    """The version to look at, or why the table cannot be read."""
    try:
        return chosen.pin(store, wanted, terms)
    except NotFound as error:
        there = chosen.detect(store)
        flaws = list(chosen.damaged(store)) if there else []
        if not flaws and (wanted is not None or not there):
            raise
        return flaws or [Flaw("unreadable", "", str(error))]


def look(
    store: Store, chosen: TableFormat, version: TableVersion, *, deep: bool, workers: int = 16, progress: Progress = silent
) -> CheckReport:
    """As `check`, for a table that is open. What the store fails to give is ``unchecked``."""
    flaws: list[Flaw] = []
    objects = 0

    def examine(several: list[Examination]) -> list[tuple[str, list[Flaw]]]:
        return [(one.path, _outcome(one, deep)) for one in several]

    def examinations() -> Iterator[Examination]:
        for found in chosen.check(store, version):
            if isinstance(found, Flaw):
                flaws.append(found)
            else:
                yield found

    try:
        workers = _useful(workers, store)
        for _, outcomes in every(examine, _grouped(examinations(), workers), workers=workers):
            for path, wrong in outcomes:
                objects += 1
                flaws += wrong
                sign = _finding(wrong[0]).sign if wrong else "="
                progress(ProgressEvent("verify", objects=1, message=f"{sign} {path}"))
    except Transfer as error:
        flaws.append(Flaw("unchecked", "", str(error)))
    except NotFound as error:
        flaws += [] if flaws else [Flaw("unreadable", "", str(error))]
    return CheckReport(store.url, chosen.name, version.id, deep, objects, _sorted(flaws))


def _useful(workers: int, store: Store) -> int:
    """On disks of this machine hardly anything is waited for: more threads than processors only get into each other's way."""
    return min(workers, os.cpu_count() or 1) if store.url.startswith("file://") else workers


def _sorted(flaws: list[Flaw]) -> list[CheckFinding]:
    return sorted({_finding(flaw) for flaw in flaws}, key=lambda finding: (finding.path, finding.kind, finding.message))


def _finding(flaw: Flaw) -> CheckFinding:
    return CheckFinding(flaw.kind, flaw.path, flaw.message)


def _outcome(one: Examination, deep: bool) -> list[Flaw]:
    try:
        return one.run(deep)
    except LakeError as error:
        return [Flaw("unchecked", one.path, str(error))]


def _grouped(found: Iterator[Examination], workers: int) -> Iterator[list[Examination]]:
    """Single ones first, so that all workers have something to do, then several at a time."""
    for one in islice(found, workers * _AT_A_TIME):
        yield [one]
    while several := list(islice(found, _AT_A_TIME)):
        yield several
