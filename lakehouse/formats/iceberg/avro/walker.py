"""Finds wanted fields in the records of an Avro block, as spans of bytes, so that they alone are decoded or replaced.

::

    walker = compile_walker(header.schema, {2147483546: "file_path", 2147483545: "pos"})
    path = walker.at(2147483546)                      # None: this file has no such field
    for spans in walker.records(block, where):        # one tuple a record
        stated = walker.decode(2147483546, block.data, spans[path])

A walker is compiled from the file's own schema, whatever its order of fields and its unions; fields that nobody asked for are
stepped over and survive. What a record looks like (lengths of texts, numbers of columns) repeats through a file, so a walker
matches whole records by one regular expression made of the forms met so far, and walks the schema for a record that it does not
match. Both give the same spans: see `lakehouse.formats.iceberg.avro.nodes`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from operator import attrgetter
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.avro import nested, nodes
from lakehouse.formats.iceberg.avro.container import Block

__all__ = ["ABSENT", "Encoded", "Walker", "compile_walker", "encoded", "splice"]

Span = tuple[int, int]
Change = tuple[int, int, bytes]
Encoded = tuple[bytes | None, ...]
Record = TypeVar("Record")

ABSENT: Span = (-1, -1)
"""The span of a field that a record does not hold, since the record around it is null."""

_Path = tuple[str, ...]

LEVELS = 3  # of records that wanted fields are looked for in: a manifest's entry, its data file, its partition
REFERENCES = 10_000  # to types by name: types that hold each other twice grow without end


def compile_walker(schema: Any, wanted: Mapping[int, str]) -> Walker:
    """A walker for files written with ``schema`` (parsed JSON).

    ``wanted``: field id → dotted name (``data_file.file_path``). A field is found by its ``field-id``; where no field of the
    schema has one, by its name. Fields inside arrays and maps are never found. Raises ValueError for a schema that is none.
    Walkers are kept and learn: the same schema and fields give the same one again.
    """
    return _compiled(json.dumps(schema), tuple(wanted.items()))


def encoded(data: bytes, spans: tuple[Span, ...]) -> Encoded:
    """What `Walker.encodings` gives for a record of which `Walker.records` gave ``spans``."""
    return tuple(None if span == ABSENT else data[span[0] : span[1]] for span in spans[1:])


def splice(data: bytes, changes: Iterable[Change]) -> bytes:
    """``data`` with each (start, end, replacement) put in; changes ascend and do not overlap."""
    parts: list[bytes] = []
    last = 0
    for start, end, replacement in changes:
        parts.append(data[last:start])
        parts.append(replacement)
        last = end
    parts.append(data[last:])
    return b"".join(parts)


class Walker:
    """Use `compile_walker`. May be shared by threads."""

    def __init__(self, root: nodes.Node, fields: Mapping[int, tuple[int, nodes.Node]]) -> None:
        self._root = root
        self._fields = dict(fields)
        self._expression = nodes.NEVER
        self._match: Callable[[bytes, int], re.Match[bytes] | None] = re.compile(nodes.NEVER).match
        self._misses, self._due = 0, 1
        self._learning = Lock()

    def at(self, field_id: int) -> int | None:
        """Where a record's tuple holds the span of that field; None where the schema has no such field."""
        return self._fields[field_id][0] if field_id in self._fields else None

    def records(self, block: Block, where: str) -> Iterator[tuple[Span, ...]]:
        """For each record the (start, end) of the record itself, then of each wanted field, in the schema's order (see `at`).

        A field's span is the whole encoded field, the number of its union's branch included; `ABSENT` where it is not there.
        Raises `NotFound` when the records do not fill the block exactly.
        """
        return self._each(block, where, attrgetter("regs"), lambda spans: spans)

    def encodings(self, block: Block, where: str) -> Iterator[Encoded]:
        """For each record the bytes of each wanted field, in the schema's order, without the record itself; None for `ABSENT`.

        Faster than `records`, for those who replace nothing. Raises as it does.
        """
        return self._each(block, where, re.Match.groups, partial(encoded, block.data))

    def _each(
        self,
        block: Block,
        where: str,
        matched: Callable[[re.Match[bytes]], Record],
        walked: Callable[[tuple[Span, ...]], Record],
    ) -> Iterator[Record]:
        data, pos, match = block.data, 0, self._match
        try:
            for _ in range(block.count):
                found = match(data, pos)
                if found is not None:
                    pos = found.end()
                    yield matched(found)
                    continue
                spans = self._walk(data, pos)
                match, pos = self._match, spans[0][1]
                yield walked(spans)
        except (IndexError, ValueError) as error:
            raise NotFound(
                f"{where} is damaged: a record does not follow the file's schema ({error}); restore the file"
            ) from error
        if pos != len(data):
            raise NotFound(f"{where} is damaged: a block holds more than its {block.count} records; restore the file")

    def decode(self, field_id: int, data: bytes, span: Span) -> Any:
        """The value of a wanted field as Python's (a record is a dict, an array a list, null None), None for `ABSENT`.

        Raises ValueError for text that is not UTF-8 and other values that are none.
        """
        return None if span == ABSENT else self._fields[field_id][1].read(data, span[0])[0]

    def encode(self, field_id: int, value: Any) -> bytes:
        """``value`` as that field is written, in the first branch of a union that takes it. ValueError when none does."""
        out = bytearray()
        self._fields[field_id][1].write(value, out)
        return bytes(out)

    def only(self, field_id: int) -> bytes | None:
        """The one encoding of the field in all records walked so far, of this file or others; None where it is not known."""
        return self._fields[field_id][1].only()

    def reader(self, field_id: int) -> Callable[[bytes, int], tuple[Any, int]]:
        """What reads the field at the start of its span and gives (value, end): `decode` for tight loops."""
        return self._fields[field_id][1].read

    def text_reader(self, field_id: int) -> Callable[[bytes], Any]:
        """`decode` of a text field from its bytes, for tight loops: what stands before texts of the same length is kept."""
        read = self._fields[field_id][1].read
        heads: dict[int, bytes] = {}

        def decode(raw: bytes) -> Any:
            head = heads.get(len(raw))
            if head is not None and raw.startswith(head):
                return str(raw[len(head) :], "utf-8")
            value = read(raw, 0)[0]
            if isinstance(value, str):
                heads[len(raw)] = raw[: len(raw) - len(value.encode())]
            return value

        return decode

    def text_writer(self, field_id: int) -> Callable[[str], bytes]:
        """`encode` of a text field for tight loops: what stands before texts of the same length is kept."""
        heads: dict[int, bytes] = {}

        def encode(value: str) -> bytes:
            text = value.encode()
            head = heads.get(len(text))
            if head is None:
                encoded = self.encode(field_id, value)
                head = heads[len(text)] = encoded[: len(encoded) - len(text)]
            return head + text

        return encode

    def accepts(self, field_id: int, value: Any) -> bool:
        """Whether the schema has the field, and `encode` takes ``value`` for it."""
        return field_id in self._fields and self._fields[field_id][1].accepts(value)

    def _walk(self, data: bytes, pos: int) -> tuple[Span, ...]:
        """The spans of the record at ``pos`` by walking the schema; learns its form, rebuilding at the 1st, 2nd, 4th, … miss."""
        spans = [ABSENT] * (len(self._fields) + 1)
        with self._learning:
            spans[0] = (pos, _trace(self._root, data, pos, spans))
            self._misses += 1
            if self._misses >= self._due:
                self._due = 2 * self._misses
                expression = self._root.pattern()
                if expression != self._expression:
                    self._expression, self._match = expression, re.compile(expression, re.DOTALL).match
        return tuple(spans)


