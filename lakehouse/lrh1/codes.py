"""Arrow values to 64-bit codes, a whole array at a time: equal values of one class of types have equal codes.

A code depends on the value alone, not on how Arrow lays it out: dictionary, run-end, view and large layouts, widths of integers
and floats and units of time do not show. docs/fingerprint.md states each code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lakehouse.errors import Unsupported
from lakehouse.lrh1.mixing import GOLDEN, Seed, mix, positions, word

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from lakehouse.lrh1.mixing import U64

__all__ = ["Dictionaries", "codes", "name_code", "refuse"]

_PER_MICROSECOND = {"s": 1_000_000, "ms": 1_000, "us": 1}
_DAY_IN_MS = 86_400_000
_WORDS_AT_ONCE = 32_768  # what is mixed together stays in the second-level cache
_LARGE = 2**31 - 1  # bytes that 32-bit offsets reach


class Dictionaries:
    """The codes of the dictionaries seen lately: every batch of a row group carries the same one."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, ...], tuple[pa.Array, U64]] = {}

    def codes(self, dictionary: pa.Array) -> U64:
        """The codes of a dictionary's values. It is held, so that no other comes to lie at its address."""
        buffers = (buffer.address if buffer else 0 for buffer in dictionary.buffers())
        key = (len(dictionary), dictionary.offset, *buffers)
        if key not in self._held:
            if len(self._held) >= 64:
                self._held.clear()
            self._held[key] = (dictionary, codes(dictionary, self))
        return self._held[key][1]


def name_code(name: str) -> np.uint64:
    """What the code of a field's value is combined with: the code of the name as a string, ^ Seed.NAME."""
    import pyarrow as pa

    return word(int(codes(pa.array([name], pa.string()), Dictionaries())[0] ^ Seed.NAME))


def refuse(name: str, kind: pa.DataType) -> None:
    """Unsupported, when values of this type have no code."""
    import pyarrow as pa

    try:
        codes(pa.array([], kind), Dictionaries())
    except (Unsupported, pa.ArrowNotImplementedError) as error:
        raise Unsupported(f"column {name!r} has the type {kind}, which lrh1 does not define; leave the column out") from error


def codes(array: pa.Array, dictionaries: Dictionaries) -> U64:
    """One code a value, in an array that the caller may change; null is `Seed.NULL` whatever the type.

    Raises `Unsupported` for intervals, unions and whatever else lrh1 does not define.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return codes(array.storage, dictionaries)
    if pa.types.is_run_end_encoded(kind):
        return codes(pc.call_function("run_end_decode", [array]), dictionaries)
    found = _values(array, kind, dictionaries)
    if array.null_count:
        np.copyto(found, Seed.NULL, where=array.is_null().to_numpy(zero_copy_only=False))
    return found


def _values(array: pa.Array, kind: pa.DataType, dictionaries: Dictionaries) -> U64:
    """The codes of an array whose nulls, if any, the caller replaces."""
    import pyarrow as pa

    types = pa.types
    if types.is_null(kind):
        return np.full(len(array), Seed.NULL)
    if types.is_dictionary(kind):
        return _dictionary(array, dictionaries)
    if types.is_boolean(kind) or types.is_integer(kind):
        return _integers(array, kind)
    if types.is_decimal(kind):
        return _decimals(array, kind)
    if types.is_floating(kind):
        return _floats(_primitive(array, f"f{kind.bit_width // 8}"))
    if types.is_date(kind) or types.is_time(kind) or types.is_timestamp(kind) or types.is_duration(kind):
        return _times(array, kind)
    if _is_bytes(kind):
        return _bytes(array, kind)
    return _nested(array, kind, dictionaries)


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    strings = {pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()}
    return kind in strings or pa.types.is_fixed_size_binary(kind)


def _nested(array: pa.Array, kind: pa.DataType, dictionaries: Dictionaries) -> U64:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return _structs(array, kind, dictionaries)
    if pa.types.is_map(kind):
        return _maps(array, dictionaries)
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return _list_views(array, dictionaries)
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise Unsupported(f"values of the type {kind} have no fingerprint in lrh1; leave the column out")
    return _lists(array, dictionaries)


def _primitive(array: pa.Array, dtype: str, width: int = 1) -> NDArray[Any]:
    """The values of a fixed-width array as numpy sees them, without a copy; what lies under nulls is arbitrary."""
    data = array.buffers()[1]
    if data is None or not len(array):
        return np.zeros(0, dtype)
    return np.frombuffer(data, dtype)[array.offset * width : (array.offset + len(array)) * width]


def _dictionary(array: pa.DictionaryArray, dictionaries: Dictionaries) -> U64:
    known = dictionaries.codes(array.dictionary)
    if not len(known):  # then every index is null
        return np.full(len(array), Seed.NULL)
    indices = array.indices
    kind = indices.type
    dtype = f"{'i' if kind in _signed() else 'u'}{kind.bit_width // 8}"
    return known.take(_primitive(indices, dtype), mode="clip")  # what lies under nulls may be out of range


def _signed() -> set[pa.DataType]:
    import pyarrow as pa

    return {pa.int8(), pa.int16(), pa.int32(), pa.int64()}


def _integers(array: pa.Array, kind: pa.DataType) -> U64:
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return _primitive(array.cast(pa.uint8()), "u1").astype(np.uint64) ^ Seed.BOOLEAN
    if kind != pa.uint64():
        signed = _primitive(array, f"{'i' if kind in _signed() else 'u'}{kind.bit_width // 8}")
        return signed.astype(np.int64).view(np.uint64) ^ Seed.INTEGER
    low = _primitive(array, "u8")
    found = low ^ Seed.INTEGER
    wide = low >> word(63) != 0
    if wide.any():
        found[wide] = _wide(np.stack([low[wide], np.zeros_like(low[wide])], axis=1), Seed.INTEGER)
    return found


def _wide(words: U64, seed: np.uint64) -> U64:
    """Integers of two or four words, little-endian two's complement: as bytes are, under the seed of their class."""
    found = np.full(len(words), seed ^ word(8 * words.shape[1]))
    for index in range(words.shape[1]):
        found += mix(words[:, index] + word((index + 1) * GOLDEN))
    return found


