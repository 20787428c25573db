"""The only retry loop: a Store that tries again, wrapped around one that does not.

Answers that ask for patience (a `Transfer` with ``retry_after``) slow down all calls to the service, not only the one that heard
them (`lakehouse.pace`), and every byte that moves is charged to the limits on bandwidth (`lakehouse.bandwidth`).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from lakehouse.bandwidth import Bandwidth
from lakehouse.errors import Conflict, NotFound, Transfer
from lakehouse.pace import Pace, Turn
from lakehouse.parallel import pause
from lakehouse.store import Buffer, ObjectInfo, Replace, ServerCopy, Store, Traits

__all__ = ["ATTEMPTS", "RetryingStore"]

logger = logging.getLogger(__name__)
T = TypeVar("T")
Fetched = TypeVar("Fetched", bytes, memoryview)

ATTEMPTS = 8
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 20.0


class RetryingStore:
    """``store`` with transient failures tried again, up to ``attempts`` times and ``deadline_seconds`` for one call.

    What counts is the time of the tries and of the call's own pauses between them, never its waiting for a turn or for bandwidth.

    A listing that fails in the middle goes on after the last name that it gave, as long as names came in order.
    A put of a one-shot iterator is not tried again. When the answer to ``put(if_absent=True)`` or `Traits.replace` was lost, the
    object is read back: equal bytes are success, other bytes a `Conflict`.

    ``pace`` is shared with the other stores on the same service; without one the store has its own. Each call takes a turn for
    each try; a put lets go of it while it pulls its data, and a listing takes none: it waits only while the service asked for
    quiet, since it stands still whenever nobody reads on. Each try is charged to ``bandwidth``, also one that fails.

    ``clock``, ``sleep`` and ``jitter`` (a number in [0, 1)) stand in for time and chance in tests.
    """

    def __init__(
        self,
        store: Store,
        *,
        attempts: int = ATTEMPTS,
        deadline_seconds: float = 300.0,
        pace: Pace | None = None,
        bandwidth: Bandwidth | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = pause,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._attempts, self._deadline = store, attempts, deadline_seconds
        self._pace = pace or Pace(store.url, clock=clock, sleep=sleep)
        self._bandwidth, self._traits = bandwidth, self._tried_again(store.traits)
        self._clock, self._sleep, self._jitter = clock, sleep, jitter

    def __repr__(self) -> str:
        return f"RetryingStore({self._store!r})"

    @property
    def inner(self) -> Store:
        """The store that is wrapped."""
        return self._store

    @property
    def url(self) -> str:
        return self._store.url

    @property
    def traits(self) -> Traits:
        return self._traits

    def _tried_again(self, traits: Traits) -> Traits:
        """``traits`` whose powers are tried again, as the methods are."""
        if traits.replace is not None:
            traits = replace(traits, replace=self._replaced_by(traits.replace))
        if traits.copy is None:
            return traits
        stated = traits.stated_sha256
        return replace(
            traits,
            copy=self._copied_by(traits.copy),
            stated_sha256=None if stated is None else lambda info: self._again(lambda _: stated(info)),
        )

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        last, in_order, clock = after, True, self._clock
        patience = _Patience(self)
        while True:
            storm, began = self._pace.wait_until_quiet(), self._clock()
            try:
                for info in self._store.list(prefix, after=last, recursive=recursive):
                    in_order = in_order and (last is None or info.path > last)
                    last = info.path
                    yield info
                    began = clock()
                    if patience.tried:
                        patience.tried, patience.paused = 0, 0.0
                return
            except Transfer as error:
                if error.retry_after is not None:
                    self._pace.throttled(storm, error.retry_after)
                if not in_order:
                    raise
                patience.pause(error, self._clock() - began)

    def head(self, path: str) -> ObjectInfo:
        return self._again(lambda _: self._store.head(path))

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        return self._fetch(lambda: self._store.get(path, start=start, end=end, if_match=if_match), start, end)

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        return self._fetch(lambda: self._store.view(path, start=start, end=end, if_match=if_match), start, end)

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        if isinstance(data, Iterator):
            with self._pace.turn() as turn:
                return self._store.put(path, self._pulled(data, turn), size=size, if_absent=if_absent)
        if if_absent:
            return self._put_if_absent(path, data, size)
        return self._again(lambda turn: self._store.put(path, self._pulled(data, turn), size=size), self._charge(data))

    def delete(self, path: str) -> None:
        self._again(lambda _: self._store.delete(path))

    def _fetch(self, call: Callable[[], Fetched], start: int, end: int | None) -> Fetched:
        """What ``call`` gets, charged to the bandwidth."""
        bandwidth = self._bandwidth
        if bandwidth is None:
            return self._again(lambda _: call())
        wanted = None if end is None else max(0, end - start)
        charged = 0.0

        def charge() -> None:
            nonlocal charged
            charged = bandwidth.before_fetching(wanted)

        data = self._again(lambda _: call(), charge)
        bandwidth.fetched(len(data), charged, guessed=wanted is None)
        return data

    def _replaced_by(self, overwrite: Replace) -> Replace:
        def replaced(path: str, data: bytes, /, *, etag: str) -> ObjectInfo:
            return self._conditionally(path, data, lambda _: overwrite(path, data, etag=etag))

        return replaced

    def _copied_by(self, copy: ServerCopy) -> ServerCopy:
        """``copy``, tried again. One whose answer was lost may then be a `Conflict`: the caller compares what is there."""

        def copied(source_url: str, info: ObjectInfo, path: str, /, *, if_absent: bool = True) -> ObjectInfo:
            return self._again(lambda _: copy(source_url, info, path, if_absent=if_absent))

        return copied

    def _put_if_absent(self, path: str, data: Buffer | Iterable[Buffer], size: int) -> ObjectInfo:
        return self._conditionally(
            path, data, lambda turn: self._store.put(path, self._pulled(data, turn), size=size, if_absent=True)
        )

    def _conditionally(self, path: str, data: Buffer | Iterable[Buffer], put: Callable[[Turn], ObjectInfo]) -> ObjectInfo:
        """What ``put`` returns, tried again. A `Conflict` after a try whose answer was lost may be with that very try."""
        turn, patience = self._pace.turn(), _Patience(self)
        charge = self._charge(data)
        while True:
            try:
                if charge is not None:
                    charge()
                with turn:
                    return put(turn)
            except Conflict:
                if not patience.tried:
                    raise
                return self._settled(path, data)
            except Transfer as error:
                try:
                    patience.pause(error, turn.seconds)
                except Transfer:
                    if not error.transient:
                        raise
                    return self._settled_at_last(path, data, error)

    def _settled(self, path: str, data: Buffer | Iterable[Buffer]) -> ObjectInfo:
        """The object is there and an earlier try may have written it: equal bytes mean that it did (or might as well have)."""
        info = self.head(path)
        if self.get(path, if_match=info.etag if self.traits.conditional_get else None) == _joined(data):
            return info
        raise _not_ours(f"{self.url}/{path}")

    def _settled_at_last(self, path: str, data: Buffer | Iterable[Buffer], error: Transfer) -> ObjectInfo:
        """The last try failed without a clear answer: one look whether it arrived all the same."""
        try:
            info = self._store.head(path)
            if self._store.get(path) == _joined(data):
                return info
        except (NotFound, Transfer):
            raise error from None
        raise _not_ours(f"{self.url}/{path}")

    def _again(self, call: Callable[[Turn], T], charge: Callable[[], None] | None = None) -> T:
        """What ``call`` returns in its turn, tried again as far as patience goes; ``charge`` comes before each turn."""
        turn = self._pace.turn()
        patience: _Patience | None = None
        while True:
            try:
                if charge is not None:
                    charge()
                with turn:
                    return call(turn)
            except Transfer as error:
                patience = patience or _Patience(self)
                patience.pause(error, turn.seconds)

    def _charge(self, data: Buffer | Iterable[Buffer]) -> Callable[[], None] | None:
        """What charges ``data`` before it is sent; chunks of an iterable are charged as they are pulled."""
        bandwidth = self._bandwidth
        if bandwidth is None or not isinstance(data, bytes | memoryview):
            return None
        size = len(data)
        return lambda: bandwidth.before_sending(size)

    def _pulled(self, data: Buffer | Iterable[Buffer], turn: Turn) -> Buffer | Iterable[Buffer]:
        """``data`` as it is, if it is at hand; else its chunks, each pulled while ``turn`` is given to others."""
        return data if isinstance(data, bytes | memoryview) else self._chunks(data, turn)

    def _chunks(self, data: Iterable[Buffer], turn: Turn) -> Iterator[Buffer]:
        chunks = iter(data)
        while True:
            turn.pause()
            chunk = next(chunks, None)
            if chunk is not None and self._bandwidth is not None:
                self._bandwidth.before_sending(len(chunk))
            turn.resume()
            if chunk is None:
                return
            yield chunk


class _Patience:
    """How often one call has been tried and how long it has paused in between."""

    def __init__(self, store: RetryingStore) -> None:
        self._store = store
        self.tried = 0
        self.paused = 0.0

    def pause(self, error: Transfer, seconds: float) -> None:
        """Wait before the next try, or raise ``error`` when there is none. ``seconds`` is how long the tries took so far."""
        self.tried += 1
        store = self._store
        if not error.transient:
            raise error
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (self.tried - 1))
        pause = longest * (0.5 + store._jitter() / 2)
        if error.retry_after is not None:
            pause = max(pause, error.retry_after)
        if self.tried >= store._attempts or seconds + self.paused + pause > store._deadline:
            raise error
        logger.debug("%s; trying again in %.1f s (try %d)", error, pause, self.tried + 1)
        self.paused += pause
        store._sleep(pause)


def _not_ours(where: str) -> Conflict:
    return Conflict(f"{where}: exists already with other bytes; it has not been overwritten")


def _joined(data: Buffer | Iterable[Buffer]) -> bytes:
    return bytes(data) if isinstance(data, bytes | memoryview) else b"".join(data)
