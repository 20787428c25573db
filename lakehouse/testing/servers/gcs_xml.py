"""Google Cloud Storage's XML API in front of fake-gcs-server, which speaks the JSON API only.

Reference: https://cloud.google.com/storage/docs/xml-api/overview. Requests of the JSON API are passed on as they are;
every other path is ``/bucket/key`` of the XML API. What the double gets wrong is put right here, for the XML API (and rewrites):

* media uploads ignore ``ifGenerationMatch``: preconditions are decided here, under a lock for each key;
* rewrites (JSON API) ignore it and ``ifSourceGenerationMatch`` too: the same is done for them;
* wrong checksums are accepted: Content-MD5 and x-goog-hash are compared before anything is stored;
* its ETag *is* the MD5: ours is made of the generation, so that a client cannot mistake it for a checksum;
* a composite object keeps its md5Hash: x-goog-hash leaves it out for what was uploaded in parts;
* it hangs up unannounced after a refusal (the connection is made anew), has no pages and no ``start-after`` (cut here).

A conditional write of the XML API and one of the JSON API to the same key do not exclude each other: prove no race between
them. Multipart uploads are kept in memory until they are completed.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import re
import threading
import urllib.parse
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from xml.etree import ElementTree

from lakehouse.checksum import hasher

__all__ = ["GcsXmlProxy"]

logger = logging.getLogger(__name__)
_JSON_PREFIXES = ("/storage/", "/upload/", "/resumable/", "/download/", "/batch", "/_internal/")
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "expect", "date"})
_NAMESPACE = "http://doc.s3.amazonaws.com/2006-03-01"
_PAGE = 1000
_REWRITE = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/rewriteTo/b/([^/]+)/o/([^/]+)")


@dataclass(slots=True)
class _Upload:
    """A multipart upload that is still open: its parts by number."""

    bucket: str
    key: str
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict)


class GcsXmlProxy(ThreadingHTTPServer):
    """Listens on a free port of 127.0.0.1 and asks the fake-gcs-server on ``upstream_port``."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, upstream_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream_port = upstream_port
        self.uploads: dict[str, _Upload] = {}
        self.uploads_begun = 0
        self.uploads_lock = threading.Lock()
        self.composites: set[tuple[str, str, str]] = set()
        self._key_locks = [threading.Lock() for _ in range(257)]

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.05,), name="gcs-xml-proxy", daemon=True).start()

    def stop(self) -> None:
        """Stop listening. Connections that clients keep open end with the process."""
        self.shutdown()
        self.server_close()

    def key_lock(self, bucket: str, key: str) -> AbstractContextManager[bool]:
        """Writers of one object take turns: fake-gcs-server has no atomic create for media uploads."""
        return self._key_locks[hash((bucket, key)) % len(self._key_locks)]

    def handle_error(self, request: object, client_address: object) -> None:
        """Mostly a client that hangs up, which is an ordinary end of a connection: nothing is printed."""
        logger.debug("a connection of the GCS double ended", exc_info=True)


