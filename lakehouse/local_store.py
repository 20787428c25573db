"""Store over a folder of this machine, by the operating system's own calls.

Not obstore's LocalStore: it has no etag condition, percent-decodes some names, and does not fsync.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from lakehouse.errors import Config, Conflict, LakeError, NotFound, Transfer, Unsupported
from lakehouse.sized import chunks_of, counted
from lakehouse.store import Buffer, ObjectInfo, Traits
from lakehouse.url import Url

__all__ = ["LocalStore"]

_WINDOW_BYTES = 256 << 10
_EPOCH = datetime.fromtimestamp(0, UTC)
_TEMPORARY = ".lake-partial-"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_LOST = (errno.EIO, errno.ETIMEDOUT, errno.ESTALE, errno.EINTR, errno.EMFILE, errno.ENFILE)


class LocalStore:
    """Files below ``url``, which need not exist yet: the first put makes it.

    An etag changes when the size, the modification time (ns) or the inode does. A put writes a temporary file in the same
    folder, reads it back, syncs it, and links or renames it into place; what a killed process leaves behind is never listed.
    """

    def __init__(self, url: Url) -> None:
        self._url = str(url) if url.key else "file:///"
        self._folder = f"/{url.key}"
        self._lock, self._batches = threading.Lock(), 0
        self._unsynced: set[str] = set()
        self._traits = Traits(
            confirms_put=True,
            conditional_put=True,
            conditional_get=True,
            replace=self.replace,
            set_modified=self.set_modified,
            batching=self.batching,
        )

    def __repr__(self) -> str:
        return f"LocalStore({self._url!r})"

    @property
    def url(self) -> str:
        return self._url

    @property
    def traits(self) -> Traits:
        return self._traits

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterator[ObjectInfo]:
        folder = self._file(prefix) if prefix else self._folder
        start = f"{prefix}/" if prefix else ""
        for info in self._walk(folder, start, recursive):
            if after is None or info.path > after:
                yield info

    def head(self, path: str) -> ObjectInfo:
        with self._translating(path):
            return _info(path, self._regular(path, os.stat(self._file(path))))

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        if end is not None and end <= start:
            return b""
        with self._translating(path), open(self._file(path), "rb") as file:
            before = self._regular(path, os.fstat(file.fileno()))
            if if_match is not None and _etag(before) != if_match:
                raise Transfer(f"{self._url}/{path}: changed while it was read; run again")
            file.seek(start)
            wanted = max(0, (before.st_size if end is None else min(end, before.st_size)) - start)
            data = file.read(wanted)
            after = os.fstat(file.fileno())
        if len(data) != wanted or _etag(after) != _etag(before):
            raise Transfer(f"{self._url}/{path}: changed while it was read; run again", transient=if_match is None)
        return data

    def view(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> memoryview:
        return memoryview(self.get(path, start=start, end=end, if_match=if_match))

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        if if_absent and not isinstance(data, bytes | memoryview):
            raise TypeError("put(if_absent=True) takes bytes: multipart uploads have no portable condition")
        target = self._file(path)
        folder = os.path.dirname(target)
        with self._translating(path):
            created = _make_folders(folder)
            if if_absent and os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, "exists")
            draft = _Draft(folder)
        with draft:
            for chunk in counted(chunks_of(data), size, f"{self._url}/{path}"):
                with self._translating(path):
                    if not draft.write(chunk):
                        raise Transfer(f"{self._url}/{path}: reads back other bytes than were written; nothing was written")
            with self._translating(path):
                status = draft.publish(target, if_absent=if_absent)
        with self._translating(path):
            self._changed({folder, *created})
        return _info(path, status)

    def replace(self, path: str, data: bytes, /, *, etag: str) -> ObjectInfo:
        """`Traits.replace`, among writers that call it: they take turns by a lock of the folder (flock(2)) that ends with them.

        Raises `Unsupported` where the file system cannot lock a folder.
        """
        try:
            with _locked(os.path.dirname(self._file(path))):
                if self.head(path).etag == etag:
                    return self.put(path, data, size=len(data))
        except (FileNotFoundError, NotFound):
            pass
        except OSError as error:
            raise Unsupported(f"{self._url}: folders here cannot be locked ({error.strerror}); use another place") from None
        raise Conflict(f"{self._url}/{path}: is no longer the version that was to be replaced; it has not been overwritten")

    def delete(self, path: str) -> None:
        with contextlib.suppress(NotFound), self._translating(path):
            target = self._file(path)
            os.unlink(target)
            _sync_folder(os.path.dirname(target))

    def set_modified(self, path: str, moment: datetime) -> None:
        """Give the file the modification time ``moment`` (its etag changes with it). Raises `NotFound`."""
        nanoseconds = (moment - _EPOCH) // timedelta(microseconds=1) * 1000
        with self._translating(path):
            os.utime(self._file(path), ns=(nanoseconds, nanoseconds))

    @contextlib.contextmanager
    def batching(self) -> Iterator[None]:
        """Sync the folders that get new names once, at the end, and not for each name."""
        with self._lock:
            self._batches += 1
        try:
            yield
        finally:
            with self._lock:
                self._batches -= 1
                folders, self._unsynced = self._unsynced, set()
            with self._translating(""):
                self._changed(folders)

    def _changed(self, folders: set[str]) -> None:
        """Make the names in ``folders`` survive a power cut, now or at the end of the batch."""
        with self._lock:
            if self._batches:
                self._unsynced |= folders
                return
        for folder in folders:
            _sync_folder(folder)

    def _walk(
        self, folder: str, start: str, recursive: bool, above: frozenset[tuple[int, int]] = frozenset()
    ) -> Iterator[ObjectInfo]:
        """The files below ``folder``; links are followed, but not in circles. What vanishes meanwhile is left out.

        A link that leads nowhere is `NotFound`, and what is neither file nor folder `Unsupported`: left out, they would look
        as if they had been deleted.
        """
        with self._translating(start.rstrip("/")):
            try:
                here = os.stat(folder)
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except (FileNotFoundError, NotADirectoryError):
                return
        identity = (here.st_dev, here.st_ino)
        if identity in above:
            return
        for entry in entries:
            path = start + entry.name
            if entry.name.startswith(_TEMPORARY):
                continue
            _refuse_undecodable(self._url, path)
            with self._translating(path):
                try:
                    status = entry.stat()
                except OSError as error:
                    if error.errno not in _NOWHERE:
                        raise
                    if not os.path.islink(entry.path):
                        continue
                    raise NotFound(f"{self._url}/{path}: is a link to {os.readlink(entry.path)}, which is not there") from None
            if stat.S_ISDIR(status.st_mode):
                if recursive:
                    yield from self._walk(entry.path, f"{path}/", True, above | {identity})
                else:
                    yield ObjectInfo(f"{path}/", 0)
            elif not stat.S_ISREG(status.st_mode):
                raise Unsupported(
                    f"{self._url}/{path}: is a {_kind(status.st_mode)}, neither file nor folder; it cannot be carried"
                )
            elif status.st_size > 0 or not path.endswith("_$folder$"):
                yield _info(path, status)

    def _file(self, path: str) -> str:
        if not path or "\0" in path or any(segment in ("", ".", "..") for segment in path.split("/")):
            raise Unsupported(f"{self._url}: {path!r} is no name of a file (an empty, '.' or '..' segment)")
        if path.rpartition("/")[2].startswith(_TEMPORARY):
            raise Unsupported(f"{self._url}: {path!r}: names that begin with {_TEMPORARY} are kept for unfinished writes")
        return f"{self._folder.rstrip('/')}/{path}"

    def _regular(self, path: str, status: os.stat_result) -> os.stat_result:
        if not stat.S_ISREG(status.st_mode):
            raise NotFound(f"{self._url}/{path}: not found (a folder or a device has this name)")
        return status

    @contextlib.contextmanager
    def _translating(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _translated(error, f"{self._url}/{path}" if path else self._url) from None


class _Draft:
    """A file being written in ``folder``, that appears whole under its name or not at all.

    On Linux it has no name while it is written (``O_TMPFILE``, open(2)), so a killed writer leaves nothing behind. File systems
    that cannot do that, and macOS, get a hidden name.
    """

    def __init__(self, folder: str) -> None:
        self._hidden = os.path.join(folder, f"{_TEMPORARY}{secrets.token_hex(8)}")
        self._named = False
        try:
            descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666)
        except (AttributeError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
                raise
            descriptor = os.open(self._hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            self._named = True
        self.file = os.fdopen(descriptor, "r+b", buffering=0)
        self._size, self._back = 0, bytearray()

    def __enter__(self) -> _Draft:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with contextlib.suppress(OSError):
            self.file.close()
        if self._named:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._hidden)

    def write(self, data: Buffer) -> bool:
        """Append ``data`` and read it back; False when the file does not hold just that."""
        view, descriptor = memoryview(data), self.file.fileno()
        for start in range(0, len(view), _WINDOW_BYTES):
            piece = view[start : start + _WINDOW_BYTES]
            done = 0
            while done < len(piece):
                done += os.write(descriptor, piece[done:])
            if len(self._back) != len(piece):
                self._back = bytearray(len(piece))
            if os.preadv(descriptor, [self._back], self._size) != len(piece) or self._back != piece:
                return False
            self._size += len(piece)
        return True

    def publish(self, target: str, *, if_absent: bool) -> os.stat_result:
        """Sync the bytes and give them their name. Raises FileExistsError with ``if_absent`` where there is such a file."""
        os.fsync(self.file.fileno())
        if if_absent:
            self._link(target)
        else:
            if not self._named:
                self._link(self._hidden)
                self._named = True
            os.replace(self._hidden, target)
        return os.fstat(self.file.fileno())

    def _link(self, name: str) -> None:
        descriptor = self.file.fileno()
        if self._named:
            os.link(self._hidden, name)
        else:  # a directory's descriptor makes Python call linkat(2), which follows the link in /proc
            os.link(f"/proc/self/fd/{descriptor}", name, src_dir_fd=descriptor, follow_symlinks=True)


def _translated(error: OSError, where: str) -> LakeError:
    what = error.strerror or type(error).__name__
    if isinstance(error, FileExistsError):
        return Conflict(f"{where}: exists already; it has not been overwritten")
    if isinstance(error, FileNotFoundError):
        return NotFound(f"{where}: not found")
    if isinstance(error, NotADirectoryError | IsADirectoryError):
        return NotFound(f"{where}: not found ({what})")
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return Config(f"{where}: access was refused ({what}); check the permissions")
    if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EOPNOTSUPP, errno.EMLINK):
        return Unsupported(f"{where}: this file system cannot do it ({what})")
    if error.errno in _FULL:
        return Transfer(f"{where}: the disk is full ({what}); nothing was written, make room and run again")
    return Transfer(f"{where}: {what}", transient=error.errno in _LOST)


def _kind(mode: int) -> str:
    return "named pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"


def _info(path: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(path, status.st_size, _etag(status), modified=datetime.fromtimestamp(status.st_mtime, UTC))


def _etag(status: os.stat_result) -> str:
    return f"{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ino:x}"


def _make_folders(folder: str) -> list[str]:
    """Create ``folder``; returns the folders that got a new entry by it, which must be synced too."""
    changed: list[str] = []
    missing = folder
    while not os.path.isdir(missing):
        if os.path.lexists(missing) and not os.path.isdir(missing):  # asked again: another thread may have made it just now
            raise OSError(errno.EINVAL, f"{missing} is a file, not a folder")
        missing = os.path.dirname(missing)
        changed.append(missing)
    os.makedirs(folder, exist_ok=True)
    return changed


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync_folder(folder: str) -> None:
    """Make the names in ``folder`` survive a power cut; file systems without such a call are left alone."""
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF):
                raise
        finally:
            os.close(descriptor)


def _refuse_undecodable(url: str, path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise Unsupported(f"{url}: {os.fsencode(path)!r} is not UTF-8; object stores cannot hold this name") from None
