"""Absolute paths in the JSON objects of a log: commits, compacted logs, V2 checkpoints, version checksums.

What states nothing absolute stays byte for byte; elsewhere each action that does is written anew and all others keep their text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from lakehouse.formats.delta.actions import values_of

__all__ = ["localised_checksum_file", "localised_stream"]

Change = Callable[[str, str, dict[str, Any]], dict[str, Any]]
SidecarSize = Callable[[str], int | None]

_ABSOLUTE = re.compile(rb'"path"\s*:\s*"(?:[/\\]|[A-Za-z][A-Za-z0-9+.\-]*[:\\])|"storageType"\s*:\s*"[p\\]')
"""What an absolute path looks like in JSON text, or may (an escape). It is asked first, since nearly all objects have none."""


def localised_stream(where: str, data: bytes, change: Change, sidecar_size: SidecarSize) -> bytes | None:
    """A stream of actions with what ``change`` makes of each; None where all stay as they are.

    ``sidecar_size`` gives the new size of a sidecar that was rewritten. An action that is pretty-printed becomes one line where
    the stream is rewritten at all. Raises `NotFound` for a stream that cannot be read.
    """
    if _ABSOLUTE.search(data) is None and b'"sidecar"' not in data:
        return None
    lines: list[str] = []
    changed = False
    for text, value in values_of(where, data):
        fresh = dict(_changed(where, value, change, sidecar_size))
        same = all(fresh[kind] is fields for kind, fields in value.items())
        changed = changed or not same
        lines.append(text if same and "\n" not in text else _text(fresh))
    return ("\n".join(lines) + "\n").encode() if changed else None


def _changed(where: str, value: dict[str, Any], change: Change, sidecar_size: SidecarSize) -> Iterator[tuple[str, Any]]:
    for kind, fields in value.items():
        if not isinstance(fields, dict):
            yield kind, fields
        elif kind == "sidecar":
            size = sidecar_size(str(fields.get("path")).rpartition("/")[2])
            yield kind, fields if size is None else {**fields, "sizeInBytes": size}
        else:
            yield kind, change(where, kind, fields)


def localised_checksum_file(where: str, data: bytes, change: Change) -> bytes | None:
    """A version checksum with the paths in its ``allFiles`` changed (PROTOCOL.md, "Version Checksum File").

    None where it stays as it is; so does one that is no JSON, which readers pass over.
    """
    if _ABSOLUTE.search(data) is None:
        return None
    try:
        value = json.loads(data)
        files = value["allFiles"]
        fresh = [change(where, "add", fields) for fields in files]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if all(new is old for new, old in zip(fresh, files, strict=True)):
        return None
    return _text({**value, "allFiles": fresh}).encode()


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
