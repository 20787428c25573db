"""Iceberg tables for the tests of a sync: sources in memory, targets that are a catalog's tables, and faults in both."""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import lakehouse
from lakehouse.catalog import Catalog, TableRecord
from lakehouse.config import CatalogSettings, Settings
from lakehouse.connect import Access
from lakehouse.formats.iceberg.avro import same_content
from lakehouse.locations import Locations
from lakehouse.options import Options
from lakehouse.progress import ProgressEvent
from lakehouse.ranges import Limits
from lakehouse.replica import Replica, open_replica
from lakehouse.result import SyncResult
from lakehouse.sync import replicate
from lakehouse.table import Terms
from lakehouse.testing.faulty_store import Call, Faults, FaultyStore
from lakehouse.testing.servers import FaultProxy, Rule
from lakehouse.verify import audit
from tests.catalogs.rest_model import RestModel
from tests.corpus.iceberg_readers import by_pyiceberg
from tests.formats.iceberg.iceberg_tables import ChangingTable, changing_table, rows
from tests.sync.places import Places, contents, dump

__all__ = ["FaultyCatalog", "Grown", "Kind", "Shelf", "assert_same", "faulty", "no_writes", "on_publish", "shelf"]

Kind = Literal["sql", "rest"]


class FaultyCatalog:
    """``catalog``, whose writes count, and fail, with the calls of `FaultyStore`s."""

    def __init__(self, catalog: Catalog, faults: Faults) -> None:
        self._catalog, self._faults = catalog, faults
        self.name, self.swaps = catalog.name, catalog.swaps
        self.list, self.load, self.default_location = catalog.list, catalog.load, catalog.default_location
        self.close = catalog.close

    def register(self, identifier: str, metadata_location: str) -> TableRecord:
        call = self._arrive("register", identifier)
        record = self._catalog.register(identifier, metadata_location)
        return self._reply(call, record)

    def swap(self, identifier: str, expected: str, metadata_location: str, metadata: dict[str, Any]) -> TableRecord:
        call = self._arrive("swap", identifier)
        record = self._catalog.swap(identifier, expected, metadata_location, metadata)
        return self._reply(call, record)

    def _arrive(self, method: str, identifier: str) -> Call | None:
        call = Call(f"catalog {self.name}", method, identifier)
        if not self._faults.arrive(call):
            return None
        if self._faults.mode != "after":
            raise self._faults.error(call)
        return call

    def _reply(self, call: Call | None, record: TableRecord) -> TableRecord:
        if call is not None:
            raise self._faults.error(call)
        return record


def faulty(replica: Replica, faults: Faults) -> Replica:
    """The replica with one count of calls over its stores and its catalog's writes."""
    source, target, receipts = (FaultyStore(store, faults) for store in (replica.source, replica.target, replica.receipts))
    entered = replica.registration
    if entered is not None:
        entry = replace(entered.entry, catalog=FaultyCatalog(entered.entry.catalog, faults))
        entered = replace(entered, entry=entry, target=target, receipts=receipts)
    return replace(replica, source=source, target=target, receipts=receipts, registration=entered)


@dataclass
class Shelf:
    """A source that changes, and the catalog ``there``, in which it is to stand as ``ns.t``.

    ``proxy`` stands before the catalog's server, where it has one.
    """

    kind: Kind
    folder: Path
    source: ChangingTable
    settings: Settings
    proxy: FaultProxy | None = None
    model: RestModel | None = None
    _opened: list[Any] = field(default_factory=list)

    @property
    def place(self) -> Path:
        """Where the catalog puts the table."""
        return self.folder / "house" / "ns" / "t"

    @property
    def location(self) -> str:
        return f"file://{self.place}"

    def sync(self, target: str = "there:ns.t", *, source: str | None = None, **options: Any) -> lakehouse.SyncResult:
        given = {"location": self.location} if self.kind == "rest" and target.startswith("there:") else {}
        return lakehouse.sync(source or str(self.source.folder), target, settings=self.settings, **{**given, **options})

    def replica(self, target: str = "there:ns.t") -> Replica:
        options = Options(location=self.location)
        return open_replica(
            str(self.source.folder), target, None, self.settings, options=replace(options or Options(), access=Access(retries=0))
        )

    def theirs(self) -> Any:
        """The same catalog as another program opens it: by pyiceberg."""
        uri = str(self.settings.catalogs["there"].uri)
        if self.kind == "sql":
            from pyiceberg.catalog.sql import SqlCatalog

            self._opened.append(SqlCatalog("there", uri=uri))
        else:
            from pyiceberg.catalog.rest import RestCatalog

            self._opened.append(RestCatalog("there", uri=uri, token="t"))
        return self._opened[-1]

    def table(self, name: str = "ns.t") -> Any:
        return self.theirs().load_table(name)

    def seen(self, name: str = "ns.t") -> tuple[int, ...] | None:
        """The ids that a reader sees who asks the catalog; None where there is no such table."""
        from pyiceberg.exceptions import NoSuchTableError

        try:
            found = self.table(name).scan().to_arrow()
        except NoSuchTableError:
            return None
        return tuple(sorted(found["id"].to_pylist()))

    def commit(self, first: int, name: str = "ns.t") -> None:
        """A commit of another program."""
        self.table(name).append(rows(first))

    def standing(self, name: str = "ns.t") -> str:
        """The metadata file at which the entry stands."""
        return str(self.table(name).metadata_location)

    def close(self) -> None:
        while self._opened:
            self._opened.pop().close()


