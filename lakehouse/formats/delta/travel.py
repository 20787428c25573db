"""From which version on time travel works at a replica: what to tell its user about files of the history that it lacks."""

from __future__ import annotations

from collections.abc import Collection

from lakehouse.formats.delta.replay import Replay
from lakehouse.formats.delta.version import DeltaVersion
from lakehouse.table import Remark

__all__ = ["travel"]


def travel(version: DeltaVersion, found: Replay, gone: Collection[str], since: int | None) -> list[Remark]:
    """A remark of kind ``history`` where files of older versions are not carried; none where every version is whole.

    ``gone``: those that the source no longer has. ``since``: the version that the target held before; what is told concerns
    the versions after it.
    """
    remarks = []
    whole_from = max((found.needed_below.get(path, 0) for path in (*gone, *found.left_out)), default=0)
    if found.left_out:
        size = sum(found.left_out.values())
        asked = f"--history {version.terms.history}"
        remarks.append(
            Remark("history", f"{len(found.left_out)} file(s), {size} bytes, of older versions were left out, as {asked} asks")
        )
    whole_from = min(whole_from, version.number)
    if whole_from > max(version.span.first, -1 if since is None else since + 1):
        text = f"time travel works from version {whole_from} on"
        remarks.append(Remark("history", f"{text}; of older versions some files are not at the replica"))
    return remarks
