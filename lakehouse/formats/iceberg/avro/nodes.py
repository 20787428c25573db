"""One class a type of Avro: how its values are stepped over, matched, read and written (Avro 1.12, "Binary encoding").

Every node does the same thing in two ways. ``skip`` steps over one value in Python, exactly. ``pattern`` is a regular expression
over bytes that matches one value in its most usual forms, many times faster. Avro's encoding can be told apart from its first
byte on, so whatever such a pattern matches is the value that ``skip`` would have found; where it does not match, ``skip`` takes
over from the same position. Patterns hold the lengths of texts and arrays that ``skip`` has met so far.

Errors in the data are IndexError (cut off) and ValueError; the caller, who knows the file, translates them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

from lakehouse.formats.iceberg.avro.varint import long_bytes, read_long

__all__ = ["Array", "Captured", "Enum", "Fixed", "Map", "Node", "Number", "Record", "Reference", "Text", "Union"]

NUMBER = rb"[\x80-\xff]{0,9}+[\x00-\x7f]"
NEVER = rb"(?!)"
LENGTHS = 512  # lengths of one text that a pattern may hold
COUNTS = 8  # lengths of one array or map that a pattern may hold
SHORT = 24  # items of an array of which each has a node of its own
LONGEST = 10_000  # items of an array or map that a pattern may hold


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


class Items(Node):
    """What arrays and maps share: blocks of items, a negative count being followed by the size of its block in bytes.

    ``make`` gives a node of the items' type. In arrays of the same length the same columns stand in the same places, so each
    place of a short array has a node of its own, which learns the forms of that place alone.
    """

    def __init__(self, make: Callable[[], Node]) -> None:
        self._make, self._item = make, make()
        self._places: dict[int, tuple[Node, ...]] = {}
        self._counts: dict[int, None] = {}

    def skip(self, data: bytes, pos: int) -> int:
        count, size, start = _block(data, pos)
        places = self._places_of(count) if size is None else None
        if places is not None:
            pos = start
            for place in places:
                pos = place.skip(data, pos)
            if pos < len(data) and data[pos] == 0:
                return pos + 1
            return self._skip_blocks(data, pos)
        end = self._skip_blocks(data, pos)
        if size is None and count <= LONGEST and len(self._counts) < COUNTS:
            self._counts[count] = None
        return end

    def _places_of(self, count: int) -> tuple[Node, ...] | None:
        if count not in self._places and 0 < count <= SHORT and len(self._places) < COUNTS:
            self._places[count] = tuple(self._make() for _ in range(count))
        return self._places.get(count)

    def _skip_blocks(self, data: bytes, pos: int) -> int:
        while True:
            count, size, pos = _block(data, pos)
            if count == 0:
                return pos
            if size is not None:
                pos += size
                if pos > len(data):
                    raise IndexError("an array is cut off")
                continue
            for _ in range(count):
                before = pos
                pos = self._item.skip(data, pos)
                if pos == before:  # an item without bytes: so are all others of its type
                    break

    def pattern(self) -> bytes:
        forms = [rb"\x00"]
        for count, places in list(self._places.items()):
            forms.append(re.escape(long_bytes(count)) + b"".join(place.pattern() for place in places) + rb"\x00")
        item = self._item.pattern()
        forms += [re.escape(long_bytes(count)) + b"(?:%s){%d}\\x00" % (item, count) for count in list(self._counts) if count]
        return b"(?:" + b"|".join(forms) + b")"

    def _read_items(self, data: bytes, pos: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        while True:
            count, _, pos = _block(data, pos)
            if count == 0:
                return values, pos
            for _ in range(count):
                before = pos
                value, pos = self._item.read(data, pos)
                if pos == before and count > len(data):
                    raise ValueError("an array has an impossible length")
                values.append(value)

    def _write_items(self, values: Sequence[Any], out: bytearray) -> None:
        if values:
            out += long_bytes(len(values))
            for value in values:
                self._item.write(value, out)
        out.append(0)


class Array(Items):
    """Read as a list, written in one block."""

    def read(self, data: bytes, pos: int) -> tuple[list[Any], int]:
        return self._read_items(data, pos)

    def write(self, value: Any, out: bytearray) -> None:
        self._write_items(value, out)

    def accepts(self, value: Any) -> bool:
        return isinstance(value, list)


class Map(Items):
    """Read as a dict, written in one block. Its items are records of a key and a value."""

    def __init__(self, make: Callable[[], Node]) -> None:
        super().__init__(lambda: Record({"key": Text(str), "value": make()}))

    def read(self, data: bytes, pos: int) -> tuple[dict[str, Any], int]:
        items, pos = self._read_items(data, pos)
        return {item["key"]: item["value"] for item in items}, pos

    def write(self, value: Any, out: bytearray) -> None:
        self._write_items([{"key": key, "value": each} for key, each in value.items()], out)

    def accepts(self, value: Any) -> bool:
        return isinstance(value, dict) and all(isinstance(key, str) for key in value)


class Record(Node):
    """Read as a dict of its fields, in the schema's order."""

    def __init__(self, fields: dict[str, Node]) -> None:
        self._fields = fields
        self.nodes = tuple(fields.values())

    def skip(self, data: bytes, pos: int) -> int:
        for node in self.nodes:
            pos = node.skip(data, pos)
        return pos

    def pattern(self) -> bytes:
        return b"".join(node.pattern() for node in self.nodes)

    def read(self, data: bytes, pos: int) -> tuple[dict[str, Any], int]:
        record: dict[str, Any] = {}
        for name, node in self._fields.items():
            record[name], pos = node.read(data, pos)
        return record, pos

    def write(self, value: Any, out: bytearray) -> None:
        for name, node in self._fields.items():
            node.write(value[name], out)

    def accepts(self, value: Any) -> bool:
        return isinstance(value, dict) and value.keys() == self._fields.keys()


