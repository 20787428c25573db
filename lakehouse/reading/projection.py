"""How the columns of a scan are made of those of one file: by id or by name at every level, added, renamed, reordered, widened.

For each column, what comes first: the file's own column, the constant that the table's metadata states (a partition value), the
default, null. Source: Iceberg, "Column Projection"; Delta protocol, "Column Mapping".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lakehouse.errors import NotFound, Unsupported
from lakehouse.reading.conversion import Convert, conversion, storage_of
from lakehouse.reading.data_file import DataFile, FileField
from lakehouse.reading.task import ReadField

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Projection", "arrow_field", "children_of", "of_rows", "project"]

Rule = Literal["id", "name", "mapped"]
Fill = Callable[[int], "pa.Array"]
Kind = Literal["leaf", "struct", "list", "map"]


@dataclass(frozen=True, slots=True)
class Projection:
    """``leaves``: what is to be read of the file. ``columns``: what makes each column of ``schema`` from a batch of them.

    ``sources``: by the name of a column, the file's own, where the file has it.
    """

    leaves: frozenset[int]
    schema: pa.Schema
    sources: Mapping[str, FileField]
    columns: tuple[Callable[[pa.RecordBatch], pa.Array], ...]

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch of `schema` that a batch of the file becomes. Raises `NotFound` for a value that its column cannot have."""
        import pyarrow as pa

        if not self.columns:
            return of_rows(batch.num_rows)
        return pa.RecordBatch.from_arrays([column(batch) for column in self.columns], schema=self.schema)


@dataclass(frozen=True, slots=True)
class _Match:
    """A field of the scan and the field of the file that holds it, if one does."""

    field: ReadField
    path: str
    source: FileField | None = None
    children: tuple[_Match, ...] = ()

    def leaves(self) -> Iterator[int]:
        """What is to be read of it; of a struct of which no field is wanted, one leaf, which tells where the struct is null."""
        if self.source is None:
            return
        kind = _kind(self.source.type)
        if kind == "leaf":
            yield from self.source.leaves
            return
        if kind == "map":
            yield from self.source.children[0].leaves
        found = [leaf for child in self.children for leaf in child.leaves()]
        yield from found or self.source.leaves[:1]


@dataclass(frozen=True, slots=True)
class _Reading:
    """``given``: the leaves that batches of the file hold. ``where``: the file."""

    given: frozenset[int]
    constants: Mapping[str, pa.Scalar]
    inner_constants: Mapping[int, pa.Scalar]
    where: str


def project(
    file: DataFile,
    fields: Sequence[ReadField],
    *,
    by: Literal["id", "name"] = "name",
    constants: Mapping[str, pa.Scalar] | None = None,
    inner_constants: Mapping[int, pa.Scalar] | None = None,
    table: Sequence[ReadField] = (),
) -> Projection:
    """How ``fields`` are read of ``file``; ``by`` and both kinds of constants as in a `ScanTask`. ``table``: all columns that it
    may hold, where ``fields`` are only some.

    Raises `Unsupported` where a column cannot be told, or its type not be read as the table's; `NotFound` where the file lacks a
    column that may not be null.
    """
    import pyarrow as pa

    rule: Rule = "name" if by == "name" else "id" if any(field.has_ids() for field in file.fields) else "mapped"
    held = _names((*fields, *table)) if rule == "name" else frozenset()
    matches = [_matched(field, field.name, file.fields, rule, held, file.where) for field in fields]
    leaves = frozenset(leaf for match in matches for leaf in match.leaves())
    given = file.given(leaves)
    reading = _Reading(given, constants or {}, inner_constants or {}, file.where)
    columns = tuple(_filled(match, reading) if match.source is None else _read(match, file.fields, reading) for match in matches)
    sources = {match.field.name: match.source for match in matches if match.source is not None}
    return Projection(leaves, pa.schema([arrow_field(field) for field in fields]), sources, columns)


def arrow_field(field: ReadField) -> pa.Field:
    """The column as the scan's schema has it, with its id."""
    import pyarrow as pa

    metadata = None if field.field_id is None else {"PARQUET:field_id": str(field.field_id)}
    return pa.field(field.name, field.type, field.nullable, metadata)


def of_rows(rows: int) -> pa.RecordBatch:
    """A batch of no columns that has ``rows`` rows."""
    import pyarrow as pa

    return pa.RecordBatch.from_struct_array(pa.StructArray.from_buffers(pa.struct([]), rows, [None]))


def children_of(field: ReadField) -> tuple[ReadField, ...]:
    """The fields inside of ``field``; where they are not described, those of its type, found by their names."""
    import pyarrow.types as types

    if field.children:
        return field.children
    kind = storage_of(field.type)
    if types.is_map(kind):
        inner = [kind.key_field, kind.item_field]
    elif types.is_struct(kind):
        inner = [kind.field(index) for index in range(kind.num_fields)]
    else:
        inner = [kind.value_field] if hasattr(kind, "value_field") else []
    return tuple(ReadField(each.name, each.type, each.nullable, names=(each.name,)) for each in inner)


