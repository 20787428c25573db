"""Sizes as rclone writes them: ``10M``, ``512k``, ``1.5G``; powers of 1024, ``B`` for bytes, KiB for a number alone."""

from __future__ import annotations

import re

__all__ = ["parse"]

_SIZE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(?:([bB])|([kKmMgGtTpP])(?:i[bB]?)?)?")
_FACTORS = {letter: 1024 ** (power + 1) for power, letter in enumerate("kmgtp")}


def parse(text: str) -> float | None:
    """The bytes that ``text`` states; None where it is no size (https://rclone.org/docs/, "Size suffix")."""
    match = _SIZE.fullmatch(text)
    if match is None:
        return None
    number, in_bytes, letter = match.groups()
    return float(number) * (1 if in_bytes else _FACTORS[(letter or "k").lower()])
