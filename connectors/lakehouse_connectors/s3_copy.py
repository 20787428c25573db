"""Copies within one S3 service: CopyObject, and UploadPartCopy for what is too large for it, by botocore.

References: Amazon S3 API, CopyObject (also: an error may come with status 200, which botocore tells apart), UploadPartCopy,
HeadObject with x-amz-checksum-mode; the user guide's "checking object integrity" (a checksum with ``-N`` is one of parts).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import importlib.util
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

from lakehouse.checksum import Checksum
from lakehouse.errors import Transfer
from lakehouse.parallel import every
from lakehouse.store import ObjectInfo, Traits
from lakehouse.url import Url
from lakehouse_connectors.options import TIMEOUT_SECONDS, flag, number, text
from lakehouse_connectors.server_copy import PATIENCE, Names, service_of

__all__ = ["S3Copies", "declared"]

LARGEST_COPY = 5 << 30
"""What one CopyObject takes; only then does S3 state a SHA-256 of the whole content."""
PART_BYTES = 512 << 20
MOST_PARTS = 10_000
PARTS_AT_ONCE = 4
_NO_PROFILE = {"profile": (None, None, None, None)}
"""With keys of its own a store has no use for the environment's AWS_PROFILE, which may name none that is there."""


class _Row(Protocol):
    @property
    def server_copy(self) -> bool: ...


class _Keys(Protocol):
    @property
    def key(self) -> str: ...

    @property
    def secret(self) -> str: ...

    @property
    def token(self) -> str | None: ...


class Bucket(Protocol):
    """What the connector knows of a bucket and of the credentials that reach it."""

    @property
    def url(self) -> Url: ...

    @property
    def options(self) -> Mapping[str, object]: ...

    @property
    def endpoint(self) -> str | None: ...

    @property
    def region(self) -> str | None: ...

    @property
    def row(self) -> _Row: ...

    @property
    def keys(self) -> _Keys | None: ...

    @property
    def session(self) -> Any: ...


def declared(traits: Traits, bucket: Bucket, config: Mapping[str, object], sent: Mapping[str, str]) -> Traits:
    """``traits``, and the powers to copy where the provider's row has them, somebody signs in, and botocore is installed.

    ``config``: botocore's settings. ``sent``: what goes with every object that is written.
    """
    signed = bucket.keys is not None or bucket.session is not None
    if not (bucket.row.server_copy and signed and importlib.util.find_spec("botocore")):
        return traits
    who = ["key", bucket.keys.key] if bucket.keys else ["profile", text(bucket.options, "profile")]
    paid = flag(bucket.options, "requester_pays")
    copies = S3Copies(bucket, config, sent)
    service = service_of("s3", bucket.endpoint, bucket.region, paid, *who)
    return replace(traits, service=service, copy=copies, stated_sha256=copies.stated_sha256)