def _kind(kind: pa.DataType) -> Kind:
    import pyarrow.types as types

    kind = storage_of(kind)
    if types.is_struct(kind):
        return "struct"
    return "map" if types.is_map(kind) else "list" if hasattr(kind, "value_field") else "leaf"


def _matched(
    field: ReadField, path: str, candidates: Sequence[FileField], rule: Rule, held: frozenset[str], where: str
) -> _Match:
    """``held``: the names that are of some field beside this one; by name alone."""
    found = [each for each in candidates if _is_held_by(field, path, each, rule, where)]
    if len(found) > 1:
        raise Unsupported(f"{where}: has {len(found)} columns that could be {path!r} ({found[0].name!r}, …); rewrite the file")
    if found:
        return _paired(field, path, found[0], rule, where)
    if rule == "name":
        folded = {name.casefold() for name in _names((field,))}
        twin = next((each.name for each in candidates if each.name not in held and each.name.casefold() in folded), None)
        if twin is not None:
            raise Unsupported(
                f"{where}: lacks the column {path!r} and has {twin!r}, which differs only in case; some readers take it for that "
                "column and others read nulls; rewrite the file, or rename the column"
            )
    return _Match(field, path)


def _names(fields: Iterable[ReadField]) -> frozenset[str]:
    """Those by which files that are read by name hold the fields."""
    return frozenset(name for field in fields for name in ((field.name,) if field.names is None else field.names))


def _is_held_by(field: ReadField, path: str, candidate: FileField, rule: Rule, where: str) -> bool:
    if rule == "id":
        return field.field_id is not None and candidate.field_id == field.field_id
    names = field.names
    if names is None:
        if rule == "mapped":
            raise Unsupported(
                f"{where}: has no field ids, and the table does not say by which name column {path!r} is found; set a name "
                "mapping (Iceberg: schema.name-mapping.default), or rewrite the file (Delta: column mapping by id needs ids)"
            )
        names = (field.name,)
    return candidate.name in names


def _paired(field: ReadField, path: str, source: FileField, rule: Rule, where: str) -> _Match:
    import pyarrow.types as types

    if types.is_null(source.type):  # as pandas writes a column of nothing, whatever it would hold
        return _Match(field, path, source)
    kind = _kind(field.type)
    if kind != _kind(source.type):
        raise Unsupported(f"{where}: column {path!r} is {source.type} there, which cannot be read as the table's {field.type}")
    inner = children_of(field)
    if kind == "struct":
        held = _names(inner) if rule == "name" else frozenset()
        children = tuple(_matched(child, f"{path}.{child.name}", source.children, rule, held, where) for child in inner)
    else:  # an element, key or value is what it is, whatever it is called
        children = tuple(
            _paired(child, f"{path}.{child.name}", held, rule, where) for child, held in zip(inner, source.children, strict=True)
        )
    return _Match(field, path, source, children)


def _read(match: _Match, siblings: Iterable[FileField], reading: _Reading) -> Callable[[pa.RecordBatch], pa.Array]:
    position, convert = _position(match, siblings, reading.given), _converter(match, reading)
    required = ""
    if not match.field.nullable:
        required = f"{reading.where}: column {match.path!r} has nulls, which the table does not permit there"

    def column(batch: pa.RecordBatch) -> pa.Array:
        array = batch.column(position)
        if convert is not None:
            array = convert(array)
        if required and array.null_count:
            raise NotFound(required)
        return array

    return column


def _position(match: _Match, siblings: Iterable[FileField], given: frozenset[int]) -> int:
    """Which of the fields that are read of the file holds ``match``."""
    read = [each for each in siblings if not given.isdisjoint(each.leaves)]
    return next(index for index, each in enumerate(read) if each is match.source)


def _converter(match: _Match, reading: _Reading) -> Convert | None:
    source = match.source
    if source is None:
        raise ValueError(f"{match.path} is not in the file")
    kind = _kind(source.type)
    if kind == "leaf":
        return conversion(source.type, match.field.type, f"{reading.where}: column {match.path!r}")
    target = storage_of(match.field.type)
    if kind == "struct":
        inside = _struct(match, source, target, reading)
    else:
        parts = [_converter(child, reading) for child in match.children]
        inside = _map(target, *parts) if kind == "map" else _list(target, parts[0], f"{reading.where}: column {match.path!r}")
    return _unwrapped(inside, match.field.type)