def _decimals(array: pa.Array, kind: pa.DataType) -> U64:
    """The unscaled integer in as few words as hold it, 1, 2 or 4, under a seed of the column's scale."""
    seed = Seed.DECIMAL ^ word(kind.scale)
    if kind.bit_width <= 64:
        return _primitive(array, f"i{kind.bit_width // 8}").astype(np.int64).view(np.uint64) ^ seed
    count = kind.bit_width // 64
    words = _primitive(array, "u8", count).reshape(-1, count)
    found = words[:, 0] ^ seed
    if kind.precision <= 18 and not array.null_count:
        return found
    narrow = _extends(words, 1)
    if not narrow.all():
        two = ~narrow & _extends(words, 2)
        found[two] = _wide(words[two, :2], seed)
        four = ~narrow & ~two
        found[four] = _wide(words[four], seed)
    return found


def _extends(words: U64, count: int) -> Any:
    """Where the words from `count` on only repeat the sign of those before."""
    sign = (words[:, count - 1].view(np.int64) >> 63).view(np.uint64)
    return (words[:, count:] == sign[:, None]).all(axis=1)


def _floats(values: Any) -> U64:
    with np.errstate(invalid="ignore"):  # signalling NaNs
        doubles = values.astype(np.float64)
        doubles += 0.0  # -0.0 becomes 0.0
    nan = np.isnan(doubles)
    found: U64 = doubles.view(np.uint64)
    if nan.any():
        np.copyto(found, word(0x7FF8000000000000), where=nan)
    return np.bitwise_xor(found, Seed.FLOAT, out=found)


def _times(array: pa.Array, kind: pa.DataType) -> U64:
    import pyarrow as pa

    values = _primitive(array, f"i{kind.bit_width // 8}").astype(np.int64)
    if kind == pa.date32():
        return values.view(np.uint64) ^ Seed.DATE
    if kind == pa.date64():
        return np.floor_divide(values, _DAY_IN_MS).view(np.uint64) ^ Seed.DATE
    seed = Seed.DURATION
    if pa.types.is_time(kind):
        seed = Seed.TIME
    elif pa.types.is_timestamp(kind):
        seed = Seed.INSTANT if kind.tz is not None else Seed.TIMESTAMP
    if kind.unit != "ns":
        values *= _PER_MICROSECOND[kind.unit]
        return values.view(np.uint64) ^ seed
    micros, nanos = np.divmod(values, 1000)
    found = micros.view(np.uint64) ^ seed
    finer = nanos != 0
    if finer.any():
        found[finer] = mix(found[finer]) + nanos[finer].view(np.uint64) * word(GOLDEN)
    return found


def _bytes(array: pa.Array, kind: pa.DataType) -> U64:
    strings = _strings(array, kind)
    lengths = np.diff(_offsets(strings))
    found = lengths.astype(np.uint64)
    np.bitwise_xor(found, Seed.BYTES, out=found)
    count = (lengths + 7) >> 3
    widest = int(count.max(initial=0))
    if widest * len(count) <= 2 * int(count.sum()) + 1024:
        found += _words(strings, count, widest)
        return found
    for size in range(widest.bit_length() + 1):  # like lengths together: little padding
        alike = np.flatnonzero((count > 1 << size >> 1) & (count <= 1 << size))
        if len(alike):
            found[alike] += _words(strings.take(alike), count[alike], int(count[alike].max()))
    return found


