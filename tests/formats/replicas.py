"""What the tests of formats share: a small sync that watches every put, and tables made with deltalake."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from lakehouse.errors import Conflict, NotFound
from lakehouse.formats.delta import DeltaFormat, DeltaVersion
from lakehouse.local_store import LocalStore
from lakehouse.store import Buffer, ObjectInfo
from lakehouse.table import Base, Staged
from lakehouse.url import parse

DELTA = DeltaFormat()
Seen = tuple[int, list[int]] | str


class Killed(Exception):
    """The test stopped a sync here."""


class WatchedStore(LocalStore):
    """A LocalStore that calls ``watch`` after each put, and notes the paths put."""

    def __init__(self, folder: Path, watch: Callable[[str], None] = lambda path: None) -> None:
        super().__init__(parse(str(folder)))
        self.paths: list[str] = []
        self.watch = watch

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        info = super().put(path, data, size=size, if_absent=if_absent)
        self.paths.append(path)
        self.watch(path)
        return info


def local(folder: Path) -> LocalStore:
    return LocalStore(parse(str(folder)))


def table(values: list[int]) -> Any:
    import pyarrow as pa

    return pa.table({"id": pa.array(values, pa.int64())})


def append(folder: Path, values: list[int], mode: Literal["append", "overwrite"] = "append") -> None:
    if mode == "append":
        write_deltalake(str(folder), table(values), mode="append")
    else:
        write_deltalake(str(folder), table(values), mode="overwrite")


def read(folder: Path, version: int | None = None) -> Seen:
    """What deltalake shows: the version and its rows, or the name of the error."""
    import pyarrow as pa

    try:
        opened = DeltaTable(str(folder), version=version)
        found: list[int] = sorted(pa.table(opened.scan())["id"].to_pylist())
        return opened.version(), found
    except (DeltaError, TableNotFoundError, ValueError) as error:
        return type(error).__name__


def base_of(source: LocalStore, version: DeltaVersion, staged: Staged) -> Base:
    return Base(version.id, version.table_id, version.root, version.root_sha256, staged.root, "")


def sync(source: LocalStore, target: WatchedStore, base: Base | None = None, version: str | None = None) -> tuple[Base, Staged]:
    """Steps 2 to 9 without proof: copies what `files` names, stages, publishes."""
    pinned = DELTA.pin(source, version)
    since = DELTA.since(source, target, pinned, base)
    for file in list(DELTA.files(source, pinned, since)):
        data = source.get(file.path)
        try:
            target.put(file.path, data, size=len(data), if_absent=True)
        except Conflict:
            assert target.get(file.path) == data
    staged = DELTA.stage(source, target, pinned, since)
    DELTA.recheck(source, pinned)
    for publication in staged.publications:
        data = publication.load()
        try:
            held = target.get(publication.path)
        except NotFound:
            held = None
        if held is None or (publication.replace and held != data):
            target.put(publication.path, data, size=len(data), if_absent=not publication.replace)
        else:
            assert held == data
    return base_of(source, pinned, staged), staged


def forget_hint(folder: Path) -> None:
    (folder / "_delta_log" / "_last_checkpoint").unlink(missing_ok=True)


def drop_commits(folder: Path, *versions: int) -> None:
    for version in versions:
        (folder / "_delta_log" / f"{version:020d}.json").unlink()


def optimize_and_vacuum(folder: Path) -> None:
    """OPTIMIZE, then VACUUM without retention: the files of older versions are gone."""
    opened = DeltaTable(str(folder))
    opened.optimize.compact()
    DeltaTable(str(folder)).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)


def copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target)


PROTOCOL: dict[str, Any] = {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}
SCHEMA = '{"type":"struct","fields":[{"name":"id","type":"long","nullable":true,"metadata":{}}]}'
METADATA: dict[str, Any] = {
    "metaData": {
        "id": "a-table", "format": {"provider": "parquet", "options": {}}, "schemaString": SCHEMA, "partitionColumns": [],
        "configuration": {}, "createdTime": 0,
    }
}  # fmt: skip


def add(path: str, size: int = 1, **more: Any) -> dict[str, Any]:
    fields = {"path": path, "partitionValues": {}, "size": size, "modificationTime": 0, "dataChange": True, **more}
    return {"add": fields}


def remove(path: str, **more: Any) -> dict[str, Any]:
    return {"remove": {"path": path, "deletionTimestamp": 0, "dataChange": True, **more}}


def commit(folder: Path, version: int, *actions: dict[str, Any]) -> None:
    """Write one commit by hand; version 0 gets a protocol and a metaData in front."""
    log = folder / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    first = (PROTOCOL, METADATA) if version == 0 else ()
    text = "".join(json.dumps(action) + "\n" for action in (*first, *actions))
    (log / f"{version:020d}.json").write_text(text)


def checkpoint(folder: Path, version: int, live: Iterable[str], gone: Iterable[str] = (), parts: int = 1) -> list[Path]:
    """Write a classic checkpoint by hand, in ``parts``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [copy.deepcopy(PROTOCOL), copy.deepcopy(METADATA), *(add(path) for path in live), *(remove(path) for path in gone)]
    for row in rows:
        for fields in row.values():
            fields.pop("partitionValues", None)
            fields.pop("configuration", None)
            fields.pop("format", None)
    kinds: dict[str, Any] = {"protocol": {}, "metaData": {}, "add": {"path": "p", "size": 0}, "remove": remove("p")["remove"]}
    kinds = {kind: pa.array([row.get(kind) for row in [*rows, {kind: empty}]])[:-1] for kind, empty in kinds.items()}
    whole = pa.table(kinds)
    log = folder / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    names = [f"{version:020d}.checkpoint.parquet"]
    if parts > 1:
        names = [f"{version:020d}.checkpoint.{part:010d}.{parts:010d}.parquet" for part in range(1, parts + 1)]
    each = -(-len(rows) // parts)
    for index, name in enumerate(names):
        pq.write_table(whole.slice(index * each, each), log / name)
    return [log / name for name in names]


def data_file(folder: Path, path: str, content: bytes = b"x") -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