def _unwrapped(inside: Convert, target: pa.DataType) -> Convert:
    """``inside`` for arrays that may be of an extension type, and with a result that may be of one."""

    def convert(array: pa.Array) -> pa.Array:
        import pyarrow as pa

        made = inside(array.storage if isinstance(array, pa.ExtensionArray) else array)
        return made if made.type == target else pa.ExtensionArray.from_storage(target, made)

    return convert


def _struct(match: _Match, source: FileField, target: pa.StructType, reading: _Reading) -> Convert:
    parts: list[tuple[int, Convert | None] | Fill] = []
    for child in match.children:
        if child.source is None:
            parts.append(_filler(child, reading.inner_constants.get(child.field.field_id or 0), reading))
        else:
            parts.append((_position(child, source.children, reading.given), _converter(child, reading)))
    fields = [target.field(index) for index in range(target.num_fields)]

    def convert(array: pa.Array) -> pa.Array:
        import pyarrow as pa

        arrays = []
        for part in parts:
            if isinstance(part, tuple):
                position, inner = part
                child = array.field(position)
                arrays.append(child if inner is None else inner(child))
            else:
                arrays.append(part(len(array)))
        return pa.StructArray.from_arrays(arrays, fields=fields, mask=array.is_null() if array.null_count else None)

    return convert


def _list(target: pa.DataType, inner: Convert | None, where: str) -> Convert:
    """Offsets and nulls stay where they are; only the elements are made anew."""
    import pyarrow as pa
    import pyarrow.types as types

    plain = types.is_list(target) or types.is_large_list(target)

    def convert(array: pa.Array) -> pa.Array:
        if array.type.id != target.id:
            if not plain or not isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
                raise Unsupported(f"{where}: is {array.type} there, which cannot be read as the table's {target}")
            element = array.type.value_field
            array = array.cast(pa.list_(element) if types.is_list(target) else pa.large_list(element))
        if inner is None and array.type == target:
            return array
        if not plain:
            raise Unsupported(f"{where}: is {array.type} there, which cannot be read as the table's {target}")
        values = array.values if inner is None else inner(array.values)
        return pa.Array.from_buffers(
            target, len(array), array.buffers()[:2], null_count=array.null_count, offset=array.offset, children=[values]
        )

    return convert


def _map(target: pa.MapType, key: Convert | None, value: Convert | None) -> Convert:
    def convert(array: pa.Array) -> pa.Array:
        import pyarrow as pa

        keys = array.keys if key is None else key(array.keys)
        items = array.items if value is None else value(array.items)
        entries = pa.StructArray.from_arrays([keys, items], fields=[target.key_field, target.item_field])
        return pa.Array.from_buffers(
            target, len(array), array.buffers()[:2], null_count=array.null_count, offset=array.offset, children=[entries]
        )

    return convert


def _filled(match: _Match, reading: _Reading) -> Callable[[pa.RecordBatch], pa.Array]:
    fill = _filler(match, reading.constants.get(match.field.name), reading)
    return lambda batch: fill(batch.num_rows)


def _filler(match: _Match, constant: pa.Scalar | None, reading: _Reading) -> Fill:
    """What gives so many rows of a field that the file lacks: of its constant, else of its default, else null.

    Raises `Unsupported` for a struct in which the table states a value.
    """
    import pyarrow as pa

    known = {number for number, value in reading.inner_constants.items() if value.is_valid}
    hidden = next((path for number, path in _inside(match.field, match.path) if number in known), None) if known else None
    if hidden is not None:
        raise Unsupported(
            f"{reading.where}: lacks the column {match.path!r}, and the table states a value of {hidden!r}; rewrite the file"
        )
    value = _value(match, constant, reading.where)
    if not value.is_valid and not match.field.nullable:
        raise NotFound(
            f"{reading.where}: lacks the column {match.path!r}, which may not be null and has no default; restore the file"
        )
    made = pa.nulls(0, match.field.type)

    def fill(rows: int) -> pa.Array:
        nonlocal made
        if len(made) < rows:
            made = pa.repeat(value, rows) if value.is_valid else pa.nulls(rows, match.field.type)
        return made.slice(0, rows)

    return fill


def _inside(field: ReadField, path: str) -> Iterator[tuple[int | None, str]]:
    for child in field.children:
        yield child.field_id, f"{path}.{child.name}"
        yield from _inside(child, f"{path}.{child.name}")


def _value(match: _Match, constant: pa.Scalar | None, where: str) -> pa.Scalar:
    import pyarrow as pa

    kind, default = match.field.type, match.field.default
    try:
        if constant is not None:
            return constant if constant.type == kind else constant.cast(kind)
        return pa.array([default], type=kind)[0]
    except (pa.ArrowException, TypeError, ValueError) as error:
        what = str(error).splitlines()[0]
        raise Unsupported(f"{where}: the value that the table states for {match.path!r} is no {kind} ({what})") from error
