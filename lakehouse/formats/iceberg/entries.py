"""Manifest entries in full: what a scan and a check must know of every data file and delete file.

Iceberg table spec, "Manifests" and "Sequence Number Inheritance". Syncs, which only need to know what to copy, read
`manifest.read_entries`. Fields are found by their ids. The maps of statistics are decoded when they are first asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from lakehouse.errors import NotFound
from lakehouse.formats.iceberg.avro import Header, read_container
from lakehouse.formats.iceberg.avro.nodes import NUMBER
from lakehouse.formats.iceberg.avro.varint import read_long
from lakehouse.formats.iceberg.avro.walker import Encoded
from lakehouse.formats.iceberg.manifest import (
    ADDED,
    DATA,
    DELETED,
    EQUALITY_DELETES,
    EXISTING,
    FILE_PATH,
    POSITION_DELETES,
    manifest_walker,
)
from lakehouse.formats.iceberg.manifest_list import ManifestFile
from lakehouse.formats.iceberg.partitioning import PartitionSpec

__all__ = ["DataFile", "read_data_files"]

_DATA_FILE, _PARTITION = 2, 102
_WANTED = {
    0: "status",
    1: "snapshot_id",
    3: "sequence_number",
    4: "file_sequence_number",
    134: "data_file.content",
    100: "data_file.file_path",
    101: "data_file.file_format",
    _PARTITION: "data_file.partition",
    103: "data_file.record_count",
    104: "data_file.file_size_in_bytes",
    108: "data_file.column_sizes",
    109: "data_file.value_counts",
    110: "data_file.null_value_counts",
    137: "data_file.nan_value_counts",
    125: "data_file.lower_bounds",
    128: "data_file.upper_bounds",
    132: "data_file.split_offsets",
    135: "data_file.equality_ids",
    140: "data_file.sort_order_id",
    142: "data_file.first_row_id",
    143: "data_file.referenced_data_file",
    144: "data_file.content_offset",
    145: "data_file.content_size_in_bytes",
    131: "data_file.key_metadata",
}
_MAPS = {108, 109, 110, 137, 125, 128}
_UNIQUE = {100, 103, 104}
_KEPT_VALUES = 10_000
_STATES, _CONTENTS = (EXISTING, ADDED, DELETED), (DATA, POSITION_DELETES, EQUALITY_DELETES)
_NEVER_STATED: Mapping[int, Any] = {}


class DataFile(NamedTuple):
    """One entry of a manifest: a data file or delete file, and what is known of it.

    ``status``: 0 EXISTING, 1 ADDED, 2 DELETED. ``sequence_number`` (of the data) and ``file_sequence_number``: inherited where
    the spec says so; None is damage. ``content``: 0 data, 1 position deletes (also deletion vectors), 2 equality deletes.
    ``path``: as stated. ``file_format``: in lower case. ``partition``: raw values (decimals and UUIDs as bytes, dates as days, …)
    in the order of the fields of the spec ``spec_id``. ``rows``: records. ``size``, ``column_sizes``, ``content_offset`` and
    ``content_size``: in bytes. The maps are by field id. ``first_row_id``: as stated (None: inherited, or there is none).
    ``encrypted``: the file has key metadata.
    """

    status: int
    snapshot_id: int | None
    sequence_number: int | None
    file_sequence_number: int | None
    content: int
    path: str
    file_format: str
    spec_id: int
    partition: tuple[Any, ...]
    rows: int
    size: int
    column_sizes: Mapping[int, int]
    value_counts: Mapping[int, int]
    null_counts: Mapping[int, int]
    nan_counts: Mapping[int, int]
    lower_bounds: Mapping[int, bytes]
    upper_bounds: Mapping[int, bytes]
    split_offsets: tuple[int, ...]
    equality_ids: tuple[int, ...]
    sort_order_id: int | None
    first_row_id: int | None
    referenced_data_file: str | None
    content_offset: int | None
    content_size: int | None
    encrypted: bool


def read_data_files(data: bytes, where: str, manifest: ManifestFile, specs: Mapping[int, PartitionSpec]) -> Iterator[DataFile]:
    """The entries of the manifest ``data`` in their order, DELETED ones included; ``where`` is for messages.

    ``manifest``: as a list names it (`manifest_list.read_list` in full), from which entries inherit. ``specs``: the table's.
    Raises `NotFound` for a damaged manifest, at the latest when the damaged entry is reached (or its map is asked for), and for
    a partition spec that the table does not have; `Unsupported` for another codec.
    """
    header, blocks = read_container(data, where)
    reader = _Reader(header, where, manifest, specs)
    for block in blocks:
        yield from map(reader.entry, reader.walker.encodings(block, where))


class _Values(dict[bytes | None, Any]):
    """The values of one field by their encodings; of fields that repeat they are kept."""

    def __init__(self, decode: Callable[[bytes], Any], kept: int, nothing: Any = None) -> None:
        super().__init__({None: nothing})
        self._decode, self._kept = decode, kept

    def __missing__(self, raw: bytes) -> Any:
        value = self._decode(raw)
        if len(self) < self._kept:
            self[raw] = value
        return value


class _Map(Mapping[int, Any]):
    """A map of statistics, taken apart when it is first asked for anything."""

    __slots__ = ("_form", "_items", "_raw")

    def __init__(self, raw: bytes, form: _MapForm) -> None:
        self._raw, self._form = raw, form
        self._items: tuple[dict[int, Any], Callable[[Any], Any]] | None = None

    def _opened(self) -> tuple[dict[int, Any], Callable[[Any], Any]]:
        if self._items is None:
            self._items = self._form.items(self._raw)
        return self._items

    def __getitem__(self, field_id: int) -> Any:
        items, decode = self._opened()
        return decode(items[field_id])

    def get(self, field_id: int, default: Any = None) -> Any:
        items, decode = self._opened()
        return decode(items[field_id]) if field_id in items else default

    def __iter__(self) -> Iterator[int]:
        return iter(self._opened()[0])

    def __len__(self) -> int:
        return len(self._opened()[0])

    def __repr__(self) -> str:
        return repr(dict(self))


class _Keys(dict[bytes, int]):
    """Field ids by their encodings."""

    def __missing__(self, raw: bytes) -> int:
        value = self[raw] = read_long(raw, 0)[0]
        return value


class _MapForm:
    """How one manifest writes a map of statistics.

    Where the items are plain (records of an int, and of bytes or a long) and their values short, one expression finds all of
    them, and a value is decoded when it is asked for. Everything else is read by the walker.
    """

    def __init__(self, read: Callable[[bytes, int], tuple[Any, int]], schema: Any, where: str) -> None:
        self._read, self._where, self._keys = read, where, _Keys()
        self._start = 1 if isinstance(schema, list) else 0
        self._form = _PLAIN_ITEMS.get(_kind_of_values(schema))

    def items(self, raw: bytes) -> tuple[dict[int, Any], Callable[[Any], Any]]:
        """What stands for the values, by field id, and what makes the values of that."""
        try:
            plain = self._plain(raw)
            if plain is not None and self._form is not None:
                return plain, self._form[1]
            return {item["key"]: item["value"] for item in self._read(raw, 0)[0] or ()}, _as_it_is
        except (ValueError, IndexError, KeyError, TypeError) as error:
            raise _damaged(self._where, error) from error

    def _plain(self, raw: bytes) -> dict[int, bytes] | None:
        """The encoded values by field id; None where the map is not one block of plain items."""
        end = len(raw) - 1
        if self._form is None or end <= self._start or raw[end]:
            return None
        count, start = read_long(raw, self._start)
        pairs = self._form[0].findall(raw, start, end)
        if len(pairs) != count or sum(map(len, chain.from_iterable(pairs))) != end - start:
            return None
        keys = self._keys
        return {keys[key]: value for key, value in pairs}


def _as_it_is(value: Any) -> Any:
    return value


def _kind_of_values(schema: Any) -> str:
    """The type of the values of a map that is an array of plain records; "" for any other."""
    branches = schema if isinstance(schema, list) else [schema]
    array = next((each for each in branches if isinstance(each, dict) and each.get("type") == "array"), {})
    fields = (_record(array.get("items")) or {}).get("fields") or ()
    kinds = [each.get("type") for each in fields]
    return (
        str(kinds[1])
        if len(kinds) == 2 and kinds[0] == "int" and [each.get("name") for each in fields] == ["key", "value"]
        else ""
    )


_SHORT = b"|".join(re.escape(bytes((2 * size,))) + b".{%d}" % size for size in range(64))
_PLAIN_ITEMS: dict[str, tuple[re.Pattern[bytes], Callable[[Any], Any]]] = {
    "bytes": (re.compile(b"(%s)(%s)" % (NUMBER, _SHORT), re.DOTALL), lambda raw: raw[1:]),
    "long": (re.compile(b"(%s)(%s)" % (NUMBER, NUMBER)), lambda raw: read_long(raw, 0)[0]),
}
"""What matches the encoded key and value of one item, and what makes its value of the latter (of bytes: up to 63)."""


class _Reader:
    """Entries of one manifest."""

    def __init__(self, header: Header, where: str, manifest: ManifestFile, specs: Mapping[int, PartitionSpec]) -> None:
        self.walker = manifest_walker(header, _WANTED, where, FILE_PATH)
        self._where, self._manifest = where, manifest
        self._spec_id = _spec_id(header, manifest, where)
        if self._spec_id not in specs:
            raise NotFound(f"{where}: is of the partition spec {self._spec_id}, which the table does not have")
        if specs[self._spec_id].fields and self.walker.at(_PARTITION) is None:  # a delete applies to files of its partition only
            raise _damaged(where, f"its entries have no field {_WANTED[_PARTITION]} ({_PARTITION})")
        self._data_file = _record(_typed(_record(header.schema), _DATA_FILE, "data_file"))
        self._names = _partition_names(self._data_file, specs[self._spec_id])
        self._fields = [self._field(field_id) for field_id in _WANTED]

    def _field(self, field_id: int) -> tuple[int, _Values]:
        """Where `Walker.encodings` gives the field, and what it says; always nothing for a field that the schema has not."""
        at, nothing = self.walker.at(field_id), _NEVER_STATED if field_id in _MAPS else None
        if at is None:
            return 0, _Values(lambda _: nothing, 0, nothing)
        if field_id == FILE_PATH:
            return at - 1, _Values(self.walker.text_reader(field_id), 0)
        read, where = self.walker.reader(field_id), self._where
        if field_id in _MAPS:
            form = _MapForm(read, _typed(self._data_file, field_id, _WANTED[field_id].removeprefix("data_file.")), where)
            return at - 1, _Values(lambda raw: _Map(raw, form), 0, nothing)
        if field_id == _PARTITION:
            return at - 1, _Values(lambda raw: self._partition(read(raw, 0)[0]), _KEPT_VALUES)
        return at - 1, _Values(lambda raw: read(raw, 0)[0], 0 if field_id in _UNIQUE else _KEPT_VALUES)

    def _partition(self, record: Any) -> tuple[Any, ...]:
        """The partition tuple in the order of the spec's fields; null for those that the manifest does not have."""
        record = record or {}
        return tuple(record.get(name) for name in self._names)

    def entry(self, record: Encoded) -> DataFile:
        """The entry of which the fields have those encodings."""
        try:
            stated = [values[record[at]] for at, values in self._fields]
        except (ValueError, IndexError) as error:
            raise _damaged(self._where, error) from error
        status, snapshot_id, sequence, file_sequence, content, path, file_format, partition, rows, size, *rest = stated
        sizes, values, nulls, nans, lower, upper, splits, equality, order, first_row, referenced, offset, length, key = rest
        if path is None or file_format is None or rows is None or size is None:
            raise _damaged(self._where, "an entry lacks its file_path, file_format, record_count or file_size_in_bytes")
        content = DATA if content is None else content
        if status not in _STATES or content not in _CONTENTS or rows < 0 or size < 0:
            raise _damaged(self._where, f"{path} has status {status}, content {content}, {rows} records, {size} bytes")
        manifest = self._manifest
        inherits = status == ADDED or manifest.sequence_number == 0
        return DataFile(
            status,
            manifest.added_snapshot_id if snapshot_id is None else snapshot_id,
            manifest.sequence_number if sequence is None and inherits else sequence,
            manifest.sequence_number if file_sequence is None and inherits else file_sequence,
            content,
            path,
            file_format.lower(),
            self._spec_id,
            partition or self._partition(None),
            rows,
            size,
            sizes,
            values,
            nulls,
            nans,
            lower,
            upper,
            tuple(splits or ()),
            tuple(equality or ()),
            order,
            first_row,
            referenced,
            offset,
            length,
            key is not None,
        )


