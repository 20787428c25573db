"""Choosing a version of a Delta table, and what holds at it: protocol, metadata and time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from lakehouse.checksum import sha256_hex
from lakehouse.errors import Config, LakeError, NotFound, Transfer, Unsupported
from lakehouse.formats.delta.actions import Action, actions_of, committed_at
from lakehouse.formats.delta.checkpoint import STATE_COLUMNS, named_sidecars, part_actions
from lakehouse.formats.delta.features import check_protocol
from lakehouse.formats.delta.localise import Localised, Localiser
from lakehouse.formats.delta.log import Log, Span, commit_path, read_log
from lakehouse.locations import Locations
from lakehouse.parallel import each
from lakehouse.store import ObjectInfo, Store
from lakehouse.table import TableVersion, Terms

__all__ = ["DeltaVersion", "commits_in_order", "history_floor", "pin_version"]

_WORKERS = 8
_AHEAD = 32


@dataclass(frozen=True, kw_only=True)
class DeltaVersion(TableVersion):
    """A version of a Delta table: the log as it was listed, the versions that can be read, and the state's small parts.

    ``base_sidecars`` are those of the checkpoint that the history starts from. ``not_carried`` is filled by `DeltaFormat.files`.
    Files that only versions below ``history_floor`` need are not wanted.
    """

    log: Log
    span: Span
    protocol: dict[str, Any]
    metadata: dict[str, Any]
    terms: Terms
    base_sidecars: tuple[ObjectInfo, ...] = ()
    localiser: Localiser = field(compare=False)
    history_floor: int = -1

    @property
    def number(self) -> int:
        return self.span.last

    def as_replicated(self, store: Store) -> Store:
        """The table's own store with the log as a replica has it (see `localise`); any other store as it is."""
        return Localised(store, self.localiser) if store.url == self.log.url else store

    @property
    def has_v2(self) -> bool:
        """Whether any checkpoint may be a V2 one (PROTOCOL.md, "V2 Checkpoint Table Feature")."""
        return "v2Checkpoint" in (self.protocol.get("readerFeatures") or ())


