"""Versions that survive conversion: what a commit says it was made from, and what a name means in a table that was made so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.config import Settings
from lakehouse.connect import open_store
from lakehouse.errors import Config, LakeError, NotFound
from lakehouse.lake import Dataset, Lake
from lakehouse.origin import Made, SourceVersion, known_names, made_at, ref_named, stated_source, version_named
from lakehouse.reading.task import Point
from lakehouse.retry import RetryingStore
from lakehouse.row_record import row_record
from lakehouse.settings import CatalogSettings, DatasetSettings, StoreSettings
from lakehouse.store import Store
from lakehouse.sync import sync
from lakehouse.tables import Table, open_table
from lakehouse.testing.faulty_store import Faults, FaultyStore
from lakehouse.writing import delta, iceberg
from lakehouse.writing.rows import fitting
from tests.corpus.conftest import CORPUS

SCHEMA = pa.schema([("id", pa.int64()), ("p", pa.string())])
BOTH = pytest.mark.parametrize("kind", ["delta", "iceberg"])
START = datetime(2024, 1, 1, tzinfo=UTC)


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "p": [f"row {number}" for number in ids]}, schema=SCHEMA)


@pytest.fixture
def corpus() -> Path:
    if not CORPUS.is_dir():
        pytest.skip("the corpus of real tables is not here (set LAKE_CORPUS to its folder)")
    return CORPUS


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Datasets of each format, that are not made yet."""
    kinds: dict[str, Any] = {"delta": "delta", "iceberg": "iceberg", "again": "delta", "back": "iceberg", "parquet": "parquet"}
    return Lake(Settings(datasets={name: DatasetSettings(name, str(tmp_path / name), kind) for name, kind in kinds.items()}))


def made(lake: Lake, name: str, *contents: tuple[int, ...]) -> Dataset:
    """A table with one version of each content."""
    dataset = lake.create_dataset(name, SCHEMA)
    for ids in contents:
        dataset.overwrite(rows(*ids))
    return dataset


def table(dataset: Dataset) -> Table:
    return open_table(dataset.place)


def ids(scan: Any) -> list[int]:
    return sorted(scan.to_arrow()["id"].to_pylist())


def prints(dataset: Dataset, **point: Any) -> str:
    return row_record(dataset.read(**point).plan, "", workers=1).fingerprint


def convert(source: Dataset, target: Dataset) -> None:
    """The whole history, oldest first."""
    opened = table(source)
    for point in reversed(list(opened.points())):
        target.overwrite(opened.scan(point=point))


def times(dataset: Dataset) -> list[datetime]:
    return [commit.committed_at for commit in dataset.history() if commit.committed_at is not None][::-1]


