"""The root of an Iceberg table: its metadata file, found and read."""

from __future__ import annotations

import re

__all__ = ["is_metadata_name"]

_NAME = re.compile(r".+(\.metadata\.json(\.gz)?|\.gz\.metadata\.json)")


def is_metadata_name(name: str) -> bool:
    """Whether ``name`` is that of a table metadata file (Iceberg spec, "Naming for file system tables", and gzip's spellings)."""
    return _NAME.fullmatch(name) is not None
