"""A source that is a catalog's table, ``--register``, and the command with a lake.toml that names catalogs."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lakehouse
from lakehouse.config import CatalogSettings, DatasetSettings, Settings, StoreSettings
from lakehouse.errors import Config, Conflict, LakeError, NotFound, Transfer, Unsupported
from lakehouse.progress import ProgressEvent
from lakehouse.testing.servers import SeaweedServer
from tests.cli.conftest import Lake
from tests.formats.iceberg.iceberg_tables import rows
from tests.sync.iceberg_places import Kind, Shelf, no_writes, on_publish, shelf

OLD = (5, 6, 7, 8, 9)
NEW = (*OLD, *range(20, 30))


@pytest.fixture(params=["sql", "rest"])
def any_shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    kind: Kind = request.param
    with shelf(kind, tmp_path) as made:
        yield made


@pytest.fixture(params=["sql", pytest.param("rest", marks=pytest.mark.slow)])
def command_shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    """For what the command adds, which is the same whatever the catalog's kind."""
    kind: Kind = request.param
    with shelf(kind, tmp_path) as made:
        yield made


# A source that is a catalog's table


def test_a_table_that_its_catalog_does_not_have_is_not_found(any_shelf: Shelf, tmp_path: Path) -> None:
    for source in ("here:source.nothing", "here:nothing.table", "there:ns.t"):
        with pytest.raises(NotFound, match="the catalog has no such table"):
            any_shelf.sync(str(tmp_path / "copy"), source=source)
    with pytest.raises(NotFound, match="the catalog has no such table"):
        lakehouse.verify("there:ns.t", settings=any_shelf.settings)
    with pytest.raises(NotFound, match="the catalog has no such table"):
        lakehouse.describe("there:ns.t", settings=any_shelf.settings)


def test_a_catalogs_table_is_replicated_from_where_the_catalog_stands(any_shelf: Shelf, tmp_path: Path) -> None:
    """Without a hint, with an orphan of a higher number beside it: the catalog knows which is current (trap Iceberg 16)."""
    shutil.copy(any_shelf.source.root, any_shelf.source.root.with_name(f"00099-{uuid.uuid4()}.metadata.json"))
    target = str(tmp_path / "copy")
    assert not any_shelf.sync(target, source="here:source.table").unchanged
    assert any_shelf.sync(target, source="here:source.table").unchanged
    any_shelf.source.append(20)
    assert not any_shelf.sync(target, source="here:source.table").unchanged
    assert any_shelf.sync(target, source="here:source.table").unchanged
    lakehouse.verify(target, against="here:source.table", settings=any_shelf.settings).raise_for_findings()


def test_from_one_catalog_to_another(any_shelf: Shelf) -> None:
    any_shelf.sync(source="here:source.table")
    any_shelf.source.append(20)
    any_shelf.sync(source="here:source.table")
    assert any_shelf.seen() == NEW
    assert any_shelf.sync(source="here:source.table").unchanged
    lakehouse.verify("there:ns.t", against="here:source.table", settings=any_shelf.settings).raise_for_findings()


def test_a_replica_in_a_catalog_is_a_source_as_well(any_shelf: Shelf, tmp_path: Path) -> None:
    """What stands there now may be a metadata file of the server's own."""
    any_shelf.sync()
    any_shelf.source.append(20)
    any_shelf.sync()
    any_shelf.sync(str(tmp_path / "third"), source="there:ns.t")
    assert any_shelf.sync(str(tmp_path / "third"), source="there:ns.t").unchanged
    lakehouse.verify(str(tmp_path / "third"), against="there:ns.t", settings=any_shelf.settings).raise_for_findings()


def test_a_source_that_its_catalog_moves_on_during_the_copy_is_carried_as_pinned(any_shelf: Shelf, tmp_path: Path) -> None:
    target = str(tmp_path / "copy")
    moved = on_publish(lambda: any_shelf.source.append(20))
    assert not any_shelf.sync(target, source="here:source.table", progress=moved).unchanged
    assert not any_shelf.sync(target, source="here:source.table").unchanged


