"""A table crosses clouds: the real command between real servers, its JSON and its exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.clouds.conftest import Lake
from tests.sync.places import append, contents, dump, ids


def on(*first: str) -> pytest.MarkDecorator:
    """Services of ``first`` always, the others with ``--all``: `StoreSuite` and tests/corpus are for all in every run."""
    targets = [pytest.param(name, marks=() if name in first else pytest.mark.slow) for name in ("s3", "azure", "google")]
    return pytest.mark.parametrize("target", targets)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    append(tmp_path / "table", 0, commits=3)
    return tmp_path / "table"


@pytest.mark.parametrize("second", ["azure", "google", "other"])
def test_a_table_goes_from_disk_to_s3_and_on_to_another_cloud_and_back_with_the_source_gone(
    lake: Lake, table: Path, key: str, second: str, tmp_path: Path
) -> None:
    lake("sync", str(table), f"s3:{key}/t")
    table.rename(tmp_path / "away")
    result = lake("sync", f"s3:{key}/t", f"{second}:{key}/t")
    assert (result["proof"], result["version"], result["unchanged"]) == ("bytes", "2", False)
    lake("sync", f"{second}:{key}/t", str(tmp_path / "back"))
    assert contents(lake.store(str(tmp_path / "back"))) == contents(lake.store(str(tmp_path / "away")))
    assert [len(ids(tmp_path / "back", version)) for version in range(3)] == [10, 20, 30]


@on("google")
def test_an_update_moves_only_what_is_new_and_nothing_new_is_unchanged(lake: Lake, table: Path, key: str, target: str) -> None:
    place = f"{target}:{key}/t"
    first = lake("sync", str(table), place)
    assert lake("sync", str(table), place)["unchanged"]
    append(table, 30)
    second = lake("sync", str(table), place)
    assert (second["copied"]["files"], second["kept"]["files"]) == (3, first["copied"]["files"])
    assert lake("verify", place)["ok"]
    assert lake("verify", place, "--against", str(table))["source_checked"]


@on("s3")
def test_one_flipped_byte_is_found_and_named(lake: Lake, table: Path, key: str, target: str) -> None:
    place = f"{target}:{key}/t"
    lake("sync", str(table), place)
    store = lake.store(place)
    victim = sorted(path for path in contents(store) if path.endswith(".parquet"))[1]
    data = store.get(victim)
    store.put(victim, data[:-5] + bytes([data[-5] ^ 1]) + data[-4:], size=len(data))
    report = lake("verify", place, expect=4)
    assert [finding["path"] for finding in report["findings"]] == [victim]


@on("azure")
def test_a_folder_of_artefacts_crosses_byte_for_byte(lake: Lake, key: str, target: str, tmp_path: Path) -> None:
    source = tmp_path / "models"
    for path, data in {"a/model.onnx": os.urandom(20_000_000), "a b/ü%20#?+.bin": b"odd", "empty": b""}.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(data)
    place = f"{target}:{key}/models"
    assert lake("sync", str(source), place, "--format", "files")["copied"]["files"] == 3
    assert lake("sync", str(source), place, "--format", "files")["unchanged"]
    assert lake("verify", place)["ok"]
    assert contents(lake.store(place)) == contents(lake.store(str(source)))


def test_a_killed_sync_is_completed_by_the_next(lake: Lake, tmp_path: Path, key: str) -> None:
    table, place = tmp_path / "long", f"s3:{key}/t"
    append(table, 0, commits=40)
    for delay in (0.35, 0.5, 0.7, 1.0):
        run = subprocess.Popen(lake.command("sync", str(table), place), env=lake.environment, stderr=subprocess.DEVNULL)
        try:
            run.wait(delay)
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
    lake("sync", str(table), place)
    assert contents(lake.store(place)) == contents(lake.store(str(table)))
    assert lake("verify", place)["ok"]
    assert ids(dump(lake.store(place), tmp_path / "dumped")) == list(range(400))


def test_ctrl_c_ends_with_130_and_the_next_run_continues(lake: Lake, tmp_path: Path, key: str) -> None:
    table, place = tmp_path / "long", f"s3:{key}/t"
    append(table, 0, commits=60)
    run = subprocess.Popen(
        lake.command("sync", str(table), place, "--workers", "1"), env=lake.environment, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while not list(lake.store(place).list("p=p%200%2B%C3%A4")) and time.monotonic() < until and run.poll() is None:
        pass
    run.send_signal(signal.SIGINT)
    _, message = run.communicate(timeout=60)
    assert run.returncode == 130, message
    assert "interrupted" in message
    there = len(list(lake.store(place).list()))
    result = lake("sync", str(table), place)
    assert result["kept"]["files"] >= 1
    assert there > 1
    assert contents(lake.store(place)) == contents(lake.store(str(table)))


def test_wrong_credentials_are_named_by_store_and_no_secret_is_shown(lake: Lake, table: Path, key: str) -> None:
    settings = (lake.folder / "lake.toml").read_text()
    secret = next(line for line in settings.splitlines() if line.startswith("secret")).partition("'")[2].rstrip("'")
    (lake.folder / "lake.toml").write_text(settings.replace(secret, "wrong-secret-0123456789"))
    failed = lake("sync", str(table), f"s3:{key}/t", expect=2)
    assert "credentials" in failed["error"]["message"]
    assert "s3://" in failed["error"]["message"]
    assert "wrong-secret" not in str(failed)


def test_a_dry_run_says_what_would_move_and_writes_nothing(lake: Lake, table: Path, key: str) -> None:
    place = f"s3:{key}/t"
    planned = lake("sync", str(table), place, "--dry-run")
    assert planned["dry_run"]
    assert not list(lake.store(place).list())


def test_history_describe_files_and_ls_show_the_replica(lake: Lake, table: Path, key: str) -> None:
    place = f"s3:{key}/t"
    lake("sync", str(table), place)
    assert lake("describe", place)["version"] == "2"
    assert [commit["version"] for commit in lake("history", place)["commits"]] == ["2", "1", "0"]
    assert len(lake("files", place)["files"]) == 6
    assert any(entry["path"] == "_delta_log/" for entry in lake("ls", place)["objects"])


def test_doctor_writes_only_when_asked_and_cleans_up(lake: Lake) -> None:
    assert lake("doctor", "s3:")["ok"]
    assert lake("doctor", "s3:", "--write")["ok"]
    assert not list(lake.store("s3:").list("_lake-doctor"))


@on("s3", "azure", "google")
def test_two_commands_at_once_into_one_target_end_well(lake: Lake, table: Path, key: str, target: str) -> None:
    """Trap Operations: two syncs at once into one target."""
    append(table, 30, commits=5)
    place = f"{target}:{key}/t"
    running = [
        subprocess.Popen(lake.command("sync", str(table), place), env=lake.environment, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    ended = [(run.communicate(timeout=120)[1], run.returncode) for run in running]
    assert {code for _, code in ended} <= {0, 7}, ended
    assert 0 in {code for _, code in ended}
    assert contents(lake.store(place)) == contents(lake.store(str(table)))
    assert lake("sync", str(table), place)["version"] == "7"
    assert lake("verify", place)["ok"]