def _trace(node: nodes.Node, data: bytes, pos: int, spans: list[Span]) -> int:
    """Steps over one value like its ``skip``, and stores where captured fields are."""
    if isinstance(node, nested.Captured):
        end = _trace(node.node, data, pos, spans)
        spans[node.group] = (pos, end)
        return end
    if isinstance(node, nested.Record):
        for field in node.nodes:
            pos = _trace(field, data, pos, spans)
        return pos
    if isinstance(node, nested.Union):
        branch, pos = node.branch(data, pos)
        return _trace(branch, data, pos, spans)
    return node.skip(data, pos)


@lru_cache(maxsize=64)
def _compiled(schema_json: str, wanted: tuple[tuple[int, str], ...]) -> Walker:
    compiler = _Compiler()
    try:
        schema = json.loads(schema_json)
        compiler.declare(schema, "")
        compiler.locate(schema, wanted)
        root = compiler.node(schema, _Scope("", (), frozenset()))
        compiler.done = True
        return Walker(root, compiler.fields)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it has no Avro schema ({error!r})") from error


class _Scope(NamedTuple):
    """Where a type is met: the namespace around it; the names that lead there (None in arrays, maps and recursion, where no
    field is wanted); the records around it."""

    space: str
    path: _Path | None
    names: frozenset[str]


