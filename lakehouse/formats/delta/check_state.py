"""What a log says, commit by commit, as the checks of checkpoints, checksum files and data files need it.

PROTOCOL.md, "Action Reconciliation" and "Actions". What is held is some facts of each live file, and of those that only older
versions of the retained history have.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from urllib.parse import unquote

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.delta.actions import Action, actions_of, object_key
from lakehouse.formats.delta.localise import Localiser
from lakehouse.formats.delta.log import commit_path
from lakehouse.formats.delta.vector_bits import DeletionVector
from lakehouse.formats.delta.vectors import vector_of
from lakehouse.reading.examine import Flaw

__all__ = ["Facts", "LogState", "facts_of", "vector_in"]

_FIELDS = {
    "add": {
        "path", "partitionValues", "size", "modificationTime", "dataChange", "stats", "tags", "deletionVector", "baseRowId",
        "defaultRowCommitVersion", "clusteringProvider", "stats_parsed", "partitionValues_parsed",
    },
    "remove": {
        "path", "partitionValues", "size", "deletionTimestamp", "dataChange", "extendedFileMetadata", "stats", "tags",
        "deletionVector", "baseRowId", "defaultRowCommitVersion",
    },
}  # fmt: skip
_KINDS = {*_FIELDS, "cdc", "metaData", "protocol", "commitInfo", "txn", "domainMetadata", "checkpointMetadata", "sidecar"}
_ONCE = ("metaData", "protocol", "commitInfo")
_COUNT = re.compile(r'\{"numRecords":(\d+)[,}]')
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


class Facts(NamedTuple):
    """What an add says of its file, to be held against another copy of it. ``partition`` and ``stats`` are hashes.

    None where it says nothing: checkpoints may leave statistics out.
    """

    size: int | None
    modification_time: int | None
    base_row_id: int | None
    row_commit_version: int | None
    partition: int | None
    stats: int | None
    rows: int | None
    vector: DeletionVector | None

    def differing(self, other: Facts) -> str:
        """The name of the first fact that both state, and state otherwise; "" where they agree."""
        pairs = zip(self._fields[:-1], self[:-1], other[:-1], strict=True)
        named = (name for name, mine, theirs in pairs if mine is not None and theirs is not None and mine != theirs)
        return next(named, "")


def facts_of(path: str, fields: dict[str, Any]) -> Facts:
    """The facts of an add of the file at ``path``."""
    size, stats, values = fields.get("size"), fields.get("stats"), fields.get("partitionValues")
    partition = hash(frozenset((key, value or None) for key, value in values.items())) if isinstance(values, dict) else None
    return Facts(
        size if isinstance(size, int) else None, fields.get("modificationTime"), fields.get("baseRowId"),
        fields.get("defaultRowCommitVersion"), partition, hash(stats) if isinstance(stats, str) else None,
        _rows(stats) if isinstance(stats, str) else None, vector_in(path, fields),
    )  # fmt: skip


def _rows(stats: str) -> int | None:
    """``numRecords`` of statistics, most of which begin with it: a checkpoint has millions, so they are not parsed whole."""
    if (match := _COUNT.match(stats)) is not None:
        return int(match[1])
    rows = (_parsed(stats) or {}).get("numRecords")
    return rows if isinstance(rows, int) and rows >= 0 else None


def _parsed(stats: str) -> dict[str, Any] | None:
    try:
        found = json.loads(stats)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def vector_in(path: str, fields: dict[str, Any]) -> DeletionVector | None:
    """The deletion vector of an add of the file at ``path``.

    Raises `Unsupported` for one that the specification does not know, `NotFound` for one that lacks what it must state.
    """
    found = fields.get("deletionVector")
    if not found or not (vector := vector_of(path, fields)).id:
        return None
    size, cardinality, offset = found.get("sizeInBytes"), found.get("cardinality"), found.get("offset")
    if not isinstance(size, int) or not isinstance(cardinality, int) or size < 0 or cardinality < 0:
        raise NotFound(f"the deletion vector of {path} states no size or no cardinality")
    stated = f"the deletion vector of {path}"
    inline = "" if vector.file else str(found.get("pathOrInlineDv") or "")
    return DeletionVector(vector.id, vector.file, inline, 1 if offset is None else int(offset), size, cardinality, stated)


@dataclass
class LogState:
    """The state after the commits so far. ``live``: by file and vector, what its add says.

    ``older`` and ``vectors``: files and vectors that were live at an earlier version, with what their adds said; ``changes``:
    change data files. ``unpermitted``: addresses that nothing permits to read; ``external``: those of adds, and why.
    ``broken``: a commit could not be read, so the state is not known until a checkpoint states it anew. ``info``: the commitInfo
    of the last commit.
    """

    localiser: Localiser
    protocol: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    transactions: dict[str, int] = field(default_factory=dict)
    domains: dict[str, dict[str, Any]] = field(default_factory=dict)
    live: dict[str, Facts] = field(default_factory=dict)
    older: dict[str, Facts] = field(default_factory=dict)
    vectors: dict[str, Facts] = field(default_factory=dict)
    changes: dict[str, Facts] = field(default_factory=dict)
    external: dict[str, str] = field(default_factory=dict)
    unpermitted: set[str] = field(default_factory=set)
    info: dict[str, Any] = field(default_factory=dict)
    size: int = 0
    deleted_rows: int = 0
    broken: bool = False
    names: Localiser = field(init=False)

    def __post_init__(self) -> None:
        self.names = replace(self.localiser, names_only=True, origins={})

    @property
    def partition_columns(self) -> set[str]:
        """The physical names of the partition columns (PROTOCOL.md, "Column Mapping")."""
        wanted: list[str] = self.metadata.get("partitionColumns") or []
        if not wanted:
            return set()
        try:
            schema: list[Any] = json.loads(self.metadata.get("schemaString") or "{}").get("fields") or []
        except ValueError:
            return set(wanted)
        named = {column.get("name"): (column.get("metadata") or {}).get("delta.columnMapping.physicalName") for column in schema}
        return {named.get(name) or name for name in wanted}

    def restate(self, said: LogState) -> None:
        """The state that a checkpoint says."""
        self.live, self.size, self.deleted_rows, self.broken = dict(said.live), said.size, said.deleted_rows, False
        self.protocol, self.metadata = said.protocol, said.metadata
        self.transactions, self.domains = dict(said.transactions), dict(said.domains)
        self.names.origins.update(said.names.origins)

    def commit(self, number: int, data: bytes) -> Iterator[Flaw]:
        """All actions of commit ``number``, and what is wrong with them.

        Kinds: ``unreadable``, ``log``, ``duplicate``, ``partition``.
        """
        path = commit_path(number)
        try:
            actions = list(actions_of(path, data))
        except NotFound as error:
            self.broken = True
            yield Flaw("unreadable", path, str(error).removeprefix(f"{path}: "))
            return
        self.info = next((fields for kind, fields in actions if kind == "commitInfo"), {})
        counts = Counter(kind for kind, _ in actions)
        if not actions:
            yield Flaw("log", path, "holds no action")
        for kind in (*_ONCE, *sorted(counts.keys() - _KINDS)):
            if kind in _ONCE and counts[kind] > 1:
                yield Flaw("log", path, f"holds {counts[kind]} actions of kind {kind}, one is the most")
            elif kind not in _KINDS:
                yield Flaw("log", path, f"holds an action of the unknown kind {kind!r}: readers pass over it")
        before = self.info.get("readVersion")
        if isinstance(before, int) and before >= number:
            yield Flaw("log", path, f"says that it was made from version {before}")
        for kind, fields in sorted(actions, key=lambda action: action[0] != "metaData"):
            if kind not in ("add", "remove", "cdc"):
                self.apply(kind, fields)
        yield from self._files(path, [(kind, fields) for kind, fields in actions if kind in ("add", "remove", "cdc")])

    def _files(self, path: str, actions: Iterable[Action]) -> Iterator[Flaw]:
        columns = self.partition_columns
        seen: dict[str, str] = {}
        ended: list[tuple[str, Facts]] = []
        added: set[str] = set()
        for kind, stated in actions:
            try:
                key, fields, facts = self.named(path, kind, stated)
            except (NotFound, Unsupported) as error:
                self.broken = True
                yield Flaw("log", path, str(error).removeprefix(f"{path}: "))
                continue
            if kind == "cdc":
                self.changes[key] = facts
                continue
            yield from _wrong_fields(path, kind, key, fields, facts, columns)
            known = self.key(key, facts)
            if known in seen:
                both = "adds and removes" if seen[known] != kind else f"{kind}s twice"
                yield Flaw("log" if seen[known] != kind else "duplicate", path, f"{both} {key}")
            seen[known] = kind
            if kind == "add":
                self.add(known, facts)
                added.add(key)
            elif (gone := self.drop(known)) is not None:
                ended.append((key, gone))
            elif not self.broken and known not in added:
                yield Flaw("log", path, f"removes {key}, which is not live: the commit that added it does not say so any more")
        for key, facts in ended:
            self._past(key, facts, still=key in added)

    def named(self, where: str, kind: str, stated: dict[str, Any]) -> tuple[str, dict[str, Any], Facts]:
        """The object key of a file action, the action as a replica has it, and its facts. Notes what lies outside.

        Raises `NotFound` and `Unsupported` for what no file can be known from.
        """
        fields = self.names.action(where, kind, stated)
        key = object_key(where, fields.get("path"))
        facts = facts_of(key, fields)
        if fields is not stated:
            try:
                self.localiser.action(where, kind, stated)
            except Unsupported as error:
                for name in (key, facts.vector.path if facts.vector is not None else ""):
                    if (address := self.names.origins.get(name)) is not None:
                        self.unpermitted.add(address)
                        if kind == "add":
                            self.external.setdefault(address, str(error))
        return key, fields, facts

    def _past(self, key: str, facts: Facts, *, still: bool) -> None:
        if not still:
            self.older[key] = facts
        if facts.vector is not None:
            self.vectors[self.key(key, facts)] = facts

    def apply(self, kind: str, fields: dict[str, Any]) -> None:
        """An action that is not of a file."""
        if kind == "protocol":
            self.protocol = fields
        elif kind == "metaData":
            self.metadata = fields
        elif kind == "txn" and isinstance(fields.get("appId"), str):
            self.transactions[fields["appId"]] = fields.get("version", 0)
        elif kind == "domainMetadata" and isinstance(fields.get("domain"), str):
            if fields.get("removed"):
                self.domains.pop(fields["domain"], None)
            else:
                self.domains[fields["domain"]] = fields

    @staticmethod
    def key(path: str, facts: Facts) -> str:
        """What tells a logical file from others: its path and its vector."""
        return path if facts.vector is None else f"{path}\0{facts.vector.id}"

    def add(self, key: str, facts: Facts) -> None:
        """A file is live from now on."""
        self.drop(key)
        self.live[key] = facts
        self.size += facts.size or 0
        self.deleted_rows += facts.vector.cardinality if facts.vector is not None else 0

    def drop(self, key: str) -> Facts | None:
        """A file is live no more. None where it was not."""
        known = self.live.pop(key, None)
        if known is not None:
            self.size -= known.size or 0
            self.deleted_rows -= known.vector.cardinality if known.vector is not None else 0
        return known


def _wrong_fields(path: str, kind: str, key: str, fields: dict[str, Any], facts: Facts, columns: set[str]) -> Iterator[Flaw]:
    file = fields.get("path")
    if unknown := sorted(fields.keys() - _FIELDS[kind]):
        yield Flaw("log", path, f"the {kind} of {file} has the unknown field {unknown[0]!r}")
    if kind != "add":
        return
    if facts.size is None or facts.size < 0:
        yield Flaw("log", path, f"the add of {file} states no size")
    values = fields.get("partitionValues")
    if not isinstance(values, dict):
        yield Flaw("log", path, f"the add of {file} has no partitionValues")
    elif values.keys() != columns:
        odd = ", ".join(sorted(values.keys() ^ columns))
        yield Flaw("partition", path, f"the add of {file} has not just a value for each partition column ({odd})")
    elif columns and (odd := _other_folder(key, values)):
        yield Flaw("partition", path, f"the add of {file} says that {odd}, its folder says otherwise")
    stats = fields.get("stats")
    if stats and (not isinstance(stats, str) or _parsed(stats) is None):
        yield Flaw("log", path, f"the statistics in the add of {file} cannot be read")


def _other_folder(key: str, values: dict[str, str | None]) -> str:
    """The partition value that the folders of ``key``, where it has Hive's, contradict; "" where none.

    Moments are written in several ways, so they are not compared.
    """
    for folder in key.split("/")[:-1]:
        name, equals, value = folder.partition("=")
        stated = values.get(name, value)
        if equals and name in values and ":" not in (stated or "") and "%3A" not in value:
            text = "" if value == _HIVE_NULL else unquote(value)
            if text != (stated or ""):
                return f"{name} is {stated!r}"
    return ""
