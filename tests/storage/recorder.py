"""A small object server on loopback that remembers every request as it came: what a client really sends.

It speaks enough of S3, of Google's XML API and of Azure's Blob API for whole and multipart writes and for reads, checks no
signature, and also serves as a forward proxy (it answers for whatever host it is asked for) and behind TLS.
"""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

__all__ = ["Recorder", "Request", "Tls"]

_DATE = "Tue, 01 Jan 2030 00:00:00 GMT"


@dataclass(frozen=True)
class Request:
    """One request: the target as it stood in its first line, and the headers by their names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query, keep_blank_values=True).items()}

    @property
    def signed_headers(self) -> set[str]:
        """The headers that the S3 signature covers (Signature Version 4)."""
        return set(self.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";"))

    @property
    def access_key(self) -> str | None:
        """Whose S3 signature it is."""
        _, found, rest = self.headers.get("authorization", "").partition("Credential=")
        return rest.partition("/")[0] if found else None


@dataclass(frozen=True)
class Tls:
    """A certificate of its own and what signed it, as PEM files."""

    ca_file: str
    certificate_file: str
    key_file: str

    @classmethod
    def make(cls, folder: Path) -> Tls:
        """A certificate for localhost in ``folder``, signed by an authority that nobody else knows."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        (folder / "ca.pem").write_bytes(_certificate("authority", authority_key, authority_key, authority=True))
        (folder / "server.pem").write_bytes(_certificate("localhost", key, authority_key, authority=False))
        private = serialization.PrivateFormat.PKCS8
        pem = key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
        (folder / "server.key").write_bytes(pem)
        return cls(str(folder / "ca.pem"), str(folder / "server.pem"), str(folder / "server.key"))


def _certificate(name: str, key: Any, signer: Any, *, authority: bool) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    subject, issuer = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in (name, "authority"))
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=30))
    builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@dataclass
class _Seen:
    requests: list[Request] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refusal: tuple[int, bytes] = (503, b"")
    refusals: int = 0
    replies: dict[str, Callable[[], bytes]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Recorder:
    """A context manager. ``requests`` is what came, ``objects`` what is stored by path.

    `refuse` and `reply` say what else it shall answer.
    """

    def __init__(self, tls: Tls | None = None) -> None:
        seen = self._seen = _Seen()

        class Handler(_Handler):
            pass

        Handler.seen = seen
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that hangs up, or trusts us not
        self._server.block_on_close = False
        self.port = self._server.server_port
        self.url = f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{self.port}"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate_file, tls.key_file)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="recorder", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def requests(self) -> list[Request]:
        return self._seen.requests

    @property
    def objects(self) -> dict[str, bytes]:
        return self._seen.objects

    def refuse(self, status: int, body: bytes, *, times: int = 1_000_000) -> None:
        """Answer so many GETs of objects with a status and a body."""
        self._seen.refusal, self._seen.refusals = (status, body), times

    def reply(self, path: str, json: Callable[[], bytes]) -> None:
        """Answer every request for a path with JSON."""
        self._seen.replies[path] = json

    def of(self, method: str, **query: str | None) -> list[Request]:
        """The requests of a method whose query has these names, each with a value or (None) any."""
        return [
            request
            for request in self.requests
            if request.method == method
            and all(name in request.query and value in (None, request.query[name]) for name, value in query.items())
        ]


class _Handler(BaseHTTPRequestHandler):
    seen: _Seen
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self._body(headers))
        with self.seen.lock:
            self.seen.requests.append(request)
        if request.path in self.seen.replies:
            return self._answer(200, self.seen.replies[request.path](), {"Content-Type": "application/json"})
        query = request.query
        if request.method == "CONNECT":  # a client on its way to a server with TLS
            return self._answer(502, b"", {})
        if "list-type" in query or query.get("comp") == "list":
            return self._answer(200, _listing(query), {"Content-Type": "application/xml"})
        match request.method:
            case "GET" | "HEAD":
                self._read(request)
            case "POST" if "uploads" in query:
                with self.seen.lock:
                    self.seen.parts[request.path] = {}
                name = request.path.strip("/")
                self._xml(
                    "InitiateMultipartUploadResult", UploadId="u1", Key=name.partition("/")[2], Bucket=name.partition("/")[0]
                )
            case "POST" if "uploadId" in query:
                parts = self.seen.parts.pop(request.path)
                self._store(request.path, b"".join(parts[number] for number in sorted(parts, key=int)))
                self._xml("CompleteMultipartUploadResult", ETag='"whole"')
            case "PUT" if "partNumber" in query:
                with self.seen.lock:
                    self.seen.parts[request.path][query["partNumber"]] = request.body
                self._answer(200, b"", {"ETag": f'"part-{query["partNumber"]}"'})
            case "PUT" if query.get("comp") == "block":
                with self.seen.lock:
                    self.seen.parts.setdefault(request.path, {})[query["blockid"]] = request.body
                self._answer(201, b"", {})
            case "PUT" if query.get("comp") == "blocklist":
                blocks = self.seen.parts.pop(request.path)
                order = [node.text or "" for node in ElementTree.fromstring(request.body)]
                self._store(request.path, b"".join(blocks[block] for block in order))
                self._answer(201, b"", _ETAG)
            case "PUT":
                self._store(request.path, request.body)
                self._answer(201 if "x-ms-version" in headers else 200, b"", _ETAG)
            case _:
                self._answer(204, b"", {})

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_CONNECT = _serve  # noqa: N815 (http.server names them so)

    def _read(self, request: Request) -> None:
        data = self.seen.objects.get(request.path)
        if request.method == "GET" and self.seen.refusals > 0:
            self.seen.refusals -= 1
            return self._answer(self.seen.refusal[0], self.seen.refusal[1], {"Content-Type": "application/xml"})
        if data is None:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>", {"Content-Type": "application/xml"})
        extra = {**_ETAG, "x-ms-blob-type": "BlockBlob", "Accept-Ranges": "bytes"}
        span = request.headers.get("x-ms-range") or request.headers.get("range")
        if span and request.method == "GET" and data:
            first, _, last = span.removeprefix("bytes=").partition("-")
            end = min(int(last or len(data)) + 1, len(data))
            extra["Content-Range"] = f"bytes {first}-{end - 1}/{len(data)}"
            return self._answer(206, data[int(first) : end], extra)
        self._answer(200, data, extra)

    def _store(self, path: str, data: bytes) -> None:
        with self.seen.lock:
            self.seen.objects[path] = data

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(headers.get("content-length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _xml(self, root: str, **fields: str) -> None:
        element = ElementTree.Element(root)
        for name, value in fields.items():
            ElementTree.SubElement(element, name).text = value
        self._answer(200, ElementTree.tostring(element), {"Content-Type": "application/xml"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in {"Date": _DATE, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


_ETAG = {"ETag": '"e"', "Last-Modified": _DATE}


def _listing(query: dict[str, str]) -> bytes:
    if "comp" in query:
        return b"<EnumerationResults><Blobs></Blobs><NextMarker /></EnumerationResults>"
    return b"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>"
