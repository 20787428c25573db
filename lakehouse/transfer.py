"""Moves bytes from one store to another: in parallel, bounded, every byte hashed on its way.

A small object is one get and one put. A large one the service copies by itself where both sides are one service; else it is read
in ranges, some ahead of the others, each conditional on the etag that was pinned at its start, hashed in order and sent in parts
as it comes. Nothing here knows what the bytes mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace

from lakehouse.errors import Config, Conflict, LakeError, NotFound, Transfer, Unsupported
from lakehouse.locations import is_address
from lakehouse.parallel import each
from lakehouse.plan import Copy
from lakehouse.progress import Progress, ProgressEvent, silent
from lakehouse.ranges import SMALL_SIZE, Limits, RangePool, Ranges, digests_of
from lakehouse.store import Buffer, ObjectInfo, Store
from lakehouse.table import Written

__all__ = ["Missing", "Outcome", "transfer"]


@dataclass(frozen=True, slots=True)
class Missing:
    """An object that only older versions of the table need is gone at the source."""

    path: str


Outcome = Written | Missing

MOST_FAILURES_IN_A_ROW = 200
"""So many objects that fail on the way, with none that arrives in between, say that a service is down, or access refused."""


class _Gone(Transfer):
    """What was at the target a moment ago is not there any more."""


class _StillAbsent:
    """``ranges`` while nothing lies at the target, looked at before the first and after the last of them: an upload in parts has
    no portable condition, and may take hours.
    """

    def __init__(self, ranges: Ranges, target: Store, path: str) -> None:
        self._ranges, self._target, self._path = ranges, target, path

    def __iter__(self) -> Iterator[Buffer]:
        self._look()
        yield from self._ranges
        self._look()

    def _look(self) -> None:
        with suppress(NotFound):
            self._target.head(self._path)
            raise Conflict(f"{self._target.url}/{self._path}: exists already; it has not been overwritten")


class _Mover:
    """One transfer run: the two stores, and the pool that reads ranges."""

    def __init__(self, source: Store, target: Store, pool: RangePool) -> None:
        self.source, self.target, self.pool = source, target, pool

    def move(self, copy: Copy) -> Outcome:
        """Bring one object over, or find that it is already there."""
        try:
            if copy.action == "copy":
                return self._copy(copy, if_absent=True)
            return self._compare(copy)
        except NotFound:
            if copy.file.required:
                raise
            return Missing(copy.path)

    def _copy(self, copy: Copy, *, if_absent: bool) -> Written:
        if copy.size <= SMALL_SIZE:
            return self._copy_small(copy, if_absent=if_absent)
        return self._copy_large(copy, if_absent=if_absent)

    def _copy_small(self, copy: Copy, *, if_absent: bool) -> Written:
        file = copy.file
        with self.pool.small(file.size):
            data = self.source.view(file.source, if_match=file.etag)
            if len(data) != file.size:
                self._accept_size(copy, len(data))
            written = self._hashed(copy, digests_of(data, self._algorithms(copy)), len(data))
            try:
                put = self.target.put(file.path, data, size=len(data), if_absent=if_absent)
            except Conflict:
                put = None
        return self._adopt(written) if put is None else self._put(written, put)

    def _copy_large(self, copy: Copy, *, if_absent: bool) -> Written:
        info = self._pinned(copy)
        ranges = Ranges(self.source, info, self.pool, self._algorithms(copy))
        if if_absent and self._is_there(copy.path):
            return self._compare(copy)
        if self._is_one_service(copy):
            return self._copy_within(copy, info, if_absent=if_absent)
        try:
            with self.pool.large(info.size, sent=True):
                data = _StillAbsent(ranges, self.target, copy.path) if if_absent else ranges
                put = self.target.put(copy.path, data, size=info.size)
        except Conflict:  # of another writer, or of a try of ours whose answer was lost
            return self._adopt(self._read(copy, info))
        return self._put(replace(self._hashed(copy, ranges.hexdigests, info.size), source_etag=info.etag), put)

    def _is_one_service(self, copy: Copy) -> bool:
        """Whether the service can copy by itself. A file at an address of its own may lie in another one."""
        service = self.source.traits.service
        return service is not None and service == self.target.traits.service and not is_address(copy.file.source)

    def _copy_within(self, copy: Copy, info: ObjectInfo, *, if_absent: bool) -> Written:
        """The service copies. What it states of both sides is the proof; where it states nothing, the bytes are read for it."""
        make, stating = self.target.traits.copy, self.source.traits.stated_sha256
        if make is None:
            raise TypeError(f"{self.target!r} names its service and has no copy")
        try:
            put = make(self.source.url, info, copy.path, if_absent=if_absent)
        except Conflict:  # of another writer, or of a try of ours whose answer was lost
            return self._adopt(self._read(copy, info))
        stated = stating(info) if stating is not None and self._algorithms(copy) == ("sha256",) else None
        written = self._read(copy, info) if stated is None else self._hashed(copy, {"sha256": stated}, info.size)
        confirmed = put.checksum is not None and (put.checksum.algorithm, put.checksum.hex) == ("sha256", written.sha256)
        return replace(
            written,
            source_etag=info.etag,
            target_etag=put.etag,
            checksum=put.checksum if confirmed else None,
            confirmed=confirmed,
        )

    def _read(self, copy: Copy, info: ObjectInfo) -> Written:
        """The record of the source object, by reading it."""
        digests = self.pool.digests(self.source, info, self._algorithms(copy))
        return replace(self._hashed(copy, digests, info.size), source_etag=info.etag)

    def _compare(self, copy: Copy) -> Written:
        """Hash both sides; equal is kept, different is replaced only when the plan says so."""
        written = self._read(copy, self._pinned(copy))
        try:
            return self._adopt(written)
        except _Gone:
            return self._copy(copy, if_absent=True)
        except Conflict:
            if copy.action == "replace":
                return self._copy(copy, if_absent=False)
            raise

    def _adopt(self, written: Written) -> Written:
        """``written`` as an object that was already there, after its bytes were read and found equal.

        Raises `Conflict` when they are not.
        """
        try:
            there = self.target.head(written.path)
        except NotFound:
            raise _Gone(f"{self.target.url}/{written.path}: was there and is not any more; run again") from None
        digest = self.pool.digests(self.target, there)["sha256"] if there.size == written.size else ""
        if digest != written.sha256:
            raise Conflict(
                f"{self.target.url}/{written.path}: holds other bytes than {self.source.url}/{written.path}; not overwritten"
            )
        return replace(written, origin="adopted", target_etag=there.etag, checksum=there.checksum, confirmed=True)

    def _algorithms(self, copy: Copy) -> tuple[str, ...]:
        stated = copy.file.checksum
        return ("sha256",) if stated is None or stated.algorithm == "sha256" else ("sha256", stated.algorithm)

    def _hashed(self, copy: Copy, digests: dict[str, str], size: int) -> Written:
        """The record of what was read, after the source's own checksum was compared."""
        stated = copy.file.checksum
        checked = stated is not None and stated.algorithm in digests
        if stated is not None and checked and digests[stated.algorithm] != stated.hex:
            raise Transfer(
                f"{copy.file.source}: what was read has another {stated.algorithm} than the source states; "
                "read it again, or restore it"
            )
        return Written(copy.path, size, digests["sha256"], "copied", source_etag=copy.file.etag, source_checked=checked)

    def _put(self, written: Written, put: ObjectInfo) -> Written:
        return replace(written, target_etag=put.etag, checksum=put.checksum, confirmed=self.target.traits.confirms_put)

    def _pinned(self, copy: Copy) -> ObjectInfo:
        """The source object as it stands now; what is read later must be that one."""
        info = self.source.head(copy.file.source)
        if copy.file.etag is not None and info.etag != copy.file.etag:
            raise Transfer(f"{self.source.url}: {copy.file.source} changed since it was listed; run again")
        return info

    def _accept_size(self, copy: Copy, size: int) -> None:
        """Metadata may state a wrong size (tables made by hand do); a short read may not pass as one.

        Raises `Transfer` unless the source object really has ``size`` bytes.
        """
        if self.source.head(copy.file.source).size != size:
            raise Transfer(
                f"{self.source.url}: of {copy.file.source} {size} bytes arrived, not the whole object; run again", transient=True
            )

    def _is_there(self, path: str) -> bool:
        try:
            self.target.head(path)
        except NotFound:
            return False
        return True


