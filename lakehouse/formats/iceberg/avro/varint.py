"""Avro's variable-length zig-zag numbers (Avro 1.12, "Binary encoding": int and long)."""

from __future__ import annotations

__all__ = ["long_bytes", "read_long"]


def read_long(data: bytes, pos: int) -> tuple[int, int]:
    """The number at ``pos`` and the position after it; of more than 64 bits the lowest count, as in every other reader.

    Raises IndexError past the end and ValueError for more than ten bytes.
    """
    byte = data[pos]
    pos += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), pos
    value = byte & 0x7F
    shift = 7
    while True:
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            value &= 0xFFFF_FFFF_FFFF_FFFF
            return (value >> 1) ^ -(value & 1), pos
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than ten bytes")


def long_bytes(value: int) -> bytes:
    """``value``, of at most 64 bits, in as few bytes as the encoding needs."""
    number = (value << 1) ^ (value >> 63)
    if number < 0x80:
        return bytes((number,))
    encoded = bytearray()
    while number >= 0x80:
        encoded.append((number & 0x7F) | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
