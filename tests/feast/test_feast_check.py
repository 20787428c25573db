"""`lake feast check`: each view of a repository is held against its dataset, and one that is wrong keeps no other from it."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import BatchFeatureView, Entity, FeatureView, Field, FileSource, KafkaSource, PushSource, ValueType
from feast.data_format import JsonFormat
from feast.labeling.label_view import LabelView
from feast.stream_feature_view import stream_feature_view
from feast.types import Float32, Float64, Int32, Int64, String
from pydantic import BaseModel

from lakehouse import Config, LakeError, Verification, load, sync
from lakehouse.feature_report import FeatureFinding, FeatureReport, ViewReport
from lakehouse.progress import ProgressEvent
from lakehouse_cli.main import run
from lakehouse_cli.schemas import DOCUMENTS
from lakehouse_connectors.feast.check import check_repository
from tests.feast.worlds import LAKE_KINDS, Kind, SourceOf, World, configured, made

DRIVER = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
ROWS = [
    {"driver": n, "event_timestamp": NOON + n * HOUR, "created": NOON + n * HOUR, "rate": n / 2, "city": "Rome"} for n in range(4)
]
SCHEMA = pa.schema(
    [
        ("driver", pa.int64()),
        ("event_timestamp", pa.timestamp("us", tz="UTC")),
        ("created", pa.timestamp("us", tz="UTC")),
        ("rate", pa.float32()),
        ("city", pa.string()),
    ]
)
STATS = pa.Table.from_pylist(ROWS, SCHEMA)
KEY, RATE, TOWN = Field(name="driver", dtype=Int64), Field(name="rate", dtype=Float32), Field(name="town", dtype=String)
CITY = Field(name="city", dtype=Int64)
"""Which it is not."""


def view(name: str, source: Any, *fields: Field, ttl: dt.timedelta | None = None) -> FeatureView:
    return FeatureView(name=name, entities=[DRIVER], schema=[KEY, *fields], source=source, ttl=ttl)


def whole(source: SourceOf) -> list[Any]:
    stats = source("stats", created_timestamp_column="created", field_mapping={"city": "town"})
    return [DRIVER, view("hourly", stats, RATE, ttl=2 * HOUR), view("ever", stats, RATE, TOWN)]


def replicated(folder: Path, dataset: str, *places: str | Path) -> None:
    """Say in lake.toml that ``dataset``, the last one there, is replicated to ``places``."""
    with (folder / "lake.toml").open("a") as file:
        file.writelines(f'\n[[dataset.{dataset}.replica]]\nto = "{place}"\n' for place in places)


def applied(folder: Path, definitions: Sequence[Any], tables: dict[str, pa.Table] | None = None) -> World:
    """A repository of Delta datasets with views that need not be true: the dataset is changed once they were applied."""
    return made(folder, "delta", {"stats": STATS} if tables is None else tables, lambda _source: definitions)


def found(report: FeatureReport, name: str) -> ViewReport:
    [one] = [each for each in report.views if each.view == name]
    return one


def kinds(report: FeatureReport, name: str) -> list[tuple[str, str]]:
    return [(finding.kind, finding.path) for finding in found(report, name).findings]


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_views_that_the_lake_can_serve_have_no_findings(kind: Kind, tmp_path: Path) -> None:
    world = made(tmp_path / "repo", kind, {"stats": STATS}, whole)
    replicated(world.folder, "stats", tmp_path / "copy")
    sync("stats", str(tmp_path / "copy"), settings=load(world.folder / "lake.toml"))
    report = check_repository(world.folder, at=NOON + 4 * HOUR)
    report.raise_for_findings()
    assert report.ok and report.project == "tests" and report.config == str(world.folder / "lake.toml")
    hourly, ever = found(report, "hourly"), found(report, "ever")
    assert (hourly.dataset, hourly.ttl_seconds, hourly.rows, hourly.newest_event_at) == ("stats", 7200, 2, NOON + 3 * HOUR)
    assert (ever.ttl_seconds, ever.rows, ever.newest_event_at) == (None, 4, NOON + 3 * HOUR)
    assert [(replica.to, replica.agrees) for replica in hourly.replicas] == [(str(tmp_path / "copy"), True)]


def test_one_view_that_is_wrong_does_not_keep_the_others_from_being_looked_at(tmp_path: Path) -> None:
    names = {"good": "stats", "no_table": "gone", "no_dataset": "unnamed"}
    made(tmp_path, "delta", dict.fromkeys(names.values(), STATS), lambda source: [
        DRIVER, *(view(name, source(dataset), RATE) for name, dataset in names.items()),
    ])  # fmt: skip
    for file in sorted((tmp_path / "data" / "gone").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    toml = tmp_path / "lake.toml"
    toml.write_text(toml.read_text().replace("[dataset.unnamed]", "[dataset.something]"))
    report = check_repository(tmp_path)
    assert kinds(report, "good") == []
    assert kinds(report, "no_table") == [("missing", "")]
    assert kinds(report, "no_dataset") == [("missing", "")]
    assert found(report, "good").rows == 4 and found(report, "no_table").rows is None
    assert [finding.path for finding in report.findings] == ["no_table", "no_dataset"]
    with pytest.raises(Verification, match=r"2 finding\(s\), first: no_table"):
        report.raise_for_findings()


def test_each_column_that_a_view_names_must_be_there_with_its_type(tmp_path: Path) -> None:
    def promises(source: SourceOf) -> list[Any]:
        stats = source("stats", created_timestamp_column="created", field_mapping={"city": "town"})
        wrong_times = source("stats", name="wrong", timestamp_field="city", created_timestamp_column="rate")
        return [
            DRIVER,
            view("columns", stats, RATE, TOWN),
            view("types", stats, Field(name="rate", dtype=Float64), Field(name="town", dtype=Int64)),
            view("narrow", stats, Field(name="rate", dtype=Int32)),
            view("times", wrong_times, RATE),
        ]

    world = made(tmp_path, "delta", {"stats": STATS}, promises)
    assert [kinds(check_repository(tmp_path), name) for name in ("columns", "types", "narrow", "times")] == [
        [],
        [("differs", "city")],
        [("differs", "rate")],
        [("differs", "city"), ("differs", "rate")],
    ]
    toml = tmp_path / "lake.toml"
    toml.write_text(toml.read_text().replace(str(tmp_path / "data" / "stats"), str(tmp_path / "data" / "less")))
    world.lake.create_dataset("stats", pa.schema([("driver", pa.string()), ("event_timestamp", pa.int64())]))
    report = check_repository(tmp_path)
    assert kinds(report, "columns") == [
        ("differs", "driver"),
        ("differs", "event_timestamp"),
        ("missing", "created"),
        ("missing", "rate"),
        ("missing", "city"),
    ]
    assert found(report, "columns").newest_event_at is None
    assert "STRING; the view says Int64" in found(report, "columns").findings[0].message


def test_rows_count_from_the_bound_of_the_ttl_to_the_time_of_the_check_both_included(tmp_path: Path) -> None:
    made(tmp_path, "delta", {"stats": STATS}, whole)
    rows = [found(check_repository(tmp_path, at=NOON + hours * HOUR), "hourly").rows for hours in (-1, 0, 1, 2, 3, 4, 5, 6)]
    assert rows == [0, 1, 2, 3, 3, 2, 1, 0]
    late = found(check_repository(tmp_path, at=NOON + 5 * HOUR + dt.timedelta(microseconds=1)), "hourly")
    assert (late.rows, late.newest_event_at) == (0, NOON + 3 * HOUR)
    assert [finding.kind for finding in late.findings] == ["stale"]
    assert "the ttl of 2:00:00 before 2024-05-01T17:00:00Z; the newest is of 2024-05-01T15:00:00Z" in late.findings[0].message
    assert found(check_repository(tmp_path, at=NOON - HOUR), "ever").rows == 0, "nothing was known then"
    naive = check_repository(tmp_path, at=NOON.replace(tzinfo=None))
    assert naive.at == NOON and found(naive, "hourly").rows == 1, "without a zone it is UTC"
    assert kinds(check_repository(tmp_path), "hourly") == [("stale", "")], "the time of the check is now"


@pytest.mark.parametrize("times", [pa.timestamp("ns", "UTC"), pa.timestamp("ms"), pa.timestamp("us", "Asia/Tokyo"), pa.date32()])
def test_times_of_any_unit_with_a_zone_or_without_are_the_same_instants(times: pa.DataType, tmp_path: Path) -> None:
    midnights = [dt.datetime(2024, 5, day, tzinfo=dt.UTC) for day in (1, 2, 3)]
    column = pa.array([*midnights, None], pa.timestamp("us", "UTC"))
    table = pa.table({"driver": pa.array([1, 2, 3, 4], pa.int64()), "event_timestamp": column.cast(times), "rate": [0.5] * 4})
    two_days = Field(name="rate", dtype=Float64)
    made(tmp_path, "parquet", {"stats": table}, lambda source: [
        DRIVER, view("daily", source("stats"), two_days, ttl=dt.timedelta(days=1)),
    ])  # fmt: skip
    daily = found(check_repository(tmp_path, at=midnights[2]), "daily")
    assert (daily.rows, daily.newest_event_at, daily.findings) == (2, midnights[2], ())


def test_a_dataset_without_rows_is_stale(tmp_path: Path) -> None:
    applied(tmp_path, [], {"stats": STATS.slice(0, 0)}).store.apply(whole(lambda name, **more: _lake_source(name, **more)))
    report = check_repository(tmp_path)
    assert kinds(report, "hourly") == kinds(report, "ever") == [("stale", "")]
    assert "dataset stats has no rows" in found(report, "ever").findings[0].message


def _lake_source(dataset: str, **more: Any) -> Any:
    from lakehouse_connectors.feast import LakeSource

    return LakeSource(dataset=dataset, **{"timestamp_field": "event_timestamp", **more})


def test_files_older_than_the_ttl_are_not_opened(tmp_path: Path) -> None:
    world = made(
        tmp_path, "delta", {"stats": STATS}, lambda source: [DRIVER, view("hourly", source("stats"), RATE, ttl=2 * HOUR)]
    )
    [old] = (tmp_path / "data" / "stats").glob("*.parquet")
    world.lake["stats"].append(pa.Table.from_pylist([{**ROWS[0], "event_timestamp": NOON + 30 * HOUR}], SCHEMA))
    old.unlink()
    report = check_repository(tmp_path, at=NOON + 31 * HOUR)
    assert report.ok and found(report, "hourly").rows == 1
    replicated(tmp_path, "stats", tmp_path / "copy")
    compared = check_repository(tmp_path, at=NOON + 31 * HOUR)
    assert kinds(compared, "hourly") == [("unchecked", "")], "to compare replicas, the lost file is needed"
    assert [replica.agrees for replica in found(compared, "hourly").replicas] == [None]
    lost = check_repository(tmp_path, at=dt.datetime.max, replicas=False)
    assert kinds(lost, "hourly") == [("missing", "")], "to tell the newest of all, the lost file is needed"


def test_replicas_that_lack_rows_are_not_there_or_cannot_be_read_are_told_apart(tmp_path: Path) -> None:
    world = made(tmp_path / "repo", "delta", {"stats": STATS}, whole)
    copies = [tmp_path / name for name in ("equal", "behind", "never", "damaged")]
    settings = load(world.folder / "lake.toml")
    sync("stats", str(copies[1]), settings=settings)
    world.lake["stats"].append(STATS)
    for copy in (copies[0], copies[3]):
        sync("stats", str(copy), settings=settings)
    next(copies[3].glob("*.parquet")).unlink()
    replicated(world.folder, "stats", *copies)
    events = list[ProgressEvent]()
    report = check_repository(world.folder, at=NOON + 3 * HOUR, progress=events.append)
    assert [replica.agrees for replica in found(report, "ever").replicas] == [True, False, False, False]
    assert kinds(report, "ever") == kinds(report, "hourly") == [("rows", str(copy)) for copy in copies[1:]]
    behind, never, damaged = (finding.message for finding in found(report, "ever").findings)
    assert behind.startswith("8 rows in the dataset, 4 in the replica") and f"lake sync stats {copies[1]}" in behind
    assert "no Delta" in never and "parquet" in damaged
    assert [event.message for event in events if event.step == "verify"] == ["* hourly", "* ever"]
    skipped = check_repository(world.folder, at=NOON + 3 * HOUR, replicas=False)
    assert skipped.ok and found(skipped, "ever").replicas == ()


def test_a_dataset_is_read_once_for_its_replicas_however_many_views_it_has(tmp_path: Path) -> None:
    world = made(tmp_path / "repo", "delta", {"stats": STATS}, whole)
    replicated(world.folder, "stats", tmp_path / "copy")
    sync("stats", str(tmp_path / "copy"), settings=load(world.folder / "lake.toml"))
    events = list[ProgressEvent]()
    check_repository(world.folder, at=NOON, progress=events.append)
    assert len([event for event in events if event.step == "rows" and event.message]) == 2, "the dataset and its replica"


def test_a_pinned_view_is_held_against_the_version_that_it_reads(tmp_path: Path) -> None:
    world = made(tmp_path, "delta", {"stats": STATS}, lambda source: [
        DRIVER, view("then", source("stats", name="then", ref="1"), RATE), view("now", source("stats"), RATE),
    ])  # fmt: skip
    world.lake["stats"].append(STATS)
    report = check_repository(tmp_path)
    assert (found(report, "then").rows, found(report, "now").rows) == (4, 8)


def test_a_view_over_the_source_of_another_store_cannot_be_read_and_says_so(tmp_path: Path) -> None:
    pushed = view("pushed", PushSource(name="push", batch_source=_lake_source("stats")), RATE)
    world = applied(tmp_path, [DRIVER, pushed])
    files = view("files", FileSource(path=str(tmp_path / "x.parquet"), timestamp_field="t"), RATE)
    world.store.registry.apply_feature_view(files, world.store.project)
    report = check_repository(tmp_path)
    assert kinds(report, "pushed") == []
    assert kinds(report, "files") == [("differs", "")] and "FileSource" in found(report, "files").findings[0].message
    assert found(report, "files").dataset is None


def test_an_entry_of_the_registry_that_cannot_be_read_is_its_own_finding(tmp_path: Path) -> None:
    views = [view(name, _lake_source("stats", name=name), RATE) for name in ("good", "bad", "keyless")]
    registry = applied(tmp_path, [DRIVER, *views]).store.registry.proto()
    entries = {each.spec.name: each for each in registry.feature_views}
    entries["bad"].spec.batch_source.data_source_class_type = "no_such_plug_in.Source"
    (tmp_path / "registry.db").write_bytes(registry.SerializeToString())
    report = check_repository(tmp_path)
    assert kinds(report, "good") == [] and kinds(report, "bad") == [("unchecked", "")]
    with pytest.raises(LakeError, match="could not check 1 object"):
        report.raise_for_findings()
    del entries["keyless"].spec.entity_columns[:]
    (tmp_path / "registry.db").write_bytes(registry.SerializeToString())
    report = check_repository(tmp_path)
    assert kinds(report, "good") == [] and kinds(report, "keyless") == [("differs", "")]
    assert "add a Field for each join key" in found(report, "keyless").findings[0].message


@pytest.mark.filterwarnings("ignore:.*experimental:RuntimeWarning")
def test_batch_stream_and_label_views_are_looked_at_without_running_their_code(tmp_path: Path) -> None:
    batch = BatchFeatureView(
        name="batch", entities=[DRIVER], schema=[KEY, RATE], source=_lake_source("stats"), mode="python", ttl=None, online=False
    )
    labels = LabelView(
        name="labels",
        entities=[DRIVER],
        schema=[KEY, Field(name="city", dtype=Int64)],
        source=_lake_source("stats"),
        labeler_field="city",
    )
    topic = KafkaSource(
        name="topic", kafka_bootstrap_servers="nowhere", topic="stats", timestamp_field="event_timestamp",
        batch_source=_lake_source("stats"), message_format=JsonFormat("driver bigint"),
    )  # fmt: skip
    stream = stream_feature_view(
        entities=[DRIVER],
        schema=[KEY, RATE],
        source=topic,
        mode="python",
        ttl=dt.timedelta(0),
        timestamp_field="event_timestamp",
        aggregations=[],
    )(streamed)
    world = applied(tmp_path, [DRIVER, batch, labels, stream])
    registry = world.store.registry.proto()
    registry.stream_feature_views[0].spec.feature_transformation.user_defined_function.body = b"no code"
    (tmp_path / "registry.db").write_bytes(registry.SerializeToString())
    report = check_repository(tmp_path)
    assert [(each.view, each.rows) for each in report.views] == [("batch", 4), ("streamed", 4), ("labels", 4)]
    assert [kinds(report, each) for each in ("batch", "streamed", "labels")] == [[], [], [("differs", "city")]]


def streamed(frame: Any) -> Any:
    """A transformation, which a check does not need."""
    return frame


def test_a_folder_that_is_no_repository_of_the_lake_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(Config, match=r"no Feast repository is here \(there is no feature_store.yaml\)"):
        check_repository(tmp_path)
    configured(tmp_path, "delta")
    (tmp_path / "lake.toml").write_text("")
    with pytest.raises(Config, match="run feast apply there first"):
        check_repository(tmp_path)
    assert not (tmp_path / "registry.db").exists(), "looking makes no registry"
    (tmp_path / "registry.db").write_bytes(b"no registry")
    with pytest.raises(Config, match=r"the registry at .*registry.db cannot be read"):
        check_repository(tmp_path)
    (tmp_path / "registry.db").write_bytes(b"")
    with pytest.raises(Config, match="has no feature view of project tests; run feast apply"):
        check_repository(tmp_path)
    configured(tmp_path, "file")
    with pytest.raises(Config, match="its offline store is not the lake's"):
        check_repository(tmp_path)
    for damaged in ("project: [", "project: 3", "provider: local"):
        (tmp_path / "feature_store.yaml").write_text(damaged)
        with pytest.raises(Config, match="Feast cannot read it"):
            check_repository(tmp_path)


def test_what_cannot_be_reached_could_not_be_checked(tmp_path: Path) -> None:
    made(tmp_path, "delta", {"other": STATS, "stats": STATS}, lambda source: [
        DRIVER, view("far", source("other"), RATE), view("near", source("stats"), RATE),
    ])  # fmt: skip
    replicated(tmp_path, "stats", "nowhere://copy")
    toml = tmp_path / "lake.toml"
    toml.write_text(toml.read_text().replace(f'table = "{tmp_path / "data" / "other"}"', 'table = "nowhere://other"'))
    report = check_repository(tmp_path)
    assert kinds(report, "far") == [("unchecked", "")]
    assert kinds(report, "near") == [("unchecked", "nowhere://copy")]
    assert [replica.agrees for replica in found(report, "near").replicas] == [None]
    assert run(["feast", "check", str(tmp_path)]) == 1


@pytest.mark.parametrize(
    "registry",
    [
        {"registry_type": "sql", "path": "sqlite:///{folder}/registry.sqlite"},
        {"registry_store_type": "lakehouse_connectors.feast.registry.FsspecRegistryStore", "path": "registry.db"},
    ],
)
def test_the_registry_may_be_in_a_database_or_on_a_store_of_the_lake(registry: dict[str, str], tmp_path: Path) -> None:
    stated = {key: value.format(folder=tmp_path) for key, value in registry.items()}
    made(tmp_path, "delta", {"stats": STATS}, whole, settings={"registry": stated})
    assert [each.rows for each in check_repository(tmp_path, at=NOON + 4 * HOUR).views] == [2, 4]


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a second lake.toml, next.toml, in which the dataset is of other columns."""
    folder = tmp_path_factory.mktemp("moved")
    world = made(folder, "delta", {"stats": STATS}, whole)
    (folder / "next.toml").write_text(f'[dataset.stats]\ntable = "{folder / "data" / "next"}"\nformat = "parquet"\n')
    from lakehouse import Lake

    Lake.from_config(folder / "next.toml").create_dataset("stats", SCHEMA.remove(4)).append(STATS.drop_columns(["city"]))
    assert world.kind == "delta"
    return folder


