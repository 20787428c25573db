"""The commit that brings a REST catalog's table from one metadata to another: requirements and updates, from raw JSON.

A commit asserts every ref, the ids that the difference builds on and the table's uuid, so one that somebody else made in between
makes it fail as a whole. Source: Apache Iceberg's REST catalog specification, ``CommitTableRequest``. What the specification has
no update for is refused by name. The server's ``snapshot-log`` records its own commits: heads of main that came and went between
two of them are snapshots of the table, but not entries of that log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lakehouse.errors import Unsupported

__all__ = ["commit_request", "differences"]

Json = dict[str, Any]
NAME_MAPPING = "schema.name-mapping.default"


@dataclass(frozen=True, slots=True)
class _State:
    """What of a table's metadata a commit can change, by id; older spellings of format version 1 read as the newer ones."""

    uuid: str | None
    format_version: int
    location: str
    last_sequence_number: int
    schemas: Mapping[int, Json]
    current_schema: int
    specs: Mapping[int, Json]
    default_spec: int
    orders: Mapping[int, Json]
    default_order: int
    snapshots: Mapping[int, Json]
    refs: Mapping[str, Json]
    properties: Mapping[str, str]
    statistics: Mapping[int, Json]
    partition_statistics: Mapping[int, Json]


def commit_request(identifier: Json, current: Json, wanted: Json) -> Json:
    """The body of ``POST …/tables/T`` after which the table that is ``current`` is ``wanted``.

    ``identifier`` is the request's own (``namespace``, ``name``). Raises `Unsupported` naming what a commit cannot express.
    """
    now, then = _state(current), _state(wanted)
    if now.uuid != then.uuid:
        raise Unsupported(f"a commit cannot make the table {now.uuid} the table {then.uuid}: register it under another name")
    if then.format_version < now.format_version:
        raise Unsupported(
            f"a commit cannot take format version {now.format_version} back to {then.format_version}; a catalog that swaps can"
        )
    return {
        "identifier": identifier,
        "requirements": list(_requirements(current, now, then)),
        "updates": list(_updates(wanted, now, then)),
    }


def differences(found: Json, wanted: Json, *, settings: bool = False) -> list[str]:
    """What of ``found`` is not as ``wanted``: the uuid, schemas, partition specs, refs and snapshots, each by name and id.

    ``settings``: also the properties that ``wanted`` states, the defaults and the statistics, without which a commit of ours has
    not been made. Servers add properties of their own, which is no difference.
    """
    now, then = _state(found), _state(wanted)
    wrong = [] if now.uuid == then.uuid else [f"table-uuid {now.uuid}, not {then.uuid}"]
    for word, have, want, same in (
        ("schema", now.schemas, then.schemas, _same_schema),
        ("partition spec", now.specs, then.specs, _same_spec),
        ("ref", now.refs, then.refs, _same_ref),
        ("snapshot", now.snapshots, then.snapshots, _same_snapshot),
    ):
        wrong += [f"{word} {key}" for key in sorted({*have, *want}, key=str) if not _both(have, want, key, same)]
    if now.current_schema != then.current_schema:
        wrong.append(f"current schema {now.current_schema}, not {then.current_schema}")
    if settings:
        wrong += [f"property {key}" for key, value in then.properties.items() if now.properties.get(key) != value]
        wrong += [f"statistics of {key}" for key, entry in then.statistics.items() if now.statistics.get(key) != entry]
        if (now.default_spec, now.default_order) != (then.default_spec, then.default_order):
            wrong.append("the default partition spec or sort order")
    return wrong


def _both(have: Mapping[Any, Json], want: Mapping[Any, Json], key: Any, same: Callable[[Json, Json], bool]) -> bool:
    return key in have and key in want and same(have[key], want[key])


def _requirements(current: Json, now: _State, then: _State) -> Iterator[Json]:
    if now.uuid is not None:
        yield {"type": "assert-table-uuid", "uuid": now.uuid}
    for name in sorted({*now.refs, *then.refs, "main"}):
        yield {
            "type": "assert-ref-snapshot-id",
            "ref": name,
            "snapshot-id": now.refs[name]["snapshot-id"] if name in now.refs else None,
        }
    yield {"type": "assert-current-schema-id", "current-schema-id": now.current_schema}
    yield {"type": "assert-default-spec-id", "default-spec-id": now.default_spec}
    yield {"type": "assert-default-sort-order-id", "default-sort-order-id": now.default_order}
    if "last-column-id" in current:
        yield {"type": "assert-last-assigned-field-id", "last-assigned-field-id": current["last-column-id"]}
    if "last-partition-id" in current:
        yield {"type": "assert-last-assigned-partition-id", "last-assigned-partition-id": current["last-partition-id"]}


