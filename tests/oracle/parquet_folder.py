"""Random folders of Parquet files, Hive-partitioned or not, whose schemas are not all the same, and the rows that they hold."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from tests.oracle.kinds import KINDS, Row, as_kind, parquet_layout

__all__ = ["ParquetFolder"]

_WIDTHS = [
    ["byte", "short", "int", "long"], ["int", "double"], ["float", "double"], ["money", "more money"], ["money", "exact"],
    ["string"], ["boolean"], ["date"], ["timestamp"], ["instant"], ["binary"],
]  # fmt: skip
"""Types that one column may have in several files, the later wider."""
_STATED: dict[str, list[Any]] = {
    "long": [0, -5, 7, 2**40],
    "date": [dt.date(2024, 2, 29), dt.date(1969, 12, 31)],
    "string": ["a", "01", "x/y=z", "é", "A b", "2024-02-30", "1.5", "%41"],
}
_HIDDEN = ["_SUCCESS", ".part.parquet", "_old/part.parquet", ".spark/x=1/part.parquet", "notes.txt"]


class ParquetFolder:
    """``columns``: name to kind, in the order of a scan; ``rows``: in the order of the files' paths."""

    def __init__(self, folder: Path, chance: Random, files: int) -> None:
        self.folder, self.chance = folder, chance
        names = ["a", "b", "odd name", "né", "x"]
        self.widths = {name: chance.choice(_WIDTHS) for name in chance.sample(names, chance.randint(1, 4))}
        self.stated = {name: chance.choice(sorted(_STATED)) for name in chance.sample(["p", "day of", "q"], chance.randint(0, 2))}
        self.columns: dict[str, str] = {}
        self.rows: list[Row] = []
        written = dict(sorted(self._write(number) for number in range(chance.randint(1, files))))
        self._unite(written)
        for name in chance.sample(_HIDDEN, chance.randint(0, 2)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"no Parquet")

    def _write(self, number: int) -> tuple[str, tuple[dict[str, str], list[Row], Mapping[str, Any]]]:
        """A file: its path, the columns that it has, its rows and what its folders state."""
        chance = self.chance
        stated = {name: None if chance.random() < 0.15 else chance.choice(_STATED[kind]) for name, kind in self.stated.items()}
        held = {name: chance.choice(widths) for name, widths in self.widths.items() if chance.random() < 0.8}
        held = held or {name: widths[0] for name, widths in self.widths.items()}
        held = dict(chance.sample(list(held.items()), len(held)))
        rows: list[Row] = [
            {name: None if chance.random() < 0.2 else chance.choice(KINDS[kind].values) for name, kind in held.items()}
            for _ in range(chance.choice([0, 1, 2, 5, 9]))
        ]
        folders = "".join(f"{quote(name)}={_text(value)}/" for name, value in stated.items())
        path = f"{folders}part-{number}.{chance.choice(['parquet', 'PARQUET', 'snappy.parquet', 'parq'])}"
        schema = pa.schema([pa.field(name, KINDS[kind].arrow) for name, kind in held.items()])
        table = pa.Table.from_pylist([dict(row) for row in rows], schema)
        for at, (name, kind) in enumerate(held.items()):
            if kind == "string" and chance.random() < 0.5:
                table = table.set_column(at, name, table[name].dictionary_encode())
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, self.folder / path, **parquet_layout(chance))
        return path, (held, rows, stated)

    def _unite(self, written: Mapping[str, tuple[dict[str, str], list[Row], Mapping[str, Any]]]) -> None:
        for held, _, _ in written.values():
            for name, kind in held.items():
                known = self.columns.setdefault(name, kind)
                self.columns[name] = max(known, kind, key=self.widths[name].index)
        for name, kind in self.stated.items():
            is_known = any(stated[name] is not None for _, _, stated in written.values())
            self.columns[name] = kind if is_known else "string"
        for _, rows, stated in written.values():
            for row in rows:
                every = {**row, **stated}
                self.rows.append({name: as_kind(every.get(name), kind) for name, kind in self.columns.items()})


def _text(value: Any) -> str:
    """As Hive writes a value into the name of a folder."""
    return "__HIVE_DEFAULT_PARTITION__" if value is None else quote(str(value), safe=" ")
