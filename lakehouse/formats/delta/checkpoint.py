"""Reading checkpoints: one action a row of Parquet, or JSON, with file actions perhaps in sidecars.

PROTOCOL.md, "Checkpoints", "Checkpoint Specs" and "Checkpoint Schema". A way is one of the ways in which a version's checkpoint
was written: one object, or the parts of a multi-part one. Only single objects can be V2, under either kind of name.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

from lakehouse.errors import LakeError, NotFound, Unsupported
from lakehouse.formats.delta.actions import Action, actions_of, object_key
from lakehouse.formats.delta.localise import as_stored
from lakehouse.formats.delta.log import SIDECARS, Log, Way
from lakehouse.parallel import each
from lakehouse.store import ObjectFile, ObjectInfo, Store

__all__ = ["FILE_COLUMNS", "STATE_COLUMNS", "checkpoint_actions", "named_sidecars", "part_actions", "whole_ways"]

FILE_COLUMNS = (
    "add.path", "add.size", "add.deletionVector", "remove.path", "remove.size", "remove.deletionVector",
    "protocol", "metaData", "sidecar",
)  # fmt: skip
STATE_COLUMNS = ("protocol", "metaData", "sidecar")
_SIDECAR_COLUMNS = ("sidecar",)

_ROWS = 4096
_WHOLE_BYTES = 32 * 2**20
_WORKERS = 8


def checkpoint_actions(store: Store, log: Log, number: int, columns: tuple[str, ...] | None = None) -> Iterator[Action]:
    """The actions of checkpoint ``number``, those in sidecars included; only ``columns`` (dotted names; None: all) are read.

    Raises `NotFound` for a part or sidecar that is damaged or gone.
    """
    named: list[Action] = []
    for part in log.checkpoints[number][0]:
        for kind, fields in part_actions(store, part, columns):
            if kind == "sidecar":
                named.append((kind, fields))
            else:
                yield kind, fields
    found, missing = named_sidecars(f"{store.url}: checkpoint {number}", log, named)
    if missing:
        raise NotFound(f"{store.url}: checkpoint {number} is incomplete ({missing[0]} is missing)")
    for sidecar in found:
        yield from part_actions(store, sidecar, columns)


def part_actions(store: Store, part: ObjectInfo, columns: tuple[str, ...] | None = None) -> Iterator[Action]:
    """The actions in one object of a checkpoint; their order means nothing. Raises `NotFound` for a damaged one.

    Of a `Localised` store they are read as they are stored, and localised one by one.
    """
    stored, localiser = as_stored(store)
    if localiser is None:
        yield from _stored_actions(store, part, columns)
        return
    where = f"{store.url}: {part.path}"
    for kind, fields in _stored_actions(stored, part, columns):
        yield kind, localiser.action(where, kind, fields)


def _stored_actions(store: Store, part: ObjectInfo, columns: tuple[str, ...] | None) -> Iterator[Action]:
    if part.path.endswith(".json"):
        kinds = None if columns is None else {name.partition(".")[0] for name in columns}
        for kind, fields in actions_of(f"{store.url}: {part.path}", store.get(part.path)):
            if kinds is None or kind in kinds:
                yield kind, fields
        return
    try:
        for batch in _batches(store, part, columns):
            for kind, column in zip(batch.schema.names, batch.columns, strict=True):
                if column.null_count < len(column):
                    for fields in _values(column):
                        if fields is not None:
                            yield kind, fields
    except UnicodeDecodeError as error:
        raise NotFound(f"{store.url}: the checkpoint {part.path} cannot be read ({error})") from error


def _values(column: Any) -> Iterable[Any]:
    """The values of a column as Python's, maps as dicts (of equal keys the last counts).

    PyArrow itself makes dicts row by row, many times slower than its lists of plain values.
    """
    import pyarrow as pa

    if column.null_count == len(column):
        return repeat(None, len(column))
    if not pa.types.is_struct(column.type) or column.type.num_fields == 0:
        values: list[Any] = column.to_pylist(maps_as_pydicts="lossy")
        return values
    names = [field.name for field in column.type]
    rows = (dict(zip(names, fields, strict=False)) for fields in zip(*map(_values, column.flatten()), strict=False))
    if column.null_count == 0:
        return rows
    return (row if there else None for row, there in zip(rows, column.is_valid().to_pylist(), strict=True))


def named_sidecars(where: str, log: Log, rows: Iterable[Action]) -> tuple[tuple[ObjectInfo, ...], tuple[str, ...]]:
    """The sidecars that ``rows`` of a checkpoint name: those that are there, and the paths of those that are not.

    PROTOCOL.md, "Sidecar File Information". Raises `Unsupported` for an absolute path.
    """
    paths = [f"{SIDECARS}/{object_key(where, fields.get('path'))}" for kind, fields in rows if kind == "sidecar"]
    found = tuple(log.sidecars[path] for path in paths if path in log.sidecars)
    return found, tuple(path for path in paths if path not in log.sidecars)


def whole_ways(store: Store, log: Log, ways: Iterable[Way], *, v2: bool) -> list[tuple[Way, tuple[ObjectInfo, ...]]]:
    """Those of ``ways`` that can be carried, in their order, each with its sidecars.

    A checkpoint that lacks a sidecar, names one outside the table or cannot be read only misleads readers: it is left out.
    ``v2``: the table has the feature v2Checkpoint, so a classic name may hold V2 content.
    """

    def opened(way: Way) -> tuple[ObjectInfo, ...] | None:
        if not log.may_be_v2(way, feature=v2):
            return ()
        try:
            found, missing = named_sidecars(store.url, log, part_actions(store, way[0], _SIDECAR_COLUMNS))
        except (NotFound, Unsupported):
            return None
        return None if missing else found

    wanted = list(ways)
    sidecars: dict[Way, tuple[ObjectInfo, ...]] = {}
    for way, outcome in each(opened, wanted, workers=_WORKERS):
        if isinstance(outcome, LakeError):
            raise outcome
        if outcome is not None:
            sidecars[way] = outcome
    return [(way, sidecars[way]) for way in wanted if way in sidecars]


def _batches(store: Store, part: ObjectInfo, columns: tuple[str, ...] | None) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    small = part.size <= _WHOLE_BYTES
    source = io.BytesIO(store.get(part.path)) if small else ObjectFile(store, part.path, part.size)
    try:
        with pq.ParquetFile(source) as file:
            there = set(file.schema_arrow.names)
            wanted = None if columns is None else [name for name in columns if name.partition(".")[0] in there]
            if wanted == []:
                return
            yield from file.iter_batches(batch_size=_ROWS, columns=wanted)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise NotFound(f"{store.url}: the checkpoint {part.path} cannot be read ({error})") from error
