"""The snapshot that adds data files: its manifest is made once, and each try only puts a manifest list and edits the metadata.

The list is that of the snapshot before with one more block behind its own: an Avro file takes any number of blocks, so what
stands in it need not be read (Avro 1.12, "Object container files"). Spec: "Snapshots", "Manifest Lists".
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.avro.container import SYNC_BYTES, read_container, write_container
from lakehouse.writing.iceberg_files import HeldFile, StoreFiles

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile, ManifestFile
    from pyiceberg.table.metadata import TableMetadata

__all__ = ["Appending", "Extended", "extended", "newest_snapshot"]

_COMPRESSION = "write.avro.compression-codec"
_SUMMARY_LIMIT = "write.summary.partition-limit"


@dataclass(frozen=True, slots=True)
class Extended:
    """A table's metadata with one snapshot more, and the content of that snapshot's manifest list."""

    metadata: dict[str, Any]
    manifest_list: bytes


class Appending:
    """One append of ``data_files`` to the table that ``definition`` tells of: its schema, its partitioning, its properties.

    ``snapshot_id`` stays the same whatever the append is made on, so a table that has it has the rows.
    """

    def __init__(self, definition: TableMetadata, files: StoreFiles, data_files: Sequence[DataFile]) -> None:
        from pyiceberg.table.locations import load_location_provider
        from pyiceberg.table.snapshots import SnapshotSummaryCollector

        self._definition, self._files = definition, files
        self.snapshot_id, self._uuid, self._tries = uuid.uuid4().int & (2**63 - 1), uuid.uuid4(), 0
        self._locations = load_location_provider(definition.location, definition.properties)
        stated = definition.properties.get(_COMPRESSION, "gzip").lower()
        self._compression: Any = "null" if stated == "uncompressed" else stated
        collector = SnapshotSummaryCollector(partition_summary_limit=int(definition.properties.get(_SUMMARY_LIMIT, 0)))
        for file in data_files:
            collector.add_file(file, schema=definition.schema(), partition_spec=definition.spec())
        self._added = collector.build()
        self._manifest = self._manifest_of(data_files)

    def on(self, metadata: Mapping[str, Any], manifest_list: bytes | None, said: Mapping[str, str]) -> Extended:
        """``metadata`` with the snapshot behind its newest, whose list is put. ``manifest_list``: the content of the newest
        snapshot's list where it is at hand. ``said``: what the summary says besides. Raises `NotFound` where that list is missing
        or damaged.
        """
        parent = newest_snapshot(metadata)
        sequence = int(metadata.get("last-sequence-number") or 0) + 1
        address = self._locations.new_metadata_location(f"snap-{self.snapshot_id}-{self._tries}-{self._uuid}.avro")
        self._tries += 1
        data = self._list(address, None if parent is None else (parent, manifest_list), sequence)
        self._files.put(address, data)
        now = max(int(time.time() * 1000), int(metadata.get("last-updated-ms") or 0))
        snapshot = {
            "snapshot-id": self.snapshot_id,
            **({} if parent is None else {"parent-snapshot-id": parent["snapshot-id"]}),
            **({"sequence-number": sequence} if self._definition.format_version > 1 else {}),
            "timestamp-ms": now,
            "manifest-list": address,
            "summary": {**self._summary(parent), **said},
            "schema-id": self._definition.current_schema_id,
        }
        return Extended(_with_snapshot(metadata, snapshot, sequence), data)

    def _manifest_of(self, data_files: Sequence[DataFile]) -> ManifestFile:
        from pyiceberg.manifest import ManifestEntry, ManifestEntryStatus, write_manifest

        address = self._locations.new_metadata_location(f"{self._uuid}-m0.avro")
        with write_manifest(
            format_version=self._definition.format_version, spec=self._definition.spec(), schema=self._definition.schema(),
            output_file=self._files.new_output(address), snapshot_id=self.snapshot_id, avro_compression=self._compression,
        ) as writer:  # fmt: skip
            for file in data_files:
                writer.add(
                    ManifestEntry.from_args(
                        status=ManifestEntryStatus.ADDED, snapshot_id=self.snapshot_id, sequence_number=None,
                        file_sequence_number=None, data_file=file,
                    )
                )  # fmt: skip
        return writer.to_manifest_file()

    def _list(self, address: str, before: tuple[Mapping[str, Any], bytes | None] | None, sequence: int) -> bytes:
        """The list of our manifest behind those of the snapshot ``before``, whose list's content may be at hand."""
        if before is None:
            return self._written(address, None, [self._manifest], sequence)
        parent, known = before
        data = self._read(str(parent["manifest-list"])) if known is None else known
        alone = self._written(address, parent["snapshot-id"], [self._manifest], sequence)
        found = extended(data, alone, str(parent["manifest-list"]))
        if found is not None:
            return found
        from pyiceberg.manifest import read_manifest_list

        kept = list(read_manifest_list(self._files.new_input(str(parent["manifest-list"]))))
        return self._written(address, parent["snapshot-id"], [*kept, self._manifest], sequence)

    def _written(self, address: str, parent: int | None, manifests: list[ManifestFile], sequence: int) -> bytes:
        from pyiceberg.manifest import write_manifest_list

        held = HeldFile(self._files, address)
        with write_manifest_list(
            format_version=self._definition.format_version, output_file=held, snapshot_id=self.snapshot_id,
            parent_snapshot_id=parent, sequence_number=sequence, avro_compression=self._compression,
        ) as writer:  # fmt: skip
            writer.add_manifests(manifests)
        return held.data

    def _read(self, address: str) -> bytes:
        with self._files.new_input(address).open() as stream:
            data = stream.read()
        for _ in read_container(data, address)[1]:
            pass  # each block is whole
        return data

    def _summary(self, parent: Mapping[str, Any] | None) -> dict[str, str]:
        from pyiceberg.table.snapshots import Operation, Summary, update_snapshot_summaries

        made = update_snapshot_summaries(Summary(Operation.APPEND, **self._added), (parent or {}).get("summary"))
        return {"operation": Operation.APPEND.value, **made.additional_properties}


