"""Writing Delta tables: deltalake makes data files, the commit is ours, put if absent through the `Store`.

deltalake works in a folder of this machine, on a table that has the real one's protocol and schema and no rows. Its data files
are put where the table lies, and what it logged of them becomes one commit of the real log: so each store works that lake.toml
can name, with the same options, and a lost reply is settled as everywhere. When another writer took the number, the commit is
made anew at the next one with the same data files. Spec: PROTOCOL.md, "Delta Log Entries", "Writer Requirements".
"""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse.errors import Config, Conflict, LakeError, NotFound, Transfer, Unsupported
from lakehouse.formats.delta import DeltaFormat
from lakehouse.formats.delta.actions import actions_of, object_key
from lakehouse.formats.delta.log import LOG, commit_path
from lakehouse.formats.delta.snapshot import state_at
from lakehouse.formats.delta.version import DeltaVersion
from lakehouse.origin import PLACE, SourceVersion
from lakehouse.store import Store
from lakehouse.version import __version__
from lakehouse.writing.attempts import attempts
from lakehouse.writing.delta_checkpoint import write_checkpoint
from lakehouse.writing.local_files import Chunks
from lakehouse.writing.rows import in_portions
from lakehouse.writing.schemas import delta_schema
from lakehouse.writing.turns import turn_at

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["append", "create", "overwrite"]

_PORTION_BYTES = 128 << 20
_NO_MATTER = frozenset(
    {
        *("appendOnly", "changeDataFeed", "deletionVectors", "domainMetadata", "v2Checkpoint", "vacuumProtocolCheck"),
        *("columnMapping", "generatedColumns", "identityColumns", "allowColumnDefaults"),
    }
)
"""Features that ask nothing of data files that are added, where no column and no property uses them."""
_HEEDED = frozenset({"checkConstraints", "invariants", "timestampNtz"})
"""Features that deltalake heeds when it makes data files."""
_NOT_HERE = (
    "lake.",
    "delta.checkpoint",
    "delta.enable",
    "delta.feature.",
    "delta.appendOnly",
    "delta.minReader",
    "delta.minWriter",
)
"""Properties of the real table that the one with no rows goes without."""
_COLUMN_REFUSED = {
    "delta.generationExpression": "is generated from others",
    "delta.identity.start": "is an identity column",
    "delta.columnMapping.id": "",
}
_KEPT = ("path", "partitionValues", "size", "modificationTime", "dataChange", "stats")
_REMOVED = ("path", "partitionValues", "size", "deletionVector", "baseRowId", "defaultRowCommitVersion", "tags")


def create(store: Store, schema: pa.Schema, partition_by: Sequence[str] = ()) -> None:
    """Make an empty table with ``schema``, partitioned by the values of columns.

    Raises `Conflict` where a log is there, `Config` for a column that is none, `Unsupported` for a type that Delta lacks.
    """
    if next(iter(store.list(LOG)), None) is not None:
        raise Conflict(f"{store.url}: there is a Delta table already; nothing was changed")
    stated = delta_schema(schema, store.url)
    for name in partition_by:
        if name not in stated.names:
            raise Config(f"{store.url}: partition_by names {name!r}, which is no column")
    import deltalake

    with tempfile.TemporaryDirectory(prefix="lake-") as folder, _translated(store.url):
        deltalake.DeltaTable.create(folder, stated, partition_by=list(partition_by))
        actions = [
            {kind: fields}
            for kind, fields in actions_of(folder, (Path(folder) / commit_path(0)).read_bytes())
            if kind != "commitInfo"
        ]
    _require_conditional_put(store)
    _put(store, 0, _commit_bytes([_info("CREATE TABLE", {"partitionBy": json.dumps(list(partition_by))}), *actions]))


def append(store: Store, rows: Callable[[pa.Schema], pa.RecordBatchReader], source: SourceVersion | None = None) -> None:
    """Add the rows that ``rows`` gives for the table's schema, in one commit; no rows make none. ``source``: the version of
    another table that they are; the commit says so where this one holds no rows yet.

    Raises `Conflict` where the table's schema or protocol was changed meanwhile or ten minutes of tries were lost, `Unsupported`
    for a table that cannot be written rightly, `Config` for a row that breaks a constraint, `Transfer` where it is not known
    whether the commit arrived.
    """
    with _Writer(store) as writer:
        writer.write(rows, replace=False, source=source)


def overwrite(store: Store, rows: Callable[[pa.Schema], pa.RecordBatchReader], source: SourceVersion | None = None) -> None:
    """Put the rows in the place of all that the table holds when the commit is made. Older versions stay. ``source``: the version
    of another table that they are, which the commit says. Raises as `append`.
    """
    with _Writer(store) as writer:
        writer.write(rows, replace=True, source=source)


@dataclass(frozen=True, slots=True)
class _Left:
    """What a writer knows of a log when it has committed: the commit ``number`` is ``data``, and none after ``since`` up to it
    changes the table's schema, properties or protocol.
    """

    since: int
    number: int
    data: bytes


