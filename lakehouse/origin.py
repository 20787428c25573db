"""Which version of another table a commit was made from, and which commit a name then means.

A commit that puts all rows of one version of another table in the place of its own says so, in the commit itself: Delta in the
operationParameters of its commitInfo, Iceberg in the summary of its snapshot. A name of a version (``version``, ``ref``,
``as_of``) that was chosen before the table was converted then means the same rows as before: the source's names count first.
Nothing is read here; the formats tell what their commits say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["PLACE", "Made", "SourceVersion", "known_names", "made_at", "ref_named", "stated_source", "version_named"]

PLACE = "lake.source"
"""The key of the source's address; also the property of a table that says that there are such commits."""
_VERSION, _TIMESTAMP, _REF = "lake.source-version", "lake.source-timestamp", "lake.source-ref"
_CLOCKS_DIFFER = timedelta(minutes=1)
"""What Iceberg tolerates between the clocks of writers."""
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """One version of a table, as commits that are made from it name it, whatever is made from those.

    ``place``: the table's address, without secrets. ``version``: a Delta log version, the id of an Iceberg snapshot.
    ``timestamp``: when it was committed there. ``ref``: the branch or tag by which it was read, if it was.
    """

    place: str
    version: str
    timestamp: datetime | None = None
    ref: str | None = None

    def recorded(self) -> dict[str, str]:
        """What the commit says."""
        at = None if self.timestamp is None else self.timestamp.astimezone(UTC).isoformat(timespec="milliseconds")
        texts = {_VERSION: self.version, _TIMESTAMP: None if at is None else at.replace("+00:00", "Z"), _REF: self.ref}
        return {PLACE: self.place, **{key: text for key, text in texts.items() if text is not None}}


@dataclass(frozen=True, slots=True)
class Made:
    """One commit of a table: its ``id`` (a Delta log version, an Iceberg snapshot's), when it was made, and from what.

    ``source`` is None for what was written to the table itself.
    """

    id: int
    at: datetime | None
    source: SourceVersion | None


def stated_source(said: Mapping[str, object]) -> SourceVersion | None:
    """The version that a commit says it was made from (`SourceVersion.recorded`); None where it names none."""
    place, version, ref = said.get(PLACE), said.get(_VERSION), said.get(_REF)
    if not isinstance(place, str) or not isinstance(version, str):
        return None
    return SourceVersion(place, version, _instant(said.get(_TIMESTAMP)), ref if isinstance(ref, str) else None)


def _instant(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo is not None else found.replace(tzinfo=UTC)


def version_named(name: str, newest_first: Iterable[Made]) -> Made | None:
    """The newest commit that was made from the source's version ``name``. No more of them are taken than that needs."""
    return next((made for made in newest_first if made.source is not None and made.source.version == name), None)


def ref_named(name: str, newest_first: Iterable[Made]) -> Made | None:
    """The newest commit that was made from the source's branch or tag ``name``, else from its version of that name."""
    by_version: Made | None = None
    for made in newest_first:
        if made.source is None:
            continue
        if made.source.ref == name:
            return made
        if by_version is None and made.source.version == name:
            by_version = made
    return by_version


def made_at(instant: datetime, newest_first: Sequence[Made]) -> Made | None:
    """The commit that holds what the source, and after it this table, held at ``instant``; None before the first.

    A commit that was made from a version counts at that version's time, one written here at its own (see `_timeline`). As in
    Delta's reference implementation a commit that is not later than one before it counts a millisecond after that, since clocks
    differ; but one that is older by more than a minute is an older version that was made again, and counts at its own time.
    """
    found: Made | None = None
    chosen: datetime | None = None
    latest: datetime | None = None
    for made, stated in reversed(_timeline(newest_first)):
        at = stated
        if latest is not None and latest - _CLOCKS_DIFFER <= at <= latest:
            at = latest + timedelta(milliseconds=1)
        latest = at if latest is None else max(at, latest)
        if at <= instant and (chosen is None or at > chosen):
            found, chosen = made, at
    return found


def _timeline(newest_first: Iterable[Made]) -> list[tuple[Made, datetime]]:
    """The commits that count, each with its time, newest first.

    What was written here and then replaced by a version of a source was on nobody's way. Neither was a version of one table that
    was replaced by an older one of another: the empty one, say, that a table on the way was created with.
    """
    found, oldest = list[tuple[Made, datetime]](), dict[str, datetime]()
    for made in newest_first:
        at = made.at if made.source is None else made.source.timestamp
        place = "" if made.source is None else made.source.place
        if at is None or (made.source is None and any(other for other in oldest)):
            continue
        if all(at <= later for other, later in oldest.items() if other != place):
            found.append((made, at))
        oldest[place] = min(at, oldest.get(place, at))
    return found


def known_names(newest_first: Iterable[Made]) -> str:
    """The names by which the source's versions can be asked for, newest first, to be shown."""
    sources = [made.source for made in newest_first if made.source is not None]
    versions = list(dict.fromkeys(source.version for source in sources))
    refs = list(dict.fromkeys(source.ref for source in sources if source.ref is not None))
    texts = [_listed("version", versions), _listed("branch or tag", refs)]
    return "; ".join(text for text in texts if text) or "none (the commits that named them are gone)"


def _listed(word: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{word} {', '.join(names[:_SHOWN])}{more}" if names else ""
