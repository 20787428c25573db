"""Feast's registry on any store: what is in it is never lost, whoever else writes. Trap Operations, "two syncs at once"."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.infra.registry.file import FileRegistryStore
from feast.infra.registry.registry import Registry
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.repo_config import RegistryConfig
from feast.types import Int64
from hypothesis import example, given
from hypothesis import strategies as st

from lakehouse.errors import Config, Conflict, LakeError, NotFound, Unsupported
from lakehouse.testing.servers import FaultProxy, Rule, SeaweedServer
from lakehouse_connectors.feast.registry import FsspecRegistryStore
from tests.feast.registries import (
    PLACE,
    SERVICES,
    STORE_TYPE,
    Repository,
    careless_server,
    noted,
    projects,
    repository,
    s3_table,
    table,
)

WRITERS = 8


@pytest.fixture(params=SERVICES)
def everywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    return repository(request.param, tmp_path, request)


@pytest.fixture
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    return repository("folder", tmp_path, request)


@pytest.fixture
def proxied(request: pytest.FixtureRequest, seaweed: SeaweedServer, tmp_path: Path) -> Iterator[tuple[Repository, FaultProxy]]:
    """A repository on the S3 server that a proxy stands before; ``behind`` it is the same place."""
    with FaultProxy(seaweed.endpoint_url) as proxy:
        seaweed.make_bucket("registry-proxied")
        options = s3_table("registry-proxied/" + tmp_path.name, proxy.endpoint_url, seaweed.key, seaweed.secret)
        yield Repository(tmp_path, f"{options}provider = 'seaweedfs'\n"), proxy


def feature_store(repository: Repository, place: str = PLACE) -> FeatureStore:
    repository.yaml(place)
    return FeatureStore(repo_path=str(repository.folder))


def definitions(folder: Path, name: str = "delays") -> list[Any]:
    """An entity, a source and a view, of Feast's own kinds."""
    file = folder / f"{name}.parquet"
    pq.write_table(
        pa.table({"carrier": ["AA"], "late": [3], "at": pa.array([datetime.now(UTC)], pa.timestamp("us", "UTC"))}), file
    )
    carrier = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
    source = FileSource(name=f"{name}_source", path=str(file), timestamp_field="at")
    view = FeatureView(
        name=name, entities=[carrier], schema=[Field(name="late", dtype=Int64)], source=source, ttl=timedelta(days=365)
    )
    return [carrier, source, view]


def at_once(work: Callable[[int], None]) -> list[int]:
    """The numbers of the writers that did not conflict, of `WRITERS` that began together."""
    begin = threading.Barrier(WRITERS)

    def tried(number: int) -> bool:
        begin.wait()
        try:
            work(number)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        return [number for number, done in enumerate(pool.map(tried, range(WRITERS))) if done]


def test_what_one_feature_store_applies_another_reads(everywhere: Repository) -> None:
    feature_store(everywhere).apply(definitions(everywhere.folder))
    other = feature_store(everywhere)
    assert [view.name for view in other.list_feature_views()] == ["delays"]
    assert other.get_feature_view("delays").ttl == timedelta(days=365)
    assert everywhere.names() == ["registry.db"], "a probe of the service was left behind"


def test_of_writers_at_once_one_wins_each_round_and_nothing_is_lost(everywhere: Repository) -> None:
    """Trap Object stores 11."""
    everywhere.registry().update_registry_proto(RegistryProto(registry_schema_version="1"))
    stores = [everywhere.registry() for _ in range(WRITERS)]
    won: list[str] = []
    for round_number in range(3):
        read = [noted(store.get_registry_proto(), f"{round_number}-{number}") for number, store in enumerate(stores)]
        winners = at_once(lambda number: stores[number].update_registry_proto(read[number]))  # noqa: B023 - used at once
        assert len(winners) == 1
        won.append(f"{round_number}-{winners[0]}")
    assert projects(everywhere.registry().get_registry_proto()) == won


def test_of_writers_that_read_again_after_a_conflict_all_are_kept(everywhere: Repository) -> None:
    everywhere.registry().update_registry_proto(RegistryProto(registry_schema_version="1"))

    def persistent(number: int) -> None:
        store = everywhere.registry()
        for _ in range(WRITERS):  # each conflict means that another one has got through
            try:
                store.update_registry_proto(noted(store.get_registry_proto(), f"{number}"))
            except Conflict:
                continue
            return
        raise Conflict("more conflicts than writers")

    assert at_once(persistent) == list(range(WRITERS))
    assert projects(everywhere.registry().get_registry_proto()) == [f"{number}" for number in range(WRITERS)]


