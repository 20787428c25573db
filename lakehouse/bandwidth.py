"""Limits on bytes a second: one token bucket for what is sent and one for what is fetched, shared by all threads of a run."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from lakehouse import size_suffix
from lakehouse.errors import Config
from lakehouse.parallel import pause

__all__ = ["Bandwidth", "TokenBucket", "limits", "parse"]

BUCKET_SECONDS = 1.0
"""A bucket that nobody used holds what flows in this time."""

FIRST_GUESS_BYTES = 64 * 1024
GUESS_WEIGHT = 1 / 8


def parse(text: str) -> tuple[float | None, float | None]:
    """The limits on (upload, download) in bytes a second that ``text`` states as rclone's ``--bwlimit`` does; None is no limit.

    ``10M`` limits both, ``10M:100k`` each, ``off`` and ``0`` neither. Suffixes ``k M G T P`` (also ``Ki`` and ``KiB``) are powers
    of 1024, ``B`` is bytes, and a number alone is KiB. Raises `Config` for anything else, and for timetables, by name.
    """
    if "," in text or ";" in text:
        raise Config(
            f"bandwidth limit {text!r}: timetables are not supported; give one limit, e.g. 10M, and run at the hours that suit"
        )
    upload, colon, download = text.partition(":")
    return _rate(upload, text), _rate(download if colon else upload, text)


def _rate(part: str, text: str) -> float | None:
    if part.lower() == "off":
        return None
    rate = size_suffix.parse(part)
    if rate is None:
        raise Config(
            f"bandwidth limit {text!r}: {part!r} is not a rate; write e.g. 10M, 512k, 100B, off or 10M:100k (upload:download)"
        )
    if rate == 0:
        return None
    if rate < 1 or math.isinf(rate):
        raise Config(f"bandwidth limit {text!r}: {part!r} is out of range; give at least 1B, or off for no limit")
    return rate


class TokenBucket:
    """``rate`` bytes a second on average, in the order in which they were asked for.

    Whoever finds the bucket not in debt may go at once, with any number of bytes; those who come later wait until it is paid. So
    in any span of time there flow at most ``rate`` times the span, one bucket (`BUCKET_SECONDS`) and the largest single take.
    """

    def __init__(
        self, rate: float, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = pause
    ) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._lock = threading.Lock()
        self._paid_at = float("-inf")

    def take(self, size: float) -> None:
        """Wait until it is the caller's turn to move ``size`` bytes.

        The turn is fixed on arrival, so nobody overtakes and each waiter only sleeps. What ``sleep`` raises is passed on, and the
        bytes are charged no longer: who comes next does not wait for what is never moved.
        """
        with self._lock:
            now = self._clock()
            begins = max(self._paid_at, now)
            self._paid_at = max(self._paid_at, now - BUCKET_SECONDS) + size / self._rate
        try:
            while (left := begins - self._clock()) > 0:
                self._sleep(left)
        except BaseException:
            self.correct(-size)
            raise

    def correct(self, size: float) -> None:
        """Charge ``size`` more bytes (or, negative, less) for what has already moved, without waiting."""
        with self._lock:
            self._paid_at += size / self._rate


class Bandwidth:
    """Limits for ``upload`` and ``download`` in bytes a second (None: no limit) that all stores of a run share.

    ``clock`` and ``sleep`` stand in for time in tests. Raises `Config` for a rate that is not a positive number.
    """

    def __init__(
        self,
        upload: float | None,
        download: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = pause,
    ) -> None:
        for rate in (upload, download):
            if rate is not None and not (0 < rate < math.inf):
                raise Config(f"bandwidth limit: {rate} bytes a second is out of range; give a positive number, or none")
        self._upload = None if upload is None else TokenBucket(upload, clock=clock, sleep=sleep)
        self._download = None if download is None else TokenBucket(download, clock=clock, sleep=sleep)
        self._guess: float = FIRST_GUESS_BYTES

    def before_sending(self, size: int) -> None:
        """Wait until ``size`` bytes may be sent."""
        if self._upload is not None:
            self._upload.take(size)

    def before_fetching(self, size: int | None) -> float:
        """Wait until ``size`` bytes may be fetched (None: unknown, taken to be as many as of late); returns what was charged."""
        charged = self._guess if size is None else float(size)
        if self._download is not None:
            self._download.take(charged)
        return charged

    def fetched(self, size: int, charged: float, *, guessed: bool) -> None:
        """``size`` bytes came where ``charged`` were charged: the difference falls to those who fetch next."""
        if self._download is not None and size != charged:
            self._download.correct(size - charged)
        if guessed:
            self._guess += (size - self._guess) * GUESS_WEIGHT


def limits(text: str) -> Bandwidth | None:
    """The limits that ``text`` states (see `parse`), fresh and full; None where it states none."""
    upload, download = parse(text)
    return None if upload is None and download is None else Bandwidth(upload, download)