def transfer(
    source: Store,
    target: Store,
    copies: Iterable[Copy],
    *,
    limits: Limits,
    progress: Progress = silent,
    note: Callable[[Written], None] | None = None,
) -> Iterator[Outcome]:
    """Bring ``copies`` over and yield what became of each, as they finish.

    All are tried, unless `MOST_FAILURES_IN_A_ROW` fail; then the failures are raised as one: `NotFound` when a required object is
    missing at the source, `Conflict` when other bytes lie under a name at the target, else `Transfer`.
    ``note`` hears of each object that is whole at the target.
    """
    failures: list[tuple[str, LakeError]] = []
    arrived, in_a_row = False, 0
    batching = target.traits.batching
    with batching() if batching is not None else nullcontext(), RangePool(limits) as pool:
        mover = _Mover(source, target, pool)
        with closing(each(mover.move, copies, workers=limits.workers, stop=pool.stop)) as moved:
            for copy, outcome in moved:
                progress(ProgressEvent("transfer", objects=1, size=copy.size))
                if isinstance(outcome, LakeError):
                    failures.append((copy.path, outcome))
                    in_a_row += isinstance(outcome, Transfer | Config)
                    if in_a_row >= MOST_FAILURES_IN_A_ROW:
                        break
                    continue
                arrived, in_a_row = True, 0
                if note is not None and isinstance(outcome, Written):
                    note(outcome)
                yield outcome
    if failures:
        raise _summary(failures, arrived=arrived)


def _summary(failures: list[tuple[str, LakeError]], *, arrived: bool) -> LakeError:
    """One error for all that failed, of the class that tells the caller most."""
    missing = [error for _, error in failures if isinstance(error, NotFound)]
    others = [error for _, error in failures if isinstance(error, Conflict)]
    first = (missing or others or [error for _, error in failures])[0]
    if missing:
        return NotFound(f"{len(missing)} live file(s) of the table are missing at the source, nothing was published: {first}")
    if others:
        return Conflict(f"{len(others)} object(s) at the target are not ours, nothing was published: {first}")
    kinds = {type(error) for _, error in failures}
    if Unsupported in kinds:
        return next(error for _, error in failures if isinstance(error, Unsupported))
    if kinds == {Config} and not arrived:
        return Config(f"none of {len(failures)} object(s) could be brought over: {first}")
    return Transfer(f"{len(failures)} object(s) did not arrive, nothing was published; run again to complete: {first}")