class TestDecisions:
    """Pure: which commit a name or an instant means."""

    @given(st.lists(st.none() | st.tuples(st.integers(0, 3), st.sampled_from([None, "gold", "1"])), max_size=8))
    def test_the_newest_commit_of_a_name_is_meant_and_a_ref_before_a_version(self, said: list[Any]) -> None:
        commits = [
            Made(number, START, None if each is None else SourceVersion("p", str(each[0]), START, each[1]))
            for number, each in enumerate(said)
        ][::-1]
        for name in ("gold", "0", "1"):
            refs = [each.id for each in commits if each.source is not None and each.source.ref == name]
            versions = [each.id for each in commits if each.source is not None and each.source.version == name]
            found, by_version = ref_named(name, iter(commits)), version_named(name, iter(commits))
            assert (found.id if found else None) == max(refs, default=max(versions, default=None))
            assert (by_version.id if by_version else None) == max(versions, default=None)

    @given(st.data())
    def test_an_instant_means_what_the_source_held_whatever_was_written_here_between_and_in_which_order(self, data: Any) -> None:
        hours = sorted(data.draw(st.sets(st.integers(0, 50), min_size=1, max_size=6)))
        order = data.draw(st.permutations(hours))
        commits, native = [Made(0, START + timedelta(days=900), None)], 1
        for hour in order:
            at = START + timedelta(hours=hour)
            commits.append(Made(len(commits), START + timedelta(days=900 + native), SourceVersion("p", str(hour), at)))
            if data.draw(st.booleans()) and hour != order[-1]:
                commits.append(Made(len(commits), START + timedelta(days=900 + native), None))
            native += 1
        asked = data.draw(st.integers(-1, 51))
        found = made_at(START + timedelta(hours=asked), commits[::-1])
        held = [hour for hour in hours if hour <= asked]
        assert (found.source.version if found and found.source else None) == (str(held[-1]) if held else None)

    def test_what_was_written_here_after_the_last_conversion_counts_at_its_own_time(self) -> None:
        later = START + timedelta(days=1)
        commits = [Made(2, later, None), Made(1, later, SourceVersion("p", "7", START)), Made(0, later, None)]
        assert [made_at(at, commits) for at in (later, later - timedelta(hours=1), START - timedelta(hours=1))] == [
            commits[0], commits[1], None,
        ]  # fmt: skip

    def test_the_empty_version_that_a_table_on_the_way_began_with_is_no_state_of_the_source(self) -> None:
        later = START + timedelta(days=900)
        said = [SourceVersion("between", "0", later), SourceVersion("first", "0", START), SourceVersion("between", "2", later)]
        commits = [Made(number, later, each) for number, each in enumerate(said)][::-1]
        assert [made_at(at, commits[1:]) for at in (later, START)] == [commits[1], commits[1]]
        assert [made_at(at, commits) for at in (later, START)] == [commits[0], commits[1]]

    def test_clocks_of_writers_that_differ_do_not_hide_the_newest_version(self) -> None:
        commits = [
            Made(2, None, SourceVersion("p", "2", START - timedelta(seconds=5))), Made(1, None, SourceVersion("p", "1", START)),
        ]  # fmt: skip
        assert made_at(START + timedelta(hours=1), commits) == commits[0]
        assert made_at(START, commits) == commits[1]

    def test_a_source_that_was_rolled_back_stood_at_the_older_version_from_then_on(self) -> None:
        hours = [START + timedelta(hours=number) for number in range(4)]
        said = [SourceVersion("p", "1", hours[0]), SourceVersion("p", "2", hours[1]), SourceVersion("p", "1", hours[2])]
        commits = [Made(number, None, each) for number, each in enumerate(said)][::-1]
        chosen = [made_at(at + timedelta(minutes=1), commits) for at in hours]
        assert [each.id if each else None for each in chosen] == [0, 1, 2, 2]

    def test_what_is_recorded_is_read_again_and_damage_is_no_source(self) -> None:
        found = SourceVersion("s3://b/t", "12", START + timedelta(milliseconds=5), "gold")
        assert found.recorded() == {
            "lake.source": "s3://b/t", "lake.source-version": "12", "lake.source-timestamp": "2024-01-01T00:00:00.005Z",
            "lake.source-ref": "gold",
        }  # fmt: skip
        assert stated_source(found.recorded()) == found
        assert stated_source(SourceVersion("p", "1").recorded()) == SourceVersion("p", "1")
        assert stated_source({"lake.source": "p", "lake.source-version": 3}) is None
        odd = stated_source({**found.recorded(), "lake.source-timestamp": "yesterday", "lake.source-ref": 3})
        assert odd == SourceVersion("s3://b/t", "12")
        many = [Made(n, None, SourceVersion("p", str(n), None, "gold" if n == 3 else None)) for n in range(20, 0, -1)]
        assert known_names(many) == "version 20, 19, 18, 17, 16, 15, 14, 13 and 12 more; branch or tag gold"


@BOTH
def test_a_history_is_converted_by_a_loop_and_every_name_means_the_same_rows(lake: Lake, kind: str) -> None:
    """Delta to Iceberg and on to Delta, and the other way: the first table's names last."""
    source = made(lake, kind, (1, 2), (3,), ())
    source.append(rows(5, 6))
    first, second = ("iceberg", "again") if kind == "delta" else ("delta", "back")
    targets = [lake.create_dataset(name, SCHEMA) for name in (first, second)]
    convert(source, targets[0])
    convert(targets[0], targets[1])
    names = [point.version or str(point.snapshot) for point in table(source).points()]
    assert len(names) == (5 if kind == "delta" else 4)
    for target in targets:
        assert prints(target) == prints(source)
        for name in names:
            assert prints(target, version=name) == prints(target, ref=name) == prints(source, version=name)
        for at in times(source):
            assert prints(target, as_of=at) == prints(source, as_of=at)
        with pytest.raises(NotFound):
            target.read(as_of=times(source)[0] - timedelta(seconds=1))
        scanned = target.read().source_version()
        assert scanned is not None
        assert (scanned.version, scanned.timestamp, scanned.place) == (names[0], times(source)[-1], table(source).url)
        assert table(target).describe().properties["lake.source"] == table(source).url


