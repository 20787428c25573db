"""An S3 server that has nothing but a listing: objects that are not there, page by page, as ListObjectsV2 answers."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BUCKET, FOLDER = "bench", "plain"
PAGE = 1000
_ROW = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{etag:032x}&quot;</ETag>"
    "<Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


def key(number: int) -> str:
    """The name of one object, as long as Spark's; names sort as their numbers do."""
    return f"{FOLDER}/part-{number:07d}-{uuid.UUID(int=number)}.c000.snappy.parquet"


class _Listing(BaseHTTPRequestHandler):
    """ListObjectsV2 for `FOLDER`; below any other prefix nothing is there, and no object can be had."""

    protocol_version = "HTTP/1.1"
    server: ListingServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if asked.get("list-type") != "2":
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        files = self.server.files if f"{FOLDER}/".startswith(asked.get("prefix", "")) else 0
        start = int(asked.get("continuation-token", 0))
        end = min(start + PAGE, files)
        rows = "".join(_ROW.format(key=key(number), etag=number) for number in range(start, end))
        more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < files else ""
        truncated = "true" if more else "false"
        text = (
            f"<ListBucketResult><Name>{BUCKET}</Name><KeyCount>{end - start}</KeyCount><MaxKeys>{PAGE}</MaxKeys>"
            f"<IsTruncated>{truncated}</IsTruncated>{more}{rows}</ListBucketResult>"
        )
        self._answer(200, text.encode())

    def do_HEAD(self) -> None:
        self._answer(404, b"")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class ListingServer(ThreadingHTTPServer):
    """Serves a listing of so many files."""

    daemon_threads = True

    def __init__(self, files: int) -> None:
        super().__init__(("127.0.0.1", 0), _Listing)
        self.files = files


@contextmanager
def serve(files: int) -> Iterator[str]:
    """The endpoint of a server whose ``s3://BUCKET/FOLDER`` has so many files."""
    with ListingServer(files) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
