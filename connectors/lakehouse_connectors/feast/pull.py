"""The rows of a dataset within a range of times: all of them, or of each key the newest, which is what is materialized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import and_

import pyarrow as pa
import pyarrow.compute as pc
from feast.repo_config import RepoConfig

from lakehouse.scan import Scan
from lakehouse_connectors.feast.feature_reads import scan_within
from lakehouse_connectors.feast.lake import block_bytes
from lakehouse_connectors.feast.materialized import as_materialized
from lakehouse_connectors.feast.newest import blocks, newest_of_each_key
from lakehouse_connectors.feast.source import LakeSource
from lakehouse_connectors.feast.times import instants, microseconds, within
from lakehouse_connectors.feast.value_types import laid_out, roomy, without_views

__all__ = ["Pull"]


@dataclass(frozen=True, slots=True)
class Pull:
    """What Feast pulls from ``source``: ``join_keys`` and ``features`` (none: all other columns), with the times of the rows.

    The range is from ``start`` to ``end``, both included; None is no bound. Times are given as instants; a row that does not say
    when it was created was so in 1970, before all others, for Feast has no word for not knowing. What the dataset lacks is said
    when rows are asked for.
    """

    config: RepoConfig
    source: LakeSource
    join_keys: Sequence[str]
    features: Sequence[str]
    timestamp: str
    created: str | None
    start: datetime | None
    end: datetime | None

    def all_rows(self) -> pa.Table:
        """All rows of the range but those without a key, which are of nobody; under Feast's dummy key where no key is asked."""
        scan = self._scan()
        if self.join_keys:
            scan = scan.narrowed(None, reduce(and_, (~pc.field(name).is_null() for name in self.join_keys)))
        return as_materialized(self._with_instants(_all(scan)), self.join_keys)

    def saved_rows(self) -> pa.Table:
        """All rows of the range, and those without a time, as they were saved (see `SavedRows`)."""
        scan = self.source.scan(self.config, self._columns)
        bounds = within(scan.schema.field(self.timestamp), *self._range)
        if bounds is not None:
            scan = scan.narrowed(None, bounds | pc.field(self.timestamp).is_null())
        return self._with_instants(_all(scan))

    def newest_rows(self) -> pa.Table:
        """Of each key the newest row of the range (see `newest`), in a memory bounded by the keys; else as `all_rows`."""
        scan = self._scan()
        features = self.features or [name for name in scan.schema.names if name not in (*self.join_keys, *self._times)]
        found, waiting, rows = roomy(scan.schema).empty_table(), list[pa.Table](), 0

        def newest() -> pa.Table:
            return newest_of_each_key(pa.concat_tables([found, *waiting]), self.join_keys, features, self.timestamp, self.created)

        for block in blocks(scan, block_bytes(self.config)):
            waiting.append(block)
            rows += block.num_rows
            if rows >= found.num_rows:  # so that each row is looked at a few times, however many blocks there are
                found, waiting, rows = newest(), [], 0
        return as_materialized(self._with_instants(laid_out(newest(), without_views(scan.schema))), self.join_keys)

    @property
    def _columns(self) -> list[str] | None:
        return list(dict.fromkeys([*self.join_keys, *self.features, *self._times])) if self.features else None

    @property
    def _range(self) -> tuple[int | None, int | None]:
        start, end = (None if date is None else microseconds(date) for date in (self.start, self.end))
        return start, end

    @property
    def _times(self) -> list[str]:
        return [self.timestamp, *([self.created] if self.created else [])]

    def _scan(self) -> Scan:
        return scan_within(self.source, self.config, self._columns, self.timestamp, *self._range)

    def _with_instants(self, table: pa.Table) -> pa.Table:
        times = instants(table.column(self.timestamp), self.timestamp)
        table = table.set_column(table.schema.get_field_index(self.timestamp), self.timestamp, times)
        if not self.created:
            return table
        known = instants(table.column(self.created), self.created)
        known = known.fill_null(pa.scalar(0, known.type))
        return table.set_column(table.schema.get_field_index(self.created), self.created, known)


def _all(scan: Scan) -> pa.Table:
    return scan.to_arrow().cast(without_views(scan.schema))