def test_a_tag_of_iceberg_lives_on_in_delta_and_after_it(tmp_path: Path, lake: Lake) -> None:
    catalogs = pytest.importorskip("pyiceberg.catalog.sql")
    catalog = catalogs.SqlCatalog("c", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("n")
    tagged = catalog.create_table("n.t", SCHEMA)
    tagged.append(rows(1, 2))
    tagged.manage_snapshots().create_tag(tagged.current_snapshot().snapshot_id, "gold").commit()
    tagged.overwrite(rows(3))
    source = open_table(tagged.location())
    catalog.close()
    targets = [lake.create_dataset(name, SCHEMA) for name in ("delta", "back")]
    targets[0].overwrite(source.scan(ref="gold"))
    targets[0].overwrite(source.scan(ref="main"))
    convert(targets[0], targets[1])
    for target in targets:
        assert ids(target.read(ref="gold")) == ids(source.scan(ref="gold")) == [1, 2]
        assert ids(target.read(ref="main")) == ids(source.scan(ref="main")) == [3]
        assert ids(target.read(ref=str(tagged.snapshots()[0].snapshot_id))) == [1, 2]
        with pytest.raises(NotFound, match="branch or tag main, gold"):
            target.read(ref="silver")


def test_a_number_of_a_converted_log_is_never_taken_for_the_sources(lake: Lake) -> None:
    """Its version 1 was made from the source's version 3, and the source had other rows in its version 1."""
    source, target = made(lake, "delta", (1,), (2,), (3,)), lake.create_dataset("again", SCHEMA)
    target.overwrite(source.read(version=3))
    assert ids(target.read(version=3)) == ids(target.read(ref="3")) == [3]
    asked: list[dict[str, Any]] = [{"version": 1}, {"ref": "1"}, {"snapshot": 1}]
    for name in asked:
        with pytest.raises(NotFound, match=r"none that is retained is its .* 1; there are: version 3"):
            target.read(**name)
    target.append(rows(4))  # the log's version 2, which the source may have had too
    with pytest.raises(NotFound):
        target.read(version=2)
    opened = table(target)
    assert [ids(opened.scan(point=point)) for point in opened.points()] == [[3, 4], [3], []]
    assert ids(target.read(as_of=times(target)[-1])) == [3, 4]
    with pytest.raises(Config, match="give one"):
        opened.scan(version=3, point=Point(version="1"))


def test_a_numbered_metadata_file_of_a_converted_table_is_never_taken_for_the_sources(lake: Lake) -> None:
    source, target = made(lake, "iceberg", (1,), (2,)), lake.create_dataset("back", SCHEMA)
    target.append(source.read())
    assert ids(source.read(version="v2.metadata.json")) == [1]
    with pytest.raises(NotFound, match=r"is its version v2\.metadata\.json; there are: version \d+"):
        target.read(version="v2.metadata.json")
    own = next(iter(table(target).points())).snapshot
    assert own is not None
    assert ids(target.read(ref=str(own))) == ids(target.read(snapshot=own)) == ids(target.read(version=own)) == [2]
    there = next(iter(table(source).points())).snapshot
    assert ids(target.read(snapshot=there)) == [2]
    assert ids(table(target).scan(point=Point(version="v1.metadata.json"))) == []


@BOTH
def test_only_a_whole_version_is_recorded(lake: Lake, kind: str) -> None:
    source, target = made(lake, "again", (1, 2, 3)), lake.create_dataset(kind, SCHEMA)
    for narrowed in (source.read(["id", "p"], "id > 1"), source.read(where="id > 1"), source.read().to_reader()):
        target.overwrite(narrowed)
        assert "lake.source" not in table(target).describe().properties
    with pytest.raises(Config, match="'p'"):
        target.overwrite(source.read(["id"]))
    target.append(source.read())
    assert "lake.source" not in table(target).describe().properties  # it holds other rows besides
    target.overwrite(rows())
    target.append(source.read(["p", "id"]))
    assert ids(target.read(version=1)) == [1, 2, 3]
    target.append(rows(4))
    assert ids(target.read()) == [1, 2, 3, 4]
    assert ids(target.read(version=1)) == [1, 2, 3]


@BOTH
def test_a_table_that_was_never_converted_pays_nothing_and_takes_the_text_of_a_version_as_a_ref(lake: Lake, kind: str) -> None:
    source = made(lake, kind, (1,), (2,), (3,))
    opened = table(source)
    for point, expected in zip(opened.points(), ([3], [2], [1], []), strict=False):
        name = point.version or str(point.snapshot)
        assert ids(source.read(ref=name)) == ids(source.read(version=name)) == expected
    costs = []
    ways: list[dict[str, Any]] = [{"point": list(opened.points())[1]}, {"ref": point_text(opened, 1)}]
    for asked in ways:
        calls = Faults()
        store = FaultyStore(open_store(source.place), calls)
        Table(store, opened._format, opened._format.pin(store)).scan(**asked)
        costs.append(calls.calls)
    assert costs[0] == costs[1]
    with pytest.raises((Config, NotFound)):
        source.read(ref="gold")


def point_text(opened: Table, number: int) -> str:
    point = list(opened.points())[number]
    return point.version or str(point.snapshot)


@BOTH
def test_a_table_that_is_restored_from_its_own_history_keeps_its_own_names(lake: Lake, kind: str) -> None:
    source = made(lake, kind, (1,), (2,))
    first = point_text(table(source), 1)
    source.overwrite(source.read(version=first))
    assert ids(source.read()) == ids(source.read(version=first)) == [1]
    assert ids(source.read(version=point_text(table(source), 1))) == [2]
    assert "lake.source" not in table(source).describe().properties


def test_plain_parquet_has_no_history_to_be_asked_for(lake: Lake) -> None:
    source, target = made(lake, "delta", (1,), (2,)), lake.create_dataset("parquet", SCHEMA)
    target.overwrite(source.read())
    assert target.read().source_version() is None
    asked: list[dict[str, Any]] = [{"ref": "2"}, {"as_of": START}, {"version": 2}]
    for name in asked:
        with pytest.raises(Config, match="no history"):
            target.read(**name)
    back = lake.create_dataset("iceberg", SCHEMA)
    back.overwrite(target.read())
    assert "lake.source" not in table(back).describe().properties


def test_engines_read_and_extend_what_was_converted(lake: Lake) -> None:
    source, target = made(lake, "iceberg", (1,), (2,)), lake.create_dataset("delta", SCHEMA)
    convert(source, target)
    deltalake.write_deltalake(target.place, rows(7), mode="append")
    told = deltalake.DeltaTable(target.place)
    assert told.metadata().configuration["lake.source"] == table(source).url
    assert told.history()[1]["operationParameters"]["lake.source-version"] == point_text(table(source), 0)
    assert ids(target.read()) == [2, 7]
    assert ids(target.read(version=point_text(table(source), 1))) == [1]


@BOTH
@pytest.mark.parametrize("how", ["before", "after"])
def test_a_crash_leaves_no_rows_without_what_they_were_made_from(tmp_path: Path, lake: Lake, kind: str, how: Any) -> None:
    """Each call fails once; what a reader then finds are the old rows, or the new ones with their source: one commit has both."""
    source = made(lake, "again", (1, 2)).read().source_version()
    module: Any = {"delta": delta, "iceberg": iceberg}[kind]
    arrived, faults = 0, Faults()
    for number in range(1, 20):
        place = tmp_path / f"t{number}"
        lake_of_one = Lake(Settings(datasets={"t": DatasetSettings("t", str(place), kind)}))  # type: ignore[arg-type]
        dataset = made(lake_of_one, "t", (9,))
        plain: Any = open_store(str(place))
        faults = Faults(fail_at=number, mode=how, dead=True, writes_only=True)
        faulty: Store = RetryingStore(FaultyStore(plain.inner, faults), attempts=1)
        try:
            fit: Callable[[pa.Schema], pa.RecordBatchReader] = lambda schema: fitting(rows(1, 2), schema, "t")  # noqa: E731
            module.overwrite(iceberg.ByPath(faulty) if kind == "iceberg" else faulty, fit, source)
        except LakeError:
            pass
        properties = table(dataset).describe().properties
        found = ids(dataset.read())
        assert (found, properties.get("lake.source")) in (([9], None), ([1, 2], source.place if source else "")), number
        if found == [1, 2]:
            arrived += 1
            assert ids(dataset.read(version=1)) == [1, 2]
        if faults.failed is None:
            break
    assert faults.counted >= 2
    assert arrived


@BOTH
def test_a_sync_to_another_cloud_keeps_every_name(lake: Lake, s3_settings: Settings, s3_prefix: str, kind: str) -> None:
    source = made(lake, kind, (1,), (2, 3))
    converted = lake.create_dataset("again" if kind == "iceberg" else "back", SCHEMA)
    convert(source, converted)
    for number, dataset in enumerate((source, converted)):
        replica = f"{s3_prefix}/{number}"
        sync(dataset.place, replica, settings=s3_settings)
        there = open_table(replica, settings=s3_settings)
        name = point_text(table(source), 1)
        asked: list[dict[str, Any]] = [{"version": name}, {"ref": name}, *({"as_of": at} for at in times(source)), {}]
        for each in asked:
            assert ids(there.scan(**each)) == ids(dataset.read(**each)), (number, each)
        assert ids(there.scan(version=name)) == [1]


@pytest.mark.parametrize("name", ["delta/rs-table-with-dv-small", "iceberg/duck-equality_deletes__mytable"])
def test_rows_that_a_real_table_deletes_stay_deleted_in_every_version(corpus: Path, lake: Lake, name: str) -> None:
    """Conversion: deletes lost in silence."""
    source = open_table(str(corpus / name))
    target = lake.create_dataset("iceberg" if name.startswith("delta") else "delta", source.schema())
    carried = list[Point]()
    for point in reversed(list(source.points())):
        with suppress(NotFound):  # the files of one snapshot are not among the others
            target.overwrite(source.scan(point=point))
            carried.append(point)
    assert len(carried) == (2 if name.startswith("delta") else 5)
    counts = set()
    for point in carried:
        there = row_record(target.read(version=point.version or str(point.snapshot)).plan, "", workers=1)
        here = row_record(source.plan(point), "", workers=1)
        assert (there.rows, there.fingerprint) == (here.rows, here.fingerprint)
        counts.add(here.rows)
    assert len(counts) > 1


def test_a_table_of_a_catalog_is_converted_in_the_catalogs_own_commit(tmp_path: Path, lake: Lake) -> None:
    """One whose commits are kept in a folder, and one whose are kept in a database."""
    warehouse = {"warehouse": f"file://{tmp_path}/sql"}
    catalogs = {
        "storage": CatalogSettings("storage", "storage", options={"warehouse": "w:house"}, store="w"),
        "sql": CatalogSettings("sql", "sql", f"sqlite:///{tmp_path}/c.db", warehouse, store="w"),
    }
    datasets = {each: DatasetSettings(f"in_{each}", f"{each}:ns.t") for each in catalogs}
    settings = Settings({"w": StoreSettings("w", str(tmp_path))}, catalogs, {each.name: each for each in datasets.values()})
    source, cataloged = made(lake, "delta", (1,), (2, 3)), Lake(settings)
    for name in cataloged:
        target = cataloged.create_dataset(name, SCHEMA)
        target.append(source.read(version=1))
        target.overwrite(source.read(version=2))
        assert [ids(target.read(version=number)) for number in (1, 2)] == [[1], [2, 3]]
        described = open_table(name, settings=settings).describe()
        assert described.properties["lake.source"] == table(source).url