class _Compiler:
    """Makes nodes of a schema. ``fields``: field id → group number and node of each wanted field that was met."""

    def __init__(self) -> None:
        self._by_id: dict[int, _Path] = {}
        self._by_name: dict[_Path, int] = {}
        self.fields: dict[int, tuple[int, nodes.Node]] = {}
        self._named: dict[str, tuple[Any, str]] = {}
        self._references = 0
        self.done = False

    def declare(self, schema: Any, space: str) -> None:
        """Takes down every named type of ``schema``, so that it can be referred to."""
        for inner, inner_space in self._inner(schema, space):
            self.declare(inner, inner_space)
        if isinstance(schema, dict) and schema.get("type") in ("record", "error", "enum", "fixed"):
            self._named[_full_name(schema, space)] = (schema, space)

    def locate(self, schema: Any, wanted: tuple[tuple[int, str], ...]) -> None:
        """Notes where the wanted fields are, the shallowest first: by id where any field has one, else by name."""
        by_id: dict[int, _Path] = {}
        names: set[_Path] = set()
        level: list[tuple[_Path, Any, str]] = [((), schema, "")]
        for _ in range(LEVELS):
            deeper: list[tuple[_Path, Any, str]] = []
            for path, each, space in level:
                for record, inside in self._records(each, space):
                    for field in record.get("fields", ()):
                        place = (*path, str(field["name"]))
                        names.add(place)
                        if isinstance(field.get("field-id"), int):
                            by_id.setdefault(field["field-id"], place)
                        deeper.append((place, field["type"], inside))
            level = deeper
        if by_id:
            self._by_id = {field_id: by_id[field_id] for field_id, _ in wanted if field_id in by_id}
        else:
            self._by_name = {path: field_id for field_id, name in wanted if (path := tuple(name.split("."))) in names}

    def node(self, schema: Any, at: _Scope) -> nodes.Node:
        """The node of ``schema``, met at ``at``."""
        if isinstance(schema, list):
            return nested.Union([self.node(branch, at) for branch in schema])
        if isinstance(schema, str):
            return _PRIMITIVES[schema]() if schema in _PRIMITIVES else self._reference(schema, at)
        kind = schema.get("type") if isinstance(schema, dict) else None
        if kind in ("record", "error"):
            return self._record(schema, at)
        if kind == "array":
            return nested.Array(partial(self.node, schema["items"], at._replace(path=None)))
        if kind == "map":
            return nested.Map(partial(self.node, schema["values"], at._replace(path=None)))
        if kind == "enum":
            return nodes.Enum(schema["symbols"])
        if kind == "fixed":
            return nodes.Fixed(int(schema["size"]), bytes)
        if kind is None:
            raise ValueError(f"{schema!r} is no Avro schema")
        return self.node(kind, at)

    def _record(self, schema: dict[str, Any], at: _Scope) -> nodes.Node:
        name = _full_name(schema, at.space)
        fields: dict[str, nodes.Node] = {}
        for field in schema["fields"]:
            path = (*at.path, str(field["name"])) if at.path is not None else None
            inside = _Scope(_space_of(name), path, at.names | {name})
            field_id = self._wanted(field, path)
            if field_id is None:
                fields[str(field["name"])] = self.node(field["type"], inside)
                continue
            group = len(self.fields) + 1
            self.fields[field_id] = (group, nodes.Fixed(0, type(None)))  # takes the number before those of inner fields
            inner = self.node(field["type"], inside)
            self.fields[field_id] = (group, inner)
            fields[str(field["name"])] = nested.Captured(inner, group)
        return nested.Record(fields)

    def _wanted(self, field: dict[str, Any], path: _Path | None) -> int | None:
        """The id under which a field at ``path`` is wanted; of several records in a union the first has it."""
        if path is None:
            return None
        field_id = field.get("field-id") if self._by_id else self._by_name.get(path)
        if field_id in self.fields or (self._by_id and self._by_id.get(field_id or 0) != path):
            return None
        return field_id

    def _reference(self, name: str, at: _Scope) -> nodes.Node:
        full = self._resolve(name, at.space)
        schema, space = self._named[full]
        if full in at.names:
            return nested.Reference(partial(self.node, schema, _Scope(space, None, frozenset())))
        self._references += 1
        if self._references > REFERENCES and not self.done:
            raise ValueError(f"its schema refers to types by name more than {REFERENCES} times")
        return self.node(schema, at._replace(space=space))

    def _resolve(self, name: str, space: str) -> str:
        for full in (f"{space}.{name}" if space and "." not in name else name, name):
            if full in self._named:
                return full
        raise ValueError(f"the schema names the type {name!r}, which it does not define")

    def _records(self, schema: Any, space: str) -> Iterator[tuple[dict[str, Any], str]]:
        """The records that ``schema`` is, may be (a union) or refers to, and the namespace inside each."""
        if isinstance(schema, list):
            for branch in schema:
                yield from self._records(branch, space)
        elif isinstance(schema, str):
            if schema not in _PRIMITIVES:
                yield from self._records(*self._named[self._resolve(schema, space)])
        elif schema.get("type") in ("record", "error"):
            yield schema, _space_of(_full_name(schema, space))
        elif isinstance(schema.get("type"), (dict, list)):
            yield from self._records(schema["type"], space)

    def _inner(self, schema: Any, space: str) -> Iterator[tuple[Any, str]]:
        if isinstance(schema, list):
            yield from ((branch, space) for branch in schema)
        elif isinstance(schema, dict):
            inside = _space_of(_full_name(schema, space)) if "name" in schema else space
            yield from ((field["type"], inside) for field in schema.get("fields", ()))
            yield from ((schema[key], inside) for key in ("items", "values", "type") if not isinstance(schema.get(key, ""), str))


def _full_name(schema: dict[str, Any], space: str) -> str:
    name = str(schema["name"])
    if "." in name:
        return name
    space = schema.get("namespace", space) or ""
    return f"{space}.{name}" if space else name


def _space_of(full_name: str) -> str:
    return full_name.rpartition(".")[0]


_PRIMITIVES: dict[str, Callable[[], nodes.Node]] = {
    "null": lambda: nodes.Fixed(0, type(None)),
    "boolean": lambda: nodes.Fixed(1, bool, "?"),
    "int": lambda: nodes.Number(32),
    "long": lambda: nodes.Number(64),
    "float": lambda: nodes.Fixed(4, float, "<f"),
    "double": lambda: nodes.Fixed(8, float, "<d"),
    "string": lambda: nodes.Text(str),
    "bytes": lambda: nodes.Text(bytes),
}
