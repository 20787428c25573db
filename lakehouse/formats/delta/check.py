"""Whether a Delta table is whole: its log, what readers may read instead of commits, and the files that its versions need.

One pass over the commits of the retained history, then one over the live files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.delta.check_checkpoint import (
    Checkpoint,
    checkpoint_flaws,
    compacted_flaws,
    hint_flaws,
    load_checkpoint,
)
from lakehouse.formats.delta.check_crc import checksum_flaws
from lakehouse.formats.delta.check_log import gaps
from lakehouse.formats.delta.check_state import Facts, LogState
from lakehouse.formats.delta.check_stats import ColumnTypes, column_types, statistics_of, stats_flaws, type_flaws
from lakehouse.formats.delta.live import AddFile, live_files
from lakehouse.formats.delta.log import LOG
from lakehouse.formats.delta.present import present
from lakehouse.formats.delta.vector_bits import DeletionVector, deleted_positions
from lakehouse.formats.delta.version import DeltaVersion, commits_in_order, schema_fields
from lakehouse.reading.examine import Examination, Flaw
from lakehouse.reading.examined import data_file
from lakehouse.reading.footer import Footer
from lakehouse.store import Store

__all__ = ["flaws_of"]


def flaws_of(store: Store, version: DeltaVersion) -> Iterator[Flaw | Examination]:
    """See `TableFormat.check`. Kinds: docs/check.md."""
    log, span = version.log, version.span
    state, told = LogState(version.localiser), False
    for flaw in (*gaps(log, span), *_walk(store, version, state), *compacted_flaws(store, log, span, state)):
        told = True
        yield flaw
    try:
        yield from _live(store, version, state)
    except (NotFound, Unsupported) as error:
        if not told:
            yield Flaw("unreadable", LOG, str(error))
    yield from (Flaw("external", address, why) for address, why in sorted(state.external.items()))
    yield from _earlier(store, state)


def _walk(store: Store, version: DeltaVersion, state: LogState) -> Iterator[Flaw]:
    """Every commit, and after it the checkpoints and the checksum file of its version; then the hint."""
    log, span = version.log, version.span
    read: dict[str, Checkpoint] = {}
    if span.checkpoint:
        yield from _checkpoints(store, version, span.first, state, read)
    for number, data in commits_in_order(store, range(span.first + span.checkpoint, span.last + 1)):
        yield from state.commit(number, data)
        if number in log.crcs and not state.broken:
            yield from checksum_flaws(store, log.crcs[number], state)
        yield from _checkpoints(store, version, number, state, read)
    yield from hint_flaws(store, log, span, read)


def _checkpoints(
    store: Store, version: DeltaVersion, number: int, state: LogState, read: dict[str, Checkpoint]
) -> Iterator[Flaw]:
    """The checkpoints of one version. Where the commits do not tell its state, the first whole one does."""
    unknown = state.broken or (number == version.span.first and version.span.checkpoint)
    for way in version.log.checkpoints.get(number, ()):
        found, flaws = load_checkpoint(store, version.log, way, version.localiser)
        state.external.update(found.state.external)
        state.unpermitted |= found.state.unpermitted
        yield from flaws
        if flaws:
            continue
        read[way[0].path] = replace(found, adds=len(found.state.live), state=LogState(version.localiser))
        if unknown:
            state.restate(found.state)
            unknown = False
        else:
            yield from checkpoint_flaws(found, number, state)


def _live(store: Store, version: DeltaVersion, state: LogState) -> Iterator[Examination]:
    named = replace(version, localiser=state.names)
    types = column_types(schema_fields(version.metadata))
    for add in live_files(store, named):
        if add.path in state.unpermitted:
            continue
        yield Examination(add.path, partial(_file, store, add, types))
        if add.vector is not None and add.vector.path not in state.unpermitted:
            yield Examination(add.vector.path or add.path, partial(_vector, store, add.path, add.vector, add.rows))


def _file(store: Store, add: AddFile, types: ColumnTypes, deep: bool) -> list[Flaw]:
    statistics = statistics_of(add)
    rows = statistics.get("numRecords")

    def agrees(footer: Footer) -> Iterator[Flaw]:
        yield from type_flaws(add, types, footer)
        yield from stats_flaws(add, statistics, types, footer)

    return data_file(store, add.path, add.size, rows=rows if isinstance(rows, int) else None, deep=deep, agrees=agrees)


def _vector(store: Store, path: str, vector: DeletionVector, rows: int | None, _deep: bool) -> list[Flaw]:
    """Kinds: ``missing``, ``vector``."""
    where = vector.path or path
    try:
        positions = deleted_positions(store, vector)
    except NotFound as error:
        if vector.path and not _is_there(store, vector.path):
            return [Flaw("missing", where, f"is not there; it says which rows of {path} are deleted")]
        return [Flaw("vector", where, str(error).removeprefix(f"{store.url}: "))]
    except Unsupported as error:
        return [Flaw("vector", where, str(error).removeprefix(f"{store.url}: "))]
    if rows is not None and len(positions) and int(positions[-1]) >= rows:
        return [Flaw("vector", where, f"deletes row {int(positions[-1])} of {path}, which has {rows} rows")]
    return []


def _is_there(store: Store, path: str) -> bool:
    try:
        store.head(path)
    except NotFound:
        return False
    return True


def _earlier(store: Store, state: LogState) -> Iterator[Examination]:
    """Files that only older versions need, and change data: those that are still there, since VACUUM removes them."""
    live = {key.partition("\0")[0] for key in state.live}
    origins = state.names.origins
    older = {origins.get(path, path): facts for path, facts in state.older.items() if path not in live}
    for path, facts in state.changes.items():
        older.setdefault(origins.get(path, path), facts)
    vectors: dict[str, list[tuple[str, Facts]]] = {}
    for key, facts in state.vectors.items():
        if facts.vector is not None and facts.vector.path and key not in state.live:
            vectors.setdefault(origins.get(facts.vector.path, facts.vector.path), []).append((key.partition("\0")[0], facts))
    wanted = {path for path in (*older, *vectors) if path not in state.unpermitted}
    for info in present(store, wanted):
        if info.path in older:
            yield Examination(info.path, partial(_older_file, store, info.path, older[info.path]))
        for path, with_vector in vectors.get(info.path, ()):
            if with_vector.vector is not None:
                placed = replace(with_vector.vector, path=info.path)
                yield Examination(info.path, partial(_vector, store, path, placed, with_vector.rows))


def _older_file(store: Store, path: str, facts: Facts, deep: bool) -> list[Flaw]:
    return data_file(store, path, facts.size, rows=facts.rows, deep=deep)
