"""The fingerprint `lrh1` of a table's rows: equal for the same rows, whatever holds them and in whichever order.

Format, layout of files, batches, order of rows and columns, dictionaries, widths of integers and floats and units of time do not
show; a changed, lost or doubled row does. Parts made by themselves (one a data file, one a thread) merge into the whole. It is
no cryptographic hash: who can choose the rows can make two tables that agree. docs/fingerprint.md has the algorithm and its
test vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lakehouse.errors import NotFound, Unsupported
from lakehouse.lrh1.codes import Dictionaries, codes, name_code, refuse
from lakehouse.lrh1.mixing import MASK, Seed, mix

if TYPE_CHECKING:
    import pyarrow as pa

    from lakehouse.lrh1.mixing import U64

__all__ = ["Fingerprint", "Fingerprinter", "fingerprint", "row_words"]

_ROWS_AT_ONCE = 16_384  # their codes stay in the second-level cache
_BYTES_AT_ONCE = 8 << 20


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What rows amount to: their count, 48 hexadecimal digits for all of them and 32 for each column, by its name."""

    rows: int
    digest: str
    columns: Mapping[str, str]

    algorithm: ClassVar[str] = "lrh1"

    def to_json(self) -> dict[str, Any]:
        """As receipts and reports hold it; `from_json` reads it back."""
        return {"algorithm": self.algorithm, "rows": self.rows, "digest": self.digest, "columns": dict(self.columns)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Fingerprint:
        """What `to_json` made. Raises `Unsupported` for another algorithm and `NotFound` for what is damaged."""
        if (algorithm := value.get("algorithm")) != cls.algorithm:
            raise Unsupported(f"a fingerprint by {algorithm!r}, while this lake knows {cls.algorithm}: use the one that made it")
        rows, digest, columns = value.get("rows"), value.get("digest"), value.get("columns")
        if not isinstance(rows, int) or not isinstance(digest, str) or not isinstance(columns, Mapping):
            raise NotFound("a fingerprint is damaged: it lacks its rows, its digest or its columns; make it again")
        return cls(rows, digest, {str(name): str(hexadecimal) for name, hexadecimal in columns.items()})


class Fingerprinter:
    """Takes record batches, in any order, and says what they amount to. One a thread; `merge` adds up what each has."""

    def __init__(self, schema: pa.Schema) -> None:
        """Columns are known by the schema's names; their types may differ from batch to batch in layout and width.

        Raises `Unsupported` for a type without a fingerprint (intervals, unions) and for two columns of one name.
        """
        self._names: list[str] = list(schema.names)
        if doubled := sorted({name for name in self._names if self._names.count(name) > 1}):
            raise Unsupported(f"several columns have the name {doubled[0]!r}, so no fingerprint can tell them apart: rename one")
        for field in schema:
            refuse(field.name, field.type)
        self._seeds = [name_code(name) for name in self._names]
        self._dictionaries = [Dictionaries() for _ in self._names]
        self._rows = 0
        self._table = [0, 0, 0]  # sum, sum of the second mix, exclusive or
        self._columns = [[0, 0] for _ in self._names]  # sum, exclusive or

    def update(self, batch: pa.RecordBatch) -> None:
        """Adds a batch's rows. Its columns are found by name, so their order is free; it must have just the schema's."""
        if sorted(batch.schema.names) != sorted(self._names):
            raise ValueError(f"a batch has the columns {batch.schema.names}, where the schema has {self._names}")
        if not batch.num_rows:
            return
        columns = [batch.column(name) for name in self._names]
        step = min(_ROWS_AT_ONCE, max(1, _BYTES_AT_ONCE * batch.num_rows // max(1, batch.nbytes)))
        for start in range(0, batch.num_rows, step):
            count = min(step, batch.num_rows - start)
            self._add([column.slice(start, count) for column in columns], count)
        self._rows += batch.num_rows

    def _add(self, columns: list[pa.Array], count: int) -> None:
        rows: U64 = np.zeros(count, np.uint64)
        for index, column in enumerate(columns):
            cells = codes(column, self._dictionaries[index])
            mix(np.bitwise_xor(cells, self._seeds[index], out=cells))
            totals = self._columns[index]
            totals[0] = totals[0] + int(np.add.reduce(cells)) & MASK
            totals[1] ^= int(np.bitwise_xor.reduce(cells))
            np.add(rows, cells, out=rows)
        table = self._table
        mix(rows)
        table[0] = table[0] + int(np.add.reduce(rows)) & MASK
        table[2] ^= int(np.bitwise_xor.reduce(rows))
        mix(np.bitwise_xor(rows, Seed.ROW, out=rows))
        table[1] = table[1] + int(np.add.reduce(rows)) & MASK

    def merge(self, other: Fingerprinter) -> None:
        """Adds what another, made for the same columns, has taken. The other stays as it is."""
        if sorted(other._names) != sorted(self._names):
            raise ValueError(f"two fingerprints of other columns do not add up: {self._names} and {other._names}")
        self._rows += other._rows
        mine, its = self._table, other._table
        self._table = [mine[0] + its[0] & MASK, mine[1] + its[1] & MASK, mine[2] ^ its[2]]
        for name, totals in zip(self._names, self._columns, strict=True):
            added = other._columns[other._names.index(name)]
            totals[:] = [totals[0] + added[0] & MASK, totals[1] ^ added[1]]

    def result(self) -> Fingerprint:
        """What the rows so far amount to; more may follow."""
        columns = {name: _hexadecimal(totals) for name, totals in zip(self._names, self._columns, strict=True)}
        return Fingerprint(self._rows, _hexadecimal(self._table), columns)


def fingerprint(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Fingerprint:
    """The fingerprint of all the batches, each of which has the schema's columns. Raises as `Fingerprinter` does."""
    whole = Fingerprinter(schema)
    for batch in batches:
        whole.update(batch)
    return whole.result()


def row_words(batch: pa.RecordBatch) -> U64:
    """One 64-bit word a row, made of the row alone: equal for equal rows whatever holds them and in whichever order of columns.

    Raises `Unsupported` for a type without a fingerprint.
    """
    rows: U64 = np.zeros(batch.num_rows, np.uint64)
    for field, column in zip(batch.schema, batch.columns, strict=True):
        refuse(field.name, field.type)
        cells = codes(column, Dictionaries())
        np.add(rows, mix(np.bitwise_xor(cells, name_code(field.name), out=cells)), out=rows)
    return mix(rows)


def _hexadecimal(totals: list[int]) -> str:
    return "".join(f"{total:016x}" for total in totals)
