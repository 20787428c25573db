"""Iceberg tables by hand whose files are what a history says, and whose manifests are summed up and rewritten."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pyarrow as pa

from tests.formats.iceberg.handmade import Entry, HandmadeTable

__all__ = ["IcebergTable"]


class IcebergTable(HandmadeTable):
    """Lists of manifests summarise the partitions of each."""

    def write(self, table: pa.Table, file_format: str, *, partition: Sequence[Any], **others: Any) -> Entry:
        """Write a data file as it is, with the ids that its columns have or have not."""
        return self._file(table, 0, "data", partition, file_format, **others)

    def _add_manifest(self, records: list[Any], content: int, spec: int, snapshot: int, edits: Mapping[str, Any]) -> None:
        """With a summary of the partitions of its files."""
        places = range(len(self.metadata["partition-specs"][spec]["fields"]))
        partitions = [record["data_file"]["partition"] for record in records]
        tuples = [tuple(each.values()) if isinstance(each, dict) else each for each in partitions]
        summaries = [self._summary(spec, place, [each[place] for each in tuples]) for place in places]
        super()._add_manifest(records, content, spec, snapshot, {"partitions": summaries, **edits})

    def _summary(self, spec: int, place: int, values: list[Any]) -> dict[str, Any]:
        known = [value for value in values if value is not None]
        kind = self.avro_types[self.metadata["partition-specs"][spec]["fields"][place]["field-id"]]
        if kind == "string":
            ends = sorted(value.encode() for value in known)
        else:
            layout = {"int": "<i", "long": "<q", "boolean": "?"}[kind]
            ends = [struct.pack(layout, value) for value in sorted(known)]
        lower, upper = (ends[0], ends[-1]) if ends else (None, None)
        return {"contains_null": len(known) < len(values), "contains_nan": False, "lower_bound": lower, "upper_bound": upper}

    def rewrite_manifests(self, chance: Random) -> None:
        """Enter each live file anew as EXISTING, with the sequence number that it had; the next commit makes it a snapshot."""
        groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for manifest in self.manifests:
            number = manifest["sequence_number"]
            inherited = {"sequence_number": number, "file_sequence_number": number}
            live = ({**inherited, **record, "status": 0} for record in manifest["records"] if record["status"] != 2)
            groups.setdefault((manifest["content"], manifest["partition_spec_id"]), []).extend(live)
        self.manifests = []
        for (content, spec), records in groups.items():
            chance.shuffle(records)
            cut = chance.randint(0, len(records))
            for piece in (records[:cut], records[cut:]):
                if piece:
                    self._add_manifest(piece, content, spec, 7_000_000_000_000_000_000 + self.number + 1, {})