class _Writer:
    """One write to one table; ``schema`` is what its rows must have."""

    def __init__(self, store: Store) -> None:
        self.turn = turn_at(store.url, _Left)
        self.store, self.version = store, DeltaFormat().pin(store)
        _refuse_unfit(store.url, self.version)
        _require_conditional_put(store)
        self.since = self.version.number  # no commit after it that is known changes the schema
        self.source: SourceVersion | None = None
        self.put_files = list[str]()
        self.in_doubt = False

    def __enter__(self) -> _Writer:
        import deltalake
        import pyarrow as pa

        self._folder = tempfile.TemporaryDirectory(prefix="lake-")
        self.folder = Path(self._folder.name)
        (self.folder / LOG).mkdir()
        (self.folder / commit_path(0)).write_bytes(_commit_bytes(_without_rows(self.version)))
        with _translated(self.store.url):
            self.schema: pa.Schema = pa.schema(deltalake.DeltaTable(self.folder).schema().to_arrow())
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def write(self, rows: Callable[[pa.Schema], pa.RecordBatchReader], *, replace: bool, source: SourceVersion | None) -> None:
        """Data files first, then the commit, again and again until it is made. What is known to be in vain is removed."""
        self.source = source
        if replace and str(_configuration(self.version).get("delta.appendOnly", "")).lower() == "true":
            raise Unsupported(f"{self.store.url}: its property delta.appendOnly is true, so nothing may be overwritten")
        try:
            adds = self._data_files(rows(self.schema))
            if adds or replace:
                self._commit(adds, replace=replace)
        except BaseException as error:
            if not self.in_doubt or isinstance(error, Conflict):
                self._remove()
            raise

    def _data_files(self, rows: pa.RecordBatchReader) -> list[dict[str, Any]]:
        """The add actions of data files that lie where the table does."""
        import deltalake

        adds = list[dict[str, Any]]()
        for number, portion in enumerate(in_portions(rows, _PORTION_BYTES), 1):
            with _translated(self.store.url):
                deltalake.write_deltalake(self.folder, portion, mode="append")
            commit = (self.folder / commit_path(number)).read_bytes()
            for kind, fields in actions_of(f"{self.store.url}: version {number} of the local copy", commit):
                if kind == "add":
                    self._put_file(object_key(self.store.url, fields["path"]))
                    adds.append({key: fields[key] for key in _KEPT if fields.get(key) is not None})
        return adds

    def _put_file(self, path: str) -> None:
        file = self.folder / path
        self.put_files.append(path)
        self.store.put(path, Chunks(file), size=file.stat().st_size)
        file.unlink()

    def _commit(self, adds: list[dict[str, Any]], *, replace: bool) -> None:
        with self.turn:
            number = self._committed(adds, replace=replace)
        write_checkpoint(self.store, number, _configuration(self.version))

    def _committed(self, adds: list[dict[str, Any]], *, replace: bool) -> int:
        """The number of the commit, which is made in this process's turn."""
        number = self._go_on(self.version.number + 1, replace=replace)
        for last in attempts():
            actions = self._actions(number, adds, replace=replace)
            data = _commit_bytes(actions)
            self.in_doubt = True
            try:
                _put(self.store, number, data)
            except Conflict:
                if last:
                    raise
                number = self._go_on(number, replace=replace)
            else:
                changed = any("metaData" in action for action in actions)
                self.turn.left = _Left(number if changed else self.since, number, data)
                break
        return number

    def _actions(self, number: int, adds: list[dict[str, Any]], *, replace: bool) -> list[dict[str, Any]]:
        removes, stated = [], list[dict[str, Any]]()
        there = state_at(self.store, self.version).adds if replace or self.source is not None else {}
        if replace:
            now = int(time.time() * 1000)
            for fields in there.values():
                kept = {key: fields[key] for key in _REMOVED if fields.get(key) is not None}
                removes.append({"remove": {**kept, "deletionTimestamp": now, "dataChange": True, "extendedFileMetadata": True}})
        details = {
            "mode": "Overwrite" if replace else "Append",
            "partitionBy": json.dumps(self.version.metadata.get("partitionColumns") or []),
        }
        if self.source is not None and (replace or not there):
            details |= self.source.recorded()
            stated = _stating(self.version, self.source)
        info = _info("WRITE", details, readVersion=number - 1, isBlindAppend=not replace and self.source is None)
        return [info, *stated, *removes, *({"add": fields} for fields in adds)]

    def _go_on(self, number: int, *, replace: bool) -> int:
        """The number after those that other writers took, from ``number`` on, if what they did leaves our data files fit.

        Only their commits are read, and not those that the writer before us knew: an append needs to know no more of them.
        """
        left = self.turn.left
        if left is not None and left.since < number <= left.number + 1 and _get(self.store, left.number) == left.data:
            number, self.since = left.number + 1, min(self.since, left.since)
        while (data := _get(self.store, number)) is not None:
            changed = {kind for kind, _ in actions_of(f"{self.store.url}: commit {number}", data)} & {"metaData", "protocol"}
            if changed:
                raise Conflict(
                    f"{self.store.url}: another writer changed the table's schema, properties or protocol meanwhile (version "
                    f"{number}); nothing was written, run again"
                )
            number += 1
        if (replace or self.source is not None) and self.version.number != number - 1:
            self.version = DeltaFormat().pin(self.store, str(number - 1))
        return number

    def _remove(self) -> None:
        for path in self.put_files:
            with suppress(LakeError):  # what stays is named by nothing, and does no harm
                self.store.delete(path)


