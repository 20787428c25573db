"""`FilesFormat`: whatever lies below a URL, as it is. There is no metadata and no root, so a reader may see a mixture.

`lakehouse.formats.parquet` builds on it. Only ``--format files`` chooses it, nothing detects it.
"""

# ruff: noqa: ARG002  (the contract names more than each format needs)

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from lakehouse.errors import Config, NotFound, Transfer, Unsupported
from lakehouse.store import ObjectInfo, Store
from lakehouse.table import Base, Commit, Description, Held, Staged, TableFile, TableVersion, Terms

__all__ = ["LAST", "FilesFormat", "PlainVersion", "digest_of"]

LAST = ("_metadata", "_common_metadata", "_SUCCESS")
"""Objects that say something about the others, so they go last, in this order: Spark's mark of a finished job at the very end."""

_ICEBERG = re.compile(r"(?:.*/)?metadata/[^/]+\.metadata\.json(?:\.gz)?")
_UNFINISHED = re.compile(r"(?:.*/)?(_temporary|\.spark-staging[^/]*)/.*")
_SUMMED_BITS = 256


@dataclass(frozen=True, kw_only=True)
class PlainVersion(TableVersion):
    """A listing. ``id`` is its digest, so an equal id means the same objects as far as a listing can tell."""

    listing: tuple[ObjectInfo, ...]


def digest_of(objects: Iterable[ObjectInfo]) -> str:
    """A digest of paths, sizes and etags that does not depend on the order: the sum of their SHA-256 modulo 2^256, 32 digits."""
    total = 0
    for info in objects:
        line = f"{info.path}\0{info.size}\0{info.etag or ''}".encode("utf-8", "surrogateescape")
        total += int.from_bytes(hashlib.sha256(line).digest(), "big")
    return f"{total % 2**_SUMMED_BITS:064x}"[:32]


def _take(store: Store) -> tuple[ObjectInfo, ...]:
    """The objects to carry. Raises `Config` for a warehouse and `Unsupported` while a job is writing."""
    found: list[ObjectInfo] = []
    for info in store.list():
        path = info.path
        if path == "_lake" or path.startswith("_lake/"):
            continue
        if path.startswith("_delta_log/") or "/_delta_log/" in path or _ICEBERG.fullmatch(path):
            raise Config(
                f"{store.url}: a table with its own metadata lies below it ({path}): it is a warehouse, or that table; "
                "sync each table on its own"
            )
        if match := _UNFINISHED.fullmatch(path):
            raise Unsupported(
                f"{store.url}: {match[1]}/ holds the files of a job that runs or has failed; finish or remove it first"
            )
        found.append(info)
    return tuple(found)


def _plain(version: TableVersion) -> PlainVersion:
    if not isinstance(version, PlainVersion):
        raise TypeError(f"not a version of plain files: {version!r}")
    return version


class FilesFormat:
    """Any objects, byte for byte. Whole trees of tables with metadata of their own are refused."""

    name = "files"
    receipts_inside = False
    renumbers = False

    def detect(self, store: Store) -> bool:
        """Never: only ``--format files`` says that a listing is all there is to know."""
        return False

    def is_unchanged(self, source: Store, target: Store, base: Base, terms: Terms | None = None) -> bool:
        """Never in a few requests: a file may have been overwritten under its name."""
        return False

    def pin(self, store: Store, version: str | None = None, terms: Terms | None = None) -> PlainVersion:
        """The objects as they are listed now; there is no other version.

        Raises `NotFound` (nothing there, another version), `Config` (a warehouse) and `Unsupported` (an unfinished job).
        """
        listing = _take(store)
        if not self._is_there(listing):
            raise NotFound(f"{store.url}: no {'Parquet ' if self.name == 'parquet' else ''}files here")
        digest = digest_of(listing)
        if version not in (None, digest):
            raise NotFound(f"{store.url}: plain files have no history; the only version is {digest}")
        times = [info.modified for info in listing if info.modified is not None]
        newest: datetime | None = max(times, default=None)
        return PlainVersion(
            format=self.name, id=digest, table_id=None, committed_at=newest, root="", root_sha256="", listing=listing
        )

    def _is_there(self, listing: tuple[ObjectInfo, ...]) -> bool:
        return bool(listing)

    def since(
        self, source: Store, target: Store, version: TableVersion, base: Base | None, unfinished: Sequence[Base] = ()
    ) -> Held | None:
        return None

    def files(self, store: Store, version: TableVersion, held: Held | None = None) -> Iterator[TableFile]:
        """The pinned listing; what describes the whole directory comes last, in its order."""
        listing = _plain(version).listing
        for info in (*(info for info in listing if info.path.rpartition("/")[2] not in LAST), *_in_order(listing)):
            last = info.path.rpartition("/")[2] in LAST
            yield TableFile(info.path, info.size, etag=info.etag, checksum=info.checksum, last=last)

    def stage(self, source: Store, target: Store, version: TableVersion, held: Held | None) -> Staged:
        """Nothing: a folder is its files."""
        return Staged((), (), "")

    def recheck(self, source: Store, version: TableVersion) -> None:
        """The source's listing is still the pinned one."""
        if digest_of(_take(source)) != _plain(version).id:
            raise Transfer(f"{source.url}: the source changed during the copy; run again when nobody writes to it")

    def metadata_files(self, store: Store, version: TableVersion, *, essential: bool = False) -> Iterator[str]:
        """None: a folder is its files."""
        return iter(())

    def differences(self, source: Store, target: Store, version: TableVersion, root: str) -> Iterator[tuple[str, str]]:
        """None: nothing is rewritten."""
        return iter(())

    def describe(self, store: Store, version: TableVersion) -> Description:
        """Counts only: nothing is known of what is in the files."""
        listing = _plain(version).listing
        size = sum(info.size for info in listing)
        return Description(self.name, version.id, None, version.committed_at, (), (), len(listing), size, 0, 0, (), {})

    def history(self, store: Store, version: TableVersion) -> Iterator[Commit]:
        """One line: plain files remember nothing."""
        yield Commit(version.id, version.committed_at, "listed", {"files": str(len(_plain(version).listing))})


def _in_order(listing: tuple[ObjectInfo, ...]) -> list[ObjectInfo]:
    last = [info for info in listing if info.path.rpartition("/")[2] in LAST]
    return sorted(last, key=lambda info: (LAST.index(info.path.rpartition("/")[2]), -info.path.count("/"), info.path))
