"""Table metadata as JSON: what it refers to, and the same for another place.

It is edited as JSON, never through a model, so unknown keys survive. Spec: "Table Metadata Fields", "Snapshots".
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lakehouse.errors import NotFound, Unsupported
from lakehouse.locations import Locations, is_address
from lakehouse.table import Remark

__all__ = ["Snapshot", "check_metadata", "moment", "relocated", "snapshots_of", "statistics_of", "to_bytes", "without_snapshots"]

_NEWEST = 3
_STATISTICS = ("statistics", "partition-statistics")
_PATHS = ("write.data.path", "write.metadata.path", "write.object-storage.path", "write.folder-storage.path")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot: its manifest list, or (version 1 only) the manifests that it names itself.

    ``at``: its time in milliseconds. ``has_files``: its summary says that it reads some.
    """

    id: int
    parent: int | None
    manifest_list: str | None
    manifests: tuple[str, ...] = ()
    at: int = 0
    has_files: bool = False


def check_metadata(metadata: Mapping[str, Any], where: str) -> None:
    """Raise `Unsupported` for what cannot be carried, by name, and `NotFound` for what is no table metadata."""
    version = metadata.get("format-version")
    if not isinstance(version, int) or version < 1 or not isinstance(metadata.get("location"), str):
        raise NotFound(f"{where}: is no table metadata (no format-version or no location)")
    _check_shape(metadata, where)
    if version > _NEWEST:
        raise Unsupported(f"{where}: format version {version}; versions 1 to {_NEWEST} are carried")
    keys = [snapshot for snapshot in metadata.get("snapshots") or () if snapshot.get("key-id") is not None]
    if metadata.get("encryption-keys") or keys or (metadata.get("properties") or {}).get("encryption.key-id"):
        raise Unsupported(f"{where}: the table is encrypted (encryption-keys, key-id); its manifests cannot be rewritten")


def _check_shape(metadata: Mapping[str, Any], where: str) -> None:
    """Raise `NotFound` where what is read here is not of the kind that the spec says."""
    lists = {name: metadata.get(name) or [] for name in ("snapshots", "snapshot-log", "metadata-log", *_STATISTICS)}
    maps = {name: metadata.get(name) or {} for name in ("refs", "properties")}
    wrong = [name for name, value in lists.items() if not isinstance(value, list) or not all(isinstance(e, dict) for e in value)]
    wrong += [name for name, value in maps.items() if not isinstance(value, dict)]
    for raw in lists["snapshots"] if not wrong else ():
        named = [raw.get("manifest-list"), *(raw.get("manifests") or ())]
        wrong += ["snapshots"] if not all(isinstance(path, str | None) for path in named) else []
    if not wrong:
        refs, places = maps["refs"].values(), [entry for kind in _STATISTICS for entry in lists[kind]]
        wrong += ["refs"] if not all(isinstance(ref, dict) for ref in refs) else []
        wrong += ["statistics"] if not all(isinstance(entry.get("statistics-path"), str) for entry in places) else []
        wrong += ["snapshots"] if not all(isinstance(raw.get("summary") or {}, dict) for raw in lists["snapshots"]) else []
    if wrong:
        raise NotFound(f"{where}: its {wrong[0]} is not what a table's metadata holds: it is damaged")


def moment(milliseconds: object) -> datetime | None:
    """A time of the metadata, or None where it is none."""
    if not isinstance(milliseconds, int):
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def snapshots_of(metadata: Mapping[str, Any], where: str) -> list[Snapshot]:
    """The retained snapshots, in the file's order. Raises `NotFound` for one that names neither a list nor manifests."""
    found = []
    for raw in metadata.get("snapshots") or ():
        manifest_list, manifests = raw.get("manifest-list"), raw.get("manifests")
        if "snapshot-id" not in raw or (manifest_list is None and manifests is None):
            raise NotFound(f"{where}: a snapshot has no id or names no manifests: the metadata is damaged")
        named = () if manifest_list is not None else tuple(manifests)
        total = str((raw.get("summary") or {}).get("total-data-files", "0"))
        at, has_files = raw.get("timestamp-ms") or 0, total.isdecimal() and int(total) > 0
        found.append(
            Snapshot(
                raw["snapshot-id"],
                raw.get("parent-snapshot-id"),
                manifest_list,
                named,
                at,
                has_files,
            )
        )
    return found


