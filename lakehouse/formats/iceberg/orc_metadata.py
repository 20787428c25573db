"""User metadata of an ORC file, which Arrow reads and cannot write.

Source: ORC specification v1, "File Tail": … footer, postscript, one byte with the postscript's length. The footer is protobuf, in
compressed chunks where the file has a codec; a chunk whose header has its lowest bit set is stored as it is. Protobuf appends:
one more chunk with the items of field 5 completes the footer, and the postscript states its new length.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["with_user_metadata"]

_FOOTER_LENGTH, _COMPRESSION = 1, 2
_USER_METADATA = 5


def with_user_metadata(data: bytes, items: Mapping[str, bytes]) -> bytes:
    """The ORC file ``data`` with ``items`` as its user metadata; it must have none yet.

    Raises ValueError for a tail that is no ORC file's.
    """
    if not items:
        return data
    size = data[-1]
    tail, postscript = data[: -1 - size], data[-1 - size : -1]
    fields = _varint_fields(postscript)
    if _FOOTER_LENGTH not in fields:
        raise ValueError("its postscript states no footer")
    added = b"".join(_message(_USER_METADATA, _message(1, name.encode()) + _message(2, value)) for name, value in items.items())
    if fields.get(_COMPRESSION, (0, 0, 0))[0]:
        added = (len(added) << 1 | 1).to_bytes(3, "little") + added
    length, start, end = fields[_FOOTER_LENGTH]
    stated = postscript[:start] + _varint(length + len(added)) + postscript[end:]
    if len(stated) > 255:
        raise ValueError("its postscript has no room for a longer footer")
    return tail + added + stated + bytes([len(stated)])


def _varint_fields(message: bytes) -> dict[int, tuple[int, int, int]]:
    """By number, each varint field of a protobuf message: value, and where its value begins and ends."""
    found, pos = {}, 0
    while pos < len(message):
        key, pos = _read_varint(message, pos)
        start = pos
        value, pos = _read_varint(message, pos)
        if key & 7 == 0:
            found[key >> 3] = (value, start, pos)
        elif key & 7 == 2:
            pos += value
        else:
            raise ValueError("its postscript has fields of an unknown kind")
    return found


def _read_varint(data: bytes, pos: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if pos >= len(data):
            raise ValueError("its postscript is cut")
        byte = data[pos]
        value |= (byte & 0x7F) << shift
        pos, shift = pos + 1, shift + 7
        if byte < 0x80:
            return value, pos


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content
