"""The flights example on two weeks of March: its rows tell what was known, and a move changes nothing that it gives."""

from __future__ import annotations

import resource
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest

from feature_repo import datasets, example, flights
from feature_repo.figure import draw
from feature_repo.move import replicate_to_s3, write_anew
from feature_repo.online import materialize, score
from feature_repo.places import DISK, GOOGLE, S3, Stores, lake_toml, stores_of
from feature_repo.repository import FILES, applied, checked_out, feast
from feature_repo.seen import Seen, refuse_differences, see
from feature_repo.training import service_features, train, training_set
from lakehouse.errors import Config, Conflict, Verification
from lakehouse.lake import Lake
from lakehouse.testing.servers import GcsServer, SeaweedServer

pytestmark = pytest.mark.xdist_group("feast-example")

FIRST, LAST = date(2013, 3, 1), date(2013, 3, 14)  # New York's clocks go forward on the tenth
NOW = datetime(2013, 3, 13, 21, 0, tzinfo=UTC)
ROOT = Path(example.__file__).parents[1]


@pytest.fixture(scope="module")
def march() -> Iterator[duckdb.DuckDBPyConnection]:
    with flights.connect(FIRST, LAST) as connection:
        yield connection


@pytest.fixture(scope="module")
def rows(march: duckdb.DuckDBPyConnection) -> dict[str, pa.Table]:
    return datasets.tables(march)