def test_a_source_that_its_catalog_expires_during_the_copy_is_worth_another_run(any_shelf: Shelf, tmp_path: Path) -> None:
    """Trap Iceberg 9."""
    target, left = tmp_path / "copy", [None]
    any_shelf.source.append(20)

    def expire(event: ProgressEvent) -> None:
        if event.step == "transfer" and left:
            left.pop()
            any_shelf.source.expire()

    with pytest.raises(Transfer, match="run again"):
        any_shelf.sync(str(target), source="here:source.table", progress=expire)
    assert not list(target.rglob("*.metadata.json"))
    any_shelf.sync(str(target), source="here:source.table")
    lakehouse.verify(str(target), against="here:source.table", settings=any_shelf.settings).raise_for_findings()


def test_a_dataset_of_lake_toml_may_be_a_catalogs_table(any_shelf: Shelf, tmp_path: Path) -> None:
    dataset = DatasetSettings("orders", "here:source.table")
    any_shelf.settings = replace(any_shelf.settings, datasets={"orders": dataset})
    any_shelf.sync(str(tmp_path / "copy"), source="orders")
    any_shelf.sync(source="orders")
    assert any_shelf.seen() == OLD
    assert lakehouse.describe("orders", settings=any_shelf.settings).format == "iceberg"


# --register


def test_a_replica_by_path_is_registered_and_its_entry_is_moved_by_later_syncs(any_shelf: Shelf) -> None:
    target = str(any_shelf.folder / "copy")
    any_shelf.sync(target, register="there:ns.r", location=None)
    assert any_shelf.seen("ns.r") == OLD
    assert any_shelf.standing("ns.r") == f"file://{target}/metadata/v1.metadata.json"
    for first in (20, 40):
        any_shelf.source.append(first)
        any_shelf.sync(target, register="there:ns.r")
        assert any_shelf.sync(target, register="there:ns.r").unchanged
    assert any_shelf.seen("ns.r") == (*NEW, *range(40, 50))


def test_what_is_there_and_unchanged_is_registered_when_asked(any_shelf: Shelf) -> None:
    target = str(any_shelf.folder / "copy")
    any_shelf.sync(target)
    assert any_shelf.seen("ns.r") is None
    assert any_shelf.sync(target, register="there:ns.r").unchanged
    assert any_shelf.seen("ns.r") == OLD


def test_an_entry_that_lags_behind_because_syncs_did_not_register_is_moved(any_shelf: Shelf) -> None:
    target = str(any_shelf.folder / "copy")
    for first, register in ((20, "there:ns.r"), (40, "there:ns.r"), (60, None), (80, None)):
        any_shelf.source.append(first)
        any_shelf.sync(target, register=register)
    assert any_shelf.seen("ns.r") == (*NEW, *range(40, 50))
    assert any_shelf.sync(target, register="there:ns.r").unchanged
    assert any_shelf.seen("ns.r") == (*NEW, *range(40, 50), *range(60, 70), *range(80, 90))


@pytest.mark.parametrize("when", ["first", "later"])
def test_published_but_not_registered_is_exit_1_and_the_next_run_registers_though_nothing_changed(
    when: str, any_shelf: Shelf
) -> None:
    target = str(any_shelf.folder / "copy")
    if when == "later":
        any_shelf.sync(target, register="there:ns.r")
        any_shelf.source.append(20)
    with no_writes(any_shelf), pytest.raises(LakeError, match=r"is published but not registered as there:ns\.r") as caught:
        any_shelf.sync(target, register="there:ns.r")
    assert caught.value.exit_code == 1
    assert any_shelf.seen("ns.r") == (None if when == "first" else OLD)
    any_shelf.sync(target, register="there:ns.r")
    assert any_shelf.seen("ns.r") == (OLD if when == "first" else NEW)
    assert any_shelf.sync(target, register="there:ns.r").unchanged
    lakehouse.verify(target, settings=any_shelf.settings).raise_for_findings()


