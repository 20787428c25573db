"""Random histories of Delta tables, written by hand, and the rows that each version must have."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.formats.delta.handmade import bitmap, checkpoint, column, commit, mapped, protocol, vector, vector_file
from tests.formats.replicas import remove
from tests.oracle.kinds import DELTA_WIDER, KINDS, Row, as_kind, few_of, how_many, parquet_layout, random_kind

__all__ = ["DeltaField", "DeltaHistory"]

Values = dict[str, Any]
"""A row as it was written: values by the physical name of the column."""
Action = dict[str, Any]
_NAMES = ["a", "b", "c", "odd name", "né", "x"]
_FEATURES = ["deletionVectors", "v2Checkpoint", "timestampNtz", "typeWidening"]


@dataclass(frozen=True)
class DeltaField:
    """``changes``: from which type to which it was widened."""

    name: str
    kind: str
    key: str
    id: int
    changes: tuple[tuple[str, str], ...] = ()

    def of(self, row: Values) -> Any:
        return as_kind(row.get(self.key), self.kind)

    def json(self, *, is_mapped: bool) -> dict[str, Any]:
        stated = KINDS[self.kind].delta
        made = mapped(self.name, stated, self.key, self.id) if is_mapped else column(self.name, stated)
        if self.changes:
            made["metadata"]["delta.typeChanges"] = [
                {"fromType": KINDS[old].delta, "toType": KINDS[new].delta} for old, new in self.changes
            ]
        return made


@dataclass
class LiveFile:
    """``gone``: the positions of rows that are deleted; ``vector``: what says so."""

    add: Action
    rows: list[Values]
    gone: frozenset[int] = frozenset()
    vector: Action | None = None

    def action(self) -> Action:
        return {"add": {**self.add, **self._vector()}}

    def removal(self) -> Action:
        return remove(self.add["path"], **self._vector())

    def _vector(self) -> Action:
        return {} if self.vector is None else {"deletionVector": self.vector}

    def live(self) -> list[Values]:
        return [row for at, row in enumerate(self.rows) if at not in self.gone]


@dataclass(frozen=True)
class Version:
    fields: Sequence[DeltaField]
    files: dict[str, LiveFile] = field(default_factory=dict)

    def expected(self) -> list[Row]:
        return [{each.name: each.of(row) for each in self.fields} for file in self.files.values() for row in file.live()]


class DeltaHistory:
    """A table that begins with some columns; each `step` is a version.

    ``columns``: name to kind, none of them a partition (None: random).
    """

    def __init__(self, folder: Path, chance: Random, columns: dict[str, str] | None = None) -> None:
        self.folder, self.chance, self.count, self.ids = folder, chance, 0, 0
        self.mode = chance.choice(["none", "name", "id"])
        names = chance.sample(_NAMES, chance.randint(1, 3))
        chosen = columns or {name: random_kind(chance, sorted(KINDS)) for name in names}
        self.fields = [self._field(name, kind) for name, kind in chosen.items()]
        most = 0 if columns else len(self.fields) - 1
        self.partitions = [each.key for each in chance.sample(self.fields, chance.randint(0, min(2, most)))]
        features = [*_FEATURES, *([] if self.mode == "none" else ["columnMapping"])]
        self.files: dict[str, LiveFile] = {}
        self.versions: list[Version] = []
        self.first = 0
        self._commit([protocol(*features), self._metadata()])

    @property
    def partitioned(self) -> list[DeltaField]:
        return [each for each in self.fields if each.key in self.partitions]

    def _field(self, name: str, kind: str) -> DeltaField:
        self.ids += 1
        return DeltaField(name, kind, name if self.mode == "none" else f"col-{self.ids}", self.ids)

    def _metadata(self) -> Action:
        fields = [each.json(is_mapped=self.mode != "none") for each in self.fields]
        configuration = {} if self.mode == "none" else {"delta.columnMapping.mode": self.mode}
        schema = json.dumps({"type": "struct", "fields": fields})
        return {
            "metaData": {
                "id": "by-hand", "format": {"provider": "parquet", "options": {}}, "schemaString": schema, "createdTime": 0,
                "partitionColumns": [each.name for each in self.partitioned], "configuration": configuration,
            }
        }  # fmt: skip

    def _commit(self, actions: list[Action]) -> None:
        at = 1_700_000_000_000 + 60_000 * len(self.versions)
        self.chance.shuffle(actions)
        commit(self.folder, len(self.versions), *actions, time=at)
        self.versions.append(Version(self.fields, dict(self.files)))

    def moment(self, version: int) -> dt.datetime:
        """An instant at which that was the newest version."""
        return dt.datetime.fromtimestamp(1_700_000_000 + 60 * version + 30, dt.UTC)

    def step(self) -> None:
        changes: list[Callable[[], list[Action]]] = [self.append] * 3 + [self.delete] * 3 + [self.update, self.change_schema] * 2
        self._commit(self.chance.choice([*changes, self.overwrite, self.restore])())
        if self.chance.random() < 0.3:
            self._checkpoint(self.chance.choice(["classic", "parts", "json", "parquet", "classic-v2"]))

    def change_schema(self) -> list[Action]:
        chance, fields = self.chance, list(self.fields)
        free = [name for name in _NAMES if name not in [each.name for each in fields]]
        if self.mode == "none":  # a name is a column's for ever
            free = [name for name in free if all(name != each.name for version in self.versions for each in version.fields)]
        at = chance.randrange(len(fields))
        change = chance.choice(["add", "widen", "widen", *([] if self.mode == "none" else ["rename", "drop", "reorder"])])
        left = [each for each in fields if each.key not in self.partitions and each is not fields[at]]
        if change == "add" and free:
            fields.insert(chance.randint(0, len(fields)), self._field(chance.choice(free), random_kind(chance, sorted(KINDS))))
        elif change == "widen" and (wider := DELTA_WIDER.get(fields[at].kind)):
            kind = chance.choice(wider)
            fields[at] = replace(fields[at], kind=kind, changes=(*fields[at].changes, (fields[at].kind, kind)))
        elif change == "rename" and free:
            fields[at] = replace(fields[at], name=chance.choice(free))
        elif change == "drop" and left and fields[at].key not in self.partitions:
            del fields[at]
        elif change == "reorder":
            chance.shuffle(fields)
        self.fields = fields
        return [self._metadata()]

    # files

    def append(self, rows: list[Values] | None = None) -> list[Action]:
        parts: dict[str, list[Values]] = {}
        for row in self.random_rows() if rows is None else rows:
            parts.setdefault(repr([row.get(key) for key in self.partitions]), []).append(row)
        actions = []
        for chosen in parts.values():
            cut = self.chance.randint(0, len(chosen))
            actions += [self._write(piece) for piece in (chosen[:cut], chosen[cut:]) if piece]
        return actions

    def write_among(self, rows: list[Row]) -> None:
        """Commit ``rows``, values by names of columns, in files with others, and then delete those others by vectors."""
        wanted = [{each.key: row[each.name] for each in self.fields} for row in rows]
        others = self.random_rows()
        together = self.chance.sample([*wanted, *others], len(wanted) + len(others))
        before = set(self.files)
        self._commit(self.append(together))
        masks = []
        for name, file in self.files.items():
            if name not in before and (gone := {at for at, row in enumerate(file.rows) if any(row is each for each in others)}):
                masks.append((file, frozenset(gone)))
        self._commit([*(file.removal() for file, _ in masks), *self._mask(masks)])

    def random_rows(self) -> list[Values]:
        """Of few values each, so that statistics are narrow."""
        few = {each.key: few_of(self.chance, self._values(each)) for each in self.fields}
        return [{key: self.chance.choice(values) for key, values in few.items()} for _ in range(how_many(self.chance))]

    def _values(self, each: DeltaField) -> list[Any]:
        """In partition columns no empty texts, which are null there, and no bytes that are no text."""
        values = list(KINDS[each.kind].values)
        return values if each.key not in self.partitions else [one for one in values if one not in ("", b"", b"\x00\xff")]

    def _write(self, rows: list[Values]) -> Action:
        self.count += 1
        name = f"f{self.count}.parquet"
        held = [each for each in self.fields if each.key not in self.partitions]
        if self.mode == "none":
            self.chance.shuffle(held)
        layout = parquet_layout(self.chance)
        pq.write_table(_arrow(held, rows, ids=self.mode == "id"), self.folder / name, **layout)
        add = {
            "path": name, "size": (self.folder / name).stat().st_size, "modificationTime": 0, "dataChange": True,
            "partitionValues": {each.key: _text(rows[0][each.key]) for each in self.partitioned},
        }  # fmt: skip
        if self.chance.random() < 0.8:
            add["stats"] = json.dumps(self._statistics(held, rows))
        self.files[name] = LiveFile(add, rows)
        return {"add": add}

    def _statistics(self, fields: Sequence[DeltaField], rows: list[Values]) -> dict[str, Any]:
        stats: dict[str, Any] = {"numRecords": len(rows), "minValues": {}, "maxValues": {}, "nullCount": {}}
        for each in fields:
            if self.chance.random() < 0.3:
                continue
            values = [row[each.key] for row in rows if row[each.key] is not None]
            stats["nullCount"][each.key] = len(rows) - len(values)
            if not values or each.kind in ("binary", "boolean") or any(value != value for value in values):
                continue
            ordered = sorted(values, key=lambda value: value.encode() if isinstance(value, str) else value)
            low, high = ordered[0], ordered[-1]
            if each.kind == "string" and self.chance.random() < 0.4:  # cut, as older writers do
                low, high = low[:1], high if len(high) < 2 else high[:1] + "\ufffd"
            stats["minValues"][each.key], stats["maxValues"][each.key] = _bound(low, each.kind), _bound(high, each.kind)
        return {key: value for key, value in stats.items() if key == "numRecords" or self.chance.random() < 0.9}

    # what is deleted

    def delete(self) -> list[Action]:
        """Rows of some files, by vectors: several in one file, or inline."""
        masked: list[tuple[LiveFile, frozenset[int]]] = []
        actions = []
        for name, file in list(self.files.items()):
            more = {at for at in range(len(file.rows)) if at not in file.gone and self.chance.random() < 0.3}
            if not more or self.chance.random() < 0.3:
                continue
            actions.append(file.removal())
            gone = file.gone | more
            if len(gone) == len(file.rows) and self.chance.random() < 0.5:
                del self.files[name]
            else:
                masked.append((file, gone))
        return [*actions, *self._mask(masked)]

    def _mask(self, masked: list[tuple[LiveFile, frozenset[int]]]) -> list[Action]:
        actions, vectors = [], self._vectors([gone for _, gone in masked])
        for (file, gone), made in zip(masked, vectors, strict=True):
            add = dict(file.add)
            if "stats" in add:
                add["stats"] = json.dumps({**json.loads(add["stats"]), "tightBounds": False})
            changed = LiveFile(add, file.rows, gone, made)
            self.files[add["path"]] = changed
            actions.append(changed.action())
        return actions

    def _vectors(self, masks: list[frozenset[int]]) -> list[Action]:
        if self.chance.random() < 0.4:
            return [vector(self.folder, *sorted(each), inline=True) for each in masks]
        found = (
            vector_file(self.folder, *(bitmap(each) for each in masks), prefix=self.chance.choice(["", "ab"])) if masks else []
        )
        return [{**each, "cardinality": len(mask)} for each, mask in zip(found, masks, strict=True)]

    def update(self) -> list[Action]:
        """Rows are deleted and come back with one value changed."""
        before = [(file.add["path"], at, row) for file in self.files.values() for at, row in enumerate(file.rows)]
        alive = {(file.add["path"], at) for file in self.files.values() for at in range(len(file.rows)) if at not in file.gone}
        actions = self.delete()
        left = {(file.add["path"], at) for file in self.files.values() for at in range(len(file.rows)) if at not in file.gone}
        each = self.chance.choice(self.fields)
        changed = [self._now(row) for path, at, row in before if (path, at) in alive and (path, at) not in left]
        return [*actions, *self.append([{**row, each.key: self.chance.choice([None, *self._values(each)])} for row in changed])]

    def _now(self, row: Values) -> Values:
        return {each.key: each.of(row) for each in self.fields}

    def overwrite(self) -> list[Action]:
        actions = [file.removal() for file in self.files.values()]
        self.files.clear()
        return [*actions, *self.append()]

    def restore(self) -> list[Action]:
        """What was live at an older version, in the columns of now."""
        then = self.chance.choice(self.versions).files
        gone = [file.removal() for name, file in self.files.items() if then.get(name) is not file]
        back = [file.action() for name, file in then.items() if self.files.get(name) is not file]
        self.files = dict(then)
        return [*gone, *back]

    def _checkpoint(self, form: str) -> None:
        checkpoint(self.folder, "classic" if form == "parts" else form)
        log, number = self.folder / "_delta_log", len(self.versions) - 1
        whole = log / f"{number:020d}.checkpoint.parquet"
        if form == "parts":
            rows = pq.read_table(whole)
            cut = self.chance.randint(0, rows.num_rows)
            for part, piece in enumerate((rows.slice(0, cut), rows.slice(cut)), 1):
                pq.write_table(piece, log / f"{number:020d}.checkpoint.{part:010d}.{2:010d}.parquet")
            whole.unlink()
        if self.chance.random() < 0.3:  # the log is cleaned up
            for each in range(number):
                (log / f"{each:020d}.json").unlink(missing_ok=True)
            self.first = number


def _arrow(fields: Sequence[DeltaField], rows: list[Values], *, ids: bool) -> pa.Table:
    schema = pa.schema(
        [
            pa.field(each.key, KINDS[each.kind].arrow, metadata={"PARQUET:field_id": str(each.id)} if ids else None)
            for each in fields
        ]
    )
    return pa.table([pa.array([row[each.key] for row in rows], KINDS[each.kind].arrow) for each in fields], schema=schema)


def _text(value: Any) -> str | None:
    """PROTOCOL.md, "Partition Value Serialization"."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f") if value.tzinfo is None else value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return str(value)


def _bound(value: Any, kind: str) -> Any:
    """PROTOCOL.md, "Per-file Statistics": timestamps lose what is below a millisecond; floats have the digits of their width."""
    if isinstance(value, dt.datetime):
        cut = value.replace(microsecond=value.microsecond // 1000 * 1000)
        return cut.strftime("%Y-%m-%dT%H:%M:%S.") + f"{cut.microsecond // 1000:03d}" + ("Z" if value.tzinfo else "")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, float):
        single = float(str(np.float32(value))) if kind == "float" and math.isfinite(value) else value
        return single if math.isfinite(value) else None
    return float(value) if kind in ("money", "more money", "exact") else value
