"""Data that must have exactly the size that was promised, checked before anything is published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lakehouse.errors import Transfer

__all__ = ["counted", "exactly"]


def counted(data: Iterable[bytes], size: int, where: str) -> Iterator[bytes]:
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


def exactly(data: bytes | Iterable[bytes], size: int, where: str) -> bytes:
    """The whole of ``data``. Raises `Transfer` when it has not ``size`` bytes."""
    if isinstance(data, bytes):
        chunks: Iterable[bytes] = (data,)
    elif isinstance(data, bytearray | memoryview):
        chunks = (bytes(data),)
    else:
        chunks = data
    found = [bytes(chunk) for chunk in counted(chunks, size, where)]
    return found[0] if len(found) == 1 else b"".join(found)
