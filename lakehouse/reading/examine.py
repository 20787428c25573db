"""The contract of integrity checks: what is wrong with an object, and how one is looked at on its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Examination", "Flaw"]


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong with the object at ``path`` (relative to the table, or a whole address).

    ``kind`` is stable: docs/check.md has them all.
    """

    kind: str
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Examination:
    """One object to be looked at, apart from all others and in any order.

    ``run(deep)`` gives what is wrong with it; ``deep``: every page is read, not only what lies around them. It raises `LakeError`
    for what could not be looked at.
    """

    path: str
    run: Callable[[bool], list[Flaw]]
