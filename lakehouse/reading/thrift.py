"""Reading Thrift's compact protocol, in which Parquet footers are written.

Arrow's own metadata objects end the process for some damaged footers (what is thrown in them is not caught), so a check reads
footers by itself. Source: Thrift compact protocol specification.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Fields", "read_fields"]

Fields = dict[int, Any]
"""The fields of a struct by their numbers: int, bool, bytes, float, `Fields`, or a list of one of these."""

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_DEEPEST = 32


def read_fields(data: bytes, pos: int = 0, *, last: int = 0, until: int = 2**15) -> tuple[Fields, int]:
    """The fields of a struct from ``pos`` on, and where it ends. ``last``: the number of the field before ``pos``.

    ``until``: stop behind the field of that number. Raises `ValueError` for what is cut or no Thrift.
    """
    try:
        return _struct(data, pos, last, until, 0)
    except IndexError as error:
        raise ValueError("it ends in the middle of a field") from error


def _struct(data: bytes, pos: int, number: int, until: int, depth: int) -> tuple[Fields, int]:
    fields: Fields = {}
    if depth > _DEEPEST:
        raise ValueError("its structs are nested without an end")
    while number != until:
        head = data[pos]
        pos += 1
        if head == 0:
            break
        kind = head & 15
        if head > 15:
            number += head >> 4
        else:
            number, pos = _zigzag(data, pos)
        if _I16 <= kind <= _I64:
            value = data[pos]
            pos += 1
            if value >= 0x80:
                value, pos = _rest(data, pos, value)
            fields[number] = (value >> 1) ^ -(value & 1)
        elif kind == _BINARY:
            fields[number], pos = _bytes(data, pos)
        elif kind == _STRUCT:
            fields[number], pos = _struct(data, pos, 0, 2**15, depth + 1)
        elif kind <= _FALSE:
            fields[number] = kind == _TRUE
        else:
            fields[number], pos = _value(data, pos, kind, depth)
    return fields, pos


def _value(data: bytes, pos: int, kind: int, depth: int) -> tuple[Any, int]:
    """A value that stands alone: of a list, or of a kind that footers hardly have."""
    if kind in (_LIST, _SET):
        return _list(data, pos, depth)
    if kind == _STRUCT:
        return _struct(data, pos, 0, 2**15, depth + 1)
    if kind == _BINARY:
        return _bytes(data, pos)
    if _I16 <= kind <= _I64:
        return _zigzag(data, pos)
    if kind in (_TRUE, _FALSE, _BYTE):
        return data[pos] == _TRUE if kind != _BYTE else data[pos], pos + 1
    if kind == _DOUBLE:
        if pos + 8 > len(data):
            raise ValueError("it ends in the middle of a number")
        return data[pos : pos + 8], pos + 8
    raise ValueError(f"a field of the unknown kind {kind}")


def _list(data: bytes, pos: int, depth: int) -> tuple[list[Any], int]:
    head = data[pos]
    pos += 1
    size, kind = head >> 4, head & 15
    if size == 15:
        size, pos = _rest(data, pos + 1, data[pos]) if data[pos] >= 0x80 else (data[pos], pos + 1)
    if size > len(data) - pos:
        raise ValueError(f"a list of {size} elements in {len(data)} bytes")
    found = []
    for _ in range(size):
        value, pos = _struct(data, pos, 0, 2**15, depth + 1) if kind == _STRUCT else _value(data, pos, kind, depth + 1)
        found.append(value)
    return found, pos


def _bytes(data: bytes, pos: int) -> tuple[bytes, int]:
    size = data[pos]
    pos += 1
    if size >= 0x80:
        size, pos = _rest(data, pos, size)
    end = pos + size
    if end > len(data):
        raise ValueError("it ends in the middle of a value")
    return data[pos:end], end


def _zigzag(data: bytes, pos: int) -> tuple[int, int]:
    value, pos = data[pos], pos + 1
    if value >= 0x80:
        value, pos = _rest(data, pos, value)
    return (value >> 1) ^ -(value & 1), pos


def _rest(data: bytes, pos: int, first: int) -> tuple[int, int]:
    """A varint of several bytes, from the second on."""
    value, shift = first & 0x7F, 7
    while True:
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, pos
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")
