"""Whether a table's metadata file agrees with itself.

Iceberg table spec, "Table Metadata Fields", "Snapshots", "Snapshot References", "Schemas", "Partition Specs", "Sort Orders" and
"Row Lineage". Only what the specification demands of every writer counts; what some leave out is not missed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from lakehouse.formats.iceberg.version import IcebergVersion
from lakehouse.reading.examine import Flaw

__all__ = ["metadata_flaws"]

_SKEW_MS = 60_000
"""By how much the clocks of two writers may differ: what Iceberg's own check allows."""
_PARTS = ("element", "key", "value")
_PRIMITIVE = re.compile(
    r"boolean|int|long|float|double|date|time|timestamp(tz)?(_ns)?|string|uuid|binary|unknown|variant"
    r"|(geometry|geography)(\(.*\))?|fixed\[\s*\d+\s*\]|decimal\(\s*\d+\s*,\s*\d+\s*\)"
)
_NONE = (None, -1)
"""How writers say that there is no current snapshot."""


def metadata_flaws(version: IcebergVersion) -> Iterator[Flaw]:
    """What in the metadata file of ``version`` contradicts the rest of it. Kind: ``metadata``."""
    try:
        for message in _contradictions(version.metadata):
            yield Flaw("metadata", version.root, message)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        yield Flaw("metadata", version.root, f"holds what the specification does not allow ({error!r})")


def _contradictions(metadata: Mapping[str, Any]) -> Iterator[str]:
    yield from _current(metadata)
    yield from _snapshots(metadata)
    yield from _snapshot_log(metadata)
    yield from _schemas(metadata)
    yield from _partition_specs(metadata)
    yield from _sort_orders(metadata)
    if metadata["format-version"] >= 3:
        yield from _row_ids(metadata)


def _twice(name: str, values: Iterable[object]) -> Iterator[str]:
    yield from (f"has {count} {name} {value}" for value, count in Counter(values).items() if count > 1)


def _current(metadata: Mapping[str, Any]) -> Iterator[str]:
    """The current snapshot, branches and tags. ``main`` is the current snapshot, where a file has branches at all."""
    known = {raw["snapshot-id"] for raw in metadata.get("snapshots") or ()}
    current, refs = metadata.get("current-snapshot-id"), metadata.get("refs") or {}
    if current not in _NONE and current not in known:
        yield f"has the current-snapshot-id {current}, which is no snapshot of it"
    if "main" in refs and refs["main"]["snapshot-id"] != current:
        yield f"has the current-snapshot-id {current}, and its branch main is at {refs['main']['snapshot-id']}"
    if refs and "main" not in refs and current not in _NONE:
        yield f"has the current-snapshot-id {current}, and no branch main"
    for name, ref in sorted(refs.items()):
        if ref["snapshot-id"] not in known:
            yield f"has the {ref.get('type')} {name} at the snapshot {ref['snapshot-id']}, which is no snapshot of it"
        if ref.get("type") not in ("branch", "tag"):
            yield f"has {name}, which is a {ref.get('type')!r} and neither branch nor tag"