def test_a_commit_at_the_registered_entry_is_a_conflict_and_stays(any_shelf: Shelf) -> None:
    """Trap Iceberg 14: between two syncs, and during one."""
    target = str(any_shelf.folder / "copy")
    any_shelf.sync(target, register="there:ns.r")
    any_shelf.source.append(20)
    with pytest.raises(Conflict, match="is published but not registered"):
        any_shelf.sync(target, register="there:ns.r", progress=on_publish(lambda: any_shelf.commit(100, "ns.r")))
    assert any_shelf.seen("ns.r") == (*OLD, *range(100, 110))
    with pytest.raises(Conflict, match="never erased"):
        any_shelf.sync(target, register="there:ns.r")
    assert any_shelf.seen("ns.r") == (*OLD, *range(100, 110))


def test_an_entry_of_another_table_is_not_taken_over(any_shelf: Shelf) -> None:
    catalog = any_shelf.theirs()
    catalog.create_namespace("ns")
    catalog.register_table("ns.r", any_shelf.source.table.metadata_location)
    target = any_shelf.folder / "copy"
    with pytest.raises(Conflict, match="no sync into"):
        any_shelf.sync(str(target), register="there:ns.r")
    assert any_shelf.standing("ns.r") == any_shelf.source.table.metadata_location
    assert not list(target.rglob("*.metadata.json"))


def test_register_names_a_catalog_of_lake_toml(any_shelf: Shelf) -> None:
    with pytest.raises(Config, match=r"--register nowhere:ns\.t"):
        any_shelf.sync(str(any_shelf.folder / "copy"), register="nowhere:ns.t")


# A real server, and the real command


@pytest.fixture
def seaweed_source(seaweed: SeaweedServer, tmp_path: Path) -> Iterator[tuple[Settings, Any, str]]:
    """Settings with the server's own catalog ``rest`` and a local one, the former by pyiceberg, and a table of it."""
    from pyiceberg.catalog.rest import RestCatalog

    options = {"endpoint_url": seaweed.endpoint_url, "key": seaweed.key, "secret": seaweed.secret, "provider": "seaweedfs"}
    login = {"warehouse": seaweed.warehouse, "credential": f"{seaweed.key}:{seaweed.secret}", "scope": "tables"}
    settings = Settings(
        stores={"tables": StoreSettings("tables", seaweed.warehouse, options=options)},
        catalogs={
            "rest": CatalogSettings("rest", "rest", seaweed.catalog_uri, login, store="tables"),
            "db": CatalogSettings("db", "sql", f"sqlite:///{tmp_path}/db", {"warehouse": f"{tmp_path}/house"}),
        },
    )
    s3 = {"s3.endpoint": seaweed.endpoint_url, "s3.access-key-id": seaweed.key, "s3.secret-access-key": seaweed.secret}
    s3 |= {"s3.region": "us-east-1", "oauth2-server-uri": f"{seaweed.catalog_uri}/v1/oauth/tokens"}
    catalog = RestCatalog("rest", uri=seaweed.catalog_uri, **login, **s3)
    name = f"n{uuid.uuid4().hex[:12]}"
    catalog.create_namespace(name)
    catalog.create_table(f"{name}.t", rows(0).schema).append(rows(0))
    yield settings, catalog, f"{name}.t"
    catalog.close()


@pytest.mark.parametrize("into", ["path", "db:ns.t"])
def test_a_table_of_a_real_rest_catalog_is_replicated(
    seaweed_source: tuple[Settings, Any, str], into: str, tmp_path: Path
) -> None:
    settings, catalog, name = seaweed_source
    target = str(tmp_path / "copy") if into == "path" else into
    for first in (20, 40):
        catalog.load_table(name).append(rows(first))
        assert not lakehouse.sync(f"rest:{name}", target, settings=settings).unchanged
        assert lakehouse.sync(f"rest:{name}", target, settings=settings).unchanged
    lakehouse.verify(target, against=f"rest:{name}", settings=settings).raise_for_findings()
    assert len(list(lakehouse.history(target, settings=settings))) == 3
    assert lakehouse.describe(f"rest:{name}", settings=settings).files == 3


def test_a_catalog_that_does_not_serve_what_is_registered_is_found_out(
    seaweed_source: tuple[Settings, Any, str], tmp_path: Path
) -> None:
    """SeaweedFS 4.48 makes an empty table up; a bucket of tables refuses whatever lies beside them."""
    settings, catalog, name = seaweed_source
    namespace = name.removesuffix(".t")
    lakehouse.sync(f"rest:{name}", str(tmp_path / "copy"), settings=settings)
    with pytest.raises(Unsupported, match="does not serve what stands at"):
        place = f"s3://warehouse/{namespace}/other"
        lakehouse.sync(str(tmp_path / "copy"), f"rest:{namespace}.other", location=place, settings=settings)
    assert catalog.load_table(name).scan().to_arrow().num_rows == 10


