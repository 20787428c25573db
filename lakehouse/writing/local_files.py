"""Files that were made on this machine, on their way to a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["Chunks"]

_CHUNK_BYTES = 8 << 20


class Chunks:
    """The bytes of ``file`` in chunks, from the start each time that it is iterated: a put that failed is tried again."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        with self._file.open("rb") as opened:
            while chunk := opened.read(_CHUNK_BYTES):
                yield chunk
