"""The exceptions of fsspec's file systems (botocore's, azure's, gcsfs's, the operating system's) in our own words.

They are told apart by what they carry (an HTTP status, a service's error code), not by their classes: the providers'
packages need not be installed. Their texts can hold signed URLs and are not passed on.
"""

from __future__ import annotations

import errno
import re

from lakehouse.errors import Config, Conflict, LakeError, NotFound, Transfer, Unsupported

__all__ = ["translated"]

_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_REFUSED = (
    "AccessDenied",
    "AuthenticationFailed",
    "AuthorizationFailure",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
)
_ARCHIVED = ("InvalidObjectState", "BlobArchived", "BlobBeingRehydrated")
_THROTTLED = ("SlowDown", "ServerBusy", "TooManyRequests")
_UNREACHABLE = re.compile(
    r"Timeout|TimedOut|Connect|Disconnect|Incomplete|Payload|ServiceRequest|ServiceResponse|Proxy|Chunked|RefreshError"
)
_NO_KEYS = re.compile(r"Credential|ProfileNotFound|TokenRetrieval|DefaultCredentials|ClientAuthentication")


def translated(error: BaseException, where: str, store: str, *, listing: bool, writing: bool) -> LakeError:
    """The `LakeError` that says what ``error`` means at ``where`` (an object, or the store itself when ``listing``)."""
    status, code = _status_and_code(error)
    names = " ".join(kind.__name__ for kind in type(error).__mro__ if kind.__module__ != "builtins")
    said = " ".join(text for text in (str(status) if status else "", code) if text) or type(error).__name__
    if code in _NO_BUCKET or (listing and (status == 404 or isinstance(error, FileNotFoundError))):
        return Config(f"{store}: the bucket or container does not exist ({said})")
    if code in _ARCHIVED:
        return Transfer(f"{where}: the object is archived; restore it first ({code})")
    if isinstance(error, PermissionError) or status in (401, 403) or code in _REFUSED or "Forbidden" in str(error)[:10]:
        return Config(f"{where}: access was refused ({said}); check the credentials of {store} and what they permit")
    if _NO_KEYS.search(names):
        return Config(f"{store}: no usable credentials ({said}); set them in lake.toml or the environment")
    if isinstance(error, FileExistsError) or status == 412 or (status == 409 and writing):
        return Conflict(f"{where}: exists already; it has not been overwritten")
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError) or status == 404:
        return NotFound(f"{where}: not found")
    if code in _THROTTLED or status in (429, 503):
        return Transfer(f"{where}: the server answered {said}", transient=True, retry_after=_retry_after(error))
    if (status is not None and (status >= 500 or status == 408)) or isinstance(error, ConnectionError | TimeoutError):
        return Transfer(f"{where}: {said}", transient=True)
    if isinstance(error, NotImplementedError):
        return Unsupported(f"{where}: this file system cannot do it")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Transfer(f"{where}: the disk is full; nothing was written, make room and run again")
    return Transfer(f"{where}: {said}", transient=bool(_UNREACHABLE.search(names)))


def _retry_after(error: BaseException) -> float:
    """The seconds that the server asked to wait (RFC 9110, Retry-After; a date counts as none), 0 where it names no time."""
    response = getattr(error, "response", None)
    answer = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}) if isinstance(response, dict) else None
    headers = answer if answer is not None else getattr(response, "headers", None) or getattr(error, "headers", None) or {}
    stated = next((str(value) for name, value in dict(headers).items() if str(name).lower() == "retry-after"), "")
    return float(stated) if stated.isdigit() else 0.0


def _status_and_code(error: BaseException | None) -> tuple[int | None, str]:
    """The HTTP status and the service's code that ``error`` or one of its causes carries."""
    depth = 0
    while error is not None and depth < 5:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            details = response.get("Error", {})
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return status, str(details.get("Code", ""))
        status = getattr(error, "status_code", None) or getattr(error, "status", None) or getattr(error, "code", None)
        if str(status or "").isdigit():
            code = getattr(error, "error_code", None)
            return int(str(status)), str(getattr(code, "value", code) or "")
        error, depth = error.__cause__ or error.__context__, depth + 1
    return None, ""