def _updates(wanted: Json, now: _State, then: _State) -> Iterator[Json]:
    if then.format_version > now.format_version:
        yield {"action": "upgrade-format-version", "format-version": then.format_version}
    if then.location != now.location:
        yield {"action": "set-location", "location": then.location}
    yield from _schema_updates(wanted, now, then)
    yield from _snapshot_updates(now, then)
    for word, have, want in (
        ("statistics", now.statistics, then.statistics),
        ("partition-statistics", now.partition_statistics, then.partition_statistics),
    ):
        for key, entry in want.items():
            if have.get(key) != entry:
                yield {"action": f"set-{word}", "snapshot-id": key, word: entry}
        yield from ({"action": f"remove-{word}", "snapshot-id": key} for key in have if key not in want and key in then.snapshots)
    if gone := [key for key in now.specs if key not in then.specs]:
        yield {"action": "remove-partition-specs", "spec-ids": gone}
    if gone := [key for key in now.schemas if key not in then.schemas]:
        yield {"action": "remove-schemas", "schema-ids": gone}
    # Servers keep the name mapping in step with a new schema by themselves, so it is stated again. Properties come last for that.
    stale = {NAME_MAPPING} if any(key not in now.schemas for key in then.schemas) else set()
    changed = {key: value for key, value in then.properties.items() if now.properties.get(key) != value or key in stale}
    if changed:
        yield {"action": "set-properties", "updates": changed}
    if removed := sorted(key for key in now.properties if key not in then.properties):
        yield {"action": "remove-properties", "removals": removed}


def _schema_updates(wanted: Json, now: _State, then: _State) -> Iterator[Json]:
    """Schemas, partition specs and sort orders. Servers number what is added, so new ids must be those that they will give."""
    for key in _added("schema", now.schemas, then.schemas, _same_schema):
        yield {"action": "add-schema", "schema": then.schemas[key], "last-column-id": wanted["last-column-id"]}
    if then.current_schema != now.current_schema:
        yield {"action": "set-current-schema", "schema-id": then.current_schema}
    for key in _added("partition spec", now.specs, then.specs, _same_spec):
        yield {"action": "add-spec", "spec": then.specs[key]}
    if then.default_spec != now.default_spec:
        yield {"action": "set-default-spec", "spec-id": then.default_spec}
    for key in _added("sort order", now.orders, then.orders, _same_order):
        yield {"action": "add-sort-order", "sort-order": then.orders[key]}
    if then.default_order != now.default_order:
        yield {"action": "set-default-sort-order", "sort-order-id": then.default_order}
    if gone := [key for key in now.orders if key not in then.orders and key != 0]:
        raise Unsupported(f"a commit cannot remove the sort orders {gone}; a catalog that swaps can")


def _added(word: str, have: Mapping[int, Json], want: Mapping[int, Json], same: Callable[[Json, Json], bool]) -> list[int]:
    """The ids of ``want`` that are new, in order."""
    for key in sorted(have.keys() & want.keys()):
        if not same(have[key], want[key]):
            raise Unsupported(f"a commit cannot change the {word} {key}: the catalog's has the same id and other content")
    new = sorted(want.keys() - have.keys())
    first = max(have, default=-1) + 1
    if new != list(range(first, first + len(new))):
        raise Unsupported(f"a commit cannot add a {word} of the id {new[0]}: the catalog gives new ones the ids from {first} on")
    twin = next((key for key in new if any(same({**want[key], **_no_id(have[old])}, have[old]) for old in have)), None)
    if twin is not None:
        raise Unsupported(f"a commit cannot add the {word} {twin} beside an equal one: the catalog would give it that one's id")
    return new


def _no_id(entry: Json) -> Json:
    """The id that ``entry`` has, to be laid over another entry."""
    return {key: entry[key] for key in ("schema-id", "spec-id", "order-id") if key in entry}


