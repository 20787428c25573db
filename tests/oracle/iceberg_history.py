"""Random histories of Iceberg tables, written by hand, and the rows that each of their states must have.

The model knows no sequence numbers, manifests or delete files: a delete takes from a branch's rows what is there at that moment.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

from tests.formats.iceberg.handmade import Entry
from tests.oracle.iceberg_columns import AVRO, COMPARED, TRANSFORMS, TYPES, Field, Values, bounds, matches, transformed
from tests.oracle.iceberg_table import IcebergTable
from tests.oracle.kinds import EPOCH, ICEBERG_WIDER, KINDS, Row, few_of, how_many, parquet_layout, random_kind

__all__ = ["IcebergHistory", "State"]

_EVERYWHERE = {"int", "long", "string", "double"}
"""Kinds that are written as ORC and Avro too."""
_NAMES = ["a", "b", "c", "odd name", "né", "x"]


@dataclass
class DataFile:
    """``gone``: the positions of rows that are deleted."""

    entry: Entry
    rows: list[Values]
    gone: set[int] = field(default_factory=set)
    vector: Entry | None = None

    @property
    def partition(self) -> tuple[int, tuple[Any, ...]]:
        return self.entry["spec"], self.entry["partition"]

    def live(self) -> Iterable[tuple[int, Values]]:
        return ((at, row) for at, row in enumerate(self.rows) if at not in self.gone)


@dataclass
class Branch:
    manifests: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, DataFile] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """What a snapshot, a branch or a tag must read as. ``point``: what `Table.scan` takes."""

    point: dict[str, Any]
    fields: Sequence[Field]
    rows: list[Values]

    def expected(self) -> list[Row]:
        return [{each.name: each.of(row) for each in self.fields} for row in self.rows]


class IcebergHistory:
    """A table that begins with some columns; each `step` is a change, most of them a snapshot.

    ``columns``: name to kind (None: random).
    """

    def __init__(self, folder: Path, chance: Random, columns: dict[str, str] | None = None) -> None:
        self.chance, self.ids = chance, 0
        self.states: list[State] = []
        self.moments: list[State] = []
        self.tags: dict[str, State] = {}
        self.files: list[DataFile] = []
        kinds = sorted(TYPES)
        columns = columns or {name: random_kind(chance, kinds) for name in chance.sample(_NAMES, chance.randint(1, 3))}
        self.fields = [self._field(name, kind) for name, kind in columns.items()]
        self.by_name = chance.random() < 0.3
        self.used = {each.name for each in self.fields}
        self.known: dict[int, list[str]] = {each.id: [each.name] for each in self.fields}
        version = chance.choice([2, 3])
        self.table = IcebergTable(folder, [each.json() for each in self.fields], version=version)
        self.specs: list[list[dict[str, Any]]] = [[]]
        self.spec = 0
        self.branches: dict[str, Branch] = {"main": Branch()}
        self._map_names()
        if chance.random() < 0.6:
            self.change_spec()

    @property
    def version(self) -> int:
        return int(self.table.metadata["format-version"])

    def _field(self, name: str, kind: str, default: Any = None) -> Field:
        self.ids += 1
        return Field(self.ids, name, kind, default)

    # changes of the metadata

    def step(self) -> None:
        steps = (
            [self.snapshot] * 6 + [self.change_schema] * 2 + [self.change_spec, self.branch, self.tag, self.upgrade, self.rewrite]
        )
        self.chance.choice(steps)()

    def change_schema(self) -> None:
        fields, chance = list(self.fields), self.chance
        change = chance.choice(["add", "add", "rename", "drop", "promote", "reorder"])
        at = chance.randrange(len(fields))
        free = [
            name for name in _NAMES if name not in [each.name for each in fields] and not (self.by_name and name in self.used)
        ]
        partitioned = {each["source-id"] for each in self.specs[self.spec]}
        if change == "add" and free:
            kind = random_kind(chance, sorted(TYPES))
            default = chance.choice(KINDS[kind].values) if self.version >= 3 and chance.random() < 0.6 else None
            if default is not None and (default != default or default in (float("inf"), float("-inf"))):
                default = 1.5
            fields.insert(chance.randint(0, len(fields)), self._field(chance.choice(free), kind, default))
        elif change == "rename" and free:
            fields[at] = replace(fields[at], name=chance.choice(free))
        elif change == "drop" and len(fields) > 1 and fields[at].id not in partitioned:
            del fields[at]
        elif change == "promote" and (wider := ICEBERG_WIDER.get(fields[at].kind)):
            fields[at] = replace(fields[at], kind=chance.choice(wider))
        elif change == "reorder":
            chance.shuffle(fields)
        self.fields = fields
        for each in fields:
            self.used.add(each.name)
            names = self.known.setdefault(each.id, [])
            if each.name not in names:
                names.append(each.name)
        self._map_names()
        self.table.add_schema([each.json() for each in fields])

    def _map_names(self) -> None:
        if self.by_name:
            mapping = [{"field-id": number, "names": names} for number, names in self.known.items()]
            self.table.metadata["properties"]["schema.name-mapping.default"] = json.dumps(mapping)

    def change_spec(self) -> None:
        sources = [each for each in self.fields if each.kind in TRANSFORMS]
        spec: list[dict[str, Any]] = []
        for each in self.chance.sample(sources, min(len(sources), self.chance.choice([0, 1, 1, 2]))):
            transform = self.chance.choice([*TRANSFORMS[each.kind], "void"])
            number = 1000 + sum(len(every) for every in self.specs) + len(spec)
            spec.append({"name": f"p{number}", "transform": transform, "source-id": each.id, "field-id": number})
            whole = transform == "identity" or transform.startswith("truncate")
            self.table.avro_types[number] = AVRO[each.kind] if whole else "int"
        self.specs.append(spec)
        self.spec = self.table.add_spec(spec)

    def upgrade(self) -> None:
        self.table.metadata["format-version"] = 3
        self.table.publish()

    def branch(self) -> None:
        name = f"b{len(self.branches)}"
        refs = self.table.metadata["refs"]
        if "main" in refs and len(self.branches) < 3:
            refs[name] = {"snapshot-id": refs["main"]["snapshot-id"], "type": "branch"}
            main = self.branches["main"]
            files = {path: replace(file, gone=set(file.gone)) for path, file in main.files.items()}
            self.branches[name] = Branch(list(main.manifests), files)
            self.table.publish()

    def tag(self) -> None:
        if self.states:
            name, state = f"t{len(self.tags)}", self.chance.choice(self.states)
            self.table.metadata["refs"][name] = {"snapshot-id": state.point["snapshot"], "type": "tag"}
            self.tags[name] = replace(state, point={"ref": name})
            self.table.publish()

    # snapshots

    def snapshot(self) -> None:
        """Some files go, rows are deleted by value, rows are appended, rows are deleted by position."""
        name, chance = self.chance.choice(sorted(self.branches)), self.chance
        here = self.branches[name]
        removed, made = [], []
        if here.files and chance.random() < 0.25:
            gone, rows = self._take_files(here)
            removed += gone
            made += self._append(here, rows) if chance.random() < 0.5 else []  # else an overwrite, not a compaction
        comparable = any(each.kind in COMPARED for each in self.fields)
        deletes = [
            self._by_value(list(here.files.values()))
            for _ in range(chance.choice([0, 0, 1, 2]))
            if comparable and not made  # rows that were compacted are as new as deletes of this commit
        ]
        if chance.random() < 0.8:
            made += self._append(here, self.random_rows())
        if chance.random() < 0.6:
            old, new = self._by_position(here)
            removed += old
            made += new
        self.commit(name, made + deletes, removed)

    def rewrite(self) -> None:
        """All manifests are written anew, each file as EXISTING with the sequence number that it had."""
        name = self.chance.choice(sorted(self.branches))
        if self.branches[name].manifests:
            self.commit(name, [], [], rewrite=True)

    def commit(self, name: str, made: list[Entry], removed: list[Entry], *, rewrite: bool = False) -> None:
        here, table = self.branches[name], self.table
        table.manifests = here.manifests
        if rewrite:
            table.rewrite_manifests(self.chance)
        number = table.commit(*made, removed=removed, branch=name)
        here.manifests = table.manifests
        rows = [row for file in here.files.values() for _, row in file.live()]
        self.states.append(State({"snapshot": number}, self.fields, rows))
        if name == "main":
            at = EPOCH.replace(tzinfo=dt.UTC) + dt.timedelta(milliseconds=table.metadata["last-updated-ms"] + 30_000)
            self.moments.append(State({"as_of": at}, self.fields, rows))

    def write_among(self, rows: list[Row]) -> None:
        """Commit ``rows``, values by names of columns, in files with others, and then delete those others by their positions."""
        here, chance = self.branches["main"], self.chance
        wanted = [{each.id: row[each.name] for each in self.fields} for row in rows]
        others = self.random_rows()
        before = set(here.files)
        self.commit("main", self._append(here, chance.sample([*wanted, *others], len(wanted) + len(others))), [])
        made = []
        for path, file in here.files.items():
            gone = {at for at, row in enumerate(file.rows) if any(row is each for each in others)}
            if path in before or not gone:
                continue
            file.gone |= gone
            if self.version >= 3 and chance.random() < 0.5:
                made.append(self._vector(file))
            else:
                spec, partition = file.partition
                made.append(self.table.positions([(file.entry, at) for at in gone], partition=partition) | {"spec": spec})
        self.commit("main", made, [])

    def random_rows(self) -> list[Values]:
        """Of few values each, so that bounds are narrow."""
        few = {each.id: few_of(self.chance, KINDS[each.kind].values) for each in self.fields}
        return [{number: self.chance.choice(values) for number, values in few.items()} for _ in range(how_many(self.chance))]

    def random_value(self, kind: str) -> Any:
        return None if self.chance.random() < 0.2 else self.chance.choice(KINDS[kind].values)

    def _append(self, here: Branch, rows: list[Values]) -> list[Entry]:
        chance = self.chance
        spec = self.spec if chance.random() < 0.8 else chance.randrange(len(self.specs))
        if any(each["source-id"] not in {f.id for f in self.fields} for each in self.specs[spec]):
            spec = self.spec
        parts: dict[tuple[Any, ...], list[Values]] = {}
        for row in rows:
            parts.setdefault(self._partition(spec, row), []).append(row)
        entries = []
        for partition, chosen in parts.items():
            cut = chance.randint(0, len(chosen))
            pieces = [piece for piece in (chosen[:cut], chosen[cut:]) if piece]
            entries += [self._write(here, spec, partition, piece) for piece in pieces]
        return entries

    def _partition(self, spec: int, row: Values) -> tuple[Any, ...]:
        kinds = {each.id: each.kind for each in self.fields}
        return tuple(
            None if (value := row[each["source-id"]]) is None else transformed(each["transform"], kinds[each["source-id"]], value)
            for each in self.specs[spec]
        )

    def _write(self, here: Branch, spec: int, partition: tuple[Any, ...], rows: list[Values]) -> Entry:
        """A column may be left out where the partition states it, or where it is null in all rows and has no default."""
        chance = self.chance
        stated = {each["source-id"] for each in self.specs[spec] if each["transform"] == "identity"}
        held = [
            each
            for each in self.fields
            if chance.random() < 0.5
            or not (each.id in stated or (each.default is None and all(row[each.id] is None for row in rows)))
        ]
        ids = not self.by_name or chance.random() < 0.5
        table = self._arrow(held, rows, ids=ids)
        self.table.parquet_options = parquet_layout(chance)
        stored = self._file_format() if held and ids and all(each.kind in _EVERYWHERE for each in held) else "parquet"
        entry: Entry = self.table.write(table, stored, partition=partition, **self._bounds(held, rows)) | {"spec": spec}
        here.files[entry["file_path"]] = DataFile(entry, rows)
        return entry

    def _file_format(self) -> str:
        return self.chance.choice(["parquet", "parquet", "orc", "avro"])

    def _arrow(self, fields: Sequence[Field], rows: list[Values], *, ids: bool = True) -> pa.Table:
        names = [(self.known[each.id][0] if not ids else each.name) for each in fields]
        schema = pa.schema(
            [
                pa.field(name, KINDS[each.kind].arrow, metadata={"PARQUET:field_id": str(each.id)} if ids else None)
                for name, each in zip(names, fields, strict=True)
            ]
        )
        if not fields:
            return pa.table(
                [pa.nulls(len(rows), pa.int8())],
                schema=pa.schema([pa.field("_", pa.int8(), metadata={"PARQUET:field_id": "999"})]),
            )
        return pa.table([pa.array([row[each.id] for row in rows], KINDS[each.kind].arrow) for each in fields], schema=schema)

    def _bounds(self, fields: Sequence[Field], rows: list[Values]) -> dict[str, Any]:
        """Of some columns; of text cut to a few characters, as writers do."""
        lower, upper, nulls = [], [], []
        for each in fields:
            values = [row[each.id] for row in rows if row[each.id] is not None]
            if self.chance.random() < 0.5:
                nulls.append({"key": each.id, "value": len(rows) - len(values)})
            values = [value for value in values if value == value]
            if not values or each.kind in ("binary", "boolean") or self.chance.random() < 0.3:
                continue
            ends = bounds(values, each.kind, cut=self.chance.random() < 0.5)
            lower.append({"key": each.id, "value": ends[0]})
            upper.append({"key": each.id, "value": ends[1]})
        return {"lower_bounds": lower, "upper_bounds": upper, "null_value_counts": nulls}

    # deletes

    def _take_files(self, here: Branch) -> tuple[list[Entry], list[Values]]:
        """Files go with their vectors; gives the rows that they had, as the columns are now."""
        removed, rows = [], []
        for path in self.chance.sample(sorted(here.files), self.chance.randint(1, len(here.files))):
            file = here.files.pop(path)
            removed += [file.entry] if file.vector is None else [file.entry, file.vector]
            rows += [{each.id: each.of(row) for each in self.fields} for _, row in file.live()]
        return removed, rows

    def _by_value(self, files: list[DataFile]) -> Entry:
        chance = self.chance
        columns = [each for each in self.fields if each.kind in COMPARED]
        spec: int = 0
        partition: tuple[Any, ...] = ()
        if files and chance.random() < 0.5:
            spec, partition = chance.choice(files).partition
        everywhere = all(each["transform"] == "void" for each in self.specs[spec])
        if everywhere:
            partition = (None,) * len(self.specs[spec])
        partitioned = [each for each in columns if each.id in {part["source-id"] for part in self.specs[self.spec]}]
        from_ = partitioned if partitioned and chance.random() < 0.3 else columns
        chosen = chance.sample(from_, min(len(from_), chance.randint(1, 2)))
        live = [row for file in files for _, row in file.live()]
        keys: list[Values] = [
            {each.id: each.of(row) if row is not None else self.random_value(each.kind) for each in chosen}
            for row in (chance.choice([*live, None]) for _ in range(chance.randint(1, 3)))
        ]
        for file in files:
            if everywhere or file.partition == (spec, partition):
                file.gone |= {at for at, row in file.live() if any(matches(chosen, row, key) for key in keys)}
        self.table.parquet_options = parquet_layout(chance)
        return self.table.equal(self._arrow(chosen, keys), partition=partition) | {"spec": spec}

    def _by_position(self, here: Branch) -> tuple[list[Entry], list[Entry]]:
        """Some rows, a few of which may be gone already; in one file a partition, or in several, or in vectors."""
        chance, removed, made = self.chance, [], []
        groups: dict[tuple[int, tuple[Any, ...]], list[tuple[Entry, int]]] = {}
        for file in here.files.values():
            chosen = {at for at in range(len(file.rows)) if chance.random() < 0.3}
            if not chosen or chance.random() < 0.4:
                continue
            file.gone |= chosen
            if file.vector is not None or (self.version >= 3 and chance.random() < 0.7):
                removed += [] if file.vector is None else [file.vector]
                file.vector = self._vector(file)
                made.append(file.vector)
            else:
                groups.setdefault(file.partition, []).extend((file.entry, at) for at in sorted(chosen))
        for (spec, partition), positions in groups.items():
            self.table.parquet_options = parquet_layout(chance)
            pieces = [positions, chance.sample(positions, chance.randint(0, len(positions)))]
            written = [
                self.table.positions(piece, partition=partition, file_format=self._file_format()) for piece in pieces if piece
            ]
            made += [each | {"spec": spec} for each in written]
        return removed, made

    def _vector(self, file: DataFile) -> Entry:
        spec, partition = file.partition
        return self.table.vector(file.entry, file.gone, partition=partition) | {"spec": spec}

    # what is to be read

    def every_state(self) -> list[State]:
        """Each snapshot and tag by the schema that it had, each branch by the current one."""
        refs = [
            State({"ref": name}, self.fields, [row for file in here.files.values() for _, row in file.live()])
            for name, here in self.branches.items()
            if name in self.table.metadata["refs"]
        ]
        newest = [replace(each, point={}) for each in refs if each.point == {"ref": "main"}]
        return [*self.states, *self.moments, *self.tags.values(), *refs, *newest]
