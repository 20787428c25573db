"""A scan as a `pyarrow.dataset.Dataset`, so that DuckDB and polars ask it for just the columns and rows that a query needs.

It has no C++ dataset behind it: what it can do is what is here, and DuckDB needs no more (`schema`, and `scanner` with
``columns`` and ``filter``). Whatever else a Dataset has is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lakehouse.errors import Unsupported

if TYPE_CHECKING:
    from lakehouse.scan import Scan

__all__ = ["ScanDataset"]


class ScanDataset(ds.Dataset):  # type: ignore[misc]
    """``failure``: the error that ended the last read; engines tell it by its text only, some with a traceback around it."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self.failure: Exception | None = None

    @property
    def schema(self) -> pa.Schema:
        return self._scan.schema

    def scanner(
        self, columns: Sequence[str] | None = None, filter: pc.Expression | None = None, **_tuning: object
    ) -> _ScanScanner:
        """What reads ``columns`` of the rows that satisfy ``filter``. Sizes of batches and the like are the scan's business."""
        if isinstance(columns, dict):
            raise Unsupported("a scan gives columns as they are; compute others with the engine that asks")
        return _ScanScanner(self, self._scan.narrowed(columns, filter))

    def to_batches(self, **options: Any) -> Iterator[pa.RecordBatch]:
        return self.scanner(**options).to_batches()

    def to_table(self, **options: Any) -> pa.Table:
        return self.scanner(**options).to_table()

    def head(self, num_rows: int, **options: Any) -> pa.Table:
        return self.scanner(**options).head(num_rows)

    def count_rows(self, filter: pc.Expression | None = None, **_tuning: object) -> int:
        return self._scan.narrowed(None, filter).count_rows()

    def __repr__(self) -> str:
        return f"<ScanDataset {self._scan.schema.names}>"


def _refused(name: str) -> Any:
    def method(_self: object, *_arguments: object, **_options: object) -> NoReturn:
        raise Unsupported(f"a scan as a dataset has no {name}(); use Table.scan(where=…), or an engine over it")

    return method


for _name in ("filter", "get_fragments", "join", "join_asof", "replace_schema", "sort_by", "take"):
    setattr(ScanDataset, _name, _refused(_name))


class _ScanScanner(ds.Scanner):  # type: ignore[misc]
    def __init__(self, dataset: ScanDataset, scan: Scan) -> None:
        self._dataset, self._scan = dataset, scan

    @property
    def dataset_schema(self) -> pa.Schema:
        return self._dataset.schema

    @property
    def projected_schema(self) -> pa.Schema:
        return self._scan.schema

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._scan.to_batches()
        except Exception as error:
            self._dataset.failure = error
            raise

    def to_reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self._scan.schema, self.to_batches())

    def to_table(self) -> pa.Table:
        return pa.Table.from_batches(self.to_batches(), self._scan.schema)

    def head(self, num_rows: int) -> pa.Table:
        taken, left = list[pa.RecordBatch](), num_rows
        for batch in self.to_batches():
            if left <= 0:
                break
            taken.append(batch.slice(0, left))
            left -= batch.num_rows
        return pa.Table.from_batches(taken, self._scan.schema)

    def count_rows(self) -> int:
        return self._scan.count_rows()