def _snapshot_updates(now: _State, then: _State) -> Iterator[Json]:
    """New snapshots, oldest first; then the refs, which may name them; then what is gone, which no ref holds any more."""
    for key in sorted(now.snapshots.keys() & then.snapshots.keys()):
        if not _same_snapshot(now.snapshots[key], then.snapshots[key]):
            raise Unsupported(f"a commit cannot change the snapshot {key}: the catalog's has the same id and other content")
    new = [snapshot for key, snapshot in then.snapshots.items() if key not in now.snapshots]
    new.sort(key=lambda snapshot: (snapshot.get("sequence-number", 0), snapshot["timestamp-ms"]))
    for snapshot in new:
        number = snapshot.get("sequence-number", 0)
        if "manifest-list" not in snapshot:
            raise Unsupported(
                f"a commit cannot add the snapshot {snapshot['snapshot-id']}: it has no manifest list (format version 1)"
            )
        if then.format_version > 1 and number <= now.last_sequence_number and snapshot.get("parent-snapshot-id") is not None:
            raise Unsupported(
                f"a commit cannot add the snapshot {snapshot['snapshot-id']}: its sequence number {number} is not above the "
                f"table's {now.last_sequence_number}"
            )
        yield {"action": "add-snapshot", "snapshot": snapshot}
    for name, ref in sorted(then.refs.items()):
        if name not in now.refs or not _same_ref(now.refs[name], ref):
            yield {"action": "set-snapshot-ref", "ref-name": name, **ref}
    for name in sorted(now.refs.keys() - then.refs.keys()):
        yield {"action": "remove-snapshot-ref", "ref-name": name}
    if gone := [key for key in now.snapshots if key not in then.snapshots]:
        yield {"action": "remove-snapshots", "snapshot-ids": gone}


def _same_schema(one: Json, other: Json) -> bool:
    return _type(one) == _type(other) and sorted(one.get("identifier-field-ids") or ()) == sorted(
        other.get("identifier-field-ids") or ()
    )


def _type(value: Any) -> Any:
    """A type of a schema without what does not change how data is read (``doc``) and without what says the default."""
    if isinstance(value, list):
        return [_type(inner) for inner in value]
    if isinstance(value, dict):
        return {
            key: _type(inner) for key, inner in value.items() if key not in ("doc", "identifier-field-ids") and inner is not None
        }
    return value


def _same_spec(one: Json, other: Json) -> bool:
    return bool(one.get("fields", []) == other.get("fields", []))


def _same_order(one: Json, other: Json) -> bool:
    return bool(one.get("fields", []) == other.get("fields", []))


def _same_ref(one: Json, other: Json) -> bool:
    return {key: value for key, value in one.items() if value is not None} == {
        key: value for key, value in other.items() if value is not None
    }


def _same_snapshot(one: Json, other: Json) -> bool:
    kept = ("parent-snapshot-id", "manifest-list", "first-row-id")
    return all(one.get(key) == other.get(key) for key in kept) and one.get("sequence-number", 0) == other.get(
        "sequence-number", 0
    )


def _state(metadata: Json) -> _State:
    schemas = metadata.get("schemas") or [{"schema-id": 0, **metadata["schema"]}]
    specs = metadata.get("partition-specs") or [{"spec-id": 0, "fields": metadata.get("partition-spec", [])}]
    orders = metadata.get("sort-orders") or [{"order-id": 0, "fields": []}]
    snapshots = metadata.get("snapshots") or []
    refs = dict(metadata.get("refs") or {})
    head = metadata.get("current-snapshot-id")
    if head not in (None, -1) and "main" not in refs:
        refs["main"] = {"snapshot-id": head, "type": "branch"}
    return _State(
        uuid=metadata.get("table-uuid"),
        format_version=int(metadata["format-version"]),
        location=metadata["location"],
        last_sequence_number=metadata.get("last-sequence-number", 0),
        schemas={entry.get("schema-id", 0): entry for entry in schemas},
        current_schema=metadata.get("current-schema-id", 0),
        specs={entry["spec-id"]: entry for entry in specs},
        default_spec=metadata.get("default-spec-id", 0),
        orders={entry["order-id"]: entry for entry in orders},
        default_order=metadata.get("default-sort-order-id", 0),
        snapshots={entry["snapshot-id"]: entry for entry in snapshots},
        refs=refs,
        properties=metadata.get("properties") or {},
        statistics={entry["snapshot-id"]: entry for entry in metadata.get("statistics") or []},
        partition_statistics={entry["snapshot-id"]: entry for entry in metadata.get("partition-statistics") or []},
    )