def extended(before: bytes, alone: bytes, where: str) -> bytes | None:
    """The Avro file ``alone`` with the blocks of ``before`` in front of its own; None where their schemas or codecs differ.

    The header is that of ``alone`` but for the sync marker, which every block of ``before`` ends with. A block without records,
    as a list that names no manifest has, is left out: readers of Avro take it for the end. Raises `NotFound` for a damaged file,
    named ``where``.
    """
    (old, held), (new, _) = read_container(before, where), read_container(alone, where)
    if old.codec != new.codec or old.metadata["avro.schema"] != new.metadata["avro.schema"]:
        return None
    kept = list(held)
    if not all(block.count for block in kept):
        before = write_container(old, [block for block in kept if block.count])
    blocks, own = before[len(old.raw) :], alone[len(new.raw) :]
    return b"".join((new.raw[:-SYNC_BYTES], old.sync, blocks, own[:-SYNC_BYTES], old.sync))


def newest_snapshot(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The snapshot at the head of ``main``; None in a table without one. Raises `NotFound` where it is named and missing."""
    named = ((metadata.get("refs") or {}).get("main") or {}).get("snapshot-id", metadata.get("current-snapshot-id"))
    if named in (None, -1):
        return None
    for raw in metadata.get("snapshots") or ():
        if raw.get("snapshot-id") == named and "manifest-list" in raw:
            return dict(raw)
    raise NotFound(f"{metadata.get('location')}: its metadata has no snapshot {named} with a manifest list: it is damaged")


def _with_snapshot(metadata: Mapping[str, Any], snapshot: Mapping[str, Any], sequence: int) -> dict[str, Any]:
    """``metadata`` with ``snapshot`` as its newest; what nobody here knows stays as it is."""
    number, now = snapshot["snapshot-id"], snapshot["timestamp-ms"]
    refs = metadata.get("refs") or {}
    made = {
        **metadata,
        "last-updated-ms": now,
        "current-snapshot-id": number,
        "snapshots": [*(metadata.get("snapshots") or ()), dict(snapshot)],
        "snapshot-log": [*(metadata.get("snapshot-log") or ()), {"snapshot-id": number, "timestamp-ms": now}],
        "refs": {**refs, "main": {**(refs.get("main") or {}), "snapshot-id": number, "type": "branch"}},
    }
    return {**made, "last-sequence-number": sequence} if "sequence-number" in snapshot else made
