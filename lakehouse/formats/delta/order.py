"""In which order the log of a replica appears, so that a reader sees whole versions only.

=====================  =======================================================================================================
the target             puts, one after the other (`|` marks the root: what comes before it shows a reader nothing new)
=====================  =======================================================================================================
has no readable log    staged: commits V … base+1 downwards, each with its checksum file, and the base's sidecars. Published:
                       the base (commit 0, or the oldest complete checkpoint, last part last) `|` checkpoints, compacted logs,
                       hint
stands at T, files     commits T+1 … V upwards, each after its checksum file; the root is V's
of T+1…V all there     `|` checkpoints, compacted logs, hint
stands at T, but some  a checkpoint of V (the source's, else one written here), V's commit `|` commits T+1 … V−1 upwards,
of T+1…V−1 miss files  checkpoints, compacted logs, hint
=====================  =======================================================================================================

A commit without its base opens no table, so a first sync is invisible until its last put. A checkpoint's sidecars are put before
it, always. Commit by commit would show versions whose files are gone (OPTIMIZE, then VACUUM at the source), therefore the third
row: Spark and the Delta kernel read V from its checkpoint although commits below it are missing.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from datetime import UTC

from lakehouse.checksum import sha256_hex
from lakehouse.errors import LakeError, NotFound, Transfer
from lakehouse.formats.delta.checkpoint import whole_ways
from lakehouse.formats.delta.follow import compacted_agrees, hint_for
from lakehouse.formats.delta.hint import hint_publication
from lakehouse.formats.delta.localise import Localised
from lakehouse.formats.delta.log import LOG, Log, commit_path, crc_path, read_log, version_of
from lakehouse.formats.delta.present import present
from lakehouse.formats.delta.replay import Replay
from lakehouse.formats.delta.snapshot import checkpoint_publication
from lakehouse.formats.delta.version import DeltaVersion, commits_in_order
from lakehouse.parallel import each
from lakehouse.stage import put_staged
from lakehouse.store import ObjectInfo, Store
from lakehouse.table import Origin, Publication, Staged, Written

__all__ = ["stage_log"]

_WORKERS = 8


def stage_log(source: Store, target: Store, version: DeltaVersion, since: int | None) -> Staged:
    """Put what no reader can see yet, and name the rest in order (see above).

    What the target holds already is left out of what only helps readers, so a run that died half-way is completed by the
    next one. Raises `Conflict` when an object of the log lies at the target with other bytes.
    """
    theirs = read_log(target)
    held = _held(theirs, version.number)
    if held is None:
        written = tuple(_stage_unreadable(source, target, version))
        _refuse_newer(target, version.number)
        root = _base_parts(version)
        base = [commit_publication(source, version, 0)] if not version.span.checkpoint else [publication(source, p) for p in root]
        return Staged(written, (*base, *_after(source, version, theirs, set(root))), root[-1])
    if since is not None and since >= version.number:
        return Staged((), (), version.root)
    if held >= version.number:
        first = [root_publication(source, version)]
    elif held >= version.span.first and _files_are_there(source, target, version, held):
        first = list(_upwards(source, version, range(held + 1, version.number + 1)))
    else:
        first = list(_jump(source, target, version))
    if version.root not in {put.path for put in first}:
        first.append(root_publication(source, version))
    return Staged((), (*first, *_after(source, version, theirs, {put.path for put in first})), version.root)


def publication(store: Store, path: str, *, replace: bool = False) -> Publication:
    """``path`` as ``store`` shows it, to be put unchanged."""
    data = _get(store, path)
    return Publication(path, len(data), sha256_hex(data), lambda: _get(store, path), replace)


def _get(store: Store, path: str) -> bytes:
    try:
        return store.get(path)
    except NotFound as error:
        raise Transfer(f"{store.url}: {path} was cleaned up meanwhile; run again") from error


def _held(theirs: Log, last: int) -> int | None:
    """The newest version up to ``last`` that a reader of the target can open, or None."""
    there = sorted((number for number in {*theirs.commits, *theirs.checkpoints} if number <= last), reverse=True)
    return next((number for number in there if theirs.span(number) is not None), None)


def _base_parts(version: DeltaVersion) -> list[str]:
    span = version.span
    if not span.checkpoint:
        return [commit_path(0)]
    return [part.path for part in version.log.checkpoints[span.first][0]]


def _stage_unreadable(source: Store, target: Store, version: DeltaVersion) -> Iterator[Written]:
    """The base's sidecars, commits downwards to the base (a checkpoint's own commit with them) and their checksum files.

    Several at a time: while the base is missing no reader can open the table, so their order decides nothing.
    """
    log, span = version.log, version.span
    wanted: list[ObjectInfo] = list(version.base_sidecars)
    for number in range(span.last, span.first - 1, -1):
        if number in log.crcs and number in log.commits:
            wanted.append(log.crcs[number])
        if number in log.commits and (number > span.first or span.checkpoint):
            wanted.append(log.commits[number])
    for _, outcome in each(lambda info: put_localised(source, target, info), wanted, workers=_WORKERS):
        if isinstance(outcome, LakeError):
            raise outcome
        yield outcome


def _refuse_newer(target: Store, number: int) -> None:
    """Commits of a later version, which another sync staged meanwhile, would appear unproven with this one's base."""
    for info in target.list(LOG, after=commit_path(number)):
        if (found := version_of(info.path)) is not None and found > number:
            raise Transfer(f"{target.url}: another sync brought {info.path} meanwhile; run again")


