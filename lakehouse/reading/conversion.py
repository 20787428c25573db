"""Which Arrow type of a file may be read as which type of a table, and how: widened without loss, or not at all.

Source: Iceberg, "Schema evolution" (type promotion); Delta protocol, "Type Widening"; Parquet, "Logical Types" (a timestamp that
is not adjusted to UTC has no zone; where the table says that it has one, its values are taken as UTC).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lakehouse.errors import NotFound, Unsupported

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Convert", "conversion", "storage_of"]

Convert = Callable[["pa.Array"], "pa.Array"]


def storage_of(kind: pa.DataType) -> pa.DataType:
    """What an extension type is stored as; any other type as it is."""
    return kind.storage_type if hasattr(kind, "storage_type") else kind


def conversion(source: pa.DataType, target: pa.DataType, where: str) -> Convert | None:
    """How arrays of type ``source`` become ``target``; None where they are that already. Neither is a struct, list or map.

    ``where`` names the column and the file. Raises `Unsupported` for types of which one is not a promotion of the other; what is
    given raises `NotFound` for a value that ``target`` cannot hold.
    """
    import pyarrow.types as types

    if source == target:
        return None
    stored, wanted = storage_of(source), storage_of(target)
    plain = stored.value_type if types.is_dictionary(stored) else stored
    if not (plain == wanted or _widens(plain, wanted)):
        raise Unsupported(f"{where}: the file holds {source}, which cannot be read as the table's {target}; rewrite the file")

    def convert(array: pa.Array) -> pa.Array:
        import pyarrow as pa

        if stored != source:
            array = array.storage
        if plain != stored:
            array = array.dictionary_decode()
        if plain != wanted:
            try:
                array = _cast(array, wanted)
            except pa.ArrowInvalid as error:
                what = str(error).splitlines()[0]
                raise NotFound(f"{where}: a value of the file's {source} is no {target} ({what}); rewrite the file") from error
        return pa.ExtensionArray.from_storage(target, array) if wanted != target else array

    return convert


def _cast(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    import pyarrow as pa
    import pyarrow.types as types

    if types.is_timestamp(wanted):  # values are of UTC, whatever zone is shown
        unzoned = array.view(pa.timestamp(array.type.unit)) if types.is_timestamp(array.type) else array
        return unzoned.cast(pa.timestamp(wanted.unit)).view(wanted)
    return array.cast(wanted)


def _widens(source: pa.DataType, target: pa.DataType) -> bool:
    """Whether each value of ``source`` is one of ``target``, or is seen not to be while it is cast."""
    import pyarrow.types as types

    if types.is_null(source):
        return True
    if types.is_integer(source):
        return bool(types.is_integer(target) or types.is_decimal(target) or types.is_float32(target) or types.is_float64(target))
    if types.is_floating(source):
        return bool(types.is_floating(target) and target.bit_width > source.bit_width)
    if types.is_decimal(source):
        return bool(types.is_decimal(target))
    if types.is_date(source):
        return bool(types.is_date(target) or (types.is_timestamp(target) and target.tz is None))
    if types.is_timestamp(source):
        return bool(types.is_timestamp(target) and (target.tz is not None or source.tz is None))
    if types.is_time(source):
        return bool(types.is_time(target))
    if _is_text(source) or _is_bytes(source):
        return bool(_is_text(target) or _is_bytes(target))
    return bool(types.is_fixed_size_binary(source) and _is_bytes(target))


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))
