"""The SQL catalog on SQLite, next to pyiceberg's own on the same file."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lakehouse.catalog import Catalog, open_catalog
from lakehouse.config import CatalogSettings, Settings
from lakehouse.connect import open_store
from lakehouse.errors import Config, NotFound, Transfer, Unsupported
from lakehouse.store import Store
from lakehouse.testing.catalog_suite import CatalogSuite, table_metadata
from lakehouse_connectors.catalogs.sql import SqlTables


def settings_of(path: Path, **options: object) -> Settings:
    return Settings(catalogs={"db": CatalogSettings("db", "sql", f"sqlite:///{path}", options)})


@pytest.fixture
def opened() -> Iterator[list[Any]]:
    """The catalogs of one test, whose connections are closed after it."""
    catalogs: list[Any] = []
    yield catalogs
    for catalog in catalogs:
        catalog.close()


@pytest.fixture
def open_one(tmp_path: Path, opened: list[Any]) -> Callable[[], Catalog]:
    def opens() -> Catalog:
        opened.append(open_catalog("db", settings_of(tmp_path / "catalog.db", warehouse="s3://lake/house/")))
        found: Catalog = opened[-1]
        return found

    return opens


@pytest.fixture
def place(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "table"))


@contextmanager
def failing_after_commit(catalog: Any, times: int = 1) -> Iterator[None]:
    """The database commits, and its reply never comes."""
    dialect = catalog.catalog.engine.dialect
    real, left = dialect.do_commit, [times]

    def commit(connection: Any) -> None:
        real(connection)
        if left[0]:
            left[0] -= 1
            raise sqlite3.OperationalError("server closed the connection unexpectedly")

    dialect.do_commit = commit
    try:
        yield
    finally:
        del dialect.do_commit
    assert left == [0]


class TestSqlCatalog(CatalogSuite):
    @pytest.fixture
    def open_one(self, open_one: Callable[[], Catalog]) -> Callable[[], Catalog]:
        return open_one

    @pytest.fixture
    def place(self, place: Store) -> Store:
        return place

    @pytest.fixture
    def lose_reply(self) -> Callable[[Catalog], AbstractContextManager[object]]:
        return lambda catalog: failing_after_commit(catalog)


def test_a_source_catalog_is_only_read(open_one: Callable[[], Catalog], tmp_path: Path) -> None:
    catalog = open_one()
    assert catalog.load("ns.t") is None
    assert list(catalog.list("ns")) == []
    assert catalog.default_location("ns.t") == "s3://lake/house/ns/t"
    with sqlite3.connect(tmp_path / "catalog.db") as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == []
    database.close()


def test_a_namespace_may_state_where_its_tables_lie(open_one: Callable[[], Catalog], opened: list[Any], place: Store) -> None:
    catalog = open_one()
    opened[0].catalog.create_tables()
    opened[0].catalog.create_namespace("ns", {"location": "gs://elsewhere/ns/"})
    assert catalog.default_location("ns.t") == "gs://elsewhere/ns/t"
    assert catalog.default_location("other.t") == "s3://lake/house/other/t"


def test_pyiceberg_loads_what_we_registered_and_we_see_what_it_commits(
    open_one: Callable[[], Catalog], opened: list[Any], tmp_path: Path
) -> None:
    """Trap Iceberg 14: the other writer is a real one."""
    import pyarrow as pa
    from pyiceberg.catalog.sql import SqlCatalog

    theirs = SqlCatalog("db", uri=f"sqlite:///{tmp_path / 'catalog.db'}", warehouse=f"file://{tmp_path}/warehouse")
    try:
        theirs.create_namespace("ns")
        table = theirs.create_table("ns.t", pa.schema([("a", pa.int64())]))
        catalog = open_one()
        before = catalog.load("ns.t")
        assert before is not None
        assert (before.metadata_location, before.location) == (table.metadata_location, table.location())
        assert before.uuid == str(table.metadata.table_uuid)
        table.append(pa.table({"a": [1]}))
        with pytest.raises(Exception, match="another writer") as caught:
            catalog.swap("ns.t", before.metadata_location, f"file://{tmp_path}/mine.json", table_metadata("file:///x", 1))
        assert table.metadata_location in str(caught.value)
        again = catalog.register("ns.copy", table.metadata_location)
        assert theirs.load_table("ns.copy").metadata_location == again.metadata_location
        assert theirs.load_table("ns.t").scan().to_arrow().num_rows == 1
        with sqlite3.connect(tmp_path / "catalog.db") as database:
            rows = database.execute("SELECT table_name, iceberg_type FROM iceberg_tables ORDER BY 1").fetchall()
        database.close()
        assert rows == [("copy", "TABLE"), ("t", "TABLE")]
    finally:
        theirs.close()


def test_the_previous_location_is_kept_in_the_row(open_one: Callable[[], Catalog], place: Store, tmp_path: Path) -> None:
    catalog, suite = open_one(), CatalogSuite()
    record, metadata = suite.enter(catalog, place, "ns.t", 1)
    longer = suite.longer(metadata, 2)
    swapped = catalog.swap("ns.t", record.metadata_location, suite.written(place, longer), longer)
    with sqlite3.connect(tmp_path / "catalog.db") as database:
        (row,) = database.execute("SELECT metadata_location, previous_metadata_location FROM iceberg_tables").fetchall()
    database.close()
    assert row == (swapped.metadata_location, record.metadata_location)


def test_catalogs_of_other_names_in_one_database_are_apart(tmp_path: Path, place: Store, opened: list[Any]) -> None:
    opened.extend(open_catalog("db", settings_of(tmp_path / "c.db", catalog_name=name)) for name in ("one", "two", "one"))
    CatalogSuite().enter(opened[0], place, "ns.t", 1)
    assert opened[1].load("ns.t") is None
    assert opened[2].load("ns.t") is not None


def test_a_view_of_that_name_is_no_table(open_one: Callable[[], Catalog], place: Store, tmp_path: Path) -> None:
    catalog = open_one()
    CatalogSuite().enter(catalog, place, "ns.v", 1)
    with sqlite3.connect(tmp_path / "catalog.db") as database:
        database.execute("UPDATE iceberg_tables SET iceberg_type = 'VIEW'")
    database.close()
    with pytest.raises(Unsupported, match="view"):
        catalog.load("ns.v")
    assert list(catalog.list("ns")) == []


def test_a_dot_within_a_level_of_a_namespace_is_refused(open_one: Callable[[], Catalog]) -> None:
    with pytest.raises(Unsupported, match="joins the levels"):
        open_one().load('"a.b".t')


@pytest.mark.parametrize("content", [None, b"", b"\x1f\x8bbroken", b"[]", b'{"format-version": 2}', b"\xff"])
def test_an_entry_whose_metadata_is_gone_or_damaged_is_not_found(
    open_one: Callable[[], Catalog], place: Store, content: bytes | None
) -> None:
    catalog = open_one()
    record, _ = CatalogSuite().enter(catalog, place, "ns.t", 1)
    path = record.metadata_location.removeprefix(place.url + "/")
    place.delete(path)
    if content is not None:
        place.put(path, content, size=len(content))
    with pytest.raises(NotFound, match=r"metadata\.json"):
        catalog.load("ns.t")


def test_a_database_that_fails_is_worth_another_run_and_shows_no_statement(
    open_one: Callable[[], Catalog], place: Store, tmp_path: Path
) -> None:
    catalog = open_one()
    CatalogSuite().enter(catalog, place, "ns.t", 1)
    (tmp_path / "catalog.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(Transfer, match="run again") as caught:
        open_one().load("ns.t")
    assert "SELECT" not in str(caught.value)


def test_a_reply_that_is_lost_before_the_commit_leaves_the_table_and_says_so(
    open_one: Callable[[], Catalog], place: Store
) -> None:
    catalog: Any = open_one()
    suite = CatalogSuite()
    record, metadata = suite.enter(catalog, place, "ns.t", 1)
    longer = suite.longer(metadata, 2)
    dialect = catalog.catalog.engine.dialect

    def refuse(connection: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    dialect.do_commit = refuse
    try:
        with pytest.raises(Transfer, match="disk I/O error"):
            catalog.swap("ns.t", record.metadata_location, suite.written(place, longer), longer)
    finally:
        del dialect.do_commit
    assert catalog.load("ns.t") == record


@pytest.mark.parametrize("uri", [None, "no address", "nosuchdb://x"])
def test_an_address_that_leads_nowhere_is_a_configuration_error(uri: str | None) -> None:
    settings = Settings(catalogs={"db": CatalogSettings("db", "sql", uri)})
    with pytest.raises(Config, match=r"catalog\.db"):
        open_catalog("db", settings)


def test_a_password_in_the_address_may_be_a_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Store, opened: list[Any]
) -> None:
    monkeypatch.setenv("CATALOG_ADDRESS", f"sqlite:///{tmp_path / uuid.uuid4().hex}")
    settings = Settings(catalogs={"db": CatalogSettings("db", "sql", "env:CATALOG_ADDRESS")})
    opened.append(open_catalog("db", settings))
    CatalogSuite().enter(opened[0], place, "ns.t", 1)
    assert isinstance(opened[0], SqlTables)
