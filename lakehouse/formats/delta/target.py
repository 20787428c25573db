"""Holding the target's log against the source's: is it ours, how far does it go, and has anybody else written there?"""

from __future__ import annotations

from lakehouse.checksum import sha256_hex
from lakehouse.errors import Conflict, NotFound
from lakehouse.formats.delta.extras import compare_extras
from lakehouse.formats.delta.log import Log, commit_path, read_log
from lakehouse.formats.delta.version import DeltaVersion
from lakehouse.parallel import each
from lakehouse.store import Store
from lakehouse.table import Base

__all__ = ["compare_commits", "newest_common"]

_WORKERS = 8


def newest_common(source: Store, target: Store, version: DeltaVersion, base: Base | None) -> str | None:
    """The newest version up to ``version`` that a finished sync left at the target, or None without one.

    Commit ``base.id`` must be byte for byte the same in both stores, and so must every later commit that the target holds:
    equal bytes name equal files, so that proves one history, whatever became of ``metaData.id`` since (REPLACE TABLE may
    change it). Where the source has cleaned that commit away, ``metaData.id`` decides and a gap is left. What readers may read
    instead of commits is held against the source too (see `extras`).

    Raises `Conflict` when the target has commits of its own, is ahead of the source, or holds another table.
    """
    theirs = read_log(target)
    if base is None:
        _compare_seeded(source, target, version, theirs)
        compare_extras(source, target, version, theirs, since=None)
        return None
    number = int(base.id)
    try:
        held = sha256_hex(target.get(base.source_root))
    except NotFound:
        raise Conflict(f"{target.url}: {base.source_root} is gone, but a receipt says that a sync put it there") from None
    if held != base.source_root_sha256:
        raise Conflict(f"{target.url}: {base.source_root} is not what the last sync put there; somebody else wrote to the target")
    _compare_base(source, target, version, base)
    compare_commits(source, target, version.log, theirs, after=number)
    compare_extras(source, target, version, theirs, since=number)
    return str(min(number, version.number))


def _compare_base(source: Store, target: Store, version: DeltaVersion, base: Base) -> None:
    log, number = version.log, int(base.id)
    newest = log.newest or 0
    other = f"; its metaData.id is {version.table_id}, the target's {base.table_id}" if version.table_id != base.table_id else ""
    if newest < number:
        raise Conflict(
            f"{target.url}: holds version {number}, but the source's newest is {newest}: "
            f"the source was restored to an older state or recreated{other}"
        )
    try:
        ours = sha256_hex(source.get(base.source_root))
    except NotFound:
        if number < version.span.first and not other:
            return
        raise Conflict(
            f"{target.url}: holds version {number}, and {base.source_root} is gone at the source, whose versions "
            f"{version.span.first} to {newest} do not continue it{other}"
        ) from None
    if ours != base.source_root_sha256:
        raise Conflict(
            f"{target.url}: version {number} of the source is another one now: the source was restored or recreated{other}"
        )


def _compare_seeded(source: Store, target: Store, version: DeltaVersion, theirs: Log) -> None:
    """No receipt: a log at the target is an unfinished first sync or was brought there by other means. It must be equal."""
    readable = theirs.newest is not None and theirs.span(theirs.newest) is not None
    if not readable and theirs.newest is not None and theirs.newest > version.number:
        raise Conflict(
            f"{target.url}: holds the commits of an unfinished sync up to version {theirs.newest}; publishing version "
            f"{version.number} would show them: sync version {theirs.newest} or a newer one, or choose another target"
        )
    compare_commits(source, target, version.log, theirs, after=-1 if readable else version.span.first - 1)


def compare_commits(source: Store, target: Store, ours: Log, theirs: Log, *, after: int) -> None:
    """Raise `Conflict`, naming versions, unless each commit after ``after`` at the target is the source's, byte for byte."""
    numbers = sorted(number for number in theirs.commits if number > after)
    ahead = [number for number in numbers if number not in ours.commits and number > (ours.newest or 0)]
    if ahead:
        raise Conflict(
            f"{target.url}: the target is ahead: it has commits {_list(ahead)} and the source's newest is {ours.newest}; "
            "somebody else writes to the target"
        )
    unknown = [number for number in numbers if number not in ours.commits]
    if unknown:
        raise Conflict(f"{target.url}: has commits {_list(unknown)}, which the source does not have")
    if different := _different(source, target, ours, theirs, numbers):
        raise Conflict(f"{target.url}: commits {_list(different)} differ from the source's: the target has a history of its own")


def _different(source: Store, target: Store, ours: Log, theirs: Log, numbers: list[int]) -> list[int]:
    sizes = [number for number in numbers if ours.commits[number].size != theirs.commits[number].size]
    if sizes:
        return sizes

    def equal(number: int) -> bool:
        return source.get(commit_path(number)) == target.get(commit_path(number))

    different: list[int] = []
    for number, outcome in each(equal, numbers, workers=_WORKERS):
        if isinstance(outcome, Exception):
            raise outcome
        if not outcome:
            different.append(number)
    return sorted(different)


def _list(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return shown + (f" and {len(numbers) - 10} more" if len(numbers) > 10 else "")