steps = st.lists(st.tuples(st.sampled_from(["read", "write", "write", "remove"]), st.integers(0, 2)), max_size=12)


@given(steps=steps)
@example(steps=[("write", 0), ("read", 1), ("write", 0), ("write", 1), ("read", 1), ("write", 1), ("write", 0)])
def test_in_any_order_a_write_is_done_when_nothing_was_written_since_its_own_read(steps: list[tuple[str, int]]) -> None:
    """Against a model: the list of what is in the registry, and what each of three writers, over two stores, has in memory."""
    with tempfile.TemporaryDirectory() as folder:
        place = Repository(Path(folder), table(url=f"{folder}/gold"))
        stores = [place.registry(), place.registry()]
        held = [RegistryProto() for _ in range(3)]
        known: list[int | None] = [None] * 3  # the number of the write that each writer's copy is of; None: it found nothing
        stands: int | None = None
        for number, (step, writer) in enumerate(steps):
            store = stores[writer % 2]
            if step == "remove":
                store.teardown()
                stands = None
            elif step == "read":
                known[writer] = stands
                try:
                    held[writer] = store.get_registry_proto()
                    assert stands is not None
                except FileNotFoundError:
                    assert stands is None
                    held[writer] = RegistryProto()
            else:
                try:
                    store.update_registry_proto(noted(held[writer], f"{number}"))
                    assert known[writer] == stands
                    known[writer] = stands = number
                except Conflict:
                    assert known[writer] != stands
        if stands is not None:
            assert f"{stands}" in projects(stores[0].get_registry_proto())


