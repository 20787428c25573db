"""Whether what readers may read instead of commits says the same: checkpoints, compacted logs, ``_last_checkpoint``.

PROTOCOL.md, "Checkpoints", "Log Compaction Files" and "Last Checkpoint File".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.delta.actions import actions_of
from lakehouse.formats.delta.check_state import Facts, LogState
from lakehouse.formats.delta.checkpoint import part_actions
from lakehouse.formats.delta.hint import hint_checksum
from lakehouse.formats.delta.localise import Localiser
from lakehouse.formats.delta.log import HINT, SIDECARS, Log, Span, Way
from lakehouse.formats.delta.version import commits_in_order
from lakehouse.reading.examine import Flaw
from lakehouse.store import ObjectInfo, Store

__all__ = ["Checkpoint", "checkpoint_flaws", "compacted_flaws", "hint_flaws", "load_checkpoint", "same_metadata", "same_protocol"]

_COLUMNS = (
    "add.path", "add.partitionValues", "add.size", "add.modificationTime", "add.stats", "add.deletionVector", "add.baseRowId",
    "add.defaultRowCommitVersion", "remove.path", "remove.deletionVector", "txn", "domainMetadata", "protocol", "metaData",
    "sidecar", "checkpointMetadata",
)  # fmt: skip
_SHOWN = 3


@dataclass
class Checkpoint:
    """What one way of a checkpoint holds. ``parts``: its objects, sidecars included; ``actions``, ``adds``: how many it has;
    ``own_actions``: without those in sidecars.
    """

    way: Way
    parts: list[ObjectInfo]
    state: LogState
    removed: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    actions: int = 0
    adds: int = 0
    own_actions: int = 0
    version: int | None = None

    @property
    def path(self) -> str:
        return self.way[0].path


def load_checkpoint(store: Store, log: Log, way: Way, localiser: Localiser) -> tuple[Checkpoint, list[Flaw]]:
    """What the checkpoint says, and which of its objects are missing or damaged. Kinds: ``missing``, ``size``, ``unreadable``."""
    found = Checkpoint(way, list(way), LogState(localiser))
    flaws: list[Flaw] = []
    sidecars: list[dict[str, Any]] = []
    for part in way:
        flaws += _load(store, part, found, sidecars)
    found.own_actions = found.actions
    for fields in sidecars:
        name = str(fields.get("path"))
        path = name if name.startswith(f"{SIDECARS}/") else f"{SIDECARS}/{name}"
        if (info := log.sidecars.get(path)) is None:
            flaws.append(Flaw("missing", path, f"is not there, {way[0].path} names it"))
            continue
        if fields.get("sizeInBytes") not in (None, info.size):
            flaws.append(Flaw("size", path, f"has {info.size} bytes, {way[0].path} says {fields['sizeInBytes']}"))
        found.parts.append(info)
        flaws += _load(store, info, found, [])
    return found, flaws


def _load(store: Store, part: ObjectInfo, found: Checkpoint, sidecars: list[dict[str, Any]]) -> list[Flaw]:
    state = found.state
    try:
        for kind, stated in part_actions(store, part, _COLUMNS):
            found.actions += 1
            if kind == "sidecar":
                sidecars.append(stated)
            elif kind == "checkpointMetadata":
                found.version = stated.get("version")
            elif kind == "add":
                key, _, facts = state.named(part.path, kind, stated)
                if (known := state.key(key, facts)) in state.live:
                    found.twice.append(key)
                state.add(known, facts)
            elif kind == "remove":
                if stated.get("path") is not None:
                    key, _, facts = state.named(part.path, kind, stated)
                    found.removed.append(state.key(key, facts))
            else:
                state.apply(kind, stated)
    except (NotFound, Unsupported) as error:
        return [Flaw("unreadable", part.path, str(error).removeprefix(f"{store.url}: "))]
    return []


def checkpoint_flaws(found: Checkpoint, number: int, state: LogState) -> Iterator[Flaw]:
    """How checkpoint ``number`` differs from the replayed log. Kind: ``checkpoint``."""
    said, path = found.state, found.path

    def flaw(message: str) -> Flaw:
        return Flaw("checkpoint", path, f"{message} at version {number}")

    if found.version not in (None, number):
        yield flaw(f"says that it is of version {found.version}")
    if found.twice:
        yield flaw(f"{_names(found.twice)} stand in it twice")
    if lacking := state.live.keys() - said.live.keys():
        yield flaw(f"lacks {_names(lacking)}, which the commits say are live")
    if extra := said.live.keys() - state.live.keys():
        yield flaw(f"has {_names(extra)}, which the commits do not say are live")
    if both := said.live.keys() & set(found.removed):
        yield flaw(f"both adds and removes {_names(both)}")
    other = {key: named for key in said.live.keys() & state.live.keys() if (named := said.live[key].differing(state.live[key]))}
    if other:
        key = min(other)
        yield flaw(f"says something else than the commits of {_names(other)} ({other[key]})")
    yield from map(flaw, _small_differences(said, state))


def _small_differences(said: LogState, state: LogState) -> Iterator[str]:
    if not same_protocol(said.protocol, state.protocol):
        yield "has another protocol than the commits"
    if not same_metadata(said.metadata, state.metadata):
        yield "has another metaData than the commits"
    kept = bool((state.metadata.get("configuration") or {}).get("delta.setTransactionRetentionDuration"))
    wanted = {app: version for app, version in state.transactions.items() if not kept or app in said.transactions}
    if said.transactions != wanted:
        apps = sorted(app for app in said.transactions.keys() | wanted.keys() if said.transactions.get(app) != wanted.get(app))
        yield f"has another version than the commits of the transactions of {', '.join(apps[:_SHOWN])}"
    mine, theirs = _domains(said), _domains(state)
    if mine != theirs:
        names = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
        yield f"says something else than the commits of the domain {', '.join(names[:_SHOWN])}"


def _domains(state: LogState) -> dict[str, Any]:
    return {name: fields.get("configuration") for name, fields in state.domains.items()}


def _names(keys: Any) -> str:
    names = sorted(key.partition("\0")[0] for key in keys)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more files" if len(names) > _SHOWN else "")


def same_protocol(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two protocol actions ask for the same."""
    return _protocol(one) == _protocol(other)


