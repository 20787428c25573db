"""A proxy that fails on purpose, between a client and a real server: what no mock of a store can show.

It speaks enough HTTP/1.1 for S3, Azure and Google Cloud clients: one request after the other on a connection, bodies by
Content-Length or chunked. The Host header passes unchanged, since signatures cover it.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import unquote, urlsplit

__all__ = ["FaultProxy", "Request", "Rule"]

Fault = Literal[
    "status", "cut_response", "truncate", "cut_request", "damage_request", "lose_reply", "stall", "hold", "slow", "slow_request"
]
_LIMIT = 1 << 20
_LOOK_SECONDS = 0.01
T = TypeVar("T")


@dataclass
class Rule:
    """Which requests fail, and how.

    ``method``, ``path`` (a regular expression, searched in the decoded path and query) and ``header`` (the name of one that the
    request has) choose; the first ``skip`` of those pass, then ``times`` fail (None: all), each with probability ``chance``.

    * ``status``: answered with ``code`` (and ``retry_after`` seconds) instead of being passed on;
    * ``cut_response``: the connection ends after ``after`` bytes of the response's body;
    * ``truncate``: a whole response whose Content-Length says ``after``;
    * ``cut_request``: the connections end after ``after`` bytes of the request's body, at the latest before its last one, so that
      the server never has it whole; a request without a body does not reach the server;
    * ``damage_request``: the last byte of the request's body is changed on its way;
    * ``lose_reply``: the server does it, and the answer never comes;
    * ``stall``: no answer until the client gives up;
    * ``hold``: passed on once ``released`` is set; ``held`` is set when the first one waits;
    * ``slow``: the whole answer, at ``bytes_per_second``;
    * ``slow_request``: the body is taken from the client at ``bytes_per_second``.
    """

    fault: Fault
    method: str | None = None
    path: str = ""
    header: str = ""
    skip: int = 0
    times: int | None = 1
    chance: float = 1.0
    code: int = 503
    retry_after: int | None = None
    after: int = 0
    bytes_per_second: int = 1024
    held: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    released: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    _seen: int = field(default=0, repr=False)

    def applies(self, request: Request, chance: random.Random) -> bool:
        """Whether ``request`` is one of those that fail; counts it when it was chosen."""
        if (self.method is not None and request.method != self.method) or not re.search(self.path, request.target):
            return False
        if self.header and self.header not in request.headers:
            return False
        if self.chance < 1 and chance.random() >= self.chance:
            return False
        self._seen += 1
        return self._seen > self.skip and (self.times is None or self._seen <= self.skip + self.times)


@dataclass
class Request:
    """One request that arrived, by method and decoded path with query. ``status`` is what was answered, 0 for nothing.

    ``headers`` by their names in small letters.
    """

    method: str
    target: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class _Message:
    """A request or response with its whole body; None where there is none (GET, and answers to HEAD, 204 and 304)."""

    first: str
    headers: list[tuple[str, str]]
    body: bytes | None

    def head(self) -> bytes:
        """All before the body: with a Content-Length in place of chunks, or, without a body, what it says as it is."""
        framing = () if self.body is None else ("content-length", "transfer-encoding")
        kept = [(key, value) for key, value in self.headers if key.lower() not in ("expect", *framing)]
        if self.body is not None:
            kept.append(("Content-Length", str(len(self.body))))
        return "\r\n".join([self.first, *(f"{key}: {value}" for key, value in kept)]).encode("latin-1") + b"\r\n\r\n"


class FaultProxy:
    """A context manager in front of ``upstream`` (``http://127.0.0.1:PORT``). Clients use ``endpoint_url``.

    ``rules`` may be set at any time; ``requests`` lists what came, so that tests can count.
    """

    def __init__(self, upstream: str, *, seed: int = 0) -> None:
        parts = urlsplit(upstream)
        self._host, self._port, self._base = parts.hostname or "127.0.0.1", parts.port or 80, parts.path
        self.rules: list[Rule] = []
        self.requests: list[Request] = []
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_LIMIT))
        port = self._server.sockets[0].getsockname()[1]
        self.endpoint_url = f"http://127.0.0.1:{port}{self._base}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def clear(self) -> None:
        """Forget rules and requests."""
        self.rules.clear()
        self.requests.clear()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _close(self) -> None:
        """Stop listening and drop every connection: a client that does not read must not hold the proxy up."""
        for listening in self._server.sockets:
            self._loop.remove_reader(listening.fileno())
        for _ in range(5):  # asyncio forgets to close what was accepted a moment before Server.close()
            await asyncio.sleep(0)
        self._server.close()
        for client in self._clients:
            client.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        self._clients.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            if task is not None:
                self._tasks.discard(task)
            await _closed(writer)
            self._clients.discard(writer)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False when the connection is over."""
        head = await _head(reader)
        if head is None:
            return False
        first, headers = head
        method, target, _ = first.split(" ", 2)
        request = Request(method, unquote(target), headers={name.lower(): value for name, value in headers})
        self.requests.append(request)
        rule = next((rule for rule in list(self.rules) if rule.applies(request, self._chance)), None)
        if any(key.lower() == "expect" for key, _ in headers):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if rule is not None and rule.fault == "cut_request":
            await self._cut_request(reader, _Message(first, headers, None), rule.after)
            return False
        pace = rule.bytes_per_second if rule is not None and rule.fault == "slow_request" else 0
        message = _Message(first, headers, await _body(reader, headers, pace))
        if rule is not None and rule.fault == "stall":
            await reader.read()
            return False
        if rule is not None and rule.fault == "hold":
            await _hold(rule)
        if rule is not None and rule.fault == "damage_request" and message.body:
            message = _Message(first, headers, message.body[:-1] + bytes([message.body[-1] ^ 1]))
        if rule is not None and rule.fault == "status":
            return await self._refuse(writer, request, rule)
        response = await self._forward(message, method)
        if rule is not None and rule.fault == "lose_reply":
            return False
        request.status = int(response.first.split(" ", 2)[1])
        return await self._answer(writer, response, rule) and _header(headers, "connection").lower() != "close"

    async def _answer(self, writer: asyncio.StreamWriter, response: _Message, rule: Rule | None) -> bool:
        """Send the response, spoilt as ``rule`` says; False when the connection is over."""
        fault = rule.fault if rule is not None else None
        if rule is not None and fault == "truncate" and response.body is not None:
            response = _Message(response.first, response.headers, response.body[: rule.after])
        body = response.body or b""
        data = response.head() + (body[: rule.after] if rule is not None and fault == "cut_response" else body)
        pace = rule.bytes_per_second if rule is not None and fault == "slow" else 0
        step = max(1, pace // 20) if pace else max(1, len(data))
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
            await writer.drain()
            await asyncio.sleep(step / pace if pace else 0)
        return fault != "cut_response"

    async def _refuse(self, writer: asyncio.StreamWriter, request: Request, rule: Rule) -> bool:
        code = {403: "AccessDenied", 429: "TooManyRequests", 503: "SlowDown"}.get(rule.code, "InternalError")
        text = f"<Error><Code>{code}</Code><Message>a rule said so</Message></Error>".encode()
        headers = [("Content-Type", "application/xml"), *([("Retry-After", str(rule.retry_after))] if rule.retry_after else [])]
        request.status = rule.code
        writer.write(_Message(f"HTTP/1.1 {rule.code} {code}", headers, text).head())
        writer.write(b"" if request.method == "HEAD" else text)
        await writer.drain()
        return True

    async def _forward(self, message: _Message, method: str) -> _Message:
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=_LIMIT)
        try:
            writer.write(message.head() + (message.body or b""))
            await writer.drain()
            head = await _head(reader)
            while head is not None and head[0].split(" ", 2)[1].startswith("1"):
                head = await _head(reader)
            if head is None:
                raise ConnectionError("the server closed without an answer")
            status = head[0].split(" ", 2)[1]
            if method == "HEAD" or status in ("204", "304"):
                return _Message(head[0], head[1], None)
            body = await _body(reader, head[1])
            return _Message(head[0], head[1], await reader.read() if body is None else body)
        finally:
            writer.transport.abort()
            await _closed(writer)

    async def _cut_request(self, reader: asyncio.StreamReader, message: _Message, after: int) -> None:
        """Pass the head and ``after`` bytes of the body on, then close both sides."""
        length = int(_header(message.headers, "content-length") or 0)
        if length:
            part = await reader.readexactly(min(after, length - 1))
        elif whole := await _body(reader, message.headers):
            part = f"{len(whole):x}\r\n".encode() + whole[: min(after, len(whole) - 1)]
        else:
            return
        _, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(message.head() + part)
        await writer.drain()
        await _closed(writer)


def _header(headers: list[tuple[str, str]], name: str) -> str:
    return next((value for key, value in headers if key.lower() == name), "")


async def _head(reader: asyncio.StreamReader) -> tuple[str, list[tuple[str, str]]] | None:
    """The first line and the headers of a message; None where the connection ends before one."""
    try:
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = text.rstrip("\r\n").split("\r\n")
    return first, [(key, value.strip()) for key, _, value in (line.partition(":") for line in lines)]


async def _body(reader: asyncio.StreamReader, headers: list[tuple[str, str]], pace: int = 0) -> bytes | None:
    """The body that ``headers`` announce; None where they announce none. ``pace`` in bytes a second (0: as it comes)."""
    if _header(headers, "transfer-encoding").lower() == "chunked":
        return b"".join([chunk async for chunk in _chunks(reader)])
    length = _header(headers, "content-length")
    if not (length and pace):
        return await reader.readexactly(int(length)) if length else None
    parts: list[bytes] = []
    for start in range(0, int(length), max(1, pace // 20)):
        parts.append(await reader.readexactly(min(max(1, pace // 20), int(length) - start)))
        await asyncio.sleep(len(parts[-1]) / pace)
    return b"".join(parts)


async def _hold(rule: Rule) -> None:
    rule.held.set()
    while not rule.released.is_set():
        await asyncio.sleep(_LOOK_SECONDS)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError, asyncio.CancelledError):
        await writer.wait_closed()
