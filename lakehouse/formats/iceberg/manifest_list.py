"""Manifest lists: the Avro file of a snapshot that lists its manifests (Iceberg table spec, "Manifest Lists")."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.avro import Block, read_container, same_content, write_container
from lakehouse.formats.iceberg.avro.walker import Change, splice
from lakehouse.formats.iceberg.manifest import manifest_walker

__all__ = ["ManifestFile", "PartitionSummary", "read_list", "rewrite_list", "same_content"]

PATH, LENGTH, SNAPSHOT_ID, CONTENT, KEY_METADATA = 500, 501, 503, 517, 519
COUNTS = (504, 505, 506)
"""How many entries were added, existed, and are deleted."""

_WANTED = {
    PATH: "manifest_path",
    LENGTH: "manifest_length",
    SNAPSHOT_ID: "added_snapshot_id",
    CONTENT: "content",
    KEY_METADATA: "key_metadata",
    COUNTS[0]: "added_files_count",
    COUNTS[1]: "existing_files_count",
    COUNTS[2]: "deleted_files_count",
}
_SPEC_ID, _SEQUENCE, _MIN_SEQUENCE, _PARTITIONS, _ADDED_ROWS, _EXISTING_ROWS, _FIRST_ROW = 502, 515, 516, 507, 512, 513, 520
_IN_FULL = _WANTED | {
    _SPEC_ID: "partition_spec_id",
    _SEQUENCE: "sequence_number",
    _MIN_SEQUENCE: "min_sequence_number",
    _PARTITIONS: "partitions",
    _ADDED_ROWS: "added_rows_count",
    _EXISTING_ROWS: "existing_rows_count",
    _FIRST_ROW: "first_row_id",
}


class PartitionSummary(NamedTuple):
    """What the files of a manifest have as one field of their partitions. Bounds are binary single values (spec, Appendix D)."""

    contains_null: bool
    contains_nan: bool | None
    lower: bytes | None
    upper: bytes | None


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One manifest as a list states it.

    ``path``: as stated. ``length``: in bytes. ``content``: 0 data files, 1 delete files (format version 1 has data files only).
    ``encrypted``: the manifest has key metadata. ``entries``: how many it holds (None: the list does not say). Of a list that is
    not read in full the rest is not known. ``rows``: of live entries. ``partitions``: in the order of the fields of the spec
    ``partition_spec_id``; None: not known. ``first_row_id``: as stated.
    """

    path: str
    length: int
    content: int
    added_snapshot_id: int | None
    encrypted: bool
    entries: int | None = None
    sequence_number: int = 0
    min_sequence_number: int = 0
    partition_spec_id: int | None = None
    partitions: tuple[PartitionSummary, ...] | None = None
    rows: int | None = None
    first_row_id: int | None = None


def read_list(data: bytes, where: str, *, in_full: bool = False) -> list[ManifestFile]:
    """The manifests of the list ``data`` in their order; ``in_full``: with all that a scan wants to know of them.

    Raises `NotFound` for a damaged list and `Unsupported` for another codec.
    """
    header, blocks = read_container(data, where)
    wanted = _IN_FULL if in_full else _WANTED
    walker = manifest_walker(header, wanted, where, PATH)
    manifests: list[ManifestFile] = []
    for block in blocks:
        for spans in walker.records(block, where):
            places = {field_id: at for field_id in wanted if (at := walker.at(field_id)) is not None}
            try:
                value = {field_id: walker.decode(field_id, block.data, spans[at]) for field_id, at in places.items()}
            except ValueError as error:
                raise NotFound(f"{where} is damaged: a value of its records cannot be read ({error})") from error
            for field_id in (PATH, LENGTH):
                if value.get(field_id) is None:
                    raise NotFound(f"{where} is damaged: a manifest has no {_WANTED[field_id]} (field {field_id})")
            if in_full and value.get(CONTENT) and value.get(_SEQUENCE) is None:  # which data a delete applies to
                raise NotFound(f"{where} is damaged: a manifest of deletes has no sequence_number (field {_SEQUENCE})")
            manifests.append(
                ManifestFile(
                    path=value[PATH],
                    length=value[LENGTH],
                    content=value.get(CONTENT) or 0,
                    added_snapshot_id=value.get(SNAPSHOT_ID),
                    encrypted=value.get(KEY_METADATA) is not None,
                    entries=_sum([value.get(count) for count in COUNTS]),
                    sequence_number=value.get(_SEQUENCE) or 0,
                    min_sequence_number=value.get(_MIN_SEQUENCE) or 0,
                    partition_spec_id=value.get(_SPEC_ID),
                    partitions=_summaries(value.get(_PARTITIONS), where),
                    rows=_sum([value.get(_ADDED_ROWS), value.get(_EXISTING_ROWS)]),
                    first_row_id=value.get(_FIRST_ROW),
                )
            )
    return manifests


def _summaries(stated: Any, where: str) -> tuple[PartitionSummary, ...] | None:
    if stated is None:
        return None
    try:
        return tuple(
            PartitionSummary(bool(raw["contains_null"]), raw.get("contains_nan"), raw.get("lower_bound"), raw.get("upper_bound"))
            for raw in stated
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise NotFound(f"{where} is damaged: the partitions of a manifest cannot be read ({error!r})") from error


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def rewrite_list(data: bytes, where: str, address: Callable[[str], str], length: Callable[[str], int]) -> bytes:
    """The list for the target: each path through ``address``, and each length as ``length`` gives it for the stated path.

    Everything else stays byte for byte. Raises as `read_list`, and what ``address`` and ``length`` raise.
    """
    header, blocks = read_container(data, where)
    walker = manifest_walker(header, _WANTED, where, PATH)
    stated = iter(read_list(data, where))

    def rewritten(block: Block) -> Block:
        changes: list[Change] = []
        for spans in walker.records(block, where):
            path = next(stated).path
            for field_id, value in ((PATH, address(path)), (LENGTH, length(path))):
                start, end = spans[walker.at(field_id) or 0]
                changes.append((start, end, walker.encode(field_id, value)))
        return Block(block.count, splice(block.data, sorted(changes)))

    return write_container(header, map(rewritten, blocks))
