"""A store that fails on purpose, once, at a chosen call: for tests that fail the k-th call for every k."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from lakehouse.errors import Transfer
from lakehouse.store import Buffer, ObjectInfo, Replace, ServerCopy, Store, Traits

__all__ = ["Call", "Faults", "FaultyStore", "InjectedFault"]

T = TypeVar("T")


class InjectedFault(Transfer):
    """The failure that a `FaultyStore` makes."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call that a wrapped store got. ``store`` is its URL."""

    store: str
    method: str
    path: str


@dataclass
class Faults:
    """What several `FaultyStore`s share: one count of calls, and which one fails (``fail_at`` counts from 1; None: none).

    ``mode``: ``before`` fails instead of the call, ``after`` does it and then loses the reply, ``cut`` ends the data of a put of
    an iterable in the middle (and is ``before`` for everything else). With ``dead`` every later call fails too, as after a kill.
    ``writes_only`` counts only put, copy and delete. ``transient`` and ``retry_after`` are those of the error.
    """

    fail_at: int | None = None
    mode: Literal["before", "after", "cut"] = "before"
    dead: bool = False
    writes_only: bool = False
    transient: bool = False
    retry_after: float | None = None
    calls: list[Call] = field(default_factory=list)
    failed: Call | None = None
    _counted: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def counted(self) -> int:
        """How many calls were counted so far: the largest ``fail_at`` that makes sense."""
        return self._counted

    def arrive(self, call: Call) -> bool:
        """Note ``call``; True when it is the one that fails."""
        with self._lock:
            self.calls.append(call)
            if self.writes_only and call.method not in ("put", "copy", "delete"):
                return False
            self._counted += 1
            if self.fail_at is None or self._counted < self.fail_at:
                return False
            if self._counted > self.fail_at:
                if self.dead:
                    raise self.error(call)
                return False
            self.failed = call
            return True

    def error(self, call: Call) -> InjectedFault:
        """The error for ``call``."""
        text = f"{call.store}/{call.path}: injected fault in {call.method}"
        return InjectedFault(text, transient=self.transient, retry_after=self.retry_after)


class FaultyStore:
    """``store`` with the faults that ``faults`` (shared or not) asks for."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store, self._faults = store, faults

    def __repr__(self) -> str:
        return f"FaultyStore({self._store!r})"

    @property
    def url(self) -> str:
        return self._store.url

    @property
    def traits(self) -> Traits:
        """Those of the store; its copies are calls too, of the method ``copy``, and what it replaces is put."""
        traits = self._store.traits
        if traits.replace is not None:
            traits = replace(traits, replace=self._replaced_by(traits.replace))
        return traits if traits.copy is None else replace(traits, copy=self._copied_by(traits.copy))

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        call, fails = self._arrive("list", prefix)
        if fails and self._faults.mode != "after":
            raise self._faults.error(call)
        yield from self._store.list(prefix, after=after, recursive=recursive)
        if fails:
            raise self._faults.error(call)

    def head(self, path: str) -> ObjectInfo:
        call, fails = self._arrive("head", path)
        if fails and self._faults.mode != "after":
            raise self._faults.error(call)
        info = self._store.head(path)
        return self._replied(call, fails, info)

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        call, fails = self._arrive("get", path)
        if fails and self._faults.mode != "after":
            raise self._faults.error(call)
        data = self._store.get(path, start=start, end=end, if_match=if_match)
        return self._replied(call, fails, data)

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        return memoryview(self.get(path, start=start, end=end, if_match=if_match))

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        call, fails = self._arrive("put", path)
        if fails and self._faults.mode == "cut" and not isinstance(data, bytes | memoryview):
            data = self._cut(call, data, size)
        elif fails and self._faults.mode != "after":
            raise self._faults.error(call)
        info = self._store.put(path, data, size=size, if_absent=if_absent)
        return self._replied(call, fails, info)

    def delete(self, path: str) -> None:
        call, fails = self._arrive("delete", path)
        if fails and self._faults.mode != "after":
            raise self._faults.error(call)
        self._store.delete(path)
        self._replied(call, fails, None)

    def _replaced_by(self, overwrite: Replace) -> Replace:
        def replaced(path: str, data: bytes, /, *, etag: str) -> ObjectInfo:
            call, fails = self._arrive("put", path)
            if fails and self._faults.mode != "after":
                raise self._faults.error(call)
            return self._replied(call, fails, overwrite(path, data, etag=etag))

        return replaced

    def _copied_by(self, copy: ServerCopy) -> ServerCopy:
        def copied(source_url: str, info: ObjectInfo, path: str, /, *, if_absent: bool = True) -> ObjectInfo:
            call, fails = self._arrive("copy", path)
            if fails and self._faults.mode != "after":
                raise self._faults.error(call)
            return self._replied(call, fails, copy(source_url, info, path, if_absent=if_absent))

        return copied

    def _arrive(self, method: str, path: str) -> tuple[Call, bool]:
        call = Call(self._store.url, method, path)
        return call, self._faults.arrive(call)

    def _replied(self, call: Call, fails: bool, reply: T) -> T:
        if fails:
            raise self._faults.error(call)
        return reply

    def _cut(self, call: Call, data: Iterable[Buffer], size: int) -> Iterator[Buffer]:
        left = size // 2
        for chunk in data:
            if len(chunk) >= left:
                yield chunk[:left]
                break
            left -= len(chunk)
            yield chunk
        raise self._faults.error(call)