def _protocol(fields: dict[str, Any]) -> tuple[object, ...]:
    features = (frozenset(fields.get(name) or ()) for name in ("readerFeatures", "writerFeatures"))
    return (fields.get("minReaderVersion"), fields.get("minWriterVersion"), *features)


def same_metadata(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two metaData actions describe the same table."""
    return _metadata(one) == _metadata(other)


def _metadata(fields: dict[str, Any]) -> tuple[object, ...]:
    try:
        schema = json.loads(fields.get("schemaString") or "null")
    except ValueError:
        schema = fields["schemaString"]
    return (
        fields.get("id"), fields.get("name"), schema, list(fields.get("partitionColumns") or ()),
        dict(fields.get("configuration") or {}), fields.get("createdTime"),
    )  # fmt: skip


def compacted_flaws(store: Store, log: Log, span: Span, state: LogState) -> Iterator[Flaw]:
    """Compacted logs that do not say what their commits say. Kinds: ``unreadable``, ``compacted``."""
    for (low, high), info in sorted(log.compacted.items()):
        if low < span.first or high > span.last or not all(number in log.commits for number in range(low, high + 1)):
            continue
        try:
            stated = _last_actions(info.path, [store.get(info.path)], state)
        except (NotFound, Unsupported) as error:
            yield Flaw("unreadable", info.path, str(error).removeprefix(f"{info.path}: "))
            continue
        try:
            commits = (data for _, data in commits_in_order(store, range(low, high + 1)))
            replayed = _last_actions(info.path, commits, state)
        except (NotFound, Unsupported):
            continue  # the commit is a finding of its own
        odd = {key for key in stated.keys() | replayed.keys() if not _agree(stated.get(key), replayed.get(key))}
        if odd:
            yield Flaw("compacted", info.path, f"does not say of {_names(odd)} what the commits {low} to {high} say")


def _last_actions(where: str, objects: Iterable[bytes], state: LogState) -> dict[str, tuple[str, Facts]]:
    found: dict[str, tuple[str, Facts]] = {}
    for data in objects:
        for kind, stated in actions_of(where, data):
            if kind in ("add", "remove"):
                key, _, facts = state.named(where, kind, stated)
                found[state.key(key, facts)] = (kind, facts)
    return found


def _agree(one: tuple[str, Facts] | None, other: tuple[str, Facts] | None) -> bool:
    if one is None or other is None:
        return False
    return one[0] == other[0] and (one[0] == "remove" or one[1] == other[1])


def hint_flaws(store: Store, log: Log, span: Span, read: dict[str, Checkpoint]) -> Iterator[Flaw]:
    """What ``_last_checkpoint`` says that is not so. Kind: ``hint``. ``read``: the checkpoints, by their first object's path.

    One that is older than the newest checkpoint is none: readers list the log from there on.
    """
    if log.hint is None:
        return
    try:
        hint = json.loads(store.get(HINT))
        number, parts = int(hint["version"]), int(hint.get("parts") or 1)
    except (NotFound, ValueError, KeyError, TypeError, AttributeError) as error:
        yield Flaw("hint", HINT, f"cannot be read ({type(error).__name__}: {error})")
        return
    if "checksum" in hint and hint["checksum"] != hint_checksum(hint):
        yield Flaw("hint", HINT, "its checksum is not that of what it says")
    if number > span.last and number in log.checkpoints:
        return
    top = hint.get("v2Checkpoint") or {}
    ways = [way for way in log.checkpoints.get(number, ()) if len(way) == parts]
    if isinstance(top.get("path"), str):
        ways = [way for way in ways if way[0].path.rpartition("/")[2] == top["path"].rpartition("/")[2]]
    if not ways:
        yield Flaw("hint", HINT, f"names checkpoint {number} in {parts} part(s), which is not there")
        return
    found = [read[way[0].path] for way in ways if way[0].path in read]
    wrong = [_hint_differs(hint, top, checkpoint) for checkpoint in found]
    if wrong and all(wrong):
        yield Flaw("hint", HINT, wrong[0])


def _hint_differs(hint: dict[str, Any], top: dict[str, Any], found: Checkpoint) -> str:
    """What the hint says of a checkpoint that is not so; "" where all of it is."""
    sizes = Counter({info.path.rpartition("/")[2]: info.size for info in found.parts})
    said = [
        ("actions", hint.get("size"), found.own_actions if hint.get("size") == found.own_actions else found.actions),
        ("bytes", hint.get("sizeInBytes"), sum(sizes.values())),
        ("live files", hint.get("numOfAddFiles"), found.adds),
        *((f"bytes of {named.get('path')}", named.get("sizeInBytes"), sizes.get(str(named.get("path")).rpartition("/")[2], 0))
          for named in ([top, *(top.get("sidecarFiles") or ())] if top else ())),
    ]  # fmt: skip
    wrong = (f"says {stated} {what}, checkpoint has {there}" for what, stated, there in said if stated not in (None, there))
    return next(wrong, "")