def commands_for(made: Shelf) -> Lake:
    """The command in a folder whose lake.toml names the shelf's catalogs."""
    lines = ["[dataset.orders]", 'table = "here:source.table"']
    for one in made.settings.catalogs.values():
        lines += [f"[catalog.{one.name}]", f'type = "{one.type}"', f'uri = "{one.uri}"']
        lines += [f"[catalog.{one.name}.properties]", *(f'{key} = "{value}"' for key, value in one.options.items())]
    (made.folder / "lake.toml").write_text("\n".join(lines))
    return Lake(made.folder)


def test_the_command_replicates_into_a_catalog_and_proves_it(command_shelf: Shelf) -> None:
    commands = commands_for(command_shelf)
    first = commands("sync", "orders", "there:ns.t", "--location", command_shelf.location, "--json")
    assert (first.exit_code, first.stderr) == (0, first.stderr)
    assert (first.document["unchanged"], command_shelf.seen()) == (False, OLD)
    command_shelf.source.append(20)
    for unchanged in (False, True):
        ran = commands("sync", "orders", "there:ns.t", "--json")
        assert (ran.exit_code, ran.document["unchanged"]) == (0, unchanged), ran.stderr
    for arguments in (("there:ns.t",), ("there:ns.t", "--against", "orders"), ("there:ns.t", "--against", "here:source.table")):
        ran = commands("verify", *arguments)
        assert (ran.exit_code, ran.stderr) == (0, ran.stderr), ran.stdout
    assert json.loads(commands("describe", "there:ns.t", "--json").stdout)["format"] == "iceberg"
    assert len(commands("history", "there:ns.t", "--json").document["commits"]) == len(command_shelf.source.table.snapshots())


def test_the_command_says_what_is_wrong_with_a_catalogs_table(command_shelf: Shelf) -> None:
    """Somebody's commit: exit 5 for a sync, exit 4 for a proof. A data file that was damaged: exit 4, and it is named."""
    commands = commands_for(command_shelf)
    command_shelf.sync()
    data = next(command_shelf.place.rglob("*.parquet"))
    kept = data.read_bytes()
    data.write_bytes(kept[:-1] + b"?")
    ran = commands("verify", "there:ns.t")
    assert ran.exit_code == 4
    assert data.name in ran.stdout
    data.write_bytes(kept)
    command_shelf.commit(100)
    assert commands("verify", "there:ns.t").exit_code == 4
    ran = commands("sync", "orders", "there:ns.t")
    assert (ran.exit_code, "never erased" in ran.stderr) == (5, True)
    assert commands("verify", "there:ns.nothing").exit_code == 3


def test_the_command_registers_a_replica(any_shelf: Shelf) -> None:
    commands = commands_for(any_shelf)
    with no_writes(any_shelf):
        ran = commands("sync", "orders", "copy", "--register", "there:ns.r")
    assert (ran.exit_code, "is published but not registered" in ran.stderr) == (1, True), ran.stderr
    for unchanged in (False, True):
        ran = commands("sync", "orders", "copy", "--register", "there:ns.r", "--json")
        assert (ran.exit_code, ran.document["unchanged"]) == (0, unchanged), ran.stderr
    assert any_shelf.seen("ns.r") == OLD
    assert commands("verify", "copy", "--against", "here:source.table").exit_code == 0


def test_a_verify_during_an_unfinished_publish_vouches_for_what_the_catalog_shows(any_shelf: Shelf) -> None:
    """The next version is staged whole, and the entry does not stand at it."""
    any_shelf.sync()
    any_shelf.source.append(20)
    with no_writes(any_shelf), pytest.raises(Transfer):
        any_shelf.sync()
    report = lakehouse.verify("there:ns.t", settings=any_shelf.settings)
    report.raise_for_findings()
    assert report.receipt == "_lake/receipts/00000000000000000001.json"
