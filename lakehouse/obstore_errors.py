"""obstore's exceptions in our own words. Foreign texts hold URLs, and URLs can hold signatures: only the status, the service's
error code and a scrubbed first line are taken over."""

from __future__ import annotations

import re

from obstore import exceptions

from lakehouse.errors import Config, Conflict, LakeError, NotFound, Transfer, Unsupported

__all__ = ["FOREIGN", "is_beyond_end", "status_of", "translated"]

FOREIGN = (exceptions.BaseError, OSError, ValueError)
"""What obstore raises: its own tree, FileNotFoundError and other OSErrors, and ValueError for paths that it cannot parse."""

_STATUS = re.compile(r"status code: (\d{3})(?: ([A-Za-z -]+))?")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>|\"(?:code|reason)\": ?\"(\w{1,60})\"")
_URL = re.compile(r"\b\w+://\S+")
_SECRET = re.compile(
    r"\b(sig|signature|x-amz-[\w-]+|x-goog-[\w-]+|token|key|secret|password|authorization)\s*[=:]\s*\S+", re.IGNORECASE
)
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "NoSuchContainer", "ResourceNotFoundContainer")
_WRONG_KEYS = (
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "PermanentRedirect",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
)
_ARCHIVED = ("InvalidObjectState", "BlobArchived", "BlobBeingRehydrated")
_THROTTLED = ("SlowDown", "ServerBusy", "TooManyRequests", "RequestLimitExceeded")
_BUSY = (
    "BadDigest",
    "ConditionalRequestConflict",
    "OperationAborted",
    "RequestTimeout",
    "InternalError",
    "NoSuchUpload",
    "OperationTimedOut",
)
"""BadDigest: the body was damaged on its way. NoSuchUpload: the service gave the upload up, or an answer to its end was lost."""
THROTTLED_SECONDS = 0.0
"""obstore does not tell the Retry-After header: a throttling answer asks for patience, and names no time."""


def status_of(error: BaseException) -> int | None:
    """The HTTP status that ``error`` reports, if any."""
    match = _STATUS.search(str(error))
    return int(match[1]) if match else None


def is_beyond_end(error: BaseException) -> bool:
    """Whether a range was refused since it begins at or beyond the object's end (some servers answer 200 and obstore notices)."""
    return status_of(error) == 416 or "Wanted range starting at" in str(error)


def scrubbed(text: str) -> str:
    """One short line of a foreign message without addresses and without whatever looks like a credential."""
    line = text.strip().partition("\n")[0]
    return _SECRET.sub(r"\1=…", _URL.sub("…", line))[:200]


def _code(text: str) -> str:
    match = _CODE.search(text)
    return (match[1] or match[2]) if match else ""


def _reason(text: str) -> str:
    status, code = _STATUS.search(text), _code(text)
    if status is None:
        return scrubbed(text)
    said = f"{status[1]} {(status[2] or '').strip()}".strip()
    return f"{said} ({code})" if code else said


def translated(error: BaseException, where: str, store: str, *, listing: bool, writing: bool) -> LakeError:
    """The `LakeError` that says what ``error`` means at ``where`` (an object, or the store itself when ``listing``)."""
    text = str(error)
    status, code, reason = status_of(error), _code(text), _reason(text)
    if code in _NO_BUCKET or (listing and (status == 404 or isinstance(error, FileNotFoundError))):
        return Config(f"{store}: the bucket or container does not exist ({reason})")
    if code in _ARCHIVED:
        return Transfer(f"{where}: the object is archived; restore it first ({code})")
    if code in _THROTTLED or status in (429, 503):
        return Transfer(f"{where}: the server answered {reason}", transient=True, retry_after=THROTTLED_SECONDS)
    if code in _BUSY or status in (408, 425) or (status is not None and status >= 500 and status != 501):
        return Transfer(f"{where}: the server answered {reason}", transient=True)
    if (
        isinstance(error, exceptions.UnauthenticatedError | exceptions.PermissionDeniedError)
        or status in (401, 403)
        or code in _WRONG_KEYS
    ):
        return Config(f"{where}: access was refused ({reason}); check the credentials of {store} and what they permit")
    if isinstance(error, exceptions.AlreadyExistsError):
        return Conflict(f"{where}: exists already; it has not been overwritten")
    if isinstance(error, exceptions.PreconditionError):
        if writing:
            return Conflict(f"{where}: exists already; it has not been overwritten")
        return Transfer(f"{where}: changed while it was read; run again")
    if isinstance(error, FileNotFoundError) or status == 404:
        return NotFound(f"{where}: not found")
    if isinstance(error, exceptions.NotSupportedError):
        return Unsupported(f"{where}: the store cannot do this ({scrubbed(text)})")
    if isinstance(error, exceptions.InvalidPathError | ValueError) or ("Path" in text and "segment" in text):
        return Unsupported(f'{where}: a key that obstore cannot address lies here; use transport = "fsspec" ({scrubbed(text)})')
    if "credential" in text.partition("\n")[0].lower():
        return Config(f"{store}: no usable credentials ({scrubbed(text)}); set them in lake.toml or the environment")
    return Transfer(f"{where}: {reason}", transient=status is None)