@contextmanager
def shelf(kind: Kind, folder: Path) -> Iterator[Shelf]:
    """A source with two snapshots and an empty catalog of that kind, in ``folder``.

    ``here`` is the catalog that the source is a table of, ``here:source.table``.
    """
    address = f"sqlite:///{folder}/source/catalog.db"
    here = CatalogSettings("here", "sql", address, {"catalog_name": "source"})
    with changing_table(folder / "source") as source:
        source.append(0)
        source.delete("id < 5")
        if kind == "sql":
            options = {"warehouse": f"{folder}/house"}
            there = CatalogSettings("there", "sql", f"sqlite:///{folder}/there.db?timeout=0.1", options)
            made = Shelf(kind, folder, source, Settings(catalogs={"here": here, "there": there}))
            yield made
            made.close()
            return
        with RestModel() as model, FaultProxy(model.uri) as proxy:
            there = CatalogSettings("there", "rest", proxy.endpoint_url, {"token": "t"})
            made = Shelf(kind, folder, source, Settings(catalogs={"here": here, "there": there}), proxy, model)
            yield made
            made.close()


def on_publish(act: Callable[[], object]) -> Callable[[ProgressEvent], None]:
    """A progress callback that acts once, when the root's file was put and the catalog does not stand at it yet."""
    left = [act]

    def happened(event: ProgressEvent) -> None:
        if event.step == "publish" and left:
            left.pop()()

    return happened


@contextmanager
def no_writes(made: Shelf) -> Iterator[None]:
    """The catalog answers, and cannot be written to."""
    if made.proxy is not None:
        rule = Rule("status", method="POST", times=None)
        made.proxy.rules.append(rule)
        yield
        made.proxy.rules.remove(rule)
        return
    made.theirs().create_tables()
    database = sqlite3.connect(made.folder / "there.db")
    database.execute("BEGIN IMMEDIATE")
    yield
    database.rollback()
    database.close()


@cache
def _objects(table: Path) -> dict[str, bytes]:
    files = (file for file in table.rglob("*") if file.is_file() and not file.name.startswith("."))
    return {str(file.relative_to(table)): file.read_bytes() for file in files if file.name != "version-hint.text"}


@dataclass
class Grown:
    """A table of the corpus, in memory, as it was when its root was ``v<number>``; its target states an address of this machine.

    ``folder`` is where that address leads, so that readers that know only files can look at the target.
    """

    table: Path
    folder: Path
    places: Places = field(default_factory=lambda: Places("iceberg"))
    read: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def grow(self, number: int) -> None:
        """Make the source what it was when ``v<number>`` was its root."""
        there = {info.path for info in self.places.source.list()}
        for path, data in _objects(self.table).items():
            root = re.fullmatch(r"metadata/v(\d+)\.metadata\.json", path)
            wanted = root is None or int(root[1]) <= number
            if wanted and path not in there:
                self.put(path, data)
            elif not wanted and path in there:
                self.places.source.delete(path)
        self.put("metadata/version-hint.text", str(number).encode())

    def put(self, path: str, data: bytes) -> None:
        self.places.source.put(path, data, size=len(data))

    def replica(self, faults: Faults | None = None) -> Replica:
        terms = Terms(Locations(self.places.source.url, f"file://{self.folder}"))
        return replace(self.places.replica(faults), terms=terms)

    def sync(self, faults: Faults | None = None) -> SyncResult:
        return replicate(self.replica(faults), Options(workers=1))

    def verify(self, *, against: bool = True) -> None:
        """The receipts vouch for every object of the target, and the source says the same."""
        made = self.replica()
        source = (made.source, made.terms, None) if against else None
        report = audit(
            made.target, made.receipts, made.format, level="bytes", limits=Limits(2), progress=lambda _: None, against=source
        )
        report.raise_for_findings()

    def roots(self) -> list[int]:
        """The numbers of the roots at the target."""
        found = (re.fullmatch(r"metadata/v(\d+)\.metadata\.json", path) for path in contents(self.places.target))
        return sorted(int(match[1]) for match in found if match)

    def seen(self) -> set[tuple[int, ...] | None]:
        """The ids that pyiceberg reads: through the hint, and from the highest root, at which readers that walk up arrive.

        None: there is no table.
        """
        held = contents(self.places.target)
        hint = held.get("metadata/version-hint.text")
        numbers = {int(hint)} if hint is not None else set()
        numbers |= set(self.roots()[-1:])
        return {self._rows(held, number) for number in numbers} | ({None} if hint is None else set())

    def _rows(self, held: dict[str, bytes], number: int) -> tuple[int, ...]:
        """A root that was read with what is there now is not read again."""
        digest = hashlib.sha256(str(number).encode())
        for path, data in sorted(held.items()):
            digest.update(path.encode() + data)
        if digest.hexdigest() not in self.read:
            shutil.rmtree(self.folder, ignore_errors=True)
            dump(self.places.target, self.folder)
            root = self.folder / "metadata" / f"v{number}.metadata.json"
            found = by_pyiceberg(root, {"main": None})["main"]
            if isinstance(found, str):
                raise AssertionError(found)
            self.read[digest.hexdigest()] = tuple(sorted(found["id"].to_pylist()))
        return self.read[digest.hexdigest()]


def assert_same(found: dict[str, bytes], wanted: dict[str, bytes]) -> None:
    """Two targets hold the same: byte for byte, or, where it is packed Avro, by header and records."""
    assert found.keys() == wanted.keys()
    for path, data in found.items():
        if data != wanted[path]:
            assert path.endswith(".avro"), path
            assert same_content(data, wanted[path]), path