class S3Copies:
    """Copies into one bucket from any bucket that the same service shows to the same credentials (`lakehouse.store.ServerCopy`).

    Nothing is loaded before the first copy. ``largest`` and ``part`` in bytes.
    """

    def __init__(
        self,
        bucket: Bucket,
        config: Mapping[str, object],
        sent: Mapping[str, str],
        *,
        largest: int = LARGEST_COPY,
        part: int = PART_BYTES,
    ) -> None:
        self._bucket, self._config, self._sent, self._largest, self._part = bucket, config, sent, largest, part
        self._paid = {"RequestPayer": "requester"} if flag(bucket.options, "requester_pays") else {}
        self._lock = threading.Lock()
        self._made: Any = None

    def __call__(self, source_url: str, info: ObjectInfo, path: str, /, *, if_absent: bool = True) -> ObjectInfo:
        names = Names(source_url, info, self._bucket.url, path)
        with self._translating(names) as client:
            try:
                if info.size <= self._largest:
                    return self._whole(client, names, info, path, if_absent)
                return self._in_parts(client, names, info, path, if_absent)
            except client.exceptions.ClientError as error:
                if _status(error) != 412:
                    raise
                found = client.head_object(Bucket=names.source.authority, Key=names.source.key, **self._paid)
                raise (names.exists() if info.etag in (None, found["ETag"]) else names.changed()) from None

    def stated_sha256(self, info: ObjectInfo) -> str | None:
        """The SHA-256 of the whole content that the service compared when the object was put, or computed (`Traits`)."""
        names = Names(str(self._bucket.url), info, self._bucket.url, info.path)
        with self._translating(names) as client:
            found = client.head_object(Bucket=names.source.authority, Key=names.source.key, ChecksumMode="ENABLED", **self._paid)
        if info.etag is not None and found["ETag"] != info.etag:
            raise names.changed()
        return _sha256(found)

    def _whole(self, client: Any, names: Names, info: ObjectInfo, path: str, if_absent: bool) -> ObjectInfo:
        answer = client.copy_object(
            Bucket=names.target.authority,
            Key=names.target.key,
            TaggingDirective="REPLACE",  # tags of the source are not read: that takes a permission of its own
            ChecksumAlgorithm="SHA256",
            **self._source(names, info),
            **self._sent,
            **self._absent(client, "CopyObject", if_absent),
        )["CopyObjectResult"]
        sha256 = _sha256(answer)
        return ObjectInfo(path, info.size, _quoted(answer["ETag"]), Checksum("sha256", sha256) if sha256 else None)

    def _in_parts(self, client: Any, names: Names, info: ObjectInfo, path: str, if_absent: bool) -> ObjectInfo:
        import botocore.exceptions

        place = {"Bucket": names.target.authority, "Key": names.target.key}
        begun = client.create_multipart_upload(**place, **self._sent, **self._paid)
        upload = {**place, "UploadId": begun["UploadId"]}

        def copied(number_and_range: tuple[int, str]) -> str:
            number_of, span = number_and_range
            with self._translating(names):
                answer = client.upload_part_copy(
                    **upload, PartNumber=number_of, CopySourceRange=span, **self._source(names, info)
                )
                return str(answer["CopyPartResult"]["ETag"])

        try:
            done = every(copied, self._ranges(info.size), workers=PARTS_AT_ONCE)
            parts = sorted((number_of, etag) for (number_of, _), etag in done)
            answer = client.complete_multipart_upload(
                **upload,
                MultipartUpload={"Parts": [{"PartNumber": number_of, "ETag": etag} for number_of, etag in parts]},
                **self._paid,
                **self._absent(client, "CompleteMultipartUpload", if_absent),
            )
        except BaseException:
            with contextlib.suppress(botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                client.abort_multipart_upload(**upload, **self._paid)
            raise
        return ObjectInfo(path, info.size, _quoted(answer["ETag"]))

    def _ranges(self, size: int) -> Iterator[tuple[int, str]]:
        """The parts by number, so many bytes each that 10,000 of them hold ``size``, as HTTP spells ranges."""
        part = max(self._part, -(-size // MOST_PARTS))
        for index, start in enumerate(range(0, size, part), 1):
            yield index, f"bytes={start}-{min(start + part, size) - 1}"

    def _source(self, names: Names, info: ObjectInfo) -> dict[str, object]:
        named: dict[str, object] = {"CopySource": {"Bucket": names.source.authority, "Key": names.source.key}, **self._paid}
        return {**named, "CopySourceIfMatch": info.etag} if info.etag is not None else named

    def _absent(self, client: Any, operation: str, if_absent: bool) -> dict[str, str]:
        """If-None-Match, as far as this botocore knows it for the operation."""
        known = if_absent and "IfNoneMatch" in client.meta.service_model.operation_model(operation).input_shape.members
        return {"IfNoneMatch": "*"} if known else {}

    @contextlib.contextmanager
    def _translating(self, names: Names) -> Iterator[Any]:
        import botocore.exceptions

        try:
            yield self._client()
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            if _status(error) == 412:
                raise names.changed() from None
            if _status(error) == 409:  # ConditionalRequestConflict: somebody writes there at this moment
                raise Transfer(f"{names.target}: the server answered 409, another write was going on", transient=True) from None
            raise names.translated(error) from None

    def _client(self) -> Any:
        """botocore's client (safe for threads), made at the first call, with the credentials of the store."""
        with self._lock:
            if self._made is None:
                import botocore.config
                import botocore.session

                bucket, keys = self._bucket, self._bucket.keys
                timeout = number(bucket.options, "timeout", TIMEOUT_SECONDS) * PATIENCE
                own = {"retries": {"max_attempts": 0}, "read_timeout": timeout, "max_pool_connections": 64}
                settings: dict[str, Any] = {name: value for name, value in self._config.items() if value is not None}
                session = bucket.session or botocore.session.Session(session_vars=_NO_PROFILE)
                self._made = session.create_client(
                    "s3",
                    region_name=bucket.region or "us-east-1",
                    endpoint_url=bucket.endpoint,
                    verify=text(bucket.options, "ca_file"),
                    aws_access_key_id=keys.key if keys else None,
                    aws_secret_access_key=keys.secret if keys else None,
                    aws_session_token=keys.token if keys else None,
                    config=botocore.config.Config(**{**settings, **own}),
                )
            return self._made


def _status(error: Any) -> int | None:
    response = getattr(error, "response", None)
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None


def _sha256(answer: Mapping[str, Any]) -> str | None:
    """ChecksumSHA256 as hexadecimal text. That of an object of parts (``…-N``, type COMPOSITE) is not one of its content."""
    stated = str(answer.get("ChecksumSHA256") or "")
    if answer.get("ChecksumType") not in (None, "FULL_OBJECT"):
        return None
    try:
        digest = base64.b64decode(stated, validate=True)
    except binascii.Error:
        return None
    return digest.hex() if len(digest) == 32 else None


def _quoted(etag: str) -> str:
    """An etag as HTTP spells it: SeaweedFS leaves the quotes out in its documents."""
    return etag if etag.startswith('"') else f'"{etag}"'
