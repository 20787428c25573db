"""How many calls of one service may be in flight: halved when it asks for patience, growing again while it answers.

All stores on one service share one `Pace`: the source table, the receipts beside it, files elsewhere in the same bucket. Until
the service has asked for patience once, a turn costs well under a microsecond and takes no lock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from lakehouse.errors import Config, Conflict, NotFound, Transfer
from lakehouse.parallel import pause, wait_for

__all__ = ["Pace", "Turn"]

logger = logging.getLogger(__name__)

NO_LIMIT_FROM = 64
"""A limit that has grown to this many calls (or to what was in flight when it was set) is dropped."""

LONGEST_QUIET_SECONDS = 300.0


class Pace:
    """The limit on calls in flight that all stores on ``service`` (scheme and authority, for messages) share in this process.

    An answer that asks for patience halves the calls that may be in flight, from those that are, to at least one: once for each
    storm, since answers to calls that were under way before the last halving say nothing new. Each time as many calls as the
    limit were answered, one more is let in, until there is no limit (or ``most``: a process that shares a service with others has
    an upper bound). For as long as the service asked to wait, up to `LONGEST_QUIET_SECONDS`, no call begins. Turns are given in
    the order in which they were asked for.

    ``clock`` and ``sleep`` stand in for time in tests; what ``sleep`` raises ends the wait. Raises `Config` for ``most`` below 1.
    """

    def __init__(
        self,
        service: str,
        *,
        most: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = pause,
    ) -> None:
        if most is not None and most < 1:
            raise Config(f"{service}: at most {most} calls in flight would never end; allow 1 or more")
        self._service, self._most, self._clock, self._sleep = service, most, clock, sleep
        self._lock = threading.Lock()
        self._limit = most
        self._storms = 0
        self._answers = 0
        self._peak = 0
        self._quiet_until = float("-inf")
        self._inside: set[Turn] = set()
        self._waiting: deque[Turn] = deque()

    def __repr__(self) -> str:
        return f"Pace({self._service!r}, limit={self._limit}, in_flight={self.in_flight}, waiting={self.waiting})"

    @property
    def limit(self) -> int | None:
        """How many calls may be in flight now; None: any number."""
        return self._limit

    @property
    def in_flight(self) -> int:
        """How many calls have their turn."""
        return len(self._inside)

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return len(self._waiting)

    def turn(self) -> Turn:
        """A turn for one call (and, one after the other, for its further tries)."""
        return Turn(self)

    def wait_until_quiet(self) -> int:
        """Wait while the service asks for quiet, without taking a turn; returns the storm that `throttled` wants to know."""
        while (left := self._quiet_until - self._clock()) > 0:
            self._sleep(left)
        return self._storms

    def throttled(self, storm: int, seconds: float) -> None:
        """A call that began in ``storm`` was asked to come back after ``seconds``."""
        with self._lock:
            self._quiet_until = max(self._quiet_until, self._clock() + min(seconds, LONGEST_QUIET_SECONDS))
            if storm != self._storms and self._limit is not None:
                return
            self._storms += 1
            self._answers = 0
            self._peak = max(self._peak, len(self._inside))
            self._limit = limit = max(1, len(self._inside) // 2)
        logger.debug("%s asks for patience: at most %d call(s) at once, none for %.1f s", self._service, limit, seconds)

    def _queue(self, turn: Turn) -> None:
        """Let ``turn`` in when it is the next and there is room, and wait until the service may be asked again."""
        with self._lock:
            admitted = not self._waiting and self._has_room()
            if admitted:
                self._inside.add(turn)
            else:
                turn.admitted = threading.Event()
                self._waiting.append(turn)
        try:
            if not admitted:
                wait_for(turn.admitted)
            turn.storm = self.wait_until_quiet()
        except BaseException:
            with self._lock:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                self._inside.discard(turn)
                self._admit()
            raise

    def _leave(self, turn: Turn, *, answered: bool) -> None:
        """Give the room of ``turn`` to the next. The limit is read after the room was given up, so nobody is left waiting."""
        self._inside.discard(turn)
        if self._limit is None:
            return
        with self._lock:
            if answered and turn.storm == self._storms:
                self._grow()
            self._admit()

    def _has_room(self) -> bool:
        return self._limit is None or len(self._inside) < self._limit

    def _admit(self) -> None:
        """Let in who waits, in order, as far as there is room. The lock is held."""
        while self._waiting and self._has_room():
            turn = self._waiting.popleft()
            self._inside.add(turn)
            turn.admitted.set()

    def _grow(self) -> None:
        """Count one answer towards a higher limit. The lock is held."""
        if self._limit is None:
            return
        self._answers += 1
        if self._answers < self._limit:
            return
        self._answers = 0
        if self._most is not None:
            self._limit = min(self._limit + 1, self._most)
        elif self._limit + 1 < max(NO_LIMIT_FROM, self._peak):
            self._limit += 1
        elif self._clock() >= self._quiet_until:
            self._limit, self._peak = None, 0


class Turn:
    """The time of one call in flight, as a context manager, which tells its `Pace` how the call ended.

    Entered again for each further try. ``seconds`` is how long the tries took, without the waiting for turns. A call that pulls
    its data from elsewhere lets go meanwhile (`pause`, `resume`): the data may come through the same `Pace`, and who waits for a
    turn while holding one might wait for ever. An error that comes meanwhile is the data's, and says nothing of the service.
    """

    __slots__ = ("_began", "_pace", "admitted", "held", "seconds", "storm")

    storm: int
    admitted: threading.Event
    _began: float

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.held, self.seconds = False, 0.0

    def __enter__(self) -> Turn:
        self.resume()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self.held:
            return
        if isinstance(error, Transfer) and error.retry_after is not None:
            self._pace.throttled(self.storm, error.retry_after)
        self._let_go(answered=error is None or isinstance(error, NotFound | Conflict))

    def resume(self) -> None:
        """Wait for the turn."""
        pace = self._pace
        if pace._limit is None:
            pace._inside.add(self)
            self.storm = pace._storms
        else:
            pace._queue(self)
        self.held, self._began = True, pace._clock()

    def pause(self) -> None:
        """Let others in until `resume`."""
        self._let_go(answered=False)

    def _let_go(self, *, answered: bool) -> None:
        self.held = False
        self.seconds += self._pace._clock() - self._began
        self._pace._leave(self, answered=answered)
