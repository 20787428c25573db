"""Texts by what they begin with: a range of texts, in the order of their bytes in UTF-8."""

from __future__ import annotations

__all__ = ["text_after"]


def text_after(prefix: str) -> str | None:
    """The first text that is above all that begin with ``prefix``; None where there is none."""
    for end in range(len(prefix), 0, -1):
        code = ord(prefix[end - 1]) + 1
        if code <= 0x10FFFF:
            return prefix[: end - 1] + chr(0xE000 if 0xD800 <= code < 0xE000 else code)  # surrogates are no characters
    return None
