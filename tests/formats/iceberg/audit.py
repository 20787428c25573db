"""An audit of a relocated Iceberg table that imports nothing of the project: fastavro, json, pyarrow and this file.

Every metadata file of the target is decoded (table metadata, manifest lists, manifests, position deletes in Parquet, ORC and
Avro, Puffin footers), searched for places of the source, held against the file of the source that it was made of, and every
length and reference is compared with what lies there. Sources: the Iceberg table specification and the Puffin specification.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.formats.iceberg.audit_files import (
    Table,
    deletes_of,
    describe_deletes,
    field_names,
    metadata_of,
    puffin_of,
    records_of,
    texts_of,
)

__all__ = ["Table", "audit"]

_FILE_PATH_BOUND = 2147483546
_PLACES = {"write.data.path", "write.metadata.path", "write.object-storage.path", "write.folder-storage.path"}
_STATISTICS = ("statistics", "partition-statistics")
_EXT = re.compile(r"ext/[0-9a-f]{32}/[^/]+")
_DELETED, _DATA, _POSITION_DELETES = 2, 0, 1


def audit(target: Table, source: Table | None = None, *, forbidden: Iterable[str] = (), dropped: Iterable[int] = ()) -> list[str]:
    """What is wrong with ``target``: an empty list when nothing is.

    ``forbidden``: places of the source that no decoded metadata may hold. ``source``: what the target was made of; without it
    only the target's own consistency is looked at. ``dropped``: snapshots that the target leaves out on purpose.
    """
    run = _Audit(target, source, tuple(forbidden), frozenset(dropped))
    run.metadata()
    return run.findings


def _same(one: Any, other: Any) -> bool:
    return one == other or repr(one) == repr(other)


@dataclass
class _Audit:
    target: Table
    source: Table | None
    forbidden: tuple[str, ...]
    dropped: frozenset[int]
    findings: list[str] = field(default_factory=list)
    pairs: dict[str, str] = field(default_factory=dict)
    data_files: set[str] = field(default_factory=set)
    manifests: dict[str, str | None] = field(default_factory=dict)
    location: str = ""
    deletes: list[tuple[dict[str, Any], dict[str, Any] | None, dict[int, str]]] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.findings.append(text)

    # ---- table metadata ----

    def metadata(self) -> None:
        made = metadata_of(self.target.root)
        self.search(made, self.target.root.name)
        self.location = str(made["location"]).rstrip("/")
        was = metadata_of(self.source.root) if self.source else None
        if was is not None:
            self.compare_metadata(_without(was, self.dropped), made)
        self.hint()
        for entry in made.get("metadata-log") or ():
            self.exists(entry["metadata-file"], "metadata-log")
        self.statistics(made, was)
        before = {raw["snapshot-id"]: raw for raw in (was or {}).get("snapshots") or ()}
        for raw in made.get("snapshots") or ():
            self.snapshot(raw, before.get(raw["snapshot-id"]))
        for path, stated in self.manifests.items():
            self.manifest(path, stated)
        for one, other, names in self.deletes:
            self.delete_file(one, other, names)
        for crc in self.target.folder.rglob(".*.crc"):
            self.say(f"{crc.name}: a checksum file of a rewritten file was copied")

    def compare_metadata(self, was: dict[str, Any], made: dict[str, Any]) -> None:
        for key in was.keys() | made.keys():
            if key in ("location", "metadata-log", "properties", "snapshots", *_STATISTICS):
                continue
            if not _same(was.get(key), made.get(key)) or (key in was) != (key in made):
                self.say(f"metadata: {key} was {was.get(key)!r}, is {made.get(key)!r}")
        lists = ("snapshots", {"manifest-list", "manifests"}), *((name, {"statistics-path"}) for name in _STATISTICS)
        for key, mapped in lists:
            before, after = [[_less(raw, mapped) for raw in side.get(key) or ()] for side in (was, made)]
            if not _same(before, after):
                self.say(f"metadata: {key} differ beyond their paths")
        one, other = [_less(side.get("properties") or {}, _PLACES) for side in (was, made)]
        if one != other:
            self.say(f"metadata: properties differ: {sorted(set(map(str, one.items())) ^ set(map(str, other.items())))}")
        for name in _PLACES & (made.get("properties") or {}).keys():
            value = str(made["properties"][name])
            if (":" in value or value.startswith("/")) and self.target.find(f"{value}/x") is None:
                self.say(f"metadata: property {name} leads outside the target: {value}")

    def hint(self) -> None:
        hint = self.target.root.parent / "version-hint.text"
        name = self.target.root.name
        if re.fullmatch(r"v\d+\.metadata\.json", name) and hint.exists() and name != f"v{int(hint.read_text())}.metadata.json":
            self.say(f"version-hint.text says {hint.read_text()!r}, the root is {name}")

    def statistics(self, made: dict[str, Any], was: dict[str, Any] | None) -> None:
        for key in _STATISTICS:
            for number, raw in enumerate(made.get(key) or ()):
                path = self.exists(raw["statistics-path"], key)
                if path is None:
                    continue
                if raw.get("file-size-in-bytes") not in (None, path.stat().st_size):
                    self.say(f"{key} {path.name}: size {raw['file-size-in-bytes']} is stated, {path.stat().st_size} is there")
                if was is not None:
                    self.same_bytes(was[key][number]["statistics-path"], path)

    # ---- manifest lists and manifests ----

    def snapshot(self, made: dict[str, Any], was: dict[str, Any] | None) -> None:
        if made.get("manifest-list") is None:
            before = (was or made)["manifests"]
            for path, stated in zip(made["manifests"], before, strict=True):
                self.manifests.setdefault(path, stated if was else None)
                self.exists(path, "snapshot.manifests")
            return
        path = self.exists(made["manifest-list"], "manifest-list")
        if path is None:
            return
        header, records = records_of(path)
        names = field_names(json.loads(header["avro.schema"]), {})
        self.search(header, f"{path.name} header")
        self.search(records, path.name)
        before = self.origin(was["manifest-list"] if was else None, made["manifest-list"])
        old = self.compare_avro(before, path, header, records) if before else [None] * len(records)
        where, length = names.get(500, "manifest_path"), names.get(501, "manifest_length")
        for number, (record, other) in enumerate(zip(records, old, strict=True)):
            manifest = self.exists(record[where], path.name)
            self.manifests.setdefault(record[where], other[where] if other else None)
            if manifest is not None and record[length] != manifest.stat().st_size:
                self.say(
                    f"{path.name}[{number}]: manifest_length {record[length]}, {manifest.name} has {manifest.stat().st_size}"
                )
            if other is not None and not _same(_less(record, {where, length}), _less(other, {where, length})):
                self.say(f"{path.name}[{number}]: an unmapped field differs: {record} was {other}")

    def manifest(self, stated: str, stated_at_source: str | None) -> None:
        path = self.target.file(stated)
        if path is None or not path.is_file():
            return
        header, records = records_of(path)
        names = field_names(json.loads(header["avro.schema"]), {})
        self.search(header, f"{path.name} header")
        before = self.origin(stated_at_source, stated)
        old = self.compare_avro(before, path, header, records) if before else [None] * len(records)
        for number, (record, other) in enumerate(zip(records, old, strict=True)):
            self.entry(f"{path.name}[{number}]", record, other, names)

    def entry(self, where: str, record: dict[str, Any], old: dict[str, Any] | None, names: dict[int, str]) -> None:
        inner = names.get(2, "data_file")
        made, was = record[inner], old[inner] if old else None
        content = made.get(names.get(134, "content")) or _DATA
        path, bounds = names.get(100, "file_path"), {names.get(125, "lower_bounds"), names.get(128, "upper_bounds")}
        user = bounds | {names.get(102, "partition")}
        self.search({key: value for key, value in made.items() if key not in user}, where)
        if was is not None:
            self.remember(was[path], made[path])
            mapped = {path, names.get(143, "referenced_data_file")}
            if content == _POSITION_DELETES:
                mapped |= {names.get(104, "file_size_in_bytes"), names.get(132, "split_offsets"), names.get(108, "column_sizes")}
                self.user_bounds(where, made, was, bounds)
                mapped |= bounds
            if not _same(_less(made, mapped), _less(was, mapped)) or not _same(_less(record, {inner}), _less(old or {}, {inner})):
                self.say(f"{where}: an unmapped field differs: {record} was {old}")
        if content == _DATA:
            self.data_files.add(made[path])
        if record[names.get(0, "status")] == _DELETED:
            return
        file = self.exists(made[path], where)
        if file is None:
            return
        self.size(where, made, was, file, names, content)
        if content == _POSITION_DELETES:
            self.deletes.append((made, was, names))
        elif was is not None:
            self.same_bytes(was[path], file)

    def user_bounds(self, where: str, made: dict[str, Any], was: dict[str, Any], bounds: set[str]) -> None:
        """Bounds of a position-delete file are the source's, but for those of ``file_path``."""
        for name in bounds:
            one, other = [
                {item["key"]: item["value"] for item in side.get(name) or () if item["key"] != _FILE_PATH_BOUND}
                for side in (made, was)
            ]
            if one != other:
                self.say(f"{where}: {name} of user columns differ")

    def size(
        self, where: str, made: dict[str, Any], was: dict[str, Any] | None, file: Path, names: dict[int, str], content: int
    ) -> None:
        stated, real = made[names.get(104, "file_size_in_bytes")], file.stat().st_size
        if stated == real:
            return
        carried = was is not None and content != _POSITION_DELETES and was[names.get(104, "file_size_in_bytes")] == stated
        if not carried:
            self.say(f"{where}: file_size_in_bytes {stated}, {file.name} has {real}")

    # ---- delete files ----

    def delete_file(self, made: dict[str, Any], was: dict[str, Any] | None, names: dict[int, str]) -> None:
        path, referenced = names.get(100, "file_path"), names.get(143, "referenced_data_file")
        kind = str(made[names.get(101, "file_format")]).upper()
        file = self.target.file(made[path])
        before = self.source.file(was[path]) if was is not None and self.source else None
        if file is None:
            return
        named = made.get(referenced)
        if named is not None and named not in self.data_files:
            self.say(f"{file.name}: referenced_data_file {named} is no data file of the table")
        if was is not None and was.get(referenced) is not None and self.pairs.get(was[referenced], named) != named:
            self.say(f"{file.name}: referenced_data_file {named} is not where {was[referenced]} went")
        if kind == "PUFFIN":
            self.puffin(made, was, names, file, before)
            return
        self.search(describe_deletes(file, kind), file.name)
        rows = deletes_of(file, kind)
        if rows != sorted(rows, key=lambda row: (row[0].encode(), row[1])):
            self.say(f"{file.name}: not sorted by (file_path, pos)")
        for stated in {row[0] for row in rows} - self.data_files:
            if was is None or self.target.find(stated) is None:
                self.say(f"{file.name}: deletes rows of {stated}, which is no data file of the table")
        self.path_bounds(file.name, made, was, names, sorted({row[0] for row in rows}))
        if before is not None:
            old = sorted((self.where_to(stated), pos) for stated, pos in deletes_of(before, kind))
            if old != sorted(rows):
                self.say(f"{file.name}: deletes other rows than {before.name} at the source")
            if describe_deletes(before, kind) != describe_deletes(file, kind):
                self.say(f"{file.name}: schema or key-values differ from the source's")

    def path_bounds(
        self, where: str, made: dict[str, Any], was: dict[str, Any] | None, names: dict[int, str], paths: list[str]
    ) -> None:
        lower, upper = _bound(made, names.get(125, "lower_bounds")), _bound(made, names.get(128, "upper_bounds"))
        if paths and lower is not None and lower > paths[0].encode():
            self.say(f"{where}: the lower bound of file_path {lower!r} is above its content {paths[0]}")
        if paths and upper is not None and upper < paths[-1].encode():
            self.say(f"{where}: the upper bound of file_path {upper!r} is below its content {paths[-1]}")
        if was is None:
            return
        old = _bound(was, names.get(125, "lower_bounds"))
        one_file = old is not None and old == _bound(was, names.get(128, "upper_bounds")) and old.decode() in self.pairs
        if one_file and not lower == upper == paths[0].encode():
            self.say(f"{where}: file_path has one value at the source, its bounds here are {lower!r} and {upper!r}")

    def puffin(
        self, made: dict[str, Any], was: dict[str, Any] | None, names: dict[int, str], file: Path, before: Path | None
    ) -> None:
        footer, blobs = puffin_of(file)
        self.search(footer, f"{file.name} footer")
        offset, length = made[names.get(144, "content_offset")], made[names.get(145, "content_size_in_bytes")]
        mine = [blob for blob in footer["blobs"] if (blob["offset"], blob["length"]) == (offset, length)]
        if not mine:
            self.say(f"{file.name}: no blob lies at content_offset {offset} with {length} bytes")
        for blob in footer["blobs"]:
            named = blob.get("properties", {}).get("referenced-data-file")
            if named is not None and named not in self.data_files:
                self.say(f"{file.name}: a blob's referenced-data-file {named} is no data file of the table")
        if mine and mine[0].get("properties", {}).get("referenced-data-file") != made[names.get(143, "referenced_data_file")]:
            self.say(f"{file.name}: the blob and the manifest reference different data files")
        if before is not None:
            old, old_blobs = puffin_of(before)
            if blobs != old_blobs:
                self.say(f"{file.name}: the blobs are not the source's")
            if _unreferenced(old) != _unreferenced(footer):
                self.say(f"{file.name}: the footer differs beyond referenced-data-file")

    # ---- what all of them need ----

    def search(self, value: Any, where: str) -> None:
        own = sorted(self.target.places, key=len, reverse=True)
        for way, text in texts_of(value, ""):
            rest = text
            for place in own:
                rest = rest.replace(place, "").replace(place.replace("/", "\\/"), "")
            for prefix in self.forbidden:
                if prefix in rest:
                    self.say(f"{where}{way}: still names {prefix}: {text[:200]}")

    def exists(self, stated: str, where: str) -> Path | None:
        file = self.target.file(stated)
        if file is None:
            self.say(f"{where}: {stated} lies outside the target")
        elif not file.is_file():
            self.say(f"{where}: {stated} does not exist")
        else:
            return file
        return None

    def origin(self, stated: str | None, made: str) -> Path | None:
        if stated is None or self.source is None:
            return None
        self.remember(stated, made)
        return self.source.file(stated)

    def remember(self, stated: str, made: str) -> None:
        """``stated`` of the source went to ``made``: below the location under its name, else ext/, and never two to one place."""
        if self.pairs.setdefault(stated, made) != made:
            self.say(f"{stated}: goes to {self.pairs[stated]} and to {made}")
        was, now = (self.source.find(stated) if self.source else None), self.target.find(made)
        if now is None or was is None:
            return
        inside = self.source is not None and was[0] == self.source.folder
        if (inside and now[1] != was[1]) or (not inside and not (_EXT.fullmatch(now[1]) or now[1] == was[1])):
            self.say(f"{stated}: went to {now[1]}")

    def where_to(self, stated: str) -> str:
        """Where a data file of the source went; for one that no manifest names any more, where it would have gone."""
        found = self.source.find(stated) if self.source else None
        if stated in self.pairs or found is None or self.source is None or found[0] != self.source.folder:
            return self.pairs.get(stated, stated)
        return f"{self.location}/{found[1]}"

    def same_bytes(self, stated: str, file: Path) -> None:
        before = self.source.file(stated) if self.source else None
        if before is None or before.read_bytes() != file.read_bytes():
            self.say(f"{file.name}: is not the source's {stated} byte for byte")

    def compare_avro(self, before: Path, path: Path, header: dict[str, Any], records: list[Any]) -> list[Any]:
        """The source's records, as many as the target's; the headers are held against each other."""
        old_header, old = records_of(before)
        if _parsed(old_header) != _parsed(header):
            self.say(f"{path.name}: the header's key-values differ from the source's")
        if len(old) != len(records):
            self.say(f"{path.name}: {len(records)} records, {len(old)} at the source")
            return [None] * len(records)
        return old


def _parsed(header: dict[str, Any]) -> dict[str, Any]:
    return header | {"avro.schema": json.loads(header["avro.schema"])}


def _less(record: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in set(names)}


def _bound(data_file: dict[str, Any], name: str) -> bytes | None:
    found: bytes | None = next((item["value"] for item in data_file.get(name) or () if item["key"] == _FILE_PATH_BOUND), None)
    return found


def _unreferenced(footer: dict[str, Any]) -> dict[str, Any]:
    blobs = [blob | {"properties": _less(blob.get("properties", {}), {"referenced-data-file"})} for blob in footer["blobs"]]
    return footer | {"blobs": blobs}


def _without(metadata: dict[str, Any], dropped: frozenset[int]) -> dict[str, Any]:
    """What the metadata should say without those snapshots."""
    kept = dict(metadata)
    for key in ("snapshots", "snapshot-log", *_STATISTICS):
        if dropped and key in kept:
            kept[key] = [raw for raw in kept[key] if raw.get("snapshot-id") not in dropped]
    return kept
