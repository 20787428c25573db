"""What a running operation tells its caller: small events through one callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Progress", "ProgressEvent", "silent"]

Step = Literal["pin", "plan", "transfer", "stage", "verify", "rows", "receipt", "publish", "prune"]


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """One thing that happened in ``step``.

    With ``total_objects`` set, the event opens the step and states what it is going to do (``total_bytes`` in bytes);
    otherwise it says that ``objects`` more objects with ``size`` more bytes are done. ``message`` is for people.
    """

    step: Step
    objects: int = 0
    size: int = 0
    total_objects: int | None = None
    total_bytes: int | None = None
    message: str = ""


Progress = Callable[[ProgressEvent], None]
"""Called from worker threads too: it must be quick and thread-safe, and what it raises ends the operation."""


def silent(event: ProgressEvent) -> None:
    """The callback that does nothing."""
