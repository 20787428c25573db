"""The exceptions of the library, grouped by what the caller does next.

::

    LakeError                 something failed                                            exit 1
    ├── Config                mend the call, lake.toml or the credentials                 exit 2
    ├── NotFound              the table, object or version is not there                   exit 3
    ├── Verification          the target is not what it must be; nothing was published    exit 4
    ├── Conflict              somebody else wrote there; nothing was overwritten          exit 5
    ├── Unsupported           the table needs what cannot be carried; nothing was written exit 6
    └── Transfer              incomplete: run again                                       exit 7

A foreign exception is translated once, where it enters (the two Store implementations, the format readers).
Messages say where, what and what to do next, and never hold a secret.
"""

from __future__ import annotations

__all__ = ["Config", "Conflict", "LakeError", "NotFound", "Transfer", "Unsupported", "Verification"]


class LakeError(Exception):
    """Base of every error that this library raises on purpose."""

    exit_code = 1


class Config(LakeError):
    """The call, lake.toml, the environment or the credentials are wrong."""

    exit_code = 2


class NotFound(LakeError):
    """A table, an object or a version does not exist."""

    exit_code = 3


class Verification(LakeError):
    """What is at the target differs from what must be there. ``report`` (a `lakehouse.report.Report`) names each object."""

    exit_code = 4

    def __init__(self, message: str, *, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class Conflict(LakeError):
    """The object or table was written by somebody else; it has not been overwritten."""

    exit_code = 5


class Unsupported(LakeError):
    """The table uses something that a replica could not carry rightly; nothing was written."""

    exit_code = 6


class Transfer(LakeError):
    """Some bytes did not arrive, or the source moved on; running again completes the work.

    ``transient`` marks a single request that is worth trying again (time-out, 429, 5xx, a cut connection). ``retry_after`` is set
    where the server asked for patience (429, 503): the seconds that it named, 0.0 where it named none. Calls to that service are
    then fewer at once, and none begins for so long. Only `lakehouse.retry` and `lakehouse.pace` read them.
    """

    exit_code = 7

    def __init__(self, message: str, *, transient: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.transient = transient
        self.retry_after = retry_after