def commits_in_order(store: Store, versions: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """The bytes of the commits ``versions``, in that order; a few are read ahead.

    Raises `Transfer` for one that has gone since the log was listed.
    """
    waiting = iter(versions)
    while window := list(islice(waiting, _AHEAD)):
        found: dict[int, bytes] = {}
        for number, outcome in each(lambda version: store.get(commit_path(version)), window, workers=_WORKERS):
            if isinstance(outcome, NotFound):
                raise Transfer(f"{store.url}: commit {number} was cleaned up meanwhile; run again") from outcome
            if isinstance(outcome, LakeError):
                raise outcome
            found[number] = outcome
        for number in window:
            yield number, found[number]


def pin_version(store: Store, version: str | None, terms: Terms | None = None) -> DeltaVersion:
    """The newest version of the table at ``store``, or the one named.

    A listing that runs while commits are made can show one and lack the one before it, so a log with a hole is listed again.
    Raises `NotFound` (no table, no such version, a log with holes, no metaData or protocol), `Unsupported` (features) and
    `Config` (``version`` is not a number).
    """
    if version is not None and not version.isdecimal():
        raise Config(f"{version}: a Delta version is a number")
    history_floor(store.url, terms.history if terms else "all", None)
    log = read_log(store)
    if log.newest is None and not log.torn:
        raise NotFound(f"{store.url}: no Delta table here (_delta_log holds no commit and no checkpoint)")
    wanted = None if version is None else int(version)
    try:
        span, sidecars, rows = _readable(store, log, wanted)
    except NotFound:
        log = read_log(store)
        span, sidecars, rows = _readable(store, log, wanted)
    state = _state(store, log, span, rows)
    url = store.url
    if "metaData" not in state:
        raise NotFound(f"{url}: the log has no metaData action up to version {span.last}, so the table has no schema")
    if "protocol" not in state:
        raise NotFound(f"{url}: the log has no protocol action up to version {span.last}")
    check_protocol(url, state["protocol"])
    provider = (state["metaData"].get("format") or {}).get("provider", "parquet")
    if provider != "parquet":
        raise Unsupported(f"{url}: its data files are {provider}, not parquet")
    root, data = _root(store, log, span)
    info = next((fields for kind, fields in actions_of(root, data) if kind == "commitInfo"), None) if data else None
    at = committed_at(info)
    if at is None and (listed := log.commits.get(span.last)) is not None:
        at = listed.modified
    digest = sha256_hex(data) if data else sha256_hex(store.get(root))
    terms = terms or Terms(Locations(url))
    return DeltaVersion(
        format="delta", id=str(span.last), table_id=state["metaData"].get("id"), committed_at=at, root=root, root_sha256=digest,
        log=log, span=span, protocol=state["protocol"], metadata=state["metaData"],
        base_sidecars=sidecars, terms=terms, localiser=Localiser(terms.locations),
        history_floor=history_floor(url, terms.history, span.last),
    )  # fmt: skip


def history_floor(where: str, history: str, last: int | None) -> int:
    """The oldest version whose files ``history`` asks for: -1 for all, one above ``last`` where none of the older ones is wanted.

    ``last`` (None: not known yet) is the version pinned. Raises `Config` for what is neither ``all``, ``none`` nor ``since:V``.
    """
    if history == "all":
        return -1
    if history == "none":
        return 0 if last is None else last + 1
    word, _, number = history.partition(":")
    if word != "since" or not (number.isascii() and number.isdecimal()):
        raise Config(f"{where}: --history {history} is not known; say all, none or since:VERSION, as in since:120")
    if last is not None and int(number) > last:
        raise Config(f"{where}: --history {history} names a version after {last}, the one that is carried; say none")
    return int(number)


def _root(store: Store, log: Log, span: Span) -> tuple[str, bytes]:
    """The object that made the version visible: its commit, else the last part of its checkpoint (without the bytes)."""
    if span.last in log.commits:
        path = commit_path(span.last)
        return path, store.get(path)
    return log.checkpoints[span.last][0][-1].path, b""


def _readable(store: Store, log: Log, wanted: int | None) -> tuple[Span, tuple[ObjectInfo, ...], list[Action]]:
    """The span up to ``wanted``, the sidecars of the checkpoint it starts from, and the small rows of its newest checkpoint.

    A checkpoint that lacks a sidecar is torn; then what is left of the log may have another span.
    """
    while True:
        span = log.require_span(wanted)
        newest = log.newest_checkpoint(span)
        base: tuple[ObjectInfo, ...] = ()
        rows: list[Action] = []
        starts = {number for number in (newest, span.first if span.checkpoint else None) if number is not None}
        for number in sorted(starts, reverse=True):
            way = log.checkpoints[number][0]
            if number != newest and not log.may_be_v2(way):
                continue
            found = [row for part in way for row in part_actions(store, part, STATE_COLUMNS)]
            sidecars, missing = named_sidecars(f"{store.url}: checkpoint {number}", log, found)
            if missing:
                log.tear(number, way, missing)
                break
            rows = found if number == newest else rows
            base = sidecars if span.checkpoint and number == span.first else base
        else:
            return span, base, rows


def _state(store: Store, log: Log, span: Span, rows: list[Action]) -> dict[str, dict[str, Any]]:
    """The newest protocol and metaData, read as every reader does: the newest checkpoint (``rows``), then later commits."""
    state: dict[str, dict[str, Any]] = dict(rows)
    checkpoint = log.newest_checkpoint(span)
    start = span.first if checkpoint is None else checkpoint + 1
    for number, data in commits_in_order(store, range(start, span.last + 1)):
        actions = actions_of(f"{store.url}: commit {number}", data)
        state.update((kind, fields) for kind, fields in actions if kind in ("protocol", "metaData"))
    return state


def schema_fields(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """The top fields of ``metaData.schemaString`` (PROTOCOL.md, "Schema Serialization Format"). Raises `NotFound`."""
    try:
        fields: list[dict[str, Any]] = json.loads(metadata.get("schemaString") or '{"fields": []}').get("fields", [])
    except ValueError as error:
        raise NotFound(f"the table's schema cannot be read ({error})") from error
    return fields
