"""Does what a sync needs work here? Versions, configuration and, for each store, what it promises.

Nothing is taken for right that was not seen: a check whose outcome is not known has ``ok`` None, which is no success.
"""

from __future__ import annotations

import platform
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata

from lakehouse.config import load
from lakehouse.errors import Conflict, LakeError, NotFound, Transfer
from lakehouse.settings import Settings
from lakehouse.store import Store
from lakehouse.version import __version__

__all__ = ["FOLDER", "Check", "Diagnosis", "check_store", "doctor", "examine"]

FOLDER = "_lake-doctor"
"""What ``write=True`` writes lies below this folder, and is removed again."""

MAX_SKEW_SECONDS = 5.0
LIBRARIES = (
    *("pyarrow", "obstore", "fsspec", "s3fs", "gcsfs", "adlfs", "boto3", "google-auth", "azure-identity"),
    *("deltalake", "pyiceberg", "duckdb", "pydantic", "typer", "rich", "zstandard"),
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. ``ok`` is None where the answer is not known; ``store`` None where no store is meant."""

    name: str
    ok: bool | None
    detail: str = ""
    store: str | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `doctor` found. ``versions`` are None for what is not installed; ``config`` is the file that was read."""

    versions: dict[str, str | None]
    config: str | None
    warnings: tuple[str, ...] = ()
    checks: tuple[Check, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """True when every check is known to be right."""
        return all(check.ok for check in self.checks)


def doctor(place: str | None = None, *, write: bool = False, settings: Settings | None = None) -> Diagnosis:
    """Look at the versions, the configuration and the store at ``place`` (None: every store of lake.toml).

    ``place`` is the name of a store or any place. With ``write``, objects are put below ``_lake-doctor/`` and removed again.
    Raises `lakehouse.errors.Config` for a lake.toml that cannot be read; whatever a store answers is a check.
    """
    settings = load() if settings is None else settings
    places = list(settings.stores) if place is None else [place]
    checks = [check for each in places for check in check_store(each, settings, write=write)]
    config = str(settings.path) if settings.path else None
    return Diagnosis(dict(_versions()), config, settings.warnings(), tuple(checks))


def _versions() -> Iterator[tuple[str, str | None]]:
    yield "lake", __version__
    yield "Python", platform.python_version()
    for name in LIBRARIES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, None


def check_store(place: str, settings: Settings, *, write: bool) -> Iterator[Check]:
    """The checks of one store (its name or any place); those that follow a failure and need what failed are left out."""
    from lakehouse.connect import open_store

    try:
        store = open_store(f"{place}:" if place in settings.stores else place, settings)
    except LakeError as error:
        yield Check("open", False, str(error), place)
        return
    yield Check("open", True, store.url, place)
    yield from examine(store, place, write=write)


def examine(store: Store, place: str, *, write: bool) -> Iterator[Check]:
    """The checks of a store that is open; ``place`` is the name that they carry."""
    reading = list(_check_reading(store, place, write=write))
    yield from reading
    if write and all(check.ok for check in reading if check.name == "list"):
        yield from _check_writing(store, place)


def _check_reading(store: Store, place: str, *, write: bool) -> Iterator[Check]:
    try:
        entries = store.list(recursive=False)
        first = next((info for info in entries if not info.path.endswith("/")), None)
    except LakeError as error:
        yield Check("list", False, str(error), place)
        return
    yield Check("list", True, "credentials accepted", place)
    if first is None:
        first = next(iter(store.list()), None)
    if first is None:
        if not write:  # else the object that is put is read back
            yield Check("read", None, "there is no object to read; --write puts one", place)
        return
    yield _attempt("read", place, lambda: _read_start(store, first.path, first.size))


def _read_start(store: Store, path: str, size: int) -> str:
    data = store.get(path, start=0, end=min(size, 1))
    if len(data) != min(size, 1):
        raise Transfer(f"{store.url}/{path}: gave {len(data)} bytes where {min(size, 1)} were asked for")
    return path


def _attempt(name: str, place: str, action: Callable[[], str]) -> Check:
    try:
        return Check(name, True, action(), place)
    except LakeError as error:
        return Check(name, False, str(error), place)


def _check_writing(store: Store, place: str) -> Iterator[Check]:
    path = f"{FOLDER}/{uuid.uuid4().hex}"
    data = uuid.uuid4().bytes * 64
    before = datetime.now(UTC)
    try:
        store.put(path, data, size=len(data))
    except LakeError as error:
        yield Check("put", False, str(error), place)
        return
    try:
        yield _attempt("put", place, lambda: _read_back(store, path, data))
        yield _clock(store, path, place, before)
        yield _conditional_put(store, f"{path}-new", place)
        if store.traits.conditional_get:  # nothing relies on what is not promised
            yield _conditional_get(store, path, place)
    finally:
        removed = [_attempt("delete", place, lambda name=name: _remove(store, name)) for name in (path, f"{path}-new")]  # type: ignore[misc]
    yield next((check for check in removed if not check.ok), removed[0])


def _read_back(store: Store, path: str, data: bytes) -> str:
    if store.get(path) != data:
        raise Transfer(f"{store.url}/{path}: does not hold what was put")
    return "what was put was read back"


def _remove(store: Store, path: str) -> str:
    store.delete(path)
    try:
        store.head(path)
    except NotFound:
        return "what was put was removed"
    raise Transfer(f"{store.url}/{path}: is still there after delete; remove it by hand")


def _clock(store: Store, path: str, place: str, before: datetime) -> Check:
    try:
        modified = store.head(path).modified
    except LakeError as error:
        return Check("clock", False, str(error), place)
    if modified is None:
        return Check("clock", None, "the store does not say when an object was written", place)
    now = datetime.now(UTC)
    early, late = (before - modified).total_seconds() - 1, (modified - now).total_seconds()  # whole seconds in headers
    skew = max(early, late, 0.0)
    return Check("clock", skew <= MAX_SKEW_SECONDS, f"differs from this machine's by at most {skew + 1:.0f} seconds", place)


def _conditional_put(store: Store, path: str, place: str) -> Check:
    """Two puts if-absent: the second must be refused, and the first's bytes must stay."""
    try:
        store.put(path, b"first", size=5, if_absent=True)
        try:
            store.put(path, b"other", size=5, if_absent=True)
        except Conflict:
            kept = store.get(path) == b"first"
            promise = "" if store.traits.conditional_put else "; not atomic among several writers (not promised)"
            return Check("conditional put", kept, ("honoured" if kept else "refused, yet the object changed") + promise, place)
    except LakeError as error:
        return Check("conditional put", False, str(error), place)
    return Check("conditional put", False, "ignored: a second put if-absent overwrote the object", place)


def _conditional_get(store: Store, path: str, place: str) -> Check:
    """A get with the etag of older bytes must fail."""
    try:
        old = store.head(path).etag
        if old is None:
            return Check("conditional get", None, "the store gives no etag", place)
        store.put(path, b"changed", size=7)
    except LakeError as error:
        return Check("conditional get", False, str(error), place)
    try:
        store.get(path, if_match=old)
    except Transfer as error:
        return Check("conditional get", None if error.transient else True, str(error) if error.transient else "honoured", place)
    except LakeError as error:
        return Check("conditional get", False, str(error), place)
    return Check("conditional get", False, "ignored: a changed object was read under its old etag", place)