def _snapshots(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Ids, parents, times and sequence numbers. Snapshots that a table of version 1 made have none of those numbers."""
    raws = metadata.get("snapshots") or ()
    by_id = {raw["snapshot-id"]: raw for raw in raws}
    yield from _twice("snapshots", (raw["snapshot-id"] for raw in raws))
    last, updated = metadata.get("last-sequence-number") or 0, metadata.get("last-updated-ms")
    schemas = {schema.get("schema-id") for schema in metadata.get("schemas") or ()}
    if not isinstance(updated, int):
        yield f"has the last-updated-ms {updated!r}"
    for raw in raws:
        name, number = f"snapshot {raw['snapshot-id']}", raw.get("sequence-number") or 0
        if number > last:
            yield f"has {name} with the sequence number {number}, beyond its last-sequence-number {last}"
        parent = by_id.get(raw.get("parent-snapshot-id"))
        if parent is not None and 0 < number <= (parent.get("sequence-number") or 0):
            yield f"has {name} with the sequence number {number}, its parent has {parent['sequence-number']}"
        if isinstance(updated, int) and raw["timestamp-ms"] > updated + _SKEW_MS:
            yield f"has {name} of {raw['timestamp-ms']}, after its last-updated-ms {updated}"
        if raw.get("schema-id") is not None and schemas and raw["schema-id"] not in schemas:
            yield f"has {name} with the schema {raw['schema-id']}, which it does not have"


def _snapshot_log(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Ascending times; what stands last is current."""
    log, current = metadata.get("snapshot-log") or (), metadata.get("current-snapshot-id")
    if log and current not in _NONE and log[-1]["snapshot-id"] != current:
        yield f"has the current-snapshot-id {current}, its snapshot-log ends with {log[-1]['snapshot-id']}"
    for one, other in pairwise(log):
        if other["timestamp-ms"] + _SKEW_MS < one["timestamp-ms"]:
            yield f"has a snapshot-log that goes back in time at {other['timestamp-ms']}"
    for one, other in pairwise(metadata.get("metadata-log") or ()):
        if other["timestamp-ms"] + _SKEW_MS < one["timestamp-ms"]:
            yield f"has a metadata-log that goes back in time at {other['timestamp-ms']}"


def _field_ids(kind: Any) -> Iterator[int]:
    """The ids of all fields in a type, those of elements, keys and values included."""
    if not isinstance(kind, dict):
        return
    for field in kind.get("fields") or ():
        yield field["id"]
        yield from _field_ids(field["type"])
    for part, key in (("element", "element-id"), ("key", "key-id"), ("value", "value-id")):
        if key in kind:
            yield kind[key]
            yield from _field_ids(kind[part])


def _schemas(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Each field has an id of its own, none beyond last-column-id. Version 1 may have but the one schema."""
    schemas = metadata.get("schemas") or ()
    current, last = metadata.get("current-schema-id"), metadata["last-column-id"]
    yield from _twice("schemas", (schema["schema-id"] for schema in schemas))
    if schemas and current not in {schema["schema-id"] for schema in schemas}:
        yield f"has the current-schema-id {current}, which is no schema of it"
    if not schemas and "schema" not in metadata:
        yield "has no schema"
    for schema in schemas or (metadata.get("schema") or {},):
        ids = list(_field_ids(schema))
        yield from _twice(f"fields of schema {schema.get('schema-id', 0)} with the id", ids)
        if max(ids, default=0) > last:
            yield f"has schema {schema.get('schema-id', 0)} with the field {max(ids)}, beyond its last-column-id {last}"
        yield from (f"has schema {schema.get('schema-id', 0)} with {what}" for what in _odd_types(schema, ""))


def _odd_types(kind: Any, name: str) -> Iterator[str]:
    """What in a type, and in those inside of it, no reader knows."""
    if not isinstance(kind, dict):
        if not _PRIMITIVE.fullmatch(kind):
            yield f"{name} of the type {kind!r}, which is not of the specification"
        return
    if kind.get("type", "struct") not in ("struct", "list", "map"):
        yield f"{name} of the type {kind['type']!r}, which is not of the specification"
    inside = [(field["name"], field["type"], field.get("required")) for field in kind.get("fields") or ()]
    inside += [(part, kind[part], kind.get(f"{part}-required", part == "key" or None)) for part in _PARTS if part in kind]
    for inner, inner_kind, required in inside:
        where = f"{name}.{inner}" if name else inner
        if not isinstance(required, bool):
            yield f"{where}, of which it does not say whether it is required"
        yield from _odd_types(inner_kind, where)


def _columns(metadata: Mapping[str, Any]) -> set[int]:
    """The ids of the fields of the current schema."""
    schemas, current = metadata.get("schemas") or (), metadata.get("current-schema-id")
    found = next((schema for schema in schemas if schema["schema-id"] == current), metadata.get("schema") or {})
    return set(_field_ids(found))


def _sources(field: Mapping[str, Any]) -> list[int]:
    return list(field["source-ids"]) if "source-ids" in field else [field["source-id"]]


def _partition_specs(metadata: Mapping[str, Any]) -> Iterator[str]:
    """The default one is there and is of columns that are. Field ids are optional in version 1."""
    specs, default = metadata.get("partition-specs") or (), metadata.get("default-spec-id")
    yield from _twice("partition specs", (spec["spec-id"] for spec in specs))
    if specs and default not in {spec["spec-id"] for spec in specs}:
        yield f"has the default-spec-id {default}, which is no partition spec of it"
    last, columns = metadata.get("last-partition-id"), _columns(metadata)
    for spec in specs:
        ids = [field["field-id"] for field in spec["fields"] if "field-id" in field]
        if last is not None and max(ids, default=0) > last:
            yield f"has partition spec {spec['spec-id']} with the field {max(ids)}, beyond its last-partition-id {last}"
        live = [field for field in spec["fields"] if field["transform"] != "void"] if spec["spec-id"] == default else []
        for field in live:
            if not columns.issuperset(_sources(field)):
                yield f"has the default partition field {field['name']} of the column {_sources(field)}, which its schema lacks"


def _sort_orders(metadata: Mapping[str, Any]) -> Iterator[str]:
    orders, default = metadata.get("sort-orders") or (), metadata.get("default-sort-order-id")
    yield from _twice("sort orders", (order["order-id"] for order in orders))
    if default and default not in {order["order-id"] for order in orders}:
        yield f"has the default-sort-order-id {default}, which is no sort order of it"
    columns = _columns(metadata)
    for order in orders:
        for field in order["fields"] if order["order-id"] == default else ():
            if not columns.issuperset(_sources(field)):
                yield f"has the default sort order of the column {_sources(field)}, which is not in its schema"


def _row_ids(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Row ids are given out once: no snapshot has any beyond next-row-id."""
    following = metadata["next-row-id"]
    for raw in metadata.get("snapshots") or ():
        first, added = raw.get("first-row-id"), raw.get("added-rows") or 0
        if first is not None and first + added > following:
            yield f"has snapshot {raw['snapshot-id']} with the row ids to {first + added - 1}, its next-row-id is {following}"
