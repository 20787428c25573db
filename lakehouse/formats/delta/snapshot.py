"""Writing a checkpoint of a version that the source has none of (needed by one put order only, see `order`).

PROTOCOL.md, "V1 Spec" and "Checkpoint Schema"; "Checkpoints" allows a classic V1 one to every table, also where the feature
v2Checkpoint is on. The whole state is held in memory for it: about 2.5 kB a file.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lakehouse.checksum import sha256_hex
from lakehouse.errors import Conflict, NotFound, Unsupported
from lakehouse.formats.delta.actions import Action, actions_of, object_key
from lakehouse.formats.delta.checkpoint import FILE_COLUMNS, checkpoint_actions, part_actions
from lakehouse.formats.delta.log import LOG, Log, Span
from lakehouse.formats.delta.vectors import vector_id
from lakehouse.formats.delta.version import DeltaVersion, commits_in_order
from lakehouse.store import ObjectInfo, Store
from lakehouse.table import Publication

__all__ = ["State", "checkpoint_publication", "live_at", "named_live", "state_at", "write_checkpoint"]

_DERIVED = {"stats_parsed": "stats", "partitionValues_parsed": "partitionValues"}
_VECTOR_FIELDS = {"storageType", "pathOrInlineDv", "offset", "sizeInBytes", "cardinality", "maxRowIndex"}
_NOT_IN_STATE = ("commitInfo", "cdc", "checkpointMetadata", "sidecar")


@dataclass(slots=True)
class State:
    """A reconciled state (PROTOCOL.md, "Action Reconciliation"): the newest action for each key.

    The key of a file is its object key and its deletion vector's id ("" without one).
    """

    protocol: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    transactions: dict[str, dict[str, Any]] = field(default_factory=dict)
    domains: dict[str, dict[str, Any]] = field(default_factory=dict)
    adds: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    removes: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def apply(self, where: str, kind: str, fields: dict[str, Any]) -> None:
        """One action. Raises `Unsupported` for a kind that a V1 checkpoint has no column for."""
        if kind in ("add", "remove"):
            key = (object_key(where, fields.get("path")), vector_id(fields))
            self.adds.pop(key, None)
            self.removes.pop(key, None)
            (self.adds if kind == "add" else self.removes)[key] = {**fields, "dataChange": False}
        elif kind == "txn":
            self.transactions[fields["appId"]] = fields
        elif kind == "domainMetadata":
            self.domains[fields["domain"]] = fields
        elif kind == "protocol":
            self.protocol = fields
        elif kind == "metaData":
            self.metadata = fields
        elif kind not in _NOT_IN_STATE:
            raise Unsupported(f"{where}: cannot write a checkpoint that holds the unknown action {kind!r}")


def state_at(store: Store, version: DeltaVersion) -> State:
    """The state of ``version``, from the newest checkpoint and the commits after it."""
    state, log, start = State(), version.log, version.span.first
    newest = log.newest_checkpoint(version.span)
    if newest is not None:
        start = newest + 1
        for kind, fields in checkpoint_actions(store, log, newest):
            state.apply(f"{store.url}: checkpoint {newest}", kind, fields)
    for number, data in commits_in_order(store, range(start, version.number + 1)):
        for kind, fields in actions_of(where := f"{store.url}: commit {number}", data):
            state.apply(where, kind, fields)
    return state


def named_live(where: str, actions: Iterable[Action]) -> set[tuple[str, str]]:
    """The files that the adds of a checkpoint name, as the keys of `State.adds`."""
    return {(object_key(where, fields.get("path")), vector_id(fields)) for kind, fields in actions if kind == "add"}


def live_at(store: Store, log: Log, span: Span) -> set[tuple[str, str]]:
    """The files that are live at the end of ``span``, as the keys of `State.adds`."""
    live: set[tuple[str, str]] = set()
    newest, start = log.newest_checkpoint(span), span.first
    if newest is not None:
        start = newest + 1
        live = named_live(f"{store.url}: checkpoint {newest}", checkpoint_actions(store, log, newest, FILE_COLUMNS))
    for number, data in commits_in_order(store, range(start, span.last + 1)):
        for kind, fields in actions_of(where := f"{store.url}: commit {number}", data):
            if kind in ("add", "remove"):
                key = (object_key(where, fields.get("path")), vector_id(fields))
                live.add(key) if kind == "add" else live.discard(key)
    return live


def checkpoint_publication(source: Store, target: Store, version: DeltaVersion) -> Publication:
    """A V1 checkpoint of ``version``, written from the source's state, ready to be put.

    One that already lies at the target (an earlier run's, perhaps by another Parquet writer) is kept when it names the same
    files; other content is a `Conflict`.
    """
    path = f"{LOG}/{version.number:020d}.checkpoint.parquet"
    state = state_at(source, version)
    data = write_checkpoint(f"{source.url}: version {version.number}", state)
    try:
        there = target.get(path)
    except NotFound:
        return Publication(path, len(data), sha256_hex(data), lambda: data)
    if there != data and (
        named_live(path, part_actions(target, ObjectInfo(path, len(there)), FILE_COLUMNS)) != state.adds.keys()
    ):
        raise Conflict(f"{target.url}/{path}: names other files than version {version.number} of {source.url}")
    return Publication(path, len(there), sha256_hex(there), lambda: target.get(path))


def write_checkpoint(where: str, state: State) -> bytes:
    """``state`` as one Parquet file; the same state gives the same bytes with the same PyArrow.

    Raises `Unsupported`, naming it, for a field that the checkpoint schema has no column for.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    rows: list[dict[str, Any]] = [
        {"protocol": state.protocol},
        {"metaData": state.metadata},
        *({"txn": state.transactions[key]} for key in sorted(state.transactions)),
        *({"domainMetadata": fields} for _, fields in sorted(state.domains.items()) if not fields.get("removed")),
        *({"add": state.adds[key]} for key in sorted(state.adds)),
        *({"remove": state.removes[key]} for key in sorted(state.removes)),
    ]
    names = {column.name: {inner.name for inner in column.type} for column in schema}
    for row in rows:
        for kind, fields in row.items():
            row[kind] = _expressible(where, kind, fields, names[kind])
    try:
        table = pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise Unsupported(f"{where}: its state does not fit the checkpoint schema ({error})") from error
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="snappy")
    return sink.getvalue()