def _strings(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The same bytes as an array of strings (not decoded), large where they must be, without nulls."""
    import pyarrow as pa

    types = pa.types
    if types.is_string_view(kind) or types.is_binary_view(kind) or types.is_fixed_size_binary(kind):
        array = array.cast(pa.large_binary())
    large = types.is_large_binary(array.type) or types.is_large_string(array.type)
    _, offsets, data = array.buffers()
    if offsets is None or not len(array):
        return pa.array([], pa.large_string())
    return pa.Array.from_buffers(
        pa.large_string() if large else pa.string(), len(array), [None, offsets, data or pa.py_buffer(b"")], 0, array.offset
    )


def _offsets(strings: pa.Array) -> NDArray[Any]:
    import pyarrow as pa

    buffer = strings.buffers()[1]
    if buffer is None or not len(strings):
        return np.zeros(len(strings) + 1, np.int64)
    wide = pa.types.is_large_string(strings.type)
    return np.frombuffer(buffer, np.int64 if wide else np.int32)[strings.offset : strings.offset + len(strings) + 1]


def _words(strings: pa.Array, count: Any, widest: int) -> U64:
    """The sum over each string's words, `count` of them, each mixed with its place; all are padded with zeros to `widest` words.

    The words of the padding are left out: what they would add depends on `count` alone and is taken off again.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not widest:
        return np.zeros(len(strings), np.uint64)
    if 8 * widest * len(strings) > _LARGE:
        strings = strings.cast(pa.large_string())
    padded = pc.call_function("ascii_rpad", [strings], pc.PadOptions(8 * widest, "\0"))
    words = np.frombuffer(padded.buffers()[2], np.uint64, widest * len(strings)).reshape(-1, widest)
    places = positions(np.arange(widest, dtype=np.uint64))
    if widest <= 16:
        found = np.zeros(len(strings), np.uint64)
        for index in range(widest):
            found += mix(words[:, index] + places[index])
    else:
        found = np.empty(len(strings), np.uint64)
        step = max(1, _WORDS_AT_ONCE // widest)
        for start in range(0, len(strings), step):
            np.add.reduce(mix(words[start : start + step] + places), axis=1, out=found[start : start + step])
    beyond = np.zeros(widest + 1, np.uint64)
    beyond[:-1] = np.cumsum(mix(places)[::-1])[::-1]
    found -= beyond.take(count)
    return found


def _segments(values: U64, offsets: Any) -> U64:
    """The sum of each segment, of which some may be empty."""
    running = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values, out=running[1:])
    totals: U64 = running.take(offsets)
    return totals[1:] - totals[:-1]


def _bounds(array: pa.Array) -> tuple[NDArray[np.int64], int, int]:
    """A list's offsets counted from its first item, and which of its items those are: from, how many."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        return np.arange(len(array) + 1) * size, array.offset * size, len(array) * size
    offsets = array.offsets.to_numpy().astype(np.int64)
    first = int(offsets[0])
    return offsets - first, first, int(offsets[-1]) - first


def _lists(array: pa.Array, dictionaries: Dictionaries) -> U64:
    offsets, first, total = _bounds(array)
    return _sequences(codes(array.values.slice(first, total), dictionaries), offsets)


def _list_views(array: pa.Array, dictionaries: Dictionaries) -> U64:
    """As `_lists`; the items of a view lie anywhere, and what a null states about them is arbitrary."""
    lengths = array.sizes.to_numpy().astype(np.int64)
    if array.null_count:
        lengths[array.is_null().to_numpy(zero_copy_only=False)] = 0
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    starts = array.offsets.to_numpy().astype(np.int64) - offsets[:-1]
    indexes = np.arange(offsets[-1]) + np.repeat(starts, lengths)
    if not len(indexes):
        return _sequences(np.zeros(0, np.uint64), offsets)
    first = int(indexes.min())
    values = array.values.slice(first, int(indexes.max()) + 1 - first)
    return _sequences(codes(values, dictionaries).take(indexes - first), offsets)


def _sequences(items: U64, offsets: NDArray[np.int64]) -> U64:
    """The codes of lists from those of their items and from where each begins among these and the last ends."""
    lengths = np.diff(offsets)
    total = int(offsets[-1])
    places = positions((np.arange(total) - np.repeat(offsets[:-1], lengths)).view(np.uint64))
    found = _segments(mix(np.add(items, places, out=items)), offsets)
    found += lengths.view(np.uint64) ^ Seed.LIST
    return found


def _maps(array: pa.MapArray, dictionaries: Dictionaries) -> U64:
    offsets, first, total = _bounds(array)
    pairs = mix(codes(array.keys.slice(first, total), dictionaries) ^ Seed.KEY)
    pairs += mix(codes(array.items.slice(first, total), dictionaries) ^ Seed.VALUE)
    found = _segments(mix(pairs), offsets)
    found += np.diff(offsets).view(np.uint64) ^ Seed.MAP
    return found


def _structs(array: pa.StructArray, kind: pa.DataType, dictionaries: Dictionaries) -> U64:
    found = np.full(len(array), Seed.STRUCT)
    for index in range(kind.num_fields):
        found += mix(codes(array.field(index), dictionaries) ^ name_code(kind.field(index).name))
    return found
