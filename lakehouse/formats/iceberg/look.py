"""What `lake describe` and `lake history` show of an Iceberg table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lakehouse.formats.iceberg.manifest_list import ManifestFile
from lakehouse.formats.iceberg.metadata import Snapshot, moment, statistics_of
from lakehouse.formats.iceberg.tree import POSITION_DELETES, growth, live_entries
from lakehouse.formats.iceberg.version import IcebergVersion
from lakehouse.store import Store
from lakehouse.table import Column, Commit, Description

__all__ = ["description", "history_of"]

_KINDS = {0: "data files", 1: "position deletes", 2: "equality deletes"}


def description(store: Store, version: IcebergVersion) -> Description:
    """Columns and partitions as the metadata states them; counts from the manifests: the current snapshot's files, and those
    that only other snapshots need.
    """
    current = version.metadata.get("current-snapshot-id")
    live, kinds = _files(store, version, [snapshot for snapshot in version.snapshots if snapshot.id == current])
    every, more = _files(store, version, version.snapshots)
    older = {path: size for path, size in every.items() if path not in live}
    schema = _schema(version.metadata)
    return Description(
        format="iceberg",
        version=version.id,
        table_id=version.table_id,
        committed_at=version.committed_at,
        columns=tuple(
            Column(str(f.get("name")), _type_text(f.get("type")), not f.get("required")) for f in schema.get("fields", ())
        ),
        partition_columns=_partitions(version.metadata, schema),
        files=len(live),
        size=sum(live.values()),
        history_files=len(older),
        history_size=sum(older.values()),
        features=_features(version, kinds | more),
        properties={name: str(value) for name, value in (version.metadata.get("properties") or {}).items()},
    )


def history_of(version: IcebergVersion) -> Iterator[Commit]:
    """The retained snapshots, newest first. ``version``: the metadata file of its commit, where the metadata-log still has it."""
    metadata = version.metadata
    log = {
        entry.get("timestamp-ms"): str(entry.get("metadata-file")).rpartition("/")[2]
        for entry in metadata.get("metadata-log") or ()
    }
    log[metadata.get("last-updated-ms")] = version.id
    names: dict[Any, list[str]] = {}
    for name, ref in (metadata.get("refs") or {}).items():
        names.setdefault(ref.get("snapshot-id"), []).append(name)
    for raw in sorted(metadata.get("snapshots") or (), key=lambda raw: raw.get("timestamp-ms") or 0, reverse=True):
        at, summary = raw.get("timestamp-ms"), dict(raw.get("summary") or {})
        details = {"snapshot-id": str(raw.get("snapshot-id"))}
        if raw.get("snapshot-id") in names:
            details["refs"] = ", ".join(sorted(names[raw.get("snapshot-id")]))
        operation = str(summary.pop("operation", ""))
        details |= {key: value if isinstance(value, str) else json.dumps(value) for key, value in summary.items()}
        yield Commit(log.get(at, ""), moment(at), operation, details)


def _files(store: Store, version: IcebergVersion, snapshots: Any) -> tuple[dict[str, int], set[str]]:
    """Path and size of every file that the snapshots read, and which kinds there are."""
    wanted: tuple[Snapshot, ...] = tuple(snapshots)
    manifests: dict[str, ManifestFile] = growth(store, version, None, wanted).manifests
    found: dict[str, int] = {}
    kinds = set()
    for manifest in manifests.values():
        for entry in live_entries(store, version, manifest):
            found[entry.path] = entry.size
            vector = entry.content == POSITION_DELETES and entry.file_format.lower() == "puffin"
            kinds.add("deletion vectors" if vector else _KINDS.get(entry.content, str(entry.content)))
            if entry.file_format.lower() in ("orc", "avro"):
                kinds.add(f"{entry.file_format.lower()} files")
    return found, kinds


def _schema(metadata: dict[str, Any]) -> dict[str, Any]:
    wanted = metadata.get("current-schema-id")
    schemas: list[dict[str, Any]] = metadata.get("schemas") or []
    found = next((schema for schema in schemas if schema.get("schema-id") == wanted), None)
    return found or metadata.get("schema") or {}


def _partitions(metadata: dict[str, Any], schema: dict[str, Any]) -> tuple[str, ...]:
    """The default partition spec as Spark's DDL writes it: ``days(ts)``, ``bucket[4](id)``, or a column's name."""
    specs = metadata.get("partition-specs") or []
    default = next((spec for spec in specs if spec.get("spec-id") == metadata.get("default-spec-id")), None)
    fields = (default or {}).get("fields") if default else metadata.get("partition-spec")
    names = {field.get("id"): str(field.get("name")) for field in schema.get("fields", ())}
    found = []
    for part in fields or ():
        column = names.get(part.get("source-id"), str(part.get("name")))
        transform = str(part.get("transform"))
        found.append(column if transform == "identity" else f"{transform}({column})")
    return tuple(found)


def _features(version: IcebergVersion, kinds: set[str]) -> tuple[str, ...]:
    found = {f"format version {version.metadata.get('format-version')}", *(kinds - {"data files"})}
    refs = (version.metadata.get("refs") or {}).items()
    found |= {"branches" for name, ref in refs if ref.get("type") == "branch" and name != "main"}
    found |= {"tags" for _, ref in refs if ref.get("type") == "tag"}
    found |= {"statistics" for _ in statistics_of(version.metadata)}
    return tuple(sorted(found))


def _type_text(kind: Any) -> str:
    """A type in the spec's words: ``list<long>``, ``struct<a: string>``."""
    if not isinstance(kind, dict):
        return str(kind)
    if kind.get("type") == "list":
        return f"list<{_type_text(kind.get('element'))}>"
    if kind.get("type") == "map":
        return f"map<{_type_text(kind.get('key'))}, {_type_text(kind.get('value'))}>"
    return "struct<" + ", ".join(f"{f.get('name')}: {_type_text(f.get('type'))}" for f in kind.get("fields", ())) + ">"