class _XmlError(Exception):
    """An answer of the XML API other than success."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message or code


class _Reply(NamedTuple):
    """What fake-gcs-server answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    """One client connection, with one connection of its own to fake-gcs-server."""

    server: GcsXmlProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port, timeout=120)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """A test double keeps no access log."""

    def _serve(self) -> None:
        try:
            if "Transfer-Encoding" in self.headers:
                self.close_connection = True
                raise _XmlError(411, "MissingContentLength", "A body in chunks is not understood by this double.")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.startswith(_JSON_PREFIXES):
                return self._pass_on(body)
            path, _, query = self.path.partition("?")
            bucket, _, key = urllib.parse.unquote(path.lstrip("/")).partition("/")
            self._xml(bucket, key, dict(urllib.parse.parse_qsl(query, keep_blank_values=True)), body)
        except _XmlError as error:
            self._answer_xml(error.status, "Error", {"Code": error.code, "Message": error.message})

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = _serve  # noqa: N815 (http.server names them so)

    def _xml(self, bucket: str, key: str, query: dict[str, str], body: bytes) -> None:
        """The operation of the XML API that the method, the path and the query name."""
        match self.command:
            case "GET" if not key and "uploads" in query:
                self._list_uploads(bucket)
            case "GET" if not key:
                self._list(bucket, query)
            case "GET" | "HEAD" if key:
                self._get(bucket, key)
            case "PUT" if "uploadId" in query:
                self._put_part(bucket, key, query, body)
            case "PUT" if key and "x-goog-copy-source" in self.headers:
                self._copy(bucket, key)
            case "PUT" if key:
                _check_hashes(self.headers, body)
                self._answer(200, b"", self._store(bucket, key, body, composite=False))
            case "POST" if "uploads" in query:
                self._begin_upload(bucket, key)
            case "POST" if "uploadId" in query:
                self._complete_upload(bucket, key, query["uploadId"], body)
            case "DELETE" if "uploadId" in query:
                self._upload(bucket, key, query["uploadId"], remove=True)
                self._answer(204, b"", {})
            case "DELETE" if key:
                self._delete(bucket, key)
            case _:
                raise _XmlError(405, "MethodNotAllowed", f"{self.command} {self.path}")

    def _get(self, bucket: str, key: str) -> None:
        """GET and HEAD. The preconditions are judged by the generation whose bytes are sent."""
        wanted = self.headers.get("Range")
        reply = self._ask(
            self.command, _object(bucket, key) + "?alt=media", headers={"Range": wanted} if wanted else {}, of=bucket
        )
        headers = self._headers(bucket, key, reply.headers["X-Goog-Generation"], reply.headers["X-Goog-Hash"])
        self._check_preconditions(headers["x-goog-generation"])
        unwanted = self.headers.get("If-None-Match")
        if unwanted is not None and (unwanted == "*" or headers["ETag"] in _etags(unwanted)):
            raise _XmlError(304, "NotModified")
        if reply.status == 416:
            raise _XmlError(416, "InvalidRange", "The requested range cannot be satisfied.")
        kept = ("Content-Type", "Content-Length", "Content-Range", "Last-Modified", "Accept-Ranges")
        self._answer(reply.status, reply.body, {name: reply.headers[name] for name in kept if reply.headers[name]} | headers)

    def _check_preconditions(self, generation: str) -> None:
        """x-goog-if-generation-match and If-Match (RFC 9110, 13.1.1); ``generation`` is "0" where there is no object."""
        etags = self.headers.get("If-Match")
        same = etags is None or (etags == "*" and generation != "0") or _etag(generation) in _etags(etags)
        if not same or self.headers.get("x-goog-if-generation-match", generation) != generation:
            raise _XmlError(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")

    def _check_before_write(self, bucket: str, key: str) -> None:
        """To be called under the key's lock."""
        if "x-goog-if-generation-match" in self.headers or "If-Match" in self.headers:
            reply = self._ask("GET", _object(bucket, key))
            self._check_preconditions("0" if reply.status == 404 else str(_json(reply)["generation"]))

    def _store(self, bucket: str, key: str, body: bytes, *, composite: bool) -> dict[str, str]:
        """One media upload of the JSON API, and the headers that answer for it."""
        kind = self.headers.get("Content-Type", "application/octet-stream")
        with self.server.key_lock(bucket, key):
            self._check_before_write(bucket, key)
            target = f"/upload/storage/v1/b/{_quote(bucket)}/o?uploadType=media&name={_quote(key)}"
            meta = _json(self._ask("POST", target, body, {"Content-Type": kind}, of=bucket))
        if composite:
            self.server.composites.add((bucket, key, str(meta["generation"])))
        return self._headers(bucket, key, str(meta["generation"]), f"crc32c={meta['crc32c']},md5={meta['md5Hash']}")

    def _copy(self, bucket: str, key: str) -> None:
        source = urllib.parse.unquote(self.headers["x-goog-copy-source"].lstrip("/"))
        from_bucket, _, from_key = source.partition("/")
        with self.server.key_lock(bucket, key):
            self._check_before_write(bucket, key)
            target = f"{_object(from_bucket, from_key)}/rewriteTo/b/{_quote(bucket)}/o/{_quote(key)}"
            meta = _json(self._ask("POST", target, b"", of=from_bucket))["resource"]
        headers = {"ETag": _etag(meta["generation"]), "x-goog-generation": str(meta["generation"])}
        self._answer_xml(200, "CopyObjectResult", {"ETag": headers["ETag"], "LastModified": meta["updated"]}, headers=headers)

    def _delete(self, bucket: str, key: str) -> None:
        with self.server.key_lock(bucket, key):
            self._check_before_write(bucket, key)
            self._ask("DELETE", _object(bucket, key), of=bucket)
        self._answer(204, b"", {})

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        """List objects, version 2. The continuation token is the last key (or common prefix) of the page before."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        limit = max(1, min(_PAGE, int(query.get("max-keys") or _PAGE)))
        token = base64.urlsafe_b64decode(query.get("continuation-token", "")).decode()
        after = max(query.get("start-after", ""), token)
        asked = urllib.parse.urlencode({"prefix": prefix, "startOffset": after}, quote_via=urllib.parse.quote)
        items = _json(self._ask("GET", f"/storage/v1/b/{_quote(bucket)}/o?{asked}", of=bucket)).get("items") or []
        entries: dict[str, str] = {}
        for item in sorted(items, key=lambda item: str(item["name"])):
            key: str = item["name"]
            name, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            entry = prefix + name + cut if cut else key
            if key > after and not (cut and entry <= token):
                entries[entry] = _element("CommonPrefixes", {"Prefix": entry}) if cut else _contents(item)
        page, truncated = list(entries)[:limit], len(entries) > limit
        fields = {"Name": bucket, "Prefix": prefix, "KeyCount": len(page), "IsTruncated": str(truncated).lower()}
        if truncated:
            fields["NextContinuationToken"] = base64.urlsafe_b64encode(page[-1].encode()).decode()
        self._answer_xml(200, "ListBucketResult", fields, "".join(entries[entry] for entry in page))

    def _begin_upload(self, bucket: str, key: str) -> None:
        self._ask("GET", f"/storage/v1/b/{_quote(bucket)}", of=bucket)
        with self.server.uploads_lock:
            self.server.uploads_begun += 1
            upload_id = f"upload+{self.server.uploads_begun}/="
            self.server.uploads[upload_id] = _Upload(bucket, key)
        self._answer_xml(200, "InitiateMultipartUploadResult", {"Bucket": bucket, "Key": key, "UploadId": upload_id})

    def _upload(self, bucket: str, key: str, upload_id: str, *, remove: bool) -> _Upload:
        with self.server.uploads_lock:
            upload = self.server.uploads.get(upload_id)
            if upload is None or (upload.bucket, upload.key) != (bucket, key):
                raise _XmlError(404, "NoSuchUpload", "The requested upload was not found.")
            if remove:
                del self.server.uploads[upload_id]
            return upload

    def _put_part(self, bucket: str, key: str, query: dict[str, str], body: bytes) -> None:
        upload = self._upload(bucket, key, query["uploadId"], remove=False)
        _check_hashes(self.headers, body)
        etag = f'"{_base64("md5", body)}"'
        upload.parts[int(query["partNumber"])] = (etag, body)
        self._answer(200, b"", {"ETag": etag})

    def _complete_upload(self, bucket: str, key: str, upload_id: str, body: bytes) -> None:
        """The object is the listed parts in their order. A refused list or precondition leaves the upload open."""
        upload = self._upload(bucket, key, upload_id, remove=False)
        headers = self._store(bucket, key, _joined(upload, body), composite=True)
        self._upload(bucket, key, upload_id, remove=True)
        self._answer_xml(200, "CompleteMultipartUploadResult", {"Key": key, "ETag": headers["ETag"]}, headers=headers)

    def _list_uploads(self, bucket: str) -> None:
        with self.server.uploads_lock:
            waiting = [(name, upload.key) for name, upload in self.server.uploads.items() if upload.bucket == bucket]
        listed = "".join(_element("Upload", {"Key": key, "UploadId": name}) for name, key in waiting)
        self._answer_xml(200, "ListMultipartUploadsResult", {"Bucket": bucket}, listed)

    def _headers(self, bucket: str, key: str, generation: str, hashes: str) -> dict[str, str]:
        if (bucket, key, generation) in self.server.composites:
            hashes = hashes.partition(",md5=")[0]
        return {"ETag": _etag(generation), "x-goog-generation": generation, "x-goog-metageneration": "1", "x-goog-hash": hashes}

    def _ask(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, *, of: str = ""
    ) -> _Reply:
        """One request to fake-gcs-server, which hangs up after a refusal (416) without announcing it.

        With ``of``, a bucket, an answer of 404 is an error that says whether the bucket or the object is missing.
        """
        try:
            self._upstream.request(method, target, body, dict(headers or {}))
            reply = self._upstream.getresponse()
            answer = _Reply(reply.status, reply.msg, reply.read())
        except (OSError, http.client.HTTPException) as error:
            self._upstream.close()
            raise _XmlError(503, "ServiceUnavailable", f"fake-gcs-server: {error!r}") from None
        if answer.status >= 300:
            self._upstream.close()
        if of and answer.status == 404:
            if self._ask("GET", f"/storage/v1/b/{_quote(of)}").status == 404:
                raise _XmlError(404, "NoSuchBucket", "The specified bucket does not exist.")
            raise _XmlError(404, "NoSuchKey", "The specified key does not exist.")
        return answer

    def _pass_on(self, body: bytes) -> None:
        """A request of the JSON API, unchanged; a rewrite after its conditions were compared."""
        path, _, query = self.path.partition("?")
        named = _REWRITE.fullmatch(path)
        sent = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        if named is None:
            reply = self._ask(self.command, self.path, body or None, sent)
        else:
            from_bucket, from_key, bucket, key = map(urllib.parse.unquote, named.groups())
            asked = dict(urllib.parse.parse_qsl(query))
            with self.server.key_lock(bucket, key):
                met = self._is_generation(from_bucket, from_key, asked.get("ifSourceGenerationMatch"))
                if not (met and self._is_generation(bucket, key, asked.get("ifGenerationMatch"))):
                    refused = {
                        "error": {"code": 412, "message": "At least one of the pre-conditions you specified did not hold."}
                    }
                    return self._answer(412, json.dumps(refused).encode(), {"Content-Type": "application/json"})
                reply = self._ask(self.command, self.path, body or None, sent)
        self._answer(reply.status, reply.body, {n: value for n, value in reply.headers.items() if n.lower() not in _HOP_BY_HOP})

    def _is_generation(self, bucket: str, key: str, wanted: str | None) -> bool:
        """Whether the object has the generation ``wanted`` (None: any; "0": there is none)."""
        reply = self._ask("GET", _object(bucket, key))
        return wanted in (None, "0" if reply.status == 404 else str(_json(reply)["generation"]))

    def _answer_xml(
        self, status: int, root: str, fields: Mapping[str, object], more: str = "", *, headers: dict[str, str] | None = None
    ) -> None:
        text = _element(f'{root} xmlns="{_NAMESPACE}"', fields, more)
        self._answer(status, text.encode(), {"Content-Type": "application/xml; charset=UTF-8", **(headers or {})})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """The whole answer. 204 and 304 have neither body nor length (RFC 9110, 8.6); a HEAD states the object's length."""
        bare = status in (204, 304)
        self.send_response(status)
        for name, value in (headers if bare else {"Content-Length": str(len(body)), **headers}).items():
            self.send_header(name, value)
        self.end_headers()
        if not bare and self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()


def _quote(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def _object(bucket: str, key: str) -> str:
    return f"/storage/v1/b/{_quote(bucket)}/o/{_quote(key)}"


def _json(reply: _Reply) -> dict[str, Any]:
    if reply.status != 200:
        raise _XmlError(500, "InternalError", f"fake-gcs-server answered {reply.status}: {reply.body[:200]!r}")
    answer: dict[str, Any] = json.loads(reply.body)
    return answer


def _etag(generation: str) -> str:
    return f'"{base64.b64encode(int(generation).to_bytes(8, "big")).decode()}"'


def _etags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in header.split(",")]


def _base64(algorithm: str, data: bytes) -> str | None:
    """The digest as the XML API spells it, or None without google-crc32c."""
    if (digest := hasher(algorithm)) is None:
        return None
    digest.update(data)
    return base64.b64encode(bytes.fromhex(digest.hexdigest())).decode()


def _check_hashes(headers: Message, body: bytes) -> None:
    """fake-gcs-server stores a body whatever checksum came with it; the real service refuses."""
    fields = [f"md5={headers['Content-MD5']}"] if "Content-MD5" in headers else []
    for pair in ",".join(fields + headers.get_all("x-goog-hash", [])).split(","):
        algorithm, _, value = pair.strip().partition("=")
        if value and _base64(algorithm, body) not in (None, value):
            raise _XmlError(400, "BadDigest", f"The {algorithm} that you specified does not match what was received.")


def _joined(upload: _Upload, document: bytes) -> bytes:
    """The parts that a CompleteMultipartUpload document lists."""
    root = ElementTree.fromstring(document)
    listed = [(int(part.findtext("{*}PartNumber", "0")), part.findtext("{*}ETag", "")) for part in root.findall("{*}Part")]
    numbers = [number for number, _ in listed]
    if numbers != sorted(set(numbers)):
        raise _XmlError(400, "InvalidPartOrder")
    for number, etag in listed:
        if number not in upload.parts or upload.parts[number][0].strip('"') != etag.strip('"'):
            raise _XmlError(400, "InvalidPart", f"part {number}")
    bodies = [upload.parts[number][1] for number in numbers]
    if not bodies or any(len(data) < (5 << 20) for data in bodies[:-1]):
        raise _XmlError(400, "EntityTooSmall", "Every part but the last has at least 5 MiB.")
    return b"".join(bodies)


def _escape(text: str) -> str:
    """Text for XML 1.0; line ends and tabs as references, since a parser changes them otherwise."""
    return "".join(f"&#{ord(char)};" if char in '<>&"' or char < " " else char for char in text)


def _element(start: str, fields: Mapping[str, object], more: str = "") -> str:
    """An element with a child for each field, and ``more``, which is XML already."""
    children = "".join(f"<{name}>{_escape(str(value))}</{name}>" for name, value in fields.items())
    return f"<{start}>{children}{more}</{start.partition(' ')[0]}>"


def _contents(item: dict[str, Any]) -> str:
    fields = {"Key": item["name"], "LastModified": item["updated"], "ETag": _etag(item["generation"]), "Size": item["size"]}
    return _element("Contents", fields)