class Union(Node):
    """The number of a branch, then a value of that branch. A value is written into the first branch that accepts it."""

    def __init__(self, branches: Sequence[Node]) -> None:
        self._branches = tuple(branches)
        self._met: dict[int, None] = {}

    def skip(self, data: bytes, pos: int) -> int:
        branch, pos = self.branch(data, pos)
        return branch.skip(data, pos)

    def pattern(self) -> bytes:
        forms = [
            re.escape(long_bytes(index)) + (b"" if index in self._met else NEVER) + branch.pattern()
            for index, branch in enumerate(self._branches)
        ]
        return b"(?:" + b"|".join(forms) + b")"

    def only(self) -> bytes | None:
        met = list(self._met)
        inner = self._branches[met[0]].only() if len(met) == 1 else None
        return None if inner is None else long_bytes(met[0]) + inner

    def read(self, data: bytes, pos: int) -> tuple[Any, int]:
        branch, pos = self.branch(data, pos)
        return branch.read(data, pos)

    def write(self, value: Any, out: bytearray) -> None:
        for index, branch in enumerate(self._branches):
            if branch.accepts(value):
                out += long_bytes(index)
                branch.write(value, out)
                return
        raise ValueError(f"no branch of the union holds {value!r}")

    def accepts(self, value: Any) -> bool:
        return any(branch.accepts(value) for branch in self._branches)

    def branch(self, data: bytes, pos: int) -> tuple[Node, int]:
        """The branch that the value at ``pos`` is of, and where the value itself begins."""
        index, pos = read_long(data, pos)
        if not 0 <= index < len(self._branches):
            raise ValueError(f"a union has no branch {index}")
        self._met[index] = None
        return self._branches[index], pos


class Reference(Node):
    """A type named inside itself; ``make`` compiles it once it is met. No pattern matches it."""

    def __init__(self, make: Callable[[], Node]) -> None:
        self._make = make
        self._made: Node | None = None

    def _node(self) -> Node:
        if self._made is None:
            self._made = self._make()
        return self._made

    def skip(self, data: bytes, pos: int) -> int:
        return self._node().skip(data, pos)

    def pattern(self) -> bytes:
        return NEVER

    def read(self, data: bytes, pos: int) -> tuple[Any, int]:
        return self._node().read(data, pos)

    def write(self, value: Any, out: bytearray) -> None:
        self._node().write(value, out)

    def accepts(self, value: Any) -> bool:
        return self._node().accepts(value)


class Captured(Node):
    """A wanted field: ``node``, group number ``group`` of the pattern."""

    def __init__(self, node: Node, group: int) -> None:
        self.node, self.group = node, group

    def skip(self, data: bytes, pos: int) -> int:
        return self.node.skip(data, pos)

    def pattern(self) -> bytes:
        return b"(" + self.node.pattern() + b")"

    def only(self) -> bytes | None:
        return self.node.only()

    def read(self, data: bytes, pos: int) -> tuple[Any, int]:
        return self.node.read(data, pos)

    def write(self, value: Any, out: bytearray) -> None:
        self.node.write(value, out)

    def accepts(self, value: Any) -> bool:
        return self.node.accepts(value)


def _block(data: bytes, pos: int) -> tuple[int, int | None, int]:
    """Number of items, size in bytes where it is stated, position of the first item."""
    count, pos = read_long(data, pos)
    if count >= 0:
        return count, None, pos
    size, pos = read_long(data, pos)
    if size < 0:
        raise ValueError("an array has a negative size")
    return -count, size, pos
