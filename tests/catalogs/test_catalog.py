"""Names of tables, and opening a catalog of lake.toml."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.catalog import identifier_parts, identifier_text, open_catalog
from lakehouse.config import CatalogSettings, Settings
from lakehouse.errors import Config, Unsupported

parts = st.lists(st.text(min_size=1, max_size=8) | st.text('."ab ', min_size=1, max_size=6), min_size=1, max_size=4)


@given(parts)
def test_an_identifier_reads_back_as_it_was_written(parts: list[str]) -> None:
    assert identifier_parts(identifier_text(parts)) == tuple(parts)


@given(st.text('a."', max_size=8))
def test_every_text_is_an_identifier_or_an_error_of_the_call(text: str) -> None:
    try:
        found = identifier_parts(text)
    except Config:
        return
    assert all(found)
    assert identifier_parts(identifier_text(found)) == found


def test_a_dot_in_a_name_is_written_in_quotation_marks() -> None:
    assert identifier_parts('ns."v1.0"') == ("ns", "v1.0")
    assert identifier_text(["a", "b c", "\u65e5\u672c"]) == "a.b c.\u65e5\u672c"


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", 'a"b', '"a', '""', 'ns."a"b'])
def test_a_malformed_identifier_says_how_one_is_written(text: str) -> None:
    with pytest.raises(Config, match=r"namespace\.table"):
        identifier_parts(text)


def test_a_name_a_type_and_a_store_that_are_not_known_are_named() -> None:
    settings = Settings(
        catalogs={"a": CatalogSettings("a", "resst", "http://x"), "b": CatalogSettings("b", "sql", "sqlite://", store="gone")}
    )
    with pytest.raises(Config, match=r"no catalog 'c' in lake\.toml \(catalogs: a, b\)"):
        open_catalog("c", settings)
    with pytest.raises(Config, match=r"catalog\.a\.type: .*'resst'.*glue, hive, rest, sql.*did you mean 'rest'"):
        open_catalog("a", settings)
    with pytest.raises(Config, match=r"catalog\.b\.store: there is no store 'gone'"):
        open_catalog("b", settings)


def test_hive_is_refused_by_name_with_the_way_round_it() -> None:
    with pytest.raises(Unsupported, match=r"metadata_location"):
        open_catalog("h", Settings(catalogs={"h": CatalogSettings("h", "hive", "thrift://127.0.0.1:9083")}))


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiceberg.catalog.sql", None)
    with pytest.raises(Config, match=r"lakehouse-portability\[catalogs\]"):
        open_catalog("s", Settings(catalogs={"s": CatalogSettings("s", "sql", "sqlite://")}))


def test_pyiceberg_is_loaded_only_when_a_catalog_is_opened() -> None:
    modules = "lakehouse.catalog, lakehouse_cli.main, " + ", ".join(
        f"lakehouse_connectors.catalogs.{name}" for name in ("sql", "rest", "rest_commit", "glue", "hive")
    )
    heavy = ("pyiceberg", "sqlalchemy", "requests", "boto3")
    code = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.strip() == "[]"
