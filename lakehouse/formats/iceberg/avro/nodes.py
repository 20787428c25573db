"""What every type of Avro can do, and the types without others inside (Avro 1.12, "Binary encoding").

Every node does the same thing in two ways. ``skip`` steps over one value in Python, exactly. ``pattern`` is a regular expression
over bytes that matches one value in its most usual forms, many times faster. Avro's encoding can be told apart from its first
byte on, so whatever such a pattern matches is the value that ``skip`` would have found; where it does not match, ``skip`` takes
over from the same position. Patterns hold the lengths of texts and arrays that ``skip`` has met so far.

Errors in the data are IndexError (cut off) and ValueError; the caller, who knows the file, translates them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any

from lakehouse.formats.iceberg.avro.varint import long_bytes, read_long

__all__ = ["NEVER", "NUMBER", "Enum", "Fixed", "Node", "Number", "Text"]

NUMBER = rb"[\x80-\xff]{0,9}+[\x00-\x7f]"
NEVER = rb"(?!)"
LENGTHS = 512  # lengths of one text that a pattern may hold


class Node:
    """A type of the writer's schema."""

    def skip(self, data: bytes, pos: int) -> int:
        """The position after the value at ``pos``."""
        raise NotImplementedError

    def pattern(self) -> bytes:
        """An expression that matches one value in the forms known so far."""
        raise NotImplementedError

    def only(self) -> bytes | None:
        """The one encoding that ``pattern`` matches, where no other has been met."""
        return None

    def read(self, data: bytes, pos: int) -> tuple[Any, int]:
        """The value at ``pos`` as Python's, and the position after it. Logical types are left as their raw type."""
        raise NotImplementedError

    def write(self, value: Any, out: bytearray) -> None:
        """Appends the encoded ``value``."""
        raise NotImplementedError

    def accepts(self, value: Any) -> bool:
        """Whether a union may hold ``value`` in a branch of this type."""
        raise NotImplementedError


class Number(Node):
    """``int`` and ``long``, of ``bits`` bits."""

    def __init__(self, bits: int) -> None:
        self._low, self._high = -(1 << bits - 1), (1 << bits - 1) - 1
        self._seen: bytes | None = None  # the one value met so far; b"": there were several

    def skip(self, data: bytes, pos: int) -> int:
        end = read_long(data, pos)[1]
        if self._seen != b"":
            value = data[pos:end]
            self._seen = value if self._seen in (None, value) else b""
        return end

    def pattern(self) -> bytes:
        return re.escape(self._seen) if self._seen else NUMBER

    def only(self) -> bytes | None:
        return self._seen or None

    def read(self, data: bytes, pos: int) -> tuple[int, int]:
        return read_long(data, pos)

    def write(self, value: Any, out: bytearray) -> None:
        if not self.accepts(value):
            raise ValueError(f"{value!r} is no number that fits its field")
        out += long_bytes(value)

    def accepts(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self._low <= value <= self._high


class Enum(Node):
    def __init__(self, symbols: Sequence[str]) -> None:
        self._symbols = list(symbols)

    def skip(self, data: bytes, pos: int) -> int:
        return read_long(data, pos)[1]

    def pattern(self) -> bytes:
        return NUMBER

    def read(self, data: bytes, pos: int) -> tuple[str, int]:
        index, pos = read_long(data, pos)
        if not 0 <= index < len(self._symbols):
            raise ValueError(f"an enum has no symbol {index}")
        return self._symbols[index], pos

    def write(self, value: Any, out: bytearray) -> None:
        out += long_bytes(self._symbols.index(value))

    def accepts(self, value: Any) -> bool:
        return value in self._symbols


class Fixed(Node):
    """Types of a known size: ``null``, ``boolean``, ``float``, ``double`` and ``fixed``. ``form``: as `struct` writes it."""

    def __init__(self, size: int, kind: type[Any], form: str = "") -> None:
        self._size, self._kind, self._form = size, kind, form

    def skip(self, data: bytes, pos: int) -> int:
        pos += self._size
        if pos > len(data):
            raise IndexError("a value is cut off")
        return pos

    def pattern(self) -> bytes:
        return b".{%d}" % self._size if self._size else b""

    def only(self) -> bytes | None:
        return None if self._size else b""

    def read(self, data: bytes, pos: int) -> tuple[Any, int]:
        end = self.skip(data, pos)
        raw = data[pos:end]
        if self._form:
            return struct.unpack(self._form, raw)[0], end
        return (raw if self._size or self._kind is bytes else None), end

    def write(self, value: Any, out: bytearray) -> None:
        if not self.accepts(value):
            raise ValueError(f"{value!r} does not fit its field")
        if self._form:
            out += struct.pack(self._form, value)
        elif self._kind is bytes:
            out += value

    def accepts(self, value: Any) -> bool:
        return isinstance(value, self._kind) and (self._kind is not bytes or len(bytes(value)) == self._size)


class Text(Node):
    """``string`` (read as str) and ``bytes``."""

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self._lengths: dict[int, None] = {}  # in the order in which they were met

    def skip(self, data: bytes, pos: int) -> int:
        size, pos = read_long(data, pos)
        end = pos + size
        if size < 0 or end > len(data):
            raise IndexError("a text is cut off")
        if len(self._lengths) < LENGTHS:
            self._lengths[size] = None
        return end

    def pattern(self) -> bytes:
        sizes = list(self._lengths)
        if len(sizes) > 1 and max(sizes) - min(sizes) < 64:  # lengths between them are to be expected, and small ones
            sizes = list(dict.fromkeys([*sizes, *range(min(sizes) if max(sizes) > 64 else 0, max(sizes))]))
        forms = [re.escape(long_bytes(size)) + (b".{%d}" % size if size else b"") for size in sizes]
        return b"(?:" + b"|".join(forms) + b")" if forms else NEVER

    def read(self, data: bytes, pos: int) -> tuple[Any, int]:
        size, pos = read_long(data, pos)
        end = pos + size
        if size < 0 or end > len(data):
            raise IndexError("a text is cut off")
        return (str(data[pos:end], "utf-8") if self._kind is str else data[pos:end]), end

    def write(self, value: Any, out: bytearray) -> None:
        raw = value.encode() if self._kind is str else value
        out += long_bytes(len(raw))
        out += raw

    def accepts(self, value: Any) -> bool:
        return isinstance(value, self._kind)
