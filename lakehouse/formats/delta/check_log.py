"""The objects of a log on their own: which are not there, and which cannot be read.

PROTOCOL.md, "Delta Log Entries" and "Metadata Cleanup".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.delta.actions import actions_of
from lakehouse.formats.delta.checkpoint import STATE_COLUMNS, part_actions
from lakehouse.formats.delta.log import LOG, Log, Span, commit_path, read_log
from lakehouse.reading.examine import Flaw
from lakehouse.store import Store

__all__ = ["damaged_log", "gaps"]

_PARTS = re.compile(r"parts (\d+).* of (\d+) are missing")


def gaps(log: Log, span: Span) -> Iterator[Flaw]:
    """Commits that are missing in the middle of the log, and checkpoints that lack parts. Kinds: ``missing``, ``checkpoint``.

    What was cleaned up lies below the oldest version that can be read. A replica whose source was cleaned up between two syncs
    also has a gap, just below a checkpoint.
    """
    numbers = sorted(number for number in log.commits if number <= span.last)
    for before, after in pairwise(numbers):
        if after > before + 1 and after not in log.checkpoints and after - 1 not in log.checkpoints:
            more = f" to {after - 1}" if after > before + 2 else ""
            yield Flaw("missing", commit_path(before + 1), f"commit {before + 1}{more} is not there, {before} and {after} are")
    if numbers and numbers[-1] < span.last:
        yield Flaw("missing", commit_path(numbers[-1] + 1), f"is not there, and checkpoint {span.last} is")
    ahead = [number for number in sorted(log.crcs) if number > (log.newest or 0)]
    if ahead:
        yield Flaw("missing", commit_path(ahead[-1]), f"has a checksum file, and is not there: the newest is {log.newest}")
    for version, what in sorted(log.torn.items()):
        if version <= span.last:
            yield Flaw(
                "checkpoint", _lacking(version, what), f"checkpoint {version} is incomplete: {what}; readers cannot use it"
            )


def _lacking(version: int, what: str) -> str:
    """The path of the first object that a checkpoint lacks, from what `Log.torn` says of it."""
    if match := _PARTS.match(what):
        return f"{LOG}/{version:020d}.checkpoint.{int(match[1]):010d}.{int(match[2]):010d}.parquet"
    return what.removesuffix(" missing").partition(", ")[0]


def damaged_log(store: Store) -> Iterator[Flaw]:
    """What is wrong with a log that no version can be read from. Kinds: ``unreadable``, ``missing``, ``checkpoint``, ``log``."""
    log = read_log(store)
    newest = log.newest
    if newest is None:
        for version, what in sorted(log.torn.items()):
            yield Flaw("checkpoint", _lacking(version, what), f"checkpoint {version} is incomplete: {what}")
        return
    lowest = min((*log.commits, *log.checkpoints))
    yield from gaps(log, Span(lowest, newest, lowest in log.checkpoints))
    if lowest > 0 and not log.checkpoints:
        yield Flaw("missing", commit_path(0), f"the log begins with commit {lowest}, and no checkpoint has what is before it")
    yield from _unreadable(store, log)


def _unreadable(store: Store, log: Log) -> Iterator[Flaw]:
    """Commits and checkpoints that cannot be read; where all can, what readers miss in what they start from."""
    checkpoint = max(log.checkpoints, default=None)
    start = min(log.commits, default=0) if checkpoint is None else checkpoint
    kinds: set[str] = set()
    for number in sorted(log.commits):
        path = commit_path(number)
        try:
            found = {kind for kind, _ in actions_of(path, store.get(path))}
        except NotFound as error:
            yield Flaw("unreadable", path, str(error).removeprefix(f"{path}: "))
            return
        kinds |= found if number > start or checkpoint is None else set()
    for version in sorted(log.checkpoints):
        for part in (part for way in log.checkpoints[version] for part in way):
            try:
                found = {kind for kind, _ in part_actions(store, part, STATE_COLUMNS)}
            except (NotFound, Unsupported) as error:
                yield Flaw("unreadable", part.path, str(error).removeprefix(f"{store.url}: "))
                return
            kinds |= found if version == checkpoint else set()
    where = commit_path(start) if checkpoint is None else log.checkpoints[checkpoint][0][0].path
    for kind in ("metaData", "protocol"):
        if kind not in kinds:
            yield Flaw("log", where, f"neither it nor a later commit has a {kind} action")