def _spec_id(header: Header, manifest: ManifestFile, where: str) -> int:
    """The partition spec of the files: as the list says, else as the manifest's header does."""
    if manifest.partition_spec_id is not None:
        return manifest.partition_spec_id
    try:
        return int(header.metadata.get("partition-spec-id", b"0"))
    except ValueError as error:
        raise _damaged(where, error) from error


def _partition_names(data_file: dict[str, Any] | None, spec: PartitionSpec) -> tuple[str, ...]:
    """The names by which the manifest's Avro schema holds the fields of ``spec``: by their ids, else by their names."""
    stated = (_record(_typed(data_file, _PARTITION, "partition")) or {}).get("fields") or []
    by_id = {each.get("field-id"): str(each.get("name")) for each in stated}
    return tuple(by_id.get(field.id, field.name) for field in spec.fields)


def _record(schema: Any) -> dict[str, Any] | None:
    """The record that ``schema`` is, or may be."""
    branches = schema if isinstance(schema, list) else [schema]
    return next((each for each in branches if isinstance(each, dict) and each.get("type") == "record"), None)


def _typed(record: dict[str, Any] | None, field_id: int, name: str) -> Any:
    """The type of a field of ``record``."""
    fields = (record or {}).get("fields") or []
    found = [each for each in fields if each.get("field-id") == field_id] or [each for each in fields if each.get("name") == name]
    return found[0].get("type") if found else None


def _damaged(where: str, why: object) -> NotFound:
    return NotFound(f"{where} is damaged: a value of its entries cannot be read ({why}); restore the file")