def statistics_of(metadata: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The stated path and size in bytes of every statistics file."""
    for kind in _STATISTICS:
        for raw in metadata.get(kind) or ():
            yield raw["statistics-path"], raw.get("file-size-in-bytes") or 0


def without_snapshots(metadata: dict[str, Any], gone: Collection[int]) -> dict[str, Any]:
    """The metadata without some older snapshots and all that speaks of them."""
    kept = dict(metadata)
    for key in ("snapshots", "snapshot-log", *_STATISTICS):
        if key in kept:
            kept[key] = [raw for raw in kept[key] or () if raw.get("snapshot-id") not in gone]
    if "refs" in kept:
        kept["refs"] = {name: ref for name, ref in (kept["refs"] or {}).items() if ref.get("snapshot-id") not in gone}
    return kept


def relocated(
    metadata: dict[str, Any],
    locations: Locations,
    published: Mapping[str, str],
    lost_statistics: Collection[str],
    *,
    by_path: bool,
) -> tuple[dict[str, Any], list[Remark]]:
    """The metadata for the target, and what must be said of it.

    ``published``: the addresses of versions that were published at the target, by the name of the source's file; all other
    entries of the metadata-log are dropped. ``lost_statistics``: stated paths whose files are gone. ``by_path``: readers find
    the table by path, which knows no ``write.metadata.path``.
    """
    made, remarks = dict(metadata), []
    made["location"] = locations.target
    if metadata.get("snapshots"):
        made["snapshots"] = [_snapshot(raw, locations) for raw in metadata["snapshots"]]
    log = metadata.get("metadata-log") or []
    names = [str(entry.get("metadata-file", "")).rpartition("/")[2] for entry in log]
    if "metadata-log" in metadata:
        made["metadata-log"] = [
            entry | {"metadata-file": published[name]} for entry, name in zip(log, names, strict=True) if name in published
        ]
    dropped = [name for name in names if name not in published]
    if dropped:
        span = dropped[0] if len(dropped) == 1 else f"{dropped[0]} to {dropped[-1]}"
        text = f"metadata-log: {len(dropped)} file(s) of versions not published here are left out, {span}"
        remarks.append(Remark("history", text, ", ".join(dropped)))
    for kind in _STATISTICS:
        if kind in metadata:
            made[kind] = [
                raw | {"statistics-path": locations.address(raw["statistics-path"])}
                for raw in metadata[kind] or ()
                if raw["statistics-path"] not in lost_statistics
            ]
    lost = (f"the statistics file {path} is gone at the source; its entry was left out" for path in sorted(lost_statistics))
    remarks += [Remark("history", message) for message in lost]
    if isinstance(metadata.get("properties"), dict):
        made["properties"] = _properties(metadata["properties"], locations, remarks, by_path=by_path)
    return made, remarks


def _snapshot(raw: dict[str, Any], locations: Locations) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    if raw.get("manifest-list") is not None:
        changed["manifest-list"] = locations.address(raw["manifest-list"])
    if raw.get("manifests") is not None:
        changed["manifests"] = [locations.address(path) for path in raw["manifests"]]
    return raw | changed


def _properties(properties: dict[str, Any], locations: Locations, remarks: list[Remark], *, by_path: bool) -> dict[str, Any]:
    """The properties with their places mapped, or removed: a promoted replica must not write into the source."""
    made = {}
    for name, value in properties.items():
        text = str(value)
        if name in _PATHS:
            if name == "write.metadata.path" and by_path:
                remarks.append(
                    Remark("properties", f"{name} = {text} was removed: a table that is found by path keeps metadata/", name)
                )
            elif locations.is_inside(text):
                made[name] = locations.directory(text)
            elif is_address(text) or text.startswith(("/", "file:")):
                remarks.append(Remark("properties", f"{name} = {text} was removed: it leads outside the table", name))
            else:
                made[name] = value
            continue
        made[name] = value
        if locations.is_mentioned(text):
            remarks.append(Remark("properties", f"{name} = {text} still names a place of the source", name))
    return made


def to_bytes(metadata: Mapping[str, Any]) -> bytes:
    """The metadata as it is written: JSON in ASCII without spaces, keys in their order."""
    return json.dumps(metadata, separators=(",", ":")).encode()
