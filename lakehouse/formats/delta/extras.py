"""What readers may read instead of a target's commits: checkpoints, compacted logs, ``_last_checkpoint``. Are they the source's?

Foreign ones would show other rows than the commits, which are equal. An object with the source's name must have its bytes. One
that the source lacks is judged by what it says: a sync may have written the checkpoint of a version that it jumped to (and
the source its own later), and the source cleans up what the target keeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lakehouse.errors import Conflict, NotFound, Unsupported
from lakehouse.formats.delta.checkpoint import FILE_COLUMNS, checkpoint_actions, whole_ways
from lakehouse.formats.delta.follow import compacted_agrees, hint_for, read_hint
from lakehouse.formats.delta.localise import as_stored, size_at_replica
from lakehouse.formats.delta.log import HINT, Log, Way
from lakehouse.formats.delta.snapshot import live_at, named_live
from lakehouse.formats.delta.version import DeltaVersion
from lakehouse.parallel import each
from lakehouse.store import ObjectInfo, Store

__all__ = ["compare_extras"]

_WORKERS = 8
_PIECE = 16 * 2**20


def compare_extras(source: Store, target: Store, version: DeltaVersion, theirs: Log, *, since: int | None) -> None:
    """Raise `Conflict`, naming it, for what is not the source's. Only versions from ``since`` on: earlier runs saw the others."""
    first = -1 if since is None else since
    ours = version.log
    names = {part.path: part for ways in ours.checkpoints.values() for way in ways for part in way} | ours.sidecars
    for number, way, sidecars in _checkpoints(target, theirs, first, v2=version.has_v2):
        pairs = [(names.get(info.path), info) for info in (*way, *sidecars)]
        equal = [ours_one is not None and _equal(source, target, ours_one, info) for ours_one, info in pairs]
        if all(equal):
            continue
        top = way[0].path
        odd = next(info.path for (_, info), same in zip(pairs, equal, strict=True) if not same)
        _, localiser = as_stored(source)
        anew = localiser is not None and odd in localiser.rewritten  # another PyArrow writes the same in other bytes
        if odd in names and not anew and (len(way) > 1 or ours.has_v2_name(way) or odd != top):
            raise Conflict(f"{target.url}/{odd}: has other bytes than the source's; somebody else wrote to the target")
        if not _names_the_same(source, target, version, theirs, number, way, kept=number == since):
            raise Conflict(
                f"{target.url}/{top}: is not the source's, and cannot be shown to name the files of version {number}; "
                "somebody else wrote to the target: remove it when readers there can do without"
            )
    for (low, high), info in sorted(theirs.compacted.items()):
        if high < first:
            continue
        if (known := ours.compacted.get((low, high))) is not None:
            agrees = _equal(source, target, known, info)
        else:
            agrees = compacted_agrees(target, replace(version, log=theirs), low, high)
        if not agrees:
            raise Conflict(f"{target.url}/{info.path}: does not say what the source's commits say; somebody else wrote it")
    if theirs.hint is not None and (ours.hint is None or hint_for(source, version) is None) and not _names_one(target, theirs):
        raise Conflict(f"{target.url}/{HINT}: names no checkpoint that is there; somebody else wrote it: remove it and run again")


def _checkpoints(target: Store, theirs: Log, first: int, *, v2: bool) -> Iterator[tuple[int, Way, tuple[ObjectInfo, ...]]]:
    """The whole checkpoints of the target from version ``first`` on, with their sidecars. Readers cannot use the others."""
    for number in sorted(number for number in theirs.checkpoints if number >= first):
        for way, sidecars in whole_ways(target, theirs, theirs.checkpoints[number], v2=v2):
            yield number, way, sidecars


def _equal(source: Store, target: Store, ours: ObjectInfo, theirs: ObjectInfo) -> bool:
    size = size_at_replica(source, ours)
    if size != theirs.size:
        return False
    starts = range(0, size, _PIECE)

    def same(start: int) -> bool:
        end = min(start + _PIECE, size)
        return source.get(ours.path, start=start, end=end) == target.get(theirs.path, start=start, end=end)

    for _, outcome in each(same, starts, workers=_WORKERS):
        if isinstance(outcome, Exception):
            raise outcome
        if not outcome:
            return False
    return True


def _names_the_same(
    source: Store, target: Store, version: DeltaVersion, theirs: Log, number: int, way: Way, *, kept: bool
) -> bool:
    """Whether checkpoint ``way`` names the files that are live at ``number``.

    ``kept``: it is of the version that the last finished run left. The source may have cleaned that one up; then the target's own
    commits, which that run compared, tell; and where the version has no other base than this checkpoint, that run brought it.
    """
    store, log, span = source, version.log, version.log.span(number)
    if span is None and kept:
        rest = {other: ways for other, ways in theirs.checkpoints.items() if other != number}
        store, log = target, replace(theirs, checkpoints=rest)
        span = log.span(number)
        if span is None:
            return True
    if span is None:
        return False
    alone = replace(theirs, checkpoints={number: [way]})
    try:
        named = named_live(way[0].path, checkpoint_actions(target, alone, number, FILE_COLUMNS))
    except (NotFound, Unsupported):
        return False
    return named == live_at(store, log, span)


def _names_one(target: Store, theirs: Log) -> bool:
    """Whether the target's ``_last_checkpoint`` names a checkpoint that is there, in the way it says."""
    hint = read_hint(target)
    if hint is None:
        return False
    number, parts, named = hint
    ways = theirs.checkpoints.get(number, [])
    return any(len(way) == parts and (way[0].path == named if named else True) for way in ways)
