"""Actions of a commit, and the object keys that their paths stand for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from lakehouse.errors import NotFound, Unsupported

__all__ = [
    "ABSOLUTE_PATTERN",
    "Action",
    "actions_of",
    "committed_at",
    "is_absolute",
    "is_reserved",
    "object_key",
    "size_of",
    "values_of",
]

Action = tuple[str, dict[str, Any]]

ABSOLUTE_PATTERN = r"^(?:/|[A-Za-z][A-Za-z0-9+.\-]*:)"
"""An absolute path of an action: a whole URI, or one that starts at the root of a file system."""

_ABSOLUTE = re.compile(ABSOLUTE_PATTERN)
_SPACE = re.compile(r"[ \t\r\n]*")
_NOT_FOR_DATA = ("_delta_log", "_lake")
_DOUBTFUL = ("", "/", ".", "_")
"""What a path begins with that may be absolute, no file, or among metadata or receipts."""
_decoder = json.JSONDecoder()


def actions_of(where: str, data: bytes) -> Iterator[Action]:
    """The actions of one commit, as (kind, fields). Raises `NotFound`, naming ``where``, for a commit that cannot be read."""
    for _, value in values_of(where, data):
        for kind, fields in value.items():
            if isinstance(fields, dict):
                yield kind, fields


def values_of(where: str, data: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON objects of one commit, each with its text.

    PROTOCOL.md, "Delta Log Entries", asks for one action a line; pretty-printed ones exist, so a commit is read as a stream of
    JSON values. Raises `NotFound`, naming ``where``, for a commit that cannot be read.
    """
    try:
        text = data.decode("utf-8-sig")
        at = _skip(text, 0)
        while at < len(text):
            value, end = _decoder.raw_decode(text, at)
            if not isinstance(value, dict):
                raise ValueError(f"an action is an object, not {value!r:.40}")
            yield text[at:end], value
            at = _skip(text, end)
    except ValueError as error:
        raise NotFound(f"{where}: the commit cannot be read ({error})") from error


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def is_absolute(path: str) -> bool:
    """Whether an action's ``path`` is an absolute one."""
    return (":" in path or path.startswith("/")) and _ABSOLUTE.match(path) is not None


def object_key(where: str, path: object) -> str:
    """The object key, relative to the table, of an action's ``path``: a relative URI, decoded exactly once.

    PROTOCOL.md, "Add File and Remove File". Raises `Unsupported` for an absolute path, for one that leaves the table, and for
    one below ``_delta_log/`` or ``_lake/`` (no data file may lie among metadata or receipts), `NotFound` for an action that
    has none.
    """
    if not isinstance(path, str):
        raise NotFound(f"{where}: an action has no path, so the file that it means cannot be found")
    if ":" not in path and "%" not in path and ".." not in path and path[:1] not in _DOUBTFUL:
        return path
    try:
        key = unquote(path, errors="strict")
    except UnicodeDecodeError as error:
        raise Unsupported(f"{where}: the path {path!r} is not encoded UTF-8") from error
    if is_absolute(path) or key.startswith("/") or not key:
        raise Unsupported(f"{where}: the absolute path {path!r} stands where only a relative one can")
    if ".." in key.split("/"):
        raise Unsupported(f"{where}: the path {path!r} leaves the table")
    if is_reserved(key):
        raise Unsupported(f"{where}: the path {path!r} lies among the table's log or receipts, where no data file belongs")
    return key


def is_reserved(key: str) -> bool:
    """Whether ``key`` lies among the log or the receipts of the table."""
    return next((segment for segment in key.split("/") if segment not in ("", ".")), "") in _NOT_FOR_DATA


def size_of(fields: dict[str, Any]) -> int:
    """The size in bytes that an action states; 0 where it states none (removes and hand-made logs may)."""
    size = fields.get("size")
    return size if isinstance(size, int) and size > 0 else 0


def committed_at(info: dict[str, Any] | None) -> datetime | None:
    """When a commit was made, from its ``commitInfo``: the in-commit timestamp, else the writer's clock. UTC."""
    if info is None:
        return None
    stated = info.get("inCommitTimestamp", info.get("timestamp"))
    if isinstance(stated, str) and stated.isdigit():
        stated = int(stated)
    try:
        return datetime.fromtimestamp(stated / 1000, UTC) if isinstance(stated, int | float) else None
    except (OverflowError, ValueError, OSError):
        return None
