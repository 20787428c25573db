"""Whether the statistics of an add are those of its file, as far as the file's footer tells.

PROTOCOL.md, "Per-file Statistics". This finds files that were swapped, and an older file of the same size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from lakehouse.formats.delta.live import AddFile
from lakehouse.reading.examine import Flaw
from lakehouse.reading.footer import Footer, LeafFacts
from lakehouse.reading.held_types import can_hold

__all__ = ["ColumnTypes", "column_types", "statistics_of", "stats_flaws", "type_flaws"]

ColumnTypes = Mapping[str, str]
"""By the physical path of a leaf inside of structs only, dots between: its primitive type."""

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_CUT_CHARACTERS = 32
"""Writers cut the bounds of text to as many characters; shorter ones are exact."""
_CUT_BYTES = 64
"""Writers of Parquet cut the bounds of text in a footer to no fewer."""
_WHOLE = ("byte", "short", "integer", "long")
_DECIMAL = re.compile(r"decimal\(\d+,\s*-?\d+\)")


def column_types(schema: Any) -> dict[str, str]:
    """The leaves of a table's schema (PROTOCOL.md, "Schema Serialization Format")."""
    found: dict[str, str] = {}

    def below(fields: Any, prefix: str) -> None:
        for field in fields or ():
            name = (field.get("metadata") or {}).get("delta.columnMapping.physicalName", field.get("name"))
            kind = field.get("type")
            if isinstance(kind, str):
                found[f"{prefix}{name}"] = kind
            elif isinstance(kind, dict) and kind.get("type") == "struct":
                below(kind.get("fields"), f"{prefix}{name}.")

    below(schema, "")
    return found


def stats_flaws(add: AddFile, statistics: Mapping[str, Any], types: ColumnTypes, footer: Footer) -> Iterator[Flaw]:
    """What the ``statistics`` of ``add`` say that its footer does not. Kind: ``stats``.

    Without a deletion vector both tell of the same rows, so they are equal, but for what writers cut off; with one the log's tell
    of some of them.
    """
    lower, upper, nulls = (_flat(statistics.get(name)) for name in ("minValues", "maxValues", "nullCount"))
    wide = add.vector is not None or statistics.get("tightBounds") is False
    for leaf in footer.leaves:
        kind = types.get(leaf.name)
        if kind is None:
            continue
        missing = nulls.get(leaf.name)
        if not wide and isinstance(missing, int) and leaf.nulls is not None and leaf.nulls != missing:
            yield _flaw(add, f"has {leaf.nulls} nulls in {leaf.name}, the log says {missing}")
            return
        if leaf.lower is None or leaf.upper is None or (leaf.name not in lower and leaf.name not in upper):
            continue
        if message := _differs(leaf, kind, lower.get(leaf.name), upper.get(leaf.name), wide):
            yield _flaw(add, message)
            return


def type_flaws(add: AddFile, types: ColumnTypes, footer: Footer) -> Iterator[Flaw]:
    """The columns of the file that cannot be read as the table's. Kind: ``schema``."""
    for leaf in footer.leaves:
        kind = types.get(leaf.name)
        if kind is not None and not can_hold(leaf.kind, kind):
            yield Flaw("schema", add.path, f"holds {leaf.name} as {leaf.kind}, which cannot be read as the table's {kind}")


def _flaw(add: AddFile, message: str) -> Flaw:
    return Flaw("stats", add.path, f"{message} ({add.stated})")


def statistics_of(add: AddFile) -> Mapping[str, Any]:
    """The statistics of ``add``, decimals exact. Where a checkpoint has them as a struct, the number of rows."""
    if not isinstance(add.stats, str):
        return add.stats or {}
    try:
        found = json.loads(add.stats, parse_float=Decimal)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {}
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            found[f"{prefix}{name}"] = value
    return found


