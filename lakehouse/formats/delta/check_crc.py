"""Whether the checksum file of a version says what the log says.

PROTOCOL.md, "Version Checksum File".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.delta.check_checkpoint import same_metadata, same_protocol
from lakehouse.formats.delta.check_state import LogState
from lakehouse.reading.examine import Flaw
from lakehouse.store import ObjectInfo, Store

__all__ = ["checksum_flaws"]


def checksum_flaws(store: Store, info: ObjectInfo, state: LogState) -> Iterator[Flaw]:
    """What the checksum file says of the version that ``state`` has come to, and is not so.

    Kinds: ``unreadable``, ``checksum``.
    """
    try:
        said = json.loads(store.get(info.path))
        if not isinstance(said, dict):
            raise ValueError("it is no JSON object")
    except (NotFound, ValueError) as error:
        yield Flaw("unreadable", info.path, f"cannot be read ({error})")
        return
    for message in (*_counts(said, state), *_small(said, state), *_all_files(info.path, said, state)):
        yield Flaw("checksum", info.path, message)


def _counts(said: dict[str, Any], state: LogState) -> Iterator[str]:
    vectors = sum(facts.vector is not None for facts in state.live.values()) if _first(said, "numDeletionVectors") else 0
    stated = {
        "bytes in live files": (said.get("tableSizeBytes"), state.size),
        "live files": (said.get("numFiles"), len(state.live)),
        "metaData actions": (said.get("numMetadata"), 1),
        "protocol actions": (said.get("numProtocol"), 1),
        "deleted rows": (_first(said, "numDeletedRecords"), state.deleted_rows),
        "deletion vectors": (_first(said, "numDeletionVectors"), vectors),
    }
    for what, (says, has) in stated.items():
        if says is not None and says != has:
            yield f"says {says} {what}, the log has {has}"
    histogram = _first(said, "fileSizeHistogram", "histogram") or {}
    for name, has in (("fileCounts", len(state.live)), ("totalBytes", state.size)):
        if isinstance(histogram.get(name), list) and sum(histogram[name]) != has:
            yield f"its histogram has {sum(histogram[name])} in {name}, the log has {has}"


def _first(said: dict[str, Any], *names: str) -> Any:
    """The value of the first of ``names`` that is there; writers append ``Opt`` to some."""
    return next((said[key] for name in names for key in (name, f"{name}Opt") if said.get(key) is not None), None)


def _small(said: dict[str, Any], state: LogState) -> Iterator[str]:
    if isinstance(said.get("protocol"), dict) and not same_protocol(said["protocol"], state.protocol):
        yield "has another protocol than the log"
    if isinstance(said.get("metadata"), dict) and not same_metadata(said["metadata"], state.metadata):
        yield "has another metaData than the log"
    for name, stated in (("txnId", said.get("txnId")), ("inCommitTimestamp", _first(said, "inCommitTimestamp"))):
        if stated is not None and state.info.get(name) not in (None, stated):
            yield f"says {name} {stated}, the commit says {state.info[name]}"
    if isinstance(transactions := said.get("setTransactions"), list):
        for fields in transactions:
            if state.transactions.get(fields.get("appId")) != fields.get("version"):
                yield f"says version {fields.get('version')} of the transactions of {fields.get('appId')}, the log does not"
    if isinstance(domains := said.get("domainMetadata"), list):
        mine = {fields.get("domain"): fields.get("configuration") for fields in domains if not fields.get("removed")}
        theirs = {name: fields.get("configuration") for name, fields in state.domains.items()}
        if mine != theirs:
            odd = sorted(str(name) for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
            yield f"says something else than the log of the domain {odd[0]}"


def _all_files(path: str, said: dict[str, Any], state: LogState) -> Iterator[str]:
    if not isinstance(said.get("allFiles"), list):
        return
    try:
        named = {state.named(path, "add", fields)[0] for fields in said["allFiles"]}
    except (NotFound, Unsupported) as error:
        yield str(error).removeprefix(f"{path}: ")
        return
    if odd := named ^ {key.partition("\0")[0] for key in state.live}:
        yield f"names {len(named)} live files, the log has {len(state.live)}; {min(odd)} is not in both"
