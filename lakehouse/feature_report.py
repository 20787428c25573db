"""What ``lake feast check`` found: whether the lake has what the feature views of a Feast repository name.

Here are only the results, which need no Feast. Who looks is found by the entry-point group `GROUP`: see `FeatureCheck`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from lakehouse.progress import Progress
from lakehouse.report import SIGNS, raise_for
from lakehouse.settings import Settings

__all__ = ["GROUP", "FeatureCheck", "FeatureFinding", "FeatureReport", "ReplicaRows", "ViewReport"]

GROUP = "lakehouse.feast"
"""The entry-point group whose key ``check`` is a `FeatureCheck`."""

Kind = Literal["missing", "differs", "stale", "rows", "unchecked"]


@dataclass(frozen=True, slots=True)
class FeatureFinding:
    """One thing that is wrong with what a view reads, or (kind ``unchecked``) that could not be looked at.

    ``missing``: the dataset or a column is not there. ``differs``: a column has another type, or the view is defined so that it
    cannot be read. ``stale``: no row is within the view's ttl. ``rows``: a replica does not have the dataset's rows.
    ``path``: the column or the replica, "" for the dataset as such.
    """

    kind: Kind
    path: str
    message: str

    @property
    def sign(self) -> str:
        """``-`` is not there, ``*`` is not what it must be, ``!`` could not be checked."""
        return SIGNS.get(self.kind, "*")


@dataclass(frozen=True, slots=True)
class ReplicaRows:
    """Whether the replica at ``to`` has the rows of its dataset; None where it is not known."""

    to: str
    agrees: bool | None


@dataclass(frozen=True, slots=True)
class ViewReport:
    """One feature view. ``dataset``: None where its source is none of the lake's.

    ``newest_event_at``: the latest time in the dataset, None where it has no rows or could not be read. ``ttl_seconds``: None
    where values do not expire. ``rows``: how many are within the ttl, not later than the time of the check; None where not known.
    """

    view: str
    dataset: str | None
    ttl_seconds: float | None
    newest_event_at: datetime | None = None
    rows: int | None = None
    replicas: tuple[ReplicaRows, ...] = ()
    findings: tuple[FeatureFinding, ...] = ()


@dataclass(frozen=True, slots=True)
class FeatureReport:
    """All views of one project. ``at``: the time from which ttls count. ``config``: the lake.toml that has the datasets."""

    repository: str
    project: str
    config: str | None
    at: datetime
    views: tuple[ViewReport, ...]

    @property
    def findings(self) -> list[FeatureFinding]:
        """Those of all views, each path below its view's name."""
        return [
            FeatureFinding(found.kind, f"{view.view}: {found.path}" if found.path else view.view, found.message)
            for view in self.views
            for found in view.findings
        ]

    @property
    def ok(self) -> bool:
        return not self.findings

    def raise_for_findings(self) -> None:
        """Raise `Verification` for what is wrong, `LakeError` for what could not be checked; nothing when all is right."""
        raise_for(self.repository, self.findings, self)


class FeatureCheck(Protocol):
    """Looks at every feature view of the Feast repository in a folder.

    ``replicas``: also read each dataset and its replicas whole, and compare. ``at``: the time from which each ttl counts (None:
    now). ``settings``: a lake.toml in the place of the repository's own. What is wrong is a finding. Raises `Config` where there
    is no repository of this kind, or nothing has been applied.
    """

    def __call__(
        self,
        repository: str,
        *,
        replicas: bool = True,
        at: datetime | None = None,
        settings: Settings | None = None,
        progress: Progress = ...,
    ) -> FeatureReport: ...
