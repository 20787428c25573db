"""What lies in ``_delta_log/``, and which versions can be read from it. Names only; nothing is opened here."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lakehouse.errors import NotFound
from lakehouse.store import ObjectInfo, Store

__all__ = ["HINT", "LOG", "SIDECARS", "Log", "Span", "Way", "commit_path", "crc_path", "read_log", "version_of"]

LOG = "_delta_log"
HINT = f"{LOG}/_last_checkpoint"
SIDECARS = f"{LOG}/_sidecars"

Way = tuple[ObjectInfo, ...]
"""One way in which the checkpoint of a version was written: one object, or the parts of a multi-part one in their order."""

_COMMIT = re.compile(r"(\d{20})\.json")
_CRC = re.compile(r"(\d{20})\.crc")
_CLASSIC = re.compile(r"(\d{20})\.checkpoint\.parquet")
_PART = re.compile(r"(\d{20})\.checkpoint\.(\d{10})\.(\d{10})\.parquet")
_UUID = re.compile(r"(\d{20})\.checkpoint\.[0-9a-fA-F-]{36}\.(?:json|parquet)")
_COMPACTED = re.compile(r"(\d{20})\.(\d{20})\.compacted\.json")


def commit_path(version: int) -> str:
    """Where the commit of ``version`` lies (PROTOCOL.md, "Delta Log Entries")."""
    return f"{LOG}/{version:020d}.json"


def crc_path(version: int) -> str:
    """Where the version checksum of ``version`` lies (PROTOCOL.md, "Version Checksum File")."""
    return f"{LOG}/{version:020d}.crc"


def version_of(path: str) -> int | None:
    """The version that the commit, or the part of a checkpoint, at ``path`` makes readable; None for any other object."""
    name = path.removeprefix(f"{LOG}/")
    match = next((found for form in (_COMMIT, _CLASSIC, _PART, _UUID) if (found := form.fullmatch(name))), None)
    return int(match[1]) if match else None


@dataclass(frozen=True, slots=True)
class Span:
    """The versions that can be read: ``first`` (the base) to ``last``. ``checkpoint``: the base is a checkpoint, not commit 0."""

    first: int
    last: int
    checkpoint: bool


@dataclass(frozen=True)
class Log:
    """One listing of ``_delta_log/``, by version.

    ``checkpoints`` are those that the names show to be complete (what a V2 checkpoint lacks only opening it can tell, see
    `tear`). ``torn`` says what an incomplete one lacks; it is never read or carried. ``sidecars`` by path.
    """

    url: str
    commits: dict[int, ObjectInfo]
    crcs: dict[int, ObjectInfo]
    checkpoints: dict[int, list[Way]]
    torn: dict[int, str]
    sidecars: dict[str, ObjectInfo]
    compacted: dict[tuple[int, int], ObjectInfo]
    hint: ObjectInfo | None

    @property
    def newest(self) -> int | None:
        """The newest version with a commit or a complete checkpoint."""
        return max((*self.commits, *self.checkpoints), default=None)

    def span(self, last: int) -> Span | None:
        """The versions up to ``last`` that can be read, or None where ``last`` cannot.

        The oldest usable base is commit 0, or the oldest complete checkpoint from which the commits run on without a gap
        (PROTOCOL.md, "Metadata Cleanup"). What lies below is unreadable and no part of the table.
        """
        if last not in self.commits:
            return Span(last, last, True) if last in self.checkpoints else None
        lowest = self._run_below(last)
        if lowest == 0:
            return Span(0, last, False)
        base = min((version for version in self.checkpoints if lowest - 1 <= version <= last), default=None)
        return None if base is None else Span(base, last, True)

    def _run_below(self, last: int) -> int:
        lowest = last
        while lowest - 1 in self.commits:
            lowest -= 1
        return lowest

    def require_span(self, version: int | None) -> Span:
        """The span up to ``version`` (None: the newest). Raises `NotFound`, saying what the log lacks."""
        newest = self.newest
        if newest is None:
            torn = f"; {self._torn_text()}" if self.torn else ""
            raise NotFound(f"{self.url}: {LOG} holds no commit and no complete checkpoint{torn}")
        last = newest if version is None else version
        found = self.span(last)
        if found is not None:
            return found
        if last not in self.commits:
            usable = self.span(newest)
            there = f"versions {usable.first} to {usable.last} are there" if usable else f"the newest is {newest}"
            raise NotFound(f"{self.url}: version {last} is not in the log; {there}")
        missing = self._run_below(last) - 1
        if version is not None and version != newest and (usable := self.span(newest)) is not None and last < usable.first:
            raise NotFound(f"{self.url}: version {last} can no longer be read; the oldest that can is {usable.first}")
        torn = f", and {self._torn_text()}" if self.torn else ""
        raise NotFound(f"{self.url}: the log is not contiguous: commit {missing} is missing and no checkpoint replaces it{torn}")

    def _torn_text(self) -> str:
        return "; ".join(f"checkpoint {version} is incomplete ({what})" for version, what in sorted(self.torn.items()))

    @staticmethod
    def has_v2_name(way: Way) -> bool:
        """Whether it is UUID-named, so surely a V2 checkpoint (PROTOCOL.md, "UUID-named checkpoint")."""
        return _UUID.fullmatch(way[0].path.rpartition("/")[2]) is not None

    def may_be_v2(self, way: Way, *, feature: bool = False) -> bool:
        """Whether a checkpoint may name sidecars: it is UUID-named, or there are some, or the table has the ``feature``.

        PROTOCOL.md, "Checkpoints": a classic name may hold V2 content, many parts never do.
        """
        return self.has_v2_name(way) or (len(way) == 1 and (feature or bool(self.sidecars)))

    def ways(self, span: Span) -> list[Way]:
        """The checkpoints of the versions in ``span``, oldest first."""
        return [
            way for version in sorted(self.checkpoints) if span.first <= version <= span.last for way in self.checkpoints[version]
        ]

    def tear(self, version: int, way: Way, missing: Sequence[str]) -> None:
        """Forget a checkpoint that names sidecars which are not there: readers could not use it."""
        self.checkpoints[version].remove(way)
        if not self.checkpoints[version]:
            del self.checkpoints[version]
        self.torn[version] = f"{', '.join(missing[:5])} missing"

    def newest_checkpoint(self, span: Span) -> int | None:
        """The checkpoint from which readers start."""
        return max((version for version in self.checkpoints if span.first <= version <= span.last), default=None)

    def carried(self, span: Span) -> list[ObjectInfo]:
        """The objects of the log that belong to ``span``, without checkpoints and hint: commits, checksums, compacted logs."""
        wanted = range(span.first, span.last + 1)
        found = [info for version, info in self.commits.items() if version in wanted]
        found += [info for version, info in self.crcs.items() if version in wanted and version in self.commits]
        found += [info for (low, high), info in self.compacted.items() if low in wanted and high in wanted]
        return found


def read_log(store: Store) -> Log:
    """List the log of the table at the root of ``store``. Foreign names, Hadoop's ``.NAME.crc`` among them, are passed over."""
    log = Log(store.url, {}, {}, {}, {}, {}, {}, None)
    hint: ObjectInfo | None = None
    sidecars = False
    parts: defaultdict[tuple[int, int], dict[int, ObjectInfo]] = defaultdict(dict)
    for info in store.list(LOG, recursive=False):
        name = info.path.rpartition("/")[2]
        if match := _COMMIT.fullmatch(name):
            log.commits[int(match[1])] = info
        elif match := _CRC.fullmatch(name):
            log.crcs[int(match[1])] = info
        elif match := _CLASSIC.fullmatch(name):
            log.checkpoints.setdefault(int(match[1]), []).insert(0, (info,))
        elif match := _PART.fullmatch(name):
            parts[int(match[1]), int(match[3])][int(match[2])] = info
        elif match := _UUID.fullmatch(name):
            log.checkpoints.setdefault(int(match[1]), []).append((info,))
        elif info.path.rstrip("/") == SIDECARS:
            sidecars = True
        elif match := _COMPACTED.fullmatch(name):
            log.compacted[int(match[1]), int(match[2])] = info
        elif info.path == HINT:
            hint = info
    for (version, count), there in sorted(parts.items()):
        if there.keys() == set(range(1, count + 1)):
            log.checkpoints.setdefault(version, []).append(tuple(there[part] for part in range(1, count + 1)))
        else:
            missing = sorted(set(range(1, count + 1)) - there.keys())
            log.torn[version] = f"parts {', '.join(map(str, missing[:5]))} of {count} are missing"
    if sidecars:
        log.sidecars.update((info.path, info) for info in store.list(SIDECARS))
    return replace(log, hint=hint)
