"""Holds single objects at a target against their records: what a sync asks before anything is published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from lakehouse.errors import Conflict, LakeError, NotFound
from lakehouse.parallel import each
from lakehouse.plan import Counts
from lakehouse.progress import Progress, ProgressEvent
from lakehouse.ranges import Limits, RangePool
from lakehouse.receipt import Level
from lakehouse.report import Finding
from lakehouse.spool import Spool, records
from lakehouse.store import ObjectInfo, Store
from lakehouse.table import Written

__all__ = ["Checker", "confirm", "refuse_changed"]


class Checker:
    """Holds single objects of one store against their records."""

    def __init__(self, store: Store, level: Level, pool: RangePool) -> None:
        self.store, self.level, self.pool = store, level, pool

    def digest(self, info: ObjectInfo) -> str:
        return self.pool.digests(self.store, info)["sha256"]

    def check(self, written: Written) -> Finding | None:
        """None when the object is there with the recorded size and, at level bytes, the recorded SHA-256."""
        try:
            info = self.store.head(written.path)
        except NotFound:
            return Finding("missing", written.path, "is not at the target")
        if info.size != written.size:
            return Finding("differs", written.path, f"has {info.size} bytes, recorded are {written.size}")
        if self.level != "files" and self.digest(info) != written.sha256:
            return Finding("differs", written.path, "its bytes do not have the recorded SHA-256")
        return None


def confirm(
    target: Store, objects: Spool[Written], *, level: Level, limits: Limits, progress: Progress
) -> tuple[Spool[Written], list[Finding]]:
    """Check ``objects`` at the target to ``level``; gives those that are right (marked) and what is wrong.

    Objects whose upload the provider confirmed are not read again. What cannot be checked raises.
    """
    doubtful = Counts()
    for written in objects:
        if not (written.confirmed or level == "none"):
            doubtful.add(written.size)
    progress(ProgressEvent("verify", total_objects=doubtful.files, total_bytes=doubtful.bytes))
    if not doubtful.files:
        return objects, []
    right, findings = records(), list[Finding]()
    with RangePool(limits) as pool:
        checker = Checker(target, level, pool)
        waiting = _in_doubt(objects, level, right)
        for written, outcome in each(checker.check, waiting, workers=limits.workers, stop=pool.stop):
            if isinstance(outcome, LakeError):
                raise outcome
            if outcome is None:
                right.append(replace(written, confirmed=level != "files"))
            else:
                findings.append(outcome)
            progress(
                ProgressEvent(
                    "verify", objects=1, size=written.size, message=f"{outcome.sign if outcome else '='} {written.path}"
                )
            )
    return right, findings


def _in_doubt(objects: Iterable[Written], level: Level, right: Spool[Written]) -> Iterator[Written]:
    """The objects that must be looked at; the others are ``right``."""
    for written in objects:
        if written.confirmed or level == "none":
            right.append(written)
        else:
            yield written


def refuse_changed(target: Store, events: Iterable[Written], *, limits: Limits, progress: Progress) -> None:
    """Raise `Conflict` for a rewritten object that has other bytes than its last record in ``events``.

    Such objects are adopted by what they say, which damage may not change.
    """
    rewritten: dict[str, Written] = {}
    for written in events:
        rewritten.pop(written.path, None)
        if written.origin == "rewritten":
            rewritten[written.path] = replace(written, confirmed=False)
    objects = records()
    objects.extend(rewritten.values())
    _, findings = confirm(target, objects, level="bytes", limits=limits, progress=progress)
    for finding in findings:
        if finding.kind == "differs":
            raise Conflict(
                f"{target.url}/{finding.path}: {finding.message}: it was damaged, or changed by somebody; "
                "remove it and run --checksum again"
            )