def _expressible(where: str, kind: str, fields: dict[str, Any], names: set[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name == "deletionVector" and (unknown := {k for k, v in value.items() if v is not None} - _VECTOR_FIELDS):
            raise Unsupported(f"{where}: cannot write a checkpoint that holds {kind}.{name}.{min(unknown)}")
        if name in names:
            kept[name] = value
        elif name not in _DERIVED or fields.get(_DERIVED[name]) is None:
            raise Unsupported(f"{where}: cannot write a checkpoint that holds {kind}.{name}")
    return kept


def _schema() -> Any:
    import pyarrow as pa

    text, number, flag = pa.string(), pa.int64(), pa.bool_()
    texts = pa.map_(text, text)
    vector = [
        ("storageType", text), ("pathOrInlineDv", text), ("offset", pa.int32()), ("sizeInBytes", pa.int32()),
        ("cardinality", number), ("maxRowIndex", number),
    ]  # fmt: skip
    file = [
        ("path", text), ("partitionValues", texts), ("size", number), ("tags", texts), ("stats", text),
        ("deletionVector", pa.struct(vector)),
    ]  # fmt: skip
    tracking = [("baseRowId", number), ("defaultRowCommitVersion", number)]
    columns = {
        "txn": [("appId", text), ("version", number), ("lastUpdated", number)],
        "add": [*file, ("modificationTime", number), ("dataChange", flag), *tracking, ("clusteringProvider", text)],
        "remove": [*file, ("deletionTimestamp", number), ("dataChange", flag), ("extendedFileMetadata", flag), *tracking],
        "metaData": [
            ("id", text), ("name", text), ("description", text), ("format", pa.struct([("provider", text), ("options", texts)])),
            ("schemaString", text), ("partitionColumns", pa.list_(text)), ("configuration", texts), ("createdTime", number),
        ],
        "protocol": [
            ("minReaderVersion", pa.int32()), ("minWriterVersion", pa.int32()),
            ("readerFeatures", pa.list_(text)), ("writerFeatures", pa.list_(text)),
        ],
        "domainMetadata": [("domain", text), ("configuration", text), ("removed", flag)],
    }  # fmt: skip
    return pa.schema([(name, pa.struct(fields)) for name, fields in columns.items()])
