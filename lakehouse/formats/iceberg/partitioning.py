"""Partition specs of a table's metadata (Iceberg table spec, "Partition Specs")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lakehouse.errors import NotFound

__all__ = ["PartitionField", "PartitionSpec", "specs_of"]

_FIRST_FIELD_ID = 1000


@dataclass(frozen=True, slots=True)
class PartitionField:
    """One value of a partition tuple: ``transform`` (as stated) of the columns ``source_ids``."""

    id: int
    name: str
    transform: str
    source_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PartitionSpec:
    """The fields of partition tuples, in their order."""

    id: int
    fields: tuple[PartitionField, ...]

    @property
    def is_unpartitioned(self) -> bool:
        """Whether all files are in one partition: no field but such as hold nothing (``void``)."""
        return all(field.transform == "void" for field in self.fields)


def specs_of(metadata: Mapping[str, Any], where: str) -> dict[int, PartitionSpec]:
    """The partition specs by their ids; of version 1 also the single one under ``partition-spec``. Raises `NotFound` if damaged.

    Ids of fields, optional in version 1, are then assigned from 1000 on.
    """
    stated = metadata.get("partition-specs")
    try:
        if not stated:
            return {0: PartitionSpec(0, _fields(metadata.get("partition-spec") or ()))}
        return {int(raw["spec-id"]): PartitionSpec(int(raw["spec-id"]), _fields(raw["fields"])) for raw in stated}
    except (KeyError, TypeError, ValueError) as error:
        raise NotFound(f"{where} is damaged: its partition specs cannot be read ({error!r}); restore the file") from error


def _fields(stated: Any) -> tuple[PartitionField, ...]:
    return tuple(
        PartitionField(
            id=int(raw.get("field-id", _FIRST_FIELD_ID + number)),
            name=str(raw["name"]),
            transform=str(raw["transform"]),
            source_ids=tuple(map(int, raw["source-ids"])) if "source-ids" in raw else (int(raw["source-id"]),),
        )
        for number, raw in enumerate(stated)
    )
