"""Making a bucket on an S3 server, with nothing but the standard library (AWS Signature Version 4)."""

from __future__ import annotations

import hashlib
import hmac
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime

from lakehouse.testing.servers.process import create

__all__ = ["make_bucket"]


def make_bucket(endpoint_url: str, key: str, secret: str, bucket: str, region: str = "us-east-1") -> None:
    """``PUT /bucket``; one that is there already is fine."""
    host, now, empty = urllib.parse.urlsplit(endpoint_url).netloc, datetime.now(UTC), hashlib.sha256(b"").hexdigest()
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    signed = "host;x-amz-content-sha256;x-amz-date"
    canonical = f"PUT\n/{bucket}\n\nhost:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{stamp}\n\n{signed}\n{empty}"
    scope = f"{day}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signing = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
    request = urllib.request.Request(
        f"{endpoint_url}/{bucket}",
        method="PUT",
        headers={
            "x-amz-content-sha256": empty,
            "x-amz-date": stamp,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={signed}, Signature={signature}",
        },
    )
    create(request)
