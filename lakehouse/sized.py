"""Data that must have exactly the size that was promised, checked before anything is published, and the parts it is sent in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

from lakehouse.errors import Transfer
from lakehouse.store import Buffer

__all__ = ["MOST_PARTS", "PARTS_IN_FLIGHT", "PART_BYTES", "chunks_of", "counted", "exactly", "part_size"]

PART_BYTES = 8 << 20
MOST_PARTS = 10_000
"""What S3 allows, and the others more."""

PARTS_IN_FLIGHT = 2
_MIB = 1 << 20


def part_size(size: int) -> int:
    """Bytes a part, so that `MOST_PARTS` hold ``size`` bytes: 8 MiB, or more in whole MiB."""
    needed = -(-size // MOST_PARTS)
    return max(PART_BYTES, -(-needed // _MIB) * _MIB)


def chunks_of(data: Buffer | Iterable[Buffer]) -> Iterable[Buffer]:
    """``data`` as the iterable that it is, or of itself alone."""
    return cast(Iterable[Buffer], (data,) if isinstance(data, bytes | memoryview) else data)


def counted(data: Iterable[Buffer], size: int, where: str) -> Iterator[Buffer]:
    """The chunks of ``data``, none of them empty. Raises `Transfer` before the chunk that is too much, or at an end too early."""
    given = 0
    for chunk in data:
        given += len(chunk)
        if given > size:
            raise Transfer(f"{where}: more than the {size} bytes that were promised were given; nothing was written")
        if chunk:
            yield chunk
    if given < size:
        raise Transfer(f"{where}: {given} bytes were given where {size} were promised; nothing was written")


def exactly(data: Buffer | Iterable[Buffer], size: int, where: str) -> Buffer:
    """The whole of ``data``. Raises `Transfer` when it has not ``size`` bytes."""
    found = list(counted(chunks_of(data), size, where))
    return found[0] if len(found) == 1 else b"".join(found)
