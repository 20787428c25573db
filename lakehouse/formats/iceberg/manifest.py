"""Manifests: the Avro files that list data files and delete files (Iceberg table spec, "Manifests").

They are never rewritten through models: every field that a replica need not change stays byte for byte, with its inherited nulls,
the order of entries, fields that nobody knows, the header, the codec, the sync marker and the blocks. Fields are found by their
ids, in any order and any union, and by name where a file's schema has no ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from lakehouse.errors import LakeError, NotFound
from lakehouse.formats.iceberg.avro import Block, Header, Walker, compile_walker, read_container, write_container
from lakehouse.formats.iceberg.avro.walker import ABSENT, Change, Encoded, Span, encoded, splice

__all__ = ["DATA", "EQUALITY_DELETES", "POSITION_DELETES", "Entry", "manifest_walker", "read_entries", "rewrite_manifest"]

DATA, POSITION_DELETES, EQUALITY_DELETES = 0, 1, 2
EXISTING, ADDED, DELETED = 0, 1, 2
DELETED_FILE_PATH = 2147483546  # column `file_path` of position-delete files: the key of its bounds

STATUS, CONTENT, FILE_PATH, FILE_FORMAT, RECORD_COUNT, FILE_SIZE = 0, 134, 100, 101, 103, 104
COLUMN_SIZES, LOWER_BOUNDS, UPPER_BOUNDS, KEY_METADATA, SPLIT_OFFSETS, REFERENCED_DATA_FILE = 108, 125, 128, 131, 132, 143

_ENTRY = {
    STATUS: "status",
    CONTENT: "data_file.content",
    FILE_PATH: "data_file.file_path",
    FILE_FORMAT: "data_file.file_format",
    RECORD_COUNT: "data_file.record_count",
    FILE_SIZE: "data_file.file_size_in_bytes",
    KEY_METADATA: "data_file.key_metadata",
}
_KEPT_VALUES = 1000
_DELETES = {
    REFERENCED_DATA_FILE: "data_file.referenced_data_file",
    COLUMN_SIZES: "data_file.column_sizes",
    LOWER_BOUNDS: "data_file.lower_bounds",
    UPPER_BOUNDS: "data_file.upper_bounds",
    SPLIT_OFFSETS: "data_file.split_offsets",
}
_PATHS = {key: (_ENTRY | _DELETES)[key] for key in (CONTENT, FILE_PATH, REFERENCED_DATA_FILE)}
_PLAIN = {CONTENT: DATA, REFERENCED_DATA_FILE: None}  # of entries in which only the path is mapped

Spans = tuple[Span, ...]
Bounds = list[dict[str, Any]]


class Entry(NamedTuple):
    """One file as a manifest lists it.

    ``status``: 0 EXISTING, 1 ADDED, 2 DELETED. ``content``: 0 data, 1 position deletes (also deletion vectors in Puffin),
    2 equality deletes. ``path``: as stated. ``file_format``: as written (``PARQUET``, ``parquet``). ``size``: in bytes.
    ``encrypted``: the file has key metadata.
    """

    status: int
    content: int
    path: str
    file_format: str
    size: int
    encrypted: bool


def read_entries(data: bytes, where: str) -> Iterator[Entry]:
    """The entries of the manifest ``data`` in their order, DELETED ones included; ``where`` is for messages.

    Raises `NotFound` for a damaged manifest, at the latest when the damaged entry is reached; `Unsupported` for another codec.
    """
    header, blocks = read_container(data, where)
    reader = _Reader(manifest_walker(header, _ENTRY, where, FILE_PATH), where)
    for block in blocks:
        yield from map(reader.entry, reader.walker.encodings(block, where))


def rewrite_manifest(data: bytes, where: str, address: Callable[[str], str], rewritten: Callable[[Entry], int | None]) -> bytes:
    """The manifest for the target: every path goes through ``address``, which raises `LakeError` for what may not be mapped.

    ``rewritten`` is asked for every entry of a delete file: the size in bytes of the file as it is rewritten for the target, or
    None where its bytes are copied. With a size, ``column_sizes`` and ``split_offsets`` become null where the schema permits it.
    The bounds of `DELETED_FILE_PATH` in entries of position deletes are mapped where both keep their order, else dropped.
    Raises as `read_entries`, and what ``address`` raises for ``file_path`` and ``referenced_data_file``.
    """
    header, blocks = read_container(data, where)
    rewriter = _Rewriter(header, where, address, rewritten)
    return write_container(header, map(rewriter.block, blocks))


def manifest_walker(header: Header, wanted: dict[int, str], where: str, path: int) -> Walker:
    """The walker of a manifest or manifest list, in which the field ``path`` must be there; `NotFound` for any other file."""
    try:
        walker = compile_walker(header.schema, wanted)
    except ValueError as error:
        raise NotFound(f"{where} is damaged: {error}; restore the file, then run again") from error
    if walker.at(path) is None:
        raise NotFound(f"{where} has no field {wanted[path]} (id {path}): it is not the Iceberg file that the table states")
    return walker


class _Decoded(dict[bytes | None, Any]):
    """The values of one field by their encodings, which are the same in entry after entry for all but paths and numbers.

    ``kept``: how many of them are worth keeping.
    """

    def __init__(self, decode: Callable[[bytes], Any], kept: int = 0) -> None:
        super().__init__({None: None})
        self._decode, self._kept = decode, kept

    def __missing__(self, raw: bytes) -> Any:
        value = self._decode(raw)
        if len(self) < self._kept:
            self[raw] = value
        return value


def _decoded(walker: Walker, field_id: int) -> tuple[int, _Decoded]:
    """Where `Walker.encodings` gives the field, and what it says; always None for a field that the schema has not.

    Of a number of records it is only asked whether there is one.
    """
    at = walker.at(field_id)
    if at is None:
        return 0, _Decoded(lambda _: None)
    if field_id == FILE_PATH:
        return at - 1, _Decoded(walker.text_reader(field_id))
    if field_id == RECORD_COUNT and not walker.accepts(field_id, None):
        return at - 1, _Decoded(len)
    read = walker.reader(field_id)
    return at - 1, _Decoded(lambda raw: read(raw, 0)[0], _KEPT_VALUES)


class _Reader:
    """Values of the entries of one manifest."""

    def __init__(self, walker: Walker, where: str) -> None:
        self.walker, self._where = walker, where
        self._entry = [_decoded(walker, field_id) for field_id in _ENTRY]

    def value(self, field_id: int, data: bytes, spans: Spans) -> Any:
        """The value of the field in one entry; None where it is null, or the schema has no such field."""
        at = self.walker.at(field_id)
        if at is None:
            return None
        try:
            return self.walker.decode(field_id, data, spans[at])
        except ValueError as error:
            raise self._damaged(error) from error

    def entry(self, record: Encoded) -> Entry:
        """The entry of which the fields have those encodings."""
        try:
            status, content, path, file_format, rows, size, key = [decoded[record[at]] for at, decoded in self._entry]
        except ValueError as error:
            raise self._damaged(error) from error
        if status is None or path is None or file_format is None or rows is None or size is None:
            raise self._damaged("an entry lacks its status, file_path, file_format, record_count or file_size_in_bytes")
        return Entry(status, content or DATA, path, file_format, size, key is not None)

    def _damaged(self, why: object) -> NotFound:
        return NotFound(f"{self._where} is damaged: a value of its entries cannot be read ({why}); restore the file")


class _Rewriter:
    """Blocks of one manifest. Entries of data files have their paths alone replaced; a block with others is read in full."""

    def __init__(
        self, header: Header, where: str, address: Callable[[str], str], rewritten: Callable[[Entry], int | None]
    ) -> None:
        self._where, self._address, self._rewritten = where, address, rewritten
        self._deletes = header.metadata.get("content") == b"deletes"
        self._paths = manifest_walker(header, _PATHS, where, FILE_PATH)
        self._full = _Reader(manifest_walker(header, _ENTRY | _DELETES, where, FILE_PATH), where)

    def block(self, block: Block) -> Block:
        """The block with everything mapped."""
        data = None if self._deletes else self._data_files(block)
        return Block(block.count, splice(block.data, self._delete_files(block)) if data is None else data)

    def _data_files(self, block: Block) -> bytes | None:
        """The records of a block where only ``file_path`` is to be mapped; None where an entry may have more to it."""
        walker, data, address = self._paths, block.data, self._address
        path, read, write = walker.at(FILE_PATH) or 0, walker.reader(FILE_PATH), walker.text_writer(FILE_PATH)
        parts: list[bytes] = []
        last = 0
        try:
            for spans in walker.records(block, self._where):
                start, end = spans[path]
                stated = read(data, start)[0] if start >= 0 else None
                if stated is None:
                    return None
                parts.append(data[last:start])
                parts.append(write(address(stated)))
                last = end
        except UnicodeDecodeError as error:
            raise NotFound(f"{self._where} is damaged: a file_path cannot be read ({error}); restore the file") from error
        for field_id, value in _PLAIN.items():
            if walker.at(field_id) is not None and (
                not walker.accepts(field_id, value) or walker.only(field_id) != walker.encode(field_id, value)
            ):
                return None
        parts.append(data[last:])
        return b"".join(parts)

    def _delete_files(self, block: Block) -> list[Change]:
        """The changes of a block with delete files."""
        reader, data, changes = self._full, block.data, list[Change]()
        for spans in reader.walker.records(block, self._where):
            entry = reader.entry(encoded(data, spans))
            own = [
                *self._mapped(reader, FILE_PATH, data, spans),
                *self._mapped(reader, REFERENCED_DATA_FILE, data, spans),
            ]
            if entry.content == POSITION_DELETES:
                own += self._bounds(data, spans)
            if entry.content != DATA:
                own += self._sizes(entry, spans)
            changes += sorted(own)
        return changes

    def _mapped(self, reader: _Reader, field_id: int, data: bytes, spans: Spans) -> list[Change]:
        stated = reader.value(field_id, data, spans)
        return [] if stated is None else [_change(reader.walker, field_id, spans, self._address(stated))]

    def _sizes(self, entry: Entry, spans: Spans) -> list[Change]:
        size = self._rewritten(entry)
        if size is None:
            return []
        walker = self._full.walker
        nulls = [
            _change(walker, field_id, spans, None)
            for field_id in (COLUMN_SIZES, SPLIT_OFFSETS)
            if (at := walker.at(field_id)) is not None and spans[at] != ABSENT and walker.accepts(field_id, None)
        ]
        return [_change(walker, FILE_SIZE, spans, size), *nulls]

    def _bounds(self, data: bytes, spans: Spans) -> list[Change]:
        """The changes of both maps of bounds, for a file of position deletes."""
        fields = LOWER_BOUNDS, UPPER_BOUNDS
        maps: dict[int, Bounds] = {field_id: self._full.value(field_id, data, spans) or [] for field_id in fields}
        try:
            found = {
                field_id: [item["value"] for item in maps[field_id] if item["key"] == DELETED_FILE_PATH] for field_id in fields
            }
            if not any(found.values()):
                return []
            mapped = self._mapped_bounds(*found.values())
            changes: list[Change] = []
            for field_id, new in zip(fields, mapped or (None, None), strict=True):
                if found[field_id]:
                    changes.append(_change(self._full.walker, field_id, spans, _with_bound(maps[field_id], new)))
        except (KeyError, TypeError) as error:
            raise NotFound(f"{self._where} is damaged: its bounds are no maps of key and value ({error})") from error
        return changes

    def _mapped_bounds(self, lowers: list[bytes | None], uppers: list[bytes | None]) -> tuple[bytes, bytes] | None:
        """The new bounds; None where no file between the old ones is sure to lie between them.

        Bounds may be cut off: one that is no path of the table, or goes elsewhere than by a replaced prefix, bounds nothing.
        All paths between two that begin alike begin so too, so the order survives when both keep all but the same prefix.
        """
        if len(lowers) != 1 or len(uppers) != 1 or lowers[0] is None or uppers[0] is None:
            return None
        try:
            lower, upper = lowers[0].decode(), uppers[0].decode()
            new = self._address(lower), self._address(upper)
        except (LakeError, UnicodeDecodeError):
            return None
        if lower != upper and _replaced(lower, new[0]) != _replaced(upper, new[1]):
            return None
        return new[0].encode(), new[1].encode()


def _change(walker: Walker, field_id: int, spans: Spans, value: Any) -> Change:
    start, end = spans[walker.at(field_id) or 0]
    return start, end, walker.encode(field_id, value)


def _with_bound(bounds: Bounds, new: bytes | None) -> Bounds:
    """``bounds`` with that of the path replaced; without it for None."""
    if new is None:
        return [item for item in bounds if item["key"] != DELETED_FILE_PATH]
    return [item | {"value": new} if item["key"] == DELETED_FILE_PATH else item for item in bounds]


def _replaced(old: str, new: str) -> tuple[str, str]:
    """The heads of ``old`` and ``new`` before the longest end that they share."""
    shared = 0
    for one, other in zip(reversed(old), reversed(new), strict=False):
        if one != other:
            break
        shared += 1
    return old[: len(old) - shared], new[: len(new) - shared]
