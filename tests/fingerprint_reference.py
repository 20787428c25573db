"""`lrh1` in plain Python, value by value, for tests: what docs/fingerprint.md says, and nothing fast."""

from __future__ import annotations

import struct
from functools import reduce
from operator import xor
from typing import Any

M, G = 2**64 - 1, 0x9E3779B97F4A7C15


def mix(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & M
    x = (x ^ x >> 27) * 0x94D049BB133111EB & M
    return x ^ x >> 31


CLASSES = "null boolean integer decimal float date time timestamp instant duration bytes list map struct name key value row"
SEED = {name: mix((index + 1) * G & M) for index, name in enumerate(CLASSES.split())}


def sequence(seed: int, length: int, items: Any) -> int:
    return (seed ^ length) + sum(mix(item + (index + 1) * G & M) for index, item in enumerate(items)) & M


def data(value: bytes, seed: int) -> int:
    padded = value + bytes(-len(value) % 8)
    return sequence(seed, len(value), struct.unpack(f"<{len(padded) // 8}Q", padded))


def integer(value: int, seed: int) -> int:
    for size in 16, 32:
        if not -(2**63) <= value < 2**63 and -(1 << 8 * size - 1) <= value < 1 << 8 * size - 1:
            return data(value.to_bytes(size, "little", signed=True), seed)
    return value & M ^ seed


def cell(name: str, value: Any, kind: Any) -> int:
    return mix(code(value, kind) ^ data(name.encode(), SEED["bytes"]) ^ SEED["name"])


def code(value: Any, kind: Any) -> int:
    """`kind`: a class of CLASSES, ("decimal", scale), ("list", kind), ("map", kind, kind) or ("struct", {name: kind}).

    A decimal is its unscaled integer, a date days since 1970-01-01, times are nanoseconds, a map is a list of pairs.
    """
    name, *inner = kind if isinstance(kind, tuple) else (kind,)
    seed = SEED["null" if value is None else name]
    if value is None:
        return seed
    if name in ("boolean", "date"):
        return int(value) & M ^ seed
    if name in ("integer", "decimal"):
        return integer(value, seed ^ sum(inner) & M)
    if name == "float":
        bits = struct.unpack("<Q", struct.pack("<d", value + 0.0))[0]
        return int(0x7FF8000000000000 if value != value else bits) ^ seed
    if name == "bytes":
        return data(value, seed)
    if name == "list":
        return sequence(seed, len(value), [code(item, inner[0]) for item in value])
    if name == "map":
        pairs = [mix(code(k, inner[0]) ^ SEED["key"]) + mix(code(v, inner[1]) ^ SEED["value"]) & M for k, v in value]
        return (seed ^ len(value)) + sum(map(mix, pairs)) & M
    if name == "struct":
        return seed + sum(cell(field, value[field], kind) for field, kind in inner[0].items()) & M
    micros, rest = divmod(int(value), 1000)
    return mix(micros & M ^ seed) + rest * G & M if rest else micros & M ^ seed


def fingerprint(rows: list[dict[str, Any]], kinds: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """The digest of rows whose columns have these kinds, and the digest of each column."""
    hashes = [mix(sum(cell(name, row[name], kind) for name, kind in kinds.items()) & M) for row in rows]
    totals = (sum(hashes) & M, sum(mix(one ^ SEED["row"]) for one in hashes) & M, reduce(xor, hashes, 0))
    columns = {}
    for name, kind in kinds.items():
        cells = [cell(name, row[name], kind) for row in rows]
        columns[name] = f"{sum(cells) & M:016x}{reduce(xor, cells, 0):016x}"
    return "{:016x}{:016x}{:016x}".format(*totals), columns
