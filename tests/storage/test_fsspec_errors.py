"""What the exceptions of fsspec's file systems say beyond their class."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lakehouse.errors import LakeError, Transfer
from lakehouse.fsspec_errors import translated


class Botocore(Exception):
    def __init__(self, headers: dict[str, str]) -> None:
        answer = {"HTTPStatusCode": 503, "HTTPHeaders": headers}
        self.response = {"Error": {"Code": "SlowDown"}, "ResponseMetadata": answer}


class Azure(Exception):
    status_code = 503

    def __init__(self, headers: dict[str, str]) -> None:
        self.response = SimpleNamespace(headers=headers)


class Aiohttp(Exception):
    status = 429

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers


@pytest.mark.parametrize("kind", [Botocore, Azure, Aiohttp])
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
    ],
)
def test_what_the_server_asks_to_wait_is_taken_over(kind: type[Exception], headers: dict[str, str], seconds: float) -> None:
    failure: LakeError = translated(kind(headers), "s3://b/k", "s3://b", listing=False, writing=False)
    assert isinstance(failure, Transfer)
    assert (failure.transient, failure.retry_after) == (True, seconds)