def put_localised(source: Store, target: Store, info: ObjectInfo) -> Written:
    """Put one object of the source's log, localised, if-absent; an equal one that lies there is adopted."""
    data = _get(source, info.path)
    origin: Origin = "rewritten" if isinstance(source, Localised) and source.is_rewritten(info.path) else "staged"
    return put_staged(target, info.path, data, origin=origin, source_etag=info.etag, modified=source_time(info, data))


def root_publication(source: Store, version: DeltaVersion) -> Publication:
    """What makes ``version`` visible: its commit, else its checkpoint."""
    is_commit = version.number in version.log.commits
    return commit_publication(source, version, version.number) if is_commit else publication(source, version.root)


def commit_publication(source: Store, version: DeltaVersion, number: int) -> Publication:
    """Commit ``number``, with the time that it has at the source."""
    info = version.log.commits[number]
    data = _get(source, info.path)
    return Publication(info.path, len(data), sha256_hex(data), lambda: _get(source, info.path), modified=source_time(info, data))


def source_time(info: ObjectInfo, data: bytes) -> str | None:
    """The time of a version that engines travel by: of its commit's object, unless the commit states one (or is none).

    PROTOCOL.md, "In-Commit Timestamps".
    """
    if info.modified is None or info.path != commit_path(version_of(info.path) or 0) or b'"inCommitTimestamp"' in data:
        return None
    return info.modified.astimezone(UTC).isoformat()


def _upwards(
    source: Store, version: DeltaVersion, numbers: Iterable[int], there: Container[str] = frozenset()
) -> Iterator[Publication]:
    """Those commits, each after its checksum file; what is ``there`` already is not even read."""
    for number in numbers:
        if number in version.log.crcs and crc_path(number) not in there:
            yield publication(source, crc_path(number))
        if number in version.log.commits and commit_path(number) not in there:
            yield commit_publication(source, version, number)


def _jump(source: Store, target: Store, version: DeltaVersion) -> Iterator[Publication]:
    """A checkpoint of V, then V's commit. What lies between is filled in by `_after`."""
    number = version.number
    ways = whole_ways(source, version.log, version.log.checkpoints.get(number, ()), v2=version.has_v2)
    if ways:
        way, sidecars = ways[0]
        yield from (publication(source, part.path) for part in (*sidecars, *way))
    else:
        yield checkpoint_publication(source, target, version)
    yield from _upwards(source, version, [number])


def _files_are_there(source: Store, target: Store, version: DeltaVersion, held: int) -> bool:
    """Whether the target holds every file that is live at one of ``held``+1 … V.

    Those live at V, and at ``held``, are there. What remains was added after ``held`` and removed again before V.
    """
    between = Replay(continues=True)
    for number, data in commits_in_order(source, range(held + 1, version.number + 1)):
        between.commit(number, data, source.url)
    between.settle()
    passing = between.older.keys()
    return not passing or {info.path for info in present(target, passing)} == passing


def _after(source: Store, version: DeltaVersion, theirs: Log, done: set[str]) -> Iterator[Publication]:
    """What follows the root: commits that were jumped over, then checkpoints, compacted logs, and last the hint."""
    log, span = version.log, version.span
    there = {info.path for info in theirs.carried(span)} | {part.path for way in theirs.ways(span) for part in way} | done
    numbers = range(span.first, span.last + 1)
    staged = not done.isdisjoint(_base_parts(version))
    if not staged:
        yield from _upwards(source, version, numbers, there)
    missing = [way for way in log.ways(span) if any(part.path not in there for part in way)]
    there.update(theirs.sidecars)
    for way, sidecars in whole_ways(source, log, missing, v2=version.has_v2):
        parts = [part.path for part in (*sidecars, *way) if part.path not in there]
        yield from (publication(source, path) for path in parts)
        there.update(parts)
    for (low, high), info in sorted(log.compacted.items()):
        if low in numbers and high in numbers and info.path not in there and compacted_agrees(source, version, low, high):
            yield publication(source, info.path)
    if log.hint is not None and (named := hint_for(source, version)) is not None:
        yield hint_publication(source, named, theirs)
