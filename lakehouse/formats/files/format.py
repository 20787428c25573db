"""`FilesFormat`: whatever lies below a URL, as it is. There is no metadata and no root, so a reader may see a mixture.

`lakehouse.formats.parquet` builds on it. Only ``--format files`` chooses it, nothing detects it.
"""

# ruff: noqa: ARG002  (the contract names more than each format needs)

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from lakehouse.errors import Config, NotFound, Transfer, Unsupported
from lakehouse.listing_digest import ListingDigest, digest_of
from lakehouse.reading.examine import Examination, Flaw
from lakehouse.reading.task import Point, ScanPlan
from lakehouse.spool import Spool, listed_file, listing
from lakehouse.store import ObjectInfo, Store
from lakehouse.table import Base, Commit, Description, Held, Staged, TableFile, TableVersion, Terms

__all__ = ["LAST", "FilesFormat", "PlainVersion"]

LAST = ("_metadata", "_common_metadata", "_SUCCESS")
"""Objects that say something about the others, so they go last, in this order: Spark's mark of a finished job at the very end."""

_ICEBERG = re.compile(r"(?:.*/)?metadata/[^/]+\.metadata\.json(?:\.gz)?")
_UNFINISHED = re.compile(r"(?:.*/)?(_temporary|\.spark-staging[^/]*)/.*")


@dataclass(frozen=True, kw_only=True)
class PlainVersion(TableVersion):
    """A listing. ``id`` is its `ListingDigest`, so an equal id means the same objects as far as a listing can tell.

    ``size``: of all objects, in bytes. ``is_telling``: the listing would show an object that was overwritten.
    """

    listing: Spool[ObjectInfo] = field(compare=False)
    size: int
    is_telling: bool


def _carried(store: Store) -> Iterator[ObjectInfo]:
    """The objects to carry. Raises `Config` for a warehouse and `Unsupported` while a job is writing."""
    for info in store.list():
        path = info.path
        if path == "_lake" or path.startswith("_lake/"):
            continue
        if "/_delta_log/" in f"/{path}" or ("metadata/" in path and _ICEBERG.fullmatch(path)):
            raise Config(
                f"{store.url}: a table with its own metadata lies below it ({path}): it is a warehouse, or that table; "
                "sync each table on its own"
            )
        if ("_temporary/" in path or ".spark-staging" in path) and (match := _UNFINISHED.fullmatch(path)):
            raise Unsupported(
                f"{store.url}: {match[1]}/ holds the files of a job that runs or has failed; finish or remove it first"
            )
        yield info


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
        objects, last, digest, size = listing(), list[ObjectInfo](), ListingDigest(), 0
        newest: datetime | None = None
        for info in _carried(store):
            (last if info.path.endswith(LAST) and _name(info.path) in LAST else objects).append(info)
            digest.add(info.path, info.size, info.etag)
            size += info.size
            if info.modified is not None and (newest is None or info.modified > newest):
                newest = info.modified
        objects.extend(sorted(last, key=_order))
        if not self._is_there(objects):
            raise NotFound(f"{store.url}: no {'Parquet ' if self.name == 'parquet' else ''}files here")
        if version not in (None, digest.hexdigest()):
            raise NotFound(f"{store.url}: plain files have no history; the only version is {digest.hexdigest()}")
        return PlainVersion(
            format=self.name, id=digest.hexdigest(), table_id=None, committed_at=newest, root="", root_sha256="",
            listing=objects, size=size, is_telling=digest.is_telling,
        )  # fmt: skip

    def _is_there(self, objects: Spool[ObjectInfo]) -> bool:
        return len(objects) > 0

    def since(
        self, source: Store, target: Store, version: TableVersion, base: Base | None, unfinished: Sequence[Base] = ()
    ) -> Held | None:
        return None

    def files(self, store: Store, version: TableVersion, held: Held | None = None) -> Iterator[TableFile]:
        """The pinned listing; what describes the whole directory comes last, in its order."""
        for row in _plain(version).listing.rows():
            yield listed_file(row, last=row[0].endswith(LAST) and _name(row[0]) in LAST)

    def stage(self, source: Store, target: Store, version: TableVersion, held: Held | None) -> Staged:
        """Nothing: a folder is its files."""
        return Staged((), (), "")

    def recheck(self, source: Store, version: TableVersion) -> None:
        """The source's listing is still the pinned one."""
        if digest_of(_carried(source)) != _plain(version).id:
            raise Transfer(f"{source.url}: the source changed during the copy; run again when nobody writes to it")

    def metadata_files(self, store: Store, version: TableVersion, *, essential: bool = False) -> Iterator[str]:
        """None: a folder is its files."""
        return iter(())

    def differences(self, source: Store, target: Store, version: TableVersion, root: str) -> Iterator[tuple[str, str]]:
        """None: nothing is rewritten."""
        return iter(())

    def describe(self, store: Store, version: TableVersion) -> Description:
        """Counts only: nothing is known of what is in the files."""
        plain = _plain(version)
        return Description(
            self.name, version.id, None, version.committed_at, (), (), len(plain.listing), plain.size, 0, 0, (), {}
        )

    def history(self, store: Store, version: TableVersion) -> Iterator[Commit]:
        """One line: plain files remember nothing."""
        yield Commit(version.id, version.committed_at, "listed", {"files": str(len(_plain(version).listing))})

    def points(self, store: Store, version: TableVersion) -> Iterator[Point]:
        """One: plain files have no history."""
        yield Point()

    def newest_point(self, version: TableVersion) -> Point:
        """The only one."""
        return Point()

    def scan(self, store: Store, version: TableVersion, point: Point) -> ScanPlan:
        """Raises `Unsupported`: nothing is known of what is in the files."""
        raise Unsupported(f"{store.url}: plain files have no rows to read; a folder of Parquet files has: --format parquet")

    def check(self, store: Store, version: TableVersion) -> Iterator[Flaw | Examination]:
        """Raises `Unsupported`: a listing has nothing to disagree with."""
        raise Unsupported(
            f"{store.url}: plain files of any kind have nothing to check; lake verify holds a replica against its receipts"
        )

    def damaged(self, store: Store) -> Iterator[Flaw]:
        """Nothing: there is no metadata."""
        return iter(())


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _order(info: ObjectInfo) -> tuple[int, int, str]:
    """What sorts the objects of `LAST`: by their order there, deeper folders before those above."""
    return LAST.index(_name(info.path)), -info.path.count("/"), info.path
