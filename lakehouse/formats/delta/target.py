"""Holding the target's log against the source's: is it ours, how far does it go, and has anybody else written there?"""

from __future__ import annotations

from lakehouse.checksum import sha256_hex
from lakehouse.errors import Conflict, NotFound
from lakehouse.formats.delta.actions import actions_of
from lakehouse.formats.delta.extras import compare_extras
from lakehouse.formats.delta.localise import as_stored
from lakehouse.formats.delta.log import Log, commit_path, read_log
from lakehouse.formats.delta.version import DeltaVersion
from lakehouse.parallel import each
from lakehouse.store import Store
from lakehouse.table import Base

__all__ = ["compare_commits", "newest_common"]

_WORKERS = 8


def newest_common(source: Store, target: Store, version: DeltaVersion, base: Base | None) -> str | None:
    """The newest version up to ``version`` that a finished sync left at the target, or None without one.

    Commit ``base.id`` must be byte for byte the same in both stores (with localised paths, as ``source`` shows it), and so must
    every later commit that the target holds: equal bytes name equal files, so that proves one history, whatever became of
    ``metaData.id`` since (REPLACE TABLE may change it). Where the source has cleaned that commit away, ``metaData.id`` decides,
    and a gap is left. What readers may read instead of commits is held against the source too (see `extras`).

    Raises `Conflict` when the target has commits of its own, is ahead of the source, or holds another table.
    """
    theirs = read_log(target)
    if base is None:
        _compare_seeded(source, target, version, theirs)
        compare_extras(source, target, version, theirs, since=None)
        return None
    number = int(base.id)
    try:
        held = target.get(base.source_root)
    except NotFound:
        raise Conflict(f"{target.url}: {base.source_root} is gone, but a receipt says that a sync put it there") from None
    ours = _compare_base(source, target, version, base)
    known = {base.source_root_sha256, base.target_root_sha256 if base.target_root == base.source_root else ""}
    if held != ours and sha256_hex(held) not in known and (ours is not None or not _names_carried_in(base.source_root, held)):
        raise Conflict(f"{target.url}: {base.source_root} is not what the last sync put there; somebody else wrote to the target")
    compare_commits(source, target, version.log, theirs, after=number)
    compare_extras(source, target, version, theirs, since=number)
    return str(min(number, version.number))


def _names_carried_in(path: str, data: bytes) -> bool:
    """Whether a commit names files that were carried in from elsewhere: then it never was byte for byte the source's."""
    stated = (fields.get("path") for kind, fields in actions_of(path, data) if kind in ("add", "remove", "cdc"))
    return any(isinstance(name, str) and name.startswith("ext/") for name in stated)


def _compare_base(source: Store, target: Store, version: DeltaVersion, base: Base) -> bytes | None:
    """The root of ``base`` as a replica has it; None where the source has cleaned it away and goes on from a later version."""
    log, number = version.log, int(base.id)
    newest = log.newest or 0
    other = f"; its metaData.id is {version.table_id}, the target's {base.table_id}" if version.table_id != base.table_id else ""
    if newest < number:
        raise Conflict(
            f"{target.url}: holds version {number}, but the source's newest is {newest}: "
            f"the source was restored to an older state or recreated{other}"
        )
    try:
        stored, _ = as_stored(source)
        ours = stored.get(base.source_root)
    except NotFound:
        if number < version.span.first + version.span.checkpoint and not other:
            return None
        raise Conflict(
            f"{target.url}: holds version {number}, and {base.source_root} is gone at the source, whose versions "
            f"{version.span.first} to {newest} do not continue it{other}"
        ) from None
    if sha256_hex(ours) != base.source_root_sha256:
        raise Conflict(
            f"{target.url}: version {number} of the source is another one now: the source was restored or recreated{other}"
        )
    return version.localiser.content(stored, base.source_root, ours)


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
    def equal(number: int) -> bool:
        return source.get(commit_path(number)) == target.get(commit_path(number))

    different = [n for n in numbers if ours.commits[n].size != theirs.commits[n].size and not equal(n)]
    if different:
        return different
    for number, outcome in each(equal, numbers, workers=_WORKERS):
        if isinstance(outcome, Exception):
            raise outcome
        if not outcome:
            different.append(number)
    return sorted(different)


def _list(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return shown + (f" and {len(numbers) - 10} more" if len(numbers) > 10 else "")
