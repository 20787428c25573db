"""Types of Avro that hold others: arrays, maps, records, unions (Avro 1.12, "Complex types"); `nodes` says what a node does."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from lakehouse.formats.iceberg.avro.nodes import NEVER, Node, Text
from lakehouse.formats.iceberg.avro.varint import long_bytes, read_long

__all__ = ["Array", "Captured", "Map", "Record", "Reference", "Union"]

COUNTS = 8  # lengths of one array or map that a pattern may hold
SHORT = 24  # items of an array of which each has a node of its own
LONGEST = 10_000  # items of an array or map that a pattern may hold


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