@pytest.fixture(scope="module")
def stores(seaweed: SeaweedServer, gcs: GcsServer, tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return stores_of(seaweed, gcs, tmp_path_factory.mktemp("stores"), bucket=f"example-{uuid.uuid4().hex[:12]}")


def checked(folder: Path, toml: str) -> Path:
    """The repository in ``folder``, with its lake.toml."""
    (checked_out(folder) / "lake.toml").write_text(toml)
    return folder


def small(folder: Path) -> Seen:
    return see(folder, trees=10, now=NOW)


def test_a_scheduled_departure_is_the_instant_at_which_new_yorks_clock_shows_it(march: duckdb.DuckDBPyConnection) -> None:
    zone = ZoneInfo("America/New_York")
    found = march.sql("SELECT carrier, flight, origin, scheduled, scheduled_local FROM flights").fetchall()
    assert {local.day for *_, local in found} == set(range(1, 15))
    for *_, instant, local in found:
        assert instant == local.replace(tzinfo=zone).astimezone(UTC)
    stated = march.sql(
        "SELECT carrier, flight, origin, CAST(time_hour AS TIMESTAMPTZ) + to_minutes(minute) FROM flights_csv "
        "WHERE month = 3 AND day <= 14"
    ).fetchall()
    assert sorted(row[:4] for row in found) == sorted(stated)


def test_a_flight_arrives_when_the_clock_of_its_destination_says_so(march: duckdb.DuckDBPyConnection) -> None:
    zones = dict(march.sql("SELECT faa, tzone FROM airports_csv WHERE tzone IS NOT NULL").fetchall())
    shown = march.sql(
        "SELECT f.dest, arrived, departed + to_minutes(f.air_time), arr_time FROM flights f JOIN flights_csv c "
        "ON (c.carrier, c.flight, c.origin) = (f.carrier, f.flight, f.origin) "
        "AND CAST(time_hour AS TIMESTAMPTZ) + to_minutes(minute) = scheduled WHERE arrived IS NOT NULL"
    ).fetchall()
    assert len(shown) > 10_000
    for airport, arrived, landed, clock in shown:
        local = arrived.astimezone(ZoneInfo(zones.get(airport, "America/Puerto_Rico")))
        shown_then = local.replace(hour=clock // 100 % 24, minute=clock % 100)  # 2:03 on the tenth, which never was, is 3:03
        assert shown_then.astimezone(UTC) == arrived
        assert landed <= arrived < landed + timedelta(hours=4)


def test_no_row_tells_what_was_not_known_at_its_time(rows: dict[str, pa.Table]) -> None:
    instant = datetime(2013, 3, 8, 20, 7, tzinfo=UTC)  # in the middle of a snowstorm's delays
    with flights.connect(FIRST, LAST) as forgetful:
        unknown = {"instant": instant}
        forgetful.execute(
            "UPDATE flights SET arrived = NULL, arr_delay = NULL, air_time = NULL WHERE arrived > $instant", unknown
        )
        forgetful.execute("UPDATE flights SET departed = NULL, dep_delay = NULL WHERE departed > $instant", unknown)
        forgetful.execute("DELETE FROM weather WHERE time_hour + INTERVAL 1 HOUR > $instant", unknown)
        known = datasets.tables(forgetful)
    for name in set(datasets.DATASETS) - {"departures"}:
        past = rows[name].filter(pa.compute.field("event_timestamp") <= pa.scalar(instant))
        assert past.num_rows
        assert known[name].filter(pa.compute.field("event_timestamp") <= pa.scalar(instant)).equals(past), name


def test_a_move_changes_nothing_that_the_repository_gives(rows: dict[str, pa.Table], stores: Stores, tmp_path: Path) -> None:
    here = checked(tmp_path / "here", lake_toml(stores, DISK))
    datasets.build(Lake.from_config(here / "lake.toml"), rows)
    before = small(here)
    assert before.rows > 3000
    assert before.model.auc > before.model.baseline_auc + 0.02

    results = replicate_to_s3(here, stores)
    assert {(result.format, result.proof) for result in results} == {("delta", "rows")}
    assert (here / "lake.toml").read_text() == lake_toml(stores, S3)
    in_s3 = small(checked(tmp_path / "s3", lake_toml(stores, S3)))
    refuse_differences(before, in_s3)

    counts = write_anew(here, stores, GOOGLE)
    assert counts == {name: table.num_rows for name, table in rows.items()}
    assert (here / "lake.toml").read_text() == lake_toml(stores, GOOGLE)
    at_google = small(checked(tmp_path / "google", lake_toml(stores, GOOGLE)))
    refuse_differences(before, at_google)

    assert before.definitions == in_s3.definitions == at_google.definitions
    assert len(before.definitions) == 12
    assert feast(here, "plan")[0] == "No changes to registry"
    for name in FILES:
        assert (here / name).read_bytes() == (ROOT / "feature_repo" / name).read_bytes()

    draw(tmp_path / "flights.png", {"here": before.model, "S3": in_s3.model, "Google": at_google.model})
    assert (tmp_path / "flights.png").read_bytes().startswith(b"\x89PNG")

    model = replace(before.model, auc=before.model.auc + 1e-5)
    with pytest.raises(Verification, match="AUC"):
        refuse_differences(before, replace(at_google, model=model))
    with pytest.raises(Verification, match="training set"):
        refuse_differences(before, replace(at_google, training_set="0" * 48))


def test_an_online_store_that_is_not_up_to_date_is_found(rows: dict[str, pa.Table], tmp_path: Path) -> None:
    here = checked(tmp_path, lake_toml({}, DISK))
    datasets.build(Lake.from_config(here / "lake.toml"), rows)
    store = applied(here)
    model = train(training_set(store), service_features(store), trees=2)
    materialize(store, NOW)
    assert len(score(store, model, NOW).scores) > 10
    with pytest.raises(Verification, match="the online store says"):
        score(store, model, NOW + timedelta(hours=1))


def test_a_folder_with_something_in_it_is_not_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").touch()
    assert example.main([str(tmp_path)]) == Config.exit_code
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_the_whole_example_runs_in_its_time_and_leaves_its_results(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "feature_repo.example", str(tmp_path)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.returncode == 0, run.stdout + run.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 120  # seconds of CPU: two minutes on one core
    assert run.stdout.count("No changes to registry") == run.stdout.count("No changes to infrastructure") == 2
    assert (tmp_path / "flights.png").stat().st_size < 100_000
    assert (tmp_path / "late.onnx").stat().st_size > 1_000_000


def test_lake_toml_stays_where_a_move_is_refused(rows: dict[str, pa.Table], stores: Stores, tmp_path: Path) -> None:
    taken = replace(GOOGLE, folder=f"google:{uuid.uuid4().hex}")
    here = checked(tmp_path, lake_toml(stores, DISK))
    datasets.build(Lake.from_config(here / "lake.toml"), rows)
    (tmp_path / "taken.toml").write_text(lake_toml(stores, taken))
    Lake.from_config(tmp_path / "taken.toml").create_dataset("plane_profile", rows["plane_profile"].schema)
    with pytest.raises(Conflict, match="plane_profile"):
        write_anew(here, stores, taken)
    assert (here / "lake.toml").read_text() == lake_toml(stores, DISK)
