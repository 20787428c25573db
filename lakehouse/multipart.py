"""Upload an iterable in parts through obstore such that a failure aborts the upload and nothing is published.

The caller's thread pulls the iterable (which may itself use obstore) and hands chunks to one event loop per process, on
which obstore's ``put_async`` awaits them. At most one chunk waits in between, and ``in_flight`` parts are being sent.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING

import obstore

from lakehouse.sized import counted
from lakehouse.store import Buffer

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["upload"]


class _Aborted(Exception):
    """Raised into obstore to make it abort; it never leaves this module."""


class _Loop:
    """One event loop in a daemon thread, made on first use and again after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._process != os.getpid():
                self._loop, self._process = asyncio.new_event_loop(), os.getpid()
                threading.Thread(target=self._loop.run_forever, name="lakehouse-uploads", daemon=True).start()
            return self._loop


_LOOP = _Loop()


class _Upload:
    """One running upload. All methods but `__init__` run on the event loop."""

    def __init__(self, store: ObjectStore, key: str, part_bytes: int, in_flight: int, attributes: Mapping[str, str]) -> None:
        self._store, self._key, self._part_bytes, self._in_flight = store, key, part_bytes, in_flight
        self._attributes = dict(attributes)

    async def start(self) -> None:
        self._chunks: asyncio.Queue[Buffer | _Aborted | None] = asyncio.Queue(maxsize=1)
        self._task = asyncio.create_task(self._send())

    async def _send(self) -> str | None:
        result = await obstore.put_async(
            self._store,
            self._key,
            self._received(),
            attributes=self._attributes or None,
            use_multipart=True,
            chunk_size=self._part_bytes,
            max_concurrency=self._in_flight,
        )
        return result["e_tag"]

    async def _received(self) -> AsyncIterator[Buffer]:
        while (chunk := await self._chunks.get()) is not None:
            if isinstance(chunk, _Aborted):
                raise chunk
            yield chunk

    async def offer(self, chunk: Buffer | _Aborted | None) -> bool:
        """Hand one chunk over when there is room; False when the upload has already failed."""
        waiting = asyncio.ensure_future(self._chunks.put(chunk))
        await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return not self._task.done()
        waiting.cancel()
        return False

    async def result(self) -> str | None:
        return await self._task

    async def abort(self) -> None:
        await self.offer(_Aborted())
        await asyncio.wait({self._task})
        self._task.exception()


def upload(
    store: ObjectStore,
    key: str,
    data: Iterable[Buffer],
    *,
    size: int,
    part_bytes: int,
    in_flight: int,
    where: str,
    attributes: Mapping[str, str],
) -> str | None:
    """Send ``data``, which must hold exactly ``size`` bytes, as the object ``key``; returns its etag.

    What ``data`` raises is passed on after the upload was aborted; a wrong size is a `Transfer` error, before anything is
    published. obstore's own exceptions pass through untranslated. ``attributes`` are obstore's, of the object.
    """
    loop = _LOOP.get()
    running = _Upload(store, key, part_bytes, in_flight, attributes)
    asyncio.run_coroutine_threadsafe(running.start(), loop).result()
    try:
        for chunk in counted(data, size, where):
            if not asyncio.run_coroutine_threadsafe(running.offer(chunk), loop).result():
                return asyncio.run_coroutine_threadsafe(running.result(), loop).result()
    except BaseException:
        asyncio.run_coroutine_threadsafe(running.abort(), loop).result()
        raise
    asyncio.run_coroutine_threadsafe(running.offer(None), loop).result()
    return asyncio.run_coroutine_threadsafe(running.result(), loop).result()