def command(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    exit_code = run(["feast", "check", *map(str, arguments)])
    out, err = capsys.readouterr()
    return exit_code, out, err


def test_the_command_shows_a_table_and_ends_with_0_where_all_is_well(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exit_code, out, err = command(capsys, moved, "--at", "2024-05-01T15:00:00Z")
    assert (exit_code, err) == (0, "")
    assert [line.split("\t") for line in out.splitlines()] == [
        ["VIEW", "DATASET", "NEWEST EVENT", "TTL", "ROWS WITHIN TTL", "REPLICAS", "RESULT"],
        ["hourly", "stats", "2024-05-01T15:00:00Z", "2:00:00", "3", "-", "ok"],
        ["ever", "stats", "2024-05-01T15:00:00Z", "-", "4", "-", "ok"],
    ]


def test_the_command_checks_a_lake_toml_before_the_move_to_it(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--at", "2024-05-01T15:00:00", "--config", moved / "next.toml")
    exit_code, out, _ = command(capsys, moved, *options)
    assert exit_code == 4
    assert out.splitlines()[-1] == "- ever: city: missing: dataset stats has no such column"
    exit_code, out, err = command(capsys, moved, "--json", "--skip-replicas", *options)
    document = json.loads(out)
    model: type[BaseModel] = DOCUMENTS["feast-check"]
    model.model_validate(document)
    assert (exit_code, err, document["exit_code"], document["ok"]) == (4, "", 4, False)
    assert (document["config"], document["at"], document["replicas_compared"]) == (
        str(moved / "next.toml"), "2024-05-01T15:00:00Z", False,
    )  # fmt: skip
    ever = document["views"][1]
    assert ever["findings"] == [{"kind": "missing", "path": "city", "message": "dataset stats has no such column"}]
    assert (ever["rows"], ever["newest_event_at"], ever["ttl_seconds"]) == (4, "2024-05-01T15:00:00Z", None)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        ((), 4, "* hourly: stale: no row is within the ttl"),
        (("--at", "noon"), 2, "--at noon: is no time; write ISO 8601"),
        (("--config", "nowhere.toml"), 2, "nowhere.toml"),
    ],
)
def test_the_command_says_by_its_exit_code_what_is_wrong(
    moved: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], exit_code: int, said: str
) -> None:
    code, out, err = command(capsys, moved, *arguments)
    assert code == exit_code
    assert said in out + err


def test_without_feast_the_command_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "feast").mkdir()
    (tmp_path / "feast" / "__init__.py").write_text("raise ImportError('it is not here')\n")
    ran = subprocess.run(
        [sys.executable, "-m", "lakehouse_cli.main", "feast", "check"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    assert "Feast cannot be imported (it is not here); pip install 'lakehouse-portability[feast]'" in ran.stderr


def test_the_command_imports_feast_for_nothing_else() -> None:
    script = "import sys, lakehouse; from lakehouse_cli import app; sys.exit('feast' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_finding_shows_the_sign_of_its_kind() -> None:
    signs: Callable[[Any], str] = lambda kind: FeatureFinding(kind, "", "").sign  # noqa: E731
    assert [signs(kind) for kind in ("missing", "differs", "stale", "rows", "unchecked")] == ["-", "*", "*", "*", "!"]