def _differs(leaf: LeafFacts, kind: str, lower: Any, upper: Any, wide: bool) -> str:
    """What is wrong with the bounds that the log states; "" where nothing is, or nothing can be told."""
    if kind == "string" and leaf.kind == "text":
        return _text_differs(leaf, lower, upper, wide)
    read = _READERS.get("decimal" if _DECIMAL.fullmatch(kind) else kind)
    if read is None:
        return ""
    try:
        low = None if lower is None else read(leaf, lower)
        high = None if upper is None else read(leaf, upper)
    except (ValueError, TypeError, OverflowError, ArithmeticError):
        return ""
    if (low is not None and _below(leaf.upper, low)) or (high is not None and _below(high, leaf.lower)):
        return _outside(leaf, lower, upper)
    if wide:
        return ""
    if (low is not None and not _equal(low, leaf.lower)) or (high is not None and not _equal(high, leaf.upper)):
        return _outside(leaf, lower, upper)
    return ""


def _outside(leaf: LeafFacts, lower: Any, upper: Any) -> str:
    return f"has {_shown(leaf.lower)} to {_shown(leaf.upper)} in {leaf.name}, the log says {lower} to {upper}"


def _shown(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


_Value = tuple[Any, Any]
"""A value in the units of the footer, and by how much the footer's may be off: writers cut timestamps to milliseconds."""


def _below(one: Any, other: Any) -> bool:
    """Whether ``one`` is surely less than ``other``; one of them is a `_Value`."""
    if isinstance(one, tuple):
        return bool(one[0] + one[1] < other)
    return bool(one < other[0] - other[1])


def _equal(value: _Value, there: Any) -> bool:
    return bool(abs(value[0] - there) <= value[1])


def _whole(leaf: LeafFacts, value: Any) -> _Value | None:
    return (value, 0) if leaf.kind == "integer" and isinstance(value, int) and not isinstance(value, bool) else None


def _floating(leaf: LeafFacts, value: Any) -> _Value | None:
    if leaf.kind != "float" or isinstance(value, str | bool):
        return None
    number = float(value)
    return (number, abs(number) * 1e-6) if number - number == 0 else None


def _decimal(leaf: LeafFacts, value: Any) -> _Value | None:
    if leaf.kind != "decimal" or isinstance(value, bool):
        return None
    unscaled = Decimal(str(value)).scaleb(leaf.scale)
    return (int(unscaled), abs(int(unscaled)) // 10**14)


def _date(leaf: LeafFacts, value: Any) -> _Value | None:
    return (date.fromisoformat(value[:10]).toordinal() - _EPOCH_DAY, 0) if leaf.kind == "date" else None


def _timestamp(leaf: LeafFacts, value: Any) -> _Value | None:
    if leaf.kind != "timestamp":
        return None
    moment = datetime.fromisoformat(value)
    since = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    micros = (since.days * 86400 + since.seconds) * 10**6 + since.microseconds
    return micros * leaf.scale // 10**6, max(1, leaf.scale // 1000)


def _boolean(leaf: LeafFacts, value: Any) -> _Value | None:
    return (int(value), 0) if leaf.kind == "boolean" and isinstance(value, bool) else None


_READERS: dict[str, Callable[[LeafFacts, Any], _Value | None]] = {
    **dict.fromkeys(_WHOLE, _whole),
    "float": _floating,
    "double": _floating,
    "decimal": _decimal,
    "date": _date,
    "timestamp": _timestamp,
    "timestamp_ntz": _timestamp,
    "boolean": _boolean,
}


def _text_differs(leaf: LeafFacts, lower: Any, upper: Any, wide: bool) -> str:
    there_low, there_high = leaf.lower, leaf.upper
    if not isinstance(there_low, bytes) or not isinstance(there_high, bytes):
        return ""
    if isinstance(lower, str):
        low = lower.encode()
        exact = len(lower) < _CUT_CHARACTERS and len(there_low) < _CUT_BYTES and not wide
        if (low != there_low) if exact else (low[:_CUT_CHARACTERS] > there_high and not there_high.startswith(low)):
            return _outside(leaf, lower, upper)
    if isinstance(upper, str):
        high = upper.encode()
        exact = len(upper) < _CUT_CHARACTERS and len(there_high) < _CUT_BYTES and not wide
        if (high != there_high) if exact else (high < there_low and not there_low.startswith(high)):
            return _outside(leaf, lower, upper)
    return ""