@pytest.mark.parametrize("service", ["folder", "azurite"])
def test_of_writers_that_found_no_registry_one_makes_it(service: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    place = repository(service, tmp_path, request)
    winners = at_once(lambda number: place.registry().update_registry_proto(noted(RegistryProto(), f"{number}")))
    assert projects(place.registry().get_registry_proto()) == [f"{number}" for number in winners]
    assert len(winners) == 1


def test_a_stale_registry_is_refused_although_the_same_store_has_read_the_newer_one(everywhere: Repository) -> None:
    mine, other = everywhere.registry(), everywhere.registry()
    other.update_registry_proto(noted(RegistryProto(), "first"))
    stale, theirs = mine.get_registry_proto(), other.get_registry_proto()
    other.update_registry_proto(noted(theirs, "second"))
    fresh = mine.get_registry_proto()
    before = noted(stale, "lost").SerializeToString(deterministic=True)
    with pytest.raises(Conflict, match=r"registry\.db: another feast apply .* nothing was written.*refresh_registry"):
        mine.update_registry_proto(stale)
    assert stale.SerializeToString(deterministic=True) == before, (
        "a registry that was not written claims a version that is not there"
    )
    mine.update_registry_proto(noted(fresh, "third"))
    assert projects(other.get_registry_proto()) == ["first", "second", "third"]


def test_a_feature_store_that_was_open_all_along_does_not_undo_what_another_applied(here: Repository) -> None:
    early = feature_store(here)
    early.apply(definitions(here.folder, "delays"))
    feature_store(here).apply(definitions(here.folder, "weather"))
    late = Entity(name="plane", join_keys=["tail"], value_type=ValueType.STRING)
    with pytest.raises(Conflict, match="refresh_registry"):
        early.registry.apply_entity(late, "flights")
    early.refresh_registry()
    early.registry.apply_entity(late, "flights")
    now = feature_store(here)
    assert {view.name for view in now.list_feature_views()} == {"delays", "weather"}
    assert {"carrier", "plane"} <= {entity.name for entity in now.list_entities()}


def test_materialize_notes_its_intervals_one_after_the_other(here: Repository) -> None:
    store = feature_store(here)
    store.apply(definitions(here.folder))
    now = datetime.now(UTC)
    for day in range(3):
        store.materialize(now - timedelta(days=1), now + timedelta(days=day))
    assert len(feature_store(here).get_feature_view("delays").materialization_intervals) == 3


def test_threads_of_one_process_share_a_registry(everywhere: Repository) -> None:
    config = RegistryConfig(registry_store_type=STORE_TYPE, path=PLACE)
    registry = Registry("flights", config, everywhere.folder)
    entities = [Entity(name=f"e{number}", join_keys=["k"], value_type=ValueType.INT64) for number in range(WRITERS)]
    registry.apply_entity(entities[0], "flights")
    winners = at_once(lambda number: registry.apply_entity(entities[number], "flights"))
    assert winners == list(range(WRITERS))
    written = everywhere.registry().get_registry_proto()
    assert written.version_id == registry.proto().version_id
    assert sorted(entity.spec.name for entity in written.entities) == [entity.name for entity in entities]


def test_feast_reads_the_bytes_as_its_own(here: Repository) -> None:
    before = datetime.now(UTC)
    feature_store(here, "registry.db").apply(definitions(here.folder))
    own = FileRegistryStore(RegistryConfig(path="registry.db"), here.folder)
    first = own.get_registry_proto()
    assert before <= first.last_updated.ToDatetime(UTC) <= datetime.now(UTC)
    own.update_registry_proto(noted(first, "by Feast's own store"))
    ours = here.registry("registry.db")
    ours.update_registry_proto(noted(ours.get_registry_proto(), "by ours"))
    assert projects(own.get_registry_proto()) == ["by Feast's own store", "by ours", "flights"]


@pytest.mark.parametrize("replaced", [False, True], ids=["made", "replaced"])
def test_a_lost_reply_is_settled_by_reading_back(proxied: tuple[Repository, FaultProxy], replaced: bool) -> None:
    """Trap Object stores 11: the put is there, its answer is not."""
    place, proxy = proxied
    store = place.registry()
    proto = noted(RegistryProto(), "first")
    if replaced:
        store.update_registry_proto(proto)
        noted(proto, "second")
    proxy.rules[:] = [Rule("lose_reply", "PUT", r"registry\.db$")]
    store.update_registry_proto(proto)
    puts = [request for request in proxy.requests if request.method == "PUT" and request.target.endswith("registry.db")]
    assert [request.status for request in puts][-2:] == [0, 412]
    store.update_registry_proto(noted(proto, "third"))
    assert projects(place.registry().get_registry_proto()) == ["first", *(["second"] if replaced else []), "third"]


def test_the_service_itself_compares_when_another_writes_at_the_last_moment(proxied: tuple[Repository, FaultProxy]) -> None:
    place, proxy = proxied
    place.registry().update_registry_proto(noted(RegistryProto(), "first"))
    slow, quick = place.registry(), place.registry()
    theirs = noted(quick.get_registry_proto(), "quick")
    mine = noted(slow.get_registry_proto(), "slow")
    held = Rule("hold", "PUT", r"registry\.db$")
    proxy.rules[:] = [held]
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(slow.update_registry_proto, mine)
        assert held.held.wait(10)
        quick.update_registry_proto(theirs)
        held.released.set()
        with pytest.raises(Conflict, match="another feast apply"):
            late.result(10)
    assert projects(quick.get_registry_proto()) == ["first", "quick"]


def test_a_registry_that_is_not_there_is_what_feast_expects_it_to_be(everywhere: Repository) -> None:
    with pytest.raises(FileNotFoundError, match=r"feast/registry\.db: there is no registry"):
        everywhere.registry().get_registry_proto()


def test_a_bucket_that_is_not_there_is_no_absent_registry(seaweed: SeaweedServer, tmp_path: Path) -> None:
    """Trap Iceberg 10: a read error is never turned into something empty."""
    options = s3_table("no-such-bucket", seaweed.endpoint_url, seaweed.key, seaweed.secret)
    place = Repository(tmp_path, options)
    with pytest.raises(Config, match="bucket"):
        place.registry().get_registry_proto()


@pytest.mark.parametrize("data", [b"", b"hello", b"\x0a\xff", RegistryProto(registry_schema_version="1").SerializeToString()])
def test_a_damaged_registry_is_named_and_never_taken_for_an_empty_one(here: Repository, data: bytes) -> None:
    here.store.put("registry.db", data, size=len(data))
    with pytest.raises(NotFound, match=rf"feast/registry\.db: is no Feast registry, or a damaged one \({len(data)} bytes\)"):
        feature_store(here).list_feature_views()
    with pytest.raises(LakeError):
        here.registry().update_registry_proto(noted(RegistryProto(version_id="an older one"), "lost"))
    assert here.store.get("registry.db") == data


def test_a_registry_cut_short_is_named(here: Repository) -> None:
    store = here.registry()
    store.update_registry_proto(noted(RegistryProto(), "a project with a name that is long enough to be cut"))
    whole = here.store.get("registry.db")
    here.store.put("registry.db", whole[:-10], size=len(whole) - 10)
    with pytest.raises(NotFound, match="damaged"):
        store.get_registry_proto()


def test_teardown_removes_it_and_nothing_brings_it_back(everywhere: Repository) -> None:
    store = everywhere.registry()
    proto = noted(RegistryProto(), "gone")
    store.update_registry_proto(proto)
    store.teardown()
    store.teardown()
    with pytest.raises(FileNotFoundError):
        store.get_registry_proto()
    with pytest.raises(Conflict, match="or teardown"):
        store.update_registry_proto(proto)
    assert everywhere.names() == []


def test_a_service_of_which_nothing_is_known_is_read_but_not_written(seaweed: SeaweedServer, tmp_path: Path) -> None:
    seaweed.make_bucket("registry-unknown")
    options = ("registry-unknown", seaweed.endpoint_url, seaweed.key, seaweed.secret)
    Repository(tmp_path, s3_table(*options, provider="seaweedfs")).registry().update_registry_proto(
        noted(RegistryProto(), "there")
    )
    unknown = Repository(tmp_path, s3_table(*options)).registry()
    proto = unknown.get_registry_proto()
    with pytest.raises(Unsupported, match=r"registry\.db: this store cannot replace .* not known to compare.*name the provider"):
        unknown.update_registry_proto(noted(proto, "more"))
    assert projects(unknown.get_registry_proto()) == ["there"]


def test_a_service_that_ignores_conditions_is_found_out_before_the_registry_is_written(tmp_path: Path) -> None:
    with careless_server() as endpoint_url:
        place = Repository(tmp_path, s3_table("bucket", endpoint_url, "key", "secret", provider="minio"))
        with pytest.raises(Unsupported, match="the service ignores If-Match on a put"):
            place.registry().update_registry_proto(noted(RegistryProto(), "first"))
        with pytest.raises(FileNotFoundError):
            place.registry().get_registry_proto()


@pytest.mark.parametrize("address", ["memory://registry/registry.db", "gold:registry.db"])
def test_a_store_behind_fsspec_is_refused_by_name(tmp_path: Path, address: str) -> None:
    place = Repository(tmp_path, table(url=str(tmp_path / "gold"), transport="fsspec"))
    with pytest.raises(Unsupported, match="fsspec is between"):
        place.registry(address).update_registry_proto(RegistryProto())


def test_a_path_lies_below_the_repository_and_an_url_where_it_says(here: Repository, tmp_path: Path) -> None:
    for number, address in enumerate(["data/registry.db", str(tmp_path / "other" / "registry.db"), f"file://{tmp_path}/url.db"]):
        here.registry(address).update_registry_proto(noted(RegistryProto(), f"{number}"))
    found = [tmp_path / "data" / "registry.db", tmp_path / "other" / "registry.db", tmp_path / "url.db"]
    assert [projects(RegistryProto.FromString(file.read_bytes())) for file in found] == [["0"], ["1"], ["2"]]


def test_lake_config_says_which_lake_toml_names_the_store(here: Repository, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "other.toml").write_text(table(url="elsewhere"))
    here.registry(lake_config="conf/other.toml").update_registry_proto(RegistryProto())
    assert (tmp_path / "conf" / "elsewhere" / "feast" / "registry.db").is_file()
    assert here.names() == []


def test_without_a_lake_toml_in_the_repository_the_one_that_applies_names_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "repo").mkdir()
    Repository(tmp_path / "work", table(url="gold"))
    monkeypatch.chdir(tmp_path / "work")
    config = RegistryConfig(registry_store_type=STORE_TYPE, path=PLACE)
    FsspecRegistryStore(config, tmp_path / "repo").update_registry_proto(RegistryProto())
    assert (tmp_path / "work" / "gold" / "feast" / "registry.db").is_file()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("silver:registry.db", r"there is no store 'silver' in lake\.toml \(stores: gold\)"),
        ("gold:", "names a store and no object"),
        ("gold:../registry.db", "would leave the store"),
        ("", r"registry\.path is missing"),
        ("s3://bucket", "has no parent"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused(here: Repository, address: str, message: str) -> None:
    with pytest.raises(Config, match=message):
        here.registry(address)


def test_lake_config_that_leads_nowhere_is_refused(here: Repository) -> None:
    with pytest.raises(Config, match=r"none\.toml"):
        here.registry(lake_config="none.toml")


def test_feast_apply_works_from_the_command_line(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    place = repository("seaweed", tmp_path, request)
    definitions(tmp_path)
    place.yaml()
    (tmp_path / "definitions.py").write_text(
        "from feast import Entity, FeatureView, Field, FileSource, ValueType\nfrom feast.types import Int64\n"
        "carrier = Entity(name='carrier', join_keys=['carrier'], value_type=ValueType.STRING)\n"
        "source = FileSource(name='delays_source', path='delays.parquet', timestamp_field='at')\n"
        "view = FeatureView(name='delays', entities=[carrier], schema=[Field(name='late', dtype=Int64)], source=source)\n"
    )
    ran = subprocess.run(
        [str(Path(sys.executable).with_name("feast")), "apply"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    written = place.registry().get_registry_proto()
    assert [view.spec.name for view in written.feature_views] == ["delays"]
    assert place.names() == ["registry.db"]
