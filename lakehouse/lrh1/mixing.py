"""The arithmetic of `lrh1`: the constants, and one function that mixes an array of 64-bit words.

All sums, products and exclusive ors are modulo 2**64. docs/fingerprint.md states the algorithm; nothing here may change without a
new name for it, since receipts hold its results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    U64: TypeAlias = NDArray[np.uint64]

__all__ = ["GOLDEN", "Seed", "mix", "positions", "word"]

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio: the step of SplitMix64
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


def mix(words: U64) -> U64:
    """The words, each mixed in place by the finaliser of SplitMix64 (Steele, Lea, Flood 2014; David Stafford's variant 13)."""
    shifted = np.right_shift(words, _30)
    np.bitwise_xor(words, shifted, out=words)
    np.multiply(words, _FIRST, out=words)
    np.right_shift(words, _27, out=shifted)
    np.bitwise_xor(words, shifted, out=words)
    np.multiply(words, _SECOND, out=words)
    np.right_shift(words, _31, out=shifted)
    return np.bitwise_xor(words, shifted, out=words)


def word(value: int) -> np.uint64:
    """A Python integer modulo 2**64."""
    return np.uint64(value & MASK)


def positions(indexes: U64) -> U64:
    """What is added to an item before it is mixed, so that order counts: (index + 1) x GOLDEN, for indexes from 0. In place."""
    np.add(indexes, word(1), out=indexes)
    return np.multiply(indexes, word(GOLDEN), out=indexes)


_STREAM = [word(int(seed)) for seed in mix(positions(np.arange(18, dtype=np.uint64)))]


class Seed:
    """A constant for each class of types: the first outputs of SplitMix64 seeded with 0, in this order."""

    NULL, BOOLEAN, INTEGER, DECIMAL, FLOAT, DATE, TIME, TIMESTAMP, INSTANT = _STREAM[:9]
    DURATION, BYTES, LIST, MAP, STRUCT, NAME, KEY, VALUE, ROW = _STREAM[9:]