def _put(store: Store, number: int, data: bytes) -> None:
    """The commit. Raises `Conflict` where another writer has the number."""
    path = commit_path(number)
    try:
        store.put(path, data, size=len(data), if_absent=True)
    except (Conflict, Transfer):
        if _get(store, number) == data:
            return  # it was done, and its reply was lost
        raise


def _get(store: Store, number: int) -> bytes | None:
    try:
        return store.get(commit_path(number))
    except NotFound:
        return None


def _require_conditional_put(store: Store) -> None:
    if not store.traits.conditional_put:
        raise Unsupported(
            f"{store.url}: this store has no conditional put, so one of two writers would erase the other's commit; Delta tables "
            "are not written there"
        )


def _refuse_unfit(where: str, version: DeltaVersion) -> None:
    """What deltalake would write wrongly."""
    protocol, properties = version.protocol, _configuration(version)
    features = set(protocol.get("writerFeatures") or ()) | set(protocol.get("readerFeatures") or ())
    unfit = sorted(features - _NO_MATTER - _HEEDED)
    if unfit:
        raise Unsupported(f"{where}: is not written, as it uses the Delta feature(s) {', '.join(unfit)}")
    mode = str(properties.get("delta.columnMapping.mode", "none")).lower()
    if mode != "none":
        raise Unsupported(f"{where}: is not written, as its columns are mapped by {mode} (columnMapping)")
    for key in ("delta.enableRowTracking", "delta.enableInCommitTimestamps", "delta.enableIcebergCompatV1"):
        if str(properties.get(key, "")).lower() == "true":
            raise Unsupported(f"{where}: is not written, as its property {key} is true")
    for name, metadata in _fields(json.loads(version.metadata["schemaString"])):
        for key, reason in _COLUMN_REFUSED.items():
            if key in metadata and reason:
                raise Unsupported(f"{where}: is not written, as its column {name!r} {reason}")


def _fields(kind: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name and the metadata of every field of a schema, nested ones included."""
    if not isinstance(kind, dict):
        return
    for field in kind.get("fields") or ():
        yield str(field["name"]), field.get("metadata") or {}
        yield from _fields(field.get("type"))
    for key in ("elementType", "keyType", "valueType"):
        yield from _fields(kind.get(key))


def _without_rows(version: DeltaVersion) -> list[dict[str, Any]]:
    """The first commit of a table of the same schema, constraints and file properties, with no rows."""
    protocol = dict(version.protocol)
    if "writerFeatures" in protocol or "readerFeatures" in protocol:
        heeded = [name for name in protocol.get("writerFeatures") or () if name in _HEEDED]
        read = [name for name in heeded if name == "timestampNtz"]
        protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": read, "writerFeatures": heeded}
    else:
        protocol = {"minReaderVersion": 1, "minWriterVersion": min(3, int(protocol.get("minWriterVersion") or 1))}
    kept = {key: value for key, value in _configuration(version).items() if not key.startswith(_NOT_HERE)}
    return [{"protocol": protocol}, {"metaData": {**version.metadata, "configuration": kept}}]


def _stating(version: DeltaVersion, source: SourceVersion) -> list[dict[str, Any]]:
    """The action by which the table says that commits of its are made from versions of another, where it does not say so yet.

    Who looks for a version then knows without a look at every commit whether there are any such.
    """
    properties = _configuration(version)
    if properties.get(PLACE) == source.place:
        return []
    return [{"metaData": {**version.metadata, "configuration": {**properties, PLACE: source.place}}}]


def _configuration(version: DeltaVersion) -> Mapping[str, Any]:
    found = version.metadata.get("configuration") or {}
    return dict(found)


def _info(operation: str, parameters: Mapping[str, str], **more: Any) -> dict[str, Any]:
    stated = {"timestamp": int(time.time() * 1000), "operation": operation, "operationParameters": dict(parameters), **more}
    return {"commitInfo": {**stated, "engineInfo": f"lakehouse-portability/{__version__}", "txnId": str(uuid.uuid4())}}


def _commit_bytes(actions: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(action, ensure_ascii=False, separators=(",", ":")) + "\n" for action in actions).encode()


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """deltalake's refusals as ours."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except (DeltaError, ValueError, OSError) as error:
        if "failed validation check" in str(error):
            raise Config(f"{where}: rows break a constraint of the table: {str(error)[:500]}") from error
        raise Unsupported(f"{where}: deltalake cannot write this ({type(error).__name__}: {str(error)[:300]})") from error
